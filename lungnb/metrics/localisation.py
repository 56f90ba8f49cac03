"""Does a map point at the sound? Clips with their true places, one grid of hertz and seconds, and scores of maps against it.

The front ends draw the same sound differently: mel bands to 2 kHz, mel bands to 4 kHz with cepstra behind them, STFT rows to
1.6 kHz. So maps are brought to the band that all of them show, where the true places of the simulator are.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import librosa
import numpy as np
import pandas as pd
import torch
from scipy.ndimage import binary_dilation
from scipy.stats import ConstantInputWarning, spearmanr
from torch import nn

from lungnb.core import UserError
from lungnb.features import LogMel

#: What all front ends show, and a cell of the common grid: Hz, s. A crackle of 15 ms is thinner than any of their frames.
BAND_HZ = (50.0, 1600.0)
CELL = (25.0, 0.05)
#: How far, Hz and s, a maximum may lie beside a box and still be a hit.
TOLERANCE = (50.0, 0.1)
#: Octaves of the common grid, Hz: heart and body, breath and wheezes, wheezes and crackles, fine crackles.
BANDS_HZ = ((50, 200), (200, 400), (400, 800), (800, 1600))


@dataclass(frozen=True)
class Examples:
    """N clips as one network is given them: features (N, C, rows, frames), metadata (N, 3), label (N,).

    hertz (rows,), second (frames,): the centres of its rows and frames. boxes: the true places of the sounds in each clip
    (start_s, end_s of the clip, low_hz, high_hz), or none.
    """

    features: torch.Tensor
    metadata: torch.Tensor
    label: torch.Tensor
    hertz: np.ndarray
    second: np.ndarray
    clip_s: float
    boxes: list[pd.DataFrame]

    @property
    def masks(self) -> np.ndarray:
        """The true places on the common grid (N, 62, frames)."""
        return np.stack([box_mask(boxes, *grid(self.clip_s)) for boxes in self.boxes])

    @property
    def own_masks(self) -> np.ndarray:
        """The true places on the network's own rows and frames (N, rows, frames)."""
        return np.stack([box_mask(boxes, self.hertz, self.second) for boxes in self.boxes])

    def on_grid(self, maps: np.ndarray) -> np.ndarray:
        """Maps (N, rows, frames) of these clips on the common grid (N, 62, frames), linearly between centres.

        A map counts as a density over hertz and seconds; past its outermost centres it stays as it is there.
        """
        to_hertz, to_second = grid(self.clip_s)
        return _between(self.hertz, to_hertz) @ maps @ _between(self.second, to_second).T


def grid(clip_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the cells of the common grid over a clip: hertz, lowest first (62,), and seconds (frames,)."""
    (low, high), (hertz, second) = BAND_HZ, CELL
    return low + hertz * (np.arange((high - low) / hertz) + 0.5), second * (np.arange(round(clip_s / second)) + 0.5)


def _between(at: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Weights (len(to), len(at)) of linear interpolation."""
    order = np.argsort(at)
    return np.stack([np.interp(to, at[order], unit[order]) for unit in np.eye(len(at))], axis=1)


def box_mask(boxes: pd.DataFrame, hertz: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cells (rows, frames), centred at `hertz` and `second`, that boxes (start_s, end_s, low_hz, high_hz) touch."""
    mask = np.zeros((len(hertz), len(second)), dtype=bool)
    (bottom, top), (begin, end) = _edges(hertz), _edges(second)
    for box in boxes.itertuples():
        rows, frames = (bottom <= box.high_hz) & (top >= box.low_hz), (begin <= box.end_s) & (end >= box.start_s)
        mask |= rows[:, None] & frames
    return mask


def _edges(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge of each cell: half way to the next centre."""
    between = (at[1:] + at[:-1]) / 2
    edges = np.concatenate([[2 * at[0] - between[0]], between, [2 * at[-1] - between[-1]]])
    return np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])


