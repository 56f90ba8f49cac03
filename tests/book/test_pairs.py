"""The two halves of a notebook are quiet: to sync them, or to save them unchanged in JupyterLab, changes no byte of either."""

import os
import runpy
from pathlib import Path

import nbformat
import pytest
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from jupytext.cli import jupytext
from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class
from traitlets.config import Config

from lungnb.book import notebooks

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
#: What the kernel says of its language, which JupyterLab writes into the notebook as soon as a kernel runs.
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "version": "3.11.7",
}


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Lay out a source and what `lungnb store` would keep of it, with an output; returns both and says if they changed."""
    monkeypatch.chdir(tmp_path)

    def lay_out(source):
        executed = notebooks.load(source)
        code = next(cell for cell in executed.cells if cell.cell_type == "code")
        code.outputs = [nbformat.v4.new_output("display_data", {"text/html": "<b>1</b>\n2", "text/plain": "1\n2"})]
        halves = tmp_path / source.name, tmp_path / f"{source.stem}.ipynb"
        halves[0].write_bytes(source.read_bytes())
        nbformat.write(notebooks.stored_form(executed, source), halves[1])
        before = [half.read_bytes() for half in halves]
        return *halves, lambda: [
            half.name for half, text in zip(halves, before, strict=True) if half.read_bytes() != text
        ]

    return lay_out


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("newer", [0, 1], ids=["source", "stored"])
def test_to_sync_changes_nothing(pair, source, newer):
    *halves, changed = pair(source)
    os.utime(halves[1 - newer], (1e9, 1e9))
    jupytext(["--quiet", "--sync", str(halves[newer])])
    assert changed() == []


def test_to_sync_brings_an_edit_over(pair):
    source, stored, _ = pair(SOURCES[0])
    source.write_text(source.read_text().replace("# # Lesson 0", "# # Lesson zero"))
    os.utime(stored, (1e9, 1e9))
    jupytext(["--quiet", "--sync", str(source)])
    assert "# Lesson zero" in nbformat.read(stored, 4).cells[0].source


@pytest.mark.parametrize("source", SOURCES)
def test_to_save_in_jupyterlab_changes_nothing(pair, source, tmp_path):
    config = Config()
    runpy.run_path(str(ROOT / "jupyter_lab_config.py"), {"get_config": lambda: config})
    manager = build_sync_jupytext_contents_manager_class(LargeFileManager)(config=config, root_dir=str(tmp_path))
    _, stored, changed = pair(source)
    model = manager.get(stored.name)
    assert any(cell.get("outputs") for cell in model["content"]["cells"])
    model["content"]["metadata"]["language_info"] = dict(LANGUAGE)  # as JupyterLab does
    model["content"]["metadata"]["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    manager.save({"type": "notebook", "format": "json", "content": model["content"]}, stored.name)
    assert changed() == []


def test_what_a_cell_prints_in_several_parts_is_stored_as_one_as_jupyterlab_would():
    executed = notebooks.load(SOURCES[0])
    code = next(cell for cell in executed.cells if cell.cell_type == "code")
    code.outputs = [
        nbformat.v4.new_output("stream", name=name, text=text)
        for name, text in (("stdout", "1\n"), ("stdout", "2\n"), ("stderr", "3\n"))
    ]
    stored = notebooks.stored_form(executed, SOURCES[0])
    outputs = next(cell for cell in stored.cells if cell.cell_type == "code").outputs
    assert [(output.name, output.text) for output in outputs] == [("stdout", "1\n2\n"), ("stderr", "3\n")]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_what_is_stored_is_what_the_writer_writes_today(source, tmp_path):
    path = source.with_suffix(".ipynb")
    stored = nbformat.read(path, as_version=4)
    if "jupytext" not in stored.metadata:
        pytest.skip("stored before pairs were quiet; `lungnb store` writes it anew")
    nbformat.write(notebooks.stored_form(stored, source), tmp_path / path.name)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()
