"""The prompts that describe clips: 13 sound types, and a grammar that is written and read by the same tables.

    A person is {sound}, {gender}, {age decade}s, {smoker|non-smoker}, {condition}
    A person is coughing, male, 40s, smoker                                          (the paper's own example)

A field that is not known is left out, the order is fixed, and the structured fields stay beside the string
(docs/papers/lungldm.md, section 3.3). Patient, position and corpus are in the table of events
(`lungnb.data.corpus`) but never in the prompt: there they would be learnt by heart.

The paper has 13 sound types and names three: cough, breathing, vowels. SOUNDS is therefore a choice of ours, made so that
every type has a source that anybody can download: the candidates of docs/papers/lungldm.md, section 2, and SPRSound and
covid19-cough, which are none of them but lie nearer. An event of two types (wheeze and crackle) or of a type that few
have (stridor) is left out by the readers, and counted.
Ages are decades: 40s is 40 to 49 years and 0s is a child under 10, of which SPRSound has most.
"""

import re
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lungnb.core import UserError


class Sound(NamedTuple):
    """How a prompt says it, and the corpora (of `corpora()`) that have it."""

    phrase: str
    corpora: tuple[str, ...]


#: The 13 types. Coswara's heavy cough is `cough`, the way one coughs when asked to, and both its countings are `speech`.
SOUNDS: dict[str, Sound] = {
    "cough": Sound("coughing", ("coughvid", "coswara", "ukcovid", "covid19_sounds", "covid19_cough")),
    "shallow cough": Sound("coughing shallowly", ("coswara",)),
    "deep breathing": Sound("breathing deeply", ("coswara", "covid19_sounds")),
    "shallow breathing": Sound("breathing shallowly", ("coswara",)),
    "exhalation": Sound("exhaling", ("ukcovid",)),
    "vowel a": Sound("saying the vowel a", ("coswara",)),
    "vowel e": Sound("saying the vowel e", ("coswara",)),
    "vowel o": Sound("saying the vowel o", ("coswara",)),
    "speech": Sound("speaking", ("coswara", "covid19_sounds")),
    "normal lung sound": Sound("breathing with normal lung sounds", ("icbhi", "sprsound", "kauh", "hf_lung")),
    "wheeze": Sound("breathing with wheezes", ("icbhi", "sprsound", "kauh", "hf_lung")),
    "crackle": Sound("breathing with crackles", ("icbhi", "sprsound", "kauh", "hf_lung")),
    "rhonchi": Sound("breathing with rhonchi", ("sprsound", "hf_lung")),
}
SEXES = ("female", "male")
DECADES = tuple(range(0, 120, 10))
SMOKERS = {True: "smoker", False: "non-smoker"}
_CONDITIONS = """
healthy, COVID-19, respiratory symptoms, respiratory illness, asthma, COPD, bronchiectasis, bronchiolitis, bronchitis,
pneumonia, upper respiratory infection, lower respiratory infection, lung fibrosis, pleural effusion, heart failure,
asthma and lung fibrosis, heart failure and COPD, heart failure and lung fibrosis"""
#: Every condition that a reader here can meet; two at once only where a corpus (KAUH) says so.
CONDITIONS = tuple(name.strip() for name in _CONDITIONS.split(","))
#: The fields of a prompt, in its order; `sex` is the gender of the paper's prompts.
FIELDS = ("sound", "sex", "age_decade", "smoker", "condition")
#: Chance with which training leaves out a known field, so that short prompts work too (ours; the paper is silent).
DROP = 0.2
#: Longest prompt in characters; the text encoder reads 128 tokens at most (docs/papers/lungldm.md, section 3.3).
MAX_LENGTH = 512

#: What no reader can change (docs/papers/lungldm.md, section 2).
REBUILDABLE = (
    "The paper's 124,883 clips cannot be rebuilt from downloads alone: at least one corpus that it names (MMLung) is given "
    "on request only, it names 3 of its 9 corpora and of its 13 sound types, and no list of clips was published. Most of "
    "what can be had is cough, breath and speech recorded by phone; stethoscope sounds are a small part."
)


def corpora() -> pd.DataFrame:
    """Who may have which corpus: name, access, where, licence, holds and in_paper of each candidate for the "9 public datasets".

    The paper names COUGHVID, MMLung and UK COVID-19 (in_paper: named). The other candidates are the corpora of OPERA, which
    both authors co-wrote (possible; docs/papers/lungldm.md, section 2), and two that we add (ours). Access and licences are as
    OPERA lists them, of our two as their repositories say; read each licence at its source before use. `holds` is blank where
    no count is at hand.
    """
    return pd.read_csv(Path(__file__).parent / "corpora.csv", index_col="corpus", keep_default_na=False)


