"""The listening test of LungLDM (section 4.B) as one HTML page that works offline, and the key that stays with the examiner.

Each system has one clip of each sound type (in the paper 3 x 13 = 39 files). A listener hears them blind and in an order of
their own and rates overall quality (OVL) and relevance to the text (REL) from 0 to 100. The page saves the ratings as a JSON
file; `lungnb.metrics.ratings` reads it. The ground truth is among the rated files and so serves as the hidden reference.
"""

import base64
import hashlib
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from jinja2 import Environment, PackageLoader

from lungnb import __version__
from lungnb.core import UserError, atomic_file

#: Of the page, its key and the ratings it saves.
VERSION = 1
#: The `system` of the two clips that are played as examples before the test.
ANCHOR = "anchor"
_PEAK = 0.5  # of full scale, as AudioLDM scales its clips (fact sheet, section 3.1)


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
    test = {
        "test": hashlib.blake2b("".join([*names, *sounds]).encode(), digest_size=8).hexdigest(),
        "title": title,
        "sounds": origin,
        "versions": {"page": VERSION, "lungnb": __version__},
        "prompt": high["prompt"],
        "examples": {name: _flac(audio, sample_rate) for name, audio in examples.items()},
        "files": sorted(
            ({"file": n, "prompt": files[n]["prompt"], "flac": s} for n, s in zip(names, sounds, strict=True)),
            key=lambda file: file["file"],  # so that their order tells nothing
        ),
    }
    key = {
        "format": "lungnb-listening-key",
        **{k: test[k] for k in ("test", "title", "sounds", "versions")},
        "files": files,
    }
    environment = Environment(loader=PackageLoader("lungnb"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
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
