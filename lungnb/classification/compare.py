"""Any classifier on any task, in one harness: the same parts, draws, optimizer, rule of selection, scores and costs for all.

What is the paper's stays the paper's: its front end and its network (`lungnb.classification.networks`), and its tricks, each a field
that is off unless it is asked for. Everything else is ours and the same for everyone.
"""

import functools
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
import pydantic
import torch

from lungnb.classification.compare_inputs import Inputs, front_seconds, inputs_of
from lungnb.classification.compare_train import RULES, network_of, predictions, train_network, train_trees
from lungnb.classification.networks import FRONT_OF, Classifier, Model, Painted
from lungnb.core import UserError
from lungnb.data.clips import Padding
from lungnb.data.corpus import Corpus
from lungnb.data.load import load_corpus
from lungnb.data.tasks import Split, Task, parts_of, task_of
from lungnb.features import BlankRegionClipping
from lungnb.metrics.classification import table_scores
from lungnb.papers.convlstm_model import INPUTS, Metadata
from lungnb.papers.respirenet_model import Backbone
from lungnb.training import State
from lungnb.training.experiment import Run


class CompareRun(Run):
    """One model on one task. `corpus` is the fingerprint of the task's data set."""

    _small: ClassVar[bool] = True

    task: str
    model: Model
    fold: int = 0
    split: Split = "patients"
    #: Other tasks with the same classes, and the fingerprints of their data sets: their test part is predicted as well.
    transfer: dict[str, str] = pydantic.Field(default_factory=dict)

    #: RespireNet's tricks: how training sounds are padded, whether sounds of a class are joined, and blank region clipping,
    #: which is a part of its own picture and of no other model's.
    padding: Padding = "repeat"
    cba: bool = False
    clipping: BlankRegionClipping = "none"
    #: The Conv-LSTM's trick, of its full model alone.
    metadata: Literal["real", "shuffled", "zeroed"] = "real"
    augment: bool = True

    clip_s: float = 3.0
    pooling: tuple[int, int] = (1, 1)
    backbone: Backbone = "resnet34"
    pretrained: str = "imagenet or scratch"
    zoom: int = 3
    hidden: int = 512
    dropout: float = 0.2

    epochs: int = 30
    #: Sounds drawn an epoch, so that data sets of different size get the same training; 0: as many as there are.
    draws: int = 0
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-2

    @property
    def name(self) -> str:
        return f"{self.model}, {self.task}"

    def compute(self, checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]:
        data = data_of(self)
        train = train_trees if self.model == "boosting" else train_network
        started = time.perf_counter()
        history, state, predictors, costs = train(self, data, checkpoint)
        seconds = time.perf_counter() - started
        frames = []
        for rule in RULES:
            for name, given in data.inputs.items():
                p = predictors[rule](given, given.samples("test"))
                frames.append(predictions(given, "test", p).assign(tested=name, rule=rule))
        predicted = pd.concat(frames, ignore_index=True)
        home = data.inputs[self.task]
        started = time.perf_counter()
        timed = home.samples("test")[:64]
        predictors["validation"](home, timed)
        per_clip = (time.perf_counter() - started) / len(timed)
        per_clip += (
            front_seconds(data.corpus, data.task, FRONT_OF[self.model], self.clip_s, self.pooling) * home.rows.shape[1]
        )
        chosen = predicted[(predicted["rule"] == "validation") & (predicted["tested"] == self.task)]
        facts = costs | {
            "notes": data.notes,
            "units": home.units["part"].value_counts().to_dict(),
            "patients": home.units.groupby("part")["patient"].nunique().to_dict(),
            "training_seconds": round(seconds, 2),
            "clips_per_second": round(1 / per_clip, 1),
            "scores": table_scores(chosen),
        }
        return history, predicted, state, facts

    def tested(self, task: str = "", rule: str = "validation") -> pd.DataFrame:
        """Predictions for the test part of `task` (its own if not said) by the epoch that `rule` selects."""
        frame = self.predictions
        return frame[(frame["tested"] == (task or self.task)) & (frame["rule"] == rule)].reset_index(drop=True)

    def trained(self) -> Classifier | Painted:
        """The selected network of the finished run, in evaluation mode. Raises UserError for trees, which are none."""
        if self.model == "boosting":
            raise UserError("Boosted trees are no network and are not stored; choose another model.")
        network = network_of(self, data_of(self))
        network.load_state_dict(self.state)
        return network.eval()


