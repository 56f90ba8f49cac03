"""Experiments: computed once, under a key that tells every choice, resumed when killed, and never read half."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pandas as pd
import pydantic
import pytest
import test_training
import torch
from corpora import simulated

import lungnb.classification as module
from lungnb import UserError, configs, training
from lungnb.classification import LEAKY_RULE, Classification
from lungnb.core import cache_dir
from lungnb.data.icbhi import DEVICES, LABELS
from lungnb.papers.respirenet import merge_stages
from lungnb.training.experiment import _pool, run_all

TINY = {"clip_s": 2.0, "padding": "repeat", "random_side": False, "epochs": 2, "n_patients": 24, "device": "cpu"}
TINY |= {"validation": "patients", "selection": "validation", "criterion": "AS"}


def tiny(**choices):
    preset = configs.load("respirenet")
    return Classification(**{"corpus": simulated().fingerprint} | preset | TINY | choices)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Runs of this test only; the simulated corpus, its audio and its features are those of all tests."""
    simulated()
    for part in ("simulated", "audio", "features"):
        (cache_dir() / part).mkdir(exist_ok=True)
        (tmp_path / part).symlink_to(cache_dir() / part)
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def finished():
    run = tiny()
    run.result()
    return run


def no_training(*args, **kwargs):
    raise AssertionError("trained again")


def test_an_unknown_choice_is_refused():
    with pytest.raises(pydantic.ValidationError, match=r"epoch\n  Extra inputs are not permitted"):
        tiny(epoch=3)
    with pytest.raises(pydantic.ValidationError, match=r"'smart', 'repeat', 'reflect' or 'zero'"):
        tiny(padding="mirror")
    with pytest.raises(pydantic.ValidationError, match="epochs"):
        tiny(epochs="many")


@pytest.mark.train
def test_a_run_leaves_a_readable_folder(finished):
    names = {p.name for p in finished.folder.iterdir()}
    assert {"config.yaml", "history.csv", "predictions.parquet", "metrics.json", "model.safetensors"} <= names
    assert "checkpoint.pt" not in names
    assert not [n for n in names if n.startswith(".")]
    facts = json.loads((finished.folder / "metrics.json").read_text())
    assert facts == finished.result()
    assert set(facts["scores"]) == {"validation", "test"}
    assert facts["weights"] == "from scratch"
    assert sum(facts["n_units"].values()) == len(simulated().events)
    assert len(finished.history) == 2
    assert {"loss", "val_Score"} <= set(finished.history)


@pytest.mark.train
def test_predictions_are_of_the_held_out_events_once_a_rule(finished):
    predictions, events = finished.predictions, simulated().events
    assert set(predictions["rule"]) == {"validation", "last"}
    for _, rows in predictions.groupby("rule"):
        assert rows["event"].is_unique
        mine = events.loc[rows["event"]]
        assert mine["recording"].tolist() == rows["recording"].tolist()
        assert mine["label"].map(LABELS.index).tolist() == rows["label"].tolist()
        assert rows[["p0", "p1", "p2", "p3"]].sum(axis=1).between(0.999, 1.001).all()
    path = simulated().audio_root / "patient_list_foldwise.txt"
    folds = pd.read_csv(path, sep=" ", names=["patient", "fold"], dtype="string")
    tested = events["patient"].isin(folds.loc[folds["fold"] == "4", "patient"])
    assert finished.tested()["event"].tolist() == np.flatnonzero(tested).tolist()
    assert set(predictions["split"]) == {"validation", "test"}


@pytest.mark.train
def test_the_same_choices_are_not_trained_again(finished, monkeypatch):
    monkeypatch.setattr(module, "fit", no_training)
    again = tiny()
    assert again.uid == finished.uid
    assert again.result() == finished.result()
    assert again.predictions.equals(finished.predictions)


def test_the_key_is_every_choice_but_place_and_machine(tmp_path):
    place = {"device": "auto", "data": str(tmp_path)}
    assert tiny(**place).uid == tiny().uid
    changes = [{}, {"seed": 1}, {"corpus": "other"}, {"epochs": 3}, {"clipping": "paper"}, {"precision": "bf16"}]
    changes += [{"start": tiny()}, {"start": tiny(seed=1)}, {"only": {"device": "Meditron"}}]
    assert len({tiny(**change).uid for change in changes}) == len(changes)
    assert tiny(start=tiny(**place)).uid == tiny(start=tiny()).uid


@pytest.mark.train
def test_two_classes_and_the_leaky_choices_are_said(own_cache):
    leaky = {"leaky_selection": True, "test_padding": "smart", "split": "official", "leaky": "official"}
    run = tiny(task="icbhi-2-class", epochs=1, **leaky)
    assert {n.split(":")[0] for n in run.notes} == {"leaky split", "leaky padding"}
    assert set(run.predictions["label"]) == {0, 1}
    assert {"validation", "last", LEAKY_RULE} == set(run.predictions["rule"])
    with pytest.raises(UserError, match="leaky='official'"):
        tiny(split="official").result()


