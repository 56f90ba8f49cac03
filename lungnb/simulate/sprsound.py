"""Write a simulated SPRSound (BioCAS 2022) in its official layout, and the truth of every sound beside it.

Layout and counts are those of docs/papers/convlstm.md, section 1. One kind of electronic stethoscope recorded all
children: 8 kHz, 16 bit, and next to nothing above 1 kHz.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from lungnb.core import UserError
from lungnb.simulate import physics
from lungnb.simulate.folder import simulated_folder
from lungnb.simulate.sprsound_plan import INSPIRATION, Plan, make_plan

#: Raised whenever the same seed gives other files.
VERSION = 1
#: Hz.
RATE = 8000
MIN_PATIENTS = 20

#: Outline of the real recordings' spectrum: flat to 200 Hz, 28 dB less at 600 Hz, 48 dB less at 800 Hz.
STETHOSCOPE = physics.Device(low_hz=50, high_hz=450, order=5, peak_hz=130, peak_db=3, noise_db=-50)
#: Corner of the breath sound (Hz), its level and that of the heart, by position: posterior and lateral, left and right.
SITES = {"p1": (205, 1.0, 0.9), "p2": (190, 0.9, 1.3), "p3": (205, 1.0, 0.6), "p4": (190, 0.9, 0.6)}
#: Level of the breath sound, dB of full scale, mean and spread over patients; recordings are not normalised.
LEVEL_DB = (-46, 4)
#: Mean and spread over patients of the level of clear sounds over the background in their own band, dB.
SOUND_DB = {"fine": (29, 3), "coarse": (26, 3), "wheeze": (20, 4), "rhonchus": (17, 3), "stridor": (38, 3)}
#: From breath to breath they are softer than that by an exponential variable of this mean: some are clear, some faint.
FADING_DB = 5
#: Flow of a breath with stridor, in quiet breaths: the real ones are 20 dB louder than normal events.
LABOURED = 4.0
#: Steady noise of the same colour as the breath (muscle, room), in units of the breath: lowest and highest.
MURMUR = (0.1, 0.4)
#: Share of recordings that begin with the knock of the stethoscope being placed (by eye, from real spectrograms).
PLACED = 0.7
#: Folders of recordings and annotations, by part.
FOLDERS = {
    "train": ("train2022_wav", "train2022_json"),
    "intra": ("test2022_wav", "test2022_json/intra_test_json"),
    "inter": ("test2022_wav", "test2022_json/inter_test_json"),
}
CONTINUOUS, DISCONTINUOUS = {"Rhonchi", "Wheeze", "Stridor"}, {"Coarse Crackle", "Fine Crackle"}

Background = Callable[[float, float], float]


def simulate_sprsound(folder: Path, n_patients: int = 40, seed: int = 0) -> Path:
    """Write `folder`/BioCAS2022 (about 6 recordings of 9 or 15 s a patient) and `<folder>_truth/events.csv`.

    The truth has one row per adventitious sound: recording, kind, start_s, end_s, low_hz, high_hz. The same seed gives
    the same bytes. Raises UserError if `folder` holds something or there are too few patients.
    """
    folder = Path(folder)
    if n_patients < MIN_PATIENTS:
        raise UserError(
            f"n_patients={n_patients} is too few for a simulated SPRSound: with fewer than {MIN_PATIENTS} patients the rare "
            f"classes have no patients of their own and the inter-subject test has too few; give {MIN_PATIENTS} or more."
        )
    with simulated_folder(folder, __name__, VERSION, n_patients, seed) as (data, beside):
        truth = _write(data / "BioCAS2022", make_plan(n_patients, np.random.default_rng([seed, 0])), seed)
        truth.to_csv(beside / "events.csv", index=False, float_format="%.4f", lineterminator="\n")
    return folder


def _write(folder: Path, plan: Plan, seed: int) -> pd.DataFrame:
    """All recordings and annotations; returns the truth."""
    for part in FOLDERS.values():
        for name in part:
            (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 1])
    chests = {p: _Chest.draw(rng, age) for p, age in plan.patients["age"].items()}
    breaths = dict(list(plan.breaths.groupby("recording")))

    def write_one(k: int, name: str) -> list[tuple]:
        recording = plan.recordings.loc[name]
        chest = chests[recording["patient"]]
        signal, boxes = _record(np.random.default_rng([seed, 2, k]), recording, breaths[name], chest)
        sounds, annotations = (folder / f for f in FOLDERS[recording["part"]])
        path = sounds / f"{name}.wav"
        try:
            soundfile.write(path, signal, RATE, subtype="PCM_16")
        except soundfile.SoundFileError as error:  # libsndfile's own error, as for a full disk
            raise UserError(f"{path} could not be written ({error}); free some space, then run it again.") from error
        annotation = _annotation(breaths[name], recording["poor"], recording["part"])
        _text(annotations / f"{name}.json", json.dumps(annotation, indent=2) + "\n")
        return [(name, b.kind, b.start_s, b.end_s, b.low_hz, b.high_hz) for b in boxes]

    with ThreadPoolExecutor() as pool:
        rows = [r for rs in pool.map(write_one, *zip(*enumerate(plan.recordings.index), strict=True)) for r in rs]
    columns = ["recording", "kind", "start_s", "end_s", "low_hz", "high_hz"]
    return pd.DataFrame(rows, columns=columns).sort_values(["recording", "start_s"], kind="stable")


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


@dataclass(frozen=True)
class _Chest:
    """How one patient sounds: levels in dB, the corner of the breath sound (times), pitch of wheeze and rhonchus."""

    beats: float
    heart_db: float
    level_db: float
    tilt: float
    sound_db: dict[str, float]
    wheeze_hz: float
    rhonchus_hz: float
    restless: float

    @classmethod
    def draw(cls, rng: np.random.Generator, age_years: float) -> "_Chest":
        return cls(
            beats=physics.beats_per_minute(age_years) * rng.lognormal(0, 0.08),
            heart_db=rng.normal(0, 4),
            level_db=float(rng.normal(*LEVEL_DB)),
            tilt=rng.lognormal(0, 0.12),
            sound_db={kind: float(rng.normal(*level)) for kind, level in SOUND_DB.items()},
            wheeze_hz=float(np.clip(rng.lognormal(np.log(330), 0.3), 180, 600)),
            rhonchus_hz=rng.uniform(95, 165),
            restless=rng.gamma(2.0, 0.12),
        )


def _record(rng, recording, breaths: pd.DataFrame, chest: _Chest) -> tuple[np.ndarray, list[physics.Box]]:
    """One recording at RATE, full scale 1, and its boxes."""
    n = round(recording["length_s"] * RATE)
    corner_hz, breath, heart = SITES[recording["position"]]
    corner_hz *= chest.tilt * rng.lognormal(0, 0.05)
    spans = list(zip(breaths["start_s"], breaths["end_s"], strict=True))
    # The breath before the first one, and the rest of the last one, are heard as well.
    spans = [(0.0, spans[0][0]), *spans] if spans[0][0] > 0.3 else spans
    flow = physics.air_flow(spans, round((spans[-1][1] + 1) * RATE), RATE, INSPIRATION)[:n]
    for start_s, end_s in spans:
        flow[round(start_s * RATE) : round(end_s * RATE)] *= rng.uniform(0.5, 1.3)
    for b in breaths[breaths["label"] == "Stridor"].itertuples():
        flow[round(b.start_s * RATE) : round(b.end_s * RATE)] *= LABOURED
    signal = breath * physics.vesicular(rng, flow, RATE, corner_hz, expiration=rng.uniform(0.2, 0.7))
    signal += rng.uniform(*MURMUR) * physics.noise(rng, n, lambda hz: physics.vesicular_psd(hz, corner_hz), RATE)
    signal += heart * 10 ** (chest.heart_db / 20) * physics.heart_sounds(rng, n, RATE, chest.beats)

    def background(hz: float, width_hz: float) -> float:
        """Root mean square of breath and device noise in a band, referred to the chest."""
        own = STETHOSCOPE.noise_psd(hz) / STETHOSCOPE.response(hz) ** 2
        return float(np.sqrt((breath**2 * physics.vesicular_psd(hz, corner_hz) + own) * width_hz))

    boxes: list[physics.Box] = []
    for b in breaths[breaths["label"].notna()].itertuples():
        for wave, found, level in _sounds(rng, b, chest, background):
            physics.mix(signal, level * wave, found[0].start_s, RATE)
            boxes += found
    _add_distractors(rng, signal, 8 * chest.restless if recording["poor"] else chest.restless, background)
    if rng.random() < PLACED:
        _knock(rng, signal, rng.uniform(0, 0.2), 3.3)
    if recording["poor"]:
        _spoil(rng, signal, background)
    signal = 10 ** (chest.level_db / 20) * physics.through(rng, STETHOSCOPE, signal, RATE)
    return (signal * min(1, 0.95 / np.abs(signal).max())).astype(np.float32), boxes


def _sounds(rng, breath, chest: _Chest, background: Background) -> list[tuple]:
    """(wave, boxes, level) of what the event of one breath holds, all of it inside the event."""
    first, last = breath.first_ms / 1000 + 0.01, breath.last_ms / 1000 - 0.01
    turn_s = breath.start_s + INSPIRATION * (breath.end_s - breath.start_s)
    late_s = breath.start_s + 0.45 * (turn_s - breath.start_s)
    fading = rng.exponential(FADING_DB)

    def level(kind: str, hz: float, width_hz: float) -> float:
        return 10 ** ((chest.sound_db[kind] - fading) / 20) * background(hz, width_hz)

    def fine():
        count = int(rng.integers(6, 19))
        return *physics.fine_crackles(rng, late_s, min(turn_s, last), count, RATE), level("fine", 650, 400)

    def coarse():
        end_s = min(last, turn_s) if breath.label == "Wheeze+Crackle" else last
        return *physics.coarse_crackles(rng, first, end_s, int(rng.integers(4, 12)), RATE), level("coarse", 320, 130)

    def wheeze(start_s: float):
        hz = float(np.clip(chest.wheeze_hz * rng.lognormal(0, 0.15), 150, 700))
        return *physics.wheeze(rng, start_s, last, hz, RATE), level("wheeze", hz, 16)

    match breath.label:
        case "Fine Crackle":
            return [fine()]
        case "Coarse Crackle":
            return [coarse()]
        case "Wheeze":
            return [wheeze(first)]
        case "Wheeze+Crackle":
            return [fine() if rng.random() < 0.6 else coarse(), wheeze(min(turn_s, last - 0.1))]
        case "Rhonchi":
            hz = float(np.clip(chest.rhonchus_hz * rng.lognormal(0, 0.1), 80, 190))
            return [(*physics.rhonchus(rng, first, last, hz, RATE), level("rhonchus", hz, 16))]
        case "Stridor":
            hz = rng.uniform(500, 650)
            return [(*physics.stridor(rng, first, last, hz, RATE), level("stridor", hz, 16))]
    return []


def _add_distractors(rng, signal: np.ndarray, per_second: float, background: Background) -> None:
    """What a listener must not take for an adventitious sound: knocks, cloth, squeaks too short for a wheeze."""
    length_s = len(signal) / RATE
    for start_s in rng.uniform(0, length_s - 0.3, rng.poisson(per_second * length_s)):
        wave = physics.distractor(rng, [0.5, 0.2, 0.3, 0], (1.4, 0.8), (20, 5), (12, 4), background, RATE)
        physics.mix(signal, wave, start_s, RATE)


def _knock(rng, signal: np.ndarray, start_s: float, loud: float) -> None:
    """A hard knock on the stethoscope, in place: a thump with the scrape of cloth; `loud` is the logarithm of its size."""
    size = rng.lognormal(loud, 0.6)
    physics.mix(signal, size * physics.thump(rng, RATE), start_s, RATE)
    physics.mix(signal, 0.5 * size * physics.friction(rng, RATE), start_s, RATE)


def _spoil(rng, signal: np.ndarray, background: Background) -> None:
    """Poor quality, in place: cloth over everything, hard knocks, and in every second recording a child that cries."""
    length_s = len(signal) / RATE
    for start_s in rng.uniform(0, length_s - 0.3, rng.poisson(3 * length_s)):
        physics.mix(
            signal, 10 ** (rng.normal(36, 6) / 20) * background(650, 400) * physics.friction(rng, RATE), start_s, RATE
        )
    for start_s in rng.uniform(0, length_s - 0.3, rng.poisson(0.5 * length_s)):
        _knock(rng, signal, start_s, 3.4)
    if rng.random() < 0.5:
        start_s = rng.uniform(0, 1)
        while start_s < length_s - 1.6:
            # A cry is a rich tone of 400 to 600 Hz, like a stridor, in breath after breath.
            lasts = rng.uniform(0.5, 1.5)
            cry, _ = physics.stridor(rng, 0, lasts, rng.uniform(500, 600), RATE)
            physics.mix(signal, rng.uniform(5, 20) * cry, start_s, RATE)
            start_s += lasts + rng.uniform(0.3, 1.0)


def _text(path: Path, text: str) -> None:
    path.write_bytes(text.encode())  # the same line ends everywhere
