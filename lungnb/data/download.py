"""Download a data set from where its authors publish it, into the layout that its reader expects.

    fetch("icbhi", "data")    ->  data/icbhi/audio_and_txt_files/*.wav, *.txt and the side files
    fetch("sprsound", "data") ->  data/sprsound/BioCAS2022/...

Downloads go on where they stopped (`<file>.part`), and a second call fetches only what is missing. Downloaded files stay in
`downloads/` of the data set, each with its checksum in `<file>.sha256`, in the form of `sha256sum`.

Addresses are asked in turn, mirrors first, and the next goes on with what the last one gave. Certificates are always
verified: a host whose own is not valid is passed by.

Checksums. Where one is known (`Source.checksum`) the file must match it, else the next address is asked. For the others their
publishers state none, and none is invented here: the SHA-256 of the first download is recorded and every later one must match
it, and what was unpacked is counted against the published counts. Whoever has a trusted checksum writes it to `<file>.sha256`
before the download; it goes before all others.
"""

import errno
import os
import re
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pooch
import requests
from tqdm import tqdm

from lungnb.core import UserError, disk_errors
from lungnb.data import DATASETS, Source, check
from lungnb.data.corpus import SIMULATED_MARKER

#: Bytes written at a time. Of a chunk that a broken connection cuts nothing is kept, so it is small.
CHUNK = 1 << 16
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError)


def fetch(name: str, folder: Path | str, say: Callable[[str], None] = print, dry_run: bool = False) -> Path:
    """Download data set `name` into `folder`/`name`, and return that folder. What is there already is kept.

    dry_run: only say what would be downloaded, from where, how large; that needs no network.

    Raises UserError, in one sentence that says what was kept and how to go on: an unknown name, no network, a broken or
    refused download, a full disk, a wrong checksum, an archive that is damaged or would write outside its folder.
    """
    known = [each for each, dataset in DATASETS.items() if dataset.sources]
    if name not in known:
        raise UserError(f"No known address of a data set {name!r}; known are {', '.join(known)}.")
    root = Path(folder).expanduser() / name
    if (root / SIMULATED_MARKER).exists():
        raise UserError(f"{root} holds simulated recordings; fetch the real ones into another folder.")
    for source in DATASETS[name].sources:
        if dry_run:
            say(plan(source, root))
            continue
        if (root / source.proof).exists():
            say(f"{root / source.proof} is there already.")
            continue
        with disk_errors(root):
            downloads = root / "downloads"
            file = download(source.name, source.urls, source.checksum, downloads, say)
            if source.archive_folder:
                unpack(file, root / source.target, source.archive_folder, source.parts)
            else:
                half = downloads / (source.target + ".half")
                shutil.copyfile(file, half)
                half.replace(root / source.target)
        say(f"{root / source.proof} is complete.")
        if not source.checksum:
            counts = check(name, folder)
            say(f"{counts['agrees'].sum()} of {len(counts)} counts agree; `lungnb data check {name}` lists them.")
    return root


def plan(source: Source, root: Path) -> str:
    """What would be downloaded of a source, from where, how large, and how it would be verified."""
    size = f"about {source.size / 1e9:.1f} GB" if source.size > 1e6 else f"{source.size:,} bytes"
    part = root / "downloads" / f"{source.name}.part"
    state = f", {part.stat().st_size:,} bytes are here" if part.exists() else ""
    if (root / source.proof).exists() or part.with_suffix("").exists():
        state = ", is there already"
    return "\n".join(
        [
            f"{source.name} -> {root / source.proof} ({size if source.size else 'size not stated'}{state})",
            *(f"  {'or ' if n else ''}from {url}" for n, url in enumerate(source.urls)),
            f"  verified by {source.checksum or 'the published counts: no checksum of it is published'}",
        ]
    )


def unpack(archive: Path, target: Path, archive_folder: str = "", parts: tuple[str, ...] = ()) -> None:
    """Unpack `archive_folder` of a zip or tar file as the folder `target`; with `parts` only these, into `target`.

    An archive with a member that would leave the folder, a link or a device is refused whole. Files go to a temporary folder
    beside `archive` and are renamed when all are there. The first of `parts` must exist, and is renamed last. Raises UserError
    naming the archive, the member and what to do; OSError where the disk is the trouble.
    """
    wanted = [PurePosixPath(archive_folder, part) for part in parts or ("",)]
    with TemporaryDirectory(prefix=".unpacking-", dir=archive.parent) as temporary:
        tree = Path(temporary, "tree")
        try:
            _extract(archive, tree, wanted)
        except _DAMAGED as error:
            raise UserError(f"{archive} is damaged ({error}); remove it and run the same command again.") from error
        if not (tree / wanted[0]).is_dir() or not any((tree / wanted[0]).iterdir()):
            raise UserError(f"{archive} holds no files in {wanted[0]}/: its publisher changed it; unpack it by hand.")
        for part, source in reversed(list(zip(parts or ("",), wanted, strict=True))):
            if (tree / source).exists():
                (target / part).parent.mkdir(parents=True, exist_ok=True)
                (tree / source).replace(target / part)


