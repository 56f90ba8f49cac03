"""What the listeners said: the saved ratings of a listening test as a table, and what can be concluded from them.

Ratings are crossed: every listener rates every file, and every system has a file of every sound type. Both listeners and
types are samples (34 and 13 in LungLDM), so both are drawn anew for the intervals. Whether the listeners are people
("real") or drawn by `simulate_ratings` ("simulated") stands in every file, every row of the table and every result.
"""

import json
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.stats import norm

from lungnb.core import UserError
from lungnb.metrics.listening import VERSION

#: Overall quality and relevance to the text (LungLDM, section 4.B).
SCALES = ["OVL", "REL"]
#: (system, scale) -> ratings (L, T) of L listeners and T types.
Cube = dict[tuple[str, str], np.ndarray]
_MEND = "take the file as the page saved it"


class Rating(BaseModel):
    """One file, rated by one listener. plays: how often it was heard to its end; seconds: how long it was on the screen."""

    model_config = ConfigDict(extra="forbid", strict=True)
    file: str
    OVL: float = Field(ge=0, le=100, allow_inf_nan=False)
    REL: float = Field(ge=0, le=100, allow_inf_nan=False)
    plays: int = Field(ge=0)
    seconds: float | None = Field(ge=0)


class Result(BaseModel):
    """One listener's test, as the page saves it. Times are ISO 8601, None for simulated listeners."""

    model_config = ConfigDict(extra="forbid", strict=True)
    format: Literal["lungnb-listening"]
    origin: Literal["real", "simulated"]
    test: str
    title: str
    versions: dict[str, str | int]
    listener: str
    order_seed: int
    order: list[str]
    started: str | None
    finished: str | None
    ratings: list[Rating]


def read_key(path: Path) -> dict[str, Any]:
    """The key that `write_listening` wrote: which system and type each file is of. Raises UserError for any other file."""
    key = _json(path)
    if not isinstance(key, dict) or key.get("format") != "lungnb-listening-key":
        raise UserError(f"{path} is no key of a listening test; take the -key.json that was written beside the page.")
    return key


def read_ratings(paths: Iterable[Path], key: Mapping[str, Any]) -> pd.DataFrame:
    """The ratings of the saved files, one a listener: see `ratings_table`."""
    return ratings_table({str(path): _json(path) for path in paths}, key)


def ratings_table(results: Mapping[str, Any], key: Mapping[str, Any]) -> pd.DataFrame:
    """One row a rating: listener, file, system, type, OVL, REL, origin; listeners, systems and types in the order given.

    results: by the name that a message calls it, what one listener's file holds. Raises UserError for what is no result,
    another test's, incomplete, out of range, or the second of one listener.
    """
    if not results:
        raise UserError("There are no ratings; hand out the page and collect the files that it saves.")
    checked: dict[str, Result] = {}
    place = {file: i for i, file in enumerate(key["files"])}
    for where, content in results.items():
        result = _checked(where, content, key)
        if result.listener in checked:
            raise UserError(
                f"{where} is of listener {result.listener}, who is there already; leave one of the two files out."
            )
        checked[result.listener] = result
    rows = [
        {"listener": r.listener, "file": rating.file, **key["files"][rating.file], "OVL": rating.OVL, "REL": rating.REL}
        | {"origin": r.origin}
        for r in checked.values()
        for rating in sorted(r.ratings, key=lambda rating: place[rating.file])
    ]
    return pd.DataFrame(rows).drop(columns="prompt")


