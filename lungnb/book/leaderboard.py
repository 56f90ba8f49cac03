"""Every number of the book in one table.

    leaderboard(Path("reports"))    one line a number: published, recorded, of this build

Published numbers come from `lungnb.published`; recorded ones and those of a build from the comparisons among the tables of
`reports/<profile>/<notebook>/`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lungnb import published
from lungnb.book.report import KEYS, MEASURED, PROFILES, RECORDED, is_comparison, measured
from lungnb.core import UserError
from lungnb.published import PAPERS

COLUMNS = ["row", "metric", "published", "ours", "sd", "n_seeds", "n_patients", "origin", "low", "high", "subset"]
SOURCES = ("published", "recorded", "this build")
QUESTION = ["paper", "artefact", "subset", *KEYS]
_TYPES = dict.fromkeys([*QUESTION, "source"], "string")
_TYPES |= dict.fromkeys(["value", "sd", "low", "high"], "Float64") | {"n_seeds": "Int64", "published": "Float64"}
_TYPES |= dict.fromkeys(["origin", "profile", "note"], "string")


def leaderboard(reports: Path) -> pd.DataFrame:
    """All numbers, one a line; paper by paper, its artefacts and rows in the order of the paper.

    paper: the notebook's name without its number (`respirenet`, `compare_classifiers`). subset: what of a data set was
    scored, where one table has several. source: one of SOURCES. value, sd over seeds, low and high (95 % over patients),
    n_seeds. published: what a measured number is compared with, if anything. origin: `published`, or that of the data.
    profile: of the run. note: unit or cut. Each number that a paper prints is there once, under the paper's name for it;
    what was not built is not there (see `gaps`). Raises UserError for a report with a file missing.
    """
    printed = pd.concat([published.load(paper) for paper in PAPERS]).query("source == 'paper'")
    parts = [printed.assign(source="published", origin="published")]
    parts += [*_built(reports)]
    numbers = pd.concat([part.reindex(columns=list(_TYPES)).astype(_TYPES) for part in parts], ignore_index=True)
    # Papers stay together, and all else in the order of its first line.
    numbers = numbers[~(numbers["source"].eq("recorded") & numbers.duplicated([*QUESTION, "source"]))]
    order = pd.DataFrame({n: numbers.groupby(QUESTION[:n], sort=False).ngroup() for n in (1, 2)})
    return numbers.loc[order.sort_values([1, 2], kind="stable").index].reset_index(drop=True)


def gaps(reports: Path, notebooks: list[str]) -> list[str]:
    """Which of `notebooks` have no results in any profile of `reports`."""
    return [name for name in notebooks if not any((reports / p / name / "manifest.json").is_file() for p in PROFILES)]


def side_by_side(numbers: pd.DataFrame) -> pd.DataFrame:
    """One line a question (paper, artefact, subset, row, metric), and for each of SOURCES its number as text and, as in
    `recorded data`, what data it is of; both are empty where there is no such number.

    A published number that is compared with ours under a name of ours stands there alone; what is compared and was not
    printed, but follows from what was, is said to be `derived`. Of several profiles the last of smoke, laptop, paper is shown.
    """
    numbers = _as_compared(numbers)
    rank = numbers["profile"].map({profile: k for k, profile in enumerate(PROFILES)}).fillna(-1)
    kept = (
        numbers.assign(rank=rank).sort_values("rank", kind="stable").drop_duplicates([*QUESTION, "source"], keep="last")
    )
    kept = kept.sort_index(kind="stable").fillna({"subset": "", "profile": ""})
    kept["text"] = [_text(line) for line in kept.to_dict("records")]
    kept["data"] = (kept["origin"] + "; " + kept["profile"]).where(kept["profile"] != "", kept["origin"])
    lines = kept.drop_duplicates(QUESTION)[QUESTION]
    for source in SOURCES:
        one = kept.loc[kept["source"] == source, [*QUESTION, "text", "data"]]
        lines = lines.merge(one.rename(columns={"text": source, "data": f"{source} data"}), on=QUESTION, how="left")
    return lines.fillna("")


def _as_compared(numbers: pd.DataFrame) -> pd.DataFrame:
    """`numbers` with a published line for each question of ours that is compared, in place of the paper's own if it has one."""

    def keys(frame: pd.DataFrame, *columns: str) -> pd.MultiIndex:
        return pd.MultiIndex.from_frame(frame[list(columns)].fillna({"subset": ""}))

    is_printed = numbers["source"] == "published"
    printed, ours, same = numbers[is_printed], numbers[~is_printed], ("paper", *KEYS, "value")
    named = ours[ours["published"].notna() & ~keys(ours, *QUESTION).isin(keys(printed, *QUESTION))]
    named = named.assign(value=named["published"], source="published", sd=pd.NA, low=pd.NA, high=pd.NA, profile=pd.NA)
    named["origin"] = np.where(keys(named, *same).isin(keys(printed, *same)), "published", "derived")
    moved = keys(printed, *same).isin(keys(named, *same)) & ~keys(printed, *QUESTION).isin(keys(ours, *QUESTION))
    return pd.concat([numbers.drop(printed.index[moved]), named.astype({"origin": "string"})])


def _text(line: dict) -> str:
    value = line["value"]
    return "not given" if pd.isna(value) else measured(int(value) if value == round(value) else value, line)


def _built(reports: Path) -> Iterator[pd.DataFrame]:
    for manifest in (path for profile in PROFILES for path in sorted((reports / profile).glob("*/manifest.json"))):
        about = {"paper": manifest.parent.name.partition("_")[2], "source": "this build"}
        about["profile"] = manifest.parents[1].name
        for name, artefact in json.loads(_read(manifest))["artefacts"].items():
            if artefact["kind"] == "table":
                _read(path := manifest.parent / "tables" / f"{name}.csv")
                yield from _comparison(pd.read_csv(path), artefact=name, note="; ".join(artefact["notes"]), **about)


def _comparison(frame: pd.DataFrame, **about: str) -> Iterator[pd.DataFrame]:
    """The measured numbers of one comparison, with what they are compared with, and nothing of another table."""
    if is_comparison(frame):
        if "subset" in frame and frame["subset"].nunique() < 2:
            frame = frame.drop(columns="subset")  # one subset is no part of the question: it is the data of the table
        yield frame[frame["ours"].notna()].rename(columns={"ours": "value"}).assign(**about)
        if "recorded" in frame:  # what a built table shows beside
            kept = frame[frame["recorded"].notna()].drop(columns=[*MEASURED, "origin"], errors="ignore")
            names = dict(zip([*RECORDED, "recorded origin"], ["value", *MEASURED[1:], "origin"], strict=True))
            yield kept.rename(columns=names).assign(**about | {"source": "recorded", "profile": ""})


def _read(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path} is missing though what lies beside it needs it; restore it or build the report again.")
    return path.read_text()
