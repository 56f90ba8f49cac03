"""Devices and clusters: what is asked for is what computes, and a job gets the time, memory and GPUs it is told to ask for."""

from types import SimpleNamespace
from typing import ClassVar

import pandas as pd
import pytest
import submitit
import torch
from accelerate.state import PartialState

from lungnb import UserError, training
from lungnb.training import make_accelerator
from lungnb.training.experiment import Experiment, run_all


@pytest.mark.parametrize("device", ["gpu", "cuda:1", "mps", ""])
def test_another_device_is_refused(device):
    with pytest.raises(UserError, match="known are auto, cpu and cuda"):
        make_accelerator(device)


def test_auto_is_never_mps(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    PartialState._reset_state()
    assert make_accelerator("auto").device.type == "cpu"


def test_the_device_of_an_earlier_training_is_forgotten():
    make_accelerator("cpu")
    PartialState._shared_state["device"] = torch.device("meta")  # stands for a GPU
    assert make_accelerator("cpu").device.type == "cpu"


@pytest.mark.parametrize(("has_it", "mixed"), [(True, "bf16"), (False, "no")])
def test_a_cpu_without_bfloat16_trains_in_float32_and_says_so(monkeypatch, recwarn, has_it, mixed):
    monkeypatch.setattr(training, "_has_bfloat16", lambda: has_it)
    assert make_accelerator("cpu", "bf16").mixed_precision == mixed
    assert [str(w.message).partition(";")[0] for w in recwarn] == ["This CPU has no bfloat16"] * (not has_it)
    assert make_accelerator("cpu").mixed_precision == "no"


class Toy(Experiment):
    corpus: str = "none"

    def compute(self, checkpoint):
        return pd.DataFrame(), pd.DataFrame(), {}, {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes")
def test_a_small_training_takes_one_thread_and_gives_the_others_back(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path))
    taken = []

    class Small(Toy):
        _one_thread: ClassVar[bool] = True

        def compute(self, checkpoint):
            taken.append(torch.get_num_threads())
            return pd.DataFrame(), pd.DataFrame(), {}, {}

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    Small().result()
    assert (taken, torch.get_num_threads()) == ([1], 2)
    torch.set_num_threads(before)


def submitted(monkeypatch, n=5, **options):
    """What exca is given for `n` experiments: the settings of each array of jobs, and its length."""
    arrays = []

    class Array(list):
        def __enter__(self):
            return self

        def __exit__(self, *error):
            arrays.append((len(self), self[0].infra))
            self[:] = [SimpleNamespace(result=dict)] * len(self)

    from exca import TaskInfra

    monkeypatch.setattr(TaskInfra, "job_array", lambda self, max_workers: Array())
    run_all([Toy(seed=seed) for seed in range(n)], **options)
    return arrays


def test_slurm_jobs_ask_for_a_gpu_and_for_time(monkeypatch):
    [(n, infra)] = submitted(monkeypatch, cluster="slurm", timeout_min=90, mem_gb=32, slurm_partition="gpu")
    assert n == 5
    assert (infra.cluster, infra.timeout_min, infra.gpus_per_node, infra.cpus_per_task) == ("slurm", 90, 1, 2)
    assert (infra.mem_gb, infra.slurm_partition) == (32, "gpu")


def test_local_jobs_last_a_day_and_so_many_at_once(monkeypatch):
    arrays = submitted(monkeypatch, cluster="local", max_workers=2)
    assert [n for n, _ in arrays] == [2, 2, 1]
    assert {infra.timeout_min for _, infra in arrays} == {24 * 60}


def test_the_executor_is_told_what_a_job_asks_for(tmp_path, monkeypatch):
    """By submitit's own debug executor, which computes in this process."""
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path))
    told, update = {}, submitit.AutoExecutor.update_parameters

    def spy(executor, **parameters):
        told.update(parameters)
        update(executor, **parameters)

    monkeypatch.setattr(submitit.AutoExecutor, "update_parameters", spy)
    job = {"timeout_min": 90, "cpus_per_task": 4, "gpus_per_node": 2, "mem_gb": 32, "slurm_partition": "gpu"}
    run_all([Toy(seed=0), Toy(seed=1)], cluster="debug", max_workers=3, **job)
    assert job.items() <= told.items()
    assert told["slurm_array_parallelism"] == 3
    assert all((Toy(seed=seed).folder / "metrics.json").exists() for seed in (0, 1))
