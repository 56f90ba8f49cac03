"""What a classifier looks at: maps on one grid, their scores against hand-computed values, and uncertainty by dropout."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from corpora import simulated
from scipy.stats import entropy
from torch import nn

from lungnb.classification import Classification
from lungnb.classification.dataset import Dataset
from lungnb.classification.explained import examples_of, passes_with_dropout, with_dropout
from lungnb.classification.fitting import predictions_of
from lungnb.classification.networks import CLASSIFIERS, Classifier, FeaturesOnly, ImageClassifier, Sizes, SmallCNN
from lungnb.classification.preprocessing import Clips, Preprocessing
from lungnb.core import UserError
from lungnb.data.corpus import read_truth
from lungnb.features import Standardise
from lungnb.metrics.attribution import (
    METHODS,
    area_under,
    attribution_maps,
    class_maps,
    deletion,
    randomise_weights,
    stages,
)
from lungnb.metrics.localisation import (
    BANDS_HZ,
    Examples,
    at_detail,
    band_shares,
    box_mask,
    choose_events,
    energy_inside,
    feature_axes,
    grid,
    level_above_row,
    map_scores,
    over_time,
    pointing_chance,
    pointing_game,
    rank_correlation,
)
from lungnb.metrics.uncertainty import error_detection, mutual_information, risk_coverage, uncertainty
from lungnb.papers.convlstm import INPUTS

POOLING = (3, 4)
NETWORKS = [model for model, entry in CLASSIFIERS.items() if entry.build and not entry.all_sites]


def build(model, features):
    """An untrained network for features of four classes and three positions."""
    sizes = {"n_channels": features.shape[1], "n_rows": features.shape[2], "n_positions": 3, "hidden": 8}
    return CLASSIFIERS[model].build(Sizes(4, **sizes, backbone="resnet10-narrow", zoom=1))


def box(start_s, end_s, low_hz, high_hz):
    return pd.DataFrame({"start_s": [start_s], "end_s": [end_s], "low_hz": [low_hz], "high_hz": [high_hz]})


def preprocessing(front):
    return Preprocessing(front, Clips(3.0), pooling=POOLING)


def pictures(front, wave):
    """Maps of a clip that `wave` (a function of seconds) gives at the rate of the front end."""
    how = preprocessing(front)
    return how.front_end()(torch.from_numpy(wave(np.arange(3 * how.rate) / how.rate)).float()[None])


def clips(front="mel image", n=5, seed=0, boxes=()):
    generator = torch.Generator().manual_seed(seed)
    how = preprocessing(front)
    maps = how.front_end()(0.1 * torch.randn(n, 3 * how.rate, generator=generator))
    about = torch.stack([torch.zeros(n), torch.zeros(n), torch.arange(n) % 3], dim=1).long()
    axes = feature_axes(front, *maps.shape[2:], POOLING)
    return Examples(maps, about, torch.arange(n) % 4, *axes, 3.0, list(boxes))


def map_of(network, shown, method, stage=-1):
    return attribution_maps(network, shown.features, shown.metadata, shown.label, method, stage)


def to_grid(maps, hertz, second, clip_s):
    return Examples(torch.zeros(1), torch.zeros(1), torch.zeros(1), hertz, second, clip_s, []).on_grid(maps)


# ---- the common grid


@pytest.mark.parametrize("front", ["mel image", "stacked", "stft"])
@pytest.mark.parametrize(("hz", "start_s"), [(300, 0.5), (620, 1.2), (1210, 2.0)])
def test_a_tone_is_in_its_box_whatever_the_front_end(front, hz, start_s):
    noise = np.random.default_rng(0)
    maps = pictures(
        front,
        lambda t: (
            np.where((t > start_s) & (t < start_s + 0.6), np.sin(2 * np.pi * hz * t), 0)
            + 1e-3 * noise.normal(size=len(t))
        ),
    )
    picture = maps[:, 0].float().numpy()
    on_grid = to_grid(picture, *feature_axes(front, *maps.shape[2:], POOLING), 3.0)
    loud = on_grid > on_grid.min() + 0.9 * np.ptp(on_grid)
    mask = box_mask(box(start_s - 0.1, start_s + 0.7, hz - 90, hz + 90), *grid(3.0))
    assert on_grid.shape == (1, 62, 60)
    assert pointing_game(on_grid, mask[None]) == 1
    assert (loud[0] & mask).sum() / loud.sum() > 0.95
    hertz, second = grid(3.0)
    assert abs(hertz[loud[0].any(1)].mean() - hz) < 45
    assert abs(second[loud[0].any(0)].mean() - start_s - 0.3) < 0.08


def test_the_grid_is_linear_between_centres_and_keeps_the_ends():
    hertz, second = grid(0.2)
    assert (len(hertz), len(second)) == (62, 4)
    assert (hertz[0], hertz[-1]) == (62.5, 1587.5)
    assert second == pytest.approx([0.025, 0.075, 0.125, 0.175])
    maps = np.array([[[0.0, 1.0], [2.0, 3.0]]])
    on_grid = to_grid(maps, np.array([825.0, 62.5]), np.array([0.075, 0.125]), 0.2)[0]  # rows from high to low
    assert on_grid[0] == pytest.approx([2, 2, 3, 3])
    assert on_grid[hertz > 825] == pytest.approx(np.tile([0, 0, 1, 1], (31, 1)))
    middle = np.interp(hertz[10], [62.5, 825], [2, 0])
    assert on_grid[10, 0] == pytest.approx(middle)


def test_axes_are_those_of_the_front_ends():
    size = INPUTS["A"]
    assert feature_axes("stacked", size.n_rows, 2)[1][1] == size.hop_length / preprocessing("stacked").rate
    assert feature_axes("mel image", 64, 2)[1][1] == 128 / preprocessing("mel image").rate


def test_boxes_cover_the_cells_that_they_touch():
    mask = box_mask(box(0.06, 0.11, 80, 101), *grid(0.2))
    assert np.argwhere(mask).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    thin = box_mask(box(0.01, 0.011, 60, 60.1), *grid(0.2))
    assert np.argwhere(thin).tolist() == [[0, 0]]
    assert not box_mask(box(0.3, 0.4, 60, 100), *grid(0.2)).any()
    falling = box_mask(box(0.0, 0.1, 240, 260), np.array([400.0, 300, 200, 100]), np.array([0.05, 0.15]))
    assert np.argwhere(falling).tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]  # 250 Hz is the edge of two rows


# ---- the sounds of a run


@pytest.fixture(scope="module")
def given():
    corpus = simulated()
    run = Classification(corpus=corpus.fingerprint, task="icbhi", model="small CNN", n_patients=24)
    here = run.view()
    return run, here, here.events[run.parts(here).part == "test"], read_truth(corpus.audio_root)


@pytest.mark.train
def test_sounds_are_of_test_patients_in_turn_and_hold_a_true_one(given):
    _, here, test, truth = given
    sounds = choose_events(test, truth, 4, ["crackle", "wheeze"])
    assert set(sounds["patient"]) <= set(test["patient"])
    first = sounds[sounds["label"] == "crackle"]
    possible = here.events[here.events["patient"].isin(test["patient"])].query("label == 'crackle'")
    assert first["patient"].nunique() == min(4, possible["patient"].nunique())
    for event in sounds.itertuples():
        here = truth[(truth["recording"] == event.recording) & truth["kind"].str.startswith(event.label)]
        assert ((here["end_s"] > event.start_s) & (here["start_s"] < event.start_s + 3)).any()


@pytest.mark.train
def test_a_kind_that_no_test_patient_has_is_refused(given):
    _, _, test, truth = given
    with pytest.raises(UserError, match="No test patient has a squawk to look at; use more patients"):
        choose_events(test, truth, 4, ["squawk"])


@pytest.mark.train
def test_clips_are_those_the_run_was_tested_on_and_boxes_repeat_with_the_sound(given):
    run, whole, test, truth = given
    sounds = choose_events(test, truth, 4, ["crackle", "wheeze"])
    own = run.dataset()
    found = examples_of(run.view(), own, run.preprocessing, sounds, truth)
    for k, row in enumerate(sounds.index):
        sample = np.flatnonzero(own.unit == whole.events.index.get_loc(row))[0]
        assert (own.batch(torch.tensor([sample]))[0] == found.features[k]).all()
        assert (own.metadata[sample] == found.metadata[k]).all()
        assert own.label[sample] == found.label[k]
    length = (sounds["end_s"] - sounds["start_s"]).to_numpy()
    for event, lasts, boxes in zip(sounds.itertuples(), length, found.boxes, strict=True):
        assert boxes["start_s"].min() >= 0
        assert boxes["end_s"].max() <= 3 + 1e-6
        inside = truth[(truth["recording"] == event.recording) & truth["kind"].str.startswith(event.label)]
        inside = inside[(inside["start_s"] >= event.start_s) & (inside["end_s"] <= event.end_s)]
        repeated = sum(
            (inside["start_s"] - event.start_s + k * lasts < 3).sum()
            for k in range(math.ceil(3 / lasts) if lasts < 3 else 1)
        )
        assert (
            abs(len(boxes) - repeated) <= 2
        )  # one that begins in the last sample, or lies across the end of the event
    assert found.masks.shape == (len(sounds), 62, 60)
    assert found.own_masks.shape == (len(sounds), *found.features.shape[2:])
    assert found.masks.any(axis=(1, 2)).all()


# ---- maps of a network


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("method", list(METHODS))
def test_every_network_has_a_map_of_the_size_of_its_picture(model, method):
    torch.manual_seed(0)
    shown = clips(CLASSIFIERS[model].front_end)
    network = build(model, shown.features)
    network.fit_statistics([shown.features])
    maps, detail = map_of(network, shown, method)
    assert maps.shape == (5, *shown.features.shape[2:])
    assert 0 <= maps.min() <= maps.max() <= 1
    assert maps.max(axis=(1, 2)).min() >= 0
    assert maps.max() > 0.5
    assert detail[0] < maps.shape[1]
    assert detail[1] < maps.shape[2]
    earlier = map_of(network, shown, method, -3)[1]
    assert earlier >= detail


def test_maps_are_those_of_the_library_one_clip_at_a_time():
    """In MPO every clip is seen by the network of its own position, and batches do not mix clips."""
    torch.manual_seed(0)
    shown = clips("stft", n=40)
    network = build("MPO", shown.features)
    network.fit_statistics([shown.features])
    maps, _ = map_of(network, shown, "Grad-CAM")
    for k in (0, 1, 2, 34):
        own = network.network.networks[int(shown.metadata[k, 2])]
        image = network.image(shown.features[[k]])
        expected = class_maps(own, own.convolutions[-1], image, [int(shown.label[k])], "Grad-CAM")
        assert maps[k] == pytest.approx(expected[0], abs=1e-4)


def test_unknown_places_and_unknown_networks_are_refused():
    shown = clips("stft")
    shown.metadata[1, 2] = 3
    with pytest.raises(
        UserError, match="MPO has no network for a sound from an unknown position; leave that sound out"
    ):
        map_of(build("MPO", shown.features), shown, "Grad-CAM")
    with pytest.raises(UserError, match="It is not known where Linear looks; name its layers"):
        stages(nn.Linear(2, 2))


def test_grad_cam_is_its_equation():
    """Grad-CAM of the small CNN by hand: mean gradients weigh the channels, the sum is cut at 0 and scaled to 0..1."""
    torch.manual_seed(1)
    shown, found = clips(n=1), {}
    network = build("small CNN", shown.features).eval()
    inside = network.network.network
    layer = inside.convolutions[-2]
    layer.register_forward_hook(lambda _, __, y: found.update(a=y) or y.retain_grad())
    network(shown.features, shown.metadata)[0, int(shown.label[0])].backward()
    a, weight = found["a"][0], found["a"].grad[0].mean(dim=(1, 2))
    by_hand = (weight[:, None, None] * a).sum(0).relu().detach()
    by_hand = nn.functional.interpolate(by_hand[None, None], shown.features.shape[2:], mode="bilinear")[0, 0].numpy()
    expected = (by_hand - by_hand.min()) / np.ptp(by_hand)
    layer._forward_hooks.clear()
    maps, detail = map_of(network, shown, "Grad-CAM")
    assert detail == (8, 11)
    assert maps[0] == pytest.approx(expected, abs=1e-4)


def test_weights_drawn_anew_keep_only_the_scale():
    torch.manual_seed(0)
    network = build("ConvLstm", torch.zeros(1, 3, 64, 76))
    network.scale.mean.fill_(2)
    other, again = randomise_weights(network, 1), randomise_weights(network, 1)
    before, after = network.state_dict(), other.state_dict()
    assert (after["scale.mean"] == 2).all()
    same = [k for k in before if torch.equal(before[k], after[k]) and not k.endswith(("mean", "sd"))]
    assert not [k for k in same if before[k].dim() > 1]  # a batch norm's weights start at 1 anyway
    assert all(torch.equal(after[k], v) for k, v in again.state_dict().items())


def test_a_network_of_fused_sites_has_one_map_a_patient():
    shown = clips("stft", n=4)
    features = shown.features.unflatten(0, (-1, 2)).flatten(1, 2)
    both = replace(shown, features=features, metadata=shown.metadata[::2], label=shown.label[::2])
    network = build("MPA", both.features)
    assert map_of(network, both, "Grad-CAM++")[0].shape == (2, *shown.features.shape[2:])


# ---- scores of a map


def golden():
    """One box of 2 x 3 cells in 62 x 60: 25 Hz and 0.05 s a cell."""
    masks = np.zeros((1, 62, 60), dtype=bool)
    masks[0, 10:12, 20:23] = True
    return masks


@pytest.mark.parametrize(
    ("row", "frame", "hit"),
    [(10, 20, 1), (8, 18, 1), (13, 24, 1), (7, 20, 0), (14, 20, 0), (10, 17, 0), (10, 25, 0)],
)
def test_pointing_game_tolerates_50_hz_and_a_tenth_of_a_second(row, frame, hit):
    maps = np.full((1, 62, 60), 0.1)
    maps[0, row, frame] = 1
    assert pointing_game(maps, golden()) == hit
    in_time = pointing_game(over_time(maps), over_time(golden()))
    assert in_time == (18 <= frame <= 24)


def test_chance_and_energy_by_hand():
    masks = golden()
    assert pointing_chance(masks) == pytest.approx([6 * 7 / 3720])
    assert pointing_chance(over_time(masks)) == pytest.approx([7 / 60])
    flat = np.ones((1, 62, 60))
    assert pointing_game(flat, masks) == pytest.approx(pointing_chance(masks))
    assert energy_inside(flat, masks) == pytest.approx([6 / 3720])
    assert energy_inside(0 * flat, masks) == pytest.approx([6 / 3720])
    maps = 0 * flat
    maps[0, 10, 20], maps[0, 11, 22], maps[0, 40, 0] = 1, 2, 5
    assert energy_inside(maps, masks) == pytest.approx([3 / 8])
    two = 0 * flat
    two[0, 10, 20], two[0, 40, 0] = 1, 1
    assert pointing_game(two, masks) == 0.5


def test_scores_of_a_map_and_of_its_floor_stand_together():
    masks = golden()
    floor = {k: v[0] for k, v in map_scores(np.ones((1, 62, 60)), masks).items()}
    by_hand = [pointing_chance(masks)[0], pointing_chance(over_time(masks))[0], masks.mean()]
    assert floor == pytest.approx(dict(zip(("pointing", "moment", "energy"), by_hand, strict=True)))


def test_shares_by_band_sum_to_one_and_a_map_of_zeros_has_those_of_the_widths():
    maps = np.zeros((2, 62, 60))
    maps[0, 3] = 1  # 125 to 150 Hz
    maps[0, 20] = 3  # 550 to 575 Hz
    assert band_shares(maps)[0] == pytest.approx([0.25, 0, 0.75, 0])
    assert band_shares(maps)[1] == pytest.approx([(high - low) / 1550 for low, high in BANDS_HZ])


def test_the_truth_is_no_finer_than_the_layer_that_shows_it():
    masks = np.zeros((1, 8, 8), dtype=bool)
    masks[0, 2:4, 4:6] = True
    assert at_detail(masks, (8, 8)) == pytest.approx(masks.astype(float))
    coarse = at_detail(masks, (2, 2))
    assert coarse.shape == masks.shape
    assert coarse.max() == pytest.approx(0.25)
    assert coarse[0, 0, 7] == coarse.max()


def test_the_loudest_pixel_is_loud_for_its_row():
    features = torch.zeros(1, 1, 3, 4, dtype=torch.uint8)
    features[0, 0, 0] = 200  # a hum
    features[0, 0, 2, 1] = 90
    levels = level_above_row(features)[0]
    assert np.unravel_index(levels.argmax(), levels.shape) == (2, 1)
    assert levels.min() == 0


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    a, b = np.random.default_rng(0).random((2, 3, 6, 7)).round(1)
    b[2] = 1
    expected = [spearmanr(a[k].ravel(), b[k].ravel()).statistic for k in (0, 1)]
    assert rank_correlation(a, b)[:2] == pytest.approx(expected)
    assert np.isnan(rank_correlation(a, b)[2])
    assert rank_correlation(a, -(a**3)) == pytest.approx([-1] * 3)


def corner(maps, about):
    """A network whose logit of class 1 is 40 times the mean of the four pixels on the upper left, of class 0 nothing."""
    seen = maps[:, 0, :2, :2].float().mean(dim=(1, 2))
    return torch.stack([0 * seen, 40 * seen], dim=1)


def corner_clip():
    maps = torch.zeros(1, 1, 4, 5)
    maps[0, 0, :2, :2] = 0.1
    nothing = torch.zeros(1, 3, dtype=torch.long)
    return Examples(maps, nothing, torch.tensor([1]), np.arange(4.0), np.arange(5.0), 5.0, [])


def test_deletion_curve_by_hand():
    shown = corner_clip()
    right = np.zeros((1, 4, 5))
    right[0, :2, :2] = [[4, 3], [2, 1]]
    curve = deletion(corner, shown.features, shown.metadata, shown.label, right, 5)[0]
    full, blank = 1 / (1 + math.exp(-4)), 1 / (1 + math.exp(-40 * 0.04))  # a row's mean is 0.2 / 5
    assert curve[0] == pytest.approx(full)
    assert curve[1:] == pytest.approx([blank] * 5)  # after 4 of 20 pixels nothing is left
    assert area_under(curve[None]) == pytest.approx([(full + blank) / 10 + 0.8 * blank])
    wrong = deletion(corner, shown.features, shown.metadata, shown.label, -right, 5)[0]
    assert wrong[:5] == pytest.approx([full] * 5)
    assert wrong[5] == pytest.approx(blank)


def test_pixels_of_one_importance_go_in_random_order_by_the_seed():
    shown = corner_clip()
    flat = np.zeros((1, 4, 5))
    curves = [deletion(corner, shown.features, shown.metadata, shown.label, flat, 20, seed)[0] for seed in (0, 0, 1)]
    assert (curves[0] == curves[1]).all()
    assert (curves[0] != curves[2]).any()
    assert (np.diff(curves[0]) <= 1e-7).all()
    assert (np.diff(curves[0]) < -1e-3).sum() == 4  # one step for each pixel that counts


def test_deleted_grey_levels_stay_grey_levels():
    torch.manual_seed(0)
    shown = clips(n=2)
    network = build("RespireNet", shown.features).eval()
    assert isinstance(network, ImageClassifier)
    curves = deletion(
        network,
        shown.features,
        shown.metadata,
        shown.label,
        np.random.default_rng(0).random((2, *shown.features.shape[2:])),
        2,
    )
    blank = shown.features.float().mean(3, keepdim=True).round().to(torch.uint8).expand_as(shown.features)
    with torch.no_grad():
        p = network(blank, shown.metadata).softmax(1).gather(1, shown.label[:, None])[:, 0]
    assert curves[:, -1] == pytest.approx(p.numpy(), abs=1e-5)


# ---- uncertainty


def sounds(n=24):
    """A dataset of n test sounds of two clips each."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randint(0, 256, (2 * n, 1, 64, 30), dtype=torch.uint8, generator=generator)
    unit, told = np.repeat(np.arange(n), 2), torch.zeros(2 * n, 3, dtype=torch.long)
    of = pd.DataFrame({"event": np.arange(n), "patient": "a", "split": "test", "label": 0})
    return Dataset(features, torch.arange(2 * n)[:, None], told, told[:, 0], unit, of, unit, 0)


