"""The comparison's runs on simulated corpora: what a clip is for any classes, who is trained on, and what a run leaves."""

import functools

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch

from lungnb.classification.compare import CompareRun, data_of
from lungnb.classification.compare_inputs import BANK, about_of, compute_maps, front_end, maps_of, plan_task
from lungnb.classification.compare_train import RULES, class_draws, network_of, predictions, probabilities
from lungnb.core import UserError
from lungnb.data.audio import audio_bank
from lungnb.data.clips import cut, plan_clips
from lungnb.data.icbhi import LABELS
from lungnb.data.load import load_corpus
from lungnb.data.tasks import TASKS, parts_of
from lungnb.metrics.classification import METRICS, table_scores

PATIENTS = {"icbhi": 24, "sprsound": 24, "multisite": 30}
SMALL = {"backbone": "resnet10-narrow", "pretrained": "scratch", "zoom": 1, "hidden": 8, "pooling": (3, 4), "epochs": 1}


@functools.cache
def corpus(name):
    return load_corpus(name, n_patients=PATIENTS[name])


def view(task):
    return TASKS[task].view(corpus(TASKS[task].corpus))


def tiny(task="icbhi", model="small CNN", **choices):
    name = TASKS[task].corpus
    return CompareRun(
        **{"corpus": corpus(name).fingerprint, "n_patients": PATIENTS[name], "task": task, "model": model}
        | SMALL
        | choices
    )


# Clips and maps


def test_plans_for_icbhi_are_respirenets():
    here, classes = view("icbhi"), TASKS["icbhi"].classes
    bank = audio_bank(here, *BANK["levels"])
    for padding in ("repeat", "zero", "smart"):
        theirs = plan_clips(bank, here.events, 3.0, padding)
        ours = plan_task(bank, here.events, classes, 3.0, padding)
        paired = {(e, tuple(s)) for e, s in zip(theirs.event, map(tuple, theirs.segments), strict=True)}
        assert {(e, tuple(s)) for e, s in zip(ours.event, map(tuple, ours.segments), strict=True)} == paired
        assert len(ours) == len(theirs)
        assert [LABELS[y] for y in ours.label] == here.events["label"].iloc[ours.event].tolist()


def test_sounds_are_joined_within_each_of_seven_classes():
    here, classes = view("sprsound"), TASKS["sprsound"].classes
    bank, label = audio_bank(here, *BANK["levels"]), here.events["label"].to_numpy()
    plan = plan_task(bank, here.events, classes, 30.0, cba=True)  # so long that each core is one clip
    counts = pd.Series(plan.label).value_counts()
    present = [k for k, c in enumerate(classes) if (label == c).any()]
    assert len(present) > 4
    assert all(counts[k] == counts[0] == (label == "normal").sum() for k in present)
    assert (label[plan.parents[:, 0]] == label[plan.parents[:, 1]]).all()
    assert [classes[y] for y in plan.label] == label[plan.event].tolist()
    joined = np.flatnonzero(plan.parents[:, 0] != plan.parents[:, 1])[0]
    a, b = plan.parents[joined]
    clip = cut(bank.samples, plan)[joined]
    first, length = bank.locate(here.events.iloc[[a, b]])
    sounds = [bank.samples[f : f + n] for f, n in zip(first, length, strict=True)]
    assert np.array_equal(clip[: length.sum()], np.concatenate(sounds))


def test_smart_neighbours_are_of_the_class_or_normal_in_any_task():
    here, classes = view("sprsound"), TASKS["sprsound"].classes
    bank, label = audio_bank(here, *BANK["levels"]), here.events["label"].to_numpy()
    plan = plan_task(bank, here.events, classes, 6.0, "smart")
    first, length = bank.locate(here.events)
    neighbours = 0
    for event, y, segments in zip(plan.event, plan.label, plan.segments, strict=True):
        for f, n, _ in segments:  # a sound, or what is left of it at an end of the clip
            of = np.flatnonzero((first == f) | (first + length == f + n))
            if event not in of:
                assert {classes[y], "normal"} & set(label[of])
                neighbours += 1
    assert neighbours > 100


def test_maps_are_those_of_the_front_end_and_are_kept(monkeypatch):
    here = view("icbhi")
    for name, shape in (("levels", (1, 64, 94)), ("stacked", (3, 64, 76)), ("crop", (1, 50, 33))):
        bank = audio_bank(here, *BANK[name])
        plan = plan_task(bank, here.events.head(9), TASKS["icbhi"].classes, 3.0)
        maps = maps_of(here, plan, name, (3, 4))
        assert maps.shape == (len(plan), *shape)
        wave = torch.from_numpy(cut(bank.samples, plan)).float() / 32767
        expected = front_end(name, (3, 4))(wave).float()
        assert torch.allclose(maps.float(), expected, atol=0.07 if name == "crop" else 1.0)
        with monkeypatch.context() as patch:
            patch.setattr("lungnb.classification.compare_inputs.compute_maps", None)
            assert torch.equal(maps_of(here, plan, name, (3, 4)), maps)
    assert compute_maps(bank, plan, "crop", (1, 1)).shape[2] == 150


