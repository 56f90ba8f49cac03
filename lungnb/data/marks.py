"""Marks of events beside a recording of one's own, in the forms that people have.

NAME.json   as SPRSound's: start and end in milliseconds, and a type
NAME.txt    as ICBHI's: start end crackle wheeze, or Audacity's labels: start end label; seconds
NAME.csv    columns start_s and end_s in seconds, and if there is one, label
"""

from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.folders import key_of, left_by_system, walk
from lungnb.data.icbhi import LABELS
from lungnb.data.inspection import check_audio
from lungnb.data.sprsound_files import parse_json
from lungnb.data.tables import numbers, read_csv, read_text, refuse

SUFFIXES = (".json", ".txt", ".csv")


def find_marks(folder: Path, levels: int | None = 0) -> dict[str, list[Path]]:
    """Key of the stem (`key_of`) -> the files that may be marks, of all that lie in `folder` and `levels` folders down."""
    found: dict[str, list[Path]] = {}
    for path in walk(folder, levels):  # NAME (2) is of the recording of that name
        if path.suffix.lower() in SUFFIXES and not left_by_system(path):
            found.setdefault(key_of(path.stem), []).append(path)
    return found


def read_marks(path: Path, sound: Path) -> pd.DataFrame:
    """The events marked in the file `path` of the recording `sound`: start_s, end_s, mark (text, "" where nothing is said) and
    where. Raises UserError naming file and line for what is no mark, ends before it starts or lies past the audio."""
    if path.suffix.lower() == ".json":
        rows = [(e["where"], e["start_s"], e["end_s"], e["label"]) for e in parse_json(path)[1]]
    elif path.suffix.lower() == ".txt":
        rows = _read_lines(path)
    else:
        table = read_csv(path, ["start_s", "end_s"])
        times = [numbers(table, name, 1e6, "seconds") for name in ("start_s", "end_s")]
        refuse(table, times[0].isna() | times[1].isna(), "start_s or end_s is blank; write both")
        names = table["label"].fillna("") if "label" in table else [""] * len(table)
        rows = list(zip(table["where"], *times, names, strict=True))
    events = pd.DataFrame(rows, columns=["where", "start_s", "end_s", "mark"])
    events = events.astype({"start_s": float, "end_s": float}).assign(path=sound.name)
    ends = "the event ends at {end_s} s and starts at {start_s} s; correct it"
    refuse(events, ~(events["end_s"] > events["start_s"]) | (events["start_s"] < 0), ends)
    check_audio(sound.parent, events)
    return events.sort_values("start_s", kind="stable", ignore_index=True)


def _read_lines(path: Path) -> list[tuple[str, float, float, str]]:
    rows, expected = [], "start and end in seconds, and a label or crackle 0/1 and wheeze 0/1"
    for n, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if words and not words[0].startswith("\\"):  # Audacity writes the frequencies of a selection into such lines
            try:
                start_s, end_s = (float(word.replace(",", ".")) for word in words[:2])
            except ValueError as error:
                raise UserError(f"{path}, line {n}: expected {expected}, found {line!r}; correct the line.") from error
            flags = len(words) == 4 and set(words[2:]) <= {"0", "1"}
            mark = LABELS[int(words[2]) + 2 * int(words[3])] if flags else " ".join(words[2:])
            rows.append((f"{path}, line {n}", start_s, end_s, mark))
    return rows
