"""What SPRSound's files say: which folders hold a release, what a recording's name and its annotation mean."""

import itertools
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd

from lungnb.core import UserError
from lungnb.data.folders import LOSSLESS, by_stem, contents, files, key_of, walk, without_derived
from lungnb.data.tables import SEX_WORDS, read_json

LABELS = ["normal", "rhonchi", "wheeze", "stridor", "coarse crackle", "fine crackle", "wheeze+crackle"]
RECORD_LABELS = ["Normal", "CAS", "DAS", "CAS & DAS", "Poor Quality"]

_NAME = re.compile(r"(?P<patient>[^_]*)_(?P<age>[^_]+)_(?P<sex>[^_]+)_(?P<position>[^_]+)_(?P<number>[^_]+)")
_SEXES = {"0": "male", "1": "female", **SEX_WORDS}
_RECORD_LABELS = {name.lower().replace(" ", ""): name for name in RECORD_LABELS}


def anonymous(recordings: pd.DataFrame) -> pd.Series:
    """Whether each recording or event is of a child without a number: its patient is then called as the recording."""
    return recordings["patient"].str.contains("_", regex=False).fillna(False).astype(bool)


def release_folder(folder: Path) -> Path:
    """The folder that holds the folders of annotations, train2022_json and its like; the one around several releases."""
    found = {path.parent.relative_to(folder).parts for _, path in annotation_files(folder)}
    if not found:
        fetch = (
            "" if any(walk(folder)) else "; `lungnb data fetch sprsound DIR` downloads the release into DIR/sprsound"
        )
        raise UserError(
            f"{folder} is no SPRSound folder: neither there nor below is an annotation called as "
            f"BioCAS2022/train2022_json/40512331_8.1_1_p1_3544.json; it holds {contents(folder)}{fetch}."
        )
    tops = [parts[: next((n for n, part in enumerate(parts) if "json" in part.lower()), len(parts))] for parts in found]
    common = [names[0] for names in itertools.takewhile(lambda names: len(set(names)) == 1, zip(*tops))]  # noqa: B905
    return folder.joinpath(*common)


def annotation_files(folder: Path) -> list[tuple[str, Path]]:
    """(release, file) of all JSON files in folders of annotations: those called ..._json, or that hold one of a recording."""
    found = files(folder, (".json",), None)
    folders = {path.parent for path in found if _NAME.fullmatch(path.stem) or "json" in path.parent.name.lower()}
    return [(_release(path, folder), path) for path in found if path.parent in folders]


def in_order(annotations: list[tuple[str, Path]], root: Path) -> list[tuple[str, Path]]:
    """By release, then train, inter, intra and what is no part of 2022, then by name."""
    parts = ("train", "inter", "intra")

    def place(each: tuple[str, Path]) -> tuple:
        said = _said_part(each[1], root)
        return each[0], parts.index(said) if said in parts else len(parts), each[1]

    return sorted(annotations, key=place)


def _release(path: Path, root: Path) -> str:
    """The year of the release that a file in `root` lies in, "" if no folder from `root` on says one."""
    years = re.findall(r"(?:biocas|train|test)[_-]?(20\d\d)", _folders(path, root))
    return years[-1] if years else ""


def _folders(path: Path, root: Path) -> str:
    """The folders from `root` to a file in it, in lower case."""
    return "/".join(path.parts[len(root.parent.parts) : -1]).lower()


def part_of(path: Path, root: Path) -> Any:
    """train, inter, intra or test by the folders of an annotation, with the year unless that is 2022; else NA."""
    part, year = _said_part(path, root), _release(path, root)
    return pd.NA if part is None else part if year in ("", "2022") else part + year


def _said_part(path: Path, root: Path) -> str | None:
    said = _folders(path, root)
    return next((part for part in ("inter", "intra", "train", "test") if re.search(rf"(^|[/_-]){part}", said)), None)


def audio_files(root: Path, annotations: list[Path]) -> dict[tuple[str, str], Path]:
    """(release, key of the stem) -> the recording. Raises UserError for two recordings of one name in one release."""
    releases: dict[str, list[Path]] = {}
    for path in files(root, LOSSLESS, None):
        releases.setdefault(_release(path, root), []).append(path)
    found = {}
    for release, paths in releases.items():
        own = set(paths) & set(without_derived([*paths, *annotations]))
        found |= {(release, key): path for key, path in by_stem(path for path in paths if path in own).items()}
    return found


def repeated_audio(root: Path, recordings: pd.DataFrame) -> list[Path]:
    """The audio of recordings that an earlier release holds as well."""
    stems = set(recordings["recording"].map(key_of))
    return [path for path in files(root, LOSSLESS, None) if key_of(path.stem) in stems]


def parse_name(path: Path) -> dict[str, Any]:
    match, hint = _NAME.fullmatch(path.stem), "rename the recording's two files"
    if match is None:
        raise UserError(f"{path}: {path.stem!r} is not patient_age_sex_position_number; {hint}.")
    if not re.fullmatch(r"(\d{1,2}|1[01]\d)(\.\d*)?", match["age"]):
        raise UserError(f"{path}: unknown age {match['age']!r}, expected years as in 8.1; {hint}.")
    if match["sex"].lower() not in _SEXES:
        raise UserError(f"{path}: unknown sex {match['sex']!r}, expected 0 (male) or 1 (female); {hint}.")
    sex, patient = _SEXES[match["sex"].lower()], match["patient"] or path.stem
    return {"patient": patient, "age_years": float(match["age"]), "sex": sex, "position": match["position"]}


def parse_json(path: Path) -> tuple[Any, list[dict[str, Any]]]:
    """The label of the recording, NA where it is not stated, and its events."""
    content = read_json(path)
    record = content if isinstance(content, dict) else {}
    stated = record.get("record_annotation", record.get("recording_annotation"))
    label = _RECORD_LABELS.get(re.sub(r"\s+", "", stated).lower()) if isinstance(stated, str) else None
    found = record.get("event_annotation", [] if label == "Poor Quality" else None)
    found = [] if found is None and label == "Poor Quality" else found
    if label is None and (stated is not None or not isinstance(found, list)):
        known = ", ".join(RECORD_LABELS)
        raise UserError(f"{path}: record_annotation is {stated!r}, expected one of {known}; correct the file.")
    if not isinstance(found, list):
        raise UserError(f"{path}: event_annotation is {found!r}, expected a list of events; correct the file.")
    events = [_parse_event(event, f"{path}, event {n}") for n, event in enumerate(found, start=1)]
    return label or pd.NA, events


def _parse_event(event: Any, where: str) -> dict[str, Any]:
    try:
        start_s, end_s = (float(event[key]) / 1000 for key in ("start", "end"))
        if not (math.isfinite(start_s) and math.isfinite(end_s)):
            raise ValueError(event)
        label = " ".join(re.sub(r"\s*[+&]\s*", "+", event["type"]).lower().split())
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"{where}: expected start and end in milliseconds and a type, found {event!r}; correct the event."
        ) from error
    if label not in LABELS:
        raise UserError(f"{where}: unknown type {event['type']!r}; known are {', '.join(LABELS)}: correct the event.")
    return {"start_s": start_s, "end_s": end_s, "label": label, "where": where}
