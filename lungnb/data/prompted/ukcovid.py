"""Reader of the UK COVID-19 Vocal Audio Dataset, open access edition, in its official layout (Zenodo 10043978, OGL 3.0).

    ukcovid/
      participant_metadata.csv         participant_identifier, age, gender, smoker_status, covid_test_result, ...
      audio_metadata.csv               participant_identifier, exhalation_file_name, cough_file_name, three_cough_file_name
      audio/                           the files that these columns name

The column names and values are those that public code for this edition uses; the edition itself could not be opened here,
so a column that is not there stops the reader rather than being guessed. Age is one of three spans (18-44, 45-64, 65+),
which is no decade: the prompt leaves it out. An ex-smoker is neither word of the grammar. Speech is not in this edition.
"""

from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.prompted.folder import existing, read_csv, to_clips, translate
from lungnb.data.prompted.table import Clips

#: Column -> sound type.
FILES = {"exhalation_file_name": "exhalation", "cough_file_name": "cough", "three_cough_file_name": "cough"}

_ID = "participant_identifier"
_ASTHMA = "respiratory_condition_asthma"
_PEOPLE = [_ID, "gender", "smoker_status", "covid_test_result", _ASTHMA]
_SEX = {"female": "female", "male": "male", "unknown": pd.NA}
_SMOKER = {
    "never smoked": False,
    "ex-smoker": pd.NA,
    "current smoker (1 to 10 cigarettes per day)": True,
    "current smoker (11 or more cigarettes per day)": True,
    "current smoker (e-cigarettes or vapes only)": pd.NA,
    "prefer not to say": pd.NA,
}


def read_ukcovid(folder: Path) -> Clips:
    """Up to three clips a submission: an exhalation, a cough and three coughs; those without a file are `n_missing`.

    A positive test is COVID-19, else asthma where it was ticked, else the condition is unknown: a negative test alone makes
    nobody healthy. Raises UserError for a missing column, and naming the line for a gender or smoker status that is none
    and for a submission of an unknown participant.
    """
    folder = Path(folder)
    listed = [folder / "participant_metadata.csv", folder / "audio_metadata.csv"]
    people = read_csv(listed[0], _PEOPLE, "its participants").drop_duplicates(_ID, ignore_index=True)
    audio = read_csv(listed[1], [_ID, *FILES], "its recordings")
    positive = people["covid_test_result"].str.lower().eq("positive").fillna(False)
    asthma = pd.to_numeric(people[_ASTHMA].str.lower().replace({"true": "1", "false": "0"}), errors="coerce").eq(1)
    condition = pd.Series(pd.NA, people.index, dtype="string").mask(asthma.fillna(False), "asthma")
    about = pd.DataFrame(
        {
            "patient": people[_ID],
            "sex": translate(people["gender"], _SEX, "gender", people["where"]),
            "smoker": translate(people["smoker_status"], _SMOKER, "smoker_status", people["where"]),
            "condition": condition.mask(positive, "COVID-19"),
        }
    )
    unknown = ~audio[_ID].isin(about["patient"])
    if unknown.any():
        row = unknown.idxmax()
        raise UserError(
            f"{audio['where'][row]}: {audio[_ID][row]!r} is not in {listed[0].name}; fetch both files again."
        )
    files = audio.melt([_ID, "where"], list(FILES), var_name="sound", value_name="file").dropna(subset=["file"])
    rows = files.merge(about, left_on=_ID, right_on="patient").assign(sound=lambda f: f["sound"].map(FILES))
    rows["path"] = pd.array(existing(folder, "audio/" + rows["file"]), dtype="string")
    return to_clips("ukcovid", folder, rows, listed, {})
