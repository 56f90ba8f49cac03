"""The mel front end of LungLDM against librosa, and the vocoders that lead back from it."""

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import chirp

from lungnb.papers.lungldm.frontend import GriffinLim, LungMel, hifigan, prepare, to_waveform
from lungnb.papers.lungldm.losses import vocoder_loss
from lungnb.papers.lungldm.networks import PRESETS

RATE = 16000
#: AudioLDM's options, and others.
MELS = {"audioldm": {}, "chest": {"f_max": 4000.0, "win_length": 512}}


def noise(n_clips=2, n_samples=10240, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, (n_clips, n_samples)).astype(np.float32))


def tones(n_samples=10240):
    t = torch.arange(n_samples) / RATE
    return torch.stack([0.4 * torch.sin(2 * torch.pi * f * t) for f in (150.0, 440.0, 2000.0)]) + 0.01 * noise(3)


@pytest.mark.parametrize("signal", [noise, lambda: 1e-3 * noise(), tones], ids=["noise", "faint", "tones"])
@pytest.mark.parametrize("name", MELS)
def test_mel_is_librosas(name, signal):
    mel, clips = LungMel(**MELS[name]), signal()
    for clip, ours in zip(clips.numpy(), mel(clips)[:, 0].numpy(), strict=True):
        expected = librosa.feature.melspectrogram(
            y=np.pad(clip, 432, mode="reflect"),
            sr=RATE,
            n_fft=1024,
            win_length=mel.config.win_length,
            hop_length=160,
            center=False,
            power=1,
            n_mels=64,
            fmin=0,
            fmax=mel.config.f_max,
        )
        assert np.abs(ours - np.log(np.maximum(expected, 1e-5)).T).max() < 1e-3


@pytest.mark.parametrize(("seconds", "frames"), [(0.64, 64), (5.12, 512), (10.24, 1024)])
def test_a_frame_each_160_samples(seconds, frames):
    assert LungMel()(torch.zeros(2, round(seconds * RATE))).shape == (2, 1, frames, 64)


def test_silence_is_the_floor():
    assert torch.allclose(LungMel()(torch.zeros(1, 1600)), torch.tensor(-11.5129))


def test_time_comes_before_frequency():
    t = np.arange(RATE) / RATE
    loudest = LungMel()(torch.from_numpy(chirp(t, 100, 1, 6000).astype(np.float32))[None])[0, 0].argmax(dim=1)
    assert len(loudest) == 100
    assert (loudest.diff() >= 0).all()
    assert loudest[5] < 10 < 50 < loudest[-5]


def test_bands_of_the_sheet_and_those_for_chest_sounds():
    counts = {}
    for name, options in MELS.items():
        peak_hz = LungMel(**options).bank.argmax(dim=0) * RATE / 1024
        counts[name] = [(peak_hz < hz).sum().item() for hz in (1000, 2000)]
    assert abs(counts["audioldm"][0] - 21) <= 1
    assert abs(counts["audioldm"][1] - 36) <= 1
    assert counts["chest"][0] > 1.25 * counts["audioldm"][0]


def test_a_short_window_places_a_crackle_better():
    clip = torch.zeros(1, 6400)
    clip[0, 3200:3280] = torch.sin(2 * torch.pi * 650 * torch.arange(80) / RATE)
    energy = [LungMel(**options)(clip).exp().sum(dim=(0, 1, 3)) for options in MELS.values()]
    spread = [(e > 0.05 * e.max()).sum() for e in energy]
    assert spread[1] < 0.75 * spread[0]


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 3000), st.integers(2, 2000), st.floats(-5, 5), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_prepared_clips_have_peak_one_half_and_no_mean(length, n_samples, offset, gain, seed):
    clip = gain * (offset + torch.from_numpy(np.random.default_rng(seed).normal(size=length)).float())
    out = prepare(clip, n_samples)
    sounds = out[: min(length, n_samples)]
    assert out.shape == (n_samples,)
    assert sounds.abs().max().item() == pytest.approx(0.5, rel=1e-4)
    assert abs(sounds.mean().item()) < 1e-3
    assert not out[length:].any()


@pytest.mark.parametrize("clip", [torch.zeros(100), torch.full((100,), 0.3), torch.empty(0)])
def test_a_silent_clip_gives_none(clip):
    assert prepare(clip, 50) is None


def test_statistics_are_numpys_and_are_saved(tmp_path):
    mel = LungMel(**MELS["chest"])
    log_mel = mel(noise(6))
    assert torch.equal(mel.standardise(log_mel), log_mel)  # as AudioLDM's VAE wants it
    mel.fit_statistics(log_mel.split(4))
    assert mel.mean.item() == pytest.approx(log_mel.numpy().mean(), rel=1e-5)
    assert mel.std.item() == pytest.approx(log_mel.numpy().std(), rel=1e-4)
    standard = mel.standardise(log_mel)
    assert standard.std().item() == pytest.approx(0.5, rel=1e-3)
    assert torch.allclose(mel.unstandardise(standard), log_mel, atol=1e-5)
    mel.save_pretrained(tmp_path)
    again = LungMel.from_pretrained(tmp_path)
    assert again.config.f_max == 4000
    assert torch.equal(again.standardise(again(noise())), mel.standardise(mel(noise())))


def test_gradients_reach_the_waveform_even_where_it_is_silent():
    clip = noise(1)
    clip[:, 5000:] = 0
    clip.requires_grad_()
    LungMel()(clip).sum().backward()
    assert clip.grad.isfinite().all()
    assert clip.grad[:, :4000].any()


@pytest.mark.parametrize("name", MELS)
def test_griffin_lim_gives_the_mel_back(name):
    mel = LungMel(**MELS[name])
    for clips in (noise(), tones()):
        log_mel = mel(clips)
        again = to_waveform(GriffinLim(mel), log_mel, clips.shape[1])
        assert again.shape == clips.shape
        assert torch.equal(again, to_waveform(GriffinLim(mel), log_mel, clips.shape[1]))  # no random phases
        assert (mel(again) - log_mel)[:, :, 2:-2].abs().median() < 0.1


def test_griffin_lim_keeps_the_time():
    n_samples = 10240
    window = torch.exp(-0.5 * ((torch.arange(n_samples) - 4000) / 500) ** 2)
    mel, clip = LungMel(), noise(1) * window
    again = to_waveform(GriffinLim(mel), mel(clip), n_samples)
    centre = [(x.square() * torch.arange(n_samples)).sum() / x.square().sum() for x in (clip, again)]
    assert abs(centre[0] - centre[1]) < 40


def small_hifigan(seed=0):
    torch.manual_seed(seed)
    return hifigan(**PRESETS["smoke"]["vocoder"])


@torch.no_grad()
def test_the_hifigan_returns_32_samples_too_many_and_they_are_cut():
    vocoder, log_mel = small_hifigan(), LungMel()(noise())
    assert vocoder(log_mel[:, 0]).shape == (2, 10240 + 32)
    assert to_waveform(vocoder, log_mel, 10240).shape == (2, 10240)


def test_the_small_vocoder_learns():
    vocoder, mel, clips = small_hifigan(), LungMel(), tones()
    optimizer = torch.optim.AdamW(vocoder.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        loss = vocoder_loss(vocoder, mel, clips).mean()
        loss.backward()
        if not losses:
            assert all(p.grad.any() for p in vocoder.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]
