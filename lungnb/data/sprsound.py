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
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungnb.core import UserError
from lungnb.data.corpus import LUNG_SOUNDS, Corpus, digest, fingerprint_files, origin_of, validate_events
from lungnb.data.multisite import too_short
from lungnb.data.tables import Count, audio_files, audio_headers, check_audio, duration_s, nonzero

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
        events=validate_events(
            kept.assign(sound=kept["label"].map(LUNG_SOUNDS)),
            kept["where"],
            "correct that event or remove the recording's two files",
            "sprsound",
        ),
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
        sound=pd.NA,
        label=np.where(rows["patient"].map(ill), VIEW_LABELS[1], VIEW_LABELS[0]),
    )
    elsewhere = corpus.events.loc[~here, "recording"].nunique()
    found = {"recordings at positions other than p1 to p4": elsewhere} | too_short(rows)
    return replace(
        corpus,
        name="sprsound-sites",
        fingerprint=digest(corpus.fingerprint, "sites"),
        events=validate_events(rows, where, "fetch the recording again"),
        skipped=corpus.skipped | nonzero(found),
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
    sounds = {side: audio_files(root / side) for side in {audio for audio, _ in PARTS.values()}}
    recordings, events, part_of = [], [], {}
    for part, (side, annotations) in PARTS.items():
        for path in sorted((root / annotations).glob("*.json")):
            if path.stem in part_of:
                raise UserError(f"{path}: the recording is annotated in {part_of[path.stem]} as well; remove one.")
            part_of[path.stem] = annotations
            label, found = _parse_json(path)
            audio = sounds[side].get(path.stem)
            metadata = {
                "recording": path.stem,
                "split": part,
                "record_label": label,
                **_parse_name(path),
                "path": audio.relative_to(root).as_posix() if audio else pd.NA,
                "annotation": path.relative_to(root).as_posix(),
                "n_events": len(found),
            }
            recordings.append(metadata)
            events += [metadata | event for event in found]
    if silent := sorted(p for files in sounds.values() for name, p in files.items() if name not in part_of):
        raise UserError(
            f"{silent[0]} has no .json of the same name ({len(silent)} in all); fetch it or remove the audio."
        )
    if not recordings:
        raise UserError(f"{root} holds no annotation (.json); get them with `lungnb data fetch sprsound`.")
    columns = [*recordings[0], "start_s", "end_s", "label", "where"]
    times = {"start_s": float, "end_s": float}  # of no event as well
    return pd.DataFrame(recordings), pd.DataFrame(events, columns=columns).astype(times)


def counts(folder: Path) -> Iterator[Count]:
    """Parts (test is inter and intra, as the paper has it), people, lengths of events, rare classes, and audio."""
    root = release_folder(folder)
    recordings, events = read_annotations(root)
    events["seconds"] = (events["end_s"] - events["start_s"]).round(6)  # so that 2,000 ms are 2 s
    audible = recordings[recordings["path"].notna()].set_index("recording")
    train, children = events[events["split"] == "train"], recordings[recordings["split"] == "train"]
    yield from _count("all", events, recordings)
    backwards = "events that do not end after they start"
    yield backwards, ("all", backwards), (events["seconds"] <= 0).sum()
    for part, splits in {
        "train": ["train"],
        "inter": ["inter"],
        "intra": ["intra"],
        "test": ["inter", "intra"],
    }.items():
        here = recordings[recordings["split"].isin(splits)]
        yield from _count(part, events[events["split"].isin(splits)], here)
        shared = here.loc[here["patient"].isin(children["patient"]), "patient"].nunique()
        yield f"{part}: patients shared with train", (part, "patients shared with train"), shared
        for label in RECORD_LABELS:
            what = f"{part}: recordings, {label}"
            yield what, (f"{part} records", label), (here["record_label"] == label).sum()
        silent = here.loc[here["n_events"] == 0, "record_label"]
        yield f"{part}: recordings without events", (f"{part} records", "Poor Quality"), len(silent)
        yield f"{part}: recordings without events, not Poor Quality", 0, (silent != "Poor Quality").sum()
        yield f"{part}: recordings with audio", (part, "recordings"), audible["split"].isin(splits).sum()
    for position in POSITIONS:
        here = (children["position"] == position).sum()
        yield f"train: recordings, position {position}", ("train positions", position), here
    for sex in ("male", "female"):
        yield f"train: recordings, {sex}", ("train sex", sex), (children["sex"] == sex).sum()
    for statistic in ("min", "median", "max"):
        yield f"train: age, {statistic} (years)", ("age", f"{statistic}_years"), children["age_years"].agg(statistic)
    yield "train: age, distinct values", ("age", "distinct values"), children["age_years"].nunique()
    quantiles = {"p5": 0.05, "p95": 0.95, "p99": 0.99}
    for name in ("min", "p5", "median", "mean", "p95", "p99", "max"):
        here = train["seconds"].quantile(quantiles[name]) if name in quantiles else train["seconds"].agg(name)
        yield f"train: event length, {name} (s)", ("event length", f"{name}_s"), here
    for edge in (2, 3):
        share = 100 * (train["seconds"] <= edge).mean()
        yield f"train: events, share up to {edge} s (%)", ("event length", f"share up to {edge} s"), share
    yield "train: events longer than 5 s", ("event length", "longer than 5 s"), (train["seconds"] > 5).sum()
    yield "events longer than 5 s", ("event length, all", "longer than 5 s"), (events["seconds"] > 5).sum()
    wheezes = train.loc[train["label"] == "wheeze", "seconds"]
    yield "train: wheeze length, median (s)", ("event length | W", "median_s"), wheezes.median()
    for short, label in zip(SHORT, LABELS, strict=True):  # in how few patients a rare class is found
        by_patient = train.loc[train["label"] == label, "patient"].value_counts()
        yield f"train: {label}, patients", (f"train | {short}", "patients"), len(by_patient)
        yield (
            f"train: {label}, largest patient",
            (f"train | {short}", "largest patient"),
            by_patient.max() if len(by_patient) else 0,
        )
    yield "recordings annotated without audio", 0, len(recordings) - len(audible)
    odd, headers = audio_headers(root, audible["path"], events.groupby("recording")["end_s"].max())
    yield from odd
    yield "audio, all recordings (h)", ("all", "duration_h"), headers["seconds"].sum() / 3600
    for statistic in ("min", "max"):
        yield f"sampling rate, {statistic} (Hz)", ("all", "sample_rate_hz"), headers["rate"].agg(statistic)
        yield f"channels, {statistic}", ("all", "channels"), headers["channels"].agg(statistic)
    yield "recordings of 16 bits", ("all", "recordings"), (headers["subtype"] == "PCM_16").sum()
    for statistic in ("min", "median", "max"):
        length = headers["seconds"].agg(statistic)
        yield f"recording length, {statistic} (s)", ("recording length", f"{statistic}_s"), length


def _count(part: str, events: pd.DataFrame, recordings: pd.DataFrame) -> Iterator[Count]:
    name = "" if part == "all" else f"{part}: "
    yield f"{name}recordings", (part, "recordings"), len(recordings)
    yield f"{name}patients", (part, "patients"), recordings["patient"].nunique()
    yield f"{name}events", (part, "events"), len(events)
    for short, label in zip(SHORT, LABELS, strict=True):
        yield f"{name}events, {label}", (part, short), (events["label"] == label).sum()
    yield f"{part}: events, abnormal", (part, "abnormal"), (events["label"] != "normal").sum()


def _parse_name(path: Path) -> dict[str, Any]:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise UserError(f"{path}: {path.stem!r} is not patient_age_sex_position_number; rename or remove the file.")
    hint = "rename the recording's two files or remove them"
    try:
        age = float(match["age"])
        if not 0 <= age <= 120:
            raise ValueError(age)
    except ValueError as error:
        raise UserError(f"{path}: unknown age {match['age']!r}, expected years as in 8.1; {hint}.") from error
    if match["sex"] not in _SEX:
        raise UserError(f"{path}: unknown sex {match['sex']!r}, expected 0 (male) or 1 (female); {hint}.")
    if not re.fullmatch("p[1-8]", match["position"]):
        raise UserError(f"{path}: unknown position {match['position']!r}, expected p1 to p8; {hint}.")
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
