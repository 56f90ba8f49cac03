"""The small CNN of the paediatric paper (section III, Fig. 4), one of each site for MPO and one of all sites for MPA.

The figure cannot be read. What is certain: a small CNN, dropout, two outputs (the second is "case"). This is the Keras audio
net of that time whose dropout, targets and style fit (docs/papers/pediatric.md, section 3.3: candidate K, low
confidence).
"""

from itertools import pairwise

import torch
from torch import nn

CHANNELS = (16, 32, 64, 128)
N_CLASSES = 2


class SiteCNN(nn.Module):
    """Spectrograms (B, n_sites, 150, 216) -> logits (B, 2), index 1 = case.

    Four times: convolution 2x2 without padding, ReLU, max pooling by 2, dropout; then the mean over the map and one linear
    layer. 43,570 parameters for one site (MPO), 44,018 for eight sites as channels (MPA).
    """

    def __init__(self, n_sites: int = 1, dropout: float = 0.2):
        super().__init__()
        sizes = (n_sites, *CHANNELS)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 2) for a, b in pairwise(sizes))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(CHANNELS[-1], N_CLASSES)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The last map (B, 128, 8, 12), on which Grad-CAM looks."""
        for convolution in self.convolutions:
            images = self.dropout(
                nn.functional.max_pool2d(convolution(images), 2).relu()
            )  # as ReLU first, with a quarter of it
        return images

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))
