"""Channel gates for the VAE's encoder and the U-Net: one factor a channel, all of them 1 before training.

Each gate is the forward hook of the block whose output it scales. So the forward passes of diffusers stay theirs, the keys of
their weights too, and released weights load unchanged (docs/papers/lungldm.md, section 3.7).
"""

import inspect
from abc import ABC, abstractmethod
from typing import Literal

import torch
from diffusers import ModelMixin
from torch import nn

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


def attach(gate: Gate, block: nn.Module) -> Gate:
    block.register_forward_hook(gate)
    return gate


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
