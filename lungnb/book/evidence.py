"""Recorded experiments: their predictions are kept, and every number about them is computed from these anew.

    reports/recorded/<experiment>/
        predictions.parquet   one row a scored event or patient, configuration (`row`) and training seed
        config.yaml           the fields of each configuration
        provenance.json       data, commit, device, versions, seeds, and what of the paper's size was cut
        scores.csv            what `scores` made of the predictions when they were recorded
        weights/              of small networks: safetensors, one file a configuration and seed

What is recorded stands in `lungnb/configs/recorded.yaml`. `record` trains what the cache has not and can be killed and called
again; `verify` needs neither data nor GPU.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lungnb.book.recorded import folder
from lungnb.book.report import write_json
from lungnb.core import UserError, atomic_file, git_state, package_versions
from lungnb.metrics.classification import evaluate

_CONFIGS = Path(__file__).parents[1] / "configs" / "recorded.yaml"
_COLUMNS = ["row", "seed", "fold", "event", "recording", "patient", "split", "label"]
#: What a second computation may differ by: the last digit that scores.csv keeps.
_TOLERANCE = 2e-6


def experiments() -> dict[str, dict[str, Any]]:
    """All experiments that are or can be recorded, by name."""
    return yaml.safe_load(_CONFIGS.read_text())


def configurations(name: str) -> dict[str, dict[str, Any]]:
    """The fields of each row of an experiment. Raises UserError for an unknown one."""
    known = experiments()
    if name not in known:
        raise UserError(f"There is no experiment {name!r}; known are {', '.join(known)}.")
    return {row: known[name]["fields"] | fields for row, fields in known[name]["rows"].items()}


def record(name: str, data: str, rows: tuple[str, ...] = ()) -> Path:
    """Train an experiment (of it only `rows`, if any) on the data sets in the folder `data` and keep it; its folder.

    Rows that are on file and not asked for stay.
    """
    from lungnb.classification import Classification  # needs torch; `verify` does not
    from lungnb.data import load_corpus
    from lungnb.training.experiment import run_all

    about = experiments()[name]
    runs = runs_of(name, data, rows)
    run_all(list(runs.values()))
    frames = [run.tested().assign(row=row, seed=seed, fold=fold or 0) for (row, seed, fold), run in runs.items()]
    place, new = folder() / name, pd.concat(frames, ignore_index=True)
    if (place / "predictions.parquet").is_file():
        old = predictions(name)
        new = pd.concat([old[~old["row"].isin(new["row"])], new], ignore_index=True)
    place.mkdir(parents=True, exist_ok=True)
    write_predictions(place, new)
    any_run = next(iter(runs.values()))
    provenance = {
        "origin": corpus.origin_text,
        "fingerprint": corpus.fingerprint,
        **git_state(),
        "device": any_run.result()["device"],
        "versions": package_versions(),
        "seeds": about["seeds"],
        "cut": about["cut"],
    }
    write_json(place / "provenance.json", provenance)
    with atomic_file(place / "config.yaml") as path:
        path.write_text(yaml.safe_dump(fields, sort_keys=False))
    with atomic_file(place / "scores.csv") as path:
        scores(name).to_csv(path, index=False)
    return place


def runs_of(name: str, data: str, rows: tuple[str, ...] = ()) -> dict[tuple[str, int, int | None], "Classification"]:
    """The trainings of an experiment (of it only `rows`, if any) by row, seed and fold (None: the split has none)."""
    from lungnb.classification import Classification  # needs torch; `verify` does not
    from lungnb.data import load_corpus

    about, fields = experiments()[name], configurations(name)
    n_patients = about.get("n_patients", 40)
    given = {"corpus": load_corpus(about["corpus"], data, n_patients).fingerprint, "data": data, "n_patients": n_patients}

    def run(row: str, **drawn: int) -> Classification:
        choices = given | fields[row] | drawn
        if "start" in choices:
            choices["start"] = run(choices["start"], **drawn)
        return Classification(**choices)

    keys = [(row, seed, fold) for row in rows or fields for seed in about["seeds"] for fold in about.get("folds", [None])]
    return {(row, seed, fold): run(row, seed=seed, **({} if fold is None else {"fold": fold})) for row, seed, fold in keys}


def write_predictions(place: Path, frame: pd.DataFrame) -> None:
    """Keep `frame`, the predictions of all configurations, seeds and folds, as small as they can be."""
    p = [c for c in frame if c[0] == "p" and c[1:].isdigit()]
    kept = frame[[*_COLUMNS, *p]].astype(
        dict.fromkeys(p, np.float16) | {"seed": np.int16, "fold": np.int16, "label": np.int16}
    )
    with atomic_file(place / "predictions.parquet") as path:
        kept.sort_values(["row", "seed", "fold"], kind="stable").to_parquet(path, index=False, compression="zstd")


def predictions(name: str) -> pd.DataFrame:
    """The predictions of a recorded experiment, with `predicted`, the most probable class. Raises UserError if there are none."""
    path = folder() / name / "predictions.parquet"
    if not path.is_file():
        raise UserError(f"{path} is missing; record it with `lungnb record {name} --data DIR`.")
    frame = pd.read_parquet(path)
    p = [c for c in frame if c[0] == "p" and c[1:].isdigit()]
    frame = frame.astype(dict.fromkeys(p, float))
    return frame.assign(predicted=frame[p].to_numpy().argmax(1))


def by_seed(frame: pd.DataFrame, row: str, *parts: str) -> list[pd.DataFrame]:
    """The tables of one configuration, one a training seed, its folds pooled; of some parts of the split, if said."""
    here = frame[(frame["row"] == row) & (frame["split"].isin(parts) if parts else True)]
    return [table.reset_index(drop=True) for _, table in here.groupby("seed")]


def scores(name: str) -> pd.DataFrame:
    """Every score of a recorded experiment: row, subset, metric, ours, sd, n_seeds, n_patients, low, high.

    subset: each part of the split that was tested, and `combined` where there are several.
    """
    frame, tables = predictions(name), []
    parts = {part: (part,) for part in sorted(frame["split"].unique())}
    parts |= {"combined": tuple(parts)} if len(parts) > 1 else {}
    for row in frame["row"].unique():
        for subset, of in parts.items():
            tables.append(evaluate(by_seed(frame, row, *of)).assign(row=row, subset=subset))
    table = pd.concat(tables, ignore_index=True)
    return table[["row", "subset", *table.columns.drop(["row", "subset"])]].round(6)


def verify() -> list[str]:
    """What differs between the recorded scores and those that the recorded predictions give today, a sentence each."""
    found = []
    for path in sorted(folder().glob("*/predictions.parquet")):
        name = path.parent.name
        kept, now = pd.read_csv(path.parent / "scores.csv"), scores(name)
        found += _differences(name, kept, now)
        if yaml.safe_load((path.parent / "config.yaml").read_text()) != configurations(name):
            found.append(f"{name}: lungnb/configs/recorded.yaml describes another experiment than was recorded")
    return found


def _differences(name: str, kept: pd.DataFrame, now: pd.DataFrame) -> list[str]:
    keys = ["row", "subset", "metric"]
    both = kept.merge(now, on=keys, how="outer", suffixes=(" recorded", " now"), indicator="where")
    both["score"] = name + ": " + both[keys].agg(" | ".join, axis=1)
    found = [f"{score} is recorded and no longer computed" for score in both.loc[both["where"] == "left_only", "score"]]
    found += [f"{score} is computed and was not recorded" for score in both.loc[both["where"] == "right_only", "score"]]
    both = both[both["where"] == "both"]
    for column in ("ours", "sd", "n_seeds", "n_patients", "low", "high"):
        a, b = (both[f"{column} {which}"].astype(float) for which in ("recorded", "now"))
        off = (a - b).abs().gt(_TOLERANCE) | (a.isna() != b.isna())
        changes = zip(both["score"][off], a[off], b[off], strict=True)
        found += [f"{score}: {column} was {x:g} and is {y:g}" for score, x, y in changes]
    return found
