"""Readers of clips: each official layout read to one table, real corpora counted, and what is wrong named with its line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from corpora import edit, put, real_data, write_tiny, write_tiny_sprsound

from lungnb import UserError
from lungnb.data import DATASETS, imported, read_prompted
from lungnb.data.corpus import COLUMNS, SIMULATED_MARKER, decade, join
from lungnb.data.icbhi import CONDITIONS as OF_DIAGNOSIS
from lungnb.data.multisite import read_manifest
from lungnb.data.phone import read_coughvid, read_coughvid_metadata, read_covid19_cough
from lungnb.data.prompts import CONDITIONS, REBUILDABLE, SOUNDS, corpora, count_sounds, prompts

READERS = {name: imported(dataset.reader) for name, dataset in DATASETS.items() if dataset.sounds}


def sound(path: Path, seconds: float = 0.2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(8000 * seconds))
    soundfile.write(path, samples, 8000)


def write_coughvid(folder: Path) -> Path:
    lines = [
        "uuid,datetime,cough_detected,latitude,age,gender,respiratory_condition,status",
        "aa,2020,0.99,1.0,43,male,False,healthy",
        "bb,2020,0.80,,7,female,True,COVID-19",
        "cc,2020,0.85,,,other,,symptomatic",
        "dd,2020,0.10,,30,male,False,healthy",
        "ee,2020,0.90,,,,,",
        "ff,2020,0.90,,,,,",
    ]
    folder.mkdir(parents=True)
    (folder / "metadata_compiled.csv").write_text("\n".join(lines) + "\n")
    for name in ("aa.ogg", "bb.wav", "dd.ogg"):
        sound(folder / name)
    for name in ("bb.webm", "cc.webm", "ee.webm"):  # bb was converted
        (folder / name).write_bytes(b"\x1aE\xdf\xa3")
    return folder


def write_coswara(folder: Path) -> Path:
    lines = [
        "id,a,covid_status,g,l_c,smoker,asthma,pneumonia",
        "p1,24,healthy,male,India,y,,",
        "p2,72,positive_mild,female,India,n,True,",
        "p3,5,no_resp_illness_exposed,other,India,,True,True",
        "p4,30,healthy,male,India,True,,",
    ]
    folder.mkdir(parents=True)
    (folder / "combined_data.csv").write_text("\n".join(lines) + "\n")
    for patient in ("20200413/p1", "20200413/p2", "20210206/p3"):
        for name in ("cough-heavy", "cough-shallow", "breathing-deep", "vowel-a", "counting-fast"):
            sound(folder / "Extracted_data" / patient / f"{name}.wav")
    return folder


def write_ukcovid(folder: Path) -> Path:
    folder.mkdir(parents=True)
    people = [
        "participant_identifier,age,gender,smoker_status,covid_test_result,respiratory_condition_asthma",
        "u1,18-44,Female,Never smoked,Positive,1",
        "u2,65+,Male,Current smoker (11 or more cigarettes per day),Negative,1.0",
        "u3,45-64,,Ex-smoker,Negative,0",
    ]
    audio = ["participant_identifier,exhalation_file_name,cough_file_name,three_cough_file_name,cough_length"]
    audio += ["u1,1e.wav,1c.wav,1t.wav,3.0", "u2,2e.wav,2c.wav,,3.0", "u3,,3c.wav,,3.0"]
    (folder / "participant_metadata.csv").write_text("\n".join(people) + "\n")
    (folder / "audio_metadata.csv").write_text("\n".join(audio) + "\n")
    for name in ("1e", "1c", "1t", "2e", "3c"):
        sound(folder / "audio" / f"{name}.wav")
    return folder


def write_kauh(folder: Path) -> Path:
    for name in (
        "BP1_Asthma,I E W,P L L,70,M",
        "DP1_Asthma,I E W,P L L,70,M",
        "EP6_Plueral Effusion,I C B,P L R,81,M",
        "BP66_heart failure,Crep,P R L ,43,M",
        "BP100_N,N,P R M,7,F",
        "DP19_Heart Failure + COPD,C,P R U,70,F",
        "BP69_pneumonia,Bronchial,P R L ,64,M",
        "BP2_COPD,I C E W,A R U,58,F",
    ):
        sound(folder / f"{name}.wav")
    return folder


def write_covid19_cough(folder: Path) -> Path:
    folder.mkdir(parents=True)
    entries = [{"filename": f"{n}.mp3", "covid19": n == 1, "verified": True, "source": "telegram"} for n in (1, 2, 3)]
    (folder / "metadata.json").write_text(json.dumps(entries))
    for n in (1, 2):
        sound(folder / "raw" / f"{n}.mp3")
    return folder


MANIFEST = """path,sound,patient,sex,age_years,smoker,condition,start_s,end_s,position
audio/1.wav,cough,7,female,43,no,Asthma,,,
audio/2.wav,wheeze,8,,8.1,yes,,0.05,0.15,left posterior
audio/2.wav,Crackle,8,,,,,0.15,,

