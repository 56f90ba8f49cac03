"""The builder on toy notebooks: one that works and one that fails, with everything they leave behind."""

import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from papermill import execute_notebook

from lungnb.book import notebooks
from lungnb.book.build import build, is_up_to_date, made_from, store
from lungnb.book.report import as_html
from lungnb.core import UserError

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def built(toy_repository, tmp_path_factory):
    """Both notebooks built once; the folder and the names that failed."""
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(toy_repository)
        failed = build([], parameters={"epochs": "2", "shares": "0.5, 1"}, out=str(out))
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
    assert (built.folder / "01_good/tables/table-1.csv").read_text() == 'epochs,shares\n2,"[0.5, 1.0]"\n'
    assert manifest(built, "01_good")["build"]["parameters"]["shares"] == [0.5, 1.0]


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
    good, bad = sorted(capsys.readouterr().out.splitlines())
    assert re.fullmatch(rf"01_good: 2 tables and figures; \d+\.\d minutes; {tmp_path}/smoke/01_good", good)
    assert bad.startswith("02_bad: failed, ValueError: first line second <line>; ")


@pytest.fixture
def again(built, toy, tmp_path):
    """The notebook that works, built before, and the values to build it with into a folder where that build lies."""
    shutil.copytree(built.folder, tmp_path / "smoke")
    return toy / "notebooks" / "01_good.py", manifest(built, "01_good")["build"]["parameters"] | {"out": str(tmp_path)}


def test_what_did_not_change_is_not_built_again(again, tmp_path, capsys):
    def is_kept(force=False):
        assert build(["01_good"], parameters={"epochs": "2", "shares": "0.5, 1"}, out=str(tmp_path), force=force) == []
        return "nothing changed since they were built" in capsys.readouterr().out

    assert is_kept()
    assert not is_kept(force=True)
    assert is_kept()


@pytest.mark.parametrize(
    "what", ["nothing", "a source", "a parameter", "a recorded result", "a lost table", "a saved notebook", "a failure"]
)
def test_what_changed_is_built_again(again, toy, tmp_path, what):
    (source, values), folder = again, tmp_path / "smoke" / "01_good"
    text, recorded = source.read_text(), toy / "reports" / "recorded" / "toy"
    if what == "a source":
        source.write_text(text + "\n# %%\nprint(epochs)\n")
    elif what == "a parameter":
        values |= {"epochs": 3}
    elif what == "a recorded result":
        recorded.mkdir(parents=True)
        (recorded / "scores.csv").write_text("score\n1\n")
    elif what == "a lost table":
        (folder / "tables" / "table-1.csv").unlink()
    elif what == "a saved notebook":
        later = (folder / "manifest.json").stat().st_mtime + 1
        os.utime(folder / "01_good.ipynb", (later, later))
    elif what == "a failure":
        source = source.with_stem("02_bad")
    try:
        assert is_up_to_date(source, values) == (what == "nothing")
    finally:
        source.with_stem("01_good").write_text(text)
        shutil.rmtree(toy / "reports", ignore_errors=True)


def test_what_reads_a_folder_of_the_users_is_always_built(again, tmp_path):
    source, values = again
    values |= {"data": str(tmp_path / "data")}  # not there
    manifest = tmp_path / "smoke" / "01_good" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["build"]["made_from"] = made_from(source, values)
    manifest.write_text(json.dumps(content))
    assert is_up_to_date(source, values)
    (tmp_path / "data").mkdir()
    assert not is_up_to_date(source, values)


def test_a_kernel_that_lost_its_port_is_started_again(toy, monkeypatch):
    calls = []

    def unlucky(*args, **options):
        calls.append(args)
        if len(calls) != 3:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return execute_notebook(*args, **options)

    monkeypatch.setattr("lungnb.book.build.execute_notebook", unlucky)
    store(["01_good"])
    assert len(calls) == 3
    with pytest.raises(RuntimeError, match="died before replying"):  # and not for ever
        store(["01_good"])
    assert len(calls) == 6


