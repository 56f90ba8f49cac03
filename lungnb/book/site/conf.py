"""Sphinx's settings for the book, and the two things it lacks: tables as the notebooks made them, docstrings of plain prose."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

_MATHJAX = Path(find_spec("sphinx-mathjax-offline").submodule_search_locations[0]) / "static" / "mathjax"

SETTINGS: dict[str, Any] = {
    "project": "lungnb",
    "extensions": ["myst_nb", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "lungnb.book.site.conf"],
    "autosummary_generate": False,
    "nb_execution_mode": "off",
    "nb_code_prompt_show": "Show the solution",  # nothing else is folded
    "nb_code_prompt_hide": "Hide the solution",
    "nb_merge_streams": True,
    "nb_render_markdown_format": "gfm",
    "myst_enable_extensions": ["dollarmath", "amsmath"],
    "myst_heading_anchors": 3,
    "numfig": True,
    "numfig_secnum_depth": 1,
    "numfig_format": {"figure": "Figure %s", "table": "Table %s"},
    "html_theme": "furo",
    "html_title": "lungnb",
    # MathJax as one file, its letters in it: no fonts to load, and no menu, which would load more files.
    "html_static_path": [str(Path(__file__).parent / "static"), str(_MATHJAX / "tex-svg-full.js")],
    "mathjax_path": "tex-svg-full.js",
    "mathjax3_config": {"options": {"enableMenu": False}},
    "html_css_files": ["site.css"],
    **dict.fromkeys(("html_show_sphinx", "html_show_copyright", "html_show_sourcelink", "html_copy_source"), False),
    "html_show_search_summary": False,  # it would be fetched, which a browser refuses for pages opened from a disk
}


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
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _escape(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Our docstrings are plain prose: no star, bar, underscore or backtick of theirs is markup."""
    lines[:] = [plain(line) for line in lines]


def plain(text: str) -> str:
    return re.sub(r"([\\|*_])", r"\\\1", text.replace("`", ""))
