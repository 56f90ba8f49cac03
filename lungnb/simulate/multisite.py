"""Two simulated cohorts of children recorded at eight sites, as the paediatric paper's, and the truth of every sound.

Counts follow the paper's Table I (docs/papers/pediatric.md, sections 1 and 3.8); the three batches of Porto Alegre have the
make-up that the confusion matrices fix, scaled to it. The cohorts differ in who came and in how they were recorded: Geneva
(GVA) with the full band of the stethoscope, Porto Alegre (POA1 to POA3) low-pass filtered, softer and over another
background, as the paper's Fig. 2 shows. There cases and controls were recorded in different rooms, so the
channel tells the label; in Geneva it does not. The steady noise holds nothing of the disease in either. The stethoscope
samples at about 4 kHz: there is next to nothing above 2.2 kHz.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import soxr

from lungnb.data.multisite import PLACES
from lungnb.simulate import Box, Device, Sound, hump, noise, simulated_folder, write_recordings, write_sound
from lungnb.simulate import chest as sources
from lungnb.simulate.auscultation import Auscultation, Chest, identity
from lungnb.simulate.chest import INSPIRATION, Site

#: Sounds are made at `RATE` and resampled to `FILE_RATE`, Hz: a whole multiple.
RATE, FILE_RATE = 4410, 22050


class Clinic(NamedTuple):
    """`counts`, `minutes`: of cases and controls (Table I). `cohorts`: folders, weights in cases and in controls (Table V).
    `level_db`: mean and spread over children of the breath sound, dB of full scale. `hum_hz`, `hum`: mains and its harmonics,
    amplitude at the diaphragm in units of the breath, where controls and where cases were recorded. `room_db`: noise of the
    rooms of both around 300 Hz, dB against the breath, mean and spread over children."""

    counts: tuple[int, int]
    minutes: tuple[int, int]
    cohorts: dict[str, tuple[int, int]]
    diagnoses: dict[str, int]
    stethoscope: Device
    level_db: tuple[float, float]
    hum_hz: float
    hum: tuple[float, float]
    room_db: tuple[tuple[float, float], tuple[float, float]]


#: 49 + 9 + 137 + 17 cases are diagnosed. The clinics' pneumonias are 28 and 30, since 30 are all that POA has for the
#: comparison of section 3.8; how the others fall to the clinics is not known: here in equal proportion.
CLINICS = {
    "GVA": Clinic(
        *((55, 23), (100, 95), {"GVA": (1, 1)}),
        {"bacterial pneumonia": 24, "viral pneumonia": 4, "bronchiolitis": 24, "asthma": 3},
        *(Device(35, 1700, 2, peak_hz=400, peak_db=3, noise_db=-32), (-34, 3), 50, (0.05, 0.05), ((-22, 4), (-22, 4))),
    ),
    "POA": Clinic(
        *((160, 80), (910, 230), {"POA1": (40, 50), "POA2": (40, 26), "POA3": (84, 0)}),
        {"bacterial pneumonia": 25, "viral pneumonia": 5, "bronchiolitis": 113, "asthma": 14},
        *(Device(55, 560, 6, peak_hz=130, peak_db=4, noise_db=-52), (-42, 3), 60, (0.4, 0.15), ((-28, 4), (-10, 4))),
    ),
}
FULL_SIZE = sum(sum(clinic.counts) for clinic in CLINICS.values())
#: By diagnosis: age in years (median, spread of its logarithm, lowest, highest; textbook, the paper says 0 to 15 years), and
#: how much faster than healthy children of their age they breathe.
DIAGNOSES = {
    **{"control": (2.5, 0.9, 0.1, 15.0, 1.0), "bacterial pneumonia": (3.0, 0.7, 0.3, 15.0, 1.2)},
    **{"viral pneumonia": (2.0, 0.7, 0.2, 15.0, 1.2), "asthma": (6.0, 0.5, 2.0, 15.0, 1.1)},
    "bronchiolitis": (0.7, 0.6, 0.1, 2.0, 1.3),
}
#: Share of sites that were not recorded, and the most that one child lacks.
MISSING, MOST_MISSING = 0.125, 4
#: From this many patients on recordings have the paper's lengths, by group; those of fewer, for trials, are short and alike.
LONG_FROM = 160
LONG_S, SHORT_S, SHORT_MEDIAN_S = (3.0, 90.0), (4.0, 20.0), 9.0
#: By site of the paper.
SITES = {
    **{"1": Site(215, 1.1, 0.9), "2": Site(205, 1.0, 1.6), "3": Site(185, 0.85, 1.0), "4": Site(175, 0.75, 2.0)},
    **{"5": Site(205, 1.0, 0.5), "6": Site(200, 0.95, 0.7), "7": Site(190, 0.9, 0.4), "8": Site(185, 0.85, 0.6)},
}
#: By how many dB the sounds of a disease are clearer there: plants what Fig. 6 found, site 1 matters most, then 5, then 2.
CLARITY_DB = {"1": 3.0, "2": 1.5, "3": -1.0, "4": -1.5, "5": 2.0, "6": 0.0, "7": -0.5, "8": -1.0}
#: Level of clear sounds over the breath in their own band, dB: mean and spread over children.
SOUND_DB = {"crackle_fine": (32, 2.5), "crackle_coarse": (31, 2.5), "wheeze": (26, 2.5), "rhonchus": (20, 3)}
#: From site to site a child's sounds vary by this much; from breath to breath they are softer by an exponential variable.
SITE_DB, FADING_DB = 2.0, 3.0
#: A pneumonia is heard less with the distance from its focus (dB a unit of PLACES); what is softer than this, not at all.
DECAY_DB, INAUDIBLE_DB = 4.0, -8.4
#: Over a focus of pneumonia the breath itself is harsher (bronchial breathing; textbook): its corner is higher by this share
#: and its expiration louder by this much. In bronchiolitis and asthma it is a part of that, everywhere.
HARSH_CORNER, HARSH_EXPIRATION, HARSH_DIFFUSE = 0.35, 0.35, 0.5
#: Expiration is prolonged where the airways are narrow (textbook).
NARROW = {"asthma": 0.34, "bronchiolitis": 0.38}
#: Steady noise of the same colour as the breath (muscle), in units of the breath: lowest and highest.
MURMUR = (0.1, 0.35)
#: Level of the heart, dB, and distractors a second, means over children.
HEART_DB, RESTLESS = 3.0, 0.4


def simulate_multisite(folder: Path, n_patients: int = FULL_SIZE, seed: int = 0) -> Path:
    """Write `folder`/GVA, POA1, POA2 and POA3 (about 7 recordings a patient) and `<folder>_truth/events.csv`.

    All of the paper's 318 patients give 22 hours; below 160 patients recordings last about 9 s. The truth has one row per
    adventitious sound: recording (path in `folder`), kind, start_s, end_s, low_hz, high_hz. The same seed gives the same
    bytes. Raises UserError if `folder` holds something or there are too few patients.
    """
    folder, otherwise = Path(folder), "a cohort or a diagnosis has none or one"
    with simulated_folder(folder, __name__, n_patients, seed, 24, otherwise) as (data, beside):
        plan = make_plan(n_patients, np.random.default_rng([seed, 0]))
        _write_audio(data, beside / "events.csv", plan, seed)
        lines = plan.recordings.reset_index().join(plan.patients, on=["cohort", "patient"])
        lines["device"], lines["path"] = "Littmann 3200", lines["path"].str.split("/", n=1).str[1]
        columns = ["patient", "site", "path", "diagnosis", "age_years", "sex", "device"]
        for cohort, rows in lines.groupby("cohort"):
            rows[columns].to_csv(data / cohort / "manifest.csv", index=False, lineterminator="\n")
    return folder


class Plan(NamedTuple):
    """`patients` by (cohort, patient): clinic, diagnosis, age_years, sex, pace_s (seconds a breath).
    `recordings` by path: cohort, patient, site, length_s."""

    patients: pd.DataFrame
    recordings: pd.DataFrame


def make_plan(n_patients: int, rng: np.random.Generator) -> Plan:
    """Draw the children of all cohorts and their recordings."""
    clinics = share_out(n_patients, [sum(clinic.counts) for clinic in CLINICS.values()])
    patients = pd.concat([_patients(name, n, rng) for name, n in zip(CLINICS, clinics, strict=True)])
    return Plan(patients, _recordings(patients, n_patients >= LONG_FROM, rng))


def share_out(total: int, weights: Sequence[float]) -> list[int]:
    """`total` in whole parts in proportion to `weights`: the largest remainders are rounded up."""
    exact = total * np.asarray(weights, dtype=float) / sum(weights)
    parts = np.floor(exact).astype(int)
    up = np.argsort(parts - exact, kind="stable")[: total - parts.sum()]
    parts[up] += 1
    return parts.tolist()


def _patients(name: str, n: int, rng: np.random.Generator) -> pd.DataFrame:
    clinic = CLINICS[name]
    n_cases, n_controls = share_out(n, clinic.counts)
    ill = np.repeat(list(clinic.diagnoses), share_out(n_cases, list(clinic.diagnoses.values()))).tolist()
    cohorts: list[str] = []
    for number, weights in zip((n_cases, n_controls), zip(*clinic.cohorts.values(), strict=True), strict=True):
        # In turns, so that neighbours (of one diagnosis) go to different cohorts.
        counts = zip(clinic.cohorts, share_out(number, weights), strict=True)
        cohorts += [cohort for _, cohort in sorted(((k + 0.5) / m, cohort) for cohort, m in counts for k in range(m))]
    frame = pd.DataFrame({"cohort": cohorts, "clinic": name, "diagnosis": ill + ["control"] * n_controls})
    # Numbers run through a clinic in the order of arrival, batches one after another.
    frame = frame.iloc[rng.permutation(n)].sort_values("cohort", kind="stable").reset_index(drop=True)
    frame["patient"] = frame.index + 1
    median, spread, *ends, hurry = np.array([DIAGNOSES[d] for d in frame["diagnosis"]]).T
    frame["age_years"] = np.clip(median * rng.lognormal(0, spread), *ends).round(1)
    frame["sex"] = rng.choice(["female", "male"], n, p=[0.45, 0.55])
    healthy_s = 60 / frame["age_years"].map(sources.breaths_per_minute)
    frame["pace_s"] = healthy_s / hurry * rng.lognormal(0, 0.12, n)
    return frame.set_index(["cohort", "patient"])


def _recordings(patients: pd.DataFrame, long: bool, rng: np.random.Generator) -> pd.DataFrame:
    """All sites of all children but MISSING of them, whoever the child is."""
    pairs = [(child, site) for child in range(len(patients)) for site in SITES]
    lacking, missing = np.zeros(len(patients), dtype=int), set()
    for k in rng.permutation(len(pairs)):
        child, _ = pairs[k]
        if len(missing) < round(MISSING * len(pairs)) and lacking[child] < MOST_MISSING:
            missing.add(pairs[k])
            lacking[child] += 1
    rows = []
    for child, site in pairs:
        if (child, site) not in missing:
            (cohort, number), about = patients.index[child], patients.iloc[child]
            clinic, control, spread = CLINICS[about["clinic"]], about["diagnosis"] == "control", 0.5 if long else 0.35
            # The mean of a lognormal variable is above its median by half its variance (in logarithms).
            mean_s = 60 * clinic.minutes[control] / (len(SITES) * (1 - MISSING) * clinic.counts[control])
            middle = np.log(mean_s) - spread**2 / 2 if long else np.log(SHORT_MEDIAN_S)
            length_s = float(np.clip(rng.lognormal(middle, spread), *(LONG_S if long else SHORT_S)))
            rows.append((f"{cohort}/audio/{number}_{site}.flac", cohort, number, site, length_s))
    return pd.DataFrame(rows, columns=["path", "cohort", "patient", "site", "length_s"]).set_index("path")


@dataclass(frozen=True, kw_only=True)
class Child(Chest):
    """`site_db`: level of the disease's sounds by site; none where unheard. `harsh`: of the breath by site, from 0 to 1."""

    clinic: Clinic
    disease: str
    pace_s: float
    room_db: float
    site_db: dict[str, float]
    harsh: dict[str, float]


