"""lungnb: a notebook-first, reproducible companion to four papers on lung sounds.

The rooms, in the order in which data flow through them (each imports only those above it):
`data` -> `features`, `augment` -> `models` -> `training` -> `runs` -> `metrics`, `explain` -> `report`.
Nothing heavy is imported here: torch, pandas and librosa load when a room that needs them is entered.
"""

from lungnb.core import UserError

__version__ = "0.1.0"
__all__ = ["UserError", "__version__"]
