"""Any classifier on any task, in one harness: the same parts, draws, optimizer, rule of selection, scores and costs for all.

What is the paper's stays the paper's: its front end and its network (`lungnb.models.classifiers`), and its tricks, each a field
that is off unless it is asked for. Everything else is ours and the same for everyone.
"""

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import pydantic
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from lungnb.clips import Padding
from lungnb.cost import multiply_adds, parameters
from lungnb.data.events import Corpus
from lungnb.data.load import load_corpus
from lungnb.data.tasks import Split, Task, parts_of, task_of
from lungnb.errors import UserError
from lungnb.evaluate import METRICS, metrics, tally
from lungnb.features import BlankRegionClipping
from lungnb.metrics import biocas_scores, scores
from lungnb.models.baselines import boosting, statistics
from lungnb.models.classifiers import FRONT_OF, Classifier, Model, Painted, Sizes, build
from lungnb.models.convlstm import INPUTS, Metadata
from lungnb.models.respirenet import Backbone, load_imagenet
from lungnb.runs.base import Run
from lungnb.runs.compare_inputs import Inputs, front_seconds, inputs_of
from lungnb.training import State, fit, make_accelerator

EVAL_BATCH = 64
#: A class is drawn in proportion to its count to this power: 1 as it comes, 0 all classes alike.
BALANCE = 0.5
#: Which part selects the epoch. A model without epochs has nothing to select, and both are the same.
RULES = {"validation": "validation", "test (leaky)": "test"}


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
            "scores": dict(zip(METRICS, metrics(tally(chosen))[0].tolist(), strict=True)),
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


def network_of(run: CompareRun, data: Data) -> Classifier | Painted:
    """The untrained network of `run`."""
    sizes = Sizes(
        n_classes=len(data.task.classes),
        n_sites=len(data.sites),
        backbone=run.backbone,
        zoom=run.zoom,
        clipping=run.clipping,
        hidden=run.hidden,
        dropout=run.dropout,
    )
    home = data.inputs[run.task]
    n_channels = home.rows.shape[1] * home.maps.shape[1]
    return build(run.model, sizes, n_channels, home.maps.shape[2])


#: Class probabilities (S, n_classes) of samples.
Predictor = Callable[[Inputs, torch.Tensor], np.ndarray]


def train_network(
    run: CompareRun, data: Data, checkpoint: Path
) -> tuple[pd.DataFrame, State, dict[str, Predictor], dict[str, Any]]:
    """History, the weights selected on validation, a predictor for each of RULES, and costs."""
    accelerator = make_accelerator(run.device, run.precision)
    given = data.inputs[run.task]
    train, label = given.samples("train"), given.label
    torch.manual_seed(run.seed)
    network = network_of(run, data)
    pretrained = load_imagenet(network.network, run.pretrained) if run.model == "RespireNet" else "from scratch"
    network.fit_statistics(given.batch(some) for some in train.split(EVAL_BATCH))
    network.to(accelerator.device)

    def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        some = train[items.cpu()]
        about = given.about[some].to(items.device)
        logits = net(given.batch(some).to(items.device), about, generator if run.augment else None)
        return nn.functional.cross_entropy(logits, label[some].to(items.device))

    def monitor(net: nn.Module) -> dict[str, float]:
        row = {}
        for part in RULES.values():
            frame = predictions(given, part, probabilities(net, given, given.samples(part)))
            row |= {f"{part}_{k}": v for k, v in scores(frame["label"], frame["predicted"], biocas_scores).items()}
            row[f"{part}_loss"] = log_loss(frame)
            # Of a few patients many epochs are equally right: then the surer one is better.
            row[f"{part}_choice"] = row[f"{part}_AS"] - 0.001 * row[f"{part}_loss"]
        return row

    fitted = fit(
        network,
        loss_of,
        run.draws or min(given.n_events, len(train)),
        torch.optim.AdamW(network.parameters(), run.lr, weight_decay=run.weight_decay, fused=True),
        monitor,
        epochs=run.epochs,
        batch_size=run.batch_size,
        seed=run.seed,
        accelerator=accelerator,
        select={rule: f"{part}_choice" for rule, part in RULES.items()},
        weights=class_draws(label[train]),
        rate=lambda epoch: (1 + math.cos(math.pi * epoch / run.epochs)) / 2,
        checkpoint=checkpoint,
        checkpoint_every_s=120,
        task=run.name,
    )

    def predictor(state: State) -> Predictor:
        def predict(inputs: Inputs, samples: torch.Tensor) -> np.ndarray:
            network.load_state_dict(state)
            return probabilities(network, inputs, samples)

        return predict

    costs = {
        "parameters": parameters(network),
        "multiply_adds": multiply_adds(network.cpu(), given.batch(train[:1]).cpu(), given.about[train[:1]]),
        "weights": pretrained,
        "epoch_of": fitted.epochs,
    }
    network.to(accelerator.device)
    return fitted.history, fitted.states["validation"], {r: predictor(fitted.states[r]) for r in RULES}, costs


