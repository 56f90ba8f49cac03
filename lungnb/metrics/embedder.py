"""Embeddings of sound for the distances of `lungnb.metrics.fidelity`: what an embedder is, and VGGish, on which the published FAD rests.

An embedder that is not here (PANNs, OPERA, HeAR, the project's own classifier) needs the two attributes and the one call of
`Embedder`, no more.
"""

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from lungnb.core import UserError


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
    (fact sheet of LungLDM, section 4). `width` and `hidden` are 64 and 4096 in the published net, 72.1 M parameters.
    """

    name, sample_rate = "VGGish", 16000
    SHORTEST = 32000  # samples, 2 s

    def __init__(self, width: int = 64, hidden: int = 4096, dims: int = 128):
        super().__init__()
        self.log_mel = VGGishLogMel()
        plan = [1, width, "pool", 2 * width, "pool", 4 * width, 4 * width, "pool", 8 * width, 8 * width, "pool"]
        layers, channels = [], plan[0]
        for size in plan[1:]:
            if size == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, size, 3, padding=1), nn.ReLU()]
                channels = size
        self.features = nn.Sequential(*layers)
        rows, columns = VGGishLogMel.FRAMES // 16, VGGishLogMel.N_MELS // 16
        sizes = [rows * columns * channels, hidden, hidden]
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
    state = {k: v for k, v in _read_tensors(files[0]).items() if not k.startswith("pproc.")}
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


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state, dict) and all(isinstance(v, torch.Tensor) for v in state.values()):
            return state
        reason = "it is not a state dict"
    except (OSError, EOFError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        reason = type(error).__name__
    raise UserError(f"{path} is no file of tensors alone ({reason}); save the state dict as safetensors.")
