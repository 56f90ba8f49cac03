"""Clips: every padding gives whole clips made of the event and its qualified neighbours, as slow references say."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from corpora import simulated
from hypothesis import given
from hypothesis import strategies as st

from lungnb.data.audio import PADDINGS, cut, load_audio, plan_clips
from lungnb.data.icbhi import LABELS
from lungnb.papers.respirenet import CBA_RECIPES, concatenation, same_class_recipes, smart_padding

RATE = 100  # of the toy audio; sample i of the audio has the value i, so that a clip tells where it was read

events_of_recordings = st.lists(  # recordings of events: (label, samples)
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60)), min_size=1, max_size=7), min_size=1, max_size=4
)


def toy(recordings):
    """A audio and events of the given recordings, the events of one following each other."""
    rows, first = [], 0
    for name, recording in enumerate(recordings):
        for label, n in recording:
            rows.append((f"r{name}", first, n, LABELS[label]))
            first += n
    events = pd.DataFrame(rows, columns=["recording", "first", "n", "label"])

    def locate(events):
        return events["first"].to_numpy(), events["n"].to_numpy()

    return SimpleNamespace(sample_rate=RATE, samples=np.arange(first, dtype=np.int16), locate=locate), events


PADS = PADDINGS | {"smart": smart_padding}


def clips_of(recordings, n_samples, padding, cba=False, same_class=False, seed=0, **options):
    audio, events = toy(recordings)
    plan = planned(audio, events, n_samples / RATE, padding, cba, same_class, seed, **options)
    return cut(audio.samples, plan), plan, audio, events


def planned(audio, events, clip_s, padding, cba=False, same_class=False, seed=0, **options):
    rng = np.random.default_rng(seed)
    recipes = same_class_recipes(LABELS) if same_class else CBA_RECIPES
    joined = concatenation(events["label"].to_numpy(object), rng, recipes) if cba else ()
    return plan_clips(audio, events, clip_s, PADS[padding], joined=joined, rng=rng, **options)


def sound(events, i):
    return np.arange(events["first"][i], events["first"][i] + events["n"][i])


def smart(events, i, n):
    """Smart padding, sample by sample as docs/papers/respirenet.md, section 2.1, words it; no event is longer than n."""
    own, clip, d = sound(events, i), list(sound(events, i)), 0
    while len(clip) < n:
        d += 1
        for j, behind in ((i + d, True), (i - d, False)):
            if len(clip) >= n:
                break
            same = 0 <= j < len(events) and events["recording"][j] == events["recording"][i]
            good = same and events["label"][j] in (events["label"][i], "normal")
            part = list(sound(events, j) if good else own)
            clip = clip + part if behind else part + clip
            if len(clip) > n:
                clip = clip[:n] if behind else clip[-n:]
    return clip


@given(recordings=events_of_recordings, n=st.integers(60, 200))
def test_smart_padding_is_the_slow_reference(recordings, n):
    clips, plan, _, events = clips_of(recordings, n, "smart")
    assert plan.event.tolist() == list(range(len(events)))
    for i, clip in enumerate(clips):
        assert clip.tolist() == smart(events, i, n)


@given(
    recordings=events_of_recordings,
    n=st.integers(2, 200),
    padding=st.sampled_from(["smart", "repeat", "reflect"]),
    random_side=st.booleans(),
    cba=st.booleans(),
)
def test_every_clip_is_full_and_of_its_own_recording(recordings, n, padding, random_side, cba):
    clips, plan, _, events = clips_of(recordings, n, padding, random_side=random_side, cba=cba)
    assert clips.shape == (len(plan), n)
    assert all(sum(length for _, length, _ in segments) == n for segments in plan.segments)
    owner = np.repeat(np.arange(len(events)), events["n"])  # of each sample
    for clip, (a, b), label in zip(clips, plan.parents, plan.label, strict=True):
        for j in set(owner[clip]) - {a, b}:
            assert padding == "smart"
            assert events["recording"][j] == events["recording"][a]
            assert events["label"][j] in (label, "normal")


@given(recordings=events_of_recordings, n=st.integers(60, 200))
def test_repeat_is_tile_after_or_before(recordings, n):
    clips, _, _, events = clips_of(recordings, n, "repeat", random_side=True, seed=1)
    after, *_ = clips_of(recordings, n, "repeat")
    for i, (coin, clip) in enumerate(zip(clips, after, strict=True)):
        copies = np.tile(sound(events, i), n)
        assert clip.tolist() == copies[:n].tolist()
        assert coin.tolist() in (copies[:n].tolist(), copies[-n:].tolist())


def test_the_coin_is_fair_and_falls_again_as_before():
    recordings = [[(0, 7)] for _ in range(400)]
    clips, _, audio, _ = clips_of(recordings, 60, "repeat", random_side=True, seed=5)
    again, *_ = clips_of(recordings, 60, "repeat", random_side=True, seed=5)
    assert np.array_equal(clips, again)
    after = (
        clips[:, 0] == audio.locate(toy(recordings)[1])[0]
    ).mean()  # 60 = 8 * 7 + 4: a clip padded before starts elsewhere
    assert 0.4 < after < 0.6


@given(recordings=events_of_recordings, n=st.integers(60, 200))
def test_reflect_and_zero_are_numpys(recordings, n):
    reflected, _, _, events = clips_of(recordings, n, "reflect")
    silent, *_ = clips_of(recordings, n, "zero")
    for i in range(len(events)):
        own = sound(events, i)
        assert reflected[i].tolist() == np.pad(own, (0, n - len(own)), mode="reflect").tolist()
        assert silent[i].tolist() == np.pad(own, (0, n - len(own))).tolist()


def test_fifteen_long_cycles_give_seventeen_more_windows():
    """Behind the released log (docs/papers/respirenet.md, section 1.3): fourteen cycles of 8 to 12 s, one of 16.2 s, at 8 s."""
    cycles = [(0, 810 + 25 * k) for k in range(14)] + [(1, 1620)] + [(2, 300)] * 5
    clips, plan, _, events = clips_of([cycles], 800, "smart")
    assert len(clips) == len(events) + 17
    assert np.bincount(plan.event).tolist() == [2] * 14 + [4] + [1] * 5
    for clip, i in zip(clips, plan.event, strict=True):
        if events["n"][i] > 800:
            assert set(clip) <= set(sound(events, i))
            assert (np.diff(clip) == 1).all()
    assert clips[plan.event == 14][:, 0].tolist() == [events["first"][14] + s for s in (0, 400, 800, 820)]


def test_an_event_of_exactly_the_length_is_one_window():
    clips, *_ = clips_of([[(0, 80), (1, 80)]], 80, "smart")
    assert clips.tolist() == np.arange(160).reshape(2, 80).tolist()


def many(seed=0):
    rng = np.random.default_rng(seed)
    return [
        [(int(label), int(rng.integers(5, 60))) for label in rng.choice(4, 6, p=[0.6, 0.2, 0.12, 0.08])]
        for _ in range(40)
    ]


@pytest.mark.parametrize("same_class", [False, True])
def test_joining_balances_the_classes_by_the_recipes(same_class):
    clips, plan, _, events = clips_of(many(), 130, "repeat", cba=True, same_class=same_class, seed=3)
    assert len(set(pd.Series(plan.label).value_counts())) == 1
    label, n = events["label"].to_numpy(object), events["n"].to_numpy()
    assert plan.label[: len(events)].tolist() == label.tolist()
    shares = {}
    for clip, (a, b), y in list(zip(clips, plan.parents, plan.label, strict=True))[len(events) :]:
        pair = (label[a], label[b])
        shares.setdefault(y, []).append(pair)
        joined = [*sound(events, a), *sound(events, b)]
        assert clip[: n[a] + n[b]].tolist() == joined[:130]
    for new, pairs in shares.items():
        expected = {(r, s): p for r, s, p in CBA_RECIPES[new]}
        if same_class:
            assert set(pairs) == {(new, new)}
            continue
        assert set(pairs) == set(expected)
        for pair, p in expected.items():
            assert pairs.count(pair) / len(pairs) == pytest.approx(p, abs=0.15)


def test_joining_without_a_class_to_join_from():
    _, plan, _, _ = clips_of([[(0, 10)] * 6 + [(1, 10)]], 30, "repeat", cba=True)  # no wheeze, no both
    assert pd.Series(plan.label).value_counts().to_dict() == {"normal": 6, "crackle": 6}
    _, plan, _, _ = clips_of([[(1, 10)] * 3], 30, "repeat", cba=True)  # nothing is normal: nothing to reach
    assert len(plan) == 3


def test_clips_of_a_corpus_never_leave_the_train():
    corpus = simulated()
    audio = load_audio(corpus, highpass_hz=50, peak_normalise=True)
    train = corpus.events[corpus.events["split"] == "train"]
    plan = planned(audio, train, 3.0, "smart", True, seed=1)
    allowed = np.zeros(len(audio.samples), dtype=bool)
    for first, length in zip(*audio.locate(train), strict=True):
        allowed[first : first + length] = True
    for segments in plan.segments:
        for first, length, step in segments:
            assert step == 1
            assert allowed[first : first + length].all()
    assert plan.parents.max() < len(train)
    clips = cut(audio.samples, plan)
    assert clips.shape == (len(plan), 12000)
    assert np.array_equal(clips, cut(audio.samples, planned(audio, train, 3.0, "smart", True, seed=1)))
    assert not np.array_equal(clips[-50:], cut(audio.samples, planned(audio, train, 3.0, "smart", True, seed=2))[-50:])
