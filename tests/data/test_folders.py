"""Folders as users have them: each rule of `lungnb.data.folders` on every reader that it can meet, and what is told of it."""

import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from corpora import TINY_SPRSOUND, edit, real_data, write_tiny, write_tiny_sprsound
from test_phone import WRITERS as CLIPS
from test_phone import sound

from lungnb import UserError
from lungnb.data import DATASETS, check, imported, load_corpus, make_split, read_prompted
from lungnb.data.folders import (
    BROKEN_LINKS,
    COPIES,
    LEFT_BY_SYSTEMS,
    UNNAMED_AUDIO,
    by_stem,
    find_file,
    original_stem,
)
from lungnb.data.multisite import read_manifest
from lungnb.data.splits import hold_out_patients
from lungnb.data.sprsound import sprsound_view


def write_multisite(folder: Path) -> Path:
    rows = [
        "patient,site,path,diagnosis,age_years,sex",
        "7,1,audio/7.wav,asthma,3,male",
        "8,2,audio/8.wav,control,4,female",
    ]
    for name in ("7", "8"):
        sound(folder / "GVA" / "audio" / f"{name}.wav", 6.0)
    (folder / "GVA" / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


WRITERS = {**CLIPS, "multisite": write_multisite}


def read(name: str, folder: Path):
    reader = imported(DATASETS[name].reader) if name in DATASETS else read_manifest
    return reader(folder)


def audio_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".wav", ".flac", ".ogg", ".mp3"))


def comparable(corpus):
    return corpus.events.assign(path="", clip="", recording="", position="")


@pytest.fixture(params=WRITERS)
def written(request, tmp_path):
    """Name and folder of each small data set."""
    return request.param, WRITERS[request.param](tmp_path / request.param)


def test_a_suffix_counts_in_any_case(written):
    name, folder = written
    before = read(name, folder)
    for path in audio_of(folder):
        path.rename(path.with_suffix(path.suffix.upper()))
    after = read(name, folder)
    assert comparable(after).equals(comparable(before))
    assert (after.n_missing, after.skipped) == (before.n_missing, before.skipped)


def test_what_systems_leave_is_passed_over_and_counted(written):
    name, folder = written
    before, found = read(name, folder), [p for p in folder.rglob("*") if p.is_file()]
    for path in found:
        path.with_name("._" + path.name).write_bytes(b"\0\5\x16\7")
    (folder / ".DS_Store").write_bytes(b"\0")
    after = read(name, folder)
    assert after.events.equals(before.events)
    assert after.fingerprint == before.fingerprint
    assert after.skipped == before.skipped | {LEFT_BY_SYSTEMS: len(found) + 1}


@pytest.mark.parametrize("basket", [".Trash-1000/files", "$RECYCLE.BIN", ".ipynb_checkpoints", "@eaDir", "__MACOSX/a"])
def test_waste_baskets_are_passed_over_and_a_link_that_leads_nowhere_is_told(written, basket):
    name, folder = written
    before, path = read(name, folder), audio_of(folder)[0]
    (folder / basket).mkdir(parents=True)
    shutil.copy(path, folder / basket / path.name)
    (path.parent / "Icon\r").write_bytes(b"")
    path.with_stem(path.stem + "_2").symlink_to("/nowhere/a.wav")
    (folder / ".git" / "annex").mkdir(parents=True)  # a clone's own files are no files of the data set
    shutil.copy(path, folder / ".git" / "annex" / path.name)
    after = read(name, folder)
    assert after.events.equals(before.events)
    assert after.fingerprint == before.fingerprint
    assert after.skipped == before.skipped | {LEFT_BY_SYSTEMS: 2, BROKEN_LINKS: 1}


def test_a_copy_that_is_left_alone_is_meant(written):
    name, folder = written
    before = read(name, folder)
    for path in audio_of(folder):
        path.rename(path.with_stem(path.stem + " (1)"))
    after = read(name, folder)
    assert comparable(after).equals(comparable(before))
    assert (after.n_missing, after.skipped) == (before.n_missing, before.skipped)
    first = next(
        path for path in audio_of(folder) if path.relative_to(after.audio_root).as_posix() in set(after.events["path"])
    )
    shutil.copy(first, first.with_name(first.name.replace("(1)", "(2)")))  # now either may be meant
    if name in ("icbhi", "sprsound", "kauh", "coughvid"):
        with pytest.raises(UserError, match="two files of one recording"):
            read(name, folder)
    elif name in ("clinic", "multisite"):
        with pytest.raises(UserError, match=r"manifest\.csv, line \d: there is no file"):
            read(name, folder)
    else:
        assert read(name, folder).n_missing == before.n_missing + 1


