"""Embeddings of sound (any backbone; VGGish, on which the published FAD rests), and whether clips were learnt by heart.

An embedder that is not here (PANNs, OPERA, HeAR, the project's own classifier) needs the two attributes and the one call of
`Embedder`, no more.
"""

import pickle
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from sklearn.neighbors import NearestNeighbors
from torch import nn

from lungnb.core import UserError

HELD_OUT = "held-out"


class Embedder(Protocol):
    """Waveform (B, T) float at `sample_rate`, in -1 to 1 -> embeddings (B, windows, dims); name is shown beside distances."""

    name: str
    sample_rate: int

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor: ...


@torch.inference_mode()
def embed(embedder: Embedder, waveform: torch.Tensor, batch: int = 32) -> np.ndarray:
    """All clips (N, T) in batches: (N, windows, dims) float32. FAD takes `.reshape(-1, dims)`, all windows of all clips."""
    return torch.cat([embedder(part).float().cpu() for part in waveform.split(batch)]).numpy()


class VGGishLogMel(nn.Module):
    """Waveform (B, T) at 16 kHz -> log-mel windows (B, windows, 96, 64) of 0.96 s that do not overlap, the rest dropped.

    VGGish's published front end (Hershey et al., 2017): periodic Hann of 25 ms every 10 ms, not centred; FFT of 512; magnitude;
    64 triangles equally wide on the mel scale 1127 ln(1 + f / 700) of 125 to 7500 Hz; ln(mel + 0.01).
    """

    WINDOW, HOP, N_FFT, N_MELS, FRAMES = 400, 160, 512, 64, 96

    def __init__(self):
        super().__init__()
        hz = np.linspace(0, 8000, self.N_FFT // 2 + 1)
        bins, (low, high) = _mel(hz), _mel(np.array([125.0, 7500.0]))
        corners = np.linspace(low, high, self.N_MELS + 2)
        bank = np.stack([np.interp(bins, corners[k : k + 3], [0, 1, 0], 0, 0) for k in range(self.N_MELS)], axis=1)
        self.register_buffer("bank", torch.from_numpy(bank).float(), persistent=False)
        self.register_buffer("hann", torch.hann_window(self.WINDOW), persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        frames = waveform.unfold(1, self.WINDOW, self.HOP) * self.hann
        mel = torch.fft.rfft(frames, self.N_FFT).abs() @ self.bank
        return torch.log(mel + 0.01).unfold(1, self.FRAMES, self.FRAMES).mT


def _mel(hz: np.ndarray) -> np.ndarray:
    return 1127 * np.log1p(hz / 700)


class VGGish(nn.Module):
    """VGGish (Hershey et al., 2017) as FAD uses it: waveform (B, T) at 16 kHz -> (B, windows, 128), one window per 0.96 s.

    The mean of each clip is removed, clips under 2 s are padded with silence, no PCA follows and the last layer has no ReLU
    (docs/papers/lungldm.md, section 4). `width` and `hidden` are 64 and 4096 in the published net, 72.1 M parameters.
    """

    name, sample_rate = "VGGish", 16000
    SHORTEST = 32000  # samples, 2 s

    def __init__(self, width: int = 64, hidden: int = 4096, dims: int = 128):
        super().__init__()
        self.log_mel = VGGishLogMel()
        layers, channels = [], 1
        for sizes in ([width], [2 * width], 2 * [4 * width], 2 * [8 * width]):
            for size in sizes:
                layers += [nn.Conv2d(channels, size, 3, padding=1), nn.ReLU()]
                channels = size
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        sizes = [VGGishLogMel.FRAMES // 16 * (VGGishLogMel.N_MELS // 16) * channels, hidden, hidden]
        dense = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.embeddings = nn.Sequential(*dense, nn.Linear(hidden, dims))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        waveform = waveform - waveform.mean(dim=1, keepdim=True)
        waveform = nn.functional.pad(waveform, (0, max(0, self.SHORTEST - waveform.shape[1])))
        windows = self.log_mel(waveform)
        maps = self.features(windows.flatten(0, 1)[:, None])
        flat = maps.permute(0, 2, 3, 1).flatten(1)  # channels last, as the published weights lie
        return self.embeddings(flat).unflatten(0, windows.shape[:2])


def load_vggish(folder: str | Path) -> VGGish:
    """VGGish with the weights of the one `.safetensors`, `.pth` or `.pt` file in a local folder; nothing is downloaded.

    Keys, as in the torch ports of the published weights: `features.{0,3,6,8,11,13}.{weight,bias}` for the convolutions and
    `embeddings.{0,2,4}.{weight,bias}` for the linear layers; a `pproc.` part (PCA) is left out. Widths are read from the shapes.
    Raises UserError if there is no such file, if it holds more than tensors (a pickle that would run code is refused), or if
    keys or shapes are others.
    """
    folder = Path(folder).expanduser()
    files = [path for suffix in ("safetensors", "pth", "pt") for path in sorted(folder.glob(f"*.{suffix}"))]
    if len(files) != 1:
        raise UserError(
            f"The folder {folder} holds {len(files)} files of weights (.safetensors, .pth or .pt), but VGGish needs one; put "
            "it there, or leave VGGish out and use the project's own classifier."
        )
    try:
        is_safe = files[0].suffix == ".safetensors"
        state = load_file(files[0]) if is_safe else torch.load(files[0], map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        reason = type(error).__name__
        raise UserError(
            f"{files[0]} is no file of tensors alone ({reason}); save the state dict as safetensors."
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"{files[0]} is no file of tensors alone (it is not a state dict); save it as safetensors.")
    state = {k: v for k, v in state.items() if not str(k).startswith("pproc.")}
    try:
        width, hidden = len(state["features.0.bias"]), len(state["embeddings.0.bias"])
        model = VGGish(width, hidden, len(state["embeddings.4.bias"]))
        model.load_state_dict(state)
    except (KeyError, RuntimeError, TypeError) as error:
        raise UserError(
            f"{files[0]} does not hold VGGish: keys or shapes differ from features.0.weight to embeddings.4.bias; take a torch "
            "port of the published weights."
        ) from error
    return model.eval().requires_grad_(False)


# ---- memorisation


def cell_means(log_mel: torch.Tensor) -> np.ndarray:
    """Log-mels (N, 1, frames, 64) averaged over 4 x 4 cells, so that the grain of noise does not count: (N, frames * 4)."""
    return np.concatenate([nn.functional.avg_pool2d(x.float(), 4).flatten(1).numpy() for x in log_mel.split(256)])


def duplicates(embedding: np.ndarray, tolerance: float = 1e-3) -> np.ndarray:
    """For each clip (n, dims) the index (n,) of the first that is the same within `tolerance` (RMS over dims), or its own."""
    search = NearestNeighbors(radius=tolerance * np.sqrt(embedding.shape[1]), algorithm="brute").fit(embedding)
    first = np.arange(len(embedding))
    for start in range(0, len(embedding), 1024):
        near = search.radius_neighbors(embedding[start : start + 1024], return_distance=False)
        for i, same in enumerate(near, start):
            first[i] = first[min(same.min(initial=i), i)]
    return first


def nearest_training(training: np.ndarray, held_out: np.ndarray, sets: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """How near each clip of `sets` comes to the training clips, and each held-out clip, all embedded alike (n, dims).

    Columns clips (the name of its set, or "held-out"), place (its row there), nearest (the row in training), distance (to
    that, RMS over dims) and ratio, the distance over that to the next nearest. Whatever moves a clip as a whole away from all
    others, such as blur, makes the distance of a copy large, but leaves it one clip to which it is much nearer than to any other.
    Duplicates among the training clips are set aside; held_out shares no patient with training.
    """
    distinct = np.unique(duplicates(training))
    search = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(training[distinct])
    parts = []
    for name, clips in {**sets, HELD_OUT: held_out}.items():
        if clips.shape[1:] != training.shape[1:]:
            raise UserError(
                f"{name} clips have shape {clips.shape[1:]}, training {training.shape[1:]}; embed both alike."
            )
        distance, at = search.kneighbors(clips)
        columns = {"distance": distance[:, 0] / np.sqrt(clips.shape[1]), "ratio": distance[:, 0] / distance[:, 1]}
        part = {"clips": name, "place": np.arange(len(clips)), "nearest": distinct[at[:, 0]]} | columns
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)
