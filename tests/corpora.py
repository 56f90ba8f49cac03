"""Small corpora for the tests: some written by hand, one simulated, and the real ones where they are at hand."""

import functools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lungnb.data import load_corpus
from lungnb.data.corpus import Corpus

#: file stem -> suffix, sample rate, sample type, seconds, name in the split list, lines of the annotation
TINY = {
    "101_1b1_Al_sc_LittC2SE": (".wav", 4000, "PCM_16", 6.0, "101_1b1_Al_sc_Meditron", ["0.5 2.5 0 0", "2.5 5.9 1 0"]),
    "102_1b1_Tc_mc_AKGC417L": (".flac", 44100, "PCM_24", 3.0, "102_1b1_Tc_mc_AKGC417L", ["0 1.5 0 1", "1.5 3.0 1 1"]),
    "103_2b2_Lr_mc_LittC2SE": (".wav", 8000, "PCM_16", 2.0, "103_2b2_Lr_mc_LittC2SE", ["0.1 1.9 0 0"]),
}


def write_tiny(folder: Path) -> Path:
    """Three recordings in the official layout: mixed rates and depths, wav and flac, and one filed under an older device."""
    audio = folder / "audio_and_txt_files"
    audio.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for stem, (suffix, rate, subtype, seconds, _, lines) in TINY.items():
        samples = 0.1 * rng.standard_normal(round(rate * seconds))
        soundfile.write(audio / (stem + suffix), samples, rate, subtype=subtype)
        (audio / (stem + ".txt")).write_text("".join(line.replace(" ", "\t") + "\n" for line in lines))
    sides = zip([row[4] for row in TINY.values()], ["train", "train", "test"], strict=True)
    (folder / "ICBHI_challenge_train_test.txt").write_text("".join(f"{name}\t{side}\n" for name, side in sides))
    (folder / "patient_list_foldwise.txt").write_text("101 0\n102 4\n103 1\n")
    (folder / "patient_diagnosis.csv").write_text("ID,CLASS\n101,URTI\n102,COPD\n103,Healthy\n")
    (folder / "demographic_info.txt").write_text("101 3 F NA 19 99\n102 75 M 33 NA NA\n103 NA NA NA NA NA\n")
    return folder


#: name -> folders of audio and annotation, suffix, seconds, key and label of the recording, events: start, end, type
TINY_SPRSOUND = {
    "101_8.1_1_p1_1": (
        ("train2022_wav", "train2022_json"),
        (".wav", 3.0),
        ("record_annotation", "CAS"),
        [("500", "1500", "Wheeze"), ("1600", "2900", "Wheeze+Crackle")],
    ),
    "101_8.1_1_p2_2": (
        ("train2022_wav", "train2022_json"),
        (".flac", 2.0),
        ("recording_annotation", "CAS & DAS"),
        [(0, 700, "Fine Crackle"), (812.5, 2000, "Wheeze & Crackle")],
    ),
    "102_0.2_0_p4_3": (("train2022_wav", "train2022_json"), (".wav", 1.0), ("record_annotation", "Poor Quality"), []),
    "103_15_0_p5_4": (
        ("test2022_wav", "test2022_json/inter_test_json"),
        (".flac", 2.0),
        ("record_annotation", "Normal"),
        [("100", "1100", "Normal")],
    ),
    "101_8.3_1_p8_5": (
        ("test2022_wav", "test2022_json/intra_test_json"),
        (".wav", 4.0),
        ("record_annotation", "CAS & DAS"),
        [(0, 1000, "Rhonchi"), (1000, 2000, "Stridor"), (2000, 4000, "Coarse Crackle")],
    ),
}


def write_tiny_sprsound(folder: Path) -> Path:
    """Five recordings in the official layout: times as text and as numbers, both record keys, wav and flac, all three parts."""
    rng = np.random.default_rng(0)
    for name, (places, (suffix, seconds), (key, label), events) in TINY_SPRSOUND.items():
        audio, annotations = (folder / "BioCAS2022" / place for place in places)
        audio.mkdir(parents=True, exist_ok=True)
        annotations.mkdir(parents=True, exist_ok=True)
        soundfile.write(audio / (name + suffix), 0.1 * rng.standard_normal(round(8000 * seconds)), 8000)
        found = [{"start": start, "end": end, "type": kind} for start, end, kind in events]
        (annotations / (name + ".json")).write_text(json.dumps({key: label, "event_annotation": found}))
    return folder


def edit(name: str, old: str, new: str):
    """A change of a folder: `old` becomes `new` in its file `name`."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def put(name: str, content: bytes):
    """A change of a folder: its file `name` holds `content`."""
    return lambda folder: (folder / name).write_bytes(content)


@functools.cache
def simulated() -> Corpus:
    """24 simulated patients, written once into the tests' cache."""
    return load_corpus("icbhi", n_patients=24)


def real_data(name: str = "icbhi") -> Path:
    """The folder of real recordings: LUNGNB_DATA, or shared/data beside the repository. Skips the test without `name`/."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LUNGNB_DATA") or beside)
    if not (folder / name).is_dir():
        pytest.skip(f"no real recordings here: set LUNGNB_DATA to a folder that holds {name}/")
    return folder
