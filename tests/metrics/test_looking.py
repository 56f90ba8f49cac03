"""What a classifier looks at: maps on one grid, their scores against hand-computed values, and doubt by dropout."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from corpora import simulated
from torch import nn

from lungnb.classification.baselines import SmallCNN
from lungnb.classification.compare import CompareRun, data_of
from lungnb.classification.compare_inputs import BANK, Inputs, front_end
from lungnb.classification.networks import FRONT_OF, Classifier, MapsOnly, Painted, Sizes, build
from lungnb.core import UserError
from lungnb.metrics import doubt, explain, looking, pointing

POOLING = (3, 4)
SIZES = Sizes(4, 3, backbone="resnet10-narrow", zoom=1, hidden=8)
NETWORKS = [model for model in FRONT_OF if model not in ("boosting", "MPA")]


def box(start_s, end_s, low_hz, high_hz):
    return pd.DataFrame({"start_s": [start_s], "end_s": [end_s], "low_hz": [low_hz], "high_hz": [high_hz]})


def pictures(front, wave):
    """Maps of a clip that `wave` (a function of seconds) gives at the rate of the front end."""
    rate = BANK[front][0]
    return front_end(front, POOLING)(torch.from_numpy(wave(np.arange(3 * rate) / rate).astype(np.float32))[None])


def clips(front="levels", n=5, seed=0, boxes=()):
    generator = torch.Generator().manual_seed(seed)
    noise = 0.1 * torch.randn(n, 3 * BANK[front][0], generator=generator)
    maps = front_end(front, POOLING)(noise)
    about = torch.stack([torch.zeros(n), torch.zeros(n), torch.arange(n) % 3], dim=1).long()
    axes = looking.axes_of(front, *maps.shape[2:], POOLING)
    return looking.Clips(maps, about, torch.arange(n) % 4, *axes, 3.0, list(boxes))


# ---- the common grid


@pytest.mark.parametrize("front", ["levels", "stacked", "crop"])
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
    on_grid = looking.to_grid(picture, *looking.axes_of(front, *maps.shape[2:], POOLING), 3.0)
    loud = on_grid > on_grid.min() + 0.9 * np.ptp(on_grid)
    mask = looking.mask_of(box(start_s - 0.1, start_s + 0.7, hz - 90, hz + 90), *looking.grid(3.0))
    assert on_grid.shape == (1, 62, 60)
    assert pointing.pointing_game(on_grid, mask[None]) == 1
    assert (loud[0] & mask).sum() / loud.sum() > 0.95
    hertz, second = looking.grid(3.0)
    assert abs(hertz[loud[0].any(1)].mean() - hz) < 45
    assert abs(second[loud[0].any(0)].mean() - start_s - 0.3) < 0.08


def test_the_grid_is_linear_between_centres_and_keeps_the_ends():
    hertz, second = looking.grid(0.2)
    assert (len(hertz), len(second)) == (62, 4)
    assert (hertz[0], hertz[-1]) == (62.5, 1587.5)
    assert second == pytest.approx([0.025, 0.075, 0.125, 0.175])
    maps = np.array([[[0.0, 1.0], [2.0, 3.0]]])
    on_grid = looking.to_grid(maps, np.array([825.0, 62.5]), np.array([0.075, 0.125]), 0.2)[0]  # rows from high to low
    assert on_grid[0] == pytest.approx([2, 2, 3, 3])
    assert on_grid[hertz > 825] == pytest.approx(np.tile([0, 0, 1, 1], (31, 1)))
    middle = np.interp(hertz[10], [62.5, 825], [2, 0])
    assert on_grid[10, 0] == pytest.approx(middle)


def test_boxes_cover_the_cells_that_they_touch():
    mask = looking.mask_of(box(0.06, 0.11, 80, 101), *looking.grid(0.2))
    assert np.argwhere(mask).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    thin = looking.mask_of(box(0.01, 0.011, 60, 60.1), *looking.grid(0.2))
    assert np.argwhere(thin).tolist() == [[0, 0]]
    assert not looking.mask_of(box(0.3, 0.4, 60, 100), *looking.grid(0.2)).any()
    falling = looking.mask_of(box(0.0, 0.1, 240, 260), np.array([400.0, 300, 200, 100]), np.array([0.05, 0.15]))
    assert np.argwhere(falling).tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]  # 250 Hz is the edge of two rows


# ---- the sounds of a run


@pytest.fixture(scope="module")
def given():
    corpus = simulated()
    run = CompareRun(corpus=corpus.fingerprint, task="icbhi", model="small CNN", n_patients=24)
    return run, data_of(run), explain.read_truth(corpus.audio_root)


def test_sounds_are_of_test_patients_in_turn_and_hold_a_true_one(given):
    run, data, truth = given
    sounds = looking.sounds_of(run, data, truth, 4)
    test = data.inputs["icbhi"].units.query("part == 'test'")
    assert set(sounds["patient"]) <= set(test["patient"])
    first = sounds[sounds["label"] == "crackle"]
    possible = data.corpus.events[data.corpus.events["patient"].isin(test["patient"])].query("label == 'crackle'")
    assert first["patient"].nunique() == min(4, possible["patient"].nunique())
    for event in sounds.itertuples():
        here = truth[(truth["recording"] == event.recording) & truth["kind"].str.startswith(event.label)]
        assert ((here["end_s"] > event.start_s) & (here["start_s"] < event.start_s + 3)).any()


def test_a_kind_that_no_test_patient_has_is_refused(given):
    run, data, truth = given
    with pytest.raises(UserError, match="No test patient of 'icbhi' has a squawk to look at; use more patients"):
        looking.sounds_of(run, data, truth, 4, ["squawk"])


def test_clips_are_those_the_run_was_tested_on_and_boxes_repeat_with_the_sound(given):
    run, data, truth = given
    sounds = looking.sounds_of(run, data, truth, 4)
    found, own = looking.clips_of(run, data, sounds, truth), data.inputs["icbhi"]
    for k, row in enumerate(sounds.index):
        sample = np.flatnonzero(own.unit == data.corpus.events.index.get_loc(row))[0]
        assert (own.batch(torch.tensor([sample]))[0] == found.maps[k]).all()
        assert (own.about[sample] == found.about[k]).all()
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
    assert found.own_masks.shape == (len(sounds), *found.maps.shape[2:])
    assert found.masks.any(axis=(1, 2)).all()


# ---- maps of a network


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("method", list(explain.METHODS))
def test_every_network_has_a_map_of_the_size_of_its_picture(model, method):
    torch.manual_seed(0)
    shown = clips(FRONT_OF[model])
    network = build(model, SIZES, *shown.maps.shape[1:3])
    maps, detail = looking.maps_for(network, shown, method)
    assert maps.shape == (5, *shown.maps.shape[2:])
    assert 0 <= maps.min() <= maps.max() <= 1
    assert maps.max(axis=(1, 2)).min() >= 0
    assert maps.max() > 0.5
    assert detail[0] < maps.shape[1]
    assert detail[1] < maps.shape[2]
    earlier = looking.maps_for(network, shown, method, -3)[1]
    assert earlier >= detail


def test_maps_are_those_of_the_library_one_clip_at_a_time():
    """In MPO every clip is seen by the network of its own position, and batches do not mix clips."""
    torch.manual_seed(0)
    shown = clips("crop", n=40)
    network = build("MPO", SIZES, *shown.maps.shape[1:3])
    network.fit_statistics([shown.maps])
    maps, _ = looking.maps_for(network, shown, "Grad-CAM")
    for k in (0, 1, 2, 34):
        own = network.network.networks[int(shown.about[k, 2])]
        image = (shown.maps[[k]] - network.mean) / network.sd
        expected = explain.grad_cam(own, own.convolutions[-1], image, int(shown.label[k]))
        assert maps[k] == pytest.approx(expected[0], abs=1e-4)


def test_unknown_places_and_unknown_networks_are_refused():
    shown = clips("crop")
    shown.about[1, 2] = 3
    with pytest.raises(
        UserError, match="MPO has no network for a sound from an unknown position; leave that sound out"
    ):
        looking.maps_for(build("MPO", SIZES, *shown.maps.shape[1:3]), shown, "Grad-CAM")
    with pytest.raises(UserError, match="It is not known where Linear looks; add its layers"):
        looking.stages_of(nn.Linear(2, 2))


def test_grad_cam_is_its_equation():
    """Grad-CAM of the small CNN by hand: mean gradients weigh the channels, the sum is cut at 0 and scaled to 0..1."""
    torch.manual_seed(1)
    shown, found = clips(n=1), {}
    network = build("small CNN", SIZES, *shown.maps.shape[1:3]).eval()
    inside = network.network.network
    layer = inside.convolutions[-2]
    layer.register_forward_hook(lambda _, __, y: found.update(a=y) or y.retain_grad())
    network(shown.maps, shown.about)[0, int(shown.label[0])].backward()
    a, weight = found["a"][0], found["a"].grad[0].mean(dim=(1, 2))
    by_hand = (weight[:, None, None] * a).sum(0).relu().detach()
    by_hand = nn.functional.interpolate(by_hand[None, None], shown.maps.shape[2:], mode="bilinear")[0, 0].numpy()
    expected = (by_hand - by_hand.min()) / np.ptp(by_hand)
    layer._forward_hooks.clear()
    maps, detail = looking.maps_for(network, shown, "Grad-CAM")
    assert detail == (8, 11)
    assert maps[0] == pytest.approx(expected, abs=1e-4)


def test_weights_drawn_anew_keep_only_the_scale():
    torch.manual_seed(0)
    network = build("ConvLstm", SIZES, 3, 64)
    network.mean.fill_(2)
    other, again = looking.untrained(network, 1), looking.untrained(network, 1)
    before, after = network.state_dict(), other.state_dict()
    assert (after["mean"] == 2).all()
    same = [k for k in before if torch.equal(before[k], after[k]) and not k.endswith(("mean", "sd"))]
    assert not [k for k in same if before[k].dim() > 1]  # a batch norm's weights start at 1 anyway
    assert all(torch.equal(after[k], v) for k, v in again.state_dict().items())


def test_fused_sites_are_channels_and_their_boxes_lie_over_one_another():
    shown = clips("crop", n=4, boxes=[box(k, k + 0.5, 100, 200) for k in (0, 1, 2, 0)])
    both = looking.fused(shown, 2)
    assert both.maps.shape == (2, 2, *shown.maps.shape[2:])
    assert (both.maps[1, 0] == shown.maps[2, 0]).all()
    assert both.label.tolist() == shown.label[::2].tolist()
    assert (both.masks[0] == shown.masks[0] | shown.masks[1]).all()
    network = build("MPA", SIZES, *both.maps.shape[1:3])
    assert looking.maps_for(network, both, "Grad-CAM++")[0].shape == (2, *shown.maps.shape[2:])


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
    assert pointing.pointing_game(maps, golden()) == hit
    in_time = pointing.pointing_game(pointing.in_time(maps), pointing.in_time(golden()))
    assert in_time == (18 <= frame <= 24)


def test_chance_and_energy_by_hand():
    masks = golden()
    assert pointing.chance(masks) == pytest.approx([6 * 7 / 3720])
    assert pointing.chance(pointing.in_time(masks)) == pytest.approx([7 / 60])
    flat = np.ones((1, 62, 60))
    assert pointing.pointing_game(flat, masks) == pytest.approx(pointing.chance(masks))
    assert pointing.energy(flat, masks) == pytest.approx([6 / 3720])
    assert pointing.energy(0 * flat, masks) == pytest.approx([6 / 3720])
    maps = 0 * flat
    maps[0, 10, 20], maps[0, 11, 22], maps[0, 40, 0] = 1, 2, 5
    assert pointing.energy(maps, masks) == pytest.approx([3 / 8])
    two = 0 * flat
    two[0, 10, 20], two[0, 40, 0] = 1, 1
    assert pointing.pointing_game(two, masks) == 0.5


def test_likeness_is_spearmans():
    from scipy.stats import spearmanr

    a, b = np.random.default_rng(0).random((2, 3, 6, 7)).round(1)
    b[2] = 1
    expected = [spearmanr(a[k].ravel(), b[k].ravel()).statistic for k in (0, 1)]
    assert pointing.likeness(a, b)[:2] == pytest.approx(expected)
    assert np.isnan(pointing.likeness(a, b)[2])
    assert pointing.likeness(a, -(a**3)) == pytest.approx([-1] * 3)


def corner(maps, about):
    """A network whose logit of class 1 is 40 times the mean of the four pixels on the upper left, of class 0 nothing."""
    seen = maps[:, 0, :2, :2].float().mean(dim=(1, 2))
    return torch.stack([0 * seen, 40 * seen], dim=1)


def corner_clip():
    maps = torch.zeros(1, 1, 4, 5)
    maps[0, 0, :2, :2] = 0.1
    nothing = torch.zeros(1, 3, dtype=torch.long)
    return looking.Clips(maps, nothing, torch.tensor([1]), np.arange(4.0), np.arange(5.0), 5.0, [])


def test_deletion_curve_by_hand():
    shown = corner_clip()
    right = np.zeros((1, 4, 5))
    right[0, :2, :2] = [[4, 3], [2, 1]]
    curve = pointing.deletion(corner, shown, right, 5)[0]
    full, blank = 1 / (1 + math.exp(-4)), 1 / (1 + math.exp(-40 * 0.04))  # a row's mean is 0.2 / 5
    assert curve[0] == pytest.approx(full)
    assert curve[1:] == pytest.approx([blank] * 5)  # after 4 of 20 pixels nothing is left
    assert pointing.auc(curve[None]) == pytest.approx([(full + blank) / 10 + 0.8 * blank])
    wrong = pointing.deletion(corner, shown, -right, 5)[0]
    assert wrong[:5] == pytest.approx([full] * 5)
    assert wrong[5] == pytest.approx(blank)


def test_pixels_of_one_importance_go_in_random_order_by_the_seed():
    shown = corner_clip()
    flat = np.zeros((1, 4, 5))
    curves = [pointing.deletion(corner, shown, flat, 20, seed)[0] for seed in (0, 0, 1)]
    assert (curves[0] == curves[1]).all()
    assert (curves[0] != curves[2]).any()
    assert (np.diff(curves[0]) <= 1e-7).all()
    assert (np.diff(curves[0]) < -1e-3).sum() == 4  # one step for each pixel that counts


def test_deleted_grey_levels_stay_grey_levels():
    torch.manual_seed(0)
    shown = clips(n=2)
    network = build("RespireNet", SIZES, 1, 64).eval()
    assert isinstance(network, Painted)
    curves = pointing.deletion(network, shown, np.random.default_rng(0).random((2, *shown.maps.shape[2:])), 2)
    blank = shown.maps.float().mean(3, keepdim=True).round().to(torch.uint8).expand_as(shown.maps)
    with torch.no_grad():
        p = network(blank, shown.about).softmax(1).gather(1, shown.label[:, None])[:, 0]
    assert curves[:, -1] == pytest.approx(p.numpy(), abs=1e-5)


def test_intervals_are_over_patients():
    values = np.array([1.0] * 50 + [0.0] * 50 + [np.nan])
    patient = np.array(["a"] * 50 + ["b"] * 50 + ["c"])
    found = pointing.over_patients(values, patient)
    assert found == {"ours": 0.5, "low": 0.0, "high": 1.0}
    alone = pointing.over_patients(values, np.arange(101).astype(str))
    assert 0.08 < 0.5 - alone["low"] < 0.12
    weighted = pointing.over_patients(np.array([1.0, 1, 1, 0]), np.array(["a", "a", "a", "b"]))
    assert weighted["ours"] == 0.75


# ---- doubt


def units(n=24):
    """Inputs of n test sounds of two clips each, of 6 patients, as levels."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randint(0, 256, (2 * n, 1, 64, 30), dtype=torch.uint8, generator=generator)
    table = pd.DataFrame(
        {"recording": "r", "patient": [f"p{k % 6}" for k in range(n)], "part": "test", "label": np.arange(n) % 4}
    )
    about = torch.zeros(2 * n, 3, dtype=torch.long)
    return Inputs(maps, torch.arange(2 * n)[:, None], np.repeat(np.arange(n), 2), about, table, 0)


