"""`scipy.fft` as far as the simulators use it."""

from numpy.fft import irfft, rfft, rfftfreq

__all__ = ["irfft", "next_fast_len", "rfft", "rfftfreq"]


def next_fast_len(target: int, real: bool = False) -> int:
    """The smallest length from `target` on whose prime factors are at most 5, or 11 where the transform is complex."""
    primes = (2, 3, 5) if real else (2, 3, 5, 7, 11)
    size = max(target, 1)
    while not _is_made_of(size, primes):
        size += 1
    return size


def _is_made_of(size: int, primes: tuple[int, ...]) -> bool:
    for prime in primes:
        while size % prime == 0:
            size //= prime
    return size == 1
