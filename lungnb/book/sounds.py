"""Trainings of the recorded experiments on generated sound (`lungnb/configs/recorded/lungldm.yaml`), and what is kept of them.

A run that is finished is cached and one that was stopped goes on from its checkpoint, so recording can be stopped at any time and
called again, row by row and seed by seed. How it is read: `lungnb.book.clips`.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch

from lungnb.book.clips import PICTURE_RANGE, scores, write_clips
from lungnb.book.recorded import experiment, keep_facts, refuse_other_data
from lungnb.book.storage import folder, merge
from lungnb.classification.encoders import encoder
from lungnb.core import UserError, atomic_file
from lungnb.data import load_corpus
from lungnb.metrics.clips import TYPES, VAE
from lungnb.papers.lungldm.augmentation import AugmentationRun
from lungnb.papers.lungldm.classifier import CLASSES, in_batches
from lungnb.papers.lungldm.copies import CopiesRun
from lungnb.papers.lungldm.diffusion import DiffusionRun
from lungnb.papers.lungldm.encoder_judge import EncoderJudgeRun
from lungnb.papers.lungldm.evaluation import GeneratedClipsRun, RealClipsRun
from lungnb.papers.lungldm.experiments import AutoencoderRun, ClassifierRun, VocoderRun
from lungnb.papers.lungldm.judges import JudgeRun, type_indices
from lungnb.papers.lungldm.samples import SynthesisRun
from lungnb.training.experiment import Experiment, device_name, run_all

#: Sounds of each type that are kept, of the first seed.
N_SAMPLES = 3


def record(name: str, data: str, rows: tuple[str, ...] = (), seeds: tuple[int, ...] = ()) -> Path:
    """Train an experiment (only `rows` and `seeds`, if any) on the data in the folder `data` and keep its clips; its folder."""
    about, place = experiment(name), folder() / name
    corpus = load_corpus("prompted", data, about.get("n_patients", 60))
    common = {"corpus": corpus.fingerprint, "data": data, "n_patients": about.get("n_patients", 60)}
    strange = [repr(row) for row in rows if row not in about["rows"]]
    if strange := strange + [f"seed {seed}" for seed in seeds if seed not in about["seeds"]]:
        there = f"rows {', '.join(about['rows'])} and seeds {', '.join(map(str, about['seeds']))}"
        raise UserError(f"{name} has no {', '.join(strange)}; it has {there}.")
    if rows or seeds:
        refuse_other_data(name, corpus)
    place.mkdir(parents=True, exist_ok=True)
    for row in rows or tuple(about["rows"]):
        fields = about["fields"] | about["rows"][row]
        for seed in [s for s in about["seeds"] if s == fields.get("seed", s) and (not seeds or s in seeds)]:
            tables, runs = KINDS[about["kind"]](row, fields, common, seed)
            merge(place / "clips.parquet", pd.concat(tables, ignore_index=True), write_clips)
            facts = pd.DataFrame([_facts(run) | {"row": row, "seed": seed, "part": part} for part, run in runs.items()])
            merge(place / "training.csv", facts)
            if row in about.get("weights", []) and seed == about["seeds"][0]:
                _keep_generator(place, runs["clips"])
            if about["kind"] == "copies" and seed == about["seeds"][0]:
                _keep_pictures(place, {"pairs": runs["copies"].state["pairs"]})
    n_clips = next(iter(runs.values())).result()["n_clips"]
    facts = {"n_clips": n_clips} if "train" in n_clips else {}  # a mixture has other parts
    keep_facts(name, "clips.parquet", corpus, device_name(), scores(name), **facts)
    return place


def live(
    name: str,
    profile: str,
    data: str,
    *,
    seeds: Sequence[int] = (),
    steps: int = 0,
    text: str = "",
    device: str = "auto",
    cluster: str = "",
) -> pd.DataFrame | None:
    """The clips of generators trained in this build, as `lungnb.book.clips.clips` gives the recorded ones; None in smoke.

    laptop: what was recorded, trained again; paper: with the paper's sizes. steps: at most so many of each network, if not 0.
    text: what `DiffusionRun.text` takes, if not "".
    """
    if profile == "smoke":
        return None
    about = experiment(name)
    n_patients = about.get("n_patients", 60)
    corpus = load_corpus("prompted", data, n_patients)
    common = {"corpus": corpus.fingerprint, "data": data, "n_patients": n_patients, "device": device}
    asked = {}
    for row, own in about["rows"].items():
        fields = about["fields"] | own | (about.get("paper", {}) if profile == "paper" else {})
        fields |= {"diffusion": fields["diffusion"] | ({"text": text} if text else {})}
        for part in {"autoencoder", "diffusion", "vocoder"} & set(fields) if steps else ():
            fields |= {part: fields[part] | {"steps": min(steps, fields[part]["steps"])}}
        if steps and "mixture" in fields:
            epochs = max(1, min(fields["mixture"]["epochs"], 32 * steps // fields["mixture"]["draws"]))
            fields |= {"mixture": fields["mixture"] | {"epochs": epochs}}
        asked |= {(row, seed): fields for seed in seeds or about["seeds"]}
    systems = [generator(fields, common, seed) for (_, seed), fields in asked.items()]
    for part in ("classifier", "vocoder", "VAE", "U-Net"):
        run_all(list({parts[part].uid: parts[part] for parts in systems if part in parts}.values()), cluster or None)
    found = {}
    for (row, seed), fields in asked.items():
        for table in KINDS[about["kind"]](row, fields, common, seed)[0]:
            found |= dict(iter(table.groupby(["row", "seed"])))
    return pd.concat(found.values(), ignore_index=True)


# ---- what is trained for one row and seed: tables of clips, and the runs by their part


def of_judges(row: str, fields: Mapping[str, Any], common: dict, seed: int) -> tuple[list[pd.DataFrame], dict]:
    run = judge_run(common | dict(fields))
    return [run.predictions.assign(row=row, seed=seed)], {"judge": run}


def of_generators(row: str, fields: Mapping[str, Any], common: dict, seed: int) -> tuple[list[pd.DataFrame], dict]:
    parts = generator(fields, common, seed)
    made, real = _made(parts, fields, common, seed), RealClipsRun(**measuring(fields, common))
    names = {"generated": row, "through the VAE": _vae_row(row)}
    ours = made.predictions
    ours = ours.assign(row=ours["row"].map(names), seed=seed)
    return [ours, real.predictions.assign(seed=0)], parts | {"clips": made}


def of_guidance(row: str, fields: Mapping[str, Any], common: dict, seed: int) -> tuple[list[pd.DataFrame], dict]:
    made = _made(generator(fields, common, seed), fields, common, seed, through_vae=False)
    real = RealClipsRun(**measuring(fields, common))
    tables = [made.predictions.assign(row=row, seed=seed), real.predictions.assign(seed=0)]
    return tables, {"clips": made}


def of_copies(row: str, fields: Mapping[str, Any], common: dict, seed: int) -> tuple[list[pd.DataFrame], dict]:
    made = _made(generator(fields, common, seed), fields, common, seed)
    run = CopiesRun(**common, size=fields["run"]["size"], generated=made, seed=seed)
    return [run.predictions.assign(seed=seed)], {"copies": run}


def of_augmentation(row: str, fields: Mapping[str, Any], common: dict, seed: int) -> tuple[list[pd.DataFrame], dict]:
    parts = generator(fields, common, seed)
    shared = common | {"size": fields["run"]["size"]}
    # Each seed has clips of its own: of its generator, and drawn anew.
    system = {"diffusion": parts["U-Net"], "guidance": fields["guidance"]}
    synthesis = SynthesisRun(**shared, **fields["clips"], **system, seed=100 * seed)
    mixture = {k: v for k, v in fields.items() if k not in _FIELDS}
    run = AugmentationRun(**shared, **fields["mixture"], **mixture, synthesis=synthesis, seed=seed)
    answers = run.predictions
    columns = [CLASSES["sound"].index(name) for name in TYPES]
    p = answers[[f"p{k}" for k in columns]].set_axis([f"p{k}" for k in range(len(TYPES))], axis=1)
    table = answers[["clip", "patient", "part"]].rename(columns={"clip": "event", "part": "split"})
    table = table.assign(label=answers["label"].map({k: n for n, k in enumerate(columns)}), row=row, seed=seed)
    table = table.join(p.div(p.sum(axis=1), axis=0))
    return [table[table["label"].notna()].astype({"label": int})], {"mixture": run}


KINDS = {
    "judges": of_judges,
    "generators": of_generators,
    "guidance": of_guidance,
    "copies": of_copies,
    "augmentation": of_augmentation,
}
#: Fields of an experiment that are not those of a mixture.
_FIELDS = (
    "judges",
    "run",
    "classifier",
    "embedding",
    "autoencoder",
    "diffusion",
    "vocoder",
    "n_per_type",
    "guidance",
    "clips",
    "mixture",
)


def generator(fields: Mapping[str, Any], common: dict, seed: int) -> dict[str, Experiment]:
    """Classifier of the perceptual loss, VAE and U-Net of a cell: penalty, SE, gates; of the whole system where none is named.

    A vocoder where the fields ask for one; else Griffin-Lim."""
    penalty, se, gate = fields.get("cell", ("element", True, "se"))
    plain = common | {"size": fields["run"]["size"]}
    classifier = ClassifierRun(**plain, **fields["classifier"])
    own = common | fields["run"] | {"seed": seed}
    vae = AutoencoderRun(**own, **fields["autoencoder"], penalty=penalty, se=se, perceptual=classifier)
    unet = DiffusionRun(**own, **fields["diffusion"], gate=gate, autoencoder=vae)
    vocoder = {"vocoder": VocoderRun(**plain, **fields["vocoder"])} if "vocoder" in fields else {}
    return {"classifier": classifier, "VAE": vae, "U-Net": unet} | vocoder


def measuring(fields: Mapping[str, Any], common: dict) -> dict[str, Any]:
    """The fields of what measures clips: judges, as lungldm/judges has them, and embedding.

    A judge whose encoder cannot be had is left out, with a warning, and what it would have said is not in the tables."""
    judges = [judge_run(common | fields["judges"] | own) for own in experiment("lungldm/judges")["rows"].values()]
    for judge in [judge for judge in judges if isinstance(judge, EncoderJudgeRun)]:
        try:
            encoder(judge.encoder)
        except UserError as error:
            warnings.warn(f"The judge by the encoder {judge.encoder} is left out. {error}", stacklevel=2)
            judges.remove(judge)
    plain = common | {"size": fields["run"]["size"], "n_per_type": fields["n_per_type"]}
    embedding = ClassifierRun(**common, size=fields["run"]["size"], **fields["embedding"])
    return plain | {"judges": judges, "embedding": embedding}


def judge_run(fields: dict[str, Any]) -> JudgeRun | EncoderJudgeRun:
    """The run of a judge, a network of ours or an encoder's regression, by its field `network`."""
    return (EncoderJudgeRun if fields["network"] == "encoder" else JudgeRun)(**fields)


