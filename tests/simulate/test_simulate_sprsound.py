"""The simulated SPRSound: its layout, its class imbalance, its truth, and what is heard where the truth points."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy import signal

from lungnb.core import UserError
from lungnb.data import simulator
from lungnb.data.corpus import SIMULATED_MARKER, fingerprint_files
from lungnb.simulate import chest
from lungnb.simulate.sprsound import FOLDERS, RATE, simulate_sprsound
from lungnb.simulate.sprsound_plan import POSITIONS, make_plan

CLASSES = ["Normal", "Rhonchi", "Wheeze", "Stridor", "Coarse Crackle", "Fine Crackle", "Wheeze+Crackle"]

pytestmark = pytest.mark.train

N = 20
NAME = re.compile(r"(?P<patient>\d{8})_(?P<age>\d{1,2}\.\d)_(?P<sex>[01])_(?P<position>p[1-4])_(?P<number>[1-9]\d*)")
RARE = {"Stridor", "Wheeze+Crackle", "Coarse Crackle", "Rhonchi"}
#: What has to be heard in an event, by its type.
KINDS = {
    "Normal": set(),
    "Rhonchi": {"rhonchus"},
    "Wheeze": {"wheeze"},
    "Stridor": {"stridor"},
    "Coarse Crackle": {"crackle_coarse"},
    "Fine Crackle": {"crackle_fine"},
    "Wheeze+Crackle": {"wheeze", "crackle"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return simulate_sprsound(tmp_path_factory.mktemp("sim") / "sprsound", n_patients=N, seed=3)


@pytest.fixture(scope="module")
def recordings(folder):
    """One row a recording, read with nothing but json and the file names."""
    rows = []
    for part, (sounds, annotations) in FOLDERS.items():
        for path in sorted((folder / "BioCAS2022" / annotations).glob("*.json")):
            wave = folder / "BioCAS2022" / sounds / f"{path.stem}.wav"
            rows.append({"recording": path.stem, "part": part, "wave": wave, "json": json.loads(path.read_text())})
    frame = pd.DataFrame(rows)
    return frame.join(frame["recording"].str.extract(NAME))


@pytest.fixture(scope="module")
def events(recordings):
    rows = [
        (r.recording, r.part, r.patient, int(e["start"]) / 1000, int(e["end"]) / 1000, e["type"].replace(" & ", "+"))
        for r in recordings.itertuples()
        for e in r.json["event_annotation"]
    ]
    return pd.DataFrame(rows, columns=["recording", "part", "patient", "start_s", "end_s", "label"])


@pytest.fixture(scope="module")
def truth(folder):
    return pd.read_csv(folder.with_name("sprsound_truth") / "events.csv")


@pytest.fixture(scope="module")
def audio(recordings):
    return {r.recording: soundfile.read(r.wave)[0] for r in recordings.itertuples()}


# ---- layout -----------------------------------------------------------------------------------------------------------


def test_layout_and_names_are_the_official_ones(folder, recordings):
    root = folder / "BioCAS2022"
    assert {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_dir()} == {
        *("train2022_wav", "train2022_json", "test2022_wav", "test2022_json"),
        *("test2022_json/inter_test_json", "test2022_json/intra_test_json"),
    }
    assert recordings["patient"].notna().all()
    assert recordings["number"].is_unique
    assert set(recordings["wave"]) == set(root.rglob("*.wav"))
    assert set(recordings["position"]) == set(POSITIONS)
    assert set(recordings["sex"]) == {"0", "1"}
    people = recordings.groupby("patient")[["age", "sex"]].nunique()
    assert len(people) == N
    assert (people == 1).all(axis=None)
    ages = recordings.drop_duplicates("patient")["age"].astype(float)
    assert 0 <= ages.min() < ages.max() <= 18
    assert simulator("sprsound") is simulate_sprsound
    marker = json.loads((folder / SIMULATED_MARKER).read_text())
    assert (marker["seed"], marker["n_patients"]) == (3, N)


def test_both_spellings_of_the_annotations_occur(recordings):
    for r in recordings.itertuples():
        key, kind, both = ("recording_annotation", int, "Wheeze & Crackle")
        if r.part != "inter":
            key, kind, both = ("record_annotation", str, "Wheeze+Crackle")
        assert set(r.json) == {key, "event_annotation"}
        for e in r.json["event_annotation"]:
            assert set(e) == {"start", "end", "type"}
            assert type(e["start"]) is type(e["end"]) is kind
            assert e["type"] in {*CLASSES, both} - ({"Wheeze+Crackle"} if both != "Wheeze+Crackle" else set())
    assert "Wheeze & Crackle" in str(recordings.loc[recordings["part"] == "inter", "json"].tolist())


def test_the_label_of_a_recording_follows_from_its_events(recordings):
    seen = set()
    for r in recordings.itertuples():
        label = r.json.get("record_annotation", r.json.get("recording_annotation"))
        kinds = {e["type"].replace(" & ", "+") for e in r.json["event_annotation"]}
        continuous = kinds & {"Wheeze", "Rhonchi", "Stridor", "Wheeze+Crackle"}
        discontinuous = kinds & {"Fine Crackle", "Coarse Crackle", "Wheeze+Crackle"}
        if label == "Poor Quality":
            assert not kinds
        else:
            assert kinds
            assert ("CAS" in label.split(" & "), "DAS" in label.split(" & ")) == (bool(continuous), bool(discontinuous))
            assert label in {"Normal", "CAS", "DAS", "CAS & DAS"}
        seen.add(label)
    assert seen == {"Normal", "CAS", "DAS", "CAS & DAS", "Poor Quality"}


def test_events_lie_in_their_recordings_and_have_the_real_lengths(events, audio):
    ends = events["recording"].map({name: len(x) / RATE for name, x in audio.items()})
    assert (events["start_s"] >= 0).all()
    assert (events["end_s"] <= ends).all()
    length = events["end_s"] - events["start_s"]
    assert 0.13 <= length.min() < length.max() <= 5
    assert length.mean() == pytest.approx(1.25, abs=0.2)
    assert length[events["label"] == "Wheeze"].median() == pytest.approx(0.54, abs=0.12)
    # One event a breath: none overlaps the next.
    ordered = events.sort_values(["recording", "start_s"])
    gap = ordered.groupby("recording")["start_s"].shift(-1) - ordered["end_s"]
    assert gap.dropna().min() >= 0


def test_sound_files(recordings, audio):
    for r in recordings.itertuples():
        info = soundfile.info(r.wave)
        assert (info.samplerate, info.channels, info.subtype) == (8000, 1, "PCM_16")
        assert info.duration in (9.216, 15.36)
        assert np.abs(audio[r.recording]).max() < 0.99
        # Heard everywhere: no second of it is silent, or next to it.
        seconds = audio[r.recording][: len(audio[r.recording]) // RATE * RATE].reshape(-1, RATE)
        assert seconds.std(axis=1).min() > 10 / 2**15


# ---- who and how many -------------------------------------------------------------------------------------------------


def test_inter_patients_are_new_and_intra_patients_known(recordings):
    of = {part: set(rows["patient"]) for part, rows in recordings.groupby("part")}
    assert not of["inter"] & (of["train"] | of["intra"])
    assert of["intra"] < of["train"]
    assert len(of["inter"]) / N == pytest.approx(0.15, abs=0.03)
    assert len(of["intra"]) / len(of["train"]) == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("n_patients", [20, 40])
def test_every_plan_keeps_its_promises(n_patients):
    ages = []
    for seed in range(6):
        plan = make_plan(n_patients, np.random.default_rng([seed, 0]))
        events = plan.breaths[plan.breaths["label"].notna()].join(plan.recordings, on="recording")
        count = pd.crosstab(events["part"], events["label"]).reindex(columns=CLASSES, fill_value=0)
        share = count.div(count.sum(axis=1), axis=0)
        assert count.loc["train"].min() >= 4
        assert count.loc[["inter", "intra"]].sum().min() >= 1
        assert 0.68 < share.loc["train", "Normal"] < 0.78
        assert share.loc["train", "Fine Crackle"] == pytest.approx(0.14, abs=0.03)
        assert share.loc["train", "Wheeze"] == pytest.approx(0.085, abs=0.03)
        train = events[events["part"] == "train"]
        by_patient = pd.crosstab(train["patient"], train["label"])
        for label in RARE:
            owners = by_patient[label][by_patient[label] > 0]
            assert len(owners) <= max(3, 0.1 * n_patients)
            assert owners.max() >= 0.4 * owners.sum()
        assert (by_patient["Stridor"] > 0).sum() == 2
        assert by_patient["Stridor"].max() >= 0.7 * by_patient["Stridor"].sum()
        fine = by_patient[by_patient["Fine Crackle"] > 0]
        assert (fine["Fine Crackle"] >= 4).mean() > 0.5
        assert (fine["Normal"] > 0).all()
        assert len(fine) < 0.5 * n_patients
        assert not (set(plan.recordings.index[~plan.recordings["poor"]]) - set(events["recording"]))
        ages += plan.patients["age"].tolist()
        if n_patients == 40:
            assert 600 <= count.loc["train"].sum() <= 900
            assert 250 <= count.loc[["inter", "intra"]].sum(axis=None) <= 400
    # Real: 5.2. In the smallest corpus most children have something, and they are the younger ones.
    assert np.median(ages) == pytest.approx(5 if n_patients == 40 else 3.5, abs=1)


# ---- the truth --------------------------------------------------------------------------------------------------------


def test_every_sound_lies_in_its_event_and_every_event_has_its_sounds(events, truth):
    placed = 0
    by_recording = dict(list(truth.groupby("recording")))
    for e in events.itertuples():
        here = by_recording.get(e.recording, truth[:0])
        here = here[(here["start_s"] >= e.start_s) & (here["end_s"] <= e.end_s)]
        kinds = set(here["kind"])
        if e.label == "Wheeze+Crackle":
            kinds = {k.split("_")[0] for k in kinds}
        assert kinds == KINDS[e.label], (e.recording, e.start_s)
        if "Crackle" in e.label:
            assert here["kind"].str.startswith("crackle").sum() >= 4
        placed += len(here)
    assert placed == len(truth)  # no sound outside an event, so none in a recording of poor quality


def test_truth_keeps_to_the_definitions(truth):
    length = truth["end_s"] - truth["start_s"]
    by_kind = truth.assign(length=length, middle=(truth["low_hz"] + truth["high_hz"]) / 2).groupby("kind")
    assert by_kind["length"].min()["wheeze"] >= 0.08 - 2e-4
    assert by_kind["length"].median()["crackle_fine"] == pytest.approx(0.005, abs=2e-4)
    assert by_kind["length"].median()["crackle_coarse"] == pytest.approx(0.015, abs=2e-4)
    assert by_kind["low_hz"].max()["rhonchus"] < 200
    assert by_kind["low_hz"].min()["stridor"] > 400
    assert by_kind["middle"].median()["crackle_fine"] > 1.5 * by_kind["middle"].median()["crackle_coarse"]
    assert (truth["low_hz"] < truth["high_hz"]).all()


@pytest.mark.parametrize(("kind", "most"), [("wheeze", 0.6), ("rhonchus", 0.6), ("stridor", 0.6)])
def test_a_tone_stands_out_at_its_pitch(audio, truth, kind, most):
    """The strongest line over the breath's own slope lies at the tone's pitch, in most of them; some are faint."""
    found = []
    for w in truth[truth["kind"] == kind].itertuples():
        x = audio[w.recording][int(w.start_s * RATE) : int(w.end_s * RATE)]
        f, power = signal.welch(x, RATE, nperseg=1024)
        # What stands out of a smooth spectrum: the level over that of the 160 Hz around.
        over = 10 * np.log10(power) - signal.medfilt(10 * np.log10(power), 21)
        band = (f >= 70) & (f <= 900)
        pitch = f[band][over[band].argmax()]
        partials = w.low_hz * np.arange(1, 7)  # the first partial is the tone's own pitch
        found.append(np.abs(pitch / partials - 1).min() < 0.12)
    assert len(found) >= 6
    assert np.mean(found) > most


def test_wheezes_begin_and_end_where_the_truth_says(audio, truth):
    """In the truth's band, more energy during the first and the last third than just before and after."""
    louder = []
    for w in truth[truth["kind"] == "wheeze"].itertuples():
        sos = signal.butter(2, (0.95 * w.low_hz, 1.05 * w.high_hz), "band", fs=RATE, output="sos")
        y = signal.sosfiltfilt(sos, audio[w.recording]) ** 2
        a, b, m = int(w.start_s * RATE), int(w.end_s * RATE), int(0.12 * RATE)
        third = (b - a) // 3
        if a >= m and b + m <= len(y):
            louder.append(
                [y[a : a + third].mean() / y[a - m : a].mean(), y[b - third : b].mean() / y[b : b + m].mean()]
            )
    assert len(louder) > 20
    assert np.median(louder, axis=0).min() > 2


