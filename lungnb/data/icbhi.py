"""Reader of the ICBHI 2017 respiratory sound database in its official layout.

    icbhi/
      audio_and_txt_files/       101_1b1_Al_sc_Meditron.wav (or .flac) and .txt: start s, end s, crackle 0/1, wheeze 0/1
      ICBHI_challenge_train_test.txt    recording <tab> train|test      (the official 60-40 split, by recording)
      patient_diagnosis.csv, demographic_info.txt
      patient_list_foldwise.txt         patient fold                    (RespireNet's five folds; only for that split)
      all_annotation_txt/               optional: annotations of recordings whose audio is not here

Copies in circulation are read as they are: the recordings in audio_text_data, audio_test_data, ICBHI_final_database or any
folders below, the side files under the names of the database's page, of patch-mix or of Kaggle (SIDE_FILES), the whole one or
two folders deeper. Every text may have a header, and commas, semicolons, tabs or blanks between its cells. Patients,
positions and devices may be one's own: only the five parts of a name and the mode (sc or mc) are asked for.

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
from lungnb.data.folders import LOSSLESS, by_stem, contents, files, key_of, one_of, walk, without_derived
from lungnb.data.icbhi_lists import (
    FOLD_LIST,
    four_parts,
    of_patients,
    read_diagnoses,
    read_folds,
    read_people,
    read_split,
    side_file,
)
from lungnb.data.inspection import Count, audio_headers, check_audio, count, each
from lungnb.data.tables import read_columns

LABELS = ["normal", "crackle", "wheeze", "both"]
DEVICES = ["AKGC417L", "Meditron", "Litt3200", "LittC2SE"]
#: Diagnosis -> condition in a prompt.
CONDITIONS = {name: name for name in ("healthy", "asthma", "bronchiectasis", "bronchiolitis", "pneumonia")}
CONDITIONS |= {"copd": "COPD", "urti": "upper respiratory infection", "lrti": "lower respiratory infection"}
POSITIONS = ["Tc", "Al", "Ar", "Pl", "Pr", "Ll", "Lr"]

_NAME = re.compile(
    r"(?P<patient>[^_]+)_(?P<index>[^_]+)_(?P<position>[^_]+)_(?P<mode>sc|mc)_(?P<device>.+)", re.IGNORECASE
)
_COLUMNS = {"start": ("start_s", "begin"), "end": ("end_s", "stop"), "crackle": ("crackles",), "wheeze": ("wheezes",)}
_AUDIO_FOLDERS = ["audio_and_txt_files", "audio_text_data", "audio_test_data", "ICBHI_final_database"]
_WITHOUT_AUDIO = "all_annotation_txt"


def read_icbhi(folder: Path) -> Corpus:
    """Events of all recordings that have audio; recordings annotated without audio are counted in `n_missing`.

    Raises UserError naming the file (and line) for a missing side file, two files of one recording, a line that is no
    annotation, a cycle that ends before it starts or past its audio, and audio that cannot be opened.
    """
    folder = Path(folder)
    cycles = read_annotations(folder)
    here = cycles[cycles["has_audio"]].reset_index(drop=True)
    if here.empty:
        raise UserError(f"{folder} holds no annotated recording with audio; it holds {contents(folder)}.")
    check_audio(folder, here)
    split = read_split(folder).set_index("recording")["split"]
    fold_list = side_file(folder, "folds")
    folds = read_folds(folder).set_index("patient")["fold"] if fold_list else {}
    people, diagnoses = read_people(folder), read_diagnoses(folder)
    listed = {"people": people.index, "diagnoses": diagnoses, "folds": folds.index if fold_list else []}
    listed = {kind: here["patient"].map(of_patients(here["patient"], known)) for kind, known in listed.items()}
    frame = here.assign(
        **{name: people[name].reindex(listed["people"]).array for name in people},
        diagnosis=listed["diagnoses"].map(diagnoses).astype("string"),
        split=here["recording"].map(split),
        fold=listed["folds"].map(folds),
    )
    frame["sound"], frame["condition"] = frame["label"].map(LUNG_SOUNDS), frame["diagnosis"].str.lower().map(CONDITIONS)
    lists = {kind: side_file(folder, kind) for kind in ("people", "diagnoses")}
    lost = {
        f"patients of whom {path.name} says nothing (kept)": here.loc[listed[kind].isna(), "patient"].nunique()
        for kind, path in lists.items()
    }
    unrecorded = (~people.index.isin(list(of_patients(cycles["patient"], people.index).values()))).sum()
    lost[f"patients in {lists['people'].name} of whom nothing is annotated (passed over)"] = unrecorded
    missing = cycles.loc[~cycles["has_audio"]]
    return make_corpus(
        "icbhi",
        folder,
        frame,
        [*filter(None, (*lists.values(), fold_list, side_file(folder, "split"))), *_below(folder, here["annotation"])],
        hint="correct that line",
        missing=missing["recording"].unique(),
        skipped=lost,
        known=[*files(folder / _WITHOUT_AUDIO, (".txt",)), *_below(folder, missing["annotation"])],
    )


def _below(folder: Path, names: pd.Series) -> list[Path]:
    return [folder / name for name in pd.unique(names)]


def read_annotations(folder: Path) -> pd.DataFrame:
    """Every annotated cycle, with audio or without, in order of recording and start.

    Columns: recording (corrected name), start_s, end_s, label, patient, position, mode, device, has_audio, path and
    annotation (relative to `folder`), where ("file, line n").
    """
    top = _audio_folder(folder)
    if top is None:
        fetch = "" if any(walk(folder, 1)) else "; `lungnb data fetch icbhi DIR` downloads the database into DIR/icbhi"
        raise UserError(
            f"{folder} is no ICBHI folder: neither there nor below is an annotation called as "
            f"audio_and_txt_files/101_1b1_Al_sc_Meditron.txt; it holds {contents(folder)}{fetch}."
        )
    listed = read_split(folder)
    texts, sounds = files(top, (".txt",), None), files(top, LOSSLESS, None)
    if top == folder:  # the other annotations lie below as well
        texts = [path for path in texts if _WITHOUT_AUDIO not in path.parts]
    recorded = by_stem(without_derived(sounds))
    for path in texts:
        if not _NAME.fullmatch(path.stem) and key_of(path.stem) in recorded:
            raise UserError(
                f"{path}: {path.stem!r} is not patient_recording_position_mode_device, as 101_1b1_Al_sc_Meditron; "
                "give both files of the recording such a name."
            )
    annotated = _by_recording(texts)
    found = {**_by_recording(files(folder / _WITHOUT_AUDIO, (".txt",))), **annotated}
    # Of a recording that is annotated, only a file that adds nothing to the annotation's name.
    named = [path for path in sounds if not _extends(path, annotated)]
    audio = _by_recording(named)
    if silent := sorted(audio.keys() - found.keys()):
        raise UserError(
            f"{audio[silent[0]]} has no annotation, a .txt of the same name ({len(silent)} in all); write it, or keep "
            f"recordings without one outside {top}."
        )
    exact = {key_of(name): name for name in listed["recording"]}
    by_parts = {four_parts(name): name for name in listed["recording"]}
    rows = []
    for key, path in sorted(found.items()):
        name, file = exact.get(key_of(path.stem)) or by_parts.get(key), audio.get(key)
        if name is None:
            missing = [path.stem for key, path in found.items() if key not in by_parts]
            raise UserError(
                f"{side_file(folder, 'split')} does not list {missing[0]} (of {len(missing)}); add a line: {missing[0]}, a tab, "
                "train or test."
            )
        metadata = {
            "recording": name,
            **_parse_name(name),
            "has_audio": file is not None,
            "path": file.relative_to(folder).as_posix() if file else pd.NA,
            "annotation": path.relative_to(folder).as_posix(),
        }
        rows += [metadata | cycle for cycle in _parse_cycles(path)]
    return pd.DataFrame(rows).sort_values(["recording", "start_s"], ignore_index=True)


def _audio_folder(folder: Path) -> Path | None:
    """The known folder of recordings and annotations up to three levels down, else `folder` if they lie there or below."""
    there = [path for path in files(folder, (".txt",), None) if _NAME.fullmatch(path.stem)]
    there = [path.relative_to(folder).parts[:-1] for path in there]
    for name in map(key_of, _AUDIO_FOLDERS):
        tops = sorted({parts[: at + 1] for parts in there for at, part in enumerate(parts) if key_of(part) == name})
        if len(tops) > 1:
            first, second = (folder.joinpath(*top) for top in tops[:2])
            raise UserError(f"{first} and {second} both hold ICBHI's recordings; move one of them out of {folder}.")
        if tops:
            return folder.joinpath(*tops[0])
    return folder if any(_WITHOUT_AUDIO not in parts for parts in there) else None


def _by_recording(paths: list[Path]) -> dict[str, Path]:
    """By the four parts that tell a recording whatever its device is called. Raises UserError for two files of one."""
    found: dict[str, Path] = {}
    for path in by_stem(without_derived([path for path in paths if _NAME.fullmatch(path.stem)])).values():
        one_of(
            [found.setdefault(four_parts(path.stem), path), *([path] if path != found[four_parts(path.stem)] else [])]
        )
    return found


def _extends(path: Path, annotated: dict[str, Path]) -> bool:
    """Whether a recording is called as its annotation and more, as NAME_filtered.wav is."""
    own = annotated.get(four_parts(path.stem))
    return own is not None and len(without_derived([own.with_name(path.name), own])) == 1


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
    if side_file(folder, "folds"):
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


def _parse_cycles(path: Path) -> list[dict]:
    cycles: dict[tuple[float, float], dict] = {}
    expected = "start, end, crackle 0/1, wheeze 0/1"
    for where, cells in read_columns(path, _COLUMNS, expected):
        try:
            start_s, end_s = (float(cell.replace(",", ".")) for cell in cells[:2])
            crackle, wheeze = map(("0", "1").index, cells[2:])
            if not math.isfinite(start_s + end_s):
                raise ValueError(cells)
        except ValueError as error:
            raise UserError(f"{where}: expected {expected}, found {' '.join(cells)!r}; correct the line.") from error
        cycle = {"start_s": start_s, "end_s": end_s, "label": LABELS[crackle + 2 * wheeze], "where": where}
        if (first := cycles.setdefault((start_s, end_s), cycle)) is not cycle:
            raise UserError(f"{where}: this cycle is also in {first['where'].rpartition(', ')[2]}; remove one of them.")
    if not cycles:
        raise UserError(f"{path} holds no cycle; add a line for each: start, end (seconds), crackle 0/1, wheeze 0/1.")
    return list(cycles.values())


def _parse_name(name: str) -> dict[str, str]:
    """Patient, position, mode and device; those that ICBHI knows are spelled as it does."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(
            f"The split list names {name!r}, which is not patient_recording_position_mode_device; correct it."
        )
    known = {key_of(word): word for word in (*DEVICES, *POSITIONS, "sc", "mc")}
    parts = {key: match[key] for key in ("patient", "position", "mode", "device")}
    return {key: text if key == "patient" else known.get(key_of(text), text) for key, text in parts.items()}
