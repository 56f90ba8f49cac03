"""Sentences that read a result are composed from it, so that they are true of whatever a build shows."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lungnb import published
from lungnb.book import evidence
from lungnb.book.evidence import by_seed, ensemble
from lungnb.core import repository
from lungnb.metrics.classification import biocas_scores, paired, score_rows


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
        return f"{one} and {other} cannot be told apart: {said} {interval}."
    return f"{one} is {'better' if line['ours'] > 0 else 'worse'} than {other}: {said} {interval}."


def headlines() -> list[str]:
    """What the README says of recorded experiments, a sentence each; an experiment that is not on file says nothing."""
    if not (evidence.folder() / "convlstm" / "sprsound-event" / "predictions.parquet").is_file():
        return []
    frame = evidence.predictions("convlstm/sprsound-event")
    on_file = set(frame["row"])
    printed = published.load("convlstm", "table-3").query("metric == 'Score'").set_index("row")["value"]

    def score(tables: list[pd.DataFrame]) -> pd.Series:
        return score_rows("", tables, biocas_scores, 1).set_index("metric").loc["Score"]

    said = []
    for model in printed.index:
        settings = [f"{setting} {model}" for setting in ("paper", "fair", "best") if f"{setting} {model}" in on_file]
        values = [f"{row.partition(' ')[0]} {value(score(by_seed(frame, row)))}" for row in settings]
        if values:
            said.append(f"{model}: published {printed[model]:.3f}; {'; '.join(values)}.")
    for model in printed.index:
        if {f"fair {model}", f"best {model}"} <= on_file:
            best, fair = (by_seed(frame, f"{setting} {model}") for setting in ("best", "fair"))
            n = min(len(best), len(fair))
            gain = paired(best[:n], fair[:n]).set_index("metric").loc["Score"]
            said.append(difference(f"{model} on stretched events", f"{model} on padded ones", gain))
            whole = score([ensemble(best)])
            interval = f"[{whole['low']:.3f}, {whole['high']:.3f}]"
            said.append(f"{model}, ensemble of {len(best)} on stretched events: {whole['ours']:.3f} {interval}.")
    return said


def missing_headlines() -> list[str]:
    """Which sentences of `headlines` do not stand in the README of this repository."""
    readme = (repository(Path.cwd()) or repository(Path(__file__)) or Path.cwd()) / "README.md"
    text = " ".join(readme.read_text().split()) if readme.is_file() else ""
    return [f"README.md lacks: {sentence}" for sentence in headlines() if sentence not in text]
