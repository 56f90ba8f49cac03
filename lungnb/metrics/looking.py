"""Where any classifier of the comparison looks, on one grid of hertz and seconds, whatever picture it was given.

The front ends draw the same sound differently: mel bands to 2 kHz, mel bands to 4 kHz with cepstra behind them, STFT rows to
1.6 kHz. A map belongs to its picture, and is brought from there to the band that all of them hear, where the true places of
the simulator are. Everything is done on the CPU: on a GPU an LSTM has no gradient in evaluation mode.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import librosa
import numpy as np
import pandas as pd
import torch
from torch import nn

from lungnb.classification.baselines import SmallCNN
from lungnb.classification.compare import CompareRun, Data
from lungnb.classification.compare_inputs import BANK, about_of, maps_of, plan_task
from lungnb.classification.networks import FRONT_OF, ByPosition, Classifier, FrontEnd, MapsOnly, Painted
from lungnb.core import UserError
from lungnb.data.audio import AudioBank, audio_bank
from lungnb.data.tasks import parts_of
from lungnb.metrics import explain
from lungnb.papers.convlstm_model import INPUTS, ConvLSTM
from lungnb.papers.pediatric_model import SiteCNN
from lungnb.papers.respirenet_model import RespireNet

#: What all front ends hear, and a cell of the common grid: Hz, s. A crackle of 15 ms is thinner than any of their frames.
BAND_HZ = (50.0, 1600.0)
CELL = (25.0, 0.05)
#: Clips a pass: a large network keeps all its layers for the gradient.
BATCH = 32
#: How the truth's kinds of a class begin, if not as the class is called: any sound makes a patient abnormal.
KINDS = {"abnormal": ""}


def grid(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the cells of the common grid over a clip: hertz, lowest first (62,), and seconds (frames,)."""
    (low, high), (hertz, second) = BAND_HZ, CELL
    return low + hertz * (np.arange((high - low) / hertz) + 0.5), second * (np.arange(round(seconds / second)) + 0.5)


def axes_of(front: FrontEnd, rows: int, frames: int, pooling: Sequence[int] = (1, 1)) -> tuple[np.ndarray, np.ndarray]:
    """What a picture of `front` shows: the centre of each row in Hz (rows,), and of each frame in s (frames,).

    The stacked picture has log-mel, MFCC and LFCC as channels over the same rows. We read a row as its mel band, which is
    exact for the first channel only: a cepstral coefficient is at no frequency. Its frames are exact for all three.
    """
    row, frame = np.arange(rows), np.arange(frames)
    if front == "levels":
        return explain.mel_edges(rows)[::-1], frame * 128 / 4000
    if front == "stacked":
        centres = librosa.mel_frequencies(rows + 2, fmin=0, fmax=BANK["stacked"][0] / 2)[1:-1]
        return centres, frame * INPUTS["A"].hop_length / BANK["stacked"][0]
    of_row, of_frame = pooling  # a row is the mean of `of_row` bins of an FFT of 2048 samples at 22,050 Hz
    return (row * of_row + (of_row - 1) / 2) * 22050 / 2048, (frame * of_frame + (of_frame - 1) / 2) * 512 / 22050


def to_grid(maps: np.ndarray, hertz: np.ndarray, second: np.ndarray, seconds: float) -> np.ndarray:
    """Maps (B, rows, frames) over `hertz` (rows,) and `second` (frames,) -> (B, 62, frames of `grid`), linearly between centres.

    A map counts as a density over hertz and seconds; past its outermost centres it stays as it is there.
    """
    to_hertz, to_second = grid(seconds)
    return _between(hertz, to_hertz) @ maps @ _between(second, to_second).T


