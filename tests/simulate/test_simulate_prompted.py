"""The simulated clips of the prompts: layout, people, chest, truth, and whether types and people can be told apart."""

import json
from itertools import pairwise

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy import signal
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lungnb.core import UserError
from lungnb.data import load_corpus
from lungnb.data.corpus import SIMULATED_MARKER
from lungnb.data.prompts import SOUNDS
from lungnb.simulate import chest, voice
from lungnb.simulate.prompted import (
    ADDED,
    CONDITIONS,
    CROP_S,
    OVER_CHEST,
    UNKNOWN,
    make_clip,
    make_people,
    simulate_prompted,
)
from lungnb.simulate.voice import RATE

pytestmark = pytest.mark.train

N = 30
(COUGH, SHALLOW, DEEP, BREATHING, EXHALATION, VOWEL_A, VOWEL_E, VOWEL_O, SPEECH, *_) = SOUNDS
NORMAL, WHEEZE, CRACKLE, RHONCHI = OVER_CHEST


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return simulate_prompted(tmp_path_factory.mktemp("sim") / "prompted", n_patients=N, seed=4)


@pytest.fixture(scope="module")
def manifest(folder):
    return pd.read_csv(folder / "simulated" / "manifest.csv", dtype={"patient": str}, keep_default_na=True)


@pytest.fixture(scope="module")
def truth(folder):
    lines = (folder.with_name("prompted_truth") / "clips.jsonl").read_text().splitlines()
    return pd.DataFrame(map(json.loads, lines))


@pytest.fixture(scope="module")
def boxes(truth):
    """One row a box, with its clip's fields."""
    rows = [{**event, "clip": k} for k, events in truth["events"].items() for event in events]
    return pd.DataFrame(rows).join(truth.drop(columns=["events", "start_s", "end_s"]), on="clip")


@pytest.fixture(scope="module")
def audio(folder, manifest):
    """(clips, samples)"""
    return np.stack([soundfile.read(folder / "simulated" / p, dtype="float32")[0] for p in manifest["path"]])


@pytest.fixture(scope="module")
def crops(manifest, audio):
    """(clips, samples): the first CROP_S of every event."""
    starts = np.round(manifest["start_s"] * RATE).astype(int).clip(upper=audio.shape[1] - round(CROP_S * RATE))
    return np.stack([x[s : s + round(CROP_S * RATE)] for x, s in zip(audio, starts, strict=True)])


@pytest.fixture(scope="module")
def mels(crops):
    return log_mels(crops)