def count_sounds(events: pd.DataFrame) -> pd.DataFrame:
    """Events by sound type (rows, all 13) and corpus (columns), with sums in `all`."""
    found = pd.crosstab(events["sound"], events["corpus"]).reindex(list(SOUNDS), fill_value=0)
    found = found.assign(all=found.sum(axis=1))
    return pd.concat([found, found.sum().to_frame("all").T]).rename_axis("sound").rename_axis(None, axis=1)


def prompt(row: Mapping[str, Any]) -> str:
    """The prompt of one clip, any mapping with the FIELDS; what is not there, None or NA is left out.

    Raises UserError for a sound type that is none or not given, and for a sex, decade or condition that is none.
    """
    parts = []
    for name, wordings in _wordings().items():
        value = _known(row, name)
        if value not in wordings and (value is not None or name == "sound"):
            what = "sound type" if name == "sound" else name
            raise UserError(f"There is no {what} {value!r}; known are {', '.join(map(str, wordings))}.")
        parts += [] if value is None else [wordings[value]]
    return ", ".join(parts)


def prompts(table: pd.DataFrame) -> pd.Series:
    """The `prompt` of each row of a table of events, as a string column of the same index."""
    return pd.Series([prompt(row) for row in table[list(FIELDS)].to_dict("records")], table.index, dtype="string")


def check_prompt(text: str) -> str:
    """`text`, stripped. Raises UserError if nothing is left or it has more than MAX_LENGTH characters."""
    text = text.strip()
    if not text:
        raise UserError(f"The prompt is empty; write one such as {prompt(_EXAMPLE)!r}.")
    if len(text) > MAX_LENGTH:
        raise UserError(
            f"The prompt has {len(text)} characters, of which the text encoder would read a part only; use at most {MAX_LENGTH}."
        )
    return text


def parse(text: str) -> dict[str, Any]:
    """The inverse of `prompt`: the FIELDS that `text` states, None where it is silent; case and spacing do not matter.

    A prompt off the grammar gives the fields that could be read and a warning that names the unknown words, or where the
    words are all known the part that stands in the wrong place. Raises UserError as `check_prompt` does.
    """
    text = check_prompt(text)
    found: dict[str, Any] = dict.fromkeys(FIELDS)
    meanings = _meanings()
    odd, place = [], 0
    for n, part in enumerate(" ".join(words(text)).split(" , ")):
        at, name, value = meanings.get(part, (-1, "", None))
        if (at == 0) == (n == 0) and at >= place:
            found[name], place = value, at + 1
        else:
            odd.append(part)
    if odd:
        known = set(vocabulary())
        unknown = dict.fromkeys(word for word in words(text) if word not in known)
        what = f"unknown words {', '.join(unknown)}" if unknown else f"{odd[0]!r} stands in the wrong place"
        warnings.warn(
            f"The prompt is off the grammar ({what}): the model has seen none like it; write as in {prompt(_EXAMPLE)!r}.",
            stacklevel=2,
        )
    return found


def words(text: str) -> list[str]:
    """The words of a prompt for a word-level tokenizer: lower case, hyphens inside words kept, other signs apart."""
    return re.findall(r"\w+(?:-\w+)*|[^\w\s]", text.lower())


@cache
def vocabulary() -> tuple[str, ...]:
    """All words of the grammar, sorted."""
    phrases = [text for wordings in _wordings().values() for text in wordings.values()]
    return tuple(sorted({word for text in (*phrases, ",") for word in words(text)}))


_EXAMPLE = {"sound": "cough", "sex": "male", "age_decade": 40, "smoker": True}


@cache
def _wordings() -> dict[str, dict[Any, str]]:
    """Field -> value -> its words, in the order of the prompt."""
    return {
        "sound": {name: f"A person is {sound.phrase}" for name, sound in SOUNDS.items()},
        "sex": {sex: sex for sex in SEXES},
        "age_decade": {decade: f"{decade}s" for decade in DECADES},
        "smoker": SMOKERS,
        "condition": {condition: condition for condition in CONDITIONS},
    }


@cache
def _meanings() -> dict[str, tuple[int, str, Any]]:
    """A part of a prompt, as its words joined by spaces -> place, field, value."""
    return {
        " ".join(words(text)): (place, name, value)
        for place, (name, wordings) in enumerate(_wordings().items())
        for value, text in wordings.items()
    }


def _known(row: Mapping[str, Any], name: str) -> Any:
    value = row.get(name)
    return None if value is None or pd.isna(value) else value
