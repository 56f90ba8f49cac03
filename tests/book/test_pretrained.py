"""The packaged classifier: what it says of a sound, what its calibration promises, and that ONNX says the same."""

import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import soxr
import torch
from sklearn.covariance import LedoitWolf

import lungnb
from lungnb import UserError
from lungnb.book import experiments, pretrained, recorded
from lungnb.data import load_corpus
from lungnb.data.audio import decode
from lungnb.metrics import probability_columns
from lungnb.metrics.calibration import least_probabilities
from lungnb.papers.convlstm import INPUTS

RATE = pretrained.RATE


@pytest.fixture(scope="module")
def classifier():
    return lungnb.load()


@pytest.fixture(scope="module")
def breaths():
    """Twelve simulated events."""
    corpus = load_corpus("sprsound", n_patients=20)
    events = corpus.events.iloc[:12]
    sounds = [decode(corpus.audio_root / path, RATE) for path in events["path"]]
    cuts = zip(sounds, events["start_s"], events["end_s"], strict=True)
    return [sound[int(start * RATE) : int(end * RATE)] for sound, start, end in cuts]


def test_importing_lungnb_stays_light():
    code = "import lungnb, sys; lungnb.load; print('torch' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_maps_are_those_of_the_training(classifier):
    front = INPUTS["stretched"].front_end()
    for n in (90, 1000, 9601, 64000):
        sound = torch.randn(1, n, generator=torch.Generator().manual_seed(n))
        theirs = front(sound, torch.tensor([n]))
        torch.testing.assert_close(classifier.front.maps(classifier.power(sound)), theirs, atol=1e-4, rtol=1e-4)


def test_a_batch_says_what_each_training_said(classifier, breaths):
    said = classifier.predict(breaths)
    assert len(said) == 12
    classes = list(classifier.classes)
    np.testing.assert_allclose(said[classes].sum(axis=1), 1, atol=1e-5)
    assert (said["predicted"] == said[classes].idxmax(axis=1)).all()
    # the recorded networks one by one, by the pipeline's own front end
    maps = torch.cat(
        [INPUTS["stretched"].front_end()(torch.from_numpy(b)[None], torch.tensor([len(b)])) for b in breaths]
    )
    each = [network(maps, torch.zeros(12, 3, dtype=torch.long)).softmax(1) for network in classifier.networks]
    mean = pd.DataFrame(torch.stack(each).mean(0).numpy()).add_prefix("p").assign(label=0)
    tempered = pretrained.tempered(mean, float(classifier.temperature)).filter(regex=r"^p\d$")
    np.testing.assert_allclose(said[classes], tempered, atol=1e-4)
    for name in classes:
        assert (said[f"{name} low"] <= said[name] + 1e-9).all()
        assert (said[name] <= said[f"{name} high"] + 1e-9).all()
    best = said["predicted"]
    for end in ("low", "high"):
        np.testing.assert_allclose(said[end], [said[f"{name} {end}"][k] for k, name in enumerate(best)])
    first = [name for name, least in zip(classes, classifier.least, strict=True) if said[name][0] >= least]
    assert said["set"][0].split(", ") == first


def test_the_interval_is_of_the_mean_over_trainings(classifier):
    """A t interval of five logits covers the mean they were drawn around in 95 % of the cases."""
    logits = torch.from_numpy(np.random.default_rng(0).normal(0.3, 1.0, (4000, 5)))

    class Drawn(pretrained.Pretrained):
        def read(self, maps):
            each = torch.stack([logits.T.sigmoid(), 1 - logits.T.sigmoid()], dim=2)
            mean = logits.mean(1).sigmoid()
            return torch.stack([mean, 1 - mean], dim=1), each, torch.zeros(4000)

    calibration = {"least": torch.zeros(2)}
    said = Drawn(classifier.networks, ("a", "b"), "stretched", calibration).predict([np.zeros(800)])
    inside = (said["a low"] <= 1 / (1 + np.exp(-0.3))) & (1 / (1 + np.exp(-0.3)) <= said["a high"])
    assert inside.mean() == pytest.approx(0.95, abs=0.015)


def test_sample_rates_and_lengths(classifier, breaths):
    a = classifier.predict(breaths)
    b = classifier.predict([soxr.resample(x, RATE, 44100, quality="VHQ") for x in breaths], sample_rate=44100)
    assert np.abs(a[list(classifier.classes)] - b[list(classifier.classes)]).to_numpy().mean() < 0.01
    np.testing.assert_allclose(a["unusual"], b["unusual"], atol=4)  # nothing of it lies where a resampler ends
    rng = np.random.default_rng(0)
    bands = librosa.mel_frequencies(66, fmin=0, fmax=RATE / 2)[1:-1]
    assert (bands < 2000).sum() == pretrained.N_BANDS
    long = rng.standard_normal(10 * RATE)
    pd.testing.assert_frame_equal(classifier.predict([long]), classifier.predict([long[RATE : 9 * RATE]]))
    for wrong in (np.zeros(0), np.full(100, np.nan), np.zeros((100, 2))):
        with pytest.raises(UserError, match="Sound 1 is no row of numbers"):
            classifier.predict([breaths[0], wrong])


