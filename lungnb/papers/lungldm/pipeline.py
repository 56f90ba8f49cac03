"""Prompt to waveform: the whole model, also in one folder, and the released AudioLDM beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from diffusers import AudioLDMPipeline, DDIMScheduler, DiffusionPipeline, DPMSolverMultistepScheduler
from diffusers.utils.torch_utils import randn_tensor
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase, SpeechT5HifiGan, T5EncoderModel

from lungnb.core import UserError
from lungnb.papers.lungldm.frontend import GriffinLim, LungMel, to_waveform
from lungnb.papers.lungldm.networks import LungUNet, LungVAE
from lungnb.papers.lungldm.text import UNCONDITIONAL, encode, first_line

Sampler = Literal["ddim", "dpm"]
Prediction = Literal["epsilon", "v_prediction"]

#: The noise of AudioLDM (docs/papers/lungldm.md, section 3.5); its code calls the schedule linear but interpolates
#: square roots.
NOISE = {"num_train_timesteps": 1000, "beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear"}
#: Steps unless asked for otherwise: DDIM for reported numbers, DPM-Solver++ 2M for notebooks.
STEPS = {"ddim": 200, "dpm": 25}
#: The parts that hold weights.
WEIGHTED = {
    "mel": LungMel,
    "vae": LungVAE,
    "unet": LungUNet,
    "text_encoder": T5EncoderModel,
    "vocoder": SpeechT5HifiGan,
}
LOADING_ERRORS = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def make_scheduler(sampler: Sampler = "ddim", prediction: Prediction = "epsilon"):
    """The noise schedule with one of the two samplers; the training uses its `add_noise` and `get_velocity`."""
    noise = NOISE | {"prediction_type": prediction}
    if sampler == "ddim":
        return DDIMScheduler(**noise, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    if sampler == "dpm":
        return DPMSolverMultistepScheduler(**noise, algorithm_type="dpmsolver++", solver_order=2)
    raise UserError(f"There is no sampler {sampler!r}; choose ddim or dpm.")


class Generated(NamedTuple):
    """waveforms (B, T) at 16 kHz and the log-mels (B, 1, frames, 64) they were made from, float32 on the CPU."""

    waveforms: torch.Tensor
    log_mels: torch.Tensor


class LungLDMPipeline(DiffusionPipeline):
    """The parts of LungLDM, from prompt to waveform. Without a vocoder (None) Griffin-Lim takes its place.

    Weights are stored as safetensors only: a pickled file can run any code when it is read.
    """

    _optional_components = ["vocoder"]  # noqa: RUF012 diffusers adds lists to it

    def __init__(
        self,
        mel: LungMel,
        vae: LungVAE,
        unet: LungUNet,
        text_encoder: T5EncoderModel,
        tokenizer: PreTrainedTokenizerBase,
        scheduler: DDIMScheduler | DPMSolverMultistepScheduler,
        vocoder: SpeechT5HifiGan | None = None,
    ):
        super().__init__()
        self.register_modules(mel=mel, vae=vae, unet=unet, text_encoder=text_encoder, tokenizer=tokenizer)
        self.register_modules(scheduler=scheduler, vocoder=vocoder)
        self.set_progress_bar_config(leave=False)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        seconds: float = 5.12,
        steps: int | None = None,
        guidance_scale: float = 3.5,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
    ) -> Generated:
        """A waveform for each prompt.

        seconds: a length that the VAE and the U-Net can halve as often as they do. steps: none takes those of STEPS.
        guidance_scale: w in u + w (c - u) of the predictions without (u) and with (c) the prompt; 1 is no guidance. generator:
        one for all, or one a prompt, so that a clip does not depend on those beside it. latents: the noise
        (B, 8, frames / 4, 16) to start from, instead of drawn. Raises UserError for an empty prompt and for a length that does
        not fit; a prompt of more than 128 tokens is cut with a warning.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts or not all(p.strip() for p in prompts):
            raise UserError("The prompt is empty; write one such as 'A person is coughing, male, 40s, smoker'.")
        shape = (len(prompts), *self.latent_shape(seconds))
        if latents is None:
            latents = randn_tensor(shape, generator, self._execution_device, self.unet.dtype)
        if latents.shape != shape:
            raise UserError(f"The latents have the shape {tuple(latents.shape)}, but this call needs {shape}.")
        latents = self.denoise(latents, prompts, steps, guidance_scale)
        log_mel = self.mel.unstandardise(self.vae.decode(unscale_latents(latents, self.vae.config)).sample)
        vocoder = GriffinLim(self.mel) if self.vocoder is None else self.vocoder
        n_samples = round(seconds * self.mel.config.sample_rate)
        waveforms = to_waveform(vocoder.to(log_mel.device), log_mel, n_samples)
        return Generated(waveforms.float().cpu(), log_mel.float().cpu())

    def latent_shape(self, seconds: float) -> tuple[int, int, int]:
        """(channels, frames / 4, bands / 4) of a clip; raises UserError if the frames cannot be halved often enough."""
        mel, vae, unet = self.mel.config, self.vae.config, self.unet.config
        per_latent = 2 ** (len(vae.block_out_channels) - 1)
        multiple = per_latent * 2 ** (len(unet.block_out_channels) - 1)
        frames = seconds * mel.sample_rate / mel.hop_length
        if round(frames) < multiple or round(frames) % multiple or abs(frames - round(frames)) > 1e-6:
            unit = multiple * mel.hop_length / mel.sample_rate
            nearest = max(round(seconds / unit), 1) * unit
            raise UserError(
                f"A clip of {seconds:g} s does not fit this model; take a multiple of {unit:g} s, say {nearest:g}."
            )
        return vae.latent_channels, round(frames) // per_latent, mel.n_mels // per_latent

    def denoise(
        self, latents: torch.Tensor, prompts: Sequence[str], steps: int | None, guidance_scale: float
    ) -> torch.Tensor:
        """Latents of pure noise (B, 8, frames / 4, 16) -> latents of sounds, at the scale of the U-Net."""
        is_ddim = isinstance(self.scheduler, DDIMScheduler)
        self.scheduler.set_timesteps(steps or STEPS["ddim" if is_ddim else "dpm"], device=self._execution_device)
        guided = guidance_scale != 1
        texts = [UNCONDITIONAL] * len(prompts) * guided + list(prompts)
        text, mask = encode(texts, self.text_encoder, self.tokenizer)
        latents, text = latents.to(self._execution_device), text.to(latents.dtype)
        for t in self.progress_bar(self.scheduler.timesteps):
            both = torch.cat([latents] * (1 + guided))
            predicted = self.unet(both, t, encoder_hidden_states=text, encoder_attention_mask=mask).sample
            if guided:
                without, conditioned = predicted.chunk(2)
                predicted = without + guidance_scale * (conditioned - without)
            latents = self.scheduler.step(predicted, t, latents).prev_sample
        return latents

    def save_pretrained(self, folder: Path | str) -> None:
        super().save_pretrained(folder, safe_serialization=True)

    @classmethod
    def from_pretrained(cls, folder: Path | str, **parts) -> "LungLDMPipeline":
        """The pipeline in a local folder; `parts` are taken instead of those stored, such as scheduler=make_scheduler("dpm").

        Raises UserError if it is none, holds pickled or corrupt weights, or weights that are not those of its configs.
        """
        if not ((folder := Path(folder)) / "model_index.json").is_file():
            raise UserError(f"{folder} holds no saved pipeline (model_index.json); give the folder of save_pretrained.")
        for name, kind in WEIGHTED.items():
            if name not in parts and (folder / name).is_dir():
                parts[name] = _load_part(kind, folder / name)
        try:
            return super().from_pretrained(folder, **parts)
        except LOADING_ERRORS as error:
            raise UserError(
                f"{folder} is no pipeline of LungLDM ({first_line(error)}); copy it again, or save it anew."
            ) from error


