"""The pages of the site, before Sphinx sees them, and what Sphinx must refuse."""

import re
from pathlib import Path

import nbformat
import pytest
from site_book import toy_book

from lungnb.book import clips, site
from lungnb.book.site import _sounds, build, write_pages
from lungnb.book.site import chapter as chapter_module
from lungnb.book.site.chapter import label, write_chapter
from lungnb.core import UserError
from lungnb.metrics.clips import TYPES
from lungnb.published import ledger

pytestmark = pytest.mark.filterwarnings("ignore:.*Sphinx API modifications")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def written(tmp_path):
    """The toy notebook as a chapter: what is known of it, its folder, the cells of its page."""
    nbformat.write(toy_book(), tmp_path / "01_toy.ipynb")
    folder = tmp_path / "source"
    chapter = write_chapter(tmp_path / "01_toy.ipynb", folder)
    return chapter, folder, nbformat.read(folder / "01_toy.ipynb", as_version=4).cells


def test_artefacts_leave_their_cell_in_order(written):
    chapter, folder, cells = written
    assert list(chapter.captions) == ["table-1", "wide", "figure-2"]
    start = next(i for i, cell in enumerate(cells) if cell.source.startswith("everything"))
    kinds = [re.match(r"```\{([a-z-]+)\}", cell.source) or cell.cell_type for cell in cells[start : start + 5]]
    assert [kind if isinstance(kind, str) else kind[1] for kind in kinds] == [
        "code", "artefact-table", "code", "artefact-table", "figure"
    ]  # fmt: skip
    assert cells[start].outputs == []
    assert cells[start + 2].outputs[0].text == "between\n"
    assert cells[start + 2].metadata.tags == ["remove-input"]
    assert "<caption>" not in (folder / "01_toy" / "table-1.html").read_text()
    assert "<style" not in (folder / "01_toy" / "table-1.html").read_text()
    assert (folder / "01_toy" / "figure-2.png").read_bytes().startswith(b"\x89PNG")


def test_captions_say_what_it_is_and_escape_markup(written):
    *_, cells = written
    text = "\n".join(cell.source for cell in cells)
    assert r"Scores (Table 1 of the paper). Simulated data. One\_seed \<b\> \*only\*." in text
    assert "\n\nPublished numbers.\n" in text
    assert "A wheeze (Figure 2 of the paper). Simulated data." in text
    assert ":name: toy-table-1" in text


def test_prose_points_at_pages_and_artefacts(written):
    text = written[2][0].source
    assert "[Table I](#toy-table-1) and [Figure 2](#toy-figure-2)" in text
    assert "[Table 3](#convlstm-table-3)" in text
    assert "Table IX is not here" in text


def test_only_notebooks_that_are_here_become_links(tmp_path):
    for name in ("01_toy", "02_convlstm"):
        nbformat.write(toy_book(), tmp_path / f"{name}.ipynb")
    chapter_of = lambda names: write_chapter(tmp_path / "01_toy.ipynb", tmp_path / "out", names)  # noqa: E731
    page = tmp_path / "out" / "01_toy.ipynb"
    chapter_of({"01_toy"})
    assert ", `02_convlstm` as well" in nbformat.read(page, as_version=4).cells[0].source
    chapter_of({"01_toy", "02_convlstm"})
    assert ", [`02_convlstm`](02_convlstm.ipynb) as well" in nbformat.read(page, as_version=4).cells[0].source


def test_sections_know_their_cells_and_exercises_their_text(written):
    chapter = written[0]
    assert chapter.title == "Toy: two sounds and a score"
    found = [(s.title, s.first, s.last, s.of_paper) for s in chapter.sections]
    assert found == [
        ("Toy: two sounds and a score", 1, 2, False),
        ("2.1 Data", 3, 5, True),
        ("Ours alone", 6, 6, False),
        ("Figure 2: again", 6, 6, True),
        ("Exercises", 7, 10, False),
    ]
    assert chapter.exercises == [("What is one?", label("01_toy", "cell-7")), ("And two,\nall told?", "toy-cell-9")]
    folded = [cell.source for cell in written[2] if "hide-cell" in cell.metadata.get("tags", [])]
    assert folded == ["1", "2"]


