"""Generated clips as a run: for which clips they are made, what real sound they stand beside, and how both are compared."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_lungldm import autoencoder, classifier, diffusion, tiny, vocoder

from lungnb import UserError
from lungnb.data.prompts import prompts
from lungnb.papers.lungldm.frontend import to_waveform
from lungnb.papers.lungldm.pipeline import slerp
from lungnb.papers.lungldm.samples import SampleRun, matched_references, measures, predict, prompt_set, spectrum
from lungnb.training.experiment import run_all

pytestmark = pytest.mark.train


def samples(**choices):
    given = {"diffusion": diffusion(), "judge": classifier(), "n_per_type": 2, "steps": 2}
    return tiny(SampleRun, **given | choices)


def test_every_type_of_the_test_patients_is_asked_for_equally_often():
    mels = classifier().mels()
    rows = prompt_set(mels, 5)
    events = mels.events.iloc[rows.numpy()]
    test = mels.events[mels.part == "test"]
    assert set(mels.part[rows.numpy()]) == {"test"}
    assert (events["sound"].value_counts() == 5).all()
    assert set(events["sound"]) == set(test["sound"])
    assert list(events["sound"]) == sorted(events["sound"], key=list(dict.fromkeys(events["sound"])).index)
    for name, group in events.groupby("sound"):  # no clip comes again before all have come
        assert group["clip"].nunique() == min(5, (test["sound"] == name).sum())
    assert torch.equal(rows, prompt_set(mels, 5))
    assert not torch.equal(rows, prompt_set(mels, 5, seed=1))


def test_a_counterpart_is_another_patients_clip_of_the_same_type():
    mels = classifier().mels()
    rows = prompt_set(mels, 4)
    others = matched_references(mels, rows)
    one, other = (mels.events.iloc[r.numpy()].reset_index(drop=True) for r in (rows, others))
    assert (one["sound"] == other["sound"]).all()
    assert (mels.part[others.numpy()] == "test").all()
    patients = mels.events[mels.part == "test"].groupby("sound")["patient"].nunique()
    several = one["sound"].map(patients) > 1
    assert several.any()
    assert (one["patient"] != other["patient"])[several].all()


def test_a_run_of_samples_holds_what_generate_makes():
    run = samples()
    mels = run.mels()
    events = mels.events.iloc[prompt_set(mels, 2).numpy()]
    texts = prompts(events)
    assert run.predictions["prompt"].tolist() == texts.tolist()
    made = run.diffusion.generate(list(texts), steps=2)
    assert torch.equal(run.log_mels, made.log_mels)
    assert torch.equal(run.waveforms, made.waveforms)
    assert run.result()["adherence"] == (run.predictions["predicted"] == run.predictions["sound"]).mean()
    assert run.config["diffusion"]["gate"] == "se"


def test_samples_through_a_vocoder_are_its_sound():
    run = samples(vocoder=vocoder())
    sound = to_waveform(vocoder().trained(), samples().log_mels, 10240)
    assert torch.allclose(run.waveforms, sound, atol=1e-5)


def test_small_runs_of_one_kind_are_made_side_by_side():
    runs = [samples(seed=k) for k in (1, 2)]
    assert all(run._small for run in runs)
    run_all(runs)
    assert not torch.equal(runs[0].log_mels, runs[1].log_mels)


def test_parts_of_another_size_are_refused(tmp_path):
    larger = classifier().model_copy(update={"size": "laptop"})
    with pytest.raises(UserError, match="cannot stand on the ClassifierRun of size laptop"):
        samples().model_copy(update={"judge": larger}).compute(tmp_path / "c.pt")


def test_measures_of_equal_sets_are_perfect_and_of_others_are_not():
    mels = classifier().mels()
    rows = prompt_set(mels, 8)
    sound = mels.events["sound"].iloc[rows.numpy()]
    judge = classifier().trained()
    real = predict(judge, mels.log_mel[rows])
    assert real.embedding.shape == (len(rows), 64)
    same = measures(real, real, sound)
    assert abs(same["FAD"]) < 1e-3 * np.square(real.embedding).sum(axis=1).mean()
    assert abs(same["KL"]) < 1e-4
    assert same["adherence"] == (real.logits.argmax(1) == pd.factorize(sound)[0]).mean()
    other = measures(
        real, predict(judge, autoencoder().trained().reconstruct(mels.log_mel[rows].float()).detach()), sound
    )
    assert other["FAD"] > same["FAD"]
    assert other["KL"] > same["KL"]


def test_a_spectrum_is_the_mean_over_time():
    log_mel = torch.arange(2 * 64 * 64).float().reshape(2, 1, 64, 64)
    assert spectrum(log_mel).shape == (2, 64)
    assert spectrum(log_mel)[1, 3] == log_mel[1, 0, :, 3].mean()


def test_slerp_keeps_the_length_of_noise_and_meets_both_ends():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(8, 16, 16, generator=generator) for _ in range(2))
    shares = torch.linspace(0, 1, 7)
    path = slerp(a, b, shares)
    assert path.shape == (7, 8, 16, 16)
    assert torch.allclose(path[0], a, atol=1e-5)
    assert torch.allclose(path[-1], b, atol=1e-5)
    assert torch.allclose(
        path.flatten(1).norm(dim=1) / a.norm(), torch.linspace(1, float(b.norm() / a.norm()), 7), atol=0.02
    )
    assert torch.lerp(a, b, 0.5).norm() / a.norm() < 0.75  # the straight line does not
    assert torch.allclose(slerp(a, a, shares), a.expand(7, -1, -1, -1), atol=1e-5)
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert torch.allclose(slerp(x, y, torch.tensor([1 / 3])), torch.tensor([[math.cos(math.pi / 6), 0.5]]), atol=1e-6)
