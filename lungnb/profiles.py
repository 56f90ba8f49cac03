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

#: What the Conv-LSTM paper's models are trained with: as literal as the fact sheet allows, and as well as we can.
CONVLSTM_SETTINGS = {
    "paper": {},
    "best": {"class_weights": "inverse square root", "normalisation": "row"},
}

#: ConvLSTMRun; `epochs` by model, since an LSTM of 304 steps takes ten times as long as the convolutions alone.
CONVLSTM = {
    "smoke": {
        "run": {"n_patients": 40, "hidden": 32, "batch_size": 16},
        "epochs": {"CNN": 10, "Upsampling CNN": 10, "ConvLstm": 10, "full": 10},
        "seeds": [0],
    },
    "laptop": {
        "run": {"precision": "bf16"},
        "epochs": {"CNN": 15, "Upsampling CNN": 15, "ConvLstm": 6, "full": 6},
        "seeds": [0],
    },
    "paper": {
        "run": {},
        "epochs": {"CNN": 60, "Upsampling CNN": 60, "ConvLstm": 60, "full": 60},
        "seeds": [0, 1, 2, 3, 4],
    },
}
