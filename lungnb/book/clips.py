"""Recorded experiments on generated sound: clips one by one, and every number about them computed from these anew.

    reports/recorded/lungldm/<experiment>/
        clips.parquet    one row a clip: configuration (`row`), training seed, type asked for (`label`, index in TYPES), prompt,
                         the probabilities of each judge (p, q, r), embeddings (e, s), clicks, tones, energy, nearest training
                         clip, and of clips through a VAE what their log-mels are missed by
        scores.csv, training.csv, config.yaml, provenance.json, weights/, samples/    as in `lungnb.book.evidence`

Of a classifier's answers (judges, augmentation) clips have p alone, and their scores are those of all classifiers. Read here
with neither data nor torch; `lungnb.book.sounds` records.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from lungnb.book.evidence import configurations, differences
from lungnb.book.recorded import folder
from lungnb.core import UserError
from lungnb.metrics.classification import evaluate
from lungnb.metrics.generation import frechet_distance, inception_score
from lungnb.metrics.intervals import draw, holm, interval, p_value
from lungnb.metrics.permutation import mmd_with_null

#: As `lungnb.papers.lungldm.judges` has them, which needs torch.
TYPES = ("normal lung sound", "wheeze", "crackle", "rhonchi", "cough")
JUDGES = {"heard right, residual judge": "p", "heard right, recurrent judge": "q", "heard right, length alone": "r"}
#: Measure -> its column, of which a mean is taken, or the median.
MEANS = {"tonal share": "tonal", "energy below 500 Hz": "low", "L1, nats": "l1"}
MEDIANS = {"kurtosis": "kurtosis", "distance to nearest training clip": "nearest"}
DISTANCES = {"network": "e", "spectrum": "s"}
#: What the paper adds: the part of a cell's name with it, and without it.
ADDITIONS = {"penalty": ("penalty", "no penalty"), "SE": ("SE", "no SE"), "gates": ("gates", "no gates")}
VAE = " | through the VAE"
N_DRAWINGS = 500
#: Fewer clips of a type than this have no within-type distance.
_LEAST = 6


def clips(name: str) -> pd.DataFrame:
    """The clips of a recorded experiment. Raises UserError if there are none."""
    path = folder() / name / "clips.parquet"
    if not path.is_file():
        raise UserError(f"{path} is missing; record it with `lungnb record {name} --data DIR`.")
    frame = pd.read_parquet(path)
    return frame.astype(dict.fromkeys(frame.select_dtypes("float16"), float))


def write_clips(path: Path, frame: pd.DataFrame) -> None:
    """Keep `frame` as small as it can be."""
    small = {c: np.float16 for c in frame.select_dtypes("number") if c not in ("seed", "label")}
    frame.astype(small | {"seed": np.int16, "label": np.int16}).to_parquet(
        path, index=False, compression="zstd", compression_level=19
    )


def generator_folder() -> Path:
    """Where the weights of the recorded generator are, as `LungLDMPipeline.from_pretrained` reads them."""
    return folder() / "lungldm" / "generators" / "weights"


def columns_of(frame: pd.DataFrame, letter: str) -> np.ndarray:
    """The columns p0, p1, ... of `frame` as (N, n)."""
    names = [c for c in frame if c[0] == letter and c[1:].isdigit()]
    return frame[names].to_numpy(float)


def scores(name: str) -> pd.DataFrame:
    """Every score of a recorded experiment: row, subset, metric, ours, sd, n_seeds, n_patients, low, high."""
    frame = clips(name)
    table = of_sounds(frame) if "e0" in frame else of_answers(frame)
    return table[["row", "subset", "metric", "ours", "sd", "n_seeds", "n_patients", "low", "high"]].round(6)


def of_answers(frame: pd.DataFrame) -> pd.DataFrame:
    """Scores of classifiers by configuration and part of the split."""
    frame, tables = frame.assign(predicted=columns_of(frame, "p").argmax(1)), []
    for (row, part), own in frame.groupby(["row", "split"], sort=False):
        seeds = [table.reset_index(drop=True) for _, table in own.groupby("seed")]
        tables.append(evaluate(seeds).assign(row=row, subset=part))
    return pd.concat(tables, ignore_index=True)


# ---- generated and real clips


def of_sounds(frame: pd.DataFrame) -> pd.DataFrame:
    """What was measured of clips, type by type and all types alike; distances to the row "reference"; effects of additions."""
    rows = {
        row: [own.reset_index(drop=True) for _, own in g.groupby("seed")] for row, g in frame.groupby("row", sort=False)
    }
    found, drawings = [], {}
    for row, seeds in rows.items():
        for subset in ("all", *TYPES):
            for metric, values in drawn(seeds, subset).items():
                drawings[row, subset, metric] = values
                found.append(_estimate(*values, metric) | {"row": row, "subset": subset, "metric": metric})
        if row != "reference" and "reference" in rows:
            for metric, values in distances(seeds, rows["reference"][0]).items():
                drawings[row, "all", metric] = values
                found.append(_estimate(*values, metric) | {"row": row, "subset": "all", "metric": metric})
    return pd.DataFrame(found + effects(drawings))


def drawn(seeds: list[pd.DataFrame], subset: str) -> dict[str, tuple[np.ndarray, int]]:
    """Measure -> its values (seeds, 1 + drawings) when units (patients, or prompts) are drawn anew, and how many units there are.

    In "all" each type that occurs weighs the same."""
    if subset != "all":
        seeds = [table[table["label"] == TYPES.index(subset)] for table in seeds]
    if not all(map(len, seeds)):
        return {}
    units = sorted(set().union(*(table["patient"] for table in seeds)))
    times, found = draw(len(units), N_DRAWINGS), {}
    for metric, column in {**JUDGES, **MEANS, **MEDIANS}.items():
        per_seed = []
        for table in seeds:
            values = (
                _hits(table, column)
                if metric in JUDGES
                else table.get(column, pd.Series(np.nan, table.index)).to_numpy()
            )
            known = np.isfinite(values)
            if known.any():
                own = table[known]
                weight = (
                    1 / own.groupby("label")["label"].transform("size").to_numpy()
                    if subset == "all"
                    else np.ones(len(own))
                )
                counts = times[:, pd.Index(units).get_indexer(own["patient"])] * weight
                per_seed.append(_median(counts, values[known]) if metric in MEDIANS else _mean(counts, values[known]))
        if len(per_seed) == len(seeds):
            found[metric] = np.stack(per_seed), len(units)
    return found


def _hits(table: pd.DataFrame, letter: str) -> np.ndarray:
    return (columns_of(table, letter).argmax(axis=1) == table["label"].to_numpy()).astype(float)


def _mean(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return counts @ values / counts.sum(axis=1)


def _median(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of values (n,) that count so often in each drawing (drawings, n)."""
    order = np.argsort(values)
    below = counts[:, order].cumsum(axis=1)
    return values[order][(below >= below[:, -1:] / 2).argmax(axis=1)]


