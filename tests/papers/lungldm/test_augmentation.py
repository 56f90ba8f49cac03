"""Synthetic augmentation: what a mixture holds, that nothing leaks, how gains are scored, and what the finding says of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_lungldm import classifier, diffusion, tiny

from lungnb import UserError
from lungnb.data.prompts import prompts
from lungnb.metrics.classification import evaluate
from lungnb.papers.lungldm.augmentation import AugmentationRun, changed, classes_of, first_of_each, joined
from lungnb.papers.lungldm.samples import SynthesisRun, draw_clips, refuse_leak

pytestmark = pytest.mark.train

RARE = {"wheeze": 1, "rhonchi": 0}


def synthesis(**choices):
    given = {"diffusion": diffusion(), "n_per_type": 2, "rare": RARE, "steps": 1}
    return tiny(SynthesisRun, **given | choices)


def mixture(**choices):
    return tiny(AugmentationRun, **{"synthesis": synthesis(), "epochs": 1, "draws": 32} | choices)


@pytest.fixture(scope="module")
def mels():
    return classifier().mels()


# ---- mixtures ---------------------------------------------------------------------------------------------------------


def test_few_clips_of_each_type_are_drawn_from_one_part(mels):
    rows = draw_clips(mels, "train", 3, {"wheeze": 1}, seed=5)
    sound = mels.events["sound"].to_numpy(object)[rows]
    counts = pd.Series(sound).value_counts()
    assert counts["wheeze"] == 1
    assert (counts.drop("wheeze") == 3).all()
    assert set(mels.part[rows]) == {"train"}
    assert len(set(rows.tolist())) == len(rows)
    assert set(draw_clips(mels, "train", 2, seed=5).tolist()) <= set(draw_clips(mels, "train", 3, seed=5).tolist())
    assert set(rows.tolist()) != set(draw_clips(mels, "train", 3, {"wheeze": 1}, seed=6).tolist())
    many = draw_clips(mels, "validation", 10_000)
    assert sorted(many.tolist()) == mels.rows("validation").tolist()


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


def test_changed_copies_differ_from_their_originals_and_by_seed(mels):
    rows = mels.rows("train")[:8]
    one, again, other = (changed(mels, rows, seed) for seed in (0, 0, 1))
    assert one.shape == mels.log_mel[rows].shape
    assert one.dtype == torch.float16
    assert torch.equal(one, again)
    away = (one.float() - mels.log_mel[rows].float()).abs().mean(dim=(1, 2, 3))
    assert (away > 0.01).all()
    assert not torch.equal(one, other)


def test_a_mixture_is_the_few_and_what_is_made_of_them(mels):
    few = mixture().few(mels)
    sound = mels.events["sound"].to_numpy(object)
    for added in ("generated", "changed", "joined"):
        log_mel, types, n = mixture(added=added, share=2.0).mixture(mels)
        assert n == len(few)
        assert torch.equal(log_mel[:n], mels.log_mel[few])
        assert (types[:n] == sound[few]).all()
        assert (pd.Series(types[n:]).value_counts() == 2 * pd.Series(sound[few]).value_counts()).all()
    half, types, n = mixture(share=0.5).mixture(mels)
    assert len(half) == n + len(set(types))  # one of two, and one of one
    rounds = torch.cat([mixture().round(k).log_mels for k in (0, 1)])
    assert torch.equal(mixture(share=2.0, recorded="none").mixture(mels)[0], rounds)
    whole, types, n = mixture(recorded="all").mixture(mels)
    assert n == len(whole) == mels.n_clips["train"]
    assert (types == sound[mels.rows("train")]).all()
    assert set(few.tolist()) != set(mixture(seed=1).few(mels).tolist())


def test_a_mixture_of_nothing_is_refused(mels):
    with pytest.raises(UserError, match="nothing to train on"):
        mixture(recorded="none").mixture(mels)


# ---- nothing leaks ----------------------------------------------------------------------------------------------------


def test_generated_clips_are_those_of_the_prompts_of_training_clips(mels):
    run = synthesis(seed=1)
    about = mels.events.set_index("clip").loc[run.predictions["clip"]]
    assert set(about["patient"]) <= set(mels.events["patient"].iloc[mels.rows("train").numpy()])
    assert run.predictions["prompt"].tolist() == prompts(about).tolist()
    made = run.diffusion.generate(list(run.predictions["prompt"]), steps=1, guidance=2.0, seed=1)
    assert torch.equal(run.log_mels, made.log_mels.half())


def test_the_generator_has_heard_no_patient_of_the_test(mels):
    of = mels.events["patient"].to_numpy(object)
    rows = diffusion().training_clips(mels)
    assert len(rows)
    assert not set(of[rows]) & set(of[mels.part != "train"])
    refuse_leak(mels, rows)
    part = mels.part.copy()
    part[rows[0]] = "test"  # a patient on both sides
    with pytest.raises(UserError, match="split the clips by patient"):
        refuse_leak(replace(mels, part=part), rows)


def test_a_classifier_is_tested_on_all_clips_of_the_test_patients_and_no_other(mels):
    run = mixture(share=1.0)
    frame = run.predictions
    assert sorted(frame["clip"]) == sorted(mels.events["clip"].iloc[mels.rows("test").numpy()])
    assert set(frame["part"]) == {"test"}
    assert (frame["label"] == classes_of(frame["sound"])).all()
    p = frame[[f"p{k}" for k in range(13)]].to_numpy()
    assert np.allclose(p.sum(1), 1, atol=1e-5)
    assert (p.argmax(1) == frame["predicted"]).all()
    assert run.result()["n_clips"]["made"] == run.result()["n_clips"]["recorded"] == len(run.few(mels))
    assert run.result()["clips_drawn"] == 32
    assert run.trained()(mels.log_mel[:2]).shape == (2, 13)


def test_it_learns_from_recorded_clips():
    run = mixture(recorded="all", epochs=3, draws=480)
    score = evaluate([run.predictions], 10).set_index("metric")["ours"]["balanced accuracy"]
    assert score > 3 / 13
    assert len(run.history) == 3


def test_parts_of_another_size_are_refused(tmp_path):
    larger = synthesis().model_copy(update={"size": "laptop"})
    with pytest.raises(UserError, match="cannot stand on the SynthesisRun of size laptop"):
        mixture().model_copy(update={"synthesis": larger}).compute(tmp_path / "c.pt")


def test_classes_are_those_of_the_generator():
    assert classes_of(pd.Series(["cough", "rhonchi"])).tolist() == [0, 12]
