"""Every classifier of the book behind one door: features (B, C, rows, frames) and metadata (B, 3) -> logits (B, n_classes).

The networks are the papers' own, from their modules. `metadata` are indices of age, sex and position: the Conv-LSTM's full
model embeds them, MPO reads the position, the others ignore them. A new classifier is one class and one entry of CLASSIFIERS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from lungnb.core import UserError
from lungnb.features import Standardise, shift_and_mask
from lungnb.papers.convlstm import MODELS, ConvLSTM, InputName
from lungnb.papers.pediatric import ByPosition, SiteCNN
from lungnb.papers.respirenet import Backbone, BlankRegionClipping, MelImage, RespireNet

FrontEndName = Literal["mel image", "stacked", "stretched", "stft", "mel", "mfcc", "embedding"]


#: Strengths that a regression chooses from.
STRENGTHS = (0.0003, 0.003, 0.03, 0.3)


@dataclass(frozen=True)
class Sizes:
    """What a network must know before it is built: shapes of the features, and the choices of its paper.

    n_masks: of the channels, the last ones that say which sites were recorded.
    """

    n_classes: int
    n_channels: int = 1
    n_masks: int = 0
    n_rows: int = 64
    n_positions: int = 4
    normalisation: str | tuple[float, float] = "row"
    backbone: Backbone = "resnet34"
    zoom: int = 3
    clipping: BlankRegionClipping = "none"
    size: InputName = "A"
    readout: Literal["all", "last"] = "all"
    hidden: int = 512
    dropout: float = 0.2


class Classifier(nn.Module):
    """A network behind the scale of its features. Channels past `n_features`, which tell what is missing, are not scaled."""

    def __init__(self, network: nn.Module, scale: Standardise, n_features: int):
        super().__init__()
        self.network, self.scale, self.n_features = network, scale, n_features
        self.to(memory_format=torch.channels_last)  # convolutions and pooling are 1.3 to 3 times faster so

    def fit_statistics(self, batches) -> None:
        """Set the scale from batches of training features, each (B, C, rows, frames)."""
        self.scale.fit_statistics(batches)

    def image(self, features: torch.Tensor) -> torch.Tensor:
        """What the paper's network is given (B, C, rows, frames): scaled features."""
        scaled = self.scale(features[:, : self.n_features].float())
        return torch.cat([scaled, features[:, self.n_features :].float()], dim=1)

    def forward(self, features: torch.Tensor, metadata: torch.Tensor, generator: torch.Generator | None = None):
        """generator: for training, images rolled and masked by its draws."""
        image = self.image(features)
        if generator is not None:
            image = shift_and_mask(image, generator)
        return self.network(image.contiguous(memory_format=torch.channels_last), metadata)


class ImageClassifier(nn.Module):
    """RespireNet behind its own image: 8-bit spectrograms in magma's colours, clipped and standardised by `MelImage`."""

    def __init__(self, front: MelImage, network: RespireNet):
        super().__init__()
        self.front, self.network = front, network

    def fit_statistics(self, batches) -> None:
        """Set the mean and sd of the colours from batches of 8-bit spectrograms, each (B, 1, rows, frames)."""
        self.front.fit_statistics(features[:, 0] for features in batches)

    def image(self, features: torch.Tensor) -> torch.Tensor:
        """What the ResNet is given (B, 3, H, W)."""
        return self.front.image(features[:, 0])

    def forward(self, features: torch.Tensor, metadata: torch.Tensor, generator: torch.Generator | None = None):
        if generator is not None:
            features = shift_and_mask(features, generator)  # 0 is silence here
        return self.network(self.image(features))