def test_what_is_known_of_a_patient_as_indices():
    events = view("icbhi").events.head(4).assign(age_years=[0.5, 71.0, pd.NA, 119.0])
    events = events.assign(sex=["male", "female", pd.NA, "male"], position=["Al", "Tc", "p1", pd.NA])
    about = about_of(TASKS["icbhi"], events, ["Al", "Tc"])
    assert about.tolist() == [[0, 0, 0], [14, 1, 1], [19, 2, 2], [18, 0, 2]]
    assert about_of(TASKS["sprsound"], events, [])[1, 0] == 18


# Inputs


def test_events_are_scored_once_and_padded_by_label_in_training_alone():
    run = tiny(padding="smart", cba=True, clip_s=6.0)
    given = data_of(run).inputs["icbhi"]
    part, _ = parts_of(TASKS["icbhi"], view("icbhi"))
    assert given.units["part"].tolist() == part.tolist()
    assert given.n_events == (part == "train").sum()
    plain = data_of(tiny(clip_s=6.0)).inputs["icbhi"]
    for name in ("validation", "test"):
        a, b = given.samples(name), plain.samples(name)
        assert torch.equal(given.batch(a), plain.batch(b))
        assert set(given.unit[a]) == set(np.flatnonzero(part == name))
    trained = given.samples("train")
    counts = torch.bincount(given.label[trained])
    assert (counts >= 0.9 * counts[0]).all()  # joined until as frequent as normal; long events have more clips
    assert set(given.units["patient"].iloc[given.unit[trained]]) == set(
        view("icbhi").events["patient"][part == "train"]
    )


def test_a_patient_is_one_unit_and_mpa_hears_all_its_sites():
    data = data_of(tiny("cohorts", "MPA", clip_s=5.0))
    given, here = data.inputs["cohorts"], view("cohorts")
    assert given.units["patient"].is_unique
    assert len(given.units) == here.events["patient"].nunique()
    assert given.rows.shape[1] == len(data.sites) == 8
    n_maps = len(given.maps) - 8
    blank = given.rows >= n_maps
    there = here.events.groupby("patient")["position"].unique()
    crops = data_of(tiny("cohorts", "SiteCNN", clip_s=5.0)).inputs["cohorts"]
    for patient, sites in there.head(12).items():
        unit = given.units.index[given.units["patient"] == patient][0]
        mine = torch.from_numpy(np.flatnonzero(given.unit == unit))
        missing = {s for s, b in zip(data.sites, blank[mine[0]], strict=True) if b}
        assert missing == set(data.sites) - set(sites)
        heard = given.rows[mine][~blank[mine]]
        assert set(crops.units["patient"].iloc[crops.unit[heard]]) == {patient}
    train = crops.samples("train")
    at_first = train[crops.about[train, 2] == 0]
    assert torch.allclose(given.maps[n_maps].float(), crops.maps[at_first].float().mean(0), atol=0.1)


def test_rare_classes_are_drawn_more_often_than_they_come():
    label = torch.tensor([0] * 90 + [1] * 10)
    weight = class_draws(label)
    assert weight.mean() == pytest.approx(1)
    assert weight[-1] / weight[0] == pytest.approx(3)  # the root of nine


# Runs


@pytest.fixture(scope="module")
def finished():
    run = tiny(epochs=6, lr=3e-3, batch_size=16, transfer={"sprsound-common": corpus("sprsound").fingerprint})
    run.result()
    return run


def test_a_run_leaves_scores_costs_and_predictions(finished):
    facts, frame = finished.result(), finished.tested()
    part, _ = parts_of(TASKS["icbhi"], view("icbhi"))
    assert frame["unit"].tolist() == np.flatnonzero(part == "test").tolist()
    assert frame["label"].tolist() == [LABELS.index(x) for x in view("icbhi").events.loc[part == "test", "label"]]
    assert facts["scores"] == pytest.approx(table_scores(frame))
    assert facts["units"] == part.value_counts().to_dict()
    assert facts["scores"]["AUROC"] > 0.75  # far above chance
    assert facts["parameters"] > 20_000 < facts["multiply_adds"]
    assert facts["training_seconds"] > 0 < facts["clips_per_second"]
    history = finished.history
    for rule, part in RULES.items():
        epoch = facts["epoch_of"][rule]
        assert history.loc[epoch, f"{part}_AS"] >= history[f"{part}_AS"].max() - 0.001 * history[f"{part}_loss"].max()
        same = history[history[f"{part}_AS"] == history.loc[epoch, f"{part}_AS"]]
        assert same[f"{part}_loss"].idxmin() == epoch
    best = finished.tested(rule="test (leaky)")
    assert table_scores(best)["AS"] == pytest.approx(history.loc[epoch, "test_AS"])
    expected = sklearn.metrics.log_loss(best["label"], best[["p0", "p1", "p2", "p3"]], labels=[0, 1, 2, 3])
    assert history.loc[epoch, "test_loss"] == pytest.approx(expected, rel=1e-4)
    assert finished.notes == []


