"""Every published number of the papers, as tables: one CSV a paper, columns `paper, artefact, row, metric, value, note`.

`artefact` is `table-1`, `table-2`, ... as the paper numbers them, `text` for numbers that stand only in its prose, `data` for
facts of the data set, `listening` for LungLDM's listening test, and for what surrounds a paper: `readme`, `code` and `log` (the
released code and its training log), `hits` and `reference`. A value that the paper does not print but that follows from it is
marked "derived" in its note.
"""

from pathlib import Path

import pandas as pd

from lungnb.core import UserError

_FOLDER = Path(__file__).parent
_TYPES = {
    "paper": "string",
    "artefact": "string",
    "row": "string",
    "metric": "string",
    "value": "Float64",
    "note": "string",
}


def papers() -> list[str]:
    """The papers whose numbers are here."""
    return sorted(path.stem for path in _FOLDER.glob("*.csv"))


def load(paper: str, artefact: str | None = None) -> pd.DataFrame:
    """The published numbers of `paper`, or of one `artefact` of it, in the order of the paper.

    Units stand in `note`. A number that the source leaves out (a dash in its table) is NA.
    Raises UserError for an unknown paper or artefact; the message lists the known ones.
    """
    if paper not in papers():
        raise UserError(f"No published numbers of {paper!r}; known papers are {', '.join(papers())}.")
    table = pd.read_csv(_FOLDER / f"{paper}.csv", dtype=_TYPES)
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