def _json(path: Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON; {_MEND}.") from error


def _checked(where: str, content: Any, key: Mapping[str, Any]) -> Result:
    if not isinstance(content, dict) or content.get("format") != "lungnb-listening":
        raise UserError(f"{where} holds no ratings of a listening test; {_MEND}.")
    try:
        result = Result.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place, value = ".".join(map(str, first["loc"])), first["input"]
        raise UserError(f"{where}: {place} = {str(value)[:40]}: {first['msg']}; {_MEND}.") from error
    if result.test != key["test"]:
        raise UserError(
            f"{where} is of the test {result.test}, the key of {key['test']}; take the key that belongs to it."
        )
    rated = [rating.file for rating in result.ratings]
    if lacking := [file for file in key["files"] if file not in rated]:
        raise UserError(
            f"{where} lacks the ratings of {len(lacking)} of {len(key['files'])} files, first {lacking[0]}; ask the listener "
            "to finish, or leave the file out."
        )
    if len(rated) != len(key["files"]) or sorted(result.order) != sorted(rated):
        raise UserError(f"{where} rates a file twice, or one that is not in the test; {_MEND}.")
    return result


def origin_text(table: pd.DataFrame) -> str:
    """`34 simulated listeners, 39 files`: for the note below what is shown of the ratings."""
    return f"{table['listener'].nunique()} {_origin(table)} listeners, {table['file'].nunique()} files"


def _origin(table: pd.DataFrame) -> str:
    """The one origin of the ratings; UserError where people and simulated listeners are mixed."""
    if table["origin"].nunique() != 1:
        raise UserError("The ratings are of people and of simulated listeners; analyse the two apart.")
    return table["origin"].iloc[0]


def z_scores(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each listener's ratings less their mean, over their standard deviation (0 for who gave one rating).

    It takes out where on the scale a listener lives and how much of it they use. The columns keep their names.
    """
    listeners = table.groupby("listener")[SCALES]
    spread = listeners.transform("std", ddof=0)
    return table.assign(**((table[SCALES] - listeners.transform("mean")) / spread.where(spread > 0, 1)))


def system_rows(
    table: pd.DataFrame, over: Literal["both", "listeners"] = "both", seed: int = 0, n_resamples: int = 2000
) -> pd.DataFrame:
    """Mean rating of each system with a 95 % interval, as rows of a comparison: row, metric, ours, low, high, origin.

    The interval is the pigeonhole bootstrap's (Owen 2007, Annals of Applied Statistics 1(2)): listeners and sound types are
    drawn anew, each with replacement and apart from the other. over="listeners" keeps the types, as is often done: it asks
    what other listeners would say of these very files, and is too narrow for what is said of a system. NaN for one of either.
    """
    return _rows(table, _cube(table), over, seed, n_resamples)


def difference_rows(
    table: pd.DataFrame, over: Literal["both", "listeners"] = "both", seed: int = 0, n_resamples: int = 2000
) -> pd.DataFrame:
    """As `system_rows` for `B − A` of each two systems, paired: by the same listener, of the same type."""
    return _rows(table, _differences(_cube(table)), over, seed, n_resamples)


def _cube(table: pd.DataFrame) -> Cube:
    return {
        (system, scale): group.pivot(index="listener", columns="type", values=scale).to_numpy()
        for system, group in table.groupby("system", sort=False)
        for scale in SCALES
    }


def _differences(cube: Cube) -> Cube:
    systems = dict.fromkeys(system for system, _ in cube)
    return {(f"{b} − {a}", s): cube[b, s] - cube[a, s] for a, b in combinations(systems, 2) for s in SCALES}


def _rows(table: pd.DataFrame, cube: Cube, over: str, seed: int, n_resamples: int) -> pd.DataFrame:
    origin, rng, rows = _origin(table), np.random.default_rng(seed), []
    shape = next(iter(cube.values())).shape
    by_listener, by_type = (
        rng.multinomial(n, np.full(n, 1 / n), n_resamples) / n for n in shape
    )  # (B, L), (B, T) shares
    if over == "listeners":
        by_type = np.full_like(by_type, 1 / shape[1])
    for (row, metric), ratings in cube.items():
        drawn = np.einsum("bl,lt,bt->b", by_listener, ratings, by_type, optimize=True)
        low, high = np.percentile(drawn, [2.5, 97.5]) if min(shape) > 1 else (np.nan, np.nan)
        rows.append({"row": row, "metric": metric, "ours": ratings.mean(), "low": low, "high": high, "origin": origin})
    return pd.DataFrame(rows)


def _mean_squares(ratings: np.ndarray) -> tuple[float, float, float]:
    """Mean squares of rows, columns and the rest of a two-way layout without replicates, (n, k)."""
    n, k = ratings.shape
    row, column, mean = ratings.mean(1, keepdims=True), ratings.mean(0, keepdims=True), ratings.mean()
    rest = ((ratings - row - column + mean) ** 2).sum() / ((n - 1) * (k - 1))
    return k * row.var(ddof=1), n * column.var(ddof=1), rest


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Do the listeners agree about the files? Rows of metric OVL, REL: `one` is ICC(2,1), `mean of all` ICC(2,k).

    Intraclass correlation, two-way random effects, absolute agreement (Shrout and Fleiss 1979, Psychological Bulletin 86):
    1 if all say the same of each file, 0 if the file makes no difference. Needs two listeners; NaN for one.
    """
    origin, rows = _origin(table), []
    for scale in SCALES:
        ratings = table.pivot(index="file", columns="listener", values=scale).to_numpy()
        rows += [{"row": name, "metric": scale, "ours": icc, "origin": origin} for name, icc in _icc(ratings).items()]
    return pd.DataFrame(rows)


def _icc(ratings: np.ndarray) -> dict[str, float]:
    n, k = ratings.shape  # files, listeners
    if min(n, k) < 2 or np.ptp(ratings) == 0:
        return {"one": np.nan, "mean of all": np.nan}
    file, listener, rest = _mean_squares(ratings)
    one = (file - rest) / (file + (k - 1) * rest + k * (listener - rest) / n)
    return {"one": float(one), "mean of all": float((file - rest) / (file + (listener - rest) / n))}


def number_needed(table: pd.DataFrame, difference: float, power: float = 0.8) -> pd.DataFrame:
    """How many listeners, or sound types, a test needs to tell two systems `difference` points apart (5 %, two-sided).

    Of each pair's ratings d of listener l and type t, the mean has the variance s_l / L + s_t / T + s_lt / (L T), components
    by the analysis of variance; it has to be (difference / (z_.975 + z_power))^2. Columns row, metric, difference, listeners
    (with the types as they are; NA if no number of listeners is enough), types (with the listeners as they are), origin.
    """
    allowed = (difference / (norm.ppf(0.975) + norm.ppf(power))) ** 2
    rows, origin = [], _origin(table)
    for (row, metric), ratings in _differences(_cube(table)).items():
        n_listeners, n_types = ratings.shape
        if min(ratings.shape) < 2:
            raise UserError(f"{row} is rated by {n_listeners} listeners for {n_types} types; two of each are needed.")
        listener, kind, rest = _mean_squares(ratings)
        listener, kind = max(listener - rest, 0) / n_types, max(kind - rest, 0) / n_listeners
        left_l, left_t = allowed - kind / n_types, allowed - listener / n_listeners
        needed = {
            "listeners": int(np.ceil((listener + rest / n_types) / left_l)) if left_l > 0 else pd.NA,
            "types": int(np.ceil((kind + rest / n_listeners) / left_t)) if left_t > 0 else pd.NA,
        }
        rows.append({"row": row, "metric": metric, "difference": difference, **needed, "origin": origin})
    return pd.DataFrame(rows).astype({"listeners": "Int64", "types": "Int64"})


def order(files: Iterable[str], seed: int) -> list[str]:
    """The order in which the page plays its files to a listener with this seed: Fisher and Yates's shuffle."""
    names = sorted(files)
    for i in range(len(names) - 1, 0, -1):
        seed = (1664525 * seed + 1013904223) % 2**32
        j = seed * (i + 1) // 2**32
        names[i], names[j] = names[j], names[i]
    return names


def simulated_means(key: Mapping[str, Any]) -> pd.Series:
    """What simulated listeners think of each system on the average: from 60 down to 40 in the order of the key."""
    systems = list(dict.fromkeys(file["system"] for file in key["files"].values()))
    return pd.Series(np.linspace(60, 40, len(systems)), index=systems)


def simulate_ratings(key: Mapping[str, Any], n_listeners: int = 34, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Ratings nobody gave, to try the analysis on: for `ratings_table`, or to be written as the page's JSON files.

    On each scale, listener l rates the file of system s and type t 50 + bias_l + gain_l (mean_s + type_t + file_st - 50) +
    noise, rounded and cut to 0 .. 100; standard deviations are 8, 0.15 (around 1), 5, 5 and 12 points in this order. They
    are plausible, not measured, and the means (`simulated_means`) know nothing of the sounds or of the systems' names.
    """
    rng = np.random.default_rng(seed)
    files = pd.DataFrame.from_dict(key["files"], orient="index")
    kinds = files["type"].unique()
    scales = {}
    for scale in SCALES:
        kind = files["type"].map(dict(zip(kinds, rng.normal(0, 5, len(kinds)), strict=True))).to_numpy()
        quality = files["system"].map(simulated_means(key)).to_numpy() + kind + rng.normal(0, 5, len(files))
        bias, gain = rng.normal(0, 8, (n_listeners, 1)), rng.normal(1, 0.15, (n_listeners, 1))
        said = 50 + bias + gain * (quality - 50) + rng.normal(0, 12, (n_listeners, len(files)))
        scales[scale] = pd.DataFrame(said.round().clip(0, 100), columns=files.index).to_dict("records")
    results = {}
    for i in range(n_listeners):
        order_seed = int(rng.integers(2**32))
        heard = order(files.index, order_seed)
        results[f"simulated listener {i + 1}"] = {
            "format": "lungnb-listening",
            "origin": "simulated",
            **{name: key[name] for name in ("test", "title")},
            "versions": {"simulator": VERSION},
            "listener": f"simulated-{i + 1:03d}",
            "order_seed": order_seed,
            "order": heard,
            **dict.fromkeys(("started", "finished")),
            "ratings": [
                {"file": f, **{s: scales[s][i][f] for s in SCALES}, "plays": 0, "seconds": None} for f in heard
            ],
        }
    return results