def train_trees(
    run: CompareRun, data: Data, checkpoint: Path
) -> tuple[pd.DataFrame, State, dict[str, Predictor], dict[str, Any]]:
    """As `train_network`, for trees on statistics of the maps: they have no epochs, weights or multiply-adds."""
    given = data.inputs[run.task]
    train, label = given.samples("train"), given.label
    trees = boosting(run.seed)
    with threadpool_limits(torch.get_num_threads()):
        features, of = statistics(given.batch(train)), label[train]
        trees.fit(features, of.numpy(), sample_weight=class_draws(of).numpy())

    def predict(inputs: Inputs, samples: torch.Tensor) -> np.ndarray:
        p = np.zeros((len(samples), len(data.task.classes)))
        with threadpool_limits(torch.get_num_threads()):
            p[:, trees.classes_] = trees.predict_proba(statistics(inputs.batch(samples)))
        return p

    costs = {"parameters": None, "multiply_adds": None, "weights": "from scratch", "epoch_of": {}}
    return pd.DataFrame({"trees": [trees.n_iter_]}), {}, dict.fromkeys(RULES, predict), costs


def class_draws(label: torch.Tensor) -> torch.Tensor:
    """How often each sample (S,) is drawn: its class' count to the power BALANCE - 1, 1 on the mean."""
    weight = torch.bincount(label)[label].double() ** (BALANCE - 1)
    return weight / weight.mean()


@torch.no_grad()
def probabilities(net: nn.Module, given: Inputs, samples: torch.Tensor) -> np.ndarray:
    """Class probabilities (len(samples), n_classes) on the CPU."""
    net.eval()
    device = next(net.parameters()).device
    parts = samples.split(EVAL_BATCH)
    logits = [net(given.batch(some).to(device), given.about[some].to(device)).float().cpu() for some in parts]
    return torch.cat(logits).softmax(1).numpy()


def log_loss(frame: pd.DataFrame) -> float:
    """Mean -log p of the true class, p at least 1e-6."""
    p = frame[[c for c in frame if c[0] == "p" and c[1:].isdigit()]].to_numpy()
    return float(-np.log(p[np.arange(len(p)), frame["label"]].clip(1e-6)).mean())


def predictions(given: Inputs, part: str, p: np.ndarray) -> pd.DataFrame:
    """One row a unit of `part`: recording, patient, label, predicted, p0, p1, ...; p: of its samples, in their order.

    A unit's probability is the mean over its clips, for every model.
    """
    unit = given.unit[given.samples(part).numpy()]
    mean = pd.DataFrame(p, columns=[f"p{k}" for k in range(p.shape[1])]).groupby(unit).mean()
    about = given.units.loc[mean.index, ["recording", "patient", "label"]]
    about = about.assign(predicted=mean.to_numpy().argmax(1))
    return about.join(mean).rename_axis("unit").reset_index()
