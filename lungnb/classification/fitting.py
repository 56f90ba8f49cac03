"""What a trained classifier answers: probabilities of samples, predictions of what is scored, and its costs."""

import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, f1_score, log_loss
from threadpoolctl import threadpool_limits
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lungnb.classification.dataset import Dataset
from lungnb.classification.networks import Entry, statistics
from lungnb.metrics import probability_columns
from lungnb.metrics.classification import biocas_scores, scores

EVAL_BATCH = 128
#: Class probabilities (S, n_classes) of samples.
Predictor = Callable[[Dataset, torch.Tensor], np.ndarray]


@torch.no_grad()
def predict_samples(network: nn.Module, dataset: Dataset, samples: torch.Tensor, dropouts=()) -> np.ndarray:
    """Class probabilities (len(samples), n_classes) by a network in evaluation mode, wherever its weights are.

    dropouts: layers of it that go on dropping, for Monte Carlo dropout.
    """
    network.eval()
    for layer in dropouts:
        layer.train()
    device = next(network.parameters()).device
    parts = samples.split(EVAL_BATCH)
    logits = [network(dataset.batch(s).to(device), dataset.metadata[s].to(device)).float().cpu() for s in parts]
    return torch.cat(logits).softmax(1).numpy()


def probabilities_of(model: nn.Module | Predictor, dataset: Dataset, samples: torch.Tensor) -> np.ndarray:
    """Class probabilities (len(samples), n_classes) by a network, or by trees."""
    return predict_samples(model, dataset, samples) if isinstance(model, nn.Module) else model(dataset, samples)


def predictions_of(
    model: nn.Module | Predictor, dataset: Dataset, parts: tuple[str, ...], combine: str
) -> pd.DataFrame:
    """One row a unit of `parts` (a sample, where `combine` is "none"), in their order: event, recording, patient, position,
    device, cohort, split, label, predicted, p0, p1, ...

    combine: "mean" of the probabilities of its clips; "vote": the class most clips vote for, the lower one in a tie, beside the
    mean probabilities.
    """
    samples = torch.cat([dataset.samples(part) for part in parts]) if parts else torch.arange(0)
    unit = dataset.unit[samples.numpy()]
    p = pd.DataFrame(probabilities_of(model, dataset, samples).astype(float)).add_prefix("p")
    if combine != "none":
        votes = pd.DataFrame(np.eye(p.shape[1])[p.to_numpy().argmax(1)]).groupby(unit).sum()
        p = p.groupby(unit).mean()
        unit = p.index
    predicted = (votes if combine == "vote" else p).to_numpy().argmax(1)
    frame = dataset.units.loc[unit].reset_index(drop=True).assign(predicted=predicted)
    return frame.join(p.reset_index(drop=True))


def monitor(network: nn.Module, dataset: Dataset, followed: dict[str, str], combine: str) -> dict[str, float]:
    """Scores, loss, accuracy and macro F1 of the parts `followed` (name in the history -> part of the split).

    "choice" is AS, and where a few patients give many epochs the same AS, the surer epoch.
    """
    row = {}
    for name, part in followed.items():
        frame = predictions_of(network, dataset, (part,), combine)
        label, guess = frame["label"].to_numpy(), frame["predicted"].to_numpy()
        p = frame[probability_columns(frame)].to_numpy().clip(1e-6)
        values = scores(label, guess, biocas_scores) | {
            "loss": log_loss(label, p / p.sum(1, keepdims=True), labels=range(p.shape[1])),
            "accuracy": accuracy_score(label, guess),
            "F1": f1_score(label, guess, average="macro"),
        }
        values["choice"] = values["AS"] - 0.001 * values["loss"]
        row |= {f"{name}_{k}": float(v) for k, v in values.items()}
    return row


def class_draws(label: torch.Tensor, balance: float) -> torch.Tensor:
    """How often each sample (S,) is drawn: its class' count to the power `balance` - 1, 1 on the mean."""
    weight = torch.bincount(label)[label].double() ** (balance - 1)
    return weight / weight.mean()


def fit_estimator(
    entry: Entry, dataset: Dataset, n_classes: int, balance: float, seed: int
) -> tuple[pd.DataFrame, Predictor]:
    """What is fitted to statistics of the features, for it has no epochs, trees or a regression: history and predictor."""
    train = dataset.samples("train")
    patient = dataset.units["patient"].to_numpy(str)[dataset.unit[train.numpy()]]
    with threadpool_limits(torch.get_num_threads()), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # a strength that has not converged is a candidate as any other
        features, label = statistics(dataset.batch(train)), dataset.label[train]
        fitted = entry.fit(features, label.numpy(), class_draws(label, balance).numpy(), patient, seed)

    def predictor(dataset: Dataset, samples: torch.Tensor) -> np.ndarray:
        p = np.zeros((len(samples), n_classes))
        with threadpool_limits(torch.get_num_threads()):
            p[:, fitted.classes_] = fitted.predict_proba(statistics(dataset.batch(samples)))
        return p

    return pd.DataFrame({"sounds": [len(train)]}), predictor


def costs_of(model: nn.Module | Predictor, dataset: Dataset, n: int = 64) -> dict[str, float | None]:
    """Weights, multiply-adds of one sample, and samples a second without their features."""
    samples = dataset.samples(*(p for p in dataset.units["split"].dropna().unique() if p != "train"))[:n]
    started = time.perf_counter()
    probabilities_of(model, dataset, samples)
    costs = {"parameters": None, "multiply_adds": None}
    costs["samples_per_second"] = len(samples) / max(time.perf_counter() - started, 1e-9)
    if isinstance(model, nn.Module):
        costs["parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
        device, one = next(model.parameters()).device, samples[:1]
        costs["multiply_adds"] = multiply_adds(model, dataset.batch(one).to(device), dataset.metadata[one].to(device))
    return costs


@torch.no_grad()
def multiply_adds(network: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-adds of convolutions, linear layers and LSTMs for `inputs`, half of the floating-point operations counted.

    Without oneDNN, whose LSTM is one operation that the counter does not know.
    """
    was_training = network.training
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch asks for an Intel GPU when the flag is set back
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            network.eval()(*inputs)
    network.train(was_training)
    return counter.get_total_flops() // 2