def _extract(archive: Path, tree: Path, roots: list[PurePosixPath]) -> None:
    """What of the archive lies at or below `roots`, into the new folder `tree`. The standard library keeps it inside, too."""
    if zipfile.is_zipfile(archive):
        opened, safe = zipfile.ZipFile(archive), {}
        # The type is 0 if the archive was not made on Unix.
        kinds = {m: stat.S_IFMT(m.external_attr >> 16) for m in opened.infolist()}
        members = [(m, m.filename, m.file_size, kinds[m] in (0, stat.S_IFREG, stat.S_IFDIR)) for m in kinds]
    elif tarfile.is_tarfile(archive):
        opened, safe = tarfile.open(archive), {"filter": "data"}  # noqa: SIM115
        members = [(m, m.name, m.size, m.isfile() or m.isdir()) for m in opened]
    else:
        raise UserError(f"{archive} is neither a zip nor a tar file; remove it and run the same command again.")
    with opened:
        for _, name, _, plain in members:
            steps = re.split(r"[/\\]", name)
            outside = ".." in steps or steps[0] == "" or ":" in steps[0]
            if outside or not plain:
                what = "lies outside its folder" if outside else "is a link or a device"
                raise UserError(f"{archive}: member {name!r} {what}; nothing was unpacked, get the archive elsewhere.")
        members = [m for m in members if any(PurePosixPath(m[1]).is_relative_to(root) for root in roots)]
        tree.mkdir()
        _need_room(tree, sum(size for _, _, size, _ in members))
        opened.extractall(tree, [member for member, *_ in members], **safe)


def _need_room(folder: Path, n_bytes: int) -> None:
    """Say that the disk is full before anything is written to it."""
    if n_bytes > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def download(
    name: str, urls: Sequence[str], checksum: str | None, folder: Path, say: Callable[[str], None] = print
) -> Path:
    """`folder`/`name`, from the first of `urls` that gives it, unless it is there; checked either way.

    The checksum is the SHA-256 in `<name>.sha256` if that file exists, else `checksum` (as "md5:..." or "sha256:..."). With
    neither the file is taken as it comes. Its SHA-256 is then recorded, so that a later download has to be the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, record = folder / name, folder / f"{name}.sha256"
    expected = checksum
    if record.exists():
        words = record.read_text(encoding="utf-8", errors="replace").split()
        if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
            raise UserError(
                f"{record}, line 1: expected a SHA-256 of 64 hexadecimal digits; correct or remove the file."
            )
        expected = f"sha256:{words[0].lower()}"
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


def _retrieve(urls: Sequence[str], file: Path, expected: str | None, record: Path) -> None:
    pooch.get_logger().setLevel("WARNING")
    part, failures, others = file.with_name(file.name + ".part"), [], 0
    for url in urls:
        try:
            pooch.retrieve(url, expected, file.name, file.parent, downloader=ResumingDownloader(part))
            if expected is None and file.suffix == ".zip" and not zipfile.is_zipfile(file):
                file.unlink()  # a page that says what went wrong; as a recorded checksum it would stand in the way
                raise requests.ConnectionError(f"{url} is no zip file")
            return
        except requests.RequestException as error:
            status = f"status {error.response.status_code}" if isinstance(error, requests.HTTPError) else None
            certificate = isinstance(error, requests.exceptions.SSLError)
            reason = status or ("its certificate is not valid" if certificate else "no connection, or a broken one")
        except ValueError:  # pooch's, which has removed the download
            reason, others = "another file than the checksum says", others + 1
        failures.append(f"{urlsplit(url).netloc}: {reason}")
    kept = f"{part.stat().st_size:,} bytes are kept in {part}" if part.exists() else "nothing is kept"
    if others == len(urls):
        raise UserError(
            f"{file.name} does not match its checksum {expected} ({'; '.join(failures)}) and was removed; run the same command "
            f"again, or, if its publisher has replaced it, write the new SHA-256 to {record}."
        )
    raise UserError(
        f"{file.name} could not be downloaded ({'; '.join(failures)}) and {kept}; run the same command again to go on, "
        f"or download {urls[0]} yourself to {file} and then run it."
    )


class ResumingDownloader:
    """A downloader for pooch that keeps what it has in `part` and goes on from there with a Range request.

    pooch's own one starts over. A broken connection is tried again until `tries` attempts in a row bring nothing new; then
    requests' exception goes up and `part` stays. Refusals (status 4xx, a bad certificate) are not tried again.
    """

    def __init__(self, part: Path, tries: int = 4, wait_s: float = 1.0, timeout_s: float = 30.0):
        self.part, self.tries, self.wait_s, self.timeout_s = part, tries, wait_s, timeout_s

    def __call__(self, url: str, output_file: str, pooch_object: object) -> None:
        in_vain = 0
        while in_vain < self.tries:
            before = self._size()
            try:
                self._attempt(url)
                shutil.move(self.part, output_file)
                return
            except requests.RequestException as error:
                refused = isinstance(error, requests.HTTPError) and error.response.status_code < 500
                in_vain = 0 if self._size() > before else in_vain + 1
                if refused or isinstance(error, requests.exceptions.SSLError) or in_vain == self.tries:
                    raise
                time.sleep(self.wait_s * in_vain)

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
            _need_room(self.part.parent, total - have if total else 0)
            bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=self.part.stem, leave=False)
            with self.part.open("ab" if have else "wb") as handle, bar:
                for chunk in response.iter_content(CHUNK):
                    handle.write(chunk)
                    bar.update(len(chunk))
        if total is not None and self._size() != total:
            raise requests.ConnectionError(f"{self._size()} of {total} bytes arrived")
