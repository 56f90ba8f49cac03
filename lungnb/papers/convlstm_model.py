"""The upsampling Conv-LSTM with metadata embeddings (Chen and Zhang, 2023, sections 3.3 to 3.6), and its ablation models.

The paper gives channels and two shapes, 64x16x19 after the convolutions and 304x64 before the LSTM, but neither the input
size nor any kernel. Three families of networks reach these shapes without force (docs/papers/convlstm.md, section 3);
each is a row of INPUTS, from the front end to the pools.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

Architecture = Literal["CNN", "Upsampling CNN", "ConvLstm", "full"]
InputName = Literal["A", "A5", "B"]
CHANNELS = (8, 16, 32, 64)
N_CLASSES = 7


@dataclass(frozen=True)
class Input:
    """Front end (seconds, hop_length, n_fft at 8 kHz, n_rows) and convolutions (padding, layers that are pooled)."""

    seconds: float
    hop_length: int
    n_fft: int
    n_rows: int
    conv_padding: int
    pooled: tuple[int, ...]


INPUTS: dict[str, Input] = {
    "A": Input(3.0, 320, 512, 64, conv_padding=1, pooled=(1, 2, 3, 4)),  # 64 x 76, nothing is rounded anywhere
    "A5": Input(5.0, 512, 1024, 64, conv_padding=1, pooled=(1, 2, 3, 4)),  # 64 x 79, the hop of librosa
    "B": Input(3.0, 512, 1024, 40, conv_padding=0, pooled=(2, 3, 4)),  # 40 x 47, PyTorch's unpadded convolutions
}


class Convolutions(nn.Sequential):
    """Maps (B, 3, n_rows, frames) -> (B, 64, 16, 19) with upsampling, (B, 64, 4, 4) or (B, 64, 3, 3) without.

    Four 3x3 convolutions, batch norm and ReLU after each (section 3.6), max pooling by 2; with `upsampling` each value is
    duplicated (section 3.3) in both directions after the 2nd and 3rd.
    """

    def __init__(self, size: Input, upsampling: bool):
        layers, before = [], 3
        for n, channels in enumerate(CHANNELS, start=1):
            layers += [nn.Conv2d(before, channels, 3, padding=size.conv_padding), nn.BatchNorm2d(channels), nn.ReLU()]
            if n in size.pooled:
                layers.append(nn.MaxPool2d(2))
            if upsampling and n in (2, 3):
                layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
            before = channels
        super().__init__(*layers)


class Metadata(nn.Module):
    """Indices of age, sex and position (B, 3) -> three embeddings side by side (B, 3 * 64) (section 3.5).

    Age in 19 bins of a year; each table has one more row for what is unknown.
    """

    N_AGES, N_SEXES, N_POSITIONS = 19, 2, 4

    def __init__(self, width: int = 64):
        super().__init__()
        sizes = (self.N_AGES, self.N_SEXES, self.N_POSITIONS)
        self.tables = nn.ModuleList(nn.Embedding(n + 1, width) for n in sizes)

    def forward(self, metadata: torch.Tensor) -> torch.Tensor:
        return torch.cat([table(metadata[:, k]) for k, table in enumerate(self.tables)], dim=1)


class ConvLSTM(nn.Module):
    """Maps (B, 3, n_rows, frames) and metadata (B, 3) -> logits (B, 7); softmax belongs to inference.

    "CNN": convolutions, one linear layer. "Upsampling CNN": the same with upsampling. "ConvLstm": its 64x16x19 as a
    sequence of 304 steps of 64 (row by row, so time runs inside each frequency row), an LSTM of `hidden`, one linear layer.
    "full": instead of that layer, four: to 512, tanh, to 64, beside 3 x 64 of metadata, to 64, tanh, to 7 (section 3.6;
    widths and the ablations' heads are not given). readout: the LSTM's output at all 304 steps ("flattened output"), or the
    last. dropout, ours, is before the first linear layer. Only the full model looks at the metadata.
    """

    def __init__(
        self,
        architecture: Architecture = "full",
        size: InputName = "A",
        readout: Literal["all", "last"] = "all",
        hidden: int = 512,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.architecture, self.readout = architecture, readout
        given, recurrent = INPUTS[size], architecture in ("ConvLstm", "full")
        self.convolutions = Convolutions(given, upsampling=architecture != "CNN")
        frames = 1 + round(given.seconds * 8000) // given.hop_length
        with torch.no_grad():  # the one way to know the shape that cannot drift from the layers
            shape = self.convolutions.eval()(torch.zeros(1, 3, given.n_rows, frames)).shape
        self.convolutions.train()
        n_features = shape[1:].numel()
        if recurrent:
            self.lstm = nn.LSTM(CHANNELS[-1], hidden, batch_first=True)
            n_features = hidden * (shape[2:].numel() if readout == "all" else 1)
        self.dropout = nn.Dropout(dropout)
        if architecture == "full":
            self.metadata = Metadata(64)
            self.before = nn.Sequential(nn.Linear(n_features, 512), nn.Tanh(), nn.Linear(512, 64))
            self.after = nn.Sequential(nn.Linear(64 + 3 * 64, 64), nn.Tanh(), nn.Linear(64, N_CLASSES))
        else:
            self.head = nn.Linear(n_features, N_CLASSES)

    def forward(self, maps: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        features = self.convolutions(maps)
        if self.architecture in ("ConvLstm", "full"):
            steps, _ = self.lstm(features.flatten(2).transpose(1, 2))  # (B, 304, 64) -> (B, 304, hidden)
            features = steps if self.readout == "all" else steps[:, -1]
        features = self.dropout(features.flatten(1))
        if self.architecture != "full":
            return self.head(features)
        return self.after(torch.cat([self.before(features), self.metadata(metadata)], dim=1))
