"""The clips of the prompts, one function a family of sounds: what a phone hears at the mouth, a stethoscope over the chest.

Every maker takes a generator, the person, the length of the clip (s) and where in it the event starts (s); what conditions
and smoking do is in `prompted_plan`. MAKERS has one for each type of `lungnb.data.prompts.SOUNDS`.
"""

from functools import partial
from itertools import pairwise

import numpy as np
from scipy.signal import fftconvolve

from lungnb.simulate import physics, voice
from lungnb.simulate.physics import Box, Device, mix
from lungnb.simulate.prompted_plan import SMOKING, Person
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
#: Flow against a quiet breath: lowest and highest.
QUIET, DEEP = (0.8, 1.2), (1.8, 2.5)
#: Breathing deeply takes this much longer a breath.
SLOWER = 1.6
#: Places on the chest as ICBHI writes them: corner of the breath sound, times, and its level and that of the heart.
PLACES = {
    **{"Al": (1.05, 1.0, 1.6), "Ar": (1.05, 1.0, 0.9), "Pl": (1.0, 1.0, 0.5), "Pr": (1.0, 1.0, 0.4)},
    **{"Ll": (0.9, 0.8, 0.8), "Lr": (0.9, 0.8, 0.4)},
}

#: Signal, boxes, end of the event (s), position, and whatever else is true of the clip.
Clip = tuple[np.ndarray, list[Box], float, str, dict]


# ---- at the mouth, by phone -------------------------------------------------------------------------------------------


def _by_phone(rng, who: Person, wave: np.ndarray) -> np.ndarray:
    """`wave`, in units of the voice, as a phone in a room hears it."""
    level = 10 ** (rng.normal(*VOICE_DBFS) / 20)
    return level * physics.through(rng, PHONES[who.phone], _in_room(rng, wave), RATE)


def _in_room(rng: np.random.Generator, wave: np.ndarray) -> np.ndarray:
    """`wave` and its echo from the walls: noise that falls by 60 dB within 0.15 to 0.4 s, 12 to 20 dB softer in all."""
    t = np.arange(round(0.3 * RATE)) / RATE
    echo = rng.standard_normal(len(t)) * 10 ** (-3 * t / rng.uniform(0.15, 0.4)) * (t > 0.004)
    echo *= 10 ** (rng.uniform(-20, -12) / 20) / np.sqrt(np.sum(echo**2))
    echo[0] = 1.0
    return fftconvolve(wave, echo)[: len(wave)]


def _shifted(boxes: list[Box], by_s: float, end_s: float) -> list[Box]:
    """`boxes` so much later, those that start before `end_s`."""
    moved = [b._replace(start_s=b.start_s + by_s, end_s=min(b.end_s + by_s, end_s)) for b in boxes]
    return [b for b in moved if b.start_s < end_s]


def _coughing(rng, who: Person, seconds: float, lead_s: float, shallow: bool) -> Clip:
    """A bout of coughs, one every 0.32 s or more, two to four if the clip holds them; or a single shallow one."""
    signal, boxes, onset_s = np.zeros(round(seconds * RATE)), [], lead_s
    loud = 10 ** (rng.normal(SHALLOW_DB if shallow else COUGH_DB, SPREAD_DB) / 20)
    voiced = who.effects.voiced * rng.choice([0.0, 0.6, 1.2], p=[0.25, 0.4, 0.35])
    for _ in range(1 if shallow else rng.integers(2, 5)):
        wave, phases = voice.cough(rng, who.voice, not shallow, who.wet * rng.uniform(0.6, 1), voiced)
        if onset_s > lead_s and onset_s + 0.25 > seconds:
            break
        mix(signal, loud * rng.uniform(0.75, 1) * wave, onset_s, RATE)
        boxes += _shifted(phases, onset_s, seconds)
        onset_s = max(onset_s + rng.uniform(0.32, 0.45), boxes[-1].end_s + 0.02)
    end_s = boxes[-1].end_s
    if who.effects.wheezy and end_s + 0.12 < seconds:
        # The air that is left whistles through narrow airways.
        stop_s = min(end_s + rng.uniform(0.15, 0.3), seconds)
        wave, found = physics.wheeze(rng, end_s, stop_s, who.wheeze_hz * rng.lognormal(0, 0.1), RATE)
        mix(signal, 0.015 * loud * who.effects.wheezy * wave, end_s, RATE)
        boxes, end_s = boxes + found, stop_s
    about = {"f0_hz": who.voice.f0_hz, "tract_cm": who.voice.tract_cm, "wet": who.wet, "voiced": voiced}
    return _by_phone(rng, who, signal), boxes, end_s, "", about


