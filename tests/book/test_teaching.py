"""The course plan: weeks of like length, quizzes that the notebooks answer, and the same plan on the site."""

import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from lungnb import published
from lungnb.book import notebooks
from lungnb.book.recorded import by_seed, predictions
from lungnb.metrics.classification import paired_many
from lungnb.papers.convlstm import MODELS

ROOT = Path(__file__).parents[2]
PLAN = (ROOT / "docs" / "teaching.md").read_text()
PAGE = (ROOT / "lungnb" / "book" / "site" / "templates" / "teaching.md.j2").read_text()
WEEKS = re.findall(r"^## Week (\d): (.+?)\?\n(.*?)(?=^## )", PLAN, re.M | re.S)
LINES = re.findall(r"^\| (\d) \| ([^|]+)\? \| ([^|]+) \|((?: \d+ \|)+)$", PLAN, re.M)


def books_of(week):
    return re.findall(r"`(\d\d_\w+)`", {line[0]: line[2] for line in LINES}[week])


def test_minutes_add_up_and_no_week_is_more_than_twice_another():
    assert [line[0] for line in LINES] == [str(n) for n in range(1, 8)]
    totals = []
    for *_, minutes in LINES:
        *parts, total = (int(n) for n in re.findall(r"\d+", minutes))
        assert sum(parts) == total
        totals.append(total)
    assert max(totals) <= 2 * min(totals)


def test_the_plan_takes_every_notebook():
    assert {name for number, *_ in LINES for name in books_of(number)} == {path.stem for path in notebooks.find([])}


@pytest.mark.parametrize(("number", "question", "text"), WEEKS, ids=[week[0] for week in WEEKS])
def test_a_week_has_objectives_work_and_questions_with_answers_in_a_section_that_is_there(number, question, text):
    assert {line[0]: line[1].lower() for line in LINES}[number] == question.lower()
    assert "*Objectives.*" in text
    assert "*To hand in.*" in text
    asked, answers = text.split("<details><summary>Answers</summary>")
    numbers = re.findall(r"^(\d)\. ", asked, re.M)
    assert numbers == re.findall(r"^(\d)\. ", answers, re.M) == [str(n) for n in range(1, len(numbers) + 1)]
    assert len(numbers) in (3, 4)
    for one in re.split(r"^\d\. ", asked, flags=re.M)[1:]:
        place = re.sub(r"\s+", " ", re.findall(r"\(([^()]*(?:\*[^*]*\*|`, \d)[^()]*)\)\s*$", one)[-1])
        named = re.findall(r"`(\d\d_\w+)`", place) or [b for b in books_of(number) if re.match(rf"{b[:2]}, ", place)]
        headings = [
            heading
            for book in notebooks.find(named or books_of(number))
            for cell in notebooks.load(book).cells
            if cell.cell_type == "markdown"
            for heading in re.findall(r"^#+ (.+)$", cell.source, re.M)
        ]
        sections = re.findall(r"\*([^*]+)\*", place) or re.findall(r"`, (\d)", place)
        for section in sections:
            assert any(heading.startswith(section) for heading in headings), section


def test_the_site_shows_the_same_weeks():
    shown = re.findall(r"^\| (\d) \| ([^|]+)\? \| (.+) \| (\d+) \|$", PAGE, re.M)
    assert [(number, question, minutes) for number, question, _, minutes in shown] == [
        (number, question, re.findall(r"\d+", minutes)[-1]) for number, question, _, minutes in LINES
    ]
    for number, _, linked, _ in shown:
        assert re.findall(r'link\("(\w+)"\)', linked) == books_of(number)


def test_the_answer_of_week_3_has_the_numbers_of_the_paper_and_of_the_predictions():
    answers = predictions("convlstm/sprsound-event")
    printed = published.wide("convlstm", "table-3")["Score"].astype(float)
    lines = {upper: f"| {upper} | {printed[upper] - printed[lower]:+.3f} |" for lower, upper in pairwise(MODELS)}
    for setting in ("paper", "best"):
        tables = {model: by_seed(answers, f"{setting} {model}") for model in MODELS}
        pairs = {upper: (tables[upper], tables[lower]) for lower, upper in pairwise(MODELS)}
        gains = paired_many(pairs | {"whole": (tables["full"], tables["CNN"])}, "Score")
        assert all(gain["p"] >= 0.05 for gain in gains.values())
        for lower, upper in pairwise(MODELS):
            low, ours, high = gains[upper][["low", "ours", "high"]]
            outside = "no" if low <= printed[upper] - printed[lower] <= high else "yes"
            lines[upper] += f" {ours:+.3f} [{low:+.3f}, {high:+.3f}] | {outside} |"
    assert all(line in PLAN for line in lines.values())
    assert gains[MODELS[1]]["high"] < 0
    cells = nbformat.read(ROOT / "notebooks" / "02_convlstm.ipynb", as_version=4).cells
    printed = "".join(out.get("text", "") for cell in cells for out in cell.get("outputs", []))
    within = r"^paper CNN: intra children trained on and .* cannot be told apart: .* \[(.+), (.+)\]\.$"
    low, high = re.search(within, printed, re.M).groups()
    assert float(low) < -0.05
    assert float(high) > 0.05
