"""The paediatric paper as runs: one CNN of one site (MPO trains one for each) or of all sites as channels (MPA).

Which of the two a run is follows from its `sites`; removing a site (Fig. 6) is naming the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import f1_score
from torch import nn

from lungnb.core import UserError
from lungnb.data.corpus import Corpus
from lungnb.data.splits import hold_out_validation, patient_folds
from lungnb.data.sprsound import sprsound_view
from lungnb.papers.pediatric_crops import Crops, Front, Images, images_of, samples_of
from lungnb.papers.pediatric_model import SiteCNN
from lungnb.training import State, fit, make_accelerator
from lungnb.training.experiment import Run

EVAL_BATCH = 128
ROLES = ("train", "validation", "test")
#: What each task calls a case. A patient of another diagnosis is not in the task.
TASKS = {
    "case": {"control": 0, "pneumonia": 1, "bronchiolitis": 1, "asthma": 1, "normal": 0, "adventitious": 1},
    "pneumonia": {"bronchiolitis": 0, "pneumonia": 1},
}


#: Pictures that are not normalised are given as (dB - mean) / sd with these, always the same: no statistics of the data, and
#: nothing that the first layer could not undo, but a start from which Adam finds its way in tens of epochs, not hundreds.
SCALE = {"stft": (-30.0, 25.0), "mel": (-40.0, 20.0), "mfcc": (0.0, 50.0)}


class PediatricRun(Run):
    """One CNN. The defaults are our reading of the paper (docs/papers/pediatric.md, sections 2, 3 and 7)."""

    _small: ClassVar[bool] = True

    #: Simulated or a clinic's own cohorts, or the sites p1 to p4 of SPRSound.
    data_set: Literal["multisite", "sprsound"] = "multisite"
    #: One site: a model of MPO. Several: MPA, with one channel for each.
    sites: tuple[str, ...]
    #: The cohort to train on, or the beginning of several names (POA: all its batches). Everyone else is tested.
    cohort: str = "GVA"
    #: Of `n_folds` of the cohort's patients this one is tested, and nobody else; none: the other cohorts are.
    fold: int | None = None
    n_folds: int = 10
    task: Literal["case", "pneumonia"] = "case"
    #: The finished run whose weights are the start (transfer), or none.
    start: "PediatricRun | None" = None

    front: Front = "stft"
    crops: Crops = "paper"
    #: "recording": each row minus its mean over the recording, which takes away how the channel colours it.
    normalisation: Literal["none", "sample", "feature", "recording"] = "none"
    #: "background": each row at its 10th percentile throughout the crop, so that nothing is left but steady noise.
    content: Literal["all", "background"] = "all"
    missing: Literal["zero", "mean", "mask"] = "zero"
    dropout: float = 0.2
    pooling: tuple[int, int] = (1, 1)

    epochs: int = 200
    patience: int = 10
    batch_size: int = 32
    lr: float = 1e-3

    @property
    def name(self) -> str:
        return f"MPO, site {self.sites[0]}" if len(self.sites) == 1 else "MPA"

    def network(self) -> SiteCNN:
        """The untrained network."""
        return SiteCNN(len(self.sites) * (2 if self.missing == "mask" else 1), self.dropout)

    def trained(self) -> SiteCNN:
        """The selected network of the finished run, in evaluation mode."""
        network = self.network()
        network.load_state_dict(self.state)
        return network.eval()

    def compute(self, checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]:
        accelerator = make_accelerator(self.device, self.precision)
        corpus = corpus_of(self)
        given = inputs_of(self, corpus, accelerator.device)
        train, held = (torch.from_numpy(np.flatnonzero(given.role == role)) for role in ("train", "validation"))
        torch.manual_seed(self.seed)
        network = self.network()
        if self.start is not None:
            network.load_state_dict(self.start.state)
        network.to(accelerator.device, memory_format=torch.channels_last)

        def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            samples = train[items.cpu()]
            return nn.functional.cross_entropy(net(given.batch(samples)), given.label[samples].to(items.device))

        def evaluate(net: nn.Module) -> dict[str, float]:
            logits, label = logits_of(net, given, held), given.label[held]
            guess = logits.argmax(1)
            return {
                "val_loss": nn.functional.cross_entropy(logits, label).item(),
                "val_accuracy": (guess == label).float().mean().item(),
                "val_F1": float(f1_score(label, guess, average="macro")),
            }

        fitted = fit(
            network,
            loss_of,
            len(train),
            torch.optim.Adam(network.parameters(), self.lr, fused=True),
            evaluate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            accelerator=accelerator,
            select={"validation": "-val_loss"},
            patience=self.patience,
            checkpoint=checkpoint,
            checkpoint_every_s=120,
            task=self.name,
        )
        network.load_state_dict(fitted.states["validation"])
        best = fitted.history.iloc[fitted.epochs["validation"]]
        patients = pd.DataFrame({"patient": given.patient, "role": given.role}).drop_duplicates()["role"].value_counts()
        facts = {
            "notes": [],
            "epoch": fitted.epochs["validation"],
            "n_epochs": len(fitted.history),
            "n_patients": {role: int(patients.get(role, 0)) for role in ROLES},
            **{name: float(best[name]) for name in ("val_loss", "val_accuracy", "val_F1")},
        }
        return fitted.history, predict(network, given), fitted.states["validation"], facts


def corpus_of(run: PediatricRun) -> Corpus:
    """The recordings of `run`: the cohorts, or SPRSound's view without its intra part, whose patients are trained on."""
    if run.data_set == "multisite":
        return run.load("multisite")
    corpus = run.load("sprsound")
    return sprsound_view(corpus.select(corpus.events["split"] != "intra"))


