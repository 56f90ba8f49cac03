"""The networks of LungLDM: channel gates, the VAE and the U-Net that have them, and their sizes.

Each gate is the forward hook of the block whose output it scales. So the forward passes of diffusers stay theirs, the keys of
their weights too, and released weights load unchanged (docs/papers/lungldm.md, section 3.7).
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import nn
from transformers import T5EncoderModel

from lungnb.core import UserError
from lungnb.papers.lungldm.frontend import LungMel

GateName = Literal["none", "static", "se"]


class Gate(nn.Module, ABC):
    """g(h) = h * 2 sigmoid(logits), a hook on a block that puts out h (B, C, H, W), or h and its skip tensors.

    A plain sigmoid would halve every activation at the start; the factor 2 makes logit 0 the identity. The last skip tensor
    of a down block is its output, and is scaled with it (docs/papers/lungldm.md, section 3.4).
    """

    @abstractmethod
    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """(B or 1, C) of h (B, C, H, W)."""

    def scale(self, h: torch.Tensor) -> torch.Tensor:
        return h * (2 * self.logits(h).sigmoid())[:, :, None, None]

    def forward(self, block: nn.Module, inputs: tuple, output):
        if isinstance(output, tuple):
            h, skips = output
            h = self.scale(h)
            return h, (*skips[:-1], h)
        return self.scale(output)

    def attach(self, block: nn.Module) -> "Gate":
        block.register_forward_hook(self)
        return self


class SEGate(Gate):
    """Squeeze and excitation: logits = W2 silu(W1 mean over time and frequency), `channels // reduction` hidden, at least 4."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.squeeze, self.excite = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        nn.init.zeros_(self.excite.weight)
        nn.init.zeros_(self.excite.bias)

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        return self.excite(nn.functional.silu(self.squeeze(h.mean(dim=(2, 3)))))


class StaticGate(Gate):
    """One logit a channel, the same for every input."""

    def __init__(self, channels: int):
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(1, channels))

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        return self.logit


def extends(parent: type):
    """Show a constructor `(self, *args, own=..., **kwargs)` as the parent's arguments and its own.

    diffusers keeps in the config what it finds in the signature; without this the parent's arguments would be lost.
    """

    def merge(init):
        own = [p for p in inspect.signature(init).parameters.values() if p.kind is p.KEYWORD_ONLY]
        init.__signature__ = inspect.Signature([*inspect.signature(parent.__init__).parameters.values(), *own])
        return init

    return merge


class Gated:
    """What a gated subclass of a diffusers model adds to it: the start from an ungated one."""

    @classmethod
    def from_plain(cls, plain: ModelMixin, **options):
        """A gated copy of `plain` that computes the same until it is trained; `options` are those of the gates."""
        gated = cls.from_config(plain.config, **options)
        gated.load_state_dict(plain.state_dict(), strict=False)
        return gated.train(plain.training)


class LungVAE(Gated, AutoencoderKL):
    """Standardised log-mel (B, 1, frames, 64) <-> latents (B, 8, frames / 4, 16): AutoencoderKL with gates in the encoder.

    Innovation 2. The paper says "per-channel attention scores" and no place. Ours is the standard one of SE-ResNet: on the
    residual branch of every residual block of the encoder, after its second convolution, before the addition. se=False is
    the plain VAE (docs/papers/lungldm.md, section 3.2).
    """

    @register_to_config
    @extends(AutoencoderKL)
    def __init__(self, *args, se: bool = True, se_reduction: int = 16, **kwargs):
        super().__init__(*args, **kwargs)
        blocks = [r for part in (*self.encoder.down_blocks, self.encoder.mid_block) for r in part.resnets] if se else []
        self.gates = nn.ModuleList(SEGate(block.out_channels, se_reduction).attach(block.conv2) for block in blocks)


class LungUNet(Gated, UNet2DConditionModel):
    """Noisy latents (B, 8, frames / 4, 16), step (B,) and text (B, L, D) with mask (B, L) -> noise, or velocity, of that shape.

    Innovation 3: UNet2DConditionModel with one gate after every down, middle and up block. The paper says "channel-wise
    gating" and no place; the position is ours. gate: "se" looks at the input, "static" is one logit a channel, "none" is the
    plain U-Net (docs/papers/lungldm.md, section 3.4).
    """

    @register_to_config
    @extends(UNet2DConditionModel)
    def __init__(self, *args, gate: GateName = "se", gate_reduction: int = 16, **kwargs):
        super().__init__(*args, **kwargs)
        widths = self.config.block_out_channels
        blocks = [*self.down_blocks, self.mid_block, *self.up_blocks]
        channels = [*widths, widths[-1], *reversed(widths)]
        kinds = {"none": None, "static": StaticGate, "se": partial(SEGate, reduction=gate_reduction)}
        if gate not in kinds:
            raise UserError(f"There is no gate {gate!r}; choose none, static or se.")
        pairs = zip(channels, blocks, strict=True) if kinds[gate] else ()
        self.gates = nn.ModuleList(kinds[gate](c).attach(block) for c, block in pairs)


