"""The store: what comes out is what went in, in flat memory; a killed build goes on; nothing half-written is read."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import soundfile

from lungnb import UserError
from lungnb.data.audio import decode
from lungnb.data.corpus import Corpus, validate_events
from lungnb.data.multisite import read_manifest
from lungnb.data.store import build_store, open_store

#: Samples of one simulated clip of the memory test.
SHORT = 800
_NOISE = 0.1 * np.random.default_rng(0).standard_normal(16000 + SHORT).astype(np.float32)


def noise(root: Path, row, sample_rate: int) -> np.ndarray:
    """A clip without a file: a part of one noise, which its number tells."""
    at = 7 * int(row.clip) % 16000
    return _NOISE[at : at + SHORT]


def slow_noise(root: Path, row, sample_rate: int) -> np.ndarray:
    time.sleep(0.01)
    return noise(root, row, sample_rate)


def dies(root: Path, row, sample_rate: int) -> np.ndarray:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(root: Path, row, sample_rate: int) -> np.ndarray:
    raise AssertionError("nothing may be read again")


def simulated_clips(n: int, root: Path) -> Corpus:
    name = np.arange(n).astype(str)
    frame = pd.DataFrame({"clip": name, "recording": name, "path": "-", "start_s": 0.0, "sound": "cough"})
    frame = frame.assign(sex=["male", None] * (n // 2), age_years=[43, None] * (n // 2), smoker=True)
    return Corpus("noise", validate_events(frame, frame["clip"], "", "noise"), "simulated", f"noise {n}", root)


@pytest.fixture
def real(tmp_path):
    """Six clips of four files, of which two cannot be stored; named real, as nothing says that they are simulated."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "clinic"
    folder.mkdir()
    soundfile.write(folder / "a.wav", 0.3 * rng.standard_normal(8000), 8000)
    soundfile.write(folder / "b.flac", 0.3 * rng.standard_normal((32000, 2)).clip(-3, 3), 16000)
    soundfile.write(folder / "quiet.wav", np.full(16000, 0.1), 16000)
    (folder / "broken.wav").write_bytes(b"no audio")
    lines = [
        "path,sound,patient,start_s,end_s",
        "a.wav,cough,1,,",
        "b.flac,wheeze,2,0.5,1.25",
        "b.flac,crackle,2,1.25,",
    ]
    lines += ["quiet.wav,cough,3,,", "broken.wav,cough,4,,", "a.wav,cough,1,0.5,3"]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return read_manifest(folder)


def test_clips_are_those_of_the_files(real, tmp_path):
    store = build_store(real, tmp_path / "store")
    assert store.events["clip"].tolist() == [
        f"clinic/{name}" for name in ("a.wav", "b.flac@0.5-1.25", "b.flac@1.25-end")
    ]
    pd.testing.assert_frame_equal(store.events, real.events.iloc[:3])
    whole = decode(real.audio_root / "a.wav", 16000), decode(real.audio_root / "b.flac", 16000)
    expected = [whole[0], whole[1][8000:20000], whole[1][20000:]]
    assert store.length.tolist() == [len(part) for part in expected] == [16000, 12000, 12000]
    got = store.waveforms([0, 1, 2], seconds=1.0)
    assert got.dtype == np.float32
    assert got.shape == (3, 16000)
    for row, part in zip(got, expected, strict=True):
        assert np.abs(row[: len(part)] - part / max(np.abs(part).max(), 1)).max() <= 0.5 / 32767 + 1e-7
        assert not row[len(part) :].any()


def test_what_is_left_out_is_counted_and_named(real, tmp_path):
    store = build_store(replace(real, skipped={"by the reader": 7}), tmp_path / "store")
    assert store.skipped == {
        "by the reader": 7,
        "clips left out of the store (cannot be decoded)": 1,
        "clips left out of the store (ends past its audio)": 1,
        "clips left out of the store (silent)": 1,
    }
    assert dict(store.left_out.to_numpy().tolist()) == {
        "clinic/quiet.wav": "silent",
        "clinic/broken.wav": "cannot be decoded",
        "clinic/a.wav@0.5-3.0": "ends past its audio",
    }
    assert len(store) + len(store.left_out) == len(real.events)