@pytest.mark.parametrize("form", ["{} (1)", "{} - Copy", "{} - Kopie (2)", "Copy of {}", "{}(3)"])
def test_copies_are_passed_over_and_counted(written, form):
    name, folder = written
    before, path = read(name, folder), audio_of(folder)[0]
    shutil.copy(path, path.with_stem(form.format(path.stem)))
    after = read(name, folder)
    assert after.events.equals(before.events)
    assert after.skipped == before.skipped | {COPIES: 1}
    assert after.unread[COPIES] == [path.with_stem(form.format(path.stem)).relative_to(folder).as_posix()]


@pytest.mark.parametrize("form", ["{}_filtered", "{}_0", "{} denoised", "{}-16k"])
def test_a_file_made_from_a_recording_never_replaces_it(written, form):
    name, folder = written
    before, path = read(name, folder), audio_of(folder)[0]
    soundfile.write(path.with_name(form.format(path.stem) + ".wav"), np.zeros(8000), 8000)
    after = read(name, folder)
    assert after.events.equals(before.events)
    assert after.skipped == before.skipped | {UNNAMED_AUDIO: 1}


@pytest.mark.parametrize("name", ["icbhi", "sprsound", "kauh", "coughvid"])
def test_two_files_of_one_recording_are_an_error_that_names_both(tmp_path, name):
    folder = WRITERS[name](tmp_path / name)
    path = next(p for p in audio_of(folder) if p.suffix == ".wav")
    sound(path.with_suffix(".flac"))
    with pytest.raises(UserError, match="two files of one recording") as caught:
        read(name, folder)
    assert all(str(p) in str(caught.value) for p in (path, path.with_suffix(".flac")))


@pytest.mark.parametrize("depth", ["unzipped", "unzipped/once more"])
def test_a_data_set_may_lie_deeper(written, depth, tmp_path):
    name, folder = written
    if name == "clinic":
        pytest.skip("a manifest stands where its folder's name is the corpus's")
    before = read(name, folder)
    inside = tmp_path / "outside" / depth
    inside.parent.mkdir(parents=True)
    folder.rename(inside)
    after = read(name, tmp_path / "outside")
    assert comparable(after).equals(comparable(before))
    assert all((after.audio_root / path).is_file() for path in after.events["path"])


@pytest.mark.parametrize("name", sorted(DATASETS.keys() - {"prompted", "multisite"}))
def test_the_data_folder_may_be_the_data_set_itself_or_have_another_name(tmp_path, name):
    folder = WRITERS[name](tmp_path / "data" / name)
    events = load_corpus(name, folder.parent).events
    assert load_corpus(name, folder).events.equals(events)
    assert load_corpus(name, audio_of(folder)[0].parent).events.equals(events)
    other = folder.rename(folder.with_name({"coswara": "Coswara-Data"}.get(name, name.upper())))
    assert load_corpus(name, other.parent).events.equals(events)


def test_a_folder_that_is_not_found_names_what_is_there_and_never_a_download(tmp_path):
    sound(tmp_path / "my recordings" / "night 1" / "a.wav")
    for name in DATASETS.keys() - {"prompted"}:
        with pytest.raises(UserError, match="my recordings/night 1/") as caught:
            load_corpus(name, tmp_path)
        assert "fetch" not in str(caught.value)
    write_tiny(tmp_path / "here" / "icbhi")
    (tmp_path / "here" / "other").mkdir()
    with pytest.raises(UserError, match=f"{tmp_path}/here/icbhi is beside it, so give {tmp_path}/here"):
        load_corpus("icbhi", tmp_path / "here" / "other")


@pytest.mark.parametrize("name", ["icbhi", "kauh"])
def test_links_of_a_clone_whose_files_were_not_got(tmp_path, name):
    for path in audio_of(WRITERS[name](tmp_path / name)):
        path.unlink()
        path.symlink_to("/nowhere/a.wav")
    with pytest.raises(
        UserError, match="a link that leads nowhere" if name == "kauh" else "no annotated recording with audio"
    ):
        read(name, tmp_path / name)


@pytest.mark.parametrize("name", sorted(DATASETS.keys() - {"prompted"}))
def test_an_archive_is_to_be_unpacked_and_a_file_is_no_folder(tmp_path, name):
    WRITERS[name](tmp_path / name)
    shutil.make_archive(str(tmp_path / "zipped" / "download"), "zip", tmp_path / name)
    with pytest.raises(UserError, match=r"download\.zip \(an archive: unpack it\)"):
        load_corpus(name, tmp_path / "zipped")
    (tmp_path / "zipped" / name).mkdir()
    (tmp_path / "zipped" / "download.zip").rename(tmp_path / "zipped" / name / "download.zip")
    with pytest.raises(UserError, match=r"download\.zip \(an archive: unpack it\)"):
        load_corpus(name, tmp_path / "zipped")
    with pytest.raises(UserError, match=f"is a file; give one that holds {name}/"):
        load_corpus(name, audio_of(tmp_path / name)[0])


