"""The listening test: what the page holds and hides, and a listener's walk through it in headless Chromium."""

import base64
import functools
import itertools
import json
import re
import shutil
import subprocess
import time
import urllib.request
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import soundfile

from lungnb.core import UserError
from lungnb.metrics.listening import read_key, read_ratings, spoilt, write_listening

RATE = 16000
SYSTEMS = ["ground truth", "AudioLDM", "LungLDM"]
TYPES = [f"sound no {i}" for i in range(13)]


def order(files, seed):
    """Fisher and Yates's shuffle, as the page does it for a listener with this seed."""
    names = sorted(files)
    for i in range(len(names) - 1, 0, -1):
        seed = (1664525 * seed + 1013904223) % 2**32
        j = seed * (i + 1) // 2**32
        names[i], names[j] = names[j], names[i]
    return names


def clips_of(seconds=0.03, types=TYPES):
    """White noise, which FLAC cannot make smaller: one clip a system and type, and two anchors."""
    rng = np.random.default_rng(0)
    rows = [(t, s, f"A person makes {t}, <male>, 40s") for s in SYSTEMS for t in types]
    rows += [("cough", "anchor", "A person is coughing & well"), ("wheeze", "anchor", "A person is wheezing")]
    clips = pd.DataFrame(rows, columns=["type", "system", "prompt"])
    return clips.assign(audio=[rng.normal(0, s, round(seconds * RATE)) for s in rng.uniform(0.01, 9, len(clips))])


def content_of(page):
    """What the page's script reads."""
    return json.loads(re.search(r'<script type="application/json" id="test">(.*)</script>', page.read_text())[1])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    page = tmp_path_factory.mktemp("listening") / "listening.html"
    return page, write_listening(page, clips_of(), "Listen <to> this", origin="simulated")


def test_one_second_clips_make_a_page_under_two_megabytes(tmp_path):
    write_listening(tmp_path / "a.html", clips_of(1.0), "A title", origin="simulated")
    assert (tmp_path / "a.html").stat().st_size < 2e6  # noise is the worst case


def test_the_page_needs_nothing_from_outside(written):
    page = re.sub(r'"flac": "[^"]*"|"(high|low)": "[^"]*"', "", written[0].read_text())
    assert len(page) < 40_000  # all sounds are taken out
    assert not re.findall(r"""https?:|(?:src|href|action)=(?!"data:,")|@import|url\(|fetch\(|XMLHttp|import\(""", page)
    assert "default-src 'none'" in page
    assert "<title>Listen &lt;to&gt; this</title>" in page


def test_no_system_is_named_and_the_key_knows_all(written):
    page, key_path = written
    text, key, test = page.read_text().lower(), read_key(key_path), content_of(page)
    assert key_path.name == "listening-key.json"
    assert not [name for name in ("ground truth", "audioldm", "lungldm") if name in text]
    assert [file["file"] for file in test["files"]] == sorted(key["files"])
    assert all(set(file) == {"file", "prompt", "flac"} for file in test["files"])
    assert sorted((f["system"], f["type"]) for f in key["files"].values()) == sorted(itertools.product(SYSTEMS, TYPES))
    places = [SYSTEMS.index(key["files"][file["file"]]["system"]) for file in test["files"]]
    assert 15 <= np.count_nonzero(np.diff(places)) <= 36  # of 38 neighbours about 26 differ by chance
    assert key["sounds"] == test["sounds"] == "simulated"


def test_every_file_is_its_clip_at_the_common_peak(written):
    page, key_path = written
    key, clips = read_key(key_path)["files"], clips_of().set_index(["type", "system"])
    for file in content_of(page)["files"]:
        samples, rate = soundfile.read(BytesIO(base64.b64decode(file["flac"])))
        clip = clips.loc[(key[file["file"]]["type"], key[file["file"]]["system"])]
        centred = clip["audio"] - clip["audio"].mean()
        assert rate == RATE
        assert np.allclose(samples, 0.5 * centred / np.abs(centred).max(), atol=2**-15)
        assert file["prompt"] == clip["prompt"] == key[file["file"]]["prompt"]


def test_names_follow_the_seed_and_a_test_its_sounds(tmp_path):
    def key(title="A", seed=0, clips=None):
        clips = clips_of(0.05, ["cough"]) if clips is None else clips
        return read_key(write_listening(tmp_path / "a.html", clips, title, "real", seed=seed))

    assert key() == key()
    assert set(key()["files"]).isdisjoint(key(seed=1)["files"])
    louder = clips_of(0.05, ["cough"])
    louder.at[0, "audio"] = louder.at[0, "audio"][::-1]
    assert key(clips=louder)["test"] != key()["test"]


def test_the_low_anchor_is_noise_as_strong_as_the_sound():
    sound = np.sin(np.arange(RATE) / 7) * np.linspace(0, 1, RATE)
    noise = spoilt(sound, np.random.default_rng(0)) - sound
    assert np.mean(noise**2) == pytest.approx(np.mean(sound**2), rel=0.05)
    assert np.mean(noise[:4000] ** 2) == pytest.approx(np.mean(sound[:4000] ** 2), rel=0.1)


