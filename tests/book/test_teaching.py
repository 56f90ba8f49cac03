"""The course plan: weeks of like length, quizzes that the notebooks answer, and the same plan on the site."""

import re
from pathlib import Path

import pytest

from lungnb.book import notebooks

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
def test_a_week_has_objectives_work_and_three_questions_with_answers_in_a_section_that_is_there(number, question, text):
    assert {line[0]: line[1].lower() for line in LINES}[number] == question.lower()
    assert "*Objectives.*" in text
    assert "*To hand in.*" in text
    asked, answers = text.split("<details><summary>Answers</summary>")
    assert re.findall(r"^(\d)\. ", asked, re.M) == re.findall(r"^(\d)\. ", answers, re.M) == ["1", "2", "3"]
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
