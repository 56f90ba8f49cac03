"""Training steps in float32 against bfloat16 and the machine's matrix peak, verification, and cost by size, as ratios in one run.

`make bench` runs it; `--quick` takes fewer steps. All of it is on one thread.
"""

import os
import sys
import tempfile
import time
import warnings

os.environ.setdefault("LUNGNB_PROGRESS", os.devnull)  # no progress bars between the tables

import numpy as np
import pandas as pd
import torch
import torchaudio
from timing import fastest
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lungnb.book import recorded
from lungnb.classification.networks import SmallCNN
from lungnb.data import load_audio, load_corpus
from lungnb.data.audio import PADDINGS, cut, plan_clips
from lungnb.papers.convlstm import INPUTS, MODELS, ConvLSTM
from lungnb.papers.respirenet import RespireNet
from lungnb.training.experiment import device_name

QUICK = "--quick" in sys.argv
BATCH = 64


def matrix_peak(n: int = 1024) -> float:
    """Floating-point operations a second of a product of two square float32 matrices."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    return 2 * n**3 / fastest(lambda: a @ b, 5)


def step_of(network: nn.Module, inputs: tuple[torch.Tensor, ...], bf16: bool):
    """One training step of Adam on a random batch."""
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    label = torch.randint(0, 2, (BATCH,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(network(*inputs).float(), label)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def compare_precisions(peak: float) -> pd.DataFrame:
    """Milliseconds of a step of 64 events by precision, their ratio, and what share of the matrix peak float32 reaches."""
    maps, metadata = torch.randn(BATCH, 3, 64, 76), torch.zeros(BATCH, 3, dtype=torch.long)
    maps = maps.contiguous(memory_format=torch.channels_last)
    networks = {model: (lambda m=model: ConvLSTM(m, hidden=64), (maps, metadata)) for model in MODELS}
    if not QUICK:
        networks["full, 512 states"] = (ConvLSTM, (maps, metadata))
    networks["RespireNet, ResNet-18"] = (lambda: RespireNet(4, "resnet18"), (torch.randn(BATCH, 3, 64, 128),))
    networks["small CNN"] = (lambda: SmallCNN(4), (torch.randn(BATCH, 1, 64, 76),))
    rows = []
    for name, (build, inputs) in networks.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch asks for an Intel GPU when the flag is set back
            flags = torch.backends.mkldnn.flags(enabled=False)  # oneDNN's LSTM is one operation that is not counted
            with flags, FlopCounterMode(display=False) as counter:
                nn.functional.cross_entropy(build()(*inputs), torch.zeros(BATCH, dtype=torch.long)).backward()
        seconds = {}
        for bf16 in (False, True):
            step = step_of(build(), inputs, bf16)
            step()
            seconds[bf16] = fastest(step, 2 if QUICK else 3)
        rows.append({"network": name, "float32 ms": 1e3 * seconds[False], "bf16 ms": 1e3 * seconds[True]})
        rows[-1] |= {"ratio": seconds[False] / seconds[True]}
        rows[-1] |= {"share of peak": counter.get_total_flops() / seconds[False] / peak}
    return pd.DataFrame(rows)


def compare_maps() -> pd.DataFrame:
    """Clips of 3 s a second: our stacked maps, torchaudio's mel, MFCC and LFCC one after another in batches."""
    corpus = load_corpus("sprsound", n_patients=24)
    audio = load_audio(corpus, 8000)
    plan = plan_clips(audio, corpus.events.head(64 if QUICK else 400), 3, PADDINGS["zero"], long="middle")
    waves = torch.from_numpy(cut(audio.samples, plan)).float() / 32767
    ours, size = INPUTS["A"].front_end(), {"n_fft": 512, "hop_length": 320}
    mel = torchaudio.transforms.MelSpectrogram(8000, n_mels=64, **size)
    mfcc = torchaudio.transforms.MFCC(8000, n_mfcc=64, melkwargs={"n_mels": 64, **size})
    lfcc = torchaudio.transforms.LFCC(8000, n_filter=64, n_lfcc=64, speckwargs=size)
    to_db = torchaudio.transforms.AmplitudeToDB(top_db=80)
    theirs = fastest(lambda: [(to_db(mel(w)), mfcc(w), lfcc(w)) for w in waves.split(32)])
    own = fastest(lambda: [ours(w) for w in waves.split(32)])
    return pd.DataFrame([{"ours, clips/s": len(waves) / own, "torchaudio": len(waves) / theirs, "ratio": theirs / own}])


def cost_by_size() -> pd.DataFrame:
    """Seconds to read, decode and cut at 1, 2 and 4 times as many recordings, and how they grow with the number of events."""
    rows = []
    for n in (20, 40, 80):
        corpus = load_corpus("sprsound", n_patients=n)  # simulated and read once before the clock starts
        started = time.perf_counter()
        audio = load_audio(corpus, 8000)
        cut(audio.samples, plan_clips(audio, corpus.events, 3, PADDINGS["zero"], long="middle"))
        rows.append({"events": len(corpus.events), "seconds": time.perf_counter() - started})
    table = pd.DataFrame(rows)
    growth = np.log(table["seconds"] / table["seconds"][0]) / np.log(table["events"] / table["events"][0])
    return table.assign(**{"power of the events": growth})


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LUNGNB_CACHE"] = folder  # nothing is taken from an earlier run
        peak = matrix_peak()
        print(f"{device_name('cpu')}, one thread: {peak / 1e9:.0f} GFLOP/s in float32 products of matrices")
        print(compare_precisions(peak).round(2).to_string(index=False))
        print(compare_maps().round(2).to_string(index=False))
        print(cost_by_size().round(2).to_string(index=False))
        started = time.perf_counter()
        found = recorded.verify()
        print(f"verification: {time.perf_counter() - started:.1f} s, {len(found)} differences")


if __name__ == "__main__":
    main()
