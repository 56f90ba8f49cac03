"""The loss of LungLDM's VAE against formulas written with numpy, its safety, and the classifier behind its perceptual term."""

import math

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from hypothesis import given
from hypothesis import strategies as st

from lungnb.core import UserError
from lungnb.papers.lungldm.classifier import MelClassifier
from lungnb.papers.lungldm.losses import (
    Perceptual,
    ReconstructionLoss,
    expm1_capped,
    exponential_penalty,
    perceptual_distance,
)
from lungnb.papers.lungldm.networks import PRESETS, LungVAE


def mels(n=2, frames=32, seed=0):
    return 0.5 * torch.randn(n, 1, frames, 64, generator=torch.Generator().manual_seed(seed))


def bands(n):
    """Clips k, k + 3, ... sound in a band of their own."""
    mel = torch.full((n, 1, 64, 64), -1.0)
    for k in range(n):
        mel[k, :, :, 20 * (k % 3) : 20 * (k % 3) + 6] = 1
    return mel


def classifier(n_types=5, seed=0):
    torch.manual_seed(seed)
    return MelClassifier(n_types)


@given(st.floats(0, 5, width=32))
def test_below_the_cap_it_is_expm1(d):
    assert expm1_capped(torch.tensor(d)).item() == pytest.approx(math.expm1(d), rel=1e-5)


@given(st.floats(0, 1e4, width=32))
def test_the_gradient_is_bounded_and_never_vanishes(d):
    x = torch.tensor(d, dtype=torch.float64, requires_grad=True)
    y = expm1_capped(x)
    y.backward()
    assert x.grad.item() == pytest.approx(math.exp(min(d, 5)), rel=1e-6)
    if d > 5:
        assert y.item() == pytest.approx(math.exp(5) * (1 + d - 5) - 1, rel=1e-9)


def test_the_readings_of_the_formula():
    x, y = mels(), mels(seed=1)
    d = np.abs(x.numpy() - y.numpy()).astype(np.float64)
    assert exponential_penalty(x, y, "element").item() == pytest.approx((np.exp(d) - 1).mean(), rel=1e-5)
    per_clip = d.reshape(2, -1)
    assert exponential_penalty(x, y, "sample").item() == pytest.approx((np.exp(per_clip.mean(1)) - 1).mean(), rel=1e-5)
    small = per_clip.sum(1) / 1000
    assert exponential_penalty(x, x + (y - x) / 1000, "sum").item() == pytest.approx(np.expm1(small).mean(), rel=1e-3)
    assert exponential_penalty(x, x, "element") == exponential_penalty(x, x, "sample") == 0


def test_only_element_punishes_one_large_deviation():
    x = torch.zeros(1, 1, 64, 64)
    spread, single = x + 4 / 4096, x.clone()
    single[0, 0, 3, 3] = 4.0  # the same L1
    element, sample = (
        [exponential_penalty(x, y, form).item() for y in (spread, single)] for form in ("element", "sample")
    )
    assert element[1] > 10 * element[0]
    assert sample[1] == pytest.approx(sample[0], rel=1e-3)


def test_sum_overflows_on_a_good_reconstruction_and_the_others_on_none():
    x = torch.zeros(1, 1, 512, 64)
    assert exponential_penalty(x, x + 0.003, "sum").isinf()
    for form in ("element", "sample"):
        assert exponential_penalty(x, x + 1e4, form).isfinite()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_is_computed_in_float32_under_autocast(dtype):
    x, y = mels().to(dtype), 13 + mels(seed=1).to(dtype)
    outside = exponential_penalty(x.float(), y.float())
    with torch.autocast("cpu", dtype=dtype):
        inside = exponential_penalty(x, y)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("penalty", ["sum", "huge"])
def test_what_cannot_be_trained_with_is_refused(penalty):
    with pytest.raises(UserError, match="cannot be trained with; choose none, element or sample"):
        ReconstructionLoss(penalty)
    with pytest.raises(UserError, match="There is no penalty"):
        exponential_penalty(mels(), mels(), "huge")


