"""How good a classifier, a generator or an explanation is, and how sure that is."""

import pandas as pd


def probability_columns(table: pd.DataFrame) -> list[str]:
    """The columns p0, p1, ... of a table of predictions."""
    return [c for c in table if c[0] == "p" and c[1:].isdigit()]
