"""The notebooks as files: the source half of each pair and the stored half."""

import json
import re
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from papermill.inspection import inspect_notebook

from lungnb.book.parameters import did_you_mean
from lungnb.book.report import default_out
from lungnb.core import UserError, repository

MAX_BYTES = 1_000_000
_EMBEDDED = re.compile(r"base64,[A-Za-z0-9+/=\s]+")
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")


def root() -> Path:
    """The repository around the working directory, else the one the package lies in. Raises UserError if there is none."""
    found = repository(Path.cwd()) or repository(Path(__file__))
    if found is None:
        raise UserError("There are no notebooks here; call lungnb inside a clone of its repository.")
    return found


def folder() -> Path:
    """Its `notebooks`."""
    return root() / "notebooks"


def find(names: list[str]) -> list[Path]:
    """The sources of the notebooks called `names`, or of all of them.

    01_respirenet may be called so, or 01, 1, respirenet, or by the path of either half of its pair. Raises UserError for a
    name that is none of these.
    """
    known = {path.stem: path for path in sorted(folder().glob("*.py"))}
    return list(dict.fromkeys(_find(name, known) for name in names)) if names else list(known.values())


def _find(name: str, known: dict[str, Path]) -> Path:
    path = Path(name).expanduser()
    is_file = path.suffix in (".py", ".ipynb")
    if is_file and path.with_suffix(".py").is_file():
        return path.with_suffix(".py").resolve()
    word = (path.stem if is_file else path.name).lower().replace("-", "_")
    for stem, source in known.items():
        number, _, title = stem.lower().partition("_")
        if word in (stem.lower(), number, number.removeprefix("0"), title):
            return source
    listed = ", ".join(known) or "yet to come"
    raise UserError(f"There is no notebook {name!r}{did_you_mean(word, list(known))}; the notebooks are {listed}.")


def load(source: Path, paired: bool = False) -> NotebookNode:
    """The notebook whose source is `source`, without outputs, its cells numbered so that its text is the same each time.

    paired: with all that jupytext keeps in both halves of a pair, so that to sync them changes neither.
    """
    book = jupytext.read(source, fmt="py:percent")
    kept = {"tags", "lines_to_next_cell"} if paired else {"tags"}
    for number, cell in enumerate(book.cells, start=1):
        cell["id"] = f"cell-{number}"
        cell["metadata"] = {key: value for key, value in cell.metadata.items() if key in kept}
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    pair = {key: value for key, value in book.metadata["jupytext"].items() if key != "text_representation"}
    book["metadata"] = {"kernelspec": kernel, "language_info": {"name": "python"}}
    book["metadata"] |= {"jupytext": pair} if paired else {}
    book["nbformat"], book["nbformat_minor"] = 4, 5
    return nbformat.from_dict(book)


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def heading(book: NotebookNode) -> str:
    """The first heading of a notebook."""
    found = (re.search(r"^#+ +(.+)$", cell.source, re.M) for cell in book.cells if cell.cell_type == "markdown")
    return next((match[1].strip() for match in found if match), "")


def parameters(book: NotebookNode) -> dict[str, dict[str, str]]:
    """The parameters of a notebook by name: type (empty if the cell says none), default and explanation, as texts."""
    found = inspect_notebook(book)
    return {
        name: {"type": each["inferred_type_name"].replace("None", ""), "default": each["default"], "help": each["help"]}
        for name, each in found.items()
    }


def describe(source: Path, in_full: bool = False) -> str:
    """Name, title, minutes and parameters of a notebook as lines of text; in_full: with types, defaults and what they mean."""
    book, known = load(source), parameters(load(source))
    stated = re.search(r"\b(about \w+|half a) minutes?\b", book.cells[0].source) if book.cells else None
    minutes = [f"{stated[0]} on the smoke profile"] if stated else []
    for manifest in sorted(default_out().glob(f"*/{source.stem}/manifest.json")):
        built = json.loads(manifest.read_text()).get("build", {})
        minutes += (
            [f"{manifest.parents[1].name} last {built['state']} here in {built['seconds'] / 60:.1f}"] if built else []
        )
    lines = [f"{source.stem}: {heading(book)}", "; ".join(minutes), "parameters: " + (", ".join(known) or "none")]
    if in_full:
        full = [f"  {name}: {each['type']} = {each['default']}  {each['help']}" for name, each in known.items()]
        lines[-1:] = ["parameters:", *full]
    return "\n  ".join(filter(None, lines))


def artefact(output: NotebookNode) -> str:
    """The name of the table or figure that an output of a cell shows, empty if it is none."""
    data = output.get("data", {})
    if found := re.search(r'<table id="T_([a-z\d-]+)">', data.get("text/html", "")):
        return found[1]
    alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
    return re.split("[:,]", alt)[0].strip().lower().replace(" ", "-")


def artefacts(path: Path) -> list[str]:
    """The tables and figures that the stored or built notebook at `path` shows, in their order; none if it is not there."""
    cells = nbformat.read(path, as_version=4).cells if path.exists() else []
    return list(filter(None, (artefact(output) for cell in cells for output in cell.get("outputs", []))))


def stored_form(executed: NotebookNode, source: Path) -> NotebookNode:
    """The executed notebook as it is kept: the source's cells with outputs and counts, no timings, no machine's paths."""
    book = load(source, paired=True)
    for number, (cell, done) in enumerate(zip(book.cells, executed.cells, strict=True), start=1):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = without_progress(done.outputs), done.execution_count
            CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)  # as JupyterLab does when it opens the notebook
            _refuse_machine_details(cell, f"{source.stem}, cell {number} ({cell.source.splitlines()[0]!r})")
    drop_widgets(book)
    size = len(nbformat.writes(book).encode())
    if size >= MAX_BYTES:
        raise UserError(f"{source.stem} would be {size / 1e6:.1f} MB with its outputs; keep it under 1 MB.")
    return book


def without_progress(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs but for progress bars, which are drawn over themselves and are nothing once a training is done."""
    return [out for out in outputs if not (out.get("name") == "stderr" and out.text.startswith("\r"))]


def drop_widgets(book: NotebookNode) -> None:
    """Leave the text of each widget alone: it needs the kernel it was made in, and a page would load its script from outside."""
    book.metadata.pop("widgets", None)
    for cell in book.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)


def _refuse_machine_details(cell: NotebookNode, where: str) -> None:
    """Outputs that name this machine's folders or memory would differ on the next one."""
    roots = {str(path) + "/" for path in (folder().parent, Path.home(), Path(tempfile.gettempdir()), Path(sys.prefix))}
    for output in cell.outputs:
        texts = [output.get("text", ""), *output.get("traceback", [])]
        texts += [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
        text = _EMBEDDED.sub("", "\n".join(texts))
        for root in roots:
            if root in text:
                raise UserError(f"{where} shows the path {root} of this machine; print names, not absolute paths.")
        if _ADDRESS.search(text):
            raise UserError(f"{where} shows an address in memory; display the value, not the bare object.")