def test_the_origin_is_never_lost(real, tmp_path):
    store = build_store(real, tmp_path / "store")
    assert (store.name, store.origin, store.origin_text) == ("clinic", "real", "real")
    partial = build_store(replace(real, n_missing=2), tmp_path / "partial")
    assert partial.origin_text == "real, partial (4 of 6 recordings)"
    simulated = build_store(simulated_clips(10, tmp_path), tmp_path / "simulated", source=noise)
    assert (simulated.origin, open_store(tmp_path / "simulated").origin_text) == ("simulated", "simulated")


def test_any_order_of_indices_gives_those_clips(tmp_path):
    clips = simulated_clips(500, tmp_path)
    store = build_store(clips, tmp_path / "store", source=noise)
    indices = np.random.default_rng(1).permutation(500)[:99]
    got = store.waveforms(indices, SHORT / 16000)
    expected = np.stack([noise(tmp_path, row, 16000) for row in clips.events.iloc[indices].itertuples()])
    assert np.abs(got - expected).max() <= 0.5 / 32767 + 1e-7
    assert np.array_equal(store.waveforms(indices[:1], 0.01)[0], got[0, :160])  # without rng the start
    assert store.waveforms([], 0.01).shape == (0, 160)


def test_a_random_crop_lies_anywhere_in_the_clip_and_follows_the_seed(tmp_path):
    store = build_store(simulated_clips(2, tmp_path), tmp_path / "store", source=noise)
    whole = store.waveforms([1], SHORT / 16000)[0]
    crops = store.waveforms([1] * 300, 0.04, np.random.default_rng(0))
    starts = [np.flatnonzero(whole[:161] == crop[0]) for crop in crops]
    found = [
        next(int(s) for s in at if np.array_equal(whole[s : s + 640], crop))
        for at, crop in zip(starts, crops, strict=True)
    ]
    assert min(found) < 10
    assert max(found) > 150
    assert np.array_equal(crops, store.waveforms([1] * 300, 0.04, np.random.default_rng(0)))


def test_batches_stream_every_clip_once(tmp_path):
    store = build_store(simulated_clips(50, tmp_path), tmp_path / "store", source=noise)
    sizes = [len(indices) for indices, waves in store.batches(16, 0.05) if len(indices) == len(waves)]
    assert sizes == [16, 16, 16, 2]
    shuffled = np.concatenate([indices for indices, _ in store.batches(16, 0.05, np.random.default_rng(0))])
    assert sorted(shuffled) == list(range(50))
    assert list(shuffled) != list(range(50))


def test_two_processes_write_the_same_store(tmp_path):
    clips = simulated_clips(60, tmp_path)
    one = build_store(clips, tmp_path / "one", source=noise)
    two = build_store(clips, tmp_path / "two", n_processes=2, source=noise)
    everything = np.arange(60)
    assert np.array_equal(one.waveforms(everything, 0.05), two.waveforms(everything, 0.05))
    pd.testing.assert_frame_equal(one.events, two.events)
    assert one.fingerprint == two.fingerprint


