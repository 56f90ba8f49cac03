"""Adding a classifier is one class and one registry entry."""

import pytest
import torch
from torch import nn

from lungnb.classification import Classification
from lungnb.classification.networks import CLASSIFIERS, Entry, FeaturesOnly, _scaled
from lungnb.data import load_corpus


class MeanBands(nn.Module):
    """Logits from the mean of each row of the spectrogram."""

    def __init__(self, n_rows: int, n_classes: int):
        super().__init__()
        self.head = nn.Linear(n_rows, n_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(image.mean(dim=(1, 3)))


@pytest.mark.train
def test_a_new_classifier_joins_the_comparison(monkeypatch):
    build = lambda sizes: _scaled(FeaturesOnly(MeanBands(sizes.n_rows, sizes.n_classes)), sizes)  # noqa: E731
    monkeypatch.setitem(CLASSIFIERS, "mean bands", Entry("mel image", build))
    fields = {"corpus": load_corpus("icbhi").fingerprint, "task": "icbhi", "pooling": (3, 4), "lr": 1e-2, "epochs": 2}
    experiment = Classification(model="mean bands", **fields)
    frame = experiment.tested()
    assert experiment.result()["parameters"] == 64 * 4 + 4
    assert set(frame["label"]) == {0, 1, 2, 3}
    assert torch.allclose(torch.tensor(frame[["p0", "p1", "p2", "p3"]].to_numpy().sum(1)), torch.ones(1).double())
