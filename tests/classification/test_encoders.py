"""Frozen encoders: what they compute, whose weights they have, and the regression that reads from them."""

import sys

import librosa
import numpy as np
import pytest
import torch
import transformers
from corpora import simulated

from lungnb import UserError
from lungnb.classification import Classification
from lungnb.classification.encoders import RATE, SpeakerEncoder, digest, encoder
from lungnb.classification.networks import fit_regression


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `resemblyzer` whose code must not run, with weights of this test; returns their network."""
    folder = tmp_path / "resemblyzer"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('code of the package was run')")
    torch.manual_seed(3)
    network = SpeakerEncoder()
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("mel.")}
    torch.save({"step": 1, "model_state": state | {"similarity_weight": torch.ones(1)}}, folder / "pretrained.pt")
    monkeypatch.syspath_prepend(tmp_path)
    return network.eval()


@pytest.fixture
def transformer(tmp_path):
    """The folder of a tiny AST."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ASTConfig(max_length=64, num_mel_bins=32, **small)
    transformers.ASTModel(config).save_pretrained(tmp_path / "ast")
    transformers.ASTFeatureExtractor(max_length=64, num_mel_bins=32).save_pretrained(tmp_path / "ast")
    return str(tmp_path / "ast")


def sounds(n=3, seconds=3.0):
    return 0.1 * torch.randn(n, round(seconds * RATE), generator=torch.Generator().manual_seed(1))


def test_the_speaker_encoder_step_by_step():
    torch.manual_seed(0)
    network, quiet = SpeakerEncoder().eval(), sounds(1) * 0.01
    sound = quiet[0].numpy() * 10 ** (-30 / 20) / np.sqrt(np.mean(quiet[0].numpy() ** 2))
    sound = np.pad(sound, (0, 160 * (154 + 160) - len(sound)))  # the third window starts at frame 154
    mel = librosa.feature.melspectrogram(y=sound, sr=RATE, n_fft=400, hop_length=160, n_mels=40).T
    windows = torch.from_numpy(np.stack([mel[k : k + 160] for k in (0, 77, 154)]))
    with torch.no_grad():
        raw = network.linear(network.lstm(windows)[1][0][-1]).relu()
        mean = (raw / raw.norm(dim=1, keepdim=True)).mean(0)
        assert torch.allclose(network(quiet)[0, 0, :, 0], mean / mean.norm(), atol=1e-4)
        loud = sounds(1)  # louder than -30 dB: as it is
        assert not torch.allclose(network(loud), network(loud * 2), atol=1e-4)


@pytest.mark.parametrize(("seconds", "starts"), [(0.5, [0]), (1.6, [0]), (2.0, [0, 77]), (3.0, [0, 77, 154])])
def test_windows_of_a_sound(seconds, starts):
    assert SpeakerEncoder().starts(round(seconds * RATE)) == starts


def test_weights_are_read_and_no_code_is_run(package):
    read = encoder("resemblyzer")
    assert torch.equal(read(sounds()), package(sounds()))
    assert digest(read) == digest(package)
    assert "resemblyzer" not in sys.modules
    assert not any(p.requires_grad for p in read.parameters())


def test_random_weights_are_drawn_by_the_seed(package):
    draws = [digest(encoder("resemblyzer", True, seed)) for seed in (0, 1, 1)]
    assert draws[1] == draws[2]
    assert len({*draws, digest(package)}) == 3


def test_weights_that_are_not_there_are_not_replaced(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="pip install --no-deps Resemblyzer"):
        encoder("resemblyzer")
    with pytest.raises(UserError, match="is no audio model that can be read"):
        encoder(str(tmp_path))
    (tmp_path / "resemblyzer").mkdir()
    (tmp_path / "resemblyzer" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"holds no weights of Resemblyzer 0\.1\.4"):
        encoder("resemblyzer")


def test_a_transformer_of_a_folder(transformer):
    network = encoder(transformer)
    made = network(sounds(2, 0.6))
    assert made.shape == (2, 1, 16, 1)
    model = transformers.ASTModel.from_pretrained(transformer).eval()
    given = transformers.ASTFeatureExtractor.from_pretrained(transformer)(
        list(sounds(2, 0.6).numpy()), sampling_rate=RATE, return_tensors="pt"
    )
    with torch.no_grad():
        assert torch.allclose(made[:, 0, :, 0], model(**given).last_hidden_state.mean(1), atol=1e-5)
    assert digest(encoder(transformer, True, 0)) != digest(encoder(transformer, True, 1)) != digest(network)


def test_what_is_in_the_folder_of_an_encoder_is_part_of_its_keys(transformer):
    fields = {"corpus": "x", "task": "icbhi", "model": "encoder + regression", "encoder": transformer}
    first, uid = digest(encoder(transformer)), Classification(**fields).uid
    assert Classification(**fields).uid == uid
    transformers.ASTFeatureExtractor(max_length=64, num_mel_bins=32, mean=-3.0).save_pretrained(transformer)
    assert digest(encoder(transformer)) != first
    assert Classification(**fields).uid != uid


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_used_as_floats(transformer, dtype):
    transformers.ASTModel.from_pretrained(transformer).to(dtype).save_pretrained(transformer)
    network = encoder(transformer)
    assert network(sounds(1, 0.6)).dtype == torch.float32
    assert digest(network)


def test_a_regression_of_few_patients():
    numbers, label = np.random.default_rng(0).normal(size=(40, 3)), np.repeat([0, 1], 20)
    with pytest.raises(UserError, match="train on three patients or more"):
        fit_regression(numbers, label, np.ones(40), label, 0)
    of_one = np.where(label == 1, 9, np.arange(40) % 4)  # one class is one patient's alone
    assert fit_regression(numbers, label, np.ones(40), of_one, 0).classes_.tolist() == [0, 1]


def test_a_regression_is_held_back_where_its_numbers_are_the_patients():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 20)
    label = rng.integers(0, 2, 600)
    of_patient = rng.normal(size=(30, 60))[patient]
    noise = fit_regression(of_patient + rng.normal(size=(600, 60)), label, np.ones(600), patient, 0)
    told = fit_regression(np.c_[of_patient, 4.0 * label], label, np.ones(600), patient, 0)
    assert noise[-1].C < told[-1].C
    assert told.score(np.c_[of_patient, 4.0 * label], label) == 1


@pytest.mark.train
def test_an_encoder_and_statistics_as_classifiers(transformer):
    fields = {
        "corpus": simulated().fingerprint,
        "n_patients": 24,
        "task": "icbhi",
        "validation": "none",
        "selection": "last",
    }
    models = [{"model": "encoder + regression", "encoder": transformer}, {"model": "statistics + regression"}]
    models.append(models[0] | {"random_weights": True, "seed": 2})
    for fields_of in models:
        run = Classification(**fields, **fields_of)
        p = run.tested()[["p0", "p1", "p2", "p3"]].to_numpy()
        assert np.allclose(p.sum(1), 1)
        random = fields_of.get("random_weights")
        assert run.result()["weights"] == fields_of.get("encoder", "from scratch") + (", random" if random else "")


@pytest.mark.parametrize("wrong", [{"model": "encoder + regression"}, {"model": "small CNN", "encoder": "resemblyzer"}])
def test_an_encoder_and_its_regression_go_together(wrong):
    with pytest.raises(UserError, match="needs an encoder"):
        Classification(corpus="x", task="icbhi", **wrong).check()
