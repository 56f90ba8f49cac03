"""What the readers share: tables of text read with their lines, and the last steps from rows to `Clips`."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.corpus import fingerprint_files, origin_of
from lungnb.data.prompted.table import Clips, validate_clips

#: What libsndfile decodes. Ogg may hold Vorbis or Opus.
READABLE = (".wav", ".flac", ".ogg", ".mp3")
#: What phones also record and libsndfile does not know.
UNREADABLE = (".webm", ".m4a", ".mp4", ".3gp")
UNREADABLE_TEXT = "in a format that cannot be decoded here (convert with ffmpeg -i clip.webm clip.wav)"
OTHER_SOUND = "of a sound that is none of the 13 types"


def read_csv(path: Path, required: Iterable[str], what: str) -> pd.DataFrame:
    """The table at `path` as text, blank cells NA, with the column `where` ("file, line n").

    Raises UserError if it is missing, no CSV in UTF-8, or without one of the `required` columns; `what` says what it is.
    """
    if not path.exists():
        raise UserError(f"{path} is missing ({what}); copy it there from the data set.")
    try:
        frame = pd.read_csv(path, dtype="string", encoding="utf-8-sig", skip_blank_lines=False)
        if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first ones for names of rows
            raise pd.errors.ParserError("the lines have more cells than the first one names")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no CSV in UTF-8 ({str(error).strip()}); fetch it again.") from error
    if missing := [name for name in required if name not in frame.columns]:
        raise UserError(
            f"{path} has no column {missing[0]!r} ({what}; found {', '.join(frame.columns[:8])}, ...); take the file of the "
            "release that the reader's docstring names."
        )
    text = frame.apply(lambda column: column.str.strip()).replace("", pd.NA)
    text["where"] = [f"{path}, line {n}" for n in range(2, len(text) + 2)]
    return text.dropna(how="all", subset=list(frame.columns)).reset_index(drop=True)


def translate(column: pd.Series, meaning: dict, what: str, where: pd.Series) -> pd.Series:
    """`column` (text, NA) in our words by `meaning`, its keys in lower case. Raises UserError for a value it lacks."""
    low = column.str.lower()
    unknown = ~(low.isna() | low.isin(list(meaning)))
    if unknown.any():
        row = unknown.idxmax()
        raise UserError(
            f"{where[row]}: unknown {what} {column[row]!r}, expected one of {', '.join(meaning)}; correct the line."
        )
    return low.map(lambda value: meaning[value], na_action="ignore")


def years(column: pd.Series, where: pd.Series) -> pd.Series:
    """Ages (text, NA) as numbers of years from 0 up to 120. Raises UserError for what is none."""
    return numbers(column, 119.99, "unknown age {!r}, expected years from 0 to 119", where)


def numbers(column: pd.Series, highest: float, complaint: str, where: pd.Series) -> pd.Series:
    """A column (text, NA) as numbers from 0 to `highest`. Raises UserError with `complaint` of the first that is none."""
    number = pd.to_numeric(column, errors="coerce").astype("Float64")
    wrong = column.notna() & ~number.between(0, highest).fillna(False)
    if wrong.any():
        row = wrong.idxmax()
        raise UserError(f"{where[row]}: {complaint.format(column[row])}; correct the line.")
    return number


def existing(root: Path, paths: Iterable[str]) -> list:
    """`paths` (relative to `root`, or NA), NA where there is no such file."""
    return [path if pd.notna(path) and (root / path).is_file() else pd.NA for path in paths]


def to_clips(name: str, root: Path, frame: pd.DataFrame, listed: list[Path], skipped: dict[str, int]) -> Clips:
    """Clips of the rows of `frame` that have audio which can be decoded; its other columns are those of CLIPS and `where`.

    path is NA where there is no audio (counted in `n_missing`). Patients get the corpus before their number, clips without
    a name the corpus and the path. `listed` are the side files that the rows were read from.
    """
    missing = frame["path"].isna()
    frame = frame[~missing]
    unreadable = ~frame["path"].str.lower().str.endswith(READABLE)
    frame = frame[~unreadable].reset_index(drop=True)
    if frame.empty:
        why = f"; {int(unreadable.sum())} are {UNREADABLE_TEXT}" if unreadable.any() else ""
        raise UserError(
            f"{root} holds no audio of the {len(missing)} recordings of {name} that it lists{why}; copy it there."
        )
    frame = frame.assign(corpus=name)
    if "clip" not in frame:
        frame["clip"] = name + "/" + frame["path"]
    if "start_s" not in frame:
        frame["start_s"] = 0.0
    if "patient" in frame:
        frame["patient"] = name + "/" + frame["patient"].astype("string")
    told = {**skipped, UNREADABLE_TEXT: int(unreadable.sum())}
    return Clips(
        name=name,
        table=validate_clips(frame, frame["where"], mend="correct that line or remove it"),
        origin=origin(root),
        fingerprint=fingerprint(listed, [root / path for path in frame["path"].unique()], root),
        root=root,
        n_missing=int(missing.sum()),
        skipped={reason: n for reason, n in told.items() if n},
    )


def origin(root: Path) -> str:
    """`simulated` if the simulator's marker lies in the corpus's folder or in the one around it, else `real`."""
    return "simulated" if "simulated" in (origin_of(root), origin_of(root.resolve().parent)) else "real"


def fingerprint(listed: list[Path], audio: list[Path], root: Path) -> str:
    """A short hash of the contents of the `listed` files and of names and sizes of the `audio` files.

    Two hundred thousand phone recordings are not read whole each time a table is; a store is, when it is built.
    """
    sizes = "\n".join(f"{path.relative_to(root).as_posix()}:{path.stat().st_size}" for path in sorted(audio))
    return hashlib.blake2b((fingerprint_files(listed, root) + sizes).encode(), digest_size=8).hexdigest()
