"""The trainings of the comparison (notebook 90): their choices stand here alone, so that each is asked for with the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungnb import configs
from lungnb.classification import Classification
from lungnb.core import UserError
from lungnb.data import load_corpus
from lungnb.data.corpus import Corpus
from lungnb.data.tasks import task_of


@dataclass(frozen=True)
class JoinedCorpora:
    """What a report has to say of several data sets in one table."""

    name: str
    origin_text: str
    fingerprint: str


@dataclass(frozen=True)
class Comparison:
    """size: of `configs/compare.yaml`. folders: each data set's folder, or "simulated". corpora: the data sets by name."""

    size: dict[str, Any]
    folders: dict[str, str]
    corpora: dict[str, Corpus]
    seeds: list[int]
    epochs: int
    device: str

    def experiment(self, task: str, model: str, **choices) -> Classification:
        """One training with the choices of the profile, then of the unit that is scored, then of the model, then `choices`.

        Raises UserError for a task without a label map, or of a data set that was not loaded.
        """
        name, unit = task_of(task).corpus, task_of(task).unit
        if name not in self.corpora:
            raise UserError(f"{task!r} is of {name}, which was not loaded; name it in load_comparison.")
        fields = self.size["run"] | (self.size["patients"] if unit == "patient" else {}) | self.size["models"][model]
        fields |= ({"epochs": self.epochs} if self.epochs else {}) | {"seed": self.seeds[0]} | choices
        place = {"data": self.folders[name], "n_patients": self.size["n_patients"][name], "device": self.device}
        return Classification(corpus=self.corpora[name].fingerprint, task=task, model=model, **place, **fields)

    def group(self, task: str, model: str, **choices) -> list[Classification]:
        """One training a seed."""
        return [self.experiment(task, model, seed=seed, **choices) for seed in self.seeds]

    def view(self, task: str) -> Corpus:
        """The data set of `task` as the task sees it."""
        return task_of(task).view(self.corpora[task_of(task).corpus])

    def joined(self, *names: str) -> JoinedCorpora:
        """The data sets `names` as one: real only if all are."""
        origins = {name: self.corpora[name].origin_text for name in names}
        kind = "simulated in part" if "simulated" in origins.values() else "real"
        text = f"{kind} ({'; '.join(f'{name}: {origin}' for name, origin in origins.items())})"
        text = text if len(set(origins.values())) > 1 else origins[names[0]]
        return JoinedCorpora(" + ".join(names), text, "+".join(self.corpora[name].fingerprint for name in names))

    @property
    def data(self) -> str:
        """What this build's data are, in one line."""
        parts = [
            f"{name}: {c.origin_text}, {c.events['patient'].nunique()} patients" for name, c in self.corpora.items()
        ]
        return "; ".join(parts)


def load_comparison(
    profile: str,
    data: str = "simulated",
    *,
    seeds: Sequence[int] | int = (),
    epochs: int = 0,
    device: str = "auto",
    names: Sequence[str] = ("icbhi", "sprsound", "multisite"),
) -> Comparison:
    """The comparison of a profile over the data sets `names`.

    data: "simulated", or a folder that holds `icbhi/` and `sprsound/`; multi-site cohorts, which nobody publishes, are simulated
    where it has no `multisite/`. seeds, epochs: empty or 0 for the profile's own.
    """
    size = configs.load("compare", profile)
    seeds = [seeds] if isinstance(seeds, int) else list(seeds) or size["seeds"]
    folders = {
        name: "simulated" if name == "multisite" and not (Path(data) / name).is_dir() else data for name in names
    }
    corpora = {name: load_corpus(name, folder, size["n_patients"][name]) for name, folder in folders.items()}
    return Comparison(size, folders, corpora, seeds, epochs, device)
