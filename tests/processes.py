"""Processes forked from a test, so that nothing is imported twice; none outlives it."""

import multiprocessing
import os
import socket
import time
from collections.abc import Callable

import torch
from accelerate.state import AcceleratorState


def forked(work: Callable[[int], None], n: int = 1, seconds: float = 200) -> list[int | None]:
    """Run `work(rank)` in `n` processes with one thread each, which know of each other as under torchrun; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def begin(rank: int) -> None:
        torch.set_num_threads(1)  # the threads of the parent are not there after a fork
        if n > 1:
            ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n}
            os.environ |= {k: str(v) for k, v in (ranks | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}).items()}
        AcceleratorState._reset_state(reset_partial_state=True)
        work(rank)

    processes = [multiprocessing.get_context("fork").Process(target=begin, args=(rank,)) for rank in range(n)]
    until = time.monotonic() + seconds
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(max(0, until - time.monotonic()))
        return [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
