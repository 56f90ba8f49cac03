"""The store: events as 16 kHz mono int16 in a Hugging Face `datasets` folder, for corpora past memory.

    <store>/
      audio/           what `Dataset.save_to_disk` writes: memory-mapped Arrow files
      events.parquet   the corpus's events, and why the store leaves one out
      store.json       origin, counts, what was left out

It is written beside its place and renamed when it is whole, so nothing half-written is ever read; a build that is killed
starts over. Arrow files are memory-mapped (the paper's 124,883 recordings would be about 40 GB at 10 s each; a build needs
twice that for a while).

An event that cannot be decoded, is silent, or ends past its audio is kept out, counted by reason, and named in
`Store.left_out`; levels are as recorded, and only what would clip is scaled.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from filelock import FileLock

from lungnb.core import UserError, atomic_folder, cache_dir, code_version, disk_errors
from lungnb.data.audio import decode, sample_at
from lungnb.data.corpus import EVENTS, Corpus, digest
from lungnb.data.inspection import SILENCE, TOLERANCE_S

datasets.disable_progress_bars()
#: Events that are held in memory at once while a store is written.
_ROWS = 64
_FEATURES = datasets.Features({"audio": datasets.List(datasets.Value("int16")), "reason": datasets.Value("string")})

#: audio_root, row of the events (a named tuple), sample rate -> mono float samples of that event.
Source = Callable[[Path, Any, int], np.ndarray]


@dataclass(frozen=True)
class Store:
    """An open store of N events; what it says of their origin is that of the corpus it was built from.

    `events`: their rows of the events table; `length`: (N,) samples; `skipped`: how many were left out, by reason, by the
    reader and by the store; `left_out`: those that the store kept out, columns clip and reason; `data`: the memory-mapped
    audio of all, `rows`: (N,) where in it an event's stands.
    """

    folder: Path
    data: datasets.Dataset
    rows: np.ndarray
    events: pd.DataFrame
    length: np.ndarray
    left_out: pd.DataFrame
    name: str
    origin: Literal["simulated", "real"]
    origin_text: str
    fingerprint: str
    sample_rate: int
    skipped: dict[str, int]

    def __len__(self) -> int:
        return len(self.length)

    def waveforms(self, indices: np.ndarray, seconds: float, rng: np.random.Generator | None = None) -> np.ndarray:
        """Events `indices` (B,) as float32 (B, T) from -1 to 1, T = `seconds` x sample rate.

        A short one is padded with zeros at its end; of a long one a random part is taken, or without `rng` its start
        (docs/papers/lungldm.md, section 3.1).
        """
        n = round(seconds * self.sample_rate)
        out = np.zeros((len(indices), n), dtype=np.float32)
        events = self.data[self.rows[np.asarray(indices, dtype=int)].tolist()]["audio"]
        for row, event in zip(out, events, strict=True):
            samples = event.values.to_numpy()
            spare = len(samples) - n
            start = rng.integers(spare + 1) if rng is not None and spare > 0 else 0
            row[: len(samples)] = samples[start : start + n]
        return out / 32767

    def batches(
        self, batch_size: int, seconds: float, rng: np.random.Generator | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Stream all events once: indices (B,) and `waveforms` (B, T); shuffled with `rng`, else in order. The last is short."""
        order = rng.permutation(len(self)) if rng is not None else np.arange(len(self))
        for first in range(0, len(self), batch_size):
            indices = order[first : first + batch_size]
            yield indices, self.waveforms(indices, seconds, rng)


def read_clip(root: Path, row: Any, sample_rate: int) -> np.ndarray:
    """The samples of one event from its file, none if it ends past its audio. Raises UserError if it cannot be decoded."""
    audio = _decode(root / row.path, sample_rate)
    first, last = int(sample_at(row.start_s, sample_rate)), len(audio)
    if pd.notna(row.end_s):
        last = int(sample_at(row.end_s, sample_rate)) if row.end_s <= len(audio) / sample_rate + TOLERANCE_S else 0
    return audio[first:last]


# The events of one recording follow one another, so it is decoded once.
_decode = lru_cache(maxsize=1)(decode)


