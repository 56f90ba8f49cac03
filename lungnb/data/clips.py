"""Clips of one length from events of many: padding, concatenation and windows as *plans* over the audio bank.

A clip is a row of K segments of the bank, each with a first sample, a length and a step (+1 forward, -1 backward); what is
left of the clip after its last segment is silence. Every padding of RespireNet (section II-A), concatenation-based
augmentation and the released code's windows are such rows. They are planned and cut once per run, into one int16 array that
lives on the device; the training loop then takes batches from it by index and touches no item in Python.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from lungnb.core import UserError
from lungnb.data.audio import AudioBank
from lungnb.data.corpus import Corpus
from lungnb.data.icbhi import LABELS
from lungnb.data.multisite import CROP_S

Padding = Literal["smart", "repeat", "reflect", "zero"]
Direction = Literal["paper", "clean"]
Segment = tuple[int, int, int]  # first sample in the bank, number of samples, step

#: Recipes of concatenation-based augmentation in the released code: new label -> parents' labels and probability
#: (docs/papers/respirenet.md, section 2.3). The paper says only "two samples of the same class".
CBA_RECIPES = {
    "crackle": [("crackle", "crackle", 0.6), ("crackle", "normal", 0.2), ("normal", "crackle", 0.2)],
    "wheeze": [("wheeze", "wheeze", 0.6), ("wheeze", "normal", 0.2), ("normal", "wheeze", 0.2)],
    "both": [
        ("both", "both", 0.5),
        ("crackle", "wheeze", 0.2),
        ("wheeze", "crackle", 0.1),
        ("both", "normal", 0.1),
        ("normal", "both", 0.1),
    ],
}
#: Share that a crop has in common with the next one (paediatric paper, section II).
OVERLAP = 0.5


@dataclass(frozen=True)
class ClipPlan:
    """N clips of `n_samples`, each a list of segments.

    event: (N,) row of the events table the clip stands for. parents: (N, 2) rows whose sound it joins (twice `event` where
    nothing was joined). label: (N,) index into LABELS.
    """

    n_samples: int
    segments: list[list[Segment]]
    parents: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def event(self) -> np.ndarray:
        return self.parents[:, 0]


def cut(samples: np.ndarray, plan: ClipPlan) -> np.ndarray:
    """All clips of the plan from the bank: samples (S,) int16 -> (N, n_samples) int16."""
    clips = np.zeros((len(plan), plan.n_samples), dtype=np.int16)
    for clip, segments in zip(clips, plan.segments, strict=True):
        at = 0
        for first, length, step in segments:
            clip[at : at + length] = (
                samples[first : first + length] if step > 0 else samples[first - length + 1 : first + 1][::-1]
            )
            at += length
    return clips


def plan_clips(
    bank: AudioBank,
    events: pd.DataFrame,
    clip_s: float,
    padding: Padding,
    cba: bool = False,
    same_class: bool = False,
    random_side: bool = False,
    seed: int = 0,
) -> ClipPlan:
    """Plan clips of `clip_s` seconds for `events`; neighbours and CBA parents come from `events` alone, so nothing leaks in.

    An event longer than the clip gives windows with half a clip of overlap and one at its end (released code). cba: add
    joined clips until every class has as many as "normal" (scale 1). same_class: the paper's wording instead of the recipes.
    random_side: `repeat` puts the copies before or after the event by a fair coin (released code); else after.
    """
    rng = np.random.default_rng(seed)
    n_samples = round(clip_s * bank.sample_rate)
    whole = [(int(f), int(n), 1) for f, n in zip(*bank.locate(events), strict=True)]
    recording, label = events["recording"].to_numpy(), events["label"].map(LABELS.index).to_numpy()
    cores = [([segment], i, i, label[i]) for i, segment in enumerate(whole)]
    if cba:
        cores += [([whole[a], whole[b]], a, b, y) for a, b, y in _join(label, rng, same_class)]
    rows = []
    for core, a, b, y in cores:
        before = random_side and padding == "repeat" and rng.random() < 0.5
        neighbours = _neighbours(a, y, recording, label, whole) if padding == "smart" and a == b else iter(())
        for clip in _windows(core, n_samples) or [_pad(core, n_samples, padding, neighbours, before)]:
            rows.append((clip, a, b, y))
    segments, first, second, labels = zip(*rows, strict=True)
    return ClipPlan(n_samples, list(segments), np.stack([first, second], axis=1), np.array(labels))


def crops(
    length_s: float, crop_s: float = CROP_S, overlap: float = OVERLAP, direction: Direction = "paper"
) -> np.ndarray:
    """Starts (s) of the crops of a recording of `length_s` seconds, in the order in which they are cut.

    clean: from the start onwards, each `crop_s` (1 - `overlap`) after the last. paper: these, and then backward from the
    end, as only the authors' code says (docs/papers/pediatric.md, section 2): 21 crops of 30 s, not 11. Where the
    length is a multiple of the step the backward crops repeat forward ones, and are kept: statistics over crops then
    count those twice. A backward crop that starts at 0 s is left out, as there, where each of them lies one sample
    earlier than here.

    Only full crops are cut: a recording shorter than one gives none, and is not padded (same place). Raises UserError for
    a length, an overlap or a direction that is none.
    """
    return _walk(np.array([length_s], dtype=float), crop_s, overlap, direction)[1]


def crop_table(
    corpus: Corpus, crop_s: float = CROP_S, overlap: float = OVERLAP, direction: Direction = "paper"
) -> pd.DataFrame:
    """The `crops` of all recordings of a corpus with one row each: columns recording, start_s, end_s, in that order."""
    events = corpus.events
    if not events["recording"].is_unique:
        raise UserError(
            f"The corpus {corpus.name!r} has several events a recording; crop that of read_multisite or sprsound_view."
        )
    row, start_s = _walk((events["end_s"] - events["start_s"]).to_numpy(), crop_s, overlap, direction)
    start_s = start_s + events["start_s"].to_numpy()[row]
    recording = events["recording"].array.take(row)
    return pd.DataFrame({"recording": recording, "start_s": start_s, "end_s": start_s + crop_s})


def _windows(core: list[Segment], n: int) -> list[list[Segment]]:
    """Windows of n samples, half overlapping, the last flush with the end; empty if the core is shorter than n."""
    total = sum(length for _, length, _ in core)
    if total < n:
        return []
    starts = [*range(0, total - n + 1, n // 2)]
    if starts[-1] + n < total:
        starts.append(total - n)
    return [_slice(core, s, n) for s in starts]


def _pad(core: list[Segment], n: int, padding: Padding, neighbours, before: bool) -> list[Segment]:
    total = sum(length for _, length, _ in core)
    if padding == "zero":
        return core
    if padding == "reflect":  # forward, then backward without repeating the turning sample, and so on
        back = [(f + length - 1, length, -1) for f, length, _ in reversed(core)]
        cycle = core + _slice(back, 1, total - 2)
        return _slice(cycle * (n // total + 1), 0, n)
    if padding == "repeat":
        copies = n // total + 1
        return _slice(core * copies, total * copies - n if before else 0, n)
    clip, is_next = list(core), True
    while total < n:  # smart: the next neighbour goes behind, the previous one before, a copy where none qualifies
        part = next(neighbours, None) or core
        size = sum(length for _, length, _ in part)
        clip = clip + part if is_next else part + clip
        total += size
        if total > n:  # trim the outer end
            clip = _slice(clip, 0 if is_next else total - n, n)
        is_next = not is_next
    return clip


def _neighbours(i: int, y: int, recording: np.ndarray, label: np.ndarray, whole: list[Segment]):
    """For d = 1, 2, ...: the cycle after and the one before in the same recording, None where it does not qualify.

    A neighbour qualifies if it is of the same class or normal (section II-A, "Smart Padding").
    """
    for d in range(1, len(recording)):
        inside = [j for j in (i + d, i - d) if 0 <= j < len(recording) and recording[j] == recording[i]]
        if not inside:
            return
        for j in (i + d, i - d):
            yield [whole[j]] if j in inside and label[j] in (y, 0) else None


def _join(label: np.ndarray, rng: np.random.Generator, same_class: bool) -> list[tuple[int, int, int]]:
    """Pairs of events to concatenate, and their new label: as many as the class lacks against "normal"."""
    of_class = {name: np.flatnonzero(label == y) for y, name in enumerate(LABELS)}
    pairs = []
    for name, recipes in CBA_RECIPES.items():
        recipes = [
            r for r in recipes if len(of_class[r[0]]) and len(of_class[r[1]]) and (r[0] == r[1] or not same_class)
        ]
        if not recipes:
            continue
        p = np.array([r[2] for r in recipes])
        missing = max(len(of_class["normal"]) - len(of_class[name]), 0)
        for k in rng.choice(len(recipes), size=missing, p=p / p.sum()):
            a, b, _ = recipes[k]
            pairs.append((rng.choice(of_class[a]), rng.choice(of_class[b]), LABELS.index(name)))
    return pairs


def _slice(segments: list[Segment], start: int, n: int) -> list[Segment]:
    """Samples start .. start + n of the concatenated segments."""
    out, at = [], 0
    for first, length, step in segments:
        low, high = max(start - at, 0), min(start + n - at, length)
        if low < high:
            out.append((first + step * low, high - low, step))
        at += length
    return out


def _walk(length_s: np.ndarray, crop_s: float, overlap: float, direction: Direction) -> tuple[np.ndarray, np.ndarray]:
    """For all crops of recordings of `length_s` (s): the recording's index, and the start (s)."""
    if direction not in ("paper", "clean"):
        raise UserError(f"There is no direction {direction!r} of crops; known are paper, clean.")
    if not (0 < crop_s < math.inf and 0 <= overlap < 1):
        raise UserError(
            f"Crops are longer than 0 s and overlap by 0 up to 1, not {crop_s} s and {overlap}; correct them."
        )
    if not (np.isfinite(length_s) & (length_s >= 0)).all():
        raise UserError("A recording's length is a number of seconds from 0 on; correct the one that is not.")
    step = crop_s * (1 - overlap)
    steps = (length_s - crop_s) / step
    tiny = 1e-6  # of a step: rounding of lengths, less than a sample
    forward = np.where(steps > -tiny, np.floor(steps + tiny) + 1, 0).astype(int)
    backward = np.maximum(np.ceil(steps - tiny), 0).astype(int) * (direction == "paper")
    n = forward + backward
    row = np.repeat(np.arange(len(n)), n)
    k = np.arange(n.sum()) - np.repeat(n.cumsum() - n, n)
    back = k - forward[row]
    return row, np.where(back < 0, k * step, length_s[row] - crop_s - back * step)
