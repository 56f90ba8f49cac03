"""The Conv-LSTM paper's presets on a simulated corpus: who is trained on, what the networks see, and what a run leaves."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from lungnb.book.recorded import experiment
from lungnb.classification import Classification
from lungnb.classification.fitting import predict_samples
from lungnb.core import UserError
from lungnb.data import load_corpus
from lungnb.data.splits import make_split
from lungnb.data.sprsound import LABELS
from lungnb.metrics.classification import biocas_scores, scores
from lungnb.papers.convlstm import class_weights

PATIENTS = 20
SMALL = {"model": "CNN", "epochs": 2, "n_patients": PATIENTS, "device": "cpu", "hidden": 16, "readout": "last"}
SMALL |= {"batch_size": 16, "precision": "float32", "predict_train": False}


@functools.cache
def simulated():
    return load_corpus("sprsound", n_patients=PATIENTS)


def tiny(setting="paper", **choices):
    recorded = experiment("convlstm/sprsound-event")
    fields = recorded["fields"] | recorded["rows"][f"{setting} CNN"] | SMALL | choices
    return Classification(corpus=simulated().fingerprint, **fields)


@pytest.fixture(scope="module")
def finished():
    run = tiny()
    run.result()
    return run


@pytest.mark.train
def test_predictions_are_of_all_events_but_those_of_training(finished):
    events, part = simulated().events, finished.parts(finished.view()).part
    predictions = finished.tested("validation", "inter", "intra")
    expected = part[part != "train"]
    assert predictions.set_index("event")["split"].sort_index().to_dict() == expected.to_dict()
    assert set(predictions["split"]) == {"validation", "inter", "intra"}
    mine = events.loc[predictions["event"]]
    for column in ("recording", "patient"):
        assert mine[column].tolist() == predictions[column].tolist()
    assert mine["label"].map(LABELS.index).tolist() == predictions["label"].tolist()
    p = predictions[[f"p{k}" for k in range(7)]].to_numpy()
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert (predictions["predicted"] == p.argmax(axis=1)).all()


@pytest.mark.train
def test_the_epoch_is_the_one_of_the_best_validation_score(finished):
    facts, history = finished.result(), finished.history
    assert facts["n_units"] == finished.parts(finished.view()).part.value_counts().to_dict()
    for part, rows in finished.tested("validation", "inter", "intra").groupby("split"):
        assert facts["scores"][part] == pytest.approx(scores(rows["label"], rows["predicted"], biocas_scores))
    assert facts["epoch_of"]["validation"] == history["val_Score"].idxmax()
    assert history["val_Score"].max() == pytest.approx(facts["scores"]["validation"]["Score"])
    assert len(history) == 2


@pytest.mark.train
def test_leaks_of_the_test_parts_are_noted(finished):
    events, part = simulated().events, finished.parts(finished.view()).part
    intra, trained, selecting = (set(events.loc[part == p, "patient"]) for p in ("intra", "train", "validation"))
    assert intra & trained
    assert finished.notes == [
        f"leaky test: {len(intra & trained)} of the {len(intra)} intra patients are trained on",
        f"leaky selection: {len(intra & selecting)} of the {len(intra)} intra patients select the epoch",
    ]


@pytest.mark.train
def test_an_inter_patient_who_is_trained_on_is_noted():
    events = simulated().events
    one = events.loc[events["split"] == "train", "patient"].iloc[0]
    mixed = events.assign(patient=events["patient"].mask(events["split"] == "inter", one))
    split = make_split(mixed, "official", leaky="official", validation="events (leaky)")
    assert any("1 of the 1 inter patients" in note for note in split.notes)


def test_validation_patients_are_not_trained_on_unless_by_name():
    events = simulated().events
    for validation in ("patients", "events (leaky)"):
        split = make_split(events, "official", leaky="official", validation=validation, held_out=(3, 10))
        part = split.part
        assert (part.mask(part == "validation", "train") == events["split"]).all()
        shared = set(events["patient"][part == "train"]) & set(events["patient"][part == "validation"])
        leaks = [note for note in split.notes if note.startswith("leaky validation")]
        assert [f"leaky validation: {len(shared)} patients" in note for note in leaks] == [True] * bool(shared)
        assert bool(shared) == (validation == "events (leaky)")
        assert 0.2 < (part == "validation").sum() / (events["split"] == "train").sum() < 0.42


def test_a_corpus_without_training_or_test_events_is_refused():
    events = simulated().events
    for gone, empty in ((["train"], "train"), (["inter", "intra"], "test")):
        with pytest.raises(UserError, match=f"leaves no event to {empty}"):
            make_split(events[~events["split"].isin(gone)], "official", leaky="official")


def test_class_weights_of_the_published_counts():
    label = torch.arange(7).repeat_interleave(torch.tensor([5159, 39, 452, 15, 49, 912, 30]))
    weights = class_weights(label, "inverse")
    assert weights.tolist() == pytest.approx([0.184, 24.4, 2.10, 63.4, 19.4, 1.04, 31.7], rel=3e-3)
    assert torch.allclose(class_weights(label, "inverse square root").square(), weights)
    assert class_weights(label, "none").tolist() == [1] * 7
    without = label[label != 3]
    assert class_weights(without, "inverse")[3] == class_weights(without, "inverse square root")[3] == 0
    assert class_weights(without, "inverse")[1] == pytest.approx(len(without) / (7 * 39))


@pytest.mark.train
def test_inputs_are_those_of_the_events_scaled_by_those_of_training(finished):
    dataset, events = finished.dataset(), simulated().events
    assert dataset.features.shape == (len(events), 3, 64, 76)
    assert sorted(dataset.event) == list(range(len(events)))
    assert dataset.label.tolist() == events["label"].iloc[dataset.event].map(LABELS.index).tolist()
    train = finished.trained().image(dataset.batch(dataset.samples("train"))).double()
    assert train.mean((0, 2, 3)).abs().max() < 1e-3
    assert (train.std((0, 2, 3)) - 1).abs().max() < 1e-3
    own = dataset.batch(dataset.samples("train")).double()
    assert torch.allclose(finished.state["scale.mean"].double().flatten(), own.mean((0, 2, 3)), atol=1e-3)


@pytest.mark.train
def test_augmentation_changes_the_training():
    plain, augmented = (tiny(epochs=1, augment_features=way).history.loc[0, "loss"] for way in (False, True))
    assert np.isfinite(augmented)
    assert augmented != pytest.approx(plain, rel=5e-3)


def test_a_learning_rate_on_a_schedule_ends_near_zero():
    rates = {how: [tiny(schedule=how, epochs=4)._rate(epoch) for epoch in range(4)] for how in ("cosine", "linear")}
    assert rates["cosine"] == pytest.approx([1, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert rates["linear"] == [1, 0.75, 0.5, 0.25]
    assert {tiny(epochs=4)._rate(epoch) for epoch in range(4)} == {1.0}


@pytest.mark.train
def test_all_choices_of_the_full_model_together_and_zeroed_metadata_tell_nothing():
    chosen = {"validation": "events (leaky)", "selection": "validation", "held_out": (3, 10), "criterion": "Score"}
    full = tiny("best", model="full", epochs=1, metadata="zeroed", **chosen)
    assert {note.split(":")[0] for note in full.notes} == {"leaky test", "leaky selection", "leaky validation"}
    assert full.trained().network.lstm.hidden_size == 16
    assert set(full.predictions["split"]) == {"validation", "inter", "intra"}
    dataset = full.dataset()
    samples = dataset.samples("inter", "intra")
    assert dataset.metadata.unique(dim=0).tolist() == [[19, 2, 4]]
    known = replace(dataset, metadata=torch.tensor([[3, 0, 1]]).expand_as(dataset.metadata))
    zeroed, told = (predict_samples(full.trained(), given, samples) for given in (dataset, known))
    assert not np.allclose(zeroed, told)  # the network reads them when it is given any
    real = full.predict(metadata="real").set_index("event")
    again = full.predict().set_index("event")
    stored = full.predictions.query("rule == 'validation'").set_index("event")
    assert np.allclose(again.loc[stored.index, "p0"], stored["p0"], atol=1e-5)
    assert not np.allclose(real.loc[stored.index, "p0"], stored["p0"], atol=1e-5)


@pytest.mark.train
def test_a_model_starts_from_the_convolutions_of_another():
    first = tiny(model="Upsampling CNN", epochs=1, seed=5)
    then = tiny(model="ConvLstm", epochs=1, lr=1e-7, start=first)
    prefix = "network.convolutions."
    weights = {k: v for k, v in first.state.items() if k.startswith(prefix) and k.endswith("weight")}
    assert len(weights) == 8  # four convolutions, four batch norms
    assert all(torch.allclose(then.state[k], v, atol=1e-4) for k, v in weights.items())
    alone = tiny(model="ConvLstm", epochs=1, lr=1e-7)
    assert not torch.allclose(alone.state[f"{prefix}0.weight"], weights[f"{prefix}0.weight"], atol=1e-2)
    assert alone.uid != then.uid
