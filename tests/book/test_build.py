"""The builder on toy notebooks: one that works and one that fails, with everything they leave behind."""

import json
import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from rich.console import Console

from lungnb.book import index, notebooks, watch
from lungnb.book.build import _write_html, build, parse_value, store
from lungnb.book.watch import Watch, clock
from lungnb.core import UserError


@pytest.fixture(scope="module")
def built(toy_repository, tmp_path_factory):
    """Both notebooks built once; the folder and the names that failed."""
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(toy_repository)
        failed = build([], parameters={"epochs": [1, 2]}, out=str(out))
    return SimpleNamespace(folder=out / "smoke", failed=failed)


def manifest(built, name):
    return json.loads((built.folder / name / "manifest.json").read_text())


def test_all_files_are_there(built):
    files = {p.relative_to(built.folder).as_posix() for p in built.folder.rglob("*") if p.is_file()}
    good = ["01_good.ipynb", "01_good.html", "manifest.json", "tables/table-1.csv"]
    good += ["figures/figure-1.png", "figures/figure-1.svg"]
    bad = ["02_bad.ipynb", "02_bad.html", "manifest.json"]
    assert files == {"index.html", *(f"01_good/{f}" for f in good), *(f"02_bad/{f}" for f in bad)}


def test_parameters_reach_the_notebook(built):
    assert (built.folder / "01_good/tables/table-1.csv").read_text() == 'epochs\n"[1, 2]"\n'
    assert manifest(built, "01_good")["build"]["parameters"]["epochs"] == [1, 2]


def test_a_failure_keeps_its_traceback_and_stops_nothing(built):
    assert built.failed == ["02_bad"]
    build = manifest(built, "02_bad")["build"]
    assert build["state"] == "failed"
    assert build["error"] == "ValueError: first line second <line>"
    assert manifest(built, "01_good")["build"]["state"] == "built"
    executed = nbformat.read(built.folder / "02_bad/02_bad.ipynb", as_version=4)
    errors = [out for cell in executed.cells for out in cell.get("outputs", []) if out.output_type == "error"]
    assert "second <line>" in "".join(errors[0].traceback)
    assert "ValueError" in (built.folder / "02_bad/02_bad.html").read_text()


def test_index_tells_what_came_of_each(built):
    page = (built.folder / "index.html").read_text()
    assert "A toy paper" in page
    assert "1 of 2 notebooks built" in " ".join(page.split())
    assert "Data: simulated" in page
    assert 'href="01_good/figures/figure-1.svg"' in page
    assert 'src="01_good/figures/figure-1.png"' in page
    assert "ValueError: first line second &lt;line&gt;" in page
    assert "http" not in page  # works offline


def test_an_artefact_that_was_promised_and_not_made_is_a_failure(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(index.EXPECTED, "01_good", {"table-1": "all", "table-2": "more"})
    assert build(["01_good"], out=str(tmp_path)) == ["01_good"]
    page = " ".join((tmp_path / "smoke/index.html").read_text().split())
    assert "table-2 not made" in page
    assert '<h3>Table 2</h3> <span class="state failed">failed</span>' in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["nope"]}, "no notebook 'nope'; the notebooks are 01_good, 02_bad"),
        ({"parameters": {"epoch": 1}}, "01_good has no parameter 'epoch'; it has profile, data, epochs, out"),
        ({"parameters": {"profile": "paper"}}, "as --profile"),
        ({"profile": "huge"}, "no profile 'huge'"),
        ({"data": "no/such/folder"}, "data folder no/such/folder does not exist"),
    ],
)
def test_what_the_builder_refuses(toy, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        build(**{"names": [], "out": str(tmp_path / "out"), **arguments})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 0.001),
        ("true", True),
        ("False", False),
        ("none", None),
        ("[0, 1]", [0, 1]),
        ("[a, b]", ["a", "b"]),
        ("cuda:0", "cuda:0"),
        ("'3'", "3"),
        ("", ""),
        ("2*3", "2*3"),
    ],
)
def test_parse_value(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_progress_is_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "QUIET_SECONDS", 0)
    records, said = tmp_path / "progress.jsonl", StringIO()
    with Watch(records, Console(file=said, width=200)) as at:
        at.notebook(2, 4, "02_toy")
        at.cell(3, 9)
        steps = [{"task": "fold 1", "step": 10, "steps": 10, "seconds_left": 0.0}]
        steps += [{"task": "stage 1", "step": 3, "steps": 10, "seconds_left": 83.4}]
        torn = '{"task": "stage 2", "st'
        records.write_text("\n".join([*map(json.dumps, steps), "no json", '{"task": 1}', torn]))
        deadline = time.monotonic() + 5
        while "left" not in said.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
        line = "notebook 2 of 4, 02_toy: cell 3 of 9, 0:0"
        assert at.line().startswith(line)
        assert at.line().endswith("so far; stage 1: step 3 of 10, 1:23 left")
        with records.open("a") as handle:
            handle.write('ep": 1, "steps": 2, "seconds_left": 100}\n')
        at._follow()
        assert at.line().endswith("; stage 2: step 1 of 2, 1:40 left (and 1 more)")
        at.cell(4, 9)
        assert at.line().endswith("so far")
    assert "stage 1: step 3 of 10, 1:23 left" in said.getvalue()


