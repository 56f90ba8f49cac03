"""The ICBHI reader: what it makes of a layout written by hand, and one sentence for everything that can be wrong with it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpora import edit, put, real_data, simulated, write_tiny
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lungnb import UserError
from lungnb.data import load_corpus
from lungnb.data.icbhi import LABELS, _parse_cycles, read_annotations, read_icbhi, read_split

FIRST = "audio_and_txt_files/101_1b1_Al_sc_LittC2SE"


@pytest.fixture
def tiny(tmp_path):
    return write_tiny(tmp_path / "icbhi")


def test_reads_cycles_people_and_sides(tiny):
    corpus = read_icbhi(tiny)
    events = corpus.events
    assert events["label"].tolist() == ["normal", "crackle", "wheeze", "both", "normal"]
    assert events["start_s"].tolist() == [0.5, 2.5, 0, 1.5, 0.1]
    assert events["patient"].tolist() == ["101", "101", "102", "102", "103"]
    assert events["position"].tolist() == ["Al", "Al", "Tc", "Tc", "Lr"]
    assert events["split"].tolist() == ["train"] * 4 + ["test"]
    assert events["diagnosis"].tolist()[::2] == ["URTI", "COPD", "Healthy"]
    assert events["sex"].fillna("?").tolist()[::2] == ["female", "male", "?"]
    assert events["age_years"].isna().tolist() == [False] * 4 + [True]
    assert (corpus.origin, corpus.n_missing, corpus.origin_text) == ("real", 0, "real")


def test_device_comes_from_the_split_list_not_from_the_file_name(tiny):
    first = read_icbhi(tiny).events.iloc[0]
    assert (first["recording"], first["device"]) == ("101_1b1_Al_sc_Meditron", "Meditron")
    assert first["path"] == FIRST + ".wav"


def test_recordings_without_audio_are_counted(tiny):
    (tiny / "all_annotation_txt").mkdir()
    (tiny / "all_annotation_txt" / "104_1b1_Al_sc_Litt3200.txt").write_text("0 1 0 0\n")
    # The same recording under its other name is no second one.
    (tiny / "all_annotation_txt" / "101_1b1_Al_sc_Meditron.txt").write_text("0 1 0 0\n")
    with (tiny / "ICBHI_challenge_train_test.txt").open("a") as handle:
        handle.write("104_1b1_Al_sc_Litt3200\ttest\n")
    corpus = read_icbhi(tiny)
    assert corpus.origin_text == "real, partial (3 of 4 recordings)"
    assert len(corpus.events) == 5


@pytest.mark.parametrize("mark", ["\t", ",", ";"])
def test_annotations_as_spreadsheets_save_them(tiny, mark):
    before, path = read_icbhi(tiny).events, tiny / (FIRST + ".txt")
    lines = [mark.join(line.split()) for line in path.read_text().splitlines()]
    lines = lines if mark == "," else [line.replace(".", ",") for line in lines]
    path.write_text("\n".join([mark.join(["start", "end", "crackles", "wheezes"]), *lines]), encoding="utf-16")
    assert read_icbhi(tiny).events.equals(before)


def test_the_alias_line_of_the_split_list_is_one_recording(tiny):
    path = tiny / "ICBHI_challenge_train_test.txt"
    path.write_text("102_1b1_Tc_mc_Meditron\ttrain\n" + path.read_text())
    assert len(read_split(tiny)) == 3
    assert read_icbhi(tiny).events.iloc[2]["device"] == "AKGC417L"


def test_fingerprint_follows_the_content_not_the_place(tiny, tmp_path):
    before = read_icbhi(tiny).fingerprint
    moved = tiny.rename(tmp_path / "elsewhere")
    assert read_icbhi(moved).fingerprint == before
    annotation = moved / (FIRST + ".txt")
    annotation.write_text(annotation.read_text().replace("5.9", "5.8"))
    assert read_icbhi(moved).fingerprint != before


SIDE_FILES = {
    "ICBHI_challenge_train_test.txt": ("test", "train"),
    "patient_list_foldwise.txt": ("103 1", "103 2"),
    "demographic_info.txt": ("75 M", "76 M"),
    "patient_diagnosis.csv": ("COPD", "LRTI"),
}


@pytest.mark.parametrize("name", SIDE_FILES)
def test_fingerprint_sees_the_side_files(tiny, name):
    before = read_icbhi(tiny).fingerprint
    edit(name, *SIDE_FILES[name])(tiny)
    assert read_icbhi(tiny).fingerprint != before


def test_the_fold_list_is_a_column(tiny):
    assert read_icbhi(tiny).events["fold"].tolist() == [0, 0, 4, 4, 1]
    (tiny / "patient_list_foldwise.txt").unlink()
    assert read_icbhi(tiny).events["fold"].isna().all()


def test_a_corpus_is_read_once_until_a_file_changes(tiny, monkeypatch):
    monkeypatch.setattr("lungnb.data.corpus.SETTLED_S", -60)
    read = []
    monkeypatch.setattr("lungnb.data.icbhi.read_icbhi", lambda folder: read.append(folder) or read_icbhi(folder))
    first, second = (load_corpus("icbhi", tiny.parent) for _ in range(2))
    assert len(read) == 1
    first.events["label"] = "mine"
    assert second.events["label"].nunique() == 4
    assert load_corpus("icbhi", tiny.parent).events.equals(second.events)
    edit("patient_diagnosis.csv", "COPD", "Asthma")(tiny)
    assert "Asthma" in set(load_corpus("icbhi", tiny.parent).events["diagnosis"])
    (tiny / "SIMULATED.json").write_text("{}")
    assert load_corpus("icbhi", tiny.parent).origin == "simulated"
    assert len(read) == 3


def cut(folder: Path):
    path = folder / (FIRST + ".wav")
    path.write_bytes(path.read_bytes()[:20_000])


BAD = {
    "unreadable audio": (put(FIRST + ".wav", b"not audio" * 99), ["101_1b1_Al_sc_LittC2SE.wav", "export"]),
    "audio file of no bytes": (put(FIRST + ".wav", b""), ["101_1b1_Al_sc_LittC2SE.wav", "export"]),
    "audio of no samples": (
        lambda f: soundfile.write(f / (FIRST + ".wav"), np.zeros(0), 4000),
        ["LittC2SE.wav", "no samples", "export"],
    ),
    "truncated audio": (cut, ["LittC2SE.txt, line 2", "5.9 s", "truncated"]),
    "ends before it starts": (
        edit(FIRST + ".txt", "2.5\t5.9", "5.5\t2.5"),
        ["LittC2SE.txt, line 2", "before", "correct"],
    ),
    "past the file": (edit(FIRST + ".txt", "5.9", "6.9"), ["LittC2SE.txt, line 2", "6.9 s", "6.00 s"]),
    "starts before the file": (edit(FIRST + ".txt", "0.5", "-0.5"), ["LittC2SE.txt, line 1", "-0.5", "correct"]),
    "a time that is not a number": (
        edit(FIRST + ".txt", "0.5", "nan"),
        ["LittC2SE.txt, line 1", "expected", "correct"],
    ),
    "five columns": (
        edit(FIRST + ".txt", "5.9\t1\t0", "5.9\t1\t0\t0"),
        ["LittC2SE.txt, line 2", "expected", "correct"],
    ),
    "a cycle twice": (
        edit(FIRST + ".txt", "2.5\t5.9", "0.5\t2.5"),
        ["LittC2SE.txt, line 2", "also in line 1", "remove"],
    ),
    "times in another unit": (edit(FIRST + ".txt", "2.5\t5.9", "2500\t5900"), ["line 2", "5900 s", "another unit"]),
    "a flag of 2": (edit(FIRST + ".txt", "5.9\t1", "5.9\t2"), ["LittC2SE.txt, line 2", "0/1", "correct"]),
    "no cycle": (put(FIRST + ".txt", b"\n"), ["LittC2SE.txt", "no cycle", "add a line"]),
    "not a text file": (put(FIRST + ".txt", b"\xff\xfe0\x001"), ["LittC2SE.txt, line 1", "UTF-8", "save"]),
    "no annotation": (lambda f: (f / (FIRST + ".txt")).unlink(), ["LittC2SE.wav", "no annotation", ".txt", "write it"]),
    "two annotations of one recording": (
        put("audio_and_txt_files/101_1b1_Al_sc_Meditron.txt", b"0 1 0 0"),
        ["LittC2SE.txt", "101_1b1_Al_sc_Meditron.txt", "two files of one recording"],
    ),
    "unlisted recording": (
        edit("ICBHI_challenge_train_test.txt", "103_2b2_Lr_mc_LittC2SE\ttest\n", ""),
        ["ICBHI_challenge_train_test.txt", "103_2b2_Lr_mc_LittC2SE", "add"],
    ),
    "a side that is neither": (
        edit("ICBHI_challenge_train_test.txt", "LittC2SE\ttest", "LittC2SE\tvalid"),
        ["ICBHI_challenge_train_test.txt, line 3", "train or test", "correct"],
    ),
    "no split list": (
        lambda f: (f / "ICBHI_challenge_train_test.txt").unlink(),
        ["ICBHI_challenge_train_test.txt", "missing", "train or test"],
    ),
    "no demographics": (
        lambda f: (f / "demographic_info.txt").unlink(),
        ["demographic_info.txt", "missing", "age in years"],
    ),
    "no diagnoses": (
        lambda f: (f / "patient_diagnosis.csv").unlink(),
        ["patient_diagnosis.csv", "missing", "a diagnosis"],
    ),
    "demographics that are no text": (
        put("demographic_info.txt", b"101 3 \xff"),
        ["demographic_info.txt, line 1", "UTF-8"],
    ),
    "an age of 300": (edit("demographic_info.txt", "75", "300"), ["demographic_info.txt, line 2", "correct"]),
    "a patient twice": (edit("demographic_info.txt", "103", "102"), ["demographic_info.txt, line 3", "correct"]),
    "no audio at all": (
        lambda f: [p.unlink() for p in (f / "audio_and_txt_files").glob("*") if p.suffix != ".txt"],
        ["no annotated recording", "it holds"],
    ),
}


@pytest.mark.parametrize(("spoil", "named"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_sentence_with_file_and_mend(tiny, spoil, named):
    read_icbhi(tiny)
    spoil(tiny)
    with pytest.raises(UserError) as caught:
        read_icbhi(tiny)
    message = str(caught.value)
    assert all(word in message for word in named), message
    assert "\n" not in message


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        load_corpus("icbhi", tmp_path / "nowhere")
    (tmp_path / "sprsound").mkdir()
    with pytest.raises(UserError, match=r"holds no icbhi/ \(found: sprsound/\)"):
        load_corpus("icbhi", tmp_path)
    with pytest.raises(UserError, match="no ICBHI folder"):
        read_icbhi(tmp_path / "sprsound")
    with pytest.raises(UserError, match="no data set 'icbi'"):
        load_corpus("icbi")


def test_a_cycle_may_end_a_rounding_error_past_its_audio(tiny):
    edit(FIRST + ".txt", "5.9", "6.04")(tiny)
    assert read_icbhi(tiny).events["end_s"].max() == 6.04


cycles = st.lists(
    st.tuples(
        st.floats(0, 1e4, allow_nan=False),
        st.floats(0, 1e4, allow_nan=False),
        st.sampled_from("01"),
        st.sampled_from("01"),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda row: row[:2],
)


@given(
    rows=cycles,
    gap=st.sampled_from(["\t", " ", "  ", ",", "; "]),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    bom=st.booleans(),
)
def test_any_written_cycles_come_back(tmp_path_factory, rows, gap, end, bom):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(
        (b"\xef\xbb\xbf" if bom else b"") + "".join(gap.join(map(str, row)) + end for row in rows).encode()
    )
    read = _parse_cycles(path)
    assert [(r["start_s"], r["end_s"]) for r in read] == [row[:2] for row in rows]
    assert [LABELS.index(r["label"]) for r in read] == [int(c) + 2 * int(w) for _, _, c, w in rows]
    if end != "\n\n":
        assert [r["where"].rsplit(" ", 1)[1] for r in read] == [str(n + 1) for n in range(len(rows))]


@settings(deadline=None)  # it writes files
@given(content=st.one_of(st.binary(max_size=60), st.text("0123456789.-+e_ \t\n\rnaif", max_size=60).map(str.encode)))
@example(content=b"\x1f")  # a line of it is blank
def test_any_file_is_cycles_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "arbitrary.txt"
    path.write_bytes(content)
    try:
        read = _parse_cycles(path)
    except UserError as error:
        assert "arbitrary.txt" in str(error)  # noqa: PT017
    else:
        assert all(np.isfinite([r["start_s"], r["end_s"]]).all() and r["label"] in LABELS for r in read)


def test_reads_what_the_simulator_writes():
    corpus = simulated()
    assert corpus.origin_text == "simulated"
    assert corpus.events["device"].nunique() == 4
    renamed = corpus.events["path"].map(lambda p: Path(p).stem) != corpus.events["recording"]
    assert 0 < renamed.mean() < 0.5


def test_counts_of_the_real_data():
    folder = real_data() / "icbhi"
    cycles, split = read_annotations(folder), read_split(folder)
    assert (len(cycles), cycles["recording"].nunique(), cycles["patient"].nunique()) == (6898, 920, 126)
    assert cycles["label"].value_counts()[LABELS].tolist() == [3642, 1864, 886, 506]
    assert split["split"].value_counts().to_dict() == {"train": 539, "test": 381}
    side = cycles["recording"].map(split.set_index("recording")["split"])
    assert side.value_counts().to_dict() == {"train": 4142, "test": 2756}
    assert cycles[side == "test"]["label"].value_counts()[LABELS].tolist() == [1579, 649, 385, 143]
    by_side = cycles.groupby(side)["patient"].unique()
    assert set(by_side["train"]) & set(by_side["test"]) == {"156", "218"}
    assert "LittC2SE" not in set(cycles[side == "test"]["device"])
    recordings = cycles.drop_duplicates("recording")
    assert recordings["device"].value_counts().to_dict() == {
        "AKGC417L": 646,
        "Meditron": 127,
        "LittC2SE": 87,
        "Litt3200": 60,
    }
    assert recordings.set_index("recording").loc["226_1b1_Pl_sc_LittC2SE", "device"] == "LittC2SE"