@pytest.mark.parametrize("book", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_stored_notebook_loads_anything_from_outside(book):
    cells = nbformat.read(book, as_version=4).cells
    shown = [cell.source for cell in cells if cell.cell_type == "markdown"]
    shown += [
        text for cell in cells for out in cell.get("outputs", []) for text in map(str, out.get("data", {}).values())
    ]
    outside = re.compile(
        r"""<(?!a\b)[^>]*\b(?:src|href)\s*=\s*["']?(?:https?:)?//[^>]*|!\[[^]]*\]\(https?:[^)]*|@import[^;]*"""
    )
    assert [found[0] for text in shown if (found := outside.search(text))] == []


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The folder of all pages beside the toy notebook's."""
    folder = tmp_path_factory.mktemp("pages")
    nbformat.write(toy_book(), folder / "01_toy.ipynb")
    write_pages(folder / "source", [write_chapter(folder / "01_toy.ipynb", folder / "source")], folder / "reports")
    return folder / "source"


def test_guides_know_the_notebooks(pages):
    page = {path.stem: path.read_text() for path in (*pages.glob("*.md"), *pages.glob("*.rst"))}
    assert "No results were found for `01_toy`" in page["numbers"]
    assert "No build lay beside this site" in page["teaching"]
    assert "[`01_toy`](01_toy.ipynb)" in page["teaching"]
    assert "`02_convlstm` (not here yet)" in page["teaching"]
    assert "What is one? [In the notebook](#toy-cell-7)" in page["teaching"]
    assert "| [2.1 Data](#toy-cell-3) | 3 to 5 | {numref}`toy-table-1` Scores<br>" in page["reading"]
    assert "\n   ~lungnb.core.atomic_file\n" in page["library"]
    assert "_Fit" not in page["library"]


def test_what_is_for_the_builder_is_not_for_readers(written, tmp_path):
    chapter, folder, _ = written
    write_pages(folder, [chapter], tmp_path / "reports", public=True)
    pages = "".join(path.read_text() for path in folder.glob("*.md"))
    assert "# All numbers" in pages
    assert not re.search("No results were found|No build lay|make report", pages)


def test_a_page_leads_to_its_notebook_and_its_sheet(tmp_path):
    nbformat.write(toy_book(), tmp_path / "01_toy.ipynb")
    (tmp_path / "01_toy.py").write_text("x = 1")
    (tmp_path / "out" / "papers").mkdir(parents=True)
    (tmp_path / "out" / "papers" / "toy.md").write_text("# Toy")
    write_chapter(tmp_path / "01_toy.ipynb", tmp_path / "out")
    text = nbformat.read(tmp_path / "out" / "01_toy.ipynb", as_version=4).cells[0].source
    assert "# Toy: two sounds and a score\n\n{download}`01_toy.ipynb <files/01_toy.ipynb>` · " in text
    assert "{download}`01_toy.py <files/01_toy.py>` · [paper, code and data](papers/toy.md)" in text
    assert (tmp_path / "out" / "files" / "01_toy.py").read_text() == "x = 1"


def test_students_get_no_solutions(tmp_path):
    nbformat.write(toy_book(), tmp_path / "01_toy.ipynb")
    write_chapter(tmp_path / "01_toy.ipynb", tmp_path, student=True)  # over the file itself: only its page is there
    book = nbformat.read(tmp_path / "01_toy.ipynb", as_version=4)
    assert not [cell for cell in book.cells if "solution" in cell.metadata.get("tags", [])]
    assert "download" not in book.cells[0].source
    assert len([cell for cell in toy_book().cells if cell.metadata.get("tags") == ["solution"]]) == 2


def test_imports_and_drawing_are_folded_under_what_they_are():
    assert chapter_module._folded("import a\nfrom b import c\n\nx = 1") == "the imports"
    assert chapter_module._folded("figure, axes = plt.subplots()\naxes.plot([1])") == "how it is drawn"
    assert chapter_module._folded("x = model(sound)\nprint(x.shape)") == ""


def test_sounds_are_players_with_what_was_asked_and_heard_beside_a_real_picture():
    sounds, kept = _sounds(), clips.samples()
    assert kept["type"].value_counts().to_dict() == dict.fromkeys(TYPES, 3)
    players = [text for texts in sounds.values() for text in texts if "<audio controls" in text]
    assert len(players) == len(kept)
    assert all("judges take it for: " in text for text in players)
    assert all("a real one" in texts[0] and "image/png" in texts[0] and len(texts) > 1 for texts in sounds.values())


def test_the_ledger_links_its_sources(pages):
    page, table = ((pages / f"ledger.{suffix}").read_text() for suffix in ("md", "html"))
    assert f"# The ICBHI ledger\n\n{len(ledger())} published scores" in page
    assert "[the ICBHI ledger](ledger.md)" in (pages / "index.md").read_text()
    commit = "fece8a2f873ae10722f8e52d47043ba19bae3d14"
    assert f"https://github.com/raymin0223/patch-mix_contrastive_learning/blob/{commit}/main.py#L459" in table
    assert f"@{commit}" not in table


@pytest.mark.train
def test_a_dangling_reference_stops_the_build_and_keeps_the_old_site(tmp_path, capfd, monkeypatch):
    index = "# Toy\n\n```{toctree}\n01_toy\n```\n"  # the other pages take long, and have no part in it
    monkeypatch.setattr(site, "write_pages", lambda folder, *_: (folder / "index.md").write_text(index))
    target = tmp_path / "reports" / "site"
    target.mkdir(parents=True)
    (target / "index.html").write_text("old")
    book = toy_book()
    book.cells = [book.cells[0]]
    book.cells[0].source += "\n[gone](02_convlstm.ipynb#table-3)\n"
    nbformat.write(book, tmp_path / "01_toy.ipynb")
    with pytest.raises(UserError, match="mend what Sphinx says above"):
        build(target, [tmp_path / "01_toy.ipynb"], tmp_path / "reports")
    assert "convlstm-table-3" in capfd.readouterr().err
    assert (target / "index.html").read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["site"]
