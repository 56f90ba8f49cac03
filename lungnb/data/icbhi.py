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
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.corpus import LUNG_SOUNDS, Corpus, fingerprint_files, origin_of, validate_events
from lungnb.data.tables import Count, audio_files, audio_headers, check_audio, read_text

LABELS = ["normal", "crackle", "wheeze", "both"]
DEVICES = ["AKGC417L", "Meditron", "Litt3200", "LittC2SE"]
#: Diagnosis -> condition in a prompt.
CONDITIONS = {name: name for name in ("healthy", "asthma", "bronchiectasis", "bronchiolitis", "pneumonia")}
CONDITIONS |= {"copd": "COPD", "urti": "upper respiratory infection", "lrti": "lower respiratory infection"}
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
    frame["sound"], frame["condition"] = frame["label"].map(LUNG_SOUNDS), frame["diagnosis"].str.lower().map(CONDITIONS)
    hint = "correct that line or remove the recording's two files"
    used = [folder / p for p in (*pd.unique(here["path"]), *pd.unique(here["annotation"]))]
    used += [folder / p for p in (*_PATIENT_FILES, FOLD_LIST) if (folder / p).exists()]
    return Corpus(
        name="icbhi",
        events=validate_events(frame, here["where"], hint, "icbhi"),
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
    sounds = {_four_parts(stem): path for stem, path in audio_files(audio_folder).items()}
    if silent := sorted(sounds.keys() - files.keys()):
        raise UserError(
            f"{sounds[silent[0]]} has no .txt of the same name ({len(silent)} in all); fetch it or remove the audio."
        )
    names = _corrected_names([p.stem for p in files.values()], read_split(folder)["recording"], folder)
    rows = []
    for key, path in sorted(files.items()):
        name, audio = names[path.stem], sounds.get(key)
        parts = _parse_name(name, path)
        metadata = {
            "recording": name,
            **parts,
            "has_audio": audio is not None,
            "path": audio.relative_to(folder).as_posix() if audio else pd.NA,
            "annotation": path.relative_to(folder).as_posix(),
        }
        rows += [metadata | cycle for cycle in _parse_cycles(path)]
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


def counts(folder: Path) -> Iterator[Count]:
    """Annotations, official split, RespireNet's folds, and audio (for `lungnb.data.check`)."""
    cycles, split = read_annotations(folder), read_split(folder)
    recordings = cycles.drop_duplicates("recording").set_index("recording", drop=False)
    parts = split["recording"].str.split("_")
    listed = split.assign(patient=parts.str[0], device=parts.str[-1])
    part_of = cycles["recording"].map(split.set_index("recording")["split"])
    yield from _count("all", cycles, recordings)
    yield "positions", ("all", "positions"), cycles["position"].nunique()
    for device in DEVICES:
        yield f"cycles, {device}", ("all cycles", device), (cycles["device"] == device).sum()
    seconds = cycles["end_s"] - cycles["start_s"]
    for statistic in ("min", "mean", "max"):
        yield f"cycle length, {statistic} (s)", ("cycle length", f"{statistic}_s"), seconds.agg(statistic)
    for edge in (7, 8, 10.5, 12, 14, 16):
        yield f"cycles longer than {edge:g} s", ("cycle length", f"longer than {edge:g} s"), (seconds > edge).sum()
    yield "official list: recordings without annotation", 0, (~split["recording"].isin(recordings["recording"])).sum()
    for part in ("train", "test"):
        yield from _count(part, cycles[part_of == part], listed[listed["split"] == part], f"official {part}: ")
    shared = listed.groupby("patient")["split"].nunique() == 2
    yield "official split: patients on both sides", ("train and test", "shared patients"), shared.sum()
    for patient in ("156", "218"):  # those of the official list
        here = (listed["patient"] == patient).sum() if shared.get(patient, False) else 0
        yield (
            f"official split: recordings of patient {patient}, on both sides",
            ("train and test", f"patient {patient}"),
            here,
        )
    if (folder / FOLD_LIST).exists():
        folds = read_folds(folder).set_index("patient")["fold"]
        fold_of = recordings["patient"].map(folds)
        yield "RespireNet's folds: recordings in none", 0, fold_of.isna().sum()
        for fold in range(5):
            yield from _count(
                f"fold {fold}", cycles.iloc[:0], recordings[fold_of == fold], f"RespireNet's fold {fold}: "
            )
    else:
        yield "RespireNet's fold list", FOLD_LIST, "missing"
    here, audible = recordings[recordings["has_audio"]], cycles[cycles["has_audio"]]
    yield "recordings annotated without audio", 0, len(recordings) - len(here)
    yield from _count("all", audible, here, where=" with audio")
    odd, headers = audio_headers(folder, here["path"], audible.groupby("recording")["end_s"].max())
    yield from odd
    yield "audio, all recordings (h)", ("all", "duration_h"), headers["seconds"].sum() / 3600
    for statistic in ("min", "max"):
        yield f"sampling rate, {statistic} (Hz)", ("sample rate", f"{statistic}_hz"), headers["rate"].agg(statistic)
        length = headers["seconds"].agg(statistic)
        yield f"recording length, {statistic} (s)", ("recording length", f"{statistic}_s"), length


def _count(
    row: str, cycles: pd.DataFrame, recordings: pd.DataFrame, name: str = "", where: str = ""
) -> Iterator[Count]:
    yield f"{name}recordings{where}", (row, "recordings"), len(recordings)
    for device in DEVICES:
        yield f"{name}recordings{where}, {device}", (row, device), (recordings["device"] == device).sum()
    if not where:
        yield f"{name}patients", (row, "patients"), recordings["patient"].nunique()
    yield f"{name}cycles{where}", (row, "cycles"), len(cycles)
    for label in LABELS:
        yield f"{name}cycles{where}, {label}", (row, label), (cycles["label"] == label).sum()


def _read_pairs(path: Path, expected: str, good) -> list[tuple[str, str]]:
    rows = [(n, line.split()) for n, line in enumerate(read_text(path).splitlines(), start=1) if line.strip()]
    for n, parts in rows:
        if len(parts) != 2 or not good(*parts):
            raise UserError(f"{path}, line {n}: expected {expected}, found {' '.join(parts)!r}; correct the line.")
    return [tuple(parts) for _, parts in rows]


def _read_people(folder: Path) -> pd.DataFrame:
    """Age, sex and diagnosis, indexed by patient."""
    path, people = _side_file(folder, _PATIENT_FILES[0], "the demographics of the database"), {}
    for n, line in enumerate(read_text(path).splitlines(), start=1):
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
    rows = [line.replace(",", " ").split(None, 1) for line in read_text(path).splitlines() if line[:1].isdigit()]
    return frame.assign(diagnosis=frame.index.map({row[0]: row[-1].strip() for row in rows if len(row) == 2}))


def _parse_cycles(path: Path) -> list[dict]:
    cycles = []
    for n, line in enumerate(read_text(path).splitlines(), start=1):
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
