"""`scipy.signal` as far as an audit uses it: the design of a band-pass."""

import numpy as np

__all__ = ["butter"]


def butter(N: int, Wn, btype: str, fs: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (2 N + 1,) of numerator and denominator of a digital Butterworth band-pass of order `N`, edges `Wn` in Hz.

    Raises ValueError for edges that are not between 0 and half of `fs`, or not in order, and for another `btype`.
    """
    if btype != "bandpass":
        raise ValueError(f"the stand-in for scipy designs no {btype!r}")
    edges = np.asarray(Wn, dtype=float)
    if not (0 < edges[0] < edges[1] < fs / 2):
        raise ValueError("the edges must lie between 0 and fs/2, the lower one first")
    # The poles of the analogue low-pass, moved to the band, whose edges are warped as the bilinear transform will warp them back.
    low, high = 4 * np.tan(np.pi * edges / fs)
    poles = -np.exp(1j * np.pi * np.arange(1 - N, N, 2) / (2 * N)) * (high - low) / 2
    apart = np.sqrt(poles**2 - low * high)
    poles = np.concatenate([poles + apart, poles - apart])
    gain = (high - low) ** N * np.real(4**N / np.prod(4 - poles))
    zeros = np.repeat([1.0, -1.0], N)
    return gain * np.poly(zeros), np.real(np.poly((4 + poles) / (4 - poles)))
