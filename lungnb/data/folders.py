"""One set of rules for the folders that users have, which every reader goes by.

suffix          counts in any case: .WAV is .wav, and a name is found whatever its case and the form of its accents
._NAME          what macOS, Windows and file browsers leave beside files is passed over, and counted; also their waste baskets
a link          that leads nowhere is passed over, and counted
NAME (1)        a copy, also `NAME - Copy` and `Copy of NAME`: passed over beside NAME, and counted; without NAME it is meant
NAME_filtered   a file made from NAME, which is beside it: passed over, and counted
two files       of one recording otherwise are an error that names both
a folder        is searched for two levels down, and what is there is named if it is not found
the rest        is counted if it is audio, and listed by `lungnb data check`
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lungnb.core import UserError

#: What libsndfile decodes. Ogg may hold Vorbis or Opus.
READABLE = (".wav", ".flac", ".ogg", ".mp3")
#: What phones also record and libsndfile does not know.
UNREADABLE = (".webm", ".m4a", ".mp4", ".3gp")
#: What stethoscopes' recordings are kept as.
LOSSLESS = (".flac", ".wav")

#: Why a file was not read, for those that a corpus counts in `skipped`.
LEFT_BY_SYSTEMS = "files that the operating system left beside others (._NAME and the like; passed over)"
COPIES = "copies (NAME (1) and the like; passed over)"
BROKEN_LINKS = "links that lead nowhere (passed over)"
UNNAMED_AUDIO = "audio files that no list or annotation names (passed over)"
OTHER = "other files"

_SYSTEM = re.compile(
    r"\._.*|\.ds_store|\.localized|icon\r|(eh)?thumbs\w*\.db|desktop\.ini|\.?picasa\.ini|\.directory|~\$.*|\.~lock.*"
    r"|.*\.(crdownload|part|partial)|.*@syno\w+",
    re.I,
)
_SYSTEM_FOLDER = re.compile(
    r"(^|/)(__macosx|\$recycle\.bin|\.trash[^/]*|\.ipynb_checkpoints|@eadir|system volume information|\._[^/]*)/", re.I
)
_COPY = re.compile(
    r"(?:copy of |kopie von )(?P<of>.+)|(?P<stem>.+?)(?: ?\(\d+\)|(?: -)? (?:copy|kopie|copie|copia)(?: ?\(?\d+\)?)?)",
    re.I,
)


def key_of(name: str) -> str:
    """A name as it is compared: case and the two forms of an accent (macOS writes it apart) make no difference."""
    return unicodedata.normalize("NFC", name).casefold()


def walk(folder: Path, levels: int | None = None) -> Iterator[Path]:
    """All files in and below `folder` (`levels` folders down), in order, links followed once."""
    seen = set()
    for parent, below, found in os.walk(folder, followlinks=True):
        real, depth = os.path.realpath(parent), len(Path(parent).relative_to(folder).parts)
        deeper = real not in seen and (levels is None or depth < levels)
        below[:] = sorted(name for name in below if name != ".git") if deeper else []  # a clone's own files
        if real not in seen:
            yield from (Path(parent, file) for file in sorted(found))
        seen.add(real)


def left_by_system(path: Path) -> bool:
    return bool(_SYSTEM.fullmatch(path.name)) or bool(_SYSTEM_FOLDER.search(f"{path.as_posix()}/"))


def original_stem(path: Path) -> str:
    """The stem of the file that `path` is a copy of, by its name; its own, if it is none."""
    match = _COPY.fullmatch(path.stem)
    return (match["of"] or match["stem"]) if match else path.stem


def is_copy(path: Path) -> bool:
    """Whether it is called a copy of a file that lies beside it."""
    original = key_of(original_stem(path) + path.suffix)
    return original != key_of(path.name) and any(key_of(p.name) == original for p in path.parent.iterdir())


def files(folder: Path, suffixes: Iterable[str], levels: int | None = 0) -> list[Path]:
    """The files of one of `suffixes`, in any case, in `folder` (and `levels` folders down), without what is passed over."""
    wanted = tuple(suffixes)
    found = [path for path in walk(folder, levels) if path.suffix.lower() in wanted and not left_by_system(path)]
    for path in found:
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise UserError(f"The name of {str(path)!a} is no UTF-8; rename it.") from error
    return [path for path in found if path.exists() and not is_copy(path)]


def by_stem(paths: Iterable[Path], *preferred: tuple[str, ...]) -> dict[str, Path]:
    """Key of the stem (`key_of`) -> its file. Raises UserError where two files are one recording's.

    preferred: groups of suffixes; a file of an earlier group goes before one of a later group, as a converted recording
    goes before its original.
    """
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(key_of(original_stem(path)), []).append(path)
    for key, group in groups.items():
        for suffixes in preferred:
            if first := [path for path in group if path.suffix.lower() in suffixes]:
                groups[key] = first
                break
        one_of(groups[key])
    return {key: group[0] for key, group in groups.items()}


def one_of(paths: list[Path]) -> Path:
    """The only one. Raises UserError that names two."""
    if len(paths) > 1:
        raise UserError(
            f"{paths[0]} and {paths[1]} are two files of one recording; move the one that is not meant out of the data "
            "folder."
        )
    return paths[0]


def without_derived(paths: list[Path]) -> list[Path]:
    """`paths` without those called as another of them and more: NAME_filtered.wav or NAME-0.wav beside NAME.wav."""
    stems = {key_of(original_stem(path)) for path in paths}

    def derived(path: Path) -> bool:
        stem = key_of(original_stem(path))
        return any(stem[: cut.start()] in stems for cut in re.finditer(r"[_\-. ]", stem))

    return [path for path in paths if not derived(path)]


def find_file(root: Path, path: str, listed: dict[Path, dict[str, list[str]]] | None = None) -> str | None:
    """`path` below `root` as it is on disk, whatever its case, accents and slashes; None if it is not there, or not one.
    A copy, NAME (1), is found where there is no NAME.

    listed: what folders hold, kept from call to call.
    """
    if "\0" in path:
        return None
    if os.path.isfile(root / path):
        return path
    listed = {} if listed is None else listed
    at = root
    for part in path.replace("\\", "/").split("/"):
        if part in ("", "."):
            continue
        if at not in listed:
            listed[at], copies = {}, {}
            for name in os.listdir(at) if at.is_dir() else ():
                listed[at].setdefault(key_of(name), []).append(name)
            for name in [name for names in listed[at].values() for name in names]:
                key = key_of(original_stem(Path(name)) + Path(name).suffix)
                if key != key_of(name):
                    copies.setdefault(key, []).append(name)
            listed[at] = copies | listed[at]
        found = listed[at].get(key_of(part), [])
        found = [part] if part in found else found
        if len(found) != 1:
            return None
        at = at / found[0]
    return at.relative_to(root).as_posix() if at.is_file() else None


def find_side_file(folder: Path, names: Iterable[str], levels: int = 3) -> Path | None:
    """The first of `names`, in any case, in `folder` or up to `levels` folders down; the one that lies highest.

    Raises UserError for two that lie equally high and differ.
    """
    there = [path for path in walk(folder, levels) if not (left_by_system(path) or is_copy(path))]
    called = [(key_of(original_stem(path) + path.suffix), path) for path in there]  # a copy that is left alone is meant
    for name in names:
        found = sorted((path for key, path in called if key == key_of(name)), key=lambda path: len(path.parts))
        if found:
            for other in found[1:]:
                same_height = len(other.parts) == len(found[0].parts)
                if same_height and other.read_bytes() != found[0].read_bytes():
                    raise UserError(f"{found[0]} and {other} differ, and both are the {name} of {folder}; rename one.")
            return found[0]
    return None


def find_root(folder: Path, holds: Callable[[Path], bool], what: str, hint: str = "") -> Path:
    """`folder`, or the one folder up to two levels below it, of which `holds` is true.

    Raises UserError, saying `what` it is not and what is there, if there is none, and naming two if there are several.
    """
    level = [folder]
    for _ in range(3):
        if found := [each for each in level if holds(each)]:
            if len(found) > 1:
                raise UserError(f"{found[0]} and {found[1]} both hold {what}; give the folder of one of them.")
            return found[0]
        level = [p for each in level if each.is_dir() for p in _listed(each) if p.is_dir()]
    raise UserError(f"{folder} is no folder of {what}; it holds {contents(folder)}{hint}.")


def _listed(folder: Path) -> list[Path]:
    """What lies in `folder`, in order; nothing of one that may not be read."""
    try:
        return sorted(folder.iterdir())
    except PermissionError:
        return []


def folders_called(root: Path, name: str, others: Iterable[str], known_by: str) -> list[Path]:
    """`root`/`name`, else the one folder of another of its names that has a file `known_by`. Raises UserError for two."""
    if (root / name).is_dir():
        return [root / name]
    found = [path for path in sorted(root.glob("*/")) if is_called(path, (name, *others))]
    found = [path for path in found if not known_by or holds_file(path, known_by)]
    if len(found) > 1:
        raise UserError(f"{found[0]} and {found[1]} both hold {name}; rename the one that is meant to {root / name}.")
    return found


def is_called(folder: Path, names: Iterable[str]) -> bool:
    """Whether a folder has one of `names`, but for case and signs: Coswara-Data is coswaradata."""
    return _letters(folder.name) in map(_letters, names)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", key_of(name))


def holds_file(folder: Path, known_by: str) -> bool:
    """Whether a file in `folder`, or up to three folders down, is called as `known_by` (a regular expression, or "") says."""
    known = re.compile(known_by or r"(?!)", re.IGNORECASE)
    return any(known.fullmatch(path.name) and not left_by_system(path) for path in walk(folder, 3))


_ARCHIVE = dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".tgz", ".gz"), " (an archive: unpack it)")


def contents(folder: Path, most: int = 8) -> str:
    """What lies in `folder`, in words: folders first, each with the first things in it."""
    if not folder.is_dir():
        return f"nothing, for it is {'a file' if folder.exists() else 'not there'}"
    if not os.access(folder, os.R_OK | os.X_OK):
        return "what may not be read"
    paths = [path for path in _listed(folder) if not left_by_system(path)]
    note = {path: "" if path.exists() else " (a link that leads nowhere)" for path in paths}
    said = [path.name + (note[path] or _ARCHIVE.get(path.suffix.lower(), "")) for path in paths if not path.is_dir()]
    for path in (path for path in reversed(paths) if path.is_dir()):
        inside = contents(path, 3) if most > 3 else ""
        deeper = inside if inside.endswith("/") and "," not in inside else f" ({inside})"
        said.insert(0, f"{path.name}/{'' if inside in ('', 'nothing') else deeper}")
    more = f" and {len(said) - most} more" if len(said) > most else ""
    return (", ".join(said[:most]) or "nothing") + more


def unread(folder: Path, read: Iterable[Path]) -> dict[str, list[str]]:
    """Why each file in and below `folder` that is not among those `read` was passed over, by reason."""
    known = {os.path.abspath(path) for path in read}
    found: dict[str, list[str]] = {}
    for path in walk(folder):
        if os.path.abspath(path) in known:
            continue
        sounds = path.suffix.lower() in (*READABLE, *UNREADABLE)
        reason = LEFT_BY_SYSTEMS if left_by_system(path) else UNNAMED_AUDIO if sounds else OTHER
        reason = reason if path.exists() else BROKEN_LINKS
        if reason != LEFT_BY_SYSTEMS and is_copy(path):
            reason = COPIES
        found.setdefault(reason, []).append(path.relative_to(folder).as_posix())
    return found
