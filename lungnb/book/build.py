"""The builder: every notebook executed by papermill in a process of its own, two at a time.

For each notebook it leaves, in `<out>/<profile>/<notebook>/`, the executed notebook and the tables, figures and
`manifest.json` that the notebook's `Report` writes; the builder adds to the manifest how the build went. A failed notebook
does not stop the others: it is kept with its traceback. A table or figure that the stored notebook shows and this build
did not make is a failure, too.

A notebook that was built from the same source, parameters, package, recorded results and versions, and whose files nobody
touched since, is not built again, as `make` would not. What reads a folder of the user's, real data or weights, always is.
"""

import hashlib
import json
import logging
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch

import nbformat
from ipykernel.kernelspec import write_kernel_spec
from joblib import cpu_count
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from traitlets.config import Config

from lungnb.book import notebooks, storage
from lungnb.book.parameters import did_you_mean, read_parameters, refuse
from lungnb.book.report import default_out, write_json
from lungnb.core import UserError, atomic_file, package_versions


def build(
    names: list[str],
    profile: str = "smoke",
    data: str = "",
    parameters: dict[str, Any] | None = None,
    out: str = "",
    force: bool = False,
) -> list[str]:
    """Build the notebooks called `names` (all if empty), and print what was made and where. Returns those that failed.

    Two are built at a time where there are two cores, which they share. Of the full-size ones (`paper`) each has the machine
    to itself: two might not fit on its GPU. force: also those of which nothing changed since they were built.
    """
    sources = notebooks.find(names)
    values = _checked(sources, profile, data, parameters or {}, out)
    profile = values[sources[0]]["profile"] if sources else profile
    at_once = 1 if profile == "paper" else min(2, cpu_count())
    waiting = [source for source in sources if force or not is_up_to_date(source, values[source])]
    running: dict[Connection, _Job] = {}
    failed = []
    columns = (TextColumn("{task.description}"), BarColumn(16), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, TextColumn("{task.fields[training]}"))
    with _kernel(), Live(progress, transient=True):  # bars on a terminal only; what is printed stands above them
        try:
            while waiting or running:
                for source in waiting[: at_once - len(running)]:
                    threads = max(1, cpu_count() // min(at_once, len(running) + len(waiting)))
                    waiting.remove(source)
                    job = _Job(source, values[source], threads, progress)
                    running[job.told] = job
                for told in wait(running, timeout=1):
                    if not running[told].listen():
                        failed += running.pop(told).conclude()
                for job in running.values():
                    job.show_training()
        finally:
            for job in running.values():  # interrupted; the kernels end with their processes
                job.process.kill()
    return sorted(failed)


class _Job:
    """One notebook that is being built, seen from the builder's side: `told` is what its process says, until it ends."""

    def __init__(self, source: Path, values: dict[str, Any], threads: int, progress: Progress):
        self.source, self.values, self.progress = source, values, progress
        self.folder = folder = Path(values["out"]) / values["profile"] / source.stem
        self.started, self.error = time.monotonic(), None
        self.made_from = made_from(source, values)  # now: who edits it meanwhile has it built again
        self.book, output = notebooks.load(source), folder / f"{source.stem}.ipynb"
        with atomic_file(output) as path:  # also makes the folder, or says in a sentence why it cannot
            nbformat.write(self.book, path)
        self.manifest = folder / "manifest.json"
        self.manifest.unlink(missing_ok=True)  # of an earlier build; this one writes its own
        self.bar = progress.add_task(source.stem, total=len(self.book.cells) + 1, training="")
        environment = {"LUNGNB_PROGRESS": os.devnull, "OMP_NUM_THREADS": str(threads)}
        if progress.console.is_terminal and not values.get("cluster"):  # a job on another machine has no such file
            environment["LUNGNB_PROGRESS"] = str(Path(os.environ["JUPYTER_PATH"].split(os.pathsep)[0]) / source.stem)
        environment |= os.environ
        self.trainings = Path(environment["LUNGNB_PROGRESS"])
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self.told, end = context.Pipe(duplex=False)
        self.process = context.Process(target=_execute_and_tell, args=(source, output, values, environment, end))
        self.process.start()
        end.close()  # else `told` would not end with the process

    def listen(self) -> bool:
        """Take what the process says next; False if it has ended."""
        try:
            kind, what = self.told.recv()
        except EOFError:
            return False
        if kind == "cells":
            self.progress.update(self.bar, completed=what)
        elif kind == "log":
            print(f"{self.source.stem}: {what}", file=sys.stderr, flush=True)
        else:
            self.error = what
        return True

    def show_training(self) -> None:
        """Show beside the bar how far the training is that runs now."""
        if self.trainings.is_file():
            with self.trainings.open("rb") as lines:
                lines.seek(max(0, self.trainings.stat().st_size - 1000))
                last = json.loads(lines.read().splitlines()[-1])
            text = f"{last['task']}: {last['step']}/{last['steps']}, {last['seconds_left']:.0f} s"
            self.progress.update(self.bar, training=text if last["step"] < last["steps"] else "")

    def conclude(self) -> list[str]:
        """Note in the manifest how the build went, and print it. Returns the notebook's name if it failed."""
        self.process.join()
        error = self.error
        if error is None:  # it could not say
            error = f"its process ended with status {self.process.exitcode}; was there too little memory?"
        name, made = self.source.stem, {"notebook": self.source.stem, "artefacts": {}}
        if self.manifest.exists():
            made = json.loads(self.manifest.read_text())
        shown = notebooks.artefacts(self.source.with_suffix(".ipynb"))
        missing = [artefact for artefact in shown if not _is_made(artefact, made, self.folder)]
        error = error or (f"{', '.join(missing)} not made" if missing else "")
        seconds, state = round(time.monotonic() - self.started, 1), "failed" if error else "built"
        made["build"] = {"title": notebooks.heading(self.book), "state": state, "error": error, "missing": missing}
        made["build"] |= {"seconds": seconds, "parameters": self.values, "made_from": self.made_from}
        write_json(self.manifest, made)
        outcome = f"failed, {error}" if error else f"{len(made['artefacts'])} tables and figures"
        self.progress.remove_task(self.bar)
        print(f"{name}: {outcome}; {seconds / 60:.1f} minutes; {self.folder}", flush=True)
        return [name] if error else []


def _execute_and_tell(source: Path, output: Path, values: dict, environment: dict[str, str], told: Connection) -> None:
    """In a process of its own: execute, tell how many cells are done and what is warned of, at last the error or ""."""
    Thread(target=_end_with_builder, daemon=True).start()
    os.environ.clear()  # it is that of the process from which this one was forked
    os.environ.update(environment)
    logger, handler = logging.getLogger("papermill"), logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.send(("log", record.getMessage().rstrip()))
    logger.addHandler(handler)
    logger.propagate, error = False, ""
    try:
        count = {"on_cell_executed": lambda cell_index, **_: told.send(("cells", cell_index + 1))}
        _execute(notebooks.load(source), output, values, source.parent, progress_bar=False, **count)
    except PapermillExecutionError as problem:
        error = " ".join(f"{problem.ename}: {problem.evalue}".split())
    except Exception as problem:  # a kernel that died, say
        error = " ".join(f"{type(problem).__name__}: {problem}".split())
    told.send(("ended", error))


def _end_with_builder() -> None:
    """A build that nobody waits for any more is not gone on with; its kernel ends when this process does."""
    multiprocessing.parent_process().join()
    os._exit(1)


def store(names: list[str]) -> None:
    """Execute each notebook with its own defaults and write the stored half of its pair, outputs and all."""
    logger = logging.getLogger("papermill")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.WARNING)
    for source in notebooks.find(names):
        # Its artefacts go aside: those of the last report stay with their manifest.
        with _kernel(), tempfile.TemporaryDirectory() as aside, patch.dict(os.environ, LUNGNB_REPORTS=aside):
            try:
                book = notebooks.load(source)
                done = _execute(book, None, {}, source.parent, progress_bar={"desc": source.stem})
            except PapermillExecutionError as error:
                raise UserError(f"{source.stem} fails with {error.ename}: {error.evalue}; mend {source}.") from error
        stored = notebooks.stored_form(done, source)
        with atomic_file(source.with_suffix(".ipynb")) as path:
            nbformat.write(stored, path)


