"""The VAE with squeeze and excitation in its encoder (innovation 2; docs/papers/lungldm.md, section 3.2)."""

from diffusers import AutoencoderKL, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from lungnb.papers.lungldm.gates import Gated, SEGate, attach, extends

__all__ = ["LungVAE", "ModelMixin"]  # diffusers loads a part only if its module knows ModelMixin by this name


class LungVAE(Gated, AutoencoderKL):
    """Standardised log-mel (B, 1, frames, 64) <-> latents (B, 8, frames / 4, 16): AutoencoderKL with gates in the encoder.

    The paper says "per-channel attention scores" and no place. Ours is the standard one of SE-ResNet: on the residual branch
    of every residual block of the encoder, after its second convolution, before the addition. se=False is the plain VAE.
    A plain checkpoint loads as what it is, and becomes a gated one by `from_plain`.
    """

    @register_to_config
    @extends(AutoencoderKL)
    def __init__(self, *args, se: bool = True, se_reduction: int = 16, **kwargs):
        super().__init__(*args, **kwargs)
        blocks = [r for part in (*self.encoder.down_blocks, self.encoder.mid_block) for r in part.resnets] if se else []
        self.gates = nn.ModuleList(attach(SEGate(block.out_channels, se_reduction), block.conv2) for block in blocks)
