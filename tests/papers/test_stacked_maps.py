"""The Conv-LSTM's picture of an event: three maps against librosa and numpy, of the middle of a long event or a silent rest."""

from types import SimpleNamespace

import librosa
import numpy as np
import pandas as pd
import pytest
import scipy.fft
import torch
from corpora import write_tiny_sprsound

from lungnb.classification.preprocessing import Clips, Preprocessing, plan
from lungnb.data.audio import PADDINGS, cut, plan_clips
from lungnb.data.sprsound import LABELS, read_sprsound
from lungnb.data.tasks import TASKS
from lungnb.papers.convlstm import INPUTS

RATE = 8000
INPUTS_OF_THE_PAPER = [name for name in INPUTS if name != "stretched"]


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
    return INPUTS[size].front_end(RATE)


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


@pytest.mark.parametrize("size", INPUTS_OF_THE_PAPER)
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


@pytest.mark.parametrize("size", INPUTS_OF_THE_PAPER)
def test_maps_of_a_corpus_are_those_of_its_events(tmp_path, size, monkeypatch):
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path / "cache"))
    given, corpus = INPUTS[size], TASKS["sprsound"].view(read_sprsound(write_tiny_sprsound(tmp_path / "sprsound")))
    how = Preprocessing("stacked", Clips(given.seconds, "zero", "zero", "middle"), size=size)
    audio = how.audio(corpus)
    planned = plan(audio, corpus.events, how.clips, LABELS, training=True)
    assert planned.event.tolist() == list(range(len(corpus.events)))
    stack = how.features(corpus, audio, planned).numpy()
    assert stack.dtype == np.float16
    for event, ours in zip(corpus.events.itertuples(), stack, strict=True):
        start = audio.start[event.recording]
        samples = audio.samples[start + round(event.start_s * RATE) : start + round(event.end_s * RATE)]
        padded = np.zeros(round(RATE * given.seconds))
        padded[: len(samples)] = samples / 32767
        expected = by_librosa(padded, size)
        assert np.abs(ours - expected).max() <= 1e-3 + np.spacing(np.float16(np.abs(expected).max()))


# ---- each event fills the picture


def stretched_of(clip):
    """By hand: power in bands, averaged over 76 equal parts of the event."""
    return INPUTS["stretched"].front_end(RATE)(clip, torch.tensor([clip.shape[1]]))[0]


def test_a_stretched_map_has_the_same_shape_whatever_the_length():
    waves = torch.zeros(3, 64000)
    lengths = torch.tensor([1008, 9000, 64000])
    for wave, n in zip(waves, lengths, strict=True):
        wave[:n] = noise(1, 8.0)[0, :n]
    front = INPUTS["stretched"].front_end(RATE)
    maps = front(waves, lengths)
    assert maps.shape == (3, 3, 64, 76)
    for k, n in enumerate(lengths.tolist()):  # silence behind the event leaves no trace
        assert torch.allclose(maps[k], front(waves[k : k + 1, :n], lengths[k : k + 1])[0], atol=1e-4)


def test_a_stretched_map_is_the_mean_power_of_each_part():
    given, clip = INPUTS["stretched"], wheezes()[:1, :12160]  # 304 hops and one frame more
    power = librosa.feature.melspectrogram(
        y=clip[0].numpy(), sr=RATE, n_fft=given.n_fft, hop_length=given.hop_length, n_mels=64, pad_mode="constant"
    )
    edges = [(k * 305 // 76, -(-(k + 1) * 305 // 76)) for k in range(76)]
    mean = np.stack([power[:, a:b].mean(1) for a, b in edges], axis=1)
    expected = librosa.power_to_db(mean, ref=1.0, amin=1e-10, top_db=80)
    assert np.abs(stretched_of(clip)[0].numpy() - expected).max() < 1e-2


def test_a_click_is_as_loud_in_a_long_event_as_its_share_of_the_picture():
    """The same click in an event of twice the length fills half as many frames, and is there in both."""
    for n in (8000, 16000):
        wave = 1e-4 * noise(1, 2.0)[:, :n]
        wave[0, n // 2 : n // 2 + 40] += 0.5
        loud = stretched_of(wave)[0].max(0).values
        assert loud.argmax().item() in (37, 38)
        assert loud.max() - loud.median() > 20


def test_features_of_stretched_events_know_each_length(tmp_path):
    corpus = TASKS["sprsound"].view(read_sprsound(write_tiny_sprsound(tmp_path / "sprsound")))
    how = Preprocessing("stretched", Clips(8.0, "zero", "zero", "middle"), size="stretched")
    audio, events = how.audio(corpus), corpus.events
    planned = plan(audio, events, how.clips, LABELS, training=False)
    features = how.features(corpus, audio, planned)
    first = events.iloc[[0]]
    start, n = (int(x[0]) for x in audio.locate(first))
    wave = torch.from_numpy(audio.samples[start : start + n].astype(np.float32) / 32767)[None]
    assert torch.allclose(features[0].float(), how.front_end()(wave, torch.tensor([n]))[0], atol=0.1)