class FeaturesOnly(nn.Module):
    """A network that does not use the metadata."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        return self.network(image)


class SmallCNN(nn.Module):
    """Spectrograms (B, 1, rows, frames) -> logits (B, n_classes), the baseline anyone would try first.

    Three blocks of convolution, batch norm, ReLU and max pooling by 2, the first 5x5 with a stride of 2, the others 3x3; mean
    and maximum over the map, because a wheeze is long and a crackle short; dropout, one linear layer. 24,000 parameters.
    """

    def __init__(self, n_classes: int, channels: tuple[int, int, int] = (16, 32, 64), dropout: float = 0.2):
        super().__init__()
        layers = []
        for before, width in pairwise((1, *channels)):
            kernel, stride = (3, 1) if layers else (5, 2)
            convolution = nn.Conv2d(before, width, kernel, stride=stride, padding=kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * channels[-1], n_classes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = self.convolutions(image)
        return self.head(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1))


def statistics(features: torch.Tensor, n_bands: int = 16) -> np.ndarray:
    """Features (N, C, rows, frames) -> (N, 6 C n_bands) numbers: rows are averaged to bands, and of each band over time taken
    the mean, sd, three percentiles, and the mean step between frames, which is large where it crackles. Features without time,
    of one frame, are numbers as they are."""
    if features.shape[3] == 1:
        return features.float().flatten(1).cpu().numpy()
    x = nn.functional.adaptive_avg_pool2d(features.float(), (n_bands, features.shape[3]))
    quantiles = torch.tensor([0.1, 0.5, 0.9], dtype=x.dtype, device=x.device)
    numbers = [x.mean(3), x.std(3), *x.quantile(quantiles, dim=3), x.diff(dim=3).abs().mean(3)]
    return torch.stack(numbers, dim=1).flatten(1).cpu().numpy()


def regression(strength: float) -> Pipeline:
    """Logistic regression of scikit-learn on z-scores; the larger `strength`, the less its weights are held small.

    It ends after 300 steps, converged or not: where hardly anything holds the weights, the end is far and changes little.
    """
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))


def fit_boosting(numbers: np.ndarray, label: np.ndarray, weight: np.ndarray, patient: np.ndarray, seed: int):
    """Gradient-boosted trees of scikit-learn, of numbers (N, D), classes, weights and patients (N,); each split looks at a random
    quarter of the numbers."""
    how = {"max_iter": 60, "max_leaf_nodes": 8, "max_features": 0.25, "early_stopping": False}
    return HistGradientBoostingClassifier(**how, random_state=seed).fit(numbers, label, sample_weight=weight)


def fit_regression(numbers: np.ndarray, label: np.ndarray, weight: np.ndarray, patient: np.ndarray, seed: int):
    """`regression`, fitted to the same, with the strength of least weighted loss on three inner folds of patients, drawn by
    `seed`. A class that one of these folds lacks in training is left out of its loss."""
    if len(np.unique(patient)) < 3:
        raise UserError(
            "A regression chooses its strength on three inner folds of patients; train on three patients or more."
        )
    losses = dict.fromkeys(STRENGTHS, 0.0)
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=seed)
    for train, held_out in folds.split(numbers, label, patient):
        known = held_out[np.isin(label[held_out], label[train])]
        if len(np.unique(label[train])) < 2:  # the other class is one patient's, who is held out
            continue
        for strength in STRENGTHS:
            fitted = regression(strength).fit(
                numbers[train], label[train], logisticregression__sample_weight=weight[train]
            )
            p = fitted.predict_proba(numbers[known])
            losses[strength] += log_loss(
                label[known], p, sample_weight=weight[known], labels=fitted.classes_, normalize=False
            )
    best = regression(min(losses, key=losses.get))
    return best.fit(numbers, label, logisticregression__sample_weight=weight)


def _scaled(network: nn.Module, sizes: Sizes) -> Classifier:
    n_statistics = (
        3 if isinstance(network, ConvLSTM) else 1
    )  # one scale for all sites of an MPA, which are the same kind of picture
    scale = Standardise(sizes.normalisation, n_statistics, sizes.n_rows)
    return Classifier(network, scale, sizes.n_channels - sizes.n_masks)


def _respirenet(sizes: Sizes) -> ImageClassifier:
    network = RespireNet(sizes.n_classes, sizes.backbone, sizes.dropout)
    return ImageClassifier(MelImage(sizes.clipping, sizes.zoom), network)


def _small_cnn(sizes: Sizes) -> Classifier:
    return _scaled(FeaturesOnly(SmallCNN(sizes.n_classes, dropout=sizes.dropout)), sizes)


def _convlstm(architecture: str, sizes: Sizes) -> Classifier:
    how = {k: getattr(sizes, k) for k in ("size", "readout", "hidden", "dropout", "n_classes", "n_positions")}
    return _scaled(ConvLSTM(architecture, **how), sizes)


def _site_cnn(sizes: Sizes) -> Classifier:
    return _scaled(FeaturesOnly(SiteCNN(sizes.n_channels, sizes.dropout, sizes.n_classes)), sizes)


def _by_position(sizes: Sizes) -> Classifier:
    networks = [SiteCNN(1, sizes.dropout, sizes.n_classes) for _ in range(sizes.n_positions)]
    return _scaled(ByPosition(networks), sizes)


@dataclass(frozen=True)
class Entry:
    """front_end: the features a classifier is given. build: its untrained network; None for one without epochs, which `fit` fits
    to numbers (N, D), classes, weights and patients (N,), and a seed. all_sites: a sample is a clip of each of the patient's
    sites, as channels."""

    front_end: FrontEndName
    build: Callable[[Sizes], Classifier | ImageClassifier] | None
    all_sites: bool = False
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], ClassifierMixin] | None = None


#: Front ends: an 8-bit log-mel at 4 kHz (RespireNet; the baselines take it too), log-mel, MFCC and LFCC at 8 kHz (Conv-LSTM),
#: or the first 150 rows of an STFT at 22,050 Hz (the paediatric paper), or what a frozen encoder makes of a clip.
CLASSIFIERS: dict[str, Entry] = {
    "boosting": Entry("mel image", None, fit=fit_boosting),
    "statistics + regression": Entry("mel image", None, fit=fit_regression),
    "encoder + regression": Entry("embedding", None, fit=fit_regression),
    "small CNN": Entry("mel image", _small_cnn),
    "RespireNet": Entry("mel image", _respirenet),
    **{name: Entry("stacked", partial(_convlstm, name)) for name in MODELS},
    "SiteCNN": Entry("stft", _site_cnn),
    "MPO": Entry("stft", _by_position),
    "MPA": Entry("stft", _site_cnn, all_sites=True),
}
