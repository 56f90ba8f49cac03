"""A stored notebook as a chapter: the same cells, its tables and figures numbered and labelled, so that pages can point at them.

What `lungnb.book.report` displayed is moved from its cell's output into a directive of its own, which gives it a number, a caption
and the label `respirenet-table-1`. All else stays as it was stored.
"""

import base64
import html
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from docutils import nodes
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from lungnb.book import notebooks
from lungnb.book.index import expected
from lungnb.book.report import title

_HEADING = re.compile(r"^(#+) +(.+)$", re.M)
_NUMBER = re.compile(r"^([IVX]+|\d)([.-][A-Z\d]+)*\.? ")
_EXERCISE = re.compile(r"^\*\*(\d+)\.\*\* ", re.M)
_CAPTION = re.compile(r"<caption>(.*?)</caption>", re.S)
_TABLE = re.compile(r"<table.*</table>", re.S)
_STYLE = re.compile(r"<style.*?</style>", re.S)
_POINTER = re.compile(r"\]\((\w+)\.ipynb#([a-z\d-]+)\)")
_NAMED = re.compile(r"(?<!\[)`(\d\d_\w+)`")
_OF_PAPER = re.compile(r"\b(Table|Figure) ([IVX]+|\d+)\b")
_LINKED = re.compile(r"(`[^`]*`|\[[^]]*\]\([^)]*\)|\$[^$]*\$|^#+ .*$)", re.M)  # prose in which nothing is linked anew
ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "VIII": 8, "IX": 9, "X": 10}


@dataclass
class Section:
    """One heading of a notebook: its label, its cells (first and last, from 1), and the artefacts made under it."""

    title: str
    level: int
    label: str
    first: int
    last: int
    artefacts: list[str] = field(default_factory=list)

    @property
    def of_paper(self) -> bool:
        """Whether the heading carries a section number of the paper, or the name of one of its tables and figures."""
        return bool(_NUMBER.match(self.title) or _OF_PAPER.match(self.title))


@dataclass
class Chapter:
    """What the other pages need to know of a notebook. `exercises` are texts in Markdown, each with the label of its cell."""

    name: str
    title: str
    sections: list[Section]
    exercises: list[tuple[str, str]]

    @property
    def artefacts(self) -> list[str]:
        return [name for section in self.sections for name in section.artefacts]


def label(notebook: str, what: str) -> str:
    """`01_respirenet`, `table-1` -> `respirenet-table-1`: an id in HTML, where Sphinx would cut digits in front."""
    return nodes.make_id(f"{notebook}-{what}")


def write_chapter(stored: Path, folder: Path, books: Collection[str] = ()) -> Chapter:
    """Write the page of the notebook `stored` and the files of its artefacts into `folder`; says what is in it.

    books: the notebooks that are in the site, to which prose may be linked.
    """
    book, name = nbformat.read(stored, as_version=4), stored.stem
    (folder / name).mkdir(parents=True, exist_ok=True)
    made = {artefact(output) for cell in book.cells for output in cell.get("outputs", [])} - {""}
    chapter, cells, exercise = Chapter(name, notebooks.heading(book) or name, [], []), [], ("", "")
    for number, cell in enumerate(book.cells, start=1):
        mark = label(name, f"cell-{number}")
        if cell.cell_type == "markdown":
            for hashes, text in _HEADING.findall(cell.source):
                chapter.sections.append(Section(text.strip(), len(hashes), mark, number, number))
            exercise = (_exercise(cell.source), mark)
            cells.append(new_markdown_cell(f"({mark})=\n{linked(cell.source, name, made, books)}"))
        if chapter.sections:
            chapter.sections[-1].last = number
        if cell.cell_type != "code":
            continue
        if "solution" in notebooks.tags(cell):
            cell.metadata["tags"] = [*notebooks.tags(cell), "hide-cell"]
            chapter.exercises.append(exercise)
        if chapter.sections:
            chapter.sections[-1].artefacts += filter(None, map(artefact, cell.outputs))
        cells += split(cell, name, folder)
    book.cells = cells
    nbformat.write(book, folder / stored.name)
    return chapter


