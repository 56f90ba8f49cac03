"""The book as a site: Sphinx + myst-nb from the stored notebooks, whole without a network.

    build(Path("reports/site"))    pages of the notebooks, the guides, the leaderboard and each module

`chapter` makes a page of a notebook, `pages` writes the guides, `docstrings` readies the API pages, `conf.py` is Sphinx's.
The notebooks are shown as they are stored, with the outputs of their last `make store`, and never executed here; the numbers
of this build come from the manifests in `reports/<profile>/`, as far as there are any.
"""

import shutil
import tempfile
from pathlib import Path

from lungnb.book import notebooks
from lungnb.book.report import default_out
from lungnb.book.site.chapter import write_chapter
from lungnb.book.site.pages import write_pages
from lungnb.core import UserError, disk_errors

HERE = Path(__file__).parent


def build(
    target: Path | None = None,
    books: list[Path] | None = None,
    modules: list[str] | None = None,
    reports: Path | None = None,
) -> Path:
    """Build the site into `target` (`reports/site`), which is replaced only when all went well. Returns its index page.

    books: stored notebooks (.ipynb), by default all. modules: those that get an API page, by default all of lungnb.
    reports: where built and recorded results lie. Raises UserError where Sphinx warns of anything; the warnings are printed.
    """
    from sphinx.cmd.build import build_main  # a second to import

    reports = reports or default_out()
    target = target or reports / "site"
    books = books if books is not None else sorted(notebooks.folder().glob("*.ipynb"))
    modules = modules if modules is not None else all_modules()
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".site-", dir=target.parent) as folder:
            source, built = Path(folder) / "source", Path(folder) / "html"
            chapters = [write_chapter(book, source, [path.stem for path in books]) for book in books]
            write_pages(source, chapters, modules, reports)
            options = ["-b", "html", "-q", "-W", "--keep-going", "-j", "2", "-c", HERE, "-d", Path(folder) / "doctrees"]
            if build_main([str(word) for word in (*options, source, built)]):
                raise UserError("The site was not built: mend what Sphinx says above, then run the command again.")
            shutil.copy(source / "leaderboard.csv", built)
            shutil.rmtree(target, ignore_errors=True)
            built.rename(target)
    return target / "index.html"


def all_modules() -> list[str]:
    """The dotted names of lungnb and of all that is in it."""
    root = HERE.parent
    files = [path.relative_to(root.parent).with_suffix("") for path in sorted(root.rglob("*.py"))]
    names = [".".join(path.parts).removesuffix(".__init__") for path in files]
    return sorted(name for name in names if name != "lungnb.book.site.conf")
