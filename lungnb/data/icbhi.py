"""Reader of the ICBHI 2017 respiratory sound database in its official layout.

    icbhi/
      audio_and_txt_files/       101_1b1_Al_sc_Meditron.wav (or .flac) and .txt: start s, end s, crackle 0/1, wheeze 0/1
      ICBHI_challenge_train_test.txt    recording <tab> train|test      (the official 60-40 split, by recording)
      patient_diagnosis.csv, demographic_info.txt
      patient_list_foldwise.txt         patient fold                    (RespireNet's five folds; only for that split)
      all_annotation_txt/               optional: annotations of recordings whose audio is not here

Of 920 recordings 91 carry an older device name in the archive; the split list has the corrected one, so a file is matched to
the list by its full name, else by its first four parts, and the device is read from the list
(docs/papers/respirenet.md, section 1.1).
"""

import math
import re
from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.corpus import Corpus, check_audio, fingerprint_files, origin_of, validate_events

LABELS = ["normal", "crackle", "wheeze", "both"]
DEVICES = ["AKGC417L", "Meditron", "Litt3200", "LittC2SE"]
POSITIONS = ["Tc", "Al", "Ar", "Pl", "Pr", "Ll", "Lr"]

_NAME = re.compile(r"(?P<patient>\d+)_(?P<index>[a-zA-Z0-9]+)_(?P<position>[A-Z][a-z])_(?P<mode>sc|mc)_(?P<device>\w+)")
_AUDIO_FOLDERS = ["audio_and_txt_files", "ICBHI_final_database", "."]
#: The fold list of the RespireNet repository.
FOLD_LIST = "patient_list_foldwise.txt"
_PATIENT_FILES = ["demographic_info.txt", "patient_diagnosis.csv"]
_SPLIT_FILES = ["ICBHI_challenge_train_test.txt", "official_split.txt"]


def read_icbhi(folder: Path) -> Corpus:
    """Events of all recordings that have audio; recordings annotated without audio are counted in `n_missing`.

    Raises UserError naming the file (and line) for a missing side file, an unknown device or position, a line that is no
    annotation, a cycle that ends before it starts or past its audio, and audio that cannot be opened.
    """
    folder = Path(folder)
    cycles = read_annotations(folder)
    here = cycles[cycles["has_audio"]].reset_index(drop=True)
    if here.empty:
        raise UserError(f"{folder} holds no annotated recording with audio; get it with `lungnb data fetch icbhi`.")
    check_audio(folder, here, unit="cycle")
    people = _read_people(folder)
    split = read_split(folder).set_index("recording")["split"]
    folds = read_folds(folder).set_index("patient")["fold"] if (folder / FOLD_LIST).exists() else {}
    frame = here.join(people, on="patient").assign(split=here["recording"].map(split), fold=here["patient"].map(folds))
    events = validate_events(frame, here["where"], mend="correct that line or remove the recording's two files")
    used = [folder / p for p in (*pd.unique(here["path"]), *pd.unique(here["annotation"]))]
    used += [folder / p for p in (*_PATIENT_FILES, FOLD_LIST) if (folder / p).exists()]
    return Corpus(
        name="icbhi",
        events=events,
        origin=origin_of(folder),
        fingerprint=fingerprint_files([*used, _split_file(folder)], folder),
        audio_root=folder,
        n_missing=cycles.loc[~cycles["has_audio"], "recording"].nunique(),
    )


def read_annotations(folder: Path) -> pd.DataFrame:
    """Every annotated cycle, with audio or without, in order of recording and start.

    Columns: recording (corrected name), start_s, end_s, label, patient, position, mode, device, has_audio, path and
    annotation (relative to `folder`), where ("file, line n").
    """
    audio_folder = next((folder / f for f in _AUDIO_FOLDERS if any((folder / f).glob("*_*_*_?c_*.txt"))), None)
    if audio_folder is None:
        raise UserError(
            f"{folder} is no ICBHI folder: it holds no audio_and_txt_files/*.txt; see `lungnb data fetch icbhi`."
        )
    files = {**_annotation_files(folder / "all_annotation_txt"), **_annotation_files(audio_folder)}
    sounds = {_four_parts(p.stem): p for e in (".flac", ".wav") for p in sorted(audio_folder.glob("*" + e))}
    if silent := sorted(sounds.keys() - files.keys()):
        raise UserError(
            f"{sounds[silent[0]]} has no .txt of the same name ({len(silent)} in all); fetch it or remove the audio."
        )
    names = _corrected_names([p.stem for p in files.values()], read_split(folder)["recording"], folder)
    rows = []
    for key, path in sorted(files.items()):
        name, audio = names[path.stem], sounds.get(key)
        parts = _parse_name(name, path)
        about = {
            "recording": name,
            **parts,
            "has_audio": audio is not None,
            "path": audio.relative_to(folder).as_posix() if audio else pd.NA,
            "annotation": path.relative_to(folder).as_posix(),
        }
        rows += [about | cycle for cycle in _parse_cycles(path)]
    return pd.DataFrame(rows).sort_values(["recording", "start_s"], ignore_index=True)


def read_split(folder: Path) -> pd.DataFrame:
    """The official 60-40 split: columns recording, split (train or test). Splits recordings, not patients."""
    path = _split_file(folder)
    rows = _read_pairs(path, "a recording and train or test", lambda a, b: b in ("train", "test"))
    split = pd.DataFrame(rows, columns=["recording", "split"], dtype="string")
    # One circulating copy lists 226_1b1_Pl_sc under two devices; they are one recording.
    return split[~split["recording"].map(_four_parts).duplicated(keep="last")].reset_index(drop=True)


