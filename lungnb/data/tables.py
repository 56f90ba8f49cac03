"""What the readers share: tables of text read with their lines, values translated, audio files found and looked into.

Every complaint names the file and the line (`where`), what is wrong there and what to do about it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile

from lungnb.core import UserError
from lungnb.data.corpus import Corpus, fingerprint_files, origin_of, validate_events

#: What libsndfile decodes. Ogg may hold Vorbis or Opus.
READABLE = (".wav", ".flac", ".ogg", ".mp3")
#: What phones also record and libsndfile does not know.
UNREADABLE = (".webm", ".m4a", ".mp4", ".3gp")
UNREADABLE_TEXT = "in a format that cannot be decoded here (convert with ffmpeg -i clip.webm clip.wav)"
#: What stethoscopes' recordings are kept as.
LOSSLESS = (".flac", ".wav")
#: An event may end this much past its audio (rounding of annotation times); more means truncated audio.
TOLERANCE_S = 0.05


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark. Raises UserError if it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not a text file in UTF-8; fetch it again, or save it so (a spreadsheet calls it CSV UTF-8)."
        ) from error


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


def translate(column: pd.Series, meaning: Mapping[str, Any], where: pd.Series) -> pd.Series:
    """`column` (text, NA) in our words by `meaning`, its keys in lower case. Raises UserError for a value it lacks."""
    low = column.str.lower()
    unknown = ~(low.isna() | low.isin(list(meaning)))
    if unknown.any():
        row = unknown.idxmax()
        raise UserError(
            f"{where[row]}: unknown {column.name} {column[row]!r}, expected one of {', '.join(meaning)}; correct the line."
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


def existing(root: Path, paths: pd.Series) -> pd.Series:
    """`paths` (relative to `root`, or NA), NA where there is no such file."""
    there = [pd.notna(path) and (root / path).is_file() for path in paths]
    return paths.astype("string").where(pd.Series(there, paths.index, dtype=bool))


def audio_files(folder: Path, suffixes: Iterable[str] = LOSSLESS) -> dict[str, Path]:
    """Stem -> audio file of `folder`, in order; of two files of one stem, that of the last of `suffixes`."""
    return {path.stem: path for suffix in suffixes for path in sorted(folder.glob("*" + suffix))}


def duration_s(file: Path, what: str) -> float:
    """Seconds of audio in `file`, called `what`. Raises UserError for what is no audio and for no samples at all."""
    try:
        info = soundfile.info(file)
    except soundfile.SoundFileError as error:
        raise UserError(f"{what} is no readable audio file; export the recording again.") from error
    if not info.frames:
        raise UserError(f"{what} holds no samples; export the recording again.")
    return info.frames / info.samplerate


def check_audio(root: Path, events: pd.DataFrame, unit: str) -> None:
    """Raise UserError where a file of `events.path` is no audio, or ends before its last event (called a `unit`)."""
    for path, group in events.groupby("path", sort=False):
        try:
            info = soundfile.info(root / path)
        except soundfile.SoundFileError as error:
            raise UserError(f"{root / path} is no readable audio file; fetch the recording again.") from error
        last, duration = group.loc[group["end_s"].idxmax()], info.frames / info.samplerate
        if last["end_s"] > duration + TOLERANCE_S:
            raise UserError(
                f"{last['where']}: the {unit} ends at {last['end_s']:g} s but {Path(path).name} holds only {duration:.2f} s of "
                "audio; it is truncated or the annotation is another recording's: fetch the recording again."
            )


#: Name of a count, the published one (row and metric of `lungnb.published`, or what it has to be), and the one here.
Count = tuple[str, tuple[str, str] | Any, Any]


def audio_headers(root: Path, paths: pd.Series, last_end: pd.Series) -> tuple[list[Count], pd.DataFrame]:
    """A row for each audio file that is unreadable or ends before its last event, and the headers of all that can be read.

    `paths` (relative to `root`) and `last_end` (seconds) are indexed by recording; recordings without events have none.
    """
    odd, headers = [], []
    for recording, path in paths.items():
        try:
            info = soundfile.info(root / path)
        except soundfile.SoundFileError:
            odd.append((f"audio of {path}", "readable", "unreadable"))
            continue
        seconds = info.frames / info.samplerate
        if (end := last_end.get(recording, 0)) > seconds + TOLERANCE_S:
            odd.append((f"audio of {path} (s)", f"at least {end:g}", round(seconds, 3)))
        headers.append((info.samplerate, seconds, info.channels, info.subtype))
    kinds = {"rate": float, "seconds": float, "channels": float, "subtype": "string"}
    return odd, pd.DataFrame(headers, columns=list(kinds)).astype(kinds)


def nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts that are not 0."""
    return {reason: int(n) for reason, n in counts.items() if n}


def fields(table: pd.DataFrame, age: str = "", **columns: tuple[str, dict]) -> pd.DataFrame:
    """Columns of events from those of `table`: name=(column, its values in lower case -> ours); `age`: that of years."""
    found = {name: translate(table[column], meaning, table["where"]) for name, (column, meaning) in columns.items()}
    if age:
        found["age_years"] = years(table[age], table["where"])
    return pd.DataFrame(found).assign(where=table["where"])


def sound_corpus(
    name: str, root: Path, rows: pd.DataFrame, listed: list[Path], skipped: dict[str, int] | None = None
) -> Corpus:
    """The corpus of the `rows` that have audio which can be decoded; `listed` are the side files they were read from.

    path is NA where there is no audio (counted in `n_missing`); events without a name are called by corpus and path.
    """
    missing = rows["path"].isna()
    here = rows[~missing]
    unreadable = ~here["path"].str.lower().str.endswith(READABLE)
    here = here[~unreadable].reset_index(drop=True)
    if here.empty:
        why = f"; {int(unreadable.sum())} are {UNREADABLE_TEXT}" if unreadable.any() else ""
        raise UserError(
            f"{root} holds no audio of the {len(missing)} recordings of {name} that it lists{why}; copy it there."
        )
    here = here.assign(recording=here["path"])
    if "clip" not in here:
        here = here.assign(clip=name + "/" + here["path"], start_s=0.0)
    return Corpus(
        name=name,
        events=validate_events(here, here["where"], "correct that line or remove it", name),
        origin=origin_of(root),
        fingerprint=fingerprint_files([*listed, *(root / path for path in here["path"].unique())], root),
        audio_root=root,
        n_missing=int(missing.sum()),
        skipped=nonzero({**(skipped or {}), UNREADABLE_TEXT: unreadable.sum()}),
    )
