"""The upsampling Conv-LSTM with metadata embeddings (Chen and Zhang, 2023, sections 3.2 to 3.6), and its ablation models.

The paper gives channels and two shapes, 64x16x19 after the convolutions and 304x64 before the LSTM, but neither the input
size nor any kernel. Three families of networks reach these shapes without force (docs/papers/convlstm.md, section 3); each is a
row of INPUTS, from the front end to the pools.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torchaudio
from torch import nn

from lungnb.features import decibels

Architecture = Literal["CNN", "Upsampling CNN", "ConvLstm", "full"]
MODELS: tuple[Architecture, ...] = get_args(Architecture)
InputName = Literal["A", "A5", "B", "stretched"]
CHANNELS = (8, 16, 32, 64)


@dataclass(frozen=True)
class Input:
    """Front end (seconds, hop_length, n_fft at 8 kHz, n_rows) and convolutions (padding, layers that are pooled).

    n_frames: of the picture; 0 where the hop decides.
    """

    seconds: float
    hop_length: int
    n_fft: int
    n_rows: int
    conv_padding: int
    pooled: tuple[int, ...]
    n_frames: int = 0

    @property
    def frames(self) -> int:
        return self.n_frames or 1 + round(self.seconds * 8000) // self.hop_length

    def front_end(self, sample_rate: int = 8000) -> "StackedMaps":
        """Maps of clips, or of events that are stretched to `n_frames`."""
        size = {"sample_rate": sample_rate, "n_fft": self.n_fft, "hop_length": self.hop_length, "n_rows": self.n_rows}
        return StretchedMaps(self.n_frames, **size) if self.n_frames else StackedMaps(**size)


INPUTS: dict[str, Input] = {
    "A": Input(3.0, 320, 512, 64, conv_padding=1, pooled=(1, 2, 3, 4)),  # 64 x 76, nothing is rounded anywhere
    "A5": Input(5.0, 512, 1024, 64, conv_padding=1, pooled=(1, 2, 3, 4)),  # 64 x 79, the hop of librosa
    "B": Input(3.0, 512, 1024, 40, conv_padding=0, pooled=(2, 3, 4)),  # 40 x 47, PyTorch's unpadded convolutions
    # Ours: a window of 32 ms every 5 ms, averaged to A's 64 x 76 over each event whatever its length (StretchedMaps).
    "stretched": Input(8.0, 40, 256, 64, conv_padding=1, pooled=(1, 2, 3, 4), n_frames=76),
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

    def __init__(self, width: int = 64, n_positions: int = N_POSITIONS):
        super().__init__()
        sizes = (self.N_AGES, self.N_SEXES, n_positions)
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
        n_classes: int = 7,
        n_positions: int = Metadata.N_POSITIONS,
    ):
        super().__init__()
        self.architecture, self.readout = architecture, readout
        shape, recurrent = INPUTS[size], architecture in ("ConvLstm", "full")
        self.convolutions = Convolutions(shape, upsampling=architecture != "CNN")
        with torch.no_grad():  # the one way to know the shape that cannot drift from the layers
            shape = self.convolutions.eval()(torch.zeros(1, 3, shape.n_rows, shape.frames)).shape[1:]
        self.convolutions.train()
        n_features = shape.numel()
        if recurrent:
            self.lstm = nn.LSTM(CHANNELS[-1], hidden, batch_first=True)
            n_features = hidden * (shape[1:].numel() if readout == "all" else 1)
        self.dropout = nn.Dropout(dropout)
        if architecture == "full":
            self.metadata = Metadata(64, n_positions)
            self.before = nn.Sequential(nn.Linear(n_features, 512), nn.Tanh(), nn.Linear(512, 64))
            self.after = nn.Sequential(nn.Linear(64 + 3 * 64, 64), nn.Tanh(), nn.Linear(64, n_classes))
        else:
            self.head = nn.Linear(n_features, n_classes)

    def forward(self, maps: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        features = self.convolutions(maps)
        if self.architecture in ("ConvLstm", "full"):
            steps, _ = self.lstm(features.flatten(2).transpose(1, 2))  # (B, 304, 64) -> (B, 304, hidden)
            features = steps if self.readout == "all" else steps[:, -1]
        features = self.dropout(features.flatten(1))
        if self.architecture != "full":
            return self.head(features)
        return self.after(torch.cat([self.before(features), self.metadata(metadata)], dim=1))


class StackedMaps(nn.Module):
    """Waveform (B, T) -> log-mel, MFCC and LFCC, one above the other (B, 3, n_rows, 1 + T // hop_length).

    The three channels of the paper (section 3.2), which gives no number; these are common choices (docs/papers/convlstm.md,
    section 2). Both filter banks span 0 to `sample_rate` / 2 with `n_rows` bands; levels are in dB re 1 within 80 dB of the
    clip's maximum; the coefficients are all `n_rows` of the orthonormal DCT-II over the bands, of the mel bands (Slaney scale
    and norm, as in librosa) for MFCC and of the linear bands for LFCC.
    """

    def __init__(self, sample_rate=8000, n_fft=512, hop_length=320, n_rows=64, top_db=80.0):
        super().__init__()
        self.top_db = top_db
        self.spectrum = torchaudio.transforms.Spectrogram(n_fft, hop_length=hop_length, power=None, pad_mode="constant")
        n_bins, nyquist = 1 + n_fft // 2, sample_rate / 2
        mel = torchaudio.functional.melscale_fbanks(n_bins, 0.0, nyquist, n_rows, sample_rate, "slaney", "slaney")
        linear = torchaudio.functional.linear_fbanks(n_bins, 0.0, nyquist, n_rows, sample_rate)
        self.register_buffer("banks", torch.cat([mel, linear], dim=1))
        self.register_buffer("dct", torchaudio.functional.create_dct(n_rows, n_rows, "ortho"))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.maps(self.power(waveform))

    def power(self, waveform: torch.Tensor) -> torch.Tensor:
        """Power in the mel and in the linear bands, side by side (B, frames, 2 n_rows)."""
        spectrum = self.spectrum(waveform).mT  # frames first, as it lies in memory: the products are one each
        return (spectrum.real.square() + spectrum.imag.square()) @ self.banks

    def maps(self, power: torch.Tensor) -> torch.Tensor:
        """The three maps (B, 3, n_rows, frames) of such power."""
        mel, linear = (decibels(part, self.top_db) for part in power.chunk(2, dim=2))
        return torch.stack([mel, mel @ self.dct, linear @ self.dct], dim=1).mT


class StretchedMaps(StackedMaps):
    """Events (B, T), silent past their `length` (B,) in samples -> the same three maps (B, 3, n_rows, n_frames), each filled.

    Ours. Power is averaged over time into `n_frames` equal parts of the event, so a crackle of 10 ms is not thinned by the
    silence behind a short event. The length of an event no longer shows as a width, only in that long ones have smoother frames.
    """

    def __init__(self, n_frames: int = 76, **size):
        super().__init__(**size)
        self.n_frames = n_frames

    def forward(self, waveform: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        powers = (self.power(sound[None, :n]).mT for sound, n in zip(waveform, length.tolist(), strict=True))
        stretched = [nn.functional.adaptive_avg_pool1d(power, self.n_frames).mT for power in powers]
        return self.maps(torch.cat(stretched))


def class_weights(label: torch.Tensor, form: str, n_classes: int = 7) -> torch.Tensor:
    """Weights of the cross-entropy (section 3.6): N / (C n_c), its square root, or 1; a class without events has weight 0."""
    count = torch.bincount(label, minlength=n_classes)
    inverse = torch.where(count > 0, len(label) / (n_classes * count.clamp(min=1)), 0.0)
    return {"inverse": inverse, "inverse square root": inverse.sqrt(), "none": torch.ones_like(inverse)}[form]
