"""EPFL's paediatric models (section III): a small CNN of one position (MPO) or of all positions as channels (MPA).

What the paper leaves open, and which reading we took, is in docs/papers/pediatric.md. `sites` is everywhere a table of
probabilities of "case", patients by sites, NaN where a site was not recorded; every rule of aggregation uses the present ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch
import torchaudio
from sklearn.linear_model import LogisticRegression
from torch import nn

from lungnb.features import decibels

CHANNELS = (16, 32, 64, 128)
#: Of a recording with more crops than the first the authors' code draws the second number anew, in Porto Alegre only.
TOO_MANY, DRAWN = 20, 15
#: Spectrograms that are not normalised are given as (dB - mean) / sd with these, always the same: no statistics of the data,
#: and nothing that the first layer could not undo, but a start from which Adam finds its way in tens of epochs, not hundreds.
SCALE = {"stft": (-30.0, 25.0), "mel": (-40.0, 20.0), "mfcc": (0.0, 50.0)}


class CropSpectrogram(nn.Module):
    """Crops (B, T) at 22,050 Hz -> dB spectrograms (B, n_rows, 1 + T // 512), row 0 = lowest frequency.

    The three inputs (docs/papers/pediatric.md, section 2), as librosa makes them with n_fft 2048 and hop 512: "stft", the first
    150 bins, to 1,604 Hz, within 80 dB of the crop's maximum; "mel", the first 50 of 128 bands, in dB below the crop's maximum;
    "mfcc", 32 coefficients of all 128 bands. A crop of 5 s has 216 frames.
    """

    N_ROWS: ClassVar[dict[str, int]] = {"stft": 150, "mel": 50, "mfcc": 32}

    def __init__(self, kind: Literal["stft", "mel", "mfcc"] = "stft", sample_rate: int = 22050):
        super().__init__()
        self.kind, self.n_rows = kind, self.N_ROWS[kind]
        self.spectrum = torchaudio.transforms.Spectrogram(2048, hop_length=512, power=None, pad_mode="constant")
        bank = torchaudio.functional.melscale_fbanks(1025, 0.0, sample_rate / 2, 128, sample_rate, "slaney", "slaney")
        self.register_buffer("bank", bank)
        self.register_buffer("dct", torchaudio.functional.create_dct(32, 128, "ortho"))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        spectrum = self.spectrum(waveform).mT
        power = spectrum.real.square() + spectrum.imag.square()
        if self.kind == "stft":  # `decibels`, but of the rows that are kept: the logarithm is what takes the time
            loudest = power.amax(dim=(1, 2), keepdim=True).clamp(min=1e-10).log10().mul(10)
            db = power[:, :, : self.n_rows].clamp(min=1e-10).log10().mul(10)
            return db.maximum(loudest - 80.0).mT
        db = decibels(power @ self.bank, 80.0)
        if self.kind == "mel":
            return (db - db.amax(dim=(1, 2), keepdim=True))[:, :, : self.n_rows].mT
        return (db @ self.dct).mT


class SiteCNN(nn.Module):
    """Spectrograms (B, n_sites, 150, 216) -> logits (B, 2), index 1 = case.

    Four times: convolution 2x2 without padding, ReLU, max pooling by 2, dropout; then the mean over the map and one linear
    layer. 43,570 parameters for one site (MPO), 44,018 for eight sites as channels (MPA).
    """

    def __init__(self, n_sites: int = 1, dropout: float = 0.2, n_classes: int = 2):
        super().__init__()
        sizes = (n_sites, *CHANNELS)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 2) for a, b in pairwise(sizes))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(CHANNELS[-1], n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for convolution in self.convolutions:
            images = self.dropout(
                nn.functional.max_pool2d(convolution(images), 2).relu()
            )  # as ReLU first, with a quarter of it
        return self.head(images.mean(dim=(2, 3)))  # of 8 rows and 12 frames


class ByPosition(nn.Module):
    """MPO (PneumoNet, section III): one network a position. A clip of an unknown one gets the mean of all."""

    def __init__(self, networks: list[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, maps: torch.Tensor, about: torch.Tensor) -> torch.Tensor:
        position, parts, places = about[:, 2], [], []
        for k in position.unique().tolist():
            at = torch.nonzero(position == k).squeeze(1)
            asked = self.networks if k >= len(self.networks) else [self.networks[k]]
            parts.append(torch.stack([network(maps[at]) for network in asked]).mean(0))
            places.append(at)
        return torch.cat(parts)[torch.cat(places).argsort()]


def thin_crops(crops: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Of recordings of Porto Alegre (`cohort` POA...) with more than 20 crops 15 are drawn with replacement, as in the authors'
    code (docs/papers/pediatric.md, section 2). crops: one row each, columns recording, cohort."""
    many = crops.groupby("recording")["cohort"].transform("size") > TOO_MANY
    many = (crops["cohort"].str.startswith("POA") & many).fillna(False)
    drawn = crops[many].groupby("recording").sample(DRAWN, replace=True, random_state=seed)
    return pd.concat([crops[~many], drawn]).sort_index(kind="stable")


@dataclass(frozen=True)
class Samples:
    """What one network sees of the patients: rows (S, n_sites), the crop of each site, -1 where it is missing; patient (S,)."""

    rows: torch.Tensor
    patient: np.ndarray


def samples_of(table: pd.DataFrame, sites: Sequence[str], rng: np.random.Generator) -> Samples:
    """The samples of every patient in `table` who has a crop at one of `sites`.

    A patient has as many as the richest site has crops. Sample j takes crop j of each site and, where a site has fewer, any
    of its crops at random (section III-B). With one site these are its crops.
    """
    here = table[table["site"].isin(sites)]
    rows, patients = [], []
    for patient, own in here.groupby("patient", sort=False):
        of_site = own.groupby("site").indices
        n = max(len(k) for k in of_site.values())
        stack = np.full((n, len(sites)), -1)
        for column, site in enumerate(sites):
            if site in of_site:
                crops = own.index.to_numpy()[of_site[site]]
                stack[:, column] = np.concatenate([crops, rng.choice(crops, n - len(crops))])
        rows.append(stack)
        patients += [patient] * n
    return Samples(torch.from_numpy(np.concatenate(rows)), np.array(patients, dtype=object))


def steady_noise(features: torch.Tensor) -> torch.Tensor:
    """A control: each row (B, C, rows, frames) at its 10th percentile throughout the crop, so that nothing but noise is left."""
    return features.float().quantile(0.1, dim=3, keepdim=True).to(features.dtype).expand_as(features)


def change_content(features: torch.Tensor, content: str) -> torch.Tensor:
    """Decibels (B, C, rows, frames) up to 1,615 Hz with other contents, to see what a model needs.

    "background": `steady_noise`; and the two remedies that the paper tried (section II-C), for all of its recordings alike:
    "below 500 Hz", what is above is -30 dB throughout; "white noise", the mean power of noise of -30 dB is added everywhere.
    """
    if content == "background":
        return torch.cat([steady_noise(x) for x in features.split(128)])
    if content == "below 500 Hz":
        rows = torch.arange(features.shape[2], device=features.device) + 0.5
        return features.masked_fill((rows * 1615 / features.shape[2] > 500)[:, None], -30.0)
    return torch.cat([(10 * (10 ** (x.float() / 10) + 1e-3).log10()).to(x.dtype) for x in features.split(128)])


def minus_recording_mean(features: torch.Tensor, recording: np.ndarray) -> torch.Tensor:
    """Each row minus its mean over all crops of the recording (N,), which takes away how the channel colours it."""
    spectrum = torch.cat([x.float().mean(3) for x in features.split(128)])  # (N, C, rows)
    group = torch.from_numpy(pd.factorize(recording)[0]).to(features.device)
    total = spectrum.new_zeros(int(group.max()) + 1, *spectrum.shape[1:]).index_add_(0, group, spectrum)
    mean = (total / group.bincount()[:, None, None])[group, :, :, None]
    return torch.cat([(x.float() - m).half() for x, m in zip(features.split(128), mean.split(128), strict=True)])


def summarise_crops(crops: pd.DataFrame) -> pd.DataFrame:
    """Predictions of crops (patient, cohort, split, label, p0, p1) -> one row a patient and part of the split, in their order.

    p0, p1: means over the crops, of which there are `crops`. called: crops that are called a case. highest: p1 of the surest one.
    loss: mean of -log p of the patient's label. With these every number about crops that the paper prints can be computed.
    """
    p = crops[["p0", "p1"]].clip(1e-6).to_numpy()
    own = p[np.arange(len(p)), crops["label"]]
    groups = crops.assign(called=crops["p1"] > 0.5, highest=crops["p1"], loss=-np.log(own), crops=1).groupby(
        ["patient", "split"], sort=False, observed=True
    )
    how = dict.fromkeys(("cohort", "label"), "first") | dict.fromkeys(("p0", "p1", "loss"), "mean")
    return groups.agg(how | {"highest": "max", "crops": "sum", "called": "sum"}).reset_index()


def by_site(crops: pd.DataFrame, pool: str = "mean") -> pd.DataFrame:
    """Patients by sites: `pool` ("mean" or "max") over the crops (columns patient, site, p) of each."""
    return crops.pivot_table(index="patient", columns="site", values="p", aggfunc=pool, observed=True)


def simple_mean(sites: pd.DataFrame) -> pd.Series:
    """P_i = mean over the present sites of p_ik."""
    return sites.mean(axis=1)


def maximum(sites: pd.DataFrame) -> pd.Series:
    """P_i = the highest p_ik: one suspicious site is enough."""
    return sites.max(axis=1)


def inverse_loss(sites: pd.DataFrame, loss: pd.Series) -> pd.Series:
    """P_i = sum of w_k p_ik / sum of w_k with w_k = 1 / L_k; `loss` by site, measured on validation patients.

    The paper does not say on whom. Measured on the patients who are then scored, the weights would leak. Eight patients can
    all be right by luck: a loss counts as 0.001 at least, or that site alone would decide.
    """
    weight = (1 / loss.clip(lower=1e-3)).reindex(sites.columns)
    return (sites * weight).sum(axis=1) / sites.notna().mul(weight).sum(axis=1)


class Learned:
    """P_i by a logistic regression on the logits of all sites, the paper's "future work"; the classes weigh the same.

    A site that was not recorded stands at the mean of the patient's others. Fit it on patients whom the site models were not
    trained on, or it learns to trust the most overfitted site.
    """

    def __init__(self):
        self.regression = LogisticRegression(class_weight="balanced")

    def fit(self, sites: pd.DataFrame, case: pd.Series) -> "Learned":
        self.columns = sites.columns
        self.regression.fit(self._logits(sites), case.reindex(sites.index))
        return self

    def __call__(self, sites: pd.DataFrame) -> pd.Series:
        return pd.Series(self.regression.predict_proba(self._logits(sites))[:, 1], index=sites.index)

    def _logits(self, sites: pd.DataFrame) -> np.ndarray:
        p = sites.reindex(columns=self.columns).clip(1e-4, 1 - 1e-4)
        logits = np.log(p / (1 - p))
        return logits.T.fillna(logits.mean(axis=1)).T.to_numpy()
