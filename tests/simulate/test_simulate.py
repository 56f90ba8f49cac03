"""The simulated ICBHI: its layout, its truth, and the chest of its sounds."""

import csv
import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
from scipy import signal

from lungnb.core import UserError
from lungnb.data.corpus import SIMULATED_MARKER, fingerprint_files
from lungnb.data.icbhi import DEVICES, LABELS, POSITIONS, read_icbhi, read_split
from lungnb.simulate import chest, icbhi
from lungnb.simulate.icbhi import simulate_icbhi
from lungnb.simulate.multisite import simulate_multisite
from lungnb.simulate.prompted import simulate_prompted
from lungnb.simulate.sprsound import simulate_sprsound

N, SR = 24, 8000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return simulate_icbhi(tmp_path_factory.mktemp("sim") / "icbhi", n_patients=N, seed=3)


@pytest.fixture(scope="module")
def events(folder):
    return read_icbhi(folder).events


@pytest.fixture(scope="module")
def truth(folder):
    return pd.read_csv(folder.with_name("icbhi_truth") / "events.csv")


@pytest.fixture(scope="module")
def audio(folder, events):
    """recording -> (device, samples, rate), 8 kHz at most."""
    found = {}
    for name, path, device in events[["recording", "path", "device"]].drop_duplicates().itertuples(index=False):
        x, sr = soundfile.read(folder / path, dtype="float32")
        found[name] = (device, soxr.resample(x, sr, SR), SR) if sr > SR else (device, x, sr)
    return found