@dataclass(frozen=True)
class Data:
    """What a run is made of: its task and corpus as the task sees it, sites in order, and inputs by name of the task."""

    task: Task
    corpus: Corpus
    sites: list[str]
    inputs: dict[str, Inputs]
    notes: list[str]


def data_of(run: CompareRun) -> Data:
    """The inputs of `run`, for its task and those it is tested on besides. Raises UserError where a choice fits no such model."""
    task = task_of(run.task)
    _check(run, task)
    corpus = task.view(_corpus(run, task, run.corpus))
    part, notes = parts_of(task, corpus, run.fold, run.split)
    sites = sorted(corpus.events["position"].dropna().unique().tolist())
    choices = {"pooling": run.pooling, "stacked_sites": run.model == "MPA", "seed": run.seed}
    front = FRONT_OF[run.model]
    inputs = {
        task.name: inputs_of(task, corpus, part, front, run.clip_s, sites, padding=run.padding, cba=run.cba, **choices)
    }
    for name, fingerprint in run.transfer.items():
        other = task_of(name)
        abroad = other.view(_corpus(run, other, fingerprint))
        there, _ = parts_of(other, abroad, run.fold)
        inputs[name] = inputs_of(other, abroad, there.where(there == "test"), front, run.clip_s, sites, **choices)
    if run.metadata != "real":
        inputs = {name: _told(given, run.metadata, len(sites), run.seed) for name, given in inputs.items()}
    return Data(task, corpus, sites, inputs, notes)


def _check(run: CompareRun, task: Task) -> None:
    if run.model == "MPA" and task.unit == "event":
        raise UserError(
            "MPA hears all sites of a patient at once, and an event is at one; choose MPO, or a task whose unit is a patient."
        )
    if run.model == "MPA" and run.transfer:
        raise UserError("MPA has one channel for each site of its own data set; choose another model for a transfer.")
    if FRONT_OF[run.model] == "stacked" and run.clip_s != INPUTS["A"].seconds:
        raise UserError(
            f"The Conv-LSTM's networks take clips of {INPUTS['A'].seconds:g} s, not of {run.clip_s:g} s; set clip_s."
        )
    if run.clipping != "none" and run.model != "RespireNet":
        raise UserError(
            f"Blank region clipping is part of RespireNet's picture; {run.model!r} has another: leave it out."
        )
    if run.metadata != "real" and run.model != "full":
        raise UserError(f"Only the model 'full' embeds metadata; {run.model!r} hears the sound alone: leave it out.")
    for name in run.transfer:
        if task_of(name).classes != task.classes:
            raise UserError(f"{task.name!r} and {name!r} do not share their classes; choose tasks that do.")


#: Read once a process: checking hundreds of files takes as long as a short training.
_loaded = functools.lru_cache(maxsize=4)(load_corpus)


def _corpus(run: CompareRun, task: Task, fingerprint: str) -> Corpus:
    """The data set of `task`. Raises UserError if it is not the one that the run was made for."""
    corpus = _loaded(task.corpus, run.data, run.n_patients)
    if corpus.fingerprint != fingerprint:
        raise UserError(
            f"{corpus.audio_root} has changed since this run was set up (fingerprint {corpus.fingerprint}, not "
            f"{fingerprint}); make the run again from the corpus as it is now."
        )
    return corpus


def _told(given: Inputs, form: str, n_sites: int, seed: int) -> Inputs:
    """`given` with the metadata of other samples ("shuffled"), or with those that stand for the unknown ("zeroed")."""
    if form == "zeroed":
        unknown = torch.tensor([Metadata.N_AGES, Metadata.N_SEXES, n_sites])
        return replace(given, about=unknown.expand_as(given.about))
    order = torch.randperm(len(given.about), generator=torch.Generator().manual_seed(seed))
    return replace(given, about=given.about[order])
