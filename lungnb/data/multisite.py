"""Cohorts of patients recorded at several thoracic sites, with one diagnosis a patient: the layout a clinic can bring its own in.

    multisite/
      GVA/                 one folder a cohort, whose name becomes the split (a batch kept for testing is its own: POA1, POA2)
        manifest.csv       one line a recording
        audio/7_1.wav      wherever the manifest says, inside the cohort's folder: .wav or .flac, any sample rate
      POA/ ...
      sites.txt            only where the sites are not the paper's 1 to 8: one site a line, in the order of the model's channels

    patient,site,path,diagnosis,age_years,sex,device
    7,1,audio/7_1.wav,bronchiolitis,0.8,female,
    7,5,audio/7_5.wav,bronchiolitis,0.8,female,

The manifest is CSV in UTF-8, separated by commas. patient, site, path (from the manifest's folder) and diagnosis (a key of
DIAGNOSES, in any case) stand on every line; age_years, sex (female or male) and device are as known, an age or a sex given
once holds for all lines of the patient, and the device is else the cohort. Lengths are read from the files. Patients are
numbered within their cohort: GVA/7 and POA/7 are two children. A site that was not recorded has no line, and one that was
recorded twice is joined into one file, since the models have one layer a site (paper, section III). Other columns and sites
are refused rather than left out: a mistyped site would else be a ninth one, which every other patient lacks.

The paper's own cohorts are not public (docs/papers/pediatric.md, section 1). `lungnb.data.sprsound.sprsound_view` makes
such a corpus of SPRSound, with four sites.
"""

import csv
import io
import os
from pathlib import Path
from typing import Any

import pandas as pd

from lungnb.core import UserError
from lungnb.data.corpus import Corpus, fingerprint_files, origin_of, validate_events
from lungnb.data.prompts import CONDITIONS, SEXES, SOUNDS
from lungnb.data.tables import duration_s, fields, nonzero, numbers, read_csv, read_text, sound_corpus

#: The thoracic sites of the paper's Fig. 1, by number.
SITES = ["1", "2", "3", "4", "5", "6", "7", "8"]
#: Where they are, in about half the width of a chest: right to left, back to front, low to high. The places are ours, since
#: Fig. 1 cannot be read: front and back, each right and left, upper and lower. A clinic's own sites have none.
PLACES = {
    **{"1": (-1, 0.7, 0.7), "2": (1, 0.7, 0.7), "3": (-1, 0.7, -0.7), "4": (1, 0.7, -0.7)},
    **{"5": (-1, -0.7, 0.7), "6": (1, -0.7, 0.7), "7": (-1, -0.7, -0.7), "8": (1, -0.7, -0.7)},
}
#: What a manifest may say -> the label. The cases are those of the paper's section II; its pneumonia is of two kinds, kept
#: apart in the events' `diagnosis`. The group's later work says wheezing disorder where the paper says asthma.
DIAGNOSES = {
    "control": "control",
    "pneumonia": "pneumonia",
    "bacterial pneumonia": "pneumonia",
    "viral pneumonia": "pneumonia",
    "bronchiolitis": "bronchiolitis",
    "asthma": "asthma",
    "wheezing disorder": "asthma",
}
LABELS = ["control", "pneumonia", "bronchiolitis", "asthma"]
#: Length of a crop in seconds (paper, section II).
CROP_S = 5.0

_REQUIRED, _OPTIONAL = ["patient", "site", "path", "diagnosis"], ["age_years", "sex", "device"]
_SUFFIXES = (".wav", ".flac")


def read_multisite(folder: Path) -> Corpus:
    """One row a recording, from 0 s to its end: `label` is the patient's diagnosis, `position` the site, `split` the cohort.

    Nothing is left out: `skipped` counts what gives no crop (recordings under CROP_S, and patients with no other) and the
    audio files that no manifest names. Raises UserError naming manifest and line for a patient without a site, a site
    listed twice, an unknown site or diagnosis, a patient of two diagnoses, ages or sexes, a file that is missing, named
    twice, outside its cohort, empty or no audio, and a manifest that is no such table.
    """
    folder = Path(folder)
    manifests = sorted(folder.glob("*/manifest.csv"))
    if not manifests:
        raise UserError(
            f"{folder} holds no <cohort>/manifest.csv; write one, or move the one there into its cohort's folder."
        )
    sites = read_sites(folder)
    frame = pd.DataFrame([row for manifest in manifests for row in _read_manifest(manifest, sites)])
    known = frame.groupby("patient")[["age_years", "sex"]].transform("first")
    frame = frame.assign(start_s=0.0, recording=frame["path"], age_years=known["age_years"], sex=known["sex"])
    events = validate_events(frame, frame["where"], "correct that line", "multisite")
    named = [folder / path for path in events["path"]]
    unnamed = {p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES} - set(named)
    listed = [folder / "sites.txt"] if (folder / "sites.txt").exists() else []
    return Corpus(
        name="multisite",
        events=events,
        origin=origin_of(folder),
        fingerprint=fingerprint_files([*manifests, *listed, *named], folder),
        audio_root=folder,
        skipped=nonzero({"audio files that no manifest names": len(unnamed)} | too_short(events)),
    )