def test_crackles_are_heard_where_the_truth_says(audio, truth):
    """More power within crackles, in their band, than midway between one and the next."""
    for kind, low, high in (("crackle_fine", 450, 900), ("crackle_coarse", 150, 500)):
        sos = signal.butter(4, (low, high), "band", fs=RATE, output="sos")
        gain = []
        for name, rows in truth[truth["kind"] == kind].groupby("recording"):
            power = signal.sosfiltfilt(sos, audio[name]) ** 2
            starts, ends = rows["start_s"].to_numpy(), rows["end_s"].to_numpy()
            inside = [power[int(a * RATE) : int(b * RATE)].mean() for a, b in zip(starts, ends, strict=True)]
            wide = (starts[1:] - ends[:-1] > 0.02) & (starts[1:] - ends[:-1] < 0.3)
            middles = ((starts[1:] + ends[:-1]) / 2)[wide]
            between = [power[int((m - 0.003) * RATE) : int((m + 0.003) * RATE)].mean() for m in middles]
            if between:
                gain.append(10 * np.log10(np.mean(inside) / np.mean(between)))
        assert np.median(gain) > 5, kind


def test_normal_events_have_neither_tones_nor_crackles(audio, events):
    """Crest of the 450 to 900 Hz band: crackling events have it, normal ones mostly do not."""
    sos = signal.butter(4, (450, 900), "band", fs=RATE, output="sos")
    crest = {}
    for e in events.itertuples():
        y = signal.sosfiltfilt(sos, audio[e.recording])[int(e.start_s * RATE) : int(e.end_s * RATE)]
        crest.setdefault(e.label, []).append(np.abs(y).max() / np.median(np.abs(y)))
    assert np.median(crest["Fine Crackle"]) > 1.5 * np.median(crest["Normal"])
    assert np.mean(np.array(crest["Normal"]) < np.median(crest["Fine Crackle"])) > 0.7