def test_a_folder_and_a_link_to_it_are_one_corpus(tmp_path):
    WRITERS["clinic"](tmp_path / "clinic")
    (tmp_path / "link").symlink_to(tmp_path / "clinic")
    for name in ("__MACOSX", ".Trash-1000"):
        shutil.copytree(tmp_path / "clinic", tmp_path / name / "clinic")
    corpus = read_prompted(tmp_path)
    assert (corpus.name, corpus.skipped) == ("clinic", {})


def test_a_link_with_the_name_of_a_data_set_counts(tmp_path):
    WRITERS["kauh"](tmp_path / "recordings_of_jordan")
    (tmp_path / "kauh").symlink_to(tmp_path / "recordings_of_jordan")
    assert read_prompted(tmp_path).name == "kauh"


def test_a_name_that_is_no_unicode_stops_nothing_unless_it_is_a_recording_s(tmp_path, monkeypatch):
    monkeypatch.setattr("lungnb.data.corpus.SETTLED_S", 0)
    folder = WRITERS["kauh"](tmp_path / "kauh")
    before = read("kauh", folder).fingerprint
    Path(os.fsdecode(os.fsencode(folder) + b"/Notizen_\xfc.txt")).write_text("")
    assert read("kauh", folder).fingerprint == before
    shutil.copyfile(audio_of(folder)[0], os.fsdecode(os.fsencode(folder) + b"/H\xfcsten.wav"))
    with pytest.raises(UserError, match=r"H\\udcfcsten.wav' is no UTF-8; rename it"):
        read("kauh", folder)


def test_a_folder_that_may_not_be_read_is_said_so(tmp_path, monkeypatch):
    (tmp_path / "lost+found").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "lost+found")
    with pytest.raises(UserError, match=r"holds no kauh/ \(found: lost\+found/ \(what may not be read\)\)"):
        load_corpus("kauh", tmp_path)


def test_a_list_of_recordings_without_any(tmp_path):
    WRITERS["coughvid"](tmp_path / "coughvid")
    for path in audio_of(tmp_path / "coughvid"):
        path.unlink()
    with pytest.raises(UserError, match="holds no audio of the"):
        load_corpus("coughvid", tmp_path)


def test_folders_that_no_prompts_are_made_of_are_told(tmp_path):
    write_tiny_sprsound(tmp_path / "SPRSound")
    write_tiny(tmp_path / "ICBHI")
    sound(tmp_path / "hf_lung" / "steth.wav")
    clips = read_prompted(tmp_path)
    assert clips.name == "icbhi+sprsound"
    assert clips.skipped["folders of no corpus that is read (hf_lung)"] == 1


# Layouts and side files of ICBHI.


def sides(folder: Path, names: dict[str, str]):
    for old, new in names.items():
        (folder / old).rename(folder / new)


OPERA = {
    "demographic_info.txt": "ICBHI_Challenge_demographic_information.txt",
    "patient_diagnosis.csv": "ICBHI_Challenge_diagnosis.txt",
}
PATCH_MIX = {
    "demographic_info.txt": "metadata.txt",
    "patient_diagnosis.csv": "patient_diagnosis.txt",
    "ICBHI_challenge_train_test.txt": "official_split.txt",
}


@pytest.mark.parametrize(
    ("audio", "names"),
    [
        ("audio_text_data", {}),
        ("audio_test_data", PATCH_MIX),
        ("ICBHI_final_database", OPERA),
        ("recordings", {}),
        (".", {}),
    ],
)
def test_layouts_of_icbhi_in_circulation(tmp_path, audio, names):
    folder = write_tiny(tmp_path / "icbhi")
    before = read("icbhi", folder)
    for path in (folder / "audio_and_txt_files").iterdir():
        (folder / audio).mkdir(exist_ok=True)
        path.rename(folder / audio / path.name)
    sides(folder, names)
    assert comparable(read("icbhi", folder)).equals(comparable(before))


def test_recordings_of_icbhi_may_be_sorted_into_folders(tmp_path):
    folder = write_tiny(tmp_path / "icbhi")
    before, audio = read("icbhi", folder), folder / "audio_and_txt_files"
    for path in list(audio.glob("101*")):
        (audio / "train").mkdir(exist_ok=True)
        path.rename(audio / "train" / path.name)
    assert comparable(read("icbhi", folder)).equals(comparable(before))
    shutil.copytree(audio / "train", audio / "test")
    with pytest.raises(UserError, match="two files of one recording"):
        read("icbhi", folder)


