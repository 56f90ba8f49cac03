"""A data set joins with one reader and one entry in DATASETS: it is loaded, remembered, fingerprinted, split and prompted for."""

import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import soundfile

from lungnb import UserError
from lungnb.data import DATASETS, DataSet, load_corpus
from lungnb.data.corpus import Corpus, fingerprint_files, origin_of, validate_events
from lungnb.data.splits import make_split


def read_toy(folder):
    """20 patients, one .wav each, called patient_label.wav."""
    paths = sorted(folder.glob("*.wav"))
    names = pd.Series([path.stem for path in paths], dtype="string")
    parts = names.str.split("_")
    frame = pd.DataFrame({"recording": names, "patient": parts.str[0], "label": parts.str[1]})
    frame = frame.assign(path=[path.name for path in paths], start_s=0.0, end_s=0.5, sound="cough")
    return Corpus(
        name="toy",
        events=validate_events(frame, frame["path"], "rename the file", "toy"),
        origin=origin_of(folder),
        fingerprint=fingerprint_files(paths, folder),
        audio_root=folder,
    )


@pytest.fixture
def toy(tmp_path, monkeypatch):
    module = ModuleType("toy_reader")
    module.read_toy = read_toy
    monkeypatch.setitem(sys.modules, "toy_reader", module)
    monkeypatch.setitem(DATASETS, "toy", DataSet("toy_reader:read_toy", sounds=True))
    (tmp_path / "toy").mkdir()
    for k in range(20):
        soundfile.write(tmp_path / "toy" / f"{k}_{'ill' if k % 2 else 'well'}.wav", np.zeros(4000), 8000)
    return tmp_path


def test_one_reader_and_one_entry_are_enough(toy):
    corpus = load_corpus("toy", toy)
    assert (corpus.name, corpus.origin_text, corpus.n_recordings) == ("toy", "real", 20)
    assert load_corpus("toy", toy).fingerprint == corpus.fingerprint
    split = make_split(corpus.events, "patients")
    assert split.shared == ()
    assert set(split.part) == {"train", "validation", "test"}
    some = corpus.select(split.part == "test")
    assert some.fingerprint != corpus.fingerprint
    soundfile.write(toy / "toy" / "0_well.wav", np.ones(4000), 8000)
    assert load_corpus("toy", toy).fingerprint != corpus.fingerprint


def test_prompts_can_be_made_for_it(toy):
    prompted = load_corpus("prompted", toy)
    assert prompted.name == "toy"
    assert set(prompted.events["patient"]) == {f"toy/{k}" for k in range(20)}


def test_what_its_folder_lacks_is_said(toy):
    (toy / "toy").rename(toy.parent / "elsewhere")
    with pytest.raises(UserError, match=r"holds no toy/ \(found: nothing\); copy it there"):
        load_corpus("toy", toy)
    with pytest.raises(UserError, match=r"no data set 'tou'; known are icbhi, .*toy"):
        load_corpus("tou", toy)
