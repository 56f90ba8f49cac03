"""The four lists beside ICBHI's recordings: sides of the official split, folds, people, diagnoses.

They are found under the names that circulate (SIDE_FILES), in the data set's folder or up to three folders down, and may have a
header, and commas, semicolons, tabs or blanks between their cells.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.folders import LOSSLESS, contents, find_side_file, key_of
from lungnb.data.tables import SEX_WORDS, UNKNOWN, read_columns, years

#: The fold list of the RespireNet repository.
FOLD_LIST = "patient_list_foldwise.txt"
#: What a side file is called, in the order of preference.
SIDE_FILES = {
    "split": ("ICBHI_challenge_train_test.txt", "official_split.txt", "train_test_split.txt"),
    "people": (
        "demographic_info.txt",
        "ICBHI_Challenge_demographic_information.txt",
        "metadata.txt",
        "demographic_info.csv",
    ),
    "diagnoses": (
        "patient_diagnosis.csv",
        "patient_diagnosis.txt",
        "ICBHI_Challenge_diagnosis.txt",
        "ICBHI_Challenge_diagnosis.csv",
    ),
    "folds": (FOLD_LIST,),
}
_HOW = {
    "split": "a recording and train or test on each line",
    "people": "a patient, age in years (or NA) and F or M (or NA) on each line",
    "diagnoses": "a patient and a diagnosis on each line",
}
_PATIENT = ("id", "patient_id", "patient_number", "patientid", "pid", "subject", "subject_id")


def read_split(folder: Path) -> pd.DataFrame:
    """The official 60-40 split: columns recording, split (train or test). Splits recordings, not patients.

    Raises UserError naming the lines if a recording is on both sides.
    """
    path = side_file(folder, "split", needed=True)
    columns = {
        "recording": ("file", "filename", "file_name", "name", "audio"),
        "split": ("set", "part", "subset", "side"),
    }
    found: dict[str, tuple[str, str, str]] = {}
    for where, (cell, part, *more) in read_columns(path, columns, "a recording and train or test"):
        side = {"training": "train", "testing": "test"}.get(part.lower(), part.lower())
        if more or side not in ("train", "test"):
            said = " ".join([part, *more])
            raise UserError(f"{where}: expected a recording and train or test, found {said!r}; correct the line.")
        name = Path(cell.replace("\\", "/")).name
        name = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in (*LOSSLESS, ".txt") else name
        key = four_parts(name)
        if (other := found.get(key)) and other[1] != side:
            raise UserError(
                f"{where}: {name} is in {side}, and in {other[1]} by {other[2].rpartition(', ')[2]} (as {other[0]}); correct one."
            )
        # One circulating copy lists 226_1b1_Pl_sc under two devices, on one side; they are one recording.
        found.pop(key, None)
        found[key] = (name, side, where)
    return pd.DataFrame([row[:2] for row in found.values()], columns=["recording", "split"], dtype="string")


def read_folds(folder: Path) -> pd.DataFrame:
    """RespireNet's 80-20 split as its code ships it: columns patient, fold (0 to 4; fold 4 is the test fold)."""
    folds: dict[str, int] = {}
    expected = "a patient of whom no line came before and a fold from 0 to 4"
    path = side_file(folder, "folds", needed=True)
    for where, (patient, fold, *more) in read_columns(path, {"patient": _PATIENT, "fold": ()}, expected):
        if more or patient in folds or fold not in list("01234"):
            raise UserError(f"{where}: expected {expected}, found {patient} {fold}; correct the line.")
        folds[patient] = int(fold)
    return pd.DataFrame(folds.items(), columns=["patient", "fold"]).astype({"patient": "string"})


def read_people(folder: Path) -> pd.DataFrame:
    """Age and sex, indexed by patient."""
    people: dict[str, tuple] = {}
    columns = {
        "patient": _PATIENT,
        "age": ("age_years", "adult_age", "age_(years)", "years"),
        "sex": ("gender", "patient_sex"),
    }
    expected = "a patient of whom no line came before, age in years (or NA), F or M (or NA)"
    for where, (patient, age, sex, *_) in read_columns(side_file(folder, "people", needed=True), columns, expected):
        try:
            unknown = [text.lower() in UNKNOWN for text in (age, sex)]
            of_age = pd.NA if unknown[0] else float(years(age))
            if patient in people or not (unknown[0] or 0 <= of_age <= 120):
                raise ValueError(patient)
            people[patient] = (of_age, pd.NA if unknown[1] else SEX_WORDS[sex.lower()])
        except (KeyError, ValueError) as error:
            found = f"{patient} {age} {sex}"
            raise UserError(f"{where}: expected {expected}, found {found!r}; correct the line.") from error
    return pd.DataFrame.from_dict(people, orient="index", columns=["age_years", "sex"])


def read_diagnoses(folder: Path) -> dict[str, str]:
    """The diagnosis of each patient."""
    columns = {"patient": _PATIENT, "diagnosis": ("class", "disease", "condition", "label")}
    expected, found = "a patient and a diagnosis", {}
    for where, (patient, diagnosis, *more) in read_columns(
        side_file(folder, "diagnoses", needed=True), columns, expected
    ):
        said = " ".join([patient, diagnosis, *more])
        diagnosis = " ".join([diagnosis, *filter(None, more)])  # of two words, between blanks
        if any(character.isdigit() for character in diagnosis):
            raise UserError(
                f"{where}: expected {expected}, found {said!r}; correct the line (save without row numbers)."
            )
        if found.setdefault(patient, diagnosis) != diagnosis:
            raise UserError(f"{where}: patient {patient} is {diagnosis!r} but {found[patient]!r} before; correct one.")
    return {patient: diagnosis for patient, diagnosis in found.items() if diagnosis.lower() not in UNKNOWN}


def of_patients(patients: pd.Series, known: Iterable[str]) -> dict[str, str]:
    """What each patient is called among `known`: the same, or but for leading zeros, which spreadsheets take away."""
    known, short = set(known), {}
    for name in known:
        short.setdefault(name.lstrip("0"), []).append(name)
    found = {each: [each] if each in known else short.get(each.lstrip("0"), []) for each in set(patients)}
    return {patient: names[0] for patient, names in found.items() if len(names) == 1}


def four_parts(name: str) -> str:
    return key_of("_".join(name.split("_")[:4]))


def side_file(folder: Path, kind: str, needed: bool = False) -> Path | None:
    """The side file of this kind (SIDE_FILES), whatever its name and place. Raises UserError if it is `needed` and not there."""
    path = find_side_file(folder, SIDE_FILES[kind])
    if path is None and needed:
        names, how = SIDE_FILES[kind], _HOW.get(kind, "a patient and a fold on each line")
        raise UserError(
            f"{folder / names[0]} is missing (also not there or below as {', '.join(names[1:])}): {how}; {folder} holds "
            f"{contents(folder)}."
        )
    return path
