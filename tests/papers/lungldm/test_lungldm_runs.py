"""LungLDM as runs, on a simulated corpus: what each part is trained on, what it leaves, and that it can be stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_lungldm import autoencoder, classifier, clips, diffusion, vocoder
from torch import nn

from lungnb import UserError, training
from lungnb.data.prompts import DROP, FIELDS, SOUNDS, prompt, prompts, vocabulary
from lungnb.papers.lungldm import experiments as parts
from lungnb.papers.lungldm.classifier import in_batches, mean_recall
from lungnb.papers.lungldm.diffusion import WithEMA
from lungnb.papers.lungldm.frontend import LungMel, Mels, compute_mels, prepare, split_clips
from lungnb.papers.lungldm.losses import denoising_loss
from lungnb.papers.lungldm.pipeline import LungLDMPipeline, make_scheduler
from lungnb.papers.lungldm.text import prompt_table, tiny_text_encoder
from lungnb.training import fit

pytestmark = pytest.mark.train

# ---- data -------------------------------------------------------------------------------------------------------------


def test_the_split_is_by_patient_and_has_every_type_in_training():
    mels = classifier().mels()
    table = mels.events.assign(part=mels.part)
    assert (table.groupby("patient")["part"].nunique() == 1).all()
    assert table.groupby("part")["patient"].nunique().to_dict() == {"train": 7, "validation": 2, "test": 2}
    assert set(table.loc[table["part"] == "train", "sound"]) == set(SOUNDS)
    together = torch.cat([mels.rows(part) for part in ("train", "validation", "test")])
    assert sorted(together.tolist()) == list(range(len(clips().events)))


def test_clips_without_a_patient_are_split_one_by_one():
    table = clips().events.assign(patient=pd.NA)
    assert pd.Series(split_clips(table)).value_counts(normalize=True)["train"] == pytest.approx(0.6, abs=0.02)
    with pytest.raises(UserError, match="4 patients are too few for 5 folds"):
        split_clips(table.assign(patient=[str(k % 4) for k in range(len(table))]))


class Three:
    """A store of three clips."""

    def __init__(self, waves):
        self.waves, self.length = waves, np.array([len(w) for w in waves])

    def __len__(self):
        return 3

    def batches(self, batch_size, seconds):
        yield np.arange(3), np.stack([np.pad(w, (0, 20000))[:10240] for w in self.waves]).astype(np.float32)


def test_mels_are_those_of_the_clips_from_their_start():
    mels = classifier().mels()
    assert mels.log_mel.shape == (len(clips().events), 1, 64, 64)
    assert mels.facts["notes"] == []
    rows = torch.tensor([3, 70])
    assert torch.allclose(LungMel()(mels.waveforms(rows)), mels.log_mel[rows].float(), atol=0.01)
    rng = np.random.default_rng(0)
    waves = [
        0.3 * rng.standard_normal(20000),
        np.r_[np.zeros(12000), 0.3 * rng.standard_normal(4000)],
        0.1 * np.ones(500),
    ]
    waves[2][:250] *= -1
    store = Three(waves)
    made = compute_mels(store, 0.64, LungMel())
    assert made["audible"].tolist() == [True, False, True]  # nothing is heard in the first 0.64 s of the second
    expected = LungMel()(torch.stack([prepare(torch.from_numpy(waves[k]), 10240) for k in (0, 2)]))
    assert np.allclose(made["log_mel"], expected.numpy(), atol=0.01)


def test_statistics_are_those_of_the_training_clips():
    mels = classifier().mels()
    mel = mels.fit_mel()
    train = mels.log_mel[mels.rows("train")].double()
    assert mel.mean.item() == pytest.approx(train.mean().item(), abs=1e-4)
    assert mel.std.item() == pytest.approx(train.std().item(), abs=1e-4)
    assert autoencoder().trained().mel.mean == mel.mean


def test_each_field_but_the_sound_is_left_out_by_chance():
    table, n = clips().events, 20000
    said = prompt_table(table)
    assert said.texts[0] == ""
    assert [said.texts[k] for k in said.whole(torch.arange(len(table)))] == list(prompts(table))
    row = table[list(FIELDS)].notna().all(axis=1).idxmax()
    number = said.draw(torch.full((n,), row), torch.Generator().manual_seed(0), condition_dropout=0.1)
    assert (number == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    ours = pd.Series([said.texts[k] for k in number[number > 0]]).value_counts(normalize=True)
    rng, fields = np.random.default_rng(0), table.loc[row].to_dict()

    def thinned():
        return {name: fields[name] if name == "sound" or rng.random() >= DROP else None for name in FIELDS}

    theirs = pd.Series([prompt(thinned()) for _ in range(n)]).value_counts(normalize=True)
    assert set(ours.index) == set(theirs.index)
    assert (ours - theirs).abs().max() < 0.02
    assert ours[prompt(fields)] == pytest.approx((1 - DROP) ** 4, abs=0.02)


def test_condition_dropout_is_drawn_clip_by_clip():
    """Not for the whole batch at once."""
    said, generator = prompt_table(clips().events), torch.Generator().manual_seed(1)
    dropped = torch.stack([said.draw(torch.arange(50), generator, 0.5) == 0 for _ in range(20)]).float().mean(dim=1)
    assert 0.2 < dropped.min() < dropped.max() < 0.8


# ---- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [classifier, autoencoder, vocoder, diffusion])
def test_a_run_leaves_a_readable_folder_and_is_not_trained_again(make, monkeypatch):
    run = make()
    kind = type(run)
    run.result()
    names = {path.name for path in run.folder.iterdir()}
    assert {"config.yaml", "history.csv", "predictions.parquet", "metrics.json", "model.safetensors"} <= names
    assert "checkpoint.pt" not in names
    assert json.loads((run.folder / "metrics.json").read_text()) == run.result()
    assert run.result()["n_clips"] == run.mels().n_clips
    assert np.isfinite(run.history.drop(columns="epoch")).all(axis=None)
    roles = set(run.predictions["part"])
    assert roles <= {"train", "validation", "test"}
    assert ("train" in roles) == (make is classifier)
    monkeypatch.setattr(kind, "compute", None)
    assert make().result() == run.result()
    assert make(seed=1).uid != run.uid


def test_the_stored_classifier_gives_the_stored_predictions():
    run, mels = classifier(), classifier().mels()
    judge = run.trained()
    guess = in_batches(judge, mels.log_mel).argmax(1)
    assert [list(SOUNDS)[k] for k in guess] == run.predictions["predicted"].tolist()
    assert run.predictions["label"].tolist() == mels.events["sound"].tolist()
    assert judge.embed(mels.log_mel[:3]).shape == (3, 64)
    tested = run.predictions.query("part == 'test'")
    assert run.result()["recall"]["test"] == mean_recall(tested["label"], tested["predicted"])
    assert mean_recall(np.array([0, 0, 0, 5]), np.array([0, 0, 1, 5])) == pytest.approx((2 / 3 + 1) / 2)


def test_a_classifier_of_ages_leaves_out_those_not_known():
    run = classifier(target="age_decade", epochs=1)
    known = run.mels().events["age_decade"].notna()
    assert 0 < len(run.predictions) == known.sum() < len(known)
    assert run.predictions["label"].tolist() == run.mels().events.loc[known, "age_decade"].tolist()


def test_the_perceptual_distance_is_that_of_the_classifier():
    assert autoencoder().result()["perceptual"] == "MelClassifier"
    assert "val_perceptual" in autoencoder().history
    plain = autoencoder(perceptual=None, penalty="none", se=False)
    assert plain.result()["perceptual"] == "none"
    assert list(plain.history.columns) == ["epoch", "loss", "val_loss", "val_l1", "val_kl", "val_above_cap"]
    assert not any("gates" in name for name in plain.state)
    assert plain.result()["n_parameters"] == autoencoder().result()["n_parameters"] - 1880  # those of SE


def test_the_scaling_factor_is_one_over_the_std_of_the_training_latents():
    run = diffusion()
    mels = run.mels()
    rows = run.training_clips(mels)
    latents = run.autoencoder.latents(mels, rows)
    expected = run.autoencoder.trained().encode(mels.log_mel[rows[:5]])
    assert torch.allclose(latents[:5].float(), expected, atol=0.01)
    assert run.result()["scaling_factor"] * latents.double().std().item() == pytest.approx(1, abs=1e-3)
    assert run.pipeline().vae.config.scaling_factor == run.result()["scaling_factor"]


def test_a_short_training_encodes_no_more_clips_than_it_draws():
    mels = classifier().mels()
    train = mels.rows("train")
    few, all_of_them = (diffusion(steps=n).training_clips(mels) for n in (6, 10_000))
    assert len(few) == 6 * 4 == diffusion().result()["n_seen"]
    assert set(few.tolist()) < set(train.tolist())
    assert torch.equal(all_of_them, train)
    assert not torch.equal(few, diffusion(seed=1).training_clips(mels))


def test_the_average_warms_up_by_the_formula():
    long = WithEMA(nn.Linear(1, 1), 0.9999).ema
    assert [long.get_decay(n) for n in (1, 2, 3)] == [2 / 11, 3 / 12, 4 / 13]
    assert long.get_decay(89_980) < 0.9999 == long.get_decay(89_990)
    model = WithEMA(nn.Linear(1, 1, bias=False), 0.5)
    expected = model.net.weight.item()
    for n, weight in enumerate(range(7, 27), start=1):
        nn.init.constant_(model.net.weight, weight)
        model.update()
        keep = min(0.5, (1 + n) / (10 + n))
        expected = keep * expected + (1 - keep) * weight
        assert model.average.weight.item() == pytest.approx(expected, rel=1e-5)
    again = WithEMA(nn.Linear(1, 1, bias=False), 0.5)
    again.load_state_dict(model.state_dict())
    assert again.n_updates == 20


def test_the_rate_warms_up_step_by_step_and_every_step_is_averaged():
    run, rates = diffusion(warmup=4, lr=1.0), []
    model = WithEMA(nn.Linear(1, 1), 0.9)
    optimizer = run.optimizer(model)
    optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    for _ in range(6):
        model(torch.ones(1, 1)).sum().backward()
        optimizer.step()
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert model.n_updates == 6
    assert diffusion().result()["n_steps"] == 6


@pytest.mark.parametrize(("steps", "n_rows"), [(6, 6), (30, 10), (12, 10), (7, 7), (1, 1), (25_000, 25), (1009, 10)])
def test_steps_are_exact(steps, n_rows, monkeypatch):
    seen = {}
    monkeypatch.setattr(parts, "fit", lambda net, loss, n_items, *_, **k: seen.update(k, n_items=n_items))
    run = autoencoder(steps=steps)
    run.fit_steps(nn.Linear(1, 1), None, None, accelerator=SimpleNamespace(num_processes=2))
    assert seen["epochs"] == n_rows == len(seen["n_items"])
    assert sum(seen["n_items"]) == steps * run.batch_size * 2
    assert max(seen["n_items"]) - min(seen["n_items"]) in (0, run.batch_size * 2)


def test_steps_that_no_row_divides_are_trained():
    run = diffusion(steps=13)
    assert run.result()["n_steps"] == 13
    assert len(run.history) == 10


@pytest.mark.parametrize("make", [autoencoder, diffusion])
def test_bfloat16_is_near_float32_and_its_weights_are_kept_in_float32(make, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "_has_bfloat16", lambda: True)
    rows = Mels.rows  # of two clips: where a CPU has no bfloat16, torch does it slowly
    monkeypatch.setattr(Mels, "rows", lambda mels, part: rows(mels, part)[:2])
    (exact, _, _, _), (near, _, state, _) = (
        make(steps=2, batch_size=1, precision=precision).compute(tmp_path / precision / "checkpoint.pt")
        for precision in ("float32", "bf16")
    )
    assert near["loss"].tolist() == pytest.approx(exact["loss"].tolist(), rel=0.05)
    assert near["loss"].tolist() != exact["loss"].tolist()
    assert {weight.dtype for weight in state.values()} == {torch.float32}


class Killed(Exception):
    pass


@pytest.fixture
def often_saved(monkeypatch):
    monkeypatch.setattr(parts, "fit", lambda *a, **k: fit(*a, **k | {"checkpoint_every_s": 0}))
    return monkeypatch


@pytest.mark.parametrize("make", [autoencoder, diffusion])
def test_a_resumed_run_ends_like_an_unbroken_one(make, tmp_path, often_saved):
    run, calls = make(), []
    run.result()

    def die(*told):
        calls.append(told)
        if len(calls) == 3:
            raise Killed

    with often_saved.context() as patch:
        patch.setattr("lungnb.training.tell_progress", die)
        with pytest.raises(Killed):
            run.compute(tmp_path / "checkpoint.pt")
    assert (tmp_path / "checkpoint.pt").exists()
    history, predictions, state, facts = run.compute(tmp_path / "checkpoint.pt")
    assert state.keys() == run.state.keys()
    assert all(torch.equal(state[name], run.state[name]) for name in state)
    assert history["loss"].tolist() == pytest.approx(run.history["loss"].tolist())
    pd.testing.assert_frame_equal(predictions, run.predictions, check_dtype=False)
    assert facts.get("n_steps") == run.result().get("n_steps")


def test_a_checkpoint_of_another_config_is_refused(tmp_path, often_saved):
    diffusion(gate="none", steps=1).compute(tmp_path / "checkpoint.pt")
    with pytest.raises(
        UserError,
        match=r"checkpoint.pt is no checkpoint of this run \(Error.s. in loading state_dict for WithEMA:\); remove it",
    ):
        diffusion(gate="se", steps=1).compute(tmp_path / "checkpoint.pt")


def test_parts_of_other_clips_or_sizes_are_refused(tmp_path):
    other = autoencoder().model_copy(update={"corpus": "0123"})
    with pytest.raises(
        UserError, match=r"DiffusionRun of size smoke on the clips .* cannot stand on the AutoencoderRun .* 0123"
    ):
        diffusion().model_copy(update={"autoencoder": other}).compute(tmp_path / "c.pt")
    with pytest.raises(UserError, match=r"has changed since this run was set up"):
        other.mels()


# ---- what comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_network_that_knows_the_noise_has_no_loss(prediction):
    """Noise and velocity written out: x = a z + s e, and v = a e - s z."""
    noise, z = make_scheduler("ddim", prediction), torch.randn(6, 8, 4, 4)
    step = torch.tensor([0, 10, 300, 600, 900, 999])
    a = noise.alphas_cumprod[step].sqrt()[:, None, None, None]
    s = (1 - a**2).sqrt()

    def knowing(noisy, at, text, mask):
        assert torch.equal(at, step)
        e = (noisy - a * z) / s
        return e if prediction == "epsilon" else a * e - s * z

    def loss(net):
        return denoising_loss(net, noise, z, None, None, torch.Generator().manual_seed(0), step)

    assert loss(knowing).max() < 1e-4
    assert loss(lambda noisy, *_: torch.zeros_like(noisy)).min() > 0.5


def test_the_pipeline_holds_the_average_and_survives_its_folder(tmp_path):
    run = diffusion()
    pipeline = run.pipeline()
    unet = pipeline.unet.state_dict()
    assert all(torch.equal(unet[k], run.state[f"unet.{k}"]) for k in unet)
    said = ["A person is coughing, male, 40s", "A person is speaking"]
    pipeline.save_pretrained(tmp_path / "model")
    again = LungLDMPipeline.from_pretrained(tmp_path / "model")
    ours, theirs = (
        p(said, 0.64, steps=3, generator=torch.Generator().manual_seed(0)).waveforms for p in (pipeline, again)
    )
    assert torch.equal(ours, theirs)


def test_a_generated_clip_does_not_depend_on_those_beside_it():
    run, said = diffusion(), list(prompts(clips().events.head(5)))
    whole = run.generate(said, steps=2, seed=3)
    assert whole.waveforms.shape == (5, 10240)
    assert whole.log_mels.shape == (5, 1, 64, 64)
    parted = run.generate(said, steps=2, seed=3, batch_size=2)
    assert torch.allclose(whole.log_mels, parted.log_mels, atol=1e-3)
    other = run.generate(said[:1] * 2, steps=2, seed=4).log_mels
    assert not torch.allclose(other[0], other[1], atol=0.1)
    with pytest.raises(UserError, match="prompt is empty"):
        run.generate(["A person is coughing", " "])
    with pytest.raises(UserError, match="no prompt to generate from"):
        run.generate([])


def test_a_trained_vocoder_takes_the_place_of_griffin_and_lim():
    run, said = diffusion(), ["A person is coughing"]
    ours, fallback = run.generate(said, steps=1, vocoder=vocoder()), run.generate(said, steps=1)
    assert torch.equal(ours.log_mels, fallback.log_mels)
    assert ours.waveforms.shape == fallback.waveforms.shape
    expected = vocoder().trained()(ours.log_mels[:, 0])[:, :10240]
    assert torch.allclose(ours.waveforms, expected, atol=1e-5)
    assert not torch.allclose(ours.waveforms, fallback.waveforms, atol=1e-3)


def test_a_vocoder_learns():
    history = vocoder(steps=8, lr=5e-3).history
    assert history["val_loss"].iloc[-1] < 0.9 * history["val_loss"].iloc[0]


def test_a_frozen_text_encoder_is_read_once_and_not_trained(tmp_path):
    torch.manual_seed(0)
    encoder, tokenizer = tiny_text_encoder(vocabulary())
    encoder.save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    run = diffusion(text=str(tmp_path / "t5"), steps=1)
    assert all(name.startswith("unet.") for name in run.state)
    stored = run.pipeline().text_encoder.state_dict()
    assert all(torch.equal(stored[k], v) for k, v in encoder.state_dict().items())
    assert run.generate(["A person is coughing"], steps=1).waveforms.isfinite().all()


# ---- several processes, a GPU, and rare types -----------------------------------------------------------------------------


def test_two_processes_train_one_diffusion(tmp_path):
    """Each process sees its own clips; the weights that generate, and their average, are the same in both."""
    diffusion().result()  # what both stand on: clips, mels, the autoencoder and its latents
    (tmp_path / "two.py").write_text(
        dedent(f"""
        import sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[2])!r}]
        import torch
        from pathlib import Path
        from accelerate.state import PartialState
        from tiny_lungldm import diffusion
        run = diffusion(steps=4)
        run.autoencoder.result()
        history, _, state, facts = run.compute(Path({str(tmp_path)!r}) / "checkpoint.pt")
        process = PartialState()
        assert process.num_processes == 2 and facts["n_steps"] == 4
        torch.save((state, history["loss"].tolist()), {str(tmp_path)!r} + f"/{{process.process_index}}.pt")
        """)
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, str(tmp_path / "two.py")],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (one, loss_one), (other, loss_other) = (torch.load(tmp_path / f"{k}.pt", weights_only=True) for k in (0, 1))
    assert loss_one == loss_other
    assert one.keys() == diffusion().state.keys()
    assert all(torch.equal(one[k], other[k]) for k in one)
    alone = diffusion(steps=4).state
    assert not all(torch.equal(one[k], alone[k]) for k in one)


def test_a_compiled_network_keeps_its_weights_names():
    net = nn.Sequential(nn.Linear(3, 2))
    names, x = list(net.state_dict()), torch.randn(4, 3)
    expected = net(x)
    assert parts.compiled_on_gpu(net) is net  # on a CPU nothing is compiled
    assert net._compiled_call_impl is None
    assert list(net.state_dict()) == names
    assert torch.equal(net(x), expected)


def test_rare_types_are_drawn_as_often_as_asked():
    rows = torch.arange(100, 1100)
    generator, items = torch.Generator().manual_seed(0), torch.zeros(8000, dtype=torch.long)
    n = torch.where(rows < 200, 100.0, 900.0)  # 100 clips of a rare type, 900 of another
    for balance, share in ((0.0, 0.1), (0.5, 0.25), (1.0, 0.5)):
        chosen = parts.sample_rows(rows, items, generator, n**-balance)
        assert abs((chosen < 200).double().mean() - share) < 0.02
    assert set(parts.sample_rows(rows[:3], items, generator).tolist()) == {100, 101, 102}
