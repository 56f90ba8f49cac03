"""Reader of SPRSound, the paediatric respiratory sounds of the BioCAS 2022 release and later ones, in their official layouts.

    sprsound/BioCAS2022/
      train2022_wav/                    40512331_8.1_1_p1_3544.wav (or .flac): patient, age in years, sex, position, number
      train2022_json/                   the same names: a label of the recording, and its events in milliseconds
      test2022_wav/
      test2022_json/inter_test_json/    patients who are not in train
      test2022_json/intra_test_json/    patients who are

Recordings are found by their names, wherever they lie: the folders of the later releases (BioCAS2023 to 2025) beside or alone,
those of other commits (train_json/ on top, Classification/, releases/BioCAS2022/), or a clone. A folder says the part: train,
inter, intra or test, with the year where that is not 2022 (test2023), so that the challenge of 2022 stays what it is.

The files are not all alike. The later releases have no label of the recording, and children without a number
(_5.3_0_p8_34877): each such recording counts as a patient, and is in no split of patients. Start and end are strings in some
releases and numbers in others, the recording's label stands under `record_annotation` or `recording_annotation`, and one class is
`Wheeze+Crackle` or `Wheeze & Crackle`
(docs/papers/convlstm.md, section 1).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lungnb.core import UserError
from lungnb.data.corpus import LUNG_SOUNDS, Corpus, digest, make_corpus, validate_events
from lungnb.data.folders import contents, key_of, original_stem
from lungnb.data.inspection import Count, audio_headers, check_audio, count, duration_s, each
from lungnb.data.multisite import too_short
from lungnb.data.sprsound_files import (
    LABELS,
    RECORD_LABELS,
    annotation_files,
    anonymous,
    audio_files,
    in_order,
    parse_json,
    parse_name,
    part_of,
    release_folder,
    repeated_audio,
)

#: The letters of the paper's Table 1, in the order of LABELS.
SHORT = ["N", "R", "W", "S", "CC", "FC", "WC"]
#: Left posterior, left lateral, right posterior, right lateral; later releases add p5 to p8, whose meaning is not given, and a
#: clinic may have its own.
POSITIONS = ["p1", "p2", "p3", "p4"]
#: In the training part of the 2022 release, and sample for sample 41279835_14.1_0_p1_2050 of its intra test.
REPEATED = ("41279835_14.1_0_p1_2945",)
WITHOUT_EVENTS = "recordings without events (poor quality)"
#: Labels of a patient in `sprsound_view`.
VIEW_LABELS = ["normal", "adventitious"]
#: The parts of the 2022 release, and how many recordings the later ones hold by their READMEs (commit 174500e).
PARTS = ("train", "inter", "intra")
LATER = {"test2023": 871, "test2024": 1704, "test2025": 1309}


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
        raise UserError(f"{root} holds no event of a recording with audio; it holds {contents(root)}.")
    check_audio(root, kept)
    here = recordings[recordings["path"].notna()]
    found = [path for _, path in annotation_files(root)]
    again = len(found) - len(recordings)
    return make_corpus(
        "sprsound",
        root,
        kept.assign(sound=kept["label"].map(LUNG_SOUNDS)),
        [root / path for path in (*here["annotation"], *here["path"])],  # those without events, too
        hint="correct that event",
        folder=Path(folder),
        missing=recordings.loc[recordings["path"].isna(), "recording"],
        skipped={
            WITHOUT_EVENTS: (here["n_events"] == 0).sum(),
            "recordings that an earlier release holds as well (passed over)": again,
            "recordings in no part, for no folder says train or test (kept)": here["split"].isna().sum(),
            "recordings of children without a number (kept; in no split of patients)": anonymous(here).sum(),
        },
        known=[*found, *(repeated_audio(root, recordings) if again else ())],
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
    unnumbered = anonymous(corpus.events)
    here = corpus.events["position"].isin(POSITIONS) & ~unnumbered
    events = corpus.events[here]
    if events.empty:
        raise UserError(
            f"{corpus.audio_root} holds no recording of a numbered child at p1 to p4, as the 2022 release does."
        )
    ill = (events["label"] != "normal").groupby(events["patient"]).any()
    rows = events.drop_duplicates("recording").reset_index(drop=True)
    rows = rows.assign(
        start_s=0.0,
        end_s=[duration_s(corpus.audio_root / path) for path in rows["path"]],
        sound=pd.NA,
        label=np.where(rows["patient"].map(ill), VIEW_LABELS[1], VIEW_LABELS[0]),
    )
    elsewhere = corpus.events.loc[~here & ~unnumbered, "recording"].nunique()
    found = {"recordings at positions other than p1 to p4": elsewhere} | too_short(rows)
    return replace(
        corpus,
        name="sprsound-sites",
        fingerprint=digest(corpus.fingerprint, "sites"),
        events=validate_events(rows, rows["path"], "compare it with its recording"),
        skipped=corpus.skipped | {reason: n for reason, n in found.items() if n},
    )


def sprsound_records(corpus: Corpus) -> Corpus:
    """SPRSound's recordings, whole, with their own labels (RECORD_LABELS): those of `corpus`, and of Poor Quality, which have no
    event and so are not in it.

    Raises UserError for another data set, and where no recording has a label, as in the later releases.
    """
    if corpus.name != "sprsound":
        raise UserError(f"sprsound_records takes the SPRSound corpus, not {corpus.name!r}; load 'sprsound'.")
    recordings, _ = read_annotations(corpus.audio_root)
    here = recordings["recording"].isin(corpus.events["recording"]) | (recordings["n_events"] == 0)
    rows = recordings[here & recordings["path"].notna() & recordings["record_label"].notna()]
    if rows.empty:
        raise UserError(f"No recording in {corpus.audio_root} has a label of its own; the 2022 release has them.")
    rows = rows.rename(columns={"record_label": "label"}).reset_index(drop=True).assign(start_s=0.0, sound=pd.NA)
    rows["end_s"] = [duration_s(corpus.audio_root / path) for path in rows["path"]]
    skipped = {reason: n for reason, n in corpus.skipped.items() if reason != WITHOUT_EVENTS}
    unlabelled = int((here & recordings["record_label"].isna()).sum())
    return replace(
        corpus,
        name="sprsound-records",
        fingerprint=digest(corpus.fingerprint, "records"),
        events=validate_events(rows, rows["annotation"], "correct it", "sprsound"),
        skipped=skipped | ({"recordings without a label of their own": unlabelled} if unlabelled else {}),
    )


def read_annotations(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All recordings and all events of the release, or releases, in `root`, with audio or without.

    Recordings: recording, split, record_label (NA where it is not stated), patient, age_years, sex, position, path (NA without
    audio) and annotation (relative to `root`), n_events. Events: those columns, start_s, end_s, label, where ("file, event n").
    """
    annotations = in_order(annotation_files(root), root)
    sounds = audio_files(root, [path for _, path in annotations])
    recordings, events, seen = [], [], {}
    for release, path in annotations:
        stem = original_stem(path)  # a copy that is left alone is meant
        key = key_of(stem)
        label, found = parse_json(path)
        if key in seen:
            (first, first_release), same = seen[key], [event | {"where": ""} for event in found]
            before = [
                {name: e[name] for name in ("start_s", "end_s", "label")} | {"where": ""} for e in first["events"]
            ]
            if first_release == release or same != before:
                raise UserError(
                    f"{path}: the recording is annotated in {first['path'].relative_to(root)} as well; move the one that is "
                    "not meant out of the data folder."
                )
            continue
        seen[key] = ({"path": path, "events": found}, release)
        audio = sounds.get((release, key))
        metadata = {
            "recording": stem,
            "split": part_of(path, root),
            "record_label": label,
            **parse_name(path),
            "path": audio.relative_to(root).as_posix() if audio else pd.NA,
            "annotation": path.relative_to(root).as_posix(),
            "n_events": len(found),
        }
        recordings.append(metadata)
        events += [metadata | event for event in found]
    if silent := sorted(path for (_, key), path in sounds.items() if key not in seen):
        raise UserError(
            f"{silent[0]} has no annotation, a .json of the same name ({len(silent)} in all); write it, or keep recordings "
            f"without one outside {root}."
        )
    columns = [*recordings[0], "start_s", "end_s", "label", "where"]
    times = {"start_s": float, "end_s": float}  # of no event as well
    return pd.DataFrame(recordings), pd.DataFrame(events, columns=columns).astype(times)