def _child(rng: np.random.Generator, about: pd.Series) -> Child:
    clinic, disease = CLINICS[about["clinic"]], about["diagnosis"].split()[-1]
    site_db, harsh = _by_site(rng, disease)
    case = disease != "control"
    own = identity(rng, about["age_years"], HEART_DB, RESTLESS) | {"hum": clinic.hum[case] * rng.lognormal(0, 0.5)}
    return Child(
        **own,
        **{"clinic": clinic, "disease": disease, "pace_s": about["pace_s"], "site_db": site_db, "harsh": harsh},
        level_db=rng.normal(*clinic.level_db),
        room_db=rng.normal(*clinic.room_db[case]),
        sound_db={kind: rng.normal(*level) for kind, level in SOUND_DB.items()},
        # Bacterial pneumonia tends to coarse crackles, viral to fine ones (textbook).
        fine_share=rng.beta(4, 2) if about["diagnosis"].startswith("viral") else rng.beta(2.5, 2),
        wheeze_hz=float(np.clip(rng.lognormal(np.log(340), 0.3), 190, 650)),
    )


def _by_site(rng: np.random.Generator, disease: str) -> tuple[dict[str, float], dict[str, float]]:
    """dB against clear of the sites where the disease is heard, at least one, and harshness of the breath at all sites."""
    if disease == "control":
        return {}, dict.fromkeys(SITES, 0.0)
    level = {site: clarity + rng.normal(0, SITE_DB) for site, clarity in CLARITY_DB.items()}
    if disease == "pneumonia":
        focus = np.array(PLACES[rng.choice(list(SITES))]) + rng.normal(0, 0.15, 3)
        far = {site: float(np.linalg.norm(focus - PLACES[site])) for site in SITES}
        heard = {s: level[s] - DECAY_DB * far[s] for s in SITES if -DECAY_DB * far[s] > INAUDIBLE_DB}
        return heard, {s: float(np.exp(-far[s] / 2)) for s in SITES}
    spared = rng.permutation(list(SITES))[: min(4, rng.binomial(len(SITES), 1 - 0.85))]  # heard at 85 % of them
    return {s: level[s] for s in SITES if s not in spared}, dict.fromkeys(SITES, HARSH_DIFFUSE)


