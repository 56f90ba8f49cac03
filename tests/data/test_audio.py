"""Audio: the same samples as librosa's, decoded once, and never half."""

import errno
import os

import librosa
import numpy as np
import pytest
import soundfile
from corpora import simulated, write_tiny

from lungnb import UserError
from lungnb.data import audio as module
from lungnb.data.audio import decode, load_audio
from lungnb.data.icbhi import read_icbhi


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path / "cache"))
    return read_icbhi(write_tiny(tmp_path / "icbhi"))


def audio(corpus, row=0):
    return corpus.audio_root / corpus.events["path"][row]


def of(decoded, recording):
    start = decoded.start[recording]
    return decoded.samples[start : start + decoded.length[recording]]


def test_samples_are_librosas_within_a_rounding_step(tiny):
    decoded = load_audio(tiny)
    for name, path in tiny.events.groupby("recording")["path"].first().items():
        sound, rate = librosa.load(tiny.audio_root / path, sr=None)
        expected = librosa.resample(sound, orig_sr=rate, target_sr=4000, res_type="soxr_vhq")
        got = of(decoded, name) / 32767
        assert len(got) == len(expected)
        assert np.abs(got - expected).max() <= 0.5 / 32767 + 1e-7


def test_second_call_reads_the_cache(tiny, monkeypatch):
    load_audio(tiny)
    files = sorted((tiny.audio_root.parent / "cache" / "audio").rglob("*.npy"))
    before = [p.stat().st_mtime_ns for p in files]
    monkeypatch.setattr(module, "decode", None)  # nothing may be decoded
    assert isinstance(load_audio(tiny).samples, np.memmap)
    assert [p.stat().st_mtime_ns for p in files] == before


def test_other_settings_or_other_content_are_others(tiny):
    plain = load_audio(tiny).samples
    assert not np.array_equal(plain, load_audio(tiny, peak_normalise=True).samples)
    assert len(load_audio(tiny, sample_rate=2000).samples) == pytest.approx(len(plain) / 2, abs=5)
    soundfile.write(audio(tiny), np.zeros(24000), 4000)
    changed = read_icbhi(tiny.audio_root)
    assert not np.array_equal(plain, load_audio(changed).samples)


def test_highpass_removes_20_hz_and_keeps_300_hz(tiny):
    t = np.arange(24000) / 4000
    soundfile.write(audio(tiny), 0.3 * np.sin(2 * np.pi * 20 * t) + 0.3 * np.sin(2 * np.pi * 300 * t), 4000)
    decoded = load_audio(read_icbhi(tiny.audio_root), highpass_hz=50)
    spectrum = np.abs(np.fft.rfft(of(decoded, "101_1b1_Al_sc_Meditron")[4000:-4000] / 32767)) / 8000
    hz = np.fft.rfftfreq(16000, 1 / 4000)
    assert spectrum[hz == 20] < 0.001
    assert spectrum[hz == 300] == pytest.approx(0.3, rel=0.01)


def test_peak_normalisation_fills_the_range(tiny):
    decoded = load_audio(tiny, peak_normalise=True)
    assert all(np.abs(of(decoded, r).astype(int)).max() == 32767 for r in decoded.start.index)
    soundfile.write(audio(tiny), np.zeros(24000), 4000)
    silent = load_audio(read_icbhi(tiny.audio_root), peak_normalise=True)
    assert not of(silent, "101_1b1_Al_sc_Meditron").any()


def test_locates_events_and_clips_those_past_the_audio(tiny):
    decoded = load_audio(tiny)
    first, length = decoded.locate(tiny.events)
    assert first[0] - decoded.start["101_1b1_Al_sc_Meditron"] == 2000
    assert length.tolist()[:2] == [8000, 13600]
    late = tiny.events.assign(end_s=tiny.events["end_s"] + 100)
    first, length = decoded.locate(late)
    assert (first + length <= (decoded.start + decoded.length)[late["recording"]].to_numpy()).all()


@pytest.mark.parametrize("rate", [4000, 8000, 22050])
def test_times_of_a_millisecond_are_not_cut_short(rate):
    """In floats 0.29 s x 8000 Hz is less than 2,320."""
    ms = np.arange(60_000)
    assert np.array_equal(module.sample_at(ms / 1000, rate), ms * rate // 1000)
    assert len(set(module.sample_at((ms + 2000) / 1000, 8000) - module.sample_at(ms / 1000, 8000))) == 1


def test_stereo_is_averaged(tmp_path):
    left = np.linspace(-0.5, 0.5, 800)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, np.zeros(800)], axis=1), 4000, subtype="FLOAT")
    assert np.allclose(decode(tmp_path / "stereo.wav", 4000), left / 2, atol=1e-6)


def nan(path):
    samples = np.zeros(24000, dtype=np.float32)
    samples[6000] = np.nan
    soundfile.write(path, samples, 4000, subtype="FLOAT")


BAD = {
    "NaN samples": (nan, ["NaN", "1.50 s", "export"]),
    "no samples": (lambda p: soundfile.write(p, np.zeros(0), 4000), ["no samples", "export"]),
    "no audio": (lambda p: p.write_bytes(b"x" * 100), ["cannot be decoded", "export"]),
}


@pytest.mark.parametrize(("spoil", "named"), BAD.values(), ids=BAD)
def test_bad_samples_are_named_and_leave_nothing(tiny, spoil, named):
    spoil(audio(tiny))
    with pytest.raises(UserError) as caught:
        load_audio(tiny)
    assert all(word in str(caught.value) for word in [audio(tiny).name, *named])
    assert not list((tiny.audio_root.parent / "cache" / "audio").rglob("*.npy"))


def test_truncated_flac_is_named(tiny):
    path = audio(tiny, 2)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # the header still promises all of it
    with pytest.raises(UserError, match=r"102_1b1_Tc_mc_AKGC417L.flac cannot be decoded"):
        load_audio(tiny)


def test_full_disk_is_one_sentence_and_keeps_earlier_audio(tiny, monkeypatch):
    first = load_audio(tiny)
    kept = first.samples.copy()

    def half_written(path, samples, **options):
        path.write_bytes(samples.tobytes()[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", half_written)
        with pytest.raises(UserError, match=r"No space left on device.*LUNGNB_CACHE") as caught:
            load_audio(tiny, peak_normalise=True)
    assert "\n" not in str(caught.value)
    assert len(list((tiny.audio_root.parent / "cache" / "audio").rglob("samples.npy"))) == 1
    assert np.array_equal(load_audio(tiny).samples, kept)
    assert np.abs(load_audio(tiny, peak_normalise=True).samples).max() == 32767


def test_audio_of_the_simulated_corpus_holds_every_recording():
    decoded = load_audio(simulated(), highpass_hz=50, peak_normalise=True)
    assert len(decoded.start) == simulated().n_recordings
    assert decoded.samples.dtype == np.int16
    assert (decoded.start.to_numpy()[1:] == decoded.length.cumsum().to_numpy()[:-1]).all()
