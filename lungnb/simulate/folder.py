"""The folder of a simulated data set and, beside it, that of the truth: both are written, or neither."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lungnb.core import UserError, atomic_folder
from lungnb.data.corpus import SIMULATED_MARKER


@contextmanager
def simulated_folder(
    folder: Path, simulator: str, version: int, n_patients: int, seed: int
) -> Iterator[tuple[Path, Path]]:
    """Yield where to write the data and the truth; they become `folder` and `<folder>_truth` if the block ends well.

    The data get the marker that tells them from real ones. Raises UserError if one of the two folders holds something.
    """
    truth_folder = folder.with_name(folder.name + "_truth")
    for path in (folder, truth_folder):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path} exists and is not empty; remove it or name another folder for the simulated data.")
    # The inner folder is renamed first: who finds the data finds the truth too.
    with atomic_folder(folder) as data, atomic_folder(truth_folder) as truth:
        yield data, truth
        about = {"simulator": simulator, "version": version, "seed": seed, "n_patients": n_patients}
        (data / SIMULATED_MARKER).write_bytes((json.dumps(about, indent=2) + "\n").encode())
