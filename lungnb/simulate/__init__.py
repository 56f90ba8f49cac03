"""Simulators: each data set in its official layout and, beside it, the ground truth of every sound.

One module a layout (`icbhi`, `sprsound`, `multisite`, `prompted`): first a plan of who is recorded, where, and what each
breath holds, then the recordings, made of the sources of `chest` and `voice`; `auscultation` gives a patient an identity and
lays the sounds of one recording over one another. Here is what all of them share: boxes, noise, devices, folders.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import soundfile
from scipy import fft

from lungnb.core import UserError, atomic_folder, disk_errors
from lungnb.data.corpus import SIMULATED_MARKER

#: Columns of <folder>_truth/events.csv: one row an adventitious sound; times in seconds of the recording.
TRUTH = ["recording", "kind", "start_s", "end_s", "low_hz", "high_hz"]


class Box(NamedTuple):
    """Where a sound is: seconds, and the hertz between which the middle 90 % of its energy lies."""

    start_s: float
    end_s: float
    low_hz: float
    high_hz: float
    kind: str


class Sound(NamedTuple):
    """A waveform (n,) over its span, its boxes, and the band (centre and width, Hz) in which it competes with the breath."""

    wave: np.ndarray
    boxes: list[Box]
    hz: float = np.nan
    width_hz: float = np.nan


def moved(boxes: Iterable[Box], by_s: float, end_s: float) -> list[Box]:
    """`boxes`, `by_s` later; those that would begin after `end_s` are dropped, and none ends after it."""
    later = [b._replace(start_s=b.start_s + by_s, end_s=min(b.end_s + by_s, end_s)) for b in boxes]
    return [b for b in later if b.start_s < end_s]


# ---- signals -----------------------------------------------------------------------------------------------------------


def mix(signal: np.ndarray, wave: np.ndarray, start_s: float, sr: int) -> None:
    """Add `wave` to `signal` in place from `start_s` on; what would run past the end is dropped."""
    first = round(start_s * sr)
    wave = wave[: len(signal) - first]
    signal[first : first + len(wave)] += wave


def noise(rng: np.random.Generator, n: int, psd: Callable[[np.ndarray], np.ndarray], sr: int) -> np.ndarray:
    """`n` samples of Gaussian noise whose one-sided power density at `hz` is `psd(hz)`, per Hz."""
    size = fft.next_fast_len(n, real=True)
    # E|X_k|^2 = psd * size * sr / 2, half of it in the real and half in the imaginary part.
    amplitude = np.sqrt(psd(fft.rfftfreq(size, 1 / sr)) * size * sr / 4).astype(np.float32)
    real, imaginary = rng.standard_normal((2, size // 2 + 1), dtype=np.float32)
    return fft.irfft((real + 1j * imaginary) * amplitude, size)[:n]


def hump(hz: np.ndarray, centre_hz: float, octaves: float) -> np.ndarray:
    """A bell over the logarithm of frequency, 1 at `centre_hz` and 1/e at `octaves` from it."""
    return np.exp(-((np.log2(np.maximum(hz, 1) / centre_hz) / octaves) ** 2))


def band(waves: np.ndarray, sr: int) -> np.ndarray:
    """(k, 2): for each row of `waves` (k, n) the frequencies, Hz, below which 5 % and 95 % of its energy lie."""
    size = max(2048, fft.next_fast_len(waves.shape[1], real=True))
    energy = np.cumsum(np.abs(fft.rfft(waves, size, axis=1)) ** 2, axis=1)
    share = energy / energy[:, -1:]
    return np.stack([(share < q).sum(axis=1) for q in (0.05, 0.95)], axis=1) * sr / size


@dataclass(frozen=True)
class Device:
    """A stethoscope or microphone. `low_hz`, `high_hz`: -3 dB band, falling by 6 * `order` dB/octave above it.

    `peak_hz`, `peak_db`: a resonance one octave wide. `noise_db`: level of its own noise below 4 kHz, in dB against the vesicular
    sound. `blank`: nothing at all passes above 1.45 kHz (RespireNet, section III: blank regions).
    """

    low_hz: float
    high_hz: float
    order: int
    peak_hz: float
    peak_db: float
    noise_db: float
    blank: bool = False

    def response(self, hz: np.ndarray) -> np.ndarray:
        """Gain at `hz`."""
        hz = np.maximum(hz, 1.0)
        band = 1 / np.sqrt((1 + (self.low_hz / hz) ** 4) * (1 + (hz / self.high_hz) ** (2 * self.order)))
        return band * 10 ** (self.peak_db / 20 * hump(hz, self.peak_hz, 0.5)) * self._passed(hz)

    def noise_psd(self, hz: np.ndarray) -> np.ndarray:
        """Power density of the noise floor, per Hz, in units of the sources: white, rising below 100 Hz."""
        white = 10 ** (self.noise_db / 10) / 4000
        return white * (1 + (100 / np.maximum(hz, 20)) ** 4) * self._passed(hz) ** 2

    def _passed(self, hz: np.ndarray) -> np.ndarray:
        return np.clip((1450 - hz) / 250, 0, 1) ** 2 if self.blank else np.ones_like(hz)

    def record(self, rng, signal: np.ndarray, sr: int, colour: Callable = np.ones_like) -> np.ndarray:
        """`signal` (n,) as the device records it: filtered, with its noise floor, all of it times `colour(hz)`."""
        size = fft.next_fast_len(len(signal), real=True)
        hz = fft.rfftfreq(size, 1 / sr)
        filtered = fft.irfft(fft.rfft(signal, size) * (self.response(hz) * colour(hz)).astype(np.float32), size)
        return filtered[: len(signal)] + noise(rng, len(signal), lambda hz: self.noise_psd(hz) * colour(hz) ** 2, sr)


# ---- folders and files -------------------------------------------------------------------------------------------------


@contextmanager
def simulated_folder(
    folder: Path, simulator: str, n_patients: int, seed: int, least: int, otherwise: str
) -> Iterator[tuple[Path, Path]]:
    """Yield where to write the data and the truth; they become `folder` and `<folder>_truth` if the block ends well.

    The data get the marker that tells them from real ones. Raises UserError if one of the two folders holds something, or
    if there are fewer than `least` patients, with whom `otherwise` would be the case.
    """
    if n_patients < least:
        raise UserError(
            f"n_patients={n_patients} is too few to simulate: with fewer than {least} patients {otherwise}; give {least} or more."
        )
    truth_folder = folder.with_name(folder.name + "_truth")
    for path in (folder, truth_folder):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path} exists and is not empty; remove it or name another folder for the simulated data.")
    # The inner folder is renamed first: who finds the data finds the truth too.
    with atomic_folder(folder) as data, atomic_folder(truth_folder) as truth:
        yield data, truth
        marker = {"simulator": simulator, "seed": seed, "n_patients": n_patients}
        write_text(data / SIMULATED_MARKER, json.dumps(marker, indent=2) + "\n")


def side_by_side(record: Callable, seed: int, *columns: Iterable) -> list:
    """What `record(rng, *row)` returns for every row of `columns`; no row's generator depends on what others draw."""
    generators = (np.random.default_rng([seed, 2, k]) for k in count())
    with ThreadPoolExecutor() as pool:
        return list(pool.map(record, generators, *columns))


def write_recordings(names: Iterable[str], record: Callable, truth: Path, seed: int) -> None:
    """Call `record(rng, name)` for every recording and write the boxes it returns to `truth`."""
    found = zip(names, side_by_side(record, seed, names), strict=True)
    rows = [(name, b.kind, *b[:4]) for name, boxes in found for b in sorted(boxes, key=lambda b: b.start_s)]
    pd.DataFrame(rows, columns=TRUTH).to_csv(truth, index=False, float_format="%.4f", lineterminator="\n")


def write_sound(path: Path, signal: np.ndarray, sr: int, subtype: str = "PCM_16") -> None:
    """Write `signal` (n,), full scale 1; through memory, since libsndfile waits for the disk after every file.

    Raises UserError if there is no room.
    """
    file = io.BytesIO()
    soundfile.write(file, signal, sr, subtype=subtype, format=path.suffix[1:])
    with disk_errors(path):
        path.write_bytes(file.getbuffer())


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8 with the line ends it has, on every system."""
    path.write_bytes(text.encode())
