"""Trainings of the recorded experiments on generated sound (`lungnb/configs/recorded/lungldm.yaml`), and what is kept of them.

A run that is finished is cached and one that was stopped goes on from its checkpoint, so recording can be stopped at any time and
called again, row by row and seed by seed. How it is read: `lungnb.book.clips`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile
import torch
import yaml

from lungnb.book.clips import TYPES, VAE, clips, scores, write_clips
from lungnb.book.evidence import configurations, experiment
from lungnb.book.recorded import folder
from lungnb.book.report import write_json
from lungnb.classification.augmentation import AugmentationRun
from lungnb.core import atomic_file, git_state, package_versions
from lungnb.data import load_corpus
from lungnb.papers.lungldm.classifier import CLASSES
from lungnb.papers.lungldm.diffusion import DiffusionRun
from lungnb.papers.lungldm.evaluation import GeneratedClipsRun, RealClipsRun
from lungnb.papers.lungldm.experiments import AutoencoderRun, ClassifierRun
from lungnb.papers.lungldm.frontend import GriffinLim, LungMel, to_waveform
from lungnb.papers.lungldm.judges import JudgeRun
from lungnb.papers.lungldm.samples import SynthesisRun
from lungnb.training.experiment import Experiment, device_name

#: Sounds of each type that are kept, of the first seed.
N_SAMPLES = 3


def record(name: str, data: str, rows: tuple[str, ...] = (), seeds: tuple[int, ...] = ()) -> Path:
    """Train an experiment (only `rows` and `seeds`, if any) on the data in the folder `data` and keep its clips; its folder."""
    about, place = experiment(name), folder() / name
    corpus = load_corpus("prompted", data, about.get("n_patients", 60))
    common = {"corpus": corpus.fingerprint, "data": data, "n_patients": about.get("n_patients", 60)}
    place.mkdir(parents=True, exist_ok=True)
    for row in rows or tuple(about["rows"]):
        fields = about["fields"] | about["rows"][row]
        for seed in [s for s in about["seeds"] if s == fields.get("seed", s) and (not seeds or s in seeds)]:
            tables, runs = KINDS[about["kind"]](row, fields, common, seed)
            _keep(place / "clips.parquet", pd.concat(tables, ignore_index=True), write_clips)
            facts = pd.DataFrame([_facts(run) | {"row": row, "seed": seed, "part": part} for part, run in runs.items()])
            _keep(place / "training.csv", facts, lambda path, frame: frame.to_csv(path, index=False))
            if row in about.get("weights", []) and seed == about["seeds"][0]:
                _keep_generator(place, runs["clips"])
    provenance = {"origin": corpus.origin_text, "fingerprint": corpus.fingerprint, **(git_state() or {})}
    provenance |= {"device": device_name(), "versions": package_versions(), "cut": about["cut"]}
    provenance["seeds"] = {row: sorted(map(int, g.unique())) for row, g in clips(name).groupby("row")["seed"]}
    write_json(place / "provenance.json", provenance)
    with atomic_file(place / "config.yaml") as path:
        path.write_text(yaml.safe_dump(configurations(name), sort_keys=False))
    with atomic_file(place / "scores.csv") as path:
        scores(name).to_csv(path, index=False)
    return place


# ---- what is trained for one row and seed: tables of clips, and the runs by their part


def of_judges(row: str, fields: Mapping[str, Any], common: dict, seed: int) -> tuple[list[pd.DataFrame], dict]:
    run = JudgeRun(**common | dict(fields))
    return [run.predictions.assign(row=row, seed=seed)], {"judge": run}


def of_generators(row: str, fields: Mapping[str, Any], common: dict, seed: int) -> tuple[list[pd.DataFrame], dict]:
    parts = generator(fields, common, seed)
    shared = measuring(fields, common)
    made = GeneratedClipsRun(**shared, diffusion=parts["U-Net"], seed=seed, guidance=fields["guidance"])
    real = RealClipsRun(**shared)
    names = {"generated": row, "through the VAE": _vae_row(row)}
    ours = made.predictions
    ours = ours.assign(row=ours["row"].map(names), seed=seed)
    return [ours, real.predictions.assign(seed=0)], parts | {"clips": made}


def of_augmentation(row: str, fields: Mapping[str, Any], common: dict, seed: int) -> tuple[list[pd.DataFrame], dict]:
    parts = generator(fields, common, seed)
    shared = common | {"size": fields["run"]["size"]}
    # Each seed has clips of its own: of its generator, and drawn anew.
    system = {"diffusion": parts["U-Net"], "judge": parts["classifier"], "guidance": fields["guidance"]}
    synthesis = SynthesisRun(**shared, **fields["clips"], **system, seed=100 * seed)
    mixture = {k: v for k, v in fields.items() if k not in _FIELDS}
    run = AugmentationRun(**shared, **fields["mixture"], **mixture, synthesis=synthesis, redrawn=True, seed=seed)
    answers = run.predictions
    columns = [CLASSES["sound"].index(name) for name in TYPES]
    p = answers[[f"p{k}" for k in columns]].set_axis([f"p{k}" for k in range(len(TYPES))], axis=1)
    table = answers[["clip", "patient", "part"]].rename(columns={"clip": "event", "part": "split"})
    table = table.assign(label=answers["label"].map({k: n for n, k in enumerate(columns)}), row=row, seed=seed)
    table = table.join(p.div(p.sum(axis=1), axis=0))
    return [table[table["label"].notna()].astype({"label": int})], {"mixture": run}


KINDS = {"judges": of_judges, "generators": of_generators, "augmentation": of_augmentation}
#: Fields of an experiment that are not those of a mixture.
_FIELDS = (
    "judges",
    "run",
    "classifier",
    "embedding",
    "autoencoder",
    "diffusion",
    "n_per_type",
    "guidance",
    "clips",
    "mixture",
)


def generator(fields: Mapping[str, Any], common: dict, seed: int) -> dict[str, Experiment]:
    """Classifier of the perceptual loss, VAE and U-Net of a cell: penalty, SE, gates; of the whole system where none is named."""
    penalty, se, gate = fields.get("cell", ("element", True, "se"))
    plain = common | {"size": fields["run"]["size"]}
    classifier = ClassifierRun(**plain, **fields["classifier"])
    own = common | fields["run"] | {"seed": seed}
    vae = AutoencoderRun(**own, **fields["autoencoder"], penalty=penalty, se=se, perceptual=classifier)
    unet = DiffusionRun(**own, **fields["diffusion"], gate=gate, autoencoder=vae)
    return {"classifier": classifier, "VAE": vae, "U-Net": unet}


def measuring(fields: Mapping[str, Any], common: dict) -> dict[str, Any]:
    """The fields of what measures clips: judges, as lungldm/judges has them, and embedding."""
    of_judge = experiment("lungldm/judges")["rows"].values()
    judges = [JudgeRun(**common | fields["judges"] | own) for own in of_judge]
    plain = common | {"size": fields["run"]["size"], "n_per_type": fields["n_per_type"]}
    embedding = ClassifierRun(**common, size=fields["run"]["size"], **fields["embedding"])
    return plain | {"judges": judges, "embedding": embedding}


def _vae_row(row: str) -> str:
    """The gates are no part of the VAE: cells that differ in them alone share its row."""
    return ", ".join(row.split(", ")[:2]) + VAE


# ---- what is kept


def _keep(path: Path, new: pd.DataFrame, write) -> None:
    """Write `new` and what of `path` is of other rows or seeds."""
    if path.is_file():
        old = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        done = set(zip(new["row"], new["seed"], strict=True))
        new = pd.concat([old[[key not in done for key in zip(old["row"], old["seed"], strict=True)]], new])
    with atomic_file(path) as temporary:
        write(temporary, new.sort_values(["row", "seed"], kind="stable").reset_index(drop=True))


def _facts(run: Experiment) -> dict[str, Any]:
    """Seconds, steps or epochs, and the last row of the history: the terms of a VAE's loss stand in it."""
    facts, history = run.result(), run.history
    last = history.iloc[-1].round(5).to_dict() if len(history) else {}
    return {"seconds": facts["seconds"], "device": facts["device"]} | last


def _keep_generator(place: Path, made: GeneratedClipsRun) -> None:
    """The pipeline of a seed in float16, and some of its sounds by type."""
    pipeline = made.diffusion.pipeline("dpm")
    pipeline.to(torch.float16).save_pretrained(place / "weights")
    vocoder, table = GriffinLim(LungMel(**made.front_end)), made.predictions
    label = table.loc[table["row"] == "generated", "label"].to_numpy()
    (place / "samples").mkdir(exist_ok=True)
    for k, name in enumerate(TYPES):
        rows = (label == k).nonzero()[0][:N_SAMPLES]
        log_mels = made.state["log_mels"][torch.from_numpy(rows)].float()
        for n, wave in enumerate(to_waveform(vocoder, log_mels, round(made.seconds * 16000)).numpy()):
            soundfile.write(place / "samples" / f"{name.replace(' ', '-')}-{n}.ogg", wave, 16000, subtype="VORBIS")
