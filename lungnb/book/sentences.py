"""Sentences that read a result are composed from it, so that they are true of whatever a build shows."""

from collections.abc import Mapping

import pandas as pd


def counts(line: Mapping) -> str:
    """`5 seeds, 85 patients` of a line with n_seeds and n_patients; where n_all, all that were scored, are more: `3 seeds, 23
    patients in the smaller class, of 78`."""
    seeds, patients = (f"{line[name]:.0f} {what}" for name, what in (("n_seeds", "seed"), ("n_patients", "patient")))
    text = ", ".join(of if of.startswith("1 ") else f"{of}s" for of in (seeds, patients))
    more = pd.notna(line.get("n_all")) and line["n_all"] > line["n_patients"]
    return f"{text} in the smaller class, of {line['n_all']:.0f}" if more else text


def value(line: Mapping, digits: int = 3) -> str:
    """`0.822 [0.770, 0.862] (5 seeds, 203 patients)` of a line with ours, low, high, and what `counts` reads."""
    if pd.isna(line["low"]):
        return f"{line['ours']:.{digits}f} ({counts(line)}; too few for an interval)"
    return f"{line['ours']:.{digits}f} [{line['low']:.{digits}f}, {line['high']:.{digits}f}] ({counts(line)})"


def difference(one: str, other: str, line: Mapping, metric: str = "Score", digits: int = 3, alpha: float = 0.05) -> str:
    """Whether `one` is better than `other`, of a line of `lungnb.metrics.classification.paired`; by its p, if there is one.

    Of fewer than three seeds or too few patients it says that nothing can be told. Where p is corrected for `n_compared`
    comparisons, as by `paired_many`, an interval may exclude 0 and the difference not be established: both are said.
    """
    said = f"{line['ours']:+.{digits}f} in {metric}"
    if line["n_seeds"] < 3 or pd.isna(line["low"]):
        return f"{one} against {other}: {said}, of {counts(line)}, which are too few to tell."
    interval, apart = f"[{line['low']:+.{digits}f}, {line['high']:+.{digits}f}]", line["low"] > 0 or line["high"] < 0
    if line["p"] < alpha if pd.notna(line.get("p")) else apart:
        return f"{one} is {'better' if line['ours'] > 0 else 'worse'} than {other}: {said} {interval}."
    if apart:
        return (
            f"{one} against {other}: {said} {interval}. Alone this interval excludes 0; corrected for {line['n_compared']:.0f} "
            f"comparisons, p = {line['p']:.2g}, the difference is not established."
        )
    return f"{one} and {other} cannot be told apart: {said} {interval}."
