"""What all runs share: the cache (exca), the readable folder of a run, grids, and what a report asks of a run.

A run's folder under `LUNGNB_CACHE/runs` holds config.yaml, history.csv, predictions.parquet, metrics.json and
model.safetensors; while it is trained also checkpoint.pt, from which a killed run goes on. Its key is made of the
configuration, the fingerprint of the data, the code behind the run, and the number of processes it is trained in, each of
which takes batches of its own: a change of any of them is another run.
"""

import functools
import hashlib
import json
import logging
import multiprocessing
import os
import platform
import re
import signal
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
import pydantic
import torch
from accelerate.utils import get_int_from_env
from exca import TaskInfra
from safetensors.torch import load_file, save
from tqdm import tqdm

from lungnb.core import UserError, atomic_file, cache_dir, code_version, disk_errors
from lungnb.data import load_corpus
from lungnb.data.corpus import Corpus
from lungnb.training import State

logging.getLogger("exca").setLevel(logging.ERROR)  # it logs the traceback of an error that it raises as well


class Experiment(pydantic.BaseModel):
    """One experiment: the fields are all its choices, `result()` trains and evaluates it once and remembers.

    corpus is the fingerprint of the data (`Corpus.fingerprint`), part of the key; where they lie (`data`) and what computes
    (`device`) are not. An unknown field is an error.
    """

    model_config = pydantic.ConfigDict(extra="forbid")
    _exclude_from_cls_uid: ClassVar[tuple[str, ...]] = ("data", "device")
    #: So small that one training cannot use several cores: without a GPU `run_all` trains one of them on each.
    _small: ClassVar[bool] = False
    #: Without a GPU it takes one thread wherever it is trained, so that its result does not depend on how many there are.
    _one_thread: ClassVar[bool] = False

    corpus: str
    data: str = "simulated"
    n_patients: int = 40
    seed: int = 0
    device: str = "auto"
    precision: Literal["float32", "bf16"] = "float32"
    infra: TaskInfra = TaskInfra(mode="retry")

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        if self.infra.folder is None:
            n = get_int_from_env(("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"), 1)
            version = code_version(type(self).__module__) + ("" if n == 1 else f"-{n}-processes")
            self.infra._update(folder=cache_dir() / "runs", version=version)

    @infra.apply
    def result(self) -> dict[str, Any]:
        """Train, evaluate, write the run's folder; returns what metrics.json holds."""
        started, folder = time.monotonic(), self.infra.uid_folder(create=True)
        with disk_errors(folder):
            with _threads(1 if self._one_thread and not torch.cuda.is_available() else torch.get_num_threads()):
                history, predictions, state, facts = self.compute(folder / "checkpoint.pt")
            with atomic_file(folder / "history.csv") as path:
                history.to_csv(path, index=False)
            with atomic_file(folder / "predictions.parquet") as path:
                predictions.to_parquet(path, index=False)
            with atomic_file(folder / "model.safetensors") as path:
                path.write_bytes(save(state))
            facts |= {"seconds": round(time.monotonic() - started, 1), "device": device_name(self.device)}
            with atomic_file(folder / "metrics.json") as path:  # last: a folder with metrics.json is whole
                path.write_text(json.dumps(facts, indent=1))
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        return facts

    @abstractmethod
    def compute(self, checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]:
        """history, predictions, weights and a JSON-able dict of facts; `checkpoint` is where training may be resumed."""

    @property
    def folder(self) -> Path:
        """The folder of the finished run."""
        self.result()
        return self.infra.uid_folder()

    @property
    def uid(self) -> str:
        """A short name of the run's key, as the manifests give it."""
        return hashlib.blake2b(self.infra.uid().encode(), digest_size=5).hexdigest()

    @property
    def config(self) -> dict[str, Any]:
        """All choices of the run, as a plain dict."""
        return json.loads(json.dumps(self.infra.config(uid=True, exclude_defaults=False)))

    @property
    def history(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "history.csv")

    @property
    def predictions(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "predictions.parquet")

    @property
    def state(self) -> State:
        return load_file(self.folder / "model.safetensors")

    @property
    def device_name(self) -> str:
        return self.result()["device"]

    @property
    def notes(self) -> list[str]:
        return self.result()["notes"]

    def load(self, name: str, fingerprint: str = "") -> Corpus:
        """The corpus `name` of this run. Raises UserError if it is not the one that the run was made for."""
        corpus, expected = load_corpus(name, self.data, self.n_patients), fingerprint or self.corpus
        if corpus.fingerprint != expected:
            raise UserError(
                f"{corpus.audio_root} has changed since this run was set up (fingerprint {corpus.fingerprint}, not "
                f"{expected}); make the run again from the corpus as it is now."
            )
        return corpus


