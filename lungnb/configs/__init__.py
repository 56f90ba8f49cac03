"""Sizes of the experiments by profile, one YAML file an experiment: what is not named there is the class's own default.

They stand apart from the code, so that another size is another configuration and not other code.
"""

from pathlib import Path
from typing import Any

import yaml

from lungnb.core import UserError

PROFILES = ("smoke", "laptop", "paper")


def load(name: str, profile: str) -> dict[str, Any]:
    """The sizes of the experiment `name` (respirenet, convlstm, pediatric, compare, explanations, lungldm, augmentation).

    Raises UserError for an unknown experiment or profile.
    """
    path = Path(__file__).with_name(f"{name}.yaml")
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise UserError(f"There is no experiment {name!r}; known are {known}.")
    if profile not in PROFILES:
        raise UserError(f"There is no profile {profile!r}; choose one of {', '.join(PROFILES)}.")
    return yaml.safe_load(path.read_text())[profile]


#: Penalty, SE encoder and gates of the two systems that are compared, and of an ablation that leaves out one thing at a time.
LUNGLDM_SYSTEMS = {"AudioLDM": ("none", False, "none"), "LungLDM": ("element", True, "se")}
_ONE_AT_A_TIME = [
    LUNGLDM_SYSTEMS["LungLDM"],
    ("sample", True, "se"),
    ("none", True, "se"),
    ("element", False, "se"),
    ("element", True, "static"),
    ("element", True, "none"),
    LUNGLDM_SYSTEMS["AudioLDM"],
]
_ALL = [
    (p, se, gate) for p in ("element", "sample", "none") for se in (True, False) for gate in ("se", "static", "none")
]

#: The smallest training of all parts. In a short budget the noise as target stays at chance, a long average stays near its
#: start, and 2e-4 is too slow.
_SMALL_LDM = {
    "run": {"size": "smoke", "n_patients": 60},
    "classifier": {"epochs": 6},
    "autoencoder": {"steps": 200, "lr": 2e-3},
    "diffusion": {"steps": 800, "lr": 1e-3, "warmup": 50, "ema": 0.995, "prediction": "v_prediction"},
}

#: The runs of LungLDM: what all share, its parts, the clips of each type that are asked for, and for the ablation, which has
#: many trainings, sizes of its own. "judges" are the classifiers of age and sex. A vocoder that cannot be trained long enough
#: to beat Griffin and Lim is None. The paper prints one number of steps, 250,000.
LUNGLDM = {
    "smoke": {
        **_SMALL_LDM,
        "judges": {"epochs": 3},
        "vocoder": {"steps": 100, "lr": 2e-3},
        "n_per_type": 8,
        "ablation": {
            "diffusion": _SMALL_LDM["diffusion"] | {"steps": 250, "ema": 0.98},
            "cells": _ONE_AT_A_TIME,
        },
        "seeds": [0],
    },
    "laptop": {
        "run": {"size": "laptop"},
        "classifier": {"epochs": 8},
        "judges": {"epochs": 3},
        "autoencoder": {"steps": 1000, "lr": 1e-3},
        "vocoder": None,
        "diffusion": {
            "steps": 4000,
            "lr": 5e-4,
            "warmup": 200,
            "ema": 0.999,
            "prediction": "v_prediction",
            "balance": 0.5,
        },
        "n_per_type": 20,
        "ablation": {
            **_SMALL_LDM,
            "diffusion": _SMALL_LDM["diffusion"] | {"balance": 0.5},
            "cells": _ALL,
        },
        "seeds": [0],
    },
    "paper": {
        "run": {"precision": "bf16"},
        "classifier": {},
        "judges": {},
        "autoencoder": {},
        "vocoder": {},
        "diffusion": {},
        "n_per_type": 200,
        "ablation": {"autoencoder": {"steps": 25_000}, "diffusion": {"steps": 25_000}, "cells": _ALL},
        "seeds": [0, 1, 2],
    },
}

#: Types that are rare among the recorded clips: what is worth hearing is what few have.
_RARE = ("wheeze", "crackle", "rhonchi")

#: SynthesisRun ("clips": recorded clips of each type, of the rare ones a quarter or less, and as many generated ones a round) and
#: AugmentationRun, on the LungLDM of `LUNGLDM`.
AUGMENTATION = {
    "smoke": {
        "clips": {"n_per_type": 8, "rare": dict.fromkeys(_RARE, 2)},
        "classifier": {"epochs": 5, "draws": 640},
        "seeds": [0, 1, 2],
    },
    "laptop": {
        "clips": {"n_per_type": 60, "rare": dict.fromkeys(_RARE, 15)},
        "classifier": {"epochs": 10, "draws": 960},
        "seeds": [0, 1, 2],
    },
    "paper": {
        "clips": {"n_per_type": 1000, "rare": dict.fromkeys(_RARE, 100), "steps": 25},
        "classifier": {"epochs": 30, "draws": 16_000},
        "seeds": [0, 1, 2, 3, 4],
    },
}
