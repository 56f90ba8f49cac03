"""Scores of classifiers, with intervals that know seeds and patients (`lungnb.metrics.intervals`), for every notebook alike.

Predictions are a table, one row a scored event or patient: patient, label and predicted (class indices, 0 is normal), and for
AUROC the probabilities p0, p1, ... Several tables are several training seeds; a score is the mean over them.

What a score needs of a patient is its confusion counts and, for AUROC, whom its events outrank. So drawing patients anew is a
product of matrices and not a loop over events.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungnb.core import UserError
from lungnb.metrics import probability_columns
from lungnb.metrics.intervals import N_RESAMPLES, draw, holm, interval, p_value

METRICS = ["Se", "Sp", "AS", "HS", "Score", "balanced accuracy", "macro F1", "AUROC"]
#: From Se and Sp to everything a paper reports.
Formulas = Callable[[float, float], dict[str, float]]
#: Row of a table -> the classes whose mean recall it is.
Groups = Mapping[str, Sequence[int]]


# ---- scores by the name of who defined them


def average_score(se: float, sp: float) -> float:
    """AS = (Se + Sp) / 2 (BioCAS 2022 challenge; the Conv-LSTM paper, section 4.2), the "Score" of RespireNet, section III."""
    return (se + sp) / 2


def harmonic_score(se: float, sp: float) -> float:
    """HS = 2 Se Sp / (Se + Sp), 0 if both are 0 (BioCAS 2022 challenge; the Conv-LSTM paper, section 4.2)."""
    return 2 * se * sp / np.where(se + sp == 0, 1, se + sp)


def challenge_score(se: float, sp: float) -> float:
    """Score = (AS + HS) / 2 (BioCAS 2022 challenge)."""
    return (average_score(se, sp) + harmonic_score(se, sp)) / 2


def total_score(se: float, sp: float) -> float:
    """TS = (Se + Sp + AS + HS) / 4 (the Conv-LSTM paper, Eq. 1)."""
    return (se + sp + average_score(se, sp) + harmonic_score(se, sp)) / 4


def icbhi_scores(se: float, sp: float) -> dict[str, float]:
    """Sp, Se and Score, as RespireNet reports them."""
    return {"Sp": sp, "Se": se, "Score": average_score(se, sp)}


def biocas_scores(se: float, sp: float) -> dict[str, float]:
    """Se, Sp, AS, HS, the challenge's Score, and TS by the Conv-LSTM paper's Eq. (1): two averages, two names."""
    named = {"Se": se, "Sp": sp, "AS": average_score(se, sp), "HS": harmonic_score(se, sp)}
    return named | {"Score": challenge_score(se, sp), "TS": total_score(se, sp)}


# ---- what a score needs of each patient


@dataclass(frozen=True)
class Counts:
    """confusion: (P, C, C) of P patients, by label and prediction. concordant: (P, P), how many pairs of an abnormal event of the
    one and a normal event of the other are in the right order of p(abnormal), a tie being half; None without probabilities."""

    confusion: np.ndarray
    concordant: np.ndarray | None


def count(predictions: pd.DataFrame, patients: Sequence[str] | None = None, n_classes: int = 0) -> Counts:
    """Counts of each of `patients` (all of the table if None, sorted). Raises UserError for a probability that is NaN."""
    names = predictions["patient"].to_numpy(str)
    patients = np.unique(names) if patients is None else np.asarray(patients)
    at = np.searchsorted(patients, names)
    label, predicted = (predictions[c].to_numpy(int) for c in ("label", "predicted"))
    columns = probability_columns(predictions)
    if bad := [c for c in columns if predictions[c].isna().any()]:
        n_bad = predictions[bad[0]].isna().sum()
        raise UserError(f"{bad[0]} of the predictions is NaN in {n_bad} rows; train it again.")
    n_classes = max(n_classes, len(columns), label.max(initial=0) + 1, predicted.max(initial=0) + 1)
    confusion = np.zeros((len(patients), n_classes, n_classes))
    np.add.at(confusion, (at, label, predicted), 1)
    if "p0" not in columns:
        return Counts(confusion, None)
    p, abnormal, of = 1 - predictions["p0"].to_numpy(float), label > 0, np.eye(len(patients), dtype=np.float32)[at]
    order = np.flatnonzero(~abnormal)[np.argsort(p[~abnormal])]
    below = np.pad(of[order].cumsum(axis=0), ((1, 0), (0, 0)))  # each patient's among the k lowest
    fewer, no_more = (below[np.searchsorted(p[order], p[abnormal], side)] for side in ("left", "right"))
    return Counts(confusion, of[abnormal].T @ (fewer + no_more) / 2)


def class_scores(counts: Counts, times: np.ndarray) -> dict[str, np.ndarray]:
    """METRICS and accuracy, each (R,), where the patients count `times` (R, P). What has no event to be of is NaN.

    Se = exact-class hits over the abnormal classes / all abnormal events, so a crackle called "wheeze" is a miss; Sp = normal
    events called normal / all normal events (RespireNet, section III; the Conv-LSTM paper, section 4.2). Score is the BioCAS
    challenge's (AS + HS) / 2. Balanced accuracy and macro F1 are means over the classes that have an event in the whole table: a
    drawing that misses one of them is NaN, another quantity. AUROC is of p(abnormal) = 1 - p0, normal against all else.
    """
    confusion = np.tensordot(times, counts.confusion, 1)
    support, hits = confusion.sum(2), np.diagonal(confusion, axis1=1, axis2=2)
    normal, abnormal = support[:, 0], support[:, 1:].sum(1)
    classes = counts.confusion.sum((0, 2)) > 0
    classes[0] |= not classes.any()  # of no events at all, the mean is NaN as well
    with np.errstate(invalid="ignore", divide="ignore"):
        named = biocas_scores(hits[:, 1:].sum(1) / abnormal, hits[:, 0] / normal)
        f1 = np.where(support > 0, 2 * hits / (support + confusion.sum(1)), np.nan)
        named |= {"balanced accuracy": (hits / support)[:, classes].mean(1), "macro F1": f1[:, classes].mean(1)}
        named |= {"accuracy": hits.sum(1) / support.sum(1), "AUROC": np.full(len(times), np.nan)}
        if counts.concordant is not None:
            pairs = np.einsum("rp,pq,rq->r", times, counts.concordant, times, optimize=True)
            named["AUROC"] = pairs / (abnormal * normal)
    return named


def group_recall(counts: Counts, times: np.ndarray, groups: Groups) -> dict[str, np.ndarray]:
    """Of each group the mean recall (R,) over its classes that have an event in the whole table; see `class_scores`."""
    confusion = np.tensordot(times, counts.confusion, 1)
    present = counts.confusion.sum((0, 2)) > 0
    with np.errstate(invalid="ignore"):
        recall = np.diagonal(confusion, axis1=1, axis2=2) / confusion.sum(2)
    of = {name: [k for k in classes if k < len(present) and present[k]] for name, classes in groups.items()}
    return {name: recall[:, k].mean(1) if k else np.full(len(times), np.nan) for name, k in of.items()}


def support(counts: Counts, names: Sequence[str], groups: Groups | None = None) -> np.ndarray:
    """Of how many patients each score has events: of its rarest class where it is a mean over classes."""
    has = counts.confusion.sum(2) > 0  # (P, C)
    of_class = has.sum(0)[has.any(0)]
    normal, abnormal = has[:, 0].sum(), has[:, 1:].any(1).sum()
    known = {"Sp": normal, "Se": abnormal, "accuracy": len(has)}
    known |= dict.fromkeys(("balanced accuracy", "macro F1"), of_class.min(initial=len(has)))
    for name, classes in (groups or {}).items():
        known[name] = min((n for k in classes if k < has.shape[1] and (n := has[:, k].sum())), default=0)
    return np.array([known.get(name, min(normal, abnormal)) for name in names])


def _estimate(
    tables: Sequence[pd.DataFrame],
    score: Callable[[Counts, np.ndarray], dict[str, np.ndarray]],
    base: Sequence[pd.DataFrame] = (),
    n_resamples: int = N_RESAMPLES,
    groups: Groups | None = None,
) -> pd.DataFrame:
    """A row a score: ours and sd over `tables`, n_seeds, n_patients (`support`) of n_all, low, high. With `base`, of
    the difference to it in the same drawings, seed by seed where both have as many, and p, two-sided, that there is none."""
    every = [*tables, *base]
    patients = np.unique(np.concatenate([t["patient"].to_numpy(str) for t in every]))
    times = draw(len(patients), n_resamples)
    n_classes = 1 + max(int(t[["label", "predicted"]].max(axis=None)) for t in every)
    counts = [count(t, patients, n_classes) for t in every]
    named = [score(c, times) for c in counts]
    drawn = np.stack([np.stack([*each.values()], axis=1) for each in named])  # (seeds, 1 + drawings, scores)
    ours, rest, bounds = drawn[: len(tables)], {}, (0, 1)
    n_patients = support(counts[0], list(named[0]), groups)
    if base:
        label = [c.confusion.sum(2) for c in counts]
        if any((other != label[0]).any() for other in label):
            raise UserError(
                "Two models can be compared on the same events only; give both the same task, fold, split and unit."
            )
        if len(tables) != len(base) and 1 not in (len(tables), len(base)):
            raise UserError(f"{len(tables)} seeds cannot be compared with {len(base)}; give both the same.")
        ours, bounds = ours - drawn[len(tables) :], (-1, 1)
        rest = {"p": p_value(ours, n_patients)}
    low, high = interval(ours, n_patients, bounds)
    sd = pd.DataFrame(ours[:, 0]).std().to_numpy()
    said = {"ours": ours[:, 0].mean(0), "sd": sd, "n_seeds": len(ours), "n_patients": n_patients}
    return pd.DataFrame(said | {"n_all": len(patients), "low": low, "high": high} | rest, index=list(named[0]))


# ---- what notebooks ask


def table_scores(predictions: pd.DataFrame) -> dict[str, float]:
    """METRICS of one table."""
    counts = count(predictions)
    named = class_scores(counts, np.ones((1, len(counts.confusion))))
    return {name: float(named[name][0]) for name in METRICS}


def scores(label: np.ndarray, predicted: np.ndarray, formulas: Formulas = icbhi_scores) -> dict[str, float]:
    """The scores of `formulas` of the Se and Sp of these classes (N,), as fractions."""
    table = pd.DataFrame({"patient": "all", "label": np.asarray(label), "predicted": np.asarray(predicted)})
    named = table_scores(table)
    return {name: float(value) for name, value in formulas(named["Se"], named["Sp"]).items()}


def evaluate(predictions: Sequence[pd.DataFrame], n_resamples: int = N_RESAMPLES) -> pd.DataFrame:
    """METRICS of one model, a table a seed: metric, ours, sd, n_seeds, n_patients (`support`) of n_all, low, high."""
    return _estimate(predictions, class_scores, (), n_resamples).loc[METRICS].rename_axis("metric").reset_index()


def paired(one: Sequence[pd.DataFrame], other: Sequence[pd.DataFrame], n_resamples: int = N_RESAMPLES) -> pd.DataFrame:
    """How much better `one` is than `other` on the same events: the columns of `evaluate`, ours being the difference, and p.

    The same patients are drawn for both, so that what is hard about a patient cancels. Where many pairs are looked at, `p` is
    to be corrected (`lungnb.metrics.intervals.holm`). Raises UserError if the two were not asked about the same events.
    """
    return _estimate(one, class_scores, other, n_resamples).loc[METRICS].rename_axis("metric").reset_index()


def paired_many(
    pairs: Mapping[str, tuple[Sequence[pd.DataFrame], Sequence[pd.DataFrame]]], metric: str
) -> dict[str, pd.Series]:
    """The line of `metric` of `paired` for each pair, by name, of as many seeds as both have; p is corrected for the number of
    pairs that have one (Holm), `n_compared`. A pair of which one has no seed is left out."""
    gains = {}
    for name, (one, other) in pairs.items():
        if n := min(len(one), len(other)):
            gains[name] = paired(one[:n], other[:n]).set_index("metric").loc[metric]
    p = holm([gain["p"] for gain in gains.values()])
    corrected = zip(gains.items(), p, strict=True)
    return {name: pd.Series({**gain, "p": own, "n_compared": np.isfinite(p).sum()}) for (name, gain), own in corrected}


def per_class_recall(
    predictions: Sequence[pd.DataFrame],
    groups: Groups,
    base: Sequence[pd.DataFrame] = (),
    n_resamples: int = N_RESAMPLES,
) -> pd.DataFrame:
    """Mean recall of each group of classes: row, ours, sd, n_seeds, n_patients, low, high. With `base` what is gained
    over it, paired, and p."""
    table = _estimate(predictions, lambda c, times: group_recall(c, times, groups), base, n_resamples, groups)
    return table.rename_axis("row").reset_index()


def score_rows(
    row: str, predictions: Sequence[pd.DataFrame], formulas: Formulas = icbhi_scores, unit: float = 100
) -> pd.DataFrame:
    """`scores` as rows of a comparison, one table of predictions a seed: row, metric, and the columns of `evaluate`.

    unit: 100 for percent, 1 for fractions.
    """

    def score(counts: Counts, times: np.ndarray) -> dict[str, np.ndarray]:
        named = class_scores(counts, times)
        return formulas(named["Se"], named["Sp"])

    table = _estimate([p[["patient", "label", "predicted"]] for p in predictions], score)
    table[["ours", "sd", "low", "high"]] *= unit
    return table.rename_axis("metric").reset_index().assign(row=row)[["row", "metric", *table.columns]]


def patient_scores(patients: pd.DataFrame | Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Scores of a decision for each patient, one table a seed: columns ours, sd, n_seeds, n_patients, n_all, low, high.

    patients: indexed by patient; label (1: case) and p (of case; above 0.5 is called a case). Rows accuracy, balanced accuracy,
    sensitivity, specificity, AUROC, NaN where one kind of patient is missing. Raises UserError for a p that is NaN.
    """
    tables = [patients] if isinstance(patients, pd.DataFrame) else patients
    frames = [t[["label"]].assign(patient=t.index.astype(str), p1=t["p"].astype(float)) for t in tables]
    frames = [t.assign(predicted=(t["p1"] > 0.5).astype(int), p0=1 - t["p1"]) for t in frames]
    table = _estimate(frames, class_scores).rename(index={"Se": "sensitivity", "Sp": "specificity"})
    table.loc["balanced accuracy"] = table.loc["AS"]  # the same where both kinds are there, NaN where one is missing
    return table.loc[["accuracy", "balanced accuracy", "sensitivity", "specificity", "AUROC"]]


