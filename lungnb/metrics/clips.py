"""Scores of generated and real clips, one row a clip: what judges take them for, clicks and tones, distances, copies, effects.

Columns: configuration (`row`), training `seed`, type asked for (`label`, index in TYPES), `patient` (or prompt, of a generated
clip), the probabilities of each judge (p, q, r, t), two embeddings (e, s), kurtosis, tonal, low, nearest and l1; of copies
distance and ratio. All tables have row, subset, metric, ours, sd, n_seeds, n_patients, low, high.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungnb.metrics import columns_of
from lungnb.metrics.generation import coverage, frechet_distance, inception_score, spread
from lungnb.metrics.intervals import draw, holm, interval, p_value
from lungnb.metrics.permutation import mmd_with_null

#: The types that stand in the data at hand, normal first, as the scores of classifiers have it.
TYPES = ("normal lung sound", "wheeze", "crackle", "rhonchi", "cough")
#: Judge -> the letter of its probabilities' columns, p0 to p4 and so on, in the order of TYPES; the last hears nothing.
LETTERS = {"residual": "p", "recurrent": "q", "encoder": "t", "length alone": "r"}
JUDGES = {f"heard right, {judge if letter == 'r' else f'{judge} judge'}": letter for judge, letter in LETTERS.items()}
#: Measure -> its column, of which a mean is taken, or the median.
MEANS = {"tonal share": "tonal", "energy below 500 Hz": "low", "L1, nats": "l1"}
MEDIANS = {"kurtosis": "kurtosis", "distance to nearest training clip": "nearest"}
#: The same of a table of copies: a clip is found if it is nearer to its nearest training clip than 95 % of strangers, or stands
#: out more than they do, which is to be much nearer to that one than to the next.
FOUND = {"nearer than 95 % of strangers": "distance", "stands out more than 95 % of strangers": "ratio"}
DISTANCES = {"network": "e", "spectrum": "s"}
#: What the paper adds: the part of a cell's name with it, and without it.
ADDITIONS = {"penalty": ("penalty", "no penalty"), "SE": ("SE", "no SE"), "gates": ("gates", "no gates")}
VAE = " | through the VAE"
N_DRAWINGS = 500
#: Fewer clips of a type than this have no within-type distance.
_LEAST = 6


def of_copies(frame: pd.DataFrame) -> pd.DataFrame:
    """What share of each set is found as FOUND says, and the median distance; strangers, who set the bar, are no row."""
    parts = []
    for _, own in frame.groupby("seed"):
        strangers = own[own["row"] == "strangers"]
        found = {column: own[column] < np.percentile(strangers[column], 5) for column in FOUND.values()}
        parts.append(own.assign(nearest=own["distance"], **{f"found {k}": v.astype(float) for k, v in found.items()}))
    lines = []
    for row, own in pd.concat(parts).query("row != 'strangers'").groupby("row", sort=False):
        seeds = [table.reset_index(drop=True) for _, table in own.groupby("seed")]
        for metric, values in drawn(seeds, "all").items():
            lines.append(_estimate(*values, metric) | {"row": row, "subset": "all", "metric": metric})
    return pd.DataFrame(lines)


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
    shares = MEANS | {metric: f"found {column}" for metric, column in FOUND.items()}
    for metric, column in {**JUDGES, **shares, **MEDIANS}.items():
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
    if f"{letter}0" not in table:
        return np.full(len(table), np.nan)
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
    type, then the mean over types; "null": its 95th percentile when the patients of both sets are mixed, type by type. Coverage:
    of as many clips, the share of real ones that have one of ours nearby, type by type; diversity: how far apart clips of one
    type lie, that of real clips being 1."""
    found: dict[str, list[float]] = {}
    for table in seeds:
        ours, theirs = _alike(table, reference)
        for name, letter in DISTANCES.items():
            a, b = columns_of(theirs, letter), columns_of(ours, letter)
            found.setdefault(f"FAD, {name}", []).append(frechet_distance(a, b))
            value, null = _kernel(a, b, theirs, ours)
            found.setdefault(f"kernel distance, {name}", []).append(value)
            found.setdefault(f"kernel distance, {name}, null", []).append(null)
            pairs = [
                (x[of == k] for x, of in ((a, theirs["label"]), (b, ours["label"]))) for k in ours["label"].unique()
            ]
            pairs = [pair for pair in map(tuple, pairs) if min(map(len, pair)) >= _LEAST]
            if pairs:
                near, far = zip(*((coverage(*pair), spread(pair[1]) / spread(pair[0])) for pair in pairs), strict=True)
                found.setdefault(f"coverage, {name}", []).append(float(np.mean(near)))
                found.setdefault(f"diversity, {name}", []).append(float(np.mean(far)))
        logits = np.log(columns_of(table, "p").clip(min=1e-6))
        found.setdefault("IS", []).append(inception_score(logits, n_splits=1)[0])
    return {metric: (np.array(values)[:, None], 0) for metric, values in found.items()}


def _alike(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of each type the first clips of both, as many as the smaller has."""
    n = pd.concat([one["label"].value_counts(), other["label"].value_counts()], axis=1).min(axis=1, skipna=False)
    return tuple(x[x.groupby("label").cumcount() < x["label"].map(n).fillna(0)] for x in (one, other))


def _kernel(a: np.ndarray, b: np.ndarray, of_a: pd.DataFrame, of_b: pd.DataFrame) -> tuple[float, float]:
    """Over the types, with embeddings (n, dims) and (m, dims) of the clips `of_a` and `of_b`."""
    scale, found = np.concatenate([a, b]).std(axis=0).clip(min=1e-9), []
    for kind in of_a["label"].unique():
        ours, theirs = (of_a["label"] == kind).to_numpy(), (of_b["label"] == kind).to_numpy()
        if min(ours.sum(), theirs.sum()) >= _LEAST:
            units = of_a.loc[ours, "patient"].astype(str), of_b.loc[theirs, "patient"].astype(str)
            found.append(mmd_with_null(a[ours] / scale, b[theirs] / scale, *units))
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
        if bounded and (metric in {*JUDGES, *FOUND, "tonal share", "energy below 500 Hz"} or "coverage" in metric)
        else (-np.inf, np.inf)
    )
    low, high = (
        interval(*_with_units(values, n), bounds)[:, 0] if values.shape[1] > 1 or len(values) > 2 else (np.nan, np.nan)
    )
    sd = values[:, 0].std(ddof=1) if len(values) > 1 else np.nan
    return {"ours": values[:, 0].mean(), "sd": sd, "n_seeds": len(values), "n_patients": n, "low": low, "high": high}