def _load_part(kind: type, folder: Path) -> torch.nn.Module:
    """The model in `folder`; raises UserError unless its weights are safetensors, and exactly those of its config.

    The libraries only warn of weights too many or too few, and would drop gates in silence.
    """
    for file in folder.iterdir():
        if file.suffix.lower() in PICKLED:
            raise UserError(f"{file} holds pickled weights, which can run any code; store them as safetensors.")
    options = {"low_cpu_mem_usage": False, "ignore_mismatched_sizes": True, "output_loading_info": True}
    try:
        part, info = kind.from_pretrained(folder, use_safetensors=True, **options)
    except LOADING_ERRORS as error:
        raise UserError(f"{folder} cannot be loaded ({first_line(error)}); copy it again, or save it anew.") from error
    mismatched = [name for name, *_ in info["mismatched_keys"]]
    if wrong := [*info["missing_keys"], *mismatched, *info["unexpected_keys"]]:
        raise UserError(
            f"{folder} holds the weights of another config ({len(wrong)} differ, first {wrong[0]}); use their own config."
        )
    return part


def load_audioldm(place: str, device: torch.device | str = "cpu") -> AudioLDMPipeline:
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
    return pipeline.to(device)


def sound_of_audioldm(
    pipeline: AudioLDMPipeline,
    prompts: Sequence[str],
    seconds: float,
    steps: int = 200,
    seed: int = 0,
    batch_size: int = 8,
) -> torch.Tensor:
    """Waveforms (N, T) at 16 kHz, float32 on the CPU: a single candidate a prompt, none chosen by CLAP
    (docs/papers/lungldm.md, section 3.5)."""
    parts, noise = [], clip_noise(len(prompts), seed)
    for first in range(0, len(prompts), batch_size):
        batch = slice(first, first + batch_size)
        made = pipeline(list(prompts[batch]), seconds, steps, 3.5, generator=noise[batch], output_type="pt")
        parts.append(made.audios.float().cpu())
    return torch.cat(parts)


