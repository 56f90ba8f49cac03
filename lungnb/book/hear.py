"""Recordings of one's own, heard by a packaged classifier: one page with pictures and players, and a table of all events.

OUT/index.html    needs nothing else, neither network nor files: a spectrogram a recording, its events and what is said of them
OUT/events.csv    one row an event, with everything `lungnb.book.pretrained.Pretrained.predict` says
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import soundfile
import torch
from matplotlib import colormaps
from matplotlib.image import imsave

from lungnb.book.inspection_page import data_uri, write_html
from lungnb.book.pretrained import RATE, UNLIKE, Pretrained, load
from lungnb.core import UserError, atomic_file
from lungnb.data.audio import decode
from lungnb.data.folders import READABLE, UNREADABLE, contents, key_of, left_by_system, one_of, walk
from lungnb.data.inspection import look_into
from lungnb.data.marks import SUFFIXES, find_marks, read_marks
from lungnb.data.tables import UNREADABLE_TEXT

#: Where nothing is marked, a recording is cut into equal windows of about this length: the median of the events that the network
#: was trained on, most of them a breath in or out, for a longer one is no sound that it knows.
WINDOW_S = 1.2
#: The shortest event of the training, and the longest recording that a page can show (s).
SHORTEST_S, LONGEST_S = 0.12, 900
#: Recordings with a picture and a player on the page; of more it would weigh too much for a browser.
MOST = 60
#: Of the picture: range below the loudest part (dB), and ticks.
_RANGE_DB, _TICKS_HZ = 70, (100, 250, 500, 1000, 2000, 3000)


def hear(
    source: Path, out: Path, marks: Path | None = None, explain: bool = False, tell: Callable[[str], None] = print
) -> Path:
    """Hear the recording, or all in the folder, `source`, and write OUT/index.html and OUT/events.csv; the page.

    marks: the folder in which marks of events are searched (`lungnb.data.marks`), else the recordings' own. explain: also what
    each event's class rests on. tell: is given a line for each recording. What cannot be heard in a folder is listed on the page.
    Raises UserError for a single such file, for a folder without recordings and for one of which nothing can be heard.
    """
    there = [path for path in walk(source) if not left_by_system(path)] if source.is_dir() else [source]
    unread = [path for path in there if path.suffix.lower() in UNREADABLE] if source.is_dir() else []
    sounds = [path for path in there if path.suffix.lower() in READABLE] if source.is_dir() else there  # copies as well
    if not sounds:
        why = f"; {len(unread)} are {UNREADABLE_TEXT}" if unread else ""
        raise UserError(f"{source} holds no recording in {', '.join(READABLE)}{why}; it holds {contents(source)}.")
    marked = find_marks(marks, None) if marks else {}
    if marks and not marked:
        raise UserError(f"{marks} holds no marks ({', '.join(SUFFIXES)}); it holds {contents(marks)}.")
    found = {folder: marked or find_marks(folder) for folder in {path.parent for path in sounds}}
    classifier, recordings, tables = load(), [], []
    refused = [f"{path} is {UNREADABLE_TEXT}." for path in unread]
    for path in sounds:
        try:
            own = found[path.parent].get(key_of(path.stem))
            audio, events, recording = _hear_one(classifier, path, one_of(own) if own else None)
        except UserError as error:
            if not source.is_dir():
                raise
            refused.append(str(error))
            tell(f"! {error}")
            continue
        name = path.relative_to(source).as_posix() if source.is_dir() else path.name
        tables.append(events.drop(columns=["where", "path"]).assign(recording=name))
        if len(recordings) < MOST:
            recordings.append({"name": name} | recording | _shown(classifier, audio, events, explain))
        tell(f"{name}: {_summary(events)}")
    if not tables:
        raise UserError(refused[0])
    table = pd.concat(tables, ignore_index=True)
    with atomic_file(out / "events.csv") as path:
        table[["recording", *table.columns.drop("recording")]].round(5).to_csv(path, index=False)
    bar = _png(np.linspace(0, 1, 64)[None], "magma")
    facts = {
        "title": source.resolve().name,
        "recordings": recordings,
        "refused": refused,
        "n_more": len(tables) - len(recordings),
    }
    facts |= {"bar": bar, "range_db": _RANGE_DB, "classes": classifier.classes, "explain": explain, "unlike": UNLIKE}
    facts |= {"n_unlike": int((table["unusual"] >= UNLIKE).sum()), "n_events": len(table), "window_s": WINDOW_S}
    return write_html(out / "index.html", "hear.html.j2", facts)


def _hear_one(classifier: Pretrained, path: Path, marks: Path | None) -> tuple[np.ndarray, pd.DataFrame, dict]:
    """The sound (T,) at 8 kHz, its events with what is said of them, and what the page says of the recording."""
    if not path.is_file():
        raise UserError(f"{path} is not there; name a recording, or a folder of recordings.")
    audio = decode(path, RATE)
    seconds, native = len(audio) / RATE, soundfile.info(path).samplerate
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise UserError(
            f"{path} lasts {seconds:.3g} s; the network hears events from {SHORTEST_S} s on, and this page recordings up to "
            f"{LONGEST_S // 60} minutes: cut a longer one into pieces."
        )
    audio = audio / max(1.0, np.abs(audio).max())
    events = windows(seconds, path) if marks is None else read_marks(marks, path)
    odd = look_into(path.parent, [path.name], events if marks else None)
    notes = [f"{f'This is a recording {one.kind} {one.how}'.rstrip()}." for one in odd]
    if native < RATE:
        notes.append(
            f"It was recorded at {native:,} Hz, so nothing above {native // 2:,} Hz is in it; the training sounds had 8,000 Hz."
        )
    if marks is not None and events.empty:
        notes.append(f"{marks.name} marks no event.")
    ends = zip((events["start_s"] * RATE).astype(int), (events["end_s"] * RATE).astype(int), strict=True)
    cuts = [audio[start:end] for start, end in ends]
    events = events.join(classifier.predict(cuts)) if cuts else events.assign(predicted="", unusual=0.0)
    return audio, events, {"seconds": seconds, "notes": notes, "marks": marks.name if marks else ""}


def windows(seconds: float, path: Path) -> pd.DataFrame:
    """Equal windows of about WINDOW_S over a recording, as `read_marks` gives events."""
    edges = np.linspace(0, seconds, max(1, round(seconds / WINDOW_S)) + 1)
    events = pd.DataFrame({"where": str(path), "start_s": edges[:-1], "end_s": edges[1:]})
    return events.assign(mark="", path=path.name)


def _summary(events: pd.DataFrame) -> str:
    like = events[events["unusual"] < UNLIKE]
    said = [f"{name} {n}" for name, n in like["predicted"].value_counts().items()]
    said += [f"unlike the training data {len(events) - len(like)}"] if len(like) < len(events) else []
    return ", ".join(said) or "no event"


def _shown(classifier: Pretrained, audio: np.ndarray, events: pd.DataFrame, explain: bool) -> dict:
    """Picture, sound and events of a recording, as the page shows them."""
    sound, seconds = torch.from_numpy(audio), len(audio) / RATE
    with torch.no_grad():
        power = classifier.front.power(sound[None])[0].mT
    n_rows = len(power) // 2
    power = torch.nn.functional.adaptive_avg_pool1d(power[None, :n_rows], min(power.shape[1], 2000))[0]
    db = (10 * power.clamp(min=1e-10).log10()).numpy()
    loud = max(np.quantile(db, 0.998), _RANGE_DB - 100)  # a knock is not the scale, and silence (-100 dB) stays black
    centre = librosa.mel_frequencies(n_rows + 2, fmin=0, fmax=RATE / 2)[1:-1]
    heard = BytesIO()
    soundfile.write(heard, 0.9 * audio / max(np.abs(audio).max(), 1e-4), RATE, format="FLAC")
    rows = events.assign(
        left=100 * events["start_s"] / seconds, width=100 * (events["end_s"] - events["start_s"]) / seconds
    ).to_dict("records")
    for row in rows if explain else ():
        row |= {"map": "", "drop": 0.0}
        if row["unusual"] < UNLIKE:
            drop = classifier.explain(audio[int(row["start_s"] * RATE) : int(row["end_s"] * RATE)], row["predicted"])
            row["drop"] = float(drop.max())
            strength = (drop / max(drop.max(), 0.02)).clip(0, 1)[..., None]  # less than 2 points are nothing to show
            row["map"] = _png(np.concatenate([np.broadcast_to((0.2, 1.0, 0.8), (*drop.shape, 3)), strength], axis=2))
    step = next(step for step in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120) if seconds / step <= 10)
    return {
        "picture": _png((db - loud) / _RANGE_DB + 1, "magma"),
        "sound": data_uri("audio/flac", heard),
        "rows": rows,
        "ticks_hz": [(hz, 100 * (np.interp(hz, centre, np.arange(n_rows)) + 0.5) / n_rows) for hz in _TICKS_HZ],
        "ticks_s": [(f"{s:g}", 100 * s / seconds) for s in np.arange(0, seconds, step)],
    }


def _png(picture: np.ndarray, colours: str = "") -> str:
    """A picture, lowest row first: values (H, W) in 0..1 in these colours, or (H, W, 4)."""
    file = BytesIO()
    rgba = colormaps[colours](picture.clip(0, 1)) if colours else picture
    imsave(file, np.ascontiguousarray(rgba), origin="lower", format="png")
    return data_uri("image/png", file)
