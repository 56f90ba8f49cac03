"""Students' copies: what is in them, and what of a student's work stays when they are written again."""

import re
from importlib import import_module
from importlib.util import find_spec

import nbformat
import pytest
from nbformat.v4 import new_code_cell

from lungnb import UserError
from lungnb.book import notebooks
from lungnb.book.student import student_copy, write_student_copies

LESSON = """# %% [markdown]
# # Sums

# %% tags=["parameters"]
profile: str = "smoke"  # the size of the run

# %% [markdown]
# ## Exercises
#
# Each solution is in cells tagged `solution`; `lungnb student` writes a copy of this notebook without them. Run the tests.
#
# **1.** *(easy, 5 minutes)* Add one and one.

# %% tags=["solution"]
1 + 1

# %% [markdown] tags=["solution"]
# Two.

# %% [markdown]
# **2.** *(hard, 20 minutes)* Write `double()`.

# %%
# your answer


# %% tags=["solution"]
def double(x):
    return 2 * x


# %% [markdown]
# The test of 2:

# %%
assert double(3) == 6
print("passed")

# %% tags=["solution"]
print("and", double(4))

# %% [markdown]
# **3.** *(medium, 5 minutes)* Why is it so?
#
# **4.** What is one?

# %% tags=["solution"]
print(1)
"""


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "lungnb"\n')
    (tmp_path / "notebooks").mkdir()
    source = tmp_path / "notebooks" / "00_sums.py"
    source.write_text(LESSON)
    source.with_name("01_other.py").write_text("# %% [markdown]\n# # Another\n")
    monkeypatch.chdir(tmp_path)
    return source


