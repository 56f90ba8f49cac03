"""A simulated SPRSound (BioCAS 2022) in its official layout, and the truth of every sound beside it.

Layout and counts are those of docs/papers/convlstm.md, section 1. One kind of electronic stethoscope recorded all children:
8 kHz, 16 bit, and next to nothing above 1 kHz.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from lungnb.simulate import Box, Device, Sound, simulated_folder, write_recordings, write_sound, write_text
from lungnb.simulate import chest as sources
from lungnb.simulate.auscultation import Auscultation, Chest, identity
from lungnb.simulate.chest import INSPIRATION, Site
from lungnb.simulate.sprsound_plan import Plan, make_plan

#: Hz.
RATE = 8000
#: Outline of the real recordings' spectrum: flat to 200 Hz, 28 dB less at 600 Hz, 48 dB less at 800 Hz.
STETHOSCOPE = Device(low_hz=50, high_hz=450, order=5, peak_hz=130, peak_db=3, noise_db=-50)
#: Posterior and lateral, left and right.
SITES = {"p1": Site(205, 1.0, 0.9), "p2": Site(190, 0.9, 1.3), "p3": Site(205, 1.0, 0.6), "p4": Site(190, 0.9, 0.6)}
#: Level of the breath sound, dB of full scale, mean and spread over patients; recordings are not normalised.
LEVEL_DB = (-46, 4)
#: Mean and spread over patients of the level of clear sounds over the background in their own band, dB.
SOUND_DB = {
    **{"crackle_fine": (29, 3), "crackle_coarse": (26, 3)},
    **{"wheeze": (20, 4), "rhonchus": (17, 3), "stridor": (38, 3)},
}
#: Level of the heart, dB, and distractors a second, means over patients.
HEART_DB, RESTLESS = 3.0, 0.5
#: From breath to breath they are softer than that by an exponential variable of this mean: some are clear, some faint.
FADING_DB = 5
#: Flow of a breath with stridor, in quiet breaths: the real ones are 20 dB louder than normal events.
LABOURED = 4.0
#: Steady noise of the same colour as the breath (muscle, room), in units of the breath: lowest and highest.
MURMUR = (0.1, 0.4)
#: Share of recordings that begin with the knock of the stethoscope being placed (by eye, from real spectrograms).
PLACED = 0.7
#: In recordings of poor quality there are so many times more distractors, so many dB louder.
SPOILT = (6, 6)
#: Folders of recordings and annotations, by part.
FOLDERS = {
    "train": ("train2022_wav", "train2022_json"),
    "intra": ("test2022_wav", "test2022_json/intra_test_json"),
    "inter": ("test2022_wav", "test2022_json/inter_test_json"),
}
CONTINUOUS, DISCONTINUOUS = {"Rhonchi", "Wheeze", "Stridor"}, {"Coarse Crackle", "Fine Crackle"}


def simulate_sprsound(folder: Path, n_patients: int = 40, seed: int = 0) -> Path:
    """Write `folder`/BioCAS2022 (about 6 recordings of 9 or 15 s a patient) and `<folder>_truth/events.csv`.

    The truth has one row per adventitious sound: recording, kind, start_s, end_s, low_hz, high_hz. The same seed gives
    the same bytes. Raises UserError if `folder` holds something or there are too few patients.
    """
    folder = Path(folder)
    otherwise = "the rare classes have no patients of their own and the inter-subject test has too few"
    with simulated_folder(folder, __name__, n_patients, seed, 20, otherwise) as (data, beside):
        plan = make_plan(n_patients, np.random.default_rng([seed, 0]))
        _write(data / "BioCAS2022", beside / "events.csv", plan, seed)
    return folder


def _write(folder: Path, truth: Path, plan: Plan, seed: int) -> None:
    """All recordings and annotations, and the truth."""
    for part in FOLDERS.values():
        for name in part:
            (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 1])
    chests = {p: _chest(rng, age) for p, age in plan.patients["age"].items()}
    breaths = dict(list(plan.breaths.groupby("recording")))

    def record(own: np.random.Generator, name: str) -> list[Box]:
        about = plan.recordings.loc[name]
        chest = chests[about["patient"]]
        scene = _auscultate(own, about, breaths[name], chest)
        signal = 10 ** (chest.level_db / 20) * scene.record(STETHOSCOPE, chest)
        sounds, annotations = (folder / f for f in FOLDERS[about["part"]])
        write_sound(sounds / f"{name}.wav", signal * min(1, 0.95 / np.abs(signal).max()), RATE)
        annotation = _annotation(breaths[name], about["poor"], about["part"])
        write_text(annotations / f"{name}.json", json.dumps(annotation, indent=2) + "\n")
        return scene.boxes

    write_recordings(plan.recordings.index, record, truth, seed)


def _annotation(breaths: pd.DataFrame, poor: bool, part: str) -> dict:
    """The inter-subject files are written in the other spelling, so that a reader meets both that are in use."""
    events = breaths[breaths["label"].notna()]
    # As in the real files, normal events come first.
    events = events.assign(ill=events["label"] != "Normal").sort_values(["ill", "first_ms"])
    kinds = set(events["label"])
    both = "Wheeze+Crackle" in kinds
    found = [word for word, of in (("CAS", CONTINUOUS), ("DAS", DISCONTINUOUS)) if both or kinds & of]
    number, key, join = (int, "recording_annotation", " & ") if part == "inter" else (str, "record_annotation", "+")
    return {
        key: "Poor Quality" if poor else " & ".join(found) or "Normal",
        "event_annotation": [
            {"start": number(e.first_ms), "end": number(e.last_ms), "type": e.label.replace("+", join)}
            for e in events.itertuples()
        ],
    }


def _chest(rng: np.random.Generator, age_years: float) -> Chest:
    return Chest(
        **identity(rng, age_years, HEART_DB, RESTLESS),
        level_db=rng.normal(*LEVEL_DB),
        sound_db={kind: rng.normal(*level) for kind, level in SOUND_DB.items()},
        wheeze_hz=float(np.clip(rng.lognormal(np.log(330), 0.3), 180, 600)),
    )


def _auscultate(rng, about: pd.Series, breaths: pd.DataFrame, chest: Chest) -> Auscultation:
    """What is at the chest wall in one recording."""
    length_s, site = about["length_s"], SITES[about["position"]]
    site = site._replace(corner_hz=site.corner_hz * (chest.tilt * rng.lognormal(0, 0.05)))
    spans = list(zip(breaths["start_s"], breaths["end_s"], strict=True))
    # The breath before the first one, and the rest of the last one, are heard as well.
    spans = [(0.0, spans[0][0]), *spans] if spans[0][0] > 0.3 else spans
    flow = sources.air_flow(rng, spans, round(length_s * RATE), RATE, depth=(0.5, 1.3))
    for b in breaths[breaths["label"] == "Stridor"].itertuples():
        flow[round(b.start_s * RATE) : round(b.end_s * RATE)] *= LABOURED
    scene = Auscultation(rng, flow, RATE, site, rng.uniform(0.2, 0.7), STETHOSCOPE)
    scene.murmur(rng.uniform(*MURMUR), site.corner_hz)
    scene.heart(chest)
    for breath in breaths[breaths["label"].notna()].itertuples():
        fading_db = rng.exponential(FADING_DB)
        for sound in _sounds(rng, breath, chest):
            scene.add(sound, chest.sound_db[sound.boxes[0].kind] - fading_db)
    scene.distract(chest, *(SPOILT if about["poor"] else ()))
    if rng.random() < PLACED:
        _knock(scene, rng.uniform(0, 0.2), 3.3)
    if about["poor"]:
        _spoil(scene)
    return scene


def _sounds(rng, breath, chest: Chest) -> list[Sound]:
    """What the event of one breath holds, all of it inside the event."""
    label, first, last = breath.label, breath.first_ms / 1000 + 0.01, breath.last_ms / 1000 - 0.01
    turn_s = breath.start_s + INSPIRATION * (breath.end_s - breath.start_s)
    found = []
    if label == "Fine Crackle" or (label == "Wheeze+Crackle" and rng.random() < 0.6):
        late_s = breath.start_s + 0.45 * (turn_s - breath.start_s)
        count = int(rng.integers(6, 19))
        found.append(sources.crackles(rng, "crackle_fine", late_s, min(turn_s, last), count, RATE, chest.crackle))
    elif "Crackle" in label:
        end_s = last if label == "Coarse Crackle" else min(last, turn_s)
        found.append(
            sources.crackles(rng, "crackle_coarse", first, end_s, int(rng.integers(4, 12)), RATE, chest.crackle)
        )
    if "Wheeze" in label:
        start_s = first if label == "Wheeze" else min(turn_s, last - 0.1)
        hz = float(np.clip(chest.wheeze_hz * rng.lognormal(0, 0.06), 150, 700))
        found.append(sources.musical(rng, "wheeze", start_s, last, hz, RATE))
    if label == "Rhonchi":
        hz = float(np.clip(chest.rhonchus_hz * rng.lognormal(0, 0.1), 80, 190))
        found.append(sources.musical(rng, "rhonchus", first, last, hz, RATE))
    if label == "Stridor":
        found.append(sources.musical(rng, "stridor", first, last, rng.uniform(500, 650), RATE))
    return found


def _knock(scene: Auscultation, start_s: float, loud: float) -> None:
    """A hard knock on the stethoscope: a thump with the scrape of cloth; `loud` is the logarithm of its size."""
    size = scene.rng.lognormal(loud, 0.6)
    scene.lay(size * sources.thump(scene.rng, RATE).wave, start_s)
    scene.lay(0.5 * size * sources.friction(scene.rng, RATE).wave, start_s)


def _spoil(scene: Auscultation) -> None:
    """Poor quality: hard knocks, and in every second recording a child that cries."""
    rng = scene.rng
    for start_s in rng.uniform(0, scene.length_s - 0.3, rng.poisson(0.5 * scene.length_s)):
        _knock(scene, start_s, 3.4)
    if rng.random() < 0.5:
        start_s = rng.uniform(0, 1)
        while start_s < scene.length_s - 1.6:
            # A cry is a rich tone of 400 to 600 Hz, like a stridor, in breath after breath.
            lasts = rng.uniform(0.5, 1.5)
            cry = sources.musical(rng, "stridor", 0, lasts, rng.uniform(500, 600), RATE).wave
            scene.lay(rng.uniform(5, 20) * cry, start_s)
            start_s += lasts + rng.uniform(0.3, 1.0)
