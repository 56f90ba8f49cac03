"""The paediatric paper's way from recordings to network inputs: crops as views on the bank, images of them, samples of patients.

Images are made once, in batches on the device, and held as float16 (65 kB a crop of 150 x 216); stacks of sites are never
stored: a sample is a row of indices, and a batch is gathered by them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
import torchaudio
from torch import nn

from lungnb.data.audio import audio_bank
from lungnb.data.clips import CROP_S, crop_table
from lungnb.data.corpus import Corpus
from lungnb.features import CropSpectrogram

Front = Literal["stft", "mel", "mfcc"]
Crops = Literal["paper", "clean"]

SAMPLE_RATE = 22050
#: Recordings are kept at the rate they came in (SPRSound: 8 kHz), so that the cache stays as small as they are.
BANK_RATE = {"multisite": SAMPLE_RATE, "sprsound-sites": 8000}
#: Crops a pass. On a CPU memory for more is asked for anew each time, which costs more than the transform.
BATCH = {"cpu": 2, "cuda": 256}
#: Of a recording with more crops than the first the authors' code draws the second number anew, in Porto Alegre only.
TOO_MANY, DRAWN = 20, 15


@dataclass(frozen=True)
class Images:
    """table: one row a crop (patient, cohort, site, label, recording, start_s). images: float16 (N, rows, frames), dB."""

    table: pd.DataFrame
    images: torch.Tensor


@dataclass(frozen=True)
class Samples:
    """What one model sees of the patients: rows (S, n_sites), the image of each site, -1 where it is missing; patient (S,)."""

    rows: torch.Tensor
    patient: np.ndarray


def cropped(corpus: Corpus, form: Crops = "paper", seed: int = 0) -> pd.DataFrame:
    """The crops of all recordings: recording, start_s, patient, cohort, site, label.

    "paper": in both directions, and 15 drawn with replacement of a recording of Porto Alegre that has more than 20 (fact
    sheet, 2). "clean": forward only, all of them.
    """
    crops = crop_table(corpus, direction=form)
    about = corpus.events.set_index("recording")[["patient", "split", "position", "label", "diagnosis"]]
    crops = crops.join(about, on="recording").rename(columns={"split": "cohort", "position": "site"})
    if form == "paper":
        many = crops["cohort"].str.startswith("POA") & (
            crops.groupby("recording")["start_s"].transform("size") > TOO_MANY
        )
        drawn = crops[many].groupby("recording").sample(DRAWN, replace=True, random_state=seed)
        crops = pd.concat([crops[~many], drawn]).sort_index(kind="stable")
    return crops.drop(columns="end_s").reset_index(drop=True)


_KEPT: dict[tuple, Images] = {}  # the last three, for the runs of one process that differ in what follows


def images_of(
    corpus: Corpus,
    front: Front = "stft",
    crops: Crops = "paper",
    pooling: tuple[int, int] = (1, 1),
    device: str = "cpu",
) -> Images:
    """The images of all crops of `corpus`.

    pooling: rows and frames of which the mean is taken (small profiles); mel and MFCC have so few rows that all stay.
    """
    key = (corpus.name, corpus.fingerprint, len(corpus.events), front, crops, tuple(pooling), str(device))
    if key not in _KEPT:
        while len(_KEPT) > 2:
            _KEPT.pop(next(iter(_KEPT)))
        _KEPT[key] = compute_images(corpus, front, crops, pooling, device)
    return _KEPT[key]


@torch.inference_mode()
def compute_images(corpus: Corpus, front: Front, crops: Crops, pooling: tuple[int, int], device: str) -> Images:
    """The pass itself: see `images_of`."""
    table, bank = cropped(corpus, crops), audio_bank(corpus, BANK_RATE[corpus.name])
    rows, frames = pooling
    passes = nn.Sequential(
        CropSpectrogram(front), nn.AvgPool2d((rows if front == "stft" else 1, frames), ceil_mode=True)
    )
    if bank.sample_rate != SAMPLE_RATE:
        passes.insert(0, torchaudio.transforms.Resample(bank.sample_rate, SAMPLE_RATE))
    passes.to(device)
    n = round(CROP_S * bank.sample_rate)
    first = (table["start_s"].to_numpy() * bank.sample_rate).round().astype(int)
    # Lengths in seconds round to samples: a recording's last crop is moved back where it would reach past the end.
    first = np.minimum(first, bank.length[table["recording"]].to_numpy() - n)
    first += bank.start[table["recording"]].to_numpy()
    images, batch = None, BATCH[torch.device(device).type]
    for start in range(0, len(first), batch):
        clips = np.stack([bank.samples[f : f + n] for f in first[start : start + batch]])
        part = passes(torch.from_numpy(clips).to(device).float() / 32767).half()
        images = part.new_empty(len(first), *part.shape[1:]) if images is None else images
        images[start : start + len(part)] = part
    return Images(table, images)


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
