"""RespireNet as runs: stage 1 on all devices, stage 2 fine-tuned on each device."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn

from lungnb.core import UserError
from lungnb.data.clips import Padding
from lungnb.features import BlankRegionClipping, MelImage
from lungnb.features.augment import augment
from lungnb.metrics.classification import scores
from lungnb.papers.respirenet_clips import (
    EVAL_BATCH,
    EvaluationClips,
    TrainingClips,
    bank_of,
    evaluation_clips,
    levels_of,
    split_events,
    training_clips,
)
from lungnb.papers.respirenet_model import Backbone, RespireNet, load_imagenet
from lungnb.training import Fitted, State, fit, make_accelerator
from lungnb.training.experiment import Run


class RespireNetRun(Run):
    """Stage 1. The defaults are the paper's where it says, else the released code's (docs/papers/respirenet.md,
    sections 2 to 5)."""

    split: Literal["official", "official_disjoint", "respirenet", "stratified"] = "respirenet"
    fold: int = 4
    leaky: str | None = None
    task: Literal["4-class", "2-class"] = "4-class"
    selection: Literal["validation", "last", "test"] = "validation"

    clip_s: float = 7.0
    highpass_hz: float | None = 50.0
    peak_normalise: bool = True
    padding: Padding = "smart"
    test_padding: Padding = "repeat"
    clipping: BlankRegionClipping = "none"
    zoom: int = 3
    augment: bool = True
    cba: bool = False
    same_class: bool = False

    backbone: Backbone = "resnet34"
    pretrained: str = "imagenet or scratch"
    dropout: float = 0.5
    loss_weights: Literal["none", "code"] = "none"
    epochs: int = 200
    #: "clips": an epoch draws as many clips as there are, as in the released code, so CBA also trains longer (about twice on
    #: ICBHI). "events": as many as there are events, so that all variants take the same number of steps.
    epoch_size: Literal["clips", "events"] = "clips"
    batch_size: int = 64
    lr: float = 1e-3
    schedule: Literal["constant", "linear"] = "constant"
    momentum: float = 0.9
    weight_decay: float = 0.0

    @property
    def n_classes(self) -> int:
        return 4 if self.task == "4-class" else 2

    @property
    def name(self) -> str:
        return " ".join(
            [self.split, self.task, *(["CBA"] if self.cba else []), *(["BRC"] if self.clipping != "none" else [])]
        )

    def classifier(self) -> "Classifier":
        """The untrained network with its front end; weights of a finished run: `load_state_dict(run.state)`."""
        net = RespireNet(self.n_classes, self.backbone, self.dropout)
        return Classifier(MelImage(self.clipping, self.zoom), net)

    def trained(self) -> "Classifier":
        """The selected model of the finished run, in evaluation mode."""
        model = self.classifier()
        model.load_state_dict(self.state)
        return model.eval()

    def compute(self, checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]:
        corpus = self.load("icbhi")
        sides = split_events(self, corpus)
        bank = bank_of(self, corpus)
        accelerator = make_accelerator(self.device, self.precision)
        torch.manual_seed(self.seed)
        model = self.classifier().to(accelerator.device)
        weights = load_imagenet(model.net, self.pretrained)
        train = training_clips(self, bank, sides.train, accelerator)
        model.front.fit_statistics(levels_of(model.front, train.clips))
        held = {"val": sides.validation, "test": sides.test if self.selection == "test" else None}
        monitored = {
            k: evaluation_clips(self, bank, e, model.front, accelerator) for k, e in held.items() if e is not None
        }
        fitted = fit_stage(self, model, train, monitored, accelerator, checkpoint, self.lr, self.epochs, task=self.name)
        test = evaluation_clips(self, bank, sides.test, model.front, accelerator)
        frames = []
        for rule, state in fitted.states.items():
            model.load_state_dict(state)
            frames.append(predict(model, test, sides.test).assign(rule=rule))
        notes = list(sides.notes)
        if self.selection == "test":
            notes.append("leaky selection: the rule 'test' picks its epoch on the test events")
        if self.test_padding == "smart":
            notes.append("leaky padding: test clips are padded by their own labels")
        facts = {
            "notes": notes,
            "weights": weights,
            "epoch_of": fitted.epochs,
            "n_train": len(sides.train),
            "n_validation": 0 if sides.validation is None else len(sides.validation),
            "n_test": len(sides.test),
            "scores": {r: scores(g["label"], g["predicted"]) for r, g in pd.concat(frames).groupby("rule")},
        }
        return fitted.history, pd.concat(frames, ignore_index=True), fitted.states[self.selection], facts


class DeviceFineTuning(Run):
    """Stage 2 (section II-A, "Device Specific Fine-tuning"): a copy of the stage-1 model trained on for each device.

    Stage-1 statistics stay frozen. A test event goes to the model of its device; a device with fewer than two classes to train
    on, or without test events, keeps the stage-1 model. Predictions hold the column `stage1` beside `predicted`.
    """

    base: RespireNetRun
    epochs: int = 50
    lr: float = 1e-4

    @property
    def rule(self) -> str:
        """Stage 2 has no validation part of its own for each device: it runs its full length, as in the paper."""
        return self.base.selection

    def compute(self, checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]:
        base, corpus = self.base, self.load("icbhi")
        sides, bank = split_events(base, corpus), bank_of(base, corpus)
        accelerator = make_accelerator(self.device, self.precision)
        before, stage1 = base.predictions.query("rule == @self.rule").set_index("event"), base.state
        after, histories, states, notes = before["predicted"].copy(), [], {}, list(base.notes)
        for device in sorted({*sides.train["device"].dropna(), *sides.test["device"].dropna()}):
            here, there = sides.train[sides.train["device"] == device], sides.test[sides.test["device"] == device]
            if there.empty or here["label"].nunique() < 2:
                notes.append(f"{device} keeps the stage-1 model ({len(here)} training and {len(there)} test events)")
                continue
            torch.manual_seed(self.seed)
            model = base.classifier().to(accelerator.device)
            model.load_state_dict(stage1)
            train = training_clips(base, bank, here, accelerator)
            path = checkpoint.with_name(f"checkpoint-{device}.pt")
            fitted = fit_stage(
                base, model, train, {}, accelerator, path, self.lr, self.epochs, task=f"{base.name} FT {device}"
            )
            model.load_state_dict(fitted.states["last"])
            test = evaluation_clips(base, bank, there, model.front, accelerator)
            after.update(predict(model, test, there).set_index("event")["predicted"])
            histories.append(fitted.history.assign(device=device))
            states |= {f"{device}.{k}": v for k, v in fitted.states["last"].items()}
            path.unlink(missing_ok=True)
        if not histories:
            raise UserError(
                f"No device can be fine-tuned: {'; '.join(notes)}; use a larger part of the data or leave stage 2."
            )
        predictions = before.assign(stage1=before["predicted"], predicted=after).reset_index()
        facts = {
            "notes": notes,
            "weights": base.result()["weights"],
            "scores": scores(predictions["label"], predictions["predicted"]),
        }
        return pd.concat(histories), predictions, states, facts


class Classifier(nn.Module):
    """Waveforms (B, T) or grey levels (B, 64, frames) -> logits (B, n_classes)."""

    def __init__(self, front: MelImage, net: RespireNet):
        super().__init__()
        self.front, self.net = front, net

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        return self.net(self.front.image(levels))


def fit_stage(
    run: RespireNetRun,
    model: Classifier,
    train: TrainingClips,
    monitored: dict[str, EvaluationClips],
    accelerator: Accelerator,
    checkpoint: Path,
    lr: float,
    epochs: int,
    task: str,
) -> Fitted:
    """SGD on class-balanced batches; the epoch of the best Score on each monitored part is kept."""
    abnormal = [0.3] * (run.n_classes - 1)
    class_weights = torch.tensor([0.1, *abnormal] if run.loss_weights == "code" else [1.0] * run.n_classes)
    criterion = nn.CrossEntropyLoss(class_weights.to(accelerator.device))

    def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        clips = train.clips[items].float() / 32767
        with torch.no_grad(), torch.autocast(clips.device.type, enabled=False):
            levels = model.front.levels(augment(clips, generator) if run.augment else clips)
        return criterion(net(levels), train.label[items])

    def evaluate(net: nn.Module) -> dict[str, float]:
        row = {}
        for part, clips in monitored.items():
            votes = vote(predict_clips(net, clips.levels), clips)
            row |= {f"{part}_{k}": v for k, v in scores(votes["label"], votes["predicted"]).items()}
        return row

    return fit(
        model,
        loss_of,
        len(train.clips) if run.epoch_size == "clips" else train.n_events,
        torch.optim.SGD(model.parameters(), lr, run.momentum, weight_decay=run.weight_decay),
        evaluate,
        epochs=epochs,
        batch_size=run.batch_size,
        seed=run.seed,
        accelerator=accelerator,
        select={{"val": "validation"}.get(part, part): f"{part}_Score" for part in monitored},
        weights=train.weights,
        rate=(lambda epoch: 1 - epoch / epochs) if run.schedule == "linear" else (lambda epoch: 1.0),
        checkpoint=checkpoint,
        task=task,
    )


@torch.no_grad()
def predict_clips(model: nn.Module, levels: torch.Tensor) -> torch.Tensor:
    """Class probabilities (N, n_classes) on the CPU."""
    model.eval()
    return torch.cat([model(part).float().softmax(dim=1).cpu() for part in levels.split(EVAL_BATCH)])


def vote(probability: torch.Tensor, clips: EvaluationClips) -> pd.DataFrame:
    """One row an event: the class most of its clips vote for, the lower index in a tie (released code), and mean p."""
    n = probability.shape[1]
    ballots = pd.DataFrame(torch.nn.functional.one_hot(probability.argmax(1), n).numpy()).groupby(clips.event).sum()
    mean = pd.DataFrame(probability.numpy(), columns=[f"p{k}" for k in range(n)]).groupby(clips.event).mean()
    label = pd.Series(clips.label.numpy()).groupby(clips.event).first()
    return mean.assign(label=label, predicted=np.argmax(ballots.to_numpy(), axis=1)).rename_axis("event")


def predict(model: nn.Module, clips: EvaluationClips, events: pd.DataFrame) -> pd.DataFrame:
    """Predictions of `events`: event, recording, patient, device, label and predicted (class indices), p0, p1, ..."""
    votes = vote(predict_clips(model, clips.levels), clips)
    return votes.join(events[["recording", "patient", "device"]]).reset_index()


def predictions_with(run: RespireNetRun, **changes: Any) -> pd.DataFrame:
    """Predictions of the finished run's model on test clips made with other settings, say test_padding="smart"."""
    changed = run.infra.clone_obj(changes)
    corpus = run.load("icbhi")
    events = split_events(run, corpus).test
    model = run.trained()
    clips = evaluation_clips(changed, bank_of(changed, corpus), events, model.front, make_accelerator("cpu"))
    return predict(model, clips, events)