def run_all(
    experiments: Sequence[Experiment],
    cluster: str | None = None,
    max_workers: int = 8,
    *,
    timeout_min: int = 24 * 60,
    cpus_per_task: int = 2,
    gpus_per_node: int | None = None,
    mem_gb: float | None = None,
    slurm_partition: str | None = None,
) -> None:
    """Compute what is not cached: in this process (None), in "local" processes, or as an array of "slurm" jobs.

    The others are of a job: minutes after which it is ended, cores, GPUs (one where slurm is asked and nothing said), memory in
    GB and partition. At most `max_workers` jobs run at once.
    """
    distinct = {one.infra.uid(): one for one in experiments}
    if cluster is None:
        with disk_errors(cache_dir() / "runs"):
            _side_by_side([r for r in distinct.values() if r._small and r.infra.status() != "completed"])
            for one in distinct.values():
                one.result()
        return
    gpus = 1 if gpus_per_node is None and cluster == "slurm" else gpus_per_node
    job = {"cluster": cluster, "timeout_min": timeout_min, "cpus_per_task": cpus_per_task, "gpus_per_node": gpus}
    job |= {"mem_gb": mem_gb, "slurm_partition": slurm_partition}
    settings = {f"infra.{name}": value for name, value in job.items() if value is not None}
    by_class: dict[type, list[Experiment]] = {}
    for one in distinct.values():
        by_class.setdefault(type(one), []).append(one.infra.clone_obj(settings))
    for group in by_class.values():  # an array holds tasks of one kind
        # submitit starts all local jobs of an array together
        at_once = max_workers if cluster == "local" else len(group)
        for start in range(0, len(group), at_once):
            part = group[start : start + at_once]
            with part[0].infra.job_array(max_workers=max_workers) as array:
                array.extend(part)
            for one in array:
                one.result()


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _side_by_side(runs: Sequence[Experiment]) -> None:
    """Train `runs` on the CPU in as many processes as torch has threads here, one thread each; a single one, in none.

    The same networks as one after another on one thread, in about half the time on two cores (benchmarks/bench_classifiers.py).
    """
    if len(runs) < 2 or torch.get_num_threads() < 2 or torch.cuda.is_available():
        return
    settings = {"LUNGNB_PROGRESS": os.devnull} | {k: v for k, v in os.environ.items() if k.startswith("LUNGNB_")}
    jobs = [_pool(torch.get_num_threads()).submit(_result, run, settings) for run in runs]
    for job in tqdm(as_completed(jobs), "trainings", len(jobs), leave=False, disable="LUNGNB_PROGRESS" in os.environ):
        job.result()


@functools.cache
def _pool(workers: int) -> ProcessPoolExecutor:
    """Processes that stay, with all they have loaded and prepared."""
    # A fork of this process might inherit a lock of one of its threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lungnb.training.experiment", "torch._dynamo"])  # the optimizer imports the latter
    return ProcessPoolExecutor(workers, context, _start_worker)


def _start_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted notebook is this process's business, which stops them


def _result(run: Experiment, settings: dict[str, str]) -> None:
    os.environ.update(settings)
    run.result()


def device_name(device: str = "auto") -> str:
    """The name of the GPU or the processor, for provenance."""
    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.M) if info.exists() else []
    model = models[0] if models else platform.processor() or platform.machine()
    return f"CPU {model}, {torch.get_num_threads()} threads"
