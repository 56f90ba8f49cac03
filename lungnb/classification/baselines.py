"""The two baselines anyone would try first: statistics of a log-mel spectrogram in trees, and a small CNN on it."""

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import nn


class SmallCNN(nn.Module):
    """Spectrograms (B, 1, rows, frames) -> logits (B, n_classes), trained from nothing.

    Three blocks of convolution, batch norm, ReLU and max pooling by 2, the first 5x5 with a stride of 2, the others 3x3; mean
    and maximum over the map, because a wheeze is long and a crackle short; dropout, one linear layer. 24,000 parameters.
    """

    def __init__(self, n_classes: int, channels: tuple[int, int, int] = (16, 32, 64), dropout: float = 0.2):
        super().__init__()
        a, b, c = channels
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, a, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(a),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(a, b, 3, padding=1, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(b, c, 3, padding=1, bias=False),
            nn.BatchNorm2d(c),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * c, n_classes))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = self.convolutions(maps)
        return self.head(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1))


def statistics(maps: torch.Tensor, n_bands: int = 16) -> np.ndarray:
    """Maps (N, C, rows, frames) -> (N, 6 C n_bands) numbers: rows are averaged to bands, and of each band over time taken the
    mean, sd, 10th, 50th and 90th percentile, and the mean step from frame to frame, which is large where it crackles."""
    x = nn.functional.adaptive_avg_pool2d(maps.float(), (n_bands, maps.shape[3]))
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=x.dtype, device=x.device)
    numbers = [x.mean(3), x.std(3), *x.quantile(levels, dim=3), x.diff(dim=3).abs().mean(3)]
    return torch.stack(numbers, dim=1).flatten(1).cpu().numpy()


def boosting(seed: int, n_trees: int = 60) -> HistGradientBoostingClassifier:
    """Gradient-boosted trees of scikit-learn; each split looks at a random quarter of the numbers."""
    return HistGradientBoostingClassifier(
        max_iter=n_trees, max_leaf_nodes=8, max_features=0.25, early_stopping=False, random_state=seed
    )
