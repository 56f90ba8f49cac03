"""The counts of SPRSound's BioCAS 2022 release: parts, people, lengths of events, rare classes, audio."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lungnb.data.check.rows import Row, count, read_headers, rounded
from lungnb.data.sprsound import LABELS, POSITIONS, SHORT, read_annotations, release_folder
from lungnb.published import wide

#: Test is inter and intra combined, as the paper has it.
SPLITS = {"train": ["train"], "inter": ["inter"], "intra": ["intra"], "test": ["inter", "intra"]}
CLASSES = dict(zip(SHORT, LABELS, strict=True))
QUANTILES = {"p5_s": 0.05, "p95_s": 0.95, "p99_s": 0.99}


def check_sprsound(folder: Path) -> Iterator[Row]:
    root = release_folder(folder)
    published, (recordings, events) = wide("convlstm", "data"), read_annotations(root)
    events["seconds"] = events["end_s"] - events["start_s"]
    total = published.loc["all"]
    yield count("recordings", total["recordings"], len(recordings))
    yield count("patients", total["patients"], recordings["patient"].nunique())
    yield count("events", total["events"], len(events))
    backwards = "events that do not end after they start"
    yield count(backwards, total[backwards], (events["seconds"] <= 0).sum())
    for part in SPLITS:
        yield from _part(part, published, recordings, events)
    yield from _people(published, _of("train", recordings))
    yield from _lengths(published, events)
    yield from _clusters(published, _of("train", events))
    yield from _audio(published, recordings, events, root)


def _of(part: str, frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["split"].isin(SPLITS[part])]


def _part(part: str, published: pd.DataFrame, recordings: pd.DataFrame, events: pd.DataFrame) -> Iterator[Row]:
    counts, records = published.loc[part], published.loc[f"{part} records"].dropna()
    patients, train_patients = _of(part, recordings)["patient"], _of("train", recordings)["patient"]
    recordings, labels = _of(part, recordings), _of(part, events)["label"]
    yield count(f"{part}: recordings", counts["recordings"], len(recordings))
    yield count(f"{part}: patients", counts["patients"], patients.nunique())
    if part != "train":
        shared = patients[patients.isin(train_patients)].nunique()
        yield count(f"{part}: patients shared with train", counts["patients shared with train"], shared)
    yield count(f"{part}: events", counts["events"], len(labels))
    for short, label in CLASSES.items():
        yield count(f"{part}: events, {label}", counts[short], (labels == label).sum())
    yield count(f"{part}: events, abnormal", counts["abnormal"], (labels != "normal").sum())
    for label, number in records.items():
        yield count(f"{part}: recordings, {label}", number, (recordings["record_label"] == label).sum())
    silent = recordings.loc[recordings["n_events"] == 0, "record_label"]
    yield count(f"{part}: recordings without events", records["Poor Quality"], len(silent))
    yield count(f"{part}: recordings without events, not Poor Quality", 0, (silent != "Poor Quality").sum())


def _people(published: pd.DataFrame, train: pd.DataFrame) -> Iterator[Row]:
    for position in POSITIONS:
        here = (train["position"] == position).sum()
        yield count(f"train: recordings, position {position}", published.loc["train positions", position], here)
    for sex in ("male", "female"):
        yield count(f"train: recordings, {sex}", published.loc["train sex", sex], (train["sex"] == sex).sum())
    ages, printed = train["age_years"], published.loc["age"]
    for statistic in ("min", "median", "max"):
        yield rounded(f"train: age, {statistic} (years)", printed[f"{statistic}_years"], ages.agg(statistic))
    yield count("train: age, distinct values", printed["distinct values"], ages.nunique())


def _lengths(published: pd.DataFrame, events: pd.DataFrame) -> Iterator[Row]:
    train, printed = _of("train", events), published.loc["event length"]
    seconds = train["seconds"]
    for statistic, decimals in {"min": 3, "median": 2, "mean": 2, "max": 2}.items():
        yield rounded(
            f"train: event length, {statistic} (s)", printed[f"{statistic}_s"], seconds.agg(statistic), decimals
        )
    for column, quantile in QUANTILES.items():
        yield rounded(
            f"train: event length, {column[:-2]} (s)", printed[column], seconds.quantile(quantile), decimals=2
        )
    for column in printed.index[printed.index.str.startswith("share up to")]:
        share = 100 * (seconds <= float(column.split()[3])).mean()
        yield rounded(f"train: events, {column} (%)", printed[column], share)
    yield count("train: events longer than 5 s", printed["longer than 5 s"], (seconds > 5).sum())
    everywhere = published.loc["event length, all", "longer than 5 s"]
    yield count("events longer than 5 s", everywhere, (events["seconds"] > 5).sum())
    wheezes = seconds[train["label"] == "wheeze"]
    yield rounded(
        "train: wheeze length, median (s)", published.loc["event length | W", "median_s"], wheezes.median(), 2
    )


def _clusters(published: pd.DataFrame, train: pd.DataFrame) -> Iterator[Row]:
    """In how few patients a rare class is found."""
    for row in published.index[published.index.str.startswith("train | ")]:
        label = CLASSES[row.removeprefix("train | ")]
        by_patient = train.loc[train["label"] == label, "patient"].value_counts()
        here = {"patients": len(by_patient), "largest patient": by_patient.max() if len(by_patient) else 0}
        for metric, number in published.loc[row].dropna().items():
            yield count(f"train: {label}, {metric}", number, here[metric])


def _audio(published: pd.DataFrame, recordings: pd.DataFrame, events: pd.DataFrame, root: Path) -> Iterator[Row]:
    here = recordings[recordings["path"].notna()].set_index("recording")
    for part in SPLITS:
        yield count(f"{part}: recordings with audio", published.loc[part, "recordings"], len(_of(part, here)))
    yield count("recordings annotated without audio", 0, len(recordings) - len(here))
    bad, headers = read_headers(root, here["path"], events.groupby("recording")["end_s"].max())
    yield from bad
    total, lengths, seconds = published.loc["all"], published.loc["recording length"], headers["seconds"]
    yield rounded("audio, all recordings (h)", total["duration_h"], seconds.sum() / 3600, decimals=2)
    for statistic in ("min", "max"):
        rate, channels = headers["rate"].agg(statistic), headers["channels"].agg(statistic)
        yield count(f"sampling rate, {statistic} (Hz)", total["sample_rate_hz"], rate)
        yield count(f"channels, {statistic}", total["channels"], channels)
    of_depth = (headers["subtype"] == f"PCM_{total['bits']:.0f}").sum()
    yield count(f"recordings of {total['bits']:.0f} bits", total["recordings"], of_depth)
    for statistic, decimals in {"min": 2, "median": 1, "max": 2}.items():
        yield rounded(f"recording length, {statistic} (s)", lengths[f"{statistic}_s"], seconds.agg(statistic), decimals)
