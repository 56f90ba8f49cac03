"""Write two simulated cohorts of children recorded at eight sites, as the paediatric paper's, and the truth of every sound.

The layout is that of `lungnb.data.multisite`, which reads it. The cohorts differ in who came (`multisite_plan`) and in how
they were recorded: Geneva (GVA) with the full band of the stethoscope, Porto Alegre (POA1 to POA3) low-pass filtered, softer
and over another background, as the paper's Fig. 2 shows. A model trained on one fails on the other; the sounds of the chests
are the same. The stethoscope itself samples at about 4 kHz, and so there is next to nothing above 2.2 kHz anywhere.
"""

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import soundfile
import soxr

from lungnb.core import UserError
from lungnb.simulate import physics
from lungnb.simulate.folder import simulated_folder
from lungnb.simulate.multisite_plan import FULL_SIZE, SITES, Plan, make_plan

#: Raised whenever the same seed gives other files.
VERSION = 1
#: Sounds are made at `RATE` and resampled to `FILE_RATE`, Hz: a whole multiple.
RATE, FILE_RATE = 4410, 22050
MIN_PATIENTS = 24
DEVICE = "Littmann 3200"


class Clinic(NamedTuple):
    """How a clinic records. `level_db`: mean and spread over children of the breath sound, dB of full scale.

    `hum_hz`, `hum`: mains and its harmonics, amplitude at the diaphragm in units of the breath. `room_db`: noise of the room
    around 300 Hz, about an octave wide, dB against the breath.
    """

    stethoscope: physics.Device
    level_db: tuple[float, float]
    hum_hz: float
    hum: float
    room_db: float


CLINICS = {
    "GVA": Clinic(physics.Device(35, 1700, 2, peak_hz=400, peak_db=3, noise_db=-32), (-34, 3), 50, 0.02, -40),
    "POA": Clinic(physics.Device(55, 560, 6, peak_hz=130, peak_db=4, noise_db=-52), (-42, 3), 60, 0.4, -18),
}
#: Mean and spread over children of the level of clear sounds over the breath in their own band, dB.
SOUND_DB = {"fine": (32, 2.5), "coarse": (31, 2.5), "wheeze": (26, 2.5), "rhonchus": (20, 3)}
#: From site to site a child's sounds vary by this much, and from breath to breath they are softer by an exponential variable.
SITE_DB, FADING_DB = 2.0, 3.0
#: A pneumonia is heard less with the distance from its focus (dB a unit of `Site.place`); what is softer than this, not at all.
DECAY_DB, INAUDIBLE_DB = 4.0, -8.4
#: Bronchiolitis and asthma are heard at this share of the sites.
DIFFUSE = 0.85
#: Over a diseased lung the breath itself is harsher (bronchial breathing; textbook): its corner is higher by this share and
#: its expiration louder by this much, over a focus of pneumonia. In bronchiolitis and asthma it is a part of that, everywhere.
HARSH_CORNER, HARSH_EXPIRATION, HARSH_DIFFUSE = 0.35, 0.35, 0.5
#: Share of a breath that is inspiration; expiration is prolonged where the airways are narrow (textbook).
INSPIRATION = {"asthma": 0.34, "bronchiolitis": 0.38}
HEALTHY_INSPIRATION = 0.42
#: Steady noise of the same colour as the breath (muscle), in units of the breath: lowest and highest.
MURMUR = (0.1, 0.35)
TRUTH = ["recording", "kind", "start_s", "end_s", "low_hz", "high_hz"]


def simulate_multisite(folder: Path, n_patients: int = FULL_SIZE, seed: int = 0) -> Path:
    """Write `folder`/GVA, POA1, POA2 and POA3 (about 7 recordings a patient) and `<folder>_truth/events.csv`.

    All of the paper's 318 patients give 22 hours; below 160 patients recordings last about 9 s. The truth has one row per
    adventitious sound: recording (path in `folder`), kind, start_s, end_s, low_hz, high_hz. The same seed gives the same
    bytes. Raises UserError if `folder` holds something or there are too few patients.
    """
    folder = Path(folder)
    if n_patients < MIN_PATIENTS:
        raise UserError(
            f"n_patients={n_patients} is too few for simulated multi-site cohorts: with fewer than {MIN_PATIENTS} patients a "
            f"cohort or a diagnosis has none or one; give {MIN_PATIENTS} or more."
        )
    with simulated_folder(folder, __name__, VERSION, n_patients, seed) as (data, beside):
        plan = make_plan(n_patients, np.random.default_rng([seed, 0]))
        _write_audio(data, beside / "events.csv", plan, seed)
        _write_manifests(data, plan)
    return folder


