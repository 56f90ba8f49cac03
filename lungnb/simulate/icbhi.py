"""Write a simulated ICBHI 2017 database in its official layout, and the truth of every sound beside it.

The numbers of the layout are those of RespireNet, section II, and of the real database's own files.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr
from scipy import stats

from lungnb.core import UserError
from lungnb.simulate import physics
from lungnb.simulate.folder import simulated_folder
from lungnb.simulate.icbhi_plan import Plan, file_names, make_plan

#: Raised whenever the same seed gives other files.
VERSION = 4
#: All sounds are made at this rate, Hz, and then resampled to the device's own.
RATE = 8000
MIN_PATIENTS = 24

#: Outlines of the real recordings' spectra; the device tells itself by its band, colour and noise.
DEVICES = {
    "AKGC417L": physics.Device(low_hz=20, high_hz=1800, order=1, peak_hz=90, peak_db=3, noise_db=-24),
    "Meditron": physics.Device(low_hz=35, high_hz=1300, order=2, peak_hz=250, peak_db=2, noise_db=-34),
    "Litt3200": physics.Device(low_hz=60, high_hz=900, order=3, peak_hz=600, peak_db=6, noise_db=-42),
    "LittC2SE": physics.Device(low_hz=25, high_hz=450, order=2, peak_hz=130, peak_db=4, noise_db=-37),
}
#: Sample rate, sample type and share of the device's recordings.
FORMATS = {
    "AKGC417L": [(44100, "PCM_24", 1.0)],
    "Meditron": [(4000, "PCM_16", 0.25), (44100, "PCM_16", 0.25), (44100, "PCM_24", 0.5)],
    "Litt3200": [(4000, "PCM_16", 1.0)],
    "LittC2SE": [(44100, "PCM_16", 1.0)],
}
#: Peak level of a recording, dB of full scale: lowest and highest.
LEVELS_DB = {"AKGC417L": (-18, 0), "Meditron": (-12, 0), "Litt3200": (-3, 0), "LittC2SE": (-22, -4)}
#: Share of recordings with nothing between 1.5 and 2 kHz (RespireNet, section III).
BLANK = {"AKGC417L": 0.0, "Meditron": 0.2, "Litt3200": 1.0, "LittC2SE": 0.0}
#: Corner of the breath sound (Hz), its level and that of the heart, by chest site. The trachea is bright and loud.
SITES = {
    **{"Tc": (320, 1.4, 1.0), "Al": (160, 1.0, 2.2), "Ar": (160, 1.0, 1.3), "Pl": (150, 1.0, 0.8)},
    **{"Pr": (150, 1.0, 0.6), "Ll": (135, 0.8, 1.2), "Lr": (135, 0.8, 0.6)},
}
#: Mean and spread over patients of the level of clear crackles and wheezes over the background in their own band, dB.
CRACKLE_DB, WHEEZE_DB = (30, 3), (21, 3)
#: From breath to breath they are softer than that by an exponential variable of this mean: some are clear, some inaudible.
FADING_DB = 4
#: Share of a cycle that is inspiration.
INSPIRATION = 0.42
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

    The truth has one row per wheeze and crackle: recording (corrected name), kind, start_s, end_s, low_hz, high_hz. The
    same seed gives the same bytes. Raises UserError if `folder` holds something or there are too few patients.
    """
    folder = Path(folder)
    if n_patients < MIN_PATIENTS:
        raise UserError(
            f"n_patients={n_patients} is too few for a simulated ICBHI: with fewer than {MIN_PATIENTS} patients the fourth "
            f"fold cannot hold all four devices; give {MIN_PATIENTS} or more."
        )
    with simulated_folder(folder, __name__, VERSION, n_patients, seed) as (data, beside):
        (data / "audio_and_txt_files").mkdir()
        truth = _write(data, make_plan(n_patients, np.random.default_rng([seed, 0])), seed)
        truth.to_csv(beside / "events.csv", index=False, float_format="%.4f", lineterminator="\n")
    return folder


