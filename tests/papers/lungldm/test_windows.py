"""Windows with context, and what a front end of another size and latents scaled by channel need of the runs."""

import numpy as np
import pandas as pd
import pytest
import torch

from lungnb.data.prompts import SOUNDS
from lungnb.papers.lungldm.diffusion import latent_scale
from lungnb.papers.lungldm.frontend import load_mels
from lungnb.papers.lungldm.losses import ReconstructionLoss, denoising_loss
from lungnb.papers.lungldm.pipeline import make_scheduler, scale_latents, unscale_latents
from lungnb.papers.lungldm.windows import place_windows, read_loudest, with_context
from tests.tiny_lungldm import clips, diffusion

NORMAL = "normal lung sound"


def table(*rows):
    return pd.DataFrame(rows, columns=["start", "end", "sound"])


def test_a_window_holds_its_event_and_lies_inside_the_recording():
    events = table((0.0, 0.5, NORMAL), (3.0, 3.6, NORMAL), (8.7, 9.0, NORMAL))
    windows = place_windows(events, 9.0, 2.0)
    np.testing.assert_allclose(windows, [(0.0, 2.0), (2.3, 4.3), (7.0, 9.0)], atol=0.03)


def test_it_keeps_away_from_events_of_another_type_and_not_from_normal_ones():
    events = table((3.0, 3.5, "wheeze"), (3.6, 4.2, "crackle"), (1.4, 2.9, NORMAL))
    wheeze = place_windows(events, 9.0, 2.0)[0]
    assert wheeze == pytest.approx((1.6, 3.6), abs=0.06)  # in the middle would be 2.25 to 4.25, with the crackle in it
    assert place_windows(events, 9.0, 2.0)[2][1] <= 3.0 + 0.06


def test_long_events_keep_their_length_and_short_recordings_theirs():
    assert place_windows(table((1.0, 4.0, "cough")), 9.0, 2.0) == [(1.0, 4.0)]
    assert place_windows(table((0.2, 0.5, "cough")), 1.5, 2.0) == [(0.0, 1.5)]


def test_of_a_long_event_the_loudest_part_is_read(tmp_path, monkeypatch):
    audio = np.full(64000, 0.01, np.float32)
    audio[40000:44000] = 0.5
    monkeypatch.setattr("lungnb.papers.lungldm.windows.read_clip", lambda *_: audio)
    assert np.abs(read_loudest(tmp_path, None, 16000, 1.0)).sum() > 1900
    assert len(read_loudest(tmp_path, None, 16000, 1.0)) == 16000


def test_context_takes_the_place_of_silence():
    corpus = clips()
    widened, _ = with_context(corpus, 0.64)
    assert widened.fingerprint != corpus.fingerprint
    assert list(widened.events["clip"]) == list(corpus.events["clip"])
    alone, inside = (load_mels(corpus, 0.64, context=context) for context in (False, True))
    silent = [float((mels.log_mel.float() < -11.5).all(dim=-1).float().mean()) for mels in (alone, inside)]
    assert silent[1] <= silent[0]
    assert set(inside.sound) <= set(SOUNDS)


def test_the_front_end_of_the_mels_is_that_of_what_is_fitted_to_them():
    mels = load_mels(clips(), 0.64, front_end={"hop_length": 128, "f_max": 4000.0})
    assert mels.log_mel.shape[2] == 80
    assert mels.fit_mel().config.f_max == 4000.0
    assert load_mels(clips(), 0.64).log_mel.shape[2] == 64  # another cache entry


def test_in_nats_the_weights_do_not_depend_on_the_spread_of_the_mels():
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    torch.manual_seed(0)
    x, y = torch.randn(2, 1, 16, 64), torch.randn(2, 1, 16, 64)
    posterior = DiagonalGaussianDistribution(torch.randn(2, 16, 4, 16))
    narrow, wide = (ReconstructionLoss("element", unit=s)(x / s, y / s, posterior) for s in (2.0, 6.0))
    for name in ("loss", "l1", "penalty", "kl"):
        assert narrow[name].item() == pytest.approx(wide[name].item(), rel=1e-4)
    assert narrow["l1"].item() == pytest.approx((x - y).abs().mean().item(), rel=1e-4)
    standardised = ReconstructionLoss("element")(x / 6, y / 6, posterior)
    assert standardised["penalty"] < 2 * standardised["l1"]  # nearly a second L1
    assert narrow["penalty"] > 2 * narrow["l1"]


def test_each_channel_comes_to_deviation_one_and_back():
    latents = torch.randn(50, 3, 4, 4) * torch.tensor([0.2, 1.0, 3.0])[:, None, None] + 2
    scale = latent_scale(latents, "channel")
    scaled = scale_latents(latents, scale)
    np.testing.assert_allclose(scaled.std(dim=(0, 2, 3)), 1, atol=1e-4)
    np.testing.assert_allclose(scaled.mean(dim=(0, 2, 3)), 0, atol=1e-4)
    assert torch.allclose(unscale_latents(scaled, scale), latents, atol=1e-4)
    of_all = scale_latents(latents, latent_scale(latents, "all"))
    assert of_all.std() == pytest.approx(1, abs=1e-4)
    assert of_all.std(dim=(0, 2, 3)).max() > 2 * of_all.std(dim=(0, 2, 3)).min()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weighs_steps_by_what_they_say_of_the_latents(prediction):
    noise, latents = make_scheduler("ddim", prediction), torch.randn(4, 2, 4, 4)
    step = torch.tensor([5, 300, 600, 990])

    def loss(min_snr):
        generator = torch.Generator().manual_seed(0)
        net = lambda noisy, *_: torch.zeros_like(noisy)  # noqa: E731
        return denoising_loss(net, noise, latents, None, None, generator, step, min_snr)

    snr = noise.alphas_cumprod[step] / (1 - noise.alphas_cumprod[step])
    expected = snr.clamp(max=5) / (snr + 1 if prediction == "v_prediction" else snr)
    np.testing.assert_allclose(loss(5.0) / loss(0.0), expected, rtol=1e-4)


def test_balanced_types_are_not_thinned():
    run = diffusion(balance=0.5, steps=1, batch_size=1)
    mels = run.mels()
    assert len(run.training_clips(mels)) == len(mels.rows("train"))
    assert len(diffusion(steps=1, batch_size=1).training_clips(mels)) == 1


def test_a_diffusion_scaled_by_channel_generates_with_that_scale():
    run = diffusion(standardise="channel", min_snr=5.0, balance=0.5)
    facts, config = run.result(), run.pipeline().vae.config
    assert list(config.latents_std) == facts["latents_std"]
    assert len(config.latents_std) == config.latent_channels
    assert run.generate(["A person is coughing"], steps=2).log_mels.isfinite().all()