def scale_latents(latents: torch.Tensor, config: Mapping[str, Any]) -> torch.Tensor:
    """Latents (B, C, H, W) of a VAE at the scale of the U-Net: by one factor, or where its config has them by the mean and
    standard deviation of each channel."""
    if config.get("latents_mean"):
        mean, std = (_by_channel(config[name], latents) for name in ("latents_mean", "latents_std"))
        latents = (latents - mean) / std
    return latents * config["scaling_factor"]


def unscale_latents(latents: torch.Tensor, config: Mapping[str, Any]) -> torch.Tensor:
    """The inverse of `scale_latents`."""
    latents = latents / config["scaling_factor"]
    if config.get("latents_mean"):
        mean, std = (_by_channel(config[name], latents) for name in ("latents_mean", "latents_std"))
        latents = latents * std + mean
    return latents


def _by_channel(values: Sequence[float], latents: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=latents.dtype, device=latents.device)[:, None, None]


def clip_noise(n: int, seed: int) -> list[torch.Generator]:
    """A generator for each of n prompts, by its place, so that a clip does not depend on those beside it."""
    return [torch.Generator().manual_seed(seed * 1_000_003 + place) for place in range(n)]


def slerp(a: torch.Tensor, b: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Tensors of one shape and shares (N,) from 0 (a) to 1 (b) -> (N, ...), along the great circle.

        sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b,    w the angle between a and b

    The straight line between two draws of Gaussian noise runs nearer to zero than any draw does: halfway its length is
    0.71 of theirs, and a denoiser has never seen such noise. Along the circle the length stays.
    """
    angle = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).clamp(-1, 1).arccos()
    if angle < 1e-4:  # nearly the same direction: the circle is the line
        weights = torch.stack([1 - shares, shares])
    else:
        weights = torch.stack([torch.sin((1 - shares) * angle), torch.sin(shares * angle)]) / torch.sin(angle)
    first, second = (w.reshape(-1, *[1] * a.dim()) for w in weights)
    return first * a + second * b
