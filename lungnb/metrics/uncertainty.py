"""How unsure a classifier is, and whether that finds its errors; of recorded probabilities, so without torch and data."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import entropy

from lungnb.core import UserError
from lungnb.metrics import probability_columns
from lungnb.metrics.classification import class_scores, count
from lungnb.metrics.intervals import draw, interval, p_value

UNCERTAINTIES = ("entropy of one pass", "predictive entropy", "mutual information")


def mutual_information(p: np.ndarray) -> np.ndarray:
    """I = H[mean over t of p_t] - mean over t of H[p_t], of passes p (T, units, classes), in nats; 0 where all passes agree.

    The predictive entropy, its first part, is also high where every pass says 50:50 (the sound is ambiguous); I is high only
    where the passes contradict one another (the network does not know) (Houlsby et al. 2011; Gal 2016).
    """
    return entropy(p.mean(axis=0), axis=-1) - entropy(p, axis=-1).mean(axis=0)


def uncertainty(plain: pd.DataFrame, passes: pd.DataFrame) -> pd.DataFrame:
    """Events (event, patient, label) with their UNCERTAINTIES, and wrong, of the mean over the passes.

    plain, passes: tables of predictions of the same events in the same order, without dropout and of the mean over passes with
    it; the latter has the `mutual information` of the passes. Raises UserError where the events differ.
    """
    if plain["event"].tolist() != passes["event"].tolist():
        raise UserError("The passes with dropout are of other events than the one without; give both the same.")
    columns = [c for c in probability_columns(plain) if plain[c].notna().all()]
    one, mean = (np.maximum(table[columns].to_numpy(float), 0) for table in (plain, passes))
    values = [entropy(one, axis=-1), entropy(mean, axis=-1), passes["mutual information"].to_numpy(float)]
    wrong = mean.argmax(axis=1) != passes["label"].to_numpy()
    named = dict(zip(UNCERTAINTIES, values, strict=True))
    return passes[["event", "patient", "label"]].assign(wrong=wrong, **named)


def error_detection(tables: Sequence[pd.DataFrame], measure: str, rival: str = "") -> dict[str, float]:
    """AUROC of one of UNCERTAINTIES for `wrong`: how often a wrong answer is less sure than a right one. With `rival`, another of
    them, by how much it is greater than the rival's, and p, two-sided, that it is not.

    tables: of `uncertainty`, one a training seed. A line with ours, sd, n_seeds, n_patients (who have a wrong answer), low, high,
    and p. NaN if nothing, or everything, is wrong.
    """
    patients = np.unique(np.concatenate([table["patient"].to_numpy(str) for table in tables]))
    times = draw(len(patients))

    def auroc(table: pd.DataFrame, which: str) -> np.ndarray:
        frame = pd.DataFrame({"patient": table["patient"], "label": table["wrong"].astype(int), "predicted": 0})
        counts = count(frame.assign(p0=-table[which], p1=table[which]), patients)
        return class_scores(counts, times)["AUROC"]

    drawn = np.stack([auroc(table, measure) - (auroc(table, rival) if rival else 0) for table in tables])[:, :, None]
    with_errors = [table.groupby("patient")["wrong"].any().sum() for table in tables]
    n_patients = int(min(with_errors))
    low, high = interval(drawn, n_patients, (-1, 1) if rival else (0, 1))[:, 0]
    line = {"ours": float(drawn[:, 0].mean()), "sd": float(pd.Series(drawn[:, 0, 0]).std()), "n_seeds": len(tables)}
    p = p_value(drawn if rival else drawn - 0.5, n_patients)[0]
    return line | {"n_patients": n_patients, "low": float(low), "high": float(high), "p": float(p)}


def risk_coverage(wrong: np.ndarray, uncertainty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """If only the surest are answered: their share 1/N ... 1, and the share of errors among them; each (N,)."""
    order = np.argsort(uncertainty, kind="stable")
    n = np.arange(1, len(order) + 1)
    return n / len(order), np.cumsum(np.asarray(wrong, dtype=float)[order]) / n
