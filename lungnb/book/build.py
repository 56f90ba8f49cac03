"""The builder: every notebook executed by papermill, one after another, and one page that shows what came of it.

For each notebook it leaves, in `<out>/<profile>/<notebook>/`, the executed notebook, its HTML, and the tables, figures
and `manifest.json` that the notebook's `Report` writes; the builder adds to the manifest how the build went. A failed
notebook does not stop the others: it is kept with its traceback.
"""

import ast
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import latex2mathml.converter
import nbformat
from ipykernel.kernelspec import write_kernel_spec
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from papermill import inspect_notebook
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook
from traitlets.config import Config

from lungnb.book import notebooks
from lungnb.book.index import expected, write_index
from lungnb.book.report import PROFILES, default_out
from lungnb.book.watch import Watch
from lungnb.core import UserError, atomic_file

_EQUATION = re.compile(r"(\$\$?)([^$\n]+)\1")


def build(
    names: list[str], profile: str = "smoke", data: str = "", parameters: dict[str, Any] | None = None, out: str = ""
) -> list[str]:
    """Build the notebooks called `names` (all if empty) and the index. Returns the names of those that failed."""
    given = _given(profile, data, parameters or {}, out)
    books = {source.stem: notebooks.load(source) for source in notebooks.find(names)}
    for name, book in books.items():
        _check_parameters(name, book, given)
    folder, failed = Path(given["out"]) / profile, []
    with _workplace() as records, Watch(records) as watch:
        for number, (name, book) in enumerate(books.items(), start=1):
            watch.notebook(number, len(books), name)
            error = _build_one(name, book, folder / name, given, watch)
            failed += [name] if error else []
            watch.say(f"{name}: failed, {error}" if error else f"{name}: built")
        watch.say(f"{write_index(folder)}")
    return failed


def store(names: list[str]) -> None:
    """Execute each notebook with its own defaults and write the stored half of its pair, outputs and all."""
    for name in names or [source.stem for source in notebooks.find([])]:
        (source,) = notebooks.find([name])
        with _workplace() as records, Watch(records) as watch:
            watch.notebook(1, 1, name)
            # Its artefacts go aside: those of the last report stay with their manifest.
            with _environment(LUNGNB_REPORTS=str(records.parent / "reports")):
                try:
                    done = _execute(notebooks.load(source), None, {}, watch)
                except PapermillExecutionError as error:
                    raise UserError(f"{name} fails with {error.ename}: {error.evalue}; mend {source}.") from error
        stored = notebooks.stored_form(done, source)
        with atomic_file(source.with_suffix(".ipynb")) as path:
            nbformat.write(stored, path)


