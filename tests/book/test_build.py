"""The builder on toy notebooks: one that works and one that fails, with everything they leave behind."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest

from lungnb.book import notebooks
from lungnb.book.build import build, parse_value, store
from lungnb.book.report import as_html
from lungnb.core import UserError

pytestmark = pytest.mark.train


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
    good = ["01_good.ipynb", "manifest.json", "tables/table-1.csv"]
    good += ["figures/figure-1.png", "figures/figure-1.svg"]
    bad = ["02_bad.ipynb", "manifest.json"]
    assert files == {*(f"01_good/{f}" for f in good), *(f"02_bad/{f}" for f in bad)}


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


def test_what_was_made_is_printed(toy, tmp_path, capsys):
    assert build([], parameters={"epochs": 2}, out=str(tmp_path)) == ["02_bad"]
    good, bad = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"01_good: 2 tables and figures; \d+\.\d minutes; {tmp_path}/smoke/01_good", good)
    assert bad.startswith("02_bad: failed, ValueError: first line second <line>; ")


def test_an_artefact_that_the_stored_notebook_shows_and_a_build_lacks_is_a_failure(toy, tmp_path):
    table = as_html(pd.DataFrame({"x": [1]}), "table-2", "Table 2: more.")
    shown = nbformat.v4.new_output("display_data", data={"text/html": table})
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("2", outputs=[shown])])
    stored = toy / "notebooks/01_good.ipynb"
    nbformat.write(book, stored)
    try:
        assert build(["01_good"], out=str(tmp_path)) == ["01_good"]
    finally:
        stored.unlink()
    done = json.loads((tmp_path / "smoke/01_good/manifest.json").read_text())["build"]
    assert (done["state"], done["error"], done["missing"]) == ("failed", "table-2 not made", ["table-2"])


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


@pytest.mark.train
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
