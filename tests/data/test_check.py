"""Counting a data set against the published counts: on a small one made here, and on the real one where it is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lungnb.core import UserError
from lungnb.data import check

DATA = Path(os.environ.get("LUNGNB_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
needs_icbhi = pytest.mark.skipif(
    not (DATA / "icbhi").is_dir(), reason=f"no real recordings: {DATA / 'icbhi'} is not there (set LUNGNB_DATA)"
)

RECORDINGS = {  # name: (side, cycles as in the annotation files, seconds of audio or None)
    "101_1b1_Al_sc_Meditron": ("train", ["0.0\t2.0\t0\t0", "2.0\t4.5\t1\t0"], 12.0),
    "101_1b2_Ar_sc_Litt3200": ("test", ["0.5\t8.9\t0\t1"], 12.0),
    "102_1b1_Tc_mc_AKGC417L": ("test", ["1.0\t3.0\t1\t1", "3.0\t5.0\t0\t0"], None),
}


@pytest.fixture
def folder(tmp_path):
    """Three recordings of two patients in the official layout; patient 101 is on both sides, 102 has no audio."""
    root = tmp_path / "icbhi"
    audio, annotations = root / "audio_and_txt_files", root / "all_annotation_txt"
    audio.mkdir(parents=True)
    annotations.mkdir()
    for name, (_, cycles, seconds) in RECORDINGS.items():
        (annotations / f"{name}.txt").write_text("\n".join(cycles))
        if seconds:
            (audio / f"{name}.txt").write_text("\n".join(cycles))
            soundfile.write(audio / f"{name}.wav", np.zeros(int(seconds * 4000)), 4000)
    (root / "official_split.txt").write_text("\n".join(f"{n}\t{side}" for n, (side, *_) in RECORDINGS.items()))
    (root / "patient_list_foldwise.txt").write_text("101 0\n102 4\n")
    return tmp_path


def here(frame):
    return frame.set_index("what")["here"]


def test_counts_of_a_small_data_set(folder):
    frame = check("icbhi", folder)
    assert list(frame.columns) == ["what", "published", "here", "agrees"]
    assert frame["what"].is_unique
    counts = here(frame)
    expected = {
        "all: recordings": 3,
        "all: patients": 2,
        "all: cycles": 5,
        "all: normal": 2,
        "all: both": 1,
        "all cycles: Litt3200": 1,
        "cycle length: max_s": 8.4,
        "cycle length: longer than 8 s": 1,
        "train: crackle": 1,
        "test: cycles": 3,
        "test: AKGC417L": 1,
        "train and test: shared patients": 1,
        "train and test: patient 156": 0,
        "fold 0: recordings": 2,
        "fold 4: AKGC417L": 1,
        "fold 4: patients": 1,
        "with audio: recordings": 2,
        "recordings annotated without audio": 1,
        "with audio: cycles": 3,
        "sample rate: max_hz": 4000,
        "recording length: min_s": 12,
    }
    assert {what: counts[what] for what in expected} == expected
    assert isinstance(counts["all: cycles"], int)  # so that it prints as 5 and not as 5.0


def test_published_counts_are_those_of_the_tables(folder):
    frame = check("icbhi", folder).set_index("what")
    assert frame.loc["all: cycles", "published"] == 6898
    assert frame.loc["train: LittC2SE", "published"] == 87
    assert not frame.loc["all: cycles", "agrees"]
    assert frame.loc["sample rate: min_hz", "agrees"]
    assert frame.loc["official list: recordings without annotation", "agrees"]


def test_one_cycle_more_is_seen(folder):
    before = here(check("icbhi", folder))
    with (folder / "icbhi/all_annotation_txt/102_1b1_Tc_mc_AKGC417L.txt").open("a") as file:
        file.write("\n5.0\t6.0\t0\t1")
    after = here(check("icbhi", folder))
    changed = {what for what in before.index if before[what] != after[what]}
    rises = {"all: cycles", "all: wheeze", "all cycles: AKGC417L", "test: cycles"}
    assert changed == rises | {"test: wheeze", "cycle length: mean_s", "cycle length: min_s"}


def test_no_fold_list_is_a_difference_and_no_failure(folder):
    (folder / "icbhi/patient_list_foldwise.txt").unlink()
    frame = check("icbhi", folder).set_index("what")
    assert frame.loc["RespireNet's fold list", "here"] == "missing"
    assert "fold 0: recordings" not in frame.index


def test_a_broken_fold_list_stops_a_run(folder):
    (folder / "icbhi/patient_list_foldwise.txt").write_text("101 0\n102 nine\n")
    frame = check("icbhi", folder)
    assert frame.attrs["stops"] == 1
    assert "patient_list_foldwise.txt, line 2" in str(frame.attrs["report"][0])
    assert frame["what"].str.contains(r"patient_list_foldwise\.txt, line 2").any()


def test_bad_audio_is_listed(folder):
    audio = folder / "icbhi/audio_and_txt_files"
    (audio / "101_1b1_Al_sc_Meditron.wav").write_bytes(b"no audio")
    soundfile.write(audio / "101_1b2_Ar_sc_Litt3200.wav", np.zeros(4000), 4000)  # its cycle ends at 8.9 s
    frame = check("icbhi", folder).set_index("what")
    assert frame.loc["audio of audio_and_txt_files/101_1b1_Al_sc_Meditron.wav", "here"] == "unreadable"
    truncated = frame.loc["audio of audio_and_txt_files/101_1b2_Ar_sc_Litt3200.wav (s)"]
    assert (truncated["published"], truncated["here"]) == ("at least 8.9", 1.0)


def test_no_audio_at_all_is_counted(folder):
    for file in (folder / "icbhi/audio_and_txt_files").glob("*.wav"):
        file.unlink()
    frame = check("icbhi", folder).set_index("what")
    assert frame.loc["with audio: recordings", "here"] == 0
    assert frame.loc["sample rate: min_hz", "here"] == "-"
    assert not frame.loc["sample rate: min_hz", "agrees"]


def test_unknown_data_set_and_missing_folder(tmp_path):
    with pytest.raises(UserError, match="icbhi"):
        check("nobody", tmp_path)
    with pytest.raises(UserError, match="lungnb data fetch icbhi"):
        check("icbhi", tmp_path)


@needs_icbhi
def test_all_real_annotations_agree_with_the_published_counts():
    frame = check("icbhi", DATA)
    about_audio = frame["what"].str.contains("audio|sample rate|recording length")
    assert (~about_audio).sum() >= 80
    assert frame.loc[~about_audio, "agrees"].all()


@needs_icbhi
def test_real_audio_is_counted_and_adds_up():
    counts = here(check("icbhi", DATA))
    assert counts["with audio: recordings"] + counts["recordings annotated without audio"] == 920
    cycles = [counts[f"with audio: {label}"] for label in ("normal", "crackle", "wheeze", "both")]
    assert sum(cycles) == counts["with audio: cycles"]
