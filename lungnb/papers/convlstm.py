"""The Conv-LSTM paper as runs: one of four models, trained on SPRSound's train part, tested on inter and intra."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import nn

from lungnb.core import UserError
from lungnb.data.corpus import Corpus
from lungnb.data.splits import hold_out_events, hold_out_validation
from lungnb.data.sprsound import LABELS
from lungnb.features.augment import shift_and_mask
from lungnb.metrics.classification import biocas_scores, scores
from lungnb.papers.convlstm_maps import Padding, metadata_of, stacked_maps
from lungnb.papers.convlstm_model import N_CLASSES, Architecture, ConvLSTM, InputName
from lungnb.training import State, fit, make_accelerator
from lungnb.training.experiment import Run

EVAL_BATCH = 256
PARTS = ("train", "validation", "inter", "intra")
PROBABILITIES = [f"p{k}" for k in range(N_CLASSES)]
MODELS: list[Architecture] = ["CNN", "Upsampling CNN", "ConvLstm", "full"]


class ConvLSTMRun(Run):
    """One model. The defaults are our reading of the paper (docs/papers/convlstm.md, sections 2, 3, 4 and 8)."""

    architecture: Architecture = "full"
    size: InputName = "A"
    readout: Literal["all", "last"] = "all"
    hidden: int = 512
    dropout: float = 0.0

    #: What the epoch is selected on: a share of the train part, by whole patients, or event by event (perhaps as published).
    validation: Literal["patients", "events (leaky)"] = "patients"
    validation_tenths: int = 3
    selection: Literal["validation", "last"] = "validation"
    padding: Padding = "zero"
    #: z-scores with the mean and sd of a channel over the training events, of a row of a channel, or of the clip itself.
    normalisation: Literal["channel", "row", "clip"] = "channel"
    metadata: Literal["real", "shuffled", "zeroed"] = "real"
    class_weights: Literal["inverse", "inverse square root", "none"] = "inverse"
    augment: bool = False
    #: The finished run of another model whose convolutions are the start, or none.
    start: "ConvLSTMRun | None" = None

    epochs: int = 60
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    max_grad_norm: float = 1.0

    @property
    def name(self) -> str:
        return self.architecture

    def network(self) -> ConvLSTM:
        """The untrained network."""
        return ConvLSTM(self.architecture, self.size, self.readout, self.hidden, self.dropout)

    def trained(self) -> ConvLSTM:
        """The selected network of the finished run, in evaluation mode."""
        network = self.network()
        network.load_state_dict(self.state)
        return network.eval()

    def compute(self, checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]:
        corpus = self.load("sprsound")
        accelerator = make_accelerator(self.device, self.precision)
        given = inputs_of(self, corpus, accelerator.device)
        train, held = given.rows["train"], given.rows["validation"]
        torch.manual_seed(self.seed)
        network = self.network()
        if self.start is not None:
            prefix = "convolutions."
            known = {k.removeprefix(prefix): v for k, v in self.start.state.items() if k.startswith(prefix)}
            network.convolutions.load_state_dict(known)
        network.to(accelerator.device)
        criterion = nn.CrossEntropyLoss(class_weights(given.label[train], self.class_weights))

        def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            rows = train[items]
            maps = given.maps[rows].float()
            if self.augment:
                maps = shift_and_mask(maps, generator)
            return criterion(net(maps, given.metadata[rows]), given.label[rows])

        def evaluate(net: nn.Module) -> dict[str, float]:
            guess = log_probabilities(net, given, held).argmax(1)
            row = scores(given.label[held].cpu().numpy(), guess.numpy(), biocas_scores)
            return {f"val_{k}": v for k, v in row.items()}

        fitted = fit(
            network,
            loss_of,
            len(train),
            torch.optim.AdamW(network.parameters(), self.lr, weight_decay=self.weight_decay, fused=True),
            evaluate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            accelerator=accelerator,
            select={"validation": "val_Score"},
            rate=self._rate,
            max_grad_norm=self.max_grad_norm,
            checkpoint=checkpoint,
            checkpoint_every_s=300,
            task=self.name,
        )
        network.load_state_dict(fitted.states[self.selection])
        predictions = predict(network, given, corpus.events)
        facts = {
            "notes": given.notes,
            "epoch": fitted.epochs[self.selection],
            "n_events": {part: len(rows) for part, rows in given.rows.items()},
            "scores": {s: scores(g["label"], g["predicted"], biocas_scores) for s, g in predictions.groupby("subset")},
        }
        return fitted.history, predictions, fitted.states[self.selection], facts

    def _rate(self, epoch: int) -> float:
        return (1 + math.cos(math.pi * epoch / self.epochs)) / 2 if self.schedule == "cosine" else 1.0


@dataclass(frozen=True)
class Inputs:
    """All events of the corpus on the device: maps float16 (N, 3, rows, frames), z-scores; metadata (N, 3); label (N,).

    rows: for train, validation, inter and intra the events that belong to it.
    """

    maps: torch.Tensor
    metadata: torch.Tensor
    label: torch.Tensor
    rows: dict[str, torch.Tensor]
    notes: list[str]


def inputs_of(run: ConvLSTMRun, corpus: Corpus, device: torch.device | str = "cpu") -> Inputs:
    """What the networks of `run` see of `corpus`."""
    subset, notes = subsets_of(corpus, run.validation, run.validation_tenths)
    rows = {part: torch.from_numpy(np.flatnonzero(subset == part)).to(device) for part in PARTS}
    maps = torch.from_numpy(np.array(stacked_maps(corpus, run.size, run.padding, device))).to(device)
    label = torch.tensor(corpus.events["label"].map(LABELS.index).to_numpy(), device=device)
    metadata = metadata_of(corpus.events, run.metadata, run.seed).to(device)
    return Inputs(z_scores(maps, rows["train"], run.normalisation), metadata, label, rows, notes)


def subsets_of(corpus: Corpus, validation: str = "patients", tenths: int = 3) -> tuple[pd.Series, list[str]]:
    """train, validation, inter or intra for each event, and what is leaky about them.

    The official test parts stay as they are: all intra patients are in train too, by design of the challenge.
    """
    events, subset = corpus.events, corpus.events["split"].copy()
    train = events[subset == "train"]
    held = (
        hold_out_validation(train, seed=0, n_folds=10, n_held=tenths)
        if validation == "patients"
        else hold_out_events(train, tenths / 10)
    )
    subset[held.index[held]] = "validation"
    missing = [part for part in PARTS if not (subset == part).any()]
    if missing:
        raise UserError(f"{corpus.audio_root} leaves no event to {', '.join(missing)}; fetch the whole data set.")
    patients = {part: set(events.loc[subset == part, "patient"]) for part in PARTS}
    seen = patients["train"] | patients["validation"]
    notes = []
    if n := len(patients["intra"] & seen):
        notes.append(f"leaky test: {n} of the {len(patients['intra'])} intra patients are in train too, as published")
    if n := len(patients["inter"] & seen):
        notes.append(f"leaky test: {n} of the inter patients are in train too")
    if n := len(patients["train"] & patients["validation"]):
        notes.append(f"leaky validation: {n} patients stand in training and in validation, as published")
    return subset, notes


@torch.no_grad()
def z_scores(maps: torch.Tensor, train: torch.Tensor, form: str) -> torch.Tensor:
    """Maps (N, 3, rows, frames) minus mean over sd: of the channel or of each of its rows over `train`, or of the clip."""
    dims = {"channel": (0, 2, 3), "row": (0, 3), "clip": (2, 3)}[form]
    if form != "clip":
        total, square, n = 0, 0, 0
        for part in train.split(EVAL_BATCH):
            x = maps[part].double()
            n += x[:, 0, 0].numel() * (x.shape[2] if form == "channel" else 1)
            total, square = total + x.sum(dims, keepdim=True), square + x.square().sum(dims, keepdim=True)
        mean = total / n
        sd = (square / n - mean.square()).clamp(min=1e-6).sqrt()
    out = torch.empty_like(maps)
    for start in range(0, len(maps), EVAL_BATCH):
        x = maps[start : start + EVAL_BATCH].float()
        if form == "clip":
            sd, mean = torch.std_mean(x, dims, keepdim=True)
        out[start : start + EVAL_BATCH] = ((x - mean) / sd.clamp(min=1e-3)).half()
    return out


def class_weights(label: torch.Tensor, form: str) -> torch.Tensor:
    """Weights of the cross-entropy (section 4.1): N / (7 n_c), its square root, or 1; a class without events has weight 0."""
    count = torch.bincount(label, minlength=N_CLASSES)
    inverse = torch.where(count > 0, len(label) / (N_CLASSES * count.clamp(min=1)), 0.0)
    return {"inverse": inverse, "inverse square root": inverse.sqrt(), "none": torch.ones_like(inverse)}[form]


@torch.no_grad()
def log_probabilities(
    net: nn.Module, given: Inputs, rows: torch.Tensor, metadata: torch.Tensor | None = None
) -> torch.Tensor:
    """Log-probabilities (len(rows), 7) on the CPU; metadata: others than the run's own."""
    net.eval()
    metadata = given.metadata if metadata is None else metadata
    parts = [net(given.maps[part].float(), metadata[part]).float() for part in rows.split(EVAL_BATCH)]
    return torch.cat(parts).log_softmax(dim=1).cpu()


def predict(net: nn.Module, given: Inputs, events: pd.DataFrame, metadata: torch.Tensor | None = None) -> pd.DataFrame:
    """Predictions of all events but those trained on: event, recording, patient, subset, label, predicted, p0 to p6."""
    frames = []
    for part in ("validation", "inter", "intra"):
        rows = given.rows[part]
        p = log_probabilities(net, given, rows, metadata).exp().numpy()
        about = events.loc[rows.cpu().numpy(), ["recording", "patient"]].rename_axis("event").reset_index()
        about = about.assign(subset=part, label=given.label[rows].cpu().numpy(), predicted=p.argmax(axis=1))
        frames.append(about.join(pd.DataFrame(p, columns=PROBABILITIES)))
    return pd.concat(frames, ignore_index=True)
