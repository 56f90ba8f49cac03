"""The paediatric CNN: shapes and sizes of docs/papers/pediatric.md, section 3.3."""

import pytest
import torch

from lungnb.papers.pediatric import SiteCNN


@pytest.mark.parametrize(("n_sites", "size"), [(1, 43_570), (8, 44_018)])
def test_sizes_of_both_models(n_sites, size):
    network = SiteCNN(n_sites)
    assert sum(p.numel() for p in network.parameters()) == size
    assert network.eval()(torch.zeros(2, n_sites, 150, 216)).shape == (2, 2)


def test_shapes_of_every_layer():
    network, shapes = SiteCNN().eval(), []
    network.dropout.register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape[1:])))
    network(torch.zeros(1, 1, 150, 216))
    assert shapes == [(16, 74, 107), (32, 36, 53), (64, 17, 26), (128, 8, 12)]


def test_dropout_is_there_in_training_only():
    network, x = SiteCNN(), torch.randn(2, 1, 40, 40)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
