"""LungLDM of the smallest size on a simulated corpus, for several rooms of tests."""

import functools

from lungnb.data import load_corpus
from lungnb.papers.lungldm.diffusion import DiffusionRun
from lungnb.papers.lungldm.experiments import AutoencoderRun, ClassifierRun, VocoderRun

PATIENTS = 11


@functools.cache
def clips():
    return load_corpus("prompted", "simulated", PATIENTS)


def tiny(kind, **choices):
    return kind(corpus=clips().fingerprint, n_patients=PATIENTS, size="smoke", device="cpu", **choices)


def classifier(**choices):
    return tiny(ClassifierRun, **{"epochs": 2} | choices)


def autoencoder(**choices):
    return tiny(AutoencoderRun, **{"steps": 4, "batch_size": 4, "perceptual": classifier()} | choices)


def diffusion(**choices):
    given = {"autoencoder": autoencoder(), "prediction": "v_prediction", "steps": 6, "batch_size": 4, "warmup": 4}
    return tiny(DiffusionRun, **given | choices)


def vocoder(**choices):
    return tiny(VocoderRun, **{"steps": 2, "batch_size": 4} | choices)
