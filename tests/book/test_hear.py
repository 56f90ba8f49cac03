"""`lungnb hear`: recordings of one's own become a page and a table, and what cannot be heard is said."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

import lungnb
from lungnb import UserError
from lungnb.book.hear import MOST, WINDOW_S, hear
from lungnb.cli import app


def breath(seconds, rate, seed=0, level=0.1):
    """Noise that comes and goes, as breathing."""
    rng, t = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    return (
        level * np.convolve(rng.standard_normal(len(t)), np.ones(rate // 400) * 20 / rate, "same") * np.sin(2 * t) ** 2
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings as people have them: two marked, two not, one silent, one clipped, one too short, one that is no sound."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "ward 2").mkdir()
    soundfile.write(folder / "marked.wav", breath(6, 44100), 44100)
    (folder / "marked.txt").write_text("0.5 1.5 wheeze\n2 3.25 <normal>\n")
    soundfile.write(folder / "stereo.flac", np.stack([breath(4, 16000), breath(4, 16000, 1)], axis=1), 16000)
    soundfile.write(folder / "ward 2" / "slow.ogg", breath(3, 8000), 8000)
    soundfile.write(folder / "clipped.wav", np.clip(50 * breath(3, 8000, 2, 1.0), -1, 1), 8000)
    soundfile.write(folder / "silent.wav", np.zeros(8000), 4000)
    soundfile.write(folder / "short.wav", breath(0.05, 8000), 8000)
    (folder / "text.wav").write_text("no sound")
    return folder


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "new"
    answer = CliRunner().invoke(app, ["hear", str(folder), "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    return answer.output, (out / "index.html").read_text(), pd.read_csv(out / "events.csv")


class Sources(HTMLParser):
    """What a page would fetch."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found += [
            (tag, value) for name, value in attributes if name in ("src", "href", "srcset", "data", "action")
        ]


def test_every_recording_is_heard_or_named(page, folder):
    said, text, events = page
    assert said.splitlines()[-1].endswith("index.html")
    assert set(events["recording"]) == {"marked.wav", "stereo.flac", "ward 2/slow.ogg", "clipped.wav", "silent.wav"}
    assert "text.wav cannot be decoded" in said
    assert "text.wav cannot be decoded" in text
    assert re.search(r"short.wav lasts 0.05 s; the network hears events from", text)
    assert "This is a recording that is clipped (" in text
    assert "This is a recording that is silent." in text
    assert "recorded at 4,000 Hz, so nothing above 2,000 Hz" in text
    assert "no diagnosis" in text


def test_events_are_the_marks_else_equal_windows(page):
    _, text, events = page
    marked = events[events["recording"] == "marked.wav"]
    assert marked[["start_s", "end_s", "mark"]].values.tolist() == [[0.5, 1.5, "wheeze"], [2.0, 3.25, "<normal>"]]
    assert "&lt;normal&gt;" in text
    assert "<normal>" not in text
    windows = events[events["recording"] == "stereo.flac"]
    length = windows["end_s"] - windows["start_s"]
    assert np.allclose(length, 4 / 3)
    assert abs(length.iloc[0] - WINDOW_S) < WINDOW_S / 2
    assert windows["start_s"].iloc[0] == 0
    assert windows["end_s"].iloc[-1] == 4


def test_the_table_says_what_the_classifier_says(page, folder):
    events = page[2].query("recording == 'marked.wav'").reset_index(drop=True)
    sound, rate = soundfile.read(folder / "marked.wav")
    cuts = [
        sound[int(start * rate) : int(end * rate)]
        for start, end in zip(events["start_s"], events["end_s"], strict=True)
    ]
    said = lungnb.load().predict(cuts, sample_rate=rate)
    classes = list(lungnb.load().classes)
    np.testing.assert_allclose(events[classes], said[classes], atol=0.05)  # cut before or after resampling
    assert events["predicted"].tolist() == said["predicted"].tolist()


def test_the_page_stands_alone_and_plays_what_was_heard(page):
    _, text, events = page
    sources = Sources(text).found
    assert len(sources) > 10
    assert all(value.startswith("data:") for _, value in sources)
    assert "url(" not in text.split("</style>")[0]
    players = [value for tag, value in sources if tag == "audio"]
    assert len(players) == events["recording"].nunique()
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(players[1].partition(",")[2])))  # marked.wav
    assert (rate, len(sound)) == (8000, 48000)
    assert np.abs(sound).max() == pytest.approx(0.9, abs=0.01)
    assert text.count('class="event ') == len(events)


def test_what_the_classes_rest_on(folder, tmp_path):
    said = []
    hear(folder / "marked.wav", tmp_path, explain=True, tell=said.append)
    text = (tmp_path / "index.html").read_text()
    events = pd.read_csv(tmp_path / "events.csv")
    like = int((events["unusual"] < 99).sum())
    assert "What the class rests on" in text
    assert len(re.findall(r'<div class="event [^<]*?><img', text)) == like
    assert len(said) == 1


