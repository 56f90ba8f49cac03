"""Synthetic augmentation: what a mixture holds, that nothing leaks, how gains are scored, and what the finding says of them."""

import ast
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from test_lungldm_runs import classifier, diffusion, tiny

from lungnb import UserError
from lungnb.configs import AUGMENTATION, LUNGLDM, LUNGLDM_SYSTEMS
from lungnb.data.prompts import prompts
from lungnb.metrics.classification import evaluate
from lungnb.papers.lungldm import synthesis as augmentation
from lungnb.papers.lungldm.augmentation import ALL, MIXTURES, RECORDED, experiment_of
from lungnb.papers.lungldm.diffusion import DiffusionRun, generate
from lungnb.papers.lungldm.experiments import AutoencoderRun, ClassifierRun
from lungnb.papers.lungldm.mel import LungMel
from lungnb.papers.lungldm.mels import mels_of
from lungnb.papers.lungldm.synthesis import (
    AugmentationRun,
    SynthesisRun,
    changed,
    classes_of,
    first_of_each,
    heard_in_training,
    joined,
    of_each_type,
    refuse_leak,
)

RARE = {"wheeze": 1, "rhonchi": 0}


def synthesis(**choices):
    given = {"diffusion": diffusion(), "judge": classifier(), "n_per_type": 2, "rare": RARE, "steps": 1}
    return tiny(SynthesisRun, **given | choices)


def mixture(**choices):
    return tiny(AugmentationRun, **{"synthesis": synthesis(), "epochs": 1, "draws": 32} | choices)


@pytest.fixture(scope="module")
def given():
    return mels_of(classifier())


# ---- the words of notebook 04 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", list(LUNGLDM))
def test_the_generator_is_the_one_that_notebook_04_trains(profile, monkeypatch):
    clips = SimpleNamespace(fingerprint="0123", table=range(1000))
    monkeypatch.setattr("lungnb.papers.lungldm.augmentation.load_corpus", lambda name, data, n: clips)
    source = (Path(__file__).parents[3] / "notebooks" / "04_lungldm.py").read_text()
    words = {"judge_of", "limited", "chain"}
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in words]
    names = {"clips": clips, "data": "simulated", "device": "auto", "steps": 0, "text": "", "n_train": 600}
    names |= {kind.__name__: kind for kind in (ClassifierRun, AutoencoderRun, DiffusionRun)}
    exec(compile(tree, "04_lungldm", "exec"), names)
    theirs = names["chain"](LUNGLDM[profile], LUNGLDM_SYSTEMS["LungLDM"], LUNGLDM[profile]["seeds"][0])
    ours = experiment_of(profile)
    parts = (ours.judge, ours.autoencoder, ours.diffusion)
    assert [run.infra.uid() for run in parts] == [run.infra.uid() for run in theirs]


def test_an_experiment_has_a_run_for_each_seed_of_each_mixture(monkeypatch):
    monkeypatch.setattr(
        "lungnb.papers.lungldm.augmentation.load_corpus", lambda name, data, n: SimpleNamespace(fingerprint="0123")
    )
    experiment = experiment_of("smoke", seeds=[3, 4], epochs=2)
    runs = {name: experiment.group(name) for name in MIXTURES}
    assert len({run.infra.uid() for group in runs.values() for run in group}) == 2 * len(MIXTURES)
    assert {(run.epochs, run.draws, run.batch_size) for group in runs.values() for run in group} == {(2, 640, 32)}
    assert [run.seed for run in runs[RECORDED]] == [3, 4]
    assert [run.seed for run in experiment_of("smoke").group(RECORDED)] == AUGMENTATION["smoke"]["seeds"]
    assert runs[ALL][0].recorded == "all"
    for group in runs.values():  # the rounds that are made are those that are used
        assert [group[0].round(k).infra.uid() for k in (0, 1)] == [run.infra.uid() for run in experiment.rounds]


# ---- mixtures ---------------------------------------------------------------------------------------------------------


def test_few_clips_of_each_type_are_drawn_from_one_part(given):
    rows = of_each_type(given, "train", 3, {"wheeze": 1}, seed=5)
    sound = given.table["sound"].to_numpy(object)[rows]
    counts = pd.Series(sound).value_counts()
    assert counts["wheeze"] == 1
    assert (counts.drop("wheeze") == 3).all()
    assert set(given.role[rows]) == {"train"}
    assert len(set(rows.tolist())) == len(rows)
    assert set(of_each_type(given, "train", 2, seed=5).tolist()) <= set(
        of_each_type(given, "train", 3, seed=5).tolist()
    )
    assert set(rows.tolist()) != set(of_each_type(given, "train", 3, {"wheeze": 1}, seed=6).tolist())
    many = of_each_type(given, "validation", 10_000)
    assert sorted(many.tolist()) == given.rows("validation").tolist()


def test_a_share_is_of_each_type_and_rounded_up():
    types = np.array(["a", "a", "a", "a", "b", "b", "c"], dtype=object)
    assert first_of_each(types, 0.25).tolist() == [True, False, False, False, True, False, True]
    assert first_of_each(types, 0.5).tolist() == [True, True, False, False, True, False, True]
    assert first_of_each(types, 1.0).all()


