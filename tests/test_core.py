"""The cache: what changes a number changes its key, what does not changes none, and nothing half is ever read."""

import os
import signal
import subprocess
import sys
from importlib import metadata
from textwrap import dedent

import numpy as np
import pytest

from lungnb import UserError, core
from lungnb.core import cached_arrays, code_version

FEATURES = """
    import numpy as np
    from lungnb.data.audio import window

    def power(sound):
        if len(sound) == 0:
            raise ValueError("empty")
        return np.abs(window(sound)) ** 2
"""


def forget():
    code_version.cache_clear()
    core._code_of.cache_clear()


@pytest.fixture
def version(tmp_path, monkeypatch):
    """version(features=source, ...): the version of lungnb.features in a toy package of these modules, kept from call to call."""
    monkeypatch.setattr(core, "_PACKAGE", tmp_path)
    (tmp_path / "data").mkdir()

    def of(*modules, **sources):
        for name, text in sources.items():
            (tmp_path / f"{name.replace('__', '/')}.py").write_text(dedent(text))
        forget()
        return code_version(*(modules or ["lungnb.features"]))

    of(features=FEATURES, data__audio="def window(x):\n    return x", report="shows = 1")
    yield of
    forget()


def test_an_edited_front_end_is_another_version(version):
    first = version()
    assert version(features=FEATURES.replace("** 2", "** 1")) != first
    assert version(features=FEATURES) == first
    assert version(data__audio="def window(x):\n    return 2 * x") != first
    deep = version(data__audio="from lungnb import deep\ndef window(x):\n    return x", deep="x = 1")
    assert deep not in (first, version(deep="x = 2"))
    assert version("lungnb.features", "lungnb.report") != version()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import numpy as np", '"""Front ends."""\n\n    import numpy as np  # numbers'),
        ("        return np.abs(window(sound)) ** 2", "        return (np.abs(window(sound))) ** 2  # P"),
        ("        if len", '        """Power of `sound`."""\n        if len'),
        ('ValueError("empty")', "ValueError(f'the sound of {len(sound)} samples is empty', 3) from None"),
        ("        if len", '        print("power")\n        logger.info("%s", sound)\n        if len'),
    ],
)
def test_words_change_no_version(version, before, after):
    edited = FEATURES.replace(before, after)
    assert edited != FEATURES
    assert version(features=edited) == version(features=FEATURES)


def test_what_is_not_imported_changes_no_version(version):
    first = version()
    assert version(report="shows = 2", data__clips="x = 2") == first


def test_a_package_that_computes_is_part_of_the_version(version, monkeypatch):
    first, installed = version(), metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: installed(name) + ("+cpu" if name == "numpy" else ".1"))
    assert version() == first  # the same numpy, on any device; nothing else is imported
    monkeypatch.setattr(metadata, "version", lambda name: installed(name) + ".1")
    assert version() != first


def test_versions_need_no_torch():
    code = "import sys; from lungnb.core import code_version; code_version('lungnb.training'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGNB_CACHE", str(tmp_path))
    return tmp_path


def test_arrays_are_computed_once_for_a_key(cache, monkeypatch):
    calls = []

    def get(key, value=1.0):
        return cached_arrays(
            "features/toy",
            key,
            ["lungnb.features"],
            lambda: calls.append(key) or {"x": np.full((2, 3), value, dtype=np.float16), "names": np.array(["a", "ß"])},
        )

    key = {"rate": 4000, "of": np.arange(3), "cut": (1, None)}
    first, again = get(key), get({"cut": [1, None], "of": [0, 1, 2], "rate": 4000}, value=2.0)
    assert len(calls) == 1
    assert first["x"].dtype == np.float16
    assert (again["x"] == first["x"]).all()
    assert again["names"].tolist() == ["a", "ß"]
    again["x"][:] = 5  # of this array alone: the file stays as it is
    assert (get(key)["x"] == 1).all()
    assert (get(key | {"of": np.array([0, 1, 3])}, value=3.0)["x"] == 3).all()
    monkeypatch.setattr(core, "code_version", lambda *modules: "edited")
    assert (get(key, value=4.0)["x"] == 4).all()
    assert len(calls) == 3


def test_what_cannot_be_a_key_or_an_array_is_refused(cache):
    with pytest.raises(AttributeError):
        cached_arrays("toy", object(), [], dict)
    with pytest.raises(ValueError, match="allow_pickle"):
        cached_arrays("toy", 1, [], lambda: {"x": np.array(["a", None], dtype=object)})
    assert not list(cache.glob("toy-*"))


SCRIPT = """
    import os, signal, sys, time
    import numpy as np
    from lungnb import core

    def compute():
        with open(os.environ["LUNGNB_CACHE"] + "/calls", "a") as file:
            file.write("x")
        time.sleep(0.5)
        return {"a": np.ones(9), "b": np.zeros(9)}

    if sys.argv[1] == "kill":
        save = np.save
        def killed(path, array, **options):
            save(path, array, **options)
            os.kill(os.getpid(), signal.SIGKILL)
        np.save = killed
    print(sum(array.sum() for array in core.cached_arrays("toy", 1, ["lungnb.core"], compute).values()))
"""


def start(*argument):
    return subprocess.Popen([sys.executable, "-c", dedent(SCRIPT), *argument], stdout=subprocess.PIPE, text=True)


def test_two_processes_compute_once_and_a_killed_one_leaves_nothing_half(cache):
    assert start("kill").wait(60) == -signal.SIGKILL
    assert [p.name for p in cache.glob("toy-*")] == []
    both = [start("go"), start("go")]
    assert [process.communicate(timeout=60)[0] for process in both] == ["9.0\n", "9.0\n"]
    assert (cache / "calls").read_text() == "xx"
    (folder,) = cache.glob("toy-*")
    assert sorted(p.name for p in folder.iterdir()) == ["a.npy", "b.npy"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_cache_is_one_sentence(cache):
    cache.chmod(0o500)
    with pytest.raises(UserError, match="could not be written"):
        cached_arrays("toy", 1, [], dict)
    cache.chmod(0o700)
