"""Recorded experiments on generated sound: clips one by one, and every number about them computed from these anew.

    reports/recorded/lungldm/<experiment>/
        clips.parquet    one row a clip: configuration (`row`), training seed, type asked for (`label`, index in TYPES), prompt,
                         the probabilities of each judge (p, q, r, t), embeddings (e, s), clicks, tones, energy, nearest
                         training clip, and of clips through a VAE what their log-mels are missed by
        pictures.npz     log-mels of a few clips as greys, of the first seed
        scores.csv, training.csv, config.yaml, provenance.json, weights/, samples/    as in `lungnb.book.recorded`

Of a classifier's answers (judges, augmentation) clips have p alone, and their scores are those of all classifiers; of copies they
have how near the nearest training clip is. Read here with neither data nor torch; `lungnb.book.sounds` records.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from lungnb.book.recorded import experiment
from lungnb.book.recorded import verify as verify_recorded
from lungnb.book.storage import folder, read_table, write_parquet
from lungnb.metrics.classification import evaluate
from lungnb.metrics.clips import LETTERS, TYPES, columns_of, of_copies, of_sounds

#: Lowest and highest level of a picture, in nats.
PICTURE_RANGE = (-9.0, 1.5)


def clips(name: str) -> pd.DataFrame:
    """The clips of a recorded experiment. Raises UserError if there are none."""
    return read_table(folder() / name / "clips.parquet")


def on_file(*names: str) -> list[str]:
    """Which of these experiments have clips that are kept."""
    return [name for name in names if (folder() / name / "clips.parquet").is_file()]


def write_clips(path: Path, frame: pd.DataFrame) -> None:
    """Keep `frame` as small as it can be."""
    small = {c: np.float16 for c in frame.select_dtypes("number") if c not in ("seed", "label")}
    write_parquet(path, frame.astype(small | {"seed": np.int16, "label": np.int16}))


def generator_folder() -> Path:
    """Where the weights of the recorded generator are, as `LungLDMPipeline.from_pretrained` reads them."""
    return folder() / "lungldm" / "generators" / "weights"


def scores(name: str) -> pd.DataFrame:
    """Every score of a recorded experiment: row, subset, metric, ours, sd, n_seeds, n_patients, low, high."""
    frame = clips(name)
    table = of_copies(frame) if "ratio" in frame else of_sounds(frame) if "e0" in frame else of_answers(frame)
    return table[["row", "subset", "metric", "ours", "sd", "n_seeds", "n_patients", "low", "high"]].round(6)


def of_answers(frame: pd.DataFrame) -> pd.DataFrame:
    """Scores of classifiers by configuration and part of the split."""
    frame, tables = frame.assign(predicted=columns_of(frame, "p").argmax(1)), []
    for (row, part), own in frame.groupby(["row", "split"], sort=False):
        seeds = [table.reset_index(drop=True) for _, table in own.groupby("seed")]
        tables.append(evaluate(seeds).assign(row=row, subset=part))
    return pd.concat(tables, ignore_index=True)


def pictures(name: str) -> dict[str, np.ndarray]:
    """The kept pictures of an experiment by name, as levels in nats: (..., frames, n_mels)."""
    low, high = PICTURE_RANGE
    with np.load(folder() / name / "pictures.npz") as greys:
        return {key: low + greys[key] / 255 * (high - low) for key in greys}


def samples(name: str = "lungldm/generators") -> pd.DataFrame:
    """The kept sounds of an experiment: path, type, prompt, and as `heard` what each judge that hears takes it for."""
    about, place = experiment(name), folder() / name / "samples"
    if not on_file(name):
        return pd.DataFrame(columns=["path", "type", "prompt", "heard"])
    frame = clips(name)
    own = frame[(frame["row"] == about["weights"][0]) & (frame["seed"] == about["seeds"][0])]
    kinds = [TYPES[k] for k in own["label"]]
    letters = [letter for judge, letter in LETTERS.items() if judge != "length alone" and f"{letter}0" in own]
    judged = zip(*(columns_of(own, letter).argmax(axis=1) for letter in letters), strict=True)
    heard = ["; ".join(TYPES[k] for k in by_judge) for by_judge in judged]
    paths = [
        place / f"{kind.replace(' ', '-')}-{n}.ogg"
        for kind, n in zip(kinds, own.groupby("label").cumcount(), strict=True)
    ]
    table = pd.DataFrame({"path": paths, "type": kinds, "prompt": own["prompt"].to_list(), "heard": heard})
    return table[[path.is_file() for path in paths]].reset_index(drop=True)


def verify() -> list[str]:
    """`lungnb.book.recorded.verify` of experiments with clips."""
    return verify_recorded("clips.parquet", scores)
