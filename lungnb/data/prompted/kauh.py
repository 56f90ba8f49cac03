"""Reader of the KAUH lung sounds (King Abdullah University Hospital) in their official layout (Mendeley jwyy9np4gv, CC BY 4.0).

    kauh/                              or kauh/Audio Files/
      BP1_Asthma,I E W,P L L,70,M.wav  filter and patient, diagnosis, sound, site, age, sex

The name of a file says all that the workbook beside it (Data annotation.xlsx) says, so that is not read. B, D and E are one
recording through three filters (bell, diaphragm, extended): three clips of one patient. The sound is N (normal), W
(wheeze), C or Crep (crackle), with I and E for the phase; Bronchial and mixtures are none of our types. The spelling of
diagnoses varies (Plueral Effusion, heart failure), and is read in any case.
"""

import re
from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.prompted.folder import OTHER_SOUND, to_clips, translate, years
from lungnb.data.prompted.table import Clips, decade

_NAME = re.compile(r"[BDE]P(\d+)_([^,]+),([^,]+),([^,]+),\s*([^,]+?)\s*,\s*([^,]+?)\s*")
_SOUND = {"n": "normal lung sound", "w": "wheeze", "c": "crackle", "crep": "crackle"}
_SEX = {"f": "female", "m": "male"}
_DIAGNOSIS = {
    "n": "healthy",
    "asthma": "asthma",
    "copd": "COPD",
    "pneumonia": "pneumonia",
    "bron": "bronchitis",
    "heart failure": "heart failure",
    "lung fibrosis": "lung fibrosis",
    "pleural effusion": "pleural effusion",
    "plueral effusion": "pleural effusion",
    "asthma and lung fibrosis": "asthma and lung fibrosis",
    "heart failure + copd": "heart failure and COPD",
    "heart failure + lung fibrosis": "heart failure and lung fibrosis",
}


def read_kauh(folder: Path) -> Clips:
    """One clip a file; sounds of another type are counted in `skipped`.

    Raises UserError naming the file for a name that is not of this form, and for a diagnosis, age or sex that is none.
    """
    folder = Path(folder)
    root = folder / "Audio Files" if (folder / "Audio Files").is_dir() else folder
    paths = sorted(path for suffix in ("*.wav", "*.flac") for path in root.glob(suffix))
    if not paths:
        raise UserError(f"{folder} is no KAUH folder: it holds no BP1_...wav; unpack Audio Files.zip there.")
    rows = pd.DataFrame([_parse(path) for path in paths]).astype("string")
    where = rows["where"]
    rows = rows.assign(
        sex=translate(rows["sex"], _SEX, "sex", where),
        age_decade=decade(years(rows["age"], where)),
        condition=translate(rows["diagnosis"], _DIAGNOSIS, "diagnosis", where),
        sound=rows["heard"].map(_sound).astype("string"),
    )
    other = rows["sound"].isna()
    return to_clips("kauh", root, rows[~other], [], {OTHER_SOUND: int(other.sum())})


def _parse(path: Path) -> dict[str, str]:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise UserError(f"{path}: the name is not as BP1_Asthma,I E W,P L L,70,M; rename or remove the file.")
    patient, diagnosis, heard, position, age, sex = (" ".join(part.split()) for part in match.groups())
    return {
        "path": path.name,
        "where": str(path),
        "patient": patient,
        "diagnosis": diagnosis,
        "heard": heard,
        "position": position,
        "age": age,
        "sex": sex,
    }


def _sound(heard: str) -> str | None:
    """`I E W` -> wheeze; None for a mixture or another sound."""
    kinds = set(heard.lower().split()) - {"i", "e"}
    return _SOUND.get(kinds.pop()) if len(kinds) == 1 else None
