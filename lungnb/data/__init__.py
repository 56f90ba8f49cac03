"""Data sets by name: who reads them, who simulates them, where they come from, and how many of what they hold.

    load_corpus("icbhi")                         simulated recordings, written into the cache on first use
    load_corpus("icbhi", "DATA")                 those in DATA/icbhi, in the official layout
    load_corpus("prompted", "DATA")              every corpus in DATA that prompts can be made for, joined
    check("icbhi", "DATA")                       the counts of DATA/icbhi beside the published ones

A data set joins with a module that reads it and one entry in DATASETS.
"""

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from lungnb.core import UserError, cache_dir, code_version
from lungnb.data.audio import PADDINGS, crop_starts, cut, load_audio, plan_clips
from lungnb.data.corpus import OTHER_SOUND, SIMULATED_MARKER, Corpus, files_state, join, read_truth
from lungnb.data.inspection import check_folder
from lungnb.data.locate import DataSet, Source, corpora_in, find_data_set
from lungnb.data.multisite import find_manifest
from lungnb.data.splits import make_split
from lungnb.data.tasks import label_maps, task_of

#: What notebooks take from here; the rest is a module further in.
__all__ = [
    "DATASETS",
    "PADDINGS",
    "check",
    "crop_starts",
    "cut",
    "label_maps",
    "load_audio",
    "load_corpus",
    "make_split",
    "plan_clips",
    "read_truth",
    "task_of",
]

_ICBHI = "https://bhichallenge.med.auth.gr/sites/default/files/ICBHI_final_database/"
_OPERA = "https://raw.githubusercontent.com/evelyn0414/OPERA/a3e66da8a59a3d9b1a41cbc4129dcf3e4bba9009/datasets/icbhi/"
_PATCH_MIX = "https://raw.githubusercontent.com/raymin0223/patch-mix_contrastive_learning/23718c9e40781a151a656d5ea5133b184cd7b0a9/"
_SPRSOUND = "874eeb8736ddb78937c2fb5332fc7e7293d0f0ca"

