"""From events to the Conv-LSTM's tensors: the three maps against librosa and numpy, clips, the cache, and the metadata."""

from dataclasses import replace

import librosa
import numpy as np
import pandas as pd
import pytest
import scipy.fft
import torch
from corpora import write_tiny_sprsound
from lungnb.papers.convlstm_maps import clips_of, compute_maps, metadata_of, stacked_maps
from lungnb.papers.convlstm_model import INPUTS

from lungnb.data.audio import AudioBank
from lungnb.data.sprsound import read_sprsound
from lungnb.features import StackedMaps
from lungnb.papers import convlstm_maps as module

RATE = 8000


def noise(n=3, seconds=3.0, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, (n, round(RATE * seconds))).astype(np.float32))


def wheezes():
    """Tones in noise, the second followed by silence, which lies below the 80 dB of range."""
    clips = noise() * 1e-2
    clips += 0.3 * torch.sin(
        2 * torch.pi * torch.tensor([[180.0], [440], [1900]]) * torch.arange(clips.shape[1]) / RATE
    )
    clips[1, 9000:] = 0
    return clips


def front_end(size="A"):
    given = INPUTS[size]
    return StackedMaps(RATE, given.n_fft, given.hop_length, given.n_rows)


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
    for clip, ours in zip(clips.numpy(), front_end(size)(clips).numpy(), strict=True):
        assert np.abs(ours - by_librosa(clip, size)).max() < 1e-3


def test_a_batch_is_its_clips_one_by_one():
    clips, front = torch.cat([noise(), wheezes(), torch.zeros(1, 3 * RATE)]), front_end()
    assert torch.allclose(front(clips), torch.cat([front(clip[None]) for clip in clips]), atol=1e-4)


def test_silence_and_the_shortest_event_give_finite_maps():
    clips = torch.zeros(3, 3 * RATE)
    clips[1, :1008] = noise()[0, :1008]  # 0.126 s
    clips[2, 7] = 1
    stack = front_end()(clips)
    assert stack.isfinite().all()
    assert stack.half().isfinite().all()
    assert (stack[0, 0] == -100).all()


#: The second recording of a bank of two; every sample tells its place.
BANK = AudioBank(
    np.arange(-1000, 24000, dtype=np.int16),
    RATE,
    pd.Series({"other": 0, "mine": 1000}),
    pd.Series({"other": 1000, "mine": 24000}),
)


def clip(first, last, n_samples, padding="zero"):
    event = {"recording": ["mine"], "start_s": [(first + 0.5) / RATE], "end_s": [(last + 0.5) / RATE]}
    (out,) = clips_of(BANK, pd.DataFrame(event), n_samples, padding)
    assert out.dtype == np.int16
    return out.tolist()


@pytest.mark.parametrize("padding", ["zero", "repeat"])
def test_clips_have_the_events_samples(padding):
    assert clip(100, 108, 8, padding) == list(range(100, 108))  # exactly as long
    assert clip(100, 110, 8, padding) == list(range(101, 109))  # the middle
    assert clip(100, 111, 8, padding) == list(range(101, 109))
    assert clip(23000, 24000, 400, padding) == list(range(23300, 23700))  # the end of the audio


def test_a_shorter_event_is_padded_or_repeated():
    assert clip(100, 103, 8) == [100, 101, 102, 0, 0, 0, 0, 0]
    assert clip(100, 103, 8, "repeat") == [100, 101, 102, 100, 101, 102, 100, 101]
    assert clip(23999, 24100, 4) == [23999, 0, 0, 0]  # annotated past the end of the audio
    shorter_than_a_window = clip(100, 300, 24000)
    assert shorter_than_a_window == [*range(100, 300), *[0] * 23800]


def test_clips_of_many_events_are_those_of_each():
    first, length = np.array([0, 5, 900, 7]), np.array([3, 50, 1, 8])
    events = {"recording": "mine", "start_s": (first + 0.5) / RATE, "end_s": (first + length + 0.5) / RATE}
    both = clips_of(BANK, pd.DataFrame(events), 8)
    assert both.tolist() == [clip(a, a + n, 8) for a, n in zip(first, length, strict=True)]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path / "cache"))
    return read_sprsound(write_tiny_sprsound(tmp_path / "sprsound"))


@pytest.mark.parametrize("size", INPUTS)
def test_maps_of_a_corpus_are_those_of_its_events(tiny, size, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 3)
    given, stack = INPUTS[size], compute_maps(tiny, size, "zero", "cpu")
    assert stack.dtype == np.float16
    bank = module.audio_bank(tiny, RATE)
    for event, ours in zip(tiny.events.itertuples(), stack, strict=True):
        start = bank.start[event.recording]
        samples = bank.samples[start + round(event.start_s * RATE) : start + round(event.end_s * RATE)]
        padded = np.zeros(round(RATE * given.seconds))
        padded[: len(samples)] = samples / 32767
        expected = by_librosa(padded, size)
        assert np.abs(ours - expected).max() <= 1e-3 + np.spacing(np.float16(np.abs(expected).max()))


def test_maps_are_computed_once_for_each_content(tiny, monkeypatch):
    computed, compute = [], compute_maps
    monkeypatch.setattr(module, "compute_maps", lambda *a: computed.append(a[1:3]) or compute(*a))
    first = stacked_maps(tiny)
    again = stacked_maps(replace(tiny, audio_root=tiny.audio_root / "elsewhere"))  # the content is the key
    assert np.array_equal(first, again)
    assert computed == [("A", "zero")]
    assert not np.array_equal(stacked_maps(tiny, padding="repeat"), first)
    stacked_maps(tiny, "B")
    stacked_maps(replace(tiny, fingerprint="other"))
    stacked_maps(tiny, "B")
    assert computed == [("A", "zero"), ("A", "repeat"), ("B", "zero"), ("A", "zero")]


def people(n=40):
    return pd.DataFrame(
        {
            "age_years": pd.array([0.2, 16.2, 25, 18.99, 1.0, None] + [3.5] * (n - 6), dtype="Float64"),
            "sex": pd.array(["male", "female", None] + ["male"] * (n - 3), dtype="string"),
            "position": pd.array(["p1", "p2", "p3", "p4", "p5", None] + ["p3"] * (n - 6), dtype="string"),
        }
    )


def test_metadata_are_bins_and_what_is_unknown_has_the_last_row():
    indices = metadata_of(people())
    assert indices.dtype == torch.int64
    assert indices[:7, 0].tolist() == [0, 16, 18, 18, 1, 19, 3]
    assert indices[:4, 1].tolist() == [0, 1, 2, 0]
    assert indices[:7, 2].tolist() == [0, 1, 2, 3, 4, 4, 2]


def test_shuffled_metadata_are_those_of_others():
    real, shuffled = metadata_of(people()), metadata_of(people(), "shuffled", seed=1)
    assert not torch.equal(real, shuffled)
    assert sorted(real.tolist()) == sorted(shuffled.tolist())  # whole people change places
    assert torch.equal(shuffled, metadata_of(people(), "shuffled", seed=1))
    assert not torch.equal(shuffled, metadata_of(people(), "shuffled", seed=2))


def test_zeroed_metadata_are_unknown():
    assert metadata_of(people(), "zeroed").unique(dim=0).tolist() == [[19, 2, 4]]
