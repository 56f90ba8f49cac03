"""Every classifier takes maps and gives as many logits as the task has classes; costs against counting by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from lungnb.classification.fitting import class_draws, multiply_adds
from lungnb.classification.networks import (
    CLASSIFIERS,
    Classifier,
    FeaturesOnly,
    Sizes,
    SmallCNN,
    fit_boosting,
    statistics,
)
from lungnb.features import Standardise
from lungnb.papers.convlstm import ConvLSTM
from lungnb.papers.pediatric import ByPosition, SiteCNN
from lungnb.papers.respirenet import RespireNet

SHAPE = {"mel image": (1, 64, 94), "stacked": (3, 64, 76), "stft": (1, 50, 54)}
SMALL = {"backbone": "resnet10-narrow", "zoom": 1, "hidden": 8}


def parameters(network):
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def features_for(model, n=3):
    channels, rows, frames = SHAPE[CLASSIFIERS[model].front_end]
    channels = 5 if CLASSIFIERS[model].all_sites else channels
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (n, channels, rows, frames), generator=generator).to(torch.uint8)


def built(model, n_classes=4, **choices):
    shape = features_for(model).shape
    return CLASSIFIERS[model].build(Sizes(n_classes, shape[1], n_rows=shape[2], n_positions=5, **SMALL | choices))


@pytest.mark.parametrize("model", [m for m, entry in CLASSIFIERS.items() if entry.build])
@pytest.mark.parametrize("n_classes", [2, 7])
def test_a_classifier_is_as_wide_as_its_task(model, n_classes):
    network = built(model, n_classes).eval()
    network.fit_statistics(
        [features_for(model)[:, : SHAPE[CLASSIFIERS[model].front_end][0]]]
    )  # one scale for all sites
    metadata = torch.tensor([[3, 0, 1], [19, 2, 5], [0, 1, 4]])
    logits = network(features_for(model), metadata)
    assert logits.shape == (3, n_classes)
    alone = network(features_for(model)[1:2], metadata[1:2])
    assert torch.allclose(alone, logits[1:2], atol=1e-4)  # nobody else's sound counts
    rolled = network(features_for(model), metadata, torch.Generator().manual_seed(1))
    assert not torch.allclose(rolled, logits, atol=1e-4)


def test_networks_are_the_papers():
    def same(a, b):
        assert [tuple(p.shape) for p in a.parameters()] == [tuple(p.shape) for p in b.parameters()]

    same(built("RespireNet", backbone="resnet34").network, RespireNet(4))
    for model in ("CNN", "Upsampling CNN", "ConvLstm"):
        same(built(model, 7, hidden=512).network, ConvLSTM(model))
    same(built("SiteCNN", 2).network.network, SiteCNN(1))
    same(built("MPA", 2).network.network, SiteCNN(5))
    full = parameters(built("full", 7, hidden=512))
    assert full - parameters(ConvLSTM("full")) == 64  # five positions instead of SPRSound's four


@pytest.mark.parametrize(("form", "dims"), [("row", (0, 3)), ("channel", (0, 2, 3))])
def test_statistics_of_training_features_make_them_alike(form, dims):
    features = 7 * torch.randn(40, 2, 6, 11) + torch.arange(12).view(1, 2, 6, 1) * 30
    scale = Standardise(form, 2, 6)
    scale.fit_statistics(features.split(7))
    scaled = scale(features)
    assert scaled.mean(dims).abs().max() < 1e-4
    assert torch.allclose(scaled.std(dims, correction=0), torch.tensor(1.0), atol=1e-4)


def test_other_scales():
    features = 7 * torch.randn(5, 2, 6, 11) - 30
    assert torch.allclose(Standardise((-30.0, 7.0), 2, 6)(features), (features + 30) / 7)
    each = Standardise("clip", 2, 6)(features)
    assert torch.allclose(each.mean((2, 3)), torch.zeros(5, 2), atol=1e-5)
    assert torch.allclose(each.std((2, 3)), torch.ones(5, 2), atol=1e-4)
    mask = Classifier(nn.Identity(), Standardise((-30.0, 7.0), 1, 6), n_features=1).image(features)
    assert torch.equal(mask[:, 1], features[:, 1])  # what tells of missing sites is not scaled


def test_rare_classes_are_drawn_more_often_than_they_come():
    label = torch.tensor([0] * 90 + [1] * 10)
    weight = class_draws(label, 0.5)
    assert weight.mean() == pytest.approx(1)
    assert weight[-1] / weight[0] == pytest.approx(3)  # the root of nine
    assert class_draws(label, 0)[-1] / class_draws(label, 0)[0] == pytest.approx(9)


def test_a_clip_goes_to_the_network_of_its_position():
    class Constant(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, maps):
            return maps.mean((1, 2, 3))[:, None] + torch.tensor([[self.value, 0.0]])

    network = ByPosition([Constant(10.0), Constant(20.0), Constant(60.0)])
    metadata = torch.tensor([[0, 0, 2], [0, 0, 0], [0, 0, 3], [0, 0, 1], [0, 0, 2]])
    maps = torch.arange(5.0)[:, None, None, None].expand(5, 1, 4, 4)
    assert network(maps, metadata)[:, 0].tolist() == [60, 11, 32, 23, 64]  # position 3 is unknown: the mean of all
    assert network(maps, metadata)[:, 1].tolist() == [0, 1, 2, 3, 4]


def test_only_the_full_model_reads_age_and_sex():
    for model in ("full", "ConvLstm", "RespireNet", "MPO"):
        network = built(model).eval()
        maps, one, other = features_for(model), torch.tensor([[3, 0, 1]] * 3), torch.tensor([[7, 1, 1]] * 3)
        assert torch.equal(network(maps, one), network(maps, other)) == (model != "full")


def test_costs_by_hand():
    network = FeaturesOnly(nn.Conv2d(3, 8, 3))
    assert parameters(network) == 8 * (3 * 9 + 1)
    assert multiply_adds(network, torch.zeros(1, 3, 12, 20), torch.zeros(1, 3)) == 10 * 18 * 3 * 9 * 8
    lstm = nn.LSTM(64, 16, batch_first=True)
    assert multiply_adds(lstm, torch.zeros(1, 304, 64)) == 304 * 4 * 16 * (64 + 16)
    assert lstm.training
    network = RespireNet(4)
    assert parameters(network) == 21_367_364
    assert multiply_adds(network, torch.zeros(1, 3, 224, 224)) == pytest.approx(3.66e9, rel=0.01)  # ResNet-34


def test_statistics_are_numpys():
    maps = torch.randn(5, 1, 32, 21) * 9
    ours = statistics(maps)
    assert ours.shape == (5, 6 * 16)
    bands = maps[:, 0].numpy().reshape(5, 16, 2, 21).mean(2)
    expected = [bands.mean(2), bands.std(2, ddof=1), *(np.quantile(bands, q, axis=2) for q in (0.1, 0.5, 0.9))]
    expected.append(np.abs(np.diff(bands, axis=2)).mean(2))
    assert np.allclose(ours, np.concatenate(expected, axis=1), atol=1e-4)


def test_trees_learn_a_loud_band():
    maps = torch.randn(120, 1, 64, 30)
    loud = torch.arange(120) % 2
    maps[loud == 1, :, 20:28] += 2
    features = statistics(maps)
    trees = fit_boosting(features[:80], loud[:80], np.ones(80), np.arange(80), 0)
    assert trees.score(features[80:], loud[80:]) > 0.9


def test_the_small_cnn_is_small():
    assert 23_000 < parameters(SmallCNN(4)) < 25_000
