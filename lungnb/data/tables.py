"""What the readers share: tables of text read with their lines, values translated, audio files found and looked into.

Every complaint names the file and the line (`where`), what is wrong there and what to do about it.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile

from lungnb.core import UserError
from lungnb.data.corpus import Corpus, make_corpus

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
    """The text of a file in UTF-8, with or without a byte order mark. Raises UserError if it is missing or none."""
    if not path.exists():
        raise UserError(f"{path} is missing; fetch it or copy it there from the data set.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not a text file in UTF-8; fetch it again, or save it so (a spreadsheet calls it CSV UTF-8)."
        ) from error


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises UserError if it is missing or none."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:  # not JSON, or nested past reason
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not JSON ({error}); fetch the file again.") from error


def read_lines(path: Path, parse: Callable[[list[str]], Any], expected: str) -> list[tuple[str, Any]]:
    """`where` ("file, line n") and `parse(words)` of each line that is not blank.

    Raises UserError where `parse` raises ValueError, saying what was `expected`.
    """
    rows = []
    for n, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            try:
                rows.append((f"{path}, line {n}", parse(line.split())))
            except ValueError as error:
                raise UserError(f"{path}, line {n}: expected {expected}, found {line!r}; correct the line.") from error
    return rows


def read_csv(path: Path, required: Iterable[str], optional: Iterable[str] | None = None) -> pd.DataFrame:
    """The table at `path` as text, blank cells NA and blank lines left out, with the column `where` ("file, line n").

    With `optional` columns given, absent ones are NA and any other is refused rather than passed over: a mistyped one would
    else be lost. Raises UserError, naming the line, if the file is missing, no CSV in UTF-8, or without a required column.
    """
    required, known = list(required), [*required, *(optional or ())]
    reader = csv.reader(io.StringIO(read_text(path)), strict=True)
    try:
        # Spreadsheets leave lines of commas after the last one.
        lines = [(reader.line_num, cells) for row in reader if any(cells := [cell.strip() for cell in row])]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not CSV ({error}); save the table as CSV again.") from error
    columns = lines[0][1] if lines else []
    if missing := [name for name in required if name not in columns]:
        found = ", ".join(columns[:8]) or "nothing"
        ours, theirs = (
            "name the columns there, separated by commas",
            "take the file of the release that the reader names",
        )
        raise UserError(f"{path}, line 1: no column {missing[0]!r} (found {found}); {ours if optional else theirs}.")
    wrong = [name for name in columns if optional is not None and name not in known]
    if odd := wrong or [name for n, name in enumerate(columns) if name in columns[:n]]:
        raise UserError(
            f"{path}, line 1: column {odd[0]!r} is unknown or there twice; known are {', '.join(known)}: rename or remove it."
        )
    for line, cells in lines[1:]:
        if len(cells) != len(columns):
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells, expected {len(columns)} as in line 1; correct the line."
            )
    if not lines[1:]:
        raise UserError(f"{path} lists no recording; add one line for each.")
    table = pd.DataFrame([cells for _, cells in lines[1:]], columns=columns, dtype="string").replace("", pd.NA)
    table = table if optional is None else table.reindex(columns=known).astype("string")
    return table.assign(where=[f"{path}, line {line}" for line, _ in lines[1:]])


def refuse(table: pd.DataFrame, bad: pd.Series | list[bool], complaint: str) -> None:
    """Raise UserError for the first row of `table` that is `bad`: its `where`, and `complaint` with the row's cells in it."""
    if (rows := table[pd.array(bad, dtype="boolean").fillna(False)]).size:
        raise UserError(f"{rows['where'].iloc[0]}: {complaint.format_map(rows.iloc[0])}.")


def translate(table: pd.DataFrame, column: str, meaning: Mapping[str, Any]) -> pd.Series:
    """A column (text, NA) in our words by `meaning`, its keys in lower case. Raises UserError for a value it lacks."""
    low = table[column].str.lower()
    known = low.isna() | low.isin(list(meaning))
    refuse(table, ~known, f"unknown {column} {{{column}!r}}, expected one of {', '.join(meaning)}; correct the line")
    return low.map(lambda value: meaning[value], na_action="ignore")


def numbers(table: pd.DataFrame, column: str, highest: float, expected: str) -> pd.Series:
    """A column (text, NA) as numbers from 0 to `highest`. Raises UserError, saying what was `expected`."""
    number = pd.to_numeric(table[column], errors="coerce").astype("Float64")
    wrong = table[column].notna() & ~number.between(0, highest).fillna(False)
    refuse(table, wrong, f"{column} is {{{column}!r}}, expected {expected}; correct the line")
    return number


