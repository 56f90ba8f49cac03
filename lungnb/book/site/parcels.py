"""What the browser's Python is made of: archives fetched once, checked and kept, and wheels packed of what is installed.

    fetched("pyodide")          an npm package or a wheel of FETCHED, from the cache or by npm or pip
    pack(folder, "ipython")     an installed distribution of pure Python, as a wheel

All versions that the page needs beyond those of environment.yml stand in FETCHED, with their hashes.
"""

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from lungnb.core import atomic_file, cache_dir


class Missing(RuntimeError):
    """The page cannot be built here; the message is the end of a sentence that says why."""


class Parcel(NamedTuple):
    """One archive: what its tool calls it, the file that arrives, and its hash as the registry states it."""

    tool: str
    name: str
    file: str
    digest: str


#: Pyodide 0.27 is the last whose binary interface both other builds were made for: numpy of npm and pandas of PyPI.
FETCHED = {
    "pyodide": Parcel(
        "npm",
        "pyodide@0.27.7",
        "pyodide-0.27.7.tgz",
        "sha512-RUSVJlhQdfWfgO9hVHCiXoG+nVZQRS5D9FzgpLJ/VcgGBLSAKoPL8kTiOikxbHQm1kRISeWUBdulEgO26qpSRA==",
    ),
    "numpy": Parcel(
        "npm",
        "@emscripten-forge/numpy@2.0.1-py312h4e66579-0",
        "emscripten-forge-numpy-2.0.1-py312h4e66579-0.tgz",
        "sha512-64iP3tolNhBnKJBHs2b5Mg9s17BL8Bp9Ev2+U0fSCO3/zQlWQRCrExw2MgmfwjhNz+mwbKPG2eBsBcpBWV2xbA==",
    ),
    "pandas": Parcel(
        "pip",
        "pandas==3.1.1",
        "pandas-3.1.1-cp312-cp312-pyemscripten_2024_0_wasm32.whl",
        "sha256-ZwVXW2V1DkSUtPkyju2MsmO0uAmYTU7rj0kqPoBLDFM=",
    ),
    "ipython": Parcel(
        "pip",
        "ipython==9.10.0",
        "ipython-9.10.0-py3-none-any.whl",
        "sha256-xqtozCO7qMfhjpuTJ5cBTMYep/1vGd4YCrm6c+Ze5Y0=",
    ),
    "micropip": Parcel(
        "pip",
        "micropip==0.9.0",
        "micropip-0.9.0-py3-none-any.whl",
        "sha256-urz2jBhJ4imqiHVkvF8t5QJzwyEuc8mv+OPm6A8raiM=",
    ),
}
#: What pip has to be told to fetch for the browser's Python and not for its own.
_PLATFORM = ["--platform", "pyemscripten_2024_0_wasm32", "--python-version", "3.12", "--implementation", "cp"]
#: Seconds until a registry that does not answer counts as missing.
_PATIENCE = 300


def fetched(name: str) -> Path:
    """The archive `name` of FETCHED, in the cache. Raises Missing where it cannot be had, or is not what was pinned."""
    parcel = FETCHED[name]
    kept = cache_dir() / "lite" / parcel.file
    if kept.is_file() and _digest(kept, parcel.digest) == parcel.digest:
        return kept
    with tempfile.TemporaryDirectory() as folder:
        _run(_command(parcel, Path(folder)), parcel)
        arrived = Path(folder) / parcel.file
        if not arrived.is_file() or _digest(arrived, parcel.digest) != parcel.digest:
            raise Missing(f"{parcel.tool} brought another {parcel.name} than the pinned one")
        with atomic_file(kept) as temporary:
            temporary.write_bytes(arrived.read_bytes())
    return kept


def _command(parcel: Parcel, folder: Path) -> list[str]:
    if parcel.tool == "npm":
        return ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), parcel.name]
    pins = folder / "pins.txt"
    pins.write_text(f"{parcel.name} --hash=sha256:{base64.b64decode(parcel.digest.partition('-')[2]).hex()}\n")
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    return [*pip, *_PLATFORM, "-d", str(folder), "-r", str(pins)]


def _run(command: list[str], parcel: Parcel) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    except FileNotFoundError as error:
        raise Missing(f"{parcel.tool} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise Missing(f"{parcel.tool} did not get an answer about {parcel.name}") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise Missing(
            f"{parcel.tool} could not fetch {parcel.name} ({said[-1].strip() if said else 'it said nothing'})"
        )