def passes(network, n, seed=0):
    """Probabilities (n, 24, 4) in passes with dropout."""
    frames = passes_with_dropout(network, sounds(), ("test",), "mean", n, seed)
    return np.stack([frame[["p0", "p1", "p2", "p3"]] for frame in frames])


def small(dropout):
    torch.manual_seed(0)
    return Classifier(FeaturesOnly(SmallCNN(4, dropout=dropout)), Standardise("row", 1, 64), 1)


def test_a_network_without_dropout_never_contradicts_itself():
    drawn = passes(small(0.0), 3)
    assert drawn.shape == (3, 24, 4)
    assert mutual_information(drawn) == pytest.approx(np.zeros(24), abs=1e-7)
    plain = predictions_of(small(0.0).eval(), sounds(), ("test",), "mean")
    assert drawn[0] == pytest.approx(plain[["p0", "p1", "p2", "p3"]].to_numpy(), abs=1e-6)


def test_dropout_is_on_and_batch_norm_is_not():
    network, state = small(0.5), torch.random.get_rng_state()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    drawn = passes(network, 8)
    assert (mutual_information(drawn) > 0).all()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert not any(module.training for module in network.modules())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(passes(network, 8), drawn)
    assert not np.array_equal(passes(network, 8, seed=1), drawn)
    mean = with_dropout(network, sounds(), ("test",), 8, 0)
    assert mean[["p0", "p1", "p2", "p3"]].to_numpy() == pytest.approx(drawn.mean(0))
    assert mean["mutual information"].to_numpy() == pytest.approx(mutual_information(drawn))


