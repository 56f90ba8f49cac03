"""Judges of generated sound that share nothing with what generates it: they hear waveforms, by front ends and networks of their
own, from seeds of their own.

The classifier behind the perceptual loss cannot judge what was trained to please it: measured in it, the distance of a
reconstruction to real sound was up to 2.9 times smaller than in a classifier of another seed. Judges are two networks and, as a
baseline that hears nothing, a tree that knows only how long a clip sounds.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
import torchaudio
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from lungnb.metrics.clips import TYPES
from lungnb.papers.lungldm.classifier import fit_classifier, in_batches
from lungnb.papers.lungldm.experiments import Computed, LungRun
from lungnb.papers.lungldm.frontend import Mels
from lungnb.training import make_accelerator

#: A frame of 20 ms sounds if it is at most so much fainter than the loudest of its clip, dB.
SOUNDS_DB = 30.0
_FRAME = 320


class ResidualJudge(nn.Module):
    """Waveforms (B, T) at 16 kHz -> logits (B, types): separable residual convolutions on a spectrogram of linear frequency.

    Spectrogram: 32 ms every 16 ms, to 4 kHz, in decibels, each clip standardised for itself. Last, mean and maximum over the map.
    """

    def __init__(self, n_types: int = len(TYPES), width: int = 32):
        super().__init__()
        self.spectrum = torchaudio.transforms.Spectrogram(512, hop_length=256)
        self.entry = nn.Conv2d(1, width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
                nn.Conv2d(width, width, 1),
            )
            for _ in range(4)
        )
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * width, n_types))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        x = self.entry(_standardised(self.spectrum(waveform)[:, :128].clamp(min=1e-10).log10())[:, None])
        for k, block in enumerate(self.blocks):
            x = x + block(x)
            x = nn.functional.avg_pool2d(x, 2) if k % 2 == 0 else x
        return self.head(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1))


class RecurrentJudge(nn.Module):
    """Waveforms (B, T) at 16 kHz -> logits (B, types): a GRU in both directions over log-mel bands; the mean and the
    greatest of its states.

    32 mel bands to 3 kHz, 48 ms every 16 ms; the clip is read frame by frame, so what it learns of is order in time.
    """

    def __init__(self, n_types: int = len(TYPES), width: int = 48):
        super().__init__()
        options = {"n_fft": 768, "hop_length": 256, "n_mels": 32, "f_max": 3000.0}
        self.mel = torchaudio.transforms.MelSpectrogram(16000, **options)
        self.entry = nn.Sequential(nn.Conv1d(32, width, 3, padding=1), nn.ReLU())
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(4 * width, n_types))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        x = self.entry(_standardised(self.mel(waveform).clamp(min=1e-10).log10()))
        states = self.gru(x.mT)[0]
        return self.head(torch.cat([states.mean(dim=1), states.amax(dim=1)], dim=1))


def _standardised(x: torch.Tensor) -> torch.Tensor:
    """(B, rows, frames), each clip at mean 0 and deviation 1, so that loudness says nothing."""
    return (x - x.mean(dim=(1, 2), keepdim=True)) / x.std(dim=(1, 2), keepdim=True).clamp(min=1e-6)


JUDGES = {"residual": ResidualJudge, "recurrent": RecurrentJudge}


class JudgeRun(LungRun):
    """A judge trained on the waveforms of the training patients; types are drawn equally often, and the last epoch counts, so
    that validation and test patients alike are new to it. The seed ought to be none of any other training."""

    network: Literal["residual", "recurrent"] = "residual"
    epochs: int = 12
    #: Clips of an epoch.
    draws: int = 2000
    batch_size: int = 32
    lr: float = 2e-3

    def waveforms(self, mels: Mels, rows: np.ndarray) -> torch.Tensor:
        """(N, T) float16 on the device."""
        parts = torch.from_numpy(rows).split(256)
        return torch.cat([mels.waveforms(part).half() for part in parts])

    def compute(self, checkpoint: Path) -> Computed:
        accelerator = make_accelerator(self.device, self.precision)
        mels = self.mels()
        types = type_indices(mels.sound)
        train, held_out = (np.flatnonzero(rows & (types >= 0)) for rows in (mels.part == "train", mels.part != "train"))
        waves, label = self.waveforms(mels, train).to(accelerator.device), torch.from_numpy(types[train])
        torch.manual_seed(self.seed)
        network = Halves(JUDGES[self.network]()).to(accelerator.device)
        label = label.to(accelerator.device)
        some = torch.arange(len(label), device=accelerator.device)
        few = some[:: max(1, len(some) // 256)]
        fitted = fit_classifier(
            network,
            (waves, some, label),
            (waves, few, label[few]),  # followed and not chosen by
            n_items=self.draws,
            **self.model_dump(include={"lr", "epochs", "batch_size", "seed"}),
            accelerator=accelerator,
            checkpoint=checkpoint,
            task=f"judge, {self.network}",
        )
        network.load_state_dict(fitted.states["last"])
        p = in_batches(network, self.waveforms(mels, held_out).to(accelerator.device)).softmax(dim=1).numpy()
        predictions = clip_table(mels, held_out).join(pd.DataFrame(p).add_prefix("p"))
        facts = mels.facts | {"train recall": fitted.history["val_recall"].iloc[-1]}
        return fitted.history, predictions, fitted.states["last"], facts

    def predict(self, waveforms: torch.Tensor) -> np.ndarray:
        """Probabilities (N, types) of waveforms (N, T) at 16 kHz."""
        network = Halves(JUDGES[self.network]())
        network.load_state_dict(self.state)
        with torch.inference_mode():
            return in_batches(network.eval(), waveforms).softmax(dim=1).numpy()


class Halves(nn.Module):
    """A judge of waveforms that are kept as float16; it hears each clip at its peak of 1."""

    def __init__(self, judge: nn.Module):
        super().__init__()
        self.judge = judge

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        waveform = waveform.float()
        return self.judge(waveform / waveform.abs().amax(dim=1, keepdim=True).clamp(min=1e-6))


def type_indices(sound: np.ndarray) -> np.ndarray:
    """Sound types (N,) as indices into TYPES, -1 for another."""
    return pd.Series(sound).map({name: k for k, name in enumerate(TYPES)}).fillna(-1).to_numpy(np.int64)


def clip_table(mels: Mels, rows: np.ndarray) -> pd.DataFrame:
    """The columns event, recording, patient, split and label of clips, as tables of predictions have them; label of TYPES."""
    events = mels.events.iloc[rows].reset_index(drop=True)
    columns = {"event": events["clip"], "recording": events["recording"], "patient": mels.patient[rows]}
    return pd.DataFrame(columns | {"split": mels.part[rows], "label": type_indices(events["sound"])})


def sounding_share(waveforms: np.ndarray) -> np.ndarray:
    """The share (N,) of the frames of waveforms (N, T) that sound: all that the judge "length alone" knows."""
    frames = np.asarray(waveforms, dtype=np.float64)[:, : np.shape(waveforms)[1] // _FRAME * _FRAME]
    level = 10 * np.log10(np.square(frames).reshape(len(frames), -1, _FRAME).mean(axis=2) + 1e-12)
    return (level >= level.max(axis=1, keepdims=True) - SOUNDS_DB).mean(axis=1)


def fit_length(share: np.ndarray, label: np.ndarray) -> DecisionTreeClassifier:
    """A tree of 12 leaves from the `sounding_share` (N,) to the type (N,), types weighing alike; its predict_proba has the types
    that occur in `label`."""
    return DecisionTreeClassifier(max_leaf_nodes=12, class_weight="balanced", random_state=0).fit(share[:, None], label)