def test_builds_at_the_same_time_share_the_work(tmp_path):
    read = []

    def counted(root: Path, row, sample_rate: int) -> np.ndarray:
        read.append(row.clip)
        return slow_noise(root, row, sample_rate)

    clips = simulated_clips(60, tmp_path)
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(build_store, clips, tmp_path / "store", source=counted) for _ in range(3)]
        stores = [job.result() for job in jobs]
    assert sorted(read, key=int) == clips.events["clip"].tolist()
    assert [len(store) for store in stores] == [60] * 3


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import build_store, simulated_clips, slow_noise
build_store(simulated_clips(600, Path({root!r})), Path({root!r}) / "store", source=slow_noise)
"""


@pytest.mark.train
def test_a_killed_build_leaves_nothing_half_written(tmp_path):
    """Killed for good, in the middle of writing: there is no store, and the next build starts over and is whole."""
    script = KILLED.format(tests=str(Path(__file__).parent), root=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script])
    folder = tmp_path / "store"
    try:
        while not list(tmp_path.glob(".store-*/generated/**/*.arrow")):
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    with pytest.raises(UserError, match="is no store of clips"):
        open_store(folder)
    clips = simulated_clips(600, tmp_path)
    store = build_store(clips, folder, source=noise)
    assert len(store) == 600
    whole = build_store(clips, tmp_path / "whole", source=noise)
    assert np.array_equal(store.waveforms(np.arange(600), 0.05), whole.waveforms(np.arange(600), 0.05))


def test_a_finished_store_is_not_written_again(tmp_path):
    clips = simulated_clips(40, tmp_path)
    build_store(clips, tmp_path / "store", source=noise)
    assert len(build_store(clips, tmp_path / "store", source=fail)) == 40


def test_without_a_folder_the_store_lies_in_the_cache_by_content(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path / "cache"))
    clips = simulated_clips(10, tmp_path)
    first, same = build_store(clips, source=noise), build_store(clips, source=fail)
    other = build_store(clips, sample_rate=8000, source=noise)
    some = build_store(clips.select(clips.events["sex"].notna()), source=noise)
    assert first.folder == same.folder
    assert len({first.folder, other.folder, some.folder}) == 3
    assert first.folder.parent == tmp_path / "cache" / "stores"


def test_a_process_that_dies_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"could not be built .*; run again, with fewer processes if one was") as caught:
        build_store(simulated_clips(40, tmp_path), tmp_path / "store", n_processes=2, source=dies)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def truncate(store):
    path = next((store / "audio").glob("*.arrow"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shorten(store):
    pd.read_parquet(store / "events.parquet").head(20).to_parquet(store / "events.parquet")


BAD = {
    "truncated audio": (truncate, "is damaged .*; remove it and build the store again"),
    "other events": (shorten, "holds 40 clips of 20; remove it and build"),
    "no JSON": (lambda store: (store / "store.json").write_text("{"), "is damaged .*; remove it and build the store"),
    "no audio": (lambda store: shutil.rmtree(store / "audio"), "is damaged .*; remove it and build the store again"),
    "no store": (lambda store: (store / "store.json").unlink(), "is no store of clips; make one"),
}


@pytest.mark.parametrize(("spoil", "told"), BAD.values(), ids=BAD)
def test_a_damaged_store_is_one_sentence(tmp_path, spoil, told):
    build_store(simulated_clips(40, tmp_path), tmp_path / "store", source=noise)
    spoil(tmp_path / "store")
    with pytest.raises(UserError, match=told) as caught:
        open_store(tmp_path / "store")
    assert "\n" not in str(caught.value)


def test_other_clips_are_not_put_into_a_store(tmp_path):
    build_store(simulated_clips(40, tmp_path), tmp_path / "store", source=noise)
    before = (tmp_path / "store" / "store.json").read_text()
    with pytest.raises(UserError, match="holds a store of other clips or settings; name another folder"):
        build_store(simulated_clips(42, tmp_path), tmp_path / "store", source=noise)
    assert (tmp_path / "store" / "store.json").read_text() == before


def test_clips_of_which_none_can_be_stored_are_told(real, tmp_path):
    clips = real.select(real.events["path"].isin(["quiet.wav", "broken.wav"]))
    with pytest.raises(
        UserError, match=r"No clip of clinic can be stored .*cannot be decoded.*silent.*; check the rec"
    ):
        build_store(clips, tmp_path / "store")


def anonymous_mb() -> float:
    """Memory that the process cannot give back: without the pages of mapped files, which the system drops at will."""
    memory = psutil.Process().memory_info()
    return (memory.rss - getattr(memory, "shared", 0)) / 1e6


@pytest.mark.train
def test_30_000_clips_in_flat_memory(tmp_path):
    """48 MB of samples are written and streamed while memory grows by the table of clips alone, about 0.5 kB a clip."""
    n = 30_000
    clips = simulated_clips(n, tmp_path)
    build_store(simulated_clips(2000, tmp_path), tmp_path / "warm", source=noise)
    start = anonymous_mb()
    store = build_store(clips, tmp_path / "store", source=noise)
    built, total, peak = anonymous_mb(), 0.0, 0.0
    for _, waves in store.batches(500, SHORT / 16000):
        total += float(np.abs(waves).sum(dtype=np.float64))
        peak = max(peak, anonymous_mb())
    audio_mb = sum(path.stat().st_size for path in (tmp_path / "store").glob("audio/*.arrow")) / 1e6
    assert audio_mb > 48
    assert built - start < 40
    assert peak - built < 20
    expected = sum(np.abs(_NOISE[7 * k % 16000 :][:SHORT]).sum(dtype=np.float64) for k in range(16000)) * n / 16000
    assert total == pytest.approx(expected, rel=1e-3)


def test_events_that_are_read_otherwise_are_another_store(tmp_path, monkeypatch):
    """A reader may say other words of the same files tomorrow."""
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path / "cache"))
    clips = simulated_clips(40, tmp_path)
    other = replace(clips, events=clips.events.assign(age_years=44.0))
    assert build_store(clips, source=noise).folder != build_store(other, source=noise).folder
