"""Recorded experiments: their predictions are kept, and every number about them is computed from these anew.

    reports/recorded/<paper>/<experiment>/
        predictions.parquet   one row a scored event or patient, configuration (`row`) and training seed; of patients, means
                              over their crops (`lungnb.papers.pediatric.summarise_crops`)
        training.csv          of each training: epochs, seconds, weights and its scores on the events it was trained on
        history.csv           of each training the loss, and what was followed, by epoch
        config.yaml           the fields of each configuration
        provenance.json       data, commit, device, versions, seeds, and what of the paper's size was cut
        scores.csv            what `scores` made of the predictions when they were recorded
        weights/              of small networks: safetensors, one file a configuration and seed

What is recorded stands in `lungnb/configs/recorded/`; `lungnb.book.experiments` trains it. Here it is read, with neither
data nor torch. Of the training part the predictions of the first seed are kept, and none where folds are, to save space.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lungnb.book.report import label, write_json
from lungnb.book.storage import folder, read_table
from lungnb.core import UserError, atomic_file, git_state, package_versions
from lungnb.data.corpus import Corpus
from lungnb.data.splits import TESTED
from lungnb.metrics import probability_columns
from lungnb.metrics.classification import Formulas, evaluate, score_rows

_CONFIGS = Path(__file__).parents[1] / "configs" / "recorded"
COLUMNS = ["row", "seed", "fold", "event", "recording", "patient", "split", "label"]
#: Further ones, where what is scored are patients and not events; sd: of the passes with dropout.
OF_PATIENTS = ["cohort", "crops", "called", "loss", "highest", "sd"]
#: And where events were asked again with dropout left on.
OF_PASSES = ["mutual information"]
#: What a second computation may differ by: the last digit that scores.csv keeps, and of large numbers (FAD) the sixth, for the
#: eigenvalues of another processor differ there.
_TOLERANCE, _RELATIVE = 2e-6, 1e-5


# ---- what is recorded


def experiments() -> dict[str, dict[str, Any]]:
    """All experiments that are or can be recorded, by name: the paper's file, then its own."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # they are read again and again
    files = {path.stem: yaml.load(path.read_text(), loader) for path in sorted(_CONFIGS.glob("*.yaml"))}
    return {f"{paper}/{name}": about for paper, known in files.items() for name, about in known.items()}


def experiment(name: str) -> dict[str, Any]:
    """The experiment `name`. Raises UserError for an unknown one."""
    known = experiments()
    if name not in known:
        raise UserError(f"There is no experiment {name!r}; known are {', '.join(known)}.")
    return known[name]


def configurations(name: str) -> dict[str, dict[str, Any]]:
    """The fields of each row of an experiment, its `changed` rows last."""
    about = experiment(name)
    shared = about["fields"] | ({"attributions": about["attributions"]} if "attributions" in about else {})
    rows = {row: shared | fields for row, fields in expanded(about).items()}
    return rows | {row: dict(fields) for row, fields in about.get("changed", {}).items()}