def test_progress_on_a_terminal(tmp_path):
    said = StringIO()
    with Watch(tmp_path / "none", Console(file=said, width=60, force_terminal=True)) as at:
        at.notebook(1, 1, "01_toy")
        deadline = time.monotonic() + 5
        while "01_toy" not in said.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
        at.say("01_toy: built")
    assert "notebook 1 of 1, 01_toy: 0:0" in said.getvalue()
    assert "01_toy: built" in said.getvalue()


def test_clock():
    assert [clock(seconds) for seconds in (0, 59.6, 83, 3723)] == ["0:00", "1:00", "1:23", "1:02:03"]


def test_store_writes_the_executed_half(toy):
    store(["01_good"])
    stored = nbformat.read(toy / "notebooks/01_good.ipynb", as_version=4)
    nbformat.validate(stored)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert [cell.metadata for cell in stored.cells if cell.metadata] == [
        {"tags": ["parameters"]},
        {"tags": ["solution"]},
    ]
    assert set(stored.metadata) == {"kernelspec", "language_info"}
    assert code[-1].outputs[0].data == {"text/plain": "2"}
    assert not (toy / "reports/smoke").exists()
    first = (toy / "notebooks/01_good.ipynb").read_bytes()
    store(["01_good"])
    assert (toy / "notebooks/01_good.ipynb").read_bytes() == first
    with pytest.raises(UserError, match="02_bad fails with ValueError"):
        store(["02_bad"])
    assert not (toy / "notebooks/02_bad.ipynb").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"output_type": "stream", "text": f"read {Path.home()}/x.wav"}, "cell 2.*shows the path"),
        ({"output_type": "display_data", "data": {"text/plain": "<X at 0x7f0012ab>"}}, "cell 2.*address in memory"),
        ({"output_type": "display_data", "data": {"image/png": "A" * 1_100_000}}, "under 1 MB"),
    ],
)
def test_stored_outputs_are_the_same_everywhere(toy, output, message):
    source = toy / "notebooks/01_good.py"
    executed = notebooks.load(source)
    executed.cells[1].outputs = [nbformat.from_dict({"name": "stdout", **output})]
    with pytest.raises(UserError, match=message):
        notebooks.stored_form(executed, source)


def test_student_copies(toy, tmp_path):
    (tmp_path / "02_bad.ipynb").write_text("a student's work")
    with pytest.raises(UserError, match=r"02_bad\.ipynb exists and may hold"):
        notebooks.write_student_copies(tmp_path)
    assert (tmp_path / "02_bad.ipynb").read_text() == "a student's work"
    written = notebooks.write_student_copies(tmp_path / "class")
    assert [path.name for path in written] == ["01_good.ipynb", "02_bad.ipynb"]
    book = nbformat.read(written[0], as_version=4)
    sources = [cell.source for cell in book.cells]
    assert "Exercise: add one and one." in sources
    assert "1 + 1" not in sources
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in book.cells)


def test_equations_are_mathml_in_the_line_or_as_a_block(tmp_path):
    said = "The norm $|x|$ and\n\n$$y = a^2$$\n\ncost 5 dollars."
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(said)]), tmp_path / "book.ipynb")
    _write_html(tmp_path / "book.ipynb", tmp_path / "book.html")
    page = (tmp_path / "book.html").read_text().partition("<body")[2]
    assert page.count("<math") == 2
    assert page.count('display="inline"') == page.count('display="block"') == 1
    assert "$" not in page


def test_a_widget_leaves_its_text_and_loads_nothing(tmp_path):
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "A box stood here."}
    shown = nbformat.v4.new_output("display_data", data=view)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("box", outputs=[shown])])
    state = {"a": {"model_name": "VBoxModel", "model_module": "@jupyter-widgets/controls", "state": {}}}
    kind = "application/vnd.jupyter.widget-state+json"
    book.metadata["widgets"] = {kind: {"state": state, "version_major": 2, "version_minor": 0}}
    nbformat.write(book, tmp_path / "book.ipynb")
    _write_html(tmp_path / "book.ipynb", tmp_path / "book.html")
    page = (tmp_path / "book.html").read_text()
    assert "A box stood here." in page
    assert "unpkg" not in page
