"""Reader of SPRSound, the paediatric respiratory sounds of the BioCAS 2022 release, in its official layout.

    sprsound/BioCAS2022/
      train2022_wav/                    40512331_8.1_1_p1_3544.wav (or .flac): patient, age in years, sex, position, number
      train2022_json/                   the same names: a label of the recording, and its events in milliseconds
      test2022_wav/
      test2022_json/inter_test_json/    patients who are not in train
      test2022_json/intra_test_json/    patients who are

The files are not all alike: start and end are strings in some releases and numbers in others, the recording's label stands
under `record_annotation` or `recording_annotation`, and one class is `Wheeze+Crackle` or `Wheeze & Crackle`
(docs/papers/convlstm.md, section 1).
"""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungnb.core import UserError
from lungnb.data.corpus import Corpus, check_audio, fingerprint_files, origin_of, validate_events
from lungnb.data.multisite import counted, duration_s, too_short

LABELS = ["normal", "rhonchi", "wheeze", "stridor", "coarse crackle", "fine crackle", "wheeze+crackle"]
#: The letters of the paper's Table 1, in the order of LABELS.
SHORT = ["N", "R", "W", "S", "CC", "FC", "WC"]
RECORD_LABELS = ["Normal", "CAS", "DAS", "CAS & DAS", "Poor Quality"]
#: Left posterior, left lateral, right posterior, right lateral; later releases add p5 to p8, whose meaning is not given.
POSITIONS = ["p1", "p2", "p3", "p4"]
#: Labels of a patient in `sprsound_view`.
VIEW_LABELS = ["normal", "adventitious"]
#: Folders of audio and of annotations, by part.
PARTS = {
    "train": ("train2022_wav", "train2022_json"),
    "inter": ("test2022_wav", "test2022_json/inter_test_json"),
    "intra": ("test2022_wav", "test2022_json/intra_test_json"),
}

_NAME = re.compile(r"(?P<patient>[A-Za-z0-9]+)_(?P<age>[^_]+)_(?P<sex>[^_]+)_(?P<position>[^_]+)_(?P<number>[^_]+)")
_SEX = {"0": "male", "1": "female"}


def read_sprsound(folder: Path) -> Corpus:
    """Events of all recordings that have audio; `split` is train, inter or intra, `device` is not stated (NA).

    Recordings without events (Poor Quality) are counted in `skipped`, annotations without audio in `n_missing`. Raises
    UserError naming the file for a name, a label, a time or an age that is none, an event past the end of its audio, audio
    without annotation, and files that cannot be read.
    """
    root = release_folder(Path(folder))
    recordings, events = read_annotations(root)
    kept = events[events["path"].notna()].reset_index(drop=True)
    if kept.empty:
        raise UserError(f"{root} holds no event of a recording with audio; get it with `lungnb data fetch sprsound`.")
    check_audio(root, kept, unit="event")
    here = recordings[recordings["path"].notna()]
    silent = int((here["n_events"] == 0).sum())
    used = [root / p for p in (*here["path"], *here["annotation"])]
    return Corpus(
        name="sprsound",
        events=validate_events(kept, kept["where"], mend="correct that event or remove the recording's two files"),
        origin=origin_of(Path(folder)),
        fingerprint=fingerprint_files(used, root),
        audio_root=root,
        n_missing=len(recordings) - len(here),
        skipped={"recordings without events (poor quality)": silent} if silent else {},
    )


def sprsound_view(corpus: Corpus) -> Corpus:
    """SPRSound as patients x p1 to p4: one row a recording, whole; `label` is the patient's, normal or adventitious.

    A patient is adventitious if any of its recordings here has an adventitious event, else normal
    (docs/papers/pediatric.md, section 1.2). Most adventitious patients have normal recordings too: those carry the
    patient's label as the paper's do, and some of its crops hold nothing abnormal. "Here" is all of `corpus`: select a
    part first for labels that do not look past it.

    A site may hold several recordings, and `split` stays that of the recording: intra recordings are of train's patients,
    so split by `patient_folds`, or train against inter. Poor Quality recordings have no events and are in no corpus, so 4
    of the release's 292 patients are not here. p5 to p8 are counted in `skipped`. Raises UserError for another data set,
    no recording at p1 to p4, and audio that cannot be read.
    """
    if corpus.name != "sprsound":
        raise UserError(f"sprsound_view takes the SPRSound corpus, not {corpus.name!r}; load 'sprsound'.")
    here = corpus.events["position"].isin(POSITIONS)
    events = corpus.events[here]
    if events.empty:
        raise UserError(f"{corpus.audio_root} holds no recording at p1 to p4; fetch the 2022 release of SPRSound.")
    ill = (events["label"] != "normal").groupby(events["patient"]).any()
    rows = events.drop_duplicates("recording").reset_index(drop=True)
    files = [corpus.audio_root / path for path in rows["path"]]
    where = pd.Series([str(file) for file in files])
    rows = rows.assign(
        start_s=0.0,
        end_s=[duration_s(file, str(file)) for file in files],
        label=np.where(rows["patient"].map(ill), VIEW_LABELS[1], VIEW_LABELS[0]),
    )
    elsewhere = corpus.events.loc[~here, "recording"].nunique()
    told = {"recordings at positions other than p1 to p4": elsewhere} | too_short(rows)
    return replace(
        corpus,
        name="sprsound-sites",
        events=validate_events(rows, where, mend="fetch the recording again"),
        skipped=corpus.skipped | counted(told),
    )


