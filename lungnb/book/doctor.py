"""`lungnb doctor`: whether this machine can build the book, and what it has: packages, GPU, cache, data sets."""

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from joblib import cpu_count

from lungnb import __version__
from lungnb.book.report import default_out
from lungnb.core import UserError, cache_dir, git_state, repository

#: GB that must be free: what `make report` keeps in the cache, and as much again.
FREE_GB = 3
#: Whose versions belong together; the others are named only where they are not as pinned.
_SHOWN = ("torch", "torchaudio", "torchvision", "numpy", "pandas", "librosa", "papermill")


class Finding(NamedTuple):
    """One line of the report. `mend`: nothing works well until this is done, a sentence; empty where all is well."""

    what: str
    says: str
    mend: str = ""


def examine(data: Path | None = None) -> Iterator[Finding]:
    """What there is on this machine, one thing after another; `data`: a folder in which to look for data sets."""
    state, root = git_state(), repository(Path(__file__))
    commit = f", commit {state['commit'][:8]}{', changed since' if state['dirty'] else ''}" if state else ""
    yield Finding("lungnb", f"{__version__}{commit}, {root or Path(__file__).parents[1]}")
    version = sys.version_info[:2]
    mend = "" if (3, 11) <= version <= (3, 13) else "install Python 3.11, 3.12 or 3.13, for which all is tested."
    yield Finding("Python", f"{platform.python_version()}, {sys.prefix}", mend)
    yield from _packages(root)
    yield Finding("GPU", _gpu())
    yield Finding("machine", f"{platform.platform(terse=True)}, {cpu_count()} CPU cores")
    yield _cache()
    yield Finding("reports", f"{default_out()}")
    if data is not None:
        yield _data_sets(data)
    chromium = shutil.which("chromium")
    yield Finding("Chromium", chromium or "not found; only the tests that look at the site need it")


def pins(root: Path | None) -> dict[str, str]:
    """The tested version of each package, as environment.yml of the repository says; none outside of one."""
    path = root and root / "environment.yml"
    return dict(re.findall(r"^ +- ([\w.-]+)==([\w.]+)$", path.read_text(), re.M)) if path and path.is_file() else {}


def _packages(root: Path | None) -> Iterator[Finding]:
    pinned, installed = pins(root), {}
    for name in [*_SHOWN, *pinned]:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "not installed"
    for name in _SHOWN:
        says, pin = installed[name], pinned.get(name)
        # a CPU build calls itself 2.11.0+cpu
        yield Finding(name, says + (f" (tested with {pin})" if pin and says.partition("+")[0] != pin else ""))
    differ = [name for name, pin in pinned.items() if installed[name].partition("+")[0] != pin]
    lacking = [name for name in differ if installed[name] == "not installed"]
    others = ", ".join(f"{name} {installed[name]}" for name in differ if name not in lacking) or "none"
    if pinned:
        says = f"{len(pinned) - len(differ)} of {len(pinned)} as pinned; other versions: {others}"
        yield Finding("packages", says + (f"; not installed: {', '.join(lacking)}" if lacking else ""))
    series = {name: installed[name].split(".")[:2] for name in ("torch", "torchaudio")}
    if series["torch"] != series["torchaudio"]:
        mend = "install both of one version: `make` does so into .venv, from the pins."
        yield Finding("torch", "torch and torchaudio do not belong together", mend)


def _gpu() -> str:
    try:
        import torch  # heavy, and broken where its libraries are missing
    except (ImportError, OSError) as error:
        return f"torch cannot be loaded: {error}"
    if not torch.cuda.is_available():
        return "none that torch sees; all is computed on the CPU"
    found = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
    return ", ".join(f"{each.name}, {each.total_memory / 1e9:.0f} GB" for each in found)


def _cache() -> Finding:
    folder = cache_dir().absolute()
    size = sum(os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(folder) for name in names)
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free, mend = shutil.disk_usage(there).free, ""
    try:
        with tempfile.TemporaryDirectory(dir=there):
            pass
    except OSError:
        mend = "you may not write there: name another folder with LUNGNB_CACHE."
    if free < FREE_GB * 1e9:
        mend = f"free {FREE_GB} GB, or name a folder on another disk with LUNGNB_CACHE."
    return Finding("cache", f"{folder}, {size / 1e9:.1f} GB, {free / 1e9:.1f} GB free", mend)


def _data_sets(data: Path) -> Finding:
    from lungnb.data import DATASETS, data_folder  # heavy, and needed only here

    found = []
    for name in (name for name, dataset in DATASETS.items() if dataset.folder != "."):
        try:
            found.append((name, data_folder(data, name)))
        except UserError:
            continue
    says = "; ".join(f"{name} in {folder}" for name, folder in found) or f"none in {data.absolute()}"
    known = ", ".join(name for name, dataset in DATASETS.items() if dataset.folder != ".")
    mend = "" if found else f"give the folder above that of a data set; known are {known}."
    return Finding("data", says + ("; `lungnb data check NAME DIR` counts them" if found else ""), mend)
