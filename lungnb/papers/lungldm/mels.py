"""LungLDM's way from clips to what its runs are trained on: log-mels, sides of the split, and every prompt a clip can have."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch

from lungnb.core import UserError, atomic_folder, cache_dir
from lungnb.data import load_corpus
from lungnb.data.corpus import Corpus
from lungnb.data.prompts import DROP, FIELDS, prompt
from lungnb.data.splits import grouped_folds
from lungnb.data.store import Store, build_store
from lungnb.papers.lungldm.mel import LungMel, prepare
from lungnb.papers.lungldm.presets import PRESETS
from lungnb.papers.lungldm.text import UNCONDITIONAL
from lungnb.training.experiment import Experiment

#: Part of the cache key: raise it when the same clips would give other mels.
VERSION = 1
BATCH = 64
ROLES = ("train", "validation", "test")
#: More clips than this are stored by as many processes as there are cores.
MANY = 10_000

Size = Literal["smoke", "laptop", "paper"]


class LungRun(Experiment):
    """What the runs of LungLDM share: simulated or real clips, and a size of `lungnb.papers.lungldm.presets`."""

    size: Size = "paper"
    n_patients: int = 60

    @property
    def _small(self) -> bool:
        return self.size == "smoke"

    def clips(self) -> Corpus:
        """The clips of this run. Raises UserError if they are not those that the run was made for."""
        clips = load_corpus("prompted", self.data, self.n_patients)
        if clips.fingerprint != self.corpus:
            raise UserError(
                f"{clips.audio_root} has changed since this run was set up (fingerprint {clips.fingerprint}, not {self.corpus}); "
                "make the run again from the clips as they are now."
            )
        return clips

    def refuse_other(self, other: "LungRun") -> None:
        """Raise UserError if `other`, a part of this run, is of other clips or another size."""
        if (other.corpus, other.size) != (self.corpus, self.size):
            raise UserError(
                f"The {type(self).__name__} of size {self.size} on the clips {self.corpus} cannot stand on the "
                f"{type(other).__name__} of size {other.size} on the clips {other.corpus}; give both the same."
            )


@dataclass(frozen=True)
class Mels:
    """N clips as the model sees them: log_mel float16 (N, 1, frames, 64), their events in `table`, and the `role` of each.

    On the CPU log_mel is memory-mapped. Clips that are silent for the length of the size, from their start, are left out:
    `stored` are the rows (N,) of `store` that are not.
    """

    log_mel: torch.Tensor
    table: pd.DataFrame
    role: np.ndarray
    store: Store
    stored: np.ndarray
    n_samples: int

    def rows(self, role: str) -> torch.Tensor:
        """Indices of the clips that have `role`, on the device of log_mel."""
        return torch.from_numpy(np.flatnonzero(self.role == role)).to(self.log_mel.device)

    def waveforms(self, rows: torch.Tensor) -> torch.Tensor:
        """What the mels of `rows` were made of, (B, T) on the device of log_mel."""
        stored = self.stored[rows.cpu().numpy()]
        waves = self.store.waveforms(stored, self.n_samples / self.store.sample_rate)
        return torch.stack(_prepared(waves, self.store.length[stored], self.n_samples)).to(self.log_mel.device)

    @property
    def notes(self) -> list[str]:
        """What a report is to say of the clips."""
        n, seconds = len(self.store) - len(self.stored), self.n_samples / self.store.sample_rate
        return [f"{n} clips are left out, which are silent for their first {seconds:g} s"] if n else []

    @property
    def n_clips(self) -> dict[str, int]:
        return {role: int((self.role == role).sum()) for role in ROLES}


def mels_of(run: LungRun, device: torch.device | str = "cpu") -> Mels:
    """All clips of `run`, each from its start, in the length of its size; one pass computes them for all runs."""
    clips = run.clips()
    store = build_store(clips, n_processes=os.cpu_count() if len(clips.events) > MANY else 1)
    preset = PRESETS[run.size]
    mels, heard = cached(
        f"mels/{store.name}-{run.size}",
        (VERSION, store.fingerprint, preset["seconds"], preset["mel"]),
        lambda: compute_mels(store, preset["seconds"], LungMel(**preset["mel"])),
    )
    return Mels(
        log_mel=mels.to(device),
        table=store.events[heard].reset_index(drop=True),
        role=roles_of(store.events)[heard],
        store=store,
        stored=np.flatnonzero(heard),
        n_samples=round(preset["seconds"] * store.sample_rate),
    )


@torch.inference_mode()
def compute_mels(store: Store, seconds: float, mel: LungMel) -> tuple[np.ndarray, np.ndarray]:
    """Log-mels float16 (M, 1, frames, 64) of the clips in which something is heard, and which of all they are (N,)."""
    n_samples = round(seconds * mel.config.sample_rate)
    parts, heard = [], np.ones(len(store), dtype=bool)
    for rows, waves in store.batches(BATCH, seconds):
        prepared = _prepared(waves, store.length[rows], n_samples)
        heard[rows] = [wave is not None for wave in prepared]
        if heard[rows].any():
            parts.append(mel(torch.stack([wave for wave in prepared if wave is not None])).half().numpy())
    return np.concatenate(parts), heard


def _prepared(waves: np.ndarray, length: np.ndarray, n_samples: int) -> list[torch.Tensor | None]:
    """`prepare`d waveforms (n_samples,) of the first `length` (B,) of `waves` (B, T); None where they are silent."""
    out = []
    for wave, n in zip(torch.from_numpy(waves), length, strict=True):
        try:
            out.append(prepare(wave[:n], n_samples))
        except UserError:
            out.append(None)
    return out


def cached(
    place: str, key: tuple, compute: Callable[[], tuple[np.ndarray, np.ndarray]]
) -> tuple[torch.Tensor, np.ndarray]:
    """The two arrays of `compute`, from the cache if they have been made before: the first one memory-mapped, as a tensor."""
    folder = cache_dir() / f"{place}-{hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest()}"
    if not folder.exists():
        large, small = compute()
        with atomic_folder(folder) as temporary:
            np.save(temporary / "large.npy", large)
            np.save(temporary / "small.npy", small)
    # Copy on write: torch has no tensors that cannot be written.
    return torch.from_numpy(np.load(folder / "large.npy", mmap_mode="c")), np.load(folder / "small.npy")


def roles_of(table: pd.DataFrame) -> np.ndarray:
    """train, validation or test for each clip (N,), 3 : 1 : 1, by patient; types and corpora are spread evenly.

    A clip whose patient is not known is taken for one of a patient of its own. Raises UserError for fewer than 5 patients.
    """
    patient = table["patient"].fillna(table["clip"])
    if patient.nunique() < 5:
        raise UserError(
            f"The clips are of {patient.nunique()} patients, too few to keep one in five for validation and one for the test; "
            "use 5 or more."
        )
    events = pd.DataFrame({"label": table["sound"], "device": table["corpus"], "patient": patient})
    fold = grouped_folds(events, n_folds=5, seed=0).to_numpy()
    return np.select([fold == 0, fold == 1], ["test", "validation"], "train").astype(object)


def fitted_mel(size: Size, given: Mels) -> LungMel:
    """The front end with the mean and std of the training clips."""
    mel = LungMel(**PRESETS[size]["mel"]).to(given.log_mel.device)
    mel.fit_statistics(given.log_mel[rows] for rows in given.rows("train").split(BATCH))
    return mel


@dataclass(frozen=True)
class PromptTable:
    """Every prompt that the clips can have in training: `texts`, of which the first is that of a dropped condition.

    number: (N, 16), for each clip and each choice of the fields that are told the index of its prompt.
    """

    texts: list[str]
    number: torch.Tensor

    def draw(self, rows: torch.Tensor, generator: torch.Generator, condition_dropout: float) -> torch.Tensor:
        """Indices (B,) into texts for the clips `rows` (B,): fields are dropped as `prompts.drop_fields` does, each with DROP,
        and the whole prompt with `condition_dropout`, clip by clip (docs/papers/lungldm.md, section 3.5)."""
        told = torch.rand(len(rows), len(OPTIONAL), generator=generator, device=rows.device) >= DROP
        choice = (told * 2 ** torch.arange(len(OPTIONAL), device=rows.device)).sum(dim=1)
        dropped = torch.rand(len(rows), generator=generator, device=rows.device) < condition_dropout
        return self.number[rows, choice].masked_fill(dropped, 0)

    def whole(self, rows: torch.Tensor) -> torch.Tensor:
        """Indices (B,) of the prompts that tell all that is known."""
        return self.number[rows, -1]


OPTIONAL = FIELDS[1:]


def prompt_table(table: pd.DataFrame, device: torch.device | str = "cpu") -> PromptTable:
    """The prompts of the clips in `table`. Clips of the same fields share them, so each is written once."""
    fields = table[list(FIELDS)].astype(object)
    kind = fields.groupby(list(FIELDS), dropna=False, sort=False).ngroup().to_numpy()
    index, number = {UNCONDITIONAL: 0}, []
    for row in fields.drop_duplicates().to_dict("records"):
        choices = []
        for choice in range(2 ** len(OPTIONAL)):
            told = {name for k, name in enumerate(OPTIONAL) if choice >> k & 1}
            text = prompt({name: row[name] for name in FIELDS if name == "sound" or name in told})
            choices.append(index.setdefault(text, len(index)))
        number.append(choices)
    return PromptTable(list(index), torch.from_numpy(np.array(number)[kind]).to(device))
