"""`lungnb data check --html`: one page of what a folder holds, with pictures of its worst recordings, whole without a network.

`write_html` and `data_uri` also write the page of `lungnb.book.hear`.
"""

import base64
from io import BytesIO
from itertools import groupby
from pathlib import Path

import librosa
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import soundfile
from jinja2 import Environment, PackageLoader, StrictUndefined

from lungnb.book.plots import hertz
from lungnb.core import atomic_file
from lungnb.data.inspection import KINDS, Odd

#: Recordings that are drawn, at most.
PICTURES = 12


def write_page(name: str, counts: pd.DataFrame, page: Path) -> Path:
    """Write what `lungnb.data.check` returned for the data set `name` as `page`. Raises UserError where it cannot be written."""
    worst = [
        (odd, KINDS[odd.kind], *picture(counts.attrs["root"] / odd.path, odd)) for odd in choose(counts.attrs["odd"])
    ]
    rows = counts[: len(counts) - counts.attrs["stops"]].sort_values("agrees", kind="stable").to_dict("records")
    facts = {key: counts.attrs[key] for key in ("root", "report", "stops")}
    facts |= {"name": name, "rows": rows, "worst": worst, "n_odd": len(counts.attrs["odd"])}
    return write_html(page, "inspection.html.j2", facts)


def write_html(page: Path, template: str, facts: dict) -> Path:
    """Write `page`, which needs nothing else, from a template of the site. Raises UserError where it cannot be written."""
    environment = Environment(
        loader=PackageLoader("lungnb.book.site"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    with atomic_file(page) as temporary:
        temporary.write_text(environment.get_template(template).render(facts), encoding="utf-8")
    return page


def data_uri(kind: str, content: BytesIO) -> str:
    """A picture or a sound inside a page."""
    return f"data:{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def choose(odd: list[Odd], most: int = PICTURES) -> list[Odd]:
    """At most `most`: the worst of each kind, then the second of each, and so on, so that no kind crowds out another."""
    turns = [
        (turn, n, each)
        for n, (_, group) in enumerate(groupby(odd, lambda each: each.kind))
        for turn, each in enumerate(group)
    ]
    return [
        each for _, n, each in sorted(sorted(turns, key=lambda turn: turn[:2])[:most], key=lambda turn: turn[1::-1])
    ]


def picture(file: Path, odd: Odd) -> tuple[str, str]:
    """Waveform over spectrogram as `data_uri`, and "" or, of what cannot be drawn, "" and how the file begins."""
    try:
        audio, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except soundfile.SoundFileError:
        audio, rate = np.zeros((0, 1)), 1
    if not len(audio):
        return "", repr(file.read_bytes()[:60])[1:].strip("'\"")
    seconds, audio = len(audio) / rate, np.nan_to_num(audio, nan=0, posinf=1, neginf=-1)
    with plt.style.context(Path(__file__).with_name("style.mplstyle")):
        figure, (wave, tones) = plt.subplots(2, 1, figsize=(5.6, 3.4), sharex=True)
        at = np.linspace(0, len(audio), min(len(audio), 1200), endpoint=False).astype(int)
        for channel in audio.T[:2]:  # highest and lowest sample of each step, so that no peak is missed
            low, high = (function.reduceat(channel, at) for function in (np.minimum, np.maximum))
            wave.fill_between(at / rate, low, high, step="post", linewidth=0.5, alpha=0.7)
        wave.set(ylim=(-1.05, 1.05), ylabel="full scale = 1")
        tone = np.pad(audio[:, 0], (0, max(0, 512 - len(audio))))
        power = np.abs(librosa.stft(tone, n_fft=512, hop_length=max(64, len(tone) // 1000)))
        hertz(tones, librosa.amplitude_to_db(power, ref=100.0, top_db=None), seconds, f_max=rate / 2).set_clim(-100, 0)
        if np.isfinite(odd.at_s):
            for axes in (wave, tones):
                axes.axvline(min(odd.at_s, seconds), color="C3", linewidth=1.2)
        content = BytesIO()
        figure.savefig(content, format="png")
        plt.close(figure)
    return data_uri("image/png", content), ""
