"""A stored notebook as a chapter: the same cells, its tables and figures numbered and labelled, so that pages can point at them.

What a `Report` displayed is moved from its cell's output into a directive of its own, which gives it a number, a caption and
the label `respirenet-table-1`. All else stays as it was stored.
"""

import base64
import html
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import nbformat
from docutils import nodes
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from lungnb.book import notebooks
from lungnb.book.notebooks import artefact

_HEADING = re.compile(r"^#+ +(.+)$", re.M)
_EXERCISE = re.compile(r"^\*\*\d+\.\*\* ", re.M)
_OF_PAPER = re.compile(r"\b(Table|Figure) ([IVX]+|\d+)\b")
_LINKED = re.compile(r"(`[^`]*`|\[[^]]*\]\([^)]*\)|\$[^$]*\$|^#+ .*$)", re.M)  # prose in which nothing is linked anew
_IMPORT = re.compile(r"(from|import) ")
_DRAWING = re.compile(r"\b(plt|axes|axis|ax|figure|panels?|plots)\b[.\[]")
ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "VIII": 8, "IX": 9, "X": 10}


@dataclass
class Section:
    """One heading of a notebook: its label, its cells (first and last, from 1), and the artefacts made under it."""

    title: str
    label: str
    first: int
    last: int
    artefacts: list[str] = field(default_factory=list)

    @property
    def of_paper(self) -> bool:
        """Whether the heading carries a section number of the paper, or the name of one of its tables and figures."""
        return bool(re.match(r"([IVX]+|\d)([.-][A-Z\d]+)*\.? ", self.title) or _OF_PAPER.match(self.title))


@dataclass
class Chapter:
    """What the other pages need to know of a notebook. captions: of each artefact, in their order, what it shows.
    exercises: texts in Markdown, each with the label of its cell."""

    name: str
    title: str
    captions: dict[str, str] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    exercises: list[tuple[str, str]] = field(default_factory=list)


def label(notebook: str, what: str) -> str:
    """`01_respirenet`, `table-1` -> `respirenet-table-1`: an id in HTML, where Sphinx would cut digits in front."""
    return nodes.make_id(f"{notebook}-{what}")


def write_chapter(
    stored: Path,
    folder: Path,
    books: Collection[str] = (),
    student: bool = False,
    beside: Mapping[str, str] = MappingProxyType({}),
) -> Chapter:
    """Write the page of the notebook `stored` and the files of its artefacts into `folder`; says what is in it.

    books: the notebooks that are in the site, to which prose may be linked. student: without solutions, nor the files that
    hold them. A page links its notebook and script, copied into `files`, what its code rests on, if `papers` has it, and what
    `beside` has under its name.
    """
    book, name = nbformat.read(stored, as_version=4), stored.stem
    notebooks.drop_widgets(book)
    for made in (folder / name, folder / "files"):
        made.mkdir(parents=True, exist_ok=True)
    if student:
        book.cells = [cell for cell in book.cells if "solution" not in notebooks.tags(cell)]
    files = [] if student else [path for path in (stored, stored.with_suffix(".py")) if path.is_file()]
    for path in files:
        shutil.copy(path, folder / "files")
    places = [f"{{download}}`{path.name} <files/{path.name}>`" for path in files]
    if (folder / "papers" / f"{name.partition('_')[2]}.md").is_file():
        places.append(f"[paper, code and data](papers/{name.partition('_')[2]}.md)")
    places += [beside[name]] if name in beside else []
    chapter, cells = Chapter(name, notebooks.heading(book) or name), []
    outputs = [output for cell in book.cells for output in cell.get("outputs", []) if artefact(output)]
    chapter.captions = {artefact(output): _said(output).partition(". ")[0].rstrip(".") for output in outputs}
    for number, cell in enumerate(book.cells, start=1):
        if cell.cell_type == "markdown":
            mark = label(name, f"cell-{number}")
            chapter.sections += [Section(text.strip(), mark, number, number) for text in _HEADING.findall(cell.source)]
            if chapter.sections and chapter.sections[-1].title.startswith("Exercise"):
                chapter.exercises += [(text.strip(), mark) for text in _EXERCISE.split(cell.source)[1:]]
            text = linked(cell.source, name, chapter.captions, books)
            if number == 1:
                text = _HEADING.sub(lambda title: f"{title[0]}\n\n{' · '.join(places)}\n", text, count=1)
            cells.append(new_markdown_cell(f"({mark})=\n{text}"))
        elif cell.cell_type == "code":
            if "solution" in notebooks.tags(cell):
                cell.metadata["tags"] = [*notebooks.tags(cell), "hide-cell"]
            elif what := _folded(cell.source):
                cell.metadata["tags"] = [*notebooks.tags(cell), "hide-input"]
                cell.metadata["mystnb"] = {
                    f"code_prompt_{verb}": f"{verb.capitalize()} {what}" for verb in ("show", "hide")
                }
            if chapter.sections:
                chapter.sections[-1].artefacts += filter(None, map(artefact, cell.outputs))
            cells += split(cell, name, folder)
        if chapter.sections:
            chapter.sections[-1].last = number
    book.cells = cells
    nbformat.write(book, folder / stored.name)
    return chapter


