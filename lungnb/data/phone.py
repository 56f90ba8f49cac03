"""Readers of corpora that prompts are made for and that no classifier here is trained on, each in its official layout.

A reader is a map from the columns of a data set's own tables to the fields of a prompt; what the tables say in words that the
map does not have stops the reader, by file and line. Sources and licences are in `lungnb/data/corpora.csv`.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.corpus import OTHER_SOUND, Corpus
from lungnb.data.folders import (
    LOSSLESS,
    READABLE,
    UNREADABLE,
    by_stem,
    contents,
    files,
    find_root,
    find_side_file,
    key_of,
    left_by_system,
    original_stem,
    walk,
    without_derived,
)
from lungnb.data.tables import (
    SEX_WORDS,
    existing,
    fields,
    numbers,
    read_csv,
    read_json,
    refuse,
    sound_corpus,
    translate,
)

_SEX_OR_OTHER = SEX_WORDS | {"other": pd.NA}


def read_coughvid(folder: Path) -> Corpus:
    """COUGHVID (Zenodo 4048312): one event a recording in which a cough was detected; others are counted in `skipped`.

        coughvid/                          or coughvid/public_dataset/, coughvid/coughvid_20211012/
          metadata_compiled.csv            uuid, cough_detected, age, gender, status and more; one line a recording
          <uuid>.webm, <uuid>.ogg          Opus; a .wav or .flac of the same name is taken first
          <uuid>.json                      the same fields, read only where there is no compiled table

    `status` is what people said of themselves; smoking was not asked. Raises UserError naming file and line for an age, a
    gender or a status that is none, and for a missing column.
    """
    table = find_side_file(folder, ["metadata_compiled.csv"])
    hint = "; neither there nor below is metadata_compiled.csv or a <uuid>.json"
    root = table.parent if table else find_root(folder, _holds(r"[^.].*\.json"), "COUGHVID", hint)
    rows, listed = read_coughvid_metadata(root)
    detected = rows["cough_detected"] >= DETECTED
    sounds = files(root, READABLE + UNREADABLE, None)
    audio = by_stem(without_derived(sounds), LOSSLESS, READABLE)  # a converted file goes before its original
    of = {key: path.relative_to(root).as_posix() for key, path in audio.items()}
    keys = rows["uuid"].map(key_of, na_action="ignore")
    known = [path for path in sounds if key_of(original_stem(path)) in set(keys)]
    rows = rows.assign(sound="cough", path=keys.map(of))[detected].reset_index(drop=True)
    skipped = {f"with cough_detected below {DETECTED}": (~detected).sum()}
    return sound_corpus("coughvid", root, rows, listed, skipped, folder=folder, known=known)


def _holds(*names: str) -> Callable[[Path], bool]:
    """Whether a folder itself holds a file of one of these names (regular expressions), in any case."""
    known = re.compile("|".join(names), re.IGNORECASE)
    return lambda folder: any(known.fullmatch(p.name) and p.exists() and not left_by_system(p) for p in walk(folder, 0))


#: Recordings whose cough detector says less are left out: the threshold that the authors of COUGHVID advise.
DETECTED = 0.8
_COUGHVID = ["uuid", "cough_detected", "age", "gender", "status"]
_COUGHVID_STATUS = {"healthy": "healthy", "symptomatic": "respiratory symptoms", "covid-19": "COVID-19"}


def read_coughvid_metadata(root: Path) -> tuple[pd.DataFrame, list[Path]]:
    """uuid, cough_detected, sex, age_years, condition and where of every recording, and the files they were read from."""
    if path := find_side_file(root, ["metadata_compiled.csv"], 0):
        listed, table = [path], read_csv(path, _COUGHVID)
    else:
        listed = files(root, (".json",))
        table = pd.DataFrame(map(_coughvid_json, listed), dtype="string")
    refuse(table, table["cough_detected"].isna(), "cough_detected is not given; correct it")
    detected = numbers(table, "cough_detected", 1, "0 to 1")
    known = fields(table, age="age", sex=("gender", _SEX_OR_OTHER), condition=("status", _COUGHVID_STATUS))
    return known.assign(uuid=table["uuid"], cough_detected=detected), listed


def _coughvid_json(path: Path) -> dict:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no JSON object; correct the file, or copy it anew from where it came.")
    return {"uuid": path.stem, "where": str(path)} | {name: content.get(name) for name in _COUGHVID[1:]}


_COSWARA_FILES = {"cough-heavy": "cough", "cough-shallow": "shallow cough"}
_COSWARA_FILES |= {f"breathing-{depth}": f"{depth} breathing" for depth in ("deep", "shallow")}
_COSWARA_FILES |= {f"vowel-{letter}": f"vowel {letter}" for letter in "aeo"}
_COSWARA_FILES |= {"counting-normal": "speech", "counting-fast": "speech"}
_YES = {"true": True, "y": True, "false": False, "n": False}
_COSWARA_STATUS = {"healthy": "healthy", "resp_illness_not_identified": "respiratory illness"}
_COSWARA_STATUS |= dict.fromkeys(("positive_mild", "positive_moderate", "positive_asymp"), "COVID-19")
#: Exposed, recovered and not yet validated people are neither healthy nor ill.
_COSWARA_STATUS |= dict.fromkeys(("no_resp_illness_exposed", "recovered_full", "under_validation"), pd.NA)


def read_coswara(folder: Path) -> Corpus:
    """Coswara (github.com/iiscleap/Coswara-Data): nine events a participant, less those without a file (`n_missing`).

        coswara/
          combined_data.csv                id, a (age), g (gender), covid_status, smoker, asthma, pneumonia and more
          Extracted_data/20200413/<id>/    what its extract_data.py makes; or the dated folders directly
            cough-heavy.wav  breathing-deep.wav  vowel-a.wav  counting-fast.wav ...

    A blank smoker cell means that the question was not asked or not answered, so it is unknown and not "non-smoker". Asthma and
    pneumonia, where ticked, stand for a status that is not COVID-19. Raises UserError naming file and line for a gender, status
    or smoker that is none, a missing column, and a folder without dated folders.
    """
    given, hint = folder, "; neither there nor below is combined_data.csv"
    folder = find_root(given, _holds(r"combined_data\.csv"), "Coswara", hint)
    path = find_side_file(folder, ["combined_data.csv"], 0)
    table = read_csv(path, ["id", "a", "g", "covid_status", "smoker"], also=["pneumonia", "asthma"])
    columns = {"sex": ("g", _SEX_OR_OTHER), "smoker": ("smoker", _YES), "condition": ("covid_status", _COSWARA_STATUS)}
    people = fields(table, age="a", **columns)
    for illness in ("pneumonia", "asthma"):
        if illness in table:
            ticked = translate(table, illness, _YES).astype("boolean").fillna(False)
            covid = people["condition"].eq("COVID-19").fillna(False)
            people["condition"] = people["condition"].mask(ticked & ~covid, illness)
    extracted = next((path for path in folder.iterdir() if key_of(path.name) == "extracted_data"), folder)
    dated = sorted(extracted.glob("20[0-9]*/*/"))
    if not dated:
        raise UserError(f"{folder} holds no Extracted_data/<date>/<id>/; run Coswara's extract_data.py there.")
    again = len(dated) - len({path.name for path in dated})
    people["patient"] = table["id"]
    people["folder"] = table["id"].map({p.name: p.relative_to(folder).as_posix() for p in dated}).astype("string")
    files = pd.DataFrame({"file": list(_COSWARA_FILES), "sound": list(_COSWARA_FILES.values())}, dtype="string")
    rows = people.merge(files, how="cross")
    rows["path"] = existing(folder, rows["folder"] + "/" + rows["file"] + ".wav")
    skipped = {"participants' folders of an earlier date (the last is read)": again}
    return sound_corpus("coswara", folder, rows, [path], skipped, folder=given)


_UKCOVID_FILES = {"exhalation_file_name": "exhalation", "cough_file_name": "cough", "three_cough_file_name": "cough"}
_UKCOVID_PEOPLE = ["participant_identifier", "gender", "smoker_status", "covid_test_result"]
#: An ex-smoker is neither word of the grammar.
_UKCOVID_SMOKER = {"never smoked": False, "ex-smoker": pd.NA, "prefer not to say": pd.NA}
_UKCOVID_SMOKER |= {
    "current smoker (1 to 10 cigarettes per day)": True,
    "current smoker (11 or more cigarettes per day)": True,
    "current smoker (e-cigarettes or vapes only)": pd.NA,
}


def read_ukcovid(folder: Path) -> Corpus:
    """UK COVID-19 Vocal Audio Dataset, open access edition (Zenodo 10043978): up to three events a submission.

        ukcovid/
          participant_metadata.csv         participant_identifier, age, gender, smoker_status, covid_test_result, ...
          audio_metadata.csv               participant_identifier, exhalation_file_name, cough_file_name, three_cough_file_name
          audio/                           the files that these columns name; those without a file are `n_missing`

    Column names and values are those that public code for this edition uses; the edition itself could not be opened here, so a
    column that is not there stops the reader rather than being guessed. Age is one of three spans, which is no decade. A
    positive test is COVID-19, else asthma where it was ticked, else the condition is unknown: a negative test alone makes nobody
    healthy. Raises UserError for a missing column, and naming the line for a gender or smoker status that is none and for a
    submission of an unknown participant.
    """
    key, asthma = "participant_identifier", "respiratory_condition_asthma"
    given, hint = folder, "; neither there nor below is participant_metadata.csv"
    folder = find_root(given, _holds(r"participant_metadata\.csv"), "UK COVID-19", hint)
    names = ("participant_metadata.csv", "audio_metadata.csv")
    listed = [find_side_file(folder, [name], 0) or folder / name for name in names]
    table = read_csv(listed[0], [*_UKCOVID_PEOPLE, asthma]).drop_duplicates(key, ignore_index=True)
    audio = read_csv(listed[1], [key, *_UKCOVID_FILES])
    columns = {"sex": ("gender", SEX_WORDS | {"unknown": pd.NA}), "smoker": ("smoker_status", _UKCOVID_SMOKER)}
    positive = table["covid_test_result"].str.lower().eq("positive").fillna(False)
    ticked = pd.to_numeric(table[asthma].str.lower().replace({"true": "1", "false": "0"}), errors="coerce").eq(1)
    condition = pd.Series(pd.NA, table.index, dtype="string").mask(ticked.fillna(False), "asthma")
    people = fields(table, **columns).assign(patient=table[key], condition=condition.mask(positive, "COVID-19"))
    stranger = ~audio[key].isin(people["patient"])
    refuse(audio, stranger, f"{{{key}!r}} is not in {listed[0].name}; take both files of one release")
    files = audio.melt([key, "where"], list(_UKCOVID_FILES), var_name="sound", value_name="file")
    files = files.dropna(subset=["file"])
    rows = files.merge(people.drop(columns="where"), left_on=key, right_on="patient")
    rows = rows.assign(sound=rows["sound"].map(_UKCOVID_FILES), path=existing(folder, "audio/" + rows["file"]))
    return sound_corpus("ukcovid", folder, rows, listed, folder=given)


_KAUH_NAME = re.compile(
    r"[BDE]P(?P<patient>\d+)_(?P<diagnosis>[^,]+),(?P<sound>[^,]+),(?P<position>[^,]+),\s*(?P<age>[^,]+?)\s*,\s*(?P<sex>female|male|f|m)\s*",
    re.IGNORECASE,
)
_KAUH_SOUND = {"n": "normal lung sound", "w": "wheeze", "c": "crackle", "crep": "crackle"}
_KAUH_CONDITION = {name: name for name in ("asthma", "pneumonia", "heart failure", "lung fibrosis", "pleural effusion")}
_KAUH_CONDITION |= {"n": "healthy", "copd": "COPD", "bron": "bronchitis", "plueral effusion": "pleural effusion"}
_KAUH_CONDITION |= {
    "asthma and lung fibrosis": "asthma and lung fibrosis",
    "heart failure + copd": "heart failure and COPD",
    "heart failure + lung fibrosis": "heart failure and lung fibrosis",
}


def read_kauh(folder: Path) -> Corpus:
    """Lung sounds of King Abdullah University Hospital (Mendeley jwyy9np4gv): one event a file.

        kauh/                              or any folders below, as kauh/Audio Files/ or one for each diagnosis
          BP1_Asthma,I E W,P L L,70,M.wav  filter and patient, diagnosis, sound, site, age, sex

    The name of a file says all that the workbook beside it says, so that is not read. B, D and E are one recording through three
    filters: three events of one patient. The sound is N (normal), W (wheeze), C or Crep (crackle), with I and E for the phase;
    Bronchial and mixtures are none of the types, and counted in `skipped`. Raises UserError naming the file for a name that is
    not of this form, and for a diagnosis, age or sex that is none.
    """
    found = [path for path in files(folder, LOSSLESS, None) if re.match(r"[BDE]P\d+", path.name, re.I)]
    if not found:
        raise UserError(
            f"{folder} is no folder of KAUH; it holds {contents(folder)}; neither there nor below is a recording called as "
            "BP1_Asthma,I E W,P L L,70,M.wav (Audio Files.zip)."
        )
    root = Path(os.path.commonpath([path.parent for path in found]))
    paths = by_stem(without_derived(found))
    table = pd.DataFrame([_kauh_name(path, root) for path in sorted(paths.values())]).astype("string")
    columns = {"sex": ("sex", SEX_WORDS), "condition": ("diagnosis", _KAUH_CONDITION)}
    rows = fields(table, age="age", **columns).assign(**{n: table[n] for n in ("path", "patient", "position")})
    # `I E W` -> wheeze; a mixture or another sound is none.
    kinds = [set(sound.lower().split()) - {"i", "e"} for sound in table["sound"]]
    rows["sound"] = [_KAUH_SOUND.get(kind.pop()) if len(kind) == 1 else None for kind in kinds]
    other = rows["sound"].isna()
    known = [root / path for path in rows.loc[other, "path"]]
    return sound_corpus("kauh", root, rows[~other], [], {OTHER_SOUND: other.sum()}, folder=folder, known=known)


def _kauh_name(path: Path, root: Path) -> dict[str, str]:
    match = _KAUH_NAME.fullmatch(original_stem(path))
    if match is None:
        raise UserError(
            f"{path}: the name is not as BP1_Asthma,I E W,P L L,70,M (filter and patient, diagnosis, sound, site, age, F or M); "
            "rename the file."
        )
    found = {name: " ".join(text.replace("_", " ").split()) for name, text in match.groupdict().items()}
    return found | {"path": path.relative_to(root).as_posix(), "where": str(path)}


def read_covid19_cough(folder: Path) -> Corpus:
    """covid19-cough (github.com/covid19-cough/dataset): one event a recording.

        covid19_cough/
          metadata.json                    filename, covid19, verified, asymptomatic, comment, source of 1,324 induced coughs
          raw/<uuid>.mp3

    Age, sex and patient are not given; covid19 false is the set's group "covid negative healthy". Source and label go together
    (verified positives were all recorded by telephone), so COVID-19 in a prompt also means the telephone's band here. Of the
    telephone's two channels one is nearly empty; their mean, which is what is decoded, is the cough at half its level. Raises
    UserError for a metadata.json that is missing or no list of filename and covid19.
    """
    given, hint = folder, "; neither there nor below is metadata.json"
    folder = find_root(given, _holds(r"metadata\.json"), "covid19-cough", hint)
    path = find_side_file(folder, ["metadata.json"], 0)
    content = read_json(path)
    rows = []
    for n, entry in enumerate(content if isinstance(content, list) else [content], start=1):
        where = f"{path}, entry {n}"
        if not isinstance(entry, dict) or "filename" not in entry or not isinstance(entry.get("covid19"), bool):
            raise UserError(f"{where}: expected filename and covid19 (true or false), found {entry!r}; correct it.")
        rows.append((f"raw/{entry['filename']}", "COVID-19" if entry["covid19"] else "healthy", where, "cough"))
    frame = pd.DataFrame(rows, columns=["path", "condition", "where", "sound"])
    frame = frame.assign(path=existing(folder, frame["path"]))
    return sound_corpus("covid19_cough", folder, frame, [path], folder=given)