def _write(folder: Path, plan: Plan, seed: int) -> pd.DataFrame:
    """All files but the marker; returns the truth."""
    rng = np.random.default_rng([seed, 1])
    names = file_names(plan.recordings, rng)
    settings = _settings(plan.recordings, rng)
    # Levels run through their distribution device by device, so that small corpora are alike in difficulty.
    by_device = plan.patients.sort_values(["device", "rank"])
    levels = stats.norm.ppf((np.outer(np.arange(len(by_device)), (0.618, 0.755)) + rng.random(2)) % 1)
    chests = {
        p: _Chest.draw(rng, person["diagnosis"], person["age"], *level)
        for (p, person), level in zip(by_device.iterrows(), levels, strict=True)
    }
    cycles = dict(list(plan.cycles.groupby("recording")))

    def write_one(k: int, name: str) -> list[tuple]:
        recording, (rate, subtype, blank) = plan.recordings.loc[name], settings.loc[name]
        device, chest = DEVICES[recording["device"]], chests[recording["patient"]]
        signal, boxes = _record(np.random.default_rng([seed, 2, k]), recording, cycles[name], chest, device, blank)
        path = folder / "audio_and_txt_files" / f"{names[name]}.wav"
        try:
            soundfile.write(path, soxr.resample(signal, RATE, rate), rate, subtype=subtype)
        except soundfile.SoundFileError as error:  # libsndfile's own error, as for a full disk
            raise UserError(f"{path} could not be written ({error}); free some space, then run it again.") from error
        _text(path.with_suffix(".txt"), _annotation(cycles[name], boxes))
        return [(name, b.kind, b.start_s, b.end_s, b.low_hz, b.high_hz) for b in boxes]

    with ThreadPoolExecutor() as pool:
        truth = [
            row for rows in pool.map(write_one, *zip(*enumerate(plan.recordings.index), strict=True)) for row in rows
        ]
    _side_files(folder, plan, [names[n] for n in plan.recordings.index if names[n] != n], rng)
    columns = ["recording", "kind", "start_s", "end_s", "low_hz", "high_hz"]
    return pd.DataFrame(truth, columns=columns).sort_values(["recording", "start_s"], kind="stable")


@dataclass(frozen=True)
class _Chest:
    """How one patient sounds. `crackle_db`, `wheeze_db`: level over the background in the sound's own band."""

    beats: float
    heart_db: float
    fine_share: float
    crackle_db: float
    wheeze_db: float
    wheeze_hz: float
    restless: float

    @classmethod
    def draw(cls, rng, diagnosis: str, age_years: float, crackle: float, wheeze: float) -> "_Chest":
        return cls(
            beats=physics.beats_per_minute(age_years) * rng.lognormal(0, 0.08),
            heart_db=rng.normal(2, 4),
            # Coarse crackles lead in COPD and bronchiectasis, fine ones in pneumonia (textbook).
            fine_share=rng.beta(4, 2) if diagnosis == "Pneumonia" else rng.beta(2, 2),
            crackle_db=CRACKLE_DB[0] + CRACKLE_DB[1] * crackle,
            wheeze_db=WHEEZE_DB[0] + WHEEZE_DB[1] * wheeze,
            wheeze_hz=float(np.clip(rng.lognormal(np.log(380), 0.4), 160, 1200)),
            restless=rng.gamma(2.0, 0.09),
        )


def _record(rng, recording, cycles: pd.DataFrame, chest: _Chest, device: physics.Device, blank: bool):
    """One recording at RATE with peak level of its device, and its boxes."""
    n = round(cycles["length_s"].iloc[0] * RATE)
    corner_hz, breath, heart = SITES[recording["site"]]
    spans = list(zip(cycles["start_s"], cycles["end_s"], strict=True))
    flow = physics.air_flow(spans, n, RATE, INSPIRATION)
    for start_s, end_s in spans:
        flow[round(start_s * RATE) : round(end_s * RATE)] *= rng.uniform(0.6, 1.2)
    corner_hz *= rng.lognormal(0, 0.1)
    signal = breath * physics.vesicular(rng, flow, RATE, corner_hz, expiration=rng.uniform(0.2, 0.7))
    signal += heart * 10 ** (chest.heart_db / 20) * physics.heart_sounds(rng, n, RATE, chest.beats)

    def background(hz: float, width_hz: float) -> float:
        """Root mean square of breath and device noise in a band, referred to the chest."""
        own = device.noise_psd(hz, blank) / max(device.response(hz, blank), 1e-3) ** 2
        return float(np.sqrt((breath**2 * physics.vesicular_psd(hz, corner_hz) + own) * width_hz))

    boxes: list[physics.Box] = []
    for (start_s, end_s), label in zip(spans, cycles["label"], strict=True):
        if label & 1:
            boxes += _add_crackles(rng, signal, start_s, end_s, chest, background)
        if label & 2:
            boxes += _add_wheezes(rng, signal, start_s, end_s, chest, background, 0.7 * min(device.high_hz, 1300))
        _add_distractors(rng, signal, start_s, end_s, chest, background)
    signal = physics.through(rng, device, signal, RATE, blank)
    level = 10 ** (rng.uniform(*LEVELS_DB[recording["device"]]) / 20)
    return (0.95 * level / np.abs(signal).max() * signal).astype(np.float32), boxes


def _add_crackles(rng, signal, start_s, end_s, chest: _Chest, background) -> list[physics.Box]:
    length_s = end_s - start_s
    turn_s = start_s + INSPIRATION * length_s
    count = min(int(rng.integers(4, 15)), max(1, int(length_s / 0.05)))
    if rng.random() < chest.fine_share:
        span = start_s + 0.45 * (turn_s - start_s), turn_s
        (wave, boxes), loud = physics.fine_crackles(rng, *span, count, RATE), background(650, 400)
    else:
        span = start_s + 0.05 * length_s, start_s + rng.uniform(0.4, 0.9) * length_s
        (wave, boxes), loud = physics.coarse_crackles(rng, *span, count, RATE), background(320, 130)
    physics.mix(
        signal, 10 ** ((chest.crackle_db - rng.exponential(FADING_DB)) / 20) * loud * wave, boxes[0].start_s, RATE
    )
    return boxes


