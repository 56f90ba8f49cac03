"""Every classifier of the book behind one door: maps (B, C, rows, frames) and about (B, 3) -> logits (B, n_classes).

The networks are the papers' own, from their modules; only the last layer is as wide as the task has classes. `about` are
indices of age, sex and position: the Conv-LSTM's full model embeds them, MPO reads the position, the others look away.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from lungnb.classification.baselines import SmallCNN
from lungnb.features import BlankRegionClipping, MelImage
from lungnb.features.augment import shift_and_mask
from lungnb.papers.convlstm_model import ConvLSTM
from lungnb.papers.pediatric_model import SiteCNN
from lungnb.papers.respirenet_model import Backbone, RespireNet

FrontEnd = Literal["levels", "stacked", "crop"]
Model = Literal[
    "boosting", "small CNN", "RespireNet", "CNN", "Upsampling CNN", "ConvLstm", "full", "SiteCNN", "MPO", "MPA"
]
#: What each hears: grey levels of a log-mel at 4 kHz (RespireNet), log-mel, MFCC and LFCC at 8 kHz (Conv-LSTM), or the first
#: 150 rows of an STFT at 22,050 Hz (PneumoNet). The baselines take the first.
FRONT_OF: dict[str, FrontEnd] = {
    "boosting": "levels",
    "small CNN": "levels",
    "RespireNet": "levels",
    "CNN": "stacked",
    "Upsampling CNN": "stacked",
    "ConvLstm": "stacked",
    "full": "stacked",
    "SiteCNN": "crop",
    "MPO": "crop",
    "MPA": "crop",
}


@dataclass(frozen=True)
class Sizes:
    """What a network must know before it is built, and the choices of its paper that a CPU cannot afford."""

    n_classes: int
    n_sites: int
    backbone: Backbone = "resnet34"
    zoom: int = 3
    clipping: BlankRegionClipping = "none"
    hidden: int = 512
    dropout: float = 0.2


class Classifier(nn.Module):
    """A network and the scale of its maps: rows minus their mean over their sd, of the maps trained on."""

    def __init__(self, network: nn.Module, n_channels: int, n_rows: int):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(1, n_channels, n_rows, 1))
        self.register_buffer("sd", torch.ones(1, n_channels, n_rows, 1))
        self.to(memory_format=torch.channels_last)  # convolutions and pooling are 1.3 to 3 times faster so

    @torch.no_grad()
    def fit_statistics(self, batches) -> None:
        """Set the scale from batches of maps, each (B, C, rows, frames)."""
        n, total, square = 0, 0.0, 0.0
        for maps in batches:
            x = maps.double()
            n += x[:, 0, 0].numel()
            total, square = total + x.sum((0, 3)), square + x.square().sum((0, 3))
        mean = total / n
        self.mean.copy_(mean[None, :, :, None])
        self.sd.copy_((square / n - mean.square()).clamp(min=1e-6).sqrt()[None, :, :, None])

    def forward(
        self, maps: torch.Tensor, about: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """generator: rolled and masked maps by its draws, for training."""
        maps = (maps.float() - self.mean) / self.sd
        if generator is not None:
            maps = shift_and_mask(maps, generator)
        return self.network(maps.contiguous(memory_format=torch.channels_last), about)


class Painted(nn.Module):
    """RespireNet behind its own front end: grey levels, painted, clipped and standardised by `MelImage`."""

    def __init__(self, front: MelImage, network: RespireNet):
        super().__init__()
        self.front, self.network = front, network

    def fit_statistics(self, batches) -> None:
        """Set the mean and sd of the colours from batches of levels, each (B, 1, rows, frames)."""
        self.front.fit_statistics(levels[:, 0] for levels in batches)

    def forward(
        self, maps: torch.Tensor, about: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        if generator is not None:
            maps = shift_and_mask(maps, generator)  # 0 is silence here
        return self.network(self.front.image(maps[:, 0]))


class MapsOnly(nn.Module):
    """A network that does not ask what else is known of a clip."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, maps: torch.Tensor, about: torch.Tensor) -> torch.Tensor:
        return self.network(maps)


class ByPosition(nn.Module):
    """MPO (PneumoNet, section III): one network a position. A clip of an unknown one gets the mean of all."""

    def __init__(self, networks: list[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, maps: torch.Tensor, about: torch.Tensor) -> torch.Tensor:
        position, parts, places = about[:, 2], [], []
        for k in position.unique().tolist():
            at = torch.nonzero(position == k).squeeze(1)
            asked = self.networks if k >= len(self.networks) else [self.networks[k]]
            parts.append(torch.stack([network(maps[at]) for network in asked]).mean(0))
            places.append(at)
        return torch.cat(parts)[torch.cat(places).argsort()]


def build(model: Model, sizes: Sizes, n_channels: int, n_rows: int) -> Classifier | Painted:
    """The untrained network `model` for maps of `n_channels` and `n_rows`."""
    if model == "RespireNet":
        net = RespireNet(sizes.n_classes, sizes.backbone, sizes.dropout)
        return Painted(MelImage(sizes.clipping, sizes.zoom), net)
    if FRONT_OF[model] == "stacked":
        network = _convlstm(model, sizes)
    elif model == "small CNN":
        network = MapsOnly(SmallCNN(sizes.n_classes, dropout=sizes.dropout))
    elif model == "MPO":
        network = ByPosition([_site_cnn(1, sizes) for _ in range(sizes.n_sites)])
    else:
        network = MapsOnly(_site_cnn(n_channels, sizes))
    return Classifier(network, n_channels, n_rows)


def _site_cnn(n_sites: int, sizes: Sizes) -> SiteCNN:
    network = SiteCNN(n_sites, sizes.dropout)
    network.head = nn.Linear(network.head.in_features, sizes.n_classes)
    return network


def _convlstm(model: Model, sizes: Sizes) -> ConvLSTM:
    network = ConvLSTM(model, hidden=sizes.hidden, dropout=sizes.dropout)
    if model == "full":
        network.after[-1] = nn.Linear(network.after[-1].in_features, sizes.n_classes)
        positions = network.metadata.tables[2]
        network.metadata.tables[2] = nn.Embedding(sizes.n_sites + 1, positions.embedding_dim)
    else:
        network.head = nn.Linear(network.head.in_features, sizes.n_classes)
    return network
