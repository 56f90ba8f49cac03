"""The SPRSound reader and its counts: on a folder written by hand, on everything that can be wrong, and on the real data."""

import json
import shutil
from pathlib import Path

import pytest
import soundfile
from corpora import TINY_SPRSOUND, edit, put, real_data, write_tiny_sprsound
from hypothesis import given
from hypothesis import strategies as st

from lungnb import UserError
from lungnb.data import check, load_corpus
from lungnb.data.sprsound import LABELS, parse_json, read_annotations, read_sprsound, release_folder, sprsound_records
from lungnb.data.tasks import task_of

TRAIN, INTER, INTRA = "train2022_json", "test2022_json/inter_test_json", "test2022_json/intra_test_json"
FIRST, SECOND, SILENT, NEW, AGAIN = TINY_SPRSOUND
NORMAL = {"start": 0, "end": 500, "type": "Normal"}
JSON, WAV = f"{TRAIN}/{FIRST}.json", f"train2022_wav/{FIRST}.wav"


@pytest.fixture
def tiny(tmp_path):
    return write_tiny_sprsound(tmp_path / "sprsound")


@pytest.fixture
def root(tiny):
    return tiny / "BioCAS2022"


def differing(frame):
    return set(frame.loc[~frame["agrees"], "what"])


def test_reads_events_and_people_of_all_parts(tiny):
    corpus = read_sprsound(tiny)
    events = corpus.events
    both = "wheeze+crackle"
    assert events["label"].tolist() == [
        *("wheeze", both, "fine crackle", both),
        *("normal", "rhonchi", "stridor", "coarse crackle"),
    ]
    assert events["start_s"].tolist() == [0.5, 1.6, 0, 0.8125, 0.1, 0, 1, 2]
    assert events["end_s"].tolist() == [1.5, 2.9, 0.7, 2, 1.1, 1, 2, 4]
    assert events["split"].tolist() == ["train"] * 4 + ["inter"] + ["intra"] * 3
    one_each = events.drop_duplicates("recording").set_index("recording")
    assert one_each["patient"].tolist() == ["101", "101", "103", "101"]
    assert one_each["age_years"].tolist() == [8.1, 8.1, 15, 8.3]
    assert one_each["sex"].tolist() == ["female", "female", "male", "female"]
    assert one_each["position"].tolist() == ["p1", "p2", "p5", "p8"]
    assert one_each.loc[[FIRST, NEW], "path"].tolist() == [WAV, f"test2022_wav/{NEW}.flac"]
    assert events[["device", "diagnosis"]].isna().all(axis=None)
    assert (corpus.name, corpus.origin_text) == ("sprsound", "real")
    assert corpus.skipped == {"recordings without events (poor quality)": 1}
    assert all((corpus.audio_root / path).exists() for path in events["path"])


def test_recordings_and_their_labels(root):
    recordings, events = read_annotations(root)
    assert recordings["record_label"].tolist() == ["CAS", "CAS & DAS", "Poor Quality", "Normal", "CAS & DAS"]
    assert recordings["n_events"].tolist() == [2, 2, 0, 1, 3]
    assert events["where"].iloc[1] == f"{root / JSON}, event 2"


def test_whole_recordings_with_their_own_labels(tiny):
    corpus = read_sprsound(tiny)
    records = sprsound_records(corpus)
    assert records.events["recording"].tolist() == [FIRST, SECOND, SILENT, NEW, AGAIN]
    assert records.events["label"].tolist() == ["CAS", "CAS & DAS", "Poor Quality", "Normal", "CAS & DAS"]
    assert records.events["end_s"].tolist() == [3, 2, 1, 2, 4]
    assert records.events["split"].tolist() == ["train"] * 3 + ["inter", "intra"]
    assert records.skipped == {}
    assert records.fingerprint != corpus.fingerprint
    one_less = sprsound_records(corpus.select(corpus.events["recording"] != NEW))
    assert NEW not in one_less.events["recording"].tolist()
    classes = task_of("sprsound-records").view(corpus).events["label"].tolist()
    assert classes == ["adventitious", "adventitious", "Poor Quality", "Normal", "adventitious"]


