"""The site in a browser: headless Chromium opens the built pages from the disk, as a student would."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urldefrag, urlsplit

import nbformat
import pandas as pd
import pytest
from playwright.sync_api import sync_playwright
from site_book import toy_book

from lungnb import published
from lungnb.book import Report, comparison
from lungnb.book.ranking import ranking
from lungnb.book.site import build

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore:.*Sphinx API modifications")]
STORED = Path(__file__).parents[2] / "notebooks" / "02_convlstm.ipynb"
SIMULATED = SimpleNamespace(name="sprsound", origin="simulated", origin_text="simulated", fingerprint="0")
PHONE, DESK = {"width": 390, "height": 800}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a small site: a toy notebook and a real one, and one result of a build."""
    root = tmp_path_factory.mktemp("site")
    for name in ("01_toy", "90_more"):
        nbformat.write(toy_book(), root / f"{name}.ipynb")
    ours = pd.DataFrame({"row": ["full"], "metric": ["Score"], "ours": [0.125], "n_seeds": [1]})
    report = Report("02_convlstm", "smoke", out=root / "reports", corpus=SIMULATED)
    report.table("table-3", comparison(published.load("convlstm", "table-3"), ours))
    build(root / "site", [root / "01_toy.ipynb", STORED, root / "90_more.ipynb"], root / "reports")
    return root / "site"


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium, args=["--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
        )
        yield started
        started.close()


