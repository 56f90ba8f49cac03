"""Every network of the registry, trained, selected and predicting on a device that is not the CPU, with the CPU's own results."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from other_device import OTHER, training_elsewhere

from lungnb import classification as module
from lungnb.classification import Classification
from lungnb.classification.dataset import Dataset
from lungnb.classification.encoders import encoder
from lungnb.classification.networks import CLASSIFIERS
from lungnb.classification.preprocessing import AUDIO, Clips, Preprocessing, compute_features
from lungnb.data.audio import ClipPlan
from lungnb.features import augment
from lungnb.papers.convlstm import INPUTS

SHAPE = {"mel image": (1, 64, 94), "stacked": (3, 64, 16), "stft": (1, 50, 54), "embedding": (1, 256, 1)}
SITES = ("left", "right", "back")
N_CLIPS = 24


def dataset_of(model: str, mask: bool = False) -> Dataset:
    """Random features of N_CLIPS clips, half of them trained on; for MPA of three sites each, some of them not recorded."""
    entry, rng = CLASSIFIERS[model], torch.Generator().manual_seed(0)
    n_classes, clip = 2 if entry.all_sites else 4, np.arange(N_CLIPS)
    columns = {"event": clip, "recording": clip, "patient": clip, "position": "left", "device": "a", "cohort": "a"}
    split = np.repeat(["train", "validation", "test"], [N_CLIPS // 2, N_CLIPS // 4, N_CLIPS // 4])
    units = pd.DataFrame(columns).assign(split=split, label=clip % n_classes)
    features = torch.randint(0, 255, (N_CLIPS + len(SITES), *SHAPE[entry.front_end]), generator=rng)
    rows = torch.randint(0, len(features), (N_CLIPS, len(SITES) if entry.all_sites else 1), generator=rng)
    return Dataset(
        features=features.to(torch.uint8 if entry.front_end == "mel image" else torch.float16),
        rows=rows if entry.all_sites else torch.arange(N_CLIPS)[:, None],
        metadata=torch.stack([torch.randint(0, n, (N_CLIPS,), generator=rng) for n in (20, 3, len(SITES) + 1)], dim=1),
        label=torch.tensor(units["label"].to_numpy(int)),
        unit=clip,
        units=units,
        event=clip,
        n_events=N_CLIPS // 2,
        waveforms=torch.randint(-9999, 9999, (N_CLIPS, 12000), generator=rng).short(),
        mask=mask,
    )


class Toy(Classification):
    """A run on `dataset_of`."""

    corpus: str = "none"

    def view(self, *task):
        return None

    def parts(self, corpus):
        return SimpleNamespace(notes=[])

    def positions(self, corpus):
        return list(SITES)

    def dataset(self, *task, device="cpu"):
        return dataset_of(self.model, self.missing == "mask").to(device)


@pytest.fixture
def other_device(monkeypatch):
    with training_elsewhere(monkeypatch, module):
        yield


CASES = {model: {"model": model} for model in CLASSIFIERS} | {
    "RespireNet, its paper": {"model": "RespireNet", "augment_waveforms": True, "clipping": "code", "optimizer": "sgd"},
    "full": {"model": "full", "loss_weights": "inverse", "class_balance": None, "max_grad_norm": 1.0},
    "MPA, masked": {"model": "MPA", "missing": "mask", "normalisation": "fixed"},
    "encoder + regression": {"model": "encoder + regression", "encoder": "resemblyzer", "random_weights": True},
    "SiteCNN, by clip": {"model": "SiteCNN", "normalisation": "clip", "combine": "vote", "augment_features": False},
}
SMALL = {
    "clip_s": 0.6,
    "backbone": "resnet10-narrow",
    "pretrained": "scratch",
    "zoom": 1,
    "hidden": 8,
    "epochs": 1,
    "batch_size": 12,
}


def trained(choices, path):
    all_sites = CLASSIFIERS[choices["model"]].all_sites
    how = SMALL | {"task": "cohorts" if all_sites else "icbhi", "leaky_selection": True, "draws": "clips"} | choices
    return Toy(**how).compute(path / "checkpoint.pt")


@pytest.fixture(scope="module", autouse=True)
def short_sequences():
    """An LSTM of 64 steps, not of 304."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(INPUTS, "A", replace(INPUTS["A"], seconds=SMALL["clip_s"]))
        yield


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    return {name: trained(choices, tmp_path_factory.mktemp("cpu")) for name, choices in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_training_elsewhere_is_the_one_on_the_cpu(name, on_cpu, other_device, tmp_path):
    history, predictions, state, facts = trained(CASES[name], tmp_path)
    expected_history, expected, expected_state, expected_facts = on_cpu[name]
    pd.testing.assert_frame_equal(history, expected_history, atol=1e-3)
    pd.testing.assert_frame_equal(predictions, expected, atol=1e-3)
    assert facts["parameters"] == expected_facts["parameters"]
    assert all(value.device.type == "cpu" for value in state.values())
    assert all(torch.allclose(value, expected_state[k], atol=3e-3) for k, value in state.items())


@pytest.mark.parametrize("name", AUDIO)
def test_features_made_elsewhere_are_those_of_the_cpu(name, request):
    samples = np.random.default_rng(0).integers(-9999, 9999, 60_000).astype(np.int16)
    plan = ClipPlan(24_000, [[(0, 24_000, 1)], [(9000, 24_000, 1)]], np.zeros((2, 2), int), np.array(["normal"] * 2))
    ours = Preprocessing(name, Clips(3.0), 8000, "A", (3, 4)).front_end
    make = partial(encoder, "resemblyzer", True) if name == "embedding" else ours
    here = compute_features(samples, plan, make(), 2)
    request.getfixturevalue("other_device")
    there = compute_features(samples, plan, make(), 2, OTHER)
    assert there.device.type == "cpu"
    assert torch.allclose(here.float(), there.float(), atol=1.0 if name == "mel image" else 0.05)


def test_clips_augmented_elsewhere_are_those_of_the_cpu(request):
    clips = torch.randn(32, 8000, generator=torch.Generator().manual_seed(0))
    here = augment(clips, torch.Generator().manual_seed(1))
    request.getfixturevalue("other_device")
    assert torch.allclose(augment(clips.to(OTHER), torch.Generator().manual_seed(1)).cpu(), here, atol=1e-4)


def test_a_tensor_left_on_the_cpu_is_found(other_device, monkeypatch, tmp_path):
    """Else the tests above could not fail."""
    monkeypatch.setattr(module, "class_weights", lambda label, *how: torch.ones(4))
    with pytest.raises(RuntimeError, match=r"expected all tensors on meta, but one \(4,\) is on the CPU"):
        trained(CASES["small CNN"], tmp_path)
