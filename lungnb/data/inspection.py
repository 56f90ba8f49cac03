"""Recordings looked into: their headers by every reader, their samples and the rest of a folder by `lungnb data check`."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from lungnb.core import UserError
from lungnb.data.corpus import NO_AUDIO, Corpus
from lungnb.data.folders import COPIES, LEFT_BY_SYSTEMS, READABLE, files, unread

#: No event that can be heard is shorter; what is, was given in another unit.
SHORTEST_S = 0.01
#: An event may end this much past its audio (rounding of annotation times); more means truncated audio.
TOLERANCE_S = 0.05

#: Sound whose samples all lie within this range, of full scale, is silence: seven steps of int16.
SILENCE = 2e-4
#: A recording with this share of samples at full scale is clipped.
CLIPPED = 1e-3
#: Digital silence of this length is no pause of a chest; this share of a recording is a good part of it.
ZERO_S, ZEROS = 0.1, 0.2
#: No breath and no cough is shorter.
SHORT_S = 0.25


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
                "audio; it is truncated, or the annotation is another recording's or in another unit: compare the two."
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


#: What can be odd in a recording, the worst first -> what it means. The first STOPS stop a run that opens it.
KINDS = {
    "that cannot be decoded": "No decoder here knows it: another kind of file under a suffix of audio, or a part of one.",
    "without samples": "The header is there and no sound follows, or the header says so.",
    "with samples that are not numbers (NaN)": "Something computed this file wrongly; from there on nothing can be filtered.",
    "that is silent": "All samples are as good as equal: nothing was plugged in, or the file was made and never filled.",
    "of channels that cancel each other (the first is read)": "The channels are one sound with opposite signs, so their mean "
    "would be silence.",
    "with a header that claims more sound than there is": "The file was cut, or the recorder stopped before it could correct "
    "the header; what is there is read.",
    "that is clipped": "The sound went past full scale, and its tops are cut off.",
    "of zeros for a good part": "Blocks of digital silence stand where sound should be, as dropped packets or an eraser leave.",
    "shorter than a breath or a cough": "Too short for either; it may be a piece, or the sample rate in its header is wrong.",
    "with an event of silence, or past the audio": "The annotation says that there is a sound where there is none.",
}
STOPS = tuple(KINDS)[:3]
_CUT = re.compile(r"data : \d+ \(should be \d+\)")  # libsndfile's word for it


@dataclass(frozen=True)
class Odd:
    """A recording (`path`) of one of KINDS, `how` much or where, `at_s` seconds from its start, and the `share` of it."""

    kind: str
    path: str
    how: str = ""
    at_s: float = math.nan
    share: float = 1.0

    def __str__(self) -> str:
        return f"{self.path} {self.how}".rstrip()


def look_into(root: Path, paths: list[str], events: pd.DataFrame | None = None) -> list[Odd]:
    """What is odd in the recordings and, by `events`, in what is cut from them; by kind, the worst of each first."""
    parts = dict(iter(events.groupby("path"))) if events is not None else {}
    with ThreadPoolExecutor() as pool:
        found = [odd for each in pool.map(lambda path: _look_into(root, path, parts.get(path)), paths) for odd in each]
    return sorted(found, key=lambda odd: (list(KINDS).index(odd.kind), -odd.share, odd.path))


def _look_into(root: Path, path: str, events: pd.DataFrame | None) -> list[Odd]:
    undecoded, empty, nan, silent, cancelling, cut, clipped, zeros, short, event_of_silence = KINDS
    try:
        audio, rate = soundfile.read(root / path, dtype="float32", always_2d=True)
        header = soundfile.info(root / path, verbose=True).extra_info
    except soundfile.SoundFileError:
        return [Odd(undecoded, path)]
    if not len(audio):
        return [Odd(empty, path)]
    if not (finite := np.isfinite(audio).all(axis=1)).all():
        at_s = np.flatnonzero(~finite)[0] / rate
        return [Odd(nan, path, f"(first at {at_s:.2f} s)", at_s, 1 - finite.mean())]
    if np.ptp(audio, axis=0).max() < SILENCE:
        return [Odd(silent, path)]
    found, seconds = [], len(audio) / rate
    if cancel(audio):
        found.append(Odd(cancelling, path))
    if _CUT.search(header):
        found.append(Odd(cut, path, f"({seconds:.2f} s are there)", seconds))
    if (share := ((full := np.abs(audio) > 0.9995).mean())) > CLIPPED:
        at_s = np.argmax(full.any(axis=1)) / rate
        found.append(Odd(clipped, path, f"({100 * share:.1f} % of its samples)", at_s, share))
    size = max(1, int(ZERO_S * rate))
    blocks = (np.abs(audio[: len(audio) // size * size]).max(axis=1) < SILENCE / 2).reshape(-1, size).all(axis=1)
    if len(blocks) and (share := blocks.mean()) > ZEROS:
        found.append(Odd(zeros, path, f"({100 * share:.0f} % of it)", np.argmax(blocks) * ZERO_S, share))
    if seconds < SHORT_S:
        found.append(Odd(short, path, f"({seconds:.3f} s)", share=1 - seconds))
    for start_s, end_s in (
        () if events is None else zip(events["start_s"], events["end_s"].fillna(seconds), strict=True)
    ):
        event = audio[int(start_s * rate) : int(end_s * rate)]
        if not len(event) or np.ptp(event, axis=0).max() < SILENCE:
            found.append(Odd(event_of_silence, path, f"(at {start_s:.2f} s)", start_s, (end_s - start_s) / seconds))
            break
    return found


GROUPS = ("refused", "read", "lost", "passed over", "odd")


@dataclass(frozen=True)
class Finding:
    """Something that `data check` says: `group` is one of GROUPS; `names` are files or recordings."""

    group: str
    what: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        listed = f": {', '.join(self.names[:8])}{' and more' if len(self.names) > 8 else ''}" if self.names else ""
        return f"{self.group + ':':13}{self.what}{listed}"


def describe(corpus: Corpus) -> list[Finding]:
    """What is read, passed over and lost."""
    events = corpus.events
    parts = events.groupby("split", dropna=False)["recording"].nunique()
    by_part = ", ".join(f"{'no part' if pd.isna(part) else part} {n:,}" for part, n in parts.items())
    by_part = f" ({by_part})" if events["split"].notna().any() else ""
    people = f"{events['patient'].nunique():,} patients"
    found = [Finding("read", f"{_recordings(events['path'].nunique())}{by_part}, {len(events):,} events, {people}")]
    unknown = {name: int(events[name].isna().sum()) for name in ("age_years", "sex", "diagnosis", "condition")}
    found += [
        Finding("lost", f"{name} of {n:,} events is not known") for name, n in unknown.items() if 0 < n < len(events)
    ]
    for why, names in corpus.unread.items():
        found.append(
            Finding("lost" if why.endswith(NO_AUDIO) else "passed over", f"{len(names):,} {why}", tuple(names))
        )
    for why, n in corpus.skipped.items():
        if why not in corpus.unread:
            found.append(Finding("read" if "(kept" in why else "passed over", f"{n:,} {why}"))
    return found


def check_folder(
    folder: Path,
    reader: Callable[[Path], Corpus],
    counts: Callable[[Path], list[Count]] | None,
    printed: pd.DataFrame,
) -> pd.DataFrame:
    """`compare` for a data set's folder, with a row for all that would stop a run.

    `attrs`: `report`, the findings; `odd`, what `look_into` found below the folder `root`; `stops`, how many rows stop a run.
    """
    frame, found, root = pd.DataFrame(), [], folder
    try:
        frame = compare(counts(folder) if counts else [], printed)
        corpus = reader(folder)
        root, report = corpus.audio_root, describe(corpus)
        odd = look_into(root, corpus.events["path"].unique().tolist(), corpus.events)
    except UserError as error:
        found.append((f"a run is refused: {error}", "read", "refused"))
        paths = [path.relative_to(folder).as_posix() for path in files(folder, READABLE, None)]
        report = [Finding("refused", str(error)), Finding("read", f"nothing of {len(paths):,} audio files")]
        left = {why: names for why, names in unread(folder, []).items() if why in (LEFT_BY_SYSTEMS, COPIES)}
        report += [Finding("passed over", f"{len(names):,} {why}", tuple(names)) for why, names in left.items()]
        odd = look_into(folder, paths)
    for kind in KINDS:
        if names := tuple(str(each) for each in odd if each.kind == kind):
            report.append(Finding("refused" if kind in STOPS else "odd", f"{_recordings(len(names))} {kind}", names))
    found += [(f"audio of {each}: {each.kind}", "sound", "none") for each in odd if each.kind in STOPS]
    frame = pd.concat([frame, compare(found, printed)], ignore_index=True)
    report.sort(key=lambda finding: GROUPS.index(finding.group))
    frame.attrs |= {"report": report, "odd": odd, "root": root, "stops": len(found)}
    return frame


def _recordings(n: int) -> str:
    return f"{n:,} recording{'s' if n != 1 else ''}"
