"""The Conv-LSTM as runs, on a simulated corpus: who is trained on, what the networks see, and what a run leaves."""

import functools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lungnb import UserError
from lungnb.data.load import load_corpus
from lungnb.data.sprsound import LABELS
from lungnb.metrics.classification import biocas_scores, scores
from lungnb.papers import convlstm as module
from lungnb.papers.convlstm import (
    PROBABILITIES,
    ConvLSTMRun,
    class_weights,
    inputs_of,
    predict,
    subsets_of,
    z_scores,
)

PATIENTS = 20


@functools.cache
def simulated():
    return load_corpus("sprsound", n_patients=PATIENTS)


def tiny(**choices):
    given = {"architecture": "CNN", "epochs": 2, "n_patients": PATIENTS, "device": "cpu", "hidden": 16}
    return ConvLSTMRun(**{"corpus": simulated().fingerprint, "readout": "last"} | given | choices)


@pytest.fixture(scope="module")
def finished():
    run = tiny()
    run.result()
    return run


def test_predictions_are_of_all_events_but_those_of_training(finished):
    predictions, events = finished.predictions, simulated().events
    subset, _ = subsets_of(simulated())
    expected = subset[subset != "train"]
    assert predictions.set_index("event")["subset"].sort_index().to_dict() == expected.to_dict()
    assert set(predictions["subset"]) == {"validation", "inter", "intra"}
    mine = events.loc[predictions["event"]]
    assert (
        mine[["recording", "patient"]].to_numpy().tolist() == predictions[["recording", "patient"]].to_numpy().tolist()
    )
    assert mine["label"].map(LABELS.index).tolist() == predictions["label"].tolist()
    p = predictions[PROBABILITIES].to_numpy()
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert (predictions["predicted"] == p.argmax(axis=1)).all()


