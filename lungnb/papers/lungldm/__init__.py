"""LungLDM: prompt -> text encoder -> latent diffusion -> VAE decoder -> vocoder -> lung sound at 16 kHz.

Composed from diffusers and transformers; ours are the front end, the gates, the loss and the pipeline. The paper prints few
of its choices: what each default rests on stands in docs/papers/lungldm.md, section 3.
"""

# ruff: noqa: F401 what notebooks and benchmarks import

from lungnb.papers.lungldm.classifier import in_batches
from lungnb.papers.lungldm.diffusion import DiffusionRun
from lungnb.papers.lungldm.experiments import AutoencoderRun, ClassifierRun
from lungnb.papers.lungldm.frontend import GriffinLim, LungMel, hifigan, load_mels, to_waveform
from lungnb.papers.lungldm.losses import CAP, denoising_loss, expm1_capped, exponential_penalty
from lungnb.papers.lungldm.networks import PRESETS, Autoencoder, Denoiser, Gate, LungUNet, LungVAE, SEGate
from lungnb.papers.lungldm.pipeline import (
    load_audioldm,
    make_scheduler,
    scale_latents,
    slerp,
    sound_of_audioldm,
    unscale_latents,
)
from lungnb.papers.lungldm.samples import PromptBox
from lungnb.papers.lungldm.text import encode, tiny_text_encoder, tokenize
