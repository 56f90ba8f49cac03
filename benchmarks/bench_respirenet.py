"""Speed and memory of RespireNet's path from recordings to training steps, as ratios measured in one run (`make bench`).

1. Front end and augmentation of one epoch: ours in batches against a per-item librosa loader (`reference_loader`), each on one
   core, and ours on the GPU if there is one.
2. How seconds and memory grow with 1, 2 and 4 times the recordings.
3. A training step for each backbone; with a GPU, one epoch of 4,142 clips of 3x192x657 in bfloat16.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("LUNGNB_PROGRESS", os.devnull)  # no progress bars between the tables

import cv2
import numpy as np
import torch
from lungnb.data.clips import cut, plan_clips
from lungnb.papers.respirenet_model import BACKBONES
from reference_loader import ReferenceLoader
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from lungnb.data.audio import audio_bank
from lungnb.data.icbhi import read_icbhi
from lungnb.features import MelImage
from lungnb.features.augment import augment
from lungnb.papers.respirenet import RespireNetRun, TrainingClips, fit_stage
from lungnb.simulate.icbhi import simulate_icbhi
from lungnb.training import make_accelerator
from lungnb.training.experiment import device_name

CLIP_S, BATCH, EPOCH = 7.0, 64, 4142
PATIENTS = (24, 48, 96)
console = Console(width=120)


def main() -> None:
    console.print(
        f"{device_name('cpu')}; GPU: {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        corpora = [simulate_icbhi(Path(folder) / str(n) / "icbhi", n_patients=n) for n in PATIENTS]
        compare_with_loader(corpora[0], Path(folder) / "cache")
        measure_growth(corpora)
    measure_steps()
    measure_gpu()


def compare_with_loader(folder: Path, cache: Path) -> None:
    os.environ["LUNGNB_CACHE"] = str(cache)
    corpus = read_icbhi(folder)
    bank = audio_bank(corpus)
    clips = torch.from_numpy(cut(bank.samples, plan_clips(bank, corpus.events, CLIP_S, "repeat")))
    at, length = bank.locate(corpus.events)
    cycles = [bank.samples[a : a + n].astype(np.float32) / 32767 for a, n in zip(at, length, strict=True)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    table = Table(
        "image", "clipping", "librosa, clips/s", "ours, clips/s", "ratio", title="1. Front end + augmentation"
    )
    for zoom in (3, 1):
        for clipping in ("paper", "none"):
            loader = ReferenceLoader(cycles, CLIP_S, zoom, clipping == "paper")
            theirs = per_second(lambda k: loader[k % len(loader)], 1, at_least_s=4)  # noqa: B023
            shape = f"3x{64 * zoom}x{219 * zoom}"
            ours = front_end(clips, clipping, zoom)
            row = [f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.1f}"]
            table.add_row(shape, clipping, *row)
            if torch.cuda.is_available():
                ours = front_end(clips.cuda(), clipping, zoom)
                table.add_row(f"{shape}, GPU", clipping, row[0], f"{ours:,.0f}", f"{ours / theirs:.1f}")
    torch.set_num_threads(threads)
    console.print(
        table, "One core each, but for the GPU. One epoch of new random numbers; both from cycles in memory.\n"
    )


def front_end(clips: torch.Tensor, clipping: str, zoom: int) -> float:
    front, generator = MelImage(clipping, zoom).to(clips.device), torch.Generator(clips.device).manual_seed(0)

    def batch(k: int) -> None:
        items = torch.randint(len(clips), (BATCH,), generator=generator, device=clips.device)
        front(augment(clips[items].float() / 32767, generator))

    return per_second(batch, BATCH, at_least_s=3)


def per_second(work, items: int, at_least_s: float) -> float:
    """Items per second of processor time of `work(k)`, after a warm-up; of wall time with a GPU, which has no other."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    for k in range(max(1, 50 // items)):
        work(k)
    wait()
    start, k = clock(), 0
    while clock() - start < at_least_s:
        work(k)
        k += 1
    wait()
    return items * k / (clock() - start)


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure_growth(corpora: list[Path]) -> None:
    """Each size in a process of its own, so that its peak memory is its own."""
    names = ["read", "bank", "clips", "features"]
    table = Table(
        "recordings", "events", *(f"{n}, s" for n in names), "sum, s", "peak above start, MB", title="2. Growth"
    )
    first = None
    for folder in corpora:
        done = subprocess.run([sys.executable, __file__, str(folder)], check=True, capture_output=True, text=True)
        n, events, *seconds, megabytes = (float(x) for x in done.stdout.split()[-7:])
        now = np.array([n, sum(seconds), megabytes])
        first = now if first is None else first
        growth = [f"(x{ratio:.1f})" for ratio in now / first]
        row = [f"{n:.0f} {growth[0]}", f"{events:.0f}", *(f"{s:.2f}" for s in seconds)]
        table.add_row(*row, f"{sum(seconds):.2f} {growth[1]}", f"{megabytes:.0f} {growth[2]}")
    console.print(
        table, "Seconds of processor time. features: augmentation, mel levels and images of one epoch at zoom 1.\n"
    )