DATASETS = {
    "icbhi": DataSet(
        "lungnb.data.icbhi:read_icbhi",
        "lungnb.simulate.icbhi:simulate_icbhi",
        "lungnb.data.icbhi:counts",
        "respirenet",
        sounds=True,
        called=("icbhi2017", "icbhidataset", "icbhifinaldatabase", "respiratorysounddatabase"),
        known_by=r"[^_]+_[^_]+_[^_]+_[sm]c_.+\.txt",
        # The database's own page, https://bhichallenge.med.auth.gr, has been reported as refusing downloads and as having no
        # valid certificate, so mirrors come first: Harvard Dataverse, doi:10.7910/DVN/HT6PKI, and public studies, at one commit.
        # MD5 and size of the archive are as public download scripts give them for both copies; the other checksums were
        # computed from the mirrors' files. Names here are those of the copies in circulation, which the reader knows.
        sources=(
            Source(
                _ICBHI + "ICBHI_challenge_train_test.txt",
                "ICBHI_challenge_train_test.txt",
                checksum="sha256:e2969285a2f931dce5e8a0a7963d77ec2403fe854955818483efb24e5303b404",
                mirrors=(_OPERA + "ICBHI_challenge_train_test.txt",),
                size=27249,
            ),
            Source(
                _ICBHI + "ICBHI_Challenge_diagnosis.txt",
                "patient_diagnosis.csv",
                checksum="sha256:b3948b8d43eb81331fcd954e78c8545d4bc9a04b48762591377cd94f47697e20",
                mirrors=(_OPERA + "ICBHI_Challenge_diagnosis.txt",),
                size=1368,
            ),
            Source(
                _ICBHI + "ICBHI_Challenge_demographic_information.txt",
                "demographic_info.txt",
                checksum="sha256:7be825ef14639a2dc9f033139158ddd2d7368c26fb6c871fa7ebf4f21cfc63bc",
                mirrors=(_OPERA + "ICBHI_Challenge_demographic_information.txt",),
                size=2586,
            ),
            Source(  # RespireNet's folds (MIT licence), as at commit 5e3f41a
                "https://raw.githubusercontent.com/microsoft/RespireNet/HEAD/data/patient_list_foldwise.txt",
                "patient_list_foldwise.txt",
                checksum="sha256:a244cb5a415af08884e6251cedbbc27b03b0001679d33bb8bab9e296252c31f5",
                mirrors=(_PATCH_MIX + "data/icbhi_dataset/patient_list_foldwise.txt",),
                size=756,
            ),
            Source(
                _ICBHI + "ICBHI_final_database.zip",
                "audio_and_txt_files",
                archive_folder="ICBHI_final_database",
                checksum="md5:f6a5d0ea40bbcd25e17754f9d5ddae48",
                mirrors=("https://dataverse.harvard.edu/api/access/datafile/7127117",),
                size=1_900_000_000,
            ),
        ),
    ),
    "sprsound": DataSet(
        "lungnb.data.sprsound:read_sprsound",
        "lungnb.simulate.sprsound:simulate_sprsound",
        "lungnb.data.sprsound:counts",
        "convlstm",
        sounds=True,
        called=("sprsoundmain", "sprsoundmaster", "sprsounddataset"),
        known_by=r"[^_]*_[\d.]+_\w+_[^_]+_[^_]+\.json",
        # The commit that public studies pin. GitHub packs this archive when it is asked for, so a broken download starts over
        # and the bytes may change: there is no checksum to publish.
        sources=(
            Source(
                f"https://codeload.github.com/SJTU-YONGFU-RESEARCH-GRP/SPRSound/zip/{_SPRSOUND}",
                "",
                archive_folder=f"SPRSound-{_SPRSOUND}",
                parts=("BioCAS2022", "README.md", "LICENSE"),
                file_name="SPRSound.zip",
            ),
        ),
    ),
    "multisite": DataSet(  # the clinics' recordings are private
        "lungnb.data.multisite:read_multisite",
        "lungnb.simulate.multisite:simulate_multisite",
        hint="lay your own cohorts out as lungnb/data/multisite.py says",
    ),
    "prompted": DataSet("lungnb.data:read_prompted", "lungnb.simulate.prompted:simulate_prompted", folder="."),
    **{
        name: DataSet(f"lungnb.data.phone:read_{name}", sounds=True, called=called, known_by=known_by)
        for name, called, known_by in (
            ("coughvid", ("coughvid20211012", "publicdataset", "coughvidv3"), r"metadata_compiled\.csv"),
            ("coswara", ("coswaradata", "coswaradatamaster"), r"combined_data\.csv"),
            ("ukcovid", ("ukcovid19", "ukcovid19vad"), r"participant_metadata\.csv"),
            ("kauh", ("audiofiles", "kauhdataset"), r"[BDE]P\d+_[^,]+,.*\.(wav|flac)"),
            ("covid19_cough", ("dataset", "covid19coughdataset"), r"metadata\.json"),
        )
    },
}
_LOADED: dict[tuple[str, Path], tuple[str, Corpus]] = {}


def load_corpus(name: str, data: str | Path = "simulated", n_patients: int = 40) -> Corpus:
    """The corpus called `name` from `data`: a folder that holds `name`/, or "simulated" (`n_patients` are then simulated).

    A corpus is read once a process, as long as no file of its folder changes. Raises UserError if the data set is unknown or
    the folder does not exist, and as its reader does.
    """
    if name not in DATASETS:
        raise UserError(f"There is no data set {name!r}; known are {', '.join(DATASETS)}.")
    folder = simulated(name, n_patients) if str(data) == "simulated" else data_folder(data, name)
    key, state = (name, folder.resolve()), _folder_state(folder)
    kept = _LOADED.get(key)
    if kept is None or kept[0] != state:
        kept = (state, imported(DATASETS[name].reader)(folder))
        if state:
            _LOADED[key] = kept
    return replace(kept[1], events=kept[1].events.copy())


