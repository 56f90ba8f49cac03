"""Sizes of the experiments by profile, as fields of the runs: what is not named here is the paper's own.

They stand apart from the runs, so that another size is another configuration and not other code.
"""

#: Without a GPU a narrow ResNet on the spectrogram's own pixels (zoom 1) stands in, at a rate found for it that falls to zero.
#: Joined cycles are of one class there: of two different ones, a window of the short clip may hold only the normal half.
_SMALL_RESNET = {
    "backbone": "resnet10-narrow",
    "zoom": 1,
    "pretrained": "scratch",
    "dropout": 0.2,
    "batch_size": 16,
    "lr": 2e-2,
    "schedule": "linear",
    "same_class": True,
}

#: RespireNetRun and DeviceFineTuning.
RESPIRENET = {
    "smoke": {
        "run": {**_SMALL_RESNET, "clip_s": 4.0, "epochs": 11, "epoch_size": "events", "n_patients": 40},
        "fine_tuning": {"epochs": 3, "lr": 2e-3},
        "seeds": [0],
    },
    "laptop": {
        "run": {**_SMALL_RESNET, "epochs": 12},
        "fine_tuning": {"epochs": 3, "lr": 2e-3},
        "seeds": [0, 1, 2],
    },
    "paper": {"run": {}, "fine_tuning": {}, "seeds": [0, 1, 2, 3, 4]},
}

#: What surrounds the Conv-LSTM paper's models: as literal as docs/papers/convlstm.md, section 4, allows, and as well as
#: we can (found on validation).
CONVLSTM_SETTINGS = {
    "paper": {},
    "best": {
        "class_weights": "inverse square root",
        "normalisation": "row",
        "augment": True,
        "schedule": "cosine",
        "validation_tenths": 1,
    },
}

#: Adam's 1e-3 is too fast behind an LSTM whose 304 x 512 outputs all go into one linear layer (notebook 02, section 4.3).
_RATES = {"CNN": 1e-3, "Upsampling CNN": 1e-3, "ConvLstm": 1e-4, "full": 1e-4}
_SMALL_RATES = {"CNN": 1e-3, "Upsampling CNN": 3e-4, "ConvLstm": 3e-4, "full": 3e-4}


def _models(convolutional: int, recurrent: int, rates: dict[str, float]) -> dict[str, dict]:
    """Epochs and rate of the four models. An LSTM of 304 steps takes ten times as long as the convolutions alone."""
    epochs = [convolutional, convolutional, recurrent, recurrent]
    return {model: {"epochs": n, "lr": rate} for (model, rate), n in zip(rates.items(), epochs, strict=True)}


#: ConvLSTMRun, for each setting by model.
CONVLSTM = {
    "smoke": {
        "run": {"n_patients": 40, "hidden": 32, "batch_size": 16},
        "paper": _models(6, 6, _SMALL_RATES),
        "best": _models(6, 4, _SMALL_RATES),
        "seeds": [0],
    },
    "laptop": {
        "run": {"precision": "bf16"},
        "paper": _models(15, 5, _RATES),
        "best": _models(30, 4, _RATES),
        "seeds": [0],
    },
    "paper": {"run": {}, "paper": _models(60, 60, _RATES), "best": _models(60, 30, _RATES), "seeds": [0, 1, 2, 3, 4]},
}

#: A narrow view for a CPU: means over three rows (32 Hz) and four frames (93 ms), and fewer, longer steps.
_SMALL_SITES = {"pooling": (3, 4), "epochs": 40, "patience": 15, "batch_size": 16, "lr": 2e-3}

#: PediatricRun: of the cohorts, and of SPRSound's sites.
PEDIATRIC = {
    "smoke": {
        "cohorts": {**_SMALL_SITES, "n_patients": 96},
        "sprsound": {**_SMALL_SITES, "n_patients": 40},
        "n_folds": 3,
        "seeds": [0],
    },
    "laptop": {
        "cohorts": {**_SMALL_SITES, "n_patients": 96},
        "sprsound": {"pooling": (3, 4), "epochs": 80, "patience": 20},
        "n_folds": 3,
        "seeds": [0],
    },
    "paper": {"cohorts": {"n_patients": 318}, "sprsound": {}, "n_folds": 10, "seeds": list(range(10))},
}

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

