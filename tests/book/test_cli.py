"""The command line: what it calls, what it prints, and with which status it ends."""

import sys
from types import ModuleType

import pandas as pd
import pytest
from typer.testing import CliRunner

from lungnb.book import build
from lungnb.cli import app


@pytest.fixture
def call():
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def put_module(monkeypatch, name, **functions):
    """Stand a module with `functions` in the place of the real one."""
    module = ModuleType(name)
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, name, module)


def test_help_names_every_command(call):
    answer = call("--help")
    assert answer.exit_code == 0
    for command in ("report", "site", "store", "student", "data"):
        assert command in answer.output


def test_report_passes_what_was_asked(call, monkeypatch):
    asked = []
    monkeypatch.setattr(build, "build", lambda *arguments: asked.append(arguments) or [])
    answer = call("report", "01_a", "--profile", "paper", "-p", "epochs=3", "-p", "seeds=[0, 1]", "--out", "o")
    assert answer.exit_code == 0, answer.output
    assert asked == [(["01_a"], "paper", "", {"epochs": "3", "seeds": "[0, 1]"}, "o")]


def test_report_status(call, monkeypatch):
    monkeypatch.setattr(build, "build", lambda *_: ["01_a"])
    assert call("report").exit_code == 1
    answer = call("report", "-p", "epochs")
    assert answer.exit_code == 2
    assert answer.stderr == "-p takes key=value, not 'epochs'.\n"


def test_site_says_where_it_is(call, monkeypatch):
    put_module(monkeypatch, "lungnb.book.site", build=lambda books: f"{books}/index.html")
    answer = call("site")
    assert (answer.exit_code, answer.output) == (0, "None/index.html\n")


def test_a_user_error_is_one_sentence(call, toy):
    answer = call("report", "nope")
    assert answer.exit_code == 2
    assert answer.stderr == "There is no notebook 'nope'; the notebooks are 01_good, 02_bad.\n"
    answer = call("data", "simulate", "nope", toy)
    assert answer.exit_code == 2
    assert answer.stderr == "There is no simulator of 'nope'; known are icbhi, sprsound, multisite, prompted.\n"


def test_simulate_and_fetch(call, monkeypatch, tmp_path):
    asked = []
    put_module(
        monkeypatch,
        "lungnb.simulate.icbhi",
        simulate_icbhi=lambda folder, n_patients, seed: asked.append((folder, n_patients, seed)),
    )
    put_module(monkeypatch, "lungnb.data.download", fetch=lambda name, folder: asked.append((name, folder)))
    assert call("data", "simulate", "icbhi", tmp_path, "--patients", 24, "--seed", 7).exit_code == 0
    assert call("data", "fetch", "icbhi", tmp_path).exit_code == 0
    assert asked == [(tmp_path / "icbhi", 24, 7), ("icbhi", tmp_path)]


@pytest.mark.parametrize(("here", "status"), [(920, 0), (192, 1)])
def test_check(call, monkeypatch, tmp_path, here, status):
    counts = pd.DataFrame({"what": ["patients", "recordings"], "published": [126, 920], "here": [126, here]})
    counts["agrees"] = counts["published"] == counts["here"]
    monkeypatch.setattr("lungnb.data.check", lambda name, folder: counts)
    answer = call("data", "check", "icbhi", tmp_path)
    assert answer.exit_code == status
    assert ("192" in answer.stdout) == bool(status)
    assert "126" not in answer.stdout  # only what differs is listed


def test_student(call, toy, tmp_path):
    answer = call("student", tmp_path)
    assert answer.exit_code == 0
    assert answer.stdout.split() == [str(tmp_path / "01_good.ipynb"), str(tmp_path / "02_bad.ipynb")]
