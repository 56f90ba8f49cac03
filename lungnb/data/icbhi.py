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
from lungnb.data.corpus import LUNG_SOUNDS, Corpus, make_corpus
from lungnb.data.tables import Count, audio_files, audio_headers, check_audio, count, each, read_lines, read_text

LABELS = ["normal", "crackle", "wheeze", "both"]
DEVICES = ["AKGC417L", "Meditron", "Litt3200", "LittC2SE"]
#: Diagnosis -> condition in a prompt.
CONDITIONS = {name: name for name in ("healthy", "asthma", "bronchiectasis", "bronchiolitis", "pneumonia")}
CONDITIONS |= {"copd": "COPD", "urti": "upper respiratory infection", "lrti": "lower respiratory infection"}
POSITIONS = ["Tc", "Al", "Ar", "Pl", "Pr", "Ll", "Lr"]
#: The fold list of the RespireNet repository.
FOLD_LIST = "patient_list_foldwise.txt"

_NAME = re.compile(r"(?P<patient>\d+)_(?P<index>[a-zA-Z0-9]+)_(?P<position>[A-Z][a-z])_(?P<mode>sc|mc)_(?P<device>\w+)")
_AUDIO_FOLDERS = ["audio_and_txt_files", "ICBHI_final_database", "."]
_PEOPLE, _DIAGNOSES = "demographic_info.txt", "patient_diagnosis.csv"
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
    check_audio(folder, here)
    split = read_split(folder).set_index("recording")["split"]
    folds = read_folds(folder).set_index("patient")["fold"] if (folder / FOLD_LIST).exists() else {}
    frame = here.join(_read_people(folder), on="patient")
    frame = frame.assign(split=frame["recording"].map(split), fold=frame["patient"].map(folds))
    frame["sound"], frame["condition"] = frame["label"].map(LUNG_SOUNDS), frame["diagnosis"].str.lower().map(CONDITIONS)
    side_files = [folder / name for name in (_PEOPLE, _DIAGNOSES, FOLD_LIST) if (folder / name).exists()]
    side_files += [_split_file(folder), *(folder / name for name in pd.unique(here["annotation"]))]
    missing = cycles.loc[~cycles["has_audio"], "recording"].nunique()
    hint = "correct that line or remove the recording's two files"
    return make_corpus("icbhi", folder, frame, side_files, hint=hint, n_missing=missing)


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
    sounds = {_four_parts(stem): path for stem, path in audio_files(audio_folder).items()}
    if silent := sorted(sounds.keys() - files.keys()):
        raise UserError(
            f"{sounds[silent[0]]} has no .txt of the same name ({len(silent)} in all); fetch it or remove the audio."
        )
    listed = read_split(folder)["recording"]
    exact, by_parts = set(listed), dict(zip(listed.map(_four_parts), listed, strict=True))
    if unlisted := [path for key, path in files.items() if path.stem not in exact and key not in by_parts]:
        raise UserError(
            f"{_split_file(folder)} does not list {unlisted[0].stem} (of {len(unlisted)}); add it or remove its files."
        )
    rows = []
    for key, path in sorted(files.items()):
        name, audio = path.stem if path.stem in exact else by_parts[key], sounds.get(key)
        metadata = {
            "recording": name,
            **_parse_name(name, path),
            "has_audio": audio is not None,
            "path": audio.relative_to(folder).as_posix() if audio else pd.NA,
            "annotation": path.relative_to(folder).as_posix(),
        }
        rows += [metadata | cycle for cycle in _parse_cycles(path)]
    return pd.DataFrame(rows).sort_values(["recording", "start_s"], ignore_index=True)


def read_split(folder: Path) -> pd.DataFrame:
    """The official 60-40 split: columns recording, split (train or test). Splits recordings, not patients."""

    def parse(words: list[str]) -> tuple[str, str]:
        recording, part = words
        return recording, _one_of(part, ["train", "test"])

    rows = [row for _, row in read_lines(_split_file(folder), parse, "a recording and train or test")]
    split = pd.DataFrame(rows, columns=["recording", "split"], dtype="string")
    # One circulating copy lists 226_1b1_Pl_sc under two devices; they are one recording.
    return split[~split["recording"].map(_four_parts).duplicated(keep="last")].reset_index(drop=True)


def read_folds(folder: Path) -> pd.DataFrame:
    """RespireNet's 80-20 split as its code ships it: columns patient, fold (0 to 4; fold 4 is the test fold)."""
    path, folds = Path(folder) / FOLD_LIST, {}

    def parse(words: list[str]) -> None:
        patient, fold = words
        if not patient.isdigit() or patient in folds:
            raise ValueError(patient)
        folds[patient] = int(_one_of(fold, list("01234")))

    read_lines(path, parse, "a patient of whom no line came before and a fold from 0 to 4")
    return pd.DataFrame(folds.items(), columns=["patient", "fold"]).astype({"patient": "string"})


