"""Marks of events beside a recording: each form that people have, and what is said of a line that is none."""

import json

import numpy as np
import pytest
import soundfile

from lungnb import UserError
from lungnb.data.marks import find_marks, read_marks


@pytest.fixture
def sound(tmp_path):
    soundfile.write(tmp_path / "breath.wav", np.zeros(5 * 8000), 8000)
    return tmp_path / "breath.wav"


def read(sound, name, text):
    path = sound.with_name(name)
    path.write_text(text)
    return read_marks(path, sound)


FORMS = {
    "breath.json": json.dumps(
        {
            "record_annotation": "CAS",
            "event_annotation": [
                {"start": "500", "end": "1500", "type": "Wheeze"},
                {"start": "2000", "end": "3250", "type": "Normal"},
            ],
        }
    ),
    "breath.TXT": "0.5\t1.5\t0\t1\n2.0\t3.25\t0\t0\n",
    "breath.txt": "0.500000\t1.500000\twheeze\n\\\t200.0\t900.0\n2,0\t3,25\tnormal\n",
    "breath.csv": "label;end_s;start_s\nwheeze;1,5;0,5\nnormal;3,25;2\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_read(sound, name):
    events = read(sound, name, FORMS[name])
    assert events[["start_s", "end_s", "mark"]].values.tolist() == [[0.5, 1.5, "wheeze"], [2.0, 3.25, "normal"]]
    assert {key: [path.name for path in paths] for key, paths in find_marks(sound.parent).items()} == {"breath": [name]}


def test_events_come_in_their_order_and_need_no_label(sound):
    events = read(sound, "breath.csv", "start_s,end_s\n3,4\n1,2\n")
    assert events["start_s"].tolist() == [1, 3]
    assert events["mark"].tolist() == ["", ""]
    both = read(sound, "breath.txt", "1 2\n3 4 fine crackle\n3 4 1 1\n")
    assert both["mark"].tolist() == ["", "fine crackle", "both"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("breath.txt", "1 2 wheeze\nnext week\n", r"breath.txt, line 2: expected start and end in seconds"),
        ("breath.txt", "1\n", r"breath.txt, line 1: expected start and end"),
        ("breath.txt", "2 1 wheeze\n", r"breath.txt, line 1: the event ends at 1.0 s and starts at 2.0 s"),
        ("breath.txt", "1 nan\n", r"breath.txt, line 1: the event ends at nan"),
        ("breath.txt", "1 9\n", r"line 1: the event ends at 9 s but breath.wav holds only 5.00 s"),
        ("breath.csv", "start,end\n1,2\n", r"breath.csv, line 1: no column 'start_s'"),
        ("breath.csv", "start_s,end_s\n1,2\n3,\n", r"breath.csv, line 3: start_s or end_s is blank; write both"),
        ("breath.csv", "start_s,end_s\n1,soon\n", r"breath.csv, line 2: end_s is 'soon', expected seconds"),
        ("breath.json", "{}", r"breath.json: record_annotation is None|event_annotation is None"),
    ],
)
def test_what_is_no_mark_is_named_by_its_line(sound, name, text, said):
    with pytest.raises(UserError, match=said):
        read(sound, name, text)
