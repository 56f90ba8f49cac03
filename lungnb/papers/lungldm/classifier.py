"""The project's own classifier of sound types on mels: perceptual backbone, embedding and judge of prompt adherence."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

N_MELS = 64


class MelClassifier(nn.Module):
    """Standardised log-mel (B, 1, frames, 64) -> logits (B, n_types); frames are at least 16.

    A convolution 3x3, batch norm and ReLU a stage, max pooling by 2 between stages; the last map is averaged over time, not
    over frequency, which tells a rhonchus from a wheeze; one layer makes the embedding (B, widths[-1]) of it and another the
    logits. The embedding is narrow on purpose: FAD needs several times as many clips as it has dimensions
    (docs/papers/lungldm.md, section 4).
    """

    def __init__(self, n_types: int, widths: Sequence[int] = (16, 32, 64, 64)):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((1, *widths))
        )
        rows = N_MELS // 2 ** (len(widths) - 1)
        self.project = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * rows, widths[-1]), nn.ReLU())
        self.head = nn.Linear(widths[-1], n_types)

    def features(self, mel: torch.Tensor) -> list[torch.Tensor]:
        """The map of every stage (B, widths[k], frames / 2^k, 64 / 2^k)."""
        maps = []
        for stage in self.stages:
            maps.append(stage(nn.functional.max_pool2d(maps[-1], 2) if maps else mel))
        return maps

    def embed(self, mel: torch.Tensor) -> torch.Tensor:
        """Embedding (B, widths[-1])."""
        return self.project(self.features(mel)[-1].mean(dim=2))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(mel))
