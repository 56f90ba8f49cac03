"""Prompts: the grammar reads back what it writes, says what it does not know, and refuses what is none."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungnb import UserError
from lungnb.data.prompts import (
    CONDITIONS,
    DECADES,
    FIELDS,
    MAX_LENGTH,
    SEXES,
    SOUNDS,
    check_prompt,
    parse,
    prompt,
    prompts,
    vocabulary,
    words,
)

rows = st.fixed_dictionaries(
    {
        "sound": st.sampled_from(list(SOUNDS)),
        "sex": st.sampled_from([None, *SEXES]),
        "age_decade": st.sampled_from([None, *DECADES]),
        "smoker": st.sampled_from([None, True, False]),
        "condition": st.sampled_from([None, *CONDITIONS]),
    }
)
FULL = {"sound": "cough", "sex": "male", "age_decade": 40, "smoker": True, "condition": "asthma"}


def test_the_papers_own_example_is_written_word_for_word():
    row = {"sound": "cough", "sex": "male", "age_decade": 40, "smoker": True}
    assert prompt(row) == "A person is coughing, male, 40s, smoker"


def test_there_are_13_types_with_13_phrases():
    assert len(SOUNDS) == 13
    assert len({sound.phrase for sound in SOUNDS.values()}) == 13


@given(rows)
def test_parse_is_the_inverse_of_prompt(row):
    text = prompt(row)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse(text) == row
        assert parse(f"  {text.upper().replace(',', ' ,  ')} ") == row


@given(rows)
def test_every_word_is_in_the_vocabulary_and_the_fields_keep_their_order(row):
    text = prompt(row)
    assert set(words(text)) <= set(vocabulary())
    assert text.count(",") == sum(value is not None for value in row.values()) - 1


def test_the_vocabulary_has_no_word_to_spare():
    every = [prompt({"sound": sound}) for sound in SOUNDS]
    for name, values in {"sex": SEXES, "age_decade": DECADES, "smoker": [True, False], "condition": CONDITIONS}.items():
        every += [prompt({"sound": "cough", name: value}) for value in values]
    assert {word for text in every for word in words(text)} == set(vocabulary())
    assert list(vocabulary()) == sorted(set(vocabulary()))


def test_a_child_is_0s_and_a_missing_age_is_nothing():
    assert prompt({"sound": "wheeze", "age_decade": 0}) == "A person is breathing with wheezes, 0s"
    assert prompt({"sound": "wheeze", "age_decade": pd.NA, "sex": np.nan}) == "A person is breathing with wheezes"


def test_prompts_of_a_table_are_those_of_its_rows():
    table = pd.DataFrame([FULL, FULL | {"smoker": None, "condition": None, "age_decade": None}], index=[5, 3])
    table = table.astype({"smoker": "boolean", "age_decade": "Int64", "condition": "string"})
    assert prompts(table).to_dict() == {
        5: "A person is coughing, male, 40s, smoker, asthma",
        3: "A person is coughing, male",
    }


OFF = {
    "an unknown word": ("A person is sneezing, male", r"unknown words sneezing\)", {"sex": "male"}),
    "free text": ("please play jazz", r"unknown words please, play, jazz\)", {}),
    "another order": ("A person is coughing, 40s, male", r"'male' stands in the wrong place", {"age_decade": 40}),
    "one field twice": ("A person is coughing, male, female", r"'female' stands in the wrong place", {"sex": "male"}),
    "no sound first": ("male, 40s", r"'male' stands in the wrong place", {"age_decade": 40}),
    "an age that is no decade": ("A person is coughing, 47s", r"unknown words 47s", {}),
}


@pytest.mark.parametrize(("text", "told", "found"), OFF.values(), ids=OFF)
def test_a_prompt_off_the_grammar_is_warned_of_and_read_as_far_as_it_goes(text, told, found):
    with pytest.warns(UserWarning, match=told) as caught:
        fields = parse(text)
    assert "\n" not in str(caught[0].message)
    sound = {"sound": "cough"} if "coughing" in text else {}
    assert fields == dict.fromkeys(FIELDS) | sound | found


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert set(parse(text)) == set(FIELDS)
        except UserError:
            assert not text.strip()


BAD = {
    "an unknown sound": (lambda: prompt(FULL | {"sound": "sneeze"}), "sneeze.*cough, shallow cough"),
    "no sound": (lambda: prompt({"sex": "male"}), "no sound type None"),
    "an unknown sex": (lambda: prompt(FULL | {"sex": "other"}), "sex 'other'.*female, male"),
    "an age in years": (lambda: prompt(FULL | {"age_decade": 47}), "age_decade 47.*40, 50"),
    "an unknown condition": (lambda: prompt(FULL | {"condition": "flu"}), "condition 'flu'.*asthma"),
    "an empty prompt": (lambda: parse(" \n "), "The prompt is empty; write one such as 'A person is coughing"),
    "10,000 characters": (lambda: parse("a" * 10_000), "10000 characters.*at most 512"),
}


@pytest.mark.parametrize(("call", "told"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(call, told):
    with pytest.raises(UserError, match=told) as caught:
        call()
    assert len(re.findall(r"[.;](?=\s|$)", str(caught.value))) <= 2
    assert "\n" not in str(caught.value)


def test_a_prompt_at_the_limit_is_taken():
    assert len(check_prompt("a" * MAX_LENGTH)) == MAX_LENGTH
