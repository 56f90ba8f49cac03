"""The listening test of LungLDM (section 4.B) as one HTML page that works offline, its key, and its analysis.

Each system has one clip of each sound type (in the paper 3 x 13 = 39 files). A listener hears them blind and in an order of
their own and rates overall quality (OVL) and relevance to the text (REL) from 0 to 100. The page saves the ratings as a JSON
file; `read_ratings` reads a folder of them. The ground truth is among the rated files and so serves as the hidden reference.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import soundfile
from jinja2 import Environment, PackageLoader
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lungnb import __version__
from lungnb.core import UserError, atomic_file
from lungnb.metrics.intervals import N_RESAMPLES, draw

#: Overall quality and relevance to the text (LungLDM, section 4.B).
SCALES = ["OVL", "REL"]

#: Of the page, its key and the ratings it saves.
VERSION = 1
#: The `system` of the two clips that are played as examples before the test.
ANCHOR = "anchor"
_PEAK = 0.5  # of full scale, as AudioLDM scales its clips (docs/papers/lungldm.md, section 3.1)


def write_listening(
    path: Path, clips: pd.DataFrame, title: str, origin: str, sample_rate: int = 16000, seed: int = 0
) -> Path:
    """Write the page to `path` and its key beside it (`listening.html` -> `listening-key.json`); returns the key's path.

    clips: one row a clip, with its sound `type`, its `system`, the `prompt` that is shown, and `audio`, (n,) float samples
    in any unit, the same n for all. Every system has one clip of every type. Two more rows of system "anchor" are
    reference sounds that are not in the test, with prompts that differ: the first is played as an example of what deserves
    100, the second, spoilt (see `spoilt`) and under the prompt of the first, as an example of what deserves 0.
    origin: of the reference sounds, as `Corpus.origin_text` says it; listeners read it.

    All clips are set to one peak, lest loudness be rated, and embedded as FLAC, lest a codec be. Files have names drawn by
    `seed`; which system made a file stands in the key alone, so keep the key from the listeners.
    Raises UserError for a clip that is missing, doubled, silent, of another length, or without a prompt.
    """
    clips = _checked(clips)
    rng = np.random.default_rng(seed)
    tested, (high, low) = clips[clips["system"] != ANCHOR], clips[clips["system"] == ANCHOR].to_dict("records")
    names = [f"{name:08x}" for name in rng.choice(2**32, len(tested), replace=False)]
    sounds = [_flac(audio, sample_rate) for audio in tested["audio"]]
    files = dict(zip(names, tested[["system", "type", "prompt"]].to_dict("records"), strict=True))
    examples = {"high": high["audio"], "low": spoilt(low["audio"], rng)}
    about = {
        "test": hashlib.blake2b("".join([*names, *sounds]).encode(), digest_size=8).hexdigest(),
        "title": title,
        "sounds": origin,
        "versions": {"page": VERSION, "lungnb": __version__},
    }
    flacs = sorted(zip(names, sounds, strict=True))  # so that their order tells nothing
    test = about | {
        "prompt": high["prompt"],
        "examples": {name: _flac(audio, sample_rate) for name, audio in examples.items()},
        "files": [{"file": name, "prompt": files[name]["prompt"], "flac": flac} for name, flac in flacs],
    }
    key = {"format": "lungnb-listening-key", **about, "files": files}
    loader = PackageLoader("lungnb", "metrics")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.get_template("listening.html").render(test=test, n_files=len(files))
    key_path = path.with_name(f"{path.stem}-key.json")
    for target, text in ((key_path, json.dumps(key, indent=1, ensure_ascii=False)), (path, page)):
        with atomic_file(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return key_path


def spoilt(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The low anchor: y = x (1 + n) with white noise n of unit variance, (n,) -> (n,).

    This is the modulated noise reference unit of ITU-T P.810 at Q = 0 dB, made to be rated "bad": the noise is as strong
    as the sound at every moment, and fills the whole band where lung sounds fill little of it.
    """
    return audio * (1 + rng.standard_normal(len(audio)))


