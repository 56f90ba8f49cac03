"""Speed of the classifiers' pipeline: front ends against other libraries, networks, trainings side by side, as ratios in one run.

`make bench` runs it; `--quick` takes fewer clips. Each front end gets the same clips as librosa, on one thread. nnAudio and
kaldi-native-fbank are no dependencies; they are compared where they are installed. `--data DIR`, a folder with sprsound/, also
times task 1-1 of SPRSound from the recordings to its AUROC on unseen children.
"""

import os
import sys
import tempfile
import time
from importlib.util import find_spec

os.environ.setdefault("LUNGNB_PROGRESS", os.devnull)  # no progress bars between the tables

import librosa
import numpy as np
import pandas as pd
import torch
import torchaudio
from timing import fastest

from lungnb import configs
from lungnb.book.experiments import runs_of
from lungnb.book.recorded import configurations, ensemble, experiment
from lungnb.classification import Classification
from lungnb.classification.preprocessing import AUDIO, Clips, Preprocessing, compute_features, plan
from lungnb.data import load_corpus
from lungnb.data.audio import cut
from lungnb.data.tasks import task_of
from lungnb.features import LogMel
from lungnb.metrics.classification import evaluate
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
        how, batch = Preprocessing(name, Clips(seconds)), AUDIO[name][3]
        audio = how.audio(corpus)
        planned = plan(audio, corpus.events, how.clips, task.classes, training=False)
        planned = planned.take(range(min(N_CLIPS, len(planned))))
        waves, front = cut(audio.samples, planned) / np.float32(32767), how.front_end()
        ours = fastest(lambda a=audio, p=planned, f=front, b=batch: compute_features(a.samples, p, f, b))
        theirs = fastest(lambda w=waves, r=reference: [r(x) for x in w], 2)  # the first call compiles
        n = len(planned)
        rows.append({"front end": name, "clips/s": n / ours, "librosa": n / theirs, "ratio": theirs / ours})
    return pd.DataFrame(rows)


def compare_libraries() -> pd.DataFrame:
    """Clips of 7 s a second of RespireNet's log-mel spectrogram, and how many times as many as another library ours makes."""
    waves = torch.randn(32, 28000).clamp(-4, 4) / 4
    size = {"n_fft": 256, "hop_length": 128, "n_mels": 64}
    to_db, ours = torchaudio.transforms.AmplitudeToDB(top_db=80), LogMel()
    mel = torchaudio.transforms.MelSpectrogram(4000, f_min=50, f_max=2000, **size)
    theirs = {
        "librosa": lambda: [_mel(x, 4000, 256, 128, 64, fmin=50, fmax=2000) for x in waves.numpy()],
        "torchaudio, in batches": lambda: to_db(mel(waves)),
    }
    if find_spec("nnAudio"):
        from nnAudio.features import MelSpectrogram

        nn_mel = MelSpectrogram(sr=4000, fmin=50, fmax=2000, verbose=False, **size)
        theirs["nnAudio, in batches"] = lambda: to_db(nn_mel(waves))
    if find_spec("kaldi_native_fbank"):
        theirs["kaldi-native-fbank"] = lambda: [_kaldi(x) for x in waves.numpy()]
    own = fastest(lambda: ours(waves), 5)
    rows = [{"library": name, "seconds": fastest(function, 3)} for name, function in theirs.items()]
    table = pd.DataFrame(rows).assign(**{"ours, clips/s": len(waves) / own})
    return table.assign(**{"clips/s": len(waves) / table["seconds"], "ratio": table["seconds"] / own}).drop(
        columns="seconds"
    )


def _kaldi(wave: np.ndarray) -> int:
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.dither = 4000, 0
    options.frame_opts.frame_length_ms, options.frame_opts.frame_shift_ms = 64, 32
    options.mel_opts.num_bins, options.mel_opts.low_freq, options.mel_opts.high_freq = 64, 50, 2000
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(4000, wave)
    bank.input_finished()
    return len([bank.get_frame(k) for k in range(bank.num_frames_ready)])


def from_disk_to_auroc(data: str) -> str:
    """Two networks of the recorded recipe, a few epochs, side by side: seconds, and AUROC of their mean on unseen children."""
    name, row = "convlstm/sprsound-event", "best CNN"
    started = time.perf_counter()
    runs = list(runs_of(name, data, (row,), tuple(experiment(name)["seeds"][:2]), epochs=4).values())
    run_all(runs)
    seconds = time.perf_counter() - started
    score = evaluate([ensemble([one.tested("inter") for one in runs])], 2).set_index("metric").loc["AUROC", "ours"]
    return f"SPRSound 1-1 from disk, {len(runs)} networks of 4 epochs: {seconds:.0f} s, AUROC {score:.3f} on unseen children"


def compare_networks() -> pd.DataFrame:
    """Seconds of a training epoch of each paper's smoke preset, and its weights."""
    size = {name: configs.load(name) for name in ("respirenet", "convlstm")}
    presets = {
        "RespireNet": ("icbhi", size["respirenet"]),
        "CNN": ("sprsound", size["convlstm"] | {"model": "CNN"}),
        "full": ("sprsound", size["convlstm"] | {"model": "full"}),
        "MPA": ("multisite", configurations("pediatric/cohorts")["GVA"] | {"n_patients": 96}),
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
    corpus, fields = (
        load_corpus("multisite", n_patients=96),
        configurations("pediatric/cohorts")["GVA"] | {"n_patients": 96},
    )
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
        print(compare_libraries().round(2).to_string(index=False))
        torch.set_num_threads(threads)
        print(compare_networks().round(2).to_string(index=False))
        if "--data" in sys.argv:
            print(from_disk_to_auroc(sys.argv[sys.argv.index("--data") + 1]))
        print(f"four networks side by side: {compare_side_by_side():.2f} times as fast as one after another")


if __name__ == "__main__":
    main()