def counts(folder: Path) -> list[Count]:
    """Annotations, official split, RespireNet's folds, and audio (for `lungnb.data.check`)."""
    cycles, split = read_annotations(folder), read_split(folder)
    recordings = cycles.drop_duplicates("recording").set_index("recording", drop=False)
    parts = split["recording"].str.split("_")
    listed = split.assign(patient=parts.str[0], device=parts.str[-1])
    split_of = cycles["recording"].map(split.set_index("recording")["split"])
    by_patient = listed.groupby("patient")["split"].agg(["nunique", "size"])
    shared = by_patient.loc[by_patient["nunique"] == 2, "size"]
    seconds = cycles["end_s"] - cycles["start_s"]
    found = [
        *_count("all", recordings, cycles),
        *count("all", {"positions": cycles["position"].nunique()}),
        *count("all cycles", each(cycles["device"], DEVICES)),
        *count("cycle length", {f"{name}_s": seconds.agg(name) for name in ("min", "mean", "max")}),
        *count("cycle length", {f"longer than {s:g} s": (seconds > s).sum() for s in (7, 8, 10.5, 12, 14, 16)}),
        ("official list: recordings without annotation", 0, (~listed["recording"].isin(recordings["recording"])).sum()),
        *_count("train", listed[listed["split"] == "train"], cycles[split_of == "train"]),
        *_count("test", listed[listed["split"] == "test"], cycles[split_of == "test"]),
        *count("train and test", {"shared patients": len(shared)}),
        *count("train and test", {f"patient {name}": shared.get(name, 0) for name in ("156", "218")}),
    ]
    if (folder / FOLD_LIST).exists():
        fold_of = recordings["patient"].map(read_folds(folder).set_index("patient")["fold"])
        found.append(("RespireNet's folds: recordings in none", 0, fold_of.isna().sum()))
        for fold in range(5):
            found += _count(f"fold {fold}", recordings[fold_of == fold])
    else:
        found.append(("RespireNet's fold list", FOLD_LIST, "missing"))
    audible = recordings[recordings["has_audio"]]
    odd, headers = audio_headers(folder, audible["path"], cycles.groupby("recording")["end_s"].max())
    return [
        *found,
        ("recordings annotated without audio", 0, len(recordings) - len(audible)),
        *_count("all", audible, cycles[cycles["has_audio"]], "with audio"),
        *odd,
        *count("all", {"duration_h": headers["seconds"].sum() / 3600}, "with audio"),
        *count("sample rate", {f"{name}_hz": headers["rate"].agg(name) for name in ("min", "max")}),
        *count("recording length", {f"{name}_s": headers["seconds"].agg(name) for name in ("min", "max")}),
    ]


def _count(row: str, recordings: pd.DataFrame, cycles: pd.DataFrame | None = None, name: str = "") -> list[Count]:
    """Recordings by device, patients, and cycles by label."""
    number = {"recordings": len(recordings), **each(recordings["device"], DEVICES)}
    if not name:  # of a part of the audio the patients say nothing
        number["patients"] = recordings["patient"].nunique()
    if cycles is not None:
        number |= {"cycles": len(cycles), **each(cycles["label"], LABELS)}
    return count(row, number, name)


def _read_people(folder: Path) -> pd.DataFrame:
    """Age, sex and diagnosis, indexed by patient."""
    people = {}

    def parse(words: list[str]) -> None:
        patient, age, sex = words[:3]
        years = pd.NA if age == "NA" else float(age)
        if patient in people or not (years is pd.NA or 0 <= years <= 120):
            raise ValueError(patient)
        people[patient] = (years, {"F": "female", "M": "male"}.get(sex, pd.NA))

    expected = "a patient of whom no line came before, age in years (or NA), F or M (or NA)"
    read_lines(folder / _PEOPLE, parse, expected)
    frame = pd.DataFrame.from_dict(people, orient="index", columns=["age_years", "sex"])
    lines = read_text(folder / _DIAGNOSES).splitlines()
    rows = [line.replace(",", " ").split(None, 1) for line in lines if line[:1].isdigit()]
    return frame.assign(diagnosis=frame.index.map({row[0]: row[-1].strip() for row in rows if len(row) == 2}))


def _parse_cycles(path: Path) -> list[dict]:
    def parse(words: list[str]) -> dict:
        start, end, *flags = words
        crackle, wheeze = (int(_one_of(flag, ["0", "1"])) for flag in flags)
        times = {"start_s": float(start), "end_s": float(end)}
        if not all(map(math.isfinite, times.values())):
            raise ValueError(times)
        return {**times, "label": LABELS[crackle + 2 * wheeze]}

    cycles = read_lines(path, parse, "start, end, crackle 0/1, wheeze 0/1")
    if not cycles:
        raise UserError(f"{path} holds no cycle; fetch the file again or remove it with its audio.")
    return [{**cycle, "where": where} for where, cycle in cycles]


def _one_of(text: str, known: list[str]) -> str:
    if text not in known:
        raise ValueError(text)
    return text


def _parse_name(name: str, path: Path) -> dict[str, str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(f"{path}: {name!r} is not patient_recording_position_mode_device; rename or remove the file.")
    for part, known in {"device": DEVICES, "position": POSITIONS}.items():
        if match[part] not in known:
            raise UserError(
                f"{path}: unknown {part} {match[part]!r}; known are {', '.join(known)}: rename or remove it."
            )
    return {key: match[key] for key in ("patient", "position", "mode", "device")}


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
    return next((folder / name for name in _SPLIT_FILES if (folder / name).exists()), folder / _SPLIT_FILES[0])
