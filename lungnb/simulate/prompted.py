"""A simulated corpus for text-to-sound training: the 13 types of sound, with age and sex in their physics, and the truth.

    simulated/manifest.csv      path,sound,patient,sex,age_years,smoker,condition,start_s,end_s,position
    simulated/audio/*.wav       one clip each, 16 kHz, mono, 16 bit

Sounds of the mouth are recorded by a phone, sounds of the chest by a stethoscope, which passes little above 2 kHz. Every
sound has age and sex in it, so that a generated clip can be asked whether it is the person the prompt named. Healthy people
give the sounds that healthy people have; all others give every type, whatever they have, so that types do not tell
conditions (in a clinic they do).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lungnb.core import UserError
from lungnb.data.prompts import SOUNDS
from lungnb.simulate import Box, Device, Sound, chest, mix, moved, side_by_side, simulated_folder, voice, write_sound
from lungnb.simulate.auscultation import Auscultation, Chest
from lungnb.simulate.icbhi_plan import GROUPS, SITES
from lungnb.simulate.voice import RATE

#: Seconds of the shortest crop that training takes: every event lasts that long at least, and is heard from its start on.
CROP_S = 0.64
#: Share of people of whom age, smoking or condition is not written down; each by itself.
UNKNOWN = 0.1
#: Microphones; 0 dB of their noise is a voice at its usual loudness. The second is one of telephone band.
PHONES = [
    Device(low_hz=80, high_hz=7200, order=6, peak_hz=3000, peak_db=4, noise_db=-56),
    Device(low_hz=200, high_hz=3600, order=10, peak_hz=1500, peak_db=3, noise_db=-58),
    Device(low_hz=50, high_hz=6000, order=2, peak_hz=2000, peak_db=2, noise_db=-50),
]
#: Those of the simulated ICBHI; 0 dB is the breath of a healthy adult.
STETHOSCOPES = [GROUPS[name].device for name in ("Litt3200", "LittC2SE", "Meditron")]
#: Level of a voice and of the breath over the chest in the file, dB of full scale: mean and spread.
VOICE_DBFS, CHEST_DBFS = (-20, 3), (-30, 4)
#: Against the voice, dB: peak of a cough and of a shallow one, quiet breath and exhalation.
COUGH_DB, SHALLOW_DB, BREATH_DB, EXHALE_DB = 16, 10, -27, -9
#: Level over the background in their own band of what is heard over a chest, dB: mean and spread over patients.
SOUND_DB = {"crackle_fine": (32, 2), "crackle_coarse": (31, 2), "wheeze": (29, 3), "rhonchus": (27, 3)}
#: Flow against a quiet breath: lowest and highest. Breathing deeply takes 1.6 times longer a breath.
QUIET, DEEP, SLOWER = (0.8, 1.2), (1.8, 2.5), 1.6
#: What is heard over the chest, and what the sounds that make it are called. The last three nobody healthy has.
OVER_CHEST = {"normal lung sound": "", "wheeze": "wheeze", "crackle": "crackle", "rhonchi": "rhonchus"}
ADDED = [sound for sound, kind in OVER_CHEST.items() if kind]


class Condition(NamedTuple):
    """What a condition does to the sounds (textbook findings; the sizes are ours)."""

    hurry: float = 1.0  # breaths a minute, times
    inspiration: float = chest.INSPIRATION  # share of a breath; expiration is prolonged where airways are narrow
    wet: float = 0.1  # how much coughs rattle
    wheezy: float = 0.0  # level of a wheeze in coughs and breath at the mouth
    fine: float = 0.5  # chance that crackles are fine ones, not coarse
    airways: int = 1  # how many wheeze at once, at most
    harsh: float = 0.0  # share by which the corner of the breath sound rises over a lung that conducts well
    hoarse: float = 1.0  # jitter, times
    voiced: float = 1.0  # level of the voice at the end of a cough, times


CONDITIONS = {
    "healthy": Condition(),
    "asthma": Condition(hurry=1.1, inspiration=0.35, wheezy=1.0, fine=0.4, airways=3),
    "COPD": Condition(hurry=1.15, inspiration=0.33, wet=0.6, wheezy=0.4, fine=0.1, airways=2, hoarse=1.2),
    "pneumonia": Condition(hurry=1.25, wet=0.8, fine=0.35, harsh=0.35),
    "COVID-19": Condition(hurry=1.2, wet=0.0, fine=0.9, harsh=0.15, hoarse=1.5, voiced=0.5),
}
#: What smoking does beside the voice (textbook findings; sizes ours): wetter coughs, faint crackles.
SMOKING_WET, SMOKING_CRACKLES_DB = 0.35, -12.0


class Person(NamedTuple):
    """Who it is, which fields the manifest leaves empty, and how they sound. `brightness`: corner of the breath over
    the chest, times that of an adult; `wet`: how much coughs rattle, 0 to 1."""

    patient: str
    sex: str
    age_years: float
    smoker: bool
    condition: str
    unknown: list[str]
    voice: voice.Voice
    chest: Chest
    breaths_per_minute: float
    brightness: float
    wet: float
    phone: Device
    stethoscope: Device


def simulate_prompted(folder: Path, n_patients: int = 60, seed: int = 0, seconds: float = 1.28) -> Path:
    """Write `folder`/simulated (about 20 clips a patient, each `seconds` long) and `<folder>_truth/clips.jsonl`.

    An event starts at most 0.1 s into its clip and lasts CROP_S or more. Age, smoker and condition are each empty for one
    patient in ten. The truth has one line of JSON a clip, in the order of the manifest: all fields of the person, `events`
    (kind, start_s, end_s, low_hz, high_hz) and what was drawn: pitch, formants, breaths a minute and so on. The same seed
    gives the same bytes. Raises UserError if `folder` holds something, or there are too few patients or seconds.
    """
    if not CROP_S <= seconds <= 60:
        raise UserError(f"seconds={seconds:g} is no length for simulated clips; give {CROP_S} (one crop) to 60.")
    folder, least, otherwise = Path(folder), 2 * len(CONDITIONS), "a condition lacks a woman or a man"
    with simulated_folder(folder, __name__, n_patients, seed, least, otherwise) as (data, beside):
        (data / "simulated" / "audio").mkdir(parents=True)
        people = make_people(n_patients, np.random.default_rng([seed, 0]))
        manifest, truth = _write(data / "simulated", people, seconds, seed)
        manifest.to_csv(data / "simulated" / "manifest.csv", index=False, lineterminator="\n")
        truth.to_json(beside / "clips.jsonl", orient="records", lines=True, double_precision=4)
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
    young = max(0.0, 1 - age / 18)
    return Person(
        **{"patient": patient, "sex": sex, "age_years": age, "smoker": smoker, "condition": condition},
        unknown=[field for field in ("age_years", "smoker", "condition") if rng.random() < UNKNOWN],
        voice=voice.voice_of(rng, age, sex, smoker, effects.hoarse),
        chest=Chest(
            beats=chest.beats_per_minute(age) * rng.lognormal(0, 0.08),
            heart_db=rng.normal(-2, 3),
            sound_db={kind: rng.normal(*level) for kind, level in SOUND_DB.items()},
            fine_share=effects.fine,
            wheeze_hz=float(np.clip(400 * (1 + 0.3 * young) * rng.lognormal(0, 0.35), 180, 900)),
            rhonchus_hz=rng.uniform(95, 165),
        ),
        breaths_per_minute=chest.breaths_per_minute(age) * effects.hurry * rng.lognormal(0, 0.1),
        # The smaller and thinner the chest, the brighter its breath (textbook).
        brightness=(1 + 0.5 * young + 0.05 * (sex == "female")) * (1 + effects.harsh) * rng.lognormal(0, 0.07),
        wet=min(1.0, effects.wet + SMOKING_WET * smoker),
        phone=PHONES[rng.integers(len(PHONES))],
        stethoscope=STETHOSCOPES[rng.integers(len(STETHOSCOPES))],
    )


def _write(folder: Path, people: list[Person], seconds: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write all clips. Returns the manifest and the truth, in one order."""
    rng = np.random.default_rng([seed, 1])
    # Where the healthy do not give a type, the others give it twice: the types come out about equal in number.
    takes = [
        (who, sound, take)
        for who in people
        for sound in SOUNDS
        if not (who.condition == "healthy" and sound in ADDED)
        for take in range(2 if sound in ADDED else 1 + int(rng.random() < 0.6))
    ]

    def write_one(own: np.random.Generator, who: Person, sound: str, take: int) -> tuple[dict, dict]:
        lead_s = round(own.uniform(0, min(0.1, seconds - CROP_S)), 4)
        clip = make_clip(own, sound, who, seconds, lead_s)
        name = f"audio/{who.patient}_{sound.replace(' ', '-')}_{take + 1}.wav"
        write_sound(folder / name, clip.signal * min(1, 0.95 / np.abs(clip.signal).max()), RATE)
        own_end_s = max((b.end_s for b in clip.boxes if b.kind.startswith(OVER_CHEST.get(sound, ""))), default=seconds)
        end_s = round(max(own_end_s, lead_s + CROP_S), 4)
        about = {"path": name, "sound": sound, **dict(zip(Person._fields[:5], who[:5], strict=True))}
        about |= {"start_s": lead_s, "end_s": end_s, "position": clip.position}
        stated = about | {"smoker": "yes" if who.smoker else "no"} | dict.fromkeys(who.unknown, "")
        return stated, {**about, **clip.drawn, "events": [box._asdict() for box in sorted(clip.boxes)]}

    manifest, truth = zip(*side_by_side(write_one, seed, *zip(*takes, strict=True)), strict=True)
    return pd.DataFrame(manifest), pd.DataFrame(truth)


