"""Audio and clips: every recording decoded once, and clips of one length cut from it by plans.

The recordings of a corpus, resampled and filtered, lie end to end in one int16 array, memory-mapped on disk. A *clip* is a row
of segments of that array, each with a first sample, a length and a step (+1 forward, -1 backward); what is left of the clip
after its last segment is silence. Every padding, concatenation and window of the papers is such a row: it is planned once, and
all clips are cut by index, so that no loop ever opens a file.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import soundfile
import soxr
from scipy.signal import butter, sosfiltfilt

from lungnb.core import UserError, cached_arrays
from lungnb.data.corpus import Corpus
from lungnb.data.inspection import cancel

Segment = tuple[int, int, int]  # first sample, number of samples, step


def sample_at(seconds: np.ndarray | float, sample_rate: int) -> np.ndarray:
    """The sample in which a time falls, int64. A millionth of a sample is added: 0.29 s x 8000 Hz is 2,319.9999999999995."""
    return np.floor(np.asarray(seconds) * sample_rate + 1e-6).astype(np.int64)


@dataclass(frozen=True)
class Audio:
    """samples: int16, all recordings end to end. start, length: samples, by recording. sample_rate: Hz."""

    samples: np.ndarray
    sample_rate: int
    start: pd.Series
    length: pd.Series

    def locate(self, events: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """First sample (in `samples`) and number of samples of each event; ends past the audio are clipped to it."""
        first, last = (sample_at(events[name].to_numpy(), self.sample_rate) for name in ("start_s", "end_s"))
        length = self.length[events["recording"]].to_numpy()
        first, last = np.minimum(first, length - 1), np.minimum(last, length)
        return self.start[events["recording"]].to_numpy() + first, np.maximum(last - first, 1)


def load_audio(
    corpus: Corpus, sample_rate: int = 4000, highpass_hz: float | None = None, peak_normalise: bool = False
) -> Audio:
    """The recordings of `corpus`, from the cache when they have been decoded before with the same settings and code.

    highpass_hz: Butterworth of order 5, forward and backward (RespireNet, section II, asks for a 50 to 2000 Hz band-pass; at
    4 kHz its upper edge is the Nyquist frequency, so only the lower edge is a filter). peak_normalise: each recording is
    scaled to the range (-1, 1). Raises UserError for audio that cannot be decoded, is empty, or holds NaN.
    """
    recordings = corpus.events.drop_duplicates("recording")[["recording", "path"]]

    def one(path: str) -> np.ndarray:
        audio = decode(corpus.audio_root / path, sample_rate)
        if highpass_hz:
            try:
                audio = sosfiltfilt(butter(5, highpass_hz, "highpass", fs=sample_rate, output="sos"), audio)
            except ValueError as error:
                raise UserError(
                    f"{path} holds {len(audio)} samples at {sample_rate} Hz, too few for the filter."
                ) from error
        peak = np.abs(audio).max()
        if peak_normalise or peak > 1:  # without normalisation only what would clip is scaled
            audio = audio / max(peak, 1e-9)
        return np.round(audio * 32767).astype(np.int16)

    def compute() -> dict[str, np.ndarray]:
        # libsndfile, soxr and scipy release the interpreter lock, so threads share the cores.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            parts = list(pool.map(one, recordings["path"]))
        return {"samples": np.concatenate(parts), "length": np.array([len(p) for p in parts])}

    key = (corpus.fingerprint, list(recordings["recording"]), sample_rate, highpass_hz, peak_normalise)
    arrays = cached_arrays(f"audio/{corpus.name}", key, ["lungnb.data.audio"], compute)
    length = pd.Series(np.array(arrays["length"]), index=recordings["recording"].to_numpy())
    return Audio(arrays["samples"], sample_rate, length.cumsum() - length, length)


def decode(path: Path, sample_rate: int) -> np.ndarray:
    """Mono float32 samples of the file at `path`, resampled to `sample_rate` (Hz) with soxr's very high quality.

    Mono is the mean of the channels, or the first of channels that cancel each other (one sound with opposite signs).
    """
    try:
        audio, native = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise UserError(
            f"{path} cannot be decoded ({error}); export the recording again from where it came."
        ) from error
    if not len(audio):
        raise UserError(f"{path} holds no samples; export the recording again from where it came.")
    if not (finite := np.isfinite(audio).all(axis=1)).all():
        at = np.flatnonzero(~finite)[0] / native
        raise UserError(f"{path} holds samples that are not numbers (NaN), first at {at:.2f} s; export it again.")
    audio = audio[:, 0] if cancel(audio) else audio.mean(axis=1)
    if len(audio) * sample_rate < native:
        raise UserError(f"{path} holds {len(audio)} samples at {native} Hz, less than one at {sample_rate} Hz.")
    return soxr.resample(audio, native, sample_rate, quality="VHQ")


@dataclass(frozen=True)
class ClipPlan:
    """N clips of `n_samples`, each a list of segments.

    parents: (N, 2) rows of the events table whose sound the clip joins (the same row twice where nothing was joined).
    label: (N,) label of each clip, as in the events table.
    """

    n_samples: int
    segments: list[list[Segment]]
    parents: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def event(self) -> np.ndarray:
        """(N,) row of the events table that the clip stands for."""
        return self.parents[:, 0]

    @property
    def lengths(self) -> list[int]:
        """Samples of sound in each clip; what follows is silence."""
        return [sum(length for _, length, _ in segments) for segments in self.segments]

    def take(self, clips: Sequence[int]) -> "ClipPlan":
        """The plan of these clips alone."""
        return ClipPlan(self.n_samples, [self.segments[i] for i in clips], self.parents[clips], self.label[clips])


def cut(samples: np.ndarray, plan: ClipPlan) -> np.ndarray:
    """All clips of the plan: samples (S,) int16 -> (N, n_samples) int16."""
    clips = np.zeros((len(plan), plan.n_samples), dtype=np.int16)
    for clip, segments in zip(clips, plan.segments, strict=True):
        at = 0
        for first, length, step in segments:
            whole = slice(first, first + length) if step > 0 else slice(first - length + 1, first + 1)
            clip[at : at + length] = samples[whole][::step]
            at += length
    return clips


#: The events after and before one in its recording, nearest first and in turns, with their labels; None past either end.
Neighbours = Iterator[tuple[list[Segment], str] | None]
#: pad(core, n, label, neighbours, before): a core shorter than n samples -> n samples (or fewer, then silence).
Pad = Callable[[list[Segment], int, str, Neighbours, bool], list[Segment]]


def pad_with_silence(core: list[Segment], n: int, *context) -> list[Segment]:
    return core


def pad_by_reflection(core: list[Segment], n: int, *context) -> list[Segment]:
    """Forward, then backward without repeating the turning sample, and so on."""
    total = n_samples_of(core)
    back = [(first + length - 1, length, -1) for first, length, _ in reversed(core)]
    return part_of((core + part_of(back, 1, total - 2)) * (n // total + 1), 0, n)


def pad_by_repetition(core: list[Segment], n: int, label: str, neighbours: Neighbours, before: bool) -> list[Segment]:
    """The core again and again; before: the copies stand in front of it."""
    copies, total = n // n_samples_of(core) + 1, n_samples_of(core)
    return part_of(core * copies, total * copies - n if before else 0, n)


PADDINGS: dict[str, Pad] = {"zero": pad_with_silence, "reflect": pad_by_reflection, "repeat": pad_by_repetition}


def plan_clips(
    audio: Audio,
    events: pd.DataFrame,
    clip_s: float,
    pad: Pad = pad_by_repetition,
    *,
    joined: Sequence[tuple[int, int, str]] = (),
    long: Literal["windows", "middle"] = "windows",
    label: str = "label",
    random_side: bool = False,
    rng: np.random.Generator | None = None,
) -> ClipPlan:
    """Plan clips of `clip_s` seconds for `events`; neighbours come from `events` alone, so nothing leaks in.

    joined: further clips, each of two events (rows of `events`) one after the other, with a label. long: an event longer than
    the clip gives windows with half a clip of overlap and one flush with its end, or its middle. RespireNet's released code
    makes as many windows, but its last is what remains after the last whole step, padded.
    random_side: repetition puts the copies before or after the event by a fair coin (released code); else after.
    """
    rng = rng or np.random.default_rng(0)
    n = round(clip_s * audio.sample_rate)
    whole = [[(int(first), int(length), 1)] for first, length in zip(*audio.locate(events), strict=True)]
    recording, labels = events["recording"].to_numpy(object), events[label].to_numpy(object)
    cores = [(segments, i, i, labels[i]) for i, segments in enumerate(whole)]
    cores += [(whole[a] + whole[b], a, b, y) for a, b, y in joined]
    rows = []
    for core, a, b, y in cores:
        before = random_side and pad is pad_by_repetition and rng.random() < 0.5
        spare = n_samples_of(core) - n
        if spare < 0:
            around = _neighbours(a, recording, labels, whole) if a == b else iter(())
            clips = [pad(core, n, y, around, before)]
        elif long == "windows":  # half overlapping, the last flush with the end
            starts = [*range(0, spare + 1, n // 2)]
            starts += [spare] if starts[-1] < spare else []
            clips = [part_of(core, start, n) for start in starts]
        else:
            clips = [part_of(core, spare // 2, n)]
        rows += [(clip, a, b, y) for clip in clips]
    segments, first, second, y = zip(*rows, strict=True)
    return ClipPlan(n, list(segments), np.stack([first, second], axis=1), np.array(y, dtype=object))


def _neighbours(i: int, recording: np.ndarray, label: np.ndarray, whole: list[list[Segment]]) -> Neighbours:
    for distance in range(1, len(recording)):
        there = [0 <= j < len(recording) and recording[j] == recording[i] for j in (i + distance, i - distance)]
        if not any(there):
            return
        for j, inside in zip((i + distance, i - distance), there, strict=True):
            yield (whole[j], label[j]) if inside else None


def n_samples_of(segments: list[Segment]) -> int:
    return sum(length for _, length, _ in segments)


def part_of(segments: list[Segment], start: int, n: int) -> list[Segment]:
    """Samples start .. start + n of the concatenated segments."""
    out, at = [], 0
    for first, length, step in segments:
        low, high = max(start - at, 0), min(start + n - at, length)
        if low < high:
            out.append((first + step * low, high - low, step))
        at += length
    return out


Direction = Literal["paper", "clean"]


def crop_starts(
    length_s: Sequence[float], crop_s: float = 5.0, overlap: float = 0.5, direction: Direction = "paper"
) -> tuple[np.ndarray, np.ndarray]:
    """For all crops of recordings of `length_s` (s): the recording's index, and the start (s), in the order they are cut.

    clean: from the start onwards, each `crop_s` (1 - `overlap`) after the last. paper: these, and then backward from the
    end, as only the authors' code says (docs/papers/pediatric.md, section 2): 21 crops of 30 s, not 11. Where the length is a
    multiple of the step the backward crops repeat forward ones, and are kept: statistics over crops then count those twice.
    A backward crop that starts at 0 s is left out. Only full crops are cut: a recording shorter than one gives none.
    """
    length_s = np.asarray(length_s, dtype=float)
    if not (np.isfinite(length_s) & (length_s >= 0)).all():
        raise UserError("A recording's length is a number of seconds from 0 on; correct the one that is not.")
    if not (0 < crop_s < math.inf and 0 <= overlap < 1):
        raise UserError(
            f"Crops are longer than 0 s and overlap by 0 up to 1, not {crop_s} s and {overlap}; correct them."
        )
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


def plan_crops(audio: Audio, events: pd.DataFrame, row: np.ndarray, start_s: np.ndarray, crop_s: float) -> ClipPlan:
    """The plan of crops (`crop_starts`) of `events`: row (N,) of events, start_s (N,) in seconds of its recording."""
    n = round(crop_s * audio.sample_rate)
    recording = events["recording"].to_numpy()[row]
    # Lengths in seconds round to samples: a recording's last crop is moved back where it would reach past the end.
    first = np.minimum((start_s * audio.sample_rate).round().astype(int), audio.length[recording].to_numpy() - n)
    first += audio.start[recording].to_numpy()
    segments = [[(int(f), n, 1)] for f in first]
    return ClipPlan(n, segments, np.stack([row, row], axis=1), events["annotation"].to_numpy(object)[row])
