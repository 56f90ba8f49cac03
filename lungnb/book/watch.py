"""What a long build is doing: which notebook, which cell, and how long a training will still take.

A training appends one line of JSON per step to the file that `LUNGNB_PROGRESS` names:
`{"task": "stage 1", "step": 3, "steps": 10, "seconds_left": 42.0}`. The builder sets the variable and follows the file.
"""

import json
import math
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

QUIET_SECONDS = 10  # without a terminal, say something at most this often


class Watch:
    """A context in which one line tells the state of the build, renewed in place on a terminal."""

    def __init__(self, records: Path, console: Console | None = None):
        self.console = console or Console(stderr=True, highlight=False)
        self._records, self._read, self._rest = records, 0, ""
        self._tasks: dict[str, dict] = {}
        self._place, self._cell, self._started = "", "", time.monotonic()
        self._over, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._live = Live(console=self.console, auto_refresh=False, transient=True)

    def __enter__(self) -> "Watch":
        if self.console.is_terminal:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._live.stop()

    def notebook(self, number: int, total: int, name: str) -> None:
        self._place, self._cell, self._started = f"notebook {number} of {total}, {name}", "", time.monotonic()
        if not self.console.is_terminal:
            self.say(self._place)

    def cell(self, number: int, total: int) -> None:
        self._follow()
        self._tasks = {}  # a new cell: its trainings have not reported yet
        self._cell = f"cell {number} of {total}"

    def say(self, line: str) -> None:
        """A line that stays."""
        self.console.print(Text(line), soft_wrap=True)

    def line(self) -> str:
        """`notebook 1 of 4, 01_respirenet: cell 12 of 60, 1:23 so far; stage 1: step 3 of 10, 0:42 left`"""
        parts = [self._cell, f"{clock(time.monotonic() - self._started)} so far"]
        text = f"{self._place}: {', '.join(filter(None, parts))}"
        running = [task for task in list(self._tasks.values()) if task["step"] < task["steps"]]
        if running:
            last = max(running, key=lambda task: task["seconds_left"])
            text += f"; {last['task']}: step {last['step']} of {last['steps']}, {clock(last['seconds_left'])} left"
            text += f" (and {len(running) - 1} more)" if len(running) > 1 else ""
        return text

    def _run(self) -> None:
        told, when = "", time.monotonic()
        while not self._over.wait(0.25):
            self._follow()
            if self.console.is_terminal:
                self._live.update(Text(self.line(), no_wrap=True, overflow="ellipsis"), refresh=True)
            elif time.monotonic() - when >= QUIET_SECONDS and self.line() != told:
                told, when = self.line(), time.monotonic()
                self.say(told)

    def _follow(self) -> None:
        """Take up the whole lines that were appended since the last look."""
        if not self._records.exists():
            return
        with self._lock, self._records.open(encoding="utf-8", errors="replace") as handle:
            handle.seek(self._read)
            *lines, self._rest = (self._rest + handle.read()).split("\n")
            self._read = handle.tell()
        for line in lines:
            try:
                task = json.loads(line)
                record = {"task": str(task["task"]), "step": int(task["step"]), "steps": int(task["steps"])}
                left = float(task["seconds_left"])
            except (ValueError, KeyError, TypeError):
                continue  # a torn line: the next one tells as much
            if math.isfinite(left):
                self._tasks[record["task"]] = record | {"seconds_left": max(0.0, left)}


def clock(seconds: float) -> str:
    """83 -> `1:23`, 3723 -> `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
