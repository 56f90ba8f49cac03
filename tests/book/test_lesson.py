"""Lesson 0: short cells, no torch, and tests of its exercises that refuse a wrong answer."""

import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from lungnb.book import notebooks

ROOT = Path(__file__).parents[2]
LESSON = ROOT / "notebooks" / "00_lesson.py"
#: Runs the lesson from top to bottom, then each test of an exercise once more with a wrong answer.
RUN = """
import sys
import matplotlib
matplotlib.use("Agg")
from lungnb.book import notebooks
from lungnb.book.student import student_copy
from pathlib import Path

source, names = Path(sys.argv[1]), {}
for number, cell in enumerate(notebooks.load(source).cells, start=1):
    if cell.cell_type == "code":
        exec(compile(cell.source, f"cell {number}", "exec"), names)
print("torch" if "torch" in sys.modules else "no torch")
children, mine = list(names["third"]), names["my_interval"]
wrong = [
    ("third", {child: ("few", "some", "many")[k % 3] for k, child in enumerate(children)}),  # equal, but not by events
    ("my_error", lambda p, label: abs(p.max(1).mean() - (p.argmax(1) == label).mean())),  # one bin
    ("my_interval", lambda table, rng, times=0: mine(table.assign(patient=range(len(table))), rng, 100)),  # events
    ("can_be", lambda hs, se, sp: round(2 * se * sp / (se + sp), 4) == hs),  # as if the printed ones were exact
]
graded = [cell for cell in student_copy(source, nbgrader=True).cells if "nbgrader" in cell.metadata]
tests = [cell.source for cell in graded if cell.metadata["nbgrader"]["locked"]]
for (name, answer), test in zip(wrong, tests, strict=True):
    try:
        exec(test, names | {name: answer})
    except AssertionError:
        print("refused")
"""


def test_cells_are_short():
    lengths = [len(c.source.splitlines()) for c in notebooks.load(LESSON).cells if c.cell_type == "code"]
    assert 4 <= statistics.median(lengths) <= 8
    assert max(lengths) <= 25


def test_each_exercise_has_a_level_minutes_and_a_solution_in_lines_and_in_words():
    exercises = re.split(r"^# \*\*(\d)\.\*\* ", LESSON.read_text(), flags=re.MULTILINE)[1:]
    assert exercises[::2] == ["1", "2", "3", "4"]
    for number, text in zip(exercises[::2], exercises[1::2], strict=True):
        assert re.match(r"\*\((easy|medium|hard), \d+ minutes\)\* ", text)
        solved = re.findall(r"^# %%(| \[markdown\]) tags=\[\"solution\"", text, flags=re.MULTILINE)
        assert set(solved) == {"", " [markdown]"}
        assert f"# The test of {number}:\n" in text
        assert "# your answer\n" in text


@pytest.mark.train
def test_it_needs_no_torch_and_its_tests_refuse_wrong_answers(tmp_path):
    environment = os.environ | {"LUNGNB_REPORTS": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, str(LESSON)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=LESSON.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-5:] == ["no torch", *["refused"] * 4]
