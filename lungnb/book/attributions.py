"""Recorded attributions: what the maps of an experiment's networks score, sound by sound, and every number about them.

    reports/recorded/<paper>/<experiment>/
        attributions.parquet        one row a configuration (`row`), training seed, control, method, stage and sound, as
                                    `lungnb.classification.explained.attributions` makes them
        attribution_scores.csv      what `scores` made of them when they were recorded
        maps/                       of each configuration some maps themselves, `maps_to_keep` of the same module

They lie beside the predictions of the same networks (`lungnb.book.recorded`). Here they are read, with neither data nor torch.
What is said of maps is said of sounds that the network gets right in the clip that is explained; and of what has no network, of
the same sounds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lungnb.book.recorded import differences, experiment
from lungnb.book.storage import folder, read_table, write_parquet
from lungnb.metrics.intervals import holm
from lungnb.metrics.sounds import gain_over_sounds, mean_over_sounds

SHARES = ("pointing", "moment", "energy", "deletion")
#: Rank correlations.
SIGNED = ("likeness", "agreement")
#: How a map is described: control, method, stage.
Which = tuple[str, str, str]
TRAINED: Which = ("trained", "Grad-CAM++", "last")
REDRAWN: Which = ("redrawn", "Grad-CAM++", "last")
LOUDEST, FLOOR, TRUTH, RANDOM, PLACES = (
    (control, "", "last") for control in ("loudest pixel", "floor", "truth", "random order", "true places")
)


def attributions(name: str) -> pd.DataFrame:
    """The recorded table of an experiment. Raises UserError if there is none."""
    return read_table(folder() / name / "attributions.parquet")


def maps(name: str, row: str) -> dict[str, np.ndarray]:
    """The maps that are kept of one configuration, as `lungnb.classification.explained.maps_to_keep` describes them."""
    with np.load(maps_file(name, row)) as kept:
        return dict(kept)


def maps_file(name: str, row: str) -> Path:
    return folder() / name / "maps" / f"{row.replace(' ', '-')}.npz"


def sounds(
    table: pd.DataFrame, row: str, metrics: Sequence[str], which: Which = TRAINED, kind: str = ""
) -> pd.DataFrame:
    """Of each sound that a network gets right, what `which` of its maps has in `metrics`: seed, event, patient, label, metrics.

    The control "redrawn" is the mean over its drawings. What has no network is there for each seed. kind: only of this label.
    """
    control, method, stage = which
    own = table[table["row"] == row]
    right = own[(own["control"] == "trained") & own["right"].fillna(False).astype(bool)]
    right = right.drop_duplicates(["seed", "event"])[["seed", "event", "patient", "label"]]
    right = right[right["label"] == kind] if kind else right
    here = own[(own["method"] == method) & (own["stage"] == stage)]
    here = here[here["control"].str.startswith("redrawn ") if control == "redrawn" else here["control"] == control]
    keys = ["event"] if here["right"].isna().all() else ["seed", "event"]
    return right.merge(here.groupby(keys, sort=False)[list(metrics)].mean().reset_index(), on=keys)


def line(table: pd.DataFrame, row: str, metric: str, which: Which = TRAINED, kind: str = "") -> dict[str, float]:
    """The mean of one metric over `sounds`, with its interval (`lungnb.metrics.sounds`)."""
    values = sounds(table, row, [metric], which, kind)
    return mean_over_sounds(values, [metric], SIGNED).loc[metric].to_dict()


def gain(
    table: pd.DataFrame, row: str, metric: str, against: Which, which: Which = TRAINED, kind: str = ""
) -> dict[str, float]:
    """By how much the maps of `which` have more in `metric` than those of `against`, of the same sounds."""
    one, other = (sounds(table, row, [metric], w, kind).rename(columns={metric: "value"}) for w in (which, against))
    return gain_over_sounds(one, other)


def gains(
    table: pd.DataFrame, rows: Sequence[str], metric: str, against: Which, which: Which = TRAINED
) -> pd.DataFrame:
    """`gain` of each of `rows`, by row; p is corrected for how many they are (Holm)."""
    found = [gain(table, row, metric, against, which) for row in rows]
    columns = list(found[0]) if found else ["ours", "low", "high", "p"]
    frame = pd.DataFrame(found, index=list(rows), columns=columns)
    return frame.assign(p=holm(frame["p"]))


def verdict(found: pd.DataFrame, one: str, other: str) -> str:
    """Which rows of `gains` have more, or less, in `one` than in `other`, and of which it cannot be told, in a sentence."""
    sure, few = found["p"] < 0.05, found["low"].isna()
    groups = {"more than": sure & (found["ours"] > 0), "less than": sure & (found["ours"] < 0)}
    groups |= {"not told apart from": ~sure & ~few, "of too few patients to be compared with": few}
    parts = []
    for name, here in groups.items():
        said = [f"{row} ({x.ours:+.2f} [{x.low:+.2f}, {x.high:+.2f}])" for row, x in found[here].iterrows()]
        parts += [f"{name} {other} in {', '.join(said).replace(' ([nan, nan])', '')}"] if said else []
    return f"{one}: " + ("; ".join(parts) or f"no network to hold against {other}") + "."


def scores(name: str) -> pd.DataFrame:
    """Every mean of a recorded experiment: row, subset (control, method, stage), metric, and the columns of
    `mean_over_sounds`; none of a network that gets no sound right."""
    table, found = attributions(name), [pd.DataFrame(columns=["row", "subset", "metric"])]
    measured = [c for c in table if c in (*SHARES, *SIGNED) or c.endswith("Hz")]
    control = table["control"].str.replace(r"^redrawn \d+$", "redrawn", regex=True)
    subsets = pd.MultiIndex.from_arrays([control, table["method"], table["stage"]]).unique()
    for row, own in table.groupby("row", sort=False):
        for which in subsets:
            values = sounds(own, row, measured, which)
            known = [metric for metric in measured if values[metric].notna().any()]
            if known:
                means = mean_over_sounds(values, known, SIGNED).reset_index()
                found.append(means.assign(row=row, subset=", ".join(part for part in which if part)))
    table = pd.concat(found, ignore_index=True)
    return table[["row", "subset", *table.columns.drop(["row", "subset"])]].round(6)


def verify() -> list[str]:
    """What differs between the recorded scores and those that the recorded attributions give today, a sentence each."""
    found = []
    for path in sorted(folder().glob("*/*/attributions.parquet")):
        name = "/".join(path.parts[-3:-1])
        found += differences(name, pd.read_csv(path.parent / "attribution_scores.csv"), scores(name))
        lacking = set(attributions(name)["row"]) - set(experiment(name)["rows"])
        found += [f"{name}: {row} is on file and no row of the experiment" for row in sorted(lacking)]
    return found


def write(path: Path, frame: pd.DataFrame) -> None:
    """Keep `frame`, attributions of all configurations and seeds, as small as they can be."""
    small = dict.fromkeys(("seed", "fold", "rows", "frames"), np.int16)
    write_parquet(path, frame.astype(small | dict.fromkeys(frame.select_dtypes("float"), np.float16)))
