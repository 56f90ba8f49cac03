"""Scores against published counts, scikit-learn and slow references; intervals against loops; pairs against themselves."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, recall_score, roc_auc_score

from lungnb.core import UserError
from lungnb.metrics.classification import (
    METRICS,
    average_score,
    biocas_scores,
    class_scores,
    count,
    crop_scores,
    evaluate,
    harmonic_score,
    mean_over_patients,
    paired,
    paired_many,
    patient_scores,
    per_class_recall,
    score_rows,
    scores,
    table_scores,
)
from lungnb.metrics.intervals import holm

#: The best epoch of the log that the authors ship (docs/papers/respirenet.md, section 6.1): rows true, columns predicted.
LOG = np.array([[618, 110, 40, 7], [136, 242, 8, 5], [74, 21, 96, 15], [15, 10, 35, 12]])


def from_matrix(matrix):
    label, predicted = np.indices(matrix.shape)
    return np.repeat(label.ravel(), matrix.ravel()), np.repeat(predicted.ravel(), matrix.ravel())


def test_scores_of_the_shipped_log():
    label, predicted = from_matrix(LOG)
    got = scores(label, predicted)
    assert got == pytest.approx({"Sp": 0.797419, "Se": 0.523169, "Score": 0.660294}, abs=5e-7)
    assert (label == predicted).mean() == pytest.approx(0.670360, abs=5e-7)


def test_a_wrong_abnormal_class_is_a_miss():
    assert scores(np.array([1, 2, 3, 0]), np.array([2, 2, 1, 0]))["Se"] == pytest.approx(1 / 3)
    assert scores(np.array([1, 0, 0]), np.array([1, 0, 2]))["Sp"] == 0.5
    assert average_score(0.4, 0.6) == 0.5


def test_an_absent_side_is_nan():
    assert np.isnan(scores(np.array([0, 0]), np.array([0, 1]))["Se"])
    assert np.isnan(scores(np.array([1, 2]), np.array([0, 1]))["Sp"])
    assert np.isnan(scores(np.array([0]), np.array([0]))["Score"])
    assert np.isnan(scores(np.array([]), np.array([]))["Sp"])


def clustered(seed=0, n_patients=30):
    """Patients of 40 cycles who are either easy or hard."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), 40)
    label = rng.integers(0, 4, len(patient))
    hit = rng.random(len(patient)) < np.repeat(rng.choice([0.2, 0.9], n_patients), 40)
    return pd.DataFrame(
        {"patient": patient.astype(str), "label": label, "predicted": np.where(hit, label, (label + 1) % 4)}
    )


def bounds(predictions):
    return score_rows("", [predictions], unit=1).set_index("metric")[["low", "high"]]


def test_the_interval_is_a_slow_loops():
    """Of one seed and many patients, the t interval is the percentile interval of drawing patients by name."""
    data = clustered(n_patients=60)
    got = bounds(data)
    rng, drawn = np.random.default_rng(2), []
    by_patient = [g for _, g in data.groupby("patient")]
    for _ in range(1000):
        sample = pd.concat([by_patient[k] for k in rng.integers(0, len(by_patient), len(by_patient))])
        drawn.append(scores(sample["label"].to_numpy(), sample["predicted"].to_numpy()))
    expected = pd.DataFrame(drawn).quantile([0.025, 0.975]).T
    assert got.index.tolist() == ["Sp", "Se", "Score"]
    assert np.allclose(got.to_numpy(), expected.loc[got.index].to_numpy(), atol=0.02)
    point = scores(data["label"].to_numpy(), data["predicted"].to_numpy())
    assert all(got.loc[k, "low"] < v < got.loc[k, "high"] for k, v in point.items())


def test_patients_make_wider_intervals_than_cycles():
    data = clustered()
    cycles = data.assign(patient=np.arange(len(data)))
    by_patient, by_cycle = (bounds(d).diff(axis=1)["high"] for d in (data, cycles))
    assert (by_patient > 2 * by_cycle).all()


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth = (0.2 + 0.9) / 2
    inside = [i["low"] <= truth <= i["high"] for i in (bounds(clustered(s)).loc["Se"] for s in range(60))]
    assert 0.83 <= np.mean(inside) <= 1