def _add_wheezes(rng, signal, start_s, end_s, chest: _Chest, background, top_hz: float) -> list[physics.Box]:
    length_s = end_s - start_s
    turn_s = start_s + INSPIRATION * length_s
    # Mostly in expiration, sometimes in inspiration, sometimes in both.
    phases = [[(turn_s, end_s)], [(start_s, turn_s)], [(start_s, turn_s), (turn_s, end_s)]][
        rng.choice(3, p=[0.6, 0.2, 0.2])
    ]
    phases = phases if all(b - a > 0.12 for a, b in phases) else [(start_s, end_s)]
    boxes = []
    for a, b in phases:
        lasts = max(0.08, min(rng.uniform(0.25, 0.8) * (b - a), 2.5))
        onset = rng.uniform(a, b - lasts)
        hz = float(np.clip(chest.wheeze_hz * rng.lognormal(0, 0.15), 110, top_hz))
        wave, box = physics.wheeze(rng, onset, onset + lasts, hz, RATE)
        loud = 10 ** ((chest.wheeze_db - rng.exponential(FADING_DB)) / 20) * background(hz, 16)
        physics.mix(signal, loud * wave, onset, RATE)
        boxes += box
    return boxes


def _add_distractors(rng, signal, start_s, end_s, chest: _Chest, background) -> None:
    """What a listener must not take for a wheeze or a crackle."""
    for _ in range(rng.poisson(chest.restless * (end_s - start_s))):
        wave = physics.distractor(rng, [0.45, 0.05, 0.4, 0.1], (0.7, 0.6), (18, 5), (12, 4), background, RATE)
        physics.mix(signal, wave, rng.uniform(start_s, end_s), RATE)


def _annotation(cycles: pd.DataFrame, boxes: list[physics.Box]) -> str:
    """start, end, crackle 0/1, wheeze 0/1: read off the truth, not off the plan."""
    lines = []
    for start_s, end_s in zip(cycles["start_s"], cycles["end_s"], strict=True):
        kinds = {b.kind.split("_")[0] for b in boxes if start_s <= b.start_s and b.end_s <= end_s}
        lines.append(f"{start_s:g}\t{end_s:g}\t{int('crackle' in kinds)}\t{int('wheeze' in kinds)}\n")
    return "".join(lines)


def _settings(recordings: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Sample rate, sample type and blank band of each recording, in the shares of its device."""
    frame = pd.DataFrame(index=recordings.index, columns=["rate", "subtype", "blank"], dtype=object)
    for device, formats in FORMATS.items():
        names = rng.permutation(recordings.index[recordings["device"] == device])
        edges = np.round(np.cumsum([0.0, *(share for *_, share in formats)]) * len(names)).astype(int)
        for (rate, subtype, _), a, b in zip(formats, edges, edges[1:], strict=False):
            frame.loc[names[a:b], ["rate", "subtype"]] = rate, subtype
        blank = rng.permutation(names)[: round(BLANK[device] * len(names))]
        frame.loc[names, "blank"] = np.isin(names, blank)
    return frame


def _side_files(folder: Path, plan: Plan, old_names: list[str], rng: np.random.Generator) -> None:
    people, split = plan.patients, plan.recordings["split"]
    _text(folder / "ICBHI_challenge_train_test.txt", "".join(f"{n}\t{s}\n" for n, s in split.items()))
    order = people.loc[rng.permutation(people.index)].sort_values("fold", kind="stable")
    _text(folder / "patient_list_foldwise.txt", "".join(f"{p} {k}\n" for p, k in order["fold"].items()))
    diagnoses = "".join(f"{p},{d}\n" for p, d in people["diagnosis"].items())
    _text(folder / "patient_diagnosis.csv", "ID,CLASS\n" + diagnoses)
    _text(folder / "filename_differences.txt", "".join(f"'{n}'\n" for n in old_names))
    _text(folder / "filename_format.txt", FORMAT_TEXT)
    lines = []
    for p, row in people.iterrows():
        age, bmi, weight, height = row["age"], rng.normal(27, 4), rng.normal(1, 0.1), rng.normal(1, 0.04)
        if p == people.index[-1]:
            lines.append(f"{p} NA NA NA NA NA")  # one real patient is unknown
        elif age >= 16:
            lines.append(f"{p} {age:g} {row['sex']} {bmi:.1f} NA NA")
        else:
            kilograms, centimetres = (3.5 + 7 * min(age, 1) + 3 * max(age - 1, 0)) * weight, (75 + 6.5 * age) * height
            lines.append(f"{p} {age:g} {row['sex']} NA {kilograms:.1f} {centimetres:.0f}")
    _text(folder / "demographic_info.txt", "\n".join(lines) + "\n")


def _text(path: Path, text: str) -> None:
    path.write_bytes(text.encode())  # the same line ends everywhere