def expanded(about: Mapping[str, Any], found: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """The own fields of each row of an experiment. One with `sites: each` is a row for each site, "MPO, site 1", with
    `sites: all but each` one for each that is left out, "MPA, without site 1". found: the sites of the data, if not the recorded
    ones."""
    sites = [s for s in about.get("sites", []) if s in found or not found] or list(found)
    rows = {}
    for row, fields in about["rows"].items():
        how = fields.get("sites")
        for site in sites if how in ("each", "all but each") else ():
            own = [site] if how == "each" else [s for s in sites if s != site]
            rows[f"{row}, {'site' if how == 'each' else 'without site'} {site}"] = fields | {"sites": own}
        if how not in ("each", "all but each"):
            rows[row] = dict(fields)
    return rows


# ---- to read


def predictions(name: str) -> pd.DataFrame:
    """The predictions of a recorded experiment, with `predicted`, the most probable class. Raises UserError if there are none."""
    frame = read_table(folder() / name / "predictions.parquet")
    p = frame[probability_columns(frame)].fillna(-1)  # a task of fewer classes has no such p
    frame = frame.assign(predicted=p.to_numpy().argmax(1))
    if (folder() / name / "provenance.json").is_file():
        frame.attrs["provenance"] = provenance(name)
    return frame


def start_of(name: str, start: str) -> tuple[str, str]:
    """What `start` of a row says: another experiment of the same paper ("" if it is of this one), and its row."""
    other, _, row = start.rpartition(": ")
    return (f"{name.partition('/')[0]}/{other}" if other else ""), row


def training(name: str) -> pd.DataFrame:
    """What is known of each recorded training: row, seed, fold, epochs, scores on its own training events, seconds, ..."""
    return pd.read_csv(folder() / name / "training.csv")


def history(name: str) -> pd.DataFrame:
    """Of each recorded training by epoch: row, seed, fold, epoch, loss, and scores of the parts that were followed."""
    return pd.read_csv(folder() / name / "history.csv")


def provenance(name: str) -> dict[str, Any]:
    """Where a recorded experiment comes from."""
    return json.loads((folder() / name / "provenance.json").read_text())


class Source:
    """Recorded experiments as the origin of a table or figure, which is real only if all are: what `Report` asks of a corpus."""

    def __init__(self, *names: str):
        self.names = names

    def __repr__(self) -> str:
        return f"Source({', '.join(map(repr, self.names))})"

    def _repr_markdown_(self) -> str:
        lines = []
        for name in self.names:
            of, trained = provenance(name), training(name)
            commits = trained["commit"].unique() if "commit" in trained else [of.get("commit", "")[:10]]
            at = f"commit{'s' * (len(commits) > 1)} " + ", ".join(f"`{one}`" for one in commits) + f", {of['device']}"
            lines.append(f"**Recorded:** {of['origin']} data, fingerprint `{of['fingerprint']}`, {at}. {of['cut']}")
        return "\n\n".join(lines)

    @property
    def name(self) -> str:
        return " + ".join(self.names)

    @property
    def fingerprint(self) -> str:
        return "+".join(dict.fromkeys(provenance(name)["fingerprint"] for name in self.names))

    @property
    def origin_text(self) -> str:
        origins = {experiment(name)["corpus"]: provenance(name)["origin"] for name in self.names}
        if len(set(origins.values())) == 1:
            return f"{min(origins.values())}, recorded"
        kind = "simulated in part" if "simulated" in origins.values() else "real"
        named = "; ".join(f"{label(name)}: {origin}" for name, origin in origins.items())
        return f"{kind} ({named}), recorded"


def by_seed(frame: pd.DataFrame, row: str, *parts: str) -> list[pd.DataFrame]:
    """The tables of one configuration, one a training seed, its folds pooled; of these parts of the split, else of all tested."""
    here = frame[(frame["row"] == row) & frame["split"].isin(parts or TESTED)]
    here.attrs = {}  # pandas would copy the provenance into whatever comes of it
    here = here.drop(columns=[p for p in probability_columns(here) if here[p].isna().all()])
    return [table.reset_index(drop=True) for _, table in here.groupby("seed")]


def by_row(frame: pd.DataFrame) -> dict[str, list[pd.DataFrame]]:
    """`by_seed` of every configuration."""
    return {row: by_seed(frame, row) for row in frame["row"].unique()}


def ensemble(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """One table of the mean probabilities of several, which are of the same events in the same order."""
    p = probability_columns(tables[0])
    mean = np.mean([table[p].to_numpy() for table in tables], axis=0)
    return tables[0].assign(predicted=mean.argmax(1), **dict(zip(p, mean.T, strict=True)))


def rows_of(
    frame: pd.DataFrame | None,
    rows: Mapping[str, str],
    subsets: Mapping[str, Sequence[str]],
    formulas: Formulas,
    metrics: Sequence[str] = (),
    unit: float = 1,
) -> pd.DataFrame | None:
    """Scores of predictions as rows of a comparison, one for each of `rows` (its name there -> row of the experiment) and subset
    (-> parts of the split); of these metrics, if not of all. None if there are no predictions."""
    if frame is None:
        return None
    tables = [
        score_rows(shown, by_seed(frame, row, *parts), formulas, unit).assign(subset=subset)
        for subset, parts in subsets.items()
        for shown, row in rows.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    table = table[table["metric"].isin(metrics)] if metrics else table
    table.attrs = frame.attrs
    return table


def scores(name: str) -> pd.DataFrame:
    """Every score of a recorded experiment: row, subset, metric, ours, sd, n_seeds, n_patients, low, high.

    subset: each part of the split but the training part, and `combined` where several were tested. Events of classes that the
    experiment has as `unscored` are left out.
    """
    frame, tables = predictions(name), []
    frame = frame[~frame["label"].isin(experiment(name).get("unscored", []))]
    for row, own in frame.groupby("row", sort=False):
        parts = {part: (part,) for part in ("validation", *TESTED) if (own["split"] == part).any()}
        tested = [part for part in parts if part in TESTED]
        parts |= {"combined": tuple(tested)} if len(tested) > 1 else {}
        for subset, of in parts.items():
            tables.append(evaluate(by_seed(own, row, *of)).assign(row=row, subset=subset))
    table = pd.concat(tables, ignore_index=True)
    return table[["row", "subset", "metric", "ours", "sd", "n_seeds", "n_patients", "low", "high"]].round(6)


def weights_file(name: str, row: str, seed: int) -> Path:
    """Where the weights of one training are kept."""
    return folder() / name / "weights" / f"{row.replace(' ', '-')}-{seed}.safetensors"


# ---- to keep


def refuse_other_data(name: str, corpus: Corpus) -> None:
    """Raise UserError if an experiment is on file of other data than `corpus`: of all its rows one origin is kept, so part of it
    cannot be recorded on these."""
    if (folder() / name / "provenance.json").is_file() and (old := provenance(name))[
        "fingerprint"
    ] != corpus.fingerprint:
        raise UserError(
            f"{name} is on file of {old['origin']} data ({old['fingerprint']}), and these are {corpus.origin_text} "
            f"({corpus.fingerprint}); give the same data, or record all rows and seeds."
        )


def keep_facts(name: str, file: str, corpus: Corpus, device: str, scored: pd.DataFrame, **facts: Any) -> None:
    """Write provenance.json, config.yaml and scores.csv of an experiment whose predictions, or clips, are in `file`."""
    place = folder() / name
    seeds = pd.read_parquet(place / file, columns=["row", "seed"]).groupby("row")["seed"]
    provenance = {
        "origin": corpus.origin_text,
        "fingerprint": corpus.fingerprint,
        **(git_state() or {}),
        "device": device,
    }
    provenance |= {"versions": package_versions(), "seeds": {row: sorted(map(int, own.unique())) for row, own in seeds}}
    write_json(place / "provenance.json", provenance | {"cut": experiment(name)["cut"]} | facts)
    with atomic_file(place / "config.yaml") as path:
        path.write_text(yaml.safe_dump(configurations(name), sort_keys=False))
    with atomic_file(place / "scores.csv") as path:
        scored.to_csv(path, index=False)


# ---- to check


def verify(file: str = "predictions.parquet", scored: Callable[[str], pd.DataFrame] = scores) -> list[str]:
    """What differs between the recorded scores and those that `scored` computes today, a sentence each; of the experiments that
    have `file`."""
    found = []
    for path in sorted(folder().glob(f"*/*/{file}")):
        name = "/".join(path.parts[-3:-1])
        found += differences(name, pd.read_csv(path.parent / "scores.csv"), scored(name))
        kept, now = yaml.safe_load((path.parent / "config.yaml").read_text()), configurations(name)
        rows = pd.read_parquet(path, columns=["row"])["row"].unique()
        found += [f"{name}: {row} was recorded with other choices" for row in rows if kept.get(row) != now.get(row)]
    return found


def differences(name: str, kept: pd.DataFrame, now: pd.DataFrame) -> list[str]:
    """What differs between two tables of scores (row, subset, metric, ours, sd, n_seeds, n_patients, low, high), in sentences."""
    keys = ["row", "subset", "metric"]
    both = kept.merge(now, on=keys, how="outer", suffixes=(" recorded", " now"), indicator="where")
    both["score"] = name + ": " + both[keys].agg(" | ".join, axis=1)
    found = [f"{score} is recorded and no longer computed" for score in both.loc[both["where"] == "left_only", "score"]]
    found += [f"{score} is computed and was not recorded" for score in both.loc[both["where"] == "right_only", "score"]]
    both = both[both["where"] == "both"]
    for column in ("ours", "sd", "n_seeds", "n_patients", "low", "high"):
        a, b = (both[f"{column} {which}"].astype(float) for which in ("recorded", "now"))
        off = ~np.isclose(a, b, rtol=_RELATIVE, atol=_TOLERANCE, equal_nan=True)
        changes = zip(both["score"][off], a[off], b[off], strict=True)
        found += [f"{score}: {column} was {x:g} and is {y:g}" for score, x, y in changes]
    return found
