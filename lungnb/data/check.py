"""Count a data set on disk against the published counts, and show every difference.

    check("icbhi", "data")    reads data/icbhi; one row a count: what, published, here, agrees

The published counts are those of `lungnb.published` (artefact `data`): of the paper, of the official lists and of the annotation
files. Annotations are counted whether or not their audio is here; the audio is counted apart, from the files' headers.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import soundfile

from lungnb.data.events import TOLERANCE_S
from lungnb.data.icbhi import DEVICES, LABELS, read_annotations, read_folds, read_split
from lungnb.data.load import data_folder
from lungnb.errors import UserError
from lungnb.published import wide

Row = tuple[str, object, object, bool]


def check(name: str, folder: Path | str) -> pd.DataFrame:
    """The counts of data set `name` in `folder`/`name`: columns what, published, here, agrees.

    A rounded published number agrees with one that rounds to it. Raises UserError for an unknown data set, a missing folder
    and files that cannot be read as annotations or lists; audio that cannot be read is a row of the answer.
    """
    if name not in _CHECKS:
        raise UserError(f"No published counts of a data set {name!r}; known are {', '.join(_CHECKS)}.")
    columns = zip(*_CHECKS[name](data_folder(folder, name)), strict=True)
    kinds = {
        "what": "string",
        "published": object,
        "here": object,
        "agrees": bool,
    }  # objects: counts stay whole numbers
    return pd.DataFrame({c: pd.Series(v, dtype=k) for (c, k), v in zip(kinds.items(), columns, strict=True)})


def _count(what: str, published, here) -> Row:
    return what, _plain(published), _plain(here), bool(published == here)


def _rounded(what: str, published, here, decimals: int = 1) -> Row:
    """A published number of so many decimals; `here` is NA where there is nothing to measure."""
    agrees = pd.notna(here) and abs(here - published) <= 0.5 * 10**-decimals + 1e-9
    return what, _plain(published), _plain(here), bool(agrees)


def _plain(number):
    """A whole number as int, for the eye; others to three decimals."""
    if pd.isna(number):
        return "-"
    return int(number) if float(number).is_integer() else round(float(number), 3)


def _check_icbhi(root: Path) -> Iterator[Row]:
    published, cycles, split = wide("respirenet", "data"), read_annotations(root), read_split(root)
    recordings = cycles.drop_duplicates("recording").set_index("recording")
    yield from _annotations(published, cycles, recordings)
    yield from _official_split(published, cycles, split)
    yield from _folds(published, recordings, root)
    yield from _audio(published, cycles, recordings, root)


def _annotations(published: pd.DataFrame, cycles: pd.DataFrame, recordings: pd.DataFrame) -> Iterator[Row]:
    total = published.loc["all"]
    yield _count("annotated recordings", total["recordings"], len(recordings))
    yield _count("patients", total["patients"], cycles["patient"].nunique())
    yield _count("positions", total["positions"], cycles["position"].nunique())
    for device in DEVICES:
        yield _count(f"recordings, {device}", total[device], (recordings["device"] == device).sum())
    yield _count("annotated cycles", total["cycles"], len(cycles))
    for label in LABELS:
        yield _count(f"cycles, {label}", total[label], (cycles["label"] == label).sum())
    for device in DEVICES:
        yield _count(f"cycles, {device}", published.loc["all cycles", device], (cycles["device"] == device).sum())
    seconds, lengths = cycles["end_s"] - cycles["start_s"], published.loc["cycle length"]
    for statistic in ("min", "mean", "max"):
        yield _rounded(f"cycle length, {statistic} (s)", lengths[f"{statistic}_s"], seconds.agg(statistic))
    for column in lengths.index[lengths.index.str.startswith("longer than")]:
        edge = float(column.split()[2])
        yield _count(f"cycles {column}", lengths[column], (seconds > edge).sum())


def _official_split(published: pd.DataFrame, cycles: pd.DataFrame, split: pd.DataFrame) -> Iterator[Row]:
    parts = split["recording"].str.split("_")
    split = split.assign(patient=parts.str[0], device=parts.str[-1])
    side_of = split.set_index("recording")["split"]
    unannotated = (~split["recording"].isin(cycles["recording"])).sum()
    yield _count("official list: recordings without annotation", 0, unannotated)
    for side in ("train", "test"):
        listed, counts = split[split["split"] == side], published.loc[side]
        yield _count(f"official {side}: recordings", counts["recordings"], len(listed))
        yield _count(f"official {side}: patients", counts["patients"], listed["patient"].nunique())
        for device in DEVICES:
            yield _count(f"official {side}: recordings, {device}", counts[device], (listed["device"] == device).sum())
        labels = cycles.loc[cycles["recording"].map(side_of) == side, "label"]
        yield _count(f"official {side}: cycles", counts["cycles"], len(labels))
        for label in LABELS:
            yield _count(f"official {side}: cycles, {label}", counts[label], (labels == label).sum())
    sides = split.groupby("patient")["split"].nunique()
    shared, both = sides.index[sides == 2], published.loc["train and test"]
    yield _count("official split: patients on both sides", both["shared patients"], len(shared))
    for column in both.index[both.index.str.fullmatch(r"patient \d+")]:
        patient = column.split()[1]
        here = (split["patient"] == patient).sum() if patient in shared else 0
        yield _count(f"official split: recordings of {column}, on both sides", both[column], here)


def _folds(published: pd.DataFrame, recordings: pd.DataFrame, root: Path) -> Iterator[Row]:
    try:
        folds = read_folds(root).set_index("patient")["fold"]
    except UserError:
        if (root / "patient_list_foldwise.txt").exists():
            raise
        yield "RespireNet's fold list", "patient_list_foldwise.txt", "missing", False
        return
    fold_of = recordings["patient"].map(folds)
    yield _count("RespireNet's folds: recordings in none", 0, fold_of.isna().sum())
    for row in published.index[published.index.str.fullmatch(r"fold \d")]:
        counts, number = published.loc[row], int(row.split()[1])
        devices = recordings.loc[fold_of == number, "device"]
        yield _count(f"RespireNet's {row}: patients", counts["patients"], (folds == number).sum())
        yield _count(f"RespireNet's {row}: recordings", counts["recordings"], len(devices))
        for device in DEVICES:
            yield _count(f"RespireNet's {row}: recordings, {device}", counts[device], (devices == device).sum())


def _audio(published: pd.DataFrame, cycles: pd.DataFrame, recordings: pd.DataFrame, root: Path) -> Iterator[Row]:
    total, here = published.loc["all"], recordings[recordings["has_audio"]]
    yield _count("recordings with audio", total["recordings"], len(here))
    yield _count("recordings annotated without audio", 0, len(recordings) - len(here))
    for device in DEVICES:
        yield _count(f"recordings with audio, {device}", total[device], (here["device"] == device).sum())
    heard = cycles[cycles["has_audio"]]
    yield _count("cycles with audio", total["cycles"], len(heard))
    for label in LABELS:
        yield _count(f"cycles with audio, {label}", total[label], (heard["label"] == label).sum())

    rates, seconds, last_end = [], [], heard.groupby("recording")["end_s"].max()
    for recording, path in here["path"].items():
        try:
            info = soundfile.info(root / path)
        except soundfile.SoundFileError:
            yield f"audio of {path}", "readable", "unreadable", False
            continue
        duration = info.frames / info.samplerate
        if last_end[recording] > duration + TOLERANCE_S:
            yield f"audio of {path} (s)", f"at least {last_end[recording]:g}", round(duration, 3), False
        rates.append(info.samplerate)
        seconds.append(duration)
    rates, seconds = pd.Series(rates, dtype=float), pd.Series(seconds, dtype=float)
    yield _rounded("audio, all recordings (h)", total["duration_h"], seconds.sum() / 3600)
    for statistic in ("min", "max"):
        rate, length = published.loc["sample rate"], published.loc["recording length"]
        yield _count(f"sampling rate, {statistic} (Hz)", rate[f"{statistic}_hz"], rates.agg(statistic))
        yield _rounded(
            f"recording length, {statistic} (s)", length[f"{statistic}_s"], seconds.agg(statistic), decimals=0
        )


#: By data set. A data set joins with its reader.
_CHECKS = {"icbhi": _check_icbhi}
