"""Every number of the book in one tidy table: published, recorded on real data, and of this build, each with its origin.

    leaderboard(Path("reports"))    one line a number: COLUMNS
    side_by_side(numbers)           one line a question, the three kinds of answer beside each other, for reading

`source` says which of the three a number is. Published numbers come from `lungnb.published`, recorded ones from
`reports/recorded/*.csv`, those of this build from the comparisons among `reports/<profile>/<notebook>/tables/*.csv`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lungnb import published
from lungnb.book.comparison import KEYS, is_comparison, number
from lungnb.book.report import PROFILES
from lungnb.core import UserError
from lungnb.published.audit import PAPERS

SOURCES = ("published", "recorded", "this build")
QUESTION = ["paper", "artefact", "subset", *KEYS]
COLUMNS = [*QUESTION, "source", "value", "sd", "low", "high", "n_seeds", "origin", "profile", "note"]
_MEASURED = ["value", "sd", "low", "high"]
_TYPES = dict.fromkeys(COLUMNS, "string") | dict.fromkeys(_MEASURED, "Float64") | {"n_seeds": "Int64"}


def leaderboard(reports: Path) -> pd.DataFrame:
    """All numbers, columns COLUMNS; paper by paper, its artefacts and rows in the order of the paper.

    paper: the notebook's name without its number (`respirenet`, `compare_classifiers`). subset: what of a data set was
    scored, where one table has several. origin: `published`, or that of the data. profile: of the run. note: unit or cut.
    A published number that a comparison shows under a name of its own stands there a second time.
    What was not built is not there (see `gaps`). Raises UserError for a report or a record with a file missing.
    """
    parts = [_published(), *_recorded(reports / "recorded"), *_built(reports)]
    numbers = pd.concat([part.reindex(columns=COLUMNS).astype(_TYPES) for part in parts], ignore_index=True)
    again = numbers.duplicated([*QUESTION, "source"]) & (numbers["source"] == "published")
    numbers = numbers[~again]
    keys = (["paper"], ["paper", "artefact"])  # papers stay together, and all else in the order of its first line
    order = pd.DataFrame({str(key): numbers.groupby(key, sort=False).ngroup() for key in keys})
    return numbers.loc[order.sort_values(list(order), kind="stable").index].reset_index(drop=True)


def gaps(reports: Path, notebooks: list[str]) -> list[str]:
    """Which of `notebooks` have no results in any profile of `reports`."""
    return [name for name in notebooks if not any((reports / p / name / "manifest.json").is_file() for p in PROFILES)]


def side_by_side(numbers: pd.DataFrame) -> pd.DataFrame:
    """One line a question (paper, artefact, subset, row, metric): columns QUESTION, and for each of SOURCES its number as text
    and, as in `recorded data`, what data it is of; both are empty where there is no such number.

    The text is `54.2 ± 1.10 [50.0, 58.0]`: value, standard deviation over seeds, 95 % interval over patients. Where several
    profiles were built, the last of smoke, laptop, paper is shown.
    """
    rank = [PROFILES.index(profile) if profile in PROFILES else -1 for profile in numbers["profile"].fillna("")]
    kept = (
        numbers.assign(rank=rank).sort_values("rank", kind="stable").drop_duplicates([*QUESTION, "source"], keep="last")
    )
    kept = kept.sort_index().fillna({"subset": "", "profile": ""})
    kept["text"] = [_text(line) for line in kept.to_dict("records")]
    kept["data"] = (kept["origin"] + "; " + kept["profile"]).where(kept["profile"] != "", kept["origin"])
    lines = kept.drop_duplicates(QUESTION)[QUESTION]
    for source in SOURCES:
        one = kept.loc[kept["source"] == source, [*QUESTION, "text", "data"]]
        lines = lines.merge(one.rename(columns={"text": source, "data": f"{source} data"}), on=QUESTION, how="left")
    return lines.fillna("")


def _text(line: dict) -> str:
    value = line["value"]
    if pd.isna(value):
        return "not given"
    text = f"{value:.0f}" if value == round(value) else number(value)
    if pd.notna(line["sd"]):
        text += f" ± {number(line['sd'])}"
    if pd.notna(line["low"]) and pd.notna(line["high"]):
        text += f" [{number(line['low'])}, {number(line['high'])}]"
    return text


def _published() -> pd.DataFrame:
    everything = pd.concat([published.load(paper) for paper in PAPERS])
    return everything.assign(source="published", origin="published")


def _recorded(folder: Path) -> Iterator[pd.DataFrame]:
    for path in sorted(folder.glob("*.csv")):
        paper, _, artefact = path.stem.partition("-")
        kept = json.loads(_read(path.with_suffix(".json")))
        yield from _comparison(pd.read_csv(path), paper, artefact, "recorded", kept["profile"], kept["cut"])


def _built(reports: Path) -> Iterator[pd.DataFrame]:
    for profile in PROFILES:
        for manifest in sorted((reports / profile).glob("*/manifest.json")):
            paper = manifest.parent.name.partition("_")[2]
            for name, artefact in json.loads(_read(manifest))["artefacts"].items():
                if artefact["kind"] == "table":
                    _read(path := manifest.parent / "tables" / f"{name}.csv")
                    frame, note = pd.read_csv(path), "; ".join(artefact["notes"])
                    yield from _comparison(frame, paper, name, "this build", profile, note)


def _comparison(
    frame: pd.DataFrame, paper: str, artefact: str, source: str, profile: str, note: str
) -> Iterator[pd.DataFrame]:
    """The numbers of one comparison, measured ones and what they are compared with, and nothing of another table."""
    if not is_comparison(frame):
        return
    if "subset" in frame and frame["subset"].nunique() < 2:
        frame = frame.drop(columns="subset")  # one subset is no part of the question: it is the data of the table
    frame = frame.assign(paper=paper, artefact=artefact)
    shown = frame.drop(columns=["sd", "low", "high", "n_seeds"], errors="ignore").rename(columns={"published": "value"})
    yield shown[shown["value"].notna()].assign(source="published", origin="published")
    ours = frame[frame["ours"].notna()].rename(columns={"ours": "value"})
    yield ours.assign(source=source, profile=profile, note=note)


def _read(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path} is missing though what lies beside it needs it; restore it or build the report again.")
    return path.read_text()
