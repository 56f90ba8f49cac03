"""The lesson in the browser: what stands in for scipy there, what is packed for it, and the page in headless Chromium."""

import base64
import functools
import hashlib
import http.server
import importlib.util
import io
import json
import re
import sys
import threading
import zipfile
from contextlib import redirect_stdout

import jupytext
import numpy as np
import pytest
import scipy.fft
import scipy.optimize
import scipy.signal
import scipy.special
import scipy.stats
from test_site_browser import browser  # noqa: F401

from lungnb.book import recorded
from lungnb.book import site as site_module
from lungnb.book.site import lite, parcels
from lungnb.book.site.parcels import Missing, Parcel
from lungnb.data.corpus import SIMULATED_MARKER

ANSWERS = {
    "my_bin": """def my_bin(table, low, high):
    p = table[probabilities].to_numpy()
    sure = (p.max(1) >= low) & (p.max(1) < high)
    return p.max(1)[sure].mean(), (p.argmax(1) == table["label"])[sure].mean()
""",
    "my_interval": """def my_interval(table, rng, times=300):
    rows = list(table.groupby("patient").indices.values())
    drawn = (rng.integers(len(rows), size=len(rows)) for _ in range(times))
    scores = [score_of(table.iloc[np.concatenate([rows[child] for child in children])]) for children in drawn]
    return np.percentile(scores, [2.5, 97.5])
""",
    "sp_of_children": """def sp_of_children(table):
    normal = table[table["label"] == 0]
    return (normal["predicted"] == 0).groupby(normal["patient"]).mean().mean()
""",
}


@pytest.fixture(scope="module")
def stand_in():
    """The stand-in for scipy, under another name."""
    place = lite.BROWSER / "scipy"
    spec = importlib.util.spec_from_file_location(
        "stand_in", place / "__init__.py", submodule_search_locations=[str(place)]
    )
    sys.modules["stand_in"] = importlib.util.module_from_spec(spec)
    yield lambda name: importlib.import_module(f"stand_in.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "stand_in"]:
        del sys.modules[name]


def test_quantiles_are_those_of_scipy(stand_in):
    share = np.r_[1e-12, 1e-9, 1e-6, 0.001, 0.0125, 0.025, 0.05, 0.2, 0.45, 0.499, 0.5, 0.6, 0.975]
    degrees = np.r_[1, 2, 3, 4, 5, 10, 84, 200, 500]
    ours, theirs = (of.t.isf(share[:, None], degrees) for of in (stand_in("stats"), scipy.stats))
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-12)
    assert np.isclose(stand_in("stats").t.isf(0.025, 4), scipy.stats.t.isf(0.025, 4), rtol=1e-12)
    for q in (1e-6, 0.025, 0.5, 0.975):
        assert np.isclose(stand_in("stats").norm.ppf(q), scipy.stats.norm.ppf(q), rtol=1e-12, atol=1e-12)


def test_softmax_and_the_incomplete_beta_function_are_those_of_scipy(stand_in):
    x = 50 * np.random.default_rng(0).normal(size=(40, 7))
    for name in ("softmax", "log_softmax"):
        for axis in (0, 1):
            ours, theirs = (getattr(of, name)(x, axis=axis) for of in (stand_in("special"), scipy.special))
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-15)
    for a, b, at in ((0.5, 2, 0.3), (40, 0.5, 0.99), (2, 3, 0.0), (2, 3, 1.0), (0.5, 0.5, 1e-9)):
        assert np.isclose(stand_in("special").betainc(a, b, at), scipy.special.betainc(a, b, at), rtol=1e-11)


def test_roots_and_minima_are_those_of_scipy(stand_in):
    for n in (2, 9, 84):

        def off(p, n=n):
            return 1.7 - scipy.stats.t.isf(p / 2, n)

        ours, theirs = (of.brentq(off, 1e-12, 1.0) for of in (stand_in("optimize"), scipy.optimize))
        assert abs(ours - theirs) < 1e-8
    with pytest.raises(ValueError, match="different signs"):
        stand_in("optimize").brentq(lambda x: 1 + x * x, 0, 1)

    def loss(t):
        return np.logaddexp(0, -t) + 0.1 * t

    ours, theirs = (
        of.minimize_scalar(loss, bounds=(-3, 3), method="bounded") for of in (stand_in("optimize"), scipy.optimize)
    )
    assert abs(ours.x - theirs.x) < 1e-5  # as near as scipy's own minimum is to the true one
    assert ours.fun <= theirs.fun + 1e-12
    with pytest.raises(ValueError, match="no method"):
        stand_in("optimize").minimize_scalar(loss, bounds=(-3, 3), method="brent")


