"""The reconstruction loss of the VAE (innovation 1): L1 + alpha LPIPS + beta E[exp(|x - x_hat|)], and a KL term.

The paper prints neither alpha nor beta, does not say over what the norm inside the exponential is taken, and omits the KL
term that a VAE needs (docs/papers/lungldm.md, section 3.2). Below it the losses of the denoiser and of the vocoder.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from diffusers import DDIMScheduler
from diffusers.training_utils import compute_snr
from torch import nn

from lungnb.core import UserError
from lungnb.papers.lungldm.frontend import LungMel, to_waveform

Penalty = Literal["none", "element", "sample"]
CAP = 5.0


def expm1_capped(d: torch.Tensor, cap: float = CAP) -> torch.Tensor:
    """exp(d) - 1 for d >= 0, above `cap` continued along its tangent: the gradient is at most exp(cap) and never vanishes."""
    return torch.expm1(d.clamp(max=cap)) + math.exp(cap) * (d - cap).relu()


def exponential_penalty(mel: torch.Tensor, reconstruction: torch.Tensor, form: str = "element") -> torch.Tensor:
    """E[exp(|x - x_hat|)] - 1 in one of three readings, always in float32: mels (B, 1, frames, 64) -> a number.

    element: mean over all cells, so that a single large deviation is punished. sample: of the mean deviation of each clip.
    sum: the norm taken literally, which overflows for |x - x_hat| of 0.003 a cell in a clip of 512 x 64; only to be shown.
    The 1 that is taken away has no gradient and makes a perfect fit cost nothing.
    """
    with torch.autocast(mel.device.type, enabled=False):  # exp overflows float16 above 11
        d = (mel.float() - reconstruction.float()).abs()
        if form == "element":
            return expm1_capped(d).mean()
        if form == "sample":
            return expm1_capped(d.flatten(1).mean(dim=1)).mean()
        if form == "sum":
            return torch.expm1(d.flatten(1).sum(dim=1)).mean()
    raise UserError(f"There is no penalty {form!r}; choose element, sample or sum.")


def perceptual_distance(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> torch.Tensor:
    """The LPIPS formula without calibration, of two lists of feature maps (B, C, H, W) -> (B,).

    Each position is scaled to unit length over channels; squared differences are summed over channels, averaged over
    positions and summed over layers.
    """
    layers = [(_unit(x) - _unit(y)).square().sum(dim=1).mean(dim=(1, 2)) for x, y in zip(a, b, strict=True)]
    return torch.stack(layers).sum(dim=0)


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.square().sum(dim=1, keepdim=True).add(1e-10).sqrt()  # inside the root: its gradient is finite at 0


class Perceptual(nn.Module):
    """Distance (B,) of two batches of mels by the features of a frozen backbone, any module with `features(mel) -> maps`."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        self.backbone_name = type(backbone).__name__

    def train(self, mode: bool = True):
        super().train(mode)
        self.backbone.eval()  # batch norm keeps its statistics
        return self

    def forward(self, mel: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
        return perceptual_distance(self.backbone.features(mel), self.backbone.features(reconstruction))


class ReconstructionLoss(nn.Module):
    """The terms of the VAE's loss for mels and reconstructions (B, 1, frames, 64), and the posterior they were drawn from.

    loss = l1 + alpha * perceptual + beta * penalty + kl_weight * kl; l1 is averaged over mel cells, kl over latent cells
    (AudioLDM's 1000 / 65,536, docs/papers/lungldm.md, section 3.2). Without a perceptual distance its term is left out.
    above_cap is the share of mel cells that miss by more than CAP: it should be 0 on standardised mels.
    unit: what deviations are multiplied by before all else, such as the nats of one standardised step (2 std of the log-mels).
    Only in nats do the weights mean what they mean for AudioLDM, and only there is the penalty more than a second L1.
    """

    def __init__(
        self,
        penalty: Penalty = "element",
        perceptual: Perceptual | None = None,
        alpha: float = 1.0,
        beta: float = 0.1,
        kl_weight: float = 0.015,
        unit: float = 1.0,
    ):
        super().__init__()
        if penalty not in ("none", "element", "sample"):
            raise UserError(f"The penalty {penalty!r} cannot be trained with; choose none, element or sample.")
        self.penalty, self.perceptual = penalty, perceptual
        self.alpha, self.beta, self.kl_weight, self.unit = alpha, beta, kl_weight, unit

    def forward(self, mel: torch.Tensor, reconstruction: torch.Tensor, posterior) -> dict[str, torch.Tensor]:
        deviation = self.unit * (mel.float() - reconstruction.float()).abs()
        terms = {"l1": deviation.mean(), "kl": posterior.kl().mean() / posterior.mean[0].numel()}
        loss = terms["l1"] + self.kl_weight * terms["kl"]
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(mel, reconstruction).mean()
            loss = loss + self.alpha * terms["perceptual"]
        if self.penalty != "none":
            terms["penalty"] = exponential_penalty(self.unit * mel, self.unit * reconstruction, self.penalty)
            loss = loss + self.beta * terms["penalty"]
        return {"loss": loss, **terms, "above_cap": (deviation > CAP).float().mean()}


def denoising_loss(
    net: Callable[..., torch.Tensor],
    noise: DDIMScheduler,
    latents: torch.Tensor,
    text: torch.Tensor,
    mask: torch.Tensor,
    generator: torch.Generator,
    step: torch.Tensor | None = None,
    min_snr: float = 0.0,
) -> torch.Tensor:
    """Squared error (B,) of what `net` makes of noise, or of velocity, for scaled latents at random steps, or these.

    min_snr: errors weigh as those of the latents would with min(SNR, min_snr) (Hang et al. 2023), so that steps with next to no
    noise, which are many and easy, do not outweigh the others; 0 weighs all alike.
    """
    if step is None:
        step = torch.randint(len(noise), latents.shape[:1], generator=generator, device=latents.device)
    epsilon = torch.randn(latents.shape, generator=generator, device=latents.device)
    noisy = noise.add_noise(latents, epsilon, step)
    is_velocity = noise.config.prediction_type == "v_prediction"
    target = noise.get_velocity(latents, epsilon, step) if is_velocity else epsilon
    error = (net(noisy, step, text, mask).float() - target).square().flatten(1).mean(dim=1)
    if not min_snr:
        return error
    snr = compute_snr(noise, step)
    return error * snr.clamp(max=min_snr) / (snr + 1 if is_velocity else snr)


def vocoder_loss(vocoder: nn.Module, mel: LungMel, waveform: torch.Tensor) -> torch.Tensor:
    """Mean |mel(vocoder(mel(x))) - mel(x)| (B,) of waveforms (B, T): HiFi-GAN's mel term, without its discriminators."""
    target = mel(waveform)
    return (mel(to_waveform(vocoder, target, waveform.shape[1])) - target).abs().flatten(1).mean(dim=1)