def test_intervals_of_too_little():
    assert bounds(clustered(n_patients=1)).isna().all(axis=None)
    assert bounds(clustered(n_patients=5)).isna().all(axis=None)
    assert bounds(clustered(n_patients=6)).notna().all(axis=None)
    got = bounds(clustered().assign(label=0))
    assert got.loc["Sp"].notna().all()
    assert got.loc["Se"].isna().all()


def test_every_score_has_the_same_interval_wherever_it_is_asked_for():
    """One statistic for all: what notebooks 01, 02, 03, 90, 91 and 92 print of a score agrees."""
    seeds = [random_predictions(s) for s in (1, 2, 3)]
    by_evaluate = evaluate(seeds).set_index("metric").loc[["Se", "Sp", "AS"], ["ours", "sd", "low", "high"]]
    by_rows = score_rows("", seeds, biocas_scores, 1).set_index("metric").loc[["Se", "Sp", "AS"], by_evaluate.columns]
    pd.testing.assert_frame_equal(by_evaluate, by_rows)
    classes = {"normal": [0], "all": [0, 1, 2, 3]}
    recall = per_class_recall(seeds, classes).set_index("row")[["ours", "sd", "low", "high"]]
    assert recall.loc["normal"].tolist() == pytest.approx(by_evaluate.loc["Sp"].tolist())
    balanced = evaluate(seeds).set_index("metric").loc["balanced accuracy", recall.columns]
    assert recall.loc["all"].tolist() == pytest.approx(balanced.tolist())
    hit = (seeds[0]["predicted"] == 0)[seeds[0]["label"] == 0].to_numpy(float)
    alone = evaluate(seeds[:1]).set_index("metric").loc["Sp"]
    assert mean_over_patients(hit, seeds[0]["patient"][seeds[0]["label"] == 0]) == pytest.approx(
        alone[["ours", "low", "high"]].to_dict()
    )


def test_seeds_and_patients_are_both_in_the_interval():
    one, other = clustered(n_patients=60), clustered(n_patients=60)
    other["predicted"] = np.where(np.arange(len(other)) % 4 == 0, other["label"], other["predicted"])
    alone, both = (evaluate(tables).set_index("metric").loc["Se"] for tables in ([one], [one, other, one]))
    assert both["ours"] == pytest.approx(
        (2 * alone["ours"] + evaluate([other]).set_index("metric").loc["Se", "ours"]) / 3
    )
    assert both["high"] - both["low"] > 1.5 * (alone["high"] - alone["low"])
    assert (both["n_seeds"], both["n_patients"]) == (3, 60)


def test_a_score_is_as_sure_as_the_patients_of_its_class_are_many():
    data = clustered()
    data["label"] = np.where(data["patient"].isin(["0", "1", "2"]), data["label"], 0)
    table = evaluate([data]).set_index("metric")
    assert table["n_patients"].to_dict() == {
        **dict.fromkeys(["Se", "AS", "HS", "Score", "balanced accuracy", "macro F1", "AUROC"], 3),
        "Sp": 30,
    }
    assert table.loc["Se", ["low", "high"]].isna().all()
    assert table.loc["Sp", ["low", "high"]].notna().all()


def test_the_mean_over_classes_is_over_the_same_classes_in_every_drawing():
    """A class that 6 patients of 60 have, always missed: in drawings without them it must not leave the mean."""
    frame = random_predictions(0, 1200, 60, 3, skill=9.0)
    rare = frame["patient"].isin([f"p{k}" for k in range(6)]).to_numpy()
    frame = frame.assign(label=np.where(rare, 3, frame["label"]), p3=0.0)
    frame["predicted"] = np.where(rare, 0, frame["label"])
    found = evaluate([frame]).set_index("metric").loc[["balanced accuracy", "macro F1"]]
    assert found.loc["balanced accuracy", ["ours", "low", "high"]].tolist() == pytest.approx([0.75] * 3)
    assert (found["high"] < 0.8).all()  # the mean over the three others would be 1


def test_probabilities_that_are_missing_are_refused():
    frame = random_predictions().astype({"p1": float})
    frame.loc[3, "p1"] = np.nan
    with pytest.raises(UserError, match="p1 of the predictions is NaN in 1 rows"):
        evaluate([frame])
    for table in (counts(5, 5, 1, 1).assign(p=[np.nan] + [0.5] * 11),) * 2:
        with pytest.raises(UserError, match="is NaN in 1 rows"):
            patient_scores(table)