def _folder_state(folder: Path) -> str | None:
    """A hash of all that a reader may look at; None where it may still be changing."""
    files = sorted(Path(parent, file) for parent, _, found in os.walk(folder, followlinks=True) for file in found)
    around = folder.resolve().parent / SIMULATED_MARKER
    return files_state([file for file in (*files, around) if file.exists()])


def read_prompted(data: Path, names: Sequence[str] | None = None) -> Corpus:
    """The events that prompts can be made for of the corpora `names` in the folder `data`, joined; None takes every one there.

    A folder with a manifest.csv is read by it, whatever its name; events of no sound type are counted in `skipped`. Raises
    UserError for a name that is neither a known corpus nor a folder with a manifest, for a folder with no corpus at all, and
    as the readers and `join` do.
    """
    root, passed = Path(data).expanduser(), {}
    known = [name for name, dataset in DATASETS.items() if dataset.sounds]
    if names is None:
        names, others = corpora_in(root, {name: DATASETS[name] for name in known})
        passed = {f"folders of no corpus that is read ({', '.join(others)})": len(others)} if others else {}
    corpora = []
    for name in names:
        folder, reader = data_folder(root, name), DATASETS[name].reader if name in known else ""
        if find_manifest(folder):
            reader = "lungnb.data.multisite:read_manifest"
        elif not reader:
            raise UserError(f"{folder} holds no manifest.csv, and no reader is called {name!r}; write the manifest.")
        corpus = imported(reader)(folder)
        of_other = corpus.events["sound"].isna()
        counted = {OTHER_SOUND: int(of_other.sum())} if of_other.any() else {}
        corpora.append(replace(corpus.select(~of_other), skipped=corpus.skipped | counted))
    joined = join(corpora)
    return replace(joined, skipped=joined.skipped | passed)


def data_folder(data: str | Path, name: str) -> Path:
    """The folder of the data set `name` for `data` (`lungnb.data.locate.find_data_set`)."""
    return find_data_set(Path(data).expanduser(), name, DATASETS.get(name, DataSet("")), DATASETS)


def simulator(name: str) -> Callable[..., None]:
    """What writes a simulated data set `name`: simulator(folder, n_patients=, seed=)."""
    known = [each for each, dataset in DATASETS.items() if dataset.simulator]
    if name not in known:
        raise UserError(f"There is no simulator of {name!r}; known are {', '.join(known)}.")
    return imported(DATASETS[name].simulator)


def simulated(name: str, n_patients: int) -> Path:
    """The folder of the simulated data set `name`, written into the cache on first use."""
    simulate = simulator(name)
    folder = cache_dir() / "simulated" / f"{n_patients}-patients-{code_version(simulate.__module__)}" / name
    if not folder.exists():
        simulate(folder, n_patients=n_patients, seed=0)
    return folder


def check(name: str, data: Path | str) -> pd.DataFrame:
    """The counts of data set `name` in `data`/`name` beside the published ones: columns what, published, here, agrees.

    Annotations are counted whether or not their audio is here. A rounded published number agrees with one that rounds to it.
    Everything that a run opens is opened: what would stop it is a row, and `attrs` say what is read, passed over, lost and odd
    (`lungnb.data.inspection.check_folder`). Raises UserError for an unknown data set and a missing folder.
    """
    if name not in DATASETS:
        raise UserError(f"There is no data set {name!r}; known are {', '.join(DATASETS)}.")
    dataset, printed, counts = DATASETS[name], pd.DataFrame(), None
    if dataset.counts:
        printed = imported("lungnb.published:load")(dataset.published, "data").set_index(["row", "metric"])
        counts = imported(dataset.counts)
    return check_folder(data_folder(data, name), imported(dataset.reader), counts, printed)


def imported(address: str) -> Any:
    """What stands at "module:name"."""
    module, name = address.split(":")
    return getattr(importlib.import_module(module), name)
