"""One door to every data set: a folder of real recordings, or simulated ones written on first use."""

import importlib
from collections.abc import Callable
from pathlib import Path

from lungnb.core import UserError, cache_dir, code_version
from lungnb.data.corpus import Corpus

_READERS = {
    "icbhi": "lungnb.data.icbhi:read_icbhi",
    "sprsound": "lungnb.data.sprsound:read_sprsound",
    "multisite": "lungnb.data.multisite:read_multisite",
}
_SIMULATORS = {
    "icbhi": "lungnb.simulate.icbhi:simulate_icbhi",
    "sprsound": "lungnb.simulate.sprsound:simulate_sprsound",
    "multisite": "lungnb.simulate.multisite:simulate_multisite",
    "prompted": "lungnb.simulate.prompted:simulate_prompted",
}


def load_corpus(name: str, data: str | Path = "simulated", n_patients: int = 40) -> Corpus:
    """The corpus called `name` from `data`: a folder that holds `name`/, or "simulated" (`n_patients` are then simulated).

    Raises UserError if the data set is unknown or the folder does not exist.
    """
    if name not in _READERS:
        raise UserError(f"There is no data set {name!r}; known are {', '.join(_READERS)}.")
    folder = simulated(name, n_patients) if str(data) == "simulated" else data_folder(data, name)
    return _import(_READERS[name])(folder)


def data_folder(data: str | Path, name: str) -> Path:
    """`data`/`name`, checked. Raises UserError if either folder does not exist."""
    root = Path(data).expanduser()
    if not root.is_dir():
        raise UserError(f"The data folder {root} does not exist; give one that holds {name}/, or data='simulated'.")
    if not (root / name).is_dir():
        found = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())) or "nothing"
        how = f"get it with `lungnb data fetch {name} {root}`"
        if name == "multisite":  # the clinics' recordings are private
            how = "lay your own cohorts out as lungnb/data/multisite.py says"
        raise UserError(f"{root} holds no {name}/ (found: {found}); {how}.")
    return root / name


def simulator(name: str) -> Callable[..., None]:
    """What writes a simulated data set `name`: simulator(folder, n_patients=, seed=)."""
    if name not in _SIMULATORS:
        raise UserError(f"There is no simulator of {name!r}; known are {', '.join(_SIMULATORS)}.")
    return _import(_SIMULATORS[name])


def simulated(name: str, n_patients: int) -> Path:
    """The folder of the simulated data set `name`, written into the cache on first use."""
    simulate = simulator(name)
    folder = cache_dir() / "simulated" / f"{n_patients}-patients-{code_version(simulate.__module__)}" / name
    if not folder.exists():
        simulate(folder, n_patients=n_patients, seed=0)
    return folder


def _import(address: str):
    module, name = address.split(":")
    return getattr(importlib.import_module(module), name)
