"""The paediatric presets on simulated cohorts: who is trained on, what a network sees, and what a run leaves."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch

from lungnb.book.recorded import configurations
from lungnb.classification import Classification
from lungnb.classification.fitting import predict_samples, predictions_of
from lungnb.core import UserError
from lungnb.data import load_corpus
from lungnb.data.audio import crop_starts, load_audio
from lungnb.data.splits import cohort_split
from lungnb.data.tasks import TASKS
from lungnb.papers.pediatric import (
    DRAWN,
    SCALE,
    TOO_MANY,
    CropSpectrogram,
    change_content,
    minus_recording_mean,
    samples_of,
    steady_noise,
    summarise_crops,
    thin_crops,
)

PATIENTS = 30
SMALL = {"sites": ("1", "5"), "epochs": 2, "draws": 64, "n_patients": PATIENTS, "device": "cpu"}


@functools.cache
def cohorts():
    return load_corpus("multisite", n_patients=PATIENTS)


@functools.cache
def view(task="cohorts"):
    return TASKS[task].view(cohorts())


def tiny(**choices) -> Classification:
    preset = configurations("pediatric/cohorts")["GVA"]
    return Classification(**{"corpus": cohorts().fingerprint} | preset | SMALL | choices)


@pytest.fixture(scope="module")
def finished() -> Classification:
    run = tiny()
    run.result()
    return run


@functools.cache
def dataset():
    return tiny().dataset()


# Crops and features


def test_a_long_recording_of_porto_alegre_is_drawn_from():
    events = pd.DataFrame({"recording": list("abcd"), "cohort": ["GVA", "GVA", "POA1", "POA2"]})
    row, _ = crop_starts([60.0] * 4)
    crops = events.iloc[row].reset_index(drop=True)
    assert (crops.groupby("recording").size() > TOO_MANY).all()
    paper = thin_crops(crops).groupby(["cohort", "recording"]).size()
    assert paper["GVA"].tolist() == crops.groupby("recording").size().tolist()[:2]
    assert (paper["POA1"] == DRAWN).all()
    assert (paper["POA2"] == DRAWN).all()
    assert thin_crops(crops).equals(thin_crops(crops))
    few = crops.groupby("recording").head(TOO_MANY)
    assert thin_crops(few).equals(few)
    assert len(crop_starts([60.0], direction="clean")[0]) == 23  # forward only and all of them


@pytest.mark.train
def test_features_are_those_of_the_crops():
    whole, audio = tiny(sites=("1",), model="SiteCNN", pooling=(1, 1)).dataset(), load_audio(cohorts(), 22050)
    assert whole.features.shape[1:] == (1, 150, 216)
    recording = view().events["recording"].iloc[whole.event[0]]
    wave = torch.from_numpy(audio.samples[audio.start[recording] :][: 5 * 22050]).float() / 32767
    assert torch.allclose(whole.features[0, 0].float(), CropSpectrogram()(wave[None])[0], atol=0.05)  # float16 of dB
    pooled = tiny(sites=("1",), model="SiteCNN").dataset().features
    assert pooled.shape[1:] == (1, 50, 54)
    own = whole.features[:, 0].float().unflatten(1, (50, 3)).unflatten(3, (54, 4)).mean((2, 4))
    assert torch.allclose(pooled[:, 0].float(), own, atol=0.0625)  # both are rounded to float16, by up to 1/32 dB


@pytest.mark.train
def test_mel_and_mfcc_keep_their_rows():
    assert tiny(front_end="mfcc").dataset().features.shape[1:] == (1, 32, 54)
    assert tiny(front_end="mel").dataset().features.shape[1:] == (1, 50, 54)


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


# Who is trained on


def parts_of_patients(here, cohort, **how):
    """The part of each patient who has one, and patients' cohorts and labels."""
    people = here.events.assign(part=cohort_split(here.events, cohort, **how).part).dropna(subset="part")
    assert (people.groupby("patient")["part"].nunique() == 1).all()
    return people.drop_duplicates("patient").set_index("patient")


@pytest.mark.train
def test_patients_of_a_cohort_train_and_select_and_all_others_are_tested():
    people = parts_of_patients(view(), "POA1")
    assert set(people.index) == set(view().events["patient"])
    assert set(people.loc[people["cohort"] == "POA1", "part"]) == {"train", "validation"}
    assert set(people.loc[people["cohort"] != "POA1", "part"]) == {"test"}


def test_every_patient_of_the_cohort_is_tested_in_one_fold():
    folds = [parts_of_patients(view(), "POA1", fold=k, n_folds=3) for k in range(3)]
    mine = set(view().events.loc[view().events["cohort"] == "POA1", "patient"])
    assert sorted(p for people in folds for p in people.index[people["part"] == "test"]) == sorted(mine)
    for people in folds:
        assert set(people.index) == mine
        assert set(people["part"]) == {"train", "validation", "test"}


