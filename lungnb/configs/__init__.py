"""Sizes of what the notebooks train before one's eyes, one YAML file a paper: what is not named there is the class's own default.

They stand apart from the code, so that another size is another configuration and not other code. The recorded experiments, and
what the profiles laptop and paper train, are described in `recorded/`.
"""

from pathlib import Path
from typing import Any

import yaml

from lungnb.core import UserError


def load(name: str) -> dict[str, Any]:
    """The sizes for the notebook of `name` (respirenet, convlstm). Raises UserError for another name."""
    path = Path(__file__).with_name(f"{name}.yaml")
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise UserError(f"There is no experiment {name!r}; known are {known}.")
    return yaml.safe_load(path.read_text())
