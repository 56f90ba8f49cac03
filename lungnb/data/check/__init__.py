"""Count a data set on disk against the published counts, and show every difference.

    check("icbhi", "data")    reads data/icbhi; one row a count: what, published, here, agrees

The published counts are those of `lungnb.published` (artefact `data`): of the paper, of the official lists and of the annotation
files. Annotations are counted whether or not their audio is here; the audio is counted apart, from the files' headers.
"""

from pathlib import Path

import pandas as pd

from lungnb.core import UserError
from lungnb.data.check.icbhi import check_icbhi
from lungnb.data.check.sprsound import check_sprsound
from lungnb.data.load import data_folder

#: By data set. A data set joins with its reader.
_CHECKS = {"icbhi": check_icbhi, "sprsound": check_sprsound}


def check(name: str, folder: Path | str) -> pd.DataFrame:
    """The counts of data set `name` in `folder`/`name`: columns what, published, here, agrees.

    A rounded published number agrees with one that rounds to it. Raises UserError for an unknown data set, a missing folder
    and files that cannot be read as annotations or lists; audio that cannot be read is a row of the answer.
    """
    if name not in _CHECKS:
        raise UserError(f"No published counts of a data set {name!r}; known are {', '.join(_CHECKS)}.")
    columns = zip(*_CHECKS[name](data_folder(folder, name)), strict=True)
    kinds = {
        "what": "string",
        "published": object,
        "here": object,
        "agrees": bool,
    }  # objects: counts stay whole numbers
    return pd.DataFrame({c: pd.Series(v, dtype=k) for (c, k), v in zip(kinds.items(), columns, strict=True)})