def _mouth_breathing(rng, who: Person, seconds: float, lead_s: float, deep: bool) -> Clip:
    """Breath after breath from the start of a phase on, inspiration in two of three clips."""
    breaths = who.breaths_per_minute * rng.lognormal(0, 0.05) / (SLOWER if deep else 1.0)
    spans, flow = _flow(rng, who, seconds, lead_s, breaths, DEEP if deep else QUIET, expiring=rng.random() < 1 / 3)
    loud = 10 ** (rng.normal(BREATH_DB, SPREAD_DB) / 20)
    signal, boxes = loud * voice.mouth_breath(rng, flow, who.voice.tract_cm), []
    for start_s, turn_s, end_s in spans:
        boxes += _within([(start_s, turn_s, "inspiration"), (turn_s, end_s, "expiration")], signal, seconds)
        first_s, last_s = max(turn_s + 0.05, 0), min(end_s - 0.1, seconds)
        if deep and who.effects.wheezy and last_s - first_s > 0.15:
            wave, found = physics.wheeze(rng, first_s, last_s, who.wheeze_hz, RATE)
            mix(signal, 0.6 * loud * who.effects.wheezy * wave, first_s, RATE)
            boxes += found
    about = {"breaths_per_minute": breaths, "tract_cm": who.voice.tract_cm}
    return _by_phone(rng, who, signal), boxes, seconds, "", about


def _exhaling(rng, who: Person, seconds: float, lead_s: float) -> Clip:
    """ "Ha, ha, ha": forced breaths out until the clip ends, longer where airways are narrow, with a gasp between them."""
    signal, boxes, onset_s = np.zeros(round(seconds * RATE)), [], lead_s
    loud = 10 ** (rng.normal(EXHALE_DB, SPREAD_DB) / 20)
    usual_s = rng.uniform(0.3, 0.5) * 0.42 / who.effects.inspiration
    while onset_s + 0.2 < seconds:
        lasts = min(usual_s * rng.uniform(0.9, 1.1), seconds - onset_s)
        wave, found = voice.exhale(rng, lasts, who.voice.tract_cm)
        mix(signal, loud * rng.uniform(0.8, 1) * wave, onset_s, RATE)
        boxes += _shifted(found, onset_s, seconds)
        if who.effects.wheezy:
            wave, found = physics.wheeze(rng, onset_s + 0.1, onset_s + lasts, who.wheeze_hz, RATE)
            mix(signal, 0.1 * loud * who.effects.wheezy * wave, onset_s + 0.1, RATE)
            boxes += found
        onset_s += lasts + rng.uniform(0.1, 0.2)
    about = {"tract_cm": who.voice.tract_cm, "formants_hz": voice.formants_hz("a", who.voice.tract_cm)}
    return _by_phone(rng, who, signal), boxes, boxes[-1].end_s, "", about


def _within(phases: list[tuple[float, float, str]], signal: np.ndarray, seconds: float) -> list[Box]:
    """A box of each phase that the clip holds 50 ms of."""
    inside = [(max(s, 0.0), min(e, seconds), kind) for s, e, kind in phases]
    return [voice.box(signal[round(s * RATE) : round(e * RATE)], s, e, kind) for s, e, kind in inside if e - s > 0.05]