def _checked(
    sources: list[Path], profile: str, data: str, parameters: dict[str, Any], out: str
) -> dict[Path, dict[str, Any]]:
    """The parameters of each notebook, typed. Raises UserError that lists all that is wrong with any of them."""
    problems = [f"Give {key} as --{key}, not with -p." for key in ("profile", "data", "out") if key in parameters]
    values = {"profile": profile, "out": out or str(default_out())} | ({"data": data} if data else {}) | parameters
    checked = {}
    for source in sources:
        known = notebooks.parameters(notebooks.load(source))
        types = {name: parameter["type"] for name, parameter in known.items()}
        checked[source], wrong = read_parameters(source.stem, values, types)
        problems += wrong
        for key in (key for key in values if key not in known):
            hint = f"{did_you_mean(key, list(known))}; it has {', '.join(known) or 'none'}"
            problems.append(f"{source.stem} has no parameter {key!r}{hint}.")
    refuse(problems)
    return checked


def made_from(source: Path, values: dict[str, Any]) -> str:
    """A hash of all that decides what a notebook shows; empty where it reads a folder of the user's, which may change."""
    defaults = {
        name: known["default"].strip("\"'") for name, known in notebooks.parameters(notebooks.load(source)).items()
    }
    read = [text for name, text in (defaults | values).items() if name != "out" and text and isinstance(text, str)]
    if any(Path(text).expanduser().exists() for text in read):
        return ""
    asked = {name: value for name, value in values.items() if name != "out"}
    content = hashlib.blake2b(json.dumps([asked, package_versions()], sort_keys=True).encode(), digest_size=16)
    files = [path for folder in (Path(__file__).parents[1], storage.folder()) for path in sorted(folder.rglob("*"))]
    for path in [source, *files]:
        if path.is_file() and path.suffix != ".pyc":
            content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()


