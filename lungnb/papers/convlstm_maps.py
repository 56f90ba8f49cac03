"""The Conv-LSTM's way from events to tensors on the device: clips, stacked maps, metadata as indices, class indices."""

import hashlib
from typing import Literal

import numpy as np
import pandas as pd
import torch

from lungnb.core import atomic_file, cache_dir
from lungnb.data.audio import AudioBank, audio_bank
from lungnb.data.corpus import Corpus
from lungnb.data.sprsound import POSITIONS
from lungnb.features import StackedMaps
from lungnb.papers.convlstm_model import INPUTS, InputName, Metadata

SAMPLE_RATE = 8000
BATCH = 32
#: Part of the cache key: raise it when the same input would give other maps.
VERSION = 1

Padding = Literal["zero", "repeat"]


def clips_of(bank: AudioBank, events: pd.DataFrame, n_samples: int, padding: Padding = "zero") -> np.ndarray:
    """int16 (N, n_samples): the middle of a longer event; a shorter one, then silence or itself again."""
    clips = np.zeros((len(events), n_samples), dtype=np.int16)
    for clip, first, length in zip(clips, *bank.locate(events), strict=True):
        first += max(length - n_samples, 0) // 2
        sound = bank.samples[first : first + min(length, n_samples)]
        if padding == "repeat":
            clip[:] = np.resize(sound, n_samples)
        else:
            clip[: len(sound)] = sound
    return clips


def stacked_maps(
    corpus: Corpus, size: InputName = "A", padding: Padding = "zero", device: str | torch.device = "cpu"
) -> np.ndarray:
    """Log-mel, MFCC and LFCC of every event: float16 (N, 3, n_rows, frames), memory-mapped.

    They never change, so one pass over the corpus computes them for all runs; from then on they come from the cache.
    """
    key = hashlib.blake2b(repr((VERSION, corpus.fingerprint, INPUTS[size], padding)).encode(), digest_size=8)
    path = cache_dir() / "maps" / f"{corpus.name}-{size}-{key.hexdigest()}.npy"
    if not path.exists():
        maps = compute_maps(corpus, size, padding, device)
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, maps)
    return np.load(path, mmap_mode="r")


@torch.inference_mode()
def compute_maps(corpus: Corpus, size: InputName, padding: Padding, device: str | torch.device) -> np.ndarray:
    """The pass itself: see `stacked_maps`."""
    given, bank, events = INPUTS[size], audio_bank(corpus, SAMPLE_RATE), corpus.events
    front = StackedMaps(SAMPLE_RATE, given.n_fft, given.hop_length, given.n_rows).to(device)
    whole = round(given.seconds * SAMPLE_RATE)
    maps = np.empty((len(events), 3, given.n_rows, 1 + whole // given.hop_length), dtype=np.float16)
    length = bank.locate(events)[1]
    order = np.argsort(length, kind="stable")
    for rows in np.split(order, range(BATCH, len(order), BATCH)):
        # Most events fill less than half of a clip. What follows is silence, one frame like the other: the last one again.
        heard = length[rows[-1]] + given.n_fft // 2 + given.hop_length if padding == "zero" else whole
        clips = clips_of(bank, events.iloc[rows], min(heard, whole), padding)
        part = front(torch.from_numpy(clips).to(device).float() / 32767).half().cpu().numpy()
        maps[rows, :, :, : part.shape[3]] = part
        maps[rows, :, :, part.shape[3] :] = part[:, :, :, -1:]
    return maps


def metadata_of(
    events: pd.DataFrame, form: Literal["real", "shuffled", "zeroed"] = "real", seed: int = 0
) -> torch.Tensor:
    """Indices (N, 3) of age, sex and position for the embeddings; what is not known has the last row of its table.

    "shuffled": each event has those of another event. "zeroed": all are unknown, so that nothing is told.
    """
    age = np.floor(events["age_years"].astype("Float64").fillna(-1).to_numpy(float)).clip(max=Metadata.N_AGES - 1)
    columns = [
        np.where(age < 0, Metadata.N_AGES, age),
        events["sex"].map({"male": 0, "female": 1}).fillna(Metadata.N_SEXES),
        events["position"].map({p: k for k, p in enumerate(POSITIONS)}).fillna(Metadata.N_POSITIONS),
    ]
    indices = np.stack([np.asarray(c, dtype=np.int64) for c in columns], axis=1)
    if form == "shuffled":
        indices = np.random.default_rng(seed).permutation(indices)
    if form == "zeroed":
        indices[:] = (Metadata.N_AGES, Metadata.N_SEXES, Metadata.N_POSITIONS)
    return torch.from_numpy(indices)
