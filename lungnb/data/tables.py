"""What the readers share: tables of text read with their lines, values translated.

Every complaint names the file and the line (`where`), what is wrong there and what to do about it.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lungnb.core import UserError
from lungnb.data.corpus import Corpus, make_corpus
from lungnb.data.folders import READABLE, contents, find_file

UNREADABLE_TEXT = "in a format that cannot be decoded here (convert with ffmpeg -i clip.webm clip.wav)"
#: Words for the sex, in lower case -> ours.
SEX_WORDS = {"female": "female", "male": "male", "f": "female", "m": "male", "woman": "female", "man": "male"}
#: Words, in lower case, for what is not known.
UNKNOWN = ("", "na", "n/a", "nan", "null", "-", "?", "unknown")
SEX_WORDS |= {"girl": "female", "boy": "male"}


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or UTF-16 as some editors save it. Raises UserError if it is missing or none."""
    if not path.is_file():
        raise UserError(f"{path} is missing; {path.parent} holds {contents(path.parent)}.")
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if encoding == "utf-8-sig" and b"\0" in content[:2]:  # UTF-16 without its mark
        encoding = "utf-16-be" if content[0] == 0 else "utf-16-le"
    try:
        # A spreadsheet's own first line, which says what stands between cells; the lines keep their numbers.
        return re.sub(r"\Asep=.(?=[\r\n])", "", content.decode(encoding))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}, line {line}: this is not text in UTF-8; save the file so (a spreadsheet calls it CSV UTF-8)."
        ) from error


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises UserError if it is missing or none."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:  # not JSON, or nested past reason
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} is not JSON ({error}); correct the file, or copy it anew from where it came."
        ) from error


def read_columns(path: Path, columns: Mapping[str, Iterable[str]], expected: str) -> list[tuple[str, list[str]]]:
    """`where` and the cells of `columns` of each line of a short table, which may have a header and any of the usual separators.

    columns: the name of each column -> what else a header may call it, in lower case. Cells are separated by semicolons, tabs
    or commas if all lines have them, else by blanks. With a header, columns are found by name, else they stand in order, and
    more may follow. Raises UserError naming the line, and saying what was `expected`.
    """
    lines = [(n, line) for n, line in enumerate(read_text(path).splitlines(), start=1) if re.search(r'[^\s;,"]', line)]
    mark = next((mark for mark in ";\t," if all(mark in line.strip(" \xa0") for _, line in lines)), None)
    rows = []
    for n, line in lines:
        cells = line.split() if mark is None else next(csv.reader([line], delimiter=mark, skipinitialspace=True))
        cells = [cell.strip(' "\t\xa0') for cell in cells]
        rows.append(
            (n, line, [re.sub(r"^(\d+)\.0$", r"\1", cells[0]), *cells[1:]])
        )  # a number of a patient, from pandas
    aliases = {name: {_plain(name), *others} for name, others in columns.items()}
    header = [_plain(cell) for cell in rows[0][2]] if rows else []
    place = {name: [n for n, cell in enumerate(header) if cell in known] for name, known in aliases.items()}
    first = next(iter(columns))
    named = bool(place[first])
    if named and (missing := next((name for name, found in place.items() if len(found) != 1), None)):
        raise UserError(f"{path}, line 1: no single column {missing!r} in {rows[0][1]!r}; name the columns there.")
    found = []
    for n, line, cells in rows[named:]:
        if len(cells) < len(columns) or (named and len(cells) != len(header)):
            raise UserError(f"{path}, line {n}: expected {expected}, found {line!r}; correct the line.")
        found.append((f"{path}, line {n}", [cells[place[name][0]] for name in columns] if named else cells))
    return found


def _plain(cell: str) -> str:
    """The name of a column as it is compared: `Patient ID` is patient_id."""
    return re.sub(r"[\s_-]+", "_", cell.strip(' "\ufeff').lower())


def read_csv(
    path: Path, required: Iterable[str], optional: Iterable[str] | None = None, also: Iterable[str] = ()
) -> pd.DataFrame:
    """The table at `path` as text, blank cells NA and blank lines left out, with the column `where` ("file, line n").

    Cells are separated by commas, semicolons or tabs, and decimals may have commas where cells do not. Columns are found by
    name in any case, `also` those that not every release has; pandas' row numbers are passed over. With `optional` columns
    given, absent ones are NA and any other is refused rather than passed over: a mistyped one would else be lost. Raises
    UserError, naming the line, if the file is missing, no CSV in UTF-8, or without a required column.
    """
    required, known = list(required), [*required, *(optional or ()), *also]
    text = read_text(path)
    head = next((line for line in text.splitlines() if line.strip(" ,;\t")), "")
    mark = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=mark, strict=True)
    try:
        # Spreadsheets leave lines of commas after the last one.
        lines = [(reader.line_num, cells) for row in reader if any(cells := [cell.strip() for cell in row])]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not CSV ({error}); save the table as CSV again.") from error
    columns = lines[0][1] if lines else []
    columns = [
        name if name in known else next((k for k in known if _plain(k) == _plain(name)), name) for name in columns
    ]
    if missing := [name for name in required if name not in columns]:
        found = ", ".join(columns[:8]) or "nothing"
        ours = "name the columns there, separated by commas or semicolons"
        theirs = "take the file of the release that the reader names"
        raise UserError(f"{path}, line 1: no column {missing[0]!r} (found {found}); {ours if optional else theirs}.")
    for line, cells in lines[1:]:
        if len(cells) < len(columns) or any(cells[len(columns) :]):
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells, expected {len(columns)} as in line 1; correct the line."
            )
    if not lines[1:]:
        raise UserError(f"{path} lists no recording; add one line for each.")
    body = [cells[: len(columns)] for _, cells in lines[1:]]
    kept = [
        n
        for n, name in enumerate(columns)
        if name.lower() not in ("", "unnamed: 0", "index") or not _says_nothing(body, n)
    ]
    columns, body = [columns[n] for n in kept], [[cells[n] for n in kept] for cells in body]
    wrong = [name for name in columns if optional is not None and name not in known]
    if odd := wrong or [name for n, name in enumerate(columns) if name in columns[:n]]:
        raise UserError(
            f"{path}, line 1: column {odd[0]!r} is unknown or there twice; known are {', '.join(known)}: rename it."
        )
    if mark != ",":
        body = [[re.sub(r"^(-?\d+),(\d+)$", r"\1.\2", cell) for cell in cells] for cells in body]
    table = pd.DataFrame(body, columns=columns, dtype="string")
    table = table.mask(table.apply(lambda column: column.str.lower().isin(UNKNOWN)))
    table = table if optional is None else table.reindex(columns=known).astype("string")
    return table.assign(where=[f"{path}, line {line}" for line, _ in lines[1:]])


