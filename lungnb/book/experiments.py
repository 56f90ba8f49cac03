"""Trainings of the recorded experiments: to record them, and to make them again in the profiles laptop and paper.

What is recorded stands in `lungnb/configs/recorded/`; where it is kept, and how it is read, in `lungnb.book.recorded`.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungnb.book import attributions as recorded_attributions
from lungnb.book.recorded import (
    COLUMNS,
    OF_PASSES,
    OF_PATIENTS,
    configurations,
    expanded,
    experiment,
    keep_facts,
    refuse_other_data,
    scores,
    start_of,
    weights_file,
)
from lungnb.book.storage import folder, merge, write_parquet
from lungnb.classification import Classification
from lungnb.classification.explained import attributions, patients_with_dropout, sounds_of, with_dropout
from lungnb.core import UserError, atomic_file, git_state
from lungnb.data import DATASETS, data_folder, load_corpus
from lungnb.data.locate import corpora_in
from lungnb.data.splits import TESTED
from lungnb.data.tasks import task_of
from lungnb.metrics import probability_columns
from lungnb.papers.pediatric import summarise_crops
from lungnb.training.experiment import run_all

Runs = dict[tuple[str, int, int | None], Classification]
_SMALL = dict.fromkeys(("seed", "fold", "label", "crops", "called"), np.int16)
_SMALL |= dict.fromkeys(("loss", "highest", "sd", *OF_PASSES), np.float16)


def runs_of(
    name: str,
    data: str,
    rows: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    profile: str = "laptop",
    epochs: int = 0,
    **changes: Any,
) -> Runs:
    """The trainings of an experiment by row, seed and fold (None: the split has none), on the data sets in the folder `data`.

    rows, seeds: only these, if any; "MPO" are all rows "MPO, site 1" and so on. profile: laptop, as recorded; paper, what the
    experiment and the row change for it. epochs: at most so many, if not 0. changes: fields that are other than recorded.
    Of a row that starts with the best of another, the one of lowest validation loss, that other is trained at once.
    Raises UserError for an unknown row.
    """
    about, data = experiment(name), place_of(name, data)
    n_patients = about.get("n_patients", 40)
    corpus = load_corpus(about["corpus"], data, n_patients)
    every = expanded(about, corpus.events["position"].dropna().unique().tolist() if "sites" in about else ())
    given = {"corpus": corpus.fingerprint, "data": data, "n_patients": n_patients}

    def run(row: str, **drawn: int) -> Classification:
        choices = given | about["fields"] | every[row] | drawn | changes
        larger = about.get("paper", {}) | choices.pop("paper", {})
        choices |= larger if profile == "paper" else {}
        choices |= {"epochs": min(epochs, choices["epochs"])} if epochs else {}
        others = {task: task_of(task).corpus for task in choices.pop("transfer", ())}
        choices["transfer"] = {task: load_corpus(of, data, n_patients).fingerprint for task, of in others.items()}
        if "start" in choices:
            if choices["start"].startswith("best of "):
                named = choices["start"].removeprefix("best of ")
                # Of all seeds, whichever are asked for: the row means the same when it is recorded in parts.
                begun = [run(named, **drawn | {"seed": seed}) for seed in about["seeds"]]
                run_all(begun)
                return Classification(**choices | {"start": min(begun, key=lambda one: one.result()["val_loss"])})
            other, there = start_of(name, choices["start"])
            begun = runs_of(other, data, (there,), (drawn["seed"],), profile) if other else {}
            choices["start"] = begun.get((there, drawn["seed"], None)) or run(there, **drawn)
        return Classification(**choices)

    called = {row: {row, re.sub(", (without )?site .*", "", row)} for row in every}
    if strange := {*rows}.difference(*called.values()):
        raise UserError(f"{name} has no row {', '.join(sorted(strange))}; its rows are {', '.join(every)}.")
    found = {}
    for row in [row for row in every if not rows or called[row] & {*rows}]:
        for seed in seeds or about["seeds"]:
            for fold in about.get("folds", [None]):
                found[row, seed, fold] = run(row, seed=seed, **({} if fold is None else {"fold": fold}))
    return found


def live(
    name: str,
    profile: str,
    data: str,
    *,
    rows: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    epochs: int = 0,
    device: str = "auto",
    cluster: str = "",
) -> pd.DataFrame | None:
    """The same predictions of trainings of this build, as `predictions` gives the recorded ones; None in the profile smoke.

    laptop: what was recorded, trained again; paper: with the paper's sizes. epochs: at most so many, if not 0. A row that starts
    from another data set is left out if that is not in the folder `data`.
    """
    if profile == "smoke":
        return None
    here = DATASETS if data == "simulated" else corpora_in(Path(data), DATASETS)[0]
    fields = experiment(name)["rows"] | configurations(name)  # "MPO" as well as its "MPO, site 1"
    starts = {row: start_of(name, fields[row].get("start", ""))[0] for row in rows or experiment(name)["rows"]}
    asked = tuple(row for row, other in starts.items() if not other or experiment(other)["corpus"] in here)
    runs = runs_of(name, data, asked, seeds, profile, epochs, device=device)
    run_all(list(runs.values()), cluster or None)
    return collect(name, runs)


def live_attributions(
    name: str,
    profile: str,
    data: str,
    *,
    seeds: tuple[int, ...] = (),
    epochs: int = 0,
    device: str = "auto",
    cluster: str = "",
) -> pd.DataFrame | None:
    """What trainings of this build look at, as `lungnb.book.attributions.attributions` gives the recorded ones; see `live`."""
    if profile == "smoke":
        return None
    runs = runs_of(name, data, (), seeds, profile, epochs, device=device)
    run_all(list(runs.values()), cluster or None)
    return pd.concat([table for table, _ in explain(name, runs).values()], ignore_index=True)


def record(name: str, data: str, rows: tuple[str, ...] = (), seeds: tuple[int, ...] = (), cluster: str = "") -> Path:
    """Train an experiment (of it only `rows` and `seeds`, if any) on the data sets in the folder `data` and keep it; its folder.

    Rows that are on file and not asked for stay.
    """
    if "kind" in experiment(name):  # of generated sound
        from lungnb.book import sounds

        return sounds.record(name, data, rows, seeds)
    about = experiment(name)
    corpus = load_corpus(about["corpus"], place_of(name, data), about.get("n_patients", 40))
    if rows or seeds:
        refuse_other_data(name, corpus)
    runs = runs_of(name, data, rows, seeds)
    run_all(list(runs.values()), cluster or None)
    place, new = folder() / name, collect(name, runs)
    place.mkdir(parents=True, exist_ok=True)
    merge(place / "predictions.parquet", new, write_predictions)
    for table, of_runs in {"training": _trainings(runs), "history": _histories(runs)}.items():
        merge(place / f"{table}.csv", of_runs)
    if "attributions" in about:
        _keep_attributions(name, runs)
    for (row, seed, _), run in runs.items():
        if row in about.get("weights", []):
            with atomic_file(weights_file(name, row, seed)) as path:
                path.write_bytes((run.folder / "model.safetensors").read_bytes())
    keep_facts(name, "predictions.parquet", corpus, next(iter(runs.values())).device_name, scores(name))
    return place


def place_of(name: str, data: str) -> str:
    """The folder with the data of an experiment: `data`; of one of private data only if they are there, else "simulated";
    and this of one that is about simulated data."""
    about = experiment(name)
    if about.get("simulated") == "always":
        return "simulated"
    if about.get("simulated") and Path(data).is_dir():
        try:
            data_folder(data, about["corpus"])
        except UserError:
            return "simulated"
    return data


def collect(name: str, runs: Runs) -> pd.DataFrame:
    """The predictions of finished trainings as one table, with those of the rows that are asked again with other choices.

    Of networks that answer crops it has patients, those trained on as well; of others without folds, what the training of the
    first seed says of its own training side: its score is kept of all, and size counts."""
    about, frames = experiment(name), []
    for (row, seed, fold), run in runs.items():
        shown = fold is None and seed == about["seeds"][0]
        parts = ["validation", *TESTED, *(["train"] if run.combine == "none" or shown else [])]
        asked = {row: run.tested(*parts)}
        for other, fields in about.get("changed", {}).items():
            if fields["row"] == row:
                asked[other] = _asked_again(run, **{k: v for k, v in fields.items() if k != "row"})
        asked = {row: frame[frame["split"].isin(parts)] for row, frame in asked.items()}
        if run.combine == "none":
            asked = {row: frame if "crops" in frame else summarise_crops(frame) for row, frame in asked.items()}
        frames += [frame.assign(row=name, seed=seed, fold=fold or 0) for name, frame in asked.items()]
    frame = pd.concat(frames, ignore_index=True)
    if "crops" in frame:
        frame["predicted"] = frame[probability_columns(frame)].to_numpy().argmax(1)
        return frame[[c for c in (*COLUMNS, *OF_PATIENTS, *probability_columns(frame), "predicted") if c in frame]]
    return frame[[c for c in (*COLUMNS, *OF_PASSES, *probability_columns(frame), "predicted") if c in frame]]


def explain(name: str, runs: Runs) -> dict[str, tuple[pd.DataFrame, dict[str, np.ndarray]]]:
    """Of each row of an experiment, what its finished trainings look at: `lungnb.classification.explained.attributions`."""
    found, how = {}, {"places": "", "sounds": 20, "kinds": ("crackle", "wheeze")} | experiment(name)["attributions"]
    chosen = [how.pop(key) for key in ("places", "sounds", "kinds")]
    for row in dict.fromkeys(row for row, *_ in runs):
        own = {seed: run for (of, seed, _), run in runs.items() if of == row}
        first = next(iter(own.values()))
        dataset = first.dataset()
        networks = {seed: run.trained(dataset) for seed, run in own.items()}
        table, maps = attributions(networks, *sounds_of(first.view(), dataset, first.preprocessing, *chosen), **how)
        found[row] = table.assign(row=row, fold=0), maps
    return found


def _keep_attributions(name: str, runs: Runs) -> None:
    found, place = explain(name, runs), folder() / name
    merge(
        place / "attributions.parquet", pd.concat([table for table, _ in found.values()]), recorded_attributions.write
    )
    for row, (_, maps) in found.items():
        with atomic_file(recorded_attributions.maps_file(name, row)) as path, path.open("wb") as file:
            np.savez_compressed(file, **maps)
    with atomic_file(place / "attribution_scores.csv") as path:
        recorded_attributions.scores(name).to_csv(path, index=False)


def _asked_again(
    run: Classification, rule: str = "", task: str = "", passes: int = 0, sites: str = "", **choices: Any
) -> pd.DataFrame:
    """What a finished run says by another rule, of another task, with dropout left on, of sites in reversed order, or of inputs
    made with other choices."""
    if passes:
        dataset = run.dataset()
        of_patients = run.combine == "none"
        parts = ("train", "validation", "test") if of_patients else TESTED
        mean = patients_with_dropout if of_patients else with_dropout
        return mean(run.trained(dataset), dataset, parts, passes, run.seed)
    choices |= {"sites": tuple(run.positions(run.view())[::-1])} if sites == "reversed" else {}
    return run.predict(**choices) if choices else run.tested(rule=rule, task=task)


def _trainings(runs: Runs) -> pd.DataFrame:
    rows = []
    for (row, seed, fold), run in runs.items():
        facts, history = run.result(), run.history
        of_train = facts["scores"].get("train", {})
        rows.append({"row": row, "seed": seed, "fold": fold or 0, "epochs": len(history), **of_train})
        rows[-1] |= {"chosen epoch": facts.get("epoch_of", {}).get(run.selection)}
        rows[-1] |= {"last loss": history["loss"].iloc[-1] if "loss" in history else None}  # trees have none
        rows[-1] |= {"seconds": facts["training_seconds"], "parameters": facts["parameters"]}
        rows[-1] |= {"multiply_adds": facts["multiply_adds"], "precision": facts.get("precision")}  # trees have none
        rows[-1] |= {"commit": (git_state() or {}).get("commit", "")[:10]}
    return pd.DataFrame(rows).round(5)


def _histories(runs: Runs) -> pd.DataFrame:
    """Loss, and what was followed, by epoch."""
    own = {"row": str, "seed": int, "fold": int}
    frames = []
    for (row, seed, fold), run in runs.items():
        history = run.history.filter(regex="^(epoch|loss|(val|test)_(AS|Score|loss))$")
        frames.append(history.assign(row=row, seed=seed, fold=fold or 0)[[*own, *history]])
    return pd.concat(frames, ignore_index=True).astype(own).round(4)


def write_predictions(path: Path, frame: pd.DataFrame) -> None:
    """Keep `frame`, predictions of all configurations, seeds and folds, as small as they can be."""
    types = dict.fromkeys(probability_columns(frame), np.float16) | {
        name: t for name, t in _SMALL.items() if name in frame
    }
    columns = [name for name in (*COLUMNS, *OF_PATIENTS, *OF_PASSES) if name in frame]
    kept = frame[[*columns, *probability_columns(frame)]].astype(types)
    write_parquet(path, kept)
