"""Sizes of the experiments by profile, one YAML file an experiment: what is not named there is the class's own default.

They stand apart from the code, so that another size is another configuration and not other code.
"""

from pathlib import Path
from typing import Any

import yaml

from lungnb.core import UserError

PROFILES = ("smoke", "laptop", "paper")


def load(name: str, profile: str) -> dict[str, Any]:
    """The sizes of the experiment `name` (respirenet, convlstm).

    Raises UserError for an unknown experiment or profile.
    """
    path = Path(__file__).with_name(f"{name}.yaml")
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise UserError(f"There is no experiment {name!r}; known are {known}.")
    if profile not in PROFILES:
        raise UserError(f"There is no profile {profile!r}; choose one of {', '.join(PROFILES)}.")
    return yaml.safe_load(path.read_text())[profile]