"""


def write_manifest(folder: Path) -> Path:
    for n in (1, 2):
        sound(folder / "audio" / f"{n}.wav")
    (folder / "manifest.csv").write_text(MANIFEST)
    return folder


WRITERS = {
    "coughvid": write_coughvid,
    "coswara": write_coswara,
    "ukcovid": write_ukcovid,
    "icbhi": write_tiny,
    "sprsound": write_tiny_sprsound,
    "kauh": write_kauh,
    "covid19_cough": write_covid19_cough,
    "clinic": write_manifest,
}


def read(name: str, folder: Path):
    return READERS.get(name, read_manifest)(folder)


def told(clips) -> dict[str, str]:
    """Clip, without its corpus -> prompt, without its first words."""
    names = clips.events["clip"].str.removeprefix(clips.name + "/")
    return dict(zip(names, prompts(clips.events).str.removeprefix("A person is "), strict=True))


def test_coughvid(tmp_path):
    clips = read_coughvid(write_coughvid(tmp_path / "coughvid"))
    assert told(clips) == {"aa.ogg": "coughing, male, 40s, healthy", "bb.wav": "coughing, female, 0s, COVID-19"}
    assert clips.n_missing == 1
    assert [n for reason, n in clips.skipped.items() if "ffmpeg" in reason] == [2]
    assert clips.skipped["with cough_detected below 0.8"] == 1
    assert clips.origin_text == "real, partial (2 of 3 recordings)"


def test_coughvid_by_its_jsons_is_the_same(tmp_path):
    folder = write_coughvid(tmp_path / "public_dataset")
    compiled = read_coughvid(tmp_path).events
    table = pd.read_csv(folder / "metadata_compiled.csv", dtype=str)
    for row in table.to_dict("records"):
        about = {name: value for name, value in row.items() if name != "uuid" and value == value}
        (folder / f"{row['uuid']}.json").write_text(json.dumps(about))
    (folder / "metadata_compiled.csv").unlink()
    pd.testing.assert_frame_equal(read_coughvid(tmp_path).events, compiled)


def test_coswara(tmp_path):
    clips = read("coswara", write_coswara(tmp_path / "coswara"))
    prompts_of = {name.split("/", 2)[2]: text for name, text in told(clips).items()}
    assert prompts_of["p1/cough-heavy.wav"] == "coughing, male, 20s, smoker, healthy"
    assert prompts_of["p2/cough-shallow.wav"] == "coughing shallowly, female, 70s, non-smoker, COVID-19"
    assert prompts_of["p3/counting-fast.wav"] == "speaking, 0s, asthma"
    assert len(prompts_of) == 15
    assert clips.n_missing == 9 * 4 - 15
    assert set(clips.events["patient"]) == {"p1", "p2", "p3"}


def test_coswara_without_the_extracted_folder(tmp_path):
    folder = write_coswara(tmp_path / "coswara")
    before = told(read("coswara", folder))
    for dated in list((folder / "Extracted_data").iterdir()):
        dated.rename(folder / dated.name)
    (folder / "Extracted_data").rmdir()
    assert told(read("coswara", folder)) == {k.removeprefix("Extracted_data/"): v for k, v in before.items()}


def test_ukcovid(tmp_path):
    clips = read("ukcovid", write_ukcovid(tmp_path / "ukcovid"))
    assert told(clips) == {
        "audio/1e.wav": "exhaling, female, non-smoker, COVID-19",
        "audio/2e.wav": "exhaling, male, smoker, asthma",
        "audio/1c.wav": "coughing, female, non-smoker, COVID-19",
        "audio/3c.wav": "coughing",
        "audio/1t.wav": "coughing, female, non-smoker, COVID-19",
    }
    assert clips.n_missing == 1
    assert clips.events["age_decade"].isna().all()


def test_kauh(tmp_path):
    clips = read("kauh", write_kauh(tmp_path / "kauh"))
    assert sorted(told(clips).values()) == [
        "breathing with crackles, female, 70s, heart failure and COPD",
        "breathing with crackles, male, 40s, heart failure",
        "breathing with normal lung sounds, female, 0s, healthy",
        "breathing with wheezes, male, 70s, asthma",
        "breathing with wheezes, male, 70s, asthma",
    ]
    assert clips.events["patient"].nunique() == 4
    assert clips.skipped == {"of a sound that is none of the 13 types": 3}


def test_covid19_cough(tmp_path):
    clips = read("covid19_cough", write_covid19_cough(tmp_path / "covid19_cough"))
    assert told(clips) == {"raw/1.mp3": "coughing, COVID-19", "raw/2.mp3": "coughing, healthy"}
    assert clips.n_missing == 1


def test_icbhi_and_sprsound_leave_out_what_is_no_type(tmp_path):
    write_tiny(tmp_path / "icbhi")
    icbhi = read_prompted(tmp_path, ["icbhi"])
    assert sorted(told(icbhi).values()) == sorted(
        [
            "breathing with normal lung sounds, female, 0s, upper respiratory infection",
            "breathing with crackles, female, 0s, upper respiratory infection",
            "breathing with wheezes, male, 70s, COPD",
            "breathing with normal lung sounds, healthy",
        ]
    )
    assert icbhi.skipped == {"icbhi: of a sound that is none of the 13 types": 1}
    assert set(icbhi.events["patient"]) == {"icbhi/101", "icbhi/102", "icbhi/103"}
    write_tiny_sprsound(tmp_path / "sprsound")
    sprsound = read_prompted(tmp_path, ["sprsound"])
    assert sprsound.events["sound"].value_counts().to_dict() == {
        "crackle": 2,
        "wheeze": 1,
        "rhonchi": 1,
        "normal lung sound": 1,
    }
    assert sprsound.skipped["sprsound: of a sound that is none of the 13 types"] == 3


def test_manifest(tmp_path):
    clips = read_manifest(write_manifest(tmp_path / "clinic"))
    assert clips.name == "clinic"
    assert told(clips) == {
        "audio/1.wav": "coughing, female, 40s, non-smoker, asthma",
        "audio/2.wav@0.05-0.15": "breathing with wheezes, 0s, smoker",
        "audio/2.wav@0.15-end": "breathing with crackles",
    }
    assert clips.events["end_s"].isna().tolist() == [True, False, True]


@pytest.mark.parametrize("name", WRITERS)
def test_every_reader_gives_the_same_columns_a_fingerprint_and_the_origin(tmp_path, name):
    clips = read(name, WRITERS[name](tmp_path / name))
    assert clips.events.columns.tolist() == COLUMNS
    assert clips.name == name
    assert set(clips.events["corpus"]) == {name}
    assert clips.origin == "real"
    assert read(name, tmp_path / name).fingerprint == clips.fingerprint
    assert all((clips.audio_root / path).is_file() for path in clips.events["path"])
    assert set(clips.events["sound"].dropna()) <= set(SOUNDS)
    assert set(clips.events["condition"].dropna()) <= set(CONDITIONS)
    assert not clips.events["patient"].str.startswith(name).any()  # patients get their corpus where corpora are joined
    assert join([clips]).events["patient"].dropna().str.startswith(name + "/").all()
    path = clips.audio_root / clips.events["path"].iloc[0]
    sound(path, 9.0)
    assert read(name, tmp_path / name).fingerprint != clips.fingerprint
    (tmp_path / name / SIMULATED_MARKER).write_text("{}")
    assert read(name, tmp_path / name).origin_text.startswith("simulated")


def test_all_corpora_of_a_folder_are_joined(tmp_path):
    for name, write in WRITERS.items():
        write(tmp_path / name)
    (tmp_path / "notes").mkdir()
    clips = read_prompted(tmp_path)
    table = count_sounds(clips.events)
    assert table.columns.tolist() == [*sorted(WRITERS), "all"]
    assert table.index.tolist() == [*SOUNDS, "all"]
    assert table.loc["all", "all"] == len(clips.events)
    assert table.loc["cough", "all"] == 2 + 3 + 3 + 2 + 1
    assert all((clips.audio_root / path).is_file() for path in clips.events["path"])
    assert clips.skipped["icbhi: of a sound that is none of the 13 types"] == 1
    some = read_prompted(tmp_path, ["clinic", "kauh"])
    assert some.name == "clinic+kauh"
    assert len(some.events) == 8
    assert (
        read_prompted(tmp_path, ["kauh"]).events["path"].tolist()
        == read("kauh", tmp_path / "kauh").events["path"].tolist()
    )


def test_simulated_and_real_clips_are_not_joined(tmp_path):
    write_kauh(tmp_path / "kauh")
    write_manifest(tmp_path / "clinic")
    (tmp_path / "clinic" / SIMULATED_MARKER).write_text("{}")
    with pytest.raises(UserError, match=r"not joined: clinic \(simulated\), kauh \(real\)"):
        read_prompted(tmp_path)
    (tmp_path / SIMULATED_MARKER).write_text("{}")
    assert read_prompted(tmp_path, ["kauh"]).origin == "simulated"  # the marker of the folder around it


def test_a_recording_changed_in_place_is_another_corpus(tmp_path):
    folder = write_coughvid(tmp_path / "coughvid")
    before, file = read_coughvid(folder).fingerprint, folder / "bb.wav"
    content = file.read_bytes()
    file.write_bytes(content[:-2] + bytes(255 - byte for byte in content[-2:]))
    assert read_coughvid(folder).fingerprint != before


def test_every_diagnosis_of_icbhi_is_a_condition():
    assert set(OF_DIAGNOSIS.values()) <= set(CONDITIONS)


def test_decades_of_ages():
    ages = pd.Series([0.2, 8.1, 10, 47, 102, pd.NA])
    assert decade(ages).tolist() == [0, 0, 10, 40, 100, pd.NA]


CSV = "manifest.csv"
BAD = {
    "unknown sound": ("clinic", edit(CSV, ",cough,", ",sneeze,"), [CSV, "line 2", "'sneeze'", "cough, shallow cough"]),
    "no sound": ("clinic", edit(CSV, ",cough,", ",,"), ["line 2", "no sound"]),
    "no such file": ("clinic", edit(CSV, "audio/1.wav", "audio/9.wav"), ["line 2", "'audio/9.wav'", "add it"]),
    "a file outside": ("clinic", edit(CSV, "audio/1.wav", "../1.wav"), ["line 2", "'../1.wav'"]),
    "unknown sex": ("clinic", edit(CSV, "female", "x"), ["line 2", "sex 'x'", "female, male"]),
    "unknown age": ("clinic", edit(CSV, ",43,", ",430,"), ["line 2", "'430'", "years"]),
    "unknown smoker": ("clinic", edit(CSV, ",no,", ",maybe,"), ["line 2", "'maybe'", "yes, no"]),
    "unknown condition": ("clinic", edit(CSV, "Asthma", "flu"), ["line 2", "'flu'", "asthma"]),
    "a time that is none": ("clinic", edit(CSV, ",0.05,", ",soon,"), ["line 3", "start_s", "'soon'"]),
    "end before start": ("clinic", edit(CSV, "0.05,0.15", "0.15,0.05"), ["line 3", "ends before it starts"]),
    "a clip twice": ("clinic", edit(CSV, "\n\n", "\naudio/1.wav,cough,,,,,,,,\n"), ["line 2", "there twice"]),
    "an unknown column": ("clinic", edit(CSV, "smoker", "smokes"), ["line 1", "'smokes'", "known are path"]),
    "no column path": ("clinic", edit(CSV, "path,", "file,"), [CSV, "'path'"]),
    "no clip": ("clinic", put(CSV, b"path,sound\n"), [CSV, "lists no recording"]),
    "no CSV": ("clinic", put(CSV, b"\xff\xfe\x00"), [CSV, "CSV UTF-8"]),
    "too many cells": ("clinic", put(CSV, b"path,sound\na,b,c\n"), [CSV, "line 2", "3 cells, expected 2"]),
    "too many cells further down": (
        "clinic",
        put(CSV, b"path,sound\naudio/1.wav,cough\naudio/2.wav,cough,c\n"),
        [CSV, "line 3", "3 cells, expected 2"],
    ),
    "coughvid gender": ("coughvid", edit("metadata_compiled.csv", "other", "x"), ["line 4", "gender 'x'", "male"]),
    "coughvid detector": ("coughvid", edit("metadata_compiled.csv", "0.99", "loud"), ["line 2", "'loud'"]),
    "coughvid column": ("coughvid", edit("metadata_compiled.csv", "status", "state"), ["'status'", "release"]),
    "coswara status": ("coswara", edit("combined_data.csv", "positive_mild", "ill"), ["line 3", "covid_status 'ill'"]),
    "coswara smoker": ("coswara", edit("combined_data.csv", ",n,", ",rarely,"), ["line 3", "smoker 'rarely'"]),
    "ukcovid column": ("ukcovid", edit("audio_metadata.csv", "three_cough_file_name", "three"), ["'three_cough_file_name'"]),
    "ukcovid smoker": ("ukcovid", edit("participant_metadata.csv", "Never smoked", "often"), ["line 2", "smoker_status 'often'"]),
    "ukcovid stranger": ("ukcovid", edit("participant_metadata.csv", "u2,", "u9,"), ["line 3", "'u2'", "one release"]),
    "kauh name": ("kauh", lambda folder: sound(folder / "BP7_Asthma.wav"), ["BP7_Asthma.wav", "rename"]),
    "kauh diagnosis": ("kauh", lambda folder: sound(folder / "BP7_flu,W,P,7,M.wav"), ["BP7_flu", "diagnosis 'flu'"]),
    "covid19_cough entry": ("covid19_cough", edit("metadata.json", "true, \"v", "1, \"v"), ["entry 1", "covid19"]),
    "covid19_cough json": ("covid19_cough", put("metadata.json", b"{"), ["metadata.json", "not JSON"]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "spoil", "named"), BAD.values(), ids=BAD)
def test_bad_input_is_named_with_its_line(tmp_path, name, spoil, named):
    folder = WRITERS[name](tmp_path / name)
    spoil(folder)
    with pytest.raises(UserError) as caught:
        read(name, folder)
    assert "\n" not in str(caught.value)
    for part in named:
        assert part in str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_an_empty_folder_is_no_corpus(tmp_path, name):
    with pytest.raises(UserError, match=str(tmp_path)):
        read(name, tmp_path)


def test_a_corpus_without_audio_says_so(tmp_path):
    folder = write_coughvid(tmp_path / "coughvid")
    for path in (*folder.glob("*.ogg"), *folder.glob("*.wav")):
        path.unlink()
    with pytest.raises(UserError, match=r"no audio of the 5 recordings of coughvid.*3 are in a format.*ffmpeg"):
        read_coughvid(folder)


def test_folders_that_are_none_are_named(tmp_path):
    with pytest.raises(UserError, match=r"holds no corpus of clips \(found: nothing\); known are icbhi"):
        read_prompted(tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match=r"holds no manifest\.csv, and no reader is called 'other'"):
        read_prompted(tmp_path, ["other"])
    with pytest.raises(UserError, match=r"different names, not \[\]"):
        join([])


def test_licences_cover_every_reader_and_every_source_of_a_type():
    licences = corpora()
    assert set(READERS) <= set(licences.index)
    assert {corpus for sound in SOUNDS.values() for corpus in sound.corpora} <= set(licences.index)
    assert all(licences.loc[list(sound.corpora), "access"].eq("open").any() for sound in SOUNDS.values())
    assert licences.index[licences["in_paper"] == "named"].tolist() == ["ukcovid", "coughvid", "mmlung"]
    assert licences.loc["mmlung", "access"] == "request"
    assert "124,883" in REBUILDABLE


def test_real_coughs_are_all_read():
    folder = real_data("covid19_cough") / "covid19_cough"
    clips = read_covid19_cough(folder)
    assert clips.origin == "real"
    assert len(clips.events) + clips.n_missing == 1324
    assert clips.events["condition"].value_counts().to_dict() == {"COVID-19": 677, "healthy": 621}


@pytest.mark.parametrize("name", ["icbhi", "sprsound"])
def test_real_lung_sounds_are_all_read_or_counted(name):
    clips = read_prompted(real_data(name), [name])
    other = clips.skipped[f"{name}: of a sound that is none of the 13 types"]
    assert clips.origin == "real"
    if name == "sprsound":
        assert len(clips.events) + other == 9089
        assert other == 17 + 34
        assert (clips.events["sound"] == "rhonchi").sum() == 53
    assert clips.events["sound"].isin(["normal lung sound", "wheeze", "crackle", "rhonchi"]).all()
    assert clips.events["sex"].notna().mean() > 0.9


def test_the_real_table_of_coughvid_is_understood():
    table, _ = read_coughvid_metadata(real_data("coughvid_metadata") / "coughvid_metadata")
    assert len(table) == 20072
    assert table["sex"].value_counts().to_dict() == {"male": 7226, "female": 4001}
    assert table["condition"].value_counts().to_dict() == {
        "healthy": 8562,
        "respiratory symptoms": 1742,
        "COVID-19": 1010,
    }
    assert table["age_years"].notna().sum() == 10468
