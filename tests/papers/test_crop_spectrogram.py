"""The paediatric paper's inputs against librosa, which its authors used."""

import librosa
import numpy as np
import pytest
import torch

from lungnb.papers.pediatric import CropSpectrogram

RATE = 22050


def crop(seed=0):
    """5 s of noise that fades, so that the 80 dB of range end somewhere inside."""
    fade = np.geomspace(1, 1e-6, 5 * RATE)
    return (np.random.default_rng(seed).normal(size=5 * RATE) * fade).astype(np.float32)


def reference(kind, y):
    if kind == "stft":
        spectrum = librosa.stft(y, n_fft=2048, hop_length=512, pad_mode="constant")
        return librosa.amplitude_to_db(np.abs(spectrum), ref=1, amin=1e-5, top_db=80)[:150]
    mel = librosa.feature.melspectrogram(y=y, sr=RATE, n_fft=2048, hop_length=512, pad_mode="constant")
    if kind == "mel":
        return librosa.power_to_db(mel, ref=np.max)[:50]
    return librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=32)


@pytest.mark.parametrize(("kind", "n_rows"), [("stft", 150), ("mel", 50), ("mfcc", 32)])
def test_inputs_are_librosas(kind, n_rows):
    ours = CropSpectrogram(kind)(torch.from_numpy(crop())[None])[0].numpy()
    assert ours.shape == (n_rows, 216)
    assert np.allclose(ours, reference(kind, crop()), atol=2e-3)


@pytest.mark.parametrize("kind", ["stft", "mel", "mfcc"])
def test_a_batch_is_its_crops_one_by_one(kind):
    front, batch = CropSpectrogram(kind), torch.from_numpy(np.stack([crop(k) * 10.0**-k for k in range(3)]))
    together = front(batch)
    assert all(torch.allclose(together[k], front(batch[k : k + 1])[0], atol=1e-4) for k in range(3))


def test_silence_is_finite():
    assert torch.isfinite(CropSpectrogram("mel")(torch.zeros(1, 5 * RATE))).all()


def test_the_rows_end_where_the_paper_says():
    tone = torch.sin(2 * torch.pi * 1600 * torch.arange(5 * RATE) / RATE)[None]
    assert CropSpectrogram("stft")(tone)[0].mean(1).argmax() == 149
