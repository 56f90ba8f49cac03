"""The book as a site: Sphinx + myst-nb from notebooks with outputs, whole without a network.

    build(Path("reports/site"))    pages of the notebooks, guides, ranking, ledger, sounds, the library

`chapter` makes a page of a notebook; the prose of the guides stands in `templates/*.md.j2`, and what it speaks of is taken from
the notebooks, the audits and the manifests in `reports/<profile>/`, as far as there are any. Notebooks are never executed here.
"""

import ast
import base64
import html
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from docutils import nodes
from docutils.parsers.rst import directives
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective, docutils_namespace, patch_docutils
from sphinx.writers.html5 import HTML5Translator

from lungnb import __version__
from lungnb.book import clips, front, notebooks
from lungnb.book.leaderboard import SOURCES, gaps, leaderboard, side_by_side
from lungnb.book.ranking import prices, ranking
from lungnb.book.report import PROFILES, default_out
from lungnb.book.site import lite, tables
from lungnb.book.site.chapter import Chapter, label, write_chapter
from lungnb.book.site.parcels import Missing
from lungnb.core import UserError, disk_errors
from lungnb.published import PAPERS, audit, ledger

GUIDES = (
    "index.md",
    "sounds.md",
    "reading.md",
    "teaching.md",
    "leaderboard.md",
    "ledger.md",
    "audits.md",
    "numbers.md",
)
GUIDES += ("library.rst",)
#: What the page of a notebook links beside its files, where the lesson for the browser is there.
_BESIDE = {"00_lesson": "[a lesson like this one in your browser, nothing to install](browser.md)"}
_MATHJAX = Path(find_spec("sphinx-mathjax-offline").submodule_search_locations[0]) / "static" / "mathjax"

SETTINGS: dict[str, Any] = {
    "project": "lungnb",
    "extensions": ["myst_nb", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "lungnb.book.site"],
    "autosummary_generate": False,
    "nb_execution_mode": "off",
    "nb_code_prompt_show": "Show the solution",  # what else is folded says what it is
    "nb_code_prompt_hide": "Hide the solution",
    "nb_merge_streams": True,
    "nb_render_markdown_format": "gfm",
    "myst_enable_extensions": ["dollarmath", "amsmath"],
    "myst_heading_anchors": 3,
    "numfig": True,
    "numfig_secnum_depth": 1,
    "numfig_format": {"figure": "Figure %s", "table": "Table %s"},
    "html_theme": "furo",
    "html_title": f"lungnb {__version__}",
    "html_last_updated_fmt": "%d %B %Y",
    "copyright": "lungnb contributors. Code: MIT. Text and figures: CC BY 4.0. Nothing here is a medical device",
    "exclude_patterns": ["files"],  # notebooks and scripts as they are, to download
    # MathJax as one file, its letters in it: no fonts to load, and no menu, which would load more files.
    "html_static_path": [str(Path(__file__).parent / "static"), str(_MATHJAX / "tex-svg-full.js")],
    "mathjax_path": "tex-svg-full.js",
    "mathjax3_config": {"options": {"enableMenu": False}},
    "html_css_files": ["site.css"],
    "html_js_files": ["site.js"],
    **dict.fromkeys(("html_show_sphinx", "html_show_sourcelink", "html_copy_source"), False),
    "html_show_search_summary": False,  # it would be fetched, which a browser refuses for pages opened from a disk
}


