"""Cohorts of patients x sites: on folders written by hand, on everything that can be wrong, and on the real SPRSound."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
from corpora import TINY_SPRSOUND, edit, put, real_data, write_tiny_sprsound
from hypothesis import given, settings
from hypothesis import strategies as st

from lungnb import UserError
from lungnb.data import load_corpus
from lungnb.data.audio import crop_starts, load_audio, plan_crops
from lungnb.data.corpus import COLUMNS, Corpus, validate_events
from lungnb.data.folders import UNNAMED_AUDIO
from lungnb.data.multisite import DIAGNOSES, LABELS, SITES, read_multisite, read_sites
from lungnb.data.splits import patient_folds
from lungnb.data.sprsound import read_sprsound, sprsound_view

HEADER = "patient,site,path,diagnosis,age_years,sex,device\n"
#: By cohort: lines of the manifest, and seconds and rate (Hz) of the files they name.
GVA = {
    "7,1,audio/7_1.wav,Bacterial pneumonia,0.8,,\n": (6.0, 22050),
    "7,5,audio/7_5.flac,bacterial pneumonia,,female,\n": (7.5, 4000),
    "8,2,8.WAV,control,,,Littmann 3200\n": (30.0, 4000),
}
POA = {"7,1,a.wav,asthma,3,male,\n": (4.9, 8000), "9,8,b.wav,bronchiolitis,15,male,\n": (5.0, 8000)}
MANIFEST = "GVA/manifest.csv"


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for cohort, lines in {"GVA": GVA, "POA": POA}.items():
        here = tmp_path / "multisite" / cohort
        (here / "audio").mkdir(parents=True)
        (here / "manifest.csv").write_text(HEADER + "".join(lines))
        for line, (seconds, rate) in lines.items():
            soundfile.write(here / line.split(",")[2], 0.1 * rng.standard_normal(round(rate * seconds)), rate)
    return tmp_path / "multisite"


def test_reads_one_whole_row_a_recording(folder):
    corpus = read_multisite(folder)
    events = corpus.events
    assert list(events.columns) == COLUMNS
    assert events["patient"].tolist() == ["GVA/7", "GVA/7", "GVA/8", "POA/7", "POA/9"]
    assert events["position"].tolist() == ["1", "5", "2", "1", "8"]
    assert events["split"].tolist() == ["GVA"] * 3 + ["POA"] * 2
    assert events["label"].tolist() == ["pneumonia", "pneumonia", "control", "asthma", "bronchiolitis"]
    assert events["diagnosis"].tolist() == ["bacterial pneumonia"] * 2 + ["control", "asthma", "bronchiolitis"]
    assert events["device"].tolist() == ["GVA", "GVA", "Littmann 3200", "POA", "POA"]
    assert events["start_s"].tolist() == [0] * 5
    assert events["end_s"].tolist() == [6, 7.5, 30, 4.9, 5]
    assert events["age_years"].fillna(-1).tolist() == [0.8, 0.8, -1, 3, 15]
    assert events["sex"].fillna("NA").tolist() == ["female", "female", "NA", "male", "male"]
    assert events["recording"].is_unique
    assert all((corpus.audio_root / path).exists() for path in events["path"])
    assert (corpus.name, corpus.origin_text, corpus.n_missing) == ("multisite", "real", 0)


def crops(length_s, **how):
    """Starts (s) of the crops of one recording."""
    row, start_s = crop_starts([length_s], **how)
    assert (row == 0).all()
    return start_s


def crops_of(events, **how):
    return crop_starts((events["end_s"] - events["start_s"]).to_numpy(), **how)


def test_crops_of_all_recordings_lie_in_their_audio(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path / "cache"))
    corpus = read_multisite(folder)
    audio, events = load_audio(corpus), corpus.events.assign(annotation=corpus.events["label"])
    assert audio.length.tolist() == [24000, 30000, 120000, 19600, 20000]
    row, start_s = crops_of(events)
    assert [start_s[row == k].tolist() for k in range(5)] == [crops(length).tolist() for length in events["end_s"]]
    assert 3 not in row  # 4.9 s
    planned = plan_crops(audio, events, row, start_s, 5.0)
    assert planned.event.tolist() == row.tolist()
    assert planned.label.tolist() == events["label"].iloc[row].tolist()
    begin = audio.start.to_numpy()[row]
    for segments, at, first, length in zip(planned.segments, start_s, begin, audio.length.to_numpy()[row], strict=True):
        assert segments == [(first + round(at * 4000), 20000, 1)]
        assert segments[0][0] + 20000 <= first + length
    assert len(crops_of(events, crop_s=2, overlap=0, direction="clean")[0]) == 3 + 3 + 15 + 2 + 2


def test_what_gives_no_crop_or_is_not_named_is_told_and_kept(folder):
    soundfile.write(folder / "POA/extra.flac", [0.0] * 8000, 8000)
    corpus = read_multisite(folder)
    assert corpus.skipped == {
        UNNAMED_AUDIO: 1,
        "recordings shorter than one crop of 5 s (kept; they give no crop)": 1,
        "patients with no longer recording (kept; they give no crop)": 1,
    }
    assert "POA/a.wav" in set(corpus.events["recording"])
    edit(MANIFEST.replace("GVA", "POA"), "7,1,a.wav", "7,1,extra.flac")(folder)
    soundfile.write(folder / "POA/extra.flac", [0.0] * 40000, 8000)
    (folder / "POA/a.wav").unlink()
    assert read_multisite(folder).skipped == {}


def test_fingerprint_follows_manifest_audio_and_sites(folder, tmp_path):
    prints = [read_multisite(folder).fingerprint]
    folder = folder.rename(tmp_path / "elsewhere")
    assert read_multisite(folder).fingerprint == prints[0]
    edit(MANIFEST, "0.8", "0.9")(folder)
    prints.append(read_multisite(folder).fingerprint)
    (folder / "sites.txt").write_text("\n".join(SITES))
    prints.append(read_multisite(folder).fingerprint)
    soundfile.write(folder / "POA/a.wav", [0.0] * 48000, 8000)
    prints.append(read_multisite(folder).fingerprint)
    assert len(set(prints)) == 4


def test_a_clinic_may_list_its_own_sites(folder):
    (folder / "sites.txt").write_text("right apex\n1\n\n 2\n5\n8\n")
    edit(MANIFEST, "8,2,", "8,right apex,")(folder)
    assert read_multisite(folder).events["position"].tolist() == ["1", "5", "right apex", "1", "8"]
    assert read_sites(folder) == ["right apex", "1", "2", "5", "8"]


def test_a_spreadsheets_habits_are_no_errors(folder):
    text = (folder / MANIFEST).read_text().replace("control", '"Control "') + ",,,,,,\n\n"
    (folder / MANIFEST).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert read_multisite(folder).events["label"].tolist()[2] == "control"


def test_optional_columns_may_be_absent(folder):
    (folder / MANIFEST).write_text("site,patient,diagnosis,path\n3,8,viral pneumonia,8.WAV\n")
    first = read_multisite(folder).events.iloc[0]
    assert (first["position"], first["label"], first["device"]) == ("3", "pneumonia", "GVA")
    assert first[["age_years", "sex"]].isna().all()


def test_every_known_diagnosis_has_a_label():
    assert set(DIAGNOSES.values()) == set(LABELS)


def add(line: str):
    return lambda folder: (folder / MANIFEST).write_text((folder / MANIFEST).read_text() + line + "\n")


def no_manifest(folder):
    for path in folder.glob("*/manifest.csv"):
        path.unlink()


def folder_for_file(folder):
    (folder / "GVA/8.WAV").unlink()
    (folder / "GVA/8.WAV").mkdir()


LINE3 = "GVA/manifest.csv, line 3"
BAD = {
    "a patient without any site": (add("11,,,control,,,"), ["line 5", "'11'", "without a site", "name one"]),
    "a line without patient": (edit(MANIFEST, "8,2,", ",2,"), ["line 4", "no patient", "name one"]),
    "an unknown site": (edit(MANIFEST, "7,5,", "7,P5,"), [LINE3, "'P5'", "1, 2, 3", "sites.txt", "name one"]),
    "a site listed twice": (edit(MANIFEST, "7,5,", "7,1,"), [LINE3, "site 1", "'7'", "line 2", "join"]),
    "an unknown diagnosis": (edit(MANIFEST, "control", "cold"), ["line 4", "'cold'", "bronchiolitis", "correct"]),
    "no diagnosis": (edit(MANIFEST, "control", ""), ["line 4", "no diagnosis", "name one"]),
    "two diagnoses": (edit(MANIFEST, "bacterial", "viral"), [LINE3, "'7'", "diagnosis", "bacterial", "line 2"]),
    "two ages": (edit(MANIFEST, "pneumonia,,f", "pneumonia,8,f"), [LINE3, "age_years", "8.0", "0.8", "line 2"]),
    "two sexes": (edit(MANIFEST, "0.8,,", "0.8,male,"), [LINE3, "sex", "female", "male", "line 2"]),
    "an age in words": (edit(MANIFEST, "0.8", "old"), ["line 2", "'old'", "years", "correct"]),
    "an age of 300": (edit(MANIFEST, "pneumonia,,f", "pneumonia,300,f"), [LINE3, "'300'", "years", "correct"]),
    "an age that is no number": (edit(MANIFEST, "0.8", "inf"), ["line 2", "'inf'", "years", "correct"]),
    "an unknown sex": (edit(MANIFEST, "female", "x"), [LINE3, "sex 'x'", "female", "correct"]),
    "a missing file": (edit(MANIFEST, "7_5", "7_6"), [LINE3, "no file", "audio/7_6.flac", "correct"]),
    "a name past all lengths": (edit(MANIFEST, "7_5", "7" * 5000), [LINE3, "no file", "correct"]),
    "no file named": (edit(MANIFEST, "8.WAV", ""), ["line 4", "no file is named", "name one"]),
    "a folder for a file": (folder_for_file, ["line 4", "no file", "'8.WAV'"]),
    "a file named twice": (edit(MANIFEST, "8.WAV", "./audio/7_1.wav"), ["line 4", "7_1.wav", "line 2", "correct"]),
    "a file of another cohort": (edit(MANIFEST, "8.WAV", "../POA/a.wav"), ["line 4", "outside", "move"]),
    "a file by its whole path": (edit(MANIFEST, "8.WAV", "/tmp/a.wav"), ["line 4", "outside", "move"]),
    "a lossy file": (edit(MANIFEST, "8.WAV", "8.mp3"), ["line 4", "8.mp3", "convert"]),
    "unreadable audio": (put("GVA/8.WAV", b"not audio" * 99), ["line 4", "8.WAV", "export"]),
    "empty audio": (lambda f: soundfile.write(f / "POA/b.wav", [], 8000), ["POA/manifest.csv, line 3", "no samples"]),
    "a column too few": (edit(MANIFEST, "site", "place"), ["line 1", "no column 'site'", "name"]),
    "an unknown column": (edit(MANIFEST, "age_years", "age"), ["line 1", "'age'", "age_years", "rename"]),
    "a column twice": (edit(MANIFEST, "device", "sex"), ["line 1", "'sex'", "twice", "rename"]),
    "a cell too few": (edit(MANIFEST, "female,", "female"), [LINE3, "6 cells", "7", "correct"]),
    "an open quote": (edit(MANIFEST, "8.WAV", '"8.WAV'), [MANIFEST, "line 4", "CSV", "save"]),
    "no lines": (put(MANIFEST, HEADER.encode()), [MANIFEST, "no recording", "add"]),
    "an empty manifest": (put(MANIFEST, b""), [MANIFEST, "no column", "name"]),
    "another encoding": (put(MANIFEST, "père".encode("latin-1")), [MANIFEST, "UTF-8", "save"]),
    "no manifest": (no_manifest, ["multisite", "manifest.csv", "write"]),
    "sites of no name": (put("sites.txt", b"\n"), ["sites.txt", "no site", "write"]),
    "sites named twice": (put("sites.txt", b"1\n5\n1\n"), ["sites.txt", "'1' twice", "write"]),
}


@pytest.mark.parametrize(("spoil", "named"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_sentence_with_line_and_mend(folder, spoil, named):
    read_multisite(folder)
    spoil(folder)
    with pytest.raises(UserError) as caught:
        read_multisite(folder)
    message = str(caught.value)
    assert all(word in message for word in named), message
    assert "\n" not in message


cells = st.lists(
    st.sampled_from(["7", "1", "a.wav", "control", "", '"', "\n", "0.8"]) | st.text(max_size=3), max_size=8
)


@pytest.mark.train
@settings(deadline=None)  # it writes files
@given(st.lists(cells, max_size=3))
def test_any_manifest_is_a_corpus_or_a_sentence(tmp_path_factory, lines):
    cohort = tmp_path_factory.getbasetemp() / "any" / "GVA"
    cohort.mkdir(parents=True, exist_ok=True)
    soundfile.write(cohort / "a.wav", [0.0] * 800, 100)
    text = HEADER + "".join(",".join(line) + "\n" for line in [["7", "1", "a.wav", "control", "", "", ""], *lines])
    (cohort / "manifest.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert read_multisite(cohort.parent).n_recordings
    except UserError as error:
        assert "manifest.csv" in str(error) and "\n" not in str(error)  # noqa: PT017, PT018


@pytest.mark.parametrize(("length_s", "both", "one"), [(30, 21, 11), (10, 5, 3), (7.5, 3, 2), (5, 1, 1), (4.99, 0, 0)])
def test_crop_counts_of_the_paper(length_s, both, one):
    assert len(crops(length_s)) == both
    assert len(crops(length_s, direction="clean")) == one


def test_crops_go_forward_and_then_back_from_the_end():
    assert crops(9).tolist() == [0, 2.5, 4, 1.5]
    assert crops(9, direction="clean").tolist() == [0, 2.5]
    assert crops(10).tolist() == [0, 2.5, 5, 5, 2.5]  # the backward ones repeat, and are kept
    assert crops(1.2, crop_s=0.5, overlap=0).tolist() == pytest.approx([0, 0.5, 0.7, 0.2])


@settings(deadline=None)
@given(n=st.integers(0, 2000), size=st.integers(20, 1000), share=st.sampled_from([0, 0.25, 0.5, 0.75]))
def test_crops_are_those_of_a_walk_over_samples(n, size, share):
    steps = np.arange(4 * n // size + 1) * size * (1 - share)
    ahead, back = steps[steps + size <= n], n - size - steps[n - size - steps > 0]
    found = crops(n / 1000, crop_s=size / 1000, overlap=share)
    assert found * 1000 == pytest.approx(np.concatenate([ahead, back]))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"overlap": 1}, "overlap"),
        ({"crop_s": 0}, "0 s"),
        ({"crop_s": float("nan")}, "nan"),
    ],
)
def test_crops_that_cannot_be(wrong, named):
    with pytest.raises(UserError, match=named):
        crops(9, **wrong)


def people(rows):
    """A corpus of (patient, label, cohort, number of recordings)."""
    each = [(p, label, cohort, k) for p, label, cohort, n in rows for k in range(n)]
    frame = pd.DataFrame(each, columns=["patient", "label", "split", "position"])
    frame = frame.assign(
        recording=frame["patient"] + "_" + frame["position"].astype(str), path="x", start_s=0.0, end_s=9
    )
    frame = frame.assign(device="one", position=frame["position"].astype(str))
    return Corpus("multisite", validate_events(frame, frame["path"], hint=""), "simulated", "0", None)


def test_folds_hold_whole_patients_spread_by_label_and_cohort():
    groups = [("control", "GVA", 10), ("asthma", "GVA", 5), ("control", "POA", 5), ("asthma", "POA", 15)]
    who = [(f"{c}/{label}{i}", label, c, 1 + i % 8) for label, c, n in groups for i in range(n)]
    corpus = people(who)
    fold = patient_folds(corpus.events, n_folds=5, seed=3)
    of = corpus.events.assign(fold=fold)
    assert (of.groupby("patient")["fold"].nunique() == 1).all()
    counted = of.drop_duplicates("patient").groupby(["label", "split", "fold"]).size().unstack()
    assert counted.eq(counted[0], axis=0).all(axis=None)  # the same number in each fold
    assert counted.sum(axis=1).to_dict() == {(label, c): n for label, c, n in groups}
    assert fold.equals(patient_folds(corpus.events, 5, 3))
    assert not fold.equals(patient_folds(corpus.events, 5, 4))


def test_folds_of_a_part_of_a_corpus_keep_its_rows():
    corpus = people([(f"{c}{i}", c, "GVA", 2) for c in ("control", "asthma") for i in range(4)])
    part = Corpus("multisite", corpus.events.iloc[::-1], "simulated", "0", None)
    fold = patient_folds(part.events, 2, 0)
    assert fold.index.equals(part.events.index)
    assert fold.value_counts().to_dict() == {0: 8, 1: 8}


@pytest.mark.parametrize("n_folds", [0, 1, 4])
def test_folds_that_cannot_be_made(n_folds):
    corpus = people([(f"p{i}", "control", "GVA", 8) for i in range(3)])
    with pytest.raises(UserError, match=f"^{n_folds} folds.* 3 patients"):
        patient_folds(corpus.events, n_folds, seed=0)


@pytest.fixture
def tiny(tmp_path):
    return read_sprsound(write_tiny_sprsound(tmp_path / "sprsound"))


def test_the_view_takes_whole_recordings_at_p1_to_p4(tiny):
    view = sprsound_view(tiny)
    assert view.events["recording"].tolist() == list(TINY_SPRSOUND)[:2]
    assert view.events["end_s"].tolist() == [3, 2]
    assert view.events["start_s"].tolist() == [0, 0]
    assert view.events["label"].tolist() == ["adventitious"] * 2
    assert (view.name, view.origin) == ("sprsound-sites", "real")
    assert view.fingerprint != tiny.fingerprint  # other events
    assert view.skipped == {
        "recordings without events (poor quality)": 1,
        "recordings at positions other than p1 to p4": 2,
        "recordings shorter than one crop of 5 s (kept; they give no crop)": 2,
        "patients with no longer recording (kept; they give no crop)": 1,
    }
    assert not len(crops_of(view.events)[0])


def test_one_adventitious_event_in_the_view_marks_the_patient(tiny):
    events = tiny.events.assign(label="normal", position="p1")
    assert set(sprsound_view(replace(tiny, events=events)).events["label"]) == {"normal"}
    events.loc[events["split"] == "intra", "label"] = ["normal", "fine crackle", "normal"]
    corpus = replace(tiny, events=events)
    by_patient = sprsound_view(corpus).events.groupby("patient")["label"].unique().map(list).to_dict()
    assert by_patient == {"101": ["adventitious"], "103": ["normal"]}
    train = sprsound_view(corpus.select(events["split"] == "train"))  # which knows nothing of intra
    assert set(train.events["label"]) == {"normal"}


def test_the_view_takes_no_other_corpus(tiny, folder):
    with pytest.raises(UserError, match="'multisite'"):
        sprsound_view(read_multisite(folder))
    with pytest.raises(UserError, match="p1 to p4"):
        sprsound_view(tiny.select(tiny.events["position"] == "p8"))
    path = tiny.audio_root / tiny.events["path"][0]
    path.write_bytes(b"no audio")
    with pytest.raises(UserError, match=path.name):
        sprsound_view(tiny)


def test_the_view_of_the_real_data():
    """Patients of the BioCAS 2022 release by number of sites and label (n / a: normal / adventitious), Poor Quality left out.

    part      1 site   2 sites   3 sites   4 sites     all
    all       3 / 4    13 / 2    31 / 13   109 / 113   156 / 132
    train    13 / 4    25 / 9    32 / 24    75 / 61    145 / 98
    inter     2 / 2     3 / 0     6 / 1     10 / 17     21 / 20
    intra    45 / 19   40 / 20    8 / 19     2 / 7      95 / 65

    Each part is viewed by itself, so that a label knows only that part. The release has 292 patients (251 in train); 4
    (8) of them have no recording but Poor Quality ones. No recording is shorter than one crop.
    """
    corpus = load_corpus("sprsound", real_data("sprsound"))
    view = sprsound_view(corpus)
    assert view.skipped == corpus.skipped
    assert view.events["end_s"].between(9.18, 15.37).all()
    expected = {
        "train": [(13, 4), (25, 9), (32, 24), (75, 61)],
        "inter": [(2, 2), (3, 0), (6, 1), (10, 17)],
        "intra": [(45, 19), (40, 20), (8, 19), (2, 7)],
    }
    parts = {part: sprsound_view(corpus.select(corpus.events["split"] == part)) for part in expected}
    for part, counts in ({"all": [(3, 4), (13, 2), (31, 13), (109, 113)]} | expected).items():
        events = parts.get(part, view).events
        of = events.groupby("patient").agg(n=("position", "nunique"), label=("label", "first"))
        table = pd.crosstab(of["n"], of["label"])[["normal", "adventitious"]]
        assert [tuple(row) for row in table.to_numpy().tolist()] == counts, part
    assert (view.n_recordings, view.events["patient"].nunique()) == (2496, 288)
    mixed = corpus.events["label"].eq("normal").groupby(corpus.events["recording"]).all()
    ill = view.events[view.events["label"] == "adventitious"]
    assert ill.loc[ill["recording"].map(mixed), "patient"].nunique() == 112  # of 132
    fold = patient_folds(view.events, n_folds=5, seed=0)
    of = view.events.assign(fold=fold).drop_duplicates("patient")
    share = of["label"].eq("adventitious").groupby(of["fold"]).mean()
    assert of["fold"].value_counts().between(55, 60).all()
    assert share.between(0.43, 0.49).all()


@pytest.mark.train
def test_cohorts_come_through_the_same_door(tmp_path):
    corpus = load_corpus("multisite", n_patients=24)
    assert corpus.origin == "simulated"
    assert set(corpus.events["split"]) >= {"GVA", "POA1", "POA2"}
    (tmp_path / "icbhi").mkdir()
    with pytest.raises(UserError, match=r"holds no multisite/ \(found: icbhi/\); lay your own cohorts out"):
        load_corpus("multisite", tmp_path)
