"""Runs: computed once, under a key that tells every choice, resumed when killed, and never read half."""

import errno
import json
import os
import signal
import subprocess
import sys
from textwrap import dedent

import numpy as np
import pandas as pd
import pydantic
import pytest
import torch
from corpora import simulated

from lungnb import UserError
from lungnb.core import code_version
from lungnb.data.icbhi import LABELS
from lungnb.papers import respirenet as module
from lungnb.papers.convlstm import ConvLSTMRun
from lungnb.papers.respirenet import DeviceFineTuning, RespireNetRun, predictions_with
from lungnb.training import experiment as base_module
from lungnb.training.experiment import run_all

TINY = {
    "clip_s": 2.0,
    "padding": "repeat",
    "backbone": "resnet10-narrow",
    "pretrained": "scratch",
    "zoom": 1,
    "lr": 0.02,
}
TINY |= {"epochs": 2, "n_patients": 24, "device": "cpu"}


def tiny(**choices):
    return RespireNetRun(**{"corpus": simulated().fingerprint} | TINY | choices)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Runs of this test only; the simulated corpus and its bank are those of all tests."""
    simulated()
    shared = base_module.cache_dir()
    for part in ("simulated", "banks"):
        (shared / part).mkdir(exist_ok=True)
        (tmp_path / part).symlink_to(shared / part)
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


def test_a_run_leaves_a_readable_folder(finished):
    names = {p.name for p in finished.folder.iterdir()}
    assert {"config.yaml", "history.csv", "predictions.parquet", "metrics.json", "model.safetensors"} <= names
    assert "checkpoint.pt" not in names
    assert not [n for n in names if n.startswith(".")]
    facts = json.loads((finished.folder / "metrics.json").read_text())
    assert facts == finished.result()
    assert set(facts["scores"]) == {"validation", "last"}
    assert facts["weights"] == "from scratch"
    assert facts["n_train"] + facts["n_validation"] + facts["n_test"] == len(simulated().events)
    assert len(finished.history) == 2
    assert {"loss", "val_Score"} <= set(finished.history)


def test_predictions_are_of_the_test_events_once_a_rule(finished):
    predictions = finished.predictions
    events = simulated().events
    for _, rows in predictions.groupby("rule"):
        assert rows["event"].is_unique
        mine = events.loc[rows["event"]]
        assert mine["recording"].tolist() == rows["recording"].tolist()
        assert mine["label"].map(LABELS.index).tolist() == rows["label"].tolist()
        assert rows[["p0", "p1", "p2", "p3"]].sum(axis=1).between(0.999, 1.001).all()
    folds = pd.read_csv(
        simulated().audio_root / "patient_list_foldwise.txt", sep=" ", names=["patient", "fold"], dtype="string"
    )
    assert set(predictions["patient"]) <= set(folds.loc[folds["fold"] == "4", "patient"])


def test_the_stored_model_gives_the_stored_predictions(finished):
    events = simulated().events
    corpus = simulated()
    sides = module.split_events(finished, corpus)
    model = finished.trained()
    clips = module.evaluation_clips(
        finished, module.bank_of(finished, corpus), sides.test, model.front, module.make_accelerator("cpu")
    )
    again = module.predict(model, clips, events).set_index("event")
    stored = finished.predictions.query("rule == 'validation'").set_index("event")
    assert (again["predicted"] == stored["predicted"]).all()
    assert np.allclose(again["p0"], stored["p0"], atol=1e-5)


def test_other_test_clips_meet_the_same_model(finished):
    chosen = finished.predictions.query("rule == 'validation'").set_index("event")
    same = predictions_with(finished, test_padding="repeat").set_index("event")
    other = predictions_with(finished, test_padding="zero").set_index("event")
    np.testing.assert_allclose(same.loc[chosen.index, "p0"], chosen["p0"], atol=1e-5)
    assert sorted(other.index) == sorted(chosen.index)
    assert np.abs(other.loc[chosen.index, "p0"] - chosen["p0"]).max() > 1e-3


def test_the_same_choices_are_not_trained_again(finished, monkeypatch):
    monkeypatch.setattr(module, "fit", no_training)
    again = tiny()
    assert again.uid == finished.uid
    assert again.result() == finished.result()
    assert again.predictions.equals(finished.predictions)


def test_the_key_is_every_choice_but_place_and_machine(finished, tmp_path):
    assert tiny(device="auto", data=str(tmp_path)).uid == finished.uid
    others = [tiny(seed=1), tiny(corpus="other"), tiny(epochs=3), tiny(clipping="paper"), tiny(precision="bf16")]
    others += [
        DeviceFineTuning(corpus=finished.corpus, base=tiny()),
        DeviceFineTuning(corpus=finished.corpus, base=tiny(seed=1)),
    ]
    assert len({r.uid for r in [finished, *others]}) == 8
    elsewhere = DeviceFineTuning(corpus=finished.corpus, base=tiny(device="auto", data=str(tmp_path)), device="cpu")
    assert elsewhere.uid == others[5].uid


def test_a_paper_does_not_train_again_for_the_code_of_another():
    version = code_version
    assert version(RespireNetRun.__module__) == RespireNetRun(corpus="x").infra.version
    assert version(RespireNetRun.__module__) != version("lungnb.papers.convlstm")
    assert version("lungnb.papers.convlstm") == ConvLSTMRun(corpus="x").infra.version


def test_changed_data_are_refused():
    with pytest.raises(UserError, match="has changed since this run was set up"):
        tiny(corpus="0123abcd").compute(None)


def test_two_classes_and_the_leaky_choices_are_said(own_cache):
    run = tiny(task="2-class", selection="test", test_padding="smart", split="official", leaky="official", epochs=1)
    assert {n.split(":")[0] for n in run.notes} == {"leaky split", "leaky selection", "leaky padding"}
    assert set(run.predictions["label"]) == {0, 1}
    assert {"validation", "test", "last"} == set(run.predictions["rule"])
    with pytest.raises(UserError, match="leaky='official'"):
        tiny(split="official").result()


def test_fine_tuning_changes_only_the_devices_it_trains(own_cache):
    stage1 = tiny(split="official_disjoint", clipping="code", cba=True, loss_weights="code", epochs=1)
    tuned = DeviceFineTuning(corpus=stage1.corpus, n_patients=24, base=stage1, epochs=1, lr=0.05, device="cpu")
    predictions = tuned.predictions
    before = stage1.predictions.query("rule == 'validation'").set_index("event").loc[predictions["event"], "predicted"]
    assert predictions["stage1"].tolist() == before.tolist()
    skipped = {n.split(" keeps")[0] for n in tuned.notes if "keeps the stage-1 model" in n}
    assert "LittC2SE" in skipped  # no test recording has this device, and after the drop no training recording
    assert "Litt3200" in skipped  # has this one
    kept = predictions["device"].isin(skipped)
    assert (predictions["stage1"] == predictions["predicted"])[kept].all()
    assert (predictions["stage1"] != predictions["predicted"])[~kept].any()
    assert set(tuned.history["device"]) == set(simulated().events["device"]) - skipped
    means = {k: v for k, v in tuned.state.items() if k.endswith("front.mean")}
    assert all(torch.equal(v, stage1.state["front.mean"]) for v in means.values())  # stage-1 statistics stay


def test_a_grid_in_local_processes(own_cache, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = tiny(epochs=1, seed=7)
    run_all([run, tiny(epochs=1, seed=7)], cluster="local")
    monkeypatch.setattr(module, "fit", no_training)
    assert tiny(epochs=1, seed=7).result()["scores"]


def test_a_full_disk_is_one_sentence_and_loses_nothing(own_cache, finished, monkeypatch):
    kept = tiny(epochs=1)
    kept.result()

    def full(frame, path, **options):
        path.write_bytes(b"PAR1 half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_parquet", full)
        with pytest.raises(
            UserError, match=r"could not be written \(No space left on device\); what was finished before is kept"
        ):
            tiny(epochs=1, seed=5).result()
    assert tiny(epochs=1).predictions.equals(kept.predictions)
    again = tiny(epochs=1, seed=5)
    assert len(again.predictions) == len(kept.predictions)
    assert not list(again.folder.glob(".*"))


def test_half_of_a_result_is_never_read(own_cache):
    run = tiny(epochs=1, seed=6)
    folder = run.infra.uid_folder(create=True)
    (folder / "predictions.parquet").write_bytes(b"PAR1 half")
    (folder / "metrics.json").write_text('{"notes": [')
    assert run.predictions["p0"].between(0, 1).all()
    assert json.loads((folder / "metrics.json").read_text()) == run.result()


def test_a_killed_run_resumes_and_predicts_the_same(own_cache):
    script = dedent(f"""
        import functools, os, signal, sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from lungnb import training
        from lungnb.papers import respirenet as module
        from test_runs import tiny
        module.fit = functools.partial(training.fit, checkpoint_every_s=0)
        tell = training.tell_progress
        def kill_in_the_third_epoch(task, step, *rest):
            if step == 3 and sys.argv[1] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            print("epoch", step, flush=True)
        training.tell_progress = kill_in_the_third_epoch
        tiny(epochs=4, seed=8).result()
        """)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LUNGNB_CACHE": str(own_cache)}
    for action, status, epochs in (
        ("kill", -signal.SIGKILL, ["epoch 1", "epoch 2"]),
        ("go on", 0, ["epoch 3", "epoch 4"]),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, action], env=environment, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == status, done.stderr[-2000:]
        assert done.stdout.split("\n")[:-1] == epochs
    resumed = tiny(epochs=4, seed=8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes above: sums in another order are another training
    _, unbroken, state, _ = tiny(epochs=4, seed=8).compute(own_cache / "other" / "checkpoint.pt")
    torch.set_num_threads(threads)
    pd.testing.assert_frame_equal(resumed.predictions, unbroken, check_dtype=False, atol=1e-6)
    assert all(torch.allclose(v, state[k], atol=1e-6) for k, v in resumed.state.items())
