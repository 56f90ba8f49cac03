"""Students' copies of the notebooks: cells to answer in and tests, no solutions; a second writing keeps the answers.

An exercise begins with its number in a cell of prose, as `**3.** *(easy, 5 minutes)*`, and its solution is in cells tagged
`solution`. A copy has in their place a cell to answer in, for code or for words as the solution is; a code cell that begins with
`# your answer` is one already. A code cell of an exercise with an `assert` is its test.

Cells are known again by their ids: `answer-3`, `answer-3-words`, and for all that is given `given-` and a digest of its text.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from uuid import uuid4

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from lungnb.book.notebooks import find, heading, load, tags
from lungnb.core import UserError, atomic_file

_EXERCISE = re.compile(r"\*\*(\d+)\.\*\* (?:\*\((\w+), \d+ minutes\)\*)?")
_NEXT_EXERCISE = re.compile(r"^(?=\*\*\d+\.\*\* )", re.M)
_ABOUT_SOLUTIONS = re.compile(r"Each solution is [^;]*; `lungnb student` writes a copy of this notebook without them\.")
_ABOUT_ANSWERS = "Answer in the cells that say so; what you write there stays when this copy is written again."
_EMPTY = {"code": "# your answer", "markdown": "*Your answer, in words.*"}
_POINTS = {"easy": 1, "medium": 2, "hard": 3}


def write_student_copies(
    target: Path, names: Sequence[str] = (), solutions: bool = False, nbgrader: bool = False
) -> list[Path]:
    """Write a copy of each notebook called `names` (of all if empty) into `target`; the files that were written.

    In a copy that is there all that its student wrote stays: answers, outputs, further cells, given cells that were changed.
    solutions: also the solved exercises, as they are stored, into `target`/solutions. nbgrader: with its metadata, of schema 3,
    and each in a folder of its own name, as nbgrader wants its assignments.
    Raises UserError for a file that is no notebook, which is left alone.
    """
    written = []
    for source in find(list(names)):
        book, path = student_copy(source, nbgrader), target / (source.stem if nbgrader else "") / f"{source.stem}.ipynb"
        if path.exists():
            book.cells = _merged(book.cells, _read(path).cells)
        written.append(_write(book, path))
        if solutions:
            written.append(_write(_solved(source), target / "solutions" / path.name))
    return written


def student_copy(source: Path, nbgrader: bool = False) -> NotebookNode:
    """The notebook of `source` with cells to answer in, without solutions and outputs."""
    book, exercises = load(source), [[]]
    for cell in book.cells:  # prose that holds several exercises is divided
        before, *texts = _NEXT_EXERCISE.split(cell.source) if cell.cell_type == "markdown" else [cell.source]
        exercises[-1] += [NotebookNode(cell, source=before.rstrip("\n"))] if before.strip() else []
        exercises += [[new_markdown_cell(text.rstrip("\n"))] for text in texts]
    book.cells, seen = [cell for exercise in exercises for cell in _unsolved(exercise, nbgrader)], Counter()
    for cell in book.cells:  # a text that is given twice has two ids
        seen[cell.id] += 1
        cell["id"] += f"-{seen[cell.id]}" if seen[cell.id] > 1 else ""
    return book


def _unsolved(exercise: list[NotebookNode], nbgrader: bool) -> list[NotebookNode]:
    """What stands before the first exercise, or an exercise, with a cell to answer in of each kind that its solution has."""
    number, level = found.groups() if exercise and (found := _EXERCISE.match(exercise[0].source)) else ("", None)
    lacking, cells = dict.fromkeys(cell.cell_type for cell in exercise if _is_answer(cell)), []
    lacking = lacking or ({"markdown": None} if number else {})  # without a solution it is answered in words
    for cell in [*exercise, *(NotebookNode(cell_type=kind, metadata={"tags": ["solution"]}) for kind in lacking)]:
        if not _is_answer(cell):
            text = _ABOUT_SOLUTIONS.sub(_ABOUT_ANSWERS, cell.source)
            cells.append(NotebookNode(cell, source=text, id=_id_of(text)))
        elif cell.cell_type in lacking:
            del lacking[cell.cell_type]
            new, end = (new_code_cell, "") if cell.cell_type == "code" else (new_markdown_cell, "-words")
            cells.append(new(_EMPTY[cell.cell_type], id=f"answer-{number}{end}"))
    tests = [c for c in cells if number and c.cell_type == "code" and re.search(r"^ *assert ", c.source, re.M)]
    for cell in cells if nbgrader else []:
        if (is_answer := cell.id.startswith("answer")) or cell in tests:
            name = cell.id if is_answer else f"test-{number}-{tests.index(cell) + 1}"
            is_graded = not (tests and cell.id == f"answer-{number}")  # else its test is
            fields = {"schema_version": 3, "grade_id": name, "task": False, "grade": is_graded}
            fields |= {"solution": is_answer, "locked": not is_answer}
            fields |= {"points": _POINTS.get(level, 1)} if is_graded else {}
            cell["metadata"] = cell.metadata | {"nbgrader": fields}
    return cells


def _is_answer(cell: NotebookNode) -> bool:
    return "solution" in tags(cell) or (cell.cell_type == "code" and cell.source.startswith(_EMPTY["code"]))


def _id_of(text: str) -> str:
    return "given-" + sha1(text.encode()).hexdigest()[:10]


def _merged(new: list[NotebookNode], old: list[NotebookNode]) -> list[NotebookNode]:
    """`new` with the cells that `old` has too as they are there, and the student's own, each after what it stood after."""
    known, kept, own, last = {cell.id for cell in new}, {}, defaultdict(list), ""
    for cell in old:
        given = _id_of(cell.source)  # what an editor without ids leaves of it
        name = cell.id if cell.get("id") in known else given
        if name in known and name not in kept:
            kept[name], last = cell, name
        elif not cell.get("id", "").startswith(given) and cell.source.strip() not in ("", *_EMPTY.values()):
            cell["id"] = uuid4().hex[:8] if cell.get("id") in {None, *known} else cell.id
            own[last].append(cell)  # neither given nor empty
    cells = [NotebookNode(kept.get(cell.id, cell), id=cell.id, metadata=cell.metadata) for cell in new]
    return own[""] + [each for cell in cells for each in (cell, *own[cell.id])]


def _solved(source: Path) -> NotebookNode:
    """The exercises of a notebook with their solutions; with outputs, if it is stored."""
    book = _read(stored) if (stored := source.with_suffix(".ipynb")).exists() else load(source)
    first = next((k for k, cell in enumerate(book.cells) if re.search(r"^#+ Exercise", cell.source, re.M)), 0)
    book.cells = [new_markdown_cell(f"# Solutions: {heading(book)}", id="title"), *book.cells[first:]]
    return book


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise UserError(f"{path} is no notebook and may hold a student's work; move it away.") from error


def _write(book: NotebookNode, path: Path) -> Path:
    with atomic_file(path) as temporary:
        nbformat.write(book, temporary)
    return path