class Autoencoder(nn.Module):
    """Log-mel (B, 1, frames, 64) <-> latents (B, 8, frames / 4, 16): a LungVAE behind the statistics of its training mels."""

    def __init__(self, mel: LungMel, vae: LungVAE):
        super().__init__()
        self.mel, self.vae = mel, vae

    def forward(self, log_mel: torch.Tensor, generator: torch.Generator | None = None) -> tuple:
        """Standardised mels, their reconstructions from a draw of the posterior (its mode without generator), the posterior."""
        x = self.mel.standardise(log_mel)
        # In float32, for the variance and the KL distance hold exponentials.
        posterior = DiagonalGaussianDistribution(self.vae.encode(x).latent_dist.parameters.float())
        latents = posterior.mode() if generator is None else posterior.sample(generator)
        return x, self.vae.decode(latents).sample, posterior

    def encode(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Latents: the mode of the posterior, which is the same every time."""
        return self.vae.encode(self.mel.standardise(log_mel)).latent_dist.mode()

    def reconstruct(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Log-mels through the VAE and back: the best that diffusion in its latents can do."""
        return self.mel.unstandardise(self(log_mel)[1])

    def deviation(self, log_mel: torch.Tensor) -> torch.Tensor:
        """|x - x_hat| of every cell of the standardised mels (B, 1, frames, 64)."""
        x, reconstruction, _ = self(log_mel)
        return (x - reconstruction).abs()


class Denoiser(nn.Module):
    """Noisy latents (B, 8, frames / 4, 16), step (B,) and text -> noise, or velocity, of that shape.

    text: tokens (B, L) int64 if the encoder is trained too, else the features (B, L, D) of a frozen one; with its mask (B, L).
    """

    def __init__(self, unet: LungUNet, text: T5EncoderModel | None):
        super().__init__()
        self.unet, self.text = unet, text

    def forward(self, noisy: torch.Tensor, step: torch.Tensor, text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.text is not None:
            text = self.text(input_ids=text, attention_mask=mask).last_hidden_state
        return self.unet(noisy, step, encoder_hidden_states=text, encoder_attention_mask=mask).sample


def vae_options(
    widths: Sequence[int], layers_per_block: int = 2, norm_num_groups: int = 32, **options
) -> dict[str, Any]:
    """LungVAE from mels of one channel to 8 latent channels, one stage for each of `widths`."""
    return {
        "in_channels": 1,
        "out_channels": 1,
        "latent_channels": 8,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "block_out_channels": list(widths),
        "layers_per_block": layers_per_block,
        "norm_num_groups": norm_num_groups,
        "scaling_factor": 1.0,
        **options,
    }


def unet_options(
    widths: Sequence[int], cross_attention_dim: int, layers_per_block: int = 2, norm_num_groups: int = 32, **options
) -> dict[str, Any]:
    """LungUNet on 8 latent channels: attention to the text on every level but the first, heads of width 32."""
    n = len(widths)
    return {
        "in_channels": 8,
        "out_channels": 8,
        "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * (n - 1),
        "up_block_types": ["CrossAttnUpBlock2D"] * (n - 1) + ["UpBlock2D"],
        "block_out_channels": list(widths),
        "layers_per_block": layers_per_block,
        "norm_num_groups": norm_num_groups,
        "cross_attention_dim": cross_attention_dim,
        # By its name a width, in diffusers a number of heads.
        "attention_head_dim": [max(width // 32, 1) for width in widths],
        **options,
    }


_TWO_BLOCKS = {"resblock_kernel_sizes": [3, 7], "resblock_dilation_sizes": [[1, 3], [1, 3]]}
#: Sizes: seconds of a clip, LungVAE(**vae), LungUNet(**unet), hifigan(**vocoder), and text, "tiny" or what `load_text_encoder`
#: takes. "paper" is the recommended default (docs/papers/lungldm.md, sections 3.1 to 3.5), since the paper prints one number,
#: 96M; "smoke" is its section 3.6; "laptop" lies between. The two "chest" sizes are those of what is recorded: windows with
#: context (`context`), and a front end to 4 kHz (`mel`, options of LungMel): it keeps tones of rhonchi that AudioLDM's loses.
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seconds": 0.64,
        "vae": vae_options((8, 16, 32), 1, 8, mid_block_add_attention=False, se_reduction=4),
        "unet": unet_options((16, 32), 64, 1, 8),
        "text": "tiny",
        "vocoder": {"upsample_initial_channel": 32} | _TWO_BLOCKS,
    },
    "laptop": {
        "seconds": 2.56,
        "vae": vae_options((16, 32, 64), 1, 8, mid_block_add_attention=False),
        "unet": unet_options((32, 64, 96), 64, 1, 8),
        "text": "tiny",
        "vocoder": {"upsample_initial_channel": 128},
    },
    "chest": {
        "seconds": 2.048,
        "context": True,
        "mel": {"hop_length": 128, "f_max": 4000.0},
        "vae": vae_options((16, 32, 64), 1, 8, mid_block_add_attention=False, se_reduction=4),
        "unet": unet_options((32, 64, 96), 64, 1, 8),
        "text": "tiny",
        "vocoder": {},
    },
    "chest, small": {
        "seconds": 2.048,
        "context": True,
        "mel": {"hop_length": 256, "f_max": 4000.0},
        "vae": vae_options((8, 16, 32), 1, 8, mid_block_add_attention=False, se_reduction=4),
        "unet": unet_options((16, 32), 64, 1, 8),
        "text": "tiny",
        "vocoder": {},
    },
    "paper": {
        "seconds": 5.12,
        "vae": vae_options((128, 256, 512)),
        "unet": unet_options((128, 192, 320, 416), 768),
        "text": "google/flan-t5-base",
        "vocoder": {},
    },
}
