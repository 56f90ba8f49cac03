"""Sphinx's configuration. `lungnb.book.site.build` calls Sphinx with this and a source folder that it has written."""

from importlib.util import find_spec
from pathlib import Path

_HERE = Path(__file__).parent
_MATHJAX = Path(find_spec("sphinx-mathjax-offline").submodule_search_locations[0]) / "static" / "mathjax"

project = "lungnb"
copyright = author = ""
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "lungnb.book.site.extension",
]
templates_path: list[str] = []

nb_execution_mode = "off"
nb_code_prompt_show = "Show the solution"  # nothing else is folded
nb_code_prompt_hide = "Hide the solution"
nb_merge_streams = True
nb_render_markdown_format = "gfm"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

numfig = True
numfig_secnum_depth = 1
numfig_format = {"figure": "Figure %s", "table": "Table %s"}

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "show-inheritance": True,
    "exclude-members": "model_config",
}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "lungnb"
html_static_path = [
    str(_HERE / "static"),
    str(_MATHJAX / "tex-svg-full.js"),
]  # one file, its letters in it: no fonts to load
html_css_files = ["site.css"]
html_js_files = ["filter.js"]
html_show_sphinx = html_show_copyright = html_show_sourcelink = html_copy_source = False
html_show_search_summary = False  # it would be fetched, which a browser refuses for pages opened from a disk
mathjax_path = "tex-svg-full.js"
mathjax3_config = {"options": {"enableMenu": False}}  # the menu would load more files