WAITS = """# %% [markdown]
# # A notebook that meets another one

# %%
import os, pathlib, time

pathlib.Path("{here}").write_text(os.environ["OMP_NUM_THREADS"])
while not pathlib.Path("{other}").exists():
    time.sleep(0.05)
"""
DIES = """# %%
import os, signal

os.kill({pid}, signal.SIGKILL)
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    """Writes notebooks into a repository of their own, on a machine with two free cores, and builds them."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "lungnb"\n')
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lungnb.book.build.cpu_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    parameters = '# %% tags=["parameters"]\nprofile: str = "smoke"\nout: str = ""\n\n'

    def make(profile="smoke", **sources):
        for name, source in sources.items():
            (tmp_path / "notebooks" / f"{name}.py").write_text(parameters + source)
        return build([], profile, out=str(tmp_path / "out"))

    return make


def test_two_are_built_at_a_time_and_share_the_cores(book, tmp_path):
    """Each waits for what the other one writes: one after another they would never end."""
    here, there = tmp_path / "here", tmp_path / "there"
    failed = book(_1_a=WAITS.format(here=here, other=there), _2_b=WAITS.format(here=there, other=here))
    assert failed == []
    assert (here.read_text(), there.read_text()) == ("1", "1")


def test_notebooks_of_full_size_do_not_share_the_machine(book, tmp_path):
    cell = f"# %%\nimport os, time\nlog = open('{tmp_path}/log', 'a')\nprint('begins', file=log, flush=True)\n"
    cell += "time.sleep(1)\nprint('ends', os.environ['OMP_NUM_THREADS'], file=log, flush=True)\n"
    assert book("paper", _1_a=cell, _2_b=cell) == []
    assert (tmp_path / "log").read_text().splitlines() == ["begins", "ends 2"] * 2


@pytest.mark.parametrize(("pid", "error"), [("os.getpid()", "Kernel died"), ("os.getppid()", "ended with status -9")])
def test_a_process_that_dies_hides_nobody_elses_outcome(book, tmp_path, capsys, pid, error):
    assert book(_1_dies=DIES.format(pid=pid), _2_lives="# %%\n1 + 1\n") == ["_1_dies"]
    state = json.loads((tmp_path / "out/smoke/_1_dies/manifest.json").read_text())["build"]
    assert state["state"] == "failed"
    assert error in state["error"]
    dies, lives = sorted(capsys.readouterr().out.splitlines())
    assert error in dies
    assert lives.startswith("_2_lives: 0 tables and figures; ")
    assert json.loads((tmp_path / "out/smoke/_2_lives/manifest.json").read_text())["build"]["state"] == "built"


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
        ({"names": ["god"]}, r"no notebook 'god'; the notebooks are 01_good, 02_bad"),
        ({"names": ["good.p"]}, r"no notebook 'good.p' \(did you mean 01_good\?\)"),
        (
            {"names": ["1"], "parameters": {"epoch": 1}},
            r"01_good has no parameter 'epoch' \(did you mean epochs\?\); it has profile, data, epochs, shares, out",
        ),
        (
            {"parameters": {"epochs": "three", "profile": "paper"}, "data": "no"},
            r"(?s)^3 parameters.*-p.*no does.*three",
        ),
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
    "name",
    [
        "01_good",
        "01",
        "1",
        "good",
        "01_GOOD.ipynb",
        "notebooks/01_good.py",
        "01-good",
        "{root}/notebooks/01_good.ipynb",
    ],
)
def test_notebooks_are_named_as_people_type_them(toy, name):
    assert notebooks.find([name.format(root=toy), "01_good"]) == [toy / "notebooks/01_good.py"]


def test_a_notebook_of_another_folder(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert notebooks.find([os.path.relpath(toy / "notebooks/02_bad.ipynb")]) == [toy / "notebooks/02_bad.py"]
    assert "01_respirenet" in [
        source.stem for source in notebooks.find([])
    ]  # outside of a clone: those beside the package


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
    assert set(stored.metadata) == {"jupytext", "kernelspec", "language_info"}
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