def build(
    target: Path | None = None,
    books: list[Path] | None = None,
    reports: Path | None = None,
    *,
    public: bool = False,
    student: bool = False,
    browser: bool = False,
) -> Path:
    """Build the site into `target` (`reports/site`), which is replaced only when all went well. Returns its index page.

    books: notebooks with outputs (.ipynb), by default all stored ones. reports: where built and recorded results lie.
    public: without the notes that are for whoever builds it. student: without solutions, into `reports/site-student`.
    browser: with the lesson that runs in the browser (`lite`); where that cannot be had, one line says what is missing.
    Raises UserError where Sphinx warns of anything; the warnings are printed.
    """
    reports = reports or default_out()
    target = target or reports / ("site-student" if student else "site")
    books = books if books is not None else sorted(notebooks.folder().glob("*.ipynb"))
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".site-", dir=target.parent) as folder, docutils_namespace():
            source, built, trees = (Path(folder) / name for name in ("source", "html", "doctrees"))
            for part in ("papers", "figures"):
                shutil.copytree(notebooks.root() / "docs" / part, source / part)
            lesson = _browser_lesson(Path(folder) / "lite") if browser else 0
            names = [path.stem for path in books]
            chapters = [write_chapter(book, source, names, student, _BESIDE if lesson else {}) for book in books]
            write_pages(source, chapters, reports, public, student, lesson)
            options = {"confoverrides": SETTINGS, "status": None, "warningiserror": True, "parallel": 2}
            with patch_docutils():
                app = Sphinx(source, None, built, trees, "html", warning=sys.stderr, **options)
                app.build()
            if app.statuscode:
                raise UserError("The site was not built: mend what Sphinx says above, then run the command again.")
            shutil.copy(source / "numbers.csv", built)
            (built / "_static" / "pages.js").write_text(f"window.PAGES = {json.dumps(_texts(app))};")
            if lesson:
                (Path(folder) / "lite").rename(built / "lite")
            shutil.rmtree(target, ignore_errors=True)
            built.rename(target)
    return target / "index.html"


def _browser_lesson(folder: Path) -> int:
    """Write the lesson for the browser into `folder` and return its size in bytes; 0 where it cannot be had, which is said."""
    try:
        return lite.write(folder)
    except Missing as why:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"The site has no lesson that runs in the browser: {why}.", file=sys.stderr)
        return 0