class Clip(NamedTuple):
    """Signal (n,), boxes, whatever else was drawn, and the place on the chest, if any."""

    signal: np.ndarray
    boxes: list[Box]
    drawn: dict
    position: str = ""


def make_clip(rng: np.random.Generator, sound: str, who: Person, seconds: float, lead_s: float) -> Clip:
    """A clip of `sound` (a key of SOUNDS) by `who`, `seconds` long, whose event starts at `lead_s`, as its device records it."""
    if sound in OVER_CHEST:
        clip, level_db, device = _over_chest(rng, OVER_CHEST[sound], who, seconds, lead_s), CHEST_DBFS, who.stethoscope
    else:
        make = _breathing if sound.endswith("breathing") else _voice
        clip, level_db, device = make(rng, sound, who, seconds, lead_s), VOICE_DBFS, who.phone
        clip = clip._replace(signal=voice.in_room(rng, clip.signal))
    return clip._replace(signal=10 ** (rng.normal(*level_db) / 20) * device.record(rng, clip.signal, RATE))


def _voice(rng, sound: str, who: Person, seconds: float, lead_s: float) -> Clip:
    """Coughs, exhalations, a vowel or counting, until the clip ends or shortly before."""
    own, effects, lasts = who.voice, CONDITIONS[who.condition], seconds - lead_s
    drawn = {"f0_hz": own.f0_hz, "tract_cm": own.tract_cm, "jitter": own.jitter}
    level_db, whistle, narrow = 0.0, 0.0, []
    if "cough" in sound:
        heavy = sound == "cough"
        drawn |= {"wet": who.wet, "voiced": effects.voiced * rng.choice([0.0, 0.6, 1.2], p=[0.25, 0.4, 0.35])}
        made = voice.coughs(rng, lasts, own, heavy, who.wet * rng.uniform(0.6, 1), drawn["voiced"])
        # The air that is left whistles.
        end_s = made.boxes[-1].end_s
        level_db, whistle, narrow = COUGH_DB if heavy else SHALLOW_DB, 0.015, [(end_s, min(end_s + 0.2, lasts))]
    elif sound == "exhalation":
        made = voice.exhalations(rng, lasts, own.tract_cm, chest.INSPIRATION / effects.inspiration)
        level_db, whistle, narrow = EXHALE_DB, 0.1, [(b.start_s + 0.1, b.end_s) for b in made.boxes]
    elif sound == "speech":
        drawn["pace"] = rng.uniform(0.9, 1.5)
        made = voice.counting(rng, lasts, own, drawn["pace"])
    else:
        made = voice.vowel(rng, sound[-1], min(lasts, max(CROP_S, lasts * rng.uniform(0.85, 1.0))), own)
        drawn["formants_hz"] = voice.formants_hz(sound[-1], own.tract_cm)
    whistles = _whistles(rng, who, narrow, whistle)
    signal, level = np.zeros(round(seconds * RATE)), 10 ** (level_db / 20)
    for each in (made, *whistles):
        mix(signal, level * each.wave, lead_s + each.boxes[0].start_s, RATE)
    return Clip(signal, moved([b for each in (made, *whistles) for b in each.boxes], lead_s, seconds), drawn)