SIDES = {
    "semicolons": lambda text: text.replace(",", ";"),
    "quotes": lambda text: "".join(",".join(f'"{cell}"' for cell in line.split(",")) + "\n" for line in text.split()),
    "a leading blank": lambda text: text.replace("\n", "\n "),
    "tabs and no header": lambda text: text.partition("\n")[2].replace(",", "\t"),
    "row numbers": lambda text: "".join(f"{'' if n == 0 else n - 1},{row}\n" for n, row in enumerate(text.split())),
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "other names of columns": lambda text: text.replace("ID,CLASS", "Patient Number,Diagnosis"),
    "columns turned": lambda text: "".join(",".join(row.split(",")[::-1]) + "\n" for row in text.split()),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("change", SIDES.values(), ids=SIDES)
def test_diagnoses_as_programs_save_them(tmp_path, change, encoding):
    path = write_tiny(tmp_path / "icbhi") / "patient_diagnosis.csv"
    path.write_bytes(change(path.read_text()).encode(encoding))
    events = read("icbhi", path.parent).events
    assert dict(zip(events["patient"], events["diagnosis"], strict=True)) == {
        "101": "URTI",
        "102": "COPD",
        "103": "Healthy",
    }


@pytest.mark.parametrize(
    "text", ["0,101,URTI\n1,102,COPD\n", "0 101 URTI\n", "101,URTI\n101,COPD\n", "ID,AGE\n101,3\n", "101\n"]
)
def test_diagnoses_that_would_move_are_refused_with_the_line(tmp_path, text):
    path = write_tiny(tmp_path / "icbhi") / "patient_diagnosis.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"patient_diagnosis\.csv, line [12]"):
        read("icbhi", path.parent)


@pytest.mark.parametrize(
    "text",
    [
        "101 3 Female\n102 75 male\n103 NA NA\n",
        "patient;age;sex\n101;3,0;F\n102;75;M\n103;;\n",
        ",ID,Sex,Age\n0,101,f,3\n1,102,M,75\n2,103,,\n",
    ],
)
def test_people_as_programs_save_them(tmp_path, text):
    folder = write_tiny(tmp_path / "icbhi")
    before = read("icbhi", folder)
    (folder / "demographic_info.txt").write_text(text)
    after = read("icbhi", folder)
    assert after.events.equals(before.events)
    (folder / "demographic_info.txt").write_text(text.replace("103", "104"))
    lost = read("icbhi", folder).skipped
    assert lost == {
        "patients of whom demographic_info.txt says nothing (kept)": 1,
        "patients in demographic_info.txt of whom nothing is annotated (passed over)": 1,
    }


def test_leading_zeros_that_a_spreadsheet_took_away(tmp_path):
    folder = write_tiny(tmp_path / "icbhi")
    before = read("icbhi", folder)
    for path in list((folder / "audio_and_txt_files").iterdir()):
        path.rename(path.with_name("00" + path.name))
    split = folder / "ICBHI_challenge_train_test.txt"
    split.write_text("".join(f"00{line}\n" for line in split.read_text().split("\n") if line))
    after = read("icbhi", folder)
    assert set(after.events["patient"]) == {"00101", "00102", "00103"}
    columns = ["age_years", "sex", "diagnosis", "fold", "split"]
    assert after.events[columns].equals(before.events[columns])
    assert after.skipped == before.skipped
    (folder / "demographic_info.txt").write_text("0101 3 F\n101 4 F\n00102 75 M\n")  # 101 may be either
    assert read("icbhi", folder).skipped == {
        "patients of whom demographic_info.txt says nothing (kept)": 2,
        "patients in demographic_info.txt of whom nothing is annotated (passed over)": 2,
    }


AGES = {"3 years": 3, "6m": 0.5, "0,75": 0.75, "18 months": 1.5, "2 yrs.": 2, "26 weeks": 0.498, "n/a": None, "?": None}


@pytest.mark.parametrize("text", [*AGES, "three", "-1", "130", "12+", "3 5"])
def test_ages_as_people_write_them(tmp_path, text):
    """The same in every table of people."""
    edits = {
        "icbhi": (
            "demographic_info.txt",
            "101 3 F NA 19 99\n102 75 M 33 NA NA\n103 NA NA NA NA NA",
            f"101\t{text}\tF\n102\t\t\n103\t\t",
        ),
        "multisite": ("GVA/manifest.csv", "asthma,3,", f'asthma,"{text}",'),
        "clinic": ("manifest.csv", "female,43,", f'female,"{text}",'),
        "coswara": ("combined_data.csv", "p1,24,", f'p1,"{text}",'),
    }
    for name, (file, old, new) in edits.items():
        folder = WRITERS[name](tmp_path / name)
        edit(file, old, new)(folder)
        if text in AGES:
            age = read(name, folder).events["age_years"].iloc[0]
            assert (None if age is pd.NA else round(age, 3)) == AGES[text]
        else:
            with pytest.raises(UserError, match=f"{Path(file).name}, line [12]"):
                read(name, folder)


def test_a_sex_that_is_none_is_not_lost(tmp_path):
    folder = write_tiny(tmp_path / "icbhi")
    edit("demographic_info.txt", "75 M", "75 X")(folder)
    with pytest.raises(UserError, match=r"demographic_info\.txt, line 2.*102 75 X"):
        read("icbhi", folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\t", ".wav\t"),
        lambda text: "filename,split\n" + text.replace("\t", ","),
        lambda text: text.replace("train", "Train").replace("test", "TESTING"),
        lambda text: text.replace("10", "audio/10", 1),
    ],
)
def test_split_lists_in_circulation(tmp_path, change):
    folder = write_tiny(tmp_path / "icbhi")
    before, path = read("icbhi", folder), folder / "ICBHI_challenge_train_test.txt"
    path.write_text(change(path.read_text()))
    assert read("icbhi", folder).events.equals(before.events)


