"""What every room stands on: the one error a user reads, the cache of arrays, atomic writes, provenance."""

import ast
import errno
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import platformdirs
from filelock import FileLock

_PACKAGE = Path(__file__).parent
#: Packages whose versions may change a number: the distribution, by the name it is imported by.
_NUMERICAL = {name: name for name in ("accelerate", "diffusers", "librosa", "numpy", "scipy", "soundfile", "soxr")}
_NUMERICAL |= {name: name for name in ("torch", "torchaudio", "torchvision", "transformers")} | {
    "sklearn": "scikit-learn"
}
#: Calls that only tell something, such as `logger.info(...)`.
_TELLS = ("print", "debug", "info", "warning", "warn", "error", "exception", "critical")


class UserError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence that names the file (and line), what is wrong there, and the mend. The command line
    prints it without a traceback.
    """


def cache_dir() -> Path:
    """The cache folder: `LUNGNB_CACHE` if it is set, else the platform's user cache."""
    return Path(os.environ.get("LUNGNB_CACHE") or platformdirs.user_cache_path("lungnb"))


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one sentence that names `target`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EEXIST):
            raise UserError(
                f"{target} could not be written ({os.strerror(error.errno)}); what was finished before is kept: "
                "free some space, or name a folder that you may write to (LUNGNB_CACHE for the cache), then run the same "
                "command again."
            ) from error
        raise


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that becomes `target` only if the block ends without an error.

    If another process finished `target` meanwhile, its result is kept: both hold the same content by construction.
    """
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            yield temporary
            try:
                temporary.rename(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` that replaces `target` only if the block ends without an error."""
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            yield temporary
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def cached_arrays(place: str, key: Any, code: Sequence[str], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The arrays that `compute` makes, from the cache if they were made before; memory-mapped, changes stay in memory.

    place: where in the cache, as "features/icbhi". key: all that decides the arrays but the code, in plain values and arrays
    (as JSON holds them). code: the modules that compute them (see `code_version`). Processes that ask at the same time
    compute once; one that is killed leaves nothing half.
    """
    import numpy as np  # here: importing lungnb stays light

    content = json.dumps([key, code_version(*code)], sort_keys=True, default=lambda array: array.tolist())
    folder = cache_dir() / f"{place}-{hashlib.blake2b(content.encode(), digest_size=8).hexdigest()}"
    if not folder.exists():
        with disk_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder.with_name(f".{folder.name}.lock")).acquire()
        with lock:
            if not folder.exists():
                arrays = compute()
                with atomic_folder(folder) as temporary:
                    for name, array in arrays.items():
                        np.save(temporary / f"{name}.npy", array, allow_pickle=False)
    return {file.stem: np.load(file, mmap_mode="c") for file in folder.glob("*.npy")}


@functools.cache
def code_version(*modules: str) -> str:
    """A hash of the code of `modules` and of all they import from lungnb, and of the versions of the packages they compute with.

    Blind to layout, comments, docstrings and the words of errors and log messages. What is imported by its name in a string
    (readers and simulators) does not count: files that a simulator writes are in the fingerprint of a corpus, and what a reader
    makes of them belongs into the key of whoever keeps it. Read once a process.
    """
    code: dict[str, str] = {}
    versions: dict[str, str] = {}
    left = list(modules)
    while left:
        package = (name := left.pop()).partition(".")[0]
        if package in _NUMERICAL:  # without "+cpu": the device is no part of a key, either
            versions[package] = metadata.version(_NUMERICAL[package]).partition("+")[0]
        if package == "lungnb" and name not in code and (found := _code_of(name)):
            code[name], imported = found
            left += imported
    return hashlib.blake2b(json.dumps([code, versions], sort_keys=True).encode(), digest_size=5).hexdigest()


@functools.cache
def _code_of(name: str) -> tuple[str, list[str]] | None:
    """The code of a module of lungnb without its words, and all that it imports; None if there is no such module."""
    path = _PACKAGE.joinpath(*name.split(".")[1:])
    source = next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)
    if path == _PACKAGE or source is None:
        return None
    tree = ast.parse(source.read_text())
    imported = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
    return ast.unparse(_WithoutWords().visit(tree)), imported


class _WithoutWords(ast.NodeTransformer):
    """Drops what only people read: docstrings, the words of what is raised, what is printed or logged."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        value = node.value
        is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
        tells = isinstance(value, ast.Call) and (ast.unparse(value.func).rpartition(".")[2] in _TELLS)
        return None if is_text or tells else node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)


def repository(start: Path) -> Path | None:
    """The folder at or above `start` that holds the pyproject.toml of lungnb."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / "pyproject.toml").is_file():
            project = tomllib.loads((folder / "pyproject.toml").read_text()).get("project", {})
            if project.get("name") == "lungnb":
                return folder
    return None


def package_versions() -> dict[str, str]:
    """Versions of Python, lungnb and the packages it depends on."""
    names = [re.match(r"[\w.-]+", line)[0] for line in metadata.requires("lungnb") or () if "extra ==" not in line]
    versions = {"python": platform.python_version()}
    for name in ["lungnb", *names]:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def git_state() -> dict[str, Any] | None:
    """The commit of the code that runs and whether it was changed since; None outside a git checkout.

    Reports are no code: an experiment that is being recorded writes into them."""
    root = repository(Path(__file__))
    if root is None:
        return None

    def ask(*what: str) -> str:
        command = ["git", "-C", str(root), *what]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        return {
            "commit": ask("rev-parse", "HEAD"),
            "dirty": bool(ask("status", "--porcelain", "--", ".", ":(exclude)reports")),
        }
    except (OSError, subprocess.SubprocessError):
        return None
