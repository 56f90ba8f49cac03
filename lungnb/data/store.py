"""The store: clips as 16 kHz mono int16 in Hugging Face `datasets` Arrow shards, for corpora past memory.

    <store>/
      plan.json               what is being stored; written first
      shard-00000/clips.arrow, left_out.json    complete, or not there
      store.json              origin, counts, what was left out; written last

A shard is written beside its place and renamed when it is whole, so a killed build goes on where it stopped and nothing
half-written is ever read. Shards are memory-mapped (the paper's 124,883 recordings would be about 40 GB at 10 s each).

A clip that cannot be decoded, is silent, or ends past its audio is kept out, counted by reason, and named in
`Store.left_out`; levels are as recorded, and only what would clip is scaled.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Dataset, Features, Value, concatenate_datasets
from datasets import List as ListOf
from datasets.arrow_writer import ArrowWriter
from filelock import FileLock

from lungnb.core import UserError, atomic_file, atomic_folder, cache_dir, disk_errors
from lungnb.data.audio import decode
from lungnb.data.corpus import TOLERANCE_S
from lungnb.data.prompted.table import CLIPS, COLUMNS, Clips

#: Part of a store's key: raise it when the same clips would give another store.
VERSION = 1
#: A clip whose samples all lie within this range, of full scale, holds no sound: seven steps of int16.
SILENCE = 2e-4
#: Clips that are held in memory at once while a shard is written.
_ROWS = 64

#: root, row of the clip table (a named tuple), sample rate -> mono float samples of that clip.
Source = Callable[[Path, Any, int], np.ndarray]

_DTYPES = {"start_s": "float64", "end_s": "float64", "age_decade": "int64", "smoker": "bool"}
_FEATURES = Features({name: Value(_DTYPES.get(name, "string")) for name in COLUMNS} | {"audio": ListOf(Value("int16"))})
_SCHEMA = _FEATURES.arrow_schema


class _LeftOut(UserError):
    """Why a clip that can be decoded is left out."""


@dataclass(frozen=True)
class Store:
    """An open store of N clips; what it says of their origin is that of the `Clips` it was built from.

    `table`: their rows of CLIPS; `length`: (N,) samples; `skipped`: how many were left out, by reason, by the reader and by
    the store; `data`: the memory-mapped audio.
    """

    folder: Path
    data: Dataset
    table: pd.DataFrame
    length: np.ndarray
    name: str
    origin: Literal["simulated", "real"]
    origin_text: str
    fingerprint: str
    sample_rate: int
    skipped: dict[str, int]

    def __len__(self) -> int:
        return len(self.length)

    @property
    def left_out(self) -> pd.DataFrame:
        """The clips that the store kept out: columns clip, reason."""
        return pd.DataFrame(_left_out(self.folder), columns=["clip", "reason"], dtype="string")

    def waveforms(self, indices: np.ndarray, seconds: float, rng: np.random.Generator | None = None) -> np.ndarray:
        """Clips `indices` (B,) as float32 (B, T) from -1 to 1, T = `seconds` x sample rate.

        A short clip is padded with zeros at its end; of a long one a random part is taken, or without `rng` its start (fact
        sheet, 3.1).
        """
        n = round(seconds * self.sample_rate)
        out = np.zeros((len(indices), n), dtype=np.float32)
        column = self.data[np.asarray(indices).tolist()]["audio"]
        at = 0
        for chunk in column.chunks:
            offsets, values = chunk.offsets.to_numpy(), chunk.values.to_numpy()
            for first, last in pairwise(offsets):
                spare = last - first - n
                start = first + (rng.integers(spare + 1) if rng is not None and spare > 0 else 0)
                part = values[start : min(start + n, last)]
                out[at, : len(part)] = part
                at += 1
        out /= 32767
        return out

    def batches(
        self, batch_size: int, seconds: float, rng: np.random.Generator | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Stream all clips once: indices (B,) and `waveforms` (B, T); shuffled with `rng`, else in order. The last is short."""
        order = rng.permutation(len(self)) if rng is not None else np.arange(len(self))
        for first in range(0, len(self), batch_size):
            indices = order[first : first + batch_size]
            yield indices, self.waveforms(indices, seconds, rng)