def _made(parts: dict, fields: Mapping[str, Any], common: dict, seed: int, **options: Any) -> GeneratedClipsRun:
    """The clips of a finished generator, as `fields` ask for them."""
    shared = measuring(fields, common) | {"seed": seed, "guidance": fields["guidance"]}
    return GeneratedClipsRun(**shared, diffusion=parts["U-Net"], vocoder=parts.get("vocoder"), **options)


def _vae_row(row: str) -> str:
    """The gates are no part of the VAE: cells that differ in them alone share its row."""
    return ", ".join(row.split(", ")[:2]) + VAE


# ---- what is kept


def _facts(run: Experiment) -> dict[str, Any]:
    """Seconds, steps or epochs, and the last row of the history: the terms of a VAE's loss stand in it."""
    facts, history = run.result(), run.history
    last = history.iloc[-1].round(5).to_dict() if len(history) else {}
    return {"seconds": facts["seconds"], "device": facts["device"]} | last


def _keep_generator(place: Path, made: GeneratedClipsRun) -> None:
    """The pipeline of a seed in float16, some of its sounds by type, and pictures of them beside those of real clips."""
    pipeline = made.diffusion.pipeline("dpm", made.vocoder)
    pipeline.to(torch.float16).save_pretrained(place / "weights")
    table = made.predictions
    label = table.loc[table["row"] == "generated", "label"].to_numpy()
    (place / "samples").mkdir(exist_ok=True)
    for k, name in enumerate(TYPES):
        rows = (label == k).nonzero()[0][:N_SAMPLES]
        log_mels = made.state["log_mels"][torch.from_numpy(rows)].float()
        for n, wave in enumerate(made.invert(log_mels).numpy()):
            soundfile.write(place / "samples" / f"{name.replace(' ', '-')}-{n}.ogg", wave, 16000, subtype="VORBIS")
    _keep_pictures(place, pictures(made))


