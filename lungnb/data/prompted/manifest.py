"""Reader of any other corpus, and of simulated ones: a folder with a manifest of its clips.

    <corpus>/                          the folder's name is the corpus's
      manifest.csv                     one line a clip
      audio/1.wav                      wherever the manifest says, inside the folder

    path,sound,patient,sex,age_years,smoker,condition,start_s,end_s,position
    audio/1.wav,cough,7,female,43,no,asthma,,,
    audio/2.wav,wheeze,8,,,,,1.5,3.25,left posterior

The manifest is CSV in UTF-8. path and sound (one of SOUNDS) stand on every line; the other columns may be left out, or left
blank where they are not known: sex (female, male), age_years, smoker (yes, no), condition (one of CONDITIONS), start_s and
end_s (a blank start is 0, a blank end the end of the file). A file may be on several lines. Other columns are refused
rather than passed over: a mistyped one would else be lost.
"""

from pathlib import Path

from lungnb.core import UserError
from lungnb.data.prompted.folder import numbers, read_csv, to_clips, translate, years
from lungnb.data.prompted.table import Clips, decade
from lungnb.data.prompts import CONDITIONS, SEXES, SOUNDS

REQUIRED = ["path", "sound"]
OPTIONAL = ["patient", "sex", "age_years", "smoker", "condition", "start_s", "end_s", "position"]


def read_manifest(folder: Path) -> Clips:
    """One clip a line. Raises UserError naming manifest and line for whatever is not as the module says."""
    folder = Path(folder)
    path = folder / "manifest.csv"
    frame = read_csv(path, REQUIRED, "the manifest of clips")
    known = [*REQUIRED, *OPTIONAL, "where"]
    if odd := [name for name in frame.columns if name not in known]:
        raise UserError(f"{path}, line 1: column {odd[0]!r} is unknown; known are {', '.join(known[:-1])}: rename it.")
    if frame.empty:
        raise UserError(f"{path} lists no clip; add one line for each.")
    frame = frame.reindex(columns=known).astype("string")
    where = frame["where"]
    for name in REQUIRED:
        if (blank := frame[name].isna()).any():
            raise UserError(f"{where[blank.idxmax()]}: no {name} is given; add it or remove the line.")
    for row, name in frame["path"].items():
        if Path(name).is_absolute() or ".." in Path(name).parts or not (folder / name).is_file():
            raise UserError(
                f"{where[row]}: there is no file {name!r} in {folder}; add it, correct the path or remove it."
            )
    start, end = (
        numbers(frame[name], 1e6, name + " is {!r}, expected seconds from 0 on", where) for name in ("start_s", "end_s")
    )
    part = "@" + start.fillna(0).astype("string") + "-" + end.astype("string").fillna("end")
    rows = frame[["path", "patient", "position", "where"]].assign(
        clip=folder.resolve().name + "/" + frame["path"] + part.mask(start.isna() & end.isna(), ""),
        start_s=start.fillna(0),
        end_s=end,
        sound=translate(frame["sound"], {sound: sound for sound in SOUNDS}, "sound", where),
        sex=translate(frame["sex"], {sex: sex for sex in SEXES}, "sex", where),
        age_decade=decade(years(frame["age_years"], where)),
        smoker=translate(frame["smoker"], {"yes": True, "no": False}, "smoker", where),
        condition=translate(frame["condition"], {c.lower(): c for c in CONDITIONS}, "condition", where),
    )
    return to_clips(folder.resolve().name, folder, rows, [path], {})
