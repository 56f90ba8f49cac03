"""Runs: a configuration with a cached result. One module a paper; `base` holds what they share."""

from lungnb.runs.base import Run, run_all

__all__ = ["Run", "run_all"]