def parse_value(text: str) -> Any:
    """The value of `-p key=value`: a number, true, false, none, a list, or else the words as they stand."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    if text.startswith("[") and text.endswith("]"):
        return [parse_value(part.strip()) for part in text[1:-1].split(",")]
    return text


def _given(profile: str, data: str, parameters: dict[str, Any], out: str) -> dict[str, Any]:
    """All parameters that the notebooks get, checked as far as that needs no notebook."""
    if profile not in PROFILES:
        raise UserError(f"There is no profile {profile!r}; choose one of {', '.join(PROFILES)}.")
    taken = {"profile", "data", "out"} & set(parameters)
    if taken:
        raise UserError(f"Give {min(taken)} as --{min(taken)}, not with -p.")
    given = {"profile": profile, "out": str(Path(out).expanduser().resolve() if out else default_out())}
    if data and data != "simulated":
        folder = Path(data).expanduser().resolve()
        if not folder.is_dir():
            raise UserError(f"The data folder {data} does not exist; give the folder that holds icbhi/ and the like.")
        data = str(folder)
    return given | ({"data": data} if data else {}) | parameters


def _check_parameters(name: str, book: NotebookNode, given: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(book, Path(folder) / "book.ipynb")
        known = list(inspect_notebook(Path(folder) / "book.ipynb"))
    unknown = [key for key in given if key not in known]
    if unknown:
        raise UserError(f"{name} has no parameter {unknown[0]!r}; it has {', '.join(known) or 'none'}.")


def _build_one(name: str, book: NotebookNode, folder: Path, given: dict[str, Any], watch: Watch) -> str:
    """Execute, convert and note how it went. Returns the error, empty if all went well."""
    started, error, output = time.monotonic(), "", folder / f"{name}.ipynb"
    manifest = folder / "manifest.json"
    with atomic_file(output) as path:  # also makes the folder, or says in a sentence why it cannot
        nbformat.write(book, path)
    manifest.unlink(missing_ok=True)  # of an earlier build; this one writes its own
    try:
        _execute(book, output, given, watch)
    except PapermillExecutionError as problem:
        error = " ".join(f"{problem.ename}: {problem.evalue}".split())
    except Exception as problem:  # a kernel that died, say: whatever it is, the other notebooks go on
        error = " ".join(f"{type(problem).__name__}: {problem}".split())
    _write_html(output, folder / f"{name}.html")
    made = json.loads(manifest.read_text()) if manifest.exists() else {"notebook": name, "artefacts": {}}
    missing = [artefact for artefact in expected(name) if artefact not in made["artefacts"]]
    if missing and not error:
        error = f"{', '.join(missing)} not made"
    made["build"] = {
        "title": notebooks.heading(book),
        "state": "failed" if error else "built",
        "error": error,
        "seconds": round(time.monotonic() - started, 1),
        "parameters": given,
    }
    with atomic_file(manifest) as path:
        path.write_text(json.dumps(made, indent=1, ensure_ascii=False))
    return error


class _Watched(NBClientEngine):
    """papermill's engine, telling which cell it is at."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, tell: Callable[[int, int], None], **more: Any):
        start = nb_man.cell_start

        def cell_start(cell: NotebookNode, cell_index: int, **rest: Any) -> None:
            tell(cell_index + 1, len(nb_man.nb.cells))
            start(cell, cell_index, **rest)

        nb_man.cell_start = cell_start
        return super().execute_managed_notebook(nb_man, kernel_name, **more)


papermill_engines.register("lungnb", _Watched)


def _execute(book: NotebookNode, output: Path | None, parameters: dict[str, Any], watch: Watch) -> NotebookNode:
    """Run `book` in the notebooks' folder with this interpreter; `output` is saved after each cell."""
    with tempfile.TemporaryDirectory() as folder:  # papermill wants a file
        nbformat.write(book, Path(folder) / "book.ipynb")
        return execute_notebook(
            Path(folder) / "book.ipynb",
            output,
            parameters,
            engine_name="lungnb",
            kernel_name="python3",
            progress_bar=False,
            cwd=notebooks.folder(),
            tell=watch.cell,
            config=Config(KernelManager={"transport_encryption": "auto"}),  # else each kernel warns that it has none
        )


@contextmanager
def _workplace() -> Iterator[Path]:
    """The environment of the kernels: this interpreter is their `python3`, and trainings report to the yielded file."""
    with tempfile.TemporaryDirectory(prefix="lungnb-") as folder:
        write_kernel_spec(Path(folder) / "kernels" / "python3")
        records, other = Path(folder) / "progress.jsonl", os.environ.get("JUPYTER_PATH", "")
        kernels = os.pathsep.join(filter(None, [folder, other]))
        with _environment(JUPYTER_PATH=kernels, LUNGNB_PROGRESS=str(records)):
            yield records


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables for the kernels that start inside the block."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def _write_html(notebook: Path, target: Path) -> None:
    """The notebook as one page without outside links, its equations as MathML."""
    logging.getLogger("traitlets").setLevel(logging.ERROR)  # it counts images without a description
    book, equations = nbformat.read(notebook, as_version=4), []
    notebooks.drop_widgets(book)

    def take(equation: re.Match) -> str:
        display = "block" if equation[1] == "$$" else "inline"
        equations.append(latex2mathml.converter.convert(equation[2], display=display))
        return f"EQUATION{len(equations) - 1}."  # nbconvert would strip MathML from the text

    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = _EQUATION.sub(take, cell.source)
    exporter = HTMLExporter(
        embed_images=True, template_file=str(Path(__file__).parent / "templates" / "notebook.html.j2")
    )
    page, _ = exporter.from_notebook_node(book, resources={"metadata": {"name": notebook.stem}})
    page = re.sub(r"EQUATION(\d+)\.", lambda place: equations[int(place[1])], page)
    with atomic_file(target) as path:
        path.write_text(page, encoding="utf-8")