def test_a_recording_on_both_sides_is_refused_with_both_lines(tmp_path):
    folder = write_tiny(tmp_path / "icbhi")
    with (folder / "ICBHI_challenge_train_test.txt").open("a") as file:
        file.write("101_1b1_Al_sc_AKGC417L\ttest\n")
    with pytest.raises(UserError, match="line 4: 101_1b1_Al_sc_AKGC417L is in test, and in train by line 1"):
        read("icbhi", folder)


@pytest.mark.parametrize(
    "name", ["P001_1b1_Al_sc_Meditron", "Müller_a_apex_mc_Eko-CORE 500", "301_1b1_al_SC_Littmann_CORE"]
)
def test_own_patients_positions_and_devices(tmp_path, name):
    folder = write_tiny(tmp_path / "icbhi")
    sound(folder / "audio_and_txt_files" / f"{name}.WAV", 3.0)
    (folder / "audio_and_txt_files" / f"{name}.TXT").write_text("0 2 0 1\n")
    with (folder / "ICBHI_challenge_train_test.txt").open("a") as file:
        file.write(f"{name}\ttrain\n")
    event = read("icbhi", folder).events.set_index("recording").loc[name]
    patient, _, position, _, device = name.split("_", 4)
    assert (event["patient"], event["device"], event["split"]) == (patient, device, "train")
    assert event["position"] == position.replace("al", "Al")


def test_a_name_that_is_none_is_said_so(tmp_path):
    folder = write_tiny(tmp_path / "icbhi")
    sound(folder / "audio_and_txt_files" / "P001.wav", 3.0)
    assert read("icbhi", folder).skipped == {UNNAMED_AUDIO: 1}
    (folder / "audio_and_txt_files" / "P001.txt").write_text("0 2 0 1\n")
    with pytest.raises(UserError, match=r"'P001' is not patient_recording_position_mode_device"):
        read("icbhi", folder)


@pytest.mark.parametrize("line", ["6.01 6.04 1 0", "5.995 6.03 1 0", "1 1.0001 0 0"])
def test_cycles_that_hold_no_sound_are_refused(tmp_path, line):
    folder = write_tiny(tmp_path / "icbhi")
    with (folder / "audio_and_txt_files/101_1b1_Al_sc_LittC2SE.txt").open("a") as file:
        file.write(line.replace(" ", "\t") + "\n")
    with pytest.raises(UserError, match=r"LittC2SE\.txt, line 3"):
        read("icbhi", folder)


# SPRSound after 2022.

FIRST = next(iter(TINY_SPRSOUND))
MOVES = {
    "on top": {"BioCAS2022/train2022_": "train_", "BioCAS2022/test2022_": "test_"},
    "classification": {
        "BioCAS2022/train2022_": "Classification/train_classification_",
        "BioCAS2022/test2022_": "Classification/test_",
    },
    "releases": {"BioCAS2022/": "releases/BioCAS2022/"},
    "a clone inside": {"BioCAS2022/": "SPRSound/BioCAS2022/"},
}


@pytest.mark.parametrize("moves", MOVES.values(), ids=MOVES)
def test_layouts_of_other_commits(tmp_path, moves):
    folder = write_tiny_sprsound(tmp_path / "sprsound")
    before, other = read("sprsound", folder), tmp_path / "other"
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        place = path.relative_to(folder).as_posix()
        for old, new in moves.items():
            place = place.replace(old, new)
        (other / place).parent.mkdir(parents=True, exist_ok=True)
        path.rename(other / place)
    assert comparable(read("sprsound", other)).equals(comparable(before))


def add_release(folder: Path, year: int, name: str, record: dict) -> None:
    sound(folder / f"BioCAS{year}" / f"test{year}_wav" / f"{name}.wav", 3.0)
    path = folder / f"BioCAS{year}" / f"test{year}_json" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))


