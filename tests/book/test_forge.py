"""What a public forge reads: the workflow, issue forms, the containers. They name commands and files that are there."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from lungnb.cli import app

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
MAKE = set(re.findall(r"^([a-z.][\w./]*):", (ROOT / "Makefile").read_text(), re.M))


def commands():
    for job in WORKFLOW["jobs"].values():
        yield from (step["run"] for step in job["steps"] if "run" in step)
    yield json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())["postCreateCommand"]


def test_the_workflow_runs_what_there_is():
    said = " \n ".join(commands())
    makes = re.findall(r"\bmake (\S+)", said)
    assert {"test", "report", ".venv/.installed"} == set(makes)
    assert set(makes) <= MAKE
    called = re.findall(r"\blungnb ([a-z]+)((?: --\w+)*)", said)
    assert {name for name, _ in called} == {"verify", "site"}
    for name, options in called:
        known = {option for parameter in get_command(app).commands[name].params for option in parameter.opts}
        assert set(options.split()) <= known
    assert "-r requirements.lock" in said


def test_the_workflow_asks_three_systems_and_every_python_that_is_promised():
    test = WORKFLOW["jobs"]["test"]
    assert [system.partition("-")[0] for system in test["strategy"]["matrix"]["os"]] == ["ubuntu", "macos", "windows"]
    promised = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    pythons = {text.rpartition(" ")[2] for text in promised if re.search(r":: 3\.\d+$", text)}
    assert set(test["strategy"]["matrix"]["python"]) == pythons
    runs = " ".join(step.get("run", "") for step in test["steps"])
    assert all(
        word in runs for word in ("ruff check", "ruff format --check", "not train and not browser", "lungnb verify")
    )
    on = WORKFLOW[True]  # YAML reads the key `on` as yes
    assert {"push", "pull_request", "schedule"} <= set(on)


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_issue_forms_ask_something(form):
    asked = yaml.safe_load(form.read_text())
    if form.stem == "config":
        assert asked["blank_issues_enabled"] is True
        return
    assert {"name", "description", "body"} <= set(asked)
    kinds = {"textarea", "input", "checkboxes", "dropdown", "markdown"}
    assert all(part["type"] in kinds and part["attributes"]["label"] for part in asked["body"])
    assert any(part.get("validations", {}).get("required") for part in asked["body"])


def test_binder_installs_the_pins():
    script = (ROOT / "binder" / "postBuild").read_text()
    assert (ROOT / "binder" / "postBuild").stat().st_mode & 0o111
    pattern, named = re.search(r"awk '/(.*?)/", script)[1], (ROOT / "environment.yml").read_text()
    pins = [line.split()[1] for line in named.splitlines() if re.search(pattern, line)]
    assert {"torch", "jupyterlab", "pandas"} <= {pin.partition("==")[0] for pin in pins}
    assert (ROOT / "binder" / "runtime.txt").read_text().strip() == "python-3.11"