def _says_nothing(body: list[list[str]], n: int) -> bool:
    """Whether a column without a name is blank, or the numbers of the rows as pandas writes them."""
    cells = [row[n] for row in body]
    return not any(cells) or any(cells == [str(k) for k in range(s, s + len(cells))] for s in (0, 1))


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


_AGE = re.compile(r"(\d+(?:[.,]\d+)?)\s*(y|yrs?|years?|m|mos?|mths?|months?|w|wks?|weeks?|d|days?)?(?: old)?\.?", re.I)
_UNITS = {"y": 1, "m": 12, "w": 365.25 / 7, "d": 365.25}


def years(text: str) -> str:
    """An age as people write it, in years: `3 years` -> 3, `6m` -> 0.5, `0,75` -> 0.75; another text as it is."""
    match = _AGE.fullmatch(text.strip())
    return text if match is None else f"{float(match[1].replace(',', '.')) / _UNITS[(match[2] or 'y')[0].lower()]:.6g}"


def ages(table: pd.DataFrame, column: str) -> pd.Series:
    """A column of ages (text, NA) in years. Raises UserError for one that is none."""
    read = table.assign(**{column: table[column].map(years, na_action="ignore")})
    return numbers(read, column, 119.99, "years from 0 to 119, as 0.8, or 6 months")


def fields(table: pd.DataFrame, age: str = "", **columns: tuple[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Columns of events from those of `table`: name=(column, its values in lower case -> ours); `age`: that of years."""
    found = {name: translate(table, column, meaning) for name, (column, meaning) in columns.items()}
    if age:
        found["age_years"] = ages(table, age)
    return pd.DataFrame(found).assign(where=table["where"])


def check_paths(table: pd.DataFrame, folder: Path) -> pd.Series:
    """`table.path` as the files are called on disk. Raises UserError where it is blank, outside `folder`, or not there."""
    blank = table["path"].isna()
    refuse(table, blank, "no file is named; name one")
    steps = [path.replace("\\", "/") for path in table["path"]]
    outside = [step[:1] == "/" or step[1:3] == ":/" or ".." in step.split("/") for step in steps]
    refuse(table, outside, f"{{path!r}} lies outside {folder}; move the file there and name it from there")
    there = existing(folder, table["path"])
    refuse(table, there.isna(), f"there is no file {{path!r}} in {folder}; add it or correct the path")
    return there


def existing(root: Path, paths: pd.Series) -> pd.Series:
    """`paths` (relative to `root`, or NA) as the files are called on disk, NA where there is none."""
    listed: dict[Path, dict[str, list[str]]] = {}
    found = [find_file(root, path, listed) if pd.notna(path) else None for path in paths]
    return pd.Series(found, paths.index, dtype="string")


def sound_corpus(
    name: str,
    root: Path,
    rows: pd.DataFrame,
    listed: list[Path],
    skipped: Mapping[str, int] | None = None,
    *,
    folder: Path | None = None,
    known: Iterable[Path] = (),
) -> Corpus:
    """The corpus of the `rows` that have audio which can be decoded; `listed` are the side files they were read from.

    path is NA where there is no audio (counted in `n_missing`); events without a name are called by corpus and path. folder:
    the data set's, where `root` lies deeper. known: further files that are accounted for.
    """
    # Where no file is there at all, it may be a column of numbers.
    rows = rows.assign(path=rows["path"].astype("string"))
    there = rows["path"].notna()
    unreadable = there & ~rows["path"].str.lower().str.endswith(READABLE).fillna(False)
    here = rows[there & ~unreadable].reset_index(drop=True)
    if here.empty:
        passed = {**(skipped or {}), f"are {UNREADABLE_TEXT}": unreadable.sum()}
        why = "".join(f"; {n} {what}" for what, n in passed.items() if n)
        raise UserError(
            f"{root} holds no audio of the {len(rows)} recordings of {name} that are read{why}; it holds {contents(root)}."
        )
    here = here.assign(recording=here["path"])
    if "clip" not in here:
        here = here.assign(clip=name + "/" + here["path"], start_s=0.0)
    skipped = {**(skipped or {}), UNREADABLE_TEXT: unreadable.sum()}
    known = [*known, *(root / path for path in rows.loc[unreadable, "path"])]
    missing = rows["where"].map(lambda where: Path(where).name)  # file, line n
    missing = (missing + (": " + rows["file"] if "file" in rows else ""))[~there]
    return make_corpus(name, root, here, listed, folder=folder, missing=missing, skipped=skipped, known=known)