@pytest.mark.train
def test_fine_tuning_changes_only_the_devices_it_trains(own_cache):
    split = {"split": "official_disjoint", "clipping": "code", "cba": True, "epochs": 1}
    stage_1 = tiny(**split)
    events, part = simulated().events, stage_1.parts(stage_1.view()).part
    tuned = {d for d in DEVICES if {"train", "validation", "test"} <= set(part[events["device"] == d].dropna())}
    assert 0 < len(tuned) < events["device"].nunique()
    stage_2 = [tiny(**split, start=stage_1, only={"device": d}, lr=0.05) for d in sorted(tuned)]
    merged = merge_stages(stage_1.tested(), [run.tested() for run in stage_2])
    assert merged["event"].tolist() == stage_1.tested()["event"].tolist()
    assert merged["stage1"].tolist() == stage_1.tested()["predicted"].tolist()
    kept = ~merged["device"].isin(tuned)
    assert kept.any()
    assert (merged["stage1"] == merged["predicted"])[kept].all()
    for run, device in zip(stage_2, sorted(tuned), strict=True):
        own = merged[merged["device"] == device].set_index("event")
        assert run.tested()["predicted"].tolist() == own.loc[run.tested()["event"], "predicted"].tolist()
        assert len(own) == len(run.tested())
        assert torch.equal(run.state["front.mean"], stage_1.state["front.mean"])  # the first stage's statistics stay
        assert not torch.equal(run.state["network.head.6.weight"], stage_1.state["network.head.6.weight"])


@pytest.mark.train
def test_a_grid_in_local_processes(own_cache, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    run_all([test_training.Trained(seed=7), test_training.Trained(seed=7)], cluster="local")
    monkeypatch.setattr(test_training, "train", no_training)
    assert len(test_training.Trained(seed=7).history) == 1


@pytest.mark.train
def test_side_by_side_is_as_one_after_another(own_cache):
    threads = torch.get_num_threads()
    runs = [tiny(model="small CNN", epochs=1, seed=seed) for seed in (3, 4)]
    try:
        torch.set_num_threads(2)
        run_all(runs)
        assert _pool.cache_info().currsize == 1
        with pytest.raises(UserError, match="There is no split 'nowhere'"):
            run_all([tiny(split="nowhere", seed=seed) for seed in (0, 1)])
        torch.set_num_threads(1)
        for run in runs:
            state = run.compute(own_cache / f"{run.seed}.pt")[2]
            assert all(torch.equal(run.state[k], v) for k, v in state.items())
    finally:
        torch.set_num_threads(threads)


@pytest.mark.train
def test_a_full_disk_is_one_sentence_and_loses_nothing(own_cache, monkeypatch):
    kept = tiny(epochs=1)
    kept.result()

    def full(frame, path, **options):
        Path(path).write_bytes(b"PAR1 half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_parquet", full)
        sentence = r"could not be written \(No space left on device\); what was finished before is kept"
        with pytest.raises(UserError, match=sentence):
            tiny(epochs=1, seed=5).result()
    assert tiny(epochs=1).predictions.equals(kept.predictions)
    again = tiny(epochs=1, seed=5)
    assert len(again.predictions) == len(kept.predictions)
    assert not list(again.folder.glob(".*"))


@pytest.mark.train
def test_half_of_a_result_is_never_read(own_cache):
    run = tiny(epochs=1, seed=6)
    folder = run.infra.uid_folder(create=True)
    (folder / "predictions.parquet").write_bytes(b"PAR1 half")
    (folder / "metrics.json").write_text('{"notes": [')
    assert run.predictions["p0"].between(0, 1).all()
    assert json.loads((folder / "metrics.json").read_text()) == run.result()


@pytest.mark.train
def test_a_killed_run_resumes_and_predicts_the_same(own_cache, monkeypatch):
    here = Path(__file__).parent
    script = dedent(f"""
        import os, signal, sys
        sys.path[:0] = {[str(here), str(here.parent)]!r}
        from lungnb import training
        import lungnb.classification as module
        from test_runs import tiny
        module.fit = lambda *given, **how: training.fit(*given, **how | {{"checkpoint_every_s": 0}})
        def kill_in_the_third_epoch(task, step, *rest):
            if step == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            print("epoch", step, flush=True)
        training.tell_progress = kill_in_the_third_epoch
        tiny(epochs=4, seed=8).result()
        """)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LUNGNB_CACHE": str(own_cache)}
    killed = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=100
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert killed.stdout.splitlines() == ["epoch 1", "epoch 2"]

    steps = []
    monkeypatch.setattr(training, "tell_progress", lambda task, step, *rest: steps.append(step))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the process above: sums in another order are another training
    resumed = tiny(epochs=4, seed=8)
    resumed.result()
    assert steps == [3, 4]
    _, unbroken, state, _ = tiny(epochs=4, seed=8).compute(own_cache / "other" / "checkpoint.pt")
    torch.set_num_threads(threads)
    pd.testing.assert_frame_equal(resumed.predictions, unbroken, check_dtype=False, atol=1e-6)
    assert all(torch.allclose(v, state[k], atol=1e-6) for k, v in resumed.state.items())