def test_joined_clips_are_halves_of_two_clips_of_a_type():
    types = np.array(["a", "a", "a", "b", "b", "c"], dtype=object)
    log_mel = torch.arange(6.0)[:, None, None, None].expand(6, 1, 8, 64)
    both = joined(log_mel, types, seed=0)
    assert both.shape == log_mel.shape
    first, second = both[:, 0, :4], both[:, 0, 4:]
    assert torch.equal(first, log_mel[:, 0, :4])
    other = second[:, 0, 0].int().numpy()
    assert (second == second[:, :1, :1]).all()
    assert (types[other] == types).all()
    assert (other[:5] != np.arange(5)).all()
    assert other[5] == 5  # alone in its type


def test_changed_copies_differ_from_their_originals_and_by_seed(given):
    rows, mel = given.rows("train")[:8], LungMel()
    one, again, other = (changed(given, rows, mel, seed) for seed in (0, 0, 1))
    assert one.shape == given.log_mel[rows].shape
    assert one.dtype == torch.float16
    assert torch.equal(one, again)
    away = (one.float() - given.log_mel[rows].float()).abs().mean(dim=(1, 2, 3))
    assert (away > 0.01).all()
    assert not torch.equal(one, other)


def test_a_mixture_is_the_few_and_what_is_made_of_them(given):
    few = mixture().few(given)
    sound = given.table["sound"].to_numpy(object)
    for added in ("generated", "changed", "joined"):
        mels, types, n = mixture(added=added, share=2.0).mixture(given)
        assert n == len(few)
        assert torch.equal(mels[:n], given.log_mel[few])
        assert (types[:n] == sound[few]).all()
        assert (pd.Series(types[n:]).value_counts() == 2 * pd.Series(sound[few]).value_counts()).all()
    half, types, n = mixture(share=0.5).mixture(given)
    assert len(half) == n + len(set(types))  # one of two, and one of one
    rounds = torch.cat([mixture().round(k).log_mels for k in (0, 1)])
    assert torch.equal(mixture(share=2.0, recorded="none").mixture(given)[0], rounds)
    whole, types, n = mixture(recorded="all").mixture(given)
    assert n == len(whole) == given.n_clips["train"]
    assert (types == sound[given.rows("train")]).all()
    assert set(few.tolist()) != set(mixture(seed=1).few(given).tolist())


def test_a_mixture_of_nothing_is_refused(given):
    with pytest.raises(UserError, match="nothing to train on"):
        mixture(recorded="none").mixture(given)


# ---- nothing leaks ----------------------------------------------------------------------------------------------------


def test_generated_clips_are_those_of_the_prompts_of_training_clips(given):
    run = synthesis(seed=1)
    about = given.table.set_index("clip").loc[run.predictions["clip"]]
    assert set(about["patient"]) <= set(given.table["patient"].iloc[given.rows("train").numpy()])
    assert run.predictions["prompt"].tolist() == prompts(about).tolist()
    made = generate(run.diffusion, list(run.predictions["prompt"]), steps=1, seed=1)
    assert torch.equal(run.log_mels, made.log_mels.half())
    assert run.result()["adherence"] == (run.predictions["predicted"] == run.predictions["sound"]).mean()


def test_the_generator_has_heard_no_patient_of_the_test(given):
    of = given.table["patient"].to_numpy(object)
    rows = heard_in_training(diffusion(), given)
    assert len(rows)
    assert not set(of[rows]) & set(of[given.role != "train"])
    refuse_leak(diffusion(), given)
    role = given.role.copy()
    role[rows[0]] = "test"  # a patient on both sides
    with pytest.raises(UserError, match="split the clips by patient"):
        refuse_leak(diffusion(steps=50, batch_size=100), replace(given, role=role))


def test_a_classifier_is_tested_on_all_clips_of_the_test_patients_and_no_other(given):
    run = mixture(share=1.0)
    frame = run.predictions
    assert sorted(frame["clip"]) == sorted(given.table["clip"].iloc[given.rows("test").numpy()])
    assert set(frame["role"]) == {"test"}
    assert (frame["label"] == classes_of(frame["sound"])).all()
    p = frame[[f"p{k}" for k in range(13)]].to_numpy()
    assert np.allclose(p.sum(1), 1, atol=1e-5)
    assert (p.argmax(1) == frame["predicted"]).all()
    assert run.result()["n_clips"]["made"] == run.result()["n_clips"]["recorded"] == len(run.few(given))
    assert run.result()["clips_drawn"] == 32
    assert run.trained()(given.log_mel[:2]).shape == (2, 13)


def test_it_learns_from_recorded_clips():
    run = mixture(recorded="all", epochs=3, draws=480)
    score = evaluate([run.predictions], 10).set_index("metric")["ours"]["balanced accuracy"]
    assert score > 3 / 13
    assert len(run.history) == 3


def test_parts_of_another_size_are_refused(tmp_path):
    larger = synthesis().model_copy(update={"size": "laptop"})
    with pytest.raises(UserError, match="cannot stand on the SynthesisRun of size laptop"):
        mixture().model_copy(update={"synthesis": larger}).compute(tmp_path / "c.pt")


# ---- scores -----------------------------------------------------------------------------------------------------------


# ---- what stands on a generator


def test_classes_are_those_of_the_generator():
    assert classes_of(pd.Series(["cough", "rhonchi"])).tolist() == [0, 12]
    assert augmentation.NAMES[12] == "rhonchi"