def read_clip(root: Path, row: Any, sample_rate: int) -> np.ndarray:
    """The samples of one clip from its file. Raises UserError if it cannot be decoded or ends past its audio."""
    audio = _decode(root / row.path, sample_rate)
    first = int(row.start_s * sample_rate)
    if pd.isna(row.end_s):
        return audio[first:]
    if row.end_s > len(audio) / sample_rate + TOLERANCE_S:
        raise _LeftOut("ends past its audio")
    return audio[first : int(row.end_s * sample_rate)]


# The clips of one recording follow one another, so it is decoded once.
_decode = lru_cache(maxsize=1)(decode)


def build_store(
    clips: Clips,
    folder: Path | None = None,
    sample_rate: int = 16000,
    n_processes: int = 1,
    shard_size: int = 1000,
    source: Source = read_clip,
) -> Store:
    """The store of `clips` in `folder` (else in the cache, by content), built, completed or as it stands there.

    n_processes: processes that write shards side by side. source: where samples come from, for clips that have no file
    (it is not part of a store's key: the clips' fingerprint is to tell one source from another).
    Trainings that start side by side ask for one store: the first builds it, the others wait. Raises UserError if the folder
    holds the store of other clips or settings, if no clip is left, for a full disk, and if a process was killed; what was
    finished is kept.
    """
    plan = _plan(clips, sample_rate, shard_size)
    folder = Path(folder or cache_dir() / "stores" / f"{clips.name}-{plan['key']}")
    if not (folder / "plan.json").exists():
        _write(folder / "plan.json", plan)
    elif _read(folder, "plan.json")["key"] != plan["key"]:
        raise UserError(f"{folder} holds a store of other clips or settings; name another folder, or remove this one.")
    if not (folder / "store.json").exists():
        with disk_errors(folder), FileLock(folder / ".lock"):
            if not (folder / "store.json").exists():
                _build(folder, clips, plan, n_processes, shard_size, source)
    return open_store(folder)


def open_store(folder: Path) -> Store:
    """The finished store in `folder`. Raises UserError if it is none, half-written, or damaged."""
    folder = Path(folder)
    if not (folder / "plan.json").exists():
        raise UserError(f"{folder} is no store of clips; make one with build_store.")
    if not (folder / "store.json").exists():
        done, n = len(_shards(folder)), _read(folder, "plan.json")["n_shards"]
        raise UserError(
            f"{folder} is half-written ({done} of {n} shards); call build_store with the same clips and it goes on from there."
        )
    about, parts = _read(folder, "store.json"), []
    for shard in _shards(folder):
        try:
            parts.append(Dataset.from_file(str(shard / "clips.arrow")))
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{shard} is damaged ({error}); remove {folder} and build the store again.") from error
    if (found := sum(map(len, parts))) != (n := about.pop("n_clips")):
        raise UserError(f"{folder} holds {found} clips of {n}; remove it and build the store again.")
    data = concatenate_datasets([part for part in parts if len(part)])
    tables = data.select_columns(COLUMNS).with_format("arrow").iter(100_000)
    table = CLIPS.validate(pd.concat([part.to_pandas() for part in tables], ignore_index=True))
    length = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in data.data.column("audio").chunks])
    return Store(folder, data.with_format("arrow", columns=["audio"]), table, length, **about)


