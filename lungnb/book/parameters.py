"""The parameters of notebooks: typed and checked all at once, by the builder before a kernel starts and by a first cell.

A type is what the parameters cell of the notebook says (`epochs: int = 0`). Values may be text, as the command line and
papermill give them: "3" is a number, "[0, 1]" and "0, 1" are lists, "true" is a truth value.
"""

import ast
import difflib
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from lungnb.book.report import PROFILES
from lungnb.core import UserError

#: The parameters that the book's notebooks share, with their types.
SHARED = dict.fromkeys(("profile", "data", "device", "cluster", "out"), "str") | {"seeds": "list[int]"}
SHARED |= {"epochs": "int", "steps": "int"} | dict.fromkeys(("text", "audioldm", "vggish", "ratings"), "str")
#: The data sets without which a notebook cannot be built from a folder.
_READS = {
    "01_respirenet": ["icbhi"],
    "02_convlstm": ["sprsound"],
    "03_pediatric": ["sprsound"],
    "04_lungldm": ["prompted"],
    "90_compare_classifiers": ["icbhi", "sprsound"],
    "91_synthetic_augmentation": ["prompted"],
    "92_explanations": ["icbhi", "sprsound"],
}


def check_parameters(notebook: str, /, **values: Any) -> tuple:
    """`values` by name for a notebook (its number or name), typed and in their order.

    A shared parameter has its type by its name; text of another one is read as a Python value, where it is one. Raises one
    UserError that lists all that is wrong.
    """
    given, problems = read_parameters(notebook, values, SHARED)
    refuse(problems)
    return tuple(given.values())


def refuse(problems: Collection[str]) -> None:
    """Raise one UserError of all `problems`, sentences, if there are any."""
    if problems := list(dict.fromkeys(problems)):
        listed = "".join(f"\n- {problem}" for problem in problems)
        raise UserError(problems[0] if len(problems) == 1 else f"{len(problems)} parameters cannot be used:{listed}")


def read_parameters(
    notebook: str, values: Mapping[str, Any], types: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """`values` by the `types` of their names, as far as they can be used, and a sentence for each that cannot."""
    given, problems = {}, []
    for name, value in values.items():
        try:
            kind, what = _TYPES.get(types.get(name) or SHARED.get(name, ""), (None, ""))
            read = parse_value(value) if kind is None else kind.validate_python(value)
            given[name] = _CHECKS[name](read) if name in _CHECKS else read
        except ValidationError:
            problems.append(f"{name} is {value!r}; give {what}.")
        except UserError as error:
            problems.append(str(error))
    data = given.get("data", "simulated")
    return given, problems + _no_gpu(given) + ([] if data == "simulated" else _missing_data(notebook, data))


def parse_value(value: Any) -> Any:
    """Text as what it says: a number, true, false, none, a list, or else the words as they stand. Other values are kept."""
    if not isinstance(value, str):
        return value
    words = {"true": True, "false": False, "none": None, "null": None}
    try:
        return words[value.lower()] if value.lower() in words else ast.literal_eval(value)
    except (ValueError, SyntaxError):
        is_list = value.startswith("[") and value.endswith("]")
        return [parse_value(part.strip()) for part in value[1:-1].split(",")] if is_list else value


def did_you_mean(word: str, known: Collection[str]) -> str:
    """` (did you mean epochs?)` if one of `known` is like `word`, else nothing."""
    close = len(word) > 3 and ([name for name in known if word in name] or difflib.get_close_matches(word, known, 1))
    return f" (did you mean {close[0]}?)" if close else ""


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a truth value is no number")
    return value


def _items(value: Any) -> Any:
    """What stands for a list: none, one item, or text such as `[0, 1]` or `0, 1`."""
    if value is None:
        return []
    if isinstance(value, str):
        text = re.sub(r"^\s*[\[(]|[\])]\s*$", "", value)
        return [part.strip("'\"") for part in re.split(r"[,\s]+", text.strip(", ")) if part]
    return list(value) if hasattr(value, "__iter__") else [value]


_INT = Annotated[int, BeforeValidator(_not_bool)]
_FLOAT = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]
_STR = Annotated[str, Field(coerce_numbers_to_str=True), BeforeValidator(lambda value: "" if value is None else value)]
#: By the type as the parameters cell writes it: what reads a value, and what to give.
_TYPES = {
    "bool": (TypeAdapter(bool), "true or false"),
    "int": (TypeAdapter(_INT), "a whole number"),
    "float": (TypeAdapter(_FLOAT), "a number"),
    "str": (TypeAdapter(_STR), "text"),
    "list[int]": (TypeAdapter(Annotated[list[_INT], BeforeValidator(_items)]), "a list of whole numbers, as [0, 1]"),
    "list[float]": (TypeAdapter(Annotated[list[_FLOAT], BeforeValidator(_items)]), "a list of numbers, as [0.1, 1]"),
    "list[str]": (TypeAdapter(Annotated[list[_STR], BeforeValidator(_items)]), "a list of words, as [a, b]"),
}


