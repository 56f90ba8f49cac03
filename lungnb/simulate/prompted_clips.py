"""The clips of the prompts, one function a family of sounds: what a phone hears at the mouth, a stethoscope over the chest.

MAKERS has one maker for each type of `lungnb.data.prompts.SOUNDS`: of a generator, the person, the length of the clip (s)
and where in it the event starts (s). What a condition does is in CONDITIONS, one number each.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.signal import fftconvolve

from lungnb.simulate import Box, Device, Sound, chest, mix, voice
from lungnb.simulate.voice import RATE

#: Seconds of the shortest crop that training takes: every event lasts that long at least, and is heard from its start on.
CROP_S = 0.64
#: Microphones; 0 dB of their noise is a voice at its usual loudness. The second is one of telephone band.
PHONES = [
    Device(low_hz=80, high_hz=7200, order=6, peak_hz=3000, peak_db=4, noise_db=-56),
    Device(low_hz=200, high_hz=3600, order=10, peak_hz=1500, peak_db=3, noise_db=-58),
    Device(low_hz=50, high_hz=6000, order=2, peak_hz=2000, peak_db=2, noise_db=-50),
]
#: Outlines of electronic stethoscopes; 0 dB is the breath of a healthy adult.
STETHOSCOPES = [
    Device(low_hz=35, high_hz=1300, order=2, peak_hz=250, peak_db=2, noise_db=-38),
    Device(low_hz=60, high_hz=900, order=3, peak_hz=600, peak_db=6, noise_db=-44),
    Device(low_hz=25, high_hz=1800, order=2, peak_hz=120, peak_db=3, noise_db=-34),
]
#: Level of a voice and of the breath over the chest in the file, dB of full scale: mean and spread.
VOICE_DBFS, CHEST_DBFS = (-20, 3), (-30, 4)
#: Against the voice, dB: peak of a cough and of a shallow one (mean), quiet breath and exhalation (mean); spread of all.
COUGH_DB, SHALLOW_DB, BREATH_DB, EXHALE_DB, SPREAD_DB = 16, 10, -27, -9, 3
#: Level over the background in their own band of what is heard over a chest, dB: mean and spread.
ADDED_DB = {"fine": (32, 2), "coarse": (31, 2), "wheeze": (29, 3), "rhonchus": (27, 3)}
#: Flow against a quiet breath: lowest and highest. Breathing deeply takes 1.6 times longer a breath.
QUIET, DEEP, SLOWER = (0.8, 1.2), (1.8, 2.5), 1.6
#: Places on the chest as ICBHI writes them: corner of the breath sound, times, and its level and that of the heart.
PLACES = {
    **{"Al": (1.05, 1.0, 1.6), "Ar": (1.05, 1.0, 0.9), "Pl": (1.0, 1.0, 0.5), "Pr": (1.0, 1.0, 0.4)},
    **{"Ll": (0.9, 0.8, 0.8), "Lr": (0.9, 0.8, 0.4)},
}


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
#: What smoking does (textbook findings; sizes ours): a lower and rougher voice (times), wetter coughs, faint crackles.
SMOKING_PITCH, SMOKING_JITTER, SMOKING_WET, SMOKING_CRACKLES_DB = 0.92, 2.0, 0.35, -12.0


@dataclass(frozen=True)
class Person:
    """Who it is, which fields the manifest leaves empty, and how they sound; `corner_hz` is that of the vesicular sound."""

    patient: str
    sex: str
    age_years: float
    smoker: bool
    condition: str
    unknown: frozenset[str]
    voice: voice.Voice
    breaths_per_minute: float
    beats_per_minute: float
    corner_hz: float
    wheeze_hz: float
    rhonchus_hz: float
    phone: int
    stethoscope: int

    @property
    def effects(self) -> Condition:
        return CONDITIONS[self.condition]

    @property
    def wet(self) -> float:
        """How much their coughs rattle, 0 to 1."""
        return min(1.0, self.effects.wet + SMOKING_WET * self.smoker)


class Clip(NamedTuple):
    """Signal (n,), boxes, end of the event (s), whatever else was drawn for it, and the place on the chest."""

    signal: np.ndarray
    boxes: list[Box]
    end_s: float
    drawn: dict
    position: str = ""


def make_clip(rng: np.random.Generator, sound: str, who: Person, seconds: float, lead_s: float) -> Clip:
    """A clip of `sound` (a key of SOUNDS) by `who`, `seconds` long, whose event starts at `lead_s`, as its device records it."""
    clip = MAKERS[sound](rng, who, seconds, lead_s)
    if clip.position:
        level_db, device, signal = CHEST_DBFS, STETHOSCOPES[who.stethoscope], clip.signal
    else:
        level_db, device, signal = VOICE_DBFS, PHONES[who.phone], _in_room(rng, clip.signal)
    return clip._replace(signal=10 ** (rng.normal(*level_db) / 20) * device.record(rng, signal, RATE))


def _in_room(rng: np.random.Generator, wave: np.ndarray) -> np.ndarray:
    """`wave` and its echo from the walls: noise that falls by 60 dB within 0.15 to 0.4 s, 12 to 20 dB softer in all."""
    t = np.arange(round(0.3 * RATE)) / RATE
    echo = rng.standard_normal(len(t)) * 10 ** (-3 * t / rng.uniform(0.15, 0.4)) * (t > 0.004)
    echo *= 10 ** (rng.uniform(-20, -12) / 20) / np.sqrt(np.sum(echo**2))
    echo[0] = 1.0
    return fftconvolve(wave, echo)[: len(wave)]


# ---- at the mouth, by phone: in units of the voice ---------------------------------------------------------------------


def _lay(signal: np.ndarray, boxes: list[Box], sound: Sound, level: float, start_s: float) -> None:
    """Add `sound`, whose boxes count from its own start, to the clip, with those of its boxes that begin within it."""
    mix(signal, level * sound.wave, start_s, RATE)
    end_s = len(signal) / RATE
    moved = [b._replace(start_s=b.start_s + start_s, end_s=min(b.end_s + start_s, end_s)) for b in sound.boxes]
    boxes += [b for b in moved if b.start_s < end_s]


def _wheeze(rng, lasts: float, hz: float) -> Sound:
    return chest.wheeze(rng, 0.0, lasts, hz, RATE)


def _coughing(rng, who: Person, seconds: float, lead_s: float, shallow: bool) -> Clip:
    """A bout of coughs, one every 0.32 s or more, two to four if the clip holds them; or a single shallow one."""
    signal, boxes, onset_s = np.zeros(round(seconds * RATE)), [], lead_s
    loud = 10 ** (rng.normal(SHALLOW_DB if shallow else COUGH_DB, SPREAD_DB) / 20)
    voiced = who.effects.voiced * rng.choice([0.0, 0.6, 1.2], p=[0.25, 0.4, 0.35])
    for _ in range(1 if shallow else rng.integers(2, 5)):
        sound = voice.cough(rng, who.voice, not shallow, who.wet * rng.uniform(0.6, 1), voiced)
        if onset_s > lead_s and onset_s + 0.25 > seconds:
            break
        _lay(signal, boxes, sound, loud * rng.uniform(0.75, 1), onset_s)
        onset_s = max(onset_s + rng.uniform(0.32, 0.45), boxes[-1].end_s + 0.02)
    end_s = boxes[-1].end_s
    if who.effects.wheezy and end_s + 0.12 < seconds:
        # The air that is left whistles through narrow airways.
        lasts = min(rng.uniform(0.15, 0.3), seconds - end_s)
        whistle = _wheeze(rng, lasts, who.wheeze_hz * rng.lognormal(0, 0.1))
        _lay(signal, boxes, whistle, 0.015 * loud * who.effects.wheezy, end_s)
        end_s += lasts
    drawn = {"f0_hz": who.voice.f0_hz, "tract_cm": who.voice.tract_cm, "wet": who.wet, "voiced": voiced}
    return Clip(signal, boxes, end_s, drawn)


def _mouth_breathing(rng, who: Person, seconds: float, lead_s: float, deep: bool) -> Clip:
    """Breath after breath from the start of a phase on, inspiration in two of three clips."""
    rate = who.breaths_per_minute * rng.lognormal(0, 0.05) / (SLOWER if deep else 1.0)
    spans, flow = _breathing(rng, who, seconds, lead_s, rate, DEEP if deep else QUIET, expiring=rng.random() < 1 / 3)
    loud = 10 ** (rng.normal(BREATH_DB, SPREAD_DB) / 20)
    signal = loud * voice.mouth_breath(rng, flow, who.voice.tract_cm)
    boxes = _phases(spans, signal)
    for _, turn_s, end_s in spans:
        first_s, last_s = max(turn_s + 0.05, 0), min(end_s - 0.1, seconds)
        if deep and who.effects.wheezy and last_s - first_s > 0.15:
            whistle = _wheeze(rng, last_s - first_s, who.wheeze_hz)
            _lay(signal, boxes, whistle, 0.6 * loud * who.effects.wheezy, first_s)
    return Clip(signal, boxes, seconds, {"breaths_per_minute": rate, "tract_cm": who.voice.tract_cm})


def _exhaling(rng, who: Person, seconds: float, lead_s: float) -> Clip:
    """ "Ha, ha, ha": forced breaths out until the clip ends, longer where airways are narrow, with a gasp between them."""
    signal, boxes, onset_s = np.zeros(round(seconds * RATE)), [], lead_s
    loud = 10 ** (rng.normal(EXHALE_DB, SPREAD_DB) / 20)
    usual_s = rng.uniform(0.3, 0.5) * chest.INSPIRATION / who.effects.inspiration
    while onset_s + 0.2 < seconds:
        lasts = min(usual_s * rng.uniform(0.9, 1.1), seconds - onset_s)
        _lay(signal, boxes, voice.exhale(rng, lasts, who.voice.tract_cm), loud * rng.uniform(0.8, 1), onset_s)
        if who.effects.wheezy:
            whistle = _wheeze(rng, lasts - 0.1, who.wheeze_hz)
            _lay(signal, boxes, whistle, 0.1 * loud * who.effects.wheezy, onset_s + 0.1)
        onset_s += lasts + rng.uniform(0.1, 0.2)
    drawn = {"tract_cm": who.voice.tract_cm, "formants_hz": voice.formants_hz("a", who.voice.tract_cm)}
    return Clip(signal, boxes, boxes[-1].end_s, drawn)


def _speaking(rng, who: Person, seconds: float, lead_s: float, letter: str = "") -> Clip:
    """A vowel held until the clip ends, or shortly before; without a letter, counting."""
    signal, boxes, own = np.zeros(round(seconds * RATE)), [], who.voice
    drawn = {"f0_hz": own.f0_hz, "tract_cm": own.tract_cm, "jitter": own.jitter}
    drawn["formants_hz"] = voice.formants_hz(letter or "neutral", own.tract_cm)
    lasts = seconds - lead_s
    if letter:
        lasts = min(lasts, max(CROP_S, lasts * rng.uniform(0.85, 1.0)))
        sound = voice.sustained_vowel(rng, letter, lasts, own)
    else:
        drawn["pace"] = rng.uniform(0.9, 1.5)
        sound = voice.counting(rng, lasts, own, drawn["pace"])
    _lay(signal, boxes, sound, 1.0, lead_s)
    return Clip(signal, boxes, lead_s + lasts, drawn)


# ---- over the chest, by stethoscope ------------------------------------------------------------------------------------


def _breathing(rng, who: Person, seconds: float, lead_s: float, per_minute: float, depth, expiring=False, skip=0.0):
    """(start, turn, end) of each breath (s) and the flow (n,), so that at `lead_s` a phase begins, `skip` of it being over."""
    share, pace_s = who.effects.inspiration * rng.uniform(0.95, 1.05), 60 / per_minute
    cycles = list(chest.breaths(rng, 0.0, pace_s, seconds + 4 * pace_s))
    # The second of them is moved to where it has to be.
    start_s, end_s = cycles[1]
    into = share + skip * (1 - share) if expiring else skip * share
    shift = lead_s - start_s - into * (end_s - start_s)
    cycles = [(s + shift, e + shift) for s, e in cycles]
    flow = chest.breathing(rng, cycles, round(seconds * RATE), RATE, share, depth)
    return [(s, s + share * (e - s), e) for s, e in cycles if e > 0 and s < seconds], flow


def _phases(spans: list[tuple[float, float, float]], signal: np.ndarray) -> list[Box]:
    """A box of each phase of the breaths that the clip holds 50 ms of."""
    phases = [phase for s, turn, e in spans for phase in ((s, turn, "inspiration"), (turn, e, "expiration"))]
    inside = [(max(s, 0.0), min(e, len(signal) / RATE), kind) for s, e, kind in phases]
    return voice.boxes_of(signal, [(s, e, kind) for s, e, kind in inside if e - s > 0.05])


def _over_chest(rng, who: Person, seconds: float, lead_s: float, added: str | None) -> Clip:
    """Breath and heart over the chest with the sounds of `added` in every breath, from the start of the phase they are in."""
    position = str(rng.choice(list(PLACES)))
    corner, breath, heart = PLACES[position]
    corner_hz, rate = who.corner_hz * corner * rng.lognormal(0, 0.05), who.breaths_per_minute * rng.lognormal(0, 0.05)
    expiring = added in ("wheeze", "rhonchus") or (added is None and rng.random() < 1 / 3)
    skip = 0.4 if added == "crackle" else 0.0
    spans, flow = _breathing(rng, who, seconds, lead_s, rate, QUIET, expiring, skip)
    device = STETHOSCOPES[who.stethoscope]
    scene = chest.Auscultation(rng, flow, RATE, corner_hz, breath, rng.uniform(0.35, 0.7), device)
    scene.murmur(rng.uniform(0.05, 0.15))
    scene.heart(heart * rng.uniform(0.5, 1.2), who.beats_per_minute)
    scene.boxes += _phases(spans, scene.signal)
    for span in spans:
        for kind, sound, softer_db in _added(rng, who, added, *span, seconds):
            scene.add(sound, rng.normal(*ADDED_DB[kind]) + softer_db)
    end_s = max((b.end_s for b in scene.boxes if added and b.kind.startswith(added)), default=seconds)
    drawn = {"breaths_per_minute": rate, "beats_per_minute": who.beats_per_minute, "corner_hz": corner_hz}
    return Clip(scene.signal, scene.boxes, end_s, drawn, position)


def _added(rng, who: Person, added: str | None, start_s, turn_s, stop_s, seconds: float) -> list[tuple]:
    """(kind, sound, dB against clear) of what one breath holds, all of it inside the clip."""
    drawn = (max(start_s + 0.4 * (turn_s - start_s), 0.0), min(turn_s, seconds - 0.02))
    out = (max(turn_s + rng.uniform(0, 0.06), 0.0), min(stop_s - rng.uniform(0.1, 0.3), seconds))
    holds_in, holds_out = drawn[1] - drawn[0] > 0.1, out[1] - out[0] > 0.1
    found = []
    if added == "crackle" and holds_in:
        # As dense in what the clip holds as in the whole of late inspiration.
        count = max(3, round(rng.integers(9, 20) * (drawn[1] - drawn[0]) / (0.6 * (turn_s - start_s))))
        fine = rng.random() < who.effects.fine
        source = chest.fine_crackles if fine else chest.coarse_crackles
        found.append(("fine" if fine else "coarse", source(rng, *drawn, count, RATE), 0.0))
    if added == "wheeze" and holds_out:
        for k in range(rng.integers(1, who.effects.airways + 1)):
            hz = float(np.clip(who.wheeze_hz * (1 + 0.45 * k) * rng.lognormal(0, 0.1), 150, 1200))
            found.append(("wheeze", _waxing(rng, chest.wheeze(rng, *out, hz, RATE), 4), 0.0))
    if added == "rhonchus" and holds_out:
        hz = float(np.clip(who.rhonchus_hz * rng.lognormal(0, 0.08), 80, 190))
        found.append(("rhonchus", _waxing(rng, chest.rhonchus(rng, *out, hz, RATE), 25), 0.0))
    if who.smoker and holds_in and rng.random() < 0.6:
        crackles = chest.coarse_crackles(rng, *drawn, int(rng.integers(1, 4)), RATE)
        found.append(("coarse", crackles, SMOKING_CRACKLES_DB))
    return found


def _waxing(rng, sound: Sound, hz: float) -> Sound:
    """`sound`, louder and softer by half at random, `hz` times a second: slow it wanders, fast it snores."""
    return sound._replace(wave=sound.wave * (0.5 + voice.flutter(rng, len(sound.wave), hz)))


MAKERS = {
    "cough": partial(_coughing, shallow=False),
    "shallow cough": partial(_coughing, shallow=True),
    "deep breathing": partial(_mouth_breathing, deep=True),
    "shallow breathing": partial(_mouth_breathing, deep=False),
    "exhalation": _exhaling,
    **{f"vowel {letter}": partial(_speaking, letter=letter) for letter in "aeo"},
    "speech": _speaking,
    "normal lung sound": partial(_over_chest, added=None),
    "wheeze": partial(_over_chest, added="wheeze"),
    "crackle": partial(_over_chest, added="crackle"),
    "rhonchi": partial(_over_chest, added="rhonchus"),
}
