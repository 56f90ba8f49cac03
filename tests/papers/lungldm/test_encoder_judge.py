"""The judge by a frozen encoder: one linear layer that says what scikit-learn's regression says, and only of its encoder."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny_lungldm import clips, tiny

from lungnb.book.sounds import measuring
from lungnb.core import UserError
from lungnb.papers.lungldm.encoder_judge import EncoderJudgeRun, _linear, _probabilities
from lungnb.papers.lungldm.judges import TYPES

JUDGE = "lungnb.papers.lungldm.encoder_judge.encoder"


class Bands(torch.nn.Module):
    """An encoder of 16 numbers: the level of a sound (B, T) in as many bands."""

    def __init__(self, least: float = 1e-6):
        super().__init__()
        self.register_buffer("least", torch.tensor(least))

    def forward(self, waveform):
        power = torch.fft.rfft(waveform).abs().square()[:, :5120]
        return (power.unflatten(1, (16, -1)).mean(dim=2) + self.least).log()[:, None, :, None]


@pytest.mark.parametrize("heard", [(0, 4), (0, 1, 2, 4), (0, 1, 2, 3, 4)])
def test_the_linear_layer_is_the_regression(heard):
    rng = np.random.default_rng(0)
    label = np.repeat(heard, 20)
    x = rng.normal(3, 2, size=(len(label), 6)) + label[:, None] * rng.normal(size=6)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, label)
    said = _probabilities(_linear(*fitted), x)
    np.testing.assert_allclose(said[:, heard], fitted.predict_proba(x), atol=1e-9)
    np.testing.assert_allclose(said.sum(axis=1), 1)


def test_it_hears_training_clips_and_knows_its_encoder(monkeypatch):
    monkeypatch.setattr(JUDGE, lambda name: Bands())
    run = tiny(
        EncoderJudgeRun, seed=104, encoder="bands"
    )  # a name of its own, for others cache judges by other encoders
    assert run.result()["train recall"] > 0.4  # five types, so .2 by chance
    held_out = run.predictions
    assert set(held_out["split"]) == {"validation", "test"}
    mels = run.mels()
    rows = np.flatnonzero((mels.part != "train") & np.isin(mels.sound, TYPES))[:3]
    waves = mels.waveforms(torch.from_numpy(rows))
    np.testing.assert_allclose(run.predict(waves), held_out.filter(regex="^p\\d$")[:3], atol=1e-5)
    np.testing.assert_allclose(run.predict(waves / 100), run.predict(waves), atol=1e-4)  # loudness says nothing
    monkeypatch.setattr(JUDGE, lambda name: Bands(1e-3))
    with pytest.raises(UserError, match="has other weights"):
        run.predict(waves)


def test_without_its_weights_the_other_judges_judge(monkeypatch):
    def missing(name):
        raise UserError("Resemblyzer is not installed.")

    fields = {"judges": {"size": "smoke"}, "run": {"size": "smoke"}, "embedding": {"epochs": 1}, "n_per_type": 2}
    common = {"corpus": clips().fingerprint, "n_patients": 11}
    monkeypatch.setattr("lungnb.book.sounds.encoder", missing)
    with pytest.warns(UserWarning, match="left out. Resemblyzer is not installed"):
        assert [judge.network for judge in measuring(fields, common)["judges"]] == ["residual", "recurrent"]
    monkeypatch.setattr("lungnb.book.sounds.encoder", lambda name: Bands())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(measuring(fields, common)["judges"]) == 3
