"""The reconstruction loss of the VAE (innovation 1): L1 + alpha LPIPS + beta E[exp(|x - x_hat|)], and a KL term.

The paper prints neither alpha nor beta, does not say over what the norm inside the exponential is taken, and omits the KL
term that a VAE needs (docs/papers/lungldm.md, section 3.2).
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from lungnb.core import UserError

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


class VGG16Features(nn.Module):
    """The five maps of torchvision's VGG16 that LPIPS looks at, from weights in a local folder.

    folder: holds vgg16*.pth or .safetensors with ImageNet weights. A mel in about -1..1 stands for all three colours. Raises
    UserError if there is no such file or it is another network's.
    """

    LAST_LAYERS = (3, 8, 15, 22, 29)  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3

    def __init__(self, folder: Path | str):
        super().__init__()
        files = sorted([*Path(folder).glob("vgg16*.safetensors"), *Path(folder).glob("vgg16*.pth")])
        if not files:
            raise UserError(f"{folder} holds no vgg16*.pth or .safetensors; put torchvision's weights there.")
        with torch.device("meta"):  # its dense layers, nine tenths of it, are never made
            self.layers = torchvision.models.vgg16().features[: self.LAST_LAYERS[-1] + 1]
        try:
            is_safe = files[0].suffix == ".safetensors"
            state = load_file(files[0]) if is_safe else torch.load(files[0], weights_only=True)
            self.layers.load_state_dict({k: state[f"features.{k}"] for k in self.layers.state_dict()}, assign=True)
        except Exception as error:
            raise UserError(f"{files[0]} does not hold torchvision's VGG16; fetch the file again.") from error
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # the maps before it are looked at as well
        # LPIPS moves images from -1..1 to the statistics of ImageNet.
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])

    def features(self, mel: torch.Tensor) -> list[torch.Tensor]:
        x, maps = (mel.expand(-1, 3, -1, -1) - self.shift) / self.scale, []
        for k, layer in enumerate(self.layers):
            x = layer(x)
            if k in self.LAST_LAYERS:
                maps.append(x)
        return maps


class ReconstructionLoss(nn.Module):
    """The terms of the VAE's loss for mels and reconstructions (B, 1, frames, 64), and the posterior they were drawn from.

    loss = l1 + alpha * perceptual + beta * penalty + kl_weight * kl; l1 is averaged over mel cells, kl over latent cells
    (AudioLDM's 1000 / 65,536, docs/papers/lungldm.md, section 3.2). Without a perceptual distance its term is left out.
    above_cap is the share of mel cells that miss by more than CAP: it should be 0 on standardised mels.
    """

    def __init__(
        self,
        penalty: Penalty = "element",
        perceptual: Perceptual | None = None,
        alpha: float = 1.0,
        beta: float = 0.1,
        kl_weight: float = 0.015,
    ):
        super().__init__()
        if penalty == "sum":
            raise UserError(
                "penalty='sum' overflows at the first step and cannot be trained with; use 'element' or 'sample'."
            )
        if penalty not in ("none", "element", "sample"):
            raise UserError(f"There is no penalty {penalty!r}; choose none, element or sample.")
        self.penalty, self.perceptual = penalty, perceptual
        self.alpha, self.beta, self.kl_weight = alpha, beta, kl_weight

    def forward(self, mel: torch.Tensor, reconstruction: torch.Tensor, posterior) -> dict[str, torch.Tensor]:
        deviation = (mel.float() - reconstruction.float()).abs()
        terms = {"l1": deviation.mean(), "kl": posterior.kl().mean() / posterior.mean[0].numel()}
        loss = terms["l1"] + self.kl_weight * terms["kl"]
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(mel, reconstruction).mean()
            loss = loss + self.alpha * terms["perceptual"]
        if self.penalty != "none":
            terms["penalty"] = exponential_penalty(mel, reconstruction, self.penalty)
            loss = loss + self.beta * terms["penalty"]
        return {"loss": loss, **terms, "above_cap": (deviation > CAP).float().mean()}
