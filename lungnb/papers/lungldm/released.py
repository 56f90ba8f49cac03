"""The released AudioLDM through diffusers' own pipeline, where its weights can be had: the paper's baseline as it is."""

from collections.abc import Sequence

import torch
from diffusers import AudioLDMPipeline

from lungnb.core import UserError
from lungnb.papers.lungldm.pipeline import LOADING_ERRORS
from lungnb.papers.lungldm.text import first_line


def load_audioldm(place: str) -> AudioLDMPipeline:
    """AudioLDM from a local folder, or by a hub's name such as cvssp/audioldm-s-full-v2; weights as safetensors only.

    Raises UserError if it cannot be had there.
    """
    try:
        pipeline = AudioLDMPipeline.from_pretrained(place, use_safetensors=True)
    except LOADING_ERRORS as error:
        raise UserError(
            f"There is no AudioLDM at {place} ({first_line(error)}); give the folder of its diffusers weights, or leave it out."
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sound_of_audioldm(
    pipeline: AudioLDMPipeline,
    prompts: Sequence[str],
    seconds: float,
    steps: int = 200,
    guidance: float = 3.5,
    seed: int = 0,
    batch_size: int = 8,
) -> torch.Tensor:
    """Waveforms (N, T) at 16 kHz, float32, one a prompt: a single candidate each, none chosen by CLAP
    (docs/papers/lungldm.md, section 3.5)."""
    parts = []
    for first in range(0, len(prompts), batch_size):
        said = list(prompts[first : first + batch_size])
        noise = [torch.Generator().manual_seed(seed * 1_000_003 + first + k) for k in range(len(said))]
        made = pipeline(said, seconds, steps, guidance, generator=noise, output_type="pt")
        parts.append(made.audios.float().cpu())
    return torch.cat(parts)
