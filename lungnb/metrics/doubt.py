"""How sure is a network? Monte Carlo dropout: where many thinned copies of it disagree, and whether doubt finds the errors."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from lungnb.classification.compare_inputs import Inputs
from lungnb.classification.compare_train import EVAL_BATCH, predictions
from lungnb.core import UserError
from lungnb.metrics.classification import evaluate

DOUBTS = ("entropy of one pass", "predictive entropy", "mutual information")


@torch.no_grad()
def passes(network: nn.Module, given: Inputs, n: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """What `network` says of the test part (`predictions`), and in `n` passes with dropout on: p (n, units, classes).

    Gal and Ghahramani (2016): which neurons are silent is drawn anew in each pass, which makes it a draw from (something like)
    a posterior of networks. Batch norm stays in evaluation mode, else clips of a batch would disturb one another. A unit's
    probability is the mean over its clips, in each pass. Raises UserError for less than two passes.
    """
    if n < 2:
        raise UserError(f"Passes can disagree only if there are two or more, not {n}; ask for 20.")
    samples = given.samples("test")

    def heard() -> pd.DataFrame:
        parts = [network(given.batch(some), given.about[some]) for some in samples.split(EVAL_BATCH)]
        return predictions(given, "test", torch.cat(parts).float().softmax(1).numpy())

    network.eval()
    plain = heard()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.train()
        drawn = [probabilities_of(heard()) for _ in range(n)]
    network.eval()
    return plain, np.stack(drawn)


def probabilities_of(frame: pd.DataFrame) -> np.ndarray:
    """Columns p0, p1, ... of predictions (units, classes)."""
    return frame[[c for c in frame if c[0] == "p" and c[1:].isdigit()]].to_numpy(float)


def entropy(p: np.ndarray) -> np.ndarray:
    """H[p] = -sum over c of p_c ln p_c, in nats; p (..., classes) -> (...)."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)


def mutual_information(p: np.ndarray) -> np.ndarray:
    """I = H[mean over t of p_t] - mean over t of H[p_t], of passes p (T, units, classes); 0 where all passes agree.

    The predictive entropy, its first part, is also high where every pass says 50:50 (the sound is ambiguous); I is high only
    where the passes contradict one another (the network does not know) (Houlsby et al. 2011; Gal 2016).
    """
    return entropy(p.mean(axis=0)) - entropy(p).mean(axis=0)


def doubts(plain: pd.DataFrame, drawn: np.ndarray) -> pd.DataFrame:
    """Units: patient, label, wrong (of the mean over passes) and the three DOUBTS of each, the first without dropout."""
    mean = drawn.mean(axis=0)
    columns = [entropy(probabilities_of(plain)), entropy(mean), mutual_information(drawn)]
    wrong = mean.argmax(axis=1) != plain["label"].to_numpy()
    return plain[["patient", "label"]].assign(wrong=wrong, **dict(zip(DOUBTS, columns, strict=True)))


def finds_errors(frame: pd.DataFrame, doubt: str) -> dict[str, float]:
    """AUROC of `doubt` for `wrong`: how often a wrong answer is less sure than a right one; ours, low, high over patients.

    NaN if nothing, or everything, is wrong.
    """
    asked = pd.DataFrame({"patient": frame["patient"], "label": frame["wrong"].astype(int), "predicted": 0})
    scores = evaluate([asked.assign(p0=-frame[doubt], p1=frame[doubt])]).set_index("metric")
    return scores.loc["AUROC", ["ours", "low", "high"]].to_dict()


def risk_coverage(wrong: np.ndarray, doubt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """If only the surest are answered: their share 1/N ... 1, and the share of errors among them; each (N,)."""
    order = np.argsort(doubt, kind="stable")
    n = np.arange(1, len(order) + 1)
    return n / len(order), np.cumsum(np.asarray(wrong, dtype=float)[order]) / n