def small(dropout):
    torch.manual_seed(0)
    return Classifier(MapsOnly(SmallCNN(4, dropout=dropout)), 1, 64)


def test_a_network_without_dropout_never_contradicts_itself():
    plain, drawn = doubt.passes(small(0.0), units(), 3)
    assert drawn.shape == (3, 24, 4)
    assert doubt.mutual_information(drawn) == pytest.approx(np.zeros(24), abs=1e-7)
    assert drawn[0] == pytest.approx(doubt.probabilities_of(plain), abs=1e-6)


def test_dropout_is_on_and_batch_norm_is_not():
    network, state = small(0.5), torch.random.get_rng_state()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    plain, drawn = doubt.passes(network, units(), 8)
    assert (doubt.mutual_information(drawn) > 0).all()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert not any(module.training for module in network.modules())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(doubt.passes(network, units(), 8)[1], drawn)
    assert not np.array_equal(doubt.passes(network, units(), 8, seed=1)[1], drawn)
    with torch.no_grad():
        p = network(units().maps[:2], units().about[:2]).softmax(1).mean(0).numpy()
    assert doubt.probabilities_of(plain)[0] == pytest.approx(p, abs=1e-6)


def test_entropies_by_hand():
    assert doubt.entropy(np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]])) == pytest.approx(
        [math.log(2), 0, -0.25 * math.log(0.25) - 0.75 * math.log(0.75)]
    )
    torn = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert doubt.mutual_information(torn) == pytest.approx([math.log(2)])
    assert doubt.mutual_information(np.full((4, 1, 2), 0.5)) == pytest.approx([0])
    half = np.array([[[0.5, 0.5]], [[1.0, 0.0]]])
    assert doubt.mutual_information(half) == pytest.approx([doubt.entropy(np.array([0.75, 0.25])) - math.log(2) / 2])


