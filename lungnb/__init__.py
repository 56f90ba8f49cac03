"""lungnb: a notebook-first, reproducible companion to four papers on lung sounds.

The rooms, in the order in which data flow through them: `core` -> `data` -> `features`, `training` -> `metrics` -> `papers` ->
`classification` -> `papers.lungldm` -> `book`; `simulate` writes data sets, `published` holds numbers, `configs` sizes.
Nothing heavy is imported here: torch, pandas and librosa load when a room that needs them is entered.
"""

from lungnb.core import UserError

__version__ = "2.0.0.dev0"
__all__ = ["UserError", "__version__", "load"]


def load(name: str = "sprsound-cnn"):
    """A packaged classifier for recordings of one's own (`lungnb.book.pretrained`), which imports torch."""
    from lungnb.book.pretrained import load

    return load(name)
