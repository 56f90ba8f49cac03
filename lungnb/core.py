"""What every room stands on: the one error a user reads, the cache folder, atomic writes, provenance."""

import errno
import os
import platform
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import platformdirs


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
                "free some space or set LUNGNB_CACHE (or --out) to a folder with room, then run the same command again."
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
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            yield temporary
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


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
    """The commit of the code that runs and whether it was changed since; None outside a git checkout."""
    root = repository(Path(__file__))
    if root is None:
        return None

    def ask(*what: str) -> str:
        command = ["git", "-C", str(root), *what]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
