"""Speed of LungLDM at its smoke size, as ratios measured in one run (`make bench`).

1. A training step of the VAE and of the U-Net, against targets of 0.2 s and 0.1 s on two cores.
2. U-Net steps on cached latents against encoding the clips at every step.
3. DPM-Solver++ with 25 steps against DDIM with 200.

Simulated clips, few training steps: how well it sounds is not asked here. (The Fréchet distance is in bench_lungldm_metrics.py.)
"""

import os
import tempfile

os.environ.setdefault("LUNGNB_PROGRESS", os.devnull)  # no progress bars between the tables

import torch
from rich.console import Console
from rich.table import Table
from timing import fastest

from lungnb.data import load_corpus
from lungnb.data.prompts import prompts
from lungnb.papers.lungldm import AutoencoderRun, ClassifierRun, DiffusionRun
from lungnb.training.experiment import device_name

PATIENTS, BATCH, STEPS, N_CLIPS = 11, 8, 20, 8
console = Console(width=120)


def main() -> None:
    console.print(f"{device_name('cpu')}\n")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LUNGNB_CACHE"] = cache
        clips = load_corpus("prompted", "simulated", PATIENTS)
        common = {"corpus": clips.fingerprint, "n_patients": PATIENTS, "size": "smoke", "device": "cpu"}
        steps = {"steps": STEPS, "batch_size": BATCH}
        vae = AutoencoderRun(**common, **steps, perceptual=ClassifierRun(**common, epochs=1))
        unet = DiffusionRun(**common, **steps, autoencoder=vae)
        compare_steps(vae, unet)
        compare_latents(vae, unet.result()["seconds"] / STEPS)
        compare_samplers(unet, list(prompts(clips.events))[:N_CLIPS])


def compare_steps(vae: AutoencoderRun, unet: DiffusionRun) -> None:
    """The whole run over its number of steps: data, evaluation and saving are in it."""
    title = f"Training on all cores, {STEPS} steps, batch {BATCH}"
    table = Table("part", "seconds", "ms a step", "target, ms", "ratio", title=title)
    for part, run, target_s in (("autoencoder", vae, 0.2), ("diffusion", unet, 0.1)):
        seconds = run.result()["seconds"]
        step_s = seconds / STEPS
        row = (f"{seconds:.1f}", f"{1000 * step_s:.0f}", f"{1000 * target_s:.0f}", f"{step_s / target_s:.2f}")
        table.add_row(part, *row)
    console.print(table)


def compare_latents(vae: AutoencoderRun, step_s: float) -> None:
    mels, network = vae.mels(), vae.trained()
    rows = mels.rows("train")[:BATCH]
    with torch.inference_mode():
        encoding_s = fastest(lambda: network.encode(mels.log_mel[rows]), 20)
    cached = vae.latents(mels, mels.rows("train"))
    reading_s = fastest(lambda: cached[:BATCH].float(), 20)
    without_s = step_s - reading_s + encoding_s
    table = Table("latents", "ms a step", "ratio", title="A U-Net step on cached latents against encoding each time")
    table.add_row("cached", f"{1000 * step_s:.1f}", "1.00")
    table.add_row("encoded at every step", f"{1000 * without_s:.1f}", f"{without_s / step_s:.2f}")
    console.print(table)


def compare_samplers(unet: DiffusionRun, texts: list[str]) -> None:
    table = Table("sampler", "steps", "seconds", "ratio", title=f"{len(texts)} clips, guidance 3.5")
    first_s = None
    for sampler, steps in (("ddim", 200), ("dpm", 25)):
        seconds = fastest(lambda sampler=sampler, steps=steps: unet.generate(texts, steps, sampler=sampler))
        first_s = first_s or seconds
        table.add_row(sampler, str(steps), f"{seconds:.1f}", f"{seconds / first_s:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
