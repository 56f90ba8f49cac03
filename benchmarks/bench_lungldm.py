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

os.environ.setdefault("LUNGNB_PROGRESS", os.devnull)  # no progress bars between the tables

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from timing import fastest

from lungnb import configs
from lungnb.data import load_corpus
from lungnb.data.prompts import prompts
from lungnb.papers.lungldm import (
    AutoencoderRun,
    ClassifierRun,
    DiffusionRun,
    Plan,
    System,
    measures,
    predict,
    prompt_set,
)
from lungnb.training.experiment import device_name

N_PER_TYPE = 4
console = Console(width=120)


def main() -> None:
    console.print(f"{device_name('cpu')}\n")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LUNGNB_CACHE"] = cache
        judge, vae, unet = system()
        judge.result()
        compare_steps(vae, unet)
        compare_latents(vae, unet.result()["seconds"] / unet.steps)
        compare_samplers(judge, unet)


def system() -> System:
    """The parts of LungLDM at the smoke size."""
    sizes = configs.load("lungldm", "smoke")
    clips = load_corpus("prompted", "simulated", sizes["run"]["n_patients"])
    plan = Plan(**sizes, corpus=clips.fingerprint)
    return plan.system(plan.systems["LungLDM"])


def compare_steps(vae: AutoencoderRun, unet: DiffusionRun) -> None:
    """The whole run over its number of steps: data, evaluation and saving are in it."""
    table = Table("part", "steps", "seconds", "ms a step", "target, ms", title="Training on all cores, batch 8")
    for part, run, target in (("autoencoder", vae, 200), ("diffusion", unet, 100)):
        seconds = run.result()["seconds"]
        table.add_row(part, str(run.steps), f"{seconds:.1f}", f"{1000 * seconds / run.steps:.0f}", str(target))
    console.print(table)


def compare_latents(vae: AutoencoderRun, step_s: float) -> None:
    mels, network = vae.mels(), vae.trained()
    rows = mels.rows("train")[:8]
    with torch.inference_mode():
        encoding_s = fastest(lambda: network.encode(mels.log_mel[rows]), 20)
    cached = vae.latents(mels, mels.rows("train"))
    reading_s = fastest(lambda: cached[:8].float(), 20)
    with_s, without_s = step_s, step_s - reading_s + encoding_s
    table = Table("latents", "ms a step", "ratio", title="A U-Net step on cached latents against encoding each time")
    table.add_row("cached", f"{1000 * with_s:.1f}", "1.00")
    table.add_row("encoded at every step", f"{1000 * without_s:.1f}", f"{without_s / with_s:.2f}")
    console.print(table)


def compare_samplers(judge: ClassifierRun, unet: DiffusionRun) -> None:
    mels, network = judge.mels(), judge.trained()
    rows = prompt_set(mels, N_PER_TYPE)
    events = mels.events.iloc[rows.numpy()]
    texts = list(prompts(events))
    real = predict(network, mels.log_mel[rows])
    table = Table(
        "sampler",
        "steps",
        "seconds",
        "of the time",
        "adherence",
        "kernel distance",
        title=f"{len(texts)} clips, guidance 3.5",
    )
    taken = {}
    for sampler, steps in (("ddim", 200), ("dpm", 25)):
        found, seconds = [], []
        for seed in range(3):
            started = time.perf_counter()
            made = unet.generate(texts, steps, seed=seed, sampler=sampler)
            seconds.append(time.perf_counter() - started)
            found.append(measures(real, predict(network, made.log_mels), events["sound"]))
        taken[sampler] = min(seconds)
        shown = [spread([f[name] for f in found]) for name in ("adherence", "kernel distance")]
        table.add_row(sampler, str(steps), f"{min(seconds):.1f}", f"{taken[sampler] / taken['ddim']:.2f}", *shown)
    console.print(table)


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3g} ± {np.std(values, ddof=1):.2g}"


if __name__ == "__main__":
    main()
