"""A simulated ICBHI 2017 database in its official layout, and the truth of every sound beside it.

Numbers of the layout are those of RespireNet, section II, and of the real database's own files.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import soxr
from scipy import stats

from lungnb.simulate import Box, Device, simulated_folder, write_recordings, write_sound, write_text
from lungnb.simulate import chest as sources
from lungnb.simulate.auscultation import Auscultation, Chest, identity
from lungnb.simulate.chest import INSPIRATION, Site
from lungnb.simulate.icbhi_plan import GROUPS, SITES, Plan, make_plan

#: All sounds are made at this rate, Hz, and then resampled to the device's own.
RATE = 8000
#: Level of clear sounds over the background in their own band, dB, mean and spread over patients.
SOUND_DB = {"crackle": (29, 4), "wheeze": (30, 4)}
#: Level of the heart, dB, and distractors a second, means over patients.
HEART_DB, RESTLESS = 6.0, 0.75
#: From breath to breath sounds are softer than clear by an exponential variable of this mean, dB: some are inaudible.
FADING_DB = 4
FORMAT_TEXT = """Elements contained in the filenames:

Patient number
Recording index
Chest location (Trachea (Tc), {Anterior (A), Posterior (P), Lateral (L)}{left (l), right (r)})
Acquisition mode (sequential/single channel (sc), simultaneous/multichannel (mc))
Recording equipment (AKGC417L, LittC2SE, Litt3200, Meditron)

This database is simulated.
"""


def simulate_icbhi(folder: Path, n_patients: int = 40, seed: int = 0) -> Path:
    """Write `folder` (about 2.8 recordings of 15 to 20 s a patient) and, beside it, `<folder>_truth/events.csv`.

    From 126 patients on, those of the real database, each has as many as a real one: 920 of about 20 s, 2 GB. The truth has
    one row per wheeze and crackle: recording (corrected name), kind, start_s, end_s, low_hz, high_hz. The same seed gives
    the same bytes. Raises UserError if `folder` holds something or there are too few patients.
    """
    folder, otherwise = Path(folder), "the fourth fold cannot hold all four devices"
    with simulated_folder(folder, __name__, n_patients, seed, 24, otherwise) as (data, beside):
        (data / "audio_and_txt_files").mkdir()
        _write(data, beside / "events.csv", make_plan(n_patients, np.random.default_rng([seed, 0])), seed)
    return folder


def _write(folder: Path, truth: Path, plan: Plan, seed: int) -> None:
    """All files but the marker, and the truth."""
    rng = np.random.default_rng([seed, 1])
    files = _files(plan.recordings, rng)
    # Levels run through their distribution device by device, so that small corpora are alike in difficulty.
    by_device = plan.patients.sort_values(["device", "rank"])
    levels = stats.norm.ppf((np.outer(np.arange(len(by_device)), (0.618, 0.755)) + rng.random(2)) % 1)
    chests = {p: _chest(rng, person, *z) for (p, person), z in zip(by_device.iterrows(), levels, strict=True)}
    cycles = dict(list(plan.cycles.groupby("recording")))

    def record(own: np.random.Generator, name: str) -> list[Box]:
        file = files.loc[name]
        group = GROUPS[file["device"]]
        device = replace(group.device, blank=file["blank"])
        scene = _auscultate(own, SITES[file["site"]], cycles[name], chests[file["patient"]], device)
        signal = scene.record(device, chests[file["patient"]])
        signal *= np.float32(0.95 * 10 ** (own.uniform(*group.peak_db) / 20) / np.abs(signal).max())
        path = folder / "audio_and_txt_files" / f"{file['stem']}.wav"
        write_sound(path, soxr.resample(signal, RATE, file["rate"]), file["rate"], file["subtype"])
        write_text(path.with_suffix(".txt"), _annotation(cycles[name], scene.boxes))
        return scene.boxes

    write_recordings(files.index, record, truth, seed)
    _side_files(folder, plan, files.loc[files["stem"] != files.index, "stem"], rng)


def _chest(rng, person: pd.Series, crackle: float, wheeze: float) -> Chest:
    """`crackle`, `wheeze`: how clear they are, in spreads from the mean."""
    return Chest(
        **identity(rng, person["age"], HEART_DB, RESTLESS),
        # Coarse crackles lead in COPD and bronchiectasis, fine ones in pneumonia (textbook).
        fine_share=rng.beta(4, 2) if person["diagnosis"] == "Pneumonia" else rng.beta(2, 2),
        sound_db={k: m + s * z for (k, (m, s)), z in zip(SOUND_DB.items(), (crackle, wheeze), strict=True)},
        wheeze_hz=float(np.clip(rng.lognormal(np.log(380), 0.4), 160, 1200)),
    )


def _auscultate(rng, site: Site, cycles: pd.DataFrame, chest: Chest, device: Device) -> Auscultation:
    """What is at the chest wall in one recording."""
    spans = list(zip(cycles["start_s"], cycles["end_s"], strict=True))
    flow = sources.air_flow(rng, spans, round(cycles["length_s"].iloc[0] * RATE), RATE, depth=(0.6, 1.2))
    site = site._replace(corner_hz=site.corner_hz * rng.lognormal(0, 0.1))
    scene = Auscultation(rng, flow, RATE, site, rng.uniform(0.2, 0.7), device)
    scene.heart(chest)
    for (start_s, end_s), label in zip(spans, cycles["label"], strict=True):
        if label & 1:
            sound = _crackles(rng, start_s, end_s, chest)
            scene.add(sound, chest.sound_db["crackle"] - rng.exponential(FADING_DB))
        if label & 2:
            for sound in _wheezes(rng, start_s, end_s, chest, 0.7 * min(device.high_hz, 1300)):
                scene.add(sound, chest.sound_db["wheeze"] - rng.exponential(FADING_DB))
    scene.distract(chest)
    return scene


def _crackles(rng, start_s: float, end_s: float, chest: Chest) -> sources.Sound:
    """Fine ones late in inspiration, coarse ones from early on."""
    length_s = end_s - start_s
    turn_s = start_s + INSPIRATION * length_s
    count = min(int(rng.integers(4, 15)), max(1, int(length_s / 0.05)))
    if rng.random() < chest.fine_share:
        return sources.crackles(
            rng, "crackle_fine", start_s + 0.45 * (turn_s - start_s), turn_s, count, RATE, chest.crackle
        )
    last_s = start_s + rng.uniform(0.4, 0.9) * length_s
    return sources.crackles(rng, "crackle_coarse", start_s + 0.05 * length_s, last_s, count, RATE, chest.crackle)


def _wheezes(rng, start_s: float, end_s: float, chest: Chest, top_hz: float):
    """Mostly in expiration, sometimes in inspiration, sometimes in both."""
    turn_s = start_s + INSPIRATION * (end_s - start_s)
    drawn, out = (start_s, turn_s), (turn_s, end_s)
    phases = [[out], [drawn], [drawn, out]][rng.choice(3, p=[0.6, 0.2, 0.2])]
    for a, b in phases if all(b - a > 0.12 for a, b in phases) else [(start_s, end_s)]:
        lasts = max(0.08, min(rng.uniform(0.25, 0.8) * (b - a), 2.5))
        onset = rng.uniform(a, b - lasts)
        hz = float(np.clip(chest.wheeze_hz * rng.lognormal(0, 0.06), 110, top_hz))
        yield sources.musical(rng, "wheeze", onset, onset + lasts, hz, RATE)


def _annotation(cycles: pd.DataFrame, boxes: list[Box]) -> str:
    """start, end, crackle 0/1, wheeze 0/1: read off the truth, not off the plan."""
    lines = []
    for start_s, end_s in zip(cycles["start_s"], cycles["end_s"], strict=True):
        kinds = {b.kind.split("_")[0] for b in boxes if start_s <= b.start_s and b.end_s <= end_s}
        lines.append(f"{start_s:g}\t{end_s:g}\t{int('crackle' in kinds)}\t{int('wheeze' in kinds)}\n")
    return "".join(lines)


def _files(recordings: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Stem, sample rate, sample type and blank band of each recording, the last three in the shares of its device.

    Some Meditron recordings are filed under the device first noted: 91 of 127 in the real archive.
    """
    frame = recordings.assign(stem=recordings.index, rate=0, subtype="", blank=False)
    for name in recordings.index[recordings["device"] == "Meditron"]:
        first_noted = rng.choice(["AKGC417L", "LittC2SE"], p=[0.4, 0.6])
        if rng.random() < 0.7:
            frame.loc[name, "stem"] = name.replace("Meditron", first_noted)
    for device in ("AKGC417L", "Meditron", "Litt3200", "LittC2SE"):
        names = rng.permutation(recordings.index[recordings["device"] == device])
        formats = GROUPS[device].formats
        edges = np.round(np.cumsum([0.0, *(share for *_, share in formats)]) * len(names)).astype(int)
        for (rate, subtype, _), a, b in zip(formats, edges, edges[1:], strict=False):
            frame.loc[names[a:b], ["rate", "subtype"]] = rate, subtype
        frame.loc[rng.permutation(names)[: round(GROUPS[device].blank * len(names))], "blank"] = True
    return frame