def counts(folder: Path) -> list[Count]:
    """Parts (test is inter and intra, as the paper has it), people, lengths of events, rare classes, and audio."""
    root = release_folder(folder)
    tables = read_annotations(root)
    later = tables[0]["split"].value_counts()
    recordings, events = (table[table["split"].isin(PARTS)] for table in tables)  # what was published
    seconds = (events["end_s"] - events["start_s"]).round(6)  # so that 2,000 ms are 2 s
    audible = recordings[recordings["path"].notna()].set_index("recording")
    odd, headers = audio_headers(root, audible["path"], events.groupby("recording")["end_s"].max())
    children = recordings[recordings["split"] == "train"]
    found = [
        *_count("all", recordings, events),
        *count("all", {"events that do not end after they start": (seconds <= 0).sum()}),
    ]
    for part, splits in {**{part: [part] for part in PARTS}, "test": ["inter", "intra"]}.items():
        here = recordings[recordings["split"].isin(splits)]
        shared = here.loc[here["patient"].isin(children["patient"]), "patient"].nunique()
        silent = here.loc[here["n_events"] == 0, "record_label"]
        found += [
            *_count(part, here, events[events["split"].isin(splits)]),
            *count(part, {"patients shared with train": shared}),
            *count(f"{part} records", each(here["record_label"], RECORD_LABELS)),
            *count(f"{part} records", {"Poor Quality": len(silent)}, f"{part} records without events"),
            (f"{part} records without events: not Poor Quality", 0, (silent != "Poor Quality").sum()),
            *count(part, {"recordings": audible["split"].isin(splits).sum()}, f"{part}, with audio"),
        ]
    train = events[events["split"] == "train"].assign(seconds=seconds)
    lengths, ages = train["seconds"].describe([0.05, 0.5, 0.95, 0.99]), children["age_years"].astype(float)
    for short, label in zip(SHORT, LABELS, strict=True):  # in how few patients a rare class is found
        by_patient = train.loc[train["label"] == label, "patient"].value_counts()
        largest = by_patient.max() if len(by_patient) else 0
        found += count(f"train | {short}", {"patients": len(by_patient), "largest patient": largest})
    return [
        *found,
        *((f"{part}: recordings", LATER[part], later[part]) for part in LATER if part in later),
        *count("train positions", each(children["position"], POSITIONS)),
        *count("train sex", each(children["sex"], ["male", "female"])),
        *count("age", {f"{name}_years": ages.agg(name) for name in ("min", "median", "max")}),
        *count("age", {"distinct values": ages.nunique()}),
        *count("event length", lengths.rename(lambda name: f"{_QUANTILES.get(name, name)}_s")),
        *count("event length", {f"share up to {s} s": 100 * (train["seconds"] <= s).mean() for s in (2, 3)}),
        *count("event length", {"longer than 5 s": (train["seconds"] > 5).sum()}),
        *count("event length, all", {"longer than 5 s": (seconds > 5).sum()}),
        *count("event length | W", {"median_s": train.loc[train["label"] == "wheeze", "seconds"].median()}),
        ("recordings annotated without audio", 0, len(recordings) - len(audible)),
        *odd,
        *count("all", {"duration_h": headers["seconds"].sum() / 3600}),
        *count("all", {"sample_rate_hz": headers["rate"].min(), "channels": headers["channels"].min()}, "least"),
        *count("all", {"sample_rate_hz": headers["rate"].max(), "channels": headers["channels"].max()}, "most"),
        *count("all", {"recordings": (headers["subtype"] == "PCM_16").sum()}, "of 16 bits"),
        *count("recording length", {f"{name}_s": headers["seconds"].agg(name) for name in ("min", "median", "max")}),
    ]


_QUANTILES = {"5%": "p5", "50%": "median", "95%": "p95", "99%": "p99"}


def _count(part: str, recordings: pd.DataFrame, events: pd.DataFrame) -> list[Count]:
    number = {"recordings": len(recordings), "patients": recordings["patient"].nunique(), "events": len(events)}
    number |= dict(zip(SHORT, each(events["label"], LABELS), strict=True))
    return count(part, number | {"abnormal": (events["label"] != "normal").sum()})