def read_folds(folder: Path) -> pd.DataFrame:
    """RespireNet's 80-20 split as its code ships it: columns patient, fold (0 to 4; fold 4 is the test fold)."""
    path = _side_file(Path(folder), FOLD_LIST, "the fold list of the RespireNet repository")
    rows = _read_pairs(path, "a patient and a fold from 0 to 4", lambda a, b: a.isdigit() and b in set("01234"))
    folds = pd.DataFrame({"patient": [a for a, _ in rows], "fold": [int(b) for _, b in rows]})
    twice = folds.loc[folds["patient"].duplicated(), "patient"]
    if len(twice):
        raise UserError(f"{path} gives patient {twice.iloc[0]} two folds; remove one of the lines.")
    return folds.astype({"patient": "string"})


def _read_pairs(path: Path, expected: str, good) -> list[tuple[str, str]]:
    rows = [(n, line.split()) for n, line in enumerate(_read_text(path).splitlines(), start=1) if line.strip()]
    for n, parts in rows:
        if len(parts) != 2 or not good(*parts):
            raise UserError(f"{path}, line {n}: expected {expected}, found {' '.join(parts)!r}; correct the line.")
    return [tuple(parts) for _, parts in rows]


def _read_people(folder: Path) -> pd.DataFrame:
    """Age, sex and diagnosis, indexed by patient."""
    path, people = _side_file(folder, _PATIENT_FILES[0], "the demographics of the database"), {}
    for n, line in enumerate(_read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            patient, age, sex = line.split()[:3]
            age = pd.NA if age == "NA" else _finite(age)
            if patient in people or (age is not pd.NA and not 0 <= age <= 120):
                raise ValueError(line)
        except ValueError as error:
            raise UserError(
                f"{path}, line {n}: expected a patient of whom no line came before, age in years (or NA), F or M (or NA), found "
                f"{line!r}; correct the line."
            ) from error
        people[patient] = (age, {"F": "female", "M": "male"}.get(sex, pd.NA))
    frame = pd.DataFrame.from_dict(people, orient="index", columns=["age_years", "sex"])
    path = _side_file(folder, _PATIENT_FILES[1], "the diagnoses of the database")
    rows = [line.replace(",", " ").split(None, 1) for line in _read_text(path).splitlines() if line[:1].isdigit()]
    return frame.assign(diagnosis=frame.index.map({row[0]: row[-1].strip() for row in rows if len(row) == 2}))


def _parse_cycles(path: Path) -> list[dict]:
    cycles = []
    for n, line in enumerate(_read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {n}"
        try:
            start, end, crackle, wheeze = line.split()
            start_s, end_s, label = _finite(start), _finite(end), LABELS[_flag(crackle) + 2 * _flag(wheeze)]
        except ValueError as error:
            raise UserError(
                f"{where}: expected start, end, crackle 0/1, wheeze 0/1, found {line!r}; correct the line."
            ) from error
        cycles.append({"start_s": start_s, "end_s": end_s, "label": label, "where": where})
    if not cycles:
        raise UserError(f"{path} holds no cycle; fetch the file again or remove it with its audio.")
    return cycles


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(text)
    return float(text)


def _flag(text: str) -> int:
    if text not in ("0", "1"):
        raise ValueError(text)
    return int(text)


def _parse_name(name: str, path: Path) -> dict[str, str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(f"{path}: {name!r} is not patient_recording_position_mode_device; rename or remove the file.")
    if match["device"] not in DEVICES:
        raise UserError(
            f"{path}: unknown device {match['device']!r}; known are {', '.join(DEVICES)}: rename or remove the file."
        )
    if match["position"] not in POSITIONS:
        raise UserError(
            f"{path}: unknown position {match['position']!r}; known are {', '.join(POSITIONS)}: rename or remove it."
        )
    return {key: match[key] for key in ("patient", "position", "mode", "device")}


def _corrected_names(stems: list[str], listed: pd.Series, folder: Path) -> dict[str, str]:
    exact, by_parts = set(listed), dict(zip(listed.map(_four_parts), listed, strict=True))
    names = {s: s if s in exact else by_parts.get(_four_parts(s)) for s in stems}
    unlisted = [s for s, name in names.items() if name is None]
    if unlisted:
        raise UserError(
            f"{_split_file(folder)} does not list {unlisted[0]} (of {len(unlisted)}); add it or remove its files."
        )
    return names


def _annotation_files(folder: Path) -> dict[str, Path]:
    """By the four parts that tell a recording whatever its device is called."""
    files: dict[str, Path] = {}
    for path in sorted(p for p in folder.glob("*.txt") if _NAME.fullmatch(p.stem)):
        other = files.setdefault(_four_parts(path.stem), path)
        if other != path:
            raise UserError(f"{other} and {path.name} are one recording under two devices; remove one, with its audio.")
    return files


def _four_parts(name: str) -> str:
    return "_".join(name.split("_")[:4])


def _split_file(folder: Path) -> Path:
    found = next((folder / f for f in _SPLIT_FILES if (folder / f).exists()), None)
    return found or _side_file(folder, _SPLIT_FILES[0], "the official split list")


def _side_file(folder: Path, name: str, what: str) -> Path:
    if not (folder / name).exists():
        raise UserError(f"{folder / name} is missing ({what}); get it with `lungnb data fetch icbhi` or copy it there.")
    return folder / name


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file; fetch it again.") from error
