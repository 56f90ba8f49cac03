"""The corpora that prompts can be made for: one reader each, all to one table of clips.

data/
  coughvid/ coswara/ ukcovid/ icbhi/ sprsound/ kauh/ covid19_cough/     in their official layouts
  <any other name>/manifest.csv                                         `lungnb.data.prompted.manifest`
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from lungnb.core import UserError
from lungnb.data.load import data_folder, simulated
from lungnb.data.prompted.coswara import read_coswara
from lungnb.data.prompted.coughvid import read_coughvid
from lungnb.data.prompted.covid19_cough import read_covid19_cough
from lungnb.data.prompted.kauh import read_kauh
from lungnb.data.prompted.lungs import read_icbhi_clips, read_sprsound_clips
from lungnb.data.prompted.manifest import read_manifest
from lungnb.data.prompted.table import Clips, join
from lungnb.data.prompted.ukcovid import read_ukcovid

READERS: dict[str, Callable[[Path], Clips]] = {
    "coughvid": read_coughvid,
    "coswara": read_coswara,
    "ukcovid": read_ukcovid,
    "icbhi": read_icbhi_clips,
    "sprsound": read_sprsound_clips,
    "kauh": read_kauh,
    "covid19_cough": read_covid19_cough,
}


def load_clips(data: Path | str = "simulated", n_patients: int = 60) -> Clips:
    """All clips in the folder `data`, or "simulated" ones of `n_patients`. Raises UserError as `read_clips` does."""
    return read_clips(simulated("prompted", n_patients) if str(data) == "simulated" else data)


def read_clips(data: Path | str, names: Sequence[str] | None = None) -> Clips:
    """The clips of the corpora `names` in the folder `data`, joined; None takes every corpus that stands there.

    A folder with a manifest.csv is read by it, whatever its name. Raises UserError for a name that is neither a known corpus
    nor a folder with a manifest, for a folder with no corpus at all, and as the readers and `join` do.
    """
    root = Path(data).expanduser()
    if names is None:
        folders = sorted(path for path in root.glob("*/"))
        names = [path.name for path in folders if path.name in READERS or (path / "manifest.csv").exists()]
        if not names:
            raise UserError(
                f"{root} holds no corpus of clips; known are {', '.join(READERS)}, and any with a manifest.csv."
            )
    return join([_read(data_folder(root, name)) for name in names])


def _read(folder: Path) -> Clips:
    if (folder / "manifest.csv").exists():
        return read_manifest(folder)
    if folder.name not in READERS:
        raise UserError(f"{folder} holds no manifest.csv, and no reader is called {folder.name!r}; write the manifest.")
    return READERS[folder.name](folder)