def test_perceptual_distance_is_the_formula_of_lpips():
    rng = np.random.default_rng(0)
    a, b = ([rng.normal(size=(3, c, n, n)).astype(np.float32) for c, n in ((4, 8), (6, 4))] for _ in "ab")
    expected = np.zeros(3)
    for x, y in zip(a, b, strict=True):
        for k in range(3):
            for i in range(x.shape[2]):
                for j in range(x.shape[3]):
                    u, v = x[k, :, i, j], y[k, :, i, j]
                    gap = u / np.linalg.norm(u) - v / np.linalg.norm(v)
                    expected[k] += (gap**2).sum() / (x.shape[2] * x.shape[3])
    ours = perceptual_distance([torch.from_numpy(x) for x in a], [torch.from_numpy(x) for x in b])
    assert np.allclose(ours, expected, atol=1e-5)


def test_the_backbone_is_frozen_and_the_gradient_passes_through():
    backbone = classifier()
    distance = Perceptual(backbone).train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    x, y = mels(), mels(seed=1).requires_grad_()
    assert not distance(x, x).any()
    value = distance(x, y)
    assert value.shape == (2,)
    assert (value > 0).all()
    value.sum().backward()
    assert y.grad.isfinite().all()
    assert y.grad.any()
    assert all(p.grad is None for p in backbone.parameters())
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())
    assert distance.backbone_name == "MelClassifier"


def test_a_map_of_zeros_has_a_finite_gradient():
    x, y = torch.zeros(1, 4, 2, 2, requires_grad=True), torch.ones(1, 4, 2, 2)
    perceptual_distance([x], [y]).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("penalty", ["none", "element", "sample"])
def test_the_loss_is_the_sum_of_its_terms(penalty):
    x, y, posterior = mels(), mels(seed=1), DiagonalGaussianDistribution(torch.randn(2, 16, 8, 16))
    terms = ReconstructionLoss(penalty, Perceptual(classifier()), alpha=0.7, beta=0.2)(x, y, posterior)
    mean, var = posterior.mean.numpy(), posterior.var.numpy()
    assert terms["kl"].item() == pytest.approx(0.5 * (mean**2 + var - 1 - np.log(var)).mean(), rel=1e-5)
    assert terms["l1"].item() == pytest.approx(np.abs(x.numpy() - y.numpy()).mean(), rel=1e-5)
    expected = terms["l1"] + 0.7 * terms["perceptual"] + 0.2 * terms.get("penalty", 0) + 0.015 * terms["kl"]
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert ("penalty" in terms) == (penalty != "none")


def test_the_kl_weight_is_audioldms():
    assert ReconstructionLoss().kl_weight == pytest.approx(1000 / 65536, rel=0.02)


def test_without_a_backbone_the_perceptual_term_is_left_out():
    terms = ReconstructionLoss()(mels(), mels(seed=1), DiagonalGaussianDistribution(torch.zeros(2, 16, 8, 16)))
    assert "perceptual" not in terms
    assert terms["loss"].item() == pytest.approx((terms["l1"] + 0.1 * terms["penalty"]).item(), rel=1e-6)


def test_the_share_above_the_cap_is_told():
    x = torch.zeros(1, 1, 10, 10)
    y = x.clone()
    y[0, 0, 0, :3] = 5.5
    terms = ReconstructionLoss()(x, y, DiagonalGaussianDistribution(torch.zeros(1, 16, 2, 2)))
    assert terms["above_cap"].item() == pytest.approx(0.03)


def test_the_vae_learns_by_it():
    torch.manual_seed(0)
    vae, loss = LungVAE(**PRESETS["smoke"]["vae"]).train(), ReconstructionLoss(perceptual=Perceptual(classifier()))
    optimizer, mel, losses = torch.optim.AdamW(vae.parameters(), lr=3e-3), bands(4), []
    for _ in range(12):
        posterior = vae.encode(mel).latent_dist
        terms = loss(mel, vae.decode(posterior.sample()).sample, posterior)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(terms["loss"].item())
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in vae.parameters())
    assert np.mean(losses[-3:]) < 0.8 * losses[0]


def test_the_classifier_learns_and_shows_what_it_sees():
    model = classifier(n_types=3).train()
    mel, types = mels(12, 64) + bands(12), torch.arange(12) % 3
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(mel), types).backward()
        optimizer.step()
    model.eval()
    assert (model(mel).argmax(dim=1) == types).float().mean() > 0.9
    assert [tuple(m.shape[1:]) for m in model.features(mel)] == [(16, 64, 64), (32, 32, 32), (64, 16, 16), (64, 8, 8)]
    assert torch.allclose(model.head(model.embed(mel)), model(mel))
    assert model.embed(mel).shape == (12, 64)