def read_sites(folder: Path) -> list[str]:
    """The sites of the cohorts in `folder`, in the order of the model's channels: of its sites.txt, else SITES."""
    path = Path(folder) / "sites.txt"
    if not path.exists():
        return list(SITES)
    sites = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not sites or len(set(sites)) < len(sites):
        twice = next((s for s in sites if sites.count(s) > 1), None)
        what = "names no site" if twice is None else f"names the site {twice!r} twice"
        raise UserError(f"{path} {what}; write each site on one line, or remove the file for the sites 1 to 8.")
    return sites


_MANIFEST = ["path", "sound", "patient", "sex", "age_years", "smoker", "condition", "start_s", "end_s", "position"]


def read_manifest(folder: Path) -> Corpus:
    """Any other corpus, and simulated ones: a folder with a manifest, one event a line.

        <corpus>/                          the folder's name is the corpus's
          manifest.csv                     one line an event
          audio/1.wav                      wherever the manifest says, inside the folder

        path,sound,patient,sex,age_years,smoker,condition,start_s,end_s,position
        audio/1.wav,cough,7,female,43,no,asthma,,,
        audio/2.wav,wheeze,8,,,,,1.5,3.25,left posterior

    The manifest is CSV in UTF-8. path and sound (one of SOUNDS) stand on every line; the other columns may be left out, or left
    blank where they are not known: sex (female, male), age_years, smoker (yes, no), condition (one of CONDITIONS), start_s and
    end_s (a blank start is 0, a blank end the end of the file). A file may be on several lines. Other columns are refused
    rather than passed over: a mistyped one would else be lost. Raises UserError naming manifest and line.
    """
    name, path = folder.resolve().name, folder / "manifest.csv"
    table = read_csv(path, _MANIFEST[:2], "the manifest of clips")
    known = [*_MANIFEST, "where"]
    if odd := [column for column in table.columns if column not in known]:
        raise UserError(f"{path}, line 1: column {odd[0]!r} is unknown; known are {', '.join(_MANIFEST)}: rename it.")
    if table.empty:
        raise UserError(f"{path} lists no clip; add one line for each.")
    table = table.reindex(columns=known).astype("string")
    where = table["where"]
    for column in _MANIFEST[:2]:
        if (blank := table[column].isna()).any():
            raise UserError(f"{where[blank.idxmax()]}: no {column} is given; add it or remove the line.")
    for row, file in table["path"].items():
        if Path(file).is_absolute() or ".." in Path(file).parts or not (folder / file).is_file():
            raise UserError(
                f"{where[row]}: there is no file {file!r} in {folder}; add it, correct the path or remove it."
            )
    start, end = (
        numbers(table[column], 1e6, column + " is {!r}, expected seconds from 0 on", where)
        for column in ("start_s", "end_s")
    )
    columns = {
        "sound": ("sound", {sound: sound for sound in SOUNDS}),
        "sex": ("sex", {sex: sex for sex in SEXES}),
        "smoker": ("smoker", {"yes": True, "no": False}),
        "condition": ("condition", {condition.lower(): condition for condition in CONDITIONS}),
    }
    part = "@" + start.fillna(0).astype("string") + "-" + end.astype("string").fillna("end")
    rows = fields(table, age="age_years", **columns).assign(
        **{column: table[column] for column in ("path", "patient", "position")},
        clip=name + "/" + table["path"] + part.mask(start.isna() & end.isna(), ""),
        start_s=start.fillna(0),
        end_s=end,
    )
    return sound_corpus(name, folder, rows, [path])


