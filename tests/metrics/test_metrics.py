"""Scores against published counts and slow references."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from lungnb.metrics.classification import (
    biocas_scores,
    bootstrap_scores,
    confusion,
    harmonic_score,
    icbhi_score,
    patient_scores,
    score_rows,
    scores,
    sensitivity,
    specificity,
)

#: The best epoch of the log that the authors ship (fact sheet, section 6.1): rows true, columns predicted.
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
    assert sensitivity(np.array([1, 2, 3, 0]), np.array([2, 2, 1, 0])) == pytest.approx(1 / 3)
    assert specificity(np.array([1, 0, 0]), np.array([1, 0, 2])) == 0.5
    assert icbhi_score(0.4, 0.6) == 0.5


def test_an_absent_side_is_nan():
    assert np.isnan(sensitivity(np.array([0, 0]), np.array([0, 1])))
    assert np.isnan(specificity(np.array([1, 2]), np.array([0, 1])))
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


def test_the_interval_is_a_slow_loops():
    data = clustered()
    got = bootstrap_scores(data, seed=1)
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
    by_patient, by_cycle = (bootstrap_scores(d).diff(axis=1)["high"] for d in (data, cycles))
    assert (by_patient > 2 * by_cycle).all()


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth = (0.2 + 0.9) / 2
    inside = [
        i["low"] <= truth <= i["high"]
        for i in (bootstrap_scores(clustered(s), n_resamples=400).loc["Se"] for s in range(60))
    ]
    assert 0.83 <= np.mean(inside) <= 1


def test_intervals_of_too_little():
    one = clustered(n_patients=1)
    assert bootstrap_scores(one).isna().all(axis=None)
    normal = clustered().assign(label=0)
    got = bootstrap_scores(normal, n_resamples=100)
    assert got.loc["Sp"].notna().all()
    assert got.loc["Se"].isna().all()


def test_the_seed_decides():
    data = clustered()
    assert bootstrap_scores(data, seed=3, n_resamples=200).equals(bootstrap_scores(data, seed=3, n_resamples=200))


#: Hits of 705 abnormal and of 1,728 normal events that give the Conv-LSTM paper's Table 3 (fact sheet, sections 1.1 and 5).
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
    ours = confusion(counts(*cells))
    assert tuple(ours[k] for k in ("TP", "TN", "FP", "FN")) == cells
    assert ours["accuracy"] == pytest.approx(accuracy, abs=5e-5)
    assert ours["balanced accuracy"] == pytest.approx(balanced, abs=5e-5)
    scores = patient_scores(counts(*cells))
    assert scores["ours"]["balanced accuracy"] == pytest.approx(ours["balanced accuracy"])


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
