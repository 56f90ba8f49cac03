"""The events table refuses bad rows by file and line, and its origin is never lost."""

import hashlib

import pandas as pd
import pytest

from lungnb import UserError
from lungnb.data import corpus as corpus_module
from lungnb.data.corpus import COLUMNS, Corpus, fingerprint_files, origin_of, validate_events


@pytest.fixture
def frame():
    rows = 3
    return pd.DataFrame(
        {
            "recording": ["a", "a", "b"],
            "path": ["a.wav", "a.wav", "b.wav"],
            "start_s": [0.0, 1, 0],
            "end_s": [1.0, 2, 1],
            "label": ["normal"] * rows,
            "patient": [1, 1, 2],
            "age_years": [3, 3, None],
            "sex": ["female", "female", None],
            "extra": [0] * rows,
        }
    )


WHERE = pd.Series(["a.txt, line 1", "a.txt, line 2", "b.txt, line 1"])


def test_completes_and_types_the_columns(frame):
    events = validate_events(frame, WHERE, hint="correct it")
    assert list(events.columns) == COLUMNS
    assert events["patient"].tolist() == ["1", "1", "2"]
    assert events["device"].isna().all()
    assert events["age_years"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("column", "row", "value", "said"),
    [
        ("start_s", 1, -0.5, "a.txt, line 2: start_s = -0.5: the event starts before its recording; correct it."),
        ("end_s", 2, 0.0, "b.txt, line 1: the event ends before it starts; correct it."),
        ("sex", 0, "F", "a.txt, line 1: sex = F: sex is female or male; correct it."),
        ("age_years", 0, 130, "a.txt, line 1: age_years = 130"),
        ("label", 2, None, "b.txt, line 1: label or sound is missing; correct it."),
        ("patient", 2, None, "b.txt, line 1: patient is missing; correct it."),
        ("start_s", 2, float("nan"), "b.txt, line 1"),
    ],
)
def test_a_bad_row_is_named(frame, column, row, value, said):
    frame.loc[row, column] = value
    with pytest.raises(UserError) as caught:
        validate_events(frame, WHERE, hint="correct it")
    assert str(caught.value).startswith(said)


def test_further_bad_rows_are_counted(frame):
    frame["end_s"] = 0
    with pytest.raises(UserError, match=r"a.txt, line 1: .* \(and 2 more rows\)"):
        validate_events(frame, WHERE, hint="correct it")


def test_a_missing_column_is_said(frame):
    with pytest.raises(UserError, match="correct it"):
        validate_events(frame.drop(columns="label"), WHERE, hint="correct it")


def test_origin_follows_selection_and_says_partial(frame, tmp_path):
    events = validate_events(frame, WHERE, hint="")
    corpus = Corpus("toy", events, "real", "f", tmp_path, n_missing=2)
    assert corpus.origin_text == "real, partial (2 of 4 recordings)"
    part = corpus.select(events["recording"] == "b")
    assert (len(part.events), part.origin) == (1, "real")
    assert part.events.index.tolist() == [0]


def test_selecting_other_events_is_another_fingerprint(frame, tmp_path):
    corpus = Corpus("toy", validate_events(frame, WHERE, hint=""), "real", "f", tmp_path)
    some = [corpus.select(corpus.events["recording"] == name).fingerprint for name in "ab"]
    assert len({corpus.fingerprint, *some}) == 3
    assert corpus.select(corpus.events["recording"] == "a").fingerprint == some[0]
    assert corpus.select(corpus.events["start_s"] >= 0).fingerprint == corpus.fingerprint  # all of them


def test_events_get_names_and_decades(frame):
    events = validate_events(frame, WHERE, hint="", corpus="toy")
    assert events["clip"].tolist() == ["toy/a/0", "toy/a/1", "toy/b/0"]
    assert events["age_decade"].tolist() == [0, 0, pd.NA]


def test_the_fingerprint_of_settled_files_is_remembered(tmp_path, monkeypatch):
    """Files that changed just now are read again; of others sizes and times tell whether they are the same."""
    file, read = tmp_path / "a", []
    file.write_bytes(b"1")
    digest = hashlib.file_digest
    monkeypatch.setattr(corpus_module.hashlib, "file_digest", lambda *args: read.append(1) or digest(*args))
    first = [fingerprint_files([file], tmp_path) for _ in range(2)]
    assert len(read) == 2
    monkeypatch.setattr(corpus_module, "SETTLED_S", -60)
    later = [fingerprint_files([file], tmp_path) for _ in range(3)]
    assert len(read) == 3
    file.write_bytes(b"22")
    assert {*first, *later} == {first[0]} != {fingerprint_files([file], tmp_path)}


def test_the_marker_makes_data_simulated(tmp_path):
    assert origin_of(tmp_path) == "real"
    (tmp_path / "SIMULATED.json").write_text("{}")
    assert origin_of(tmp_path) == "simulated"


def test_fingerprint_sees_names_and_bytes(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    b.write_bytes(b"2")
    first = fingerprint_files([a, b], tmp_path)
    assert fingerprint_files([b, a], tmp_path) == first
    a.write_bytes(b"2")
    b.write_bytes(b"1")
    assert fingerprint_files([a, b], tmp_path) != first
