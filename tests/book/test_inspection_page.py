"""The page of `lungnb data check --html`, on recordings that are bad in one way each."""

import base64
import re
import struct

import numpy as np
import pytest
import soundfile

from lungnb.book.inspection_page import choose, write_page
from lungnb.data import check
from lungnb.data.inspection import KINDS, STOPS, Odd, look_into

RATE = 4000
SOUND = 0.1 * np.random.default_rng(0).standard_normal(8 * RATE)
HOLE = np.where(np.arange(len(SOUND)) // RATE < 3, 0, SOUND)
WAVES = dict(
    zip(KINDS, [None, SOUND[:0], np.where(np.arange(len(SOUND)) == 9000, np.nan, SOUND), 0 * SOUND], strict=False)
)
WAVES |= dict(
    zip([*KINDS][4:], [np.stack([SOUND, -SOUND], 1), SOUND, 50 * SOUND, HOLE, SOUND[:400], HOLE], strict=True)
)


def write(folder, n, kind):
    path = folder / f"{n}.wav"
    if WAVES[kind] is None:
        path.write_bytes(b"<html>&nbsp;404</html>")
        return
    soundfile.write(path, WAVES[kind], RATE, subtype="FLOAT" if "NaN" in kind else "PCM_16")
    if "header" in kind:
        content = bytearray(path.read_bytes())
        struct.pack_into("<I", content, 40, 10**9)
        path.write_bytes(content)


@pytest.fixture
def folder(tmp_path):
    """A corpus of one recording of each kind, the last with an event in its hole."""
    (tmp_path / "clinic").mkdir()
    for n, kind in enumerate(KINDS):
        write(tmp_path / "clinic", n, kind)
    return tmp_path / "clinic"


def test_each_kind_is_found_with_its_place(folder, tmp_path):
    import pandas as pd

    events = pd.DataFrame({"path": ["9.wav", "6.wav"], "start_s": [1.0, 4.0], "end_s": [2.0, np.nan]})
    odd = look_into(folder, [f"{n}.wav" for n in range(len(KINDS))], events)
    found = [(each.kind, each.path) for each in odd]
    zeros = [*KINDS][7]
    assert found == sorted(
        [*zip(KINDS, [f"{n}.wav" for n in range(10)], strict=True), (zeros, "9.wav")],
        key=lambda each: ([*KINDS].index(each[0]), each[1]),
    )
    at = {each.kind: each.at_s for each in odd}
    assert at[STOPS[2]] == 9000 / RATE
    assert at["with an event of silence, or past the audio"] == 1.0
    soundfile.write(tmp_path / "good.wav", SOUND, RATE)
    assert look_into(tmp_path, ["good.wav"]) == []


def test_no_kind_crowds_out_another():
    odd = [Odd(kind, f"{n}") for kind in [*KINDS][:5] for n in range(20)]
    assert [(each.kind, each.path) for each in choose(odd, 12)] == [
        (kind, str(n)) for turn, kind in enumerate([*KINDS][:5]) for n in range(3 if turn < 2 else 2)
    ]


def test_a_page_that_needs_nothing_else(folder, tmp_path):
    rows = "".join(f"{path.name},cough\n" for path in sorted(folder.iterdir()))
    (folder / "manifest.csv").write_text("path,sound\n" + rows)
    (folder / "a<b> (1).wav").write_bytes(b"")
    (folder / "a<b>.wav").write_bytes(b"")
    counts = check("prompted", tmp_path)
    assert counts.attrs["stops"] == 3
    text = write_page("prompted", counts, tmp_path / "new" / "page.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|<script|<link", text)
    images = re.findall(r"data:image/png;base64,([^\"]+)", text)
    assert len(images) == 8  # neither what cannot be decoded nor what is empty has one
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)
    assert "&lt;html&gt;&amp;nbsp;404" in text
    assert "a&lt;b&gt; (1).wav" in text
    assert all(meaning.split("'")[0] in text for kind, meaning in KINDS.items() if "event" not in kind)
