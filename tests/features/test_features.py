"""Front ends against librosa, matplotlib, torch and numpy, and the golden checks of blank region clipping."""

import librosa
import matplotlib
import numpy as np
import pytest
import torch
from corpora import simulated
from scipy.signal import butter, sosfilt
from torch.nn.functional import interpolate

from lungnb.data.audio import cut, load_audio, plan_clips
from lungnb.features import LogMel
from lungnb.papers.respirenet import MelImage, blank_rows, stretch_below

RATE = 4000


def noise(n_clips=4, seconds=7, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, (n_clips, seconds * RATE)).astype(np.float32))


def lung_sounds():
    bank = load_audio(simulated(), highpass_hz=50, peak_normalise=True)
    events = simulated().events[::40]
    return torch.from_numpy(cut(bank.samples, plan_clips(bank, events, 7.0))).float() / 32767


SIGNALS = {
    "noise": noise,
    "faint noise": lambda: 1e-4 * noise(),
    "lung sounds": lung_sounds,
    "a tone": lambda: torch.sin(2 * torch.pi * 440 * torch.arange(28000) / RATE)[None],
    "a click": lambda: torch.nn.functional.one_hot(torch.tensor([9000]), 28000).float(),
}


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
def test_log_mel_is_librosas(signal):
    """To 4e-6 of the loudest amplitude, some tens of roundings in single precision; so quiet pixels differ by more decibels."""
    clips = signal()
    for clip, ours in zip(clips.numpy(), LogMel()(clips).numpy(), strict=True):
        power = librosa.feature.melspectrogram(
            y=clip, sr=RATE, n_fft=256, hop_length=128, n_mels=64, fmin=50, fmax=2000
        )
        expected = librosa.power_to_db(power, ref=np.max)
        assert np.abs(10 ** (ours / 20) - 10 ** (expected / 20)).max() < 4e-6
        assert np.abs(ours - expected).max() < 5e-3


@pytest.mark.parametrize(("seconds", "frames", "shape"), [(8, 251, (192, 753)), (7, 219, (192, 657))])
def test_shapes_of_the_paper(seconds, frames, shape):
    front, clips = MelImage(), noise(2, seconds)
    assert front.levels(clips).shape == (2, 64, frames)
    assert front(clips).shape == (2, 3, *shape)
    assert MelImage("paper")(clips).shape == (2, 3, *shape)


def test_levels_span_0_to_255_with_high_frequencies_on_top():
    tone = torch.sin(2 * torch.pi * 1900 * torch.arange(28000) / RATE)[None] + 0.01 * noise(1)
    levels = MelImage().levels(tone)
    assert (levels.min(), levels.max()) == (0, 255)
    assert levels[0].float().mean(1).argmax() < 5
    assert (
        MelImage().levels(torch.sin(2 * torch.pi * 100 * torch.arange(28000) / RATE)[None])[0].float().mean(1).argmax()
        > 55
    )


@pytest.mark.parametrize("zoom", [1, 3])
@pytest.mark.parametrize("clipping", ["none", "paper", "code"])
def test_a_constant_clip_gives_a_finite_image(clipping, zoom):
    image = MelImage(clipping, zoom)(torch.zeros(2, 28000))
    assert image.isfinite().all()
    assert not MelImage().levels(torch.zeros(2, 28000)).any()


def test_magma_is_darker_than_10_up_to_level_14():
    colours = matplotlib.colormaps["magma"](np.arange(256, dtype=np.uint8))[:, :3] * 255
    grey = colours.astype(np.uint8) @ [0.299, 0.587, 0.114]
    assert np.flatnonzero(grey < 10).tolist() == list(range(15))


def test_colours_are_matplotlibs():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    image = MelImage(zoom=1).colour(levels)[0].permute(1, 2, 0).numpy()
    assert np.allclose(image, matplotlib.colormaps["magma"](levels[0].numpy())[..., :3], atol=1e-6)


def test_zoom_is_torchs_bilinear():
    levels = MelImage().levels(noise(2))
    small, large = MelImage(zoom=1).colour(levels), MelImage(zoom=3).colour(levels)
    assert torch.allclose(large, interpolate(small.contiguous(), scale_factor=3, mode="bilinear"), atol=1e-5)


