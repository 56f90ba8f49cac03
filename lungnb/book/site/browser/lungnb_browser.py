"""What the lesson in the browser has beside lungnb: predictions without parquet, charts and pictures without matplotlib."""

import base64
import html
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import HTML, display

# Files are locked by their names alone in a browser, which nobody shares.
warnings.filterwarnings("ignore", "only soft file lock is available")

_RECORDED = Path(__file__).with_name("recorded")
#: Colours of a chart that are told apart by those who see no red or no green (Okabe and Ito).
_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]


def predictions(name: str) -> pd.DataFrame:
    """The predictions of a recorded experiment that were packed for this page, with `predicted`, the most probable class."""
    with np.load(_RECORDED / name / "predictions.npz") as columns:
        frame = pd.DataFrame({column: columns[column] for column in columns.files})
    from lungnb.metrics import probability_columns  # here: lungnb loads the locks that are warned of above

    p = probability_columns(frame)
    frame[p] = frame[p].astype(float)
    return frame.assign(predicted=frame[p].to_numpy().argmax(1))


def by_seed(frame: pd.DataFrame, row: str, *parts: str) -> list[pd.DataFrame]:
    """The tables of one row, one a training seed; of these parts of the split, else of all tested."""
    here = frame[(frame["row"] == row) & (frame["split"].isin(parts) if parts else frame["split"] != "validation")]
    return [table.reset_index(drop=True) for _, table in here.groupby("seed")]


def kept_scores(name: str) -> pd.DataFrame:
    """The scores that were kept when the experiment was recorded."""
    return pd.read_csv(_RECORDED / name / "scores.csv")


def intervals(lines: list[dict], title: str) -> None:
    """Show a dot with its interval for each of `lines`, which have row, ours, low and high, and may have a series."""
    lines = [{"series": "", **line} for line in lines]
    rows, names = (list(dict.fromkeys(line[key] for line in lines)) for key in ("row", "series"))
    # No value here is None: it would not arrive, and the chart would be drawn by its defaults.
    # Names stand above their lines, so that the chart is no wider than a phone.
    names_above = {"labelAlign": "left", "labelPadding": -4, "labelOffset": -13, "ticks": False, "labelLimit": 290}
    y = {"field": "row", "type": "nominal", "sort": rows, "title": "", "axis": names_above}
    colour = {"field": "series", "type": "nominal", "sort": names, "scale": {"range": _COLOURS}}
    colour |= {"legend": {"orient": "top", "direction": "vertical", "title": ""}}
    shared = {"y": y} | ({"yOffset": {"field": "series", "sort": names}, "color": colour} if len(names) > 1 else {})
    low = {"field": "low", "type": "quantitative", "title": title, "scale": {"zero": False}}
    rule = {"mark": "rule", "encoding": shared | {"x": low, "x2": {"field": "high"}}}
    dot = {"mark": {"type": "point", "filled": True, "size": 60}}
    dot |= {"encoding": shared | {"x": {"field": "ours", "type": "quantitative"}}}
    chart = {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "data": {"values": lines}, "width": 290}
    chart |= {
        "height": 44 * len(rows) + 12 * (len(names) - 1),
        "layer": [rule, dot],
        "config": {"mark": {"color": _COLOURS[0]}},
    }
    said = "; ".join(f"{line['row']} {line['ours']:.3f} [{line['low']:.3f}, {line['high']:.3f}]" for line in lines)
    display({"application/vnd.vegalite.v5+json": chart, "text/plain": said}, raw=True)


def spectrogram(wave: np.ndarray, sample_rate: int, caption: str, top_hz: float = 2000.0) -> HTML:
    """The spectrogram of `wave` as a picture: seconds to the right, up to `top_hz` upwards, 60 dB from black to white."""
    size, step = 256, 32
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::step] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, 4 * size, axis=1)).T[: int(top_hz / sample_rate * 4 * size)] ** 2
    db = 10 * np.log10(power / power.max() + 1e-12)
    png = _png((np.clip(1 + db / 60, 0, 1) * 255).astype(np.uint8)[::-1])
    words = html.escape(f"{caption} {len(wave) / sample_rate:.1f} s from left to right, 0 to {top_hz:.0f} Hz upwards.")
    picture = f'<img alt="{words}" src="data:image/png;base64,{base64.b64encode(png).decode()}" '
    style = "width:100%;max-width:720px;height:200px;image-rendering:pixelated"
    return HTML(f'<figure style="margin:0">{picture}style="{style}"><figcaption>{words}</figcaption></figure>')


def _png(grey: np.ndarray) -> bytes:
    """A picture (rows, columns) of bytes as a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.pad(grey, ((0, 0), (1, 0)))  # before each row stands how it is filtered: not at all
    head = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
