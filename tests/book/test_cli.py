"""The command line: what it calls, what it prints, and with which status it ends."""

import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
from typer.testing import CliRunner

import lungnb
from lungnb.book import build, doctor
from lungnb.cli import app
from lungnb.data.inspection import Finding

ROOT = Path(__file__).parents[2]


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
    for command in ("report", "site", "store", "student", "data", "list", "doctor", "--version"):
        assert command in answer.output
    assert call().output == answer.output


def test_version(call):
    assert call("--version").stdout == f"lungnb {lungnb.__version__}\n"


def test_list(call, toy):
    shown = call("list").stdout.split("\n\n")
    assert shown[0] == "01_good: A toy paper\n  about two minutes on the smoke profile\n  parameters: " + (
        "profile, data, epochs, shares, out"
    )
    assert shown[1].startswith("02_bad: A paper that fails\n  parameters: ")
    assert "    epochs: int = 3  passes over the data\n" in call("list", "1").stdout


def test_doctor_finds_data_sets_and_says_what_to_mend(call, monkeypatch, tmp_path):
    (tmp_path / "data/sprsound/x").mkdir(parents=True)
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/array").write_bytes(bytes(200_000_000))
    monkeypatch.setattr(doctor, "FREE_GB", 0)
    answer = call("doctor", tmp_path / "data")
    assert answer.exit_code == 0, answer.output
    lines = {line[2:].partition(":")[0]: line[2:].partition(":")[2].strip() for line in answer.stdout.splitlines()}
    assert lines["lungnb"].startswith(lungnb.__version__)
    assert lines["Python"].startswith(platform.python_version())
    assert lines["cache"].startswith(f"{tmp_path / 'cache'}, 0.2 GB, ")
    assert lines["data"].startswith(f"sprsound in {tmp_path / 'data/sprsound'}; ")
    assert lines["torch"].startswith(metadata.version("torch"))
    monkeypatch.setattr(doctor, "FREE_GB", 10**9)
    answer = call("doctor", tmp_path / "cache")
    assert answer.exit_code == 1
    mends = answer.stdout.partition("To mend:\n")[2].splitlines()
    assert [line.partition(":")[0] for line in mends] == ["cache", "data"]
    assert "LUNGNB_CACHE" in mends[0]


def test_doctor_compares_versions_with_the_pins(monkeypatch):
    versions = {name: f"{pin}+cpu" for name, pin in doctor.pins(ROOT).items()} | {"torch": "2.10.0", "numpy": "1.0"}
    versions.pop("furo")

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(
        doctor, "metadata", SimpleNamespace(version=version, PackageNotFoundError=metadata.PackageNotFoundError)
    )
    found = list(doctor._packages(ROOT))
    assert [finding.says for finding in found if finding.what == "numpy"] == ["1.0 (tested with 2.4.6)"]
    assert [finding.what for finding in found if finding.mend] == ["torch"]
    (packages,) = [finding.says for finding in found if finding.what == "packages"]
    assert packages.endswith("other versions: numpy 1.0, torch 2.10.0; not installed: furo")


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_clean_keeps_what_may_be_somebodys_work(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    built = ["smoke/01_a/01_a.ipynb", "smoke/01_a/manifest.json", "site/index.html"]
    work = ["smoke/02_b/manifest.json", "smoke/02_b/02_b.ipynb", "smoke/notes.md", "laptop/01_a/manifest.json"]
    work += ["recorded/x.csv", "student/01_a.ipynb", "week 1/01_a.ipynb"]
    for time, name in enumerate(built + work):
        path = tmp_path / "reports" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (1000 + time, 1000 + time))  # 02_b was saved again after it was built
    (tmp_path / "lungnb/__pycache__").mkdir(parents=True)
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, env=os.environ | {"MAKEFLAGS": ""})
    left = {
        path.relative_to(tmp_path / "reports").as_posix() for path in tmp_path.glob("reports/**/*") if path.is_file()
    }
    assert left == set(work)
    assert not (tmp_path / "lungnb/__pycache__").exists()


def test_report_passes_what_was_asked(call, monkeypatch):
    asked = []
    monkeypatch.setattr(build, "build", lambda *arguments: asked.append(arguments) or [])
    answer = call("report", "01_a", "--profile", "paper", "-p", "epochs=3", "-p", "seeds=[0, 1]", "--out", "o")
    assert answer.exit_code == 0, answer.output
    assert asked == [(["01_a"], "paper", "", {"epochs": "3", "seeds": "[0, 1]"}, "o", False)]


def test_report_status(call, monkeypatch):
    monkeypatch.setattr(build, "build", lambda *_: ["01_a"])
    assert call("report").exit_code == 1
    answer = call("report", "-p", "epochs")
    assert answer.exit_code == 2
    assert answer.stderr == "-p takes key=value, not 'epochs'.\n"


def test_site_says_where_it_is(call, monkeypatch):
    put_module(monkeypatch, "lungnb.book.site", build=lambda books, **options: f"{books}/index.html, {options}")
    answer = call("site")
    assert (answer.exit_code, answer.output) == (
        0,
        "None/index.html, {'public': False, 'student': False, 'browser': True}\n",
    )
    assert "{'public': True, 'student': True, 'browser': True}" in call("site", "--public", "--student").output


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
    put_module(
        monkeypatch, "lungnb.data.download", fetch=lambda name, folder, dry_run: asked.append((name, folder, dry_run))
    )
    assert call("data", "simulate", "icbhi", tmp_path, "--patients", 24, "--seed", 7).exit_code == 0
    assert call("data", "fetch", "icbhi", tmp_path).exit_code == 0
    assert call("data", "fetch", "icbhi", tmp_path, "--dry-run").exit_code == 0
    assert asked == [(tmp_path / "icbhi", 24, 7), ("icbhi", tmp_path, False), ("icbhi", tmp_path, True)]


@pytest.mark.parametrize(("here", "stops"), [(920, 0), (192, 0), (192, 1)])
def test_check(call, monkeypatch, tmp_path, here, stops):
    """A count that is not the published one is no error; what stops a run is."""
    counts = pd.DataFrame({"what": ["patients", "recordings"], "published": [126, 920], "here": [126, here]})
    counts["agrees"] = counts["published"] == counts["here"]
    counts = pd.concat([counts, counts[1:].assign(what="audio", here="none", agrees=False)][: 1 + stops])
    counts.attrs |= {"stops": stops, "report": [Finding("read", "a few")], "odd": [], "root": tmp_path}
    monkeypatch.setattr("lungnb.data.check", lambda name, folder: counts)
    answer = call("data", "check", "icbhi", tmp_path, "--html", tmp_path / "page.html")
    assert answer.exit_code == stops
    assert ("192" in answer.stdout) == (here == 192)
    assert "126" not in answer.stdout  # only what differs is listed
    assert ("All 2 counts agree" in answer.stdout) == (here == 920)
    assert ("One thing stops a run." if stops else "Nothing here stops a run.") in answer.stdout
    assert "a few\n" in answer.stdout
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_student(call, toy, tmp_path):
    answer = call("student", tmp_path)
    assert answer.exit_code == 0
    assert answer.stdout.split() == [str(tmp_path / "01_good.ipynb"), str(tmp_path / "02_bad.ipynb")]
