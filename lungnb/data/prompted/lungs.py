"""Clips of the two stethoscope corpora: the events of `lungnb.data.icbhi` and `lungnb.data.sprsound`, one clip each."""

from pathlib import Path

import pandas as pd

from lungnb.data.corpus import Corpus
from lungnb.data.icbhi import read_icbhi
from lungnb.data.prompted.folder import OTHER_SOUND
from lungnb.data.prompted.table import Clips, decade, validate_clips
from lungnb.data.sprsound import read_sprsound

#: Label of an event -> sound type; stridor and both at once are none (17 and 34 events of SPRSound, 506 cycles of ICBHI).
SOUND = {
    "normal": "normal lung sound",
    "wheeze": "wheeze",
    "crackle": "crackle",
    "fine crackle": "crackle",
    "coarse crackle": "crackle",
    "rhonchi": "rhonchi",
}
_DIAGNOSIS = {
    "healthy": "healthy",
    "asthma": "asthma",
    "copd": "COPD",
    "bronchiectasis": "bronchiectasis",
    "bronchiolitis": "bronchiolitis",
    "pneumonia": "pneumonia",
    "urti": "upper respiratory infection",
    "lrti": "lower respiratory infection",
}


def read_icbhi_clips(folder: Path) -> Clips:
    """One clip a breathing cycle. Errors are those of `read_icbhi`."""
    return of_events(read_icbhi(Path(folder)))


def read_sprsound_clips(folder: Path) -> Clips:
    """One clip an event; the release does not give the children's diagnoses. Errors are those of `read_sprsound`."""
    return of_events(read_sprsound(Path(folder)))


def of_events(corpus: Corpus) -> Clips:
    """The events of `corpus` whose label is a sound type, as clips; the others are counted in `skipped`."""
    events = corpus.events
    order = events.groupby("recording").cumcount().astype("string")
    frame = pd.DataFrame(
        {
            "clip": corpus.name + "/" + events["recording"] + "/" + order,
            "path": events["path"],
            "start_s": events["start_s"],
            "end_s": events["end_s"],
            "sound": events["label"].map(SOUND),
            "sex": events["sex"],
            "age_decade": decade(events["age_years"]),
            "condition": events["diagnosis"].str.lower().map(_DIAGNOSIS),
            "patient": corpus.name + "/" + events["patient"],
            "corpus": corpus.name,
            "position": events["position"],
        }
    )
    other = frame["sound"].isna()
    frame = frame[~other].reset_index(drop=True)
    return Clips(
        name=corpus.name,
        table=validate_clips(frame, frame["clip"], mend="correct the recording's annotation"),
        origin=corpus.origin,
        fingerprint=corpus.fingerprint,
        root=corpus.audio_root,
        n_missing=corpus.n_missing,
        skipped=corpus.skipped | ({OTHER_SOUND: int(other.sum())} if other.any() else {}),
    )