def test_releases_that_label_no_recording_are_refused(tiny, root):
    for path in root.rglob("*.json"):
        content = json.loads(path.read_text())
        content = {key: value for key, value in content.items() if "annotation" in key and "event" in key}
        path.write_text(json.dumps(content | {"event_annotation": content["event_annotation"] or [NORMAL]}))
    with pytest.raises(UserError, match="has a label of its own"):
        sprsound_records(read_sprsound(tiny))


@pytest.mark.parametrize("position", [f"p{n}" for n in range(1, 9)])
def test_all_eight_positions_are_known(root, position):
    rename(FIRST, FIRST.replace("p1", position))(root)
    assert position in set(read_sprsound(root).events["position"])


def test_the_folder_may_be_the_release_itself(tiny, root):
    assert release_folder(tiny) == release_folder(root) == root
    assert read_sprsound(root).fingerprint == read_sprsound(tiny).fingerprint
    assert load_corpus("sprsound", tiny.parent).n_recordings == 4


def test_recordings_without_audio_are_counted(root):
    (root / WAV).unlink()
    corpus = read_sprsound(root)
    assert corpus.n_missing == 1
    assert corpus.origin_text == "real, partial (3 of 4 recordings)"
    assert FIRST not in set(corpus.events["recording"])


def test_train_alone_can_be_read(root):
    shutil.rmtree(root / "test2022_wav")
    shutil.rmtree(root / "test2022_json")
    corpus = read_sprsound(root)
    assert set(corpus.events["split"]) == {"train"}
    assert corpus.origin_text == "real"


def test_fingerprint_follows_the_content_not_the_place(tiny, tmp_path):
    before = read_sprsound(tiny).fingerprint
    moved = tiny.rename(tmp_path / "elsewhere")
    assert read_sprsound(moved).fingerprint == before
    edit(JSON, '"1500"', '"1499"')(moved / "BioCAS2022")
    changed = read_sprsound(moved).fingerprint
    audio = moved / "BioCAS2022" / WAV
    samples, rate = soundfile.read(audio)
    soundfile.write(audio, -samples, rate)
    assert len({before, changed, read_sprsound(moved).fingerprint}) == 3


def remove(name: str):
    return lambda root: (root / name).unlink()


def rename(old: str, new: str):
    def change(root: Path):
        for path in list(root.rglob(old + ".*")):
            path.rename(path.with_name(path.name.replace(old, new)))

    return change


def cut(root: Path):
    (root / WAV).write_bytes((root / WAV).read_bytes()[:20_000])


def empty(root: Path):
    for path in root.rglob("*.*"):
        path.unlink()