def _plan(clips: Clips, sample_rate: int, shard_size: int) -> dict[str, Any]:
    rows = pd.util.hash_pandas_object(clips.table, index=False).to_numpy().tobytes()
    settings = f"{VERSION} {clips.name} {clips.origin} {clips.fingerprint} {sample_rate} {shard_size}"
    key = hashlib.blake2b(settings.encode() + rows, digest_size=8).hexdigest()
    n_shards = -(-len(clips.table) // shard_size)
    return {"key": key, "sample_rate": sample_rate, "n_clips": len(clips.table), "n_shards": n_shards}


def _build(folder: Path, clips: Clips, plan: dict[str, Any], n_processes: int, shard_size: int, source: Source) -> None:
    for half in folder.glob(".shard-*"):  # of a build that was killed
        rmtree(half, ignore_errors=True)
    parts = [clips.table.iloc[at : at + shard_size] for at in range(0, len(clips.table), shard_size)]
    todo = [(folder / f"shard-{n:05d}", part) for n, part in enumerate(parts)]
    todo = [(shard, part, clips.root, plan["sample_rate"], source) for shard, part in todo if not shard.exists()]
    _run(folder, todo, n_processes)
    _finish(folder, clips, plan)


def _run(folder: Path, todo: list[tuple], n_processes: int) -> None:
    if n_processes == 1 or len(todo) < 2:
        for task in todo:
            _write_shard(*task)
        return
    # A fresh interpreter each: a fork would inherit the locks of torch's and Arrow's threads.
    with ProcessPoolExecutor(min(n_processes, len(todo)), mp_context=get_context("spawn")) as pool:
        try:
            for future in [pool.submit(_write_shard, *task) for task in todo]:
                future.result()
        except BrokenProcessPool as error:
            raise UserError(
                f"A process that wrote {folder} was killed (for want of memory, perhaps); {len(_shards(folder))} shards are "
                "kept: run again, with fewer processes."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _write_shard(shard: Path, rows: pd.DataFrame, root: Path, sample_rate: int, source: Source) -> None:
    _decode.cache_clear()  # the file may be another since an earlier build
    left_out, about = (
        [],
        pa.Table.from_pandas(rows, _SCHEMA.remove(_SCHEMA.get_field_index("audio")), preserve_index=False),
    )
    each = list(rows.itertuples(index=False))
    with atomic_folder(shard) as temporary:
        with ArrowWriter(features=_FEATURES, path=str(temporary / "clips.arrow")) as writer:
            for at in range(0, len(rows), _ROWS):
                part = each[at : at + _ROWS]
                found = [_samples(root, row, sample_rate, source) for row in part]
                pairs = zip(part, found, strict=True)
                left_out += [{"clip": row.clip, "reason": why} for row, why in pairs if isinstance(why, str)]
                audio = pa.array([None if isinstance(s, str) else s for s in found], _SCHEMA.field("audio").type)
                table = about.slice(at, _ROWS).append_column("audio", audio).filter(audio.is_valid())
                if len(table):
                    writer.write_table(table)
            writer.finalize()
        (temporary / "left_out.json").write_text(json.dumps(left_out))


def _samples(root: Path, row: Any, sample_rate: int, source: Source) -> np.ndarray | str:
    """The clip as int16, or why it is left out."""
    try:
        audio = source(root, row, sample_rate)
    except _LeftOut as reason:
        return str(reason)
    except UserError:
        return "cannot be decoded"
    if not len(audio):
        return "ends past its audio"
    low, high = float(audio.min()), float(audio.max())
    if high - low < SILENCE:
        return "silent"
    return np.round(audio * (32767 / max(high, -low, 1))).astype(np.int16)


def _finish(folder: Path, clips: Clips, plan: dict[str, Any]) -> None:
    reasons = [row["reason"] for row in _left_out(folder)]
    left = {f"clips left out of the store ({reason})": reasons.count(reason) for reason in sorted(set(reasons))}
    if len(reasons) == plan["n_clips"]:
        raise UserError(
            f"No clip of {clips.name} can be stored ({', '.join(left)}); check the recordings in {clips.root}."
        )
    about = {
        "name": clips.name,
        "origin": clips.origin,
        "origin_text": clips.origin_text,
        "fingerprint": plan["key"],
        "sample_rate": plan["sample_rate"],
        "n_clips": plan["n_clips"] - len(reasons),
        "skipped": clips.skipped | left,
    }
    _write(folder / "store.json", about)


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*"))


def _left_out(folder: Path) -> list[dict[str, str]]:
    return [row for shard in _shards(folder) for row in _read(shard, "left_out.json")]


def _read(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder / name} cannot be read ({error}); remove the store and build the store again."
        ) from error


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