def test_doubt_that_finds_the_errors():
    frame = pd.DataFrame(
        {"patient": list("aabbcc"), "wrong": [True, False] * 3, "good": [0.9, 0.1, 0.8, 0.2, 0.7, 0.3]}
    )
    frame["bad"], frame["none"], frame["some"] = -frame["good"], 1.0, [0.9, 0.1, 0.15, 0.2, 0.7, 0.3]
    assert [doubt.finds_errors(frame, d)["ours"] for d in ("good", "bad", "none")] == [1, 0, 0.5]
    assert doubt.finds_errors(frame, "some")["ours"] == pytest.approx(7 / 9)
    right = doubt.finds_errors(frame.assign(wrong=False), "good")
    assert np.isnan([right["ours"], right["low"]]).all()
    coverage, risk = doubt.risk_coverage(frame["wrong"], frame["some"])
    assert coverage == pytest.approx(np.arange(1, 7) / 6)
    assert risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4, 2 / 5, 3 / 6])


def test_doubts_are_about_the_mean_of_the_passes():
    plain = pd.DataFrame({"patient": ["a", "b"], "label": [0, 1], "p0": [0.9, 0.9], "p1": [0.1, 0.1]})
    drawn = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.4, 0.6]]])
    frame = doubt.doubts(plain, drawn)
    assert frame["wrong"].tolist() == [False, False]
    assert frame["entropy of one pass"].to_numpy() == pytest.approx(doubt.entropy(np.array([[0.9, 0.1]] * 2)))
    assert frame["predictive entropy"].to_numpy() == pytest.approx(doubt.entropy(np.array([[0.9, 0.1], [0.3, 0.7]])))


def test_one_pass_cannot_disagree():
    with pytest.raises(UserError, match="Passes can disagree only if there are two or more, not 1; ask for 20"):
        doubt.passes(small(0.5), units(), 1)
