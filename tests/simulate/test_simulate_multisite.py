"""The simulated paediatric cohorts: their layout, who is in them, their truth, and what sets the clinics apart."""

import json

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy import signal

from lungnb.core import UserError
from lungnb.data.corpus import SIMULATED_MARKER, fingerprint_files
from lungnb.data.multisite import PLACES, SITES, read_multisite
from lungnb.data.splits import patient_folds
from lungnb.simulate import chest, multisite
from lungnb.simulate.multisite import CLINICS, FILE_RATE, FULL_SIZE, make_plan, share_out, simulate_multisite

pytestmark = pytest.mark.train

N = 24
KINDS = {
    "control": set(),
    "pneumonia": {"crackle_fine", "crackle_coarse"},
    "bronchiolitis": {"crackle_fine", "wheeze"},
    "asthma": {"wheeze", "rhonchus"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return simulate_multisite(tmp_path_factory.mktemp("sim") / "multisite", n_patients=N, seed=3)


@pytest.fixture(scope="module")
def corpus(folder):
    return read_multisite(folder)


@pytest.fixture(scope="module")
def events(corpus):
    clinic = corpus.events["split"].str[:3]
    return corpus.events.assign(clinic=clinic).set_index("recording", drop=False)


@pytest.fixture(scope="module")
def truth(folder, events):
    frame = pd.read_csv(folder.with_name("multisite_truth") / "events.csv")
    return frame.join(events[["label", "clinic", "patient", "position"]], on="recording")


@pytest.fixture(scope="module")
def audio(folder, events):
    return {name: soundfile.read(folder / name, dtype="float32")[0] for name in events["path"]}


@pytest.fixture(scope="module")
def spectra(audio):
    """Hz, and the mean power density of each recording in dB of full scale."""
    power = {}
    for name, x in audio.items():
        hz, power[name] = signal.welch(x, FILE_RATE, nperseg=8192, average="median")  # knocks do not count
    return hz, pd.DataFrame(10 * np.log10(pd.DataFrame(power, index=hz).T))


# ---- layout -----------------------------------------------------------------------------------------------------------


def test_the_reader_takes_it_for_simulated_cohorts(folder, corpus, events):
    assert corpus.origin == "simulated"
    assert set(events["split"]) == {"GVA", "POA1", "POA2", "POA3"}
    assert set(events["position"]) == set(SITES) == set(PLACES) == set(multisite.SITES)
    assert not any("names" in reason for reason in corpus.skipped)
    assert events[["age_years", "sex", "device", "diagnosis"]].notna().all(axis=None)
    assert events["age_years"].between(0, 15).all()
    marker = json.loads((folder / SIMULATED_MARKER).read_text())
    assert (marker["seed"], marker["n_patients"]) == (3, N)
    assert set(patient_folds(events, 3, seed=0)) == {0, 1, 2}


def test_sound_files(folder, events, audio):
    infos = [soundfile.info(folder / name) for name in events["path"]]
    assert {(i.samplerate, i.channels, i.subtype, i.format) for i in infos} == {(22050, 1, "PCM_16", "FLAC")}
    lengths = np.array([i.duration for i in infos])
    assert 4 <= lengths.min() < 6 < 14 < lengths.max() <= 20
    for name, x in audio.items():
        assert np.abs(x).max() < 0.99, name
        # Heard everywhere: no second of it is silent, or next to it.
        assert x[: len(x) // FILE_RATE * FILE_RATE].reshape(-1, FILE_RATE).std(axis=1).min() > 20 / 2**15


def test_some_sites_are_missing(events):
    n_sites = events.groupby("patient").size()
    assert 0.10 <= 1 - len(events) / (N * len(SITES)) <= 0.15
    assert 4 <= n_sites.min() < n_sites.max() == len(SITES)
    assert events.groupby("position").size().min() > 0.7 * N


# ---- who and how many -------------------------------------------------------------------------------------------------


def test_the_full_size_has_the_papers_counts():
    people = make_plan(FULL_SIZE, np.random.default_rng(0)).patients
    ill = people["diagnosis"] != "control"
    counts = pd.crosstab(people["clinic"], ill)
    assert FULL_SIZE == 318
    assert counts.loc["GVA"].to_dict() == {True: 55, False: 23}
    assert counts.loc["POA"].to_dict() == {True: 160, False: 80}
    batches = pd.crosstab(people.index.get_level_values("cohort"), ill)
    assert batches.loc["POA3"].to_dict() == {True: 82, False: 0}
    assert batches.loc["POA1"].to_dict() == {True: 39, False: 53}
    diagnoses = people["diagnosis"].value_counts()
    assert diagnoses["viral pneumonia"] == 9
    assert diagnoses["bacterial pneumonia"] == pytest.approx(49, abs=1)
    assert diagnoses["bronchiolitis"] == pytest.approx(137, abs=3)
    assert diagnoses["asthma"] == pytest.approx(17, abs=1)


def test_the_full_size_lasts_as_long_as_the_papers():
    plan = make_plan(FULL_SIZE, np.random.default_rng(0))
    rows = plan.recordings.join(plan.patients, on=["cohort", "patient"])
    minutes = (rows["length_s"] / 60).groupby([rows["clinic"], rows["diagnosis"] == "control"]).sum()
    for name, clinic in CLINICS.items():
        assert minutes[name].to_list() == pytest.approx(clinic.minutes, rel=0.15)
    assert rows["length_s"].min() < 6 < 60 < rows["length_s"].max()


@pytest.mark.parametrize("n_patients", [40, 60, 120])
def test_every_smaller_plan_has_all_groups(n_patients):
    for seed in range(3):
        plan = make_plan(n_patients, np.random.default_rng([seed, 0]))
        people = plan.patients.reset_index()
        label = people["diagnosis"].str.split().str[-1]
        assert len(people) == n_patients
        assert set(people["diagnosis"]) == {*("control", "bacterial pneumonia", "viral pneumonia"), *list(KINDS)[2:]}
        assert (people["clinic"] == "GVA").mean() == pytest.approx(78 / 318, abs=0.02)
        assert (label != "control").mean() == pytest.approx(215 / 318, abs=0.03)
        assert (label == "bronchiolitis").mean() == pytest.approx(139 / 318, abs=0.04)
        counts = pd.crosstab(people["cohort"], label)
        assert counts.loc[["GVA", "POA1", "POA2"], "control"].min() >= 3
        assert counts.loc["POA3", "control"] == 0
        # A diagnosis is spread evenly over the batches.
        assert counts.loc[["POA1", "POA2"], "bronchiolitis"].min() >= 3
        assert counts.loc["GVA", "pneumonia"] >= 3
        assert not people.duplicated(["clinic", "patient"]).any()


def test_parts_are_shared_out_whole():
    assert share_out(10, [55, 23]) == [7, 3]
    assert share_out(7, [1, 1, 0]) == [4, 3, 0]
    assert share_out(0, [2, 1]) == [0, 0]


def test_infants_and_the_sick_breathe_faster():
    people = make_plan(FULL_SIZE, np.random.default_rng(0)).patients
    rate = 60 / people["pace_s"]
    healthy = people["age_years"].map(chest.breaths_per_minute)
    faster = (rate / healthy).groupby(people["diagnosis"]).mean()
    assert faster["control"] == pytest.approx(1, abs=0.08)
    assert faster["bronchiolitis"] > 1.2
    assert rate[people["age_years"] < 1].mean() > 1.3 * rate[people["age_years"] > 5].mean()


# ---- the truth --------------------------------------------------------------------------------------------------------


def test_truth_names_recordings_and_keeps_to_the_diagnoses(events, truth):
    assert truth["label"].notna().all()
    for label, kinds in KINDS.items():
        found = set(truth.loc[truth["label"] == label, "kind"])
        assert found <= kinds
        assert bool(found) == bool(kinds)
    assert (truth["start_s"] >= 0).all()
    assert (truth["end_s"] <= truth["recording"].map(events["end_s"])).all()
    assert (truth["low_hz"] < truth["high_hz"]).all()
    ill = events[events["label"] != "control"]
    assert set(ill["patient"]) == set(truth["patient"])


def test_pneumonia_is_local_and_the_others_are_diffuse(events, truth):
    sites = events.groupby(["label", "patient"])["recording"].nunique()
    heard = truth.groupby(["label", "patient"])["recording"].nunique()
    share = (heard / sites).dropna().groupby("label").mean()
    assert share["pneumonia"] < 0.7
    assert share[["bronchiolitis", "asthma"]].min() > 0.7


def test_pneumonia_is_softer_away_from_its_focus():
    near, far = [], []
    for seed in range(40):
        level, _ = multisite._by_site(np.random.default_rng(seed), "pneumonia")
        clear = {site: db - multisite.CLARITY_DB[site] for site, db in level.items()}
        ordered = sorted(clear.values())
        assert 1 <= len(level) < len(SITES)
        near.append(ordered[-1])
        far.append(ordered[0])
    assert np.mean(near) - np.mean(far) > 5


def test_wheezes_are_heard_at_their_pitch(audio, truth):
    """More power in the band about the first partial during the wheeze than just before and after, in most of them."""
    louder = []
    for w in truth[truth["kind"] == "wheeze"].itertuples():
        x = audio[w.recording]
        a, b, m = int(w.start_s * FILE_RATE), int(w.end_s * FILE_RATE), int(0.15 * FILE_RATE)
        if a >= m and b + m <= len(x):
            sos = signal.butter(2, (0.9 * w.low_hz, 1.1 * w.low_hz), "band", fs=FILE_RATE, output="sos")
            y = signal.sosfilt(sos, x[a - m : b + m]) ** 2
            louder.append(y[m + m // 2 : -m - m // 2].mean() / np.r_[y[m // 3 : m], y[-m // 2 :]].mean())
    assert len(louder) > 100
    assert np.median(louder) > 2
    assert np.mean(np.array(louder) > 1) > 0.75


@pytest.mark.parametrize(("kind", "low", "high"), [("crackle_fine", 450, 900), ("crackle_coarse", 150, 500)])
def test_crackles_are_heard_where_the_truth_says(audio, truth, kind, low, high):
    """More power within crackles, in their band, than midway between one and the next."""
    sos = signal.butter(4, (low, high), "band", fs=FILE_RATE, output="sos")
    gain = []
    for name, rows in truth[truth["kind"] == kind].groupby("recording"):
        power = signal.sosfiltfilt(sos, audio[name]) ** 2
        starts, ends = rows["start_s"].to_numpy(), rows["end_s"].to_numpy()
        inside = [power[int(a * FILE_RATE) : int(b * FILE_RATE)].mean() for a, b in zip(starts, ends, strict=True)]
        wide = (starts[1:] - ends[:-1] > 0.02) & (starts[1:] - ends[:-1] < 0.3)
        middles = ((starts[1:] + ends[:-1]) / 2)[wide]
        between = [power[int((m - 0.003) * FILE_RATE) : int((m + 0.003) * FILE_RATE)].mean() for m in middles]
        if between:
            gain.append(10 * np.log10(np.mean(inside) / np.mean(between)))
    assert len(gain) >= 5
    assert np.median(gain) > 5


# ---- the shift between the clinics ------------------------------------------------------------------------------------


def test_porto_alegre_is_filtered_and_has_another_background(events, spectra):
    hz, levels = spectra
    controls = events[events["label"] == "control"]
    mean = levels.loc[controls["recording"]].groupby(controls["clinic"]).mean().T

    def over(clinic, low, high):
        return mean.loc[(hz > low) & (hz < high), clinic].mean()

    # Softer by the gain alone below, cut off above 1 kHz.
    low_band = over("GVA", 150, 400) - over("POA", 150, 400)
    high_band = over("GVA", 1000, 1600) - over("POA", 1000, 1600)
    assert 2 < low_band < 14
    assert high_band > 10 + low_band

    # The mains of each: a line at its harmonics that the other does not have.
    def line(clinic, at):
        power = mean[clinic]
        return power.iloc[np.abs(hz - at).argmin()] - over(clinic, at - 30, at + 30)

    own = CLINICS["POA"].hum_hz
    assert own != CLINICS["GVA"].hum_hz
    assert line("POA", 2 * own) > 2 + line("GVA", 2 * own)


def test_the_clinics_do_not_overlap_above_a_kilohertz(events, spectra):
    hz, levels = spectra
    high = levels.loc[:, (hz > 1000) & (hz < 1600)].mean(axis=1).groupby(events["clinic"])
    assert high.quantile(0.05)["GVA"] > high.quantile(0.95)["POA"] + 6


def test_sites_differ_in_the_breath(events, spectra):
    hz, levels = spectra
    level = levels.loc[:, (hz > 150) & (hz < 500)].mean(axis=1)
    within = level - level.groupby(events["patient"]).transform("mean")
    by_site = within.groupby(events["position"]).mean()
    assert by_site[list("1256")].mean() > by_site[list("3478")].mean() + 1


# ---- writing ----------------------------------------------------------------------------------------------------------


def test_same_seed_same_bytes(folder, tmp_path):
    again = simulate_multisite(tmp_path / "multisite", n_patients=N, seed=3)
    for a, b in ((folder, again), (folder.with_name("multisite_truth"), tmp_path / "multisite_truth")):
        first, second = (fingerprint_files([p for p in x.rglob("*") if p.is_file()], x) for x in (a, b))
        assert first == second


def test_another_seed_gives_another_plan():
    plans = [make_plan(N, np.random.default_rng([seed, 0])) for seed in (0, 1)]
    assert not plans[0].patients.equals(plans[1].patients)
    assert not plans[0].recordings.index.equals(plans[1].recordings.index)


def test_refuses_a_folder_in_use_and_too_few_patients(tmp_path):
    (tmp_path / "multisite").mkdir()
    (tmp_path / "multisite" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not empty"):
        simulate_multisite(tmp_path / "multisite", n_patients=N)
    for n_patients in (0, 23):
        with pytest.raises(UserError, match="give 24 or more"):
            simulate_multisite(tmp_path / "other", n_patients=n_patients)
    assert [p.name for p in tmp_path.rglob("*")] == ["multisite", "mine.txt"]