#: Hits of 705 abnormal and 1,728 normal events that give the Conv-LSTM paper's Table 3 (docs/papers/convlstm.md, 1.1 and 5).
TABLE_3 = {
    "CNN": (316, 1314, {"Se": 0.4482, "Sp": 0.7604, "AS": 0.6043, "HS": 0.5640, "Score": 0.5841, "TS": 0.5942}),
    "Upsampling CNN": (
        397,
        1087,
        {"Se": 0.5631, "Sp": 0.6291, "AS": 0.5961, "HS": 0.5943, "Score": 0.5952, "TS": 0.5956},
    ),
    "ConvLstm": (363, 1218, {"Se": 0.5149, "Sp": 0.7049, "AS": 0.6099, "HS": 0.5951, "Score": 0.6025, "TS": 0.6062}),
    "full": (403, 1362, {"Se": 0.5716, "Sp": 0.7882, "AS": 0.6799, "HS": 0.6626, "Score": 0.6713, "TS": 0.6756}),
}


@pytest.mark.parametrize(("abnormal", "normal", "expected"), TABLE_3.values(), ids=TABLE_3)
def test_biocas_scores_of_the_published_counts(abnormal, normal, expected):
    got = biocas_scores(abnormal / 705, normal / 1728)
    assert got == pytest.approx(expected, abs=1e-4)  # some are rounded in print, some are cut off
    label = np.r_[np.full(705, 5), np.zeros(1728)]
    predicted = np.r_[np.full(abnormal, 5), np.full(705 - abnormal, 2), np.zeros(normal), np.ones(1728 - normal)]
    assert scores(label, predicted, biocas_scores) == got


def test_always_normal_and_always_wrong(recwarn):
    label = np.array([0, 0, 1, 5, 6])
    got = scores(label, np.zeros(5), biocas_scores)
    assert got == {"Se": 0, "Sp": 1, "AS": 0.5, "HS": 0, "Score": 0.25, "TS": 0.375}
    assert set(scores(label, np.full(5, 3), biocas_scores).values()) == {0}
    assert harmonic_score(np.array([0.0, 0.5]), np.array([0.0, 1.0])).tolist() == [0, pytest.approx(2 / 3)]
    assert not recwarn.list


def test_rows_of_a_comparison_in_fractions():
    seeds = [clustered(), clustered(seed=1)]
    each = pd.DataFrame([scores(p["label"], p["predicted"], biocas_scores) for p in seeds])
    rows = score_rows("full", seeds, biocas_scores, unit=1)
    assert rows["metric"].tolist() == ["Se", "Sp", "AS", "HS", "Score", "TS"]
    assert rows[["row", "n_seeds"]].drop_duplicates().to_numpy().tolist() == [["full", 2]]
    assert np.allclose(rows["ours"], each.mean())
    assert np.allclose(rows["sd"], each.std())
    assert (rows["low"] < rows["ours"]).all()
    assert (rows["ours"] < rows["high"]).all()
    percent = score_rows("full", seeds, biocas_scores)
    numbers = ["ours", "sd", "low", "high"]
    assert np.allclose(percent[numbers], 100 * rows[numbers])


def counts(tp, tn, fp, fn):
    """Patients whose confusion counts are these."""
    label = [1] * (tp + fn) + [0] * (tn + fp)
    return pd.DataFrame({"label": label, "p": [0.9] * tp + [0.1] * fn + [0.1] * tn + [0.9] * fp})


@pytest.mark.parametrize(
    ("cells", "accuracy", "balanced"), [((116, 24, 2, 8), 0.9333, 0.9293), ((116, 25, 1, 8), 0.9400, 0.9485)]
)
def test_confusions_of_the_paediatric_paper(cells, accuracy, balanced):
    ours = patient_scores(counts(*cells))["ours"]
    assert ours["accuracy"] == pytest.approx(accuracy, abs=5e-5)
    assert ours["balanced accuracy"] == pytest.approx(balanced, abs=5e-5)