BAD = {
    "not JSON": (put(JSON, b'{"record_annotation": '), [JSON, "not JSON", "correct"]),
    "a binary file": (put(JSON, b"\x89\xff\xfe\x00"), [JSON, "line 1", "UTF-8"]),
    "JSON without end": (put(JSON, b"[" * 100_000), [JSON, "not JSON", "correct"]),
    "a list": (put(JSON, b"[]"), [JSON, "record_annotation", "correct"]),
    "no label and no events": (put(JSON, b'{"events": []}'), [JSON, "is None", "Poor Quality", "correct"]),
    "unknown label of the recording": (edit(JSON, '"CAS"', '"COPD"'), [JSON, "'COPD'", "Poor Quality", "correct"]),
    "no events": (edit(JSON, "event_annotation", "events"), [JSON, "event_annotation is None", "correct"]),
    "an event that is none": (
        put(JSON, b'{"record_annotation": "CAS", "event_annotation": [7]}'),
        [JSON, "event 1", "7"],
    ),
    "unknown type": (edit(JSON, '"Wheeze"', '"Snore"'), [JSON, "event 1", "'Snore'", "stridor", "correct"]),
    "a type that is a number": (edit(JSON, '"Wheeze"', "3"), [JSON, "event 1", "type", "correct"]),
    "no type": (edit(JSON, "type", "kind"), [JSON, "event 1", "type", "correct"]),
    "no start": (edit(JSON, '"start": "1600", ', ""), [JSON, "event 2", "start", "correct"]),
    "a start that is a word": (edit(JSON, '"1600"', '"soon"'), [JSON, "event 2", "'soon'", "correct"]),
    "a start that is null": (edit(JSON, '"1600"', "null"), [JSON, "event 2", "None", "correct"]),
    "a start that is NaN": (edit(JSON, '"1600"', "NaN"), [JSON, "event 2", "nan", "correct"]),
    "an end without end": (edit(JSON, '"2900"', '"inf"'), [JSON, "event 2", "inf", "correct"]),
    "an end past all numbers": (edit(JSON, '"2900"', "9" * 400), [JSON, "event 2", "correct"]),
    "ends as it starts": (edit(JSON, '"1500"', '"500"'), [JSON, "event 1", "ends before", "correct"]),
    "ends before it starts": (edit(JSON, '"2900"', '"1000"'), [JSON, "event 2", "ends before", "correct"]),
    "starts before the file": (edit(JSON, '"500"', '"-500"'), [JSON, "event 1", "-0.5", "correct"]),
    "past its audio": (edit(JSON, '"2900"', '"3900"'), [JSON, "event 2", "3.9 s", "3.00 s", "truncated"]),
    "truncated audio": (cut, [JSON, "event 2", "2.9 s", "truncated"]),
    "unreadable audio": (put(WAV, b"not audio" * 99), [WAV, "export"]),
    "unknown sex": (rename(FIRST, "101_8.1_2_p1_1"), ["101_8.1_2_p1_1.json", "sex '2'", "rename"]),
    "an age in words": (rename(FIRST, "101_old_1_p1_1"), ["101_old_1_p1_1.json", "age 'old'", "rename"]),
    "an age of 300": (rename(FIRST, "101_300_1_p1_1"), ["101_300_1_p1_1.json", "age '300'", "rename"]),
    "an age that is NaN": (rename(FIRST, "101_nan_1_p1_1"), ["101_nan_1_p1_1.json", "age 'nan'", "rename"]),
    "a name of four parts": (rename(FIRST, "101_8.1_1_p1"), ["101_8.1_1_p1.json", "age_sex_position", "rename"]),
    "annotated twice": (
        lambda root: shutil.copy(root / JSON, root / INTRA),
        [f"{INTRA}/{FIRST}.json", TRAIN, "move"],
    ),
    "audio without annotation": (remove(JSON), [WAV, ".json", "write it"]),
    "no audio at all": (lambda root: [p.unlink() for p in root.glob("*_wav/*")], ["audio", "it holds"]),
    "folders without files": (empty, ["BioCAS2022", "no SPRSound folder", "lungnb data fetch sprsound"]),
}


@pytest.mark.parametrize(("spoil", "named"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_sentence_with_file_and_mend(tiny, root, spoil, named):
    read_sprsound(tiny)
    spoil(root)
    with pytest.raises(UserError) as caught:
        read_sprsound(tiny)
    message = str(caught.value)
    assert all(word in message for word in named), message
    assert "\n" not in message


def test_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match=r"no SPRSound folder.*lungnb data fetch sprsound"):
        read_sprsound(tmp_path)


whole = st.integers(0, 10**6)
events = st.lists(st.tuples(whole, whole, st.sampled_from(LABELS)), max_size=9)


@given(
    events=events,
    text=st.booleans(),
    key=st.sampled_from(["record_annotation", "recording_annotation"]),
    plus=st.sampled_from(["+", " & ", " + "]),
)
def test_any_written_events_come_back(tmp_path_factory, events, text, key, plus):
    path = tmp_path_factory.getbasetemp() / "any.json"
    time = str if text else int
    found = [{"start": time(a), "end": time(b), "type": c.title().replace("+", plus)} for a, b, c in events]
    path.write_text(json.dumps({key: "DAS", "event_annotation": found}))
    label, read = parse_json(path)
    assert label == "DAS"
    assert [(r["start_s"], r["end_s"], r["label"]) for r in read] == [(a / 1000, b / 1000, c) for a, b, c in events]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["CAS", "Wheeze"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["record_annotation", "event_annotation", "start", "end", "type"]), inner, max_size=4
        )
    ),
)


