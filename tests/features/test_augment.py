"""Augmentations do what their names say to signals whose answer is known."""

import librosa
import numpy as np
import pytest
import torch

import lungnb.features as module
from lungnb.features import augment, loudness, noise, pitch, roll, shift_and_mask, speed, time_stretch, vtlp

RATE, N = 4000, 20000


def tone(*hz, n=N):
    return torch.stack([0.5 * torch.sin(2 * torch.pi * f * torch.arange(n) / RATE) for f in hz])


def peak_hz(clips, n=8192):
    """Frequency of the strongest line of the middle of each clip; a bin is 0.49 Hz."""
    middle = clips[:, (clips.shape[1] - n) // 2 :][:, :n] * torch.hann_window(n)
    return torch.fft.rfft(middle).abs().argmax(dim=1) * RATE / n


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(monkeypatch, name, value):
    """Let every clip draw `value`."""
    monkeypatch.setattr(module, name, (value, value))


@pytest.mark.parametrize("rate", [0.5, 0.8, 1.0, 1.25, 2.0])
def test_stretch_keeps_the_pitch_and_changes_the_length(rate):
    clips = tone(180, 440, 1210)
    clips[:, N // 2 :] = 0  # sounds for the first half
    stretched = time_stretch(clips, torch.full((3, 1), rate), n_samples=round(N / rate))
    assert stretched.shape == (3, round(N / rate))
    heard = (stretched.abs() > 0.1).float().mean(dim=1)  # a sine is above a fifth of its peak 87 % of the time
    assert torch.allclose(heard, torch.full((3,), 0.87 / 2), atol=0.02)
    first = stretched[:, : round(N / rate / 2) - 256]
    assert torch.allclose(peak_hz(first, 4096), torch.tensor([180.0, 440.0, 1210.0]), atol=1)


def test_stretch_by_one_changes_nothing():
    clips = torch.randn(3, N, generator=rng())
    assert torch.allclose(time_stretch(clips, torch.ones(3, 1)), clips, atol=1e-2)


@pytest.mark.parametrize("rate", [0.8, 1.25])
def test_stretch_is_librosas(rate):
    clips = torch.cat([torch.randn(2, N, generator=rng()), tone(333)])
    clips[1, 6000:9000] = 0
    stretched = time_stretch(clips, torch.full((3, 1), rate), n_samples=round(N / rate)).numpy()
    for ours, clip in zip(stretched, clips.numpy(), strict=True):
        theirs = librosa.effects.time_stretch(clip, rate=rate, n_fft=256, hop_length=64)
        # Phases are added up in another way, and the last frames are faded out differently.
        assert np.abs(ours - theirs)[:-600].max() < 0.1
        assert np.sqrt(np.mean((ours - theirs)[:-600] ** 2)) < 0.02 * ours.std()


def test_stretch_survives_silence():
    clips = tone(300)
    clips[:, 5000:9000] = 0
    for rate in (0.8, 1.25):
        stretched = time_stretch(clips, torch.tensor([[rate]]))
        assert stretched.isfinite().all()
        gap = stretched[:, round(5000 / rate) + 256 : round(9000 / rate) - 256]
        assert gap.abs().max() < 1e-3
        assert torch.allclose(peak_hz(stretched[:, round(9000 / rate) + 256 :], 2048), torch.tensor([300.0]), atol=2)
    assert not time_stretch(torch.zeros(2, N), torch.tensor([[0.8], [1.2]])).any()


def test_speed_fills_the_clip_by_repeating_it(monkeypatch):
    drawn(monkeypatch, "SPEED", 1.25)
    quiet_end = tone(300)
    quiet_end[:, :4000] = 0
    fast = speed(quiet_end, rng())
    assert fast.shape == quiet_end.shape
    held = int(N / 1.25)
    assert fast[:, :2900].abs().max() < 0.01  # 4000 silent samples last 3200 now
    assert fast[:, held + 300 : held + 2900].abs().max() < 0.01  # and come again
    assert fast[:, 3500 : held - 300].abs().max() > 0.4


@pytest.mark.parametrize("semitones", [-1.0, 1.0, 3.0])
def test_pitch_moves_a_tone_by_twelfth_roots(monkeypatch, semitones):
    drawn(monkeypatch, "PITCH_SEMITONES", semitones)
    shifted = pitch(tone(200, 500, 1300), rng())
    expected = torch.tensor([200.0, 500.0, 1300.0]) * 2 ** (semitones / 12)
    assert torch.allclose(peak_hz(shifted), expected, atol=1)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_vtlp_scales_a_tone_and_keeps_the_ends_of_the_axis(monkeypatch, factor):
    drawn(monkeypatch, "VTLP", factor)
    warped = vtlp(tone(200, 500, 1000, 1300), rng())
    # An output band is read at `factor` times its frequency, so a tone is heard at its frequency over the factor.
    assert torch.allclose(peak_hz(warped), torch.tensor([200.0, 500.0, 1000.0, 1300.0]) / factor, atol=4)
    assert warped.square().mean() == pytest.approx(0.125, rel=0.3)
    assert 1900 < peak_hz(vtlp(tone(1990), rng())) <= 2000


def test_vtlp_by_one_changes_nothing(monkeypatch):
    drawn(monkeypatch, "VTLP", 1.0)
    clips = torch.randn(3, N, generator=rng())
    assert torch.allclose(vtlp(clips, rng()), clips, atol=1e-2)


def test_noise_keeps_its_ratio():
    clips = tone(*[300] * 200)
    added = noise(clips, rng()) - clips
    ratio = 10 * torch.log10(clips.square().mean(1) / added.square().mean(1))
    low, high = module.NOISE_SNR_DB
    assert ratio.min() > low - 0.3
    assert ratio.max() < high + 0.3
    assert ratio.max() - ratio.min() > 0.8 * (high - low)
    assert not noise(torch.zeros(2, 100), rng()).any()


def test_loudness_is_one_gain_per_clip_in_its_range():
    clips = tone(*[300] * 100)
    gain = loudness(clips, rng())[:, 1:100] / clips[:, 1:100]
    assert (gain.std(dim=1) < 1e-3).all()
    assert gain.min() >= 0.5 - 1e-6
    assert gain.max() <= 2 + 1e-6
    assert gain.max() - gain.min() > 1.2


def test_roll_is_circular():
    clips, offset = torch.randn(4, 50, generator=rng()), torch.tensor([0, 1, 25, 49])
    for rolled, clip, k in zip(roll(clips, offset), clips, offset.tolist(), strict=True):
        assert torch.equal(rolled, torch.roll(clip, -k))


def test_nothing_happens_at_p_0():
    clips = torch.randn(8, N, generator=rng())
    assert torch.equal(augment(clips, rng(), p=0.0), clips)


def test_half_the_clips_are_changed_and_half_rolled():
    clips = torch.randn(400, 2000, generator=rng())
    before = clips.clone()
    changed = augment(clips, rng(1))
    assert torch.equal(clips, before)  # the given clips stay as they are
    same = (changed == clips).all(dim=1).float().mean()
    assert same == pytest.approx(0.25, abs=0.08)
    rolled_only = sum(torch.equal(a.sort().values, b.sort().values) for a, b in zip(changed, clips, strict=True)) / 400
    assert rolled_only == pytest.approx(0.5, abs=0.08)


def test_the_generator_decides_everything():
    clips = torch.randn(32, N, generator=rng())
    assert torch.equal(augment(clips, rng(5)), augment(clips, rng(5)))
    assert not torch.equal(augment(clips, rng(5)), augment(clips, rng(6)))


@pytest.mark.parametrize("change", [augment, noise, speed, loudness, vtlp, pitch])
def test_a_clip_does_not_hear_its_neighbours(change):
    clips = torch.randn(16, 6000, generator=rng())
    others = clips.clone()
    others[1:] = 5 * torch.randn(15, 6000, generator=rng(9))
    assert torch.allclose(change(clips, rng(2))[0], change(others, rng(2))[0], atol=1e-6)


def numbered(n=400, rows=64, frames=76):
    """Maps in which every value tells its row and frame, and none is zero."""
    return (1 + torch.arange(rows * frames, dtype=torch.float32).view(rows, frames)).expand(n, 3, rows, frames)


@pytest.mark.parametrize(("rows", "frames"), [(64, 76), (64, 79), (40, 47)])
def test_maps_are_shifted_and_masked_by_an_eighth_at_most(rows, frames):
    maps = numbered(800, rows, frames)
    before = maps.clone()
    changed = shift_and_mask(maps, rng())
    assert torch.equal(maps, before)
    one = changed[:, 0]
    assert torch.equal(one[:, None].expand_as(changed), changed)  # the channels stay together
    sounds = one != 0
    assert torch.equal(sounds, sounds.any(2)[:, :, None] & sounds.any(1)[:, None, :])
    for masked, size in ((~sounds.any(2), rows), (~sounds.any(1), frames)):
        assert (masked.sum(1).min(), masked.sum(1).max()) == (0, size // 8)
        assert ((masked[:, 1:] & ~masked[:, :-1]).sum(1) + masked[:, 0] <= 1).all()  # in one piece
    source = (one - 1).long()
    assert (source // frames == torch.arange(rows)[:, None])[sounds].all()
    shift = (torch.arange(frames) - source % frames + frames // 2) % frames - frames // 2
    low, high = shift.where(sounds, frames).amin((1, 2)), shift.where(sounds, -frames).amax((1, 2))
    assert torch.equal(low, high)  # each clip by one number
    assert (low.min(), low.max()) == (-(frames // 8), frames // 8)


def test_every_row_and_frame_can_be_masked():
    sounds = shift_and_mask(numbered(2000), rng())[:, 0] != 0
    assert (~sounds).all(2).any(0).all()
    assert (~sounds).all(1).any(0).all()


def test_shift_and_mask_draw_from_the_generator_alone():
    maps, state = numbered(32), torch.get_rng_state()
    assert torch.equal(shift_and_mask(maps, rng(5)), shift_and_mask(maps, rng(5)))
    assert not torch.equal(shift_and_mask(maps, rng(5)), shift_and_mask(maps, rng(6)))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(shift_and_mask(maps, rng(), share=0.0), maps)
