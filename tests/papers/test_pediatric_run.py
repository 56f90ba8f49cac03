"""The paediatric runs: who is trained on, what a network sees, and that side by side is as one after another."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from lungnb.data.clips import crop_table
from lungnb.papers.pediatric_crops import DRAWN, SAMPLE_RATE, TOO_MANY, Images, cropped, images_of, samples_of

from lungnb.core import UserError
from lungnb.data.audio import audio_bank
from lungnb.data.load import load_corpus
from lungnb.data.multisite import SITES
from lungnb.features import CropSpectrogram
from lungnb.papers.pediatric import (
    SCALE,
    PediatricRun,
    corpus_of,
    dropout_passes,
    inputs_of,
    normalised,
    predict,
    roles_of,
)
from lungnb.training.experiment import _pool, run_all

POOLED = (3, 4)


@functools.cache
def cohorts():
    return load_corpus("multisite", n_patients=30)


def tiny(**choices) -> PediatricRun:
    fields = {"sites": ("1", "5"), "epochs": 2, "batch_size": 16, "pooling": POOLED, "n_patients": 30} | choices
    return PediatricRun(corpus=cohorts().fingerprint, **fields)


@pytest.fixture(scope="module")
def finished() -> PediatricRun:
    run = tiny()
    run.result()
    return run


# Crops and images


def test_a_long_recording_of_porto_alegre_is_drawn_from():
    events = cohorts().events.groupby("split").head(2).assign(end_s=60.0)
    corpus = cohorts().select(cohorts().events.index < 0)
    corpus = type(corpus)(**(vars(corpus) | {"events": events.reset_index(drop=True)}))
    all_of_them = crop_table(corpus).groupby("recording").size()
    assert (all_of_them > TOO_MANY).all()
    paper = cropped(corpus).groupby(["cohort", "recording"]).size()
    assert (paper["GVA"] == all_of_them.iloc[0]).all()
    assert (paper["POA1"] == DRAWN).all()
    assert cropped(corpus).equals(cropped(corpus))
    clean = cropped(corpus, "clean").groupby("recording").size()
    assert (clean == 23).all()  # of 60 s, forward only and all of them


def test_images_are_those_of_the_crops():
    images = images_of(cohorts(), pooling=(1, 1))
    bank, row = audio_bank(cohorts(), SAMPLE_RATE), images.table.iloc[7]
    first = bank.start[row["recording"]] + round(row["start_s"] * SAMPLE_RATE)
    wave = torch.from_numpy(np.array(bank.samples[first : first + 5 * SAMPLE_RATE])).float() / 32767
    expected = CropSpectrogram()(wave[None])[0]
    assert images.images.shape[1:] == expected.shape == (150, 216)
    assert torch.allclose(images.images[7].float(), expected, atol=0.05)  # float16 of dB
    assert len(images.images) == len(images.table) == len(crop_table(cohorts()))
    pooled = images_of(cohorts(), pooling=POOLED).images
    assert pooled.shape[1:] == (50, 54)
    assert pooled.float().mean() == pytest.approx(images.images.float().mean().item(), abs=0.05)


def test_mel_and_mfcc_keep_their_rows():
    few = cohorts().select(cohorts().events["split"] == "POA2")
    assert images_of(few, "mfcc", pooling=POOLED).images.shape[1:] == (32, 54)
    assert images_of(few, "mel", pooling=POOLED).images.shape[1:] == (50, 54)


def test_samples_of_a_patient():
    table = pd.DataFrame({"patient": ["a"] * 5 + ["b"], "site": ["1", "1", "1", "2", "2", "2"]})
    samples = samples_of(table, ["1", "2", "3"], np.random.default_rng(0))
    rows = samples.rows.numpy()
    assert list(samples.patient) == ["a", "a", "a", "b"]  # as many as the richest site has crops
    assert rows[:3, 0].tolist() == [0, 1, 2]
    assert rows[:2, 1].tolist() == [3, 4]  # available crops first
    assert rows[2, 1] in (3, 4)
    assert (rows[:, 2] == -1).all()
    assert rows[3].tolist() == [-1, 5, -1]
    assert len(samples_of(table, ["1"], np.random.default_rng(0)).rows) == 3  # b has no such site


# Roles


def test_patients_of_a_cohort_train_and_select_and_all_others_are_tested():
    role = roles_of(tiny(cohort="POA1"), cohorts())
    of = cohorts().events.drop_duplicates("patient").set_index("patient")["split"]
    assert role.index.is_unique
    assert set(role.index) == set(of.index)
    assert set(role[of[role.index] == "POA1"]) == {"train", "validation"}
    assert set(role[of[role.index] != "POA1"]) == {"test"}


def test_every_patient_of_the_cohort_is_tested_in_one_fold():
    roles = [roles_of(tiny(cohort="POA1", fold=k, n_folds=3), cohorts()) for k in range(3)]
    mine = set(cohorts().events.loc[cohorts().events["split"] == "POA1", "patient"])
    tested = [p for role in roles for p in role.index[role == "test"]]
    assert sorted(tested) == sorted(mine)
    for role in roles:
        assert set(role.index) == mine
        assert set(role) == {"train", "validation", "test"}


def test_pneumonia_against_as_much_bronchiolitis():
    role = roles_of(tiny(task="pneumonia", cohort="POA"), cohorts())
    label = cohorts().events.drop_duplicates("patient").set_index("patient")["label"][role.index]
    inside = role != "test"
    assert label[inside].value_counts().nunique() == 1
    assert set(label) == {"pneumonia", "bronchiolitis"}


def test_a_cohort_of_cases_only_cannot_be_trained_on():
    with pytest.raises(UserError, match=r"'POA3' does not hold both kinds of patient.*cohorts here: GVA, POA1"):
        roles_of(tiny(cohort="POA3"), cohorts())


def test_too_few_patients_to_select_with():
    with pytest.raises(UserError, match="one case or one control"):
        roles_of(tiny(fold=0, n_folds=3), cohorts())  # two controls, of whom one is tested


# What the network sees


@pytest.mark.parametrize("missing", ["zero", "mean", "mask"])
def test_a_missing_site(missing):
    given = inputs_of(tiny(sites=("1", "2", "3", "4"), missing=missing), cohorts())
    blank = given.rows >= len(given.images) - 4
    sample, site = (int(x) for x in blank.nonzero()[0])
    stack = given.batch(torch.tensor([sample]))[0]
    if missing == "mean":
        table = images_of(cohorts(), pooling=POOLED).table
        crops = given.rows[torch.from_numpy(given.role == "train"), site].unique()
        crops = crops[crops < len(table)]
        assert (table["site"].iloc[crops.numpy()] == str(site + 1)).all()
        assert torch.allclose(stack[site], given.images[crops].float().mean(0), atol=1e-2)
    else:
        mean, sd = SCALE["stft"]
        assert torch.allclose(stack[site], torch.tensor(-mean / sd), atol=1e-3)  # 0 dB
    if missing == "mask":
        assert len(stack) == 8
        told = stack[4:].flatten(1)
        assert (told == told[:, :1]).all()
        assert told[:, 0].tolist() == (~blank[sample]).float().tolist()


def test_normalisations():
    given, train = images_of(cohorts(), pooling=POOLED), torch.arange(40)
    mean, sd = SCALE["stft"]
    none = normalised(given, tiny(), train).float()
    assert torch.allclose(none * sd + mean, given.images.float(), atol=0.2)
    sample = normalised(given, tiny(normalisation="sample"), train).float()
    assert sample.mean((1, 2)).abs().max() < 1e-2
    assert (sample.std((1, 2)) - 1).abs().max() < 1e-2
    feature = normalised(given, tiny(normalisation="feature"), train).float()[train]
    assert feature.mean((0, 2)).abs().max() < 1e-2
    assert (feature.std((0, 2)) - 1).abs().max() < 1e-2
    recording = normalised(given, tiny(normalisation="recording"), train).float()
    rows = given.table.groupby("recording").indices[given.table["recording"].iloc[0]]
    assert recording[rows].mean((0, 2)).abs().max() < 1e-2


def test_a_filter_of_the_channel_is_gone_from_a_recording():
    given = images_of(cohorts(), pooling=POOLED)
    colour = torch.linspace(-20, 10, given.images.shape[1])[None, :, None]
    coloured = Images(given.table, (given.images.float() + colour).half())
    run, train = tiny(normalisation="recording"), torch.arange(40)
    assert torch.allclose(normalised(given, run, train).float(), normalised(coloured, run, train).float(), atol=5e-3)


def test_background_has_no_time():
    images = normalised(images_of(cohorts(), pooling=POOLED), tiny(content="background"), torch.arange(40)).float()
    assert (images == images[:, :, :1]).all()
    assert images[:, 0, 0].std() > 0.05


# Runs


def test_predictions_are_of_all_samples(finished):
    predictions, facts = finished.predictions, finished.result()
    given = inputs_of(finished, cohorts())
    assert predictions["patient"].tolist() == list(given.patient)
    assert predictions["role"].tolist() == list(given.role)
    assert predictions["p"].between(0, 1).all()
    counts = predictions.drop_duplicates("patient")["role"].value_counts()
    assert facts["n_patients"] == {role: counts[role] for role in facts["n_patients"]}
    again = predict(finished.trained(), given)
    np.testing.assert_allclose(again["p"], predictions["p"], atol=1e-5)
    assert facts["val_loss"] == finished.history["val_loss"].min()


def test_other_orders_of_the_sites_are_other_inputs(finished):
    given = inputs_of(finished, cohorts())
    swapped = predict(finished.trained(), given, order=[1, 0])
    assert not np.allclose(swapped["p"], finished.predictions["p"], atol=1e-4)
    assert torch.equal(given.batch(torch.tensor([3]), [1, 0])[0, 0], given.batch(torch.tensor([3]))[0, 1])


def test_transfer_begins_where_the_first_clinic_ended(finished):
    moved = tiny(cohort="POA1", start=finished, lr=0.0, epochs=1)
    assert moved.state.keys() == finished.state.keys()
    assert all(torch.equal(moved.state[k], v) for k, v in finished.state.items())


def test_side_by_side_is_as_one_after_another(tmp_path):
    threads = torch.get_num_threads()
    runs = [tiny(sites=(site,), seed=3, epochs=2) for site in SITES[:3]]
    try:
        torch.set_num_threads(2)
        run_all(runs)
        assert _pool.cache_info().currsize == 1
        torch.set_num_threads(1)
        for run in runs:
            state = run.compute(tmp_path / f"{run.sites[0]}.pt")[2]
            assert all(torch.equal(run.state[k], v) for k, v in state.items())
    finally:
        torch.set_num_threads(threads)


def test_a_failure_side_by_side_is_told(monkeypatch):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(UserError, match="does not hold both kinds"):
            run_all([tiny(cohort="POA3", seed=s) for s in (0, 1)])
    finally:
        torch.set_num_threads(threads)


def test_dropout_passes_doubt_and_repeat(finished):
    given, network = inputs_of(finished, cohorts()), finished.trained()
    doubt = dropout_passes(network, given, n_passes=5)
    assert (doubt["sd"] > 0).all()
    assert doubt["mean"].between(0, 1).all()
    assert doubt.equals(dropout_passes(network, given, n_passes=5))
    assert not network.dropout.training
    assert set(doubt.index) == set(given.patient)


def test_the_view_of_sprsound_tests_new_children_only():
    source = load_corpus("sprsound", n_patients=40)
    run = PediatricRun(corpus=source.fingerprint, data_set="sprsound", sites=("p1",), cohort="train", pooling=POOLED)
    view = corpus_of(run)
    assert set(view.events["split"]) == {"train", "inter"}
    role = roles_of(run, view)
    of = view.events.drop_duplicates("patient").set_index("patient")["split"][role.index]
    assert (of[role == "test"] == "inter").all()
    assert (of[role != "test"] == "train").all()
    assert images_of(view, pooling=POOLED).images.shape[1:] == (50, 54)  # from 8 kHz
