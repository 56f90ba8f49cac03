"""The frame of the book: pins hold with the ranges, and each notebook's two halves hold together."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from lungnb.book import notebooks

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
PINS = re.findall(r"^ +- ([\w.-]+)==([\w.]+)$", (ROOT / "environment.yml").read_text(), re.M)


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = sum(project["optional-dependencies"].values(), project["dependencies"])
    return [Requirement(line) for line in lines]


def test_every_package_is_pinned_once():
    names = [canonicalize_name(name) for name, _ in PINS]
    assert len(names) > 100
    assert len(names) == len(set(names))
    pinned_lines = [line for line in (ROOT / "environment.yml").read_text().splitlines() if "==" in line]
    assert len(pinned_lines) == len(PINS)


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_pin_lies_in_its_range(requirement):
    pins = {canonicalize_name(name): version for name, version in PINS}
    assert Version(pins[canonicalize_name(requirement.name)]) in requirement.specifier


def test_the_lock_has_every_pin_with_its_hashes_and_no_machine():
    lock = (ROOT / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.M))
    assert {name: locked.get(canonicalize_name(name)) for name, _ in PINS} == dict(PINS)
    assert all("--hash=sha256:" in entry for entry in re.split(r"^(?=\w)", lock, flags=re.M) if entry.strip())
    assert "://" not in lock
    assert "--" not in lock.replace("--hash=sha256:", "")


def test_torch_and_its_companions_belong_together():
    pins = dict(PINS)
    assert (pins["torch"], pins["torchaudio"], pins["torchvision"]) == ("2.11.0", "2.11.0", "0.26.0")


def test_what_is_installed_is_what_is_pinned():
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        pytest.skip("not run by the project's .venv, whose versions the pins describe")
    installed = {canonicalize_name(name): metadata.version(name) for name, _ in PINS}
    # a CPU build calls itself 2.11.0+cpu
    differing = [name for name, version in PINS if installed[canonicalize_name(name)].split("+")[0] != version]
    assert differing == []


def stored(source):
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


each_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


@each_notebook
def test_both_halves_have_the_same_cells(source):
    def cells(book):
        return [(cell.cell_type, cell.source, notebooks.tags(cell)) for cell in book.cells]

    mend = f"the halves of {source.stem} differ: run `make store`"
    assert cells(stored(source)) == cells(notebooks.load(source)), mend


@each_notebook
def test_stored_half_was_executed_without_error(source):
    code = [cell for cell in stored(source).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]
    assert not [out for cell in code for out in cell.outputs if out.get("name") == "stderr"]  # progress, warnings


@each_notebook
def test_notebook_is_small(source):
    assert source.with_suffix(".ipynb").stat().st_size < notebooks.MAX_BYTES
    code = [cell.source for cell in notebooks.load(source).cells if cell.cell_type == "code"]
    assert max(len(text.splitlines()) for text in code) <= 30
    imported = re.findall(r"^\s*(?:from|import) (lungnb[\w.]*)", "\n".join(code), flags=re.MULTILINE)
    assert len(set(imported)) <= 12


@each_notebook
def test_notebook_explains_its_parameters_and_solves_its_exercises(source):
    book = notebooks.load(source)
    assert notebooks.heading(book)
    (parameters,) = [cell for cell in book.cells if "parameters" in notebooks.tags(cell)]
    lines = [line for line in parameters.source.splitlines() if re.match(r"\w+:.*=", line)]
    assert {"profile", "data", "seeds", "device", "cluster", "out"} <= {line.split(":")[0] for line in lines}
    assert all("  # " in line for line in lines)
    assert sum("solution" in notebooks.tags(cell) for cell in book.cells) >= 4


def test_every_stored_notebook_has_its_source():
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == {source.stem for source in SOURCES}


def test_every_import_is_declared():
    """What lungnb imports is one of the dependencies, or comes with one that says so in pyproject.toml."""
    names = {"sklearn": "scikit-learn", "yaml": "pyyaml", "pytorch_grad_cam": "grad-cam", "IPython": "ipython"}
    names |= {"PIL": "pillow", "myst_nb": "myst-nb"}
    brought = {
        "soundfile",
        "soxr",
        "pooch",
        "platformdirs",
        "filelock",
        "tqdm",
        "joblib",
        "rich",
        "traitlets",
        "threadpoolctl",
        "requests",
    }
    brought |= {"tokenizers", "huggingface-hub"}  # of transformers and accelerate
    declared = {canonicalize_name(requirement.name) for requirement in requirements()} | brought | {"lungnb"}
    used = set()
    here = ROOT / "lungnb"
    alone = here / "book" / "site" / "browser"  # is on the browser's path as it is, and imports its own
    for path in (path for path in here.rglob("*.py") if alone not in path.parents):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                used.add(node.module.partition(".")[0])
    outside = {canonicalize_name(names.get(name, name)) for name in used - set(sys.stdlib_module_names)}
    assert outside - declared == set()