def grow(folder: Path) -> None:
    """One size of `measure_growth`: prints recordings, events, processor seconds of each step, megabytes above the start."""
    front, generator = MelImage("paper", zoom=1), torch.Generator().manual_seed(0)
    front(augment(torch.randn(BATCH, int(CLIP_S * 4000)), generator))  # libraries load, pools fill
    before, marks = peak_megabytes(), [time.process_time()]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LUNGNB_CACHE"] = cache
        corpus = read_icbhi(folder)
        marks.append(time.process_time())
        bank = audio_bank(corpus, highpass_hz=50, peak_normalise=True)
        marks.append(time.process_time())
        clips = torch.from_numpy(cut(bank.samples, plan_clips(bank, corpus.events, CLIP_S, "smart")))
        marks.append(time.process_time())
        for part in clips.split(BATCH):
            front(augment(part.float() / 32767, generator))
        marks.append(time.process_time())
    print(corpus.n_recordings, len(corpus.events), *np.diff(marks), peak_megabytes() - before)


def peak_megabytes() -> float:
    """Of this process; what getrusage says on Linux begins at the peak of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def measure_steps() -> None:
    table = Table(
        "backbone", "image", "batch", "ms a clip", "of it front end + augmentation", title="3. Training step, CPU"
    )
    for backbone, zoom, batch in [(b, z, 64 if z == 1 else 4) for b in reversed(BACKBONES) for z in (1, 3)]:
        run = RespireNetRun(corpus="none", backbone=backbone, zoom=zoom, clipping="paper", precision="float32")
        model, generator = run.classifier(), torch.Generator().manual_seed(0)
        clips = 0.1 * torch.randn(batch, int(CLIP_S * 4000))
        seconds = []
        for _ in range(3):
            marks = [time.perf_counter()]
            with torch.no_grad():
                image = model.front.image(model.front.levels(augment(clips, generator)))
            marks.append(time.perf_counter())
            model.net(image).logsumexp(1).mean().backward()
            marks.append(time.perf_counter())
            seconds.append(np.diff(marks))
        front, net = np.min(seconds[1:], axis=0) / batch * 1000
        share = f"{100 * front / (front + net):.0f} %"
        table.add_row(backbone, f"3x{64 * zoom}x{219 * zoom}", str(batch), f"{front + net:.1f}", share)
    console.print(table)


def measure_gpu() -> None:
    if not torch.cuda.is_available():
        console.print(f"No GPU here: the epoch of {EPOCH:,} clips of 3x192x657 in bfloat16 is left out.")
        return
    accelerator = make_accelerator("cuda", "bf16")
    table = Table(
        "backbone", "s an epoch", "clips/s", "TFLOP/s", "share of what a matrix product reaches", title="4. GPU, bf16"
    )
    peak = matrix_product()
    for backbone in ("resnet34", "resnet18"):
        run = RespireNetRun(corpus="none", backbone=backbone, clipping="paper", precision="bf16")
        noise = torch.randint(-3000, 3000, (EPOCH, int(CLIP_S * 4000)), dtype=torch.int16, device="cuda")
        label = torch.randint(4, (EPOCH,), device="cuda")
        train = TrainingClips(noise, label, torch.ones(EPOCH), EPOCH)
        marks = []
        for epochs in (1, 3):  # the first also tunes kernels
            model = run.classifier().cuda()
            wait()
            start = time.perf_counter()
            fit_stage(run, model, train, {}, accelerator, None, run.lr, epochs, task="bench")
            wait()
            marks.append((time.perf_counter() - start) / epochs)
        with FlopCounterMode(display=False) as counter:
            model.net(torch.zeros(2, 3, 192, 657, device="cuda")).sum().backward()
        rate = counter.get_total_flops() / 2 * EPOCH / marks[-1] / 1e12
        row = [
            f"{marks[-1]:.2f}",
            f"{EPOCH / marks[-1]:,.0f}",
            f"{rate:.0f}",
            f"{100 * rate / peak:.0f} % of {peak:.0f}",
        ]
        table.add_row(backbone, *row)
    console.print(table)


def matrix_product(n: int = 8192) -> float:
    """TFLOP/s of a large product of bfloat16 matrices, the card's peak in practice."""
    a = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
    rate = per_second(lambda k: a @ a, 1, at_least_s=1)
    return rate * 2 * n**3 / 1e12


if __name__ == "__main__":
    grow(Path(sys.argv[1])) if len(sys.argv) > 1 else main()