def _one_of(name: str, *known: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        word = value.strip().lower()
        if word in known:
            return word
        many = ", one of several GPUs by CUDA_VISIBLE_DEVICES" if name == "device" else ""
        listed = ", ".join(each or '""' for each in known)
        raise UserError(f"There is no {name} {value!r}{did_you_mean(word, known)}; choose one of {listed}{many}.")

    return check


def _count(name: str) -> Callable[[int], int]:
    def check(value: int) -> int:
        if value < 0:
            raise UserError(f"{name} is {value}; give 1 or more, or 0 for the profile's own.")
        return value

    return check


def _seeds(values: list[int]) -> list[int]:
    if bad := [seed for seed in values if not 0 <= seed < 2**32]:
        raise UserError(f"{bad[0]} cannot be a seed; seeds are whole numbers from 0 to {2**32 - 1}.")
    if len(set(values)) < len(values):
        raise UserError(f"seeds are {values}; give each seed once, the same training twice says nothing new.")
    return values


def _data(value: str) -> str:
    if value.strip().lower() in ("", "simulated"):
        return "simulated"
    folder = Path(value).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(
            f"The data folder {value} does not exist; give the folder that holds icbhi/ and the like, or simulated."
        )
    return str(folder)


def _folder(name: str, *, made: bool = False, hub: bool = False) -> Callable[[str], str]:
    """made: it need not be there yet. hub: or the name of a model on a hub, as google/flan-t5-base."""

    def check(value: str) -> str:
        folder = Path(value).expanduser()
        if value and (folder.is_dir() or (made and not folder.exists())):
            return str(folder.resolve())
        if not value or (hub and not folder.exists() and re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", value)):
            return value
        what = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"{name} is {value}, which {what}; give a folder{' or a name on the hub' if hub else ''}.")

    return check


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "profile": _one_of("profile", *PROFILES),
    "device": _one_of("device", "auto", "cpu", "cuda"),
    "cluster": _one_of("cluster", "", "local", "slurm"),
    "seeds": _seeds,
    "epochs": _count("epochs"),
    "steps": _count("steps"),
    "data": _data,
    "text": _folder("text", hub=True),
    "audioldm": _folder("audioldm", hub=True),
    "vggish": _folder("vggish"),
    "ratings": _folder("ratings"),
    "out": _folder("out", made=True),
}


def _no_gpu(given: Mapping[str, Any]) -> list[str]:
    if given.get("device") != "cuda" or given.get("cluster") == "slurm":  # its jobs run elsewhere
        return []
    import torch  # heavy, and needed only here

    lacks = not torch.cuda.is_available()
    return ["device is cuda but torch sees no GPU; choose auto or cpu."] if lacks else []


def _missing_data(notebook: str, data: str) -> list[str]:
    from lungnb.data import data_folder  # heavy, and needed only for real data

    problems = []
    for name in next((needed for stem, needed in _READS.items() if notebook in (stem, stem[:2])), []):
        try:
            data_folder(data, name)
        except UserError as error:
            problems.append(f"{notebook}: {error}")
    return problems
