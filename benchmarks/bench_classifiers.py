"""Speed of the classifiers' pipeline: front ends against librosa, networks, and trainings side by side, as ratios in one run.

`make bench` runs it; `--quick` takes fewer clips. Each front end gets the same clips as librosa, on one thread.
"""

import os
import sys
import tempfile

os.environ.setdefault("LUNGNB_PROGRESS", os.devnull)  # no progress bars between the tables

import librosa
import numpy as np
import pandas as pd
import torch
from timing import fastest

from lungnb import configs
from lungnb.classification import Classification
from lungnb.classification.dataset import AUDIO, Clips, compute_features, front_end, plan
from lungnb.data import load_corpus
from lungnb.data.audio import cut, load_audio
from lungnb.data.tasks import task_of
from lungnb.training.experiment import device_name, run_all

QUICK = "--quick" in sys.argv
N_CLIPS = 40 if QUICK else 400
#: Front end -> task, seconds of a clip, and what librosa does for one clip.
FRONT_ENDS = {
    "mel image": ("icbhi", 7.0, lambda x: _mel(x, 4000, 256, 128, 64, fmin=50, fmax=2000)),
    "stacked": ("sprsound", 3.0, lambda x: librosa.feature.mfcc(S=_mel(x, 8000, 512, 320, 64), n_mfcc=64)),
    "stft": ("cohorts", 5.0, lambda x: _stft(librosa.resample(x, orig_sr=8000, target_sr=22050))),
}


def _mel(x: np.ndarray, rate: int, n_fft: int, hop: int, n_mels: int, **band) -> np.ndarray:
    mel = librosa.feature.melspectrogram(y=x, sr=rate, n_fft=n_fft, hop_length=hop, n_mels=n_mels, **band)
    return librosa.power_to_db(mel, ref=np.max)


def _stft(x: np.ndarray) -> np.ndarray:
    return librosa.amplitude_to_db(np.abs(librosa.stft(x, n_fft=2048, hop_length=512))[:150])


def compare_front_ends() -> pd.DataFrame:
    """Clips a second of each front end, and of librosa on the same clips."""
    rows = []
    for name, (task_name, seconds, reference) in FRONT_ENDS.items():
        task = task_of(task_name)
        corpus = task.view(load_corpus(task.corpus, n_patients=24))
        rate, *filters, batch = AUDIO[name]
        audio = load_audio(corpus, rate, *filters)
        planned = plan(audio, corpus.events, Clips(seconds), task.classes, training=False)
        planned = planned.take(range(min(N_CLIPS, len(planned))))
        waves, front = cut(audio.samples, planned) / np.float32(32767), front_end(name, rate)
        ours = fastest(lambda a=audio, p=planned, f=front, b=batch: compute_features(a.samples, p, f, b))
        theirs = fastest(lambda w=waves, r=reference: [r(x) for x in w], 2)  # the first call compiles
        n = len(planned)
        rows.append({"front end": name, "clips/s": n / ours, "librosa": n / theirs, "ratio": theirs / ours})
    return pd.DataFrame(rows)


def compare_networks() -> pd.DataFrame:
    """Seconds of a training epoch of each paper's smoke preset, and its weights."""
    size = {name: configs.load(name, "smoke") for name in ("respirenet", "convlstm", "pediatric")}
    presets = {
        "RespireNet": ("icbhi", size["respirenet"]["run"]),
        "CNN": ("sprsound", size["convlstm"] | {"model": "CNN"}),
        "full": ("sprsound", size["convlstm"] | {"model": "full"}),
        "MPA": ("multisite", size["pediatric"]["cohorts"]),
    }
    rows = []
    for name, (data, fields) in presets.items():
        corpus = load_corpus(data, n_patients=fields.get("n_patients", 40))
        one = Classification(corpus=corpus.fingerprint, **fields | {"epochs": 1 if QUICK else 3, "patience": None})
        facts = one.result()
        seconds = facts["training_seconds"] / facts["n_epochs"]
        rows.append({"network": name, "s an epoch": seconds, "weights": facts["parameters"]})
    return pd.DataFrame(rows)


def compare_side_by_side() -> float:
    """How much faster a grid of small trainings is, one thread each side by side, than one after another on one thread."""
    corpus, fields = load_corpus("multisite", n_patients=96), configs.load("pediatric", "smoke")["cohorts"]
    fields |= {"model": "SiteCNN", "epochs": 2 if QUICK else 6, "patience": None, "corpus": corpus.fingerprint}
    make = [[Classification(**fields | {"sites": (s,), "seed": seed}) for s in "1234"] for seed in (1, 2)]
    make[0][0].dataset()  # the features are there for both
    together = fastest(lambda: run_all(make[0]), 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    apart = fastest(lambda: [one.result() for one in make[1]], 1)
    torch.set_num_threads(threads)
    return apart / together


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LUNGNB_CACHE"] = folder  # nothing is taken from an earlier run
        print(device_name("cpu"))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        print(compare_front_ends().round(2).to_string(index=False))
        torch.set_num_threads(threads)
        print(compare_networks().round(2).to_string(index=False))
        print(f"four networks side by side: {compare_side_by_side():.2f} times as fast as one after another")


if __name__ == "__main__":
    main()
