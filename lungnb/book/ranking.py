"""The ranking of recorded experiments and published scores, which the README's table and the site's leaderboard show."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache

import pandas as pd

from lungnb import published
from lungnb.book import recorded
from lungnb.book.report import label
from lungnb.book.sentences import difference, value
from lungnb.data.tasks import task_of
from lungnb.metrics.classification import paired_many, score_rows

#: With which printed table a recorded experiment of a paper and a corpus is compared: its name, our metric, its metric, and what
#: is 1 there. Others are shown by their AS alone.
COMPARED = {
    ("convlstm", "sprsound"): ("table-3", "Score", "Score", 1),
    ("respirenet", "icbhi"): ("table-1", "AS", "Score", 100),
}
#: What the test side of a split is called, where an experiment has several.
PROTOCOLS = {
    "official": "on the 60-40 split",
    "official_disjoint": "on 60-40 without its two shared patients",
    "respirenet": "on 80-20 (fold 4)",
    "stratified": "on stratified 80-20",
    "events (leaky)": "on cycles at random",
}


def on_file() -> list[str]:
    """The recorded experiments whose predictions are kept."""
    return ["/".join(path.parts[-3:-1]) for path in sorted(recorded.folder().glob("*/*/predictions.parquet"))]


@cache
def ranking() -> pd.DataFrame:
    """One line a model and task, the best of each task first: recorded experiments beside what was published.

    Columns: experiment, task, model, source (published or recorded), data, score (a fraction), low, high, n_seeds, n_patients,
    n_all, FLAGS of `lungnb.published.ledger`, verdict (of a recorded row against the one that its experiment names).
    """
    about = {name: recorded.experiment(name) for name in on_file()}
    # Networks that were trained to be explained are tested on one fold, and compared with nothing.
    real = [name for name, what in about.items() if not {"simulated", "attributions"} & set(what)]
    lines = [line for name in real for line in _recorded(name)]
    for entry in published.ledger().to_dict("records"):
        kind = {"task": f"ICBHI, 4 classes, Score, {entry['split']}", "source": "published"}
        kind |= {
            "model": f"{entry['method']} ({entry['authors']} {entry['year']})",
            "score": float(entry["Score"]) / 100,
        }
        lines.append(kind | {flag: entry[flag] for flag in published.FLAGS})
    table = pd.DataFrame(lines).fillna({"verdict": ""})
    table["first"] = table.groupby("task", sort=False).ngroup()
    return table.sort_values(["first", "score"], ascending=[True, False], kind="stable").drop(columns="first")


def prices() -> list[str]:
    """What flags of the ledger were worth to a recorded network of ours, a sentence each; none if it is not on file."""
    if "respirenet/icbhi" not in on_file():
        return []
    frame = recorded.predictions("respirenet/icbhi")
    tables = recorded.by_row(frame)
    honest = "standard augmentation"
    leaks = {("Choosing the epoch on the test side", "taking the last one"): f"{honest}, epoch chosen on test"}
    leaks |= {("Keeping the two shared patients in training", "leaving them out"): "60-40 4-class | CNN"}
    gains = paired_many({said: (tables[row], tables[honest]) for said, row in leaks.items()}, "AS")
    said = [difference(*both, gain) for both, gain in gains.items()]
    said[0] += " The best of many epochs is hardly ever below the last: such a gain is a bias by construction."
    for kind, name in {"CNN": "The network", "trees": "Boosted trees"}.items():
        dealt, whole = map(value, dealt_and_whole(tables, kind))
        said.append(f"{name}, on cycles dealt at random: {dealt}; by whole patients: {whole}.")
    return said


def dealt_and_whole(tables: Mapping[str, Sequence[pd.DataFrame]], kind: str = "CNN") -> list[pd.Series]:
    """The Score of a model of `respirenet/icbhi` on cycles dealt at random into train and test, and on whole patients."""
    rows = (f"cycles at random (leaky) | {kind}", f"stratified | {kind}")
    return [score_rows("", tables[row], unit=1).set_index("metric").loc["Score"] for row in rows]


def _recorded(name: str) -> list[dict]:
    """Lines of `ranking`: the rows of a recorded experiment of at least three seeds, and the printed ones on the same data."""
    about, frame, rows = recorded.experiment(name), recorded.predictions(name), recorded.configurations(name)
    scores, clean = printed_scores(name), dict.fromkeys(published.FLAGS, "no")
    _, metric, printed, _ = _compared(name)
    kept = pd.read_csv(recorded.folder() / name / "scores.csv").query("metric == @metric and n_seeds >= 3")
    subset = next((part for part in ("combined", "test") if part in set(kept["subset"])), "inter")
    origin = frame.attrs.get("provenance", {}).get("origin", "")
    corpus = label(about["corpus"]) + ("" if origin == "real" else " in part")
    of_folds = {"patients": "by folds over all patients", "events (leaky)": PROTOCOLS["events (leaky)"]}
    said, lines = _verdicts(about.get("against", {}), frame, metric, printed), []

    def task(fields: dict) -> str:
        of = (
            of_folds.get(fields["split"], "by folds over the training patients")
            if "folds" in about
            else f"on the {subset} set"
        )
        of = "of patients, by folds" if "crops" in frame else of
        of = PROTOCOLS.get(fields["split"], of) if subset == "test" and "folds" not in about else of
        return f"{corpus}, {len(task_of(fields['task']).classes)} classes, {printed} {of}"

    parts = recorded.TESTED if subset == "combined" else (subset,)
    asked = frame[frame["split"].isin(parts) & ~frame["label"].isin(about.get("unscored", []))]
    n_all = asked.groupby("row")["patient"].nunique()
    for line in kept[kept["subset"] == subset].to_dict("records"):
        row, own = line["row"], rows[line["row"]]
        fields = rows.get(own.get("row"), {}) | own  # a finished run that is asked again has its run's choices
        flags = {"epoch_on_test": "yes"} if "leaky" in fields.get("rule", "") else {}
        shared = fields.get("leaky") == fields["split"] or "leaky" in fields["split"]
        flags |= {"shared_patients": "yes"} if shared else {}
        known = {key: line[key] for key in ("low", "high", "n_seeds", "n_patients")} | {"n_all": n_all[row]}
        known |= {"verdict": said.get(row, "")}
        known |= {"experiment": name, "task": task(fields), "source": "recorded", "data": origin}
        part = "only" in fields or len(fields.get("sites", ())) == 1  # a copy for one device or site is no model,
        part |= {"row", "task"} <= set(own)  # nor is a network that is asked about another data set
        if not part:
            lines.append(clean | flags | known | {"model": row, "score": line["ours"]})
    if "folds" not in about and origin == "real":
        known = {"experiment": name, "task": task(about["fields"]), "source": "published"}
        known |= clean | {"epoch_on_test": "not said", "shared_patients": "yes"}
        for row, score in scores["value"].items():
            lines.append(known | {"model": row, "score": score})
    return lines


def _compared(name: str) -> tuple[str, str, str, float]:
    return COMPARED.get((name.partition("/")[0], recorded.experiment(name)["corpus"]), ("", "AS", "AS", 1))


def printed_scores(name: str) -> pd.DataFrame:
    """The printed scores that an experiment is compared with, by row: `value` as a fraction, and its `text` with all digits of
    the source, which says so if it only follows from what is printed."""
    artefact, _, metric, one = _compared(name)
    if not artefact:
        return pd.DataFrame({"value": pd.Series(dtype=float), "text": pd.Series(dtype=str)})
    printed = published.load(name.partition("/")[0], artefact)
    printed = printed[printed["metric"] == metric].dropna(subset="value").set_index("row")
    shown = {row: str(Decimal(text) / Decimal(str(one))) for row, text in printed["printed"].items()}
    text = pd.Series(shown) + printed["source"].map({"derived": " (derived)"}).fillna("").astype(object)
    return pd.DataFrame({"value": printed["value"].astype(float) / one, "text": text})


def _verdicts(against: Mapping[str, str], frame: pd.DataFrame, metric: str, name: str) -> dict[str, str]:
    """A sentence for each row on file that is compared with another one, p corrected for their number (Holm)."""
    tables = recorded.by_row(frame)
    pairs = {row: (tables.get(row, []), tables.get(other, [])) for row, other in against.items()}
    return {row: difference(row, against[row], gain, name) for row, gain in paired_many(pairs, metric).items()}