def build_store(
    corpus: Corpus,
    folder: Path | None = None,
    sample_rate: int = 16000,
    n_processes: int = 1,
    source: Source = read_clip,
) -> Store:
    """The store of `corpus` in `folder` (else in the cache, by content), built, or as it stands there.

    n_processes: processes that decode side by side. source: where samples come from, for events that have no file (it is no
    part of a store's key: the corpus's fingerprint is to tell one source from another). Trainings that start side by side ask
    for one store: the first builds it, the others wait. Raises UserError if the folder holds another store, if no event is
    left, for a full disk, and if a process was killed.
    """
    events = corpus.events.to_csv(index=False)  # files may stay as they are, and be read otherwise tomorrow
    given = (corpus.name, corpus.origin, corpus.fingerprint, events, str(sample_rate))
    key = digest(*given, code_version("lungnb.data.store"))
    folder = Path(folder or cache_dir() / "stores" / f"{corpus.name}-{key}")
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.exists():
                with atomic_folder(folder) as temporary:
                    _build(temporary, corpus, key, sample_rate, n_processes, source)
    store = open_store(folder)
    if store.fingerprint != key:
        raise UserError(f"{folder} holds a store of other clips or settings; name another folder, or remove this one.")
    return store


def open_store(folder: Path) -> Store:
    """The store in `folder`. Raises UserError if it is none, or damaged."""
    folder = Path(folder)
    if not (folder / "store.json").exists():
        raise UserError(f"{folder} is no store of clips; make one with build_store.")
    try:
        facts = json.loads((folder / "store.json").read_text())
        data = datasets.load_from_disk(folder / "audio").with_format("arrow")
        table = pd.read_parquet(folder / "events.parquet")
        length = pa.compute.list_value_length(data.data.column("audio")).to_numpy()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{folder} is damaged ({error}); remove it and build the store again.") from error
    if not len(table) == len(length) == facts.pop("n_events"):
        raise UserError(f"{folder} holds {len(length)} clips of {len(table)}; remove it and build the store again.")
    kept = table["reason"].isna().to_numpy()
    events = EVENTS.validate(table.loc[kept, list(EVENTS.columns)].reset_index(drop=True))
    left_out = table.loc[~kept, ["clip", "reason"]].astype("string").reset_index(drop=True)
    data = data.with_format("arrow", columns=["audio"])
    return Store(folder, data, np.flatnonzero(kept), events, length[kept], left_out, **facts)


def _build(temporary: Path, corpus: Corpus, key: str, sample_rate: int, n_processes: int, source: Source) -> None:
    _decode.cache_clear()  # the file may be another since an earlier build
    parts = np.array_split(np.arange(len(corpus.events)), n_processes)
    settings = {"events": corpus.events, "root": corpus.audio_root, "sample_rate": sample_rate, "source": source}
    try:
        data = datasets.Dataset.from_generator(
            _examples,
            features=_FEATURES,
            cache_dir=str(temporary / "generated"),
            gen_kwargs=settings | {"parts": parts if n_processes > 1 else tuple(parts)},  # a list is shared out
            num_proc=n_processes if n_processes > 1 else None,
            fingerprint=key,
            writer_batch_size=_ROWS,
        )
    except (RuntimeError, datasets.exceptions.DatasetGenerationError) as error:
        if isinstance(error.__cause__, OSError):  # a full disk
            raise error.__cause__ from error
        raise UserError(
            f"The store of {corpus.name} could not be built ({error.__cause__ or error}); run again, with fewer processes if "
            "one was killed for want of memory."
        ) from error
    reason = data.with_format("pandas")["reason"][:]
    left = {f"clips left out of the store ({why})": int(n) for why, n in reason.value_counts().sort_index().items()}
    if reason.notna().all():
        raise UserError(
            f"No clip of {corpus.name} can be stored ({', '.join(left)}); check the recordings in {corpus.audio_root}."
        )
    data.save_to_disk(temporary / "audio")
    rmtree(temporary / "generated", ignore_errors=True)
    corpus.events.assign(reason=reason.to_numpy(object)).to_parquet(temporary / "events.parquet")
    facts = {"name": corpus.name, "origin": corpus.origin, "origin_text": corpus.origin_text, "fingerprint": key}
    facts |= {"sample_rate": sample_rate, "n_events": len(corpus.events), "skipped": corpus.skipped | left}
    (temporary / "store.json").write_text(json.dumps(facts, indent=2) + "\n")


def _examples(events: pd.DataFrame, root: Path, sample_rate: int, source: Source, parts: Any) -> Iterator[dict]:
    """audio int16 and reason None of each event, or no audio and why it is left out."""
    for row in events.iloc[np.concatenate(list(parts))].itertuples(index=False):
        try:
            audio = source(root, row, sample_rate)
            low, high = (float(audio.min()), float(audio.max())) if len(audio) else (0.0, 0.0)
            reason = "ends past its audio" if not len(audio) else "silent" if high - low < SILENCE else None
        except UserError:
            reason = "cannot be decoded"
        if reason is None:
            yield {"audio": np.round(audio * (32767 / max(high, -low, 1))).astype(np.int16), "reason": None}
        else:
            yield {"audio": np.zeros(0, np.int16), "reason": reason}
