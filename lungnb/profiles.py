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

#: What surrounds the Conv-LSTM paper's models: as literal as the fact sheet allows, and as well as we can. Found on validation.
CONVLSTM_SETTINGS = {
    "paper": {},
    "best": {
        "class_weights": "inverse square root",
        "normalisation": "row",
        "augment": True,
        "schedule": "cosine",
        "decision": "validated",
    },
}

#: Adam's 1e-3 is too fast behind an LSTM whose 304 x 512 outputs all go into one linear layer (notebook 02, section 4.3).
_RATES = {"CNN": 1e-3, "Upsampling CNN": 1e-3, "ConvLstm": 1e-4, "full": 1e-4}


def _models(epochs: dict[str, int], rates: dict[str, float]) -> dict[str, dict]:
    return {model: {"epochs": n, "lr": rates[model]} for model, n in epochs.items()}


#: ConvLSTMRun. An LSTM of 304 steps takes ten times as long as the convolutions alone, hence its fewer epochs on a laptop.
CONVLSTM = {
    "smoke": {
        "run": {"n_patients": 40, "hidden": 32, "batch_size": 16},
        "models": _models(
            dict.fromkeys(_RATES, 6), _RATES | dict.fromkeys(["Upsampling CNN", "ConvLstm", "full"], 3e-4)
        ),
        "seeds": [0],
    },
    "laptop": {
        "run": {"precision": "bf16"},
        "models": _models({"CNN": 15, "Upsampling CNN": 15, "ConvLstm": 5, "full": 5}, _RATES),
        "seeds": [0],
    },
    "paper": {"run": {}, "models": _models(dict.fromkeys(_RATES, 60), _RATES), "seeds": [0, 1, 2, 3, 4]},
}
