"""From a task's events to what any classifier is given: planned clips, maps of a paper's front end, samples, units.

Clips are RespireNet's plans over the audio bank, for all models: a short sound is padded, a long one gives windows that
overlap by half, and with patients as the unit the windows of a recording are the paediatric paper's crops. Maps of a plan are
computed once and cached by its content, so all models behind one front end and all seeds share them.
"""

import hashlib
import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
import torchaudio
from torch import nn

from lungnb.classification.networks import FrontEnd
from lungnb.core import UserError, atomic_file, cache_dir
from lungnb.data.audio import AudioBank, audio_bank
from lungnb.data.clips import ClipPlan, Padding, cut, plan_clips
from lungnb.data.corpus import Corpus
from lungnb.data.tasks import Task
from lungnb.features import CropSpectrogram, MelImage, StackedMaps
from lungnb.papers.convlstm_model import INPUTS, Metadata
from lungnb.papers.pediatric_crops import samples_of

#: Part of the cache key: raise it when the same plan would give other maps.
VERSION = 1
#: Sample rate, high-pass (Hz) and peak normalisation of the bank behind each front end (lungnb.data.audio).
BANK = {"levels": (4000, 50.0, True), "stacked": (8000, None, False), "crop": (8000, None, False)}
#: Clips a pass on a CPU, where memory for more costs more than the transform.
BATCH = {"levels": 32, "stacked": 32, "crop": 2}


class Levels(MelImage):
    """RespireNet's grey levels as maps: waveform (B, T) -> uint8 (B, 1, 64, frames)."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.levels(waveform)[:, None]


class Crop(nn.Module):
    """PneumoNet's STFT of clips at 8 kHz: (B, T) -> dB (B, 1, rows, frames), means over `pooling` rows and frames."""

    def __init__(self, pooling: tuple[int, int]):
        super().__init__()
        spectrogram = CropSpectrogram("stft")
        resample = torchaudio.transforms.Resample(BANK["crop"][0], 22050)
        self.steps = nn.Sequential(resample, spectrogram, nn.AvgPool2d(pooling, ceil_mode=True))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.steps(waveform)[:, None]


def front_end(name: FrontEnd, pooling: tuple[int, int] = (1, 1)) -> nn.Module:
    """The module from waveforms to maps (B, C, rows, frames)."""
    if name == "levels":
        return Levels()
    if name == "crop":
        return Crop(pooling)
    size = INPUTS["A"]
    return StackedMaps(BANK[name][0], size.n_fft, size.hop_length, size.n_rows)


def plan_task(
    bank: AudioBank,
    events: pd.DataFrame,
    classes: tuple[str, ...],
    clip_s: float,
    padding: Padding = "repeat",
    cba: bool = False,
    seed: int = 0,
) -> ClipPlan:
    """`plan_clips` for any classes; `label` of the plan is the index into `classes`.

    That function knows ICBHI's labels. Each class in turn is its "crackle", all other abnormal ones its "wheeze": then smart
    padding takes neighbours of the same class or normal ones, and concatenation joins two sounds of one class, as RespireNet's
    paper words both.
    """
    label = events["label"].map({c: k for k, c in enumerate(classes)}).to_numpy(int)
    if padding != "smart" and not cba:
        plans = [plan_clips(bank, events.assign(label="normal"), clip_s, padding, seed=seed)]
    else:
        plans = []
        for k in range(1, len(classes)):
            named = np.select([label == 0, label == k], ["normal", "crackle"], "wheeze")
            plan = plan_clips(bank, events.assign(label=named), clip_s, padding, cba, same_class=True, seed=seed)
            plans.append(_take(plan, [i for i, y in enumerate(plan.label) if y == 1 or (y == 0 and k == 1)]))
    segments = [segments for plan in plans for segments in plan.segments]
    parents = np.concatenate([plan.parents for plan in plans])
    return ClipPlan(plans[0].n_samples, segments, parents, label[parents[:, 0]])


def _take(plan: ClipPlan, clips: list[int]) -> ClipPlan:
    return ClipPlan(plan.n_samples, [plan.segments[i] for i in clips], plan.parents[clips], plan.label[clips])


def maps_of(corpus: Corpus, plan: ClipPlan, name: FrontEnd, pooling: tuple[int, int], device="cpu") -> torch.Tensor:
    """Maps (N, C, rows, frames) of the clips of `plan`, levels as uint8, others as float16, from the cache if it has them."""
    recordings = corpus.events["recording"].unique()  # what the bank is made of, and so where its samples are
    key = (VERSION, corpus.fingerprint, list(recordings), name, pooling, plan.n_samples, plan.segments)
    path = (
        cache_dir() / "compare" / f"{corpus.name}-{hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest()}.npy"
    )
    if not path.exists():
        maps = compute_maps(audio_bank(corpus, *BANK[name]), plan, name, pooling, device)
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, maps.numpy())
    return torch.from_numpy(np.load(path))


@torch.inference_mode()
def compute_maps(
    bank: AudioBank, plan: ClipPlan, name: FrontEnd, pooling: tuple[int, int], device="cpu"
) -> torch.Tensor:
    """The pass itself: see `maps_of`."""
    front, maps = front_end(name, pooling).to(device), None
    batch = BATCH[name] if torch.device(device).type == "cpu" else 256
    for start in range(0, len(plan), batch):
        some = range(start, min(start + batch, len(plan)))
        clips = torch.from_numpy(cut(bank.samples, _take(plan, list(some))))
        part = front(clips.to(device).float() / 32767).cpu()
        part = part if part.dtype == torch.uint8 else part.half()
        maps = part.new_empty(len(plan), *part.shape[1:]) if maps is None else maps
        maps[start : start + len(part)] = part
    return maps.clone()  # an ordinary tensor


