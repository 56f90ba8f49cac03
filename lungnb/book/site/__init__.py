"""The book as a site: Sphinx + myst-nb from notebooks with outputs, whole without a network.

    build(Path("reports/site"))    pages of the notebooks, guides, the leaderboard, the library

`chapter` makes a page of a notebook; the prose of the guides stands in `templates/*.md.j2`, and what it speaks of is taken from
the notebooks, the audits and the manifests in `reports/<profile>/`, as far as there are any. Notebooks are never executed here.
"""

import ast
import html
import json
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from lungnb.book import notebooks
from lungnb.book.recorded import SOURCES, gaps, leaderboard, side_by_side
from lungnb.book.report import PROFILES, default_out, number
from lungnb.book.report import label as title
from lungnb.book.site.chapter import Chapter, label, write_chapter
from lungnb.book.site.conf import SETTINGS, plain
from lungnb.core import UserError, disk_errors
from lungnb.published import PAPERS, audit

GUIDES = ("index.md", "reading.md", "teaching.md", "audits.md", "leaderboard.md", "library.rst")


def build(target: Path | None = None, books: list[Path] | None = None, reports: Path | None = None) -> Path:
    """Build the site into `target` (`reports/site`), which is replaced only when all went well. Returns its index page.

    books: notebooks with outputs (.ipynb), by default all stored ones. reports: where built and recorded results lie.
    Raises UserError where Sphinx warns of anything; the warnings are printed.
    """
    reports = reports or default_out()
    target = target or reports / "site"
    books = books if books is not None else sorted(notebooks.folder().glob("*.ipynb"))
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".site-", dir=target.parent) as folder, docutils_namespace():
            source, built, trees = (Path(folder) / name for name in ("source", "html", "doctrees"))
            chapters = [write_chapter(book, source, [path.stem for path in books]) for book in books]
            write_pages(source, chapters, reports)
            with patch_docutils():
                options = {"confoverrides": SETTINGS, "status": None, "warningiserror": True, "parallel": 2}
                app = Sphinx(source, None, built, trees, "html", warning=sys.stderr, **options)
                app.build()
            if app.statuscode:
                raise UserError("The site was not built: mend what Sphinx says above, then run the command again.")
            shutil.copy(source / "leaderboard.csv", built)
            shutil.rmtree(target, ignore_errors=True)
            built.rename(target)
    return target / "index.html"


def write_pages(folder: Path, chapters: list[Chapter], reports: Path) -> None:
    """Write all pages but the notebooks' into `folder`, and `leaderboard.csv`."""
    numbers, checks = leaderboard(reports), pd.concat([audit(paper) for paper in PAPERS], ignore_index=True)
    numbers.to_csv(folder / "leaderboard.csv", index=False)
    (folder / "leaderboard.html").write_text(_interactive(_leaderboard(side_by_side(numbers), chapters), "leaderboard"))
    (folder / "audits.html").write_text(_interactive(_audits(checks), "audits"))
    environment = Environment(
        loader=PackageLoader("lungnb.book.site"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    links = {chapter.name.partition("_")[0]: f"[`{chapter.name}`]({chapter.name}.ipynb)" for chapter in chapters}
    facts = {
        "chapters": chapters,
        "label": label,
        "link": lambda name: links.get(name.partition("_")[0], f"`{name}` (not here yet)"),
        "times": _times(reports, chapters),
        "gaps": [f"`{name}`" for name in gaps(reports, [chapter.name for chapter in chapters])],
        "checks": checks,
        "counts": numbers["source"].value_counts().reindex(SOURCES, fill_value=0),
        "modules": _modules(),
    }
    for page in GUIDES:
        (folder / page).write_text(environment.get_template(f"{page}.j2").render(facts))


def _modules() -> dict[str, tuple[str, list[str]]]:
    """Of each module of lungnb the first line of its docstring, and the functions and classes that it offers."""
    root, modules = Path(__file__).parents[2], {}
    for path in sorted(root.rglob("*.py")):
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


def _leaderboard(lines: pd.DataFrame, chapters: list[Chapter]) -> pd.DataFrame:
    """What was measured again stands first."""
    known = {chapter.name.partition("_")[2]: chapter for chapter in chapters}
    rows = []
    for line in lines.to_dict("records"):
        chapter, place = known.get(line["paper"]), html.escape(title(line["artefact"]))
        if chapter and line["artefact"] in chapter.captions:
            place = f'<a href="{chapter.name}.html#{label(chapter.name, line["artefact"])}">{place}</a>'
        numbers = {source: _cell(line[source], line[f"{source} data"]) for source in SOURCES[1:]}
        question = {"row": _cell(line["row"], line["subset"]), "metric": html.escape(line["metric"])}
        rows.append({"paper": line["paper"], "table or figure": place, **question, "published": line["published"]})
        if line["published data"] == "derived":
            rows[-1]["published"] = _cell(line["published"], "derived")
        rows[-1] |= numbers
    frame = pd.DataFrame(rows)
    return frame.iloc[(frame[list(SOURCES[1:])] == "").all(axis=1).argsort(kind="stable")]


def _cell(text: str, below: str = "") -> str:
    return html.escape(text) + (f"<br><small>{html.escape(below)}</small>" if below else "")


def _audits(checks: pd.DataFrame) -> pd.DataFrame:
    """What does not add up stands first."""
    words = checks["agrees"].map({True: "adds up", False: "does not add up"}).fillna("no verdict")
    shown = checks[["paper", "kind", "claim", "published", "recomputed", "comment"]].assign(verdict=words)
    return shown.map(lambda value: html.escape(number(value))).iloc[(words != "does not add up").argsort(kind="stable")]


def _interactive(frame: pd.DataFrame, name: str) -> str:
    """A table, its cells HTML, that can be sorted, searched and leafed through, with its script in it."""
    import itables
    from itables.javascript import generate_init_offline_itables_html
    from itables.options import dt_bundle

    options = {"showIndex": False, "maxBytes": 0, "allow_html": True, "lengthMenu": [25, 100, -1], "connected": False}
    table = itables.to_html_datatable(frame.reset_index(drop=True), table_id=f"{name}-table", **options)
    return generate_init_offline_itables_html(dt_bundle) + table
