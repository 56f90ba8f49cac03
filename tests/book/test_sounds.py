"""Small experiments on generated sound from their trainings to their files, and their scores anew from the clips."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from lungnb.book import clips, experiments, recorded, sounds
from lungnb.book.generate import generate
from lungnb.classification.encoders import SpeakerEncoder
from lungnb.cli import app
from lungnb.metrics import clips as measured
from lungnb.papers.lungldm.pipeline import LungLDMPipeline

SMALL = """
judges:
  kind: judges
  corpus: prompted
  n_patients: 11
  cut: "nearly everything"
  fields: &judge {size: smoke}
  rows:
    residual: {network: residual, seed: 101, epochs: 1, draws: 64}
    recurrent: {network: recurrent, seed: 102, epochs: 1, draws: 64}
    encoder: {network: encoder, seed: 104}
  seeds: [101, 102, 104]
generators: &small
  kind: generators
  corpus: prompted
  n_patients: 11
  cut: "nearly everything"
  fields: &fields
    judges: *judge
    run: {size: smoke}
    classifier: {epochs: 1}
    embedding: {epochs: 1, seed: 103}
    autoencoder: {steps: 3, batch_size: 4, nats: true, alpha: 0.3}
    diffusion: {steps: 3, batch_size: 4, warmup: 2, prediction: v_prediction, balance: 0.5, standardise: channel, min_snr: 5.0}
    n_per_type: 2
    guidance: 2.0
  rows:
    "penalty, SE, gates": {cell: [element, true, se]}
    "no penalty, SE, gates": {cell: [none, true, se]}
  weights: ["penalty, SE, gates"]
  seeds: [0, 1]
  paper: {vocoder: {steps: 2, batch_size: 4}}
guidance:
  kind: guidance
  corpus: prompted
  n_patients: 11
  cut: "nearly everything"
  fields: *fields
  rows:
    "LungLDM, guidance 1": {guidance: 1.0}
    "LungLDM, guidance 4": {guidance: 4.0}
  seeds: [0]
copies:
  kind: copies
  corpus: prompted
  n_patients: 11
  cut: "nearly everything"
  fields: *fields
  rows:
    "LungLDM": {cell: [element, true, se]}
  seeds: [0]
augmentation:
  kind: augmentation
  corpus: prompted
  n_patients: 11
  cut: "nearly everything"
  fields:
    <<: *fields
    clips: {n_per_type: 2, steps: 2}
    mixture: {epochs: 1, draws: 32, n_validation: 2}
  rows:
    few, through the VAE: {through_vae: true}
    few + generated: {share: 1.0}
  seeds: [0]
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "lungldm.yaml").write_text(SMALL)
    monkeypatch.setattr(recorded, "_CONFIGS", tmp_path / "configs")
    for module in (recorded, clips, sounds):
        monkeypatch.setattr(module, "folder", lambda: tmp_path / "recorded")
    # Weights as drawn: those of the package are not needed to see that they are used.
    monkeypatch.setattr("lungnb.classification.encoders._speaker_encoder", lambda random_weights: SpeakerEncoder())
    return tmp_path / "recorded" / "lungldm"