def _read_manifest(path: Path, sites: list[str]) -> list[dict[str, Any]]:
    """Its lines as rows of events, with where ("file, line n")."""
    rows: list[dict[str, Any]] = []
    seen: dict[tuple[str, ...], tuple[int, Any]] = {}  # what may be said once, or in one way -> line, value
    for line, cells in _read_cells(path):
        where = f"{path}, line {line}"
        patient, site = cells["patient"], cells["site"]
        if not patient:
            raise UserError(f"{where}: no patient is named; name one or remove the line.")
        if not site:
            raise UserError(
                f"{where}: patient {patient!r} stands there without a site; name one of {', '.join(sites)}, or remove the line."
            )
        if site not in sites:
            raise UserError(
                f"{where}: unknown site {site!r}, expected one of {', '.join(sites)}; correct the line, or list the sites of "
                f"all cohorts in {path.parents[1] / 'sites.txt'}."
            )
        if (first := seen.setdefault(("site", patient, site), (line, None))[0]) != line:
            raise UserError(
                f"{where}: site {site} of patient {patient!r} is listed on line {first} as well; remove one line, or join the "
                "two recordings into one file."
            )
        diagnosis = cells["diagnosis"].lower()
        if diagnosis not in DIAGNOSES:
            known = ", ".join(DIAGNOSES)
            raise UserError(f"{where}: unknown diagnosis {cells['diagnosis']!r}; known are {known}: correct the line.")
        metadata = {
            "diagnosis": diagnosis,
            "age_years": _age(cells["age_years"], where),
            "sex": _sex(cells["sex"], where),
        }
        for key, value in metadata.items():
            first, other = (line, value) if value is pd.NA else seen.setdefault((key, patient), (line, value))
            if value is not other and value != other:
                raise UserError(
                    f"{where}: the {key} of patient {patient!r} is {value!r} there but {other!r} on line {first}; correct one."
                )
        file = _audio_file(path.parent, cells["path"], where)
        if (first := seen.setdefault(("file", str(file)), (line, None))[0]) != line:
            raise UserError(f"{where}: {cells['path']!r} is named on line {first} as well; correct one of the lines.")
        rows.append(
            metadata
            | {
                "path": file.relative_to(path.parents[1]).as_posix(),
                "end_s": duration_s(file, f"{where}: {cells['path']}"),
                "label": DIAGNOSES[diagnosis],
                "patient": f"{path.parent.name}/{patient}",
                "position": site,
                "device": cells["device"] or path.parent.name,
                "split": path.parent.name,
                "where": where,
            }
        )
    if not rows:
        raise UserError(f"{path} lists no recording; add one line for each.")
    return rows


def _read_cells(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Number and cells of each line that is not blank, by column, an absent column as blank."""
    reader = csv.reader(io.StringIO(read_text(path)), strict=True)
    try:
        # Spreadsheets leave lines of commas after the last one.
        lines = [(reader.line_num, cells) for row in reader if any(cells := [cell.strip() for cell in row])]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not CSV ({error}); save the table as CSV again.") from error
    columns = lines[0][1] if lines else []
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise UserError(f"{path}, line 1: no column {missing[0]}; name the columns there, separated by commas.")
    known = _REQUIRED + _OPTIONAL
    if odd := [name for n, name in enumerate(columns) if name not in known or name in columns[:n]]:
        raise UserError(
            f"{path}, line 1: column {odd[0]!r} is unknown or there twice; known are {', '.join(known)}: rename or remove it."
        )
    for line, cells in lines:
        if len(cells) != len(columns):
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells, expected {len(columns)} as in line 1; correct the line."
            )
    blank = dict.fromkeys(_OPTIONAL, "")
    return [(line, blank | dict(zip(columns, cells, strict=True))) for line, cells in lines[1:]]


def _age(text: str, where: str) -> Any:
    """Years, or NA."""
    if not text:
        return pd.NA
    try:
        age = float(text)
        if not 0 <= age <= 120:
            raise ValueError(age)
    except ValueError as error:
        raise UserError(f"{where}: unknown age {text!r}, expected years as in 0.8; correct the line.") from error
    return age


def _sex(text: str, where: str) -> Any:
    if text not in ("", "female", "male"):
        raise UserError(f"{where}: unknown sex {text!r}, expected female or male; correct the line.")
    return text or pd.NA


def _audio_file(cohort: Path, text: str, where: str) -> Path:
    if not text:
        raise UserError(f"{where}: no file is named; name one, or remove the line of a site that was not recorded.")
    if Path(text).is_absolute() or ".." in Path(text).parts:
        raise UserError(f"{where}: {text!r} lies outside {cohort}; move the file there and name it from there.")
    if Path(text).suffix.lower() not in _SUFFIXES:
        raise UserError(f"{where}: {text!r} is neither .wav nor .flac; convert the recording.")
    if not os.path.isfile(cohort / text):  # which, unlike Path's, bears any name
        raise UserError(f"{where}: there is no file {text!r} in {cohort}; add it, correct the path or remove the line.")
    return cohort / text


def too_short(events: pd.DataFrame) -> dict[str, int]:
    """Recordings and patients, by what a report says of them, that are kept and yet give no crop."""
    short = events["end_s"] < CROP_S
    return {
        f"recordings shorter than one crop of {CROP_S:g} s (kept; they give no crop)": int(short.sum()),
        "patients with no longer recording (kept; they give no crop)": int(
            short.groupby(events["patient"]).all().sum()
        ),
    }
