"""The counts of ICBHI 2017: annotations, official split, RespireNet's folds, audio."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.check.rows import Row, count, read_headers, rounded
from lungnb.data.icbhi import DEVICES, LABELS, read_annotations, read_folds, read_split
from lungnb.published import wide


def check_icbhi(root: Path) -> Iterator[Row]:
    published, cycles, split = wide("respirenet", "data"), read_annotations(root), read_split(root)
    recordings = cycles.drop_duplicates("recording").set_index("recording")
    yield from _annotations(published, cycles, recordings)
    yield from _official_split(published, cycles, split)
    yield from _folds(published, recordings, root)
    yield from _audio(published, cycles, recordings, root)


def _annotations(published: pd.DataFrame, cycles: pd.DataFrame, recordings: pd.DataFrame) -> Iterator[Row]:
    total = published.loc["all"]
    yield count("annotated recordings", total["recordings"], len(recordings))
    yield count("patients", total["patients"], cycles["patient"].nunique())
    yield count("positions", total["positions"], cycles["position"].nunique())
    for device in DEVICES:
        yield count(f"recordings, {device}", total[device], (recordings["device"] == device).sum())
    yield count("annotated cycles", total["cycles"], len(cycles))
    for label in LABELS:
        yield count(f"cycles, {label}", total[label], (cycles["label"] == label).sum())
    for device in DEVICES:
        yield count(f"cycles, {device}", published.loc["all cycles", device], (cycles["device"] == device).sum())
    seconds, lengths = cycles["end_s"] - cycles["start_s"], published.loc["cycle length"]
    for statistic in ("min", "mean", "max"):
        yield rounded(f"cycle length, {statistic} (s)", lengths[f"{statistic}_s"], seconds.agg(statistic))
    for column in lengths.index[lengths.index.str.startswith("longer than")]:
        edge = float(column.split()[2])
        yield count(f"cycles {column}", lengths[column], (seconds > edge).sum())


def _official_split(published: pd.DataFrame, cycles: pd.DataFrame, split: pd.DataFrame) -> Iterator[Row]:
    parts = split["recording"].str.split("_")
    split = split.assign(patient=parts.str[0], device=parts.str[-1])
    side_of = split.set_index("recording")["split"]
    unannotated = (~split["recording"].isin(cycles["recording"])).sum()
    yield count("official list: recordings without annotation", 0, unannotated)
    for side in ("train", "test"):
        listed, counts = split[split["split"] == side], published.loc[side]
        yield count(f"official {side}: recordings", counts["recordings"], len(listed))
        yield count(f"official {side}: patients", counts["patients"], listed["patient"].nunique())
        for device in DEVICES:
            yield count(f"official {side}: recordings, {device}", counts[device], (listed["device"] == device).sum())
        labels = cycles.loc[cycles["recording"].map(side_of) == side, "label"]
        yield count(f"official {side}: cycles", counts["cycles"], len(labels))
        for label in LABELS:
            yield count(f"official {side}: cycles, {label}", counts[label], (labels == label).sum())
    sides = split.groupby("patient")["split"].nunique()
    shared, both = sides.index[sides == 2], published.loc["train and test"]
    yield count("official split: patients on both sides", both["shared patients"], len(shared))
    for column in both.index[both.index.str.fullmatch(r"patient \d+")]:
        patient = column.split()[1]
        here = (split["patient"] == patient).sum() if patient in shared else 0
        yield count(f"official split: recordings of {column}, on both sides", both[column], here)


def _folds(published: pd.DataFrame, recordings: pd.DataFrame, root: Path) -> Iterator[Row]:
    try:
        folds = read_folds(root).set_index("patient")["fold"]
    except UserError:
        if (root / "patient_list_foldwise.txt").exists():
            raise
        yield "RespireNet's fold list", "patient_list_foldwise.txt", "missing", False
        return
    fold_of = recordings["patient"].map(folds)
    yield count("RespireNet's folds: recordings in none", 0, fold_of.isna().sum())
    for row in published.index[published.index.str.fullmatch(r"fold \d")]:
        counts, number = published.loc[row], int(row.split()[1])
        devices = recordings.loc[fold_of == number, "device"]
        yield count(f"RespireNet's {row}: patients", counts["patients"], (folds == number).sum())
        yield count(f"RespireNet's {row}: recordings", counts["recordings"], len(devices))
        for device in DEVICES:
            yield count(f"RespireNet's {row}: recordings, {device}", counts[device], (devices == device).sum())


def _audio(published: pd.DataFrame, cycles: pd.DataFrame, recordings: pd.DataFrame, root: Path) -> Iterator[Row]:
    total, here = published.loc["all"], recordings[recordings["has_audio"]]
    yield count("recordings with audio", total["recordings"], len(here))
    yield count("recordings annotated without audio", 0, len(recordings) - len(here))
    for device in DEVICES:
        yield count(f"recordings with audio, {device}", total[device], (here["device"] == device).sum())
    heard = cycles[cycles["has_audio"]]
    yield count("cycles with audio", total["cycles"], len(heard))
    for label in LABELS:
        yield count(f"cycles with audio, {label}", total[label], (heard["label"] == label).sum())

    bad, headers = read_headers(root, here["path"], heard.groupby("recording")["end_s"].max())
    yield from bad
    rates, seconds = headers["rate"], headers["seconds"]
    yield rounded("audio, all recordings (h)", total["duration_h"], seconds.sum() / 3600)
    for statistic in ("min", "max"):
        rate, length = published.loc["sample rate"], published.loc["recording length"]
        yield count(f"sampling rate, {statistic} (Hz)", rate[f"{statistic}_hz"], rates.agg(statistic))
        yield rounded(
            f"recording length, {statistic} (s)", length[f"{statistic}_s"], seconds.agg(statistic), decimals=0
        )