def true_sounds(truth: pd.DataFrame, kind: str, recording: str, start_s: float, end_s: float) -> pd.DataFrame:
    """Rows of the simulator's `truth` of a kind (any if "abnormal") in [start_s, end_s) of a recording and within BAND_HZ."""
    here = truth[(truth["recording"] == recording) & (truth["end_s"] > start_s) & (truth["start_s"] < end_s)]
    of_kind = here["kind"].str.startswith("" if kind == "abnormal" else kind)
    return here[of_kind & (here["low_hz"] < BAND_HZ[1]) & (here["high_hz"] > BAND_HZ[0])]


def choose_events(events: pd.DataFrame, truth: pd.DataFrame | None, n: int, kinds: Sequence[str]) -> pd.DataFrame:
    """Up to `n` events of each of `kinds` (labels), patients in turn.

    With `truth` only those in whose first three seconds, and so in the first clip of every network, a sound of that kind is
    known. Raises UserError if there are none of a kind.
    """
    chosen = []
    for kind in kinds:
        here = events[events["label"] == kind]
        if truth is not None:
            spans = ((e.recording, e.start_s, min(e.end_s, e.start_s + 3)) for e in here.itertuples())
            here = here[[len(true_sounds(truth, kind, *span)) > 0 for span in spans]]
        if here.empty:
            raise UserError(f"No test patient has a {kind} to look at; use more patients.")
        turn = here.groupby("patient").cumcount().sort_values(kind="stable")
        chosen.append(here.loc[turn.index[:n]])
    return pd.concat(chosen)


def clip_boxes(event: pd.Series, segments: Sequence[tuple[float, float]], truth: pd.DataFrame) -> pd.DataFrame:
    """The true sounds of the event's kind in a clip that joins `segments` (start, length in s of the event), in s of the clip."""
    at, boxes = 0.0, []
    for first, lasts in segments:
        start = event["start_s"] + first
        here = true_sounds(truth, event["label"], event["recording"], start, start + lasts).copy()
        for column in ("start_s", "end_s"):
            here[column] = here[column].clip(start, start + lasts) - start + at
        boxes.append(here)
        at += lasts
    return pd.concat(boxes, ignore_index=True)


def mel_centers(n_mels: int = 64, f_min: float = 50.0, f_max: float = 2000.0) -> np.ndarray:
    """Centres of the mel bands of RespireNet's front end in Hz, lowest first (n_mels,)."""
    weights = LogMel(n_mels=n_mels, f_min=f_min, f_max=f_max).mel.fb.numpy()
    return (weights * np.linspace(0, 2000, len(weights))[:, None]).sum(0) / weights.sum(0)


def feature_axes(
    front_end: str, rows: int, frames: int, pooling: Sequence[int] = (1, 1)
) -> tuple[np.ndarray, np.ndarray]:
    """What features of a front end show: the centre of each row in Hz (rows,), and of each frame in s (frames,).

    The stacked features have log-mel, MFCC and LFCC as channels over the same rows. We read a row as its mel band, which is
    exact for the first channel only: a cepstral coefficient is at no frequency. Its frames are exact for all three. Raises
    UserError for a front end whose rows are at no frequency, or unknown.
    """
    row, frame = np.arange(rows), np.arange(frames)
    if front_end == "mel image":  # 4 kHz, a frame every 128 samples, row 0 = highest band
        return mel_centers(rows)[::-1], frame * 128 / 4000
    if front_end == "stacked":  # 8 kHz, a frame every 320 samples
        return librosa.mel_frequencies(rows + 2, fmin=0, fmax=4000)[1:-1], frame * 320 / 8000
    if front_end != "stft":
        raise UserError(f"Where the features of {front_end!r} lie is not known; choose mel image, stacked or stft.")
    of_row, of_frame = pooling  # a row is the mean of `of_row` bins of an FFT of 2048 samples at 22,050 Hz
    return (row * of_row + (of_row - 1) / 2) * 22050 / 2048, (frame * of_frame + (of_frame - 1) / 2) * 512 / 22050


