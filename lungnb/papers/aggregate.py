"""From what a model says of each crop to what it says of a patient (the paediatric paper, section III;
docs/papers/pediatric.md, section 3.1).

`sites` is a table of probabilities of "case", patients by sites, NaN where a site was not recorded. Every rule uses the present
sites only.
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression


def by_site(crops: pd.DataFrame, pool: str = "mean") -> pd.DataFrame:
    """Patients by sites: `pool` ("mean" or "max") over the crops (columns patient, site, p) of each."""
    return crops.pivot_table(index="patient", columns="site", values="p", aggfunc=pool, observed=True)


def simple_mean(sites: pd.DataFrame) -> pd.Series:
    """P_i = mean over the present sites of p_ik."""
    return sites.mean(axis=1)


def maximum(sites: pd.DataFrame) -> pd.Series:
    """P_i = the highest p_ik: one suspicious site is enough."""
    return sites.max(axis=1)


def inverse_loss(sites: pd.DataFrame, loss: pd.Series) -> pd.Series:
    """P_i = sum of w_k p_ik / sum of w_k with w_k = 1 / L_k; `loss` by site, measured on validation patients.

    The paper does not say on whom. Measured on the patients who are then scored, the weights would leak. Eight patients can
    all be right by luck: a loss counts as 0.001 at least, or that site alone would decide.
    """
    weight = (1 / loss.clip(lower=1e-3)).reindex(sites.columns)
    return (sites * weight).sum(axis=1) / sites.notna().mul(weight).sum(axis=1)


class Learned:
    """P_i by a logistic regression on the logits of all sites, the paper's "future work"; the classes weigh the same.

    A site that was not recorded stands at the mean of the patient's others. Fit it on patients whom the site models were not
    trained on, or it learns to trust the most overfitted site.
    """

    def __init__(self):
        self.regression = LogisticRegression(class_weight="balanced")

    def fit(self, sites: pd.DataFrame, case: pd.Series) -> "Learned":
        self.columns = sites.columns
        self.regression.fit(self._logits(sites), case.reindex(sites.index))
        return self

    def __call__(self, sites: pd.DataFrame) -> pd.Series:
        return pd.Series(self.regression.predict_proba(self._logits(sites))[:, 1], index=sites.index)

    def _logits(self, sites: pd.DataFrame) -> np.ndarray:
        p = sites.reindex(columns=self.columns).clip(1e-4, 1 - 1e-4)
        logits = np.log(p / (1 - p))
        return logits.T.fillna(logits.mean(axis=1)).T.to_numpy()
