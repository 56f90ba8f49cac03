"""The parameters of notebooks: what is understood, what is refused, and that one call tells all of it."""

import ast
from pathlib import Path

import nbformat
import papermill
import pytest

from lungnb.book import check_parameters, notebooks
from lungnb.book.parameters import SHARED, parse_value, read_parameters
from lungnb.core import UserError

SOURCES = sorted((Path(__file__).parents[2] / "notebooks").glob("*.py"))


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


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("int", "3", 3),
        ("int", 3.0, 3),
        ("float", "1e-3", 0.001),
        ("bool", "true", True),
        ("bool", "False", False),
        ("bool", 1, True),
        ("str", 2017, "2017"),
        ("str", None, ""),
        ("list[int]", "[0, 1]", [0, 1]),
        ("list[int]", "[0,1]", [0, 1]),
        ("list[int]", "0, 1", [0, 1]),
        ("list[int]", "3", [3]),
        ("list[int]", 3, [3]),
        ("list[int]", "[]", []),
        ("list[int]", None, []),
        ("list[int]", (0, 1), [0, 1]),
        ("list[float]", "0.5 1", [0.5, 1.0]),
        ("list[str]", "['a', b]", ["a", "b"]),
    ],
)
def test_values_are_read_by_their_type(kind, given, value):
    (read,) = read_parameters("own", {"x": given}, {"x": kind})[0].values()
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"profile": "smok"}, r"no profile 'smok' \(did you mean smoke\?\); choose one of smoke, laptop, paper"),
        (
            {"device": "gpu"},
            "no device 'gpu'; choose one of auto, cpu, cuda, one of several GPUs by CUDA_VISIBLE_DEVICES",
        ),
        ({"device": "cuda:1"}, "no device 'cuda:1'"),
        ({"cluster": "slrum"}, r"no cluster 'slrum' \(did you mean slurm\?\)"),
        ({"epochs": "three"}, "epochs is 'three'; give a whole number"),
        ({"epochs": "2.5"}, "epochs is '2.5'; give a whole number"),
        ({"epochs": True}, "epochs is True; give a whole number"),
        ({"epochs": -1}, "epochs is -1; give 1 or more, or 0"),
        ({"seeds": "3.5"}, r"seeds is '3.5'; give a list of whole numbers, as \[0, 1\]"),
        ({"seeds": "[0, 0]"}, r"seeds are \[0, 0\]; give each seed once"),
        ({"seeds": -1}, "-1 cannot be a seed"),
        ({"data": "no/such"}, "data folder no/such does not exist"),
        ({"vggish": "no/such"}, "vggish is no/such, which does not exist"),
        ({"ratings": __file__}, "which is a file; give a folder"),
        ({"out": __file__}, "which is a file; give a folder"),
        ({"text": "/no/such"}, "text is /no/such, which does not exist; give a folder or a name on the hub"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        check_parameters("01_respirenet", **given)


def test_words_and_folders_are_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    given = {"device": "CPU", "cluster": None, "data": "Simulated", "vggish": "weights", "text": "google/flan-t5-base"}
    assert check_parameters("own", **given, out="new") == (
        *("cpu", "", "simulated", str(tmp_path / "weights"), "google/flan-t5-base"),
        str(tmp_path / "new"),
    )


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(UserError, match="3 parameters") as caught:
        check_parameters("01_respirenet", profile="smok", epochs="x", seeds=[0], device="gpu")
    assert len(str(caught.value).splitlines()) == 4


def test_a_folder_without_the_data_set_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "icbhi").mkdir()
    assert check_parameters("01_respirenet", data=str(tmp_path)) == (str(tmp_path),)
    assert check_parameters("01", data=str(tmp_path)) == (str(tmp_path),)
    with pytest.raises(UserError, match=r"90_compare_classifiers: .* holds no sprsound/"):
        check_parameters("90_compare_classifiers", data=str(tmp_path))


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees no GPU"):
        check_parameters("own", device="cuda")
    assert check_parameters("own", device="cuda", cluster="slurm") == ("cuda", "slurm")  # the jobs run elsewhere


CELLS = """# %% tags=["parameters"]
seeds: list[int] = []
epochs: int = 0
device: str = "auto"

# %%
from lungnb.book import check_parameters

seeds, epochs, device = check_parameters("05", seeds=seeds, epochs=epochs, device=device)
print(seeds, epochs, device)
"""


@pytest.mark.train
def test_plain_papermill_is_given_typed_values_or_all_that_is_wrong(tmp_path):
    source = tmp_path / "05_own.py"
    source.write_text(CELLS)
    nbformat.write(notebooks.load(source), tmp_path / "in.ipynb")

    def run(**given):
        return papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", given, progress_bar=False)

    done = run(seeds="[0,1]", epochs="3", device="CPU")  # as `papermill -p seeds '[0,1]'` gives them
    assert done.cells[-1].outputs[0].text == "[0, 1] 3 cpu\n"
    with pytest.raises(papermill.PapermillExecutionError, match=r"(?s)2 parameters cannot be used.*three.*'gpu'"):
        run(epochs="three", device="gpu")


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_the_first_cell_checks_every_parameter_as_the_builder_does(source):
    """Parameters are typed as the shared ones are; the call names the notebook and gives each its value back."""
    book = notebooks.load(source)
    known = notebooks.parameters(book)
    assert {name: parameter["type"] for name, parameter in known.items()} == {name: SHARED[name] for name in known}
    index = next(k for k, cell in enumerate(book.cells) if "parameters" in notebooks.tags(cell))
    assigned = [node for node in ast.parse(book.cells[index + 1].source).body if isinstance(node, ast.Assign)]
    (call,) = [node for node in assigned if ast.unparse(node.value).startswith("check_parameters(")]
    assert ast.literal_eval(call.value.args[0]) == source.stem.partition("_")[0]
    assert [name.id for name in call.targets[0].elts] == list(known)
    assert [(word.arg, word.value.id) for word in call.value.keywords] == [(name, name) for name in known]
    defaults = {name: ast.literal_eval(parameter["default"]) for name, parameter in known.items()}
    assert check_parameters(source.stem, **defaults) == tuple(defaults.values())