def test_entropies_by_hand():
    assert entropy(np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]]), axis=-1) == pytest.approx(
        [math.log(2), 0, -0.25 * math.log(0.25) - 0.75 * math.log(0.75)]
    )
    torn = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert mutual_information(torn) == pytest.approx([math.log(2)])
    assert mutual_information(np.full((4, 1, 2), 0.5)) == pytest.approx([0])
    half = np.array([[[0.5, 0.5]], [[1.0, 0.0]]])
    assert mutual_information(half) == pytest.approx([entropy(np.array([0.75, 0.25])) - math.log(2) / 2])


def test_uncertainty_that_finds_the_errors():
    frame = pd.DataFrame(
        {"patient": list("aabbcc"), "wrong": [True, False] * 3, "good": [0.9, 0.1, 0.8, 0.2, 0.7, 0.3]}
    )
    frame["bad"], frame["none"], frame["some"] = -frame["good"], 1.0, [0.9, 0.1, 0.15, 0.2, 0.7, 0.3]
    assert [error_detection([frame], d)["ours"] for d in ("good", "bad", "none")] == [1, 0, 0.5]
    assert error_detection([frame], "some")["ours"] == pytest.approx(7 / 9)
    assert error_detection([frame, frame], "good", "some")["ours"] == pytest.approx(2 / 9)
    right = error_detection([frame.assign(wrong=False)], "good")
    assert np.isnan([right["ours"], right["low"]]).all()
    coverage, risk = risk_coverage(frame["wrong"], frame["some"])
    assert coverage == pytest.approx(np.arange(1, 7) / 6)
    assert risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4, 2 / 5, 3 / 6])