def _whistles(rng, who: Person, spans: list[tuple[float, float]], level: float) -> list[Sound]:
    """What is heard of narrow airways at the mouth: a wheeze in each of `spans`, of `level` if they are as in asthma."""
    wheezy = CONDITIONS[who.condition].wheezy
    made = [chest.musical(rng, "wheeze", s, e, who.chest.wheeze_hz, RATE) for s, e in spans if wheezy and e - s > 0.1]
    return [whistle._replace(wave=level * wheezy * whistle.wave) for whistle in made]


def _breathing(rng, sound: str, who: Person, seconds: float, lead_s: float) -> Clip:
    """Breath after breath at the mouth from the start of a phase on, inspiration in two of three clips."""
    deep = sound.startswith("deep")
    rate = who.breaths_per_minute * rng.lognormal(0, 0.05) / (SLOWER if deep else 1.0)
    share = CONDITIONS[who.condition].inspiration * rng.uniform(0.95, 1.05)
    into, depth = rng.choice([0.0, share], p=[2 / 3, 1 / 3]), DEEP if deep else QUIET
    spans, flow = chest.breathing(rng, lead_s, into, 60 / rate, round(seconds * RATE), RATE, share, depth)
    signal = voice.mouth_breath(rng, flow, who.voice.tract_cm)
    boxes = _phases(spans, signal)
    out = [(max(turn_s + 0.05, 0), min(end_s - 0.1, seconds)) for _, turn_s, end_s in spans]
    for whistle in _whistles(rng, who, out if deep else [], 0.6):
        mix(signal, whistle.wave, whistle.boxes[0].start_s, RATE)
        boxes += whistle.boxes
    drawn = {"breaths_per_minute": rate, "tract_cm": who.voice.tract_cm}
    return Clip(10 ** (BREATH_DB / 20) * signal, boxes, drawn)