def changed(column, row, value):
    clips = clips_of(0.05)
    clips.at[row, column] = value
    return clips


@pytest.mark.parametrize(
    ("clips", "sentence"),
    [
        (clips_of(0.05).drop(columns="prompt"), "no column 'prompt'"),
        (clips_of(0.05).drop(index=14), "AudioLDM has 0 clips of sound no 1;"),
        (changed("type", 3, "sound no 1"), "ground truth has 2 clips of sound no 1;"),
        (clips_of(0.05).drop(index=40), "there are 1 with 1"),
        (changed("prompt", 40, "A person is coughing & well"), "there are 2 with 1"),
        (changed("audio", 2, np.zeros(800)), "sound no 2 by ground truth is silent"),
        (changed("audio", 2, np.full(800, np.nan)), "sound no 2 by ground truth is silent or not finite"),
        (changed("audio", 2, np.ones(700)), r"sound no 2 by ground truth has the shape \(700,\), another has \(800,\)"),
        (changed("audio", 2, np.ones((800, 2))), r"has the shape \(800, 2\)"),
        (changed("prompt", 38, " "), "sound no 12 by LungLDM has no prompt"),
        (clips_of(0.05)[39:], "any system has 0 clips"),
        (clips_of(0), "is silent"),
    ],
)
def test_clips_that_make_no_fair_test_are_refused(tmp_path, clips, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        write_listening(tmp_path / "a.html", clips, "A title", "real")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


class Browser:
    """One tab of headless Chromium, spoken to by the DevTools protocol."""

    def __init__(self, program, folder):
        import websocket

        flags = "--headless --no-sandbox --disable-gpu --mute-audio --no-first-run --disable-background-networking"
        command = [
            program,
            *flags.split(),
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}/profile",
            "about:blank",
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = wait(lambda: (folder / "profile" / "DevToolsActivePort").read_text().splitlines()[:1])[0]
            self.socket = websocket.create_connection(wait(lambda: first_tab(port)), timeout=30, suppress_origin=True)
        except BaseException:
            self.process.kill()
            raise
        self.events, self.n = [], 0
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder / "saved"))

    def call(self, method, **params):
        self.n += 1
        self.socket.send(json.dumps({"id": self.n, "method": method, "params": params}))
        while (message := json.loads(self.socket.recv())).get("id") != self.n:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def js(self, code):
        result = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, code):
        return wait(lambda: self.js(code))

    def open(self, address):
        for url in ("about:blank", address):  # one by one: a second navigation can choke on a first that is under way
            before = len(self.events)
            self.call("Page.navigate", url=url)
            while not any(event["method"] == "Page.loadEventFired" for event in self.events[before:]):
                self.events.append(json.loads(self.socket.recv()))

    def reopen(self, address, code):
        """Open a page again until `code` is true of it: what a page kept reaches another process some moments later."""

        def ask():
            self.open(address)
            return self.js(code)

        return wait(ask)

    def press(self, key, code=0, text=""):
        key = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code, "text": text}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **key)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key | {"text": ""})

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)


def first_tab(port):
    """Where the tab listens, once there is one."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
        return next((tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page"), None)


def wait(ask, seconds=20):
    """The first true answer of `ask`, asked again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if answer := ask():
                return answer
        except OSError:
            pass
        time.sleep(0.01)
    raise TimeoutError("Chromium gave no answer in time")