def test_image_is_the_standardised_colours():
    front, levels = MelImage("paper", zoom=2), MelImage().levels(lung_sounds())
    front.mean.copy_(torch.tensor([0.5, 0.2, 0.4]))
    front.std.copy_(torch.tensor([0.2, 0.1, 0.07]))
    expected = (front.colour(levels) - front.mean[:, None, None]) / front.std[:, None, None]
    assert torch.allclose(front.image(levels), expected, atol=1e-5)


def under_1_khz():
    low = sosfilt(butter(8, 700, fs=RATE, output="sos"), noise(3).numpy()) + 1e-7 * noise(3, seed=1).numpy()
    return MelImage().levels(torch.from_numpy(low.astype(np.float32)))


def test_clipping_removes_what_is_above_the_sound():
    levels = under_1_khz()
    centres = librosa.mel_frequencies(n_mels=66, fmin=50, fmax=2000)[1:-1][::-1]
    for rows in blank_rows(levels, "paper").tolist():
        assert 800 < centres[rows] < 1500
    assert (blank_rows(levels, "code") == blank_rows(levels, "paper") + 1).all()


def test_white_noise_loses_nothing_in_the_paper_and_one_row_in_the_code():
    levels = MelImage().levels(noise(5))
    assert blank_rows(levels, "paper").tolist() == [0] * 5
    assert blank_rows(levels, "code").tolist() == [1] * 5
    assert torch.equal(MelImage("paper").colour(levels), MelImage("paper").colour(levels))
    assert torch.allclose(MelImage("paper").colour(levels), MelImage().colour(levels), atol=1e-5)
    assert not torch.allclose(MelImage("code").colour(levels), MelImage().colour(levels), atol=0.01)


def test_a_blank_image_is_left_alone():
    blank = torch.full((1, 64, 219), 14, dtype=torch.uint8)
    assert blank_rows(blank, "paper").item() == blank_rows(blank, "code").item() == 0
    last = blank.clone()
    last[:, 63] = 200  # only the lowest row sounds: the code would cut everything, so it cuts nothing
    assert blank_rows(last, "paper").item() == 63
    assert blank_rows(last, "code").item() == 0


def test_a_row_is_blank_from_four_fifths_on():
    levels = torch.full((1, 4, 100), 200, dtype=torch.uint8)
    levels[0, 0, :80] = 14
    assert blank_rows(levels, "paper").item() == 1
    levels[0, 0, 79] = 15
    assert blank_rows(levels, "paper").item() == 0


def test_stretch_is_interpolation_of_the_cut_image():
    image = torch.rand(4, 3, 48, 20)
    stretched = stretch_below(image, torch.tensor([0, 1, 17, 47]))
    for out, whole, cut_rows in zip(stretched, image, [0, 1, 17, 47], strict=True):
        expected = interpolate(whole[None, :, cut_rows:], size=(48, 20), mode="bilinear")[0]
        assert torch.allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("zoom", [1, 3])
@pytest.mark.parametrize("clipping", ["paper", "code"])
def test_clipping_is_interpolation_of_the_cut_colours(clipping, zoom):
    levels = torch.cat([under_1_khz(), MelImage().levels(noise(1))])
    whole = MelImage(zoom=zoom).colour(levels)
    for image, colours, rows in zip(
        MelImage(clipping, zoom).colour(levels), whole, blank_rows(levels, clipping).tolist(), strict=True
    ):
        expected = interpolate(colours[None, :, zoom * rows :], size=colours.shape[1:], mode="bilinear")[0]
        assert torch.allclose(image, expected, atol=1e-5)


def test_clipping_is_exact_under_bfloat16():
    levels = under_1_khz()
    front = MelImage("paper")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = front.image(levels)
    assert torch.equal(image, front.image(levels))


def test_statistics_are_numpys():
    front = MelImage("paper", zoom=2)
    levels = torch.cat([under_1_khz(), MelImage().levels(noise(3))])
    front.fit_statistics(levels.split(2))
    pixels = front.colour(levels).double().numpy()
    assert np.allclose(front.mean, pixels.mean(axis=(0, 2, 3)), atol=1e-6)
    assert np.allclose(front.std, pixels.std(axis=(0, 2, 3)), atol=1e-6)
    image = front.image(levels)
    assert image.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert (image.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-3
