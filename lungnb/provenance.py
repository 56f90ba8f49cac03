"""What a result was made with: the repository around it, package versions, the git commit."""

import platform
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any


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
