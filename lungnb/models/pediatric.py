"""The small CNN of the paediatric paper (section III, Fig. 4), alone for MPA and MPO, and several of them trained as one.

The figure cannot be read. What is certain: a small CNN, dropout, two outputs (the second is "case"). This is the Keras audio
net of that time whose dropout, targets and style fit (fact sheet, section 3.3: candidate K, low confidence).
"""

from collections.abc import Sequence
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
            images = self.dropout(nn.functional.max_pool2d(convolution(images).relu(), 2))
        return images

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))


class SideBySide(nn.Module):
    """M networks of equal form as one: images (B, M, n_sites, H, W), a part for each -> logits (B, M, 2).

    The convolutions of all are one convolution in M groups. Nothing passes from one network to another, so the sum of their
    losses gives each the gradient of its own, and Adam, which treats every weight alone, trains each as if it were alone.
    """

    def __init__(self, networks: Sequence[SiteCNN]):
        super().__init__()
        self.n_networks, first = len(networks), networks[0]
        self.convolutions = nn.ModuleList()
        for layers in zip(*(network.convolutions for network in networks), strict=True):
            one = layers[0]
            grouped = nn.Conv2d(
                one.in_channels * len(layers), one.out_channels * len(layers), one.kernel_size, groups=len(layers)
            )
            _copy(grouped.weight, [layer.weight for layer in layers])
            _copy(grouped.bias, [layer.bias for layer in layers])
            self.convolutions.append(grouped)
        self.dropout = nn.Dropout(first.dropout.p)
        self.weight = nn.Parameter(torch.stack([network.head.weight.detach() for network in networks]))
        self.bias = nn.Parameter(torch.stack([network.head.bias.detach() for network in networks]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.flatten(1, 2)
        for convolution in self.convolutions:
            x = self.dropout(nn.functional.max_pool2d(convolution(x).relu(), 2))
        x = x.mean(dim=(2, 3)).unflatten(1, (self.n_networks, -1))
        return torch.einsum("bmc,mkc->bmk", x, self.weight) + self.bias

    def states(self) -> list[dict[str, torch.Tensor]]:
        """The weights of each network, for `SiteCNN.load_state_dict`."""
        parts = {}
        for k, layer in enumerate(self.convolutions):
            parts[f"convolutions.{k}.weight"] = layer.weight.detach().chunk(self.n_networks)
            parts[f"convolutions.{k}.bias"] = layer.bias.detach().chunk(self.n_networks)
        parts |= {"head.weight": self.weight.detach().unbind(), "head.bias": self.bias.detach().unbind()}
        return [{name: tensors[m].clone() for name, tensors in parts.items()} for m in range(self.n_networks)]


def _copy(target: nn.Parameter, parts: list[nn.Parameter]) -> None:
    with torch.no_grad():
        target.copy_(torch.cat(parts))
