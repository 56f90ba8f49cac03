"""A simulated corpus for text-to-sound training: the 13 types of sound, with age and sex in their physics, and the truth.

    simulated/manifest.csv      path,sound,patient,sex,age_years,smoker,condition,start_s,end_s,position
    simulated/audio/*.wav       one clip each, 16 kHz, mono, 16 bit

Sounds of the mouth are recorded by a phone, sounds of the chest by a stethoscope, which passes little above 2 kHz. Every
sound has age and sex in it, so that a generated clip can be asked whether it is the person the prompt named. Healthy people
give the sounds that healthy people have; all others give every type, whatever they have, so that types do not tell
conditions (in a clinic they do).
"""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from lungnb.core import UserError
from lungnb.data.prompts import SOUNDS
from lungnb.simulate import chest, simulated_folder, voice
from lungnb.simulate.prompted_clips import (
    CONDITIONS,
    CROP_S,
    PHONES,
    SMOKING_JITTER,
    SMOKING_PITCH,
    STETHOSCOPES,
    Person,
    make_clip,
)
from lungnb.simulate.voice import RATE

#: The last of the SOUNDS, which nobody healthy has.
N_ADDED = 3
COLUMNS = ["path", "sound", "patient", "sex", "age_years", "smoker", "condition", "start_s", "end_s", "position"]
#: Share of people of whom age, smoking or condition is not written down; each by itself.
UNKNOWN = 0.1


def simulate_prompted(folder: Path, n_patients: int = 60, seed: int = 0, seconds: float = 1.28) -> Path:
    """Write `folder`/simulated (about 20 clips a patient, each `seconds` long) and `<folder>_truth/clips.jsonl`.

    An event starts at most 0.1 s into its clip, unless that is too short, and lasts CROP_S or more. Smoker is yes or no; age,
    smoker and condition are each empty for one patient in ten. The truth has one line of JSON a clip, in the order of the
    manifest: all fields of the person, none empty, `events` (kind, start_s, end_s, low_hz, high_hz) and what was drawn: pitch,
    formants, breaths a minute and so on. The same seed gives the same bytes. Raises UserError if `folder` holds something,
    or there are too few patients or seconds.
    """
    if not CROP_S <= seconds <= 60:
        raise UserError(
            f"seconds={seconds:g} is no length for simulated clips; give {CROP_S} (one training crop) to 60."
        )
    folder, otherwise = Path(folder), "a condition lacks a woman or a man"
    with simulated_folder(folder, __name__, n_patients, seed, 2 * len(CONDITIONS), otherwise) as (data, beside):
        people = make_people(n_patients, np.random.default_rng([seed, 0]))
        _write(data / "simulated", beside / "clips.jsonl", people, seconds, seed)
    return folder


def make_people(n: int, rng: np.random.Generator) -> list[Person]:
    """`n` people: conditions and sexes in equal parts, whatever `n`."""
    kinds = [(sex, condition) for condition in CONDITIONS for sex in ("female", "male")]
    order = rng.permutation(n)
    return [_person(rng, f"{k + 1:04d}", *kinds[order[k] % len(kinds)]) for k in range(n)]


def _person(rng: np.random.Generator, patient: str, sex: str, condition: str) -> Person:
    """Three in ten are children, of 3 to 17 years; COPD begins at 40, and eight in ten who have it smoke (else 35 %)."""
    copd, effects = condition == "COPD", CONDITIONS[condition]
    child = not copd and rng.random() < 0.3 * len(CONDITIONS) / (len(CONDITIONS) - 1)
    low, high = (3, 18) if child else (40 if copd else 18, 90)
    age = round(rng.uniform(low, high - 0.1), 1)
    smoker = bool(not child and rng.random() < (0.8 if copd else 0.35))
    young, old, deep = max(0.0, 1 - age / 18), max(0.0, (age - 50) / 40), age > 15 and sex == "male"
    # An old voice trembles and is breathy, a child's and a woman's are softer than a man's (textbook; sizes ours).
    rough = effects.hoarse * (SMOKING_JITTER if smoker else 1.0) * (1 + 1.5 * old) * rng.lognormal(0, 0.2)
    return Person(
        **{"patient": patient, "sex": sex, "age_years": age, "smoker": smoker, "condition": condition},
        unknown=frozenset(f for f in ("age_years", "smoker", "condition") if rng.random() < UNKNOWN),
        voice=voice.Voice(
            f0_hz=voice.pitch_hz(age, sex) * (SMOKING_PITCH if smoker else 1.0) * rng.lognormal(0, 0.07),
            tract_cm=voice.tract_cm(age, sex) * rng.lognormal(0, 0.025),
            jitter=0.006 * rough,
            shimmer=0.03 * rough,
            breathiness=0.04 * (1 if deep else 1.8) * (1 + 2 * old) * rng.lognormal(0, 0.3),
            soft_hz=(2500 if deep else 1500) * (1 - 0.4 * old) * rng.lognormal(0, 0.2),
        ),
        breaths_per_minute=chest.breaths_per_minute(age) * effects.hurry * rng.lognormal(0, 0.1),
        beats_per_minute=chest.beats_per_minute(age) * rng.lognormal(0, 0.08),
        # The smaller and thinner the chest, the brighter its breath (textbook).
        corner_hz=150 * (1 + 0.5 * young + 0.05 * (sex == "female")) * (1 + effects.harsh) * rng.lognormal(0, 0.07),
        wheeze_hz=float(np.clip(400 * (1 + 0.3 * young) * rng.lognormal(0, 0.35), 180, 900)),
        rhonchus_hz=rng.uniform(95, 165),
        phone=int(rng.integers(len(PHONES))),
        stethoscope=int(rng.integers(len(STETHOSCOPES))),
    )


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

    def write_one(k: int, who: Person, sound: str, take: int) -> tuple[dict, dict]:
        own = np.random.default_rng([seed, 2, k])
        lead_s = round(own.uniform(0, min(0.1, seconds - CROP_S)), 4)
        clip = make_clip(own, sound, who, seconds, lead_s)
        name = f"audio/{who.patient}_{sound.replace(' ', '-')}_{take + 1}.wav"
        signal = clip.signal * min(1, 0.95 / np.abs(clip.signal).max())
        # Not by soundfile, which waits for the disk after every file.
        wavfile.write(folder / name, RATE, np.round(signal * 2**15).astype(np.int16))
        person = {f: getattr(who, f) for f in ("patient", "sex", "age_years", "smoker", "condition")}
        stated = {**person, "smoker": "yes" if who.smoker else "no"} | dict.fromkeys(who.unknown, "")
        span = {"start_s": lead_s, "end_s": round(max(clip.end_s, lead_s + CROP_S), 4)}
        file = {"path": name, "sound": sound}
        events = [{k: _rounded(x) for k, x in box._asdict().items()} for box in sorted(clip.boxes)]
        drawn = {k: _rounded(x) for k, x in clip.drawn.items()} | {"events": events}
        row = {**file, **stated, **span, "position": clip.position}
        return row, {**file, **person, **span, "position": clip.position or None, **drawn}

    with (
        ThreadPoolExecutor() as pool,
        (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as manifest,
        truth.open("w", newline="", encoding="utf-8") as lines,
    ):
        writer = csv.DictWriter(manifest, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row, about in pool.map(write_one, range(len(todo)), *zip(*todo, strict=True)):
            writer.writerow(row)
            lines.write(json.dumps(about) + "\n")


def _rounded(x):
    return np.round(x, 4).tolist() if isinstance(x, float | np.ndarray) else x