def roles_of(run: PediatricRun, corpus: Corpus) -> pd.Series:
    """train, validation or test for each patient of the task.

    Without `fold` the patients of all other cohorts are tested; with it those of this fold of the cohort. Of the rest of
    the cohort 1 in 9 patients selects the epoch (the paper: 9 of 78), the others are trained on. For pneumonia against
    bronchiolitis as many patients of the more frequent one are drawn (section III-C), always the same. Raises UserError for
    a cohort without both kinds of patient.
    """
    people = corpus.events.drop_duplicates("patient").set_index("patient", drop=False)
    case = people["label"].map(TASKS[run.task])
    people, case = people[case.notna()], case.dropna().astype(int)
    if run.data_set == "multisite":
        of_cohort = people["split"].str.startswith(run.cohort)
    else:
        of_cohort = (people["split"] == "train") | (run.fold is not None)
    own = people[of_cohort].assign(label=case.astype("string"), device=pd.NA)
    if own["label"].nunique() < 2:
        found = ", ".join(sorted(corpus.events["split"].unique()))
        raise UserError(
            f"The cohort {run.cohort!r} does not hold both kinds of patient, so nothing can be trained on it (cohorts here: "
            f"{found}); name another."
        )
    if run.task == "pneumonia":
        own = own.groupby("label").sample(own["label"].value_counts().min(), random_state=0)
    if run.fold is None:
        tested = people.index[~of_cohort]
    else:
        members = corpus.select(corpus.events["patient"].isin(own.index))
        here = patient_folds(members, run.n_folds, seed=0) == run.fold
        tested = pd.Index(members.events.loc[here, "patient"].unique())
        own = own.drop(tested)
    fewest = own["label"].value_counts().min()
    if fewest < 2:
        raise UserError(
            f"The cohort {run.cohort!r} has one case or one control to train on, and none to select the epoch with; use more "
            "patients or fewer folds."
        )
    held = hold_out_validation(own, seed=0, n_folds=min(9, fewest))
    return pd.concat([held.map({True: "validation", False: "train"}), pd.Series("test", index=tested)])


@dataclass(frozen=True)
class Inputs:
    """The samples of a run: rows (S, n_sites) of `images`, whose last n_sites stand for missing sites; label, patient, role
    and cohort (S,)."""

    images: torch.Tensor
    rows: torch.Tensor
    label: torch.Tensor
    patient: np.ndarray
    role: np.ndarray
    cohort: np.ndarray
    sites: tuple[str, ...]
    mask: bool

    def batch(self, samples: torch.Tensor, order: Sequence[int] | None = None) -> torch.Tensor:
        """The stacks (B, n_sites, rows, frames) of `samples`; with mask, as many channels of 1 (recorded) and 0 follow.

        order: the sites stand in another order (a control: does the model know which is which?).
        """
        rows = self.rows[samples].to(self.images.device)
        stack = self.images[rows if order is None else rows[:, order]].float()
        if self.mask:
            there = (rows < len(self.images) - len(self.sites)).float()
            stack = torch.cat([stack, there[:, :, None, None].expand_as(stack)], dim=1)
        return stack.contiguous(memory_format=torch.channels_last)


def inputs_of(run: PediatricRun, corpus: Corpus, device: torch.device | str = "cpu") -> Inputs:
    """What the network of `run` sees of `corpus`. Raises UserError if a role has no patient with a crop at these sites."""
    given = images_of(corpus, run.front, run.crops, run.pooling, device)
    role_of = roles_of(run, corpus)
    samples = samples_of(
        given.table[given.table["patient"].isin(role_of.index)], run.sites, np.random.default_rng(run.seed)
    )
    about = given.table.drop_duplicates("patient").set_index("patient").loc[samples.patient]
    role = role_of[samples.patient].to_numpy()
    for needed in ("train", "validation"):
        if not (role == needed).any():
            raise UserError(
                f"No patient of {run.cohort} for {needed} has a recording of 5 s at {', '.join(run.sites)}; use more patients."
            )
    trained_on = np.unique(samples.rows[torch.from_numpy(role == "train")])
    images = normalised(given, run, torch.from_numpy(trained_on[trained_on >= 0]))
    blank = blanks(images, given.table["site"], run, trained_on[trained_on >= 0])
    column = torch.arange(len(run.sites)).expand_as(samples.rows)
    return Inputs(
        images=torch.cat([images, blank]),
        rows=torch.where(samples.rows < 0, len(images) + column, samples.rows),
        label=torch.tensor(about["label"].map(TASKS[run.task]).to_numpy(int)),
        patient=samples.patient,
        role=role,
        cohort=about["cohort"].to_numpy(object),
        sites=run.sites,
        mask=run.missing == "mask",
    )


