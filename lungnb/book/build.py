"""The builder: every notebook executed by papermill, one after another.

For each notebook it leaves, in `<out>/<profile>/<notebook>/`, the executed notebook and the tables, figures and
`manifest.json` that the notebook's `Report` writes; the builder adds to the manifest how the build went. A failed notebook
does not stop the others: it is kept with its traceback. A table or figure that the stored notebook shows and this build
did not make is a failure, too.
"""

import ast
import json
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
from ipykernel.kernelspec import write_kernel_spec
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook
from traitlets.config import Config

from lungnb.book import notebooks
from lungnb.book.report import PROFILES, default_out, write_json
from lungnb.core import UserError, atomic_file


def build(
    names: list[str], profile: str = "smoke", data: str = "", parameters: dict[str, Any] | None = None, out: str = ""
) -> list[str]:
    """Build the notebooks called `names` (all if empty), and print what was made and where. Returns those that failed."""
    values = _values(profile, data, parameters or {}, out)
    sources = notebooks.find(names)
    for source in sources:
        _check_parameters(source, values)
    folder, failed = Path(values["out"]) / profile, []
    for number, source in enumerate(sources, start=1):
        error, n_made, seconds = _build_one(source, folder / source.stem, values, f"{number} of {len(sources)}")
        failed += [source.stem] if error else []
        outcome = f"failed, {error}" if error else f"{n_made} tables and figures"
        print(f"{source.stem}: {outcome}; {seconds / 60:.1f} minutes; {folder / source.stem}", flush=True)
    return failed


def store(names: list[str]) -> None:
    """Execute each notebook with its own defaults and write the stored half of its pair, outputs and all."""
    for source in notebooks.find(names):
        # Its artefacts go aside: those of the last report stay with their manifest.
        with tempfile.TemporaryDirectory() as aside, patch.dict(os.environ, LUNGNB_REPORTS=aside):
            try:
                done = _execute(notebooks.load(source), None, {}, source.stem)
            except PapermillExecutionError as error:
                raise UserError(f"{source.stem} fails with {error.ename}: {error.evalue}; mend {source}.") from error
        stored = notebooks.stored_form(done, source)
        with atomic_file(source.with_suffix(".ipynb")) as path:
            nbformat.write(stored, path)


def parse_value(text: str) -> Any:
    """The value of `-p key=value`: a number, true, false, none, a list, or else the words as they stand."""
    words = {"true": True, "false": False, "none": None, "null": None}
    try:
        return words[text.lower()] if text.lower() in words else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        is_list = text.startswith("[") and text.endswith("]")
        return [parse_value(part.strip()) for part in text[1:-1].split(",")] if is_list else text


def _values(profile: str, data: str, parameters: dict[str, Any], out: str) -> dict[str, Any]:
    """All parameters that the notebooks get, checked as far as that needs no notebook."""
    if profile not in PROFILES:
        raise UserError(f"There is no profile {profile!r}; choose one of {', '.join(PROFILES)}.")
    for key in ("profile", "data", "out"):
        if key in parameters:
            raise UserError(f"Give {key} as --{key}, not with -p.")
    values = {"profile": profile, "out": str(Path(out).expanduser().resolve() if out else default_out())}
    if data and data != "simulated":
        folder = Path(data).expanduser().resolve()
        if not folder.is_dir():
            raise UserError(f"The data folder {data} does not exist; give the folder that holds icbhi/ and the like.")
        data = str(folder)
    return values | ({"data": data} if data else {}) | parameters


def _check_parameters(source: Path, values: dict[str, Any]) -> None:
    cells = [cell.source for cell in notebooks.load(source).cells if "parameters" in notebooks.tags(cell)]
    names = [node for cell in cells for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Name)]
    known = [node.id for node in names if isinstance(node.ctx, ast.Store)]
    if unknown := [key for key in values if key not in known]:
        raise UserError(f"{source.stem} has no parameter {unknown[0]!r}; it has {', '.join(known) or 'none'}.")


def _build_one(source: Path, folder: Path, values: dict[str, Any], place: str) -> tuple[str, int, float]:
    """Execute, and note in the manifest how it went: the error, empty if all went well; artefacts made; seconds."""
    started, error, book = time.monotonic(), "", notebooks.load(source)
    output, manifest = folder / f"{source.stem}.ipynb", folder / "manifest.json"
    with atomic_file(output) as path:  # also makes the folder, or says in a sentence why it cannot
        nbformat.write(book, path)
    manifest.unlink(missing_ok=True)  # of an earlier build; this one writes its own
    try:
        _execute(book, output, values, f"notebook {place}, {source.stem}")
    except PapermillExecutionError as problem:
        error = " ".join(f"{problem.ename}: {problem.evalue}".split())
    except Exception as problem:  # a kernel that died, say: whatever it is, the other notebooks go on
        error = " ".join(f"{type(problem).__name__}: {problem}".split())
    made = json.loads(manifest.read_text()) if manifest.exists() else {"notebook": source.stem, "artefacts": {}}
    missing = [name for name in notebooks.artefacts(source.with_suffix(".ipynb")) if not _is_made(name, made, folder)]
    error = error or (f"{', '.join(missing)} not made" if missing else "")
    seconds, state = round(time.monotonic() - started, 1), "failed" if error else "built"
    made["build"] = {"title": notebooks.heading(book), "state": state, "error": error, "missing": missing}
    made["build"] |= {"seconds": seconds, "parameters": values}
    write_json(manifest, made)
    return error, len(made["artefacts"]), seconds


def _is_made(name: str, manifest: dict, folder: Path) -> bool:
    files = manifest["artefacts"].get(name, {}).get("files", [])
    return bool(files) and all((folder / file).is_file() and (folder / file).stat().st_size for file in files)


def _execute(book: NotebookNode, output: Path | None, parameters: dict[str, Any], place: str) -> NotebookNode:
    """Run `book` in the notebooks' folder with this interpreter as its `python3`; `output` is saved after each cell.

    papermill's progress bar is headed by `place`, and what the cells print goes to the log of papermill.
    """
    logger = logging.getLogger("papermill")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        write_kernel_spec(Path(folder) / "kernels" / "python3")
        kernels = os.pathsep.join(filter(None, [folder, os.environ.get("JUPYTER_PATH", "")]))
        with patch.dict(os.environ, JUPYTER_PATH=kernels):
            return execute_notebook(
                book,
                output,
                parameters,
                kernel_name="python3",
                progress_bar={"desc": place},
                log_output=True,
                cwd=notebooks.folder(),
                config=Config(KernelManager={"transport_encryption": "auto"}),  # else each kernel warns of having none
            )
