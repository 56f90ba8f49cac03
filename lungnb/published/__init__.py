"""Every number of the four papers as tables, and what of it can be recomputed: does it add up?

`load` and `wide` read one CSV a paper, with columns `paper, artefact, row, metric, value, printed, source, note`. `artefact` is
`table-1`, `table-2`, ... as the paper numbers them, `text` for numbers of its prose, `data` for facts of the data set,
`listening` for LungLDM's listening test, and for what surrounds a paper: `readme`, `code`, `log`, `hits` and `reference`.
`source` says who stands behind a number; only `paper` is published:

    paper     printed in the paper
    derived   follows from what is printed
    code      released code, its logs, files of the data set, other publications
    ours      counted or recommended by us

`audit` recomputes what can be recomputed, `disagreements` shows what does not agree. Each check is of one kind:

    contradiction   the paper against itself
    inconsistent    the paper, or what surrounds it, against its code, its data or another source
    note            nothing that the authors claim, but a reader should know it
"""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from lungnb.core import UserError

PAPERS = ["respirenet", "convlstm", "pediatric", "lungldm"]
KINDS = ["contradiction", "inconsistent", "note"]
_FOLDER = Path(__file__).parent
_COLUMNS = ["paper", "artefact", "row", "metric", "value", "source", "note"]
_TYPES = {
    "claim": "string",
    "published": "Float64",
    "recomputed": "Float64",
    "agrees": "boolean",
    "comment": "string",
    "kind": "string",
}


def papers() -> list[str]:
    """The papers whose numbers are here."""
    return sorted(path.stem for path in _FOLDER.glob("*.csv"))


def load(paper: str, artefact: str | None = None) -> pd.DataFrame:
    """The published numbers of `paper`, or of one `artefact` of it, in the order of the paper.

    `value` is for computing, `printed` the same with all the digits of the source; units stand in `note`. A number that the
    source leaves out (a dash in its table) is NA in both.
    Raises UserError for an unknown paper or artefact; the message lists the known ones.
    """
    if paper not in papers():
        raise UserError(f"No published numbers of {paper!r}; known papers are {', '.join(papers())}.")
    table = pd.read_csv(_FOLDER / f"{paper}.csv", dtype=dict.fromkeys(_COLUMNS, "string"))
    table.insert(5, "printed", table["value"])
    table["value"] = pd.to_numeric(table["value"]).astype("Float64")
    if artefact is None:
        return table
    known = table["artefact"].unique()
    if artefact not in known:
        raise UserError(f"{paper} has no {artefact!r}; known artefacts are {', '.join(known)}.")
    return table[table["artefact"] == artefact].reset_index(drop=True)


def wide(paper: str, artefact: str) -> pd.DataFrame:
    """One artefact as it is printed: rows by metrics, in the order of the paper."""
    table = load(paper, artefact)
    printed = table.pivot(index="row", columns="metric", values="value")
    return printed.loc[table["row"].unique(), table["metric"].unique()]


def audit(paper: str) -> pd.DataFrame:
    """Columns: paper, claim, published, recomputed, agrees, comment, kind. `published` is NA where the claim has no number,
    `agrees` where there is nothing to compare it with.

    No number is typed in: all come from the tables. Raises UserError for an unknown paper; the message lists the known.
    """
    if paper not in PAPERS:
        raise UserError(f"No audit of {paper!r}; papers with one are {', '.join(PAPERS)}.")
    rows = of_kind("contradiction", import_module(f"lungnb.published.{paper}").checks())
    frame = pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)
    frame.insert(0, "paper", pd.Series(paper, index=frame.index, dtype="string"))
    return frame


def disagreements(paper: str) -> tuple[pd.DataFrame, str]:
    """The checks that do not agree, as text with columns kind, claim, published, recomputed, comment, contradictions first;
    and one line that counts them."""
    checks = audit(paper)
    failed = checks[checks["agrees"].eq(False).fillna(False)]
    failed = failed.iloc[failed["kind"].map(KINDS.index).argsort(kind="stable")]
    counts = failed["kind"].value_counts().reindex(KINDS, fill_value=0)
    note = (
        f"{counts['contradiction']} of {len(checks)} checks contradict what the paper says elsewhere, {counts['inconsistent']} "
        f"differ from its code, its data or another source, {counts['note']} are notes of ours"
    )
    return failed[["kind", "claim", "published", "recomputed", "comment"]].map(_text), note


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if pd.isna(value) else f"{value:g}"


# The parts of an audit. Each check is (claim, published, recomputed, agrees, comment), with its kind if `of_kind` gave it one.
# Printed numbers are rounded: the true value lies within half a unit of the last printed digit. A printed result agrees with a
# formula of printed inputs when some true values behind the prints make them equal.

Check = tuple
Checks = Iterator[Check]

_ROUNDING = 1e-9  # of binary floating point, at the edge of a rounding interval


def reachable(published: float, formula: Callable, values, half: float) -> bool:
    """Whether `published` can be `formula(*values)`, all rounded to `2 * half`; for formulas monotone in each value."""
    corners = [formula(*corner) for corner in product(*((v - half, v + half) for v in values))]
    return bool(min(corners) - half - _ROUNDING <= published <= max(corners) + half + _ROUNDING)


def printed(claim, published, formula, values, half, comment, otherwise=None) -> Check:
    """A printed number against a formula of other printed numbers; `otherwise` is the comment when they differ."""
    agrees = reachable(published, formula, values, half)
    return claim, published, round(formula(*values), 4), agrees, comment if agrees or not otherwise else otherwise


def exact(claim, published, recomputed, comment) -> Check:
    """A count, which has to agree exactly."""
    return claim, published, recomputed, bool(published == recomputed), comment


def near(claim, published, recomputed, half, comment) -> Check:
    """A printed number against one known to more digits: they agree within half a unit of the printed digit."""
    return claim, published, round(recomputed, 4), bool(abs(published - recomputed) <= half + _ROUNDING), comment


def mean(a, b):
    return (a + b) / 2


def harmonic(a, b):
    return 2 * a * b / (a + b)


def fits(rates, total: int, half: float) -> bool:
    """Whether every rate is a whole number out of `total`, rounded to `2 * half`."""
    rates = np.asarray(rates, dtype=float)
    return bool((np.abs(np.round(rates * total) / total - rates) <= half + _ROUNDING).all())


def of_kind(kind: str, checks: Iterable[Check]) -> Checks:
    """The checks, those without a kind being of this one."""
    return ((*check, kind)[:6] for check in checks)


def note(claim, published, recomputed, comment) -> Check:
    """What should be known and contradicts nothing."""
    return claim, published, recomputed, None, comment, "note"