def distances(seeds: list[pd.DataFrame], reference: pd.DataFrame) -> dict[str, tuple[np.ndarray, int]]:
    """Distances to real clips of other patients, one value a seed (seeds, 1), in each embedding; IS by the residual judge.

    FAD: of each type as many clips as the smaller side has, so that both sets are made up alike. Kernel distance: within each
    type, then the mean over types; "null": its 95th percentile when the two sets are mixed, type by type."""
    found: dict[str, list[float]] = {}
    for table in seeds:
        ours, theirs = _alike(table, reference)
        for name, letter in DISTANCES.items():
            a, b = columns_of(theirs, letter), columns_of(ours, letter)
            found.setdefault(f"FAD, {name}", []).append(frechet_distance(a, b))
            value, null = _kernel(a, b, theirs["label"].to_numpy(), ours["label"].to_numpy())
            found.setdefault(f"kernel distance, {name}", []).append(value)
            found.setdefault(f"kernel distance, {name}, null", []).append(null)
        logits = np.log(columns_of(table, "p").clip(min=1e-6))
        found.setdefault("IS", []).append(inception_score(logits, n_splits=1)[0])
    return {metric: (np.array(values)[:, None], 0) for metric, values in found.items()}


def _alike(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of each type the first clips of both, as many as the smaller has."""
    n = pd.concat([one["label"].value_counts(), other["label"].value_counts()], axis=1).min(axis=1, skipna=False)
    return tuple(x[x.groupby("label").cumcount() < x["label"].map(n).fillna(0)] for x in (one, other))


def _kernel(a: np.ndarray, b: np.ndarray, of_a: np.ndarray, of_b: np.ndarray) -> tuple[float, float]:
    scale = np.concatenate([a, b]).std(axis=0).clip(min=1e-9)
    pairs = [(a[of_a == k] / scale, b[of_b == k] / scale) for k in np.unique(of_a)]
    found = [mmd_with_null(*pair) for pair in pairs if min(map(len, pair)) >= _LEAST]
    if not found:
        return np.nan, np.nan
    value, null = np.mean([of[0] for of in found]), np.mean([of[1] for of in found], axis=0)
    return float(value), float(np.percentile(null, 95))


def effects(drawings: Mapping[tuple[str, str, str], tuple[np.ndarray, int]]) -> list[dict]:
    """What each of ADDITIONS changes in every score: with it less without it, the mean over what the cells otherwise have.

    Cells are rows named "penalty, SE, gates" and "no penalty, no SE, no gates" and so on, perhaps with VAE behind. Rows "effect
    of penalty" and so on; of the same metric the p values are corrected for the additions (Holm), metric "..., p"."""
    found = []
    for subset, metric in dict.fromkeys(key[1:] for key in drawings if not key[2].endswith("null")):
        of = {row: values for (row, *key), values in drawings.items() if key == [subset, metric]}
        here = []
        for addition, (yes, no) in ADDITIONS.items():
            place = list(ADDITIONS).index(addition)
            pairs = []
            for row in of:
                name, _, behind = row.partition(VAE[:2])
                parts = name.split(", ")
                if len(parts) > place and parts[place] == yes:
                    parts[place] = no
                    other = ", ".join(parts) + row[len(name) :]
                    pairs += [(of[row], of[other], bool(behind))] if other in of else []
            for through in (False, True):
                own = [(one, two) for one, two, behind in pairs if behind == through]
                if own:
                    difference = np.mean([one[0] - two[0] for one, two in own], axis=0)
                    here.append((f"effect of {addition}{VAE if through else ''}", difference, own[0][0][1]))
        for through in (False, True):
            own = [one for one in here if one[0].endswith(VAE) == through]
            p = holm([_p(difference, n) for _, difference, n in own])
            for (row, difference, n), corrected in zip(own, p, strict=True):
                of_row = {"row": row, "subset": subset}
                found.append(_estimate(difference, n, metric, bounded=False) | of_row | {"metric": metric})
                empty = {"sd": np.nan, "n_seeds": len(difference), "n_patients": n, "low": np.nan, "high": np.nan}
                found.append({"ours": corrected} | empty | of_row | {"metric": f"{metric}, p"})
    return found


def _with_units(values: np.ndarray, n: int) -> tuple[np.ndarray, int]:
    """Of values that have no drawings of units the seeds alone are what varies."""
    return (values[:, :, None], n) if values.shape[1] > 1 else (np.repeat(values, 3, axis=1)[:, :, None], 1000)


def _p(values: np.ndarray, n: int) -> float:
    return float(p_value(*_with_units(values, n))[0]) if len(values) > 2 else np.nan


def _estimate(values: np.ndarray, n: int, metric: str, bounded: bool = True) -> dict[str, float]:
    """ours, sd, n_seeds, n_patients, low and high of values (seeds, 1 + drawings); what was not drawn has an interval over three
    seeds or more alone."""
    bounds = (
        (0, 1)
        if bounded and (metric in JUDGES or metric in ("tonal share", "energy below 500 Hz"))
        else (-np.inf, np.inf)
    )
    low, high = (
        interval(*_with_units(values, n), bounds)[:, 0] if values.shape[1] > 1 or len(values) > 2 else (np.nan, np.nan)
    )
    sd = values[:, 0].std(ddof=1) if len(values) > 1 else np.nan
    return {"ours": values[:, 0].mean(), "sd": sd, "n_seeds": len(values), "n_patients": n, "low": low, "high": high}


def verify() -> list[str]:
    """What differs between the recorded scores and those that the recorded clips give today, a sentence each."""
    found = []
    for path in sorted(folder().glob("*/*/clips.parquet")):
        name = "/".join(path.parts[-3:-1])
        found += differences(name, pd.read_csv(path.parent / "scores.csv"), scores(name))
        kept, now = yaml.safe_load((path.parent / "config.yaml").read_text()), configurations(name)
        found += [
            f"{name}: {row} was recorded with other choices" for row in now if row in kept and kept[row] != now[row]
        ]
    return found
