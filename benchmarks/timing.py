"""How long a call takes, for all benchmarks alike."""

import time
from collections.abc import Callable


def fastest(function: Callable[[], object], times: int = 3) -> float:
    """The least seconds of several calls: what else the machine does only adds to it."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