def test_a_band_pass_and_lengths_are_those_of_scipy(stand_in):
    for order, edges, rate in ((2, (100, 1000), 4000), (5, (50, 1999), 4000), (4, (25, 400), 44100)):
        ours, theirs = (of.butter(order, edges, btype="bandpass", fs=rate) for of in (stand_in("signal"), scipy.signal))
        for mine, known in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, known, rtol=1e-8, atol=1e-8 * np.abs(known).max())
    for edges in ((50, 2000), (0, 100), (300, 200), (50, 2500)):
        for of in (stand_in("signal"), scipy.signal):
            with pytest.raises(ValueError):  # noqa: PT011
                of.butter(5, edges, btype="bandpass", fs=4000)
    for real in (False, True):
        ours, theirs = ([of.next_fast_len(n, real) for n in range(1, 2000)] for of in (stand_in("fft"), scipy.fft))
        assert ours == theirs
    x = np.random.default_rng(0).normal(size=300).astype(np.float32)
    spectrum = stand_in("fft").rfft(x, 320)
    np.testing.assert_allclose(spectrum, scipy.fft.rfft(x, 320), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(stand_in("fft").irfft(spectrum, 320)[:300], x, atol=1e-5)


# ---- what is packed


@pytest.fixture(scope="module")
def contents():
    return lite.contents()


def test_packed_predictions_are_the_recorded_ones(contents, tmp_path, monkeypatch):
    outside = load_outside(contents, tmp_path, monkeypatch)
    for name, rows in lite.SHOWN.items():
        kept, packed = recorded.predictions(name), outside.predictions(name)
        assert set(packed["row"]) == set(rows)
        for row in rows:
            for ours, theirs in zip(outside.by_seed(packed, row), recorded.by_seed(kept, row), strict=True):
                shared = ["event", "patient", "label", "predicted", "p0", "p3"]
                assert ours[shared].astype(str).equals(theirs[shared].astype(str))
    assert sum(map(len, contents.values())) < 8e6


def test_only_what_is_imported_is_packed_of_a_module_that_cannot_be(contents):
    scope = {}
    exec(contents["lungnb/data/corpus.py"], scope)
    assert scope["SIMULATED_MARKER"] == SIMULATED_MARKER
    assert set(scope) == {"__builtins__", "SIMULATED_MARKER"}
    assert "lungnb/data/__init__.py" not in contents


def load_outside(contents, folder, monkeypatch):
    """The module that the lesson imports in the browser, with its packed predictions, imported here."""
    for name, content in contents.items():
        if name.startswith(("recorded/", "lungnb_browser")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "lungnb_browser", raising=False)
    return importlib.import_module("lungnb_browser")


def run_outside(contents, folder, monkeypatch, answered):
    """What the lesson prints where its cells run here, with the real scipy, up to the first failing assertion for which
    `answered(error, source of the cell, what runs code)` is False."""
    load_outside(contents, folder, monkeypatch)
    printed, scope = io.StringIO(), {"__name__": "lesson"}

    def run(source):
        exec(compile(source, "lesson", "exec"), scope)

    with redirect_stdout(printed):
        for cell in (cell for cell in jupytext.read(lite.BROWSER / "lesson.py").cells if cell.cell_type == "code"):
            try:
                run(cell.source)
            except AssertionError as error:
                if not answered(str(error), cell.source, run):
                    break
    return said(printed.getvalue())


def said(text):
    """The lines that hold a number, without those that only say what is displayed: outside a notebook charts are text."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if re.search(r"\d", line) and not line.startswith(("<IPython", "{'application"))]


def test_the_lesson_stops_at_each_open_exercise_and_runs_through_with_answers(contents, tmp_path, monkeypatch):
    waiting = list(enumerate(ANSWERS.items(), start=1))

    def answered(error, source, run):
        number, (name, answer) = waiting.pop(0)
        assert f"exercise {number} is open" in error
        if name == "my_bin":
            run(answer.replace(">= low", "> 0"))
            with pytest.raises(AssertionError, match="the library finds"):
                run(source)
        run(answer)
        run(source)
        return True

    printed = run_outside(contents, tmp_path, monkeypatch, answered)
    assert waiting == []
    assert [line[:17] for line in printed[-3:]] == [f"Exercise {number} passed" for number in (1, 2, 3)]


def test_cells_are_short():
    cells = jupytext.read(lite.BROWSER / "lesson.py").cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    assert 12 <= len(code) <= 20
    assert max(len(source.splitlines()) for source in code) <= 30


# ---- what is fetched


def test_what_cannot_be_had_is_said_in_one_line_and_leaves_no_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="npm is not installed"):
        parcels.fetched("pyodide")

    def write(folder):
        folder.mkdir()
        parcels.fetched("pyodide")

    monkeypatch.setattr(lite, "write", write)
    assert site_module._browser_lesson(tmp_path / "lite") == 0
    assert capsys.readouterr().err == "The site has no lesson that runs in the browser: npm is not installed.\n"
    assert not (tmp_path / "lite").exists()


def test_another_file_than_the_pinned_one_is_refused_and_the_right_one_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path))
    digest = f"sha256-{base64.b64encode(hashlib.sha256(b'right').digest()).decode()}"
    monkeypatch.setitem(parcels.FETCHED, "toy", Parcel("pip", "toy==1", "toy.whl", digest))
    brought = []

    def bring(content):
        def run(command, parcel):
            brought.append(content)
            (parcels.Path(command[command.index("-d") + 1]) / parcel.file).write_bytes(content)

        monkeypatch.setattr(parcels, "_run", run)

    bring(b"wrong")
    with pytest.raises(Missing, match="another toy==1 than the pinned one"):
        parcels.fetched("toy")
    bring(b"right")
    assert parcels.fetched("toy").read_bytes() == b"right"
    assert parcels.fetched("toy").read_bytes() == b"right"
    assert brought == [b"wrong", b"right"], "the second time it came from the cache"


def test_an_installed_package_is_packed_without_what_was_compiled(tmp_path):
    wheel = parcels.pack(tmp_path, "pyyaml")
    names = zipfile.ZipFile(wheel).namelist()
    assert "yaml/loader.py" in names
    assert not [name for name in names if name.endswith((".so", ".pyd", ".pyc"))]
    less = zipfile.ZipFile(parcels.pack(tmp_path, "pyyaml", ("yaml/loader",))).namelist()
    assert set(names) - set(less) == {"yaml/loader.py"}
    with pytest.raises(Missing, match="no-such-package is not installed"):
        parcels.pack(tmp_path, "no-such-package")


# ---- in the browser


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of the page, written and served here, and its folder."""
    folder = tmp_path_factory.mktemp("lite") / "lite"
    try:
        lite.write(folder)
    except Missing as why:
        pytest.skip(f"the page cannot be written here: {why}")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", folder
    server.shutdown()


@pytest.mark.browser
def test_the_page_runs_in_a_browser_and_finds_what_is_found_here(
    served,
    browser,  # noqa: F811
    contents,
    tmp_path,
    monkeypatch,
):
    address, folder = served
    config = json.loads((folder / "jupyter-lite.json").read_text())["jupyter-config-data"]
    kernel = config["litePluginSettings"]["@jupyterlite/pyodide-kernel-extension:kernel"]
    assert kernel["pyodideUrl"].startswith("./")
    assert kernel["disablePyPIFallback"]
    context, outside, gone = browser.new_context(), [], []
    context.set_default_timeout(240_000)  # milliseconds; Python has to start, on a busy machine
    context.on("request", lambda asked: asked.url.startswith((address, "data:", "blob:")) or outside.append(asked.url))
    context.on("response", lambda answer: answer.status >= 400 and gone.append(answer.url))
    page = context.new_page()
    page.goto(address + lite.PAGE)
    page.locator(".jp-CodeCell").first.wait_for()
    page.get_by_text("Python (Pyodide)").wait_for()  # before there is a kernel the menu has nothing to run with
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    outputs = page.locator(".jp-OutputArea-output")
    outputs.get_by_text("AssertionError: exercise 1 is open").wait_for()
    here = run_outside(contents, tmp_path, monkeypatch, lambda *_: False)
    shown = said("\n".join(outputs.locator("pre").all_inner_texts()))
    assert len(here) > 8
    assert [line for line in here if line not in shown] == []
    charts = outputs.locator(".vega-embed .marks")
    charts.nth(2).wait_for()  # they are drawn in their own time
    assert charts.count() == 3
    assert outputs.locator("audio").count() == 1
    assert page.locator("figure img").evaluate("(picture) => picture.complete && picture.naturalWidth > 100")
    cell = page.locator(".jp-CodeCell").filter(has_text="def my_bin(")
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(f'probabilities = [f"p{{k}}" for k in range(7)]\n\n\n{ANSWERS["my_bin"]}')
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")
    outputs.get_by_text("Exercise 1 passed:").wait_for()
    assert outputs.get_by_text("exercise 1 is open").count() == 0
    assert outside == []
    assert gone == []
    context.close()
