"""Rules from sites to patients, by hand and by their properties."""

import numpy as np
import pandas as pd
import pytest

from lungnb.papers.pediatric import Learned, by_site, inverse_loss, maximum, simple_mean

SITES = pd.DataFrame({"1": [0.2, 0.9], "2": [0.4, np.nan], "3": [0.9, 0.5]}, index=["a", "b"])
LOSS = pd.Series({"1": 0.5, "2": 0.25, "3": 1.0})


def test_crops_are_pooled_by_patient_and_site():
    crops = pd.DataFrame({"patient": list("aaab"), "site": list("1121"), "p": [0.2, 0.4, 0.9, 0.5]})
    assert by_site(crops).loc["a"].tolist() == pytest.approx([0.3, 0.9])
    assert by_site(crops, "max").loc["a"].tolist() == pytest.approx([0.4, 0.9])
    assert np.isnan(by_site(crops).loc["b", "2"])


def test_rules_by_hand():
    assert simple_mean(SITES).tolist() == pytest.approx([0.5, 0.7])
    assert maximum(SITES).tolist() == [0.9, 0.9]
    # weights 2, 4, 1
    assert inverse_loss(SITES, LOSS).tolist() == pytest.approx([(0.4 + 1.6 + 0.9) / 7, (1.8 + 0.5) / 3])


def test_inverse_loss_does_not_care_for_the_unit_of_the_loss():
    assert inverse_loss(SITES, LOSS * 7).tolist() == pytest.approx(inverse_loss(SITES, LOSS).tolist())
    equal = pd.Series(1.0, index=SITES.columns)
    assert inverse_loss(SITES, equal).tolist() == pytest.approx(simple_mean(SITES).tolist())


def test_a_learned_rule_finds_the_site_that_knows():
    rng = np.random.default_rng(0)
    case = pd.Series(rng.integers(0, 2, 200))
    noise = pd.DataFrame(rng.uniform(0.05, 0.95, (200, 4)), columns=list("1234"))
    sites = noise.assign(**{"3": np.where(case, 0.8, 0.2) + rng.normal(0, 0.05, 200)})
    sites = sites.mask(rng.random((200, 4)) < 0.1)
    sites.loc[sites["3"].isna(), "3"] = 0.5
    learned = Learned().fit(sites[:100], case[:100])
    weight = np.abs(learned.regression.coef_[0])
    assert weight.argmax() == 2
    held, known = sites[100:], case[100:] == 1
    assert ((learned(held) > 0.5) == known).mean() > ((simple_mean(held) > 0.5) == known).mean()
    assert learned(held).between(0, 1).all()
    assert (
        learned(held[["4", "3", "2", "1"]]).tolist() == learned(held).tolist()
    )  # the order of columns does not matter
