"""The laws of the house: data flow one way, modules are short, and the map names what is there."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: In the order in which data flow; a room imports from rooms before it. Those of one line know nothing of each other.
ROOMS = [
    {"core"},
    {"data"},
    {"features", "simulate", "training"},
    {"metrics"},
    {"papers", "published"},
    {"classification", "configs"},
    {"papers.lungldm"},
    {"book"},
    {"cli"},
]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in (ROOT / "lungnb").rglob("*.py") if "browser" not in path.parts}


def imports(name: str) -> set[str]:
    """The modules of lungnb that a module imports anywhere: in functions as well, and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (below & MODULES.keys()) | ({node.module} if below - MODULES.keys() else set())
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & MODULES.keys() - {name}


def room_of(name: str) -> tuple[int, str]:
    """The line of its room among ROOMS, and the room; of the package itself, whose version all may ask, before all."""
    below = name.removeprefix("lungnb").removeprefix(".")
    rooms = [(k, room) for k, line in enumerate(ROOMS) for room in line if f"{below}.".startswith(f"{room}.")]
    return max(rooms, default=(-1, below))


def test_no_module_imports_itself_by_way_of_others():
    list(TopologicalSorter({name: imports(name) for name in MODULES}).static_order())  # raises CycleError


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"lungnb"}))
def test_data_flow_one_way(name):
    line, room = room_of(name)
    assert line >= 0
    others = {other: room_of(other) for other in imports(name)}
    assert {other for other, (there, where) in others.items() if where != room and there >= line} == set()


def test_modules_are_short_and_few_names_are_at_the_top():
    assert {name: n for name, path in MODULES.items() if (n := len(path.read_text().splitlines())) > 300} == {}
    assert len({name.split(".")[1] for name in MODULES if "." in name}) <= 12


def test_the_map_names_files_that_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text()
    there = {path.name for path in MODULES.values()}
    assert [file for file in re.findall(r"`(\w+\.py)`", text) if file not in there] == []
    rooms = {path.parent.name for path in MODULES.values()} - {"lungnb", "browser"}
    assert [room for room in rooms if f"{room}/`" not in text] == []


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_a_notebook_takes_from_few_modules(path):
    assert len(set(re.findall(r"^(?:from|import) (lungnb[\w.]*)", path.read_text(), re.M))) <= 12


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_takes_what_is_there(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lungnb":
            source = MODULES[node.module].read_text()
            names = [alias.name for alias in node.names if f"{node.module}.{alias.name}" not in MODULES]
            assert [name for name in names if not re.search(rf"\b{name}\b", source)] == []