def _side_files(folder: Path, plan: Plan, old_names: list[str], rng: np.random.Generator) -> None:
    people, split = plan.patients, plan.recordings["split"]
    write_text(folder / "ICBHI_challenge_train_test.txt", "".join(f"{n}\t{s}\n" for n, s in split.items()))
    order = people.loc[rng.permutation(people.index)].sort_values("fold", kind="stable")
    write_text(folder / "patient_list_foldwise.txt", "".join(f"{p} {k}\n" for p, k in order["fold"].items()))
    diagnoses = "".join(f"{p},{d}\n" for p, d in people["diagnosis"].items())
    write_text(folder / "patient_diagnosis.csv", "ID,CLASS\n" + diagnoses)
    write_text(folder / "filename_differences.txt", "".join(f"'{n}'\n" for n in old_names))
    write_text(folder / "filename_format.txt", FORMAT_TEXT)
    lines = []
    for p, row in people.iterrows():
        age, bmi, weight, height = row["age"], rng.normal(27, 4), rng.normal(1, 0.1), rng.normal(1, 0.04)
        kilograms, centimetres = (3.5 + 7 * min(age, 1) + 3 * max(age - 1, 0)) * weight, (75 + 6.5 * age) * height
        size = f"{bmi:.1f} NA NA" if age >= 16 else f"NA {kilograms:.1f} {centimetres:.0f}"
        # One real patient is unknown.
        lines.append(f"{p} NA NA NA NA NA\n" if p == people.index[-1] else f"{p} {age:g} {row['sex']} {size}\n")
    write_text(folder / "demographic_info.txt", "".join(lines))