def _between(at: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Weights (len(to), len(at)) of linear interpolation."""
    order = np.argsort(at)
    return np.stack([np.interp(to, at[order], unit[order]) for unit in np.eye(len(at))], axis=1)


def mask_of(boxes: pd.DataFrame, hertz: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cells (rows, frames), centred at `hertz` and `second`, that boxes (start_s, end_s of the clip, low_hz, high_hz) touch."""
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


@dataclass(frozen=True)
class Clips:
    """The first clip of each of N sounds as one model is given it: maps (N, C, rows, frames), about (N, 3), label (N,).

    hertz, second: what its rows and frames are. boxes: the true places in each clip, with those of its repetitions.
    """

    maps: torch.Tensor
    about: torch.Tensor
    label: torch.Tensor
    hertz: np.ndarray
    second: np.ndarray
    seconds: float
    boxes: list[pd.DataFrame]

    @property
    def masks(self) -> np.ndarray:
        """The true places on the common grid (N, 62, frames)."""
        return np.stack([mask_of(boxes, *grid(self.seconds)) for boxes in self.boxes])

    @property
    def own_masks(self) -> np.ndarray:
        """The true places on the model's own picture (N, rows, frames)."""
        return np.stack([mask_of(boxes, self.hertz, self.second) for boxes in self.boxes])

    def common(self, maps: np.ndarray) -> np.ndarray:
        """Maps (N, rows, frames) of these clips on the common grid (N, 62, frames)."""
        return to_grid(maps, self.hertz, self.second, self.seconds)


def sounds_of(
    run: CompareRun, data: Data, truth: pd.DataFrame | None, n: int, kinds: Sequence[str] = ("crackle", "wheeze")
) -> pd.DataFrame:
    """Up to `n` test sounds of each of `kinds` (class names): rows of the task's events, patients in turn.

    With `truth` (`explain.read_truth`) only those in whose first three seconds, and so in the first clip of every model, a sound
    of that kind is known. Raises UserError if the test patients have none of a kind.
    """
    part, _ = parts_of(data.task, data.corpus, run.fold, run.split)
    events, found = data.corpus.events[part == "test"], []
    for kind in kinds:
        here = events[events["label"] == kind]
        if truth is not None:
            known = [
                len(_inside(truth, kind, e.recording, e.start_s, min(e.end_s, e.start_s + 3)))
                for e in here.itertuples()
            ]
            here = here[np.array(known, dtype=int) > 0]
        if here.empty:
            raise UserError(f"No test patient of {data.task.name!r} has a {kind} to look at; use more patients.")
        turn = here.groupby("patient").cumcount().sort_values(kind="stable")
        found.append(here.loc[turn.index[:n]])
    return pd.concat(found)


def clips_of(run: CompareRun, data: Data, sounds: pd.DataFrame, truth: pd.DataFrame | None = None) -> Clips:
    """The first clip of each of `sounds` (rows of `data.corpus.events`) as `run` is given it, and what is known of it."""
    front, task = FRONT_OF[run.model], data.task
    bank = audio_bank(data.corpus, *BANK[front])
    plan = plan_task(bank, sounds, task.classes, run.clip_s)
    maps = maps_of(data.corpus, plan, front, tuple(run.pooling))
    first = np.unique(plan.event, return_index=True)[1]
    boxes = []
    if truth is not None:
        boxes = [_boxes(bank, sounds.iloc[[i]], plan.segments[k], truth) for i, k in enumerate(first)]
    hertz, second = axes_of(front, *maps.shape[2:], run.pooling)
    label = torch.tensor(sounds["label"].map(task.classes.index).to_numpy(int))
    return Clips(maps[first], about_of(task, sounds, data.sites), label, hertz, second, run.clip_s, boxes)


def _boxes(
    bank: AudioBank, event: pd.DataFrame, segments: list[tuple[int, int, int]], truth: pd.DataFrame
) -> pd.DataFrame:
    """The true sounds of the event's kind in a clip made of `segments`, in seconds of the clip."""
    (begin,), _ = bank.locate(event)
    event, at, found = event.iloc[0], 0.0, []
    for first, length, _ in segments:
        start, lasts = event["start_s"] + (first - begin) / bank.sample_rate, length / bank.sample_rate
        here = _inside(truth, event["label"], event["recording"], start, start + lasts).copy()
        for column in ("start_s", "end_s"):
            here[column] = here[column].clip(start, start + lasts) - start + at
        found.append(here)
        at += lasts
    return pd.concat(found, ignore_index=True)


def _inside(truth: pd.DataFrame, kind: str, recording: str, start_s: float, end_s: float) -> pd.DataFrame:
    """Sounds of `kind` and of a recording that overlap with [start_s, end_s) and can be heard in BAND_HZ."""
    here = truth[(truth["recording"] == recording) & (truth["end_s"] > start_s) & (truth["start_s"] < end_s)]
    return here[
        here["kind"].str.startswith(KINDS.get(kind, kind))
        & (here["low_hz"] < BAND_HZ[1])
        & (here["high_hz"] > BAND_HZ[0])
    ]


def stages_of(network: nn.Module) -> list[nn.Module]:
    """The layers of a paper's network at which one can look, the last of which is usual; each has half the detail or less.

    RespireNet: the residual stages. Conv-LSTM: the ReLUs, all before the LSTM, whose steps are no picture; they are not always
    coarser, since it upsamples. Small CNN: the same. SiteCNN: the convolutions, as in notebook 03. Raises UserError for another.
    """
    if isinstance(network, RespireNet):
        trunk = network.trunk
        return [stage[-1] for stage in (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4)]
    if isinstance(network, SmallCNN | ConvLSTM):
        return [layer for layer in network.convolutions if isinstance(layer, nn.ReLU)]
    if isinstance(network, SiteCNN):
        return list(network.convolutions)
    raise UserError(f"It is not known where {type(network).__name__} looks; add its layers in lungnb/looking.py.")


class _Told(nn.Module):
    """A network with what it is told of these clips: the library passes pictures alone."""

    def __init__(self, network: nn.Module, about: torch.Tensor):
        super().__init__()
        self.network, self.about = network, about

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images, self.about)