# ---- scores of maps (B, rows, frames) against masks (B, rows, frames) on the common grid


def widen(masks: np.ndarray) -> np.ndarray:
    """Masks with each box wider by TOLERANCE on all sides."""
    rows, frames = (round(far / cell) for far, cell in zip(TOLERANCE, CELL, strict=True))
    return binary_dilation(masks, np.ones((1, 2 * (rows if masks.shape[1] > 1 else 0) + 1, 2 * frames + 1)))


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Pointing game (Zhang et al. 2016): hit = 1 if argmax M lies in a box or within TOLERANCE of it, else 0; (B,).

    Where several cells are the greatest, their mean; so a map that is the same everywhere scores `pointing_chance`.
    """
    greatest = maps == maps.max(axis=(1, 2), keepdims=True)
    return (greatest & widen(masks)).sum(axis=(1, 2)) / greatest.sum(axis=(1, 2))


def pointing_chance(masks: np.ndarray) -> np.ndarray:
    """What a point thrown at random scores in the pointing game: the share of cells that are hits (B,)."""
    return widen(masks).mean(axis=(1, 2))


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """E = sum of M in the boxes / sum of M (Wang et al. 2020, Score-CAM); (B,). A map of zeros says nothing: the area's share.

    `masks.mean((1, 2))`, the share of the cells that the boxes cover, is what a map scores that looks everywhere alike.
    """
    total = maps.sum(axis=(1, 2))
    return np.divide((maps * masks).sum(axis=(1, 2)), total, out=masks.mean(axis=(1, 2)), where=total > 0)


def over_time(array: np.ndarray) -> np.ndarray:
    """Maps (B, H, W) -> means over frequency (B, 1, W); masks -> frames in which there is a sound."""
    return array.any(axis=1, keepdims=True) if array.dtype == bool else array.mean(axis=1, keepdims=True)


def map_scores(maps: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    """Three scores of maps (B, 62, frames) on the common grid, each (B,): pointing, moment (pointing in time alone), energy."""
    moment = pointing_game(over_time(maps), over_time(masks))
    return {"pointing": pointing_game(maps, masks), "moment": moment, "energy": energy_inside(maps, masks)}


def at_detail(masks: np.ndarray, detail: tuple[int, int]) -> np.ndarray:
    """True places (B, rows, frames) as a map that has no finer detail than (rows, frames) can show them: the share of each
    of its cells that they cover, enlarged to the size of the masks as maps of a layer are. A yardstick for such maps, and no
    strict bound."""
    cells = nn.functional.adaptive_avg_pool2d(torch.from_numpy(masks).float()[:, None], detail)
    return nn.functional.interpolate(cells, masks.shape[1:], mode="bilinear")[:, 0].numpy()


def level_above_row(features: torch.Tensor) -> np.ndarray:
    """Levels of features (B, C, rows, frames) above the mean of their row, 0 below it, of the first channel (B, rows, frames): a
    map that needs no network, and whose maximum is the loudest pixel."""
    levels = features[:, 0].float()
    return (levels - levels.mean(2, keepdim=True)).clamp(min=0).numpy()


def band_shares(maps: np.ndarray) -> np.ndarray:
    """Shares of the sum of maps (B, 62, frames) in each of BANDS_HZ (B, 4). A map of zeros says nothing: the bands' widths."""
    edges = [round((low - BAND_HZ[0]) / CELL[0]) for low, _ in BANDS_HZ]
    energy = np.add.reduceat(maps.sum(axis=2), edges, axis=1)
    widths = np.diff([*edges, maps.shape[1]]) / maps.shape[1]
    total = energy.sum(axis=1, keepdims=True)
    return np.divide(energy, total, out=np.tile(widths, (len(maps), 1)), where=total > 0)


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's, of each two maps (B,), as Adebayo et al. (2018) compare maps; NaN if one is constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return np.array([spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(maps, others, strict=True)])
