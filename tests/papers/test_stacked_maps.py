"""The Conv-LSTM's picture of an event: three maps against librosa and numpy, of the middle of a long event or a silent rest."""

from types import SimpleNamespace

import librosa
import numpy as np
import pandas as pd
import pytest
import scipy.fft
import torch
from corpora import write_tiny_sprsound

from lungnb.classification.dataset import Clips, features_of, front_end, plan
from lungnb.data.audio import PADDINGS, cut, load_audio, plan_clips
from lungnb.data.sprsound import LABELS, read_sprsound
from lungnb.data.tasks import TASKS
from lungnb.papers.convlstm import INPUTS

RATE = 8000


def noise(n=3, seconds=3.0, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, (n, round(RATE * seconds))).astype(np.float32))


def wheezes():
    """Tones in noise, the second followed by silence, which lies below the 80 dB of range."""
    clips = noise() * 1e-2
    hz = torch.tensor([[180.0], [440], [1900]])
    clips += 0.3 * torch.sin(2 * torch.pi * hz * torch.arange(clips.shape[1]) / RATE)
    clips[1, 9000:] = 0
    return clips


def stacked(size="A"):
    return front_end("stacked", RATE, size)


def by_librosa(clip, size):
    """Log-mel and MFCC by librosa; LFCC from its STFT by numpy, with triangles between 0 and 4 kHz drawn by interpolation."""
    given = INPUTS[size]
    stft = {"n_fft": given.n_fft, "hop_length": given.hop_length}
    db = {"ref": 1.0, "amin": 1e-10, "top_db": 80}
    clip = clip.astype(np.float64)
    mel = librosa.power_to_db(librosa.feature.melspectrogram(y=clip, sr=RATE, n_mels=given.n_rows, **stft), **db)
    mfcc = librosa.feature.mfcc(S=mel, n_mfcc=given.n_rows, dct_type=2, norm="ortho")
    power = np.abs(librosa.stft(clip, **stft)) ** 2
    corners, hz = np.linspace(0, RATE / 2, given.n_rows + 2), np.linspace(0, RATE / 2, len(power))
    bank = np.stack([np.interp(hz, corners[k : k + 3], [0, 1, 0], left=0, right=0) for k in range(given.n_rows)])
    level = 10 * np.log10(np.maximum(bank @ power, 1e-10))
    lfcc = scipy.fft.dct(np.maximum(level, level.max() - 80), type=2, axis=0, norm="ortho")
    return np.stack([mel, mfcc, lfcc])


@pytest.mark.parametrize("size", INPUTS)
@pytest.mark.parametrize("signal", [noise, wheezes])
def test_the_maps_are_librosas(signal, size):
    clips = signal()
    for clip, ours in zip(clips.numpy(), stacked(size)(clips).numpy(), strict=True):
        assert np.abs(ours - by_librosa(clip, size)).max() < 1e-3


def test_a_batch_is_its_clips_one_by_one():
    clips, front = torch.cat([noise(), wheezes(), torch.zeros(1, 3 * RATE)]), stacked()
    assert torch.allclose(front(clips), torch.cat([front(clip[None]) for clip in clips]), atol=1e-4)


def test_silence_and_the_shortest_event_give_finite_maps():
    clips = torch.zeros(3, 3 * RATE)
    clips[1, :1008] = noise()[0, :1008]  # 0.126 s
    clips[2, 7] = 1
    stack = stacked()(clips)
    assert stack.isfinite().all()
    assert stack.half().isfinite().all()
    assert (stack[0, 0] == -100).all()


def clips_of(events, n_samples, padding="zero"):
    """Clips of events (first and last sample) of an audio whose samples tell their places."""
    table = pd.DataFrame(events, columns=["first", "last"]).assign(recording="mine", label="normal")
    here = lambda events: (events["first"].to_numpy(), (events["last"] - events["first"]).to_numpy())  # noqa: E731
    audio = SimpleNamespace(samples=np.arange(24000, dtype=np.int16), sample_rate=RATE, locate=here)
    return cut(audio.samples, plan_clips(audio, table, n_samples / RATE, PADDINGS[padding], long="middle")).tolist()


@pytest.mark.parametrize("padding", ["zero", "repeat"])
def test_a_longer_event_is_its_middle(padding):
    found = clips_of([(100, 108), (100, 110), (100, 111), (0, 50)], 8, padding)
    assert [clip[0] for clip in found] == [100, 101, 101, 21]
    assert all(clip == list(range(clip[0], clip[0] + 8)) for clip in found)


def test_a_shorter_event_is_padded_or_repeated():
    assert clips_of([(100, 103), (900, 901)], 8) == [[100, 101, 102, *[0] * 5], [900, *[0] * 7]]
    assert clips_of([(100, 103)], 8, "repeat") == [[100, 101, 102, 100, 101, 102, 100, 101]]
    assert clips_of([(100, 300)], 24000) == [[*range(100, 300), *[0] * 23800]]  # shorter than a window of the STFT


@pytest.mark.parametrize("size", INPUTS)
def test_maps_of_a_corpus_are_those_of_its_events(tmp_path, size, monkeypatch):
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path / "cache"))
    given, corpus = INPUTS[size], TASKS["sprsound"].view(read_sprsound(write_tiny_sprsound(tmp_path / "sprsound")))
    audio = load_audio(corpus, RATE)
    planned = plan(audio, corpus.events, Clips(given.seconds, "zero", "zero", "middle"), LABELS, training=True)
    assert planned.event.tolist() == list(range(len(corpus.events)))
    stack = features_of(corpus, audio, planned, "stacked", stacked(size), (size, (1, 1))).numpy()
    assert stack.dtype == np.float16
    for event, ours in zip(corpus.events.itertuples(), stack, strict=True):
        start = audio.start[event.recording]
        samples = audio.samples[start + round(event.start_s * RATE) : start + round(event.end_s * RATE)]
        padded = np.zeros(round(RATE * given.seconds))
        padded[: len(samples)] = samples / 32767
        expected = by_librosa(padded, size)
        assert np.abs(ours - expected).max() <= 1e-3 + np.spacing(np.float16(np.abs(expected).max()))