def crop_scores(
    patients: Sequence[pd.DataFrame], base: Sequence[pd.DataFrame] = (), n_resamples: int = N_RESAMPLES
) -> pd.DataFrame:
    """Scores of crops, one table of patients a seed: columns ours, sd, n_seeds, n_patients, low, high; rows loss, accuracy and
    macro F1 as "F1". With `base`, as many tables of the same patients, how much greater they are than its.

    patients: columns patient, label (1: case), crops, called (of them a case) and loss (their mean)."""
    names = np.unique(np.concatenate([t["patient"].to_numpy(str) for t in patients]))
    times, drawn = draw(len(names), n_resamples), []
    for table in [*patients, *base]:
        case, n, called, loss = (table[c].to_numpy(float) for c in ("label", "crops", "called", "loss"))
        cells = [n, n * loss, case * called, case * (n - called), (1 - case) * called, (1 - case) * (n - called)]
        sums = np.zeros((len(names), len(cells)))
        np.add.at(sums, np.searchsorted(names, table["patient"].to_numpy(str)), np.stack(cells, axis=1))
        n, loss, tp, fn, fp, tn = (times @ sums).T
        with np.errstate(invalid="ignore"):
            f1 = [2 * right / (2 * right + fp + fn) for right in (tp, tn)]
            drawn.append(np.stack([loss / n, (tp + tn) / n, np.nansum(f1, axis=0) / np.isfinite(f1).sum(0)], axis=1))
    drawn, most = np.stack(drawn), np.array([np.inf, 1, 1])
    drawn = drawn[: len(patients)] - drawn[len(patients) :] if base else drawn
    low, high = interval(drawn, len(names), (-most if base else 0, most))
    said = {"ours": drawn[:, 0].mean(0), "sd": pd.DataFrame(drawn[:, 0]).std().to_numpy(), "n_seeds": len(drawn)}
    return pd.DataFrame(said | {"n_patients": len(names), "low": low, "high": high}, index=["loss", "accuracy", "F1"])


def mean_over_patients(values: np.ndarray, patient: Sequence) -> dict[str, float]:
    """ours, the mean of `values` (N,), or of one row a seed (seeds, N), and low, high when their patients are drawn anew. NaN is
    left out."""
    values = np.atleast_2d(np.asarray(values, dtype=float))
    used = (known := np.isfinite(values)).any(axis=0)
    names, of = np.unique(np.asarray(patient, dtype=str)[used], return_inverse=True)
    pairs = np.stack([np.where(known, values, 0), known], axis=1)
    sums = [[np.bincount(of, x[used], len(names)) for x in pair] for pair in pairs]
    times = draw(len(names)) if len(names) else np.ones((1, 0))
    with np.errstate(invalid="ignore"):
        drawn = np.stack([times @ total / (times @ n) for total, n in sums])[:, :, None]
    low, high = interval(drawn, len(names))[:, 0]
    return {"ours": float(drawn[:, 0].mean()), "low": float(low), "high": float(high)}
