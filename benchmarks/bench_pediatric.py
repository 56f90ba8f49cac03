"""Speed of the paediatric path from recordings to trained networks, as ratios measured in one run (`make bench`).

1. Spectrograms of all crops: our pass against loops of librosa, crop by crop, from the files and from memory; each on one core.
2. The networks of all sites: one after another against side by side, on the whole machine.
3. What the cache takes on disk against the audio.

Simulated cohorts; times to train are of the smoke profile.
"""

import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("LUNGNB_PROGRESS", os.devnull)  # no progress bars between the tables

import librosa
import numpy as np
import torch
from lungnb.papers.pediatric_crops import SAMPLE_RATE, compute_images, cropped
from rich.console import Console
from rich.table import Table

from lungnb.configs import PEDIATRIC
from lungnb.data.audio import audio_bank
from lungnb.data.corpus import Corpus
from lungnb.data.load import load_corpus
from lungnb.data.multisite import CROP_S, SITES
from lungnb.papers.pediatric import PediatricRun
from lungnb.training.experiment import device_name, run_all

SIZE = PEDIATRIC["smoke"]["cohorts"]
N_LOOP = 150
console = Console(width=120)


def main() -> None:
    console.print(f"{device_name('cpu')}\n")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LUNGNB_CACHE"] = cache
        corpus = load_corpus("multisite", n_patients=SIZE["n_patients"])
        compare_with_librosa(corpus)
        compare_trainings(corpus)
        compare_disk(corpus, Path(cache))


def spectrogram(crop: np.ndarray) -> np.ndarray:
    """One crop as the authors' code has it, by librosa (docs/papers/pediatric.md, section 2)."""
    return librosa.power_to_db(np.abs(librosa.stft(crop, n_fft=2048, hop_length=512)) ** 2)[:150]


def compare_with_librosa(corpus: Corpus) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    bank, crops = audio_bank(corpus, SAMPLE_RATE), cropped(corpus)
    some = crops.iloc[:: len(crops) // N_LOOP].merge(corpus.events[["recording", "path"]], on="recording")

    def from_file(crop) -> np.ndarray:
        path = corpus.audio_root / crop.path
        return librosa.load(path, sr=SAMPLE_RATE, offset=crop.start_s, duration=CROP_S)[0]

    def from_memory(crop) -> np.ndarray:
        first = bank.start[crop.recording] + round(crop.start_s * SAMPLE_RATE)
        return bank.samples[first : first + round(CROP_S * SAMPLE_RATE)].astype(np.float32) / 32767

    rates = {}
    for name, cut in (("librosa, from the file", from_file), ("librosa, from memory", from_memory)):
        [spectrogram(cut(crop)) for crop in some.head(10).itertuples()]
        start = time.process_time()
        [spectrogram(cut(crop)).astype(np.float16) for crop in some.itertuples()]
        rates[name] = len(some) / (time.process_time() - start)
    compute_images(corpus.select(corpus.events.index < 20), "stft", "paper", (1, 1), "cpu")  # libraries load
    start = time.process_time()
    images = compute_images(corpus, "stft", "paper", (1, 1), "cpu").images
    rates["ours"] = len(images) / (time.process_time() - start)
    torch.set_num_threads(threads)
    table = Table("way", "crops/s", "ours is", title=f"1. Spectrograms of {len(images):,} crops of {CROP_S:g} s")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{rates['ours'] / rate:.1f} times")
    console.print(table, "One core, processor time; ours from the audio bank, which decodes each recording once.\n")


def compare_trainings(corpus: Corpus) -> None:
    def networks(seed: int) -> list[PediatricRun]:
        fixed = SIZE | {"epochs": 20, "patience": 20}
        return [PediatricRun(corpus=corpus.fingerprint, sites=(s,), seed=seed, device="cpu", **fixed) for s in SITES]

    run_all(networks(seed=9)[:4])  # the processes start, and prepare what they keep
    networks(seed=9)[4].result()  # so does this one
    alone, together = networks(seed=0), networks(seed=1)
    start = time.perf_counter()
    for run in alone:
        run.result()
    middle = time.perf_counter()
    run_all(together)
    end = time.perf_counter()
    table = Table(
        "way",
        "seconds",
        title=f"2. The networks of {len(SITES)} sites, 20 epochs each, {torch.get_num_threads()} threads",
    )
    table.add_row("one after another, all threads each", f"{middle - start:.1f}")
    table.add_row("side by side, one thread each", f"{end - middle:.1f}")
    console.print(table, f"Side by side is {(middle - start) / (end - middle):.1f} times as fast.\n")


def compare_disk(corpus: Corpus, cache: Path) -> None:
    audio = (corpus.events["end_s"] - corpus.events["start_s"]).sum() * SAMPLE_RATE * 2
    kept = {
        folder.name: sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        for folder in cache.iterdir()
        if folder.name != "simulated"
    }
    table = Table("folder", "MB", "of the audio", title=f"3. The cache against {audio / 1e6:.0f} MB of 16-bit audio")
    for name, size in (kept | {"in all": sum(kept.values())}).items():
        table.add_row(name, f"{size / 1e6:.0f}", f"{size / audio:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
