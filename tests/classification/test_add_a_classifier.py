"""Adding a classifier is one class, one registry entry and one line of YAML."""

import pytest
import torch
import yaml
from torch import nn

from lungnb import configs
from lungnb.classification.comparison import load_comparison
from lungnb.classification.networks import CLASSIFIERS, Entry, FeaturesOnly, _scaled


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
    size = configs.load("compare", "smoke")
    size["models"] |= yaml.safe_load("mean bands: {lr: 1.0e-2, epochs: 2}")
    monkeypatch.setattr(configs, "load", lambda name, profile: size)
    experiment = load_comparison("smoke", names=["icbhi"]).experiment("icbhi", "mean bands")
    frame = experiment.tested()
    assert experiment.result()["parameters"] == 64 * 4 + 4
    assert set(frame["label"]) == {0, 1, 2, 3}
    assert torch.allclose(torch.tensor(frame[["p0", "p1", "p2", "p3"]].to_numpy().sum(1)), torch.ones(1).double())
