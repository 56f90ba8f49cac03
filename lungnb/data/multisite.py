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

The manifest is CSV in UTF-8, separated by commas, semicolons or tabs. patient, site, path (from the manifest's folder) and
diagnosis (a key of DIAGNOSES, in any case) stand on every line; age_years, sex (female, male, F or M) and device are as
known, an age or a sex given once holds for all lines of the patient, and the device is else the cohort. Lengths are read from
the files. Patients are numbered within their cohort: GVA/7 and POA/7 are two children. A site that was not recorded has no
line, and one that was recorded twice is joined into one file, since the models have one layer a site (paper, section III).
Other columns and sites are refused rather than left out: a mistyped site would else be a ninth one, which every other patient
lacks.

The paper's own cohorts are not public (docs/papers/pediatric.md, section 1). `lungnb.data.sprsound.sprsound_view` makes
such a corpus of SPRSound, with four sites.
"""

from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.corpus import Corpus, make_corpus
from lungnb.data.folders import LOSSLESS, contents, files, find_root, key_of, original_stem
from lungnb.data.inspection import duration_s
from lungnb.data.prompts import CONDITIONS, SOUNDS
from lungnb.data.tables import (
    SEX_WORDS,
    ages,
    check_paths,
    fields,
    numbers,
    read_csv,
    read_text,
    refuse,
    sound_corpus,
    translate,
)

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


def read_multisite(folder: Path) -> Corpus:
    """One row a recording, from 0 s to its end: `label` is the patient's diagnosis, `position` the site, `split` the cohort.

    Nothing is left out: `skipped` counts what gives no crop (recordings under CROP_S, and patients with no other) and the audio
    files that no manifest names. Cohorts may lie up to two folders deeper. Raises UserError naming manifest and line for a
    patient without a site, a site listed twice, an unknown site or diagnosis, a patient of two diagnoses, ages or sexes, a
    file that is missing, named twice, outside its cohort, empty or no audio, and a manifest that is no such table.
    """
    given = Path(folder)
    if _manifests(given, 0):
        raise UserError(
            f"{given} holds no <cohort>/manifest.csv, but one of its own; move it into its cohort's folder."
        )
    hint = "; write one <cohort>/manifest.csv for each cohort"
    folder = find_root(given, lambda folder: bool(_manifests(folder, 1)), "cohorts (multisite)", hint)
    manifests = _manifests(folder, 1)
    sites = read_sites(folder)
    frame = pd.concat([_read_cohort(manifest, sites) for manifest in manifests], ignore_index=True)
    listed = [folder / "sites.txt"] if (folder / "sites.txt").exists() else []
    return make_corpus("multisite", folder, frame, [*manifests, *listed], folder=given, skipped=too_short(frame))


def _manifests(folder: Path, levels: int) -> list[Path]:
    """The manifest.csv of each folder `levels` below, in any case."""
    found = [path for path in files(folder, (".csv",), levels) if key_of(original_stem(path)) == "manifest"]
    return [path for path in found if len(path.relative_to(folder).parts) == levels + 1]


def read_sites(folder: Path) -> list[str]:
    """The sites of the cohorts in `folder`, in the order of the model's channels: of its sites.txt, else SITES."""
    path = Path(folder) / "sites.txt"
    if not path.exists():
        return list(SITES)
    sites = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not sites or len(set(sites)) < len(sites):
        twice = next((s for s in sites if sites.count(s) > 1), None)
        what = "names no site" if twice is None else f"names the site {twice!r} twice"
        raise UserError(
            f"{path} {what}; write each site once, on a line of its own (without the file the sites are 1 to 8)."
        )
    return sites


def _read_cohort(manifest: Path, sites: list[str]) -> pd.DataFrame:
    """Its lines as rows of events, with `where`."""
    cohort = manifest.parent
    table = read_csv(manifest, ["patient", "site", "path", "diagnosis"], ["age_years", "sex", "device"])
    refuse(table, table["patient"].isna(), "no patient is named; name one")
    known = f"name one of {', '.join(sites)}"
    refuse(table, table["site"].isna(), f"patient {{patient!r}} stands there without a site; {known}")
    listed = cohort.parent / "sites.txt"
    unknown = ~table["site"].isin(sites)
    refuse(table, unknown, f"unknown site {{site!r}}; {known}, or list the sites of all cohorts in {listed}")
    lossy = ~table["path"].str.lower().str.endswith(LOSSLESS)
    refuse(table, lossy, "{path!r} names neither a .wav nor a .flac; write the whole name, or convert the recording")
    table["path"] = [Path(path).as_posix() for path in check_paths(table, cohort)]
    refuse(table, table["diagnosis"].isna(), f"no diagnosis is given; name one of {', '.join(DIAGNOSES)}")
    table["label"] = translate(table, "diagnosis", DIAGNOSES)
    table["diagnosis"] = table["diagnosis"].str.lower()
    table["age_years"] = ages(table, "age_years")
    table["sex"] = translate(table, "sex", SEX_WORDS)

    for keys, what, hint in (
        (
            ["patient", "site"],
            "site {site} of patient {patient!r}",
            "correct one of the lines, or join the two into one file",
        ),
        (["path"], "{path!r}", "correct one of the lines"),
    ):
        again = table.assign(first=table.groupby(keys)["where"].transform("first"))
        refuse(again, table.duplicated(keys), f"{what} is listed in {{first}} as well; {hint}")
    for key in ("diagnosis", "age_years", "sex"):  # what is given once holds for the patient
        stated = table[table[key].notna()]
        said = stated.groupby("patient")[[key, "where"]].transform("first")
        other = stated.assign(other=said[key], first=said["where"])
        complaint = f"the {key} of patient {{patient!r}} is {{{key}}} there but {{other}} in {{first}}; correct one"
        refuse(other, stated[key] != said[key], complaint)
    patients = table.groupby("patient")
    return table.assign(
        age_years=patients["age_years"].transform("first"),
        sex=patients["sex"].transform("first"),
        end_s=[duration_s(cohort / path, where) for path, where in zip(table["path"], table["where"], strict=True)],
        start_s=0.0,
        path=cohort.name + "/" + table["path"],
        recording=cohort.name + "/" + table["path"],
        patient=cohort.name + "/" + table["patient"],
        position=table["site"],
        device=table["device"].fillna(cohort.name),
        split=cohort.name,
    )


def read_manifest(folder: Path) -> Corpus:
    """Any other corpus, and simulated ones: a folder with a manifest, one event a line.

        <corpus>/                          the folder's name is the corpus's
          manifest.csv                     one line an event
          audio/1.wav                      wherever the manifest says, inside the folder

        path,sound,patient,sex,age_years,smoker,condition,start_s,end_s,position
        audio/1.wav,cough,7,female,43,no,asthma,,,
        audio/2.wav,wheeze,8,,,,,1.5,3.25,left posterior

    The manifest is CSV in UTF-8, separated by commas, semicolons or tabs. path and sound (one of SOUNDS) stand on every line; the
    other columns may be left out, or left blank where they are not known: sex (female, male), age_years, smoker (yes, no),
    condition (one of CONDITIONS), start_s and end_s (a blank start is 0, a blank end the end of the file). A file may be on
    several lines. Other columns are refused rather than passed over: a mistyped one would else be lost. Raises UserError
    naming manifest and line.
    """
    name, path = folder.resolve().name, find_manifest(folder)
    if path is None:
        raise UserError(f"{folder} holds no manifest.csv; write it, one line an event; it holds {contents(folder)}.")
    optional = ["patient", "sex", "age_years", "smoker", "condition", "start_s", "end_s", "position"]
    table = read_csv(path, ["path", "sound"], optional)
    table["path"] = check_paths(table, folder)
    refuse(table, table["sound"].isna(), "no sound is given; add it")
    start, end = (numbers(table, column, 1e6, "seconds from 0 on") for column in ("start_s", "end_s"))
    words = {"sound": SOUNDS, "condition": CONDITIONS}
    columns = {name: (name, {word.lower(): word for word in known}) for name, known in words.items()}
    columns["sex"] = ("sex", SEX_WORDS)
    rows = fields(table, age="age_years", smoker=("smoker", {"yes": True, "no": False}), **columns)
    part = "@" + start.fillna(0).astype("string") + "-" + end.astype("string").fillna("end")
    rows = rows.assign(
        **{column: table[column] for column in ("path", "patient", "position")},
        clip=name + "/" + table["path"] + part.mask(start.isna() & end.isna(), ""),
        start_s=start.fillna(0),
        end_s=end,
    )
    return sound_corpus(name, folder, rows, [path])


def find_manifest(folder: Path) -> Path | None:
    """The manifest.csv in `folder`, in any case."""
    return next(iter(_manifests(folder, 0)), None)


def too_short(events: pd.DataFrame) -> dict[str, int]:
    """Recordings and patients, by what a report says of them, that are kept and yet give no crop."""
    short = events["end_s"] < CROP_S
    return {
        f"recordings shorter than one crop of {CROP_S:g} s (kept; they give no crop)": int(short.sum()),
        "patients with no longer recording (kept; they give no crop)": int(
            short.groupby(events["patient"]).all().sum()
        ),
    }
