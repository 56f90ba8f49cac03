"""Windows of one length around the events of a corpus, with what stands beside them in the recording instead of silence.

An event of SPRSound lasts .7 s on average. Cut out alone and filled up with zeros, nearly half of a clip is silence, and the
model learns where annotators end an event. A window that reaches into the recording has none of that.
"""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from lungnb.core import code_version
from lungnb.data.corpus import Corpus, digest
from lungnb.data.store import Source, read_clip

#: Types that may stand beside any other: they are what is there when nothing happens.
QUIET = ("normal lung sound",)
#: Places that are tried for a window, s apart.
GRID_S = 0.05


def with_context(corpus: Corpus, seconds: float) -> tuple[Corpus, Source]:
    """`corpus` with each event shorter than `seconds` widened to that length, and what reads its clips, for `build_store`.

    A window lies inside its recording and holds the event; of the places that it can have, the one with least of events of
    another type, and of these the one with the event most nearly in its middle. An event that is longer is left as it is, and
    the loudest part of it, `seconds` long, is read. What is not long enough keeps its length.
    """
    events = corpus.events
    duration = {path: _duration(corpus.audio_root / path) for path in events["path"].unique()}
    ends = events["end_s"].fillna(events["path"].map(duration)).clip(upper=events["path"].map(duration))
    starts = events["start_s"].to_numpy().copy()
    for path, rows in events.groupby("path", sort=False).indices.items():
        table = pd.DataFrame({"start": starts[rows], "end": ends.iloc[rows], "sound": events["sound"].iloc[rows]})
        for row, (first, last) in zip(rows, place_windows(table, duration[path], seconds), strict=True):
            starts[row], ends.iloc[row] = first, last
    key = digest(corpus.fingerprint, f"windows of {seconds:g} s", code_version(__name__))
    widened = replace(corpus, events=events.assign(start_s=starts, end_s=ends), fingerprint=key)
    return widened, partial(read_loudest, seconds=seconds)


def place_windows(events: pd.DataFrame, duration: float, seconds: float) -> list[tuple[float, float]]:
    """First and last second of the window of each event of one recording, `duration` s long: columns start, end, sound."""
    start, end = events["start"].to_numpy(float), events["end"].to_numpy(float)
    sound, windows = events["sound"].to_numpy(object), []
    for k in range(len(events)):
        if not np.isfinite(duration) or end[k] - start[k] >= seconds or duration <= seconds:
            whole = np.isfinite(duration) and duration <= seconds
            windows.append((0.0, duration) if whole else (start[k], end[k]))
            continue
        low, high = max(end[k] - seconds, 0.0), min(start[k], duration - seconds)
        first = np.linspace(low, high, max(2, round((high - low) / GRID_S) + 1))
        foreign = (sound != sound[k]) & ~np.isin(sound, QUIET)
        overlap = np.minimum(end[foreign], first[:, None] + seconds) - np.maximum(start[foreign], first[:, None])
        middle = np.abs(first + seconds / 2 - (start[k] + end[k]) / 2)
        best = first[np.lexsort((middle.round(6), overlap.clip(min=0).sum(axis=1).round(6)))[0]]
        windows.append((float(best), float(best + seconds)))
    return windows


def read_loudest(root: Path, row: Any, sample_rate: int, seconds: float) -> np.ndarray:
    """The samples of one event, or of one that is longer than `seconds` the loudest part of that length."""
    audio, n, step = read_clip(root, row, sample_rate), round(seconds * sample_rate), round(GRID_S * sample_rate)
    if len(audio) <= n:
        return audio
    energy = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    first = np.arange(0, len(audio) - n + 1, step)
    at = first[np.argmax(energy[first + n] - energy[first])]
    return audio[at : at + n]


@cache
def _duration(path: Path) -> float:
    """Seconds; NaN of what cannot be read, which the store then leaves out."""
    try:
        return soundfile.info(path).duration
    except soundfile.SoundFileError:
        return float("nan")