def test_pneumonia_against_as_much_bronchiolitis():
    people = parts_of_patients(view("pneumonia"), "POA", balanced=True)
    assert people.loc[people["part"] != "test", "label"].value_counts().nunique() == 1
    assert set(people["label"]) == {"pneumonia", "bronchiolitis"}


def test_a_cohort_of_cases_only_cannot_be_trained_on():
    with pytest.raises(UserError, match=r"'POA3' does not hold both kinds of patient.*cohorts here: GVA, POA1"):
        cohort_split(view().events, "POA3")


def test_too_few_patients_to_select_with():
    with pytest.raises(UserError, match="one case or one control"):
        cohort_split(view().events, "GVA", fold=0, n_folds=3)  # two controls, of whom one is tested


@pytest.mark.parametrize(("others", "n", "fold"), [(["B"], 2, None), ([], 3, 0)], ids=["two cohorts", "one cohort"])
def test_so_many_children_as_notebook_03_asks_for_can_be_split(others, n, fold):
    """Two of each kind in a cohort and one of each in another, or three of each in a single cohort."""
    children = [(label, "A", f"{label} {k}") for label in ("normal", "abnormal") for k in range(n)]
    children += [(label, cohort, f"{label} {cohort}") for label in ("normal", "abnormal") for cohort in others]
    events = pd.DataFrame(children, columns=["label", "cohort", "patient"]).assign(device=pd.NA)
    kinds = events.groupby(cohort_split(events, "A", fold=fold, n_folds=3).part)["label"].nunique()
    assert kinds.to_dict() == {"train": 2, "validation": 2, "test": 2}


@pytest.mark.train
def test_each_child_of_the_view_of_sprsound_is_tested_in_one_fold():
    source, preset = load_corpus("sprsound", n_patients=24), configurations("pediatric/sprsound-sites")["MPO, site p1"]
    runs = [Classification(corpus=source.fingerprint, n_patients=24, **preset | {"fold": k}) for k in range(5)]
    here = runs[0].view().events
    assert set(here["cohort"]) == {"train", "inter"}
    tested = []
    for run in runs:
        part = run.parts(run.view()).part
        assert part.notna().all()
        assert part.groupby(here["patient"]).nunique().eq(1).all()
        tested += here["patient"][part == "test"].unique().tolist()
    assert sorted(tested) == sorted(here["patient"].unique())
    assert runs[0].dataset().features.shape[1:] == (1, 50, 54)  # from 8 kHz


# What the network sees


@pytest.mark.train
@pytest.mark.parametrize("missing", ["zero", "mean", "mask"])
def test_a_missing_site(missing):
    run = tiny(sites=("1", "2", "3", "4"), missing=missing)
    given = run.dataset()
    network = run.network(given)
    n_crops = len(given.features) - 4
    blank = given.rows >= n_crops
    sample, site = (int(x) for x in blank.nonzero()[0])
    stack = given.batch(torch.tensor([sample]))
    if missing == "mean":
        crops = given.rows[given.samples("train"), site].unique()
        crops = crops[crops < n_crops]
        events = view().events.iloc[given.event[crops.numpy()]]
        assert (events["position"] == str(site + 1)).all()
        assert torch.allclose(stack[0, site].float(), given.features[crops].float().mean(0)[0], atol=0.1)
    else:
        mean, sd = SCALE["stft"]
        assert not stack[0, site].any()  # 0 dB
        assert torch.allclose(network.image(stack)[0, site], torch.tensor(-mean / sd), atol=1e-3)
    if missing == "mask":
        assert stack.shape[1] == 8
        told = network.image(stack)[0, 4:].flatten(1)
        assert (told == told[:, :1]).all()
        assert told[:, 0].tolist() == (~blank[sample]).float().tolist()


@pytest.mark.train
def test_the_fixed_scale_is_the_one_of_the_front_end():
    for front_end, (mean, sd) in SCALE.items():
        run = tiny(front_end=front_end)
        given = run.dataset()
        stack = given.batch(torch.arange(3))
        network = run.network(given)
        network.fit_statistics([given.features])  # of which it wants none
        assert torch.allclose(network.image(stack) * sd + mean, stack.float(), atol=1e-3)


@pytest.mark.train
def test_the_mean_of_a_recording_is_taken_away():
    run = tiny(normalisation="recording")
    given, plain = run.dataset(), dataset()
    recording = view().events["recording"].to_numpy(object)[given.event]
    mine = torch.from_numpy(np.flatnonzero(recording == recording[0]))
    expected = plain.features[mine].float()
    expected -= expected.mean((0, 3), keepdim=True)
    assert torch.allclose(given.features[mine].float(), expected, atol=0.05)
    image = run.network(given).image(given.features[mine])
    assert torch.allclose(image, given.features[mine].float() / SCALE["stft"][1], atol=1e-3)  # 0 stays 0