def _write_manifests(folder: Path, plan: Plan) -> None:
    """manifest.csv of each cohort, one line a recording."""
    lines = plan.recordings.reset_index().join(plan.patients, on=["cohort", "patient"]).assign(device=DEVICE)
    lines["path"] = lines["path"].str.split("/", n=1).str[1]
    columns = ["patient", "site", "path", "diagnosis", "age_years", "sex", "device"]
    for cohort, rows in lines.groupby("cohort"):
        rows[columns].to_csv(folder / cohort / "manifest.csv", index=False, lineterminator="\n")


def _write_audio(folder: Path, truth: Path, plan: Plan, seed: int) -> None:
    """All recordings and, as they come, their lines of `truth`: memory does not grow with the number of recordings."""
    for cohort in plan.recordings["cohort"].unique():
        (folder / cohort / "audio").mkdir(parents=True)
    rng = np.random.default_rng([seed, 1])
    chests = {child: _Chest.draw(rng, about) for child, about in plan.patients.iterrows()}

    def write_one(k: int, name: str) -> list[tuple]:
        recording = plan.recordings.loc[name]
        chest = chests[recording["cohort"], recording["patient"]]
        signal, boxes = _record(np.random.default_rng([seed, 2, k]), recording["length_s"], recording["site"], chest)
        try:
            soundfile.write(folder / name, signal, FILE_RATE, subtype="PCM_16")
        except soundfile.SoundFileError as error:  # libsndfile's own error, as for a full disk
            raise UserError(
                f"{folder / name} could not be written ({error}); free some space, then run it again."
            ) from error
        boxes = sorted(boxes, key=lambda b: b.start_s)
        return [(name, b.kind, *(f"{x:.4f}" for x in b[:4])) for b in boxes]

    with ThreadPoolExecutor() as pool, truth.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TRUTH)
        for rows in pool.map(write_one, *zip(*enumerate(plan.recordings.index), strict=True)):
            writer.writerows(rows)


@dataclass(frozen=True)
class _Chest:
    """How one child sounds, and how it is recorded. `site_db`: level of its disease's sounds by site; none where unheard.
    `harsh`: how harsh the breath is, from 0 to 1."""

    clinic: Clinic
    disease: str
    pace_s: float
    beats: float
    heart_db: float
    level_db: float
    hum: float
    room_db: float
    tilt: float
    sound_db: dict[str, float]
    site_db: dict[str, float]
    harsh: dict[str, float]
    fine_share: float
    wheeze_hz: float
    restless: float

    @classmethod
    def draw(cls, rng: np.random.Generator, about: pd.Series) -> "_Chest":
        clinic, disease = CLINICS[about["clinic"]], about["diagnosis"].split()[-1]
        site_db, harsh = _by_site(rng, disease)
        return cls(
            clinic=clinic,
            disease=disease,
            pace_s=about["pace_s"],
            beats=physics.beats_per_minute(about["age_years"]) * rng.lognormal(0, 0.08),
            heart_db=rng.normal(0, 4),
            level_db=float(rng.normal(*clinic.level_db)),
            hum=clinic.hum * rng.lognormal(0, 0.6),
            room_db=clinic.room_db + rng.normal(0, 3),
            tilt=rng.lognormal(0, 0.07),
            sound_db={kind: float(rng.normal(*level)) for kind, level in SOUND_DB.items()},
            site_db=site_db,
            harsh=harsh,
            # Bacterial pneumonia tends to coarse crackles, viral to fine ones (textbook).
            fine_share=rng.beta(4, 2) if about["diagnosis"].startswith("viral") else rng.beta(2.5, 2),
            wheeze_hz=float(np.clip(rng.lognormal(np.log(340), 0.3), 190, 650)),
            restless=rng.gamma(2.0, 0.08),
        )