def test_later_releases_are_read_as_what_they_are(tmp_path):
    folder = write_tiny_sprsound(tmp_path / "sprsound")
    before = read("sprsound", folder)
    event = {"start": 100, "end": 900, "type": " Fine  Crackle "}
    add_release(folder, 2023, "900_8.1_1_p1_1", {"record_annotation": "CAS&das ", "event_annotation": [event]})
    add_release(folder, 2025, "_5.3_0_p8_34877", {"event_annotation": [event]})
    add_release(folder, 2025, "_5.3_0_p8_34878", {"event_annotation": [event]})
    corpus = read("sprsound", folder)
    new = corpus.events[~corpus.events["recording"].isin(before.events["recording"])]
    assert new["split"].tolist() == ["test2023", "test2025", "test2025"]
    assert new["label"].tolist() == ["fine crackle"] * 3
    assert new["patient"].nunique() == 3
    of_2022 = corpus.select(corpus.events["split"].isin(["train", "inter", "intra"]))
    assert comparable(of_2022).equals(comparable(before))
    assert corpus.skipped["recordings of children without a number (kept; in no split of patients)"] == 2
    counts = check("sprsound", tmp_path).set_index("what")
    assert counts.loc["all: recordings", "here"] == len(TINY_SPRSOUND)  # what was published is of 2022
    assert counts.loc["test2023: recordings", ["published", "here"]].tolist() == [871, 1]
    assert counts.loc["test2025: recordings", ["published", "here"]].tolist() == [1309, 2]
    assert "test2024: recordings" not in counts.index


def test_a_year_above_the_data_set_is_nobody_s_release(tmp_path):
    corpora = [read("sprsound", write_tiny_sprsound(tmp_path / name / "sprsound")) for name in ("x", "test2024")]
    assert comparable(corpora[0]).equals(comparable(corpora[1]))


def test_children_without_a_number_are_in_no_split(tmp_path):
    folder = write_tiny_sprsound(tmp_path / "sprsound")
    for n in range(9):
        event = {"start": 100, "end": 900, "type": ["Wheeze", "Normal"][n % 2]}
        for name in (f"7{n}_8.1_1_p1_{n}", f"_5.3_0_p1_{n}"):
            add_release(folder, 2024, name, {"event_annotation": [event]})
    corpus = read("sprsound", folder)
    split = make_split(corpus.events, "stratified", validation="none")
    unnumbered = corpus.events["patient"].str.startswith("_")
    assert split.part[unnumbered].isna().all()
    assert split.part[~unnumbered].notna().all()
    assert split.notes == ["9 events of children without a number are in no part"]
    assert not sprsound_view(corpus).events["patient"].str.startswith("_").any()
    assert hold_out_patients(corpus.events[~unnumbered], 1, 5).any()


def test_a_recording_of_two_releases_is_read_once_or_refused(tmp_path):
    folder = write_tiny_sprsound(tmp_path / "sprsound")
    before = read("sprsound", folder)
    record = json.loads((folder / f"BioCAS2022/train2022_json/{FIRST}.json").read_text())
    add_release(folder, 2024, FIRST, record)
    corpus = read("sprsound", folder)
    assert comparable(corpus).equals(comparable(before))
    assert corpus.skipped["recordings that an earlier release holds as well (passed over)"] == 1
    record["event_annotation"][0]["type"] = "Stridor"
    add_release(folder, 2024, FIRST, record)
    with pytest.raises(UserError, match=f"BioCAS2024.*{FIRST}.*BioCAS2022"):
        read("sprsound", folder)


@pytest.mark.parametrize(
    "record", [{"record_annotation": "Poor quality"}, {"record_annotation": "Poor Quality", "event_annotation": None}]
)
def test_poor_quality_needs_no_events(tmp_path, record):
    folder = write_tiny_sprsound(tmp_path / "sprsound")
    before = read("sprsound", folder).skipped["recordings without events (poor quality)"]
    (folder / f"BioCAS2022/train2022_json/{FIRST}.json").write_text(json.dumps(record))
    assert read("sprsound", folder).skipped["recordings without events (poor quality)"] == before + 1


def test_times_in_seconds_are_refused(tmp_path):
    folder = write_tiny_sprsound(tmp_path / "sprsound")
    edit(f"BioCAS2022/train2022_json/{FIRST}.json", '"500", "end": "1500"', '"0.5", "end": "1.5"')(folder)
    with pytest.raises(UserError, match=r"event 1: the event lasts 1 milliseconds"):
        read("sprsound", folder)