def test_a_filter_of_the_channel_is_gone_from_a_recording():
    features = torch.randn(300, 1, 50, 54, generator=torch.Generator().manual_seed(0)) * 9 - 40
    recording = np.repeat(list("abc"), 100)
    colour = torch.linspace(-20, 10, 50)[:, None]
    plain, coloured = (minus_recording_mean(x, recording).float() for x in (features, features + colour))
    assert torch.allclose(plain, coloured, atol=0.05)
    assert plain[:100].mean((0, 3)).abs().max() < 1e-2


@pytest.mark.train
def test_background_has_no_time():
    features = tiny(content="background").dataset().features[:-2].float()
    assert (features == features[..., :1]).all()
    assert features[:, 0, 0, 0].std() > 1  # but recordings differ
    assert torch.allclose(features[:9], steady_noise(dataset().features[:9]).float())
    rows = np.quantile(dataset().features[0, 0].float().numpy(), 0.1, axis=1)
    assert np.allclose(features[0, 0, :, 0].numpy(), rows, atol=0.05)


def test_the_contents_of_the_papers_remedies():
    features = torch.full((3, 1, 50, 4), -40.0, dtype=torch.float16)
    features[:, :, 20] = 0.0
    low, noisy = (change_content(features, name) for name in ("below 500 Hz", "white noise"))
    assert low.dtype == noisy.dtype == features.dtype
    assert (low[:, :, 15:] == -30).all()  # row 15 is around 500.65 Hz
    assert torch.equal(low[:, :, :15], features[:, :, :15])
    assert noisy[0, 0, 0, 0].item() == pytest.approx(10 * np.log10(1e-4 + 1e-3), abs=0.05)
    assert noisy[0, 0, 20, 0].item() == pytest.approx(0, abs=0.01)
    assert (features[:, :, 20] == 0).all()  # what was given is left alone


# Runs


def test_crops_become_patients():
    columns = {"patient": ["b", "a", "b", "b"], "cohort": "GVA", "split": "test", "label": [1, 0, 1, 1]}
    crops = pd.DataFrame(columns | {"p1": [0.9, 0.2, 0.4, 0.8]}).assign(p0=lambda x: 1 - x["p1"])
    found = summarise_crops(crops).set_index("patient")
    assert found.index.tolist() == ["b", "a"]  # in their order
    assert found.loc["b", ["label", "crops", "called", "highest"]].tolist() == [1, 3, 2, 0.9]
    assert found.loc["b", ["p0", "p1"]].tolist() == pytest.approx([0.3, 0.7])
    assert found.loc["b", "loss"] == pytest.approx(-np.log([0.9, 0.4, 0.8]).mean())
    assert found.loc["a", "loss"] == pytest.approx(-np.log(0.8))


@pytest.mark.train
def test_predictions_are_of_all_samples(finished):
    predictions, facts, given = finished.predictions.query("rule == @finished.selection"), finished.result(), dataset()
    units = given.units.iloc[given.unit]
    for part in ("train", "validation", "test"):
        mine = predictions[predictions["split"] == part]
        assert mine["patient"].tolist() == units.loc[units["split"] == part, "patient"].tolist()
    assert predictions["p1"].between(0, 1).all()
    again = finished.predict()
    np.testing.assert_allclose(again["p1"], predictions["p1"], atol=1e-5)
    assert facts["val_loss"] == pytest.approx(finished.history["val_loss"].iloc[-1])  # the last epoch counts


@pytest.mark.train
def test_patients_are_counted_who_are_heard(finished):
    # A patient without any sample is in dataset.units, but is not counted.
    heard = finished.predictions.drop_duplicates("patient")["split"].value_counts().to_dict()
    assert finished.result()["n_patients"] == heard


@pytest.mark.train
def test_other_orders_of_the_sites_are_other_inputs(finished):
    given = dataset()
    swapped = type(given)(**(vars(given) | {"rows": given.rows[:, [1, 0]]}))
    here, there = (predictions_of(finished.trained(), d, ("test",), "none") for d in (given, swapped))
    assert not np.allclose(here["p1"], there["p1"], atol=1e-4)
    assert torch.equal(swapped.batch(torch.tensor([3]))[0, 0], given.batch(torch.tensor([3]))[0, 1])


@pytest.mark.train
def test_transfer_begins_where_the_first_clinic_ended(finished):
    moved = tiny(cohort="POA1", start=finished, lr=0.0, epochs=1)
    assert moved.state.keys() == finished.state.keys()
    assert all(torch.equal(moved.state[k], v) for k, v in finished.state.items())


@pytest.mark.train
def test_passes_with_dropout_doubt_and_repeat(finished):
    given, network = dataset(), finished.trained()
    dropout, samples = network.network.network.dropout, given.samples("test")

    def passes():
        torch.manual_seed(0)
        return np.stack([predict_samples(network, given, samples, [dropout])[:, 1] for _ in range(5)])

    assert (passes().std(0) > 0).all()
    assert 0 <= passes().min() <= passes().max() <= 1
    assert np.array_equal(passes(), passes())
    sure = predict_samples(network, given, samples)
    assert not dropout.training
    assert np.array_equal(sure, predict_samples(network, given, samples))
