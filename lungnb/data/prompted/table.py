"""The table of clips: one row a clip, the same columns whatever corpus it is from.

A *clip* is what a prompt describes: a whole phone recording (COUGHVID, Coswara), or one labelled event of a stethoscope's
(ICBHI, SPRSound). Readers return `Clips`, which to prompts are what `lungnb.data.corpus.Corpus` is to labels.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pandas as pd
import pandera.pandas as pa

from lungnb.core import UserError
from lungnb.data.corpus import validate
from lungnb.data.prompts import CONDITIONS, DECADES, SEXES, SOUNDS

_text = {"dtype": "string", "nullable": True}

#: Missing values are NA. `end_s` is NA where the clip goes on to the end of its file.
CLIPS = pa.DataFrameSchema(
    {
        "clip": pa.Column("string", unique=True),
        "path": pa.Column("string"),
        "start_s": pa.Column("float64", pa.Check.ge(0, error="the clip starts before its recording")),
        "end_s": pa.Column("Float64", nullable=True),
        "sound": pa.Column("string", pa.Check.isin(list(SOUNDS), error=f"the sound types are {', '.join(SOUNDS)}")),
        "sex": pa.Column("string", pa.Check.isin(SEXES, error="sex is female or male"), nullable=True),
        "age_decade": pa.Column("Int64", pa.Check.isin(DECADES, error="no decade from 0 to 110"), nullable=True),
        "smoker": pa.Column("boolean", nullable=True),
        "condition": pa.Column(
            "string", pa.Check.isin(CONDITIONS, error=f"known are {', '.join(CONDITIONS)}"), nullable=True
        ),
        "patient": pa.Column(**_text),
        "corpus": pa.Column("string"),
        "position": pa.Column(**_text),
    },
    checks=pa.Check(lambda df: (df["end_s"] > df["start_s"]).fillna(True), error="the clip ends before it starts"),
    strict=True,
    ordered=True,
    coerce=True,
)
COLUMNS = list(CLIPS.columns)


@dataclass(frozen=True)
class Clips:
    """Clips and their provenance, as `lungnb.data.corpus.Corpus` is for events.

    `root` is the folder that `table.path` is relative to. `n_missing` counts recordings that are listed but have no audio
    here; `skipped` says, by reason, how many clips or recordings a reader left out.
    """

    name: str
    table: pd.DataFrame
    origin: Literal["simulated", "real"]
    fingerprint: str
    root: Path
    n_missing: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def n_recordings(self) -> int:
        return self.table["path"].nunique()

    @property
    def origin_text(self) -> str:
        """`simulated`, `real`, or `real, partial (192 of 920 recordings)`."""
        if not self.n_missing:
            return self.origin
        return f"{self.origin}, partial ({self.n_recordings} of {self.n_recordings + self.n_missing} recordings)"

    def select(self, keep: pd.Series) -> "Clips":
        """The same clips, only where `keep` is true."""
        return replace(self, table=self.table[keep].reset_index(drop=True))


def validate_clips(frame: pd.DataFrame, where: pd.Series, mend: str) -> pd.DataFrame:
    """Check `frame` against CLIPS; `where` names each row's source, as `file.csv, line 3`.

    Raises UserError with the first bad row's source, what is wrong and `mend`.
    """
    return validate(CLIPS, "clip table", frame, where, mend)


def join(corpora: Sequence[Clips]) -> Clips:
    """All clips of several corpora as one, below the folder that holds them all; `skipped` names the corpus.

    Raises UserError for no corpus, for one given twice, and for simulated and real ones together: their origin would be lost.
    """
    names = [clips.name for clips in corpora]
    if not names or len(set(names)) < len(names):
        raise UserError(f"Clips are joined from corpora of different names, not {names}; name each once.")
    if len(origins := {clips.origin for clips in corpora}) > 1:
        told = ", ".join(f"{clips.name} ({clips.origin})" for clips in corpora)
        raise UserError(f"Simulated and real clips are not joined: {told}; read one kind.")
    roots = [clips.root.resolve() for clips in corpora]
    root = Path(os.path.commonpath(roots))
    parts = []
    for clips, own in zip(corpora, roots, strict=True):
        below = own.relative_to(root).as_posix()
        parts.append(
            clips.table.assign(path=clips.table["path"] if below == "." else below + "/" + clips.table["path"])
        )
    key = "\n".join(f"{clips.name}:{clips.fingerprint}" for clips in corpora)
    return Clips(
        name="+".join(names),
        table=CLIPS.validate(pd.concat(parts, ignore_index=True)),
        origin=origins.pop(),
        fingerprint=hashlib.blake2b(key.encode(), digest_size=8).hexdigest(),
        root=root,
        n_missing=sum(clips.n_missing for clips in corpora),
        skipped={f"{clips.name}: {reason}": n for clips in corpora for reason, n in clips.skipped.items()},
    )


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Clips by sound type (rows, all 13) and corpus (columns), with sums in `all`."""
    found = pd.crosstab(table["sound"], table["corpus"]).reindex(list(SOUNDS), fill_value=0)
    found = found.assign(all=found.sum(axis=1))
    return pd.concat([found, found.sum().to_frame("all").T]).rename_axis("sound").rename_axis(None, axis=1)


def decade(age_years: pd.Series) -> pd.Series:
    """Ages in years (numbers or NA) -> the decade's first year, Int64: 8.1 -> 0, 47 -> 40."""
    return (pd.to_numeric(age_years).astype("Float64") // 10 * 10).astype("Int64")
