"""The audio bank: every recording decoded, resampled and filtered once, in one contiguous int16 array on disk.

The array is memory-mapped on the CPU and copied whole to the GPU (6,898 ICBHI cycles at 4 kHz are 150 MB). Clips are cut
from it by index, in batches (`lungnb.data.clips`), so that the training loop never opens a file.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr
from scipy.signal import butter, sosfiltfilt

from lungnb.core import UserError, atomic_folder, cache_dir
from lungnb.data.corpus import Corpus

#: Part of the cache key: raise it when the same input would give other samples.
VERSION = 1


@dataclass(frozen=True)
class AudioBank:
    """`samples`: int16, all recordings end to end; `start`, `length`: samples, by recording; `sample_rate`: Hz."""

    samples: np.ndarray
    sample_rate: int
    start: pd.Series
    length: pd.Series

    def locate(self, events: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """First sample (in `samples`) and number of samples of each event; ends past the audio are clipped to it."""
        first = (events["start_s"].to_numpy() * self.sample_rate).astype(np.int64)
        last = (events["end_s"].to_numpy() * self.sample_rate).astype(np.int64)
        held = self.length[events["recording"]].to_numpy()
        first, last = np.minimum(first, held - 1), np.minimum(last, held)
        return self.start[events["recording"]].to_numpy() + first, np.maximum(last - first, 1)


def audio_bank(
    corpus: Corpus, sample_rate: int = 4000, highpass_hz: float | None = None, peak_normalise: bool = False
) -> AudioBank:
    """The bank of `corpus`, from the cache when it has been made before with the same settings.

    highpass_hz: Butterworth of order 5, forward and backward (RespireNet, section II, asks for a 50 to 2000 Hz band-pass; at
    4 kHz its upper edge is the Nyquist frequency, so only the lower edge is a filter). peak_normalise: each recording is
    scaled to the range (-1, 1). Raises UserError for audio that cannot be decoded, is empty, or holds NaN.
    """
    recordings = corpus.events.drop_duplicates("recording")[["recording", "path"]]
    names = "\n".join(recordings["recording"])
    settings = (VERSION, corpus.fingerprint, names, sample_rate, highpass_hz, peak_normalise)
    key = hashlib.blake2b(repr(settings).encode(), digest_size=8).hexdigest()
    folder = cache_dir() / "banks" / f"{corpus.name}-{key}"
    if not folder.exists():
        with atomic_folder(folder) as temporary:
            _write(temporary, corpus.audio_root, recordings, sample_rate, highpass_hz, peak_normalise)
    index = pd.DataFrame(json.loads((folder / "index.json").read_text())).set_index("recording")
    return AudioBank(np.load(folder / "samples.npy", mmap_mode="r"), sample_rate, index["start"], index["length"])


def _write(folder, root, recordings, sample_rate, highpass_hz, peak_normalise) -> None:
    def one(path: str) -> np.ndarray:
        audio = decode(root / path, sample_rate)
        if highpass_hz:
            audio = sosfiltfilt(butter(5, highpass_hz, "highpass", fs=sample_rate, output="sos"), audio)
        peak = np.abs(audio).max()
        if peak_normalise or peak > 1:  # without normalisation only what would clip is scaled
            audio = audio / max(peak, 1e-9)
        return np.round(audio * 32767).astype(np.int16)

    # libsndfile, soxr and scipy release the interpreter lock, so threads share the cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(one, recordings["path"]))
    length = np.array([len(p) for p in parts])
    np.save(folder / "samples.npy", np.concatenate(parts))
    index = {
        "recording": list(recordings["recording"]),
        "start": (length.cumsum() - length).tolist(),
        "length": length.tolist(),
    }
    (folder / "index.json").write_text(json.dumps(index))


def decode(path: Path, sample_rate: int) -> np.ndarray:
    """Mono float32 samples of the file at `path`, resampled to `sample_rate` (Hz) with soxr's very high quality."""
    try:
        audio, native = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise UserError(f"{path} cannot be decoded ({error}); fetch the recording again.") from error
    if not len(audio):
        raise UserError(f"{path} holds no samples; fetch the recording again or remove it with its annotation.")
    audio = audio.mean(axis=1)
    if not np.isfinite(audio).all():
        at = np.flatnonzero(~np.isfinite(audio))[0] / native
        raise UserError(f"{path} holds samples that are not numbers (NaN), first at {at:.2f} s; repair or remove it.")
    return soxr.resample(audio, native, sample_rate, quality="VHQ")
