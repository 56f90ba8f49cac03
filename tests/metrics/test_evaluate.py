"""The scores against scikit-learn, drawing patients against repeating their rows, and pairs against themselves."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from lungnb.core import UserError
from lungnb.metrics.classification import biocas_scores, scores
from lungnb.metrics.evaluate import METRICS, evaluate, metrics, paired, tally


def random_predictions(seed=0, n=200, n_patients=12, n_classes=4, skill=1.0):
    rng = np.random.default_rng(seed)
    label = np.random.default_rng(99).integers(n_classes, size=n)
    logits = rng.normal(size=(n, n_classes)).round(1) + skill * np.eye(n_classes)[label]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    frame = pd.DataFrame(p, columns=[f"p{k}" for k in range(n_classes)])
    patient = [f"p{k % n_patients}" for k in range(n)]
    return frame.assign(patient=patient, label=label, predicted=p.argmax(1))


def independent(frame):
    """The same eight numbers by other people's code."""
    label, predicted = frame["label"], frame["predicted"]
    by_challenge = scores(label, predicted, biocas_scores)
    with np.errstate(all="ignore"):
        f1 = f1_score(label, predicted, average="macro", labels=sorted(set(label)), zero_division=0)
    named = by_challenge | {
        "balanced accuracy": np.mean([(predicted == label)[label == k].mean() for k in sorted(set(label))]),
        "macro F1": f1,
        "AUROC": roc_auc_score(label > 0, 1 - frame["p0"]),
    }
    return [named[m] for m in METRICS]


@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(20, 90))
@settings(max_examples=25, deadline=None)
def test_scores_are_scikit_learns(seed, n_classes, n):
    frame = random_predictions(seed, n, 5, n_classes)
    assert metrics(tally(frame))[0] == pytest.approx(independent(frame), abs=1e-9)


def test_balanced_accuracy_is_scikit_learns():
    frame = random_predictions()
    expected = balanced_accuracy_score(frame["label"], frame["predicted"])
    assert metrics(tally(frame))[0, METRICS.index("balanced accuracy")] == pytest.approx(expected)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_drawing_a_patient_twice_is_repeating_its_rows(seed):
    frame = random_predictions(3, 80, 6)
    names = sorted(frame["patient"].unique())
    times = np.random.default_rng(seed).multinomial(6, np.full(6, 1 / 6))
    drawn = pd.concat([frame[frame["patient"] == name] for name, k in zip(names, times, strict=True) for _ in range(k)])
    assert metrics(tally(frame), times[None])[0] == pytest.approx(independent(drawn), abs=1e-9)


def test_a_row_of_scores():
    seeds = [random_predictions(s) for s in (1, 2, 3)]
    table = evaluate(seeds, 300).set_index("metric")
    each = np.array([independent(frame) for frame in seeds])
    assert list(table.index) == METRICS
    assert table["ours"].to_numpy() == pytest.approx(each.mean(0))
    assert table["sd"].to_numpy() == pytest.approx(each.std(0, ddof=1))
    assert (table["n_seeds"] == 3).all()
    assert ((table["low"] < table["ours"]) & (table["ours"] < table["high"])).all()


def test_patients_who_are_alike_within_make_intervals_wide():
    frame = random_predictions(4, 300, 10)
    wrong = frame["patient"].isin(["p0", "p1", "p2"])
    frame["predicted"] = np.where(wrong, (frame["label"] + 1) % 4, frame["label"])
    by_patient = evaluate([frame]).set_index("metric").loc["AS"]
    by_event = evaluate([frame.assign(patient=frame.index.astype(str))]).set_index("metric").loc["AS"]
    assert by_patient["ours"] == by_event["ours"]
    assert by_patient["high"] - by_patient["low"] > 2 * (by_event["high"] - by_event["low"])


def test_a_pair_is_the_difference_and_more_certain_than_its_parts():
    good, poor = [random_predictions(1, skill=2.0)], [random_predictions(2, skill=0.5)]
    table = paired(good, poor, 400).set_index("metric")
    assert table["ours"].to_numpy() == pytest.approx(np.subtract(independent(good[0]), independent(poor[0])))
    assert (table["low"] > 0).all()
    assert (table["ahead"] == 1).all()
    back = paired(poor, good, 400).set_index("metric")
    assert back["ours"].to_numpy() == pytest.approx(-table["ours"].to_numpy())
    assert back["high"].to_numpy() == pytest.approx(-table["low"].to_numpy())
    same = paired(good, good, 50)
    assert (same[["ours", "low", "high"]] == 0).all(axis=None)
    assert (same["ahead"] == 0.5).all()


def test_what_hides_in_both_cancels_in_a_pair():
    frame = random_predictions(4, 300, 10)
    hard = frame["patient"].isin(["p0", "p1", "p2", "p3"])  # nobody hears these
    frame["predicted"] = np.where(hard, (frame["label"] + 1) % 4, frame["label"])
    worse = frame.copy()
    flipped = frame.index[~hard][::12]
    worse.loc[flipped, "predicted"] = (worse.loc[flipped, "label"] + 1) % 4
    alone = evaluate([frame]).set_index("metric").loc["AS"]
    pair = paired([frame], [worse]).set_index("metric").loc["AS"]
    assert pair["high"] - pair["low"] < 0.5 * (alone["high"] - alone["low"])


def test_other_events_cannot_be_compared():
    frame = random_predictions()
    for other in (frame.assign(patient="x" + frame["patient"]), frame.iloc[1:]):
        with pytest.raises(UserError, match="same events only"):
            paired([frame], [other])


def test_without_any_abnormal_event_what_asks_for_one_is_missing():
    frame = random_predictions()
    values = dict(zip(METRICS, metrics(tally(frame[frame["label"] == 0]))[0], strict=True))
    assert {name for name, v in values.items() if np.isnan(v)} == {"Se", "AS", "HS", "Score", "AUROC"}
