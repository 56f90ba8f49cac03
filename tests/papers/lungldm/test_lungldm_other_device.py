"""Every part of LungLDM, trained and generating on a device that is not the CPU, with the CPU's own results."""

import pandas as pd
import pytest
import torch
from other_device import training_elsewhere
from tiny_lungldm import autoencoder, classifier, diffusion, vocoder

from lungnb.papers.lungldm import diffusion as diffusion_module
from lungnb.papers.lungldm import experiments

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")]

PARTS = {"classifier": classifier, "autoencoder": autoencoder, "diffusion": diffusion, "vocoder": vocoder}


@pytest.fixture
def other_device(monkeypatch):
    with training_elsewhere(monkeypatch, experiments, diffusion_module):
        yield


@pytest.mark.parametrize("name", PARTS)
def test_a_part_trained_elsewhere_is_the_one_of_the_cpu(name, request, tmp_path):
    run = PARTS[name]()
    expected_history, expected_state = run.history, run.state
    request.getfixturevalue("other_device")
    history, _, state, _ = run.compute(tmp_path / "checkpoint.pt")
    pd.testing.assert_frame_equal(history, expected_history, atol=1e-3, check_dtype=False)
    assert all(value.device.type == "cpu" for value in state.values())
    assert all(torch.allclose(value, expected_state[k], atol=3e-3) for k, value in state.items())


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_clips_generated_elsewhere_are_those_of_the_cpu(sampler, request):
    run = diffusion()
    prompts = ["A person is coughing, male, 40s", "A person is breathing deeply"]
    here = run.generate(prompts, steps=2, sampler=sampler, vocoder=vocoder())
    request.getfixturevalue("other_device")
    there = run.generate(prompts, steps=2, sampler=sampler, vocoder=vocoder())
    assert there.log_mels.device.type == "cpu"
    assert torch.allclose(there.log_mels, here.log_mels, atol=0.02)


def test_a_tensor_left_on_the_cpu_is_found(other_device, monkeypatch, tmp_path):
    """Else the tests above could not fail."""
    there = diffusion_module.tokenize
    monkeypatch.setattr(diffusion_module, "tokenize", lambda *how: [Stays(x) for x in there(*how)])
    with pytest.raises(RuntimeError, match="expected all tensors on meta"):
        diffusion().compute(tmp_path / "checkpoint.pt")


class Stays:
    """A tensor that does not go where it is sent."""

    def __init__(self, tensor: torch.Tensor):
        self.tensor = tensor

    def to(self, device) -> torch.Tensor:
        return self.tensor