def test_all_kinds_are_recorded_and_verified(place):
    experiments.record("lungldm/judges", "simulated")
    judged = clips.clips("lungldm/judges")
    assert set(judged["split"]) == {"validation", "test"}
    assert set(pd.read_csv(place / "judges" / "scores.csv")["row"]) == {"residual", "recurrent", "encoder"}

    experiments.record("lungldm/generators", "simulated", seeds=(0,))
    experiments.record("lungldm/generators", "simulated", seeds=(1,))  # goes on where it stopped
    frame = clips.clips("lungldm/generators")
    cells = ["penalty, SE, gates", "no penalty, SE, gates"]
    vaes = ["penalty, SE | through the VAE", "no penalty, SE | through the VAE"]
    assert set(frame["row"]) == {*cells, *vaes, "real", "reference", "mel and Griffin-Lim"}
    assert set(frame.loc[frame["row"].isin(cells), "seed"]) == {0, 1}
    assert set(frame.loc[frame["row"] == "real", "seed"]) == {0}
    assert frame.loc[frame["row"].isin(vaes), "l1"].gt(0).all()
    for letter in "pqrt":
        np.testing.assert_allclose(measured.columns_of(frame, letter).sum(axis=1), 1, atol=0.01)
    assert not set(frame.loc[frame["row"] == "real", "patient"]) & set(
        frame.loc[frame["row"] == "reference", "patient"]
    )
    table = pd.read_csv(place / "generators" / "scores.csv")
    assert {"effect of penalty", "effect of penalty | through the VAE"} <= set(table["row"])
    assert {"FAD, network", "kernel distance, spectrum, null", "IS", "kurtosis"} <= set(table["metric"])
    n_types = frame.loc[frame["row"] == cells[0], "label"].nunique()
    assert len(list((place / "generators" / "samples").glob("*.ogg"))) == 2 * n_types
    training = pd.read_csv(place / "generators" / "training.csv")
    assert {"val_l1", "val_penalty"} <= set(training)

    _generates(place / "generators" / "weights", place.parent / "out.wav")

    assert sounds.live("lungldm/generators", "smoke", "simulated") is None
    again = sounds.live("lungldm/generators", "laptop", "simulated", seeds=(0,)).query("seed == 0")
    for row, own in frame.query("seed == 0").groupby("row"):
        np.testing.assert_allclose(again.loc[again["row"] == row, "p0"], own["p0"], atol=1e-3)
    large = sounds.live("lungldm/generators", "paper", "simulated", seeds=(0,)).query("seed == 0")
    for row in (*cells, *vaes):  # the same log-mels, and another sound of them: by the vocoder
        here, there = (table[table["row"] == row] for table in (again, large))
        np.testing.assert_allclose(here["nearest"], there["nearest"], atol=1e-4)
        assert (here["low"].to_numpy() != there["low"].to_numpy()).all()

    shown = clips.pictures("lungldm/generators")
    assert set(shown) == {"real", "through the VAE", "generated"}
    assert {x.shape for x in shown.values()} == {(n_types, 3, 64, 64)}
    assert all(x.std() > 0.5 for x in shown.values())

    experiments.record("lungldm/guidance", "simulated")
    guided = clips.clips("lungldm/guidance")
    assert set(guided["row"]) == {
        "LungLDM, guidance 1",
        "LungLDM, guidance 4",
        "real",
        "reference",
        "mel and Griffin-Lim",
    }
    weak, strong = (guided.loc[guided["row"] == f"LungLDM, guidance {w}", "s3"].to_numpy() for w in (1, 4))
    assert np.abs(weak - strong).max() > 0

    experiments.record("lungldm/copies", "simulated")
    copies = pd.read_csv(place / "copies" / "scores.csv").set_index(["row", "metric"])["ours"]
    standing_out = copies.xs("stands out more than 95 % of strangers", level="metric")
    assert set(standing_out.index) == {"generated", "training clips through the VAE", "training clips, half noised"}
    assert standing_out["training clips through the VAE"] == 1  # they are the training clips that they are held against
    assert clips.pictures("lungldm/copies")["pairs"].shape == (2, 6, 64, 64)

    experiments.record("lungldm/augmentation", "simulated")
    mixed = pd.read_csv(place / "augmentation" / "scores.csv")
    assert set(mixed["row"]) == {"few, through the VAE", "few + generated"}

    assert clips.verify() == []
    kept = pd.read_csv(place / "generators" / "scores.csv")
    kept.loc[0, "ours"] += 0.1
    kept.to_csv(place / "generators" / "scores.csv", index=False)
    assert len(clips.verify()) == 1


def _generates(weights, path):
    """`lungnb generate` on the weights that were kept, half as large as in training."""
    parts = [p for p in LungLDMPipeline.from_pretrained(weights).components.values() if hasattr(p, "parameters")]
    n_weights = sum(weight.numel() for part in parts for weight in part.parameters())
    assert sum(file.stat().st_size for file in weights.rglob("*.safetensors")) < 2.5 * n_weights
    said = CliRunner().invoke(app, ["generate", "A person is coughing, male, 40s, smoker", str(path)])
    assert said.exit_code == 0, said.output
    wave, rate = soundfile.read(path)
    assert rate == 16000
    assert len(wave) == 10240
    assert np.abs(wave).max() > 0
    first = path.read_bytes()
    generate("A person is coughing, male, 40s, smoker", path, seed=1)
    assert path.read_bytes() != first


def test_what_cannot_be_generated_is_said_in_one_sentence(place, tmp_path):
    def said(prompt, path):
        result = CliRunner().invoke(app, ["generate", prompt, str(path)])
        assert result.exit_code == 2
        return result.output

    assert "No generator is on file" in said("A person is coughing", tmp_path / "a.wav")
    assert "The prompt is empty" in said(" ", tmp_path / "a.wav")
    assert "written as .wav, .flac, .ogg" in said("A person is coughing", tmp_path / "a.mp3")
    assert "There is no folder" in said("A person is coughing", tmp_path / "none" / "a.wav")