def is_up_to_date(source: Path, values: dict[str, Any]) -> bool:
    """Whether `source` was built whole from what is here now and its files are as they were left; if so, print that."""
    folder = Path(values["out"]) / values["profile"] / source.stem
    try:
        made = json.loads((folder / "manifest.json").read_text())
        finished = (folder / "manifest.json").stat().st_mtime
        touched = any(path.stat().st_mtime > finished for path in folder.rglob("*") if path.is_file())
        shown = {*notebooks.artefacts(source.with_suffix(".ipynb")), *made["artefacts"]}
        same = made["build"]["state"] == "built" and made["build"]["made_from"] == made_from(source, values) != ""
    except (OSError, ValueError, KeyError):  # never built, or by an earlier lungnb
        return False
    if touched or not same or not all(_is_made(name, made, folder) for name in shown):
        return False
    said = f"{len(made['artefacts'])} tables and figures, nothing changed since they were built (--force builds them again)"
    print(f"{source.stem}: {said}; {folder}", flush=True)
    return True


def _is_made(name: str, manifest: dict, folder: Path) -> bool:
    files = manifest["artefacts"].get(name, {}).get("files", [])
    return bool(files) and all((folder / file).is_file() and (folder / file).stat().st_size for file in files)


@contextmanager
def _kernel() -> Iterator[None]:
    """This interpreter as the notebooks' kernel `python3`."""
    with tempfile.TemporaryDirectory() as folder:
        write_kernel_spec(Path(folder) / "kernels" / "python3")
        path = os.pathsep.join(filter(None, [folder, os.environ.get("JUPYTER_PATH", "")]))
        with patch.dict(os.environ, JUPYTER_PATH=path):
            yield


def _execute(book: NotebookNode, output: Path | None, parameters: dict, folder: Path, **options: Any) -> NotebookNode:
    """Run `book` in `folder`; `output` is saved after each cell. What the cells print goes to the log of papermill."""
    options |= {"kernel_name": "python3", "log_output": True, "cwd": folder}
    options["config"] = Config(KernelManager={"transport_encryption": "auto"})  # else each kernel warns of having none
    for tries_left in (2, 1, 0):
        try:
            return execute_notebook(book, output, parameters, **options)
        except RuntimeError as error:  # before any cell: another kernel took the port that this one was given as free
            if not tries_left or not re.search("died before replying|didn't respond", str(error)):
                raise
