"""Simulators: each data set in its official layout, with the ground truth of every sound beside it."""

from lungnb.simulate.icbhi import simulate_icbhi

__all__ = ["simulate_icbhi"]
