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

import pandas as pd

from lungnb import published
from lungnb.book.report import KEYS, PROFILES, default_out, is_comparison, measured
from lungnb.core import UserError, atomic_file, repository
from lungnb.published import PAPERS

COLUMNS = ["row", "metric", "published", "ours", "sd", "n_seeds", "origin", "low", "high", "subset"]
SOURCES = ("published", "recorded", "this build")
QUESTION = ["paper", "artefact", "subset", *KEYS]
_NUMBERS = dict.fromkeys(("value", "sd", "low", "high"), "Float64") | {"n_seeds": "Int64"}
_TYPES = (
    dict.fromkeys((*QUESTION, "source"), "string") | _NUMBERS | dict.fromkeys(("origin", "profile", "note"), "string")
)


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
        if artefact["kind"] != "table" or not artefact["origin"].startswith("real"):
            continue
        table = pd.read_csv(report / "tables" / f"{name}.csv")
        if not is_comparison(table):
            continue
        ours = table[table["ours"].notna()]
        ours = ours if "subset" in ours else ours.assign(subset="test")
        target = folder() / f"{paper}-{name}.csv"
        with atomic_file(target) as path:
            ours.reindex(columns=COLUMNS).round(5).to_csv(path, index=False)
        with atomic_file(target.with_suffix(".json")) as path:
            path.write_text(json.dumps(_provenance(manifest, artefact, cut), indent=1, ensure_ascii=False))
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
    provenance = json.loads(_read(path.with_suffix(".json")))
    frame = pd.read_csv(path)
    frame.attrs["provenance"] = provenance
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
    n_seeds. origin: `published`, or that of the data. profile: of the run. note: unit or cut. A published number that a
    comparison shows under a name of its own stands there a second time. What was not built is not there (see `gaps`).
    Raises UserError for a report or a record with a file missing.
    """
    parts = [_published(), *_recorded(reports / "recorded"), *_built(reports)]
    numbers = pd.concat([part.reindex(columns=list(_TYPES)).astype(_TYPES) for part in parts], ignore_index=True)
    numbers = numbers[~(numbers.duplicated([*QUESTION, "source"]) & (numbers["source"] == "published"))]
    # Papers stay together, and all else in the order of its first line.
    order = pd.DataFrame({n: numbers.groupby(QUESTION[:n], sort=False).ngroup() for n in (1, 2)})
    return numbers.loc[order.sort_values([1, 2], kind="stable").index].reset_index(drop=True)


def gaps(reports: Path, notebooks: list[str]) -> list[str]:
    """Which of `notebooks` have no results in any profile of `reports`."""
    return [name for name in notebooks if not any((reports / p / name / "manifest.json").is_file() for p in PROFILES)]


def side_by_side(numbers: pd.DataFrame) -> pd.DataFrame:
    """One line a question (paper, artefact, subset, row, metric), and for each of SOURCES its number as text and, as in
    `recorded data`, what data it is of; both are empty where there is no such number.

    Where several profiles were built, the last of smoke, laptop, paper is shown.
    """
    rank = numbers["profile"].map({profile: k for k, profile in enumerate(PROFILES)}).fillna(-1)
    kept = numbers.assign(rank=rank).sort_values("rank", kind="stable")
    kept = kept.drop_duplicates([*QUESTION, "source"], keep="last").sort_index().fillna({"subset": "", "profile": ""})
    kept["text"] = [_text(line) for line in kept.to_dict("records")]
    kept["data"] = (kept["origin"] + "; " + kept["profile"]).where(kept["profile"] != "", kept["origin"])
    lines = kept.drop_duplicates(QUESTION)[QUESTION]
    for source in SOURCES:
        one = kept.loc[kept["source"] == source, [*QUESTION, "text", "data"]]
        lines = lines.merge(one.rename(columns={"text": source, "data": f"{source} data"}), on=QUESTION, how="left")
    return lines.fillna("")


def _text(line: dict) -> str:
    value = line["value"]
    return "not given" if pd.isna(value) else measured(int(value) if value == round(value) else value, line)


def _published() -> pd.DataFrame:
    """What a paper prints; rows that follow from it, or are of its code or ours, are not published."""
    everything = pd.concat([published.load(paper) for paper in PAPERS])
    everything = everything[everything["source"] == "paper"] if "source" in everything else everything
    return everything.assign(source="published", origin="published")


def _recorded(place: Path) -> Iterator[pd.DataFrame]:
    for path in sorted(place.glob("*.csv")):
        paper, _, artefact = path.stem.partition("-")
        kept = json.loads(_read(path.with_suffix(".json")))
        yield from _comparison(pd.read_csv(path), paper, artefact, "recorded", kept["profile"], kept["cut"])


def _built(reports: Path) -> Iterator[pd.DataFrame]:
    for manifest in (path for profile in PROFILES for path in sorted((reports / profile).glob("*/manifest.json"))):
        paper = manifest.parent.name.partition("_")[2]
        for name, artefact in json.loads(_read(manifest))["artefacts"].items():
            if artefact["kind"] == "table":
                _read(path := manifest.parent / "tables" / f"{name}.csv")
                note, profile = "; ".join(artefact["notes"]), manifest.parents[1].name
                yield from _comparison(pd.read_csv(path), paper, name, "this build", profile, note)


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
