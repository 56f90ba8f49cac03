"""Sentences that read a result are composed from it, so that they are true of whatever a build shows."""

from collections.abc import Mapping

import pandas as pd


def value(line: Mapping, digits: int = 3) -> str:
    """`0.822 [0.770, 0.862] (5 seeds, 203 patients)` of a line with ours, low, high, n_seeds, n_patients."""
    of = ", ".join(f"{line[name]:.0f} {what}" for name, what in (("n_seeds", "seeds"), ("n_patients", "patients")))
    if pd.isna(line["low"]):
        return f"{line['ours']:.{digits}f} ({of}; too few for an interval)"
    return f"{line['ours']:.{digits}f} [{line['low']:.{digits}f}, {line['high']:.{digits}f}] ({of})"


def difference(one: str, other: str, line: Mapping, metric: str = "Score", digits: int = 3, alpha: float = 0.05) -> str:
    """Whether `one` is better than `other`, of a line of `lungnb.metrics.classification.paired`; by its p, if there is one.

    Of fewer than three seeds or too few patients it says that nothing can be told.
    """
    said = f"{line['ours']:+.{digits}f} in {metric}"
    if line["n_seeds"] < 3 or pd.isna(line["low"]):
        seeds = f"{line['n_seeds']:.0f} seed" + ("s" if line["n_seeds"] > 1 else "")
        return f"{one} against {other}: {said}, of {seeds} and {line['n_patients']:.0f} patients, which are too few to tell."
    interval = f"[{line['low']:+.{digits}f}, {line['high']:+.{digits}f}]"
    sure = line["p"] < alpha if pd.notna(line.get("p")) else line["low"] > 0 or line["high"] < 0
    if not sure:
        alone = " among so many comparisons" if line["low"] > 0 or line["high"] < 0 else ""
        return f"{one} and {other} cannot be told apart{alone}: {said} {interval}."
    return f"{one} is {'better' if line['ours'] > 0 else 'worse'} than {other}: {said} {interval}."
