"""True places on RespireNet's spectrogram, and the share of a map that lies on them."""

import numpy as np
import pandas as pd
import pytest
import torch
from corpora import simulated
from torch.nn.functional import interpolate

from lungnb.core import UserError
from lungnb.data.corpus import read_truth
from lungnb.metrics.attribution import class_maps, unstretch
from lungnb.metrics.localisation import box_mask, energy_inside, feature_axes, mel_centers, pointing_game, widen
from lungnb.papers.respirenet import MelImage, RespireNet


def test_unstretch_undoes_the_stretch():
    smooth = interpolate(
        torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0)), size=(64, 40), mode="bicubic"
    )[0]
    for rows in (0, 10, 30):
        stretched = interpolate(smooth[:, None, rows:], size=(64, 40), mode="bilinear")[:, 0]
        back = unstretch(stretched.numpy(), [rows] * 3)
        assert not back[:, :rows].any()
        assert np.abs(back[:, rows:] - smooth[:, rows:].numpy()).max() < 0.1
        assert np.abs(back[:, rows:] - smooth[:, rows:].numpy()).mean() < 0.01


def test_mel_centres_rise_from_50_to_2000_hz():
    centres = mel_centers()
    assert len(centres) == 64
    assert (np.diff(centres) > 0).all()
    assert 50 < centres[0] < 100
    assert 1900 < centres[-1] < 2000


def test_a_box_lies_where_its_sound_is_in_the_spectrogram():
    t = np.arange(28000) / 4000
    sound = np.where((t > 2) & (t < 3), np.sin(2 * np.pi * 400 * t), 0) + 1e-4 * np.random.default_rng(0).normal(
        size=28000
    )
    levels = MelImage().levels(torch.from_numpy(sound[None].astype(np.float32)))[0].numpy()
    box = pd.DataFrame({"start_s": [12.0], "end_s": [13.0], "low_hz": [380.0], "high_hz": [420.0]})
    shifted = box.assign(start_s=box["start_s"] - 10, end_s=box["end_s"] - 10)  # the event starts ten seconds into it
    mask = box_mask(shifted, *feature_axes("mel image", *levels.shape))
    frames, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    loud = levels > 200
    assert abs(frames[0] - np.flatnonzero(loud.any(axis=0))[0]) <= 2
    assert abs(frames[-1] - np.flatnonzero(loud.any(axis=0))[-1]) <= 2
    assert rows[0] - 1 <= levels[:, 80].argmax() <= rows[-1] + 1
    assert levels[mask].mean() > 2 * levels.mean()


def test_boxes_past_the_clip_and_thinner_than_a_band():
    boxes = pd.DataFrame({"start_s": [6.9, 20], "end_s": [9.0, 21], "low_hz": [500.0, 100], "high_hz": [500.1, 200]})
    mask = box_mask(boxes, *feature_axes("mel image", 64, 219))
    assert mask.any(axis=1).sum() == 1
    assert mask.any(axis=0)[:215].sum() == 0
    assert mask[:, -1].any()


def test_energy_of_a_uniform_map_is_the_share_of_the_mask():
    rng = np.random.default_rng(0)
    masks = rng.random((3, 8, 10)) < 0.3
    assert energy_inside(np.full((3, 8, 10), 0.5), masks) == pytest.approx(masks.mean(axis=(1, 2)))
    assert energy_inside(masks.astype(float), masks) == pytest.approx([1, 1, 1])
    assert energy_inside(np.zeros((1, 8, 10)), masks[:1]) == pytest.approx(masks[:1].mean(axis=(1, 2)))


@pytest.mark.parametrize("clipping", ["none", "paper"])
def test_grad_cam_maps_have_the_size_of_the_spectrogram(clipping):
    torch.manual_seed(0)
    front, network = MelImage(clipping, zoom=1), RespireNet(4, "resnet10-narrow").eval()
    levels = front.levels(0.1 * torch.randn(3, 28000))
    maps = class_maps(network, network.trunk.layer4[-1], front.image(levels), [0, 1, 3], "Grad-CAM++")
    assert maps.shape == levels.shape
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert maps.std() > 0


def test_grad_cam_finds_the_corner_a_network_looks_at():
    """A network that adds up the brightness of the lower left quarter looks there."""

    class Corner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = torch.nn.Conv2d(3, 4, 1)

        def forward(self, image):
            seen = self.features(image).relu()[:, :, image.shape[2] // 2 :, : image.shape[3] // 2]
            return torch.stack([seen.square().mean(dim=(1, 2, 3)), -seen.mean(dim=(1, 2, 3))], dim=1)

    torch.manual_seed(0)
    network = Corner()
    torch.nn.init.uniform_(network.features.weight, 0.1, 1)
    levels = torch.zeros(1, 64, 200, dtype=torch.uint8)
    levels[:, 40:60, 20:60] = 200
    mask = np.zeros((1, 64, 200), dtype=bool)
    mask[:, 38:62, 18:62] = True
    maps = class_maps(network, network.features, MelImage(zoom=1).image(levels), [0], "Grad-CAM++")
    assert energy_inside(maps - maps.min(), mask)[0] > 0.9


def test_truth_of_the_simulator_lies_inside_its_events():
    corpus = simulated()
    truth = read_truth(corpus.audio_root)
    assert set(truth["recording"]) <= set(corpus.events["recording"])
    abnormal = corpus.events[corpus.events["label"] != "normal"]
    for event in abnormal.iloc[::25].itertuples():
        inside = truth[
            (truth["recording"] == event.recording)
            & (truth["start_s"] >= event.start_s)
            & (truth["end_s"] <= event.end_s)
        ]
        shifted = inside.assign(start_s=inside["start_s"] - event.start_s, end_s=inside["end_s"] - event.start_s)
        assert box_mask(shifted, *feature_axes("mel image", 64, 219)).any()


def test_the_axes_of_an_unknown_front_end_are_refused():
    with pytest.raises(UserError, match="Where the features of 'levels' lie is not known"):
        feature_axes("levels", 64, 219)


def test_energy_and_pointing_game_are_those_of_quantus():
    """An oracle where it is at hand: `quantus` is no part of the environment."""
    quantus = pytest.importorskip("quantus")
    rng = np.random.default_rng(0)
    maps, masks = rng.random((6, 62, 60)).astype(np.float32), np.zeros((6, 62, 60), dtype=bool)
    for k, mask in enumerate(masks):
        row, frame = rng.integers(0, 40, 2)
        mask[row : row + 4 * k + 2, frame : frame + 3 * k + 2] = True
        maps[k, row, frame] += k % 2  # half of them are hits
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(62 * 60, 2))
    asked = {"model": network, "x_batch": maps[:, None], "y_batch": np.zeros(6, dtype=int), "a_batch": maps[:, None]}
    plain = {"abs": False, "normalise": False, "disable_warnings": True, "display_progressbar": False}
    energy = quantus.RelevanceMassAccuracy(**plain)(**asked, s_batch=masks[:, None])
    assert energy_inside(maps, masks) == pytest.approx(np.array(energy, dtype=float), abs=1e-5)
    hits = quantus.PointingGame(**plain)(**asked, s_batch=widen(masks)[:, None])
    assert pointing_game(maps, masks).tolist() == np.array(hits, dtype=float).tolist()
    assert 0.5 <= np.mean(hits) < 1
