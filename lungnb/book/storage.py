"""Recorded experiments as files: where they lie, and how their tables are read and written."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from lungnb.core import UserError, atomic_file, repository


def folder() -> Path:
    """`reports/recorded` of the repository around the working directory, else of the one the package lies in."""
    return (repository(Path.cwd()) or repository(Path(__file__)) or Path.cwd()) / "reports" / "recorded"


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, index=False)


def read_table(path: Path) -> pd.DataFrame:
    """A table of a recorded experiment, with half floats as floats. Raises UserError if it is not there."""
    if not path.is_file():
        name = "/".join(path.parts[-3:-1])
        raise UserError(f"{path} is missing; record it with `lungnb record {name} --data DIR`.")
    frame = pd.read_parquet(path)
    return frame.astype(dict.fromkeys(frame.select_dtypes("float16"), float))


def merge(path: Path, new: pd.DataFrame, write: Callable[[Path, pd.DataFrame], None] = _write_csv) -> None:
    """Write `new`, and of the table at `path` the rows that are of other configurations or seeds."""
    if path.is_file():
        old = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        done = set(zip(new["row"], new["seed"], strict=True))
        old = old[[key not in done for key in zip(old["row"], old["seed"], strict=True)]]
        new = pd.concat([old.drop(columns="predicted", errors="ignore"), new], ignore_index=True) if len(old) else new
    keys = [name for name in ("row", "seed", "fold") if name in new]
    with atomic_file(path) as temporary:
        write(temporary, new.sort_values(keys, kind="stable").reset_index(drop=True))


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Keep a table as small as it can be: the bytes of its floats side by side, events by their distance, all else as indices."""
    coded = dict.fromkeys(frame.select_dtypes("floating"), "BYTE_STREAM_SPLIT")
    coded |= dict.fromkeys(frame[frame.columns.intersection(["event"])].select_dtypes("integer"), "DELTA_BINARY_PACKED")
    how = {"use_dictionary": [name for name in frame if name not in coded], "column_encoding": coded}
    frame.to_parquet(path, index=False, compression="zstd", compression_level=19, **how)