def test_scores_of_crops_are_those_of_all_crops_and_know_seeds_and_patients():
    rng = np.random.default_rng(2)
    tables, by_hand = [], []
    for _ in range(3):
        crops = pd.DataFrame({"patient": rng.integers(0, 12, 400).astype(str)})
        crops["label"] = (crops["patient"].astype(int) < 7).astype(int)
        crops["p"] = np.clip(0.3 * crops["label"] + rng.uniform(0.01, 0.69, 400), 0, 1)
        own = np.where(crops["label"] == 1, crops["p"], 1 - crops["p"])
        groups = crops.assign(crops=1, called=crops["p"] > 0.5, loss=-np.log(own)).groupby("patient")
        how = {"label": "first", "crops": "sum", "called": "sum", "loss": "mean"}
        tables.append(groups.agg(how).reset_index().sample(frac=1, random_state=0))
        called = crops["p"] > 0.5
        loss, f1 = log_loss(crops["label"], crops["p"]), f1_score(crops["label"], called, average="macro")
        by_hand.append([loss, (called == crops["label"]).mean(), f1])
    found = crop_scores(tables)
    assert found.index.tolist() == ["loss", "accuracy", "F1"]
    assert found["ours"].tolist() == pytest.approx(np.mean(by_hand, axis=0))
    assert found["sd"].tolist() == pytest.approx(np.std(by_hand, axis=0, ddof=1))
    assert found[["n_seeds", "n_patients"]].to_numpy().tolist() == [[3, 12]] * 3
    assert ((found["low"] < found["ours"]) & (found["ours"] < found["high"])).all()
    assert crop_scores(tables[:1])["low"].notna().all()
    nothing = crop_scores(tables, tables)
    assert (nothing[["ours", "sd", "low", "high"]] == 0).all(axis=None)
    worse = [t.assign(loss=t["loss"] + 0.5) for t in tables]
    assert crop_scores(worse, tables).loc["loss", ["ours", "low", "high"]].tolist() == pytest.approx([0.5] * 3)
    few = [t[t["patient"].astype(int) < 5] for t in tables]
    assert crop_scores(few)["low"].isna().all()
    assert crop_scores(few).loc["F1", "ours"] == pytest.approx(np.mean([f1_only(t) for t in few]))


def f1_only(table):
    """Macro F1 of crops of cases alone: of both classes that are named, though one has no crop."""
    named = np.repeat([1, 0], [table["called"].sum(), (table["crops"] - table["called"]).sum()])
    return f1_score(np.ones(len(named)), named, average="macro")


@pytest.mark.train
def test_patient_scores_against_scikit_learn_and_the_bootstrap():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 60)
    patients = pd.DataFrame({"label": label, "p": np.clip(0.35 * label + rng.uniform(0, 0.7, 60), 0, 1).round(1)})
    scores = patient_scores(patients)
    assert scores["ours"]["AUROC"] == pytest.approx(roc_auc_score(label, patients["p"]))
    assert scores["ours"]["balanced accuracy"] == pytest.approx(balanced_accuracy_score(label, patients["p"] > 0.5))
    assert ((scores["low"] < scores["ours"]) & (scores["ours"] < scores["high"])).all()
    drawn = [
        roc_auc_score(d["label"], d["p"])
        for d in (patients.sample(60, replace=True, random_state=k) for k in range(400))
    ]
    assert scores.loc["AUROC", ["low", "high"]].tolist() == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.03)


def test_patients_of_one_kind_have_no_balanced_accuracy():
    scores = patient_scores(counts(5, 0, 0, 5))
    assert scores["ours"]["accuracy"] == 0.5
    assert scores.loc[["balanced accuracy", "AUROC", "specificity"], "ours"].isna().all()


# ---- all scores of a table, and pairs


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
    assert [*table_scores(frame).values()] == pytest.approx(independent(frame), abs=1e-9)


def test_balanced_accuracy_is_scikit_learns():
    frame = random_predictions()
    expected = balanced_accuracy_score(frame["label"], frame["predicted"])
    assert table_scores(frame)["balanced accuracy"] == pytest.approx(expected)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_drawing_a_patient_twice_is_repeating_its_rows(seed):
    frame = random_predictions(3, 80, 6)
    names = sorted(frame["patient"].unique())
    times = np.random.default_rng(seed).multinomial(6, np.full(6, 1 / 6))
    drawn = pd.concat([frame[frame["patient"] == name] for name, k in zip(names, times, strict=True) for _ in range(k)])
    found = class_scores(count(frame), times[None])
    assert [found[m][0] for m in METRICS] == pytest.approx(independent(drawn), abs=1e-9)


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
    assert (table["p"] < 0.001).all()
    back = paired(poor, good, 400).set_index("metric")
    assert back["ours"].to_numpy() == pytest.approx(-table["ours"].to_numpy())
    assert back["high"].to_numpy() == pytest.approx(-table["low"].to_numpy())
    same = paired(good, good, 50)
    assert (same[["ours", "low", "high"]] == 0).all(axis=None)
    assert (same["p"] == 1).all()
    with pytest.raises(UserError, match="3 seeds cannot be compared with 2"):
        paired(good * 3, poor * 2)


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
    values = table_scores(frame[frame["label"] == 0])
    assert {name for name, v in values.items() if np.isnan(v)} == {"Se", "AS", "HS", "Score", "AUROC"}


