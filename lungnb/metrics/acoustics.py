"""What can be measured of a sound without a classifier: clicks, tones, and how low its energy lies.

Each function takes waveforms (N, T) and their sample rate in Hz and gives one number a clip (N,). A crackle is a row of
clicks, so its samples have heavy tails; a wheeze or a rhonchus is a tone that stands out of the spectrum for a while; a cough
has a body below 500 Hz. Of silence all three are NaN.
"""

import numpy as np
from scipy.ndimage import median_filter
from scipy.signal import butter, sosfiltfilt, stft
from scipy.stats import kurtosis as _kurtosis

#: Band in which clicks are looked for, Hz: below lies the heart, above hardly any lung sound.
CLICKS_HZ = (100.0, 2000.0)
#: Band in which tones are looked for, Hz.
TONES_HZ = (100.0, 1500.0)
#: A frame sounds if it is at most so much fainter than the loudest of its clip, dB.
ACTIVE_DB = 30.0
#: A frame has a tone if its highest bin stands so much above the median of the bins around it, dB.
PROMINENCE_DB = 18.0
_FRAME_S, _AROUND_HZ = 0.064, 400.0


def kurtosis(waveforms: np.ndarray, sample_rate: int) -> np.ndarray:
    """Excess kurtosis of the samples between 100 and 2000 Hz: 0 of steady noise, tens of clicks."""
    sos = butter(4, CLICKS_HZ, "bandpass", fs=sample_rate, output="sos")
    with np.errstate(invalid="ignore"):
        return _kurtosis(sosfiltfilt(sos, np.asarray(waveforms, dtype=np.float64), axis=1), axis=1)


def tonal_share(waveforms: np.ndarray, sample_rate: int) -> np.ndarray:
    """Share of the frames that sound (64 ms, half overlapping) in which a tone stands out by PROMINENCE_DB."""
    frequency, level = _levels(waveforms, sample_rate)
    inside = (frequency >= TONES_HZ[0]) & (frequency <= TONES_HZ[1])
    around = median_filter(level, (1, round(_AROUND_HZ / frequency[1]), 1), mode="nearest")
    prominent = ((level - around)[:, inside] >= PROMINENCE_DB).any(axis=1)
    loudness = level[:, inside].max(axis=1)
    active = loudness >= loudness.max(axis=1, keepdims=True) - ACTIVE_DB
    silent = np.abs(waveforms).max(axis=1) == 0
    return np.where(silent, np.nan, (prominent & active).sum(1) / active.sum(1).clip(1))


def energy_below(waveforms: np.ndarray, sample_rate: int, hertz: float = 500.0) -> np.ndarray:
    """Share of the energy that lies below `hertz`."""
    power = np.square(np.abs(np.fft.rfft(np.asarray(waveforms, dtype=np.float64), axis=1)))
    power[:, 0] = 0  # a constant is no sound
    low = np.fft.rfftfreq(np.shape(waveforms)[1], 1 / sample_rate) < hertz
    with np.errstate(invalid="ignore"):
        return power[:, low].sum(axis=1) / power.sum(axis=1)


def _levels(waveforms: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (F,) in Hz and levels (N, F, frames) in dB, -200 at least."""
    n = round(_FRAME_S * sample_rate)
    frequency, _, spectrum = stft(np.asarray(waveforms, dtype=np.float64), sample_rate, nperseg=n, boundary=None)
    return frequency, 20 * np.log10(np.abs(spectrum).clip(min=1e-10))