def test_a_run_leaves_a_readable_folder(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert {"config.yaml", "history.csv", "predictions.parquet", "metrics.json", "model.safetensors"} <= names
    assert "checkpoint.pt" not in names
    facts = json.loads((finished.folder / "metrics.json").read_text())
    assert facts == finished.result()
    assert facts["n_events"] == subsets_of(simulated())[0].value_counts().to_dict()
    for subset, rows in finished.predictions.groupby("subset"):
        assert facts["scores"][subset] == scores(rows["label"], rows["predicted"], biocas_scores)
    history = finished.history
    assert facts["epoch"] == history["val_Score"].idxmax()
    assert history.loc[facts["epoch"], "val_Score"] == pytest.approx(facts["scores"]["validation"]["Score"])
    assert len(history) == 2


def test_the_stored_network_gives_the_stored_predictions(finished):
    network = finished.trained()
    assert not network.training
    again = predict(network, inputs_of(finished, simulated()), simulated().events)
    pd.testing.assert_frame_equal(again, finished.predictions, check_dtype=False, atol=1e-6)


def test_validation_patients_are_not_trained_on_unless_by_name():
    patients, subset = simulated().events["patient"], {}
    for validation in ("patients", "events (leaky)"):
        subset[validation], notes = subsets_of(simulated(), validation)
        assert subset[validation].mask(subset[validation] == "validation", "train").equals(simulated().events["split"])
        shared = set(patients[subset[validation] == "train"]) & set(patients[subset[validation] == "validation"])
        leaks = [n for n in notes if n.startswith("leaky validation")]
        assert [f"leaky validation: {len(shared)} patients" in n for n in leaks] == [True] * bool(shared)
        assert bool(shared) == (validation == "events (leaky)")
        held = (subset[validation] == "validation").sum() / (simulated().events["split"] == "train").sum()
        assert 0.2 < held < 0.42


def test_leaks_of_the_test_parts_are_noted(finished):
    events = simulated().events
    n = events.loc[events["split"] == "intra", "patient"].nunique()
    assert finished.notes == [f"leaky test: {n} of the {n} intra patients are in train too, as published"]
    one = events.loc[events["split"] == "train", "patient"].iloc[0]
    mixed = events["patient"].mask(events["split"] == "inter", one)
    _, notes = subsets_of(replace(simulated(), events=events.assign(patient=mixed)))
    assert any("1 of the inter patients" in note for note in notes)


@pytest.mark.parametrize("part", ["inter", "intra", "train"])
def test_a_corpus_without_a_part_is_refused(part):
    corpus = simulated()
    with pytest.raises(
        UserError, match=r"leaves no event to .*intra|leaves no event to inter|patients are left to train on"
    ):
        subsets_of(corpus.select(corpus.events["split"] != part))


def test_class_weights_of_the_published_counts():
    label = torch.arange(7).repeat_interleave(torch.tensor([5159, 39, 452, 15, 49, 912, 30]))
    weights = class_weights(label, "inverse")
    assert weights.tolist() == pytest.approx([0.184, 24.4, 2.10, 63.4, 19.4, 1.04, 31.7], rel=3e-3)
    assert torch.allclose(class_weights(label, "inverse square root").square(), weights)
    assert class_weights(label, "none").tolist() == [1] * 7
    without = label[label != 3]
    assert class_weights(without, "inverse")[3] == class_weights(without, "inverse square root")[3] == 0
    assert class_weights(without, "inverse")[1] == pytest.approx(len(without) / (7 * 39))


@pytest.mark.parametrize(("form", "axes"), [("channel", (0, 2, 3)), ("row", (0, 3)), ("clip", (2, 3))])
def test_z_scores_are_numpys_with_statistics_of_training_events(form, axes):
    rng = np.random.default_rng(0)
    maps = rng.normal(rng.normal(0, 9, (1, 3, 5, 1)), rng.uniform(1, 9, (1, 3, 5, 1)), (600, 3, 5, 11))
    maps, train = torch.from_numpy(maps).half(), torch.arange(0, 600, 2)
    ours = z_scores(maps, train, form)
    of = maps.numpy().astype(float)
    base = of if form == "clip" else of[train.numpy()]
    sd = base.std(axes, keepdims=True, ddof=1 if form == "clip" else 0)
    expected = (of - base.mean(axes, keepdims=True)) / sd
    assert ours.dtype == torch.float16
    assert np.allclose(ours.numpy(), expected, atol=5e-3)
    other = maps.clone()
    other[1::2] = 99 + 7 * other[1::2]
    assert torch.equal(z_scores(other, train, form)[train], ours[train])
    assert z_scores(torch.full((4, 3, 5, 11), -100.0).half(), torch.arange(2), form).eq(0).all()  # silence alone


def test_augmentation_changes_the_training():
    plain, augmented = (tiny(epochs=1, augment=augment).history.loc[0, "loss"] for augment in (False, True))
    assert np.isfinite(augmented)
    assert augmented != pytest.approx(plain, rel=5e-3)


def test_a_learning_rate_on_a_cosine_ends_near_zero():
    rates = [tiny(schedule="cosine", epochs=4)._rate(epoch) for epoch in range(4)]
    assert rates == pytest.approx([1, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert {tiny(epochs=4)._rate(epoch) for epoch in range(4)} == {1.0}


@pytest.fixture(scope="module")
def full():
    run = tiny(architecture="full", epochs=1, metadata="zeroed", normalisation="row", validation="events (leaky)")
    run.result()
    return run


def test_all_choices_of_the_full_model_together(full):
    assert {note.split(":")[0] for note in full.notes} == {"leaky test", "leaky validation"}
    assert full.trained().lstm.hidden_size == 16
    assert set(full.predictions["subset"]) == {"validation", "inter", "intra"}


def test_zeroed_metadata_tell_nothing_and_real_ones_do(full):
    other = simulated().events.assign(age_years=3.0, sex="male", position="p2")
    others = {"zeroed": True, "real": False}
    for metadata, same in others.items():
        run = full.model_copy(update={"metadata": metadata})
        both = [inputs_of(run, replace(simulated(), events=events)) for events in (simulated().events, other)]
        a, b = (predict(full.trained(), given, simulated().events)[PROBABILITIES] for given in both)
        assert np.array_equal(a, b) == same


def test_inputs_are_those_of_the_events():
    given = inputs_of(tiny(), simulated())
    assert given.maps.shape == (len(simulated().events), 3, 64, 76)
    assert sorted(torch.cat(list(given.rows.values())).tolist()) == list(range(len(simulated().events)))
    assert given.label.tolist() == simulated().events["label"].map(LABELS.index).tolist()
    train = given.maps[given.rows["train"]].double()
    assert train.mean((0, 2, 3)).abs().max() < 1e-3
    assert (train.std((0, 2, 3)) - 1).abs().max() < 1e-3


def test_a_finished_run_is_not_trained_again(finished, monkeypatch):
    monkeypatch.setattr(module, "fit", None)
    assert tiny().result() == finished.result()
    assert tiny(augment=True).uid != tiny().uid


def test_a_model_starts_from_the_convolutions_of_another():
    first = tiny(architecture="Upsampling CNN", epochs=1, seed=5)
    then = tiny(architecture="ConvLstm", epochs=1, lr=1e-7, start=first)
    weights = {k: v for k, v in first.state.items() if k.startswith("convolutions.") and k.endswith("weight")}
    assert len(weights) == 8  # four convolutions, four batch norms
    assert all(torch.allclose(then.state[k], v, atol=1e-4) for k, v in weights.items())
    alone = tiny(architecture="ConvLstm", epochs=1, lr=1e-7)
    assert not torch.allclose(alone.state["convolutions.0.weight"], weights["convolutions.0.weight"], atol=1e-2)
    assert alone.uid != then.uid


def test_the_share_held_out_is_the_one_asked_for():
    n = {tenths: subsets_of(simulated(), tenths=tenths)[0].value_counts()["validation"] for tenths in (1, 3)}
    total = (simulated().events["split"] == "train").sum()
    assert 0.05 < n[1] / total < 0.2 < n[3] / total < 0.4
