"""Download one file: with progress, going on where it stopped, checked against its checksum."""

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from tqdm import tqdm

from lungnb.core import UserError

#: Bytes written at a time. Of a chunk that a broken connection cuts nothing is kept, so it is small.
CHUNK = 1 << 16


def download(
    name: str, urls: Sequence[str], checksum: str | None, folder: Path, say: Callable[[str], None] = print
) -> Path:
    """`folder`/`name`, from the first of `urls` that gives it, unless it is there; checked either way.

    The checksum is the SHA-256 in `<name>.sha256` if that file exists, else `checksum` (as "md5:..." or "sha256:..."). With
    neither the file is taken as it comes. Its SHA-256 is then recorded, so that a later download has to be the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, record = folder / name, folder / f"{name}.sha256"
    expected = _read_checksum(record) if record.exists() else checksum
    if not file.exists():
        _retrieve(urls, file, expected, record)
    elif not pooch.hashes.hash_matches(file, expected):
        raise UserError(
            f"{file} does not match its checksum {expected}; remove it to download it again, or, if you trust it, write "
            f"its SHA-256 to {record}."
        )
    if not record.exists():
        record.write_text(f"{pooch.file_hash(str(file))}  {name}\n")
        if expected is None:
            say(f"No checksum of {name} is published: its SHA-256 is recorded in {record} for the next download.")
    return file


def _read_checksum(record: Path) -> str:
    words = record.read_text(encoding="utf-8", errors="replace").split()
    if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
        raise UserError(f"{record}, line 1: expected a SHA-256 of 64 hexadecimal digits; correct or remove the file.")
    return f"sha256:{words[0].lower()}"


def _retrieve(urls: Sequence[str], file: Path, expected: str | None, record: Path) -> None:
    pooch.get_logger().setLevel("WARNING")
    part = file.with_name(file.name + ".part")
    failures = []
    for url in urls:
        try:
            pooch.retrieve(url, expected, file.name, file.parent, downloader=ResumingDownloader(part))
            return
        except requests.RequestException as error:
            failures.append(f"{urlsplit(url).netloc}: {_reason(error)}")
        except ValueError as error:  # pooch's, which has removed the download
            raise UserError(
                f"{url} does not match its checksum {expected} and the download was removed; run the same command again, "
                f"or, if the publisher has replaced the file, write the new SHA-256 to {record}."
            ) from error
    kept = f"{part.stat().st_size:,} bytes are kept in {part}" if part.exists() else "nothing is kept"
    raise UserError(
        f"{file.name} could not be downloaded ({'; '.join(failures)}) and {kept}; run the same command again to go on, "
        f"or download {urls[0]} yourself to {file} and then run it."
    )


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not valid"
    if isinstance(error, requests.HTTPError):
        return f"status {error.response.status_code}"
    return "no connection" if isinstance(error, requests.ConnectionError | requests.Timeout) else "broken connection"


class ResumingDownloader:
    """A downloader for pooch that keeps what it has in `part` and goes on from there with a Range request.

    pooch's own one starts over. A broken connection is tried again until `tries` attempts in a row bring nothing new; then
    requests' exception goes up and `part` stays. Refusals (status 4xx, a bad certificate) are not tried again.
    """

    def __init__(self, part: Path, tries: int = 4, wait_s: float = 1.0, timeout_s: float = 30.0):
        self.part, self.tries, self.wait_s, self.timeout_s = part, tries, wait_s, timeout_s

    def __call__(self, url: str, output_file: str, pooch_object: object) -> None:
        in_vain = 0
        while True:
            before = self._size()
            try:
                self._attempt(url)
                break
            except requests.RequestException as error:
                refused = isinstance(error, requests.HTTPError) and error.response.status_code < 500
                in_vain = 0 if self._size() > before else in_vain + 1
                if refused or isinstance(error, requests.exceptions.SSLError) or in_vain >= self.tries:
                    raise
                time.sleep(self.wait_s * in_vain)
        shutil.move(self.part, output_file)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _attempt(self, url: str) -> None:
        have = self._size()
        # Compressed on the way, the bytes would not be those that the length and the range count.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout_s) as response:
            code, where = response.status_code, response.headers.get("Content-Range", "")
            first, total = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)|.*", where).groups()
            if code == 416 and total == str(have):
                return  # the part was complete already
            if code == 416 or (code == 206 and first != str(have)):
                self.part.unlink(missing_ok=True)  # it is no beginning of this file
                raise requests.ConnectionError("the server cannot go on from here")
            response.raise_for_status()
            have = have if code == 206 else 0
            length = response.headers.get("Content-Length")
            total = None if length is None else have + int(length)
            if total and total - have > shutil.disk_usage(self.part.parent).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.part))
            bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=self.part.stem, leave=False)
            with self.part.open("ab" if have else "wb") as handle, bar:
                for chunk in response.iter_content(CHUNK):
                    handle.write(chunk)
                    bar.update(len(chunk))
        if total is not None and self._size() != total:
            raise requests.ConnectionError(f"{self._size()} of {total} bytes arrived")