def test_a_moment_of_silence(tmp_path):
    soundfile.write(tmp_path / "off.wav", np.zeros(2400), 8000)
    text = hear(tmp_path / "off.wav", tmp_path, explain=True, tell=lambda line: None).read_text()
    assert "0.3 s, 1 window:" in text
    assert ">0.05</span>" in text  # seconds under the picture, of so short a recording too
    assert "without the green<" not in text  # nothing is explained of what is unlike the training data
    picture = next(value for tag, value in Sources(text).found if tag == "img")
    black = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))))[..., :3]
    assert black.max() < 10


def test_marks_from_another_folder(folder, tmp_path):
    (tmp_path / "marks" / "deep").mkdir(parents=True)
    (tmp_path / "marks" / "deep" / "Slow.csv").write_text("start_s,end_s\n1,2\n")
    hear(folder / "ward 2", tmp_path / "page", marks=tmp_path / "marks", tell=lambda line: None)
    assert pd.read_csv(tmp_path / "page" / "events.csv")["start_s"].tolist() == [1]


def test_marks_that_are_not_there_are_told(folder, tmp_path):
    for marks, holds in ((tmp_path / "none", "nothing, for it is not there"), (folder / "ward 2", "slow.ogg")):
        with pytest.raises(UserError, match=f"holds no marks .*; it holds {holds}"):
            hear(folder, tmp_path / "page", marks=marks)


def test_numbered_recordings_are_heard_and_what_cannot_be_read_is_listed(folder, tmp_path):
    for k, name in enumerate(("Recording", "Recording (2)", "Recording (3)")):
        soundfile.write(tmp_path / f"{name}.wav", breath(2, 8000, k), 8000)
    (tmp_path / "Recording (2).txt").write_text("0.5 1.5 wheeze\n")
    (tmp_path / "Phone.m4a").write_text("")
    text = hear(tmp_path, tmp_path / "page", tell=lambda line: None).read_text()
    events = pd.read_csv(tmp_path / "page" / "events.csv").groupby("recording")["start_s"].first()
    assert events.to_dict() == {"Recording (2).wav": 0.5, "Recording (3).wav": 0, "Recording.wav": 0}
    assert "Phone.m4a is in a format that cannot be decoded" in text


def test_more_recordings_than_a_page_can_carry(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("lungnb.book.hear.MOST", 2)
    assert MOST > 2
    for name in "abc":
        shutil.copyfile(folder / "ward 2" / "slow.ogg", tmp_path / f"{name}.ogg")
    text = hear(tmp_path, tmp_path / "page", tell=lambda line: None).read_text()
    assert "1 more recording is in events.csv; this page shows the first 2" in text
    assert text.count("<audio") == 2
    assert pd.read_csv(tmp_path / "page" / "events.csv")["recording"].nunique() == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("text.wav", "text.wav cannot be decoded"),
        ("none.wav", "none.wav is not there; name a recording"),
        ("short.wav", "short.wav lasts 0.05 s"),
    ],
)
def test_a_single_file_that_cannot_be_heard_is_an_error(folder, tmp_path, name, said):
    answer = CliRunner().invoke(app, ["hear", str(folder / name), "--out", str(tmp_path)])
    assert answer.exit_code == 2
    assert said in answer.output
    assert not list(tmp_path.iterdir())


def test_a_folder_without_recordings(tmp_path):
    (tmp_path / "notes.doc").write_text("")
    (tmp_path / "phone.m4a").write_text("")
    with pytest.raises(
        UserError, match=r"holds no recording in .wav.*; 1 are in a format .* it holds notes.doc, phone.m4a"
    ):
        hear(tmp_path, tmp_path / "page")


@pytest.mark.browser
def test_the_cursor_follows_the_sound(page, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    (tmp_path / "index.html").write_text(page[1])
    with sync_playwright() as playwright:
        options = ["--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        view = browser.new_page(viewport={"width": 360, "height": 800})
        view.set_default_timeout(120_000)
        trouble = []
        view.on("console", lambda said: said.type in ("error", "warning") and trouble.append(said.text))
        view.on("pageerror", lambda error: trouble.append(str(error)))
        view.goto((tmp_path / "index.html").as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") <= 360
        card = view.locator(".recording").nth(1)
        card.locator("button").nth(1).click()  # the second event of marked.wav, 2 to 3.25 s of 6
        player, over = "document.querySelectorAll('audio')[1]", False
        for _ in range(300):  # the page's policy forbids wait_for_function
            over = over or view.evaluate(f"{player}.currentTime >= 3.25 && {player}.paused")
            view.wait_for_timeout(0 if over else 100)
        assert over
        at = float(card.locator(".cursor").evaluate("cursor => cursor.style.left").rstrip("%"))
        assert 100 * 3.2 / 6 < at < 70
        browser.close()
    assert trouble == []