#: A rate for each model under AdamW and a cosine: of 1e-3, 2e-3 and 4e-3 the one with the best AS on simulated validation
#: patients, the mean over its tasks at the size of smoke, one seed. The network of a site learns late with much dropout.
_SITE_CNN = {"dropout": 0.05}
_RATE = {
    "boosting": {},
    "small CNN": {"lr": 2e-3},
    "RespireNet": {"lr": 4e-3},
    "CNN": {"lr": 4e-3, "clip_s": 3.0},
    "Upsampling CNN": {"lr": 2e-3, "clip_s": 3.0},
    "ConvLstm": {"lr": 1e-3, "clip_s": 3.0},
    "full": {"lr": 1e-3, "clip_s": 3.0},
    "SiteCNN": _SITE_CNN | {"lr": 2e-3},
    "MPO": _SITE_CNN | {"lr": 2e-3},
    "MPA": _SITE_CNN | {"lr": 4e-3},
}
_CPU = {"backbone": "resnet10-narrow", "pretrained": "scratch", "zoom": 1, "clip_s": 3.0, "pooling": (3, 4)}


def _rates(**epochs: int) -> dict[str, dict]:
    """Settings of each model, with `epochs` by its name without spaces, else those of the run."""
    named = {model: epochs.get(model.replace(" ", "_")) for model in _RATE}
    return {model: _RATE[model] | ({"epochs": n} if n else {}) for model, n in named.items()}


#: Without the models that take as long as all others together.
_QUICK = ["boosting", "small CNN", "RespireNet", "CNN", "SiteCNN", "MPO"]
_OF_PATIENTS = ["boosting", "small CNN", "RespireNet", "SiteCNN", "MPO", "MPA"]

#: CompareRun: what all share, what a patient as the unit changes, and what is the model's own, in this order. Then who is
#: asked about patients, who is trained on a leaky split as well, and who goes from SPRSound to ICBHI.
COMPARE = {
    "smoke": {
        "run": {**_CPU, "hidden": 16, "epochs": 5, "draws": 480, "batch_size": 16},
        "patients": {"clip_s": 5.0},
        "models": _rates(small_CNN=4, CNN=4, Upsampling_CNN=3, ConvLstm=3, full=3, SiteCNN=10, MPO=10, MPA=10),
        "n_patients": {"icbhi": 40, "sprsound": 40, "multisite": 96},
        "of patients": _OF_PATIENTS,
        "leaky": _QUICK,
        "abroad": _QUICK[:3],
        "seeds": [0],
    },
    "laptop": {
        "run": {**_CPU, "hidden": 32, "epochs": 10, "draws": 1600},
        "patients": {"clip_s": 5.0},
        "models": _rates(SiteCNN=20, MPO=20, MPA=20),
        "n_patients": {"icbhi": 40, "sprsound": 40, "multisite": 96},
        "of patients": _OF_PATIENTS,
        "leaky": _QUICK,
        "abroad": _QUICK[:5],
        "seeds": [0, 1, 2],
    },
    "paper": {
        "run": {},
        "patients": {"clip_s": 5.0},
        "models": {m: s | ({"clip_s": 7.0} if m == "RespireNet" else {}) for m, s in _rates(MPA=100, MPO=60).items()},
        "n_patients": {"icbhi": 126, "sprsound": 126, "multisite": 318},
        "of patients": list(_RATE),
        "leaky": [model for model in _RATE if model != "MPA"],
        "abroad": [model for model in _RATE if model != "MPA"],
        "seeds": [0, 1, 2, 3, 4],
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

#: Notebook 92: who is looked at, on how many sounds of each kind, passes with dropout, and steps of a deletion curve.
_LOOKED_AT = ["small CNN", "RespireNet", "CNN", "Upsampling CNN", "ConvLstm", "full", "SiteCNN", "MPO"]
EXPLAIN = {
    "smoke": {"models": _LOOKED_AT, "sounds": 16, "passes": 8, "steps": 10},
    "laptop": {"models": _LOOKED_AT, "sounds": 50, "passes": 30, "steps": 20},
    "paper": {"models": _LOOKED_AT, "sounds": 200, "passes": 100, "steps": 50},
}