def read(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    return book


def cell_of(book, name):
    return next(cell for cell in book.cells if cell.id == name)


def save(path, book):
    nbformat.write(book, path)


def test_a_copy_has_cells_to_answer_in_and_the_tests_but_no_solutions(lesson, tmp_path):
    assert write_student_copies(tmp_path / "class", ["sums"]) == [tmp_path / "class" / "00_sums.ipynb"]
    book = read(tmp_path / "class" / "00_sums.ipynb")
    exercises = [(cell.id, cell.source) for cell in book.cells[3:]]
    assert [name for name, _ in exercises if name.startswith("answer")] == [
        "answer-1",
        "answer-1-words",
        "answer-2",
        "answer-3-words",
        "answer-4",
    ]
    sources = [source for _, source in exercises]
    assert sources[0].startswith("**1.**")
    assert sources[1:3] == ["# your answer", "*Your answer, in words.*"]
    assert sources[5:7] == ["The test of 2:", 'assert double(3) == 6\nprint("passed")']
    assert (
        sources.index("*Your answer, in words.*", 4) == sources.index("**3.** *(medium, 5 minutes)* Why is it so?") + 1
    )
    whole = "\n".join(cell.source for cell in book.cells)
    assert "solution" not in whole
    assert "2 * x" not in whole
    assert "what you write there stays" in whole
    assert "Run the tests." in whole


def test_written_again_it_keeps_what_the_student_wrote_and_takes_what_was_corrected(lesson, tmp_path):
    (path,) = write_student_copies(tmp_path, ["sums"])
    first = path.read_bytes()
    write_student_copies(tmp_path, ["sums"])
    assert path.read_bytes() == first  # nothing was answered, nothing was corrected
    book = read(path)
    answer = cell_of(book, "answer-2")
    answer.source = "def double(x):\n    return x + x"
    answer.outputs, answer.execution_count = [nbformat.v4.new_output("stream", text="mine")], 7
    cell_of(book, "answer-3-words").source = "Because."
    book.cells.insert(book.cells.index(answer) + 1, new_code_cell("print('a try of my own')", id="own"))
    book.cells.append(new_code_cell("", id="empty"))
    book.cells[1].source = 'profile: str = "laptop"'  # a given cell, changed by the student
    save(path, book)
    lesson.write_text(LESSON.replace("Write `double()`", "Write `double()`, please").replace("== 6", "== 3 + 3"))
    write_student_copies(tmp_path, ["sums"])
    again = read(path)
    sources = [cell.source for cell in again.cells]
    kept = cell_of(again, "answer-2")
    assert (kept.source, kept.outputs[0].text, kept.execution_count) == (answer.source, "mine", 7)
    assert cell_of(again, "answer-3-words").source == "Because."
    assert sources[sources.index(answer.source) + 1] == "print('a try of my own')"
    assert sources[1] == 'profile: str = "laptop"'
    assert "**2.** *(hard, 20 minutes)* Write `double()`, please." in sources
    assert 'assert double(3) == 3 + 3\nprint("passed")' in sources
    assert not [source for source in sources if "== 6" in source or source.endswith("Write `double()`.") or not source]


def test_a_given_cell_that_both_changed_is_there_twice(lesson, tmp_path):
    (path,) = write_student_copies(tmp_path, ["sums"])
    book = read(path)
    book.cells[1].source = "profile = 'mine'"
    save(path, book)
    lesson.write_text(LESSON.replace('"smoke"', '"laptop"'))
    write_student_copies(tmp_path, ["sums"])
    assert [cell.source for cell in read(path).cells[:3]][:2] == ["# Sums", "profile = 'mine'"]
    assert '"laptop"' in read(path).cells[2].source


def test_a_copy_from_an_editor_that_drops_ids_loses_nothing(lesson, tmp_path):
    (path,) = write_student_copies(tmp_path, ["sums"])
    book = read(path)
    cell_of(book, "answer-4").source = "print('one')"
    n_cells = len(book.cells)
    for cell in book.cells:
        del cell["id"]
    book.nbformat_minor = 4
    save(path, book)
    write_student_copies(tmp_path, ["sums"])
    sources = [cell.source for cell in read(path).cells]
    assert sources[-3:] == ["**4.** What is one?", "print('one')", "# your answer"]
    assert len(sources) == n_cells + 1  # the answer, and below it the empty cell
    first = path.read_bytes()
    write_student_copies(tmp_path, ["sums"])
    assert path.read_bytes() == first


def test_a_file_that_is_no_notebook_is_left_alone(lesson, tmp_path):
    path = tmp_path / "00_sums.ipynb"
    path.write_text("a student's work")
    with pytest.raises(UserError, match=r"00_sums\.ipynb is no notebook and may hold"):
        write_student_copies(tmp_path)
    assert path.read_text() == "a student's work"


def test_solutions_are_files_of_their_own(lesson, tmp_path):
    written = write_student_copies(tmp_path / "class", ["0"], solutions=True)
    assert written[1] == tmp_path / "class" / "solutions" / "00_sums.ipynb"
    sources = [cell.source for cell in read(written[1]).cells]
    assert sources[0] == "# Solutions: Sums"
    assert "profile" not in "".join(sources)
    assert {"1 + 1", "Two.", "print(1)"} <= set(sources)


def test_nbgrader_knows_answers_and_tests(lesson, tmp_path):
    """Each field as nbgrader's validator of schema 3 wants it (nbgrader/nbgraderformat/v3.json and v3.py)."""
    book = student_copy(lesson, nbgrader=True)
    graded = {
        cell.metadata.nbgrader["grade_id"]: (cell, cell.metadata.nbgrader)
        for cell in book.cells
        if "nbgrader" in cell.metadata
    }
    assert list(graded) == ["answer-1", "answer-1-words", "answer-2", "test-2-1", "answer-3-words", "answer-4"]
    for name, (cell, fields) in graded.items():
        assert set(fields) <= {"schema_version", "grade", "locked", "solution", "task", "grade_id", "points"}
        assert fields["schema_version"] == 3
        assert all(isinstance(fields[key], bool) for key in ("grade", "locked", "solution", "task"))
        assert fields["grade"] == ("points" in fields)
        assert fields["solution"] != fields["locked"]
        assert fields["locked"] == name.startswith("test")
        if cell.cell_type == "markdown":  # prose is graded and a solution, or neither
            assert fields["grade"]
            assert fields["solution"]
    assert not graded["answer-2"][1]["grade"]  # its test gives the points
    assert {name: fields.get("points") for name, (_, fields) in graded.items()} == {
        "answer-1": 1,
        "answer-1-words": 1,
        "answer-2": None,
        "test-2-1": 3,
        "answer-3-words": 2,
        "answer-4": 1,
    }
    assert not any("nbgrader" in cell.metadata for cell in student_copy(lesson).cells)
    assert write_student_copies(tmp_path, ["sums"], nbgrader=True) == [tmp_path / "00_sums" / "00_sums.ipynb"]


@pytest.mark.parametrize("source", notebooks.find([]), ids=lambda path: path.stem)
def test_every_notebook_of_the_book_has_a_copy_in_which_each_exercise_can_be_answered(source):
    book = student_copy(source, nbgrader=True)
    nbformat.validate(book)
    exercises = {found[1] for cell in book.cells if (found := re.match(r"\*\*(\d+)\.\*\* ", cell.source))}
    assert exercises == {cell.id.split("-")[1] for cell in book.cells if cell.id.startswith("answer")}
    assert len(exercises) >= 4
    solved = {cell.source for cell in notebooks.load(source).cells if "solution" in notebooks.tags(cell)}
    assert not solved & {cell.source for cell in book.cells}
    if find_spec("nbgrader"):
        import_module("nbgrader.nbgraderformat").MetadataValidator().validate_nb(book)
