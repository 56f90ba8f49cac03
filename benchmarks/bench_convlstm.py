"""Speed of the Conv-LSTM's path from events to training steps, as ratios measured in one run (`make bench`).

1. All three maps of every event: our one batched pass against loops of librosa, event by event, each on one core.
2. A training step (forward, backward, AdamW) of the four models, and on the GPU if there is one.
3. The LSTM with fused kernels against a loop over its cell with the same weights.

Simulated events by default; `python bench_convlstm.py FOLDER` takes the recordings in FOLDER/sprsound.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("LUNGNB_PROGRESS", os.devnull)  # no progress bars between the tables

import librosa
import numpy as np
import scipy.fft
import torch
from lungnb.papers.convlstm_maps import SAMPLE_RATE, clips_of, compute_maps
from lungnb.papers.convlstm_model import INPUTS, ConvLSTM
from rich.console import Console
from rich.table import Table
from torch import nn

from lungnb.data.audio import audio_bank
from lungnb.data.corpus import Corpus
from lungnb.data.load import load_corpus
from lungnb.papers.convlstm import MODELS
from lungnb.training.experiment import device_name

BATCH, SUBSET = 64, 400
console = Console(width=120)


def main(data: str = "simulated") -> None:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    console.print(f"{device_name('cpu')}; GPU: {gpu}\n")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LUNGNB_CACHE"] = cache
        compare_with_librosa(load_corpus("sprsound", data))
    measure_steps()
    measure_lstm()


def compare_with_librosa(corpus: Corpus) -> None:
    """Recordings are decoded before, for both; the loops take a subset that is spread over the corpus."""
    bank, events = audio_bank(corpus, SAMPLE_RATE), corpus.events
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    table = Table(
        *(
            "input",
            "frames x rows",
            "librosa, events/s",
            "one STFT, events/s",
            "ours, events/s",
            "ratios",
            "later epochs, events/s",
        ),
        title=f"1. Log-mel, MFCC and LFCC of {len(events):,} events ({corpus.origin_text})",
    )
    for size, given in INPUTS.items():
        clips = clips_of(bank, events.iloc[:: -(-len(events) // SUBSET)], round(given.seconds * SAMPLE_RATE))
        loops = [per_event(loop, clips) for loop in (three_calls(size), one_stft(size))]
        compute_maps(corpus.select(events.index < 300), size, "zero", "cpu")  # libraries load, pools fill
        start = time.process_time()
        maps = compute_maps(corpus, size, "zero", "cpu")
        ours = len(maps) / (time.process_time() - start)
        ratios = " and ".join(f"{ours / loop:.1f}" for loop in loops)
        shape = f"{maps.shape[3]} x {maps.shape[2]}"
        table.add_row(size, shape, *(f"{n:,.0f}" for n in (*loops, ours)), ratios, f"{drawn(maps):,.0f}")
    torch.set_num_threads(threads)
    console.print(
        table,
        f"One core each, in processor time, from decoded recordings in memory; the loops over {len(clips)} of the events.\n"
        "librosa: melspectrogram, mfcc from it, and the linear bank on another STFT, as one would write it. one STFT: the\n"
        "shortest loop, with one STFT an event and both banks made before. later epochs: ours is done once and kept, so that\n"
        "training draws batches from memory; a loader without a store goes on at the pace of its loop.\n",
    )


def linear_bank(size: str) -> np.ndarray:
    """Triangles between 0 and the Nyquist frequency: (n_rows, bins)."""
    given = INPUTS[size]
    corners = np.linspace(0, SAMPLE_RATE / 2, given.n_rows + 2)
    hz = librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=given.n_fft)
    rows = [np.interp(hz, corners[k : k + 3], [0, 1, 0], left=0, right=0) for k in range(given.n_rows)]
    return np.stack(rows).astype(np.float32)


def three_calls(size: str) -> Callable[[np.ndarray], np.ndarray]:
    given, bank = INPUTS[size], linear_bank(size)
    stft = {"n_fft": given.n_fft, "hop_length": given.hop_length}

    def maps(clip: np.ndarray) -> np.ndarray:
        power = librosa.feature.melspectrogram(y=clip, sr=SAMPLE_RATE, n_mels=given.n_rows, **stft)
        mel = librosa.power_to_db(power)
        mfcc = librosa.feature.mfcc(S=mel, n_mfcc=given.n_rows)
        linear = librosa.power_to_db(bank @ np.abs(librosa.stft(clip, **stft)) ** 2)
        return np.stack([mel, mfcc, scipy.fft.dct(linear, axis=0, norm="ortho")])

    return maps


def one_stft(size: str) -> Callable[[np.ndarray], np.ndarray]:
    given, linear = INPUTS[size], linear_bank(size)
    mel = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=given.n_fft, n_mels=given.n_rows)

    def maps(clip: np.ndarray) -> np.ndarray:
        power = np.abs(librosa.stft(clip, n_fft=given.n_fft, hop_length=given.hop_length)) ** 2
        both = [librosa.power_to_db(bank @ power) for bank in (mel, linear)]
        return np.stack([both[0], *(scipy.fft.dct(db, axis=0, norm="ortho") for db in both)])

    return maps


def per_event(loop: Callable[[np.ndarray], np.ndarray], clips: np.ndarray) -> float:
    """Events per second of processor time."""
    for clip in clips[:20]:
        loop(clip.astype(np.float32) / 32767)
    start = time.process_time()
    for clip in clips:
        loop(clip.astype(np.float32) / 32767).astype(np.float16)
    return len(clips) / (time.process_time() - start)


def drawn(maps: np.ndarray) -> float:
    """Events per second of processor time that training draws from the stored maps, batch by batch in a new order."""
    stored, start = torch.from_numpy(maps), time.process_time()
    for items in torch.randperm(len(stored)).split(BATCH):
        stored[items].float()
    return len(stored) / (time.process_time() - start)


def measure_steps() -> None:
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    columns = [f"{device}, {name}" for device in devices for name in ("float32", "bf16")]
    table = Table("model", "weights, M", *columns, title=f"2. Training step of {BATCH} events, ms an event")
    for name in MODELS:
        times = [step_time(name, device, bf16) for device in devices for bf16 in (False, True)]
        weights = sum(p.numel() for p in ConvLSTM(name).parameters()) / 1e6
        table.add_row(name, f"{weights:.2f}", *(f"{1000 * t / BATCH:.3f}" for t in times))
    console.print(table, "Input A, all steps read out, LSTM of 512; fused AdamW and gradients clipped at 1.\n")


def step_time(name: str, device: str, bf16: bool) -> float:
    """Seconds of the fastest of three steps, after one more."""
    model = ConvLSTM(name).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    maps, label = torch.randn(BATCH, 3, 64, 76, device=device), torch.randint(7, (BATCH,), device=device)
    metadata = torch.ones(BATCH, 3, dtype=torch.int64, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(model(maps, metadata), label)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()

    return fastest(step)


def fastest(work: Callable[[], None], times: int = 3) -> float:
    """Wall seconds of `work` at its best, after a warm-up."""
    seconds = []
    for _ in range(times + 1):
        wait()
        start = time.perf_counter()
        work()
        wait()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure_lstm() -> None:
    table = Table(
        "device", "loop, ms", "nn.LSTM, ms", "ratio", "largest difference", title="3. LSTM, forward and backward"
    )
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        torch.manual_seed(0)
        lstm, cell = ConvLSTM("ConvLstm").lstm.to(device), nn.LSTMCell(64, 512, device=device)
        cell.load_state_dict({k.removesuffix("_l0"): v for k, v in lstm.state_dict().items()})
        x = torch.randn(BATCH, 304, 64, device=device)

        def loop(cell=cell, x=x) -> torch.Tensor:
            states = [(x.new_zeros(len(x), 512),) * 2]
            for k in range(x.shape[1]):
                states.append(cell(x[:, k], states[-1]))
            return torch.stack([h for h, _ in states[1:]], dim=1)

        with torch.no_grad():
            one, other = lstm(x)[0], loop()
        assert torch.allclose(one, other, atol=1e-3 if device == "cuda" else 1e-5)  # TF32 in cuDNN
        slow = fastest(lambda: loop().sum().backward(), times=2)
        fast = fastest(lambda: lstm(x)[0].sum().backward(), times=2)  # noqa: B023
        difference = f"{(one - other).abs().max():.0e}"
        table.add_row(device, f"{1000 * slow:,.0f}", f"{1000 * fast:,.0f}", f"{slow / fast:.1f}", difference)
    console.print(table, f"{BATCH} events of 304 steps of 64, hidden 512.")


if __name__ == "__main__":
    main(*sys.argv[1:2])
