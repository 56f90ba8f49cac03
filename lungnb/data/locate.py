"""Where a data set comes from, how its files are called, and which folder it lies in: often not quite the one that was given."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lungnb.core import UserError
from lungnb.data.folders import contents, folders_called, holds_file, is_called, left_by_system, walk
from lungnb.data.multisite import find_manifest


@dataclass(frozen=True)
class Source:
    """One file to download and where it belongs in the data set's folder.

    `archive_folder` is the folder of an archive that is unpacked as `target`; if `parts` are given only these of it, each as
    `target`/part. Without `archive_folder` the file itself becomes `target`. `mirrors` hold the same bytes as `url`, the
    publisher's address, and are asked before it. size: bytes, of an archive rounded; 0 where nobody states it.
    """

    url: str
    target: str
    archive_folder: str = ""
    parts: tuple[str, ...] = ()
    checksum: str | None = None
    mirrors: tuple[str, ...] = ()
    file_name: str = ""
    size: int = 0

    @property
    def urls(self) -> tuple[str, ...]:
        return (*self.mirrors, self.url)

    @property
    def name(self) -> str:
        return self.file_name or PurePosixPath(urlsplit(self.url).path).name

    @property
    def proof(self) -> str:
        """What is there, below the data set's folder, once this source is complete."""
        return str(PurePosixPath(self.target, *self.parts[:1]))


@dataclass(frozen=True)
class DataSet:
    """Addresses are "module:function", so that nothing is imported before it is asked for.

    reader: folder -> Corpus. simulator: (folder, n_patients=, seed=) writes that folder. counts: folder -> the counts that
    `check` compares with those of `published` (paper, artefact `data`). sounds: whether its events have a sound type, so that
    prompts can be made for them. folder: where it lies below the data folder, if not under its name. called: other names of
    that folder, as clones and archives have them, in lower case and without signs. known_by: how a file of it is called (a
    regular expression). sources: what `lungnb.data.download.fetch` downloads, small files first, so that what fails early
    fails cheaply. hint: what to do where the data set is not there and cannot be downloaded.
    """

    reader: str
    simulator: str = ""
    counts: str = ""
    published: str = ""
    sounds: bool = False
    folder: str = ""
    called: tuple[str, ...] = ()
    known_by: str = ""
    sources: tuple[Source, ...] = ()
    hint: str = "copy it there from where lungnb/data/corpora.csv says"


def find_data_set(root: Path, name: str, dataset: DataSet, known: Iterable[str]) -> Path:
    """`root`/`name`, or it under another of its names; else `root` itself or the folder around it, if they hold the data set.

    known: the names of all data sets. Raises UserError if there is none, saying what is there, and if there are several.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(f"The data folder {root} {what}; give one that holds {name}/, or data='simulated'.")
    if dataset.folder:
        return root / dataset.folder
    if found := folders_called(root, name, dataset.called, dataset.known_by):
        return found[0]
    names = (name, *dataset.called)
    for above in root.resolve().parents[:3]:
        if is_called(above, names) and holds_file(above, dataset.known_by):
            return above
    if is_called(root.resolve(), names) or holds_file(root, dataset.known_by):
        return root
    beside = folders_called(root.resolve().parent, name, dataset.called, dataset.known_by)
    up = f"; {beside[0]} is beside it, so give {beside[0].parent}" if beside else ""
    hint = dataset.hint
    if dataset.sources:  # a download is proposed where nothing of the user's own lies
        own = up or any(walk(root, 0)) or not all(is_called(path, known) for path in root.glob("*/"))
        fetch = f"get it with `lungnb data fetch {name} {shlex.quote(str(root))}`"
        hint = f"lay it out there as {dataset.reader.partition(':')[0]} says" if own else fetch
    raise UserError(f"{root} holds no {name}/ (found: {contents(root)}){up}; {hint}.")


def corpora_in(root: Path, known: Mapping[str, DataSet]) -> tuple[list[str], list[str]]:
    """The names of the corpora in `root` (of data sets that are `known`, and of folders with a manifest.csv), else of `root`
    itself, and the names of the other folders there. Raises UserError for no corpus at all."""
    of = {path: name for name, d in known.items() for path in folders_called(root, name, d.called, d.known_by)}
    below = [path for path in sorted(root.glob("*/")) if not left_by_system(path)]
    below = {path.resolve(): path for path in sorted(below, key=of.__contains__)}  # a folder and a link to it are one
    below = sorted(below.values())
    of |= {path: path.name for path in below if path not in of and find_manifest(path)}
    names, others = [of[path] for path in below if path in of], [path.name for path in below if path not in of]
    if names:
        return names, others
    own = root.resolve()
    names = [n for n, d in known.items() if is_called(own, (n, *d.called)) and holds_file(own, d.known_by)]
    names += [own.name] if not names and find_manifest(own) else []
    if not names:
        listed = ", ".join(known)
        raise UserError(
            f"{root} holds no corpus of clips (found: {contents(root)}); known are {listed}, and any with a manifest.csv."
        )
    return names, []