def _write_audio(folder: Path, truth: Path, plan: Plan, seed: int) -> None:
    for cohort in plan.recordings["cohort"].unique():
        (folder / cohort / "audio").mkdir(parents=True)
    rng = np.random.default_rng([seed, 1])
    children = {child: _child(rng, about) for child, about in plan.patients.iterrows()}

    def record(own: np.random.Generator, name: str) -> list[Box]:
        about = plan.recordings.loc[name]
        child = children[about["cohort"], about["patient"]]
        scene = _auscultate(own, about["length_s"], about["site"], child)
        signal = scene.record(child.clinic.stethoscope, child)
        signal = soxr.resample(10 ** (child.level_db / 20) * signal, RATE, FILE_RATE)
        write_sound(folder / name, signal * min(1, 0.95 / np.abs(signal).max()), FILE_RATE)
        return scene.boxes

    write_recordings(plan.recordings.index, record, truth, seed)


def _auscultate(rng: np.random.Generator, length_s: float, place: str, child: Child) -> Auscultation:
    """What is at the diaphragm in one recording."""
    n, site, harsh = round(length_s * RATE), SITES[place], child.harsh[place]
    corner_hz = site.corner_hz * (child.tilt * rng.lognormal(0, 0.04) * (1 + HARSH_CORNER * harsh))
    inspiration = NARROW.get(child.disease, INSPIRATION) * rng.uniform(0.93, 1.07)
    # The recording begins within the first breath and ends within the last.
    spans = list(sources.breaths(rng, -rng.uniform(0, 0.7) * child.pace_s, child.pace_s, length_s))
    flow = sources.air_flow(rng, spans, n, RATE, inspiration, depth=(0.6, 1.3))
    site = site._replace(corner_hz=corner_hz, breath=site.breath * rng.lognormal(0, 0.1))
    scene = Auscultation(rng, flow, RATE, site, rng.uniform(0.2, 0.6) + HARSH_EXPIRATION * harsh)
    scene.murmur(rng.uniform(*MURMUR), SITES[place].corner_hz)
    scene.heart(child, child.clinic.hum_hz)
    for start_s, end_s in spans if place in child.site_db else ():
        for sound in _sounds(rng, start_s, start_s + inspiration * (end_s - start_s), end_s, child):
            # Nothing of a sound is cut off by the recording.
            if sound.boxes[0].start_s >= 0 and max(b.end_s for b in sound.boxes) <= length_s - 0.01:
                clear_db = child.sound_db[sound.boxes[0].kind] + child.site_db[place]
                scene.add(sound, clear_db - rng.exponential(FADING_DB))
    scene.distract(child)
    # The noise of the room is about an octave wide.
    scene.signal += 10 ** (child.room_db / 20) * noise(rng, n, lambda hz: hump(hz, 300, 0.8) / 400, RATE)
    return scene


