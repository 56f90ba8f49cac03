"""What the notebooks owe the papers: a word on what we lack before the first comparison, and three tables of findings."""

import re
from pathlib import Path

import pytest

from lungnb import configs
from lungnb.book.recorded import configurations, experiment, provenance
from lungnb.published import KINDS, PAPERS

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
OF_PAPERS = {paper: NOTEBOOKS / f"{number:02}_{paper}.py" for number, paper in enumerate(PAPERS, 1)}
EXPLANATIONS = NOTEBOOKS / "92_explanations.py"
COMPARED = [*OF_PAPERS.values(), NOTEBOOKS / "90_compare_classifiers.py", EXPLANATIONS]
#: With exercises that are tested, and answered in words.
TAUGHT = [*(OF_PAPERS[paper] for paper in ("respirenet", "convlstm", "pediatric")), EXPLANATIONS]


def cells(path):
    """Kind and text of each cell, the prose without its comment signs."""
    for cell in re.split(r"^# %%", path.read_text(), flags=re.MULTILINE)[1:]:
        first, _, text = cell.partition("\n")
        yield ("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE)) if "[markdown]" in first else ("code", text)


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: path.stem)
def test_what_we_could_not_have_stands_before_the_first_comparison(path):
    found = list(cells(path))
    boxes = [i for i, (kind, text) in enumerate(found) if kind == "markdown" and "**What we could not have**" in text]
    uses = r"\bpublished\.(load|wide)\(|\bcomparison\(|\brecorded\("
    first = next(i for i, (kind, text) in enumerate(found) if kind == "code" and re.search(uses, text))
    assert len(boxes) == 1
    assert boxes[0] < first
    lines = found[boxes[0]][1].strip().splitlines()
    assert lines[:2] == ["**What we could not have**", ""]
    assert all(line.startswith(("* ", "  ")) for line in lines[2:])
    assert 3 <= sum(line.startswith("* ") for line in lines) <= 6
    if "respirenet" in path.stem or "compare" in path.stem:
        assert {"192", "644", "646", "AKGC417L", "ImageNet's"} <= set(re.findall(r"[\w']+", " ".join(lines)))


def test_what_we_could_not_have_is_what_the_configurations_have():
    """Sizes that the lists name; whoever changes one of them has a list to change."""
    load = configs.load
    for name, epochs in {"sprsound": 12, "icbhi": 30}.items():
        for row in configurations(f"comparison/{name}").values():
            size = configurations(f"comparison/{name}").get(row.get("row"), row)
            assert (size["backbone"], size["hidden"], size["epochs"]) == ("resnet10-narrow", 32, epochs)
            assert size["pretrained"] == "scratch"
    shown, rows = load("respirenet"), configurations("respirenet/icbhi")
    assert (shown["backbone"], shown["epochs"]) == ("resnet10-narrow", 6)
    common, tuned = rows["80-20 4-class | CNN"], rows["80-20 4-class | FT Meditron"]
    assert (common["backbone"], common["pretrained"]) == ("resnet10-narrow", "scratch")
    assert (common["epochs"], tuned["epochs"]) == (30, 10)
    rows = configurations("convlstm/sprsound-event")
    widths = {rows[f"{setting} full"].get("hidden", 512) for setting in ("paper", "fair", "best")}
    assert [rows["paper full"].get("hidden", 512), *sorted(widths)] == [512, 64, 512]
    cohorts, size = experiment("pediatric/cohorts"), configurations("pediatric/cohorts")["GVA"]
    assert (cohorts["n_patients"], cohorts["seeds"]) == (318, [0, 1, 2])
    assert (size["pooling"], size["epochs"], size["draws"]) == ([3, 4], 24, 640)
    assert len(experiment("pediatric/cohorts-folds")["folds"]) == 5
    explained = [configurations(f"explanations/{name}") for name in ("simulated", "sprsound", "icbhi")]
    assert [len(experiment(f"explanations/{name}")["rows"]) for name in ("simulated", "sprsound", "icbhi")] == [8, 3, 3]
    assert {rows["RespireNet"]["backbone"] for rows in explained} == {"resnet10-narrow"}
    assert {rows["small CNN"]["hidden"] for rows in explained} == {32}
    made = experiment("lungldm/generators")["fields"]
    assert (made["autoencoder"]["steps"], made["diffusion"]["steps"]) == (1500, 5000)
    assert provenance("lungldm/generators")["n_clips"]["train"] == 7349


@pytest.mark.parametrize("paper", PAPERS)
def test_each_kind_of_finding_has_its_table_under_a_name(paper):
    code = [text for kind, text in cells(OF_PAPERS[paper]) if kind == "code" and "disagreements(" in text]
    calls = [re.search(r'disagreements\("(\w+)", "(\w+)"[,)]', text).groups() for text in code]
    assert calls == [(paper, kind) for kind in KINDS]
    names = [re.search(r'report\.table\("([\w-]+)"', text)[1] for text in code]
    assert names == ["audit", "audit-code-or-data", "audit-notes"]


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("[0-9]*.py")), ids=lambda path: path.stem)
def test_a_quotation_marks_what_it_leaves_out_and_says_where_it_is_from(path):
    blocks = [
        b for kind, text in cells(path) if kind == "markdown" for b in re.findall(r"(?:^> .*\n?)+", text, re.MULTILINE)
    ]
    for block in blocks:
        text = re.sub(r"\s+", " ", block.replace("> ", ""))
        assert re.match(r"\*\*(Paper|LungLDM)\b|This penalizes", text), text
        assert "..." not in text.replace("[...]", ""), text
        assert not re.search(r"\(\.\.\.\)|…", text), text


@pytest.mark.parametrize("path", TAUGHT, ids=lambda path: path.stem)
def test_an_exercise_says_its_level_and_minutes_and_is_answered_in_lines_and_in_words(path):
    text = path.read_text().partition("## Exercises")[2]
    exercises = re.split(r"^# \*\*(\d)\.\*\* ", text, flags=re.MULTILINE)[1:]
    assert exercises[::2] == [str(n) for n in range(1, len(exercises) // 2 + 1)]
    for exercise in exercises[1::2]:
        assert re.match(r"\*\((easy|medium|hard), \d+ minutes\)\* ", exercise)
        answers = re.findall(r"^# %%(?P<kind>.*) tags=\[\"solution\"", exercise, flags=re.MULTILINE)
        assert {"", " [markdown]"} <= set(answers), exercise
    # A test that is given stands in a cell of its own, so that it is there without the solution.
    assert len(re.findall(r"^# The test of \d:\n\n# %%\n", text, flags=re.MULTILINE)) >= 2


def test_the_notebook_of_explanations_trains_one_network_and_stands_on_recorded_ones():
    code = "\n".join(text for kind, text in cells(EXPLANATIONS) if kind == "code")
    before = code.partition("# your answer")[0]
    assert len(re.findall(r"^train\(", before, flags=re.MULTILINE)) == 1
    assert "run_all(" not in code
    assert ".result()" not in code
