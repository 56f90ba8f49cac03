"""The audio bank: the same samples as librosa's, written once, and never half."""

import errno
import os
from dataclasses import replace

import librosa
import numpy as np
import pytest
import soundfile
from corpora import simulated, write_tiny

from lungnb import UserError
from lungnb.data import audio as module
from lungnb.data.audio import audio_bank, decode
from lungnb.data.icbhi import read_icbhi


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path / "cache"))
    return read_icbhi(write_tiny(tmp_path / "icbhi"))


def audio(corpus, row=0):
    return corpus.audio_root / corpus.events["path"][row]


def of(bank, recording):
    start = bank.start[recording]
    return bank.samples[start : start + bank.length[recording]]


def test_samples_are_librosas_within_a_rounding_step(tiny):
    bank = audio_bank(tiny)
    for name, path in tiny.events.groupby("recording")["path"].first().items():
        sound, rate = librosa.load(tiny.audio_root / path, sr=None)
        expected = librosa.resample(sound, orig_sr=rate, target_sr=4000, res_type="soxr_vhq")
        got = of(bank, name) / 32767
        assert len(got) == len(expected)
        assert np.abs(got - expected).max() <= 0.5 / 32767 + 1e-7


def test_second_call_reads_the_cache(tiny, monkeypatch):
    audio_bank(tiny)
    files = sorted((tiny.audio_root.parent / "cache" / "banks").rglob("*.*"))
    before = [p.stat().st_mtime_ns for p in files]
    monkeypatch.setattr(module, "decode", None)  # nothing may be decoded
    assert isinstance(audio_bank(tiny).samples, np.memmap)
    assert [p.stat().st_mtime_ns for p in files] == before


def test_other_settings_or_other_content_are_other_banks(tiny):
    plain = audio_bank(tiny).samples
    assert not np.array_equal(plain, audio_bank(tiny, peak_normalise=True).samples)
    assert len(audio_bank(tiny, sample_rate=2000).samples) == pytest.approx(len(plain) / 2, abs=5)
    soundfile.write(audio(tiny), np.zeros(24000), 4000)
    changed = read_icbhi(tiny.audio_root)
    assert not np.array_equal(plain, audio_bank(changed).samples)


def test_highpass_removes_20_hz_and_keeps_300_hz(tiny):
    t = np.arange(24000) / 4000
    soundfile.write(audio(tiny), 0.3 * np.sin(2 * np.pi * 20 * t) + 0.3 * np.sin(2 * np.pi * 300 * t), 4000)
    bank = audio_bank(read_icbhi(tiny.audio_root), highpass_hz=50)
    spectrum = np.abs(np.fft.rfft(of(bank, "101_1b1_Al_sc_Meditron")[4000:-4000] / 32767)) / 8000
    hz = np.fft.rfftfreq(16000, 1 / 4000)
    assert spectrum[hz == 20] < 0.001
    assert spectrum[hz == 300] == pytest.approx(0.3, rel=0.01)


def test_peak_normalisation_fills_the_range(tiny):
    bank = audio_bank(tiny, peak_normalise=True)
    assert all(np.abs(of(bank, r).astype(int)).max() == 32767 for r in bank.start.index)
    soundfile.write(audio(tiny), np.zeros(24000), 4000)
    silent = audio_bank(read_icbhi(tiny.audio_root), peak_normalise=True)
    assert not of(silent, "101_1b1_Al_sc_Meditron").any()


def test_locates_events_and_clips_those_past_the_audio(tiny):
    bank = audio_bank(tiny)
    first, length = bank.locate(tiny.events)
    assert first[0] - bank.start["101_1b1_Al_sc_Meditron"] == 2000
    assert length.tolist()[:2] == [8000, 13600]
    late = tiny.events.assign(end_s=tiny.events["end_s"] + 100)
    first, length = bank.locate(late)
    assert (first + length <= (bank.start + bank.length)[late["recording"]].to_numpy()).all()


def test_stereo_is_averaged(tmp_path):
    left = np.linspace(-0.5, 0.5, 800)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, np.zeros(800)], axis=1), 4000, subtype="FLOAT")
    assert np.allclose(decode(tmp_path / "stereo.wav", 4000), left / 2, atol=1e-6)


def nan(path):
    samples = np.zeros(24000, dtype=np.float32)
    samples[6000] = np.nan
    soundfile.write(path, samples, 4000, subtype="FLOAT")


BAD = {
    "NaN samples": (nan, ["NaN", "1.50 s", "repair"]),
    "no samples": (lambda p: soundfile.write(p, np.zeros(0), 4000), ["no samples", "fetch"]),
    "no audio": (lambda p: p.write_bytes(b"x" * 100), ["cannot be decoded", "fetch"]),
}


@pytest.mark.parametrize(("spoil", "named"), BAD.values(), ids=BAD)
def test_bad_samples_are_named_and_leave_no_bank(tiny, spoil, named):
    spoil(audio(tiny))
    with pytest.raises(UserError) as caught:
        audio_bank(tiny)
    assert all(word in str(caught.value) for word in [audio(tiny).name, *named])
    assert list((tiny.audio_root.parent / "cache" / "banks").iterdir()) == []


def test_truncated_flac_is_named(tiny):
    path = audio(tiny, 2)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # the header still promises all of it
    with pytest.raises(UserError, match=r"102_1b1_Tc_mc_AKGC417L.flac cannot be decoded"):
        audio_bank(tiny)


def test_full_disk_is_one_sentence_and_keeps_earlier_banks(tiny, monkeypatch):
    first = audio_bank(tiny)
    kept = first.samples.copy()

    def half_written(path, samples):
        path.write_bytes(samples.tobytes()[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", half_written)
        with pytest.raises(UserError, match=r"No space left on device.*LUNGNB_CACHE") as caught:
            audio_bank(tiny, peak_normalise=True)
    assert "\n" not in str(caught.value)
    assert len(list((tiny.audio_root.parent / "cache" / "banks").iterdir())) == 1
    assert np.array_equal(audio_bank(tiny).samples, kept)
    assert np.abs(audio_bank(tiny, peak_normalise=True).samples).max() == 32767


def test_two_processes_making_one_bank_agree(tiny, monkeypatch):
    """Another process finishes the same bank while this one writes: its result stays."""
    write = module._write

    def slow(folder, *args):
        write(folder, *args)
        monkeypatch.setattr(module, "_write", write)
        audio_bank(tiny)

    monkeypatch.setattr(module, "_write", slow)
    assert len(audio_bank(tiny).samples) == audio_bank(replace(tiny)).length.sum()


def test_bank_of_the_simulated_corpus_holds_every_recording():
    bank = audio_bank(simulated(), highpass_hz=50, peak_normalise=True)
    assert len(bank.start) == simulated().n_recordings
    assert bank.samples.dtype == np.int16
    assert (bank.start.to_numpy()[1:] == bank.length.cumsum().to_numpy()[:-1]).all()
