"""The events table: one row per labelled event, the same columns for every data set.

An *event* is what a paper classifies: a breathing cycle (ICBHI), an annotated sound (SPRSound), a cough. Readers return
a `Corpus`: the events, where they came from, and whether the recordings are simulated or real. Whatever is computed from
a corpus carries `Corpus.origin_text` to the reader's eye.
"""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pandas as pd
import pandera.pandas as pa
import soundfile

from lungnb.core import UserError

#: A file of this name in a data set's folder says that the simulator wrote it.
SIMULATED_MARKER = "SIMULATED.json"
#: An event may end this much past its audio (rounding of annotation times); more means truncated audio.
TOLERANCE_S = 0.05

_text, _number = {"dtype": "string", "nullable": True}, {"dtype": "Float64", "nullable": True}

#: Missing values are NA. `split` is the data set's own part, `fold` that of a list published with it.
#: `start_s` and `end_s` are seconds from the start of the recording at `path`.
EVENTS = pa.DataFrameSchema(
    {
        "recording": pa.Column("string"),
        "path": pa.Column("string"),
        "start_s": pa.Column("float64", pa.Check.ge(0, error="the event starts before its recording")),
        "end_s": pa.Column("float64"),
        "label": pa.Column("string"),
        "patient": pa.Column("string"),
        "position": pa.Column(**_text),
        "device": pa.Column(**_text),
        "age_years": pa.Column("Float64", pa.Check.in_range(0, 120, error="no age in years"), nullable=True),
        "sex": pa.Column("string", pa.Check.isin(["female", "male"], error="sex is female or male"), nullable=True),
        "diagnosis": pa.Column(**_text),
        "split": pa.Column(**_text),
        "fold": pa.Column("Int64", nullable=True),
    },
    checks=pa.Check(lambda df: df["end_s"] > df["start_s"], error="the event ends before it starts"),
    strict=True,
    ordered=True,
    coerce=True,
)
COLUMNS = list(EVENTS.columns)


@dataclass(frozen=True)
class Corpus:
    """Events and their provenance.

    `n_missing` counts recordings that are annotated but have no audio here; `skipped` says, by reason, how many events or
    recordings a reader left out. `audio_root` is the folder that `events.path` is relative to.
    """

    name: str
    events: pd.DataFrame
    origin: Literal["simulated", "real"]
    fingerprint: str
    audio_root: Path
    n_missing: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def n_recordings(self) -> int:
        return self.events["recording"].nunique()

    @property
    def origin_text(self) -> str:
        """`simulated`, `real`, or `real, partial (192 of 920 recordings)`."""
        if not self.n_missing:
            return self.origin
        return f"{self.origin}, partial ({self.n_recordings} of {self.n_recordings + self.n_missing} recordings)"

    def select(self, keep: pd.Series) -> "Corpus":
        """The same corpus with only the events where `keep` is true."""
        return replace(self, events=self.events[keep].reset_index(drop=True))


def validate_events(frame: pd.DataFrame, where: pd.Series, mend: str) -> pd.DataFrame:
    """Check `frame` against `EVENTS`; `where` names each row's source, as `file.txt, line 3`.

    Raises UserError with the first bad row's file and line, what is wrong and `mend`.
    """
    return validate(EVENTS, "events table", frame, where, mend)


def validate(schema: pa.DataFrameSchema, name: str, frame: pd.DataFrame, where: pd.Series, mend: str) -> pd.DataFrame:
    """What `validate_events` does, for the table `name` of any schema."""
    try:
        return schema.validate(frame.reindex(columns=list(schema.columns)), lazy=True)
    except (pa.errors.SchemaErrors, pa.errors.SchemaError) as error:
        cases = error.failure_cases
        rows = cases[cases["index"].notna()]
        if rows.empty:
            raise UserError(f"The {name} has the wrong form ({cases.iloc[0]['check']}); {mend}.") from error
        first = rows.sort_values("index", kind="stable").iloc[0]
        row, value = int(first["index"]), first["failure_case"]
        more = f" (and {rows['index'].nunique() - 1} more rows)" if rows["index"].nunique() > 1 else ""
        of_column = first["schema_context"] == "Column"
        check = "it is there twice" if first["check"] == "field_uniqueness" else first["check"]
        what = f"{first['column']} = {value}: {check}" if of_column else check
        raise UserError(f"{where.iloc[row]}: {what}{more}; {mend}.") from error


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


def fingerprint_files(paths: Iterable[Path], root: Path) -> str:
    """A short hash of the names and contents of `paths`, the same wherever `root` lies on disk."""

    def digest(path: Path) -> str:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "blake2b").hexdigest()

    ordered = sorted(paths)
    with ThreadPoolExecutor() as pool:
        parts = [
            f"{p.relative_to(root).as_posix()}:{d}" for p, d in zip(ordered, pool.map(digest, ordered), strict=True)
        ]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def origin_of(folder: Path) -> Literal["simulated", "real"]:
    """`simulated` if the simulator's marker lies in `folder`, else `real`."""
    return "simulated" if (folder / SIMULATED_MARKER).exists() else "real"


def read_truth(folder: Path) -> pd.DataFrame:
    """The simulator's record of every adventitious sound beside the data set in `folder` (recording, kind, start_s, ...)."""
    return pd.read_csv(folder.with_name(folder.name + "_truth") / "events.csv")
