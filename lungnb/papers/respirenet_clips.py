"""RespireNet's way from events to clips on the device: sides of the split, padded clips, grey levels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from lungnb.data.audio import AudioBank, audio_bank
from lungnb.data.clips import ClipPlan, cut, plan_clips
from lungnb.data.corpus import Corpus
from lungnb.data.splits import hold_out_validation, make_split
from lungnb.features import MelImage

if TYPE_CHECKING:
    from lungnb.papers.respirenet import RespireNetRun

EVAL_BATCH = 128


@dataclass(frozen=True)
class Sides:
    """Events to train on, to select the epoch on (None: nothing is held out), and to test on."""

    train: pd.DataFrame
    validation: pd.DataFrame | None
    test: pd.DataFrame
    notes: list[str]


@dataclass(frozen=True)
class TrainingClips:
    """clips: int16 (N, T) on the device. label: (N,). weights: (N,), uniform over classes. n_events: before any joining."""

    clips: torch.Tensor
    label: torch.Tensor
    weights: torch.Tensor
    n_events: int


@dataclass(frozen=True)
class EvaluationClips:
    """levels: uint8 (N, 64, frames). event: (N,) row of the events table; a long event has several clips. label: (N,)."""

    levels: torch.Tensor
    event: np.ndarray
    label: torch.Tensor


def split_events(run: "RespireNetRun", corpus: Corpus) -> Sides:
    split = make_split(corpus, run.split, run.fold, run.leaky)
    train, test = (corpus.events[split.side == side] for side in ("train", "test"))
    if run.selection == "last":
        return Sides(train, None, test, split.notes)
    held = hold_out_validation(train, seed=0)
    return Sides(train[~held], train[held], test, split.notes)


def bank_of(run: "RespireNetRun", corpus: Corpus) -> AudioBank:
    return audio_bank(corpus, 4000, run.highpass_hz, run.peak_normalise)


def training_clips(
    run: "RespireNetRun", bank: AudioBank, events: pd.DataFrame, accelerator: Accelerator
) -> TrainingClips:
    """All clips of `events`, padded and joined once, as in the released code; what changes by epoch is the augmentation."""
    plan = plan_clips(bank, events, run.clip_s, run.padding, run.cba, run.same_class, random_side=True, seed=run.seed)
    clips, label = torch.from_numpy(cut(bank.samples, plan)), _class_index(run, plan)
    weights = 1 / torch.bincount(label, minlength=run.n_classes)[label].float()
    return TrainingClips(clips.to(accelerator.device), label.to(accelerator.device), weights, len(events))


def evaluation_clips(
    run: "RespireNetRun", bank: AudioBank, events: pd.DataFrame, front: MelImage, accelerator: Accelerator
) -> EvaluationClips:
    """Clips of `events`, padded without a coin, as grey levels: they never change, so they are computed once."""
    plan = plan_clips(bank, events, run.clip_s, run.test_padding)
    clips = torch.from_numpy(cut(bank.samples, plan)).to(accelerator.device)
    levels = torch.cat(list(levels_of(front, clips)))
    return EvaluationClips(levels, events.index.to_numpy()[plan.event], _class_index(run, plan))


def _class_index(run: "RespireNetRun", plan: ClipPlan) -> torch.Tensor:
    return torch.from_numpy(plan.label).clamp(max=run.n_classes - 1)


def levels_of(front: MelImage, clips: torch.Tensor) -> Iterator[torch.Tensor]:
    """Grey levels of int16 clips, batch by batch."""
    return (front.levels(part.float() / 32767) for part in clips.split(EVAL_BATCH))
