"""Download a data set from where its authors publish it, into the layout that its reader expects.

    fetch("icbhi", "data")    ->  data/icbhi/audio_and_txt_files/*.wav, *.txt and the side files
    fetch("sprsound", "data") ->  data/sprsound/BioCAS2022/...

Downloads go on where they stopped (`<file>.part`), and a second call fetches only what is missing. Downloaded files stay in
`downloads/` of the data set, each with its checksum in `<file>.sha256`, in the form of `sha256sum`.

Checksums. Where one is known (`Source.checksum`) the file must match it. For the others their publishers state none, and none
is invented here: the SHA-256 of the first download is recorded and every later one must match it. Whoever has a trusted
checksum writes it to `<file>.sha256` before the download; it goes before all others.
"""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lungnb.core import UserError
from lungnb.data.corpus import SIMULATED_MARKER
from lungnb.data.download import download
from lungnb.data.unpack import unpack


@dataclass(frozen=True)
class Source:
    """One file to download and where it belongs in the data set's folder.

    `archive_folder` is the folder of an archive that is unpacked as `target`; if `parts` are given only these of it, each as
    `target`/part. Without `archive_folder` the file itself becomes `target`. `mirrors` hold the same bytes as `url`.
    """

    url: str
    target: str
    archive_folder: str = ""
    parts: tuple[str, ...] = ()
    checksum: str | None = None
    mirrors: tuple[str, ...] = ()
    file_name: str = ""

    @property
    def name(self) -> str:
        return self.file_name or PurePosixPath(urlsplit(self.url).path).name

    @property
    def proof(self) -> str:
        """What is there, below the data set's folder, once this source is complete."""
        return str(PurePosixPath(self.target, *self.parts[:1]))


_ICBHI = "https://bhichallenge.med.auth.gr/sites/default/files/ICBHI_final_database/"
_SPRSOUND = "874eeb8736ddb78937c2fb5332fc7e7293d0f0ca"

#: Small files first, so that what fails early fails cheaply.
SOURCES: dict[str, list[Source]] = {
    # The addresses are those of the database's own page, https://bhichallenge.med.auth.gr, as many public scripts quote them;
    # the names that files get here are those of the copies in circulation, which the reader knows.
    "icbhi": [
        Source(_ICBHI + "ICBHI_challenge_train_test.txt", "ICBHI_challenge_train_test.txt"),
        Source(_ICBHI + "ICBHI_Challenge_diagnosis.txt", "patient_diagnosis.csv"),
        Source(_ICBHI + "ICBHI_Challenge_demographic_information.txt", "demographic_info.txt"),
        # RespireNet's folds (MIT licence). The checksum was computed from the file at commit 5e3f41a.
        Source(
            "https://raw.githubusercontent.com/microsoft/RespireNet/HEAD/data/patient_list_foldwise.txt",
            "patient_list_foldwise.txt",
            checksum="sha256:a244cb5a415af08884e6251cedbbc27b03b0001679d33bb8bab9e296252c31f5",
        ),
        # The certificate of the database's site has been reported as expired, hence a mirror: Harvard Dataverse,
        # doi:10.7910/DVN/HT6PKI. MD5 and mirror are as a public download script gives them for both copies.
        Source(
            _ICBHI + "ICBHI_final_database.zip",
            "audio_and_txt_files",
            archive_folder="ICBHI_final_database",
            checksum="md5:f6a5d0ea40bbcd25e17754f9d5ddae48",
            mirrors=("https://dataverse.harvard.edu/api/access/datafile/7127117",),
        ),
    ],
    # The commit that public studies pin, with 2,683 recordings and 9,089 events in BioCAS2022. GitHub packs this archive when
    # it is asked for, so a broken download starts over and the bytes may change: there is no checksum to publish.
    "sprsound": [
        Source(
            f"https://codeload.github.com/SJTU-YONGFU-RESEARCH-GRP/SPRSound/zip/{_SPRSOUND}",
            "",
            archive_folder=f"SPRSound-{_SPRSOUND}",
            parts=("BioCAS2022", "README.md", "LICENSE"),
            file_name="SPRSound.zip",
        )
    ],
}


def fetch(name: str, folder: Path | str, say: Callable[[str], None] = print) -> Path:
    """Download data set `name` into `folder`/`name`, and return that folder. What is there already is kept.

    Raises UserError, in one sentence that says what was kept and how to go on: an unknown name, no network, a broken or
    refused download, a full disk, a wrong checksum, an archive that is damaged or would write outside its folder.
    """
    if name not in SOURCES:
        raise UserError(f"No known address of a data set {name!r}; known are {', '.join(SOURCES)}.")
    root = Path(folder) / name
    if (root / SIMULATED_MARKER).exists():
        raise UserError(f"{root} holds simulated recordings; fetch the real ones into another folder.")
    for source in SOURCES[name]:
        if (root / source.proof).exists():
            say(f"{root / source.proof} is there already.")
            continue
        with _disk_errors(root):
            downloads = root / "downloads"
            file = download(source.name, (source.url, *source.mirrors), source.checksum, downloads, say)
            if source.archive_folder:
                unpack(file, root / source.target, source.archive_folder, source.parts)
            else:
                half = downloads / (source.target + ".half")
                shutil.copyfile(file, half)
                half.replace(root / source.target)
        say(f"{root / source.proof} is complete.")
    return root


@contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"The disk of {root} is full; what was downloaded is kept in {root / 'downloads'}: free some space and "
                "run the same command again."
            ) from error
        raise UserError(
            f"{error.filename or root} cannot be written ({error.strerror or error}); make {root} a folder that you may "
            "write to and run the same command again."
        ) from error
