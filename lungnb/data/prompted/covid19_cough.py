"""Reader of covid19-cough in its official layout (github.com/covid19-cough/dataset, CC0).

    covid19_cough/
      metadata.json                    filename, covid19, verified, asymptomatic, comment, source of 1,324 induced coughs
      raw/<uuid>.mp3

Age, sex and patient are not given. covid19 false is the set's group "covid negative healthy". Source and label go together
(verified positives were all recorded by telephone), so COVID-19 in a prompt also means the telephone's band here.
Of the telephone's two channels one is nearly empty; their mean, which is what is decoded, is the cough at half its level.
"""

import json
from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.prompted.folder import existing, to_clips
from lungnb.data.prompted.table import Clips


def read_covid19_cough(folder: Path) -> Clips:
    """One clip a recording. Raises UserError for a metadata.json that is missing or no list of filename and covid19."""
    folder = Path(folder)
    path = folder / "metadata.json"
    if not path.exists():
        raise UserError(f"{path} is missing (the list of recordings); copy it there from the repository.")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}); fetch the file again.") from error
    rows = []
    for n, entry in enumerate(content if isinstance(content, list) else [content], start=1):
        if not isinstance(entry, dict) or "filename" not in entry or not isinstance(entry.get("covid19"), bool):
            raise UserError(
                f"{path}, entry {n}: expected filename and covid19 (true or false), found {entry!r}; correct it."
            )
        condition = "COVID-19" if entry["covid19"] else "healthy"
        rows.append({"file": f"raw/{entry['filename']}", "condition": condition, "where": f"{path}, entry {n}"})
    frame = pd.DataFrame(rows, columns=["file", "condition", "where"]).assign(sound="cough")
    frame["path"] = pd.array(existing(folder, frame["file"]), dtype="string")
    return to_clips("covid19_cough", folder, frame, [path], {})
