"""Drawings that several cells need; what a notebook draws once stays in the notebook."""

from collections.abc import Sequence
from itertools import pairwise

import librosa
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

_TICKS_HZ = (100, 250, 500, 1000, 1500, 2000)


def spectrogram(axes: Axes, levels: np.ndarray, seconds: float, title: str = "") -> None:
    """Grey levels (n_mels, frames), row 0 = highest frequency, in magma over `seconds`."""
    from lungnb.metrics.localisation import mel_centers  # brings torch, which dots do not need

    axes.imshow(levels, aspect="auto", cmap="magma", vmin=0, vmax=255, extent=(0, seconds, len(levels) - 0.5, -0.5))
    rows = np.arange(len(levels))[::-1]
    axes.set_yticks(np.interp(_TICKS_HZ, mel_centers(len(levels)), rows), [str(hz) for hz in _TICKS_HZ])
    axes.set(xlabel="time (s)", ylabel="frequency (Hz)", title=title)
    axes.grid(False)


def mel(axes: Axes, db: np.ndarray, seconds: float, title: str = "", f_max: float = 4000) -> None:
    """Log-mel spectrogram (n_mels, frames) in dB, row 0 = lowest frequency, bands from 0 to `f_max` Hz on the Slaney scale."""
    axes.imshow(db, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, -0.5, len(db) - 0.5))
    centre = librosa.mel_frequencies(len(db) + 2, fmin=0, fmax=f_max)[1:-1]
    hertz = [hz for hz in (100, 250, 500, 1000, 2000, 3000) if hz < f_max]
    axes.set_yticks(np.interp(hertz, centre, np.arange(len(db))), [str(hz) for hz in hertz])
    axes.set(xlabel="time (s)", ylabel="frequency (Hz)", title=title)
    axes.grid(False)
    axes.label_outer()


def hertz(axes: Axes, picture: np.ndarray, seconds: float, title: str = "", f_max: float = 150 * 22050 / 2048):
    """A picture (rows, frames), row 0 = lowest frequency, over a linear axis of 0 to `f_max` Hz; returns what is drawn."""
    axes.set(title=title)
    axes.grid(False)
    drawn = axes.imshow(picture, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, f_max))
    axes.set(xlabel="time (s)", ylabel="frequency (Hz)")
    axes.label_outer()
    return drawn


def outline(axes: Axes, boxes: pd.DataFrame, start_s: float, n_mels: int = 64) -> None:
    """Draw the true place of simulated sounds (columns start_s, end_s, low_hz, high_hz) over a spectrogram from `start_s`."""
    from lungnb.metrics.localisation import mel_centers

    centre = mel_centers(n_mels)
    for box in boxes.itertuples():
        low, high = (n_mels - 1 - np.interp(hz, centre, np.arange(n_mels)) for hz in (box.low_hz, box.high_hz))
        width = max(box.end_s - box.start_s, 0.032)
        axes.add_patch(
            Rectangle((box.start_s - start_s, high), width, low - high, fill=False, edgecolor="white", linewidth=0.8)
        )


def dots(axes: Axes, table: pd.DataFrame, rows: Sequence[str], xlabel: str = "") -> None:
    """One line a row, from above, and on it a dot with its interval for each series.

    table: row, series, value, and as known low, high. Published numbers are hollow diamonds.
    """
    series = list(dict.fromkeys(table["series"]))
    shift = dict(zip(series, np.linspace(-0.25, 0.25, len(series)) if len(series) > 1 else [0.0], strict=True))
    for k, name in enumerate(series):
        own = table[table["series"] == name].set_index("row").reindex(rows)
        y, colour = (
            np.arange(len(rows)) + shift[name],
            "black" if name == "published" else f"C{k - ('published' in series)}",
        )
        style = {"marker": "D", "markerfacecolor": "white"} if name == "published" else {"marker": "o"}
        if "low" in own:
            axes.hlines(y, own["low"].astype(float), own["high"].astype(float), color=colour, linewidth=1.6, alpha=0.7)
        axes.plot(own["value"].astype(float), y, linestyle="", color=colour, label=name, **style)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)


def forest(axes: Axes, table: pd.DataFrame, xlabel: str = "", colour: str = "C0") -> None:
    """Differences with their intervals, one line a row from above, and a line at 0.

    table: row, ours, low, high, sure, and perhaps learnt. What is not sure is hollow; a cross is what has not learnt.
    """
    y = np.arange(len(table))
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.hlines(y, table["low"].astype(float), table["high"].astype(float), color=colour, linewidth=1.6, alpha=0.7)
    sure, learnt = (table.get(name, pd.Series(True, table.index)).to_numpy(bool) for name in ("sure", "learnt"))
    kinds = ((sure & learnt, "o", colour), (~sure & learnt, "o", "white"), (~learnt, "x", colour))
    for here, marker, face in kinds:
        style = {"marker": marker, "linestyle": "", "color": colour, "markerfacecolor": face}
        axes.plot(table["ours"].to_numpy(float)[here], y[here], **style)
    axes.set_yticks(y, list(table["row"]))
    axes.set(ylim=(len(table) - 0.5, -0.5), xlabel=xlabel)


def pipeline(figure: Figure, stages: Sequence[tuple[str, str]], per_row: int = 4) -> None:
    """Boxes with a heading and a few lines each, joined by arrows, row by row."""
    axes = figure.add_subplot()
    rows = -(-len(stages) // per_row)
    axes.set(xlim=(-0.02, per_row), ylim=(-rows, 0.02))
    axes.axis("off")
    for k, (heading, text) in enumerate(stages):
        x, y = k % per_row, -(k // per_row) - 0.9
        axes.add_patch(
            FancyBboxPatch((x + 0.04, y), 0.8, 0.76, boxstyle="round,pad=0.03", facecolor="0.96", edgecolor="C0")
        )
        axes.text(x + 0.44, y + 0.62, heading, ha="center", va="center", fontweight="bold")
        axes.text(x + 0.44, y + 0.29, text, ha="center", va="center", fontsize=8)
        if k % per_row < per_row - 1 and k < len(stages) - 1:
            axes.annotate(
                "", (x + 1.01, y + 0.38), (x + 0.87, y + 0.38), arrowprops={"arrowstyle": "->", "color": "C0"}
            )
        elif k < len(stages) - 1:  # on to the next row, through the gap between the two
            axes.plot([x + 0.44, x + 0.44, 0.44], [y - 0.03, y - 0.085, y - 0.085], color="C0", linewidth=1)
            axes.annotate("", (0.44, y - 0.2), (0.44, y - 0.08), arrowprops={"arrowstyle": "->", "color": "C0"})


def chain(panels: Sequence[Axes]) -> None:
    """Panels of a constrained layout, without ticks or grid: an arrow from each to the next."""
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
    panels[0].figure.get_layout_engine().set(wspace=0.12)
    for axes, after in pairwise(panels):
        ends = {"xycoords": after.transAxes, "textcoords": axes.transAxes}
        axes.annotate("", (0, 0.5), (1, 0.5), arrowprops={"arrowstyle": "->", "color": "C0"}, **ends)


def segments(axes: Axes, names: Sequence[str], seconds: Sequence[float]) -> None:
    """Over a spectrogram: a dashed line where one segment ends, and the name of each, if there is room for it."""
    ends = np.cumsum(seconds)
    axes.vlines(ends[:-1], -0.5, 63.5, color="white", linestyle="--", linewidth=0.8)
    for name, end, length in zip(names, ends, seconds, strict=True):
        if length > 0.09 * len(name):
            axes.text(end - length / 2, 5, name, color="white", ha="center", va="center", fontsize=8)
