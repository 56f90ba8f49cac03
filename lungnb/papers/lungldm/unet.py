"""The diffusion U-Net with channel-wise gates (innovation 3; docs/papers/lungldm.md, section 3.4)."""

from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from torch import nn

from lungnb.core import UserError
from lungnb.papers.lungldm.gates import Gated, GateName, SEGate, StaticGate, attach, extends

__all__ = ["LungUNet", "ModelMixin"]  # diffusers loads a part only if its module knows ModelMixin by this name


class LungUNet(Gated, UNet2DConditionModel):
    """Noisy latents (B, 8, frames / 4, 16), step (B,) and text (B, L, D) with mask (B, L) -> noise, or velocity, of that shape.

    UNet2DConditionModel with one gate after every down, middle and up block. The paper says "channel-wise gating" and no
    place; the position is ours. gate: "se" looks at the input, "static" is one logit a channel, "none" is the plain U-Net.
    A plain checkpoint loads as what it is, and becomes a gated one by `from_plain`.
    """

    @register_to_config
    @extends(UNet2DConditionModel)
    def __init__(self, *args, gate: GateName = "se", gate_reduction: int = 16, **kwargs):
        super().__init__(*args, **kwargs)
        widths = self.config.block_out_channels
        blocks = [*self.down_blocks, self.mid_block, *self.up_blocks]
        channels = [*widths, widths[-1], *reversed(widths)]
        if gate == "se":
            gates = [SEGate(c, gate_reduction) for c in channels]
        elif gate == "static":
            gates = [StaticGate(c) for c in channels]
        elif gate == "none":
            gates = []
        else:
            raise UserError(f"There is no gate {gate!r}; choose none, static or se.")
        self.gates = nn.ModuleList(attach(g, block) for g, block in zip(gates, blocks, strict=bool(gates)))
