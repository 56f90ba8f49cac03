"""What the tests share: a cache of their own, figures without a screen, and a small repository of toy notebooks."""

import os
from types import SimpleNamespace

import pytest
from hypothesis import settings

os.environ["MPLBACKEND"] = "Agg"
# A busy machine is no failure; a parent keeps what Hypothesis itself chooses in continuous integration.
settings.register_profile("unhurried", parent=settings(), deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Tests leave the user's cache and reports alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUNGNB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("LUNGNB_REPORTS", raising=False)
        yield


@pytest.fixture
def corpus():
    """What a report needs to know of a corpus."""
    return SimpleNamespace(
        name="icbhi", origin="real", origin_text="real, partial (192 of 920 recordings)", fingerprint="0123abcd"
    )


@pytest.fixture
def runs():
    notes = ["patients 156 and 218 are on both sides"]
    return [
        SimpleNamespace(uid=f"run-{seed}", seed=seed, device_name="cpu", notes=notes, config={"epochs": 2})
        for seed in (0, 1)
    ]


PARAMETERS = """# %% tags=["parameters"]
profile: str = "smoke"  # the size of the run
data: str = "simulated"  # or a folder
epochs: int = 3  # passes over the data
shares: list[float] = []  # a parameter that no other notebook has
out: str = ""  # where the report goes
"""

GOOD = f"""# %% [markdown]
# # A toy paper
#
# Two cells do all the work, in about two minutes.

{PARAMETERS}
# %%
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd

from lungnb.book.report import Report

corpus = SimpleNamespace(name="toy", origin="simulated", origin_text="simulated", fingerprint="0123")
report = Report("01_good", profile=profile, out=out, corpus=corpus)
report.table("table-1", pd.DataFrame({{"epochs": [epochs], "shares": [shares]}}))

# %%
figure, axes = plt.subplots()
axes.plot([1, 2])
report.figure("figure-1", figure)

# %% [markdown]
# Exercise: add one and one.

# %% tags=["solution"]
1 + 1
"""

BAD = f"""# %% [markdown]
# # A paper that fails

{PARAMETERS}
# %%
raise ValueError("first line\\nsecond <line>")
"""


@pytest.fixture(scope="session")
def toy_repository(tmp_path_factory):
    """A folder laid out like the repository, with a notebook that works and one that does not."""
    root = tmp_path_factory.mktemp("toy")
    (root / "pyproject.toml").write_text('[project]\nname = "lungnb"\n')
    (root / "notebooks").mkdir()
    (root / "notebooks" / "01_good.py").write_text(GOOD)
    (root / "notebooks" / "02_bad.py").write_text(BAD)
    return root


@pytest.fixture
def toy(toy_repository, monkeypatch):
    """Work inside the toy repository."""
    monkeypatch.chdir(toy_repository)
    return toy_repository
