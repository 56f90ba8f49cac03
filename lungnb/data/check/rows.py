"""What every check is made of: a row that compares two numbers, and the headers of the audio files."""

from pathlib import Path

import pandas as pd
import soundfile

from lungnb.data.corpus import TOLERANCE_S

#: what, published, here, agrees
Row = tuple[str, object, object, bool]


def count(what: str, published, here) -> Row:
    """A number that must be the same."""
    return what, _plain(published), _plain(here), bool(published == here)


def rounded(what: str, published, here, decimals: int = 1) -> Row:
    """A published number of so many decimals; `here` is NA where there is nothing to measure."""
    agrees = pd.notna(here) and abs(here - published) <= 0.5 * 10**-decimals + 1e-9
    return what, _plain(published), _plain(here), bool(agrees)


def read_headers(root: Path, paths: pd.Series, last_end: pd.Series) -> tuple[list[Row], pd.DataFrame]:
    """A row for each audio file that is unreadable or ends before its last event, and the headers of all that can be read.

    `paths` (relative to `root`) and `last_end` (seconds) are indexed by recording; recordings without events have none.
    """
    bad, headers = [], []
    for recording, path in paths.items():
        try:
            info = soundfile.info(root / path)
        except soundfile.SoundFileError:
            bad.append((f"audio of {path}", "readable", "unreadable", False))
            continue
        seconds = info.frames / info.samplerate
        if (end := last_end.get(recording, 0)) > seconds + TOLERANCE_S:
            bad.append((f"audio of {path} (s)", f"at least {end:g}", round(seconds, 3), False))
        headers.append((info.samplerate, seconds, info.channels, info.subtype))
    kinds = {"rate": float, "seconds": float, "channels": float, "subtype": "string"}
    return bad, pd.DataFrame(headers, columns=list(kinds)).astype(kinds)


def _plain(number):
    """A whole number as int, for the eye; others to three decimals."""
    if pd.isna(number):
        return "-"
    return int(number) if float(number).is_integer() else round(float(number), 3)
