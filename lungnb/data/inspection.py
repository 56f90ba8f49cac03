"""Recordings looked into: their headers by every reader, their samples and the rest of a folder by `lungnb data check`."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from lungnb.core import UserError
from lungnb.data.corpus import Corpus
from lungnb.data.folders import READABLE, files

#: No event that can be heard is shorter; what is, was given in another unit.
SHORTEST_S = 0.01
#: Words for the sex, in lower case -> ours.
SEX_WORDS = {"female": "female", "male": "male", "f": "female", "m": "male", "woman": "female", "man": "male"}
#: No event that can be heard is shorter; what is, was given in another unit.
SHORTEST_S = 0.01
#: An event may end this much past its audio (rounding of annotation times); more means truncated audio.
TOLERANCE_S = 0.05

#: Sound whose samples all lie within this range, of full scale, is silence: seven steps of int16.
SILENCE = 2e-4
#: A recording with this share of samples at full scale is clipped.
CLIPPED = 1e-3


def duration_s(file: Path, where: str = "") -> float:
    """Seconds of audio in `file`. Raises UserError, after `where`, for what is no audio and for no samples at all."""
    named = f"{where}: {file}" if where else file
    try:
        info = soundfile.info(file)
    except soundfile.SoundFileError as error:
        raise UserError(f"{named} is no readable audio file; export the recording again from where it came.") from error
    if not info.frames:
        unfinished = file.stat().st_size > 1000
        why = " by its header, though more follows (a recorder that was stopped leaves that)" if unfinished else ""
        raise UserError(f"{named} holds no samples{why}; export the recording again from where it came.")
    return info.frames / info.samplerate


def check_audio(root: Path, events: pd.DataFrame) -> None:
    """Raise UserError where a file of `events.path` is no audio, ends before an event, or an event is too short to be heard."""
    for path, group in events.groupby("path", sort=False):
        last, duration = group.loc[group["end_s"].idxmax()], duration_s(root / path)
        if last["end_s"] > duration + TOLERANCE_S:
            raise UserError(
                f"{last['where']}: the event ends at {last['end_s']:g} s but {Path(path).name} holds only {duration:.2f} s of "
                "audio; it is truncated, or the annotation is another recording's: compare the two."
            )
        if (late := group[group["start_s"] > duration - SHORTEST_S]).size:
            raise UserError(
                f"{late['where'].iloc[0]}: the event starts at {late['start_s'].iloc[0]:g} s, where the {duration:.2f} s of "
                f"{Path(path).name} are over; correct the event."
            )
        seconds = group["end_s"] - group["start_s"]
        if (tiny := seconds.between(0, SHORTEST_S, inclusive="neither")).any():
            raise UserError(
                f"{group.loc[tiny, 'where'].iloc[0]}: the event lasts {1000 * seconds[tiny].iloc[0]:.3g} milliseconds, too short "
                "to be heard; give the times in the unit of the data set (ICBHI: seconds, SPRSound: milliseconds)."
            )


#: Name of a count, the published one (row and metric of `lungnb.published`, or what it has to be), and the one here.
Count = tuple[str, tuple[str, str] | Any, Any]


def count(row: str, here: Mapping[str, Any] | pd.Series, name: str = "") -> list[Count]:
    """The counts of one published row: metric -> the count here. `name` is what the row is called, where it is another."""
    return [(f"{name or row}: {metric}", (row, metric), value) for metric, value in here.items()]


def each(column: pd.Series, values: Iterable[str]) -> pd.Series:
    """How often each of `values` stands in `column`."""
    return column.value_counts().reindex(list(values), fill_value=0)


def audio_headers(root: Path, paths: pd.Series, last_end: pd.Series) -> tuple[list[Count], pd.DataFrame]:
    """A count for each audio file that is unreadable or ends before its last event, and the headers of all that can be read.

    `paths` (relative to `root`) and `last_end` (seconds) are indexed by recording; recordings without events have none.
    """
    odd, headers = [], []
    for recording, path in paths.items():
        try:
            info = soundfile.info(root / path)
        except soundfile.SoundFileError:
            odd.append((f"audio of {path}", "readable", "unreadable"))
            continue
        seconds = info.frames / info.samplerate
        if (end := last_end.get(recording, 0)) > seconds + TOLERANCE_S:
            odd.append((f"audio of {path} (s)", f"at least {end:g}", round(seconds, 3)))
        headers.append((info.samplerate, seconds, info.channels, info.subtype))
    kinds = {"rate": float, "seconds": float, "channels": float, "subtype": "string"}
    return odd, pd.DataFrame(headers, columns=list(kinds)).astype(kinds)


def compare(found: Iterable[Count], printed: pd.DataFrame) -> pd.DataFrame:
    """Counts beside the published ones (by row and metric): columns what, published, here, agrees."""
    rows = []
    for what, published, here in found:
        if not isinstance(published, tuple):
            rows.append((what, published, _plain(here), published == here))
        elif published in printed.index:
            value, digits = printed.loc[published, ["value", "printed"]]
            half = 0.5 * 10.0 ** -len(digits.partition(".")[2])  # of the last digit: what rounds to it agrees
            rows.append((what, _plain(value), _plain(here), bool(abs(here - value) <= half + 1e-9)))
    frame = pd.DataFrame(rows, columns=["what", "published", "here", "agrees"], dtype=object)  # counts stay whole
    return frame.astype({"what": "string", "agrees": bool})


def _plain(number: Any) -> Any:
    """A whole number as int, for the eye; others to three decimals; text as it is."""
    if isinstance(number, str):
        return number
    if pd.isna(number):
        return "-"
    return int(number) if float(number).is_integer() else round(float(number), 3)


def cancel(audio: np.ndarray) -> bool:
    """Whether the channels of a recording (samples, channels) are one sound with opposite signs: their mean is then nothing."""
    if audio.shape[1] < 2:
        return False
    loudest = np.square(audio, dtype=np.float64).mean(axis=0).max()
    return bool(np.square(audio.mean(axis=1), dtype=np.float64).mean() < 1e-4 * loudest)


def look_into(root: Path, paths: list[str], events: pd.DataFrame | None = None) -> dict[str, list[str]]:
    """What is odd in each recording, by kind: the first of these (and events of silence, where the rest is none)."""
    parts = dict(iter(events.groupby("path"))) if events is not None else {}

    def one(path: str) -> tuple[str, str] | None:
        try:
            audio, rate = soundfile.read(root / path, dtype="float32", always_2d=True)
        except soundfile.SoundFileError:
            return STOPS[0], path
        if not len(audio):
            return STOPS[1], path
        if not (finite := np.isfinite(audio).all(axis=1)).all():
            return STOPS[2], f"{path} at {np.flatnonzero(~finite)[0] / rate:.2f} s"
        if np.ptp(audio, axis=0).max() < SILENCE:
            return "silent", path
        if cancel(audio):
            return "of channels that cancel each other (the first is read)", path
        if (share := (np.abs(audio) > 0.9995).mean()) > CLIPPED:
            return "clipped", f"{path} ({100 * share:.1f} % of its samples)"
        cuts = parts.get(path, pd.DataFrame(columns=["start_s", "end_s"]))
        ends = cuts["end_s"].fillna(len(audio) / rate)
        for start_s, end_s in zip(cuts["start_s"], ends, strict=True):
            event = audio[int(start_s * rate) : int(end_s * rate)]
            if not len(event) or np.ptp(event, axis=0).max() < SILENCE:
                return "with an event of silence, or past the audio", f"{path} at {start_s:.2f} s"
        return None

    found: dict[str, list[str]] = {}
    with ThreadPoolExecutor() as pool:
        for kind, what in filter(None, pool.map(one, paths)):
            found.setdefault(kind, []).append(what)
    return found


#: What stops a run that opens the recording.
STOPS = ("that cannot be decoded", "without samples", "with samples that are not numbers (NaN)")


def describe(corpus: Corpus, odd: Mapping[str, list[str]]) -> list[str]:
    """Lines on what is read, passed over and lost, and on recordings that are odd (`look_into`)."""
    events = corpus.events
    people = events["patient"].nunique()
    parts = events.groupby("split", dropna=False)["recording"].nunique()
    by_part = ", ".join(f"{'no part' if pd.isna(part) else part} {n:,}" for part, n in parts.items())
    by_part = f" ({by_part})" if events["split"].notna().any() else ""
    lines = [f"read: {events['path'].nunique():,} recordings{by_part}, {len(events):,} events, {people:,} patients"]
    unknown = {name: int(events[name].isna().sum()) for name in ("age_years", "sex", "diagnosis", "condition")}
    lines += [f"read without {name}: {n:,} events" for name, n in unknown.items() if 0 < n < len(events)]
    lines += [f"annotated or listed, without audio: {corpus.n_missing:,} recordings"] if corpus.n_missing else []
    lines += [f"{n:,} {why}" for why, n in corpus.skipped.items() if why not in corpus.unread]
    for kind, names in (*corpus.unread.items(), *((f"recordings {kind}", names) for kind, names in odd.items())):
        lines.append(f"{len(names):,} {kind}: {_some(names)}")
    return lines


def check_folder(
    folder: Path,
    reader: Callable[[Path], Corpus],
    counts: Callable[[Path], list[Count]] | None,
    printed: pd.DataFrame,
) -> pd.DataFrame:
    """`compare` for a data set's folder, with a row for all that would stop a run; `attrs["report"]`: lines of `describe`."""
    frame, found = compare(counts(folder) if counts else [], printed), []
    try:
        corpus = reader(folder)
        odd = look_into(corpus.audio_root, corpus.events["path"].unique().tolist(), corpus.events)
        report = describe(corpus, odd)
    except UserError as error:
        found.append((f"a run is refused: {error}", "read", "refused"))
        paths = [path.relative_to(folder).as_posix() for path in files(folder, READABLE, None)]
        odd, report = look_into(folder, paths), []
        report = [f"{len(names):,} recordings {kind}: {_some(names)}" for kind, names in odd.items()]
    found += [(f"audio of {what}: {kind}", "sound", "none") for kind in STOPS for what in odd.get(kind, ())]
    frame = pd.concat([frame, compare(found, printed)], ignore_index=True)
    frame.attrs["report"] = report
    return frame


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (" and more" if len(names) > most else "")