space = functools.partial(Browser.press, key=" ", code=32, text=" ")
enter = functools.partial(Browser.press, key="Enter", code=13, text="\r")
right = functools.partial(Browser.press, key="ArrowRight", code=39)
left = functools.partial(Browser.press, key="ArrowLeft", code=37)
tab = functools.partial(Browser.press, key="Tab", code=9)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on the PATH")
    pytest.importorskip("websocket", reason="websocket-client is not installed")
    folder = tmp_path_factory.mktemp("browser")
    browser = Browser(program, folder)
    browser.saved = folder / "saved"
    yield browser
    browser.close()
    bad = [e["params"] for e in browser.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    asked = {e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"}
    assert not bad
    assert {address.split(":")[0] for address in asked} <= {"file", "blob", "data", "about"}


def shown(browser):
    return browser.js("['start', 'rate', 'done'].filter((s) => $(s).checkVisibility()).join()")


def note(browser):
    return browser.js("$('note').textContent")


def hear(browser):
    plays = browser.js("now.plays")
    space(browser)
    browser.until(f"now.plays === {plays + 1}")


@pytest.mark.browser
def test_every_sound_decodes(browser, written):
    browser.open(written[0].as_uri())
    lengths = browser.js("""(async () => {
      const context = new OfflineAudioContext(1, 16000, 16000);
      const all = [...test.files.map((file) => file.flac), ...Object.values(test.examples)];
      const heard = await Promise.all(all.map(async (flac) => context.decodeAudioData(await sound(flac).arrayBuffer())));
      return heard.map((buffer) => buffer.length);
    })()""")
    assert lengths == [480] * 41


@pytest.mark.browser
def test_a_listener_walks_through_by_keyboard(browser, written):
    page, key_path = written
    key = read_key(key_path)
    browser.open(page.as_uri() + "#seed=12345")
    assert shown(browser) == "start"
    browser.js("document.querySelector('[data-example=low]').click()")
    browser.until("document.querySelector('[data-example=low]').textContent === 'Play again'")
    browser.js("$('begin').focus()")
    enter(browser)
    assert shown(browser) == "rate"
    enter(browser)
    assert note(browser) == "Play the sound to its end first."
    hear(browser)
    enter(browser)
    assert note(browser) == "Move the slider of Overall quality and of Relevance to the text first."
    right(browser)
    left(browser)  # fifty may be meant
    enter(browser)
    assert note(browser) == "Move the slider of Relevance to the text first."
    assert browser.js("$('OVL').ariaValueText + $('REL').ariaValueText") == "50, fairnot rated"
    tab(browser)
    assert browser.js("document.activeElement.id") == "REL"
    assert browser.js("document.activeElement.matches(':focus-visible')")
    for _ in range(3):
        right(browser)
    enter(browser)
    assert browser.js("$('place').textContent") == "Sound 2 of 39"

    hear(browser)
    left(browser)
    browser.reopen(page.as_uri(), "$('begin').textContent === 'Go on with sound 2 of 39'")  # closed in the middle of it
    browser.js("$('begin').click()")
    assert browser.js("[now.plays, now.OVL]") == [0, None]
    for i in range(38):
        assert browser.js("$('prompt').textContent") == key["files"][browser.js("now.file")]["prompt"]
        hear(browser)
        for _ in range(i % 3 + 1):
            left(browser)
        tab(browser)
        right(browser)
        enter(browser)
    assert shown(browser) == "done"

    browser.reopen(page.as_uri(), "$('done').checkVisibility()")  # nothing is lost between the last file and the saving
    assert shown(browser) == "done"
    enter(browser)
    saved = wait(
        lambda: [p for p in browser.saved.glob("ratings-*.json") if p.stat().st_size] if browser.saved.exists() else 0
    )
    table = read_ratings(browser.saved, key)
    result = json.loads(saved[0].read_text())
    assert len(table) == 39
    assert set(table["origin"]) == {"real"}
    assert result["order"] == [rating["file"] for rating in result["ratings"]] == order(key["files"], 12345)
    ratings = [(rating["OVL"], rating["REL"]) for rating in result["ratings"]]
    assert ratings == [(50, 53)] + [(50 - i % 3 - 1, 51) for i in range(38)]
    assert all(rating["plays"] >= 1 and rating["seconds"] > 0 for rating in result["ratings"])
    assert result["started"] < result["finished"]

    browser.js("$('another').click()")
    assert shown(browser) == "start"
    browser.js("$('begin').click()")
    assert browser.js("state.listener") != result["listener"]
    assert browser.js("state.order.join()") != ",".join(result["order"])


@pytest.mark.browser
def test_without_storage_it_works_and_says_so(browser, written):
    script = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied'); } });"
    hook = browser.call("Page.addScriptToEvaluateOnNewDocument", source=script)["identifier"]
    try:
        browser.open(written[0].as_uri())
        assert not browser.js("$('forgetful').checkVisibility()")
        browser.js("$('begin').click()")
        assert browser.js("$('forgetful').checkVisibility()")
        assert shown(browser) == "rate"
        assert not browser.js("$('kept').checkVisibility()")
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=hook)


@pytest.mark.browser
def test_a_browser_that_cannot_play_says_so(browser, written):
    browser.open(written[0].as_uri())
    browser.js("test.examples.high = btoa('no sound'); document.querySelector('[data-example=high]').click()")
    browser.until("$('trouble').checkVisibility()")
    assert browser.js("$('trouble').textContent").startswith("This browser cannot play the sound (")


@pytest.mark.browser
@pytest.mark.parametrize("kept", ["{", "null", "7", '{"order": [1], "ratings": []}'])
def test_a_spoilt_store_is_begun_anew(browser, written, kept):
    browser.open(written[0].as_uri())
    browser.js(f"localStorage.setItem(SLOT, {json.dumps(kept)})")
    browser.open(written[0].as_uri())
    assert browser.js("state") is None
    assert shown(browser) == "start"


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 390, 320])
def test_nothing_scrolls_sideways_and_everything_is_named(browser, written, width):
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 1000
    )
    browser.open(written[0].as_uri())
    browser.js("forget()")
    for section in ("start", "rate", "done"):
        browser.js({"start": "welcome()", "rate": "begin()", "done": "finish()"}[section])
        assert shown(browser) == section
        assert browser.js("document.documentElement.scrollWidth") <= width
        nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
        named = [
            n["name"]["value"] for n in nodes if n.get("role", {}).get("value") in ("button", "slider", "progressbar")
        ]
        assert named
        assert all(named), section
    browser.js("forget()")