def _by_site(rng: np.random.Generator, disease: str) -> tuple[dict[str, float], dict[str, float]]:
    """dB against clear of the sites where the disease is heard, at least one, and harshness of the breath at all sites."""
    if disease == "control":
        return {}, dict.fromkeys(SITES, 0.0)
    level = {site: about.clarity_db + rng.normal(0, SITE_DB) for site, about in SITES.items()}
    if disease == "pneumonia":
        focus = np.array(SITES[rng.choice(list(SITES))].place) + rng.normal(0, 0.15, 3)
        far = {site: float(np.linalg.norm(focus - about.place)) for site, about in SITES.items()}
        heard = {s: level[s] - DECAY_DB * far[s] for s in SITES if -DECAY_DB * far[s] > INAUDIBLE_DB}
        return heard, {s: float(np.exp(-far[s] / 2)) for s in SITES}
    spared = rng.permutation(list(SITES))[: min(4, rng.binomial(len(SITES), 1 - DIFFUSE))]
    return {s: level[s] for s in SITES if s not in spared}, dict.fromkeys(SITES, HARSH_DIFFUSE)


def _record(
    rng: np.random.Generator, length_s: float, site: str, chest: _Chest
) -> tuple[np.ndarray, list[physics.Box]]:
    """One recording at FILE_RATE, full scale 1, and its boxes."""
    n, place, clinic = round(length_s * RATE), SITES[site], chest.clinic
    corner_hz = place.corner_hz * chest.tilt * rng.lognormal(0, 0.04) * (1 + HARSH_CORNER * chest.harsh[site])
    inspiration = INSPIRATION.get(chest.disease, HEALTHY_INSPIRATION) * rng.uniform(0.93, 1.07)
    spans = _breaths(rng, length_s, chest.pace_s)
    flow = _flow(rng, spans, inspiration)[:n]
    breath, murmur = place.breath * rng.lognormal(0, 0.1), rng.uniform(*MURMUR)
    expiration = rng.uniform(0.2, 0.6) + HARSH_EXPIRATION * chest.harsh[site]
    signal = breath * physics.vesicular(rng, flow, RATE, corner_hz, expiration)
    signal += murmur * physics.noise(rng, n, lambda hz: physics.vesicular_psd(hz, corner_hz), RATE)
    signal += place.heart * 10 ** (chest.heart_db / 20) * physics.heart_sounds(rng, n, RATE, chest.beats)

    def background(hz: float, width_hz: float) -> float:
        """Root mean square of the breath in a band, at the chest."""
        return float(breath * np.sqrt(physics.vesicular_psd(hz, corner_hz) * width_hz))

    boxes: list[physics.Box] = []
    if site in chest.site_db:
        for start_s, end_s in spans:
            turn_s = start_s + inspiration * (end_s - start_s)
            for wave, found, loud in _sounds(rng, start_s, turn_s, end_s, chest, background):
                # Nothing of a sound is cut off by the recording.
                if found[0].start_s >= 0 and max(b.end_s for b in found) <= length_s - 0.01:
                    level = 10 ** ((chest.site_db[site] - rng.exponential(FADING_DB)) / 20)
                    physics.mix(signal, level * loud * wave, found[0].start_s, RATE)
                    boxes += found
    _add_distractors(rng, signal, chest.restless, background)
    signal += _surroundings(rng, n, chest)
    signal = physics.through(rng, clinic.stethoscope, signal, RATE)
    signal = soxr.resample(10 ** (chest.level_db / 20) * signal, RATE, FILE_RATE)
    return (signal * min(1, 0.95 / np.abs(signal).max())).astype(np.float32), boxes


def _breaths(rng: np.random.Generator, length_s: float, pace_s: float) -> list[tuple[float, float]]:
    """Breaths one after another over the whole recording, which begins within the first and ends within the last."""
    edges = [-rng.uniform(0, 0.7) * pace_s]
    while edges[-1] < length_s:
        edges.append(edges[-1] + pace_s * float(np.clip(rng.lognormal(0, 0.15), 0.7, 1.5)))
    return list(pairwise(edges))