def _phases(spans: list[tuple[float, float, float]], signal: np.ndarray) -> list[Box]:
    """A box of each phase of the breaths that the clip holds 50 ms of."""
    phases = [phase for s, turn, e in spans for phase in ((s, turn, "inspiration"), (turn, e, "expiration"))]
    inside = [(max(s, 0.0), min(e, len(signal) / RATE), kind) for s, e, kind in phases]
    return voice.boxes_of(signal, [(s, e, kind) for s, e, kind in inside if e - s > 0.05])


def _over_chest(rng, added: str, who: Person, seconds: float, lead_s: float) -> Clip:
    """Breath and heart over the chest with the sounds of `added` in every breath, from the start of the phase they are in."""
    position, rate = str(rng.choice([*SITES][1:])), who.breaths_per_minute * rng.lognormal(0, 0.05)  # not the trachea
    site = SITES[position]
    site = site._replace(corner_hz=site.corner_hz * who.brightness * rng.lognormal(0, 0.05))
    share = CONDITIONS[who.condition].inspiration * rng.uniform(0.95, 1.05)
    # The phase in which they are heard: late inspiration, expiration, or either.
    into = {"": rng.choice([0.0, share], p=[2 / 3, 1 / 3]), "crackle": 0.4 * share}.get(added, share)
    spans, flow = chest.breathing(rng, lead_s, into, 60 / rate, round(seconds * RATE), RATE, share, QUIET)
    scene = Auscultation(rng, flow, RATE, site, rng.uniform(0.35, 0.7), who.stethoscope)
    scene.murmur(rng.uniform(0.05, 0.15), site.corner_hz)
    scene.heart(who.chest)
    scene.boxes += _phases(spans, scene.signal)
    for span in spans:
        for sound, softer_db in _added(rng, who, added, *span, seconds):
            scene.add(sound, who.chest.sound_db[sound.boxes[0].kind] + softer_db)
    drawn = {"breaths_per_minute": rate, "beats_per_minute": who.chest.beats, "corner_hz": site.corner_hz}
    return Clip(scene.signal, scene.boxes, drawn, position)


def _added(rng, who: Person, added: str, start_s, turn_s, stop_s, seconds: float) -> list[tuple[Sound, float]]:
    """Sounds, and dB against clear, of what one breath holds, all of it inside the clip."""
    effects, own, found = CONDITIONS[who.condition], who.chest, []
    drawn = (max(start_s + 0.4 * (turn_s - start_s), 0.0), min(turn_s, seconds - 0.02))
    out = (max(turn_s + rng.uniform(0, 0.06), 0.0), min(stop_s - rng.uniform(0.1, 0.3), seconds))
    holds_in, holds_out = drawn[1] - drawn[0] > 0.1, out[1] - out[0] > 0.1
    if added == "crackle" and holds_in:
        # As dense in what the clip holds as in the whole of late inspiration.
        count = max(3, round(rng.integers(9, 20) * (drawn[1] - drawn[0]) / (0.6 * (turn_s - start_s))))
        kind = "crackle_fine" if rng.random() < own.fine_share else "crackle_coarse"
        found.append((chest.crackles(rng, kind, *drawn, count, RATE), 0.0))
    if added in ("wheeze", "rhonchus") and holds_out:
        wheezing = added == "wheeze"
        for k in range(rng.integers(1, effects.airways + 1) if wheezing else 1):
            usual_hz, *ends = (own.wheeze_hz * (1 + 0.45 * k), 150, 1200) if wheezing else (own.rhonchus_hz, 80, 190)
            hz = float(np.clip(usual_hz * rng.lognormal(0, 0.1), *ends))
            sound = chest.musical(rng, added, *out, hz, RATE)
            # Louder and softer at random: slow it wanders, fast it snores.
            waxing = 1 + 0.3 * voice.wander(rng, len(sound.wave), 8 if wheezing else 50)
            found.append((sound._replace(wave=sound.wave * np.clip(waxing, 0.2, None)), 0.0))
    if who.smoker and holds_in and rng.random() < 0.6:
        crackles = chest.crackles(rng, "crackle_coarse", *drawn, int(rng.integers(1, 4)), RATE)
        found.append((crackles, SMOKING_CRACKLES_DB))
    return found