def test_every_name_of_kauh(tmp_path):
    names = Path(__file__).with_name("kauh_names.txt").read_text().splitlines()[1:]
    for n, name in enumerate(names):
        for letter in "BDE":
            sound(tmp_path / f"{letter}P{name}{('.wav', '.WAV')[n % 2]}", 0.01)
    corpus = read("kauh", tmp_path)
    # I C E W and I C B are mixtures (four people), and Bronchial is no type (one).
    assert (len(corpus.events), corpus.skipped) == (3 * 107, {"of a sound that is none of the 13 types": 3 * 5})
    people = corpus.events.drop_duplicates("patient")
    assert (corpus.events["patient"].value_counts() == 3).all()
    assert people["sound"].value_counts().to_dict() == {"wheeze": 41, "normal lung sound": 35, "crackle": 31}
    assert people["sex"].value_counts().to_dict() == {"male": 64, "female": 43}
    assert (people["age_years"].min(), people["age_years"].max()) == (12, 90)
    assert people["condition"].value_counts().to_dict() == {
        "healthy": 35,
        "asthma": 32,
        "heart failure": 18,
        "COPD": 9,
        "lung fibrosis": 4,
        "pneumonia": 4,
        "bronchitis": 3,
        "asthma and lung fibrosis": 1,
        "heart failure and lung fibrosis": 1,
    }


def test_kauh_sorted_into_folders_and_without_blanks(tmp_path):
    for folder, name in (("COPD", "BP108_COPD,E W,P R L ,63,M"), ("N/old", "BP23_Lung_Fibrosis,Crep,P_R_L,50,M")):
        sound(tmp_path / folder / f"{name}.wav")
    events = read("kauh", tmp_path).events
    assert events[["path", "condition", "sound", "position"]].values.tolist() == [
        ["COPD/BP108_COPD,E W,P R L ,63,M.wav", "COPD", "wheeze", "P R L"],
        ["N/old/BP23_Lung_Fibrosis,Crep,P_R_L,50,M.wav", "lung fibrosis", "crackle", "P R L"],
    ]
    (tmp_path / "COPD" / "BP108_COPD,E W,P R L ,63,M.wav").unlink()
    old = tmp_path / "N/old/BP23_Lung_Fibrosis,Crep,P_R_L,50,M.wav"
    old.rename(old.with_name("BP69_pneumonia,Bronchial,P R L ,64,M.wav"))
    with pytest.raises(
        UserError, match="0 recordings of kauh that are read; 1 of a sound that is none of the 13 types"
    ):
        read("kauh", tmp_path)


def test_a_copy_of_an_annotation_that_is_left_alone_is_meant(tmp_path):
    folder = write_tiny_sprsound(tmp_path / "sprsound")
    before, path = read("sprsound", folder), folder / f"BioCAS2022/train2022_json/{FIRST}.json"
    path.rename(path.with_stem(path.stem + " (1)"))
    assert comparable(read("sprsound", folder)).equals(comparable(before))


# Manifests and tables.


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_manifests_as_spreadsheets_save_them(tmp_path, mark, encoding):
    folder = write_multisite(tmp_path / "multisite")
    before, path = read("multisite", folder), folder / "GVA/manifest.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    rows = [["" if n == 0 else str(n - 1), *row] for n, row in enumerate(rows)]  # pandas' row numbers
    rows[0] = ["", "Patient", "SITE", "path", "Diagnosis", "age years", "Sex"]
    rows[1][3], rows[1][5], rows[1][6] = "audio\\7.WAV", "3,0" if mark != "," else "3.0", "M"
    path.write_bytes("\r\n".join(mark.join(row) for row in rows).encode(encoding))
    assert read("multisite", folder).events.equals(before.events)


TABLES = {
    "a spreadsheet's sep=": lambda text: "sep=;\r\n" + text.replace(",", ";"),
    "returns of an old Mac": lambda text: text.replace("\n", "\r"),
    "commas after each line": lambda text: text.replace("\n", ",,\n"),
    "lines of commas at the end": lambda text: text + ",,,\n,,,\n",
    "names of columns in capitals": lambda text: text.replace(text.split("\n")[0], text.split("\n")[0].upper()),
    "blanks that do not break": lambda text: text.replace(",", "\xa0,\xa0"),
    "not known, in words": lambda text: text.replace(",,", ",?,").replace(",,", ", n/a ,"),
    "UTF-16 without its mark": lambda text: text.encode("utf-16-le"),
}


@pytest.mark.parametrize("name", ["coughvid", "coswara", "ukcovid", "clinic", "multisite"])
@pytest.mark.parametrize("change", TABLES.values(), ids=TABLES)
def test_tables_as_programs_save_them(tmp_path, name, change):
    folder = WRITERS[name](tmp_path / name)
    before = read(name, folder)
    for path in folder.rglob("*.csv"):
        changed = change(path.read_text())
        path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    assert comparable(read(name, folder)).equals(comparable(before))


