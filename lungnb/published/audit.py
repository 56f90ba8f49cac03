"""What can be recomputed from the published numbers, and what of it does not add up.

    audit("respirenet")           one row a check: the claim, the number as published, the number as it follows from other
                                  published numbers, whether the two agree, and one sentence
    disagreements("respirenet")   those that do not agree, as the notebooks show them

No number is typed in here: all come from `lungnb.published`.
"""

from importlib import import_module

import pandas as pd

from lungnb.core import UserError

PAPERS = ["respirenet", "convlstm", "pediatric", "lungldm"]
_TYPES = {
    "claim": "string",
    "published": "Float64",
    "recomputed": "Float64",
    "agrees": "boolean",
    "comment": "string",
}


def audit(paper: str) -> pd.DataFrame:
    """Columns: paper, claim, published, recomputed, agrees, comment. `published` is NA where the claim has no number,
    `agrees` where there is nothing to compare it with.

    Raises UserError for a paper without checks; the message lists those that have some.
    """
    if paper not in PAPERS:
        raise UserError(f"No audit of {paper!r}; papers with one are {', '.join(PAPERS)}.")
    checks = import_module(f"lungnb.published.{paper}").checks()
    frame = pd.DataFrame(checks, columns=list(_TYPES)).astype(_TYPES)
    frame.insert(0, "paper", pd.Series(paper, index=frame.index, dtype="string"))
    return frame


def disagreements(paper: str) -> tuple[pd.DataFrame, str]:
    """The checks that do not agree, as text with columns claim, published, recomputed, comment; and how many of all they are."""
    checks = audit(paper)
    failed = checks[checks["agrees"].eq(False).fillna(False)]
    shown = failed.drop(columns=["paper", "agrees"]).map(_text)
    return shown, f"{len(failed)} of {len(checks)} checks do not agree"


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if pd.isna(value) else f"{value:g}"
