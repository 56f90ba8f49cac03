"""Where derived files live, and how they are written so that a half-written one is never read."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import platformdirs

from lungnb.errors import UserError


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