def answers(rng, right, seed, row, n=10):
    """Clips of five types, of which the judges hear a share right; embeddings of one cloud."""
    label = np.repeat(np.arange(5), n)
    frame = pd.DataFrame({"row": row, "seed": seed, "label": label, "patient": [f"prompt {k}" for k in range(5 * n)]})
    for letter in "pqr":
        heard = np.where(rng.random(5 * n) < right, label, (label + 1) % 5)
        frame[[f"{letter}{k}" for k in range(5)]] = np.eye(5)[heard]
    frame["tonal"], frame["low"], frame["kurtosis"] = rng.random(5 * n), 0.5, rng.random(5 * n)
    frame["nearest"], frame["l1"] = 1.0, np.nan
    for letter in "es":
        frame[[f"{letter}{k}" for k in range(4)]] = rng.normal(size=(5 * n, 4))
    return frame


def test_an_effect_that_is_there_is_found_and_one_that_is_not_is_not():
    rng, parts = np.random.default_rng(0), [answers(np.random.default_rng(9), 0.9, 0, "reference")]
    for seed in range(3):
        for penalty in ("penalty", "no penalty"):
            for se in ("SE", "no SE"):
                for gates in ("gates", "no gates"):
                    right = 0.9 if penalty == "penalty" else 0.4
                    parts.append(answers(rng, right, seed, f"{penalty}, {se}, {gates}"))
    table = measured.of_sounds(pd.concat(parts)).set_index(["row", "subset", "metric"])
    heard = "heard right, residual judge"
    planted = table.loc[("effect of penalty", "all", heard)]
    assert planted["low"] > 0.2
    assert planted["ours"] == pytest.approx(0.5, abs=0.1)
    assert table.loc[("effect of penalty", "all", f"{heard}, p"), "ours"] < 0.05
    for addition in ("SE", "gates"):
        other = table.loc[(f"effect of {addition}", "all", heard)]
        assert other["low"] < 0 < other["high"]
    assert table.loc[("penalty, SE, gates", "crackle", heard), "n_patients"] == 10


def test_sets_of_one_distribution_lie_within_the_null_of_the_kernel_distance():
    rng = np.random.default_rng(1)
    same, other = (answers(rng, 0.9, 0, row, n=20) for row in ("reference", "one"))
    near = measured.distances([other], same)
    assert near["kernel distance, network"][0] < 2 * near["kernel distance, network, null"][0]
    assert near["coverage, network"][0] > 0.85
    assert near["diversity, network"][0] == pytest.approx(1, abs=0.2)
    moved = other.assign(**{f"e{k}": other[f"e{k}"] + 2 for k in range(4)})
    far = measured.distances([moved], same)
    assert far["kernel distance, network"][0] > 5 * far["kernel distance, network, null"][0]
    assert far["FAD, network"][0] > near["FAD, network"][0] + 10
    assert far["coverage, network"][0] < 0.6
    assert far["diversity, network"][0] == pytest.approx(near["diversity, network"][0])
    alike = measured.distances([other.assign(**{f"e{k}": 0.3 * other[f"e{k}"] for k in range(4)})], same)
    assert alike["diversity, network"][0] < 0.4


def test_copies_are_found_and_strangers_set_the_bar():
    rng, n = np.random.default_rng(2), 400
    sets = {"generated": (1.0, 0.9), "training clips, half noised": (0.2, 0.3), "strangers": (1.0, 0.9)}
    parts = [
        pd.DataFrame(
            {"row": row, "seed": seed, "label": rng.integers(0, 5, n), "patient": [f"{row} {k}" for k in range(n)]}
        ).assign(distance=distance + 0.1 * rng.normal(size=n), ratio=ratio + 0.05 * rng.normal(size=n))
        for seed in range(3)
        for row, (distance, ratio) in sets.items()
    ]
    table = measured.of_copies(pd.concat(parts)).set_index(["row", "metric"])
    assert set(table.index.get_level_values("row")) == {*sets} - {"strangers"}
    for metric in measured.FOUND:
        assert table.loc[("training clips, half noised", metric), "ours"] > 0.95
        own = table.loc[("generated", metric)]
        assert own["low"] < 0.05 < own["high"]
        assert own["high"] < 0.12
        assert own["n_seeds"] == 3
    nearest = table.loc[("generated", "distance to nearest training clip"), "ours"]
    assert nearest == pytest.approx(1, abs=0.02)


def test_the_recorded_experiments_name_fields_that_their_runs_have():
    common = {"corpus": "x", "data": "simulated", "n_patients": 11}
    for about in recorded.experiments().values():
        if "kind" in about:
            for row in about["rows"].values():
                for fields in (about["fields"] | row, about["fields"] | row | about.get("paper", {})):
                    if about["kind"] == "judges":
                        sounds.judge_run(common | fields)
                    else:
                        sounds.generator(fields, common, 0)
                        sounds.measuring(fields, common)
    assert yaml.safe_dump(recorded.configurations("lungldm/crossing"))