def band_ratios(audio, first, second):
    """device -> power density in band `first` against band `second`, dB, of each of its recordings."""
    ratios = {}
    for device, x, sr in audio.values():
        f, power = signal.welch(x, sr, nperseg=sr // 8)
        a, b = (power[(f > low) & (f < high)].mean() for low, high in (first, second))
        ratios.setdefault(device, []).append(10 * np.log10((a + 1e-30) / (b + 1e-30)))
    return {device: np.array(values) for device, values in ratios.items()}


# ---- layout -----------------------------------------------------------------------------------------------------------


def test_the_reader_takes_it_for_a_data_set_and_knows_it_is_simulated(folder, events):
    corpus = read_icbhi(folder)
    assert corpus.origin == "simulated"
    marker = json.loads((folder / SIMULATED_MARKER).read_text())
    assert (marker["seed"], marker["n_patients"]) == (3, N)
    assert events["patient"].nunique() == N
    assert set(events["device"]) == set(DEVICES)
    assert set(events["position"]) == set(POSITIONS)
    assert 0 < events["age_years"].isna().sum() < len(events)
    assert events["diagnosis"].notna().all()
    assert len(list((folder / "audio_and_txt_files").glob("*.wav"))) == corpus.n_recordings


def test_old_device_names_stay_in_the_file_names_only(folder, events):
    old = {line.strip().strip("'") for line in (folder / "filename_differences.txt").read_text().splitlines()}
    stems = {p.stem for p in (folder / "audio_and_txt_files").glob("*.wav")}
    listed = set(read_split(folder)["recording"])
    assert old == stems - listed
    assert len(old) >= 5
    corrected = listed - stems
    assert {n.rsplit("_", 1)[1] for n in corrected} == {"Meditron"}
    assert {n.rsplit("_", 1)[0] for n in corrected} == {n.rsplit("_", 1)[0] for n in old}


def test_formats_are_those_of_the_devices(folder, events):
    seen = {}
    for path, device in events[["path", "device"]].drop_duplicates().itertuples(index=False):
        info = soundfile.info(folder / path)
        assert 15 <= info.duration <= 20.01
        seen.setdefault(device, set()).add((info.samplerate, info.subtype))
    assert seen["AKGC417L"] == {(44100, "PCM_24")}
    assert seen["Litt3200"] == {(4000, "PCM_16")}
    assert seen["LittC2SE"] == {(44100, "PCM_16")}
    assert {rate for rate, _ in seen["Meditron"]} == {4000, 44100}


def test_cycles_and_class_shares(events):
    length = events["end_s"] - events["start_s"]
    assert length.min() >= 0.2
    assert length.max() <= 16.2
    assert length.mean() == pytest.approx(2.7, abs=0.35)
    share = events["label"].value_counts(normalize=True)
    for label, expected in zip(LABELS, (0.53, 0.27, 0.13, 0.07), strict=True):
        assert share[label] == pytest.approx(expected, abs=0.07), label
    devices = events["device"].value_counts(normalize=True)
    assert devices["AKGC417L"] == pytest.approx(0.58, abs=0.08)
    assert devices.min() > 0.04
    abnormal = (events["label"] != "normal").groupby(events["diagnosis"]).mean()
    assert abnormal["COPD"] > 0.35 > 0.3 > abnormal["Healthy"]


def test_folds_and_official_split_mimic_the_real_ones(events):
    for column in ("fold", "split"):
        assert (pd.crosstab(events[column], events["label"]).to_numpy() >= 4).all(), column
    devices = events.groupby("fold")["device"].nunique()
    assert devices[4] == 4
    assert list(devices.index) == [0, 1, 2, 3, 4]
    assert devices[:4].max() < 4
    recordings = events.drop_duplicates("recording")
    assert (recordings["split"] == "train").mean() == pytest.approx(0.6, abs=0.06)
    by_device = pd.crosstab(recordings["device"], recordings["split"])
    assert by_device.loc["LittC2SE", "test"] == 0
    assert 1 <= by_device.loc["Litt3200", "train"] < 0.4 * by_device.loc["Litt3200", "test"]
    sides = recordings.groupby("patient")["split"].nunique()
    assert (sides == 2).sum() >= 2
    assert (recordings.groupby("patient")["device"].nunique() == 2).sum() >= 2


# ---- the truth ----------------------------------------------------------------------------------------------------------


def test_annotation_agrees_with_the_truth(events, truth):
    assert set(truth["kind"]) == {"crackle_fine", "crackle_coarse", "wheeze"}
    placed = 0
    by_recording = dict(list(truth.groupby("recording")))
    for e in events.itertuples():
        here = by_recording.get(e.recording, truth[:0])
        here = here[(here["start_s"] >= e.start_s - 1e-3) & (here["end_s"] <= e.end_s + 1e-3)]
        crackle, wheeze = here["kind"].str.startswith("crackle").any(), (here["kind"] == "wheeze").any()
        assert e.label == LABELS[crackle + 2 * wheeze], (e.recording, e.start_s)
        placed += len(here)
    assert placed == len(truth)


def test_truth_keeps_to_the_definitions(truth):
    length = truth["end_s"] - truth["start_s"]
    wheeze = truth["kind"] == "wheeze"
    assert length[wheeze].min() >= 0.08 - 2e-4
    assert length[truth["kind"] == "crackle_fine"].to_numpy() == pytest.approx(0.005, abs=2e-4)
    assert length[truth["kind"] == "crackle_coarse"].to_numpy() == pytest.approx(0.015, abs=2e-4)
    assert (truth["low_hz"] < truth["high_hz"]).all()
    assert truth.loc[wheeze, ["low_hz", "high_hz"]].to_numpy() == pytest.approx(1300, abs=1200)


def test_recordings_get_louder_where_the_truth_says(audio, truth):
    """In the truth's band, more energy during a wheeze than just before and after it, in most of them."""
    louder = []
    for w in truth[truth["kind"] == "wheeze"].itertuples():
        _, x, sr = audio[w.recording]
        sos = signal.butter(2, [w.low_hz * 0.95, min(w.high_hz * 1.05, 0.49 * sr)], "band", fs=sr, output="sos")
        y = signal.sosfilt(sos, x) ** 2
        a, b, m = int(w.start_s * sr), int(w.end_s * sr), int(0.15 * sr)
        around = np.concatenate([y[max(a - m, 0) : a], y[b : b + m]])
        if len(around):
            louder.append(y[a:b].mean() / around.mean())
    assert len(louder) > 20
    assert np.median(louder) > 2


@pytest.mark.parametrize("kind", ["wheeze", "rhonchus", "stridor"])
def test_the_spectrogram_peak_of_a_tone_lies_in_its_box(kind):
    for seed, hz in enumerate({"wheeze": (120, 380, 1500), "rhonchus": (90, 180), "stridor": (600, 1100)}[kind]):
        wave, [box], *_ = chest.musical(np.random.default_rng(seed), kind, 1.0, 1.6, hz, SR)
        x = 0.01 * np.random.default_rng(9).standard_normal(3 * SR)
        chest.mix(x, wave, 1.0, SR)
        f, t, power = signal.spectrogram(x, SR, nperseg=512, noverlap=384)
        row, column = np.unravel_index(power.argmax(), power.shape)
        assert box.kind == kind
        assert box.low_hz - SR / 512 <= f[row] <= box.high_hz + SR / 512
        assert box.start_s <= t[column] <= box.end_s
        assert box.high_hz > hz * 0.9


@pytest.mark.parametrize(("kind", "low", "high", "length_s"), [("fine", 450, 900, 0.005), ("coarse", 100, 500, 0.015)])
def test_the_energy_of_crackles_lies_in_their_boxes(kind, low, high, length_s):
    wave, boxes, *_ = chest.crackles(np.random.default_rng(0), f"crackle_{kind}", 2.0, 3.0, 12, SR)
    x = np.zeros(4 * SR)
    chest.mix(x, wave, boxes[0].start_s, SR)
    inside = np.zeros(len(x), bool)
    for box in boxes:
        inside[int(box.start_s * SR) : int(np.ceil(box.end_s * SR)) + 1] = True
        assert 2 <= box.start_s <= box.end_s <= 3
        assert box.end_s - box.start_s == pytest.approx(length_s)
        assert box.low_hz < high
        assert box.high_hz > low
    assert (x[~inside] == 0).all()
    assert inside.mean() < 0.06
    f, power = signal.welch(x, SR, nperseg=4096)
    assert low < f[power.argmax()] < high


# ---- chest --------------------------------------------------------------------------------------------------------------


def test_vesicular_sound_falls_12_db_per_octave_and_follows_the_flow():
    steady = chest.vesicular(np.random.default_rng(0), np.ones(30 * SR), SR)
    f, power = signal.welch(steady, SR, nperseg=2048)
    band = (f >= 300) & (f <= 2400)
    slope, _ = np.polyfit(np.log2(f[band]), 10 * np.log10(power[band]), 1)
    assert -15 < slope < -10
    assert steady.std() == pytest.approx(1, abs=0.05)
    flow = chest.air_flow(np.random.default_rng(0), [(0, 4), (4, 8)], 10 * SR, SR)
    assert flow.max() == pytest.approx(1, abs=0.01)
    assert -0.9 < flow.min() < -0.5
    assert (flow[8 * SR :] == 0).all()
    breath = chest.vesicular(np.random.default_rng(1), flow, SR)
    inspiration, expiration = breath[int(0.6 * SR) : SR], breath[int(2 * SR) : int(2.4 * SR)]
    assert inspiration.std() > 1.5 * expiration.std() > 0


def test_rates_fall_with_age():
    for rate in (chest.breaths_per_minute, chest.beats_per_minute):
        values = [rate(age) for age in (0, 0.5, 2, 8, 18, 70)]
        assert values == sorted(values, reverse=True)
    assert chest.breaths_per_minute(0.1) > 2 * chest.breaths_per_minute(40)


def test_heart_sounds_beat_at_their_rate_below_150_hz():
    wave = chest.heart_sounds(np.random.default_rng(0), 30 * SR, SR, 75)
    f, power = signal.welch(wave, SR, nperseg=4096)
    assert power[f < 150].sum() > 0.99 * power.sum()
    envelope = np.abs(wave).reshape(-1, SR // 100).max(axis=1)
    envelope = envelope - envelope.mean()
    beat = np.correlate(envelope, envelope, "full")[len(envelope) :]
    assert (beat[50:120].argmax() + 51) / 100 == pytest.approx(60 / 75, abs=0.03)


def test_sources_refuse_what_their_definition_excludes():
    rng = np.random.default_rng(0)
    for kind, start, end, hz in (
        ("wheeze", 0, 0.05, 400),
        ("wheeze", 0, 0.5, 3000),
        ("rhonchus", 0, 0.5, 250),
        ("stridor", 0, 0.5, 300),
    ):
        with pytest.raises(ValueError, match="Hz"):
            chest.musical(rng, kind, start, end, hz, SR)
    assert len(chest.squeak(rng, SR)) < 0.08 * SR


def test_nothing_between_1500_and_2000_hz_on_litt3200_and_some_meditron(audio):
    depth = band_ratios(audio, (50, 1000), (1500, 1950))
    assert depth["Litt3200"].min() > 50
    assert 0.1 < (depth["Meditron"] > 50).mean() < 0.35
    assert depth["AKGC417L"].max() < 50


def test_devices_sound_different(audio):
    tilt = {device: np.median(values) for device, values in band_ratios(audio, (500, 1000), (60, 250)).items()}
    # Bodies differ more than devices, so medians over a few patients do not lie far apart.
    assert tilt["LittC2SE"] + 3 < min(tilt["Meditron"], tilt["Litt3200"])


# ---- writing ----------------------------------------------------------------------------------------------------------------


@pytest.mark.train
def test_same_seed_same_bytes(folder, tmp_path):
    again = simulate_icbhi(tmp_path / "icbhi", n_patients=N, seed=3)
    for a, b in ((folder, again), (folder.with_name("icbhi_truth"), tmp_path / "icbhi_truth")):
        first, second = (fingerprint_files([p for p in x.rglob("*") if p.is_file()], x) for x in (a, b))
        assert first == second


def test_another_seed_gives_another_plan():
    plans = [icbhi.make_plan(N, np.random.default_rng([seed, 0])) for seed in (0, 1)]
    assert not plans[0].cycles.equals(plans[1].cycles)


def test_every_plan_keeps_its_promises():
    for seed in range(5):
        plan = icbhi.make_plan(N, np.random.default_rng([seed, 0]))
        about = plan.recordings.loc[plan.cycles["recording"]].reset_index(drop=True)
        about["fold"] = plan.patients["fold"].loc[about["patient"]].to_numpy()
        for column in ("fold", "split", "device"):
            assert pd.crosstab(about[column], plan.cycles["label"]).to_numpy().min() >= 4
        assert (about.groupby("patient")["split"].nunique() == 2).sum() == 2
        gaps = plan.cycles.groupby("recording").apply(
            lambda c: (c["start_s"].to_numpy()[1:] == c["end_s"].to_numpy()[:-1]).all()
        )
        assert gaps.all()


def test_the_full_size_is_that_of_the_real_database():
    plan = icbhi.make_plan(126, np.random.default_rng([0, 0]))
    assert len(plan.patients) == 126
    assert plan.recordings["device"].value_counts().to_dict() == {
        **{"AKGC417L": 646, "Meditron": 127, "LittC2SE": 87, "Litt3200": 60},
    }
    assert len(plan.cycles) == pytest.approx(6898, rel=0.03)
    share = plan.cycles["label"].value_counts(normalize=True)
    assert share[[0, 1, 2, 3]].to_list() == pytest.approx([0.528, 0.270, 0.128, 0.073], abs=0.03)


def test_refuses_a_folder_in_use_and_too_few_patients(tmp_path):
    (tmp_path / "icbhi").mkdir()
    (tmp_path / "icbhi" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not empty"):
        simulate_icbhi(tmp_path / "icbhi", n_patients=N)
    assert [p.name for p in tmp_path.rglob("*")] == ["icbhi", "mine.txt"]
    with pytest.raises(UserError, match="four devices"):
        simulate_icbhi(tmp_path / "other", n_patients=23)
    (tmp_path / "new_truth").mkdir()
    (tmp_path / "new_truth" / "events.csv").write_text("")
    with pytest.raises(UserError, match="new_truth"):
        simulate_icbhi(tmp_path / "new", n_patients=N)


def test_two_processes_may_write_the_same(tmp_path, monkeypatch):
    """The second to finish keeps what the first wrote."""
    first = []

    def overtaken(*_):
        monkeypatch.setattr(icbhi, "_write", lambda *_: None)
        first.append(simulate_icbhi(tmp_path / "icbhi", n_patients=N).stat().st_ino)

    monkeypatch.setattr(icbhi, "_write", overtaken)
    assert simulate_icbhi(tmp_path / "icbhi", n_patients=N).stat().st_ino == first[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["icbhi", "icbhi_truth"]


@pytest.mark.parametrize("simulator", [simulate_icbhi, simulate_sprsound, simulate_multisite, simulate_prompted])
def test_a_full_disk_is_one_sentence_and_nothing_is_left_of_a_broken_write(simulator, tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, content):
        if path.suffix in (".wav", ".flac"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"\.(wav|flac) could not be written .*free some space"):
        simulator(tmp_path / "data", n_patients=N)
    assert not list(tmp_path.iterdir())


def test_side_files_parse(folder):
    with (folder / "patient_diagnosis.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert set(rows[0]) == {"ID", "CLASS"}
    assert len(rows) == N
    demographics = [line.split(" ") for line in (folder / "demographic_info.txt").read_text().splitlines()]
    assert all(len(row) == 6 for row in demographics)
    children = [row for row in demographics if row[1] != "NA" and float(row[1]) < 16]
    assert children
    assert all(row[3] == "NA" and float(row[4]) > 2 and float(row[5]) > 40 for row in children)
    adults = [row for row in demographics if row[1] != "NA" and float(row[1]) >= 16]
    assert adults
    assert all(float(row[3]) > 10 and row[4:] == ["NA", "NA"] for row in adults)