def _vowel(rng, who: Person, seconds: float, lead_s: float, letter: str) -> Clip:
    """Held until the clip ends, or shortly before."""
    signal = np.zeros(round(seconds * RATE))
    lasts = max(CROP_S, (seconds - lead_s) * rng.uniform(0.85, 1.0))
    wave, boxes = voice.sustained_vowel(rng, letter, min(lasts, seconds - lead_s), who.voice)
    mix(signal, wave, lead_s, RATE)
    return _by_phone(rng, who, signal), _shifted(boxes, lead_s, seconds), lead_s + lasts, "", _speaker(who, letter)


def _speaking(rng, who: Person, seconds: float, lead_s: float) -> Clip:
    signal, pace = np.zeros(round(seconds * RATE)), rng.uniform(0.9, 1.5)
    wave, boxes = voice.counting(rng, seconds - lead_s, who.voice, pace)
    mix(signal, wave, lead_s, RATE)
    return _by_phone(rng, who, signal), _shifted(boxes, lead_s, seconds), seconds, "", {**_speaker(who), "pace": pace}


def _speaker(who: Person, letter: str = "neutral") -> dict:
    own = who.voice
    about = {"f0_hz": own.f0_hz, "tract_cm": own.tract_cm, "jitter": own.jitter}
    return {**about, "formants_hz": voice.formants_hz(letter, own.tract_cm)}


# ---- over the chest, by stethoscope -----------------------------------------------------------------------------------


def _flow(rng, who: Person, seconds: float, lead_s: float, per_minute: float, depth, expiring=False, skip=0.0):
    """(start, turn, end) of each breath (s) and the flow (n,), so that at `lead_s` a phase begins, `skip` of it being over."""
    share, pace_s = who.effects.inspiration * rng.uniform(0.95, 1.05), 60 / per_minute
    into = share + skip * (1 - share) if expiring else skip * share
    edges = [lead_s - into * pace_s - pace_s]
    while edges[-1] < seconds:
        edges.append(edges[-1] + pace_s * (1.0 if edges[-1] < lead_s else rng.lognormal(0, 0.08)))
    before_s = -edges[0]
    cycles = [(s + before_s, e + before_s) for s, e in pairwise(edges)]
    flow = physics.air_flow(cycles, round(cycles[-1][1] * RATE) + 1, RATE, share)
    for start_s, end_s in cycles:
        flow[round(start_s * RATE) : round(end_s * RATE)] *= rng.uniform(*depth)
    first = round(before_s * RATE)
    spans = [(s, s + share * (e - s), e) for s, e in pairwise(edges) if e > 0]
    return spans, flow[first : first + round(seconds * RATE)]


def _chest(rng, who: Person, seconds: float, lead_s: float, added: str | None) -> Clip:
    """Breath and heart over the chest with the sounds of `added` in every breath, from the start of the phase they are in."""
    position = str(rng.choice(list(PLACES)))
    corner, breath, heart = PLACES[position]
    corner_hz, n = who.corner_hz * corner * rng.lognormal(0, 0.05), round(seconds * RATE)
    breaths = who.breaths_per_minute * rng.lognormal(0, 0.05)
    late = added == "crackle"
    expiring = added in ("wheeze", "rhonchus") or (added is None and rng.random() < 1 / 3)
    spans, flow = _flow(rng, who, seconds, lead_s, breaths, QUIET, expiring, skip=0.4 if late else 0.0)
    signal = breath * physics.vesicular(rng, flow, RATE, corner_hz, expiration=rng.uniform(0.35, 0.7))
    signal += rng.uniform(0.05, 0.15) * physics.noise(rng, n, lambda hz: physics.vesicular_psd(hz, corner_hz), RATE)
    signal += heart * rng.uniform(0.5, 1.2) * physics.heart_sounds(rng, n, RATE, who.beats_per_minute)
    stethoscope, boxes, end_s = STETHOSCOPES[who.stethoscope], [], seconds

    def loud(kind: str, hz: float, width_hz: float) -> float:
        """Amplitude of `kind` over the breath and the noise of the stethoscope in their band."""
        own = stethoscope.noise_psd(hz) / stethoscope.response(hz) ** 2
        background = np.sqrt((breath**2 * physics.vesicular_psd(hz, corner_hz) + own) * width_hz)
        return float(background * 10 ** (rng.normal(*ADDED_DB[kind]) / 20))

    for start_s, turn_s, stop_s in spans:
        boxes += _within([(start_s, turn_s, "inspiration"), (turn_s, stop_s, "expiration")], signal, seconds)
        for wave, found, level in _added(rng, who, added, start_s, turn_s, stop_s, seconds, loud):
            mix(signal, level * wave, found[0].start_s, RATE)
            boxes += found
    signal = 10 ** (rng.normal(*CHEST_DBFS) / 20) * physics.through(rng, stethoscope, signal, RATE)
    about = {"breaths_per_minute": breaths, "beats_per_minute": who.beats_per_minute, "corner_hz": corner_hz}
    return signal, boxes, _last(boxes, added) or end_s, position, about


