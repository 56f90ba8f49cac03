"""Recorded networks as others expect to find them: a Hugging Face model folder with a card.

model.safetensors   weights of one training
config.json         the fields of lungnb.classification.Classification, and the classes in their order
README.md           the card: what it is for and not for, data, training, scores with intervals
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import yaml

from lungnb.book.recorded import configurations, experiment, provenance, scores, training, weights_file
from lungnb.book.report import measured
from lungnb.core import UserError, atomic_file
from lungnb.data.tasks import task_of

#: What is said of a trained network wherever it goes.
WARNING = (
    "For research and teaching only. It is no medical device, was trained on the sounds of few patients and one kind of "
    "stethoscope, and must not be used for diagnosis."
)


def publish(name: str, row: str, target: Path, seed: int = 0, repository: str = "") -> Path:
    """Lay the network of a recorded experiment out in the folder `target`, and upload it to the Hugging Face model `repository`
    if one is named; the folder.

    Raises UserError if its weights are not on file, the folder holds something, or no token for the upload is there.
    """
    weights = weights_file(name, row, seed)
    if not weights.is_file():
        kept = ", ".join(experiment(name).get("weights", [])) or "none"
        raise UserError(
            f"The weights of {row!r}, seed {seed}, are not on file; of {name} those of these rows are: {kept}."
        )
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} holds something already; name a new folder.")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, target / "model.safetensors")
    fields = configurations(name)[row]
    config = {"library_name": "lungnb", "classes": task_of(fields["task"]).classes, "seed": seed, "fields": fields}
    for file, text in {"config.json": json.dumps(config, indent=1), "README.md": card(name, row)}.items():
        with atomic_file(target / file) as path:
            path.write_text(text)
    if repository:
        _upload(target, repository)
    return target


def card(name: str, row: str) -> str:
    """The model card of one configuration, in Markdown with Hugging Face's header; all numbers are read from the record."""
    fields, kept = configurations(name)[row], provenance(name)
    header = {"license": "mit", "library_name": "lungnb", "pipeline_tag": "audio-classification"}
    header |= {"tags": ["lung sounds", "auscultation", experiment(name)["corpus"]]}
    table = scores(name).query("row == @row and metric in ['Se', 'Sp', 'Score', 'AUROC']")
    cells = table.assign(text=[measured(line["ours"], line) for line in table.to_dict("records")])
    wide = cells.pivot(index="subset", columns="metric", values="text")[["Se", "Sp", "Score", "AUROC"]]
    trained = training(name).query("row == @row")
    return f"""---
{yaml.safe_dump(header, sort_keys=False).strip()}
---

# {row} of `{name}`

{WARNING}

{_sentence(fields, trained)} Data: {kept["origin"]} {experiment(name)["corpus"]}, fingerprint `{kept["fingerprint"]}`;
code: commit `{kept.get("commit", "")[:10]}` of lungnb.

Scores are means over {trained["seed"].nunique()} seeds (± their spread), in brackets 95 % intervals over seeds and patients.
The weights are those of one seed. Se counts an abnormal event as found only if its class is right.

{wide.rename_axis(index="subset", columns=None).reset_index().to_markdown(index=False)}

The recordings are not part of this and keep the licence of their data set.
"""


def _sentence(fields: dict, trained: pd.DataFrame) -> str:
    classes = ", ".join(task_of(fields["task"]).classes)
    first, own = trained.iloc[0], trained["Score"].mean()
    return (
        f"The network `{fields['model']}` ({int(first['parameters']):,} weights) calls a sound one of {classes}. "
        f"It was trained for {int(first['epochs'])} epochs and scores {own:.3f} on its own training events."
    )


def _upload(folder: Path, repository: str) -> None:
    from huggingface_hub import HfApi, get_token

    if not get_token():
        raise UserError(
            f"{folder} is laid out, but there is no token to upload it with; log in with `hf auth login` or set HF_TOKEN."
        )
    HfApi().create_repo(repository, exist_ok=True)
    HfApi().upload_folder(folder_path=folder, repo_id=repository)