@dataclass(frozen=True)
class Inputs:
    """units: what is scored, one row an event or patient (recording, patient, part, label as class index). Samples: rows
    (S, K) of `maps`, unit (S,) row of `units`, about (S, 3). K is 1, or the sites of an MPA. n_events: trained on."""

    maps: torch.Tensor
    rows: torch.Tensor
    unit: np.ndarray
    about: torch.Tensor
    units: pd.DataFrame
    n_events: int

    @property
    def label(self) -> torch.Tensor:
        return torch.tensor(self.units["label"].to_numpy(int)[self.unit])

    def samples(self, part: str) -> torch.Tensor:
        """The samples of `part`."""
        return torch.from_numpy(np.flatnonzero(self.units["part"].to_numpy(object)[self.unit] == part))

    def batch(self, samples: torch.Tensor) -> torch.Tensor:
        """Maps (B, K * C, rows, frames) of `samples`."""
        return self.maps[self.rows[samples].to(self.maps.device)].flatten(1, 2)


def inputs_of(
    task: Task,
    corpus: Corpus,
    part: pd.Series,
    name: FrontEnd,
    clip_s: float,
    sites: list[str],
    *,
    padding: Padding = "repeat",
    cba: bool = False,
    pooling: tuple[int, int] = (1, 1),
    stacked_sites: bool = False,
    seed: int = 0,
    device="cpu",
) -> Inputs:
    """What a classifier sees of `corpus` (`task.view`), whose rows are in `part`; a row without a part is left out.

    Padding by label and joined sounds are for training alone, out of training alone; all else is repeated to `clip_s`.
    stacked_sites: a sample is a clip of each of `sites` (MPA).
    """
    bank = audio_bank(corpus, *BANK[name])
    maps, events, n_events = [], [], 0
    for group, options in (("train", {"padding": padding, "cba": cba, "seed": seed}), ("held", {})):
        here = corpus.events[part == "train" if group == "train" else part.isin(["validation", "test"])]
        if here.empty:
            continue
        plan = plan_task(bank, here, task.classes, clip_s, **options)
        maps.append(maps_of(corpus, plan, name, tuple(pooling), device))
        events.append(here.index.to_numpy()[plan.event])
        n_events += len(here) if group == "train" else 0
    maps, event = torch.cat(maps).to(device), np.concatenate(events)
    about = about_of(task, corpus.events, sites)
    units, unit_of = _units(task, corpus.events, part)
    given = Inputs(maps, torch.arange(len(event))[:, None], unit_of[event], about[event], units, n_events)
    return _stacked(given, corpus.events.loc[event, "position"], sites, seed) if stacked_sites else given


def _units(task: Task, events: pd.DataFrame, part: pd.Series) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows that are scored, and for each event which of them it belongs to. A patient of two parts is two units."""
    label = events["label"].map({c: k for k, c in enumerate(task.classes)}).astype(int)
    rows = events[["recording", "patient"]].assign(part=part, label=label)
    if task.unit == "event":
        return rows, np.arange(len(rows))
    unit = rows.groupby(["patient", "part"], sort=False, dropna=False).ngroup().to_numpy()
    return rows.drop_duplicates(["patient", "part"]).reset_index(drop=True), unit


def about_of(task: Task, events: pd.DataFrame, sites: list[str]) -> torch.Tensor:
    """Indices (N, 3) of age (bins of `task.age_step` years), sex and position (of `sites`); the last row is the unknown."""
    age = np.floor(events["age_years"].astype("Float64").fillna(-1).to_numpy(float) / task.age_step)
    columns = [
        np.where(age < 0, Metadata.N_AGES, age.clip(max=Metadata.N_AGES - 1)),
        events["sex"].map({"male": 0, "female": 1}).fillna(Metadata.N_SEXES),
        events["position"].map({site: k for k, site in enumerate(sites)}).fillna(len(sites)),
    ]
    return torch.from_numpy(np.stack([np.asarray(c, dtype=np.int64) for c in columns], axis=1))


def _stacked(given: Inputs, position: pd.Series, sites: list[str], seed: int) -> Inputs:
    """Samples of all sites at once (`samples_of`); a missing site is its mean over the maps trained on."""
    table = pd.DataFrame({"patient": given.unit, "site": position.to_numpy(object)})
    samples = samples_of(table, sites, np.random.default_rng(seed))
    trained = np.isin(np.arange(len(given.maps)), given.samples("train"))
    means = [given.maps[torch.from_numpy(trained & (table["site"] == s).to_numpy())] for s in sites]
    if any(len(m) == 0 for m in means):
        raise UserError(f"Not every site of {', '.join(sites)} has a recording to train on; use more patients.")
    blank = torch.stack([m.float().mean(0).to(m.dtype) for m in means])
    column = torch.arange(len(sites)).expand_as(samples.rows)
    unit = samples.patient.astype(int)
    first = torch.from_numpy(np.unique(given.unit, return_index=True)[1])[np.unique(unit, return_inverse=True)[1]]
    return replace(
        given,
        maps=torch.cat([given.maps, blank]),
        rows=torch.where(samples.rows < 0, len(given.maps) + column, samples.rows),
        unit=unit,
        about=given.about[first],
    )


def front_seconds(corpus: Corpus, task: Task, name: FrontEnd, clip_s: float, pooling, n: int = 32) -> float:
    """Seconds that the front end takes for one clip, over the first `n` of the corpus."""
    bank = audio_bank(corpus, *BANK[name])
    plan = plan_task(bank, corpus.events.head(n), task.classes, clip_s)
    started = time.perf_counter()
    compute_maps(bank, plan, name, tuple(pooling))
    return (time.perf_counter() - started) / len(plan)
