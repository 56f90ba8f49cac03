"""A judge that learnt to hear elsewhere: an encoder that others trained on other sounds, and a regression on what it says.

In a room of its own, so that the judges of `judges` do not depend on the code of all classifiers.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lungnb.classification.encoders import digest, encoder
from lungnb.classification.networks import fit_regression
from lungnb.core import UserError
from lungnb.metrics.clips import TYPES
from lungnb.papers.lungldm.classifier import in_batches, mean_recall
from lungnb.papers.lungldm.experiments import Computed, LungRun
from lungnb.papers.lungldm.judges import Halves, clip_table, type_indices
from lungnb.training import make_accelerator


class EncoderJudgeRun(LungRun):
    """A frozen encoder and a logistic regression on the clips of the training patients, types weighing alike; the regression's
    strength is chosen on folds of these patients, drawn by the seed."""

    network: Literal["encoder"] = "encoder"
    #: As `lungnb.classification.encoders.encoder` takes it.
    encoder: str = "resemblyzer"

    def compute(self, checkpoint: Path) -> Computed:
        mels, frozen = self.mels(), encoder(self.encoder)
        types = type_indices(mels.sound)
        train, held_out = (np.flatnonzero(rows & (types >= 0)) for rows in (mels.part == "train", mels.part != "train"))

        def features(rows: np.ndarray) -> np.ndarray:
            return np.concatenate(
                [self._features(mels.waveforms(p), frozen) for p in torch.from_numpy(rows).split(1024)]
            )

        x, label = features(train), types[train]
        weight = 1 / np.bincount(label)[label]
        fitted = fit_regression(x, label, weight / weight.mean(), mels.patient[train], self.seed)
        state = _linear(*fitted)
        predictions = clip_table(mels, held_out).join(
            pd.DataFrame(_probabilities(state, features(held_out))).add_prefix("p")
        )
        recall = mean_recall(label, _probabilities(state, x).argmax(axis=1))
        history = pd.DataFrame({"epoch": [1], "val_recall": [recall]})  # of training clips, as the other judges have it
        facts = mels.facts | {"train recall": recall, "encoder": digest(frozen)}
        return history, predictions, state, facts

    def predict(self, waveforms: torch.Tensor) -> np.ndarray:
        """Probabilities (N, types) of waveforms (N, T) at 16 kHz. Raises UserError if the encoder has other weights by now."""
        frozen = encoder(self.encoder)
        if digest(frozen) != self.result()["encoder"]:
            raise UserError(
                f"The encoder {self.encoder!r} has other weights than when its judge was fitted; give the former, or "
                "empty the cache, whose folder `lungnb doctor` names."
            )
        return _probabilities(self.state, self._features(waveforms, frozen))

    def _features(self, waveforms: torch.Tensor, frozen: torch.nn.Module) -> np.ndarray:
        """What the encoder says (N, D) of waveforms (N, T), each at its peak of 1."""
        device = make_accelerator(self.device).device
        network = Halves(frozen).to(device)
        with torch.inference_mode():
            return in_batches(lambda x: network(x).flatten(1), waveforms.to(device)).numpy().astype(np.float64)


def _linear(scale: StandardScaler, regression: LogisticRegression) -> dict[str, torch.Tensor]:
    """Both as one linear layer of features as they are; a type that was not in training is never heard."""
    own, start = regression.coef_, regression.intercept_
    if len(regression.classes_) == 2:  # of two types scikit-learn keeps the second alone
        own, start = np.vstack([np.zeros_like(own), own]), np.append(0, start)
    weight, bias = np.zeros((len(TYPES), own.shape[1])), np.full(len(TYPES), -1e9)
    weight[regression.classes_] = own / scale.scale_
    bias[regression.classes_] = start - (own / scale.scale_) @ scale.mean_
    return {"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)}


def _probabilities(state: dict[str, torch.Tensor], features: np.ndarray) -> np.ndarray:
    logits = torch.from_numpy(features) @ state["weight"].T + state["bias"]
    return logits.softmax(dim=1).numpy()