def _digest(file: Path, like: str) -> str:
    kind = like.partition("-")[0]
    return f"{kind}-{base64.b64encode(hashlib.new(kind, file.read_bytes()).digest()).decode()}"


# ---- wheels


def write_wheel(folder: Path, name: str, version: str, files: dict[str, bytes], tag: str = "py3-none-any") -> Path:
    """A wheel of `files` (path in site-packages -> content), of one time stamp, so that the same files make the same wheel."""
    path = folder / f"{name.replace('-', '_')}-{version}-{tag}.whl"
    about = f"{name.replace('-', '_')}-{version}.dist-info"
    files = files | {f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(file, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return path


def pack(folder: Path, name: str, without: tuple[str, ...] = ()) -> Path:
    """The installed distribution `name` as a wheel: its Python and its data, without what was compiled for this machine.

    without: how paths begin that are left out. Raises Missing where it is not installed.
    """
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise Missing(f"{name} is not installed") from error
    own = [f for f in found.files or [] if f.parts[0] != ".." and not f.parts[0].endswith(".dist-info")]
    own = [f for f in own if "__pycache__" not in f.parts and f.suffix not in (".so", ".pyd", ".dylib")]
    files = {f.as_posix(): f.locate().read_bytes() for f in own if not f.as_posix().startswith(without)}
    return write_wheel(folder, name, found.version, files)


#: This build of numpy asks, before it reuses the memory of a large intermediate result, who called it, by a function `backtrace`
#: that the browser lacks: without one every sum of large arrays would end Python. Here it is, as a WebAssembly library of one
#: function (two numbers in, one out) that returns 0 callers. Then numpy does not reuse, and no result is another.
_BACKTRACE = bytes.fromhex(
    "0061736d 01000000"  # WebAssembly, version 1
    "000f 08 64796c696e6b2e30 0104 00000000"  # dylink.0: a library that needs neither memory nor a table
    "0107 01 60 027f7f 017f"  # the type: two 32-bit integers to one
    "0302 01 00"  # one function of that type
    "070d 01 09 6261636b7472616365 0000"  # exported as "backtrace"
    "0a06 01 04 00 4100 0b"  # its body: return 0
)
#: numpy imports a module of this name, if there is one, before all else; it is meant for who packs it.
_LOAD_BACKTRACE = b"""import ctypes
from pathlib import Path

ctypes.CDLL(str(Path(__file__).with_name("backtrace.so")), mode=ctypes.RTLD_GLOBAL)
"""


def pack_numpy(folder: Path) -> Path:
    """numpy as a wheel without its tests, of the package that npm holds: an archive in an archive."""
    place = "lib/python3.12/site-packages/"
    with tarfile.open(fetched("numpy")) as outer:
        (inner,) = (member for member in outer.getmembers() if member.name.endswith(".tar.gz"))
        with tarfile.open(fileobj=outer.extractfile(inner)) as archive:
            members = [m for m in archive.getmembers() if m.isfile() and m.name.startswith(place)]
            files = {m.name.removeprefix(place): archive.extractfile(m).read() for m in members}
    files |= {"numpy/backtrace.so": _BACKTRACE, "numpy/_distributor_init_local.py": _LOAD_BACKTRACE}
    return _pack_built(folder, "numpy", files)


def pack_pandas(folder: Path) -> Path:
    """pandas as a wheel without its tests, that takes the numpy of this page.

    It asks for numpy 2.0.2, and no newer one than 2.0.1 is built for this Pyodide. The two differ in mended faults alone, so the
    least version that it asks for is lowered by one, and nothing else of it is changed.
    """
    with zipfile.ZipFile(fetched("pandas")) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    asks, asked = "pandas/compat/numpy/__init__.py", b'_min_numpy_ver = "2.0.2"'
    if files[asks].count(asked) != 1:
        raise Missing("pandas asks for numpy in another way than the pinned one did")
    files[asks] = files[asks].replace(asked, b'_min_numpy_ver = "2.0.1"')
    return _pack_built(folder, "pandas", files)


def _pack_built(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A wheel of what was built for the browser, under its own version."""
    (about,) = {file.partition("/")[0] for file in files if ".dist-info/" in file}
    kept = {f: content for f, content in files.items() if not {about, "tests", "__pycache__"} & set(f.split("/"))}
    version = about.removesuffix(".dist-info").rpartition("-")[2]
    return write_wheel(folder, name, version, kept, "cp312-cp312-pyemscripten_2024_0_wasm32")