def _checked(clips: pd.DataFrame) -> pd.DataFrame:
    """The clips with their audio as arrays, or the first thing that is wrong with them as a UserError."""
    columns = ["type", "system", "prompt", "audio"]
    if missing := [name for name in columns if name not in clips]:
        raise UserError(f"The clips have no column {missing[0]!r}; give the columns {', '.join(columns)}.")
    clips = clips[columns].assign(audio=[np.asarray(audio, dtype=float) for audio in clips["audio"]])
    anchors, tested = clips[clips["system"] == ANCHOR], clips[clips["system"] != ANCHOR]
    if len(anchors) != 2 or anchors["prompt"].nunique() != 2:
        raise UserError(
            f"A listening test needs two clips of system {ANCHOR!r} with different prompts, but there are {len(anchors)} with "
            f"{anchors['prompt'].nunique()}; add two reference sounds that are not in the test."
        )
    count = tested.groupby(["type", "system"]).size().unstack(fill_value=0).stack()
    if count.empty or (count != 1).any():
        (kind, system), n = next(iter(count[count != 1].items()), (("any type", "any system"), 0))
        raise UserError(f"{system} has {n} clips of {kind}; give exactly one clip of every sound type by every system.")
    length = len(clips["audio"].iloc[0])
    for clip in clips.itertuples():
        name = f"The clip of {clip.type} by {clip.system}"
        if not str(clip.prompt).strip():
            raise UserError(f"{name} has no prompt; give the text that it was made from.")
        if clip.audio.shape != (length,):
            raise UserError(
                f"{name} has the shape {clip.audio.shape}, another has ({length},); cut all clips to one length, lest the "
                "length tell the system."
            )
        if not clip.audio.size or not np.isfinite(clip.audio).all() or np.ptp(clip.audio) == 0:
            raise UserError(f"{name} is silent or not finite; generate or choose it again.")
    return clips