def _added(rng, who: Person, added: str | None, start_s, turn_s, stop_s, seconds: float, loud) -> list[tuple]:
    """(wave, boxes, level) of what one breath holds, all of it inside the clip."""
    drawn = (max(start_s + 0.4 * (turn_s - start_s), 0.0), min(turn_s, seconds - 0.02))
    out = (max(turn_s + rng.uniform(0, 0.06), 0.0), min(stop_s - rng.uniform(0.1, 0.3), seconds))
    found = []
    if added == "crackle" and drawn[1] - drawn[0] > 0.1:
        # As dense in what the clip holds as in the whole of late inspiration.
        count = max(3, round(rng.integers(9, 20) * (drawn[1] - drawn[0]) / (0.6 * (turn_s - start_s))))
        if rng.random() < who.effects.fine:
            found.append((*physics.fine_crackles(rng, *drawn, count, RATE), loud("fine", 650, 400)))
        else:
            found.append((*physics.coarse_crackles(rng, *drawn, count, RATE), loud("coarse", 320, 130)))
    if added == "wheeze" and out[1] - out[0] > 0.1:
        for k in range(rng.integers(1, who.effects.airways + 1)):
            hz = float(np.clip(who.wheeze_hz * (1 + 0.45 * k) * rng.lognormal(0, 0.1), 150, 1200))
            found.append((*_waxing(rng, physics.wheeze(rng, *out, hz, RATE), 4), loud("wheeze", hz, 16)))
    if added == "rhonchus" and out[1] - out[0] > 0.1:
        hz = float(np.clip(who.rhonchus_hz * rng.lognormal(0, 0.08), 80, 190))
        found.append((*_waxing(rng, physics.rhonchus(rng, *out, hz, RATE), 25), loud("rhonchus", hz, 16)))
    if who.smoker and drawn[1] - drawn[0] > 0.1 and rng.random() < 0.6:
        wave, boxes = physics.coarse_crackles(rng, *drawn, int(rng.integers(1, 4)), RATE)
        found.append((wave, boxes, loud("coarse", 320, 130) * 10 ** (SMOKING.crackles_db / 20)))
    return found


def _waxing(rng, sound: physics.Sound, hz: float) -> physics.Sound:
    """`sound`, louder and softer by half at random, `hz` times a second: slow it wanders, fast it snores."""
    wave, boxes = sound
    return wave * (0.5 + voice.flutter(rng, len(wave), hz)), boxes


def _last(boxes: list[Box], added: str | None) -> float | None:
    """End of the last of the sounds that give the clip its type; None for the breath itself."""
    return max((b.end_s for b in boxes if added and b.kind.startswith(added)), default=None)


MAKERS = {
    "cough": partial(_coughing, shallow=False),
    "shallow cough": partial(_coughing, shallow=True),
    "deep breathing": partial(_mouth_breathing, deep=True),
    "shallow breathing": partial(_mouth_breathing, deep=False),
    "exhalation": _exhaling,
    **{f"vowel {letter}": partial(_vowel, letter=letter) for letter in "aeo"},
    "speech": _speaking,
    "normal lung sound": partial(_chest, added=None),
    "wheeze": partial(_chest, added="wheeze"),
    "crackle": partial(_chest, added="crackle"),
    "rhonchi": partial(_chest, added="rhonchus"),
}
