"""`reports/recorded/`, results of full runs with all that is needed to believe them, and every number of the book in one table.

    record("01_respirenet", "paper", "Nothing was cut.")    keep the comparisons of a built report
    recorded("respirenet-table-1")                          one of them, provenance in its attrs
    leaderboard(Path("reports"))                            one line a number: published, recorded, of this build

Published numbers come from `lungnb.published`, those of this build from the comparisons among the tables of
`reports/<profile>/<notebook>/`.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungnb import published
from lungnb.book.report import KEYS, MEASURED, PROFILES, RECORDED, default_out, is_comparison, measured, write_json
from lungnb.core import UserError, atomic_file, repository
from lungnb.published import PAPERS

COLUMNS = ["row", "metric", "published", "ours", "sd", "n_seeds", "n_patients", "origin", "low", "high", "subset"]
SOURCES = ("published", "recorded", "this build")
QUESTION = ["paper", "artefact", "subset", *KEYS]
_TYPES = dict.fromkeys([*QUESTION, "source"], "string")
_TYPES |= dict.fromkeys(["value", "sd", "low", "high"], "Float64") | {"n_seeds": "Int64", "published": "Float64"}
_TYPES |= dict.fromkeys(["origin", "profile", "note"], "string")


def folder() -> Path:
    """`reports/recorded` of the repository around the working directory, else of the one the package lies in."""
    return (repository(Path.cwd()) or repository(Path(__file__)) or Path.cwd()) / "reports" / "recorded"


def record(notebook: str, profile: str, cut: str, out: str = "") -> list[Path]:
    """Keep each comparison of a built report as <paper>-<artefact>.csv, provenance in a .json beside it; the files written.

    Sounds that the notebook wrote into `samples` go with them, into <paper>-samples/. `cut` says in one sentence what of
    the paper's size was cut. Raises UserError if the report is not there or is not on real data: what is simulated is
    never recorded.
    """
    report, paper = (Path(out) if out else default_out()) / profile / notebook, notebook.partition("_")[2]
    if not (report / "manifest.json").exists():
        raise UserError(
            f"{report} holds no report; build it first with `lungnb report {notebook} --profile {profile}`."
        )
    manifest, written = json.loads((report / "manifest.json").read_text()), []
    for name, artefact in manifest["artefacts"].items():
        is_real_table = artefact["kind"] == "table" and artefact["origin"].startswith("real")
        table = pd.read_csv(report / "tables" / f"{name}.csv") if is_real_table else pd.DataFrame()
        if not is_comparison(table):
            continue
        ours = table[table["ours"].notna()]
        ours = ours if "subset" in ours else ours.assign(subset="test")
        target = folder() / f"{paper}-{name}.csv"
        with atomic_file(target) as path:
            ours.reindex(columns=COLUMNS).round(5).to_csv(path, index=False)
        write_json(target.with_suffix(".json"), _provenance(manifest, artefact, cut))
        written.append(target)
    if not written:
        raise UserError(f"{report} holds no comparison on real data; only those are recorded.")
    if (report / "samples").is_dir():
        target = folder() / f"{paper}-samples"
        shutil.rmtree(target, ignore_errors=True)
        written.append(Path(shutil.copytree(report / "samples", target)))
    return written


def _provenance(manifest: dict, artefact: dict, cut: str) -> dict[str, Any]:
    return {
        "origin": artefact["origin"],
        "fingerprint": artefact["corpus"]["fingerprint"],
        **manifest["git"],
        "device": ", ".join(artefact["devices"]),
        "seeds": artefact["seeds"],
        "profile": manifest["profile"],
        "cut": cut,
        "notes": artefact["notes"],
        "versions": manifest["versions"],
        "configs": {uid: manifest["configs"][uid] for uid in artefact["runs"]},
    }


def recorded(name: str) -> pd.DataFrame | None:
    """The recorded result `name`, or None if there is none on file; its provenance is in `.attrs["provenance"]`."""
    path = folder() / f"{name}.csv"
    if not path.is_file():
        return None
    frame = pd.read_csv(path)
    frame.attrs["provenance"] = json.loads(_read(path.with_suffix(".json")))
    return frame


def recorded_from(name: str) -> str:
    """Where the recorded run `name` comes from, as a line of Markdown."""
    frame = recorded(name)
    if frame is None:
        return "*No recorded run is on file.*"
    kept = frame.attrs["provenance"]
    return (
        f"**Recorded:** {kept['origin']}, fingerprint `{kept['fingerprint']}`, commit `{kept['commit'][:10]}`, "
        f"{kept['device']}, seeds {kept['seeds']}. {kept['cut']}"
    )


def leaderboard(reports: Path) -> pd.DataFrame:
    """All numbers, one a line; paper by paper, its artefacts and rows in the order of the paper.

    paper: the notebook's name without its number (`respirenet`, `compare_classifiers`). subset: what of a data set was
    scored, where one table has several. source: one of SOURCES. value, sd over seeds, low and high (95 % over patients),
    n_seeds. published: what a measured number is compared with, if anything. origin: `published`, or that of the data.
    profile: of the run. note: unit or cut. Each number that a paper prints is there once, under the paper's name for it;
    what was not built is not there (see `gaps`). Raises UserError for a report or a record with a file missing.
    """
    printed = pd.concat([published.load(paper) for paper in PAPERS]).query("source == 'paper'")
    parts = [printed.assign(source="published", origin="published")]
    parts += [*_recorded(reports / "recorded"), *_built(reports)]
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


def _recorded(place: Path) -> Iterator[pd.DataFrame]:
    for path in sorted(place.glob("*.csv")):
        paper, _, artefact = path.stem.partition("-")
        kept = json.loads(_read(path.with_suffix(".json")))
        about = {"source": "recorded", "profile": kept["profile"], "note": kept["cut"]}
        yield from _comparison(pd.read_csv(path), paper=paper, artefact=artefact, **about)


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
        if "recorded" in frame:  # what a built table shows beside; a record that is on file as a table has been read
            kept = frame[frame["recorded"].notna()].drop(columns=[*MEASURED, "origin"], errors="ignore")
            names = dict(zip([*RECORDED, "recorded origin"], ["value", *MEASURED[1:], "origin"], strict=True))
            yield kept.rename(columns=names).assign(**about | {"source": "recorded", "profile": ""})


def _read(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path} is missing though what lies beside it needs it; restore it or build the report again.")
    return path.read_text()
