"""The paediatric CNN: shapes and sizes of the fact sheet, and several trained as one against each alone."""

import pytest
import torch
from torch import nn

from lungnb.models.pediatric import SideBySide, SiteCNN


@pytest.mark.parametrize(("n_sites", "size"), [(1, 43_570), (8, 44_018)])
def test_sizes_of_both_models(n_sites, size):
    network = SiteCNN(n_sites)
    assert sum(p.numel() for p in network.parameters()) == size
    assert network.eval()(torch.zeros(2, n_sites, 150, 216)).shape == (2, 2)


def test_shapes_of_every_layer():
    network, shapes = SiteCNN().eval(), []
    network.dropout.register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape[1:])))
    assert network.features(torch.zeros(1, 1, 150, 216)).shape == (1, 128, 8, 12)
    assert shapes == [(16, 74, 107), (32, 36, 53), (64, 17, 26), (128, 8, 12)]


def test_dropout_is_there_in_training_only():
    network, x = SiteCNN(), torch.randn(2, 1, 40, 40)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def trained(network, images, label, steps=3):
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = network(images)
        losses = nn.functional.cross_entropy(logits.movedim(-1, 1), label, reduction="none").mean(0)
        losses.sum().backward()
        optimizer.step()
    return network


@pytest.mark.parametrize("n_sites", [1, 3])
def test_side_by_side_trains_each_as_if_it_were_alone(n_sites):
    torch.manual_seed(0)
    networks = [SiteCNN(n_sites, dropout=0) for _ in range(4)]
    images, label = torch.randn(5, 4, n_sites, 40, 50), torch.randint(2, (5, 4))
    together = SideBySide(networks)
    assert torch.allclose(
        together(images), torch.stack([n(images[:, m]) for m, n in enumerate(networks)], dim=1), atol=1e-6
    )
    states = trained(together, images, label).states()
    for m, network in enumerate(networks):
        alone = trained(network, images[:, m], label[:, m]).state_dict()
        assert alone.keys() == states[m].keys()
        assert all(torch.allclose(states[m][k], v, atol=1e-5) for k, v in alone.items())


def test_nothing_passes_from_one_network_to_another():
    together = SideBySide([SiteCNN(dropout=0) for _ in range(3)])
    images = torch.randn(2, 3, 1, 40, 40)
    before = together(images)
    images[:, 1] += 1
    changed = (together(images) != before).any(dim=2).any(dim=0)
    assert changed.tolist() == [False, True, False]