def _flac(audio: np.ndarray, sample_rate: int) -> str:
    """Base64 of a 16-bit FLAC file of the clip, without its mean and at the common peak."""
    audio = audio - audio.mean()
    file = BytesIO()
    soundfile.write(file, audio * (_PEAK / np.abs(audio).max()), sample_rate, format="FLAC", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode()


# ---- ratings


class Rating(BaseModel):
    """One file, rated by one listener. plays: how often it was heard to its end; seconds: how long it was on the screen."""

    model_config = ConfigDict(extra="forbid", strict=True)
    file: str
    OVL: float = Field(ge=0, le=100, allow_inf_nan=False)
    REL: float = Field(ge=0, le=100, allow_inf_nan=False)
    plays: int = Field(ge=0)
    seconds: float | None = Field(ge=0)


class Result(BaseModel):
    """One listener's test, as the page saves it. Times are ISO 8601."""

    model_config = ConfigDict(extra="forbid", strict=True)
    format: Literal["lungnb-listening"]
    origin: Literal["real"]
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


def read_ratings(folder: str | Path, key: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """What people said: a row a rating, of the JSON files that the page saved, one a listener, in `folder`.

    The key (`...-key.json`) of the test that they took may lie beside them; else it is `key`, of a test just written. Columns
    listener, file, system, type, OVL, REL, origin ("real"). Raises UserError, with the file's name, for what is no result,
    another test's, incomplete, out of range, or the second of one listener.
    """
    paths = sorted(Path(folder).expanduser().glob("*.json"))
    keys = [path for path in paths if path.stem.endswith("-key")]
    key, results, rows = read_key(keys[0]) if keys else key, [path for path in paths if path not in keys], []
    if not results or key is None:
        raise UserError(
            f"{folder} holds no ratings, or no key to them; collect there what the page saved, and the -key.json."
        )
    listeners: dict[str, Path] = {}
    for path in results:
        result = _checked_result(path, key)
        if result.listener in listeners:
            raise UserError(
                f"{path} is of listener {result.listener}, as {listeners[result.listener].name} is; leave one of them out."
            )
        listeners[result.listener] = path
        said = {rating.file: rating for rating in result.ratings}
        rows += [(result.listener, file, said[file].OVL, said[file].REL) for file in key["files"]]
    return _table(rows, key, "real")


def _table(rows: list[tuple], key: Mapping[str, Any], origin: str) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["listener", "file", *SCALES]).assign(origin=origin)
    known = pd.DataFrame.from_dict(key["files"], orient="index")[["system", "type"]]
    return frame.join(known, on="file")[["listener", "file", "system", "type", *SCALES, "origin"]]


def _json(path: Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON; take the file as the page saved it.") from error


def _checked_result(path: Path, key: Mapping[str, Any]) -> Result:
    content, hint = _json(path), "take the file as the page saved it"
    if not isinstance(content, dict) or content.get("format") != "lungnb-listening":
        raise UserError(f"{path} holds no ratings of a listening test; {hint}.")
    try:
        result = Result.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place, value = ".".join(map(str, first["loc"])), str(first["input"])[:40]
        raise UserError(f"{path}: {place} = {value}: {first['msg']}; {hint}.") from error
    if result.test != key["test"]:
        raise UserError(
            f"{path} is of the test {result.test}, the key of {key['test']}; take the key that belongs to it."
        )
    rated = [rating.file for rating in result.ratings]
    if lacking := [file for file in key["files"] if file not in rated]:
        raise UserError(
            f"{path} lacks the ratings of {len(lacking)} of {len(key['files'])} files, first {lacking[0]}; ask the listener to "
            "finish, or leave the file out."
        )
    if len(rated) != len(key["files"]) or sorted(result.order) != sorted(rated):
        raise UserError(f"{path} rates a file twice, or one that is not in the test; {hint}.")
    return result


def origin_text(table: pd.DataFrame) -> str:
    """`34 simulated listeners, 39 files`: for the note below what is shown of the ratings."""
    return f"{table['listener'].nunique()} {table['origin'].iloc[0]} listeners, {table['file'].nunique()} files"


def rating_rows(
    table: pd.DataFrame,
    difference: bool = False,
    over: Literal["both", "listeners"] = "both",
    n_resamples: int = N_RESAMPLES,
) -> pd.DataFrame:
    """Mean rating of each system, or with `difference` of `B − A` of each two (paired: by the same listener, of the same type),
    with a 95 % interval: row, metric, ours, low, high.

    Every listener rates every file, and every system has a file of every type. The interval is the pigeonhole bootstrap's (Owen
    2007, Annals of Applied Statistics 1(2)): listeners and types are drawn anew, each with replacement and apart from the other.
    over="listeners" keeps the types, as is often done: it asks what other listeners would say of these very files, and is too
    narrow for what is said of a system. NaN for one listener or one type.
    """
    cube = {
        (system, scale): group.pivot(index="listener", columns="type", values=scale).to_numpy()
        for system, group in table.groupby("system", sort=False)
        for scale in SCALES
    }
    if difference:
        pairs = combinations(dict.fromkeys(system for system, _ in cube), 2)
        cube = {(f"{b} − {a}", s): cube[b, s] - cube[a, s] for a, b in pairs for s in SCALES}
    n_listeners, n_types = next(iter(cube.values())).shape
    by_listener, by_type = draw(n_listeners, n_resamples), draw(n_types, n_resamples, seed=1)
    if over == "listeners":
        by_type = np.ones_like(by_type)
    shares = (by_listener / n_listeners, by_type / n_types)
    drawn = np.stack([np.einsum("bl,lt,bt->b", shares[0], x, shares[1], optimize=True) for x in cube.values()], axis=1)
    few = min(n_listeners, n_types) < 2
    low, high = np.full((2, len(cube)), np.nan) if few else np.percentile(drawn[1:], [2.5, 97.5], axis=0)
    return pd.DataFrame([*cube], columns=["row", "metric"]).assign(ours=drawn[0], low=low, high=high)


def simulated_means(key: Mapping[str, Any]) -> pd.DataFrame:
    """What simulated listeners think of each system on the average: from 60 down to 40 in the order of the key, on all SCALES."""
    systems = list(dict.fromkeys(file["system"] for file in key["files"].values()))
    return pd.DataFrame({scale: np.linspace(60, 40, len(systems)) for scale in SCALES}, index=systems)


def simulate_ratings(
    key: Mapping[str, Any], n_listeners: int = 34, seed: int = 0, means: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Ratings nobody gave, to try the analysis on: the table of `read_ratings`, of origin "simulated".

    On each scale, listener l rates the file of system s and type t 50 + bias_l + gain_l (mean_s + type_t + file_st - 50) +
    noise, rounded and cut to 0 .. 100; standard deviations are 8, 0.15 (around 1), 5, 5 and 12 points in this order. They
    are plausible, not measured. means: of each system (index) on each scale (column), such as printed ones; without, those of
    `simulated_means`, which know nothing of the sounds or of the systems' names.
    """
    rng, said = np.random.default_rng(seed), {}
    files = pd.DataFrame.from_dict(key["files"], orient="index")
    kinds, means = files["type"].unique(), simulated_means(key) if means is None else means
    for scale in SCALES:
        kind = files["type"].map(dict(zip(kinds, rng.normal(0, 5, len(kinds)), strict=True))).to_numpy()
        quality = files["system"].map(means[scale]).to_numpy() + kind + rng.normal(0, 5, len(files))
        bias, gain = rng.normal(0, 8, (n_listeners, 1)), rng.normal(1, 0.15, (n_listeners, 1))
        noise = rng.normal(0, 12, (n_listeners, len(files)))
        said[scale] = (50 + bias + gain * (quality - 50) + noise).round().clip(0, 100)
    names = np.repeat([f"simulated-{i + 1:03d}" for i in range(n_listeners)], len(files))
    columns = (names, np.tile(files.index, n_listeners), *(said[scale].ravel() for scale in SCALES))
    return _table(list(zip(*columns, strict=True)), key, "simulated")