def _sounds(rng, start_s: float, turn_s: float, end_s: float, child: Child) -> list[Sound]:
    """What one breath of the disease holds."""

    def crackles(fine: bool = True) -> Sound:
        kind, late, counts = ("crackle_fine", 0.45, (6, 16)) if fine else ("crackle_coarse", 0.35, (5, 13))
        late_s = start_s + late * (turn_s - start_s)
        return sources.crackles(rng, kind, late_s, turn_s, int(rng.integers(*counts)), RATE, child.crackle)

    def wheeze() -> Sound:
        hz = float(np.clip(child.wheeze_hz * rng.lognormal(0, 0.08), 150, 800))
        lasts = max(0.12, rng.uniform(0.5, 0.95) * (end_s - turn_s))
        onset_s = rng.uniform(turn_s, max(turn_s, end_s - lasts))
        return sources.musical(rng, "wheeze", onset_s, onset_s + lasts, hz, RATE)

    found = []
    match child.disease:
        case "pneumonia" if rng.random() < 0.95:
            found.append(crackles(rng.random() < child.fine_share))
        case "bronchiolitis":
            found += [crackles()] if rng.random() < 0.75 else []
            found += [wheeze()] if rng.random() < 0.65 else []
        case "asthma":
            # Of several airways at once: several pitches.
            found += [wheeze() for _ in range(rng.choice(3, p=[0.15, 0.55, 0.3]))]
            if rng.random() < 0.15:
                hz, last_s = rng.uniform(110, 170), turn_s + 0.7 * (end_s - turn_s)
                found.append(sources.musical(rng, "rhonchus", turn_s, last_s, hz, RATE))
    return found
