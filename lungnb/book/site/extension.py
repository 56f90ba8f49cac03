"""What the pages need of Sphinx and Sphinx does not have: tables as the notebooks made them, and docstrings of plain prose."""

import re
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from lungnb.book.site.docstrings import to_rst

_REPR = re.compile(r"<[^<>]*?([\w.]+)'?>")


class artefact_table(nodes.figure):
    """A table as the notebook made it, numbered like Sphinx's own."""


class ArtefactTable(SphinxDirective):
    """`{artefact-table} FILE`: the HTML of FILE in a box that scrolls; with a caption it is numbered, and `name` its label."""

    required_arguments, has_content = 1, True
    option_spec: ClassVar = {"name": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        _, path = self.env.relfn2path(self.arguments[0])
        box = f'<div class="table-box" tabindex="0">{Path(path).read_text()}</div>'
        table = nodes.raw("", box, format="html")
        if not self.content:
            return [table]
        text, messages = self.parse_inline(" ".join(self.content))
        node = artefact_table("", table, nodes.caption("", "", *text))
        self.add_name(node)
        return [node, *messages]


def setup(app: Sphinx) -> dict:
    visitors = (HTML5Translator.visit_figure, HTML5Translator.depart_figure)
    app.add_enumerable_node(artefact_table, "table", html=visitors)
    app.add_directive("artefact-table", ArtefactTable)
    app.connect("autodoc-process-docstring", _process_docstring)
    app.connect("autodoc-process-signature", _name_defaults)
    app.connect("autodoc-skip-member", _skip_borrowed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _process_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = to_rst(lines)


def _name_defaults(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """A default that is a function is called by its name, not `<function name>`, which is no Python to Sphinx."""
    return signature and (_REPR.sub(r"\1", signature), returned)


def _skip_borrowed(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """What another package defines is not ours to document, though a module of ours hands it on."""
    borrowed = what == "module" and not getattr(obj, "__module__", "lungnb").startswith("lungnb")
    return True if borrowed else None