def test_noise_is_called_unlike_the_training(classifier):
    rng = np.random.default_rng(0)
    noise = [level * rng.standard_normal(9600) for level in (0.001, 0.01, 0.1)]
    tone = [0.2 * np.sin(2 * np.pi * 3000 * np.arange(9600) / RATE)]
    assert (classifier.predict([*noise, *tone, np.zeros(9600)])["unusual"] >= pretrained.UNLIKE).all()


def test_distances_are_of_children_left_out():
    """Children who differ more than their events do lie farther from the others than from all, themselves among these."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(100), 20)
    x = rng.standard_normal((100, 8))[patient] + 0.3 * rng.standard_normal((2000, 8))
    distance = pretrained.distances_left_out(x, patient)
    among_all = LedoitWolf().fit(x).mahalanobis(x) ** 0.5
    assert np.corrcoef(distance, among_all)[0, 1] > 0.95
    assert distance.mean() > 1.02 * among_all.mean()
    alone = patient != 3
    own = LedoitWolf().fit(x[alone]).mahalanobis(x[~alone]) ** 0.5
    np.testing.assert_allclose(distance[~alone], own, rtol=0.3)


def test_the_recorded_calibration_follows_from_the_recorded_predictions(classifier):
    _, (name, row) = pretrained.PACKAGED["sprsound-cnn"]
    left_out = recorded.ensemble(recorded.by_seed(recorded.predictions(name), row))
    t = pretrained.temperature([left_out])
    assert float(classifier.temperature) == pytest.approx(t, abs=1e-4)
    least = least_probabilities(pretrained.tempered(left_out, t))
    np.testing.assert_allclose(classifier.least, least, atol=1e-4)
    assert (classifier.distances.diff() >= 0).all()


def test_the_page_says_how_often_the_set_was_right(classifier):
    """On children nobody trained on, by the recorded predictions."""
    (name, row), _ = pretrained.PACKAGED["sprsound-cnn"]
    inter = recorded.ensemble(recorded.by_seed(recorded.predictions(name), row, "inter"))
    p = pretrained.tempered(inter, float(classifier.temperature))[probability_columns(inter)].to_numpy()
    held = (p >= classifier.least.numpy())[range(len(p)), inter["label"]]
    normal, other = (100 * held[here].mean() for here in (inter["label"] == 0, inter["label"] > 0))
    page = Path(pretrained.__file__).with_name("site").joinpath("templates/hear.html.j2").read_text()
    for text in (pretrained.__doc__, page):
        assert f"it was {normal:.0f} % and {other:.0f} %" in " ".join(text.split())


@pytest.mark.train
def test_calibrate_makes_the_file_anew(classifier, tmp_path, monkeypatch):
    """On simulated children: another distance, the same temperature."""
    file = tmp_path / "calibration.safetensors"
    monkeypatch.setattr(pretrained, "calibration_file", lambda name: file)
    monkeypatch.setattr(experiments, "experiment", lambda name: recorded.experiment(name) | {"n_patients": 20})
    assert pretrained.calibrate("sprsound-cnn", "simulated") == file
    made = lungnb.load()
    assert made.temperature == classifier.temperature
    assert not torch.allclose(made.mean, classifier.mean)


def test_occlusion_finds_the_part_that_matters(classifier, monkeypatch):
    """A network that listens to one cell of the picture is found to do so."""

    def read(maps):
        p = (maps[:, 0, 16:24, 30:38].mean((1, 2)) / 20).sigmoid()  # of the mel map, band 2, stretch 4
        return torch.stack([1 - p] + [p / 6] * 6, dim=1), None, None

    monkeypatch.setattr(classifier, "read", read)
    t = np.arange(RATE) / RATE
    rng = np.random.default_rng(0)
    sound = 0.001 * rng.standard_normal(RATE)
    burst = (t > 0.40) & (t < 0.50)
    sound[burst] += 0.3 * np.sin(2 * np.pi * 700 * t[burst])  # between the 16th and the 24th mel band
    drop = classifier.explain(sound, classifier.classes[1])
    assert drop.shape == pretrained.CELLS
    assert np.unravel_index(drop.argmax(), drop.shape) == (2, 4)
    assert drop.max() > 5 * np.sort(drop.ravel())[-3]


@pytest.mark.train
def test_onnx_says_what_torch_says(classifier, breaths, tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    classifier.to_onnx(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(path)
    noise = np.random.default_rng(0).standard_normal(64000).astype(np.float32)
    for sound in (*breaths[:4], 0.1 * noise, noise[:80]):
        given = np.ascontiguousarray(sound, dtype=np.float32)[None]
        with torch.no_grad():
            ours = classifier(torch.from_numpy(given))
        for a, b in zip(ours, session.run(None, {"sound": given}), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


def test_what_is_missing_is_said(classifier, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="known are sprsound-cnn"):
        lungnb.load("icbhi")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install lungnb\[onnx\]"):
        classifier.to_onnx(tmp_path / "model.onnx")
    monkeypatch.setattr(pretrained, "calibration_file", lambda name: tmp_path / "none")
    with pytest.raises(UserError, match="none is missing; run inside a whole clone"):
        lungnb.load()