def test_the_stethoscope_hears_next_to_nothing_above_a_kilohertz(audio):
    for x in list(audio.values())[::7]:
        f, power = signal.welch(x, RATE, nperseg=1024)
        assert power[(f > 60) & (f < 300)].mean() > 1e3 * power[f > 1200].mean()


def test_poor_quality_is_heard(recordings, audio):
    """Knocks, cloth and cries: louder than the recordings that were annotated."""
    level = {True: [], False: []}
    for r in recordings.itertuples():
        level[not r.json["event_annotation"]].append(audio[r.recording].std())
    assert len(level[True]) >= 4
    assert np.median(level[True]) > 2 * np.median(level[False])


def test_infants_breathe_faster():
    plan = make_plan(40, np.random.default_rng(0))
    length = (plan.breaths["end_s"] - plan.breaths["start_s"]).groupby(plan.breaths["recording"]).mean()
    age = plan.patients["age"][plan.recordings.loc[length.index, "patient"]].to_numpy()
    assert length[age < 1.5].mean() == pytest.approx(60 / chest.breaths_per_minute(1), rel=0.15)
    assert length[age > 8].mean() > 1.3 * length[age < 1.5].mean()


# ---- writing ----------------------------------------------------------------------------------------------------------


def test_same_seed_same_bytes(folder, tmp_path):
    again = simulate_sprsound(tmp_path / "sprsound", n_patients=N, seed=3)
    for a, b in ((folder, again), (folder.with_name("sprsound_truth"), tmp_path / "sprsound_truth")):
        first, second = (fingerprint_files([p for p in x.rglob("*") if p.is_file()], x) for x in (a, b))
        assert first == second


def test_another_seed_gives_another_plan():
    plans = [make_plan(N, np.random.default_rng([seed, 0])) for seed in (0, 1)]
    assert not plans[0].breaths.equals(plans[1].breaths)
    assert set(plans[0].recordings.index).isdisjoint(plans[1].recordings.index)


def test_refuses_a_folder_in_use_and_too_few_patients(tmp_path):
    (tmp_path / "sprsound").mkdir()
    (tmp_path / "sprsound" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not empty"):
        simulate_sprsound(tmp_path / "sprsound", n_patients=N)
    for n_patients in (0, 19):
        with pytest.raises(UserError, match="give 20 or more"):
            simulate_sprsound(tmp_path / "other", n_patients=n_patients)
    assert [p.name for p in tmp_path.rglob("*")] == ["sprsound", "mine.txt"]