@given(content=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_file_is_events_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "arbitrary.json"
    path.write_bytes(content)
    try:
        _, read = parse_json(path)
    except UserError as error:
        assert "arbitrary.json" in str(error)  # noqa: PT017
    else:
        assert all(event["label"] in LABELS for event in read)


def test_counts_of_a_small_folder(tiny):
    frame = check("sprsound", tiny.parent)
    assert frame["what"].is_unique
    counts = frame.set_index("what")["here"]
    expected = {
        "all: recordings": 5,
        "all: patients": 3,
        "all: events": 8,
        "train: patients": 2,
        "train: WC": 2,
        "train: abnormal": 4,
        "train records: Poor Quality": 1,
        "train records without events: Poor Quality": 1,
        "train records without events: not Poor Quality": 0,
        "train positions: p4": 1,
        "train sex: female": 2,
        "age: median_years": 8.1,
        "age: distinct values": 2,
        "event length: max_s": 1.3,
        "event length: share up to 2 s": 100,
        "event length | W: median_s": 1,
        "train | FC: largest patient": 1,
        "train | S: patients": 0,
        "inter: patients shared with train": 0,
        "intra: patients shared with train": 1,
        "test: events": 4,
        "test records: CAS & DAS": 1,
        "test, with audio: recordings": 2,
        "recordings annotated without audio": 0,
        "of 16 bits: recordings": 5,
        "most: channels": 1,
        "recording length: median_s": 2,
    }
    assert {what: counts[what] for what in expected} == expected
    assert {"all: recordings", "age: median_years", "test: events"} <= differing(frame)
    assert "inter: patients shared with train" not in differing(frame)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_part_is_a_difference_and_no_failure(tiny, root, part):
    for path in root.glob(part + "*"):
        shutil.rmtree(path)
    frame = check("sprsound", tiny.parent)
    missing = frame[frame["what"].isin([f"{part}: {what}" for what in ("recordings", "patients", "events")])]
    assert missing["here"].tolist() == [0, 0, 0]
    assert not missing["agrees"].any()


def test_bad_audio_is_listed_and_missing_audio_counted(tiny, root):
    (root / WAV).write_bytes(b"no audio")
    soundfile.write(root / f"train2022_wav/{SECOND}.flac", [0.0] * 8000, 8000)  # its last event ends at 2 s
    (root / f"train2022_wav/{SILENT}.wav").unlink()
    frame = check("sprsound", tiny.parent).set_index("what")
    assert frame.loc[f"audio of {WAV}", "here"] == "unreadable"
    assert frame.loc[f"audio of train2022_wav/{SECOND}.flac (s)", "published"] == "at least 2"
    assert frame.loc["recordings annotated without audio", "here"] == 1
    assert frame.loc["train: recordings", "here"] == 3


def test_no_audio_and_no_event_are_counted(tiny, root):
    for path in [*root.glob("*_wav/*"), *(p for p in root.rglob("*.json") if p.stem != SILENT)]:
        path.unlink()
    frame = check("sprsound", tiny.parent).set_index("what")
    assert frame.loc[["all: events", "train, with audio: recordings"], "here"].tolist() == [0, 0]
    lengths = ["event length: median_s", "recording length: max_s", "least: sample_rate_hz"]
    assert frame.loc[lengths, "here"].tolist() == ["-"] * 3
    assert not frame.loc[lengths, "agrees"].any()


def test_the_real_data_agree_with_the_published_counts():
    frame = check("sprsound", real_data("sprsound"))
    assert len(frame) == 114
    assert not differing(frame)


def test_the_real_data_can_be_read():
    corpus = load_corpus("sprsound", real_data("sprsound"))
    assert (len(corpus.events), corpus.n_recordings, corpus.n_missing) == (9089, 2683 - 187, 0)
    assert corpus.skipped == {"recordings without events (poor quality)": 187}