def test_a_manifest_of_one_s_own_is_never_to_be_fetched(tmp_path):
    for content in (b"file;sound\na.wav;cough\n", "path,sound\npère.wav,cough\n".encode("cp1252"), b""):
        (tmp_path / "manifest.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"manifest\.csv") as caught:
            read_manifest(tmp_path)
        assert not any(word in str(caught.value) for word in ("fetch", "release", "remove", "download"))


def test_names_are_compared_as_people_read_them(tmp_path):
    (tmp_path / "Audio").mkdir()
    (tmp_path / "Audio" / "Mu\u0308ller.WAV").write_bytes(b"x")
    assert find_file(tmp_path, "audio\\M\u00fcller.wav") == "Audio/Mu\u0308ller.WAV"
    assert find_file(tmp_path, "audio/../Audio/x") is None
    (tmp_path / "Audio" / "mu\u0308ller.wav").write_bytes(b"x")
    assert find_file(tmp_path, "Audio/M\u00dcLLER.wav") is None  # either may be meant
    assert [original_stem(Path(f"{n}.wav")) for n in ("a (1)", "a", "a - Copy", "copy of a", "a(b)")] == [
        "a",
        "a",
        "a",
        "a",
        "a(b)",
    ]
    assert by_stem([Path("a (1).wav")]) == {"a": Path("a (1).wav")}  # the only one of it


# What `data check` opens and says.


def report(name, data):
    frame = check(name, data)
    return frame, "\n".join(map(str, frame.attrs["report"]))


def test_check_says_what_is_read_passed_over_and_odd(written):
    name, folder = written
    if name == "clinic":
        pytest.skip("no data set of that name")
    paths = list(read(name, folder).events["path"].unique())
    path = next(folder.rglob(Path(paths[0]).name))
    info = soundfile.info(path)
    shutil.copy(path, path.with_stem(path.stem + " (1)"))
    left = np.zeros(info.frames)
    soundfile.write(path, left, info.samplerate)
    _, said = report(name, folder.parent)
    assert f"{len(paths)} recording" in said
    assert f"1 {COPIES}: " in said
    assert "1 recording that is silent: " in said
    rng = np.random.default_rng(0)
    left = 0.1 * rng.standard_normal(info.frames)
    if path.suffix in (".wav", ".flac"):
        soundfile.write(path, np.stack([left, -left], axis=1), info.samplerate)
        assert "1 recording of channels that cancel each other" in report(name, folder.parent)[1]
        soundfile.write(path, np.clip(50 * left, -1, 1), info.samplerate)
        assert "1 recording that is clipped: " in report(name, folder.parent)[1]


def test_check_finds_what_stops_a_run(tmp_path):
    folder = write_tiny(tmp_path / "icbhi")
    path = folder / "audio_and_txt_files/101_1b1_Al_sc_LittC2SE.wav"
    samples = np.full(24000, 0.1)
    samples[8000] = np.nan
    soundfile.write(path, samples, 4000, subtype="FLOAT")
    frame, _ = report("icbhi", tmp_path)
    bad = frame[frame["what"].str.contains("NaN")].iloc[0]
    assert "at 2.00 s" in bad["what"]
    assert not bad["agrees"]
    (folder / "demographic_info.txt").unlink()
    frame, _ = report("icbhi", tmp_path)
    refused = frame.loc[frame["here"] == "refused", "what"].iloc[0]
    assert "demographic_info.txt is missing" in refused
    assert frame["what"].str.contains("NaN").any()  # the recordings are opened all the same


def test_channels_of_opposite_sign_are_not_read_as_silence(tmp_path):
    from lungnb.data.audio import decode

    wave = 0.5 * np.sin(np.arange(8000) / 5)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], axis=1), 4000, subtype="FLOAT")
    assert decode(tmp_path / "a.wav", 4000) == pytest.approx(wave, abs=1e-4)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 10**9, 2**31])
def test_a_header_that_claims_more_than_there_is(tmp_path, size):
    folder = write_tiny(tmp_path / "icbhi")
    path = folder / "audio_and_txt_files/101_1b1_Al_sc_LittC2SE.wav"
    content = bytearray(path.read_bytes())
    before = read("icbhi", folder).events
    struct.pack_into("<I", content, 4, size)
    struct.pack_into("<I", content, 40, size)
    path.write_bytes(content)
    assert read("icbhi", folder).events.equals(before)
    struct.pack_into("<I", content, 40, 0)
    path.write_bytes(content)
    with pytest.raises(UserError, match="holds no samples by its header, though more follows"):
        read("icbhi", folder)


def test_the_real_folders_are_read_as_before():
    data = real_data("sprsound")
    corpus = load_corpus("sprsound", data)
    assert (corpus.fingerprint, corpus.n_recordings) == ("2de949dcfd1358d2", 2496)
    assert corpus.skipped == {"recordings without events (poor quality)": 187}