# ---- recall by class


def answers(seed, n=120, n_classes=3, right=0.6):
    rng = np.random.default_rng(seed)
    asked = np.random.default_rng(99)
    label, patient = asked.integers(0, n_classes, n), asked.integers(0, 8, n).astype(str)
    guess = np.where(rng.random(n) < right, label, rng.integers(0, n_classes, n))
    frame = pd.DataFrame({"patient": patient, "label": label, "predicted": guess})
    return frame.assign(**{f"p{k}": (guess == k) * 1.0 for k in range(n_classes)})


GROUPS = {"a": [0], "b": [1], "both": [1, 2]}


def test_recalls_are_those_of_scikit_learn():
    tables = [answers(0), answers(1)]
    found = per_class_recall(tables, GROUPS, n_resamples=50).set_index("row")
    each = np.array([recall_score(t["label"], t["predicted"], average=None) for t in tables])
    assert found["ours"].tolist() == pytest.approx([*each.mean(0)[:2], each[:, 1:].mean()])
    assert found.loc["a", "sd"] == pytest.approx(each[:, 0].std(ddof=1))
    assert (found["n_seeds"] == 2).all()


def test_intervals_are_over_patients_drawn_anew():
    table = answers(0)
    found = per_class_recall([table], GROUPS, n_resamples=300).set_index("row")
    rng, patients, drawn = np.random.default_rng(1), [g for _, g in table.groupby("patient")], []
    for _ in range(300):
        some = pd.concat([patients[k] for k in rng.integers(0, len(patients), len(patients))])
        drawn.append((some["predicted"] == some["label"])[some["label"] == 0].mean())
    assert found.loc["a", ["low", "high"]].tolist() == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.04)


def test_gains_are_differences_on_the_same_patients():
    better, worse = [answers(0, right=0.95)], [answers(1, right=0.4)]
    gain = per_class_recall(better, GROUPS, worse, n_resamples=200).set_index("row")
    alone = [per_class_recall(side, GROUPS, n_resamples=50).set_index("row")["ours"] for side in (better, worse)]
    assert gain["ours"].tolist() == pytest.approx((alone[0] - alone[1]).tolist())
    assert (gain["low"] > 0).all()
    back = per_class_recall(worse, GROUPS, better, n_resamples=200).set_index("row")
    assert back["low"].tolist() == pytest.approx((-gain["high"]).tolist())
    same = per_class_recall(better, GROUPS, better, n_resamples=50)
    assert (same[["ours", "low", "high"]] == 0).all(axis=None)


def test_a_class_that_few_patients_have_is_scored_where_it_is():
    table = answers(0).assign(label=lambda x: np.where(x["patient"] == "0", 2, x["label"] % 2))
    found = per_class_recall([table], {"c": [2], "a and c": [0, 2]}, n_resamples=100).set_index("row")
    assert found["n_patients"].tolist() == [1, 1]
    assert found.loc["c", "ours"] == pytest.approx((table["predicted"] == 2)[table["label"] == 2].mean())
    assert found[["low", "high"]].isna().all(axis=None)


def test_many_pairs_are_each_paired_and_corrected_together():
    base = [answers(seed) for seed in range(4)]
    better = {f"{right}": [answers(seed, right=right) for seed in range(4)] for right in (0.62, 0.9)}
    pairs = {name: (tables[:3], base) for name, tables in better.items()} | {"not on file": ([], base)}
    found = paired_many(pairs, "AS")
    assert list(found) == ["0.62", "0.9"]
    alone = {name: paired(tables[:3], base[:3]).set_index("metric").loc["AS"] for name, tables in better.items()}
    assert [line["p"] for line in found.values()] == list(holm([line["p"] for line in alone.values()]))
    for name, line in found.items():
        assert line.drop(["p", "n_compared"]).equals(alone[name].drop("p"))
        assert line["n_compared"] == len(found)