def _views(network: Classifier | Painted, maps: torch.Tensor, about: torch.Tensor) -> Iterator[tuple]:
    """What is looked at, a batch at a time: rows of `maps`, the network that hears them, the paper's part of it, its images."""
    inside, everyone = network.network, torch.arange(len(maps))
    groups = [everyone]
    if isinstance(inside, ByPosition):  # each position has its own network
        groups = [everyone[about[:, 2] == position] for position in about[:, 2].unique()]
    for rows in (some for group in groups for some in group.split(BATCH)):
        if isinstance(network, Painted):
            yield rows, inside, inside, network.front.image(maps[rows, 0])
            continue
        images = (maps[rows].float() - network.mean) / network.sd
        if isinstance(inside, ByPosition):
            position = int(about[rows[0], 2])
            if position >= len(inside.networks):
                raise UserError("MPO has no network for a sound from an unknown position; leave that sound out.")
            yield rows, inside.networks[position], inside.networks[position], images
        else:
            own = inside.network if isinstance(inside, MapsOnly) else inside
            yield rows, _Told(inside, about[rows]), own, images


def maps_for(
    network: Classifier | Painted, clips: Clips, method: str, stage: int = -1
) -> tuple[np.ndarray, tuple[int, int]]:
    """Maps (N, rows, frames) of what speaks for each clip's label, by a method of `explain.METHODS` at one of `stages_of`.

    They have the size of the picture, but the detail of the layer, which is returned beside them: (rows, frames). MPA hears
    its sites as channels of one picture, so one map is for all of them.
    """
    out, size = np.zeros((len(clips.maps), *clips.maps.shape[2:]), dtype=np.float32), (0, 0)
    for rows, heard, own, images in _views(network.eval(), clips.maps, clips.about):
        layer, shapes = stages_of(own)[stage], []
        handle = layer.register_forward_hook(lambda _, __, y, seen=shapes: seen.append(tuple(y.shape[2:])))
        found = explain.class_maps(heard, layer, images.detach(), clips.label[rows].tolist(), method)
        handle.remove()
        found = nn.functional.interpolate(torch.from_numpy(found)[:, None], out.shape[1:], mode="bilinear")
        out[rows], size = found[:, 0].numpy(), shapes[0]
    return out, size


def fused(clips: Clips, n_sites: int) -> Clips:
    """`clips` of patients with `n_sites` clips each, one after another, as MPA is given them: a patient's sites as channels.

    The one map of a patient is for all sites, so the true places are those of any of them.
    """
    maps = clips.maps.unflatten(0, (-1, n_sites)).flatten(1, 2)
    boxes = [pd.concat(clips.boxes[k : k + n_sites]) for k in range(0, len(clips.boxes), n_sites)]
    return replace(clips, maps=maps, about=clips.about[::n_sites], label=clips.label[::n_sites], boxes=boxes)


def untrained(network: nn.Module, seed: int = 0) -> nn.Module:
    """The same network with every weight drawn anew (Adebayo et al. 2018); what it knows of its pictures' scale stays."""
    other = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in other.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return other.eval()
