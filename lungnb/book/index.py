"""One page for a whole report: for each artefact of each notebook, built or failed, the origin of its data, its files."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from lungnb.book.report import title
from lungnb.book.watch import clock
from lungnb.core import atomic_file

#: What a notebook has to make, in the order of its paper. What it makes besides is shown after these.
EXPECTED = {
    "01_respirenet": {
        "figure-1": "the network and its two training stages",
        "figure-2": "concatenation of two cycles of a class",
        "figure-3": "blank region clipping, with Grad-CAM++ before and after",
        "table-1": "scores, published beside ours",
        "table-2": "score by clip length",
        "table-3": "gain from tuning to each device",
        "ablation": "what each step of the method adds",
    },
    "02_convlstm": {
        "table-1": "training events by class, counted again",
        "figure-1": "the network with its traced shapes",
        "table-2": "validation scores of the four models, published beside ours",
        "table-3": "test scores of the four models, published beside ours",
        "inter-and-intra": "the two parts of the test set apart",
        "confusion": "which class is taken for which",
        "recall": "what is found of each class, with its events and patients",
        "metadata": "the full model with real, shuffled and no metadata",
        "best": "the same networks, trained as well as we can",
    },
    "03_pediatric": {
        "figure-1": "the eight sites",
        "figure-2": "one control and one case of each clinic",
        "mean-spectrum": "mean spectrum by clinic, group and site",
        "figure-3": "model by position",
        "figure-4": "the network with its traced shapes",
        "figure-5": "model by patient",
        "figure-6": "what each site adds",
        "figure-7": "Grad-CAM for control and for case",
        "figure-8": "Monte Carlo dropout",
        "table-1": "patients and minutes",
        "table-2": "three pictures and two normalisations",
        "table-3": "cross-validation by site",
        "table-4": "model by position, patients",
        "table-5": "model by patient, patients",
        "table-6": "pneumonia against bronchiolitis",
        "table-7": "model by patient, all sets",
        "table-8": "model by patient, crops",
        "table-9": "model by position, crops by site",
        "across-clinics": "trained in one clinic, tested in the other",
        "controls": "background alone, and sites in another order",
        "calibration": "whether probabilities are frequencies",
        "remedies": "dropout, transfer, the mean of the recording",
        "sprsound": "both models on the sites of SPRSound",
    },
    "04_lungldm": {
        "figure-1": "the system, drawn from its configuration",
        "table-1": "FAD, KL and IS, published beside ours",
        "listening": "the listening test, analysed on simulated listeners",
        "corpora": "who may have which corpus",
        "clips": "clips by sound type and corpus",
        "types": "a clip of each sound type",
        "parameters": "what has 96 million weights",
        "penalty": "what the exponential penalty costs and pulls",
        "reconstruction": "what the VAE loses, with and without penalty and SE",
        "training": "losses of the VAE and the U-Net",
        "samples": "real, reconstructed and generated clips of each type",
        "vocoder": "what a vocoder loses",
        "fidelity": "FAD and kernel distance in several embeddings, with floors",
        "fad-bias": "FAD of two equal sounds, by their number",
        "flat-softmax": "how IS 1.01 and KL 0.01 come about",
        "adherence": "whether the sound is what the prompt asked for",
        "confusion": "which type is heard for which",
        "trade-off": "guidance and steps",
        "interpolation": "between two noises, between two latents",
        "memorisation": "distance to the nearest training clip",
        "ablation": "penalty, SE and gates, taken away",
    },
    "90_compare_classifiers": {
        "label-maps": "what each label counts as",
        "parts": "patients and sounds to train, select and test",
        "icbhi": "all classifiers on ICBHI",
        "sprsound": "all classifiers on SPRSound",
        "sprsound-patients": "patients of SPRSound",
        "cohorts": "patients of two clinics",
        "paired": "each against the small CNN, on the same patients",
        "costs": "parameters, multiply-adds, seconds",
        "score-and-cost": "what a score costs",
        "leakage": "what leaky selection and a leaky split are worth",
        "tricks": "each paper's trick on the others' data",
        "gains": "the same, drawn",
        "abroad": "trained on one data set, tested on another",
    },
    "91_synthetic_augmentation": {
        "elsewhere": "what others report of classifiers trained on generated coughs",
        "clips": "recorded clips by type and part",
        "adherence": "whether the generated clips are heard as what was asked for",
        "mixtures": "a recorded, a generated, a changed and a joined clip",
        "budget": "clips and draws of each mixture",
        "augmentation": "scores of each mixture on recorded clips",
        "gain": "difference to few recorded clips, on the same patients",
        "gain-by-share": "gain against the share of what is added",
        "per-class": "gain in recall, type by type",
        "gain-by-type": "the same as a picture",
        "memorisation": "how near generated clips come to training clips, with controls",
        "distances": "distances to the nearest training clip",
        "nearest": "the nearest pairs",
    },
    "92_explanations": {
        "pictures": "what each model is shown, and the detail it can point at",
        "sounds": "the sounds that are looked at",
        "examples": "a crackle and a wheeze, by every model",
        "looking": "pointing game, right moment, energy inside the boxes",
        "gains": "the same above the floor, by kind of sound",
        "controls": "against a network that was never trained, and against loud pixels",
        "stages": "the same networks, looked at earlier",
        "detail": "pointing game by stage and detail",
        "deletion": "what taking away the important pixels does",
        "deletion-curves": "p of the sound while pixels are taken away",
        "uncertainty": "whether doubt finds the errors",
        "risk-coverage": "errors among the surest",
        "all-sites": "MPA, one map for eight sites",
    },
}


def expected(notebook: str) -> dict[str, str]:
    return EXPECTED.get(notebook, {})


def write_index(folder: Path) -> Path:
    """Write `folder`/index.html from the manifests of all notebooks built into `folder`."""
    manifests = [json.loads(path.read_text()) for path in sorted(folder.glob("*/manifest.json"))]
    environment = Environment(loader=PackageLoader("lungnb"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.get_template("index.html.j2").render(
        profile=folder.name, books=[_book(folder, manifest) for manifest in manifests]
    )
    with atomic_file(folder / "index.html") as path:
        path.write_text(page, encoding="utf-8")
    return folder / "index.html"


def _book(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the page says of one notebook."""
    name, made, build = manifest["notebook"], manifest["artefacts"], manifest.get("build", {})
    descriptions = expected(name)
    artefacts = [_artefact(name, key, made.get(key), descriptions.get(key, "")) for key in {**descriptions, **made}]
    files = {
        "Read": f"{name}.html",
        "Notebook": f"{name}.ipynb",
        "Manifest": "manifest.json",
        "Listening test": "listening.html",
    }
    return {
        "name": name,
        "title": build.get("title") or name,
        "failed": bool(build.get("error")),
        "error": build.get("error", ""),
        "time": clock(build["seconds"]) if build else "",
        "commit": _commit(manifest.get("git")),
        "links": {text: f"{name}/{file}" for text, file in files.items() if (folder / name / file).exists()},
        "tables": [artefact for artefact in artefacts if artefact["kind"] == "table"],
        "figures": [artefact for artefact in artefacts if artefact["kind"] == "figure"],
        "n_built": sum(artefact["built"] for artefact in artefacts),
    }


def _artefact(notebook: str, name: str, record: dict[str, Any] | None, description: str) -> dict[str, Any]:
    files = [f"{notebook}/{file}" for file in record["files"]] if record else []
    return {
        "kind": record["kind"] if record else "figure" if name.startswith("figure") else "table",
        "title": title(name),
        "description": description,
        "built": record is not None,
        "origin": record["origin"] if record else "",
        "notes": record["notes"] if record else [],
        "links": {Path(file).suffix[1:].upper(): file for file in files},
        "thumbnail": next((file for file in files if file.endswith(".png")), ""),
    }


def _commit(git: dict[str, Any] | None) -> str:
    return git["commit"][:10] + (", changed since" if git["dirty"] else "") if git else ""
