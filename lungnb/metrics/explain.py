"""Where a network looks: Grad-CAM and Grad-CAM++ on the spectrogram, and how much of it falls on the true sounds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from lungnb.features import LogMel

METHODS = {"Grad-CAM": GradCAM, "Grad-CAM++": GradCAMPlusPlus}


def class_maps(
    network: nn.Module, layer: nn.Module, images: torch.Tensor, classes: Sequence[int], method: str
) -> np.ndarray:
    """Maps (B, H, W) in 0..1 of what speaks for `classes`, one an image (B, C, H, W), at `layer` by one of METHODS.

    The library takes the least value of a map for 0 and the greatest for 1; a map that is the same everywhere is 0.
    """
    with METHODS[method](model=network, target_layers=[layer]) as cam:
        return np.asarray(cam(input_tensor=images, targets=[ClassifierOutputTarget(int(c)) for c in classes]))


def grad_cam_plus_plus(model: nn.Module, layer: nn.Module, levels: torch.Tensor, classes: Sequence[int]) -> np.ndarray:
    """Grad-CAM++ (Chattopadhyay et al. 2018) of `classes` at `layer`: levels (B, H, W) -> maps (B, H, W) in 0..1.

    Row 0 is the top of the image, the highest frequency, as in `MelImage`. With blank region clipping the map belongs to the
    stretched image: `unstretch` brings it back to the frequencies of the spectrogram.
    """
    maps = class_maps(model.net, layer, model.front.image(levels).detach(), classes, "Grad-CAM++")
    maps = torch.from_numpy(maps)[:, None]
    return nn.functional.interpolate(maps, size=levels.shape[1:], mode="bilinear")[:, 0].numpy()


def grad_cam(network: nn.Module, layer: nn.Module, images: torch.Tensor, label: int) -> np.ndarray:
    """Grad-CAM (Selvaraju et al. 2017) of class `label` at `layer`: images (B, C, H, W) -> maps (B, H, W) in 0..1.

    The mean gradient of the class's logit weighs each channel of the layer; what is left of their sum above 0 speaks for the
    class. Rows are those of the images.
    """
    return class_maps(network, layer, images, [label] * len(images), "Grad-CAM")


def unstretch(maps: np.ndarray, cut: Sequence[int]) -> np.ndarray:
    """Undo blank region clipping: maps (B, H, W) of images whose top `cut` rows were removed -> maps over all H rows."""
    out = np.zeros_like(maps)
    for to, full, rows in zip(out, torch.from_numpy(maps), cut, strict=True):
        rest = nn.functional.interpolate(
            full[None, None], size=(full.shape[0] - int(rows), full.shape[1]), mode="bilinear"
        )
        to[int(rows) :] = rest[0, 0].numpy()
    return out


def mel_edges(n_mels: int = 64, f_min: float = 50.0, f_max: float = 2000.0) -> np.ndarray:
    """Centres of the mel bands in Hz, lowest first (n_mels,)."""
    bank = LogMel(n_mels=n_mels, f_min=f_min, f_max=f_max).mel.fb.numpy()
    frequency = np.linspace(0, 2000, len(bank))
    return (bank * frequency[:, None]).sum(0) / bank.sum(0)


def truth_mask(boxes: pd.DataFrame, start_s: float, shape: tuple[int, int], frame_s: float = 0.032) -> np.ndarray:
    """True where a simulated sound lies: boxes (columns start_s, end_s, low_hz, high_hz, seconds of the recording) of an event
    that starts at `start_s` -> boolean (n_mels, frames), row 0 = highest frequency. Boxes are at least one pixel.
    """
    mask, centre = np.zeros(shape, dtype=bool), mel_edges(shape[0])[::-1]
    for box in boxes.itertuples():
        rows = np.flatnonzero((centre >= box.low_hz) & (centre <= box.high_hz))
        if not len(rows):
            rows = [np.abs(centre - (box.low_hz + box.high_hz) / 2).argmin()]
        first, last = (int((t - start_s) / frame_s) for t in (box.start_s, box.end_s))
        mask[np.ix_(rows, range(max(first, 0), min(last + 1, shape[1])))] = True
    return mask


def energy_inside(maps: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Share of each map's sum that lies inside its mask: (B, H, W), boolean (B, H, W) -> (B,); NaN for a map of zeros.

    A map that looks nowhere in particular scores the share of the image that the mask covers.
    """
    total = maps.sum(axis=(1, 2))
    return np.divide((maps * mask).sum(axis=(1, 2)), total, out=np.full(len(maps), np.nan), where=total > 0)


def read_truth(folder: Path) -> pd.DataFrame:
    """The simulator's record of every adventitious sound beside the data set in `folder` (recording, kind, start_s, ...)."""
    return pd.read_csv(folder.with_name(folder.name + "_truth") / "events.csv")
