"""The cohorts: what a control that is given the steady noise alone finds in each clinic, and that it is not the disease."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lungnb.features import LogMel
from lungnb.papers.pediatric import steady_noise
from lungnb.simulate import multisite

pytestmark = pytest.mark.train

SECONDS, SITES = 6.0, ["1", "5"]


@pytest.fixture(scope="module")
def children():
    """(clinic, case or not, log-mel (sites, mels, frames)) of as many children of each clinic, two sites each."""
    people = pd.concat([multisite._patients(clinic, 120, np.random.default_rng(0)) for clinic in multisite.CLINICS])
    log_mel, found = LogMel(sample_rate=multisite.RATE), []
    for k, (_, about) in enumerate(people.iterrows()):
        rng = np.random.default_rng([1, k])
        child = multisite._child(rng, about)
        scenes = [multisite._auscultate(rng, SECONDS, site, child) for site in SITES]
        waves = np.stack([scene.record(child.clinic.stethoscope, child) for scene in scenes]).astype(np.float32)
        found.append((about["clinic"], about["diagnosis"] != "control", log_mel(torch.from_numpy(waves))))
    return found


def auroc(children, clinic: str, given, seed: int) -> float:
    """Of cases against controls of `clinic`, out of fold, by a logistic regression on `given` of each log-mel."""
    pairs = [(case, given(x).flatten(1)) for where, case, x in children if where == clinic]
    case = np.array([case for case, _ in pairs for _ in SITES])
    features, child = torch.cat([x for _, x in pairs]).numpy(), np.repeat(np.arange(len(pairs)), len(SITES))
    p = np.empty(len(case))
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(features, case, child):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.02, class_weight="balanced", max_iter=500))
        # Folds have different scales of their own: ranks within each are comparable.
        p[test] = rankdata(model.fit(features[train], case[train]).predict_proba(features[test])[:, 1]) / len(test)
    by_child = pd.DataFrame({"case": case, "p": p}).groupby(child).mean()
    return roc_auc_score(by_child["case"], by_child["p"])


def background(x: torch.Tensor) -> torch.Tensor:
    return steady_noise(x[:, None])[:, 0, :, :1]


def everything(x: torch.Tensor) -> torch.Tensor:
    return torch.quantile(x, torch.tensor([0.5, 0.9, 0.97]), dim=2).permute(1, 0, 2)


def test_steady_noise_tells_cases_where_the_channel_does_and_only_there(children):
    found = {clinic: np.mean([auroc(children, clinic, background, s) for s in range(3)]) for clinic in ("GVA", "POA")}
    assert found["POA"] > 0.8, found
    assert 0.35 < found["GVA"] < 0.65, found


def test_the_disease_is_heard_in_both(children):
    for clinic in ("GVA", "POA"):
        assert np.mean([auroc(children, clinic, everything, s) for s in range(3)]) > 0.65