def fields(table: pd.DataFrame, age: str = "", **columns: tuple[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Columns of events from those of `table`: name=(column, its values in lower case -> ours); `age`: that of years."""
    found = {name: translate(table, column, meaning) for name, (column, meaning) in columns.items()}
    if age:
        found["age_years"] = numbers(table, age, 119.99, "years from 0 to 119")
    return pd.DataFrame(found).assign(where=table["where"])


def check_paths(table: pd.DataFrame, folder: Path) -> None:
    """Raise UserError where `table.path` is blank, leaves `folder`, or names no file in it."""
    blank = table["path"].isna()
    refuse(table, blank, "no file is named; name one, or remove the line")
    outside = [Path(path).is_absolute() or ".." in Path(path).parts for path in table["path"]]
    refuse(table, outside, f"{{path!r}} lies outside {folder}; move the file there and name it from there")
    missing = existing(folder, table["path"]).isna()
    refuse(table, missing, f"there is no file {{path!r}} in {folder}; add it, correct the path or remove the line")


def existing(root: Path, paths: pd.Series) -> pd.Series:
    """`paths` (relative to `root`, or NA), NA where there is no such file."""
    # os.path's isfile, unlike Path's, bears any name.
    there = [pd.notna(path) and os.path.isfile(root / path) for path in paths]
    return paths.astype("string").where(pd.Series(there, paths.index, dtype=bool))


def audio_files(folder: Path, suffixes: Iterable[str] = LOSSLESS) -> dict[str, Path]:
    """Stem -> audio file of `folder`, in order; of two files of one stem, that of the last of `suffixes`."""
    return {path.stem: path for suffix in suffixes for path in sorted(folder.glob("*" + suffix))}


def duration_s(file: Path, where: str = "") -> float:
    """Seconds of audio in `file`. Raises UserError, after `where`, for what is no audio and for no samples at all."""
    named = f"{where}: {file}" if where else file
    try:
        info = soundfile.info(file)
    except soundfile.SoundFileError as error:
        raise UserError(f"{named} is no readable audio file; fetch or export the recording again.") from error
    if not info.frames:
        raise UserError(f"{named} holds no samples; fetch or export the recording again.")
    return info.frames / info.samplerate


def check_audio(root: Path, events: pd.DataFrame) -> None:
    """Raise UserError where a file of `events.path` is no audio, or ends before its last event."""
    for path, group in events.groupby("path", sort=False):
        last, duration = group.loc[group["end_s"].idxmax()], duration_s(root / path)
        if last["end_s"] > duration + TOLERANCE_S:
            raise UserError(
                f"{last['where']}: the event ends at {last['end_s']:g} s but {Path(path).name} holds only {duration:.2f} s of "
                "audio; it is truncated or the annotation is another recording's: fetch the recording again."
            )


def sound_corpus(
    name: str, root: Path, rows: pd.DataFrame, listed: list[Path], skipped: dict[str, int] | None = None
) -> Corpus:
    """The corpus of the `rows` that have audio which can be decoded; `listed` are the side files they were read from.

    path is NA where there is no audio (counted in `n_missing`); events without a name are called by corpus and path.
    """
    there = rows["path"].notna()
    unreadable = there & ~rows["path"].str.lower().str.endswith(READABLE).fillna(False)
    here = rows[there & ~unreadable].reset_index(drop=True)
    if here.empty:
        why = f"; {int(unreadable.sum())} are {UNREADABLE_TEXT}" if unreadable.any() else ""
        raise UserError(
            f"{root} holds no audio of the {len(rows)} recordings of {name} that it lists{why}; copy it there."
        )
    here = here.assign(recording=here["path"])
    if "clip" not in here:
        here = here.assign(clip=name + "/" + here["path"], start_s=0.0)
    skipped = {**(skipped or {}), UNREADABLE_TEXT: unreadable.sum()}
    return make_corpus(name, root, here, listed, n_missing=(~there).sum(), skipped=skipped)


#: Name of a count, the published one (row and metric of `lungnb.published`, or what it has to be), and the one here.
Count = tuple[str, tuple[str, str] | Any, Any]


def count(row: str, here: Mapping[str, Any] | pd.Series, name: str = "") -> list[Count]:
    """The counts of one published row: metric -> the count here. `name` is what the row is called, where it is another."""
    return [(f"{name or row}: {metric}", (row, metric), value) for metric, value in here.items()]


def each(column: pd.Series, values: Iterable[str]) -> pd.Series:
    """How often each of `values` stands in `column`."""
    return column.value_counts().reindex(list(values), fill_value=0)


def audio_headers(root: Path, paths: pd.Series, last_end: pd.Series) -> tuple[list[Count], pd.DataFrame]:
    """A count for each audio file that is unreadable or ends before its last event, and the headers of all that can be read.

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