def test_the_stored_network_predicts_the_same_here_and_abroad(finished):
    data, network = data_of(finished), finished.trained()
    assert not network.training
    for name, given in data.inputs.items():
        again = predictions(given, "test", probabilities(network, given, given.samples("test")))
        stored = finished.tested(name)
        assert again["predicted"].tolist() == stored["predicted"].tolist()
        assert np.allclose(again["p0"], stored["p0"], atol=1e-5)
    abroad = view("sprsound-common").events
    part, _ = parts_of(TASKS["sprsound-common"], abroad_corpus := view("sprsound-common"))
    assert (
        finished.tested("sprsound-common")["patient"].tolist()
        == abroad_corpus.events["patient"][part == "test"].tolist()
    )
    assert len(abroad) > (part == "test").sum()


def test_a_unit_is_the_mean_of_its_clips(finished):
    given = data_of(finished).inputs["icbhi"]
    samples = given.samples("test")
    p = probabilities(finished.trained(), given, samples)
    frame = predictions(given, "test", p).set_index("unit")
    units, n = np.unique(given.unit[samples], return_counts=True)
    longest = units[n.argmax()]
    assert n.max() > 1
    assert np.allclose(
        frame.loc[longest, ["p0", "p1", "p2", "p3"]].to_numpy(float), p[given.unit[samples] == longest].mean(0)
    )


@pytest.mark.parametrize("model", ["boosting", "RespireNet", "full", "SiteCNN", "MPO"])
def test_every_kind_of_model_runs_on_events(model):
    run = tiny(model=model)
    assert set(run.result()["scores"]) == set(METRICS)
    p = run.tested()[[f"p{k}" for k in range(4)]].to_numpy()
    assert np.allclose(p.sum(1), 1, atol=1e-5)
    if model == "boosting":
        assert run.result()["scores"]["AUROC"] > 0.7
        assert run.tested().equals(run.tested(rule="test (leaky)").assign(rule="validation"))
        with pytest.raises(UserError, match="no network"):
            run.trained()


@pytest.mark.parametrize("model", ["small CNN", "MPA"])
def test_patients(model):
    run = tiny("cohorts", model, clip_s=5.0)
    frame = run.tested()
    assert frame["patient"].is_unique
    assert run.result()["patients"]["test"] == len(frame) == run.result()["units"]["test"]


def test_tricks_change_the_training_and_are_told_apart():
    losses = {}
    for trick in ({}, {"padding": "smart"}, {"cba": True}, {"clipping": "paper"}, {"augment": False}):
        run = tiny("sprsound-common", "RespireNet", **trick)
        losses[run.uid] = run.history.loc[0, "loss"]
    assert len(set(np.round(list(losses.values()), 5))) == 5
    told = {form: tiny(model="full", metadata=form) for form in ("real", "shuffled", "zeroed")}
    about = {form: data_of(run).inputs["icbhi"].about for form, run in told.items()}
    assert about["zeroed"].unique(dim=0).tolist() == [[19, 2, 7]]
    assert not torch.equal(about["shuffled"], about["real"])
    assert torch.equal(about["shuffled"].sort(0).values, about["real"].sort(0).values)


def test_the_leaky_split_says_so():
    assert data_of(tiny(split="events (leaky)")).notes[0].startswith("leaky split: ")


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"model": "MPA"}, "all sites of a patient at once"),
        ({"clipping": "paper"}, "part of RespireNet's picture"),
        ({"model": "CNN", "clip_s": 5.0}, "take clips of 3 s, not of 5 s"),
        ({"metadata": "zeroed"}, "Only the model 'full' embeds metadata"),
        ({"transfer": {"sprsound": "x"}}, "do not share their classes"),
        ({"transfer": {"sprsound-common": "x"}}, "has changed since"),
        ({"task": "coughvid"}, "'coughvid' has no label map; known are icbhi"),
        ({"corpus": "x"}, "has changed since"),
    ],
)
def test_what_does_not_fit_is_refused(choices, sentence):
    name = "icbhi"
    fields = {"corpus": corpus(name).fingerprint, "n_patients": PATIENTS[name], "task": name, "model": "small CNN"}
    with pytest.raises(UserError, match=sentence):
        data_of(CompareRun(**fields | SMALL | choices))


def test_the_first_weights_follow_from_the_seed():
    run, data = tiny(), data_of(tiny())
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(network_of(run, data).state_dict()["network.network.head.1.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