@torch.no_grad()
def normalised(given: Images, run: PediatricRun, train: torch.Tensor) -> torch.Tensor:
    """The images as the network gets them, float16 (N, rows, frames); train: those that statistics may be taken of."""
    images, (mean, sd) = given.images, SCALE[run.front]
    if run.content == "background":
        quiet = torch.cat([x.float().quantile(0.1, dim=2, keepdim=True) for x in images.split(EVAL_BATCH)])
        images = quiet.half().expand_as(images)
    if run.normalisation == "feature":
        rows = images[train.to(images.device)].float()
        mean, sd = rows.mean((0, 2))[:, None], rows.std((0, 2)).clamp(min=1e-3)[:, None]
    if run.normalisation == "recording":
        spectrum = torch.cat([x.float().mean(2) for x in images.split(EVAL_BATCH)])  # of each crop
        recording = torch.from_numpy(given.table["recording"].factorize()[0]).to(images.device)
        total = spectrum.new_zeros(int(recording.max()) + 1, spectrum.shape[1]).index_add_(0, recording, spectrum)
        mean = (total / recording.bincount()[:, None])[recording, :, None]
    out = torch.empty_like(images)
    for start in range(0, len(images), EVAL_BATCH):
        part = slice(start, start + EVAL_BATCH)
        x = images[part].float()
        if run.normalisation == "sample":
            sd, mean = torch.std_mean(x, (1, 2), keepdim=True)
        here = mean[part] if run.normalisation == "recording" else mean
        out[part] = ((x - here) / sd).half()
    return out


def blanks(images: torch.Tensor, site: pd.Series, run: PediatricRun, train: np.ndarray) -> torch.Tensor:
    """What stands for a missing site (n_sites, rows, frames): 0 (in dB, as in the paper, unless the pictures are normalised:
    much louder than silence), or the site's mean over the training crops."""
    mean, sd = SCALE[run.front]
    zero = -mean / sd if run.normalisation == "none" else 0.0
    blank = images.new_full((len(run.sites), *images.shape[1:]), zero)
    if run.missing == "mean":
        for k, name in enumerate(run.sites):
            rows = train[site.to_numpy()[train] == name]
            if len(rows):
                blank[k] = images[torch.from_numpy(rows).to(images.device)].float().mean(0).half()
    return blank


@torch.no_grad()
def logits_of(net: nn.Module, given: Inputs, samples: torch.Tensor, order: Sequence[int] | None = None) -> torch.Tensor:
    """Logits (len(samples), 2) on the CPU."""
    net.eval()
    return torch.cat([net(given.batch(part, order)).float().cpu() for part in samples.split(EVAL_BATCH)])


def predict(net: nn.Module, given: Inputs, order: Sequence[int] | None = None) -> pd.DataFrame:
    """One row a sample: patient, cohort, role, label (1: case), p (of case); for one site also the site."""
    p = logits_of(net, given, torch.arange(len(given.rows)), order).softmax(1)[:, 1]
    frame = pd.DataFrame(
        {
            "patient": given.patient,
            "cohort": given.cohort,
            "role": given.role,
            "label": given.label.numpy(),
            "p": p.numpy(),
        }
    )
    return frame.assign(site=given.sites[0]) if len(given.sites) == 1 else frame


@torch.no_grad()
def dropout_passes(net: nn.Module, given: Inputs, n_passes: int = 20, seed: int = 0) -> pd.DataFrame:
    """Monte Carlo dropout (Fig. 8): patients by mean and sd over `n_passes` of p(case) with dropout on.

    A patient's samples are averaged first (docs/papers/pediatric.md, section 3.6), so that sd is the model's doubt and
    not the crops' variety.
    """
    torch.manual_seed(seed)
    net.eval()
    net.dropout.train()
    passes, everyone = [], torch.arange(len(given.rows))
    for _ in range(n_passes):
        p = torch.cat([net(given.batch(part)).softmax(1)[:, 1].cpu() for part in everyone.split(EVAL_BATCH)])
        passes.append(pd.Series(p.numpy()).groupby(given.patient).mean())
    net.eval()
    passes = pd.concat(passes, axis=1)
    about = pd.DataFrame({"patient": given.patient, "cohort": given.cohort, "label": given.label.numpy()})
    about = about.drop_duplicates().set_index("patient")
    return about.assign(mean=passes.mean(axis=1), sd=passes.std(axis=1))