def log_mels(crops: np.ndarray) -> np.ndarray:
    """(clips, 64, 64): natural logarithm of mel magnitudes, as docs/papers/lungldm.md, section 3.1, defines them."""
    x = crops - crops.mean(axis=1, keepdims=True)
    x = np.pad(0.5 * x / np.abs(x).max(axis=1, keepdims=True), ((0, 0), (432, 432)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(x, 1024, axis=1)[:, ::160]
    bank = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=64)
    window = signal.get_window("hann", 1024).astype(np.float32)
    return np.stack([np.log(np.maximum(bank @ np.abs(np.fft.rfft(f * window)).T, 1e-5)) for f in frames])


def spectrum(waves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hz, and power density (clips, bins)."""
    return signal.welch(waves, RATE, nperseg=1024, axis=-1)


# ---- layout -----------------------------------------------------------------------------------------------------------


def test_the_layout_is_that_of_a_manifest(folder, manifest, audio):
    person = ["patient", "sex", "age_years", "smoker", "condition"]
    assert list(manifest.columns) == ["path", "sound", *person, "start_s", "end_s", "position"]
    root = folder / "simulated"
    assert {p.relative_to(root).as_posix() for p in root.rglob("*.wav")} == set(manifest["path"])
    assert not manifest["path"].duplicated().any()
    infos = [soundfile.info(root / p) for p in manifest["path"]]
    assert {(i.samplerate, i.channels, i.subtype, i.frames) for i in infos} == {(RATE, 1, "PCM_16", round(1.28 * RATE))}
    peaks = np.abs(audio).max(axis=1)
    assert 0.003 < peaks.min() < peaks.max() < 0.96
    marker = json.loads((folder / SIMULATED_MARKER).read_text())
    assert (marker["seed"], marker["n_patients"]) == (4, N)


def test_an_event_starts_soon_and_lasts_a_crop(manifest):
    assert manifest["start_s"].between(0, 0.1).all()
    assert (manifest["end_s"] <= 1.28).all()
    assert (manifest["end_s"] - manifest["start_s"] >= CROP_S - 1e-9).all()


def test_types_are_about_equal_in_number_and_the_healthy_have_no_added_sounds(manifest, truth):
    counts = manifest.groupby(["sound", "patient"]).size()
    assert set(manifest["sound"]) == set(SOUNDS)
    assert set(counts) == {1, 2}
    assert manifest["sound"].value_counts().min() > 0.75 * manifest["sound"].value_counts().max()
    healthy = truth[truth["condition"] == "healthy"]
    assert set(healthy["sound"]) == set(SOUNDS) - set(ADDED)
    assert (truth[truth["condition"] != "healthy"].groupby("patient")["sound"].nunique() == len(SOUNDS)).all()


def test_people_are_dealt_in_equal_parts():
    people = make_people(200, np.random.default_rng(0))
    kinds = pd.Series([(p.sex, p.condition) for p in people]).value_counts()
    assert len(kinds) == 2 * len(CONDITIONS)
    assert set(kinds) == {20}
    ages = np.array([p.age_years for p in people])
    assert 0.2 < (ages < 18).mean() < 0.4
    assert ages.min() >= 3
    assert ages.max() < 90
    assert not any(p.smoker for p in people if p.age_years < 18)
    assert min(p.age_years for p in people if p.condition == "COPD") >= 40
    assert np.mean([p.smoker for p in people if p.condition == "COPD"]) > 0.6
    for field in ("age_years", "smoker", "condition"):
        assert np.mean([field in p.unknown for p in people]) == pytest.approx(UNKNOWN, abs=0.07)


def test_some_fields_are_unknown_in_the_manifest_and_known_in_the_truth(manifest, truth):
    assert (manifest["path"] == truth["path"]).all()
    assert truth[["sex", "age_years", "smoker", "condition"]].notna().all(axis=None)
    for field in ("age_years", "smoker", "condition"):
        said, known = manifest[field], manifest[field].notna()
        assert (~known).mean() < 0.3
        # What is unknown is so for all clips of a patient.
        assert known.groupby(manifest["patient"]).nunique().max() == 1
        true = truth[field].map({True: "yes", False: "no"}) if field == "smoker" else truth[field]
        assert (said[known] == true[known]).all()
    assert manifest[["age_years", "smoker", "condition"]].isna().any(axis=None)
    assert set(manifest["sex"]) == {"female", "male"}


def test_the_chest_has_places_and_the_mouth_none(manifest):
    chest = manifest["sound"].isin(OVER_CHEST)
    assert manifest.loc[~chest, "position"].isna().all()
    assert set(manifest.loc[chest, "position"]) == {"Al", "Ar", "Pl", "Pr", "Ll", "Lr"}


def files(folder):
    both = (folder, folder.with_name(folder.name + "_truth"))
    return {p.relative_to(folder.parent): p.read_bytes() for f in both for p in f.rglob("*") if p.is_file()}


@pytest.mark.train
def test_the_seed_fixes_every_byte(tmp_path):
    a, b, c = (
        simulate_prompted(tmp_path / d / "x", n_patients=10, seed=s, seconds=0.64)
        for d, s in zip("abc", (1, 1, 2), strict=True)
    )
    assert files(a) == files(b)
    assert files(a) != files(c)
    short = pd.read_csv(a / "simulated" / "manifest.csv")
    assert (short["start_s"] == 0).all()
    assert (short["end_s"] == 0.64).all()
    assert {soundfile.info(a / "simulated" / p).frames for p in short["path"]} == {10240}


def test_long_clips_hold_several_breaths(tmp_path):
    simulate_prompted(tmp_path / "x", n_patients=10, seed=1, seconds=3)
    lines = (tmp_path / "x_truth" / "clips.jsonl").read_text().splitlines()
    clips = [c for c in map(json.loads, lines) if c["breaths_per_minute"]]
    for clip in clips:
        drawn = [e for e in clip["events"] if e["kind"] == "inspiration"]
        assert len(drawn) >= 3 * clip["breaths_per_minute"] / 60 - 1.5
        assert all(0 <= e["start_s"] < e["end_s"] <= 3 for e in clip["events"])
    for events in (c["events"] for c in clips if c["sound"] == WHEEZE):
        onsets = [e["start_s"] for e in events if e["kind"] == "wheeze"]
        out = [(e["start_s"], e["end_s"]) for e in events if e["kind"] == "expiration"]
        assert all(any(s <= onset < e for onset in onsets) for s, e in out if e - s > 0.5)


def test_the_clips_are_read_through_the_one_door(manifest):
    """Written into the cache on first use, told as simulated, and the same whenever they are asked for."""
    clips = load_corpus("prompted", n_patients=10)
    assert clips.origin_text == "simulated"
    assert set(clips.events["sound"]) == set(SOUNDS)
    assert clips.events["patient"].nunique() == 10
    assert load_corpus("prompted", clips.audio_root.parent).fingerprint == clips.fingerprint


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_patients": 9}, "n_patients=9 is too few to simulate.*give 10 or more"),
        ({"seconds": 0.5}, r"seconds=0.5 is no length for simulated clips; give 0.64 \(one crop\) to 60"),
        ({"seconds": float("nan")}, "seconds=nan is no length"),
    ],
)
def test_bad_arguments(tmp_path, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        simulate_prompted(tmp_path / "x", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match="exists and is not empty"):
        simulate_prompted(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


# ---- the voice --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "sex", "hz", "cm"),
    [(5, "female", 300, 11.7), (5, "male", 300, 11.7), (30, "female", 210, 14.5), (30, "male", 120, 17)],
)
def test_pitch_and_tract_follow_age_and_sex(age, sex, hz, cm):
    assert voice.pitch_hz(age, sex) == pytest.approx(hz, rel=0.05)
    assert voice.tract_cm(age, sex) == pytest.approx(cm, rel=0.02)


@pytest.mark.parametrize(
    ("vowel", "women"), [("a", (850, 1220, 2810)), ("o", (555, 1035, 2830)), ("i", (310, 2790, 3310))]
)
def test_formants_of_women_are_about_those_measured(vowel, women):
    """Peterson and Barney (1952); o from Hillenbrand and others (1995)."""
    assert voice.formants_hz(vowel, 14.5)[:3] == pytest.approx(women, rel=0.2)
    assert voice.formants_hz(vowel, 8.5)[:4] == pytest.approx(2 * voice.formants_hz(vowel, 17.0)[:4])
    assert voice.formants_hz(vowel, 17.0).max() < RATE / 2


def test_the_tract_is_a_cascade_of_resonators():
    """Against poles filtered one by one in time."""
    rng = np.random.default_rng(0)
    source, hz = rng.standard_normal(8000), voice.formants_hz("a", 17.0)
    expected = source
    for f in hz:
        pole = np.exp(-np.pi * (50 + 0.02 * f) / RATE + 2j * np.pi * f / RATE)
        a = np.real(np.poly([pole, pole.conjugate()]))
        expected = signal.lfilter([a.sum()], a, expected)
    got = voice.through_tract(source, hz)
    assert np.abs(got - expected).max() < 0.01 * np.abs(expected).max()


def pitch_of(x: np.ndarray) -> float:
    """The lag of 2.3 to 14 ms at which the part of `x` below 1 kHz repeats itself best, in Hz."""
    x = signal.sosfiltfilt(signal.butter(4, [60, 1000], "bandpass", fs=RATE, output="sos"), x)
    repeats = signal.correlate(x, x, method="fft")[len(x) - 1 :]
    lags = np.arange(round(RATE / 430), round(RATE / 70))
    repeats = repeats[lags] * len(x) / (len(x) - lags)
    best = lags[repeats > 0.9 * repeats.max()][0]  # not twice the period
    near = (lags >= best - 1) & (lags <= best * 1.2)
    return RATE / lags[near][repeats[near].argmax()]


def test_vowels_have_the_pitch_of_the_truth(truth, crops):
    rows = truth[truth["sound"].isin([VOWEL_A, VOWEL_E, VOWEL_O])]
    pitch = np.array([pitch_of(crops[k, 1600:8000]) for k in rows.index])
    near = np.abs(pitch / rows["f0_hz"] - 1) < 0.05
    # Where the first formant falls on a partial, `pitch_of` hears that one: 1 to 6 vowels in 100, by the seed.
    assert near.mean() > 0.9
    groups = np.where(rows["age_years"] < 11, "child", rows["sex"].where(rows["age_years"] >= 18, "teenager"))
    means = pd.Series(pitch).groupby(groups).median()
    assert means["child"] > 240
    assert 165 < means["female"] < 240
    assert 95 < means["male"] < 145


def test_vowels_have_their_formants(truth, crops):
    hz, power = spectrum(crops)

    def share(letter, low, high):
        p = power[(truth["sound"] == letter) & (truth["age_years"] >= 18)]
        return np.median(p[:, (hz > low) & (hz < high)].sum(axis=1) / p.sum(axis=1))

    assert share(VOWEL_A, 600, 1500) > 2 * share(VOWEL_E, 600, 1500)
    assert share(VOWEL_E, 1700, 2500) > 5 * share(VOWEL_O, 1700, 2500)
    assert share(VOWEL_O, 300, 600) > 2 * share(VOWEL_A, 300, 600)


def test_a_smokers_voice_is_lower_and_rougher(truth):
    adults = truth[(truth["sound"] == VOWEL_A) & (truth["age_years"] >= 18)].drop_duplicates("patient")
    expected = [voice.pitch_hz(a, s) for a, s in zip(adults["age_years"], adults["sex"], strict=True)]
    low = (adults["f0_hz"] / expected).groupby(adults["smoker"]).median()
    assert low[True] < 0.97 * low[False]
    rough = adults.groupby("smoker")["jitter"].median()
    assert rough[True] > 1.3 * rough[False]


def test_jitter_moves_the_pulses():
    def steadiness(jitter):
        person = voice.Voice(f0_hz=100.0, tract_cm=17.0, jitter=jitter, shimmer=0.0, breathiness=0.0, soft_hz=2000.0)
        wave = voice.glottis(np.random.default_rng(0), np.full(RATE, 100.0), person)
        return np.corrcoef(wave[: RATE // 2], wave[RATE // 2 :])[0, 1]  # fifty periods apart

    assert steadiness(0.0) > 0.999
    assert steadiness(0.002) > steadiness(0.02)


def test_counting_has_syllables_and_hiss(truth, crops):
    """Vowels stay, speech comes and goes."""
    loudness = np.sqrt(np.square(crops[:, : 64 * 160]).reshape(len(crops), 64, 160).mean(axis=2))
    swing = pd.Series(
        20 * np.log10(np.quantile(loudness[:, 10:], 0.9, axis=1) / np.quantile(loudness[:, 10:], 0.1, axis=1))
    )
    swing = swing.groupby(truth["sound"]).median()
    assert swing[SPEECH] > swing[VOWEL_A] + 10
    assert truth.loc[truth["sound"] == SPEECH, "events"].str.len().median() >= 4


# ---- cough and breath -------------------------------------------------------------------------------------------------


def test_a_shallow_cough_is_one_of_three_phases(manifest, truth, audio):
    for k, events in truth.loc[truth["sound"] == SHALLOW, "events"].items():
        phases = [e for e in events if e["kind"].startswith("cough")]
        names = [e["kind"] for e in phases]
        assert names == ["cough_explosive", "cough_intermediate", "cough_voiced"][: len(names)]
        assert len(names) >= 2
        assert phases[0]["start_s"] == manifest["start_s"][k]
        assert all(a["end_s"] == b["start_s"] for a, b in pairwise(phases))
        assert 0.03 <= phases[0]["end_s"] - phases[0]["start_s"] <= 0.05
        # It explodes: the first 20 ms are far above what came before, if there was enough of that to measure.
        first = round(manifest["start_s"][k] * RATE)
        if first > 320:
            before, after = audio[k, first - 320 : first - 32], audio[k, first : first + 320]
            assert np.square(after).mean() > 100 * np.square(before).mean()


def test_the_voice_comes_last():
    """The last phase repeats itself at the pitch, the noise before does not."""
    who = voice.Voice(f0_hz=150.0, tract_cm=15.0, jitter=0.005, shimmer=0.02, breathiness=0.05, soft_hz=2000.0)

    def periodic(x):
        lags = np.arange(RATE // 320, RATE // 120)
        return max(np.corrcoef(x[:-lag], x[lag:])[0, 1] for lag in lags)

    scores = []
    for seed in range(20):
        wave, phases, *_ = voice.cough(np.random.default_rng(seed), who, voiced=1.2)
        scores.append([periodic(wave[round(b.start_s * RATE) : round(b.end_s * RATE)]) for b in phases[1:]])
    noise, voiced = np.median(scores, axis=0)
    assert voiced > noise + 0.2


def test_a_cough_is_longer_and_lower_than_a_shallow_one_and_comes_in_bouts(truth, boxes, crops):
    bursts = boxes[boxes["kind"] == "cough_explosive"].groupby(["sound", "clip"]).size()
    assert set(bursts[SHALLOW]) == {1}
    assert set(bursts[COUGH]) <= {2, 3, 4}
    middle = boxes[boxes["kind"] == "cough_intermediate"]
    lasts = (middle["end_s"] - middle["start_s"]).groupby(middle["sound"]).mean()
    assert lasts[COUGH] > 1.2 * lasts[SHALLOW]
    hz, power = spectrum(crops)
    low = pd.Series(power[:, (hz > 100) & (hz < 450)].sum(axis=1) / power.sum(axis=1)).groupby(truth["sound"]).median()
    assert low[COUGH] > 1.5 * low[SHALLOW]


def test_conditions_change_the_cough(truth, boxes):
    coughs = truth[truth["sound"] == SHALLOW].drop_duplicates("patient")
    wet = coughs[~coughs["smoker"]].groupby("condition")["wet"].first()
    assert wet["pneumonia"] > wet["asthma"] > wet["COVID-19"] == 0
    whistle = boxes[(boxes["kind"] == "wheeze") & (boxes["sound"] == SHALLOW)]
    assert set(whistle["condition"]) == {"asthma", "COPD"}


def test_a_wet_cough_rattles():
    who = voice.Voice(f0_hz=120.0, tract_cm=17.0, jitter=0.005, shimmer=0.02, breathiness=0.05, soft_hz=2000.0)

    def swing(wet):
        """How much the noise of the second phase comes and goes within 20 ms, on the whole."""
        found = []
        for seed in range(40):
            wave, phases, *_ = voice.cough(np.random.default_rng(seed), who, wet=wet, voiced=0.0)
            part = wave[round(phases[1].start_s * RATE) : round(phases[1].end_s * RATE)]
            level = np.log(np.square(part[: len(part) // 80 * 80]).reshape(-1, 80).mean(axis=1))
            found.append(np.abs(np.diff(level)).mean())
        return np.mean(found)

    assert swing(1.0) > 1.15 * swing(0.0)


def test_deep_breath_is_louder_brighter_and_slower(truth, crops):
    hz, power = spectrum(crops)
    level = pd.Series(10 * np.log10(power.sum(axis=1))).groupby(truth["sound"]).median()
    assert level[DEEP] > level[BREATHING] + 6
    assert level[COUGH] > level[SHALLOW] > level[DEEP]
    assert level[EXHALATION] > level[DEEP] + 3
    rate = truth.groupby("sound")["breaths_per_minute"].median()
    assert rate[DEEP] < 0.75 * rate[BREATHING]
    flow = np.repeat([1.0, 2.5], RATE)
    wave = voice.mouth_breath(np.random.default_rng(0), flow, 17.0)
    quiet, deep = (part[4000:12000] for part in np.split(wave, 2))
    hz, parts = spectrum(np.stack([quiet, deep]))
    bright = parts[:, hz > 3000].sum(axis=1) / parts.sum(axis=1)
    assert bright[1] > 1.5 * bright[0]


def test_an_exhalation_is_a_series_of_forced_breaths(truth, boxes, audio):
    """They start at once, say a, and last longer where airways are narrow."""
    breaths = boxes[(boxes["sound"] == EXHALATION) & (boxes["kind"] == "exhalation")]
    onsets = breaths.groupby("clip")["start_s"]
    assert onsets.size().between(2, 4).all()
    gaps = breaths["start_s"] - breaths.groupby("clip")["end_s"].shift()
    assert gaps.dropna().between(0.09, 0.21).all()
    first = breaths.groupby("clip").first()
    narrow = first["condition"].isin(["asthma", "COPD"])
    lasts = (first["end_s"] - first["start_s"]).groupby(narrow).mean()
    assert lasts[True] > 1.1 * lasts[False]
    contrast = []
    for k, own in breaths.groupby("clip"):
        start, end = (np.round(own[c].to_numpy() * RATE).astype(int) for c in ("start_s", "end_s"))
        loud = np.square(np.concatenate([audio[k, s:e] for s, e in zip(start, end, strict=True)])).mean()
        quiet = np.square(np.concatenate([audio[k, s:e] for s, e in zip(end[:-1], start[1:], strict=True)])).mean()
        contrast.append(10 * np.log10(loud / quiet))
    assert np.median(contrast) > 6
    # The mouth is that of a: a tube of the same length without its resonances has no such peak near the second formant.
    wave, *_ = voice.exhale(np.random.default_rng(0), 4.0, 17.0)
    hz, power = spectrum(wave[None])
    near = [power[0, np.abs(hz - f) < 60].mean() for f in (730, 1090, 1800)]
    assert min(near[:2]) > 2 * near[2]


def test_children_breathe_faster(truth):
    rest = truth[truth["sound"] == BREATHING]
    child = rest["age_years"] < 10
    assert rest.loc[child, "breaths_per_minute"].mean() > 1.2 * rest.loc[~child, "breaths_per_minute"].mean()


# ---- the chest --------------------------------------------------------------------------------------------------------


def test_stethoscopes_pass_little_above_two_kilohertz(truth, crops):
    hz, power = spectrum(crops)
    above = pd.Series(power[:, hz > 2200].sum(axis=1) / power.sum(axis=1))
    chest = truth["sound"].isin(OVER_CHEST)
    assert above[chest].max() < 0.05
    assert above[truth["sound"] == DEEP].median() > 0.1


def test_added_sounds_are_what_they_are_called(boxes):
    lasts = boxes["end_s"] - boxes["start_s"]
    own = boxes["sound"].map({WHEEZE: "wheeze", CRACKLE: "crackle", RHONCHI: "rhonchus"})
    mine = np.array([str(kind).startswith(str(o)) for kind, o in zip(boxes["kind"], own, strict=True)])
    # Every clip has the sound of its type.
    assert (
        boxes[mine].groupby("sound")["clip"].nunique() == boxes[own.notna()].groupby("sound")["clip"].nunique()
    ).all()
    wheeze, rhonchus = (boxes["kind"] == k for k in ("wheeze", "rhonchus"))
    assert lasts[wheeze].min() >= 0.08
    assert boxes.loc[wheeze, "low_hz"].between(100, 2500).all()
    assert (boxes.loc[rhonchus, "low_hz"] < 200).all()
    fine, coarse = (boxes["kind"] == f"crackle_{k}" for k in ("fine", "coarse"))
    assert lasts[fine].between(0.0048, 0.0052).all()
    assert lasts[coarse].between(0.0148, 0.0152).all()
    assert boxes.loc[fine, "low_hz"].median() > boxes.loc[coarse, "low_hz"].median()


def test_added_sounds_are_in_their_phase_of_the_breath(truth):
    phase = {"wheeze": "expiration", "rhonchus": "expiration", "crackle": "inspiration"}
    for events in truth.loc[truth["sound"].isin(ADDED), "events"]:
        for sound in events:
            if (where := phase.get(sound["kind"].split("_")[0])) is not None:
                spans = [(e["start_s"], e["end_s"]) for e in events if e["kind"] == where]
                assert any(s - 1e-3 <= sound["start_s"] and sound["end_s"] <= e + 1e-3 for s, e in spans), sound


def test_wheezes_stand_out_where_the_truth_says(boxes, audio):
    wheezes = boxes[(boxes["sound"] == WHEEZE) & (boxes["kind"] == "wheeze")]
    found = []
    for box in wheezes.itertuples():
        part = audio[box.clip, round(box.start_s * RATE) : round(box.end_s * RATE)]
        hz, power = signal.welch(part, RATE, nperseg=min(len(part), 1600))
        inside = (hz >= box.low_hz - 30) & (hz <= box.high_hz + 30)
        around = (hz > box.low_hz / 1.5) & (hz < box.high_hz * 1.5)
        found.append(10 * np.log10(power[inside].max() / np.median(power[around])))
    assert np.quantile(found, 0.05) > 6


def test_crackles_stand_out_where_the_truth_says(boxes, audio):
    sos = signal.butter(4, [200, 900], "bandpass", fs=RATE, output="sos")
    found = []
    for k, rows in boxes[(boxes["sound"] == CRACKLE) & boxes["kind"].str.startswith("crackle")].groupby("clip"):
        loud = np.abs(signal.hilbert(signal.sosfiltfilt(sos, audio[k])))
        peaks = [loud[round(s * RATE) : round(s * RATE) + 240].max() for s in rows["start_s"]]
        found.append(np.median(peaks) / np.median(loud))
    assert np.quantile(found, 0.05) > 4


def test_conditions_and_smoking_change_the_chest(truth, boxes):
    crackles = boxes[boxes["sound"] == CRACKLE]
    fine = (crackles["kind"] == "crackle_fine").groupby([crackles["condition"], crackles["clip"]]).any()
    fine = fine.groupby("condition").mean()
    assert fine["COVID-19"] > 0.6 > fine["pneumonia"]
    assert fine["COVID-19"] > fine["COPD"] + 0.3
    count = boxes[boxes["kind"] == "wheeze"].groupby(["sound", "condition", "clip"]).size()[WHEEZE]
    assert count["asthma"].max() == 3
    assert count["pneumonia"].max() == 1
    normal = truth[(truth["sound"] == NORMAL) & (truth["age_years"] >= 18)]
    faint = normal["events"].map(lambda events: any(e["kind"] == "crackle_coarse" for e in events))
    assert faint[normal["smoker"]].mean() > 0.2
    assert not faint[~normal["smoker"]].any()


def test_heart_beats_by_age(truth):
    beats = truth[truth["sound"] == NORMAL].drop_duplicates("patient")
    expected = np.array([chest.beats_per_minute(age) for age in beats["age_years"]])
    assert (beats["beats_per_minute"] / expected).between(0.7, 1.3).all()


# ---- what the simulator is for ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held_out(manifest):
    """One patient in three."""
    return manifest["patient"].astype(int) % 3 == 0


def accuracy(inputs, labels, test) -> tuple[float, float]:
    """Of a linear classifier on the patients held out; and how often it would be right by always saying the commonest label."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    right = model.fit(inputs[~test], labels[~test]).predict(inputs[test]) == labels[test]
    return float(right.mean()), float((labels[test] == pd.Series(labels[~test]).mode()[0]).mean())


def test_types_can_be_told_from_each_other(manifest, mels, held_out):
    assert mels.shape[1:] == (64, 64)
    right, _ = accuracy(mels.mean(axis=2), manifest["sound"].to_numpy(), held_out.to_numpy())
    assert right > 0.8


def test_clips_of_a_type_differ(manifest, mels):
    """A type is no single picture: two people differ by more than a quarter of what two types do."""
    pooled = pd.DataFrame(mels.reshape(len(mels), -1))
    within = pooled.groupby(manifest["sound"]).std().pow(2).mean(axis=None)
    between = pooled.groupby(manifest["sound"]).mean().std().pow(2).mean()
    assert within > between / 4


def test_vowels_tell_sex_and_age():
    people = make_people(150, np.random.default_rng(5))
    rng = np.random.default_rng(6)
    clips = np.stack([make_clip(rng, s, who, CROP_S, 0.0).signal for who in people for s in (VOWEL_A, VOWEL_O)])
    pooled = log_mels(clips).mean(axis=2)
    sex, age = (np.repeat([getattr(who, f) for who in people], 2) for f in ("sex", "age_years"))
    test, grown = np.repeat(np.arange(150) % 3 == 0, 2), age >= 18
    right, commonest = accuracy(pooled[grown], sex[grown], test[grown])
    assert right > 0.9 > 0.65 > commonest
    right, commonest = accuracy(pooled, age // 10, test)
    assert right > 1.5 * commonest
    assert right > 2 / 9
