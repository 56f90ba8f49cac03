"""Reader of COUGHVID in its official layout (Zenodo 4048312, CC BY 4.0).

    coughvid/                          or coughvid/public_dataset/
      metadata_compiled.csv            uuid, cough_detected, age, gender, status and more; one line a recording
      <uuid>.webm, <uuid>.ogg          Opus; a .wav or .flac of the same name is taken first
      <uuid>.json                      the same fields, read only where there is no compiled table

The columns are those of the 20,072 lines of the published table. `status` is healthy, symptomatic or COVID-19, as people
said of themselves; smoking was not asked.
"""

import json
from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.prompted.folder import READABLE, UNREADABLE, read_csv, to_clips, translate, years
from lungnb.data.prompted.table import Clips, decade

#: Recordings whose cough detector says less are left out: the threshold that the authors advise.
DETECTED = 0.8

_COLUMNS = ["uuid", "cough_detected", "age", "gender", "status"]
_SEX = {"female": "female", "male": "male", "other": pd.NA}
_STATUS = {"healthy": "healthy", "symptomatic": "respiratory symptoms", "covid-19": "COVID-19"}


def read_coughvid(folder: Path) -> Clips:
    """One clip a recording in which a cough was detected; others are counted in `skipped`.

    Raises UserError naming file and line for an age, a gender or a status that is none, and for a missing column.
    """
    folder = Path(folder)
    root = folder / "public_dataset" if (folder / "public_dataset").is_dir() else folder
    frame, listed = read_metadata(root)
    heard = frame["cough_detected"] >= DETECTED
    rows = frame[heard].reset_index(drop=True)
    order = [*READABLE, *UNREADABLE]  # the first suffix wins, so that a converted file goes before its original
    audio = {p.stem: p for suffix in reversed(order) for p in root.glob("*" + suffix)}
    rows["path"] = pd.array([audio[uuid].name if uuid in audio else pd.NA for uuid in rows["uuid"]], dtype="string")
    rows["sound"] = "cough"
    return to_clips("coughvid", root, rows, listed, {f"with cough_detected below {DETECTED}": int((~heard).sum())})


def read_metadata(root: Path) -> tuple[pd.DataFrame, list[Path]]:
    """uuid, cough_detected, sex, age_decade, condition and where of every recording, and the files it was read from."""
    path = root / "metadata_compiled.csv"
    listed = [path] if path.exists() else sorted(root.glob("*.json"))
    if not listed:
        raise UserError(f"{root} is no COUGHVID folder: it holds neither metadata_compiled.csv nor a <uuid>.json.")
    frame = read_csv(path, _COLUMNS, "COUGHVID's compiled table") if path.exists() else _read_jsons(listed)
    where = frame["where"]
    detected = pd.to_numeric(frame["cough_detected"], errors="coerce")
    if detected.isna().any():
        row = detected.isna().idxmax()
        raise UserError(
            f"{where[row]}: cough_detected is {frame['cough_detected'][row]!r}, expected 0 to 1; correct it."
        )
    told = pd.DataFrame(
        {
            "uuid": frame["uuid"],
            "cough_detected": detected,
            "sex": translate(frame["gender"], _SEX, "gender", where),
            "age_decade": decade(years(frame["age"], where)),
            "condition": translate(frame["status"], _STATUS, "status", where),
            "where": where,
        }
    )
    return told, listed


def _read_jsons(paths: list[Path]) -> pd.DataFrame:
    rows = []
    for path in paths:
        try:
            fields = json.loads(path.read_text(encoding="utf-8-sig"))
            rows.append({"uuid": path.stem, "where": str(path), **{k: fields.get(k) for k in _COLUMNS[1:]}})
        except (ValueError, AttributeError) as error:
            raise UserError(f"{path} is no JSON object ({error}); fetch the file again.") from error
    return pd.DataFrame(rows).astype("string")
