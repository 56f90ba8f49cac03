"""How good a classifier, a generator or an explanation is, and how sure that is."""

import numpy as np
import pandas as pd


def probability_columns(table: pd.DataFrame, letter: str = "p") -> list[str]:
    """The columns p0, p1, ... of a table of predictions, or those of another letter."""
    return [c for c in table if c[0] == letter and c[1:].isdigit()]


def columns_of(table: pd.DataFrame, letter: str = "p") -> np.ndarray:
    """These columns as (N, n)."""
    return table[probability_columns(table, letter)].to_numpy(float)