def test_an_auroc_of_doubt_has_the_interval_of_seeds_and_of_patients_with_errors():
    tables = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"patient": [f"p{k % 20}" for k in range(400)], "wrong": rng.random(400) < 0.3})
        tables.append(frame.assign(good=frame["wrong"] + rng.normal(size=400), useless=rng.normal(size=400)))
    line, gain = error_detection(tables, "good"), error_detection(tables, "good", "useless")
    assert (line["n_seeds"], line["n_patients"]) == (3, 20)
    assert line["low"] < 0.76 < line["high"]  # of two normal distributions one sd apart
    assert line["p"] < 0.05
    assert gain["ours"] == pytest.approx(line["ours"] - error_detection(tables, "useless")["ours"])
    assert gain["low"] > 0


def test_uncertainties_are_about_the_mean_of_the_passes():
    known = pd.DataFrame({"event": ["e", "f"], "patient": ["a", "b"], "label": [0, 1]})
    plain = known.assign(p0=[0.9, 0.9], p1=[0.1, 0.1])
    passes = known.assign(p0=[0.9, 0.3], p1=[0.1, 0.7], **{"mutual information": [0.0, 0.1]})
    frame = uncertainty(plain, passes)
    assert frame["wrong"].tolist() == [False, False]
    assert frame["entropy of one pass"].to_numpy() == pytest.approx(entropy(np.array([[0.9, 0.1]] * 2), axis=-1))
    assert frame["predictive entropy"].to_numpy() == pytest.approx(entropy(np.array([[0.9, 0.1], [0.3, 0.7]]), axis=-1))
    assert frame["mutual information"].tolist() == [0.0, 0.1]
    with pytest.raises(UserError, match="are of other events"):
        uncertainty(plain, passes[::-1])


def test_one_pass_cannot_disagree():
    with pytest.raises(UserError, match="Passes can disagree only if there are two or more, not 1; ask for 20"):
        passes(small(0.5), 1)