def _folded(source: str) -> str:
    """What a cell consists of that hardly anyone reads, `the imports` or `how it is drawn`; else empty."""
    lines = [line for line in source.splitlines() if line.strip()]
    drawing = sum(bool(_DRAWING.search(line)) for line in lines)
    if sum(bool(_IMPORT.match(line)) for line in lines) > len(lines) / 2:
        return "the imports"
    return "how it is drawn" if drawing > 3 or drawing > 0.4 * len(lines) else ""


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
        if 'class="output_html"' in (text := output.get("data", {}).get("text/html", "")):
            # Quoted source brings colours for a light page only; the site has its own for both.
            text = re.sub(r"<style.*?</style>", "", text, flags=re.S)
            output["data"]["text/html"] = text.replace('class="output_html"', 'class="highlight"')
        cells[-1].outputs.append(output)
    return cells


def _said(output: NotebookNode) -> str:
    """The caption that the notebook shows, without the name in front: `Scores by split. Simulated data.`"""
    alt = output.get("metadata", {}).get("image/png", {}).get("alt")
    text = alt or html.unescape("".join(re.findall(r"<caption>(.*?)</caption>", output["data"]["text/html"], re.S)))
    said = re.split("[:,] *", text, maxsplit=1)[-1]
    return said[:1].upper() + said[1:]


def directive(output: NotebookNode, notebook: str, folder: Path) -> str:
    """Write the artefact's file into `folder`, and the Markdown that shows it with its caption and its label."""
    name, said, data, extra = artefact(output), _said(output), output["data"], ""
    if "image/png" in data:
        file, kind, extra = f"{notebook}/{name}.png", "figure", f":alt: {output['metadata']['image/png']['alt']}\n"
        (folder / file).write_bytes(base64.b64decode(data["image/png"]))
    else:
        file, kind = f"{notebook}/{name}.html", "artefact-table"
        table = re.search(r"<table.*</table>", data["text/html"], re.S)[0]
        (folder / file).write_text(re.sub(r"<caption>.*?</caption>", "", table, flags=re.S))
    if re.fullmatch(r"(table|figure)-\d+", name):
        first, dot, rest = said.partition(".")
        said = f"{first} ({name.replace('-', ' ').capitalize()} of the paper){dot}{rest}"
    said = re.sub(r"([\\`*_{}\[\]<>$|#~])", r"\\\1", said)  # prose in which Markdown finds no markup
    return f"```{{{kind}}} {file}\n:name: {label(notebook, name)}\n{extra}\n{said}\n```"


def linked(text: str, notebook: str, made: Collection[str], books: Collection[str]) -> str:
    """Markdown of a notebook with its references as links.

    `[...](02_convlstm.ipynb#table-3)` and `02_convlstm` in code point at pages and artefacts of the site, and Table I of the
    paper at the artefact of this notebook that rebuilds it, if there is one.
    """

    def own(found: re.Match) -> str:
        name = f"{found[1].lower()}-{ROMAN.get(found[2], found[2])}"
        return f"[{found[0]}](#{label(notebook, name)})" if name in made else found[0]

    text = re.sub(r"\]\((\w+)\.ipynb#([a-z\d-]+)\)", lambda m: f"](#{label(m[1], m[2])})", text)
    text = re.sub(r"(?<!\[)`(\d\d_\w+)`", lambda m: f"[{m[0]}]({m[1]}.ipynb)" if m[1] in books else m[0], text)
    return "".join(part if k % 2 else _OF_PAPER.sub(own, part) for k, part in enumerate(_LINKED.split(text)))
