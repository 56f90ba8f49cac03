"""Reader of Coswara in its official layout (github.com/iiscleap/Coswara-Data, CC BY 4.0).

    coswara/
      combined_data.csv                id, a (age), g (gender), covid_status, smoker, asthma, pneumonia and more
      Extracted_data/20200413/<id>/    what its extract_data.py makes; or the dated folders directly
        cough-heavy.wav  cough-shallow.wav  breathing-deep.wav  breathing-shallow.wav
        vowel-a.wav  vowel-e.wav  vowel-o.wav  counting-normal.wav  counting-fast.wav

The columns are those of the repository's csv_labels_legend.json. A blank smoker cell means that the question was not asked
or not answered, so it is unknown and not "non-smoker".
"""

from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.prompted.folder import existing, read_csv, to_clips, translate, years
from lungnb.data.prompted.table import Clips, decade

#: File -> sound type.
FILES = {
    "cough-heavy": "cough",
    "cough-shallow": "shallow cough",
    "breathing-deep": "deep breathing",
    "breathing-shallow": "shallow breathing",
    "vowel-a": "vowel a",
    "vowel-e": "vowel e",
    "vowel-o": "vowel o",
    "counting-normal": "speech",
    "counting-fast": "speech",
}

_COLUMNS = ["id", "a", "g", "covid_status", "smoker"]
_SEX = {"female": "female", "male": "male", "other": pd.NA}
_YES = {"true": True, "y": True, "false": False, "n": False}
#: Exposed, recovered and not yet validated people are neither healthy nor ill.
_STATUS = {
    "healthy": "healthy",
    "positive_mild": "COVID-19",
    "positive_moderate": "COVID-19",
    "positive_asymp": "COVID-19",
    "resp_illness_not_identified": "respiratory illness",
    "no_resp_illness_exposed": pd.NA,
    "recovered_full": pd.NA,
    "under_validation": pd.NA,
}


def read_coswara(folder: Path) -> Clips:
    """Nine clips a participant, less those without a file (`n_missing`).

    Asthma and pneumonia, where ticked, stand for a status that is not COVID-19. Raises UserError naming file and line for a
    gender, status or smoker that is none, a missing column, and a folder without dated folders.
    """
    folder = Path(folder)
    path = folder / "combined_data.csv"
    people = read_csv(path, _COLUMNS, "Coswara's table of participants")
    where = people["where"]
    condition = translate(people["covid_status"], _STATUS, "covid_status", where)
    for illness in ("pneumonia", "asthma"):
        if illness in people:
            ticked = translate(people[illness], _YES, illness, where).astype("boolean").fillna(False)
            condition = condition.mask(ticked & ~condition.eq("COVID-19").fillna(False), illness)
    about = pd.DataFrame(
        {
            "patient": people["id"],
            "sex": translate(people["g"], _SEX, "gender", where),
            "age_decade": decade(years(people["a"], where)),
            "smoker": translate(people["smoker"], _YES, "smoker", where),
            "condition": condition,
            "folder": people["id"].map(_folders(folder)),
            "where": where,
        }
    ).astype({"folder": "string"})
    rows = about.merge(pd.DataFrame({"file": list(FILES), "sound": list(FILES.values())}), how="cross")
    rows["path"] = pd.array(existing(folder, rows["folder"] + "/" + rows["file"] + ".wav"), dtype="string")
    return to_clips("coswara", folder, rows, [path], {})


def _folders(folder: Path) -> dict[str, str]:
    """Participant -> the folder of the recordings, relative to `folder`."""
    extracted = folder / "Extracted_data"
    dated = sorted((extracted if extracted.is_dir() else folder).glob("20[0-9]*/*/"))
    if not dated:
        raise UserError(f"{folder} holds no Extracted_data/<date>/<id>/; run Coswara's extract_data.py there.")
    return {path.name: path.relative_to(folder).as_posix() for path in dated}
