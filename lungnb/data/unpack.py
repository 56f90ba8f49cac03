"""Unpack a zip or tar file so that nothing is written outside its folder and nothing half-written is left there."""

import errno
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from tqdm import tqdm

from lungnb.core import UserError

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError)


class _Member(NamedTuple):
    name: str
    kind: str  # "file", "folder" or "link or device"
    size: int  # bytes when unpacked
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, target: Path, archive_folder: str = "", parts: tuple[str, ...] = ()) -> None:
    """Unpack `archive_folder` of a zip or tar file as the folder `target`; with `parts` only these, into `target`.

    Every member is looked at before the first is written: one that would leave the folder, a link or a device is refused.
    Files go to a temporary folder beside `archive` and are renamed when all are there. The first of `parts` must exist, and
    is renamed last. Raises UserError naming the archive, the member and the mend; OSError where the disk is the trouble.
    """
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=archive.parent))
    try:
        with _members(archive) as members:
            for member in members:
                _check(archive, member)
            tree = _write(archive, members, temporary / "tree", archive_folder, parts)
        needed = tree / (parts[0] if parts else "")
        if not needed.is_dir() or not any(needed.iterdir()):
            wanted = PurePosixPath(archive_folder, *parts[:1])
            raise UserError(f"{archive} holds no files in {wanted}/: its publisher changed it; unpack it by hand.")
        for part in reversed(parts or ("",)):
            if (tree / part).exists():
                (target / part).parent.mkdir(parents=True, exist_ok=True)
                (tree / part).replace(target / part)
    except _DAMAGED as error:
        raise UserError(f"{archive} is damaged ({error}); remove it and run the same command again.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(archive: Path, members: list[_Member], tree: Path, archive_folder: str, parts: tuple[str, ...]) -> Path:
    wanted = {}
    for member in members:
        path = PurePosixPath(member.name)
        if member.kind == "file" and path.is_relative_to(archive_folder):
            inner = path.relative_to(archive_folder)
            if inner.parts and (not parts or inner.parts[0] in parts):
                wanted[inner] = member
    tree.mkdir()
    if sum(member.size for member in wanted.values()) > shutil.disk_usage(tree).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tree))
    for inner, member in tqdm(wanted.items(), desc=f"unpacking {archive.name}", leave=False):
        file = tree / inner
        file.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, file.open("wb") as handle:
            shutil.copyfileobj(source, handle)
    return tree


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield [_Member(m.filename, _zip_kind(m), m.file_size, lambda m=m: file.open(m)) for m in file.infolist()]
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as file:
            yield [_Member(m.name, _tar_kind(m), m.size, lambda m=m: file.extractfile(m)) for m in file]
    else:
        raise UserError(f"{archive} is neither a zip nor a tar file; remove it and run the same command again.")


def _zip_kind(member: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(member.external_attr >> 16)  # 0 if the archive was not made on Unix
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "link or device"
    return "folder" if member.is_dir() else "file"


def _tar_kind(member: tarfile.TarInfo) -> str:
    return "file" if member.isfile() else "folder" if member.isdir() else "link or device"


def _check(archive: Path, member: _Member) -> None:
    steps = re.split(r"[/\\]", member.name)
    outside = ".." in steps or steps[0] == "" or ":" in steps[0]
    if outside or member.kind == "link or device":
        what = "lies outside its folder" if outside else "is a link or a device"
        raise UserError(f"{archive}: member {member.name!r} {what}; nothing was unpacked, get the archive elsewhere.")
