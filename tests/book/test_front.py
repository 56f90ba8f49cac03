"""The README and its pictures follow from recorded predictions, published numbers and stored notebooks."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from lungnb.book import front, notebooks, ranking, recorded
from lungnb.core import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A copy of the README and its pictures, which may be spoilt."""
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "docs" / "figures", tmp_path / "docs" / "figures")
    monkeypatch.setattr(front, "root", lambda: tmp_path)
    return tmp_path


def test_the_readme_is_what_the_numbers_make_of_it():
    assert front.differences() == []


def test_a_number_that_was_typed_over_is_found_and_mended(house):
    page = house / "README.md"
    right = page.read_text()
    row = next(line for line in right.splitlines() if "| fair CNN |" in line)
    assert "| 0.768 |" in row
    page.write_text(right.replace(row, row.replace("| 0.768 |", "| 9.768 |")))
    (house / "docs" / "figures" / "02-confusion.png").unlink()
    shutil.copy(house / "docs" / "figures" / "02-calibration.png", house / "docs" / "figures" / "front.png")
    found = front.differences()
    assert [text.partition(" is ")[0] for text in found] == [
        "README.md: the part 'results'",
        "docs/figures/02-confusion.png",
        "docs/figures/front.png",
    ]
    front.write()
    assert page.read_text() == right
    for name in ("02-confusion.png", "front.png"):
        assert (house / "docs" / "figures" / name).read_bytes() == (ROOT / "docs" / "figures" / name).read_bytes()


def test_a_part_that_nothing_makes_is_refused():
    with pytest.raises(UserError, match="nothing makes the part 'wishes'"):
        front.readme("<!-- wishes -->\n1.0\n<!-- end -->")


def test_without_records_only_published_numbers_are_ranked(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "folder", lambda: tmp_path)
    assert set(ranking.ranking.__wrapped__()["source"]) == {"published"}
    assert len(front.headlines()) == 2
    assert ranking.prices() == []


def test_a_ranking_has_the_best_of_each_task_first_and_compares_on_the_same_patients():
    table = ranking.ranking()
    for _, task in table.groupby("task", sort=False):
        assert task["score"].is_monotonic_decreasing
    rows = table.query("source == 'recorded'")
    assert (rows["n_seeds"] >= 3).all()
    assert rows.query("task.str.contains('combined')")["shared_patients"].eq("yes").all()  # the asked again, too
    # The best of four sites would be chosen on the test side; nothing simulated is ranked.
    assert not rows["model"].str.contains(", site ").any()
    assert not (rows["experiment"] == "pediatric/cohorts").any()
    verdict = rows.set_index("model")["verdict"]
    assert verdict["paper CNN"] == verdict["zero-padded"] == ""  # the first of their experiments
    assert verdict["best CNN"].startswith("best CNN is better than fair CNN: +")
    assert verdict["stretched"].startswith("stretched and zero-padded cannot be told apart")


def test_what_a_flag_is_worth_is_told_of_the_same_patients_or_of_two_splits():
    epoch, shared, network, trees = ranking.prices()
    assert all(re.search(r"[-+]0\.\d{3} in Score \[", line) for line in (epoch, shared))
    assert all(line.count("3 seeds") == 2 for line in (network, trees))


def test_pictures_are_small_and_say_what_they_show():
    files = sorted((ROOT / "docs" / "figures").glob("*.png"))
    assert len([file for file in files if not file.stem.startswith("real-")]) == len(front.GALLERY) + 1
    for file in files:
        assert file.stat().st_size < (150_000 if file.stem == "front" else 100_000), file
    assert "\nCNN,fair,0.768" in Image.open(ROOT / "docs" / "figures" / "front.png").text["Description"]


def test_the_readme_is_short_of_breath_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    prose = re.sub(r"```.*?```|^[|<].*$", "", text, flags=re.S | re.M)
    paragraphs = re.split(r"\n\s*\n|\n(?=- |\d+\. )", prose)
    assert [part for part in paragraphs if len(part.strip().splitlines()) > 4] == []
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("https://")]
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).exists()] == []
    line = re.search(r"`(02_convlstm): (\d+) tables and figures", text)
    assert len(notebooks.artefacts(ROOT / "notebooks" / f"{line[1]}.ipynb")) == int(line[2])


def test_findings_name_sections_that_the_notebooks_have():
    for book, section in re.findall(r"notebook (\d\d), \*([^*]+)\*", " ".join(front.headlines())):
        source = next((ROOT / "notebooks").glob(f"{book}_*.py")).read_text()
        assert re.search(rf"^# #+ {re.escape(section)}", source, re.M), section