def write_pages(
    folder: Path, chapters: list[Chapter], reports: Path, public: bool = False, student: bool = False, lesson: int = 0
) -> None:
    """Write all pages but the notebooks' into `folder`, and `numbers.csv`. lesson: bytes of the one in the browser, if any."""
    numbers, checks = leaderboard(reports), pd.concat([audit(paper) for paper in PAPERS], ignore_index=True)
    entries = ledger()
    numbers.to_csv(folder / "numbers.csv", index=False)
    shown = {"numbers": tables.numbers(side_by_side(numbers), chapters), "leaderboard": tables.ranking(ranking())}
    for name, table in (shown | {"audits": tables.audits(checks), "ledger": tables.entries(entries)}).items():
        (folder / f"{name}.html").write_text(tables.interactive(table, name))
    environment = Environment(
        loader=PackageLoader("lungnb.book.site"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    links = {chapter.name.partition("_")[0]: f"[`{chapter.name}`]({chapter.name}.ipynb)" for chapter in chapters}
    facts = {
        "chapters": chapters,
        "label": label,
        "link": lambda name: links.get(name.partition("_")[0], f"`{name}` (not here yet)"),
        "public": public,
        "student": student,
        "findings": [_on_site(text, [chapter.name for chapter in chapters]) for text in front.headlines()],
        "sounds": _sounds(),
        "papers": PAPERS,
        "times": _times(reports, chapters),
        "gaps": [f"`{name}`" for name in gaps(reports, [chapter.name for chapter in chapters])],
        "checks": checks,
        "entries": entries,
        "prices": prices(),
        "counts": numbers["source"].value_counts().reindex(SOURCES, fill_value=0),
        "modules": _modules(),
        "lesson": f"{lesson / 1e6:.0f} MB" if lesson else "",
        "lesson_page": lite.PAGE,
    }
    for page in (*GUIDES, *(["browser.md"] if lesson else [])):
        (folder / page).write_text(environment.get_template(f"{page}.j2").render(facts))


def _modules() -> dict[str, tuple[str, list[str]]]:
    """Of each module of lungnb the first line of its docstring, and the functions and classes that it offers."""
    root, modules = Path(__file__).parents[2], {}
    for path in sorted(path for path in root.rglob("*.py") if lite.BROWSER not in path.parents):
        tree = ast.parse(path.read_text())
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        module = ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
        first = (ast.get_docstring(tree) or "").partition("\n")[0]
        modules[module] = plain(first), [name for name in names if not name.startswith("_")]
    return modules


def _times(reports: Path, chapters: list[Chapter]) -> list[tuple[str, str, str]]:
    """Notebook, profile and minutes of every build that lies in `reports`."""
    lines = []
    for name, profile in ((chapter.name, profile) for chapter in chapters for profile in PROFILES):
        path = reports / profile / name / "manifest.json"
        build = json.loads(path.read_text()).get("build") if path.is_file() else None
        lines += [(f"[`{name}`]({name}.ipynb)", profile, f"{build['seconds'] / 60:.1f}")] if build else []
    return lines


def _on_site(text: str, books: Collection[str]) -> str:
    """Markdown of the README with its links as they are here; those to notebooks that are not among `books` are plain words."""
    text = text.replace("(lungnb/published/ledger.csv)", "(ledger.md)")
    found = re.compile(r"\[([^]]*)\]\(notebooks/(\w+)\.ipynb\)")
    return found.sub(lambda m: f"[{m[1]}]({m[2]}.ipynb)" if m[2] in books else m[1], text)


def _sounds() -> dict[str, list[str]]:
    """By type of sound what is shown of it, as HTML: the picture of a real one, then a player for each recorded generated one."""
    shown: dict[str, list[str]] = {}
    for path in sorted((notebooks.root() / "docs" / "figures").glob("real-*.png")):
        kind, _, of = html.escape(Image.open(path).text["Description"]).partition(": ")
        picture = f'<img alt="Spectrogram, {kind}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'
        shown[kind] = [
            f'<figure class="sound real">{picture}<figcaption>a real one, not to be heard<br>{of}</figcaption></figure>'
        ]
    made = clips.samples()
    for sound in made.assign(prompt=made["prompt"].map(html.escape)).itertuples():
        data = base64.b64encode(sound.path.read_bytes()).decode()
        player = (
            f'<audio controls preload="none" aria-label="{sound.prompt}" src="data:audio/ogg;base64,{data}"></audio>'
        )
        said = f"{sound.prompt}<br>judges take it for: {sound.heard}"
        figure = f'<figure class="sound">{player}<figcaption>{said}</figcaption></figure>'
        shown.setdefault(sound.type, []).append(figure)
    return shown


def _texts(app: Sphinx) -> dict[str, list[list[str]]]:
    """What each page says, for the search to quote: of each section its id, its title and its own text."""
    pages = {}
    for name in sorted(app.env.found_docs):
        for section in app.env.get_doctree(name).findall(nodes.section):
            own = (child for child in section.children[1:] if not isinstance(child, nodes.section))
            words = (t for child in own for t in child.findall(nodes.Text) if not isinstance(t.parent, nodes.raw))
            text = [section["ids"][0], section[0].astext(), " ".join(" ".join(words).split())]
            pages.setdefault(f"{name}.html", []).append(text)
    return pages


# ---- what Sphinx lacks: tables as the notebooks made them, docstrings of plain prose


class artefact_table(nodes.figure):
    """A table as the notebook made it, numbered like Sphinx's own."""


class ArtefactTable(SphinxDirective):
    """`{artefact-table} FILE`: the HTML of FILE in a box that scrolls; with a caption it is numbered, and `name` its label."""

    required_arguments, has_content = 1, True
    option_spec: ClassVar = {"name": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        _, path = self.env.relfn2path(self.arguments[0])
        table = nodes.raw("", f'<div class="table-box" tabindex="0">{Path(path).read_text()}</div>', format="html")
        if not self.content:
            return [table]
        text, messages = self.parse_inline(" ".join(self.content))
        node = artefact_table("", table, nodes.caption("", "", *text))
        self.add_name(node)
        return [node, *messages]


def setup(app: Sphinx) -> dict:
    app.add_enumerable_node(artefact_table, "table", html=(HTML5Translator.visit_figure, HTML5Translator.depart_figure))
    app.add_directive("artefact-table", ArtefactTable)
    app.connect("autodoc-process-docstring", _escape)
    app.connect("env-get-updated", _number_as_notebooks, priority=600)  # after Sphinx has counted
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _number_as_notebooks(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Chapter 90 is notebook 90: its sections, tables and figures begin with the number in its name."""
    for page in (name for name in env.found_docs if name[:2].isdigit()):
        own = int(page[:2])
        for node in (*env.tocs[page].findall(nodes.reference), env.titles[page]):
            if node.get("secnumber"):
                node["secnumber"] = [own, *node["secnumber"][1:]]
        for numbers in (env.toc_secnumbers.get(page, {}), *env.toc_fignumbers.get(page, {}).values()):
            numbers.update({mark: (own, *number[1:]) for mark, number in numbers.items() if number})
    return []


def _escape(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Our docstrings are plain prose: no star, bar, underscore or backtick of theirs is markup."""
    lines[:] = [plain(line) for line in lines]


def plain(text: str) -> str:
    return re.sub(r"([\\|*_])", r"\\\1", text.replace("`", ""))
