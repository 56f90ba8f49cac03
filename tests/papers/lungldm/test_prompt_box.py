"""The box for prompts, pressed by the test."""

import pytest

from lungnb.papers.lungldm.samples import PromptBox


@pytest.fixture
def box():
    made = []
    box = PromptBox(lambda text, seed: made.append((text, seed)), "A person is coughing, male, 40s, smoker")
    box.made = made
    return box


def test_each_press_makes_a_sound_from_other_noise(box):
    box.button.click()
    box.button.click()
    assert box.made == [("A person is coughing, male, 40s, smoker", 0), ("A person is coughing, male, 40s, smoker", 1)]
    assert box.message.value == ""


@pytest.mark.parametrize(("text", "said"), [("  ", "prompt is empty"), ("a" * 10_000, "has 10000 characters")])
def test_what_cannot_be_read_is_refused_in_one_sentence(box, text, said):
    box.text.value = text
    box.button.click()
    assert box.made == []
    assert said in box.message.value


def test_a_prompt_off_the_grammar_is_made_with_a_warning_that_goes_away(box):
    box.text.value = "A dragon is coughing"
    box.button.click()
    assert box.made == [("A dragon is coughing", 0)]
    assert "off the grammar" in box.message.value
    box.text.value = "A person is coughing"
    box.button.click()
    assert box.message.value == ""


def test_a_page_that_does_not_run_says_what_stood_there(box):
    assert repr(box) == "A box to type a prompt into stands here while the notebook runs."
