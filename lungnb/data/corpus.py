"""The table of events, one schema for every data set, and the corpus: events with their provenance.

An *event* is what a paper classifies or a prompt describes: a breathing cycle (ICBHI), an annotated sound (SPRSound), a
recording at one site of the chest, a cough on a phone. Readers return a `Corpus`: the events, where they came from, and
whether the recordings are simulated or real. Whatever is computed from a corpus carries `Corpus.origin_text` to the reader.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pandera.pandas as pa

from lungnb.core import UserError, atomic_file, cache_dir
from lungnb.data.folders import OTHER, unread

#: A file of this name in a data set's folder, or in the one around it, says that the simulator wrote it.
SIMULATED_MARKER = "SIMULATED.json"
#: Files that changed in the last seconds may change again without a new time stamp: nothing is remembered of them.
SETTLED_S = 2.0
#: What of a corpus is lost for want of a file; `Corpus.unread` names it.
NO_AUDIO = "recordings annotated or listed, without audio"
#: Why an event is left out where prompts are made.
OTHER_SOUND = "of a sound that is none of the 13 types"
#: Label of a stethoscope's event -> its sound type in a prompt; stridor and both at once are none of the types.
LUNG_SOUNDS = {
    "normal": "normal lung sound",
    "wheeze": "wheeze",
    "crackle": "crackle",
    "fine crackle": "crackle",
    "coarse crackle": "crackle",
    "rhonchi": "rhonchi",
}

_text, _count = {"dtype": "string", "nullable": True}, {"dtype": "Int64", "nullable": True}

#: Missing values are NA. `path` is relative to `Corpus.audio_root`; `start_s` and `end_s` are seconds from the start of that
#: file, and `end_s` is NaN where the event goes on to its end. `split` is the data set's own part, `fold` that of a list
#: published with it. `clip` is a name that no other event has, in any corpus. A corpus of labels has `label`, one that prompts
#: are made for has `sound`, and ICBHI and SPRSound have both; the fields of a prompt are sound, sex, age_decade, smoker and
#: condition (`lungnb.data.prompts`).
EVENTS = pa.DataFrameSchema(
    {
        "recording": pa.Column("string"),
        "path": pa.Column("string"),
        "start_s": pa.Column("float64", pa.Check.ge(0, error="the event starts before its recording")),
        "end_s": pa.Column("float64", nullable=True),
        "label": pa.Column(**_text),
        "patient": pa.Column(**_text),
        "position": pa.Column(**_text),
        "device": pa.Column(**_text),
        "age_years": pa.Column("Float64", pa.Check.in_range(0, 120, error="no age in years"), nullable=True),
        "sex": pa.Column("string", pa.Check.isin(["female", "male"], error="sex is female or male"), nullable=True),
        "diagnosis": pa.Column(**_text),
        "split": pa.Column(**_text),
        "fold": pa.Column(**_count),
        "clip": pa.Column("string", unique=True),
        "corpus": pa.Column("string"),
        "sound": pa.Column(**_text),
        "age_decade": pa.Column(**_count),
        "smoker": pa.Column("boolean", nullable=True),
        "condition": pa.Column(**_text),
    },
    checks=[
        pa.Check(lambda df: df["label"].notna() | df["sound"].notna(), error="label or sound is missing"),
        pa.Check(lambda df: df["patient"].notna() | df["label"].isna(), error="patient is missing"),
        pa.Check(
            lambda df: (df["end_s"] > df["start_s"]) | df["end_s"].isna(), error="the event ends before it starts"
        ),
    ],
    strict=True,
    ordered=True,
    coerce=True,
)
COLUMNS = list(EVENTS.columns)


@dataclass(frozen=True)
class Corpus:
    """Events and their provenance.

    fingerprint: hash of the audio, the annotations, the side files (split and fold lists, demographics, diagnoses) and the
    selection of events. audio_root: the folder that `events.path` is relative to. n_missing: recordings that are annotated
    but have no audio here. skipped: how many events, recordings or files a reader left out or found odd, by reason. unread:
    every file of the data set's folder that was not read, by reason, and the recordings without audio (NO_AUDIO).
    """

    name: str
    events: pd.DataFrame
    origin: Literal["simulated", "real"]
    fingerprint: str
    audio_root: Path
    n_missing: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    unread: dict[str, list[str]] = field(default_factory=dict)

    @property
    def n_recordings(self) -> int:
        return self.events["path"].nunique()

    @property
    def origin_text(self) -> str:
        """`simulated`, `real`, or `real, partial (192 of 920 recordings)`."""
        if not self.n_missing:
            return self.origin
        return f"{self.origin}, partial ({self.n_recordings} of {self.n_recordings + self.n_missing} recordings)"

    def select(self, keep: pd.Series) -> "Corpus":
        """The corpus with only the events where `keep` is true; another fingerprint, unless all are kept."""
        mask = np.asarray(keep, dtype=bool)
        selected = replace(self, events=self.events[mask].reset_index(drop=True))
        if mask.all():
            return selected
        return replace(selected, fingerprint=digest(self.fingerprint, np.packbits(mask).tobytes().hex()))


def validate_events(frame: pd.DataFrame, where: pd.Series, hint: str, corpus: str = "") -> pd.DataFrame:
    """The columns of `frame` that EVENTS has, checked and typed; absent ones are NA, but for `clip` and `age_decade`.

    where: each row's source, as `file.txt, line 3`. corpus: the data set's name, for the columns `corpus` and `clip`. Raises
    UserError with the source of the first bad row, what is wrong there, and `hint`.
    """
    frame = frame.reindex(columns=[name for name in COLUMNS if name in frame or name not in ("corpus", "clip")])
    frame = frame.assign(corpus=frame.get("corpus", corpus))
    if "clip" not in frame:
        number = frame.groupby("recording").cumcount().astype("string")
        frame["clip"] = frame["corpus"] + "/" + frame["recording"].astype("string") + "/" + number
    try:
        events = EVENTS.validate(frame[COLUMNS], lazy=True)
    except (pa.errors.SchemaErrors, pa.errors.SchemaError) as error:
        cases = error.failure_cases
        rows = cases[cases["index"].notna()].sort_values("index", kind="stable")
        if rows.empty:
            raise UserError(f"The events table has the wrong form ({cases.iloc[0]['check']}); {hint}.") from error
        first, n_more = rows.iloc[0], rows["index"].nunique() - 1
        what = "it is there twice" if first["check"] == "field_uniqueness" else first["check"]
        if first["schema_context"] == "Column":
            what = f"{first['column']} = {first['failure_case']}: {what}"
        more = f" (and {n_more} more rows)" if n_more else ""
        raise UserError(f"{where.iloc[int(first['index'])]}: {what}{more}; {hint}.") from error
    return events.assign(age_decade=decade(events["age_years"]))


def make_corpus(
    name: str,
    root: Path,
    frame: pd.DataFrame,
    side_files: Iterable[Path],
    *,
    hint: str = "correct that line",
    folder: Path | None = None,
    missing: Iterable[str] = (),
    skipped: Mapping[str, int] | None = None,
    known: Iterable[Path] = (),
) -> Corpus:
    """The corpus of the events in `frame`: columns of EVENTS, and `where` ("file, line n") for what is said of a bad row.

    side_files: all files besides the audio that the events were read from. folder: the data set's, where `root` lies deeper.
    missing: recordings without audio. `skipped` may hold zeros. known: further files that were read or are counted there; the
    others of the folder are `unread`, and those of them that a user may have meant are counted. Raises UserError as
    `validate_events` does.
    """
    events = validate_events(frame, frame["where"], hint, name)
    read = [*side_files, *(root / path for path in events["path"].unique())]
    passed = unread(folder or root, [*read, *known])
    missing = [str(name) for name in missing]
    counted = {**(skipped or {}), **{reason: len(paths) for reason, paths in passed.items() if reason != OTHER}}
    return Corpus(
        name=name,
        events=events,
        origin=origin_of(folder or root),
        fingerprint=fingerprint_files(read, root),
        audio_root=root,
        n_missing=len(missing),
        skipped={reason: int(n) for reason, n in counted.items() if n},
        unread=({NO_AUDIO: missing} if missing else {}) | passed,
    )


def decade(age_years: pd.Series) -> pd.Series:
    """Ages in years (numbers or NA) -> the decade's first year, Int64: 8.1 -> 0, 47 -> 40."""
    return (pd.to_numeric(age_years).astype("Float64") // 10 * 10).astype("Int64")


def join(corpora: Sequence[Corpus]) -> Corpus:
    """All events of several corpora as one, below the folder that holds them all; `skipped` names the corpus.

    Patients and recordings get their corpus before their number: 7 of two corpora are two people. Raises UserError for no
    corpus, for one given twice, and for simulated and real ones together: their origin would be lost.
    """
    names = [corpus.name for corpus in corpora]
    if not names or len(set(names)) < len(names):
        raise UserError(f"Corpora are joined under different names, not {names}; name each once.")
    if len(origins := {corpus.origin for corpus in corpora}) > 1:
        listed = ", ".join(f"{corpus.name} ({corpus.origin})" for corpus in corpora)
        raise UserError(f"Simulated and real recordings are not joined: {listed}; read one kind.")
    roots = [corpus.audio_root.resolve() for corpus in corpora]
    root = Path(os.path.commonpath(roots))
    parts = []
    for corpus, own in zip(corpora, roots, strict=True):
        below = "" if own == root else own.relative_to(root).as_posix() + "/"
        columns = {"path": below, "patient": corpus.name + "/", "recording": corpus.name + "/"}
        parts.append(corpus.events.assign(**{name: text + corpus.events[name] for name, text in columns.items()}))
    return Corpus(
        name="+".join(names),
        events=EVENTS.validate(pd.concat(parts, ignore_index=True)),
        origin=origins.pop(),
        fingerprint=digest(*(f"{corpus.name}:{corpus.fingerprint}" for corpus in corpora)),
        audio_root=root,
        n_missing=sum(corpus.n_missing for corpus in corpora),
        skipped={f"{corpus.name}: {reason}": n for corpus in corpora for reason, n in corpus.skipped.items()},
        unread={f"{corpus.name}: {reason}": paths for corpus in corpora for reason, paths in corpus.unread.items()},
    )


def origin_of(folder: Path) -> Literal["simulated", "real"]:
    """`simulated` if the simulator's marker lies in `folder` or in the one around it, else `real`."""
    return "simulated" if any((f / SIMULATED_MARKER).exists() for f in (folder, folder.resolve().parent)) else "real"


def read_truth(folder: Path) -> pd.DataFrame:
    """The simulator's record of every adventitious sound beside the data set in `folder` (recording, kind, start_s, ...)."""
    return pd.read_csv(folder.with_name(folder.name + "_truth") / "events.csv")


def fingerprint_files(paths: Iterable[Path], root: Path) -> str:
    """A short hash of the names and contents of `paths`, the same wherever `root` lies on disk.

    It is remembered in the cache folder by the files' sizes and times, so that 200,000 recordings are read whole only once.
    """

    def hash_of(path: Path) -> str:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "blake2b").hexdigest()

    ordered = sorted(set(paths))
    state = files_state(ordered)
    record = cache_dir() / "fingerprints" / f"{digest(str(root.resolve()), state or '')}.json"
    if state and record.exists():
        return json.loads(record.read_text())
    names = [path.relative_to(root).as_posix() for path in ordered]
    with ThreadPoolExecutor() as pool:
        found = digest(*(f"{n}:{d}" for n, d in zip(names, pool.map(hash_of, ordered), strict=True)))
    if state:
        with atomic_file(record) as temporary:
            temporary.write_text(json.dumps(found))
    return found


def files_state(paths: Iterable[Path]) -> str | None:
    """A hash of names, sizes and times of `paths`; None if one of them changed within the last SETTLED_S seconds."""
    newest, parts = 0, []
    for path in paths:
        stat = path.stat()
        newest = max(newest, stat.st_mtime_ns, stat.st_ctime_ns)
        parts.append(f"{path}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}")
    return digest(*parts) if newest / 1e9 < time.time() - SETTLED_S else None


def digest(*parts: str) -> str:
    """A short hash of texts in their order."""
    text = "\n".join(parts).encode("utf-8", "surrogateescape")  # a file's name need not be Unicode
    return hashlib.blake2b(text, digest_size=8).hexdigest()