@pytest.fixture
def look(site, browser):
    """Open a page of the site; afterwards nothing may have gone wrong in any that was opened."""
    contexts, trouble = [], []

    def open_page(name, size=DESK, scheme="light"):
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme))
        contexts[-1].set_default_timeout(120_000)  # milliseconds; a busy machine is no error of the site
        page = contexts[-1].new_page()
        page.on("console", lambda said: said.type in ("error", "warning") and trouble.append(f"{name}: {said.text}"))
        page.on("pageerror", lambda error: trouble.append(f"{name}: {error}"))
        page.on("requestfailed", lambda asked: given_up(asked) or trouble.append(f"{name}: {asked.url[:200]} failed"))
        page.on(
            "request", lambda asked: trouble.append(f"{name}: {asked.url} asked for") if is_outside(asked.url) else None
        )
        page.goto((site / name).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def given_up(request):
    """The browser's own blobs of a player's sound, which it no longer needs when the page is closed."""
    return urlsplit(request.url).scheme == "blob" and "ABORTED" in (request.failure or "")


def is_outside(url):
    return urlsplit(url).scheme not in ("file", "data", "blob")


def pages(site):
    return sorted(str(path.relative_to(site)) for path in site.rglob("*.html"))


class Page(HTMLParser):
    """What a page points at and can be pointed at."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loaded = set(), [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.ids.add(known.get("id"))
        if tag == "a" and known.get("href"):
            self.links.append(known["href"])
        self.loaded += [known[key] for key in ("src", "href") if tag != "a" and known.get(key)]


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_outside(site):
    found = {(site / name).resolve(): Page(site / name) for name in pages(site)}
    assert len(found) > 8
    for path, page in found.items():
        for link in (link for link in page.links if not urlsplit(link).scheme):
            place, anchor = urldefrag(link)
            target = (path.parent / unquote(place)).resolve() if place else path
            assert target.is_file(), f"{path.name}: {link}"
            assert not anchor or anchor in found[target].ids, f"{path.name}: {link}"
        assert not [link for link in page.loaded if is_outside(link) and urlsplit(link).scheme]
    for file in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", file.read_text()), file


def test_every_page_opens_without_an_error_and_fits_a_phone(look, site):
    page = look("index.html", PHONE)
    for name in pages(site):
        page.goto((site / name).as_uri())
        page.wait_for_load_state("load")
        assert page.locator(".content").is_visible(), name
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name
        shown = page.evaluate("[...document.images].map((i) => [i.src.slice(-60), i.complete && i.naturalWidth])")
        assert [src for src, width in shown if not width] == [], name


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_code_is_wrapped_and_a_wide_table_scrolls_in_its_own_box(look, size):
    page = look("01_toy.html", size)
    measure = "all => all.map((box) => [box.scrollWidth, box.clientWidth, box.tabIndex])"
    ((content, box, reached),) = page.locator("#toy-wide .table-box").evaluate_all(measure)
    assert content > box
    assert box <= size["width"]
    assert reached == 0
    code = page.locator("div.cell_input pre").evaluate_all(measure)
    assert len(code) > 3
    assert all(content <= box for content, box, _ in code)


def test_chapters_have_the_numbers_of_their_notebooks(look):
    page = look("90_more.html")
    assert page.locator("h1").inner_text().startswith("90. Toy")
    numbers = page.locator("figcaption .caption-number").all_inner_texts()
    assert [text.strip() for text in numbers] == ["Table 90.1", "Table 90.2", "Figure 90.1"]
    assert "90. Toy" in page.locator(".sidebar-tree").inner_text()


def test_a_player_has_a_picture_whose_cursor_moves(look):
    page = look("sounds.html")
    page.locator(".sound-picture").first.wait_for()
    lit = page.locator(".sound-picture canvas").first.evaluate(
        """(canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
            .data.filter((value, i) => i % 4 == 0 && value > 100).length"""
    )
    assert lit > 50
    left = "(box) => parseFloat(box.querySelector('i').style.left || 0)"
    box = page.locator(".sound-picture").first
    box.click(position={"x": box.bounding_box()["width"] / 2, "y": 10})
    page.wait_for_function("Math.abs(parseFloat(document.querySelector('.sound-picture i').style.left) - 50) < 5")
    assert 45 < box.evaluate(left) < 55


def test_a_print_has_no_furniture_and_whole_tables(look):
    page = look("01_toy.html")
    page.emulate_media(media="print")
    assert not page.locator(".sidebar-drawer").is_visible()
    assert page.locator("#toy-wide .table-box").evaluate("(box) => getComputedStyle(box).overflowX") == "visible"


def test_tables_and_figures_are_numbered_and_pointed_at_across_notebooks(look):
    page = look("01_toy.html")
    numbers = page.locator("figcaption .caption-number").all_inner_texts()
    assert [text.strip() for text in numbers] == ["Table 1.1", "Table 1.2", "Figure 1.1"]
    page.get_by_role("link", name="Table 3", exact=True).click()
    assert page.url.endswith("02_convlstm.html#convlstm-table-3")
    assert page.locator("#convlstm-table-3 .caption-number").inner_text().startswith("Table 2.")
    figure = look("01_toy.html").locator("#toy-figure-2 img")
    assert figure.is_visible()
    assert figure.get_attribute("alt") == "Figure 2: a wheeze. Simulated data."


def test_search_finds_a_term(look):
    page = look("index.html")
    page.get_by_placeholder("Search").fill("staircase")
    page.get_by_placeholder("Search").press("Enter")
    results = page.locator("#search-results li a")
    results.first.wait_for()
    assert "02_convlstm.html" in "".join(link.get_attribute("href") for link in results.all())
    page.locator("#search-results p.context mark").first.wait_for()
    assert page.locator("#search-results p.context mark").first.inner_text().lower() == "staircase"
    page.locator("#search-results p.context").first.locator("xpath=preceding-sibling::a[1]").click()
    assert "02_convlstm.html#" in page.url


def test_a_player_plays(look):
    for name in ("01_toy.html", "02_convlstm.html"):
        page = look(name)
        heard = page.locator("audio").first.evaluate(
            """async (audio) => {
                audio.muted = true;
                await audio.play();
                await new Promise((later) => audio.addEventListener("timeupdate", later, { once: true }));
                return [audio.duration, audio.error];
            }"""
        )
        assert 0.1 < heard[0] < 30
        assert heard[1] is None


def test_equations_are_set(look):
    page = look("01_toy.html")
    page.locator("mjx-container svg").first.wait_for()
    sizes = page.locator("mjx-container svg").evaluate_all("all => all.map((svg) => svg.getBoundingClientRect().width)")
    assert len(sizes) == 2
    assert min(sizes) > 20
    assert page.locator("mjx-merror, [data-mml-node=merror]").count() == 0


def test_solutions_are_folded_until_they_are_asked_for(look):
    page = look("01_toy.html")
    first = page.locator("details.hide").first
    assert not first.locator(".cell_input").is_visible()
    page.get_by_text("Show the solution").first.click()
    assert first.locator(".cell_input").is_visible()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_all_numbers_are_searched(look, size):
    page = look("numbers.html", size)
    rows = page.locator("#numbers-table tbody tr")
    rows.first.filter(has_text="simulated; smoke").wait_for()  # its first row says that it is loading
    assert "No results were found for 01_toy, 90_more: run make report" in page.locator(".admonition").inner_text()
    assert all(word in rows.first.inner_text() for word in ("convlstm", "full", "0.671", "0.125", "simulated; smoke"))
    search = page.locator("input[type=search]").last
    search.fill("pediatric GVA accuracy")
    shown = rows.all_inner_texts()
    assert shown
    assert all(word in text for text in shown for word in ("pediatric", "GVA", "accuracy"))
    search.fill("no such words")
    assert "No matching" in page.locator("#numbers-table").inner_text()


def test_the_leaderboard_ranks_and_is_sorted(look):
    page = look("leaderboard.html")
    rows, ranked = page.locator("#leaderboard-table tbody tr"), ranking()
    best = ranked.iloc[0]
    rows.filter(has_text=best["model"]).first.wait_for()  # before its script has run the table holds another line
    shown = (best["task"], best["model"], f"{best['score']:.3f}", f"{best['low']:.3f} to {best['high']:.3f}")
    assert all(word in rows.first.inner_text() for word in shown)
    search = page.locator("input[type=search]").last
    search.fill("best CNN is better than fair CNN")
    assert "best CNN" in rows.first.locator("td").all_inner_texts()
    search.fill("")
    page.get_by_role("button", name="score: Activate to sort").press("Enter")
    scores = page.locator("#leaderboard-table tbody tr td:nth-child(4)").all_inner_texts()
    assert len(scores) == 25
    assert scores == sorted(scores)


def test_the_audits_show_first_what_does_not_add_up(look):
    page = look("audits.html")
    rows = page.locator("#audits-table tbody tr")
    rows.first.wait_for()
    assert all("does not add up" in text for text in rows.all_inner_texts())


def test_the_ledger_shows_the_highest_score_first_and_unfolds_its_sources(look):
    page = look("ledger.html")
    rows = page.locator("#ledger-table tbody tr")
    rows.first.wait_for()
    assert max(published.ledger()["Score"]) in rows.first.inner_text()
    link = rows.first.locator("a[href*='/blob/']").first
    assert not link.is_visible()
    rows.first.locator("td:has(a[href*='/blob/']) summary").first.click()
    assert link.is_visible()


CONTRAST = """() => {
    const parse = (colour) => (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length < 4 || colour[3] > 0.5) return colour;
        }
        return [255, 255, 255];
    };
    const found = {};
    for (const element of document.querySelectorAll("article *, .sidebar-tree a, .filter *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || !element.getClientRects().length || element.closest("svg, mjx-container, .headerlink")) continue;
        const [front, back] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
        const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
        const name = element.tagName.toLowerCase() + "." + element.className;
        found[name] = Math.min(found[name] ?? 99, ratio);
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["01_toy.html", "02_convlstm.html", "leaderboard.html", "library.html"])
def test_text_stands_out_in_light_and_in_dark(look, name, scheme):
    page = look(name, scheme=scheme)
    ratios = page.evaluate(CONTRAST)
    assert len(ratios) > 5
    assert {text: round(ratio, 1) for text, ratio in ratios.items() if ratio < 4.5} == {}
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 150) == (scheme == "dark")