def release_folder(folder: Path) -> Path:
    """The folder that holds train2022_json and its like: `folder`/BioCAS2022, or `folder` itself."""
    for root in (folder / "BioCAS2022", folder):
        if any((root / annotations).is_dir() for _, annotations in PARTS.values()):
            return root
    raise UserError(
        f"{folder} is no SPRSound folder: it holds no BioCAS2022/train2022_json; see `lungnb data fetch sprsound`."
    )


def read_annotations(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All recordings and all events of the release in `root`, with audio or without.

    Recordings: recording, split, record_label, patient, age_years, sex, position, path (NA without audio) and annotation
    (relative to `root`), n_events. Events: those columns, start_s, end_s, label, where ("file, event n").
    """
    sounds = {side: _audio_files(root / side) for side in {audio for audio, _ in PARTS.values()}}
    recordings, events, part_of = [], [], {}
    for part, (side, annotations) in PARTS.items():
        for path in sorted((root / annotations).glob("*.json")):
            if path.stem in part_of:
                raise UserError(f"{path}: the recording is annotated in {part_of[path.stem]} as well; remove one.")
            part_of[path.stem] = annotations
            label, found = _parse_json(path)
            audio = sounds[side].get(path.stem)
            about = {
                "recording": path.stem,
                "split": part,
                "record_label": label,
                **_parse_name(path),
                "path": audio.relative_to(root).as_posix() if audio else pd.NA,
                "annotation": path.relative_to(root).as_posix(),
                "n_events": len(found),
            }
            recordings.append(about)
            events += [about | event for event in found]
    if silent := sorted(p for files in sounds.values() for name, p in files.items() if name not in part_of):
        raise UserError(
            f"{silent[0]} has no .json of the same name ({len(silent)} in all); fetch it or remove the audio."
        )
    if not recordings:
        raise UserError(f"{root} holds no annotation (.json); get them with `lungnb data fetch sprsound`.")
    columns = [*recordings[0], "start_s", "end_s", "label", "where"]
    times = {"start_s": float, "end_s": float}  # of no event as well
    return pd.DataFrame(recordings), pd.DataFrame(events, columns=columns).astype(times)


def _audio_files(folder: Path) -> dict[str, Path]:
    return {p.stem: p for suffix in (".flac", ".wav") for p in sorted(folder.glob("*" + suffix))}


def _parse_name(path: Path) -> dict[str, Any]:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise UserError(f"{path}: {path.stem!r} is not patient_age_sex_position_number; rename or remove the file.")
    mend = "rename the recording's two files or remove them"
    try:
        age = float(match["age"])
        if not 0 <= age <= 120:
            raise ValueError(age)
    except ValueError as error:
        raise UserError(f"{path}: unknown age {match['age']!r}, expected years as in 8.1; {mend}.") from error
    if match["sex"] not in _SEX:
        raise UserError(f"{path}: unknown sex {match['sex']!r}, expected 0 (male) or 1 (female); {mend}.")
    if not re.fullmatch("p[1-8]", match["position"]):
        raise UserError(f"{path}: unknown position {match['position']!r}, expected p1 to p8; {mend}.")
    return {
        "patient": match["patient"],
        "age_years": age,
        "sex": _SEX[match["sex"]],
        "position": match["position"],
    }


def _parse_json(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """The label of the recording, and its events."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # not JSON, not text, or nested past reason
        raise UserError(f"{path} is not JSON ({error}); fetch the file again.") from error
    record = content if isinstance(content, dict) else {}
    label = record.get("record_annotation", record.get("recording_annotation"))
    found = record.get("event_annotation")
    if label not in RECORD_LABELS:
        known = ", ".join(RECORD_LABELS)
        raise UserError(f"{path}: record_annotation is {label!r}, expected one of {known}; correct the file.")
    if not isinstance(found, list):
        raise UserError(f"{path}: event_annotation is {found!r}, expected a list of events; correct the file.")
    return label, [_parse_event(event, f"{path}, event {n}") for n, event in enumerate(found, start=1)]


def _parse_event(event: Any, where: str) -> dict[str, Any]:
    try:
        start_s, end_s = (float(event[key]) / 1000 for key in ("start", "end"))
        if not (math.isfinite(start_s) and math.isfinite(end_s)):
            raise ValueError(event)
        label = re.sub(r"\s*[+&]\s*", "+", event["type"]).lower()
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"{where}: expected start and end in milliseconds and a type, found {event!r}; correct the event."
        ) from error
    if label not in LABELS:
        raise UserError(f"{where}: unknown type {event['type']!r}; known are {', '.join(LABELS)}: correct the event.")
    return {"start_s": start_s, "end_s": end_s, "label": label, "where": where}
