"""The runs of the comparison: a profile's settings and data sets, from which notebooks 90 and 92 make the same runs.

A run that one notebook has trained is another's from the cache only if both ask for it with the same words, so the words stand
here alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungnb.classification.compare import CompareRun
from lungnb.configs import COMPARE
from lungnb.core import UserError
from lungnb.data.corpus import Corpus
from lungnb.data.load import load_corpus
from lungnb.data.tasks import TASKS, task_of


@dataclass(frozen=True)
class Together:
    """What a report has to say of several data sets in one table."""

    name: str
    origin_text: str
    fingerprint: str


@dataclass(frozen=True)
class Harness:
    """size: of `COMPARE`. where: each data set's folder, or "simulated". corpora: the data sets by name."""

    size: dict[str, Any]
    where: dict[str, str]
    corpora: dict[str, Corpus]
    seeds: list[int]
    epochs: int
    device: str

    def run(self, task: str, model: str, **choices) -> CompareRun:
        """One run with the settings of the profile, then of the unit that is scored, then of the model, then `choices`.

        Raises UserError for a task without a label map, or of a data set that was not loaded.
        """
        name, unit = task_of(task).corpus, task_of(task).unit
        if name not in self.corpora:
            raise UserError(f"{task!r} is of {name}, which was not loaded; name it in harness_of.")
        fields = self.size["run"] | (self.size["patients"] if unit == "patient" else {}) | self.size["models"][model]
        fields |= ({"epochs": self.epochs} if self.epochs else {}) | {"seed": self.seeds[0]} | choices
        place = {"data": self.where[name], "n_patients": self.size["n_patients"][name], "device": self.device}
        return CompareRun(corpus=self.corpora[name].fingerprint, task=task, model=model, **place, **fields)

    def group(self, task: str, model: str, **choices) -> list[CompareRun]:
        """One run a seed."""
        return [self.run(task, model, seed=seed, **choices) for seed in self.seeds]

    def view(self, task: str) -> Corpus:
        """The data set of `task` as the task sees it."""
        return TASKS[task].view(self.corpora[TASKS[task].corpus])

    def together(self, *names: str) -> Together:
        """The data sets `names` as one: real only if all are."""
        origins = {name: self.corpora[name].origin_text for name in names}
        text = ("simulated in part" if "simulated" in origins.values() else "real") + (
            " (" + "; ".join(f"{name}: {origin}" for name, origin in origins.items()) + ")"
        )
        text = text if len(set(origins.values())) > 1 else origins[names[0]]
        return Together(" + ".join(names), text, "+".join(self.corpora[name].fingerprint for name in names))

    @property
    def data(self) -> str:
        """What this build's data are, in one line."""
        parts = [
            f"{name}: {c.origin_text}, {c.events['patient'].nunique()} patients" for name, c in self.corpora.items()
        ]
        return "; ".join(parts)


def harness_of(
    profile: str,
    data: str = "simulated",
    *,
    seeds: Sequence[int] | int = (),
    epochs: int = 0,
    device: str = "auto",
    names: Sequence[str] = ("icbhi", "sprsound", "multisite"),
) -> Harness:
    """The harness of a profile over the data sets `names`.

    data: "simulated", or a folder that holds `icbhi/` and `sprsound/`; multi-site cohorts, which nobody publishes, are simulated
    where it has no `multisite/`. seeds, epochs: empty or 0 for the profile's own.
    """
    size = COMPARE[profile]
    seeds = [seeds] if isinstance(seeds, int) else list(seeds) or size["seeds"]
    where = {name: "simulated" if name == "multisite" and not (Path(data) / name).is_dir() else data for name in names}
    corpora = {name: load_corpus(name, folder, size["n_patients"][name]) for name, folder in where.items()}
    return Harness(size, where, corpora, seeds, epochs, device)
