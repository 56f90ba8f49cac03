"""Speed of LungLDM at its smoke size, as ratios measured in one run (`make bench`).

1. A training step of the U-Net and of the VAE, against targets of 0.1 s and 0.2 s on two cores.
2. U-Net steps on cached latents against encoding the clips at every step.
3. DPM-Solver++ with 25 steps against DDIM with 200: time, and whether adherence and kernel distance are the same within
   their noise, for three draws of the starting noise.

Simulated clips; trained as the smoke profile says. (The Fréchet distance is in bench_lungldm_metrics.py.)
"""

import os
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("LUNGNB_PROGRESS", os.devnull)  # no progress bars between the tables

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from lungnb.configs import LUNGLDM, LUNGLDM_SYSTEMS
from lungnb.data import load_corpus
from lungnb.data.prompts import prompts
from lungnb.papers.lungldm.diffusion import DiffusionRun, generate, latents_of
from lungnb.papers.lungldm.experiments import AutoencoderRun, ClassifierRun
from lungnb.papers.lungldm.mels import mels_of
from lungnb.papers.lungldm.samples import asked, heard, measures
from lungnb.training.experiment import device_name

SIZE = LUNGLDM["smoke"]
N_PER_TYPE = 4
console = Console(width=120)


def main() -> None:
    console.print(f"{device_name('cpu')}\n")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LUNGNB_CACHE"] = cache
        judge, vae, unet = runs()
        times = {run: run.result()["seconds"] for run in (judge, vae, unet)}
        compare_steps(times[vae], times[unet])
        compare_latents(vae, times[unet] / unet.steps)
        compare_samplers(judge, unet)


def runs() -> tuple[ClassifierRun, AutoencoderRun, DiffusionRun]:
    clips = load_corpus("prompted", "simulated", SIZE["run"]["n_patients"])
    common = {"corpus": clips.fingerprint, **SIZE["run"]}
    penalty, se, gate = LUNGLDM_SYSTEMS["LungLDM"]
    judge = ClassifierRun(**common, **SIZE["classifier"])
    judge.result()
    vae = AutoencoderRun(**common, **SIZE["autoencoder"], penalty=penalty, se=se, perceptual=judge)
    vae.result()
    return judge, vae, DiffusionRun(**common, **SIZE["diffusion"], autoencoder=vae, gate=gate)


def compare_steps(vae_s: float, unet_s: float) -> None:
    """The whole run over its number of steps: data, evaluation and saving are in it."""
    table = Table("part", "steps", "seconds", "ms a step", "target, ms", title="Training on all cores, batch 8")
    for part, seconds, target in (("autoencoder", vae_s, 200), ("diffusion", unet_s, 100)):
        steps = SIZE[part]["steps"]
        table.add_row(part, str(steps), f"{seconds:.1f}", f"{1000 * seconds / steps:.0f}", str(target))
    console.print(table)


def compare_latents(vae: AutoencoderRun, step_s: float) -> None:
    given, network = mels_of(vae), vae.trained()
    rows = given.rows("train")[:8]
    with torch.inference_mode():
        encoding_s = fastest(lambda: network.encode(given.log_mel[rows]))
    cached = latents_of(vae, given, given.rows("train"))
    reading_s = fastest(lambda: cached[:8].float())
    with_s, without_s = step_s, step_s - reading_s + encoding_s
    table = Table("latents", "ms a step", "ratio", title="A U-Net step on cached latents against encoding each time")
    table.add_row("cached", f"{1000 * with_s:.1f}", "1.00")
    table.add_row("encoded at every step", f"{1000 * without_s:.1f}", f"{without_s / with_s:.2f}")
    console.print(table)


def compare_samplers(judge: ClassifierRun, unet: DiffusionRun) -> None:
    given = mels_of(judge)
    rows = asked(given, N_PER_TYPE)
    said, sound = list(prompts(given.table.iloc[rows.numpy()])), given.table["sound"].iloc[rows.numpy()]
    ear = judge.trained()
    real = heard(ear, given.log_mel[rows].float())
    table = Table(
        "sampler",
        "steps",
        "seconds",
        "of the time",
        "adherence",
        "kernel distance",
        title=f"{len(said)} clips, guidance 3.5",
    )
    taken = {}
    for sampler, steps in (("ddim", 200), ("dpm", 25)):
        found, seconds = [], []
        for seed in range(3):
            started = time.perf_counter()
            made = generate(unet, said, steps, seed=seed, sampler=sampler)
            seconds.append(time.perf_counter() - started)
            found.append(measures(real, heard(ear, made.log_mels), sound))
        taken[sampler] = min(seconds)
        told = [spread([f[name] for f in found]) for name in ("adherence", "kernel distance")]
        table.add_row(sampler, str(steps), f"{min(seconds):.1f}", f"{taken[sampler] / taken['ddim']:.2f}", *told)
    console.print(table)


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3g} ± {np.std(values, ddof=1):.2g}"


def fastest(function: Callable[[], object], n: int = 20) -> float:
    """Seconds of the fastest of `n` calls."""
    seconds = []
    for _ in range(n):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
