"""Write a simulated corpus for text-to-sound training: the 13 types of sound, with age and sex in their physics, and the truth.

    simulated/manifest.csv      path,sound,patient,sex,age_years,smoker,condition,start_s,end_s,position
    simulated/audio/*.wav       one clip each, 16 kHz, mono, 16 bit

Sounds of the mouth are heard by a phone, sounds of the chest by a stethoscope, which passes little above 2 kHz. Healthy people
give the sounds that healthy people have; all others give every type, whatever they have, so that types do not tell
conditions (in a clinic they do). How age, sex, smoking and condition are heard stands in `voice` and `prompted_plan`.
"""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from lungnb.core import UserError
from lungnb.data.prompts import SOUNDS
from lungnb.simulate.folder import simulated_folder
from lungnb.simulate.prompted_clips import CROP_S, MAKERS, PHONES, STETHOSCOPES
from lungnb.simulate.prompted_plan import Person, make_people
from lungnb.simulate.voice import RATE

#: The last of the SOUNDS, which nobody healthy has.
N_ADDED = 3
#: Raised whenever the same seed gives other files.
VERSION = 2
#: Two of each condition, a woman and a man.
MIN_PATIENTS = 10
COLUMNS = ["path", "sound", "patient", "sex", "age_years", "smoker", "condition", "start_s", "end_s", "position"]


def simulate_prompted(folder: Path, n_patients: int = 60, seed: int = 0, seconds: float = 1.28) -> Path:
    """Write `folder`/simulated (about 20 clips a patient, each `seconds` long) and `<folder>_truth/clips.jsonl`.

    An event starts at most 0.1 s into its clip, unless that is too short, and lasts CROP_S or more. Smoker is yes or no; age,
    smoker and condition are each empty for one patient in ten. The truth has one line of JSON a clip, in the order of the
    manifest: all fields of the person, none empty, `events` (kind, start_s, end_s, low_hz, high_hz) and what was drawn: pitch,
    formants, breaths a minute and so on. The same seed gives the same bytes. Raises UserError if `folder` holds something,
    or there are too few patients or seconds.
    """
    folder = Path(folder)
    if n_patients < MIN_PATIENTS:
        raise UserError(
            f"n_patients={n_patients} is too few for simulated prompts: with fewer than {MIN_PATIENTS} patients a condition "
            f"lacks a woman or a man; give {MIN_PATIENTS} or more."
        )
    if not CROP_S <= seconds <= 60:
        raise UserError(
            f"seconds={seconds:g} is no length for simulated clips; give {CROP_S} (one training crop) to 60."
        )
    with simulated_folder(folder, __name__, VERSION, n_patients, seed) as (data, beside):
        people = make_people(n_patients, len(PHONES), len(STETHOSCOPES), np.random.default_rng([seed, 0]))
        _write(data / "simulated", beside / "clips.jsonl", people, seconds, seed)
    return folder


def _write(folder: Path, truth: Path, people: list[Person], seconds: float, seed: int) -> None:
    """All clips, the manifest and the truth, in one order: memory does not grow with the number of clips."""
    (folder / "audio").mkdir(parents=True)
    rng = np.random.default_rng([seed, 1])
    # Where some do not give a type, the others give it twice: the types come out about equal in number.
    ill = list(SOUNDS)[-N_ADDED:]
    todo = [
        (who, sound, take)
        for who in people
        for sound in SOUNDS
        if not (who.condition == "healthy" and sound in ill)
        for take in range(2 if sound in ill else 1 + int(rng.random() < 0.6))
    ]

    def write_one(k: int, who: Person, sound: str, take: int) -> tuple[list, dict]:
        return _write_clip(np.random.default_rng([seed, 2, k]), folder, who, sound, take, seconds)

    jobs = zip(*((k, *job) for k, job in enumerate(todo)), strict=True)
    with (
        ThreadPoolExecutor() as pool,
        (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as manifest,
        truth.open("w", newline="", encoding="utf-8") as lines,
    ):
        writer = csv.writer(manifest, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row, about in pool.map(write_one, *jobs):
            writer.writerow(row)
            lines.write(json.dumps(about) + "\n")


def _write_clip(rng, folder: Path, who: Person, sound: str, take: int, seconds: float) -> tuple[list, dict]:
    """One clip; returns its line of the manifest and of the truth."""
    lead_s = round(rng.uniform(0, min(0.1, seconds - CROP_S)), 4)
    signal, boxes, end_s, position, about = MAKERS[sound](rng, who, seconds, lead_s)
    name = f"audio/{who.patient}_{sound.replace(' ', '-')}_{take + 1}.wav"
    signal *= min(1, 0.95 / np.abs(signal).max())
    # Not by soundfile, which waits for the disk after every file.
    wavfile.write(folder / name, RATE, np.round(signal * 2**15).astype(np.int16))
    span = {"start_s": lead_s, "end_s": round(max(end_s, lead_s + CROP_S), 4)}
    person = {f: getattr(who, f) for f in ("patient", "sex", "age_years", "smoker", "condition")}
    said = {**person, "smoker": "yes" if who.smoker else "no"} | dict.fromkeys(who.unknown, "")
    row = {"path": name, "sound": sound, **said, **span, "position": position}
    events = [{k: round(x, 4) if isinstance(x, float) else x for k, x in b._asdict().items()} for b in sorted(boxes)]
    return [row[c] for c in COLUMNS], {
        **{"path": name, "sound": sound, **person, **span, "position": position or None},
        **{k: np.round(x, 4).tolist() if isinstance(x, float | np.ndarray) else x for k, x in about.items()},
        "events": events,
    }