def _flow(rng: np.random.Generator, spans: list[tuple[float, float]], inspiration: float) -> np.ndarray:
    """The flow from 0 s to the end of the last of `spans`, in which each breath has a depth of its own."""
    before_s = -spans[0][0]
    spans = [(start_s + before_s, end_s + before_s) for start_s, end_s in spans]
    flow = physics.air_flow(spans, round(spans[-1][1] * RATE) + 1, RATE, inspiration)
    for start_s, end_s in spans:
        flow[round(start_s * RATE) : round(end_s * RATE)] *= rng.uniform(0.6, 1.3)
    return flow[round(before_s * RATE) :]


def _sounds(rng, start_s: float, turn_s: float, end_s: float, chest: _Chest, background) -> list[tuple]:
    """(wave, boxes, level if clear) of what one breath of the disease holds."""

    def loud(kind: str, hz: float, width_hz: float) -> float:
        return 10 ** (chest.sound_db[kind] / 20) * background(hz, width_hz)

    def fine():
        late_s = start_s + 0.45 * (turn_s - start_s)
        return *physics.fine_crackles(rng, late_s, turn_s, int(rng.integers(6, 16)), RATE), loud("fine", 650, 400)

    def coarse():
        late_s = start_s + 0.35 * (turn_s - start_s)
        return *physics.coarse_crackles(rng, late_s, turn_s, int(rng.integers(5, 13)), RATE), loud("coarse", 320, 130)

    def wheeze():
        hz = float(np.clip(chest.wheeze_hz * rng.lognormal(0, 0.12), 150, 800))
        lasts = max(0.12, rng.uniform(0.5, 0.95) * (end_s - turn_s))
        onset_s = rng.uniform(turn_s, max(turn_s, end_s - lasts))
        return *physics.wheeze(rng, onset_s, onset_s + lasts, hz, RATE), loud("wheeze", hz, 16)

    def rhonchus():
        hz = rng.uniform(110, 170)
        return *physics.rhonchus(rng, turn_s, turn_s + 0.7 * (end_s - turn_s), hz, RATE), loud("rhonchus", hz, 16)

    found = []
    match chest.disease:
        case "pneumonia" if rng.random() < 0.95:
            found.append(fine() if rng.random() < chest.fine_share else coarse())
        case "bronchiolitis":
            found += [fine()] if rng.random() < 0.75 else []
            found += [wheeze()] if rng.random() < 0.65 else []
        case "asthma":
            # Of several airways at once: several pitches.
            found += [wheeze() for _ in range(rng.choice(3, p=[0.15, 0.55, 0.3]))]
            found += [rhonchus()] if rng.random() < 0.15 else []
    return found


def _add_distractors(rng, signal: np.ndarray, per_second: float, background) -> None:
    """What a listener must not take for a sound of the lung, in place: knocks, cloth, squeaks too short for a wheeze, voices."""
    length_s = len(signal) / RATE
    for start_s in rng.uniform(0, length_s - 0.3, rng.poisson(per_second * length_s)):
        wave = physics.distractor(rng, [0.5, 0.15, 0.25, 0.1], (1.2, 0.7), (20, 5), (14, 4), background, RATE)
        physics.mix(signal, wave, start_s, RATE)


def _surroundings(rng: np.random.Generator, n: int, chest: _Chest) -> np.ndarray:
    """Mains hum with its second and third harmonic, and the noise of the room."""
    t = np.arange(n) / RATE
    hum = sum(
        part * np.sin(2 * np.pi * k * chest.clinic.hum_hz * t + rng.uniform(0, 2 * np.pi))
        for k, part in ((1, 1.0), (2, 0.5), (3, 0.25))
    )
    room = physics.noise(
        rng, n, lambda hz: np.exp(-((np.log2(np.maximum(hz, 1) / 300) / 0.8) ** 2)) / 400, RATE
    ) * 10 ** (chest.room_db / 20)
    return chest.hum * hum + room
