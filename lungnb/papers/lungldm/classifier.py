"""The project's own classifier of clips: perceptual backbone, embedding and judge of prompt adherence."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy, max_pool2d

from lungnb.data.prompts import DECADES, SEXES, SOUNDS
from lungnb.papers.lungldm.frontend import LungMel
from lungnb.training import Fitted, fit

#: Clips that are predicted at once: more are slower on a CPU, whose caches they do not fit.
EVAL_BATCH = 16
#: What a classifier can be asked, a field of the prompts each, and its answers.
CLASSES = {"sound": tuple(SOUNDS), "sex": SEXES, "age_decade": DECADES}


class MelClassifier(nn.Module):
    """Standardised log-mel (B, 1, frames, 64) -> logits (B, n_types); frames are at least 16.

    A convolution 3x3, batch norm and ReLU a stage, max pooling by 2 between stages; the last map is averaged over time, not
    over frequency, which tells a rhonchus from a wheeze; one layer makes the embedding (B, widths[-1]) of it and another the
    logits. The embedding is narrow on purpose: FAD needs several times as many clips as it has dimensions
    (docs/papers/lungldm.md, section 4).
    """

    def __init__(self, n_types: int, widths: Sequence[int] = (16, 32, 64, 64), n_mels: int = 64):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((1, *widths))
        )
        rows = n_mels // 2 ** (len(widths) - 1)
        self.project = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * rows, widths[-1]), nn.ReLU())
        self.head = nn.Linear(widths[-1], n_types)

    def features(self, mel: torch.Tensor) -> list[torch.Tensor]:
        """The map of every stage (B, widths[k], frames / 2^k, 64 / 2^k)."""
        maps = []
        for stage in self.stages:
            maps.append(stage(max_pool2d(maps[-1], 2) if maps else mel))
        return maps

    def embed(self, mel: torch.Tensor) -> torch.Tensor:
        """Embedding (B, widths[-1])."""
        return self.project(self.features(mel)[-1].mean(dim=2))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(mel))


class Judge(nn.Module):
    """Log-mel (B, 1, frames, 64) -> logits (B, classes): a classifier behind the statistics of its training mels."""

    def __init__(self, mel: LungMel, classifier: nn.Module):
        super().__init__()
        self.mel, self.classifier = mel, classifier

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.mel.standardise(log_mel))

    def embed(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Embedding (B, dims) of a MelClassifier, for the distances of `lungnb.metrics.generation`."""
        return self.classifier.embed(self.mel.standardise(log_mel))


@torch.no_grad()
def in_batches(
    function: Callable[[torch.Tensor], torch.Tensor], log_mel: torch.Tensor, rows: torch.Tensor | None = None
) -> torch.Tensor:
    """`function` of the log-mels (`rows` of them), batch by batch, together on the CPU; such as the embed of a Judge."""
    rows = torch.arange(len(log_mel), device=log_mel.device) if rows is None else rows
    return torch.cat([function(log_mel[part]).float().cpu() for part in rows.split(EVAL_BATCH)])


def predict_names(
    judge: nn.Module, log_mel: torch.Tensor, target: str = "sound", rows: torch.Tensor | None = None
) -> np.ndarray:
    """The most probable class of each clip (N,), or of `rows` of them, by its name in CLASSES[target]."""
    return np.array(CLASSES[target], dtype=object)[in_batches(judge, log_mel, rows).argmax(1).numpy()]


def mean_recall(label: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over the classes that occur of the share that is recognised."""
    label, predicted = np.asarray(label), np.asarray(predicted)
    return float(pd.Series(label == predicted).groupby(label).mean().mean())


def fit_classifier(
    network: nn.Module, train: tuple, validation: tuple, *, lr: float, n_items: int, epochs: int, **options
) -> Fitted:
    """`fit` by cross entropy, types equally often; `network` is left with the weights of the best mean recall.

    train, validation: log-mels (N, 1, frames, 64), the rows of them that are meant (M,), and their labels (M,) int64.
    """
    (log_mel, rows, label), (val_mel, val_rows, val_label) = train, validation

    def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return cross_entropy(net(log_mel[rows[items]]), label[items])

    def evaluate(net: nn.Module) -> dict[str, float]:
        logits, truth = in_batches(net, val_mel, val_rows), val_label.cpu()
        recall = mean_recall(truth.numpy(), logits.argmax(1).numpy())
        return {"val_loss": cross_entropy(logits, truth).item(), "val_recall": recall}

    fitted = fit(
        network,
        loss_of,
        n_items,
        torch.optim.AdamW(network.parameters(), lr, fused=True),
        evaluate,
        epochs=epochs,
        select={"validation": "val_recall"},
        weights=1 / torch.bincount(label)[label],
        rate=lambda epoch: (1 + math.cos(math.pi * epoch / epochs)) / 2,
        checkpoint_every_s=120,
        **options,
    )
    network.load_state_dict(fitted.states["validation"])
    network.eval()
    return fitted