def pictures(made: GeneratedClipsRun) -> dict[str, torch.Tensor]:
    """Log-mels (types, N_SAMPLES, frames, n_mels) of test clips ("real"), of the same through the VAE, and of generated ones."""
    mels, table = made.mels(), made.predictions
    rows, label = made.asked(mels, "test"), table.loc[table["row"] == "generated", "label"].to_numpy()
    of_real = type_indices(mels.sound[rows])
    first = [torch.from_numpy(np.resize(rows[of_real == k], N_SAMPLES)) for k in range(len(TYPES)) if k in of_real]
    own = [torch.from_numpy(np.resize((label == k).nonzero()[0], N_SAMPLES)) for k in range(len(TYPES)) if k in label]
    real = mels.log_mel[torch.cat(first)].float()
    shown = {"real": real, "through the VAE": in_batches(made.autoencoder.trained("cpu").reconstruct, real)}
    shown["generated"] = made.state["log_mels"][torch.cat(own)].float()
    return {name: x[:, 0].unflatten(0, (-1, N_SAMPLES)) for name, x in shown.items()}


def _keep_pictures(place: Path, named: Mapping[str, torch.Tensor]) -> None:
    """As bytes: a figure's 256 greys, not the numbers of a recording."""
    low, high = PICTURE_RANGE
    greys = {k: ((x.float() - low) / (high - low) * 255).clamp(0, 255).round().byte().numpy() for k, x in named.items()}
    with atomic_file(place / "pictures.npz") as path, path.open("wb") as file:
        np.savez_compressed(file, **greys)
