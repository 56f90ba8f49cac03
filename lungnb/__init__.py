"""lungnb: a notebook-first, reproducible companion to four papers on lung sounds.

The rooms, in the order in which data flow through them: `core` -> `data` -> `features` -> `training`, `metrics` -> `papers` ->
`classification` -> `book`; `simulate` writes data sets, `published` holds numbers, `configs` sizes of experiments.
Nothing heavy is imported here: torch, pandas and librosa load when a room that needs them is entered.
"""

from lungnb.core import UserError

__version__ = "2.0.0.dev0"
__all__ = ["UserError", "__version__"]