def _exercise(text: str) -> str:
    """The last numbered exercise of a Markdown cell, without its number."""
    return _EXERCISE.split(text)[-1].strip() if _EXERCISE.search(text) else ""


def artefact(output: NotebookNode) -> str:
    """The name of the artefact that an output of a cell shows, empty if it is none."""
    data = output.get("data", {})
    if found := re.search(r'<table id="T_([a-z\d-]+)">', data.get("text/html", "")):
        return found[1]
    alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
    return alt.partition(",")[0].strip().lower().replace(" ", "-")


def split(cell: NotebookNode, name: str, folder: Path) -> list[NotebookNode]:
    """A code cell as several: itself, then its outputs in their order, artefacts as directives."""
    outputs, cell.outputs = cell.outputs, []
    cells = [cell]
    for output in outputs:
        if artefact(output):
            cells.append(new_markdown_cell(directive(output, name, folder)))
            continue
        if cells[-1].cell_type == "markdown":
            cells.append(new_code_cell(metadata={"tags": ["remove-input"]}))
        cells[-1].outputs.append(_themed(output))
    return cells


def directive(output: NotebookNode, notebook: str, folder: Path) -> str:
    """Write the artefact's file into `folder`, and the Markdown that shows it with its caption and its label."""
    name, data = artefact(output), output["data"]
    if "image/png" in data:
        said, file, kind = output["metadata"]["image/png"]["alt"], f"{notebook}/{name}.png", "figure"
        (folder / file).write_bytes(base64.b64decode(data["image/png"]))
        extra = f":alt: {said}\n"
    else:
        table, file, kind, extra = _TABLE.search(data["text/html"])[0], f"{notebook}/{name}.html", "artefact-table", ""
        said = html.unescape("".join(_CAPTION.findall(table)))
        (folder / file).write_text(_CAPTION.sub("", table))
    return (
        f"```{{{kind}}} {file}\n:name: {label(notebook, name)}\n{extra}\n{_escape(caption(notebook, name, said))}\n```"
    )


def caption(notebook: str, name: str, said: str) -> str:
    """What it is, where the paper has it, and what its data are: `said` is what the notebook shows beneath it."""
    what = expected(notebook).get(name) or title(name).lower()
    place = f" ({title(name)} of the paper)" if re.fullmatch(r"(table|figure)-\d+", name) else ""
    origin = re.sub(rf"^{re.escape(title(name))}[:,] *", "", said).rstrip(".")
    words = [what + place, *([origin] if origin else [])]
    return ". ".join(word[0].upper() + word[1:] for word in words) + "."


def linked(text: str, notebook: str, made: set[str], books: Collection[str]) -> str:
    """Markdown of a notebook with its references as links.

    `[...](02_convlstm.ipynb#table-3)` and `02_convlstm` in code point at pages and artefacts of the site, and Table I of the
    paper at the artefact of this notebook that rebuilds it, if there is one.
    """
    text = _POINTER.sub(lambda m: f"](#{label(m[1], m[2])})", text)
    text = _NAMED.sub(lambda m: f"[{m[0]}]({m[1]}.ipynb)" if m[1] in books else m[0], text)
    parts = _LINKED.split(text)
    parts[::2] = [_OF_PAPER.sub(lambda m: _own(m, notebook, made), part) for part in parts[::2]]
    return "".join(parts)


def _own(found: re.Match, notebook: str, made: set[str]) -> str:
    name = f"{found[1].lower()}-{ROMAN.get(found[2], found[2])}"
    return f"[{found[0]}](#{label(notebook, name)})" if name in made else found[0]


def _themed(output: NotebookNode) -> NotebookNode:
    """Quoted source brings colours for a light page only; the site has its own for both."""
    if 'class="output_html"' in (text := output.get("data", {}).get("text/html", "")):
        output["data"]["text/html"] = _STYLE.sub("", text).replace('class="output_html"', 'class="highlight"')
    return output


def _escape(text: str) -> str:
    """Prose in which Markdown finds no markup."""
    return re.sub(r"([\\`*_{}\[\]<>$|#~])", r"\\\1", text)
