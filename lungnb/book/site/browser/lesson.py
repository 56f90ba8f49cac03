# %% [markdown]
# # Can this number be true? A lesson in your browser
#
# Nothing was installed for this page, and nothing leaves it. Your browser has loaded Python and a part of `lungnb`, the library
# of this book. Choose *Run*, *Run All Cells* in the menu above, or press Shift+Enter in one cell after another. The first cell
# takes up to a minute, for Python has to start. Every cell can be changed and run again.
#
# You will check a printed table, compute a recorded one again from its predictions, price a leak, see an interval that is too
# short, make a breath with a crackle and hear it, and do three exercises.
#
# **What is different here.** Networks cannot be trained in a browser, so all predictions were recorded before, each network on
# real sounds of patients. The library `scipy` is not to be had here either. A small stand-in does the few things that are asked
# of it, and the tests of the book hold it against `scipy` itself. pandas asks for numpy 2.0.2; it was told to take 2.0.1, the
# newest there is for this page.

# %%
import numpy as np
import pandas as pd
from IPython.display import Audio
from lungnb_browser import by_seed, intervals, kept_scores, predictions, spectrogram

from lungnb import published
from lungnb.book.sentences import difference, value
from lungnb.metrics.calibration import calibration_error, reliability
from lungnb.metrics.classification import biocas_scores, class_scores, count, evaluate, paired, score_rows
from lungnb.metrics.intervals import draw
from lungnb.published.formulas import harmonic, reachable
from lungnb.simulate import Device, chest
from lungnb.simulate.auscultation import Auscultation

print("Python is ready.")

# %% [markdown]
# ## 1. An audit
#
# An audit asks whether a paper's own numbers agree with each other. It needs no data. The Conv-LSTM paper prints, for each of
# its networks, *Se* (the share of abnormal sounds that got the right class), *Sp* (the share of normal sounds called normal),
# and their harmonic mean *HS*.

# %%
table = published.wide("convlstm", "table-2")[["Se", "Sp", "HS"]].astype(float)
table["HS again"] = harmonic(table["Se"], table["Sp"]).round(4)
table["possible"] = [reachable(row["HS"], harmonic, (row["Se"], row["Sp"]), 0.5e-4) for _, row in table.iterrows()]
table

# %% [markdown]
# A row is *possible* if some Se, Sp and HS that round to the printed digits satisfy the formula. The library does this for
# every number that can be computed from others, of four papers:

# %%
checks = pd.concat([published.audit(paper) for paper in published.PAPERS])
failed = checks[(checks["kind"] == "contradiction") & ~checks["agrees"].fillna(True)]
tested = (checks["agrees"].notna() & (checks["kind"] != "note")).sum()
print(f"{tested} checks of what is printed; {len(failed)} contradict the same paper.")
failed.groupby("paper", sort=False)["finding"].agg(["size", "nunique"]).set_axis(["checks", "findings"], axis=1)

# %% [markdown]
# ## 2. A recorded table, computed again
#
# Five trainings of the small network of that paper, on SPRSound, a data set of children's lung sounds. What each training said
# to each test sound is packed into this page. So its scores need not be believed. The next cell computes all of them, with
# their intervals, and compares them with those that were kept on the day of the recording.

# %%
answers = predictions("convlstm/sprsound-event")
again = evaluate(by_seed(answers, "paper CNN"))
kept = kept_scores("convlstm/sprsound-event").query("row == 'paper CNN' and subset == 'combined'")
both = kept.merge(again, on="metric", suffixes=(" kept", ""))
for column in ("ours", "sd", "low", "high"):
    assert np.allclose(both[column], both[f"{column} kept"], atol=2e-6, equal_nan=True), column
print(f"{len(both)} scores agree to the sixth digit.")
print("Score:", value(again.set_index("metric").loc["Score"]))
both[["metric", "ours", "sd", "low", "high"]].round(3)

# %%
rows = ["paper CNN", "fair CNN", "best CNN", "best ConvLstm", "best full"]
score = {row: score_rows(row, by_seed(answers, row), biocas_scores, 1).set_index("metric").loc["Score"] for row in rows}
intervals(
    [score[row][["row", "ours", "low", "high"]].to_dict() for row in rows], "Score on SPRSound, with 95 % interval"
)

# %% [markdown]
# The three `best` networks differ in their parts, and their intervals lie on top of each other. The network of the first three
# lines is the same: `fair` trains it longer, and `best` shows it another input as well.
#
# ## 3. What a leak pays
#
# A *leak* is help that a network gets in a test and will not get in use. Here is one network on real recordings of ICBHI,
# trained as it should be and with a leak or two. All are scored on the same sounds, so each difference is one of pairs.

# %%
icbhi = predictions("comparison/icbhi")
honest, lines = by_seed(icbhi, "CNN"), []
for leak, what in {
    "leaky selection": "epoch chosen on the test side",
    "leaky split": "patients on both sides",
    "both leaks": "both",
}.items():
    line = paired(by_seed(icbhi, f"CNN, {leak}"), honest).set_index("metric").loc["AS"]
    lines.append({"row": what, "ours": line["ours"], "low": line["low"], "high": line["high"]})
    print(difference(f"With {what} the network", "without", line, "AS"))
intervals(lines, "AS gained by the leak")

# %% [markdown]
# *AS* is the mean of Se and Sp. Nothing about the network became better. It met the patients of the test before, or its best
# moment was picked with the answers in hand.
#
# ## 4. An interval that is too short
#
# Many papers draw *events* anew, of one training, and call the spread an interval. Events of one child sound alike, so they are
# fewer than they seem; and another training would have come out differently. The next cell does it both ways.

# %%
one = by_seed(answers, "paper CNN")[0]
alone = one.assign(patient=np.arange(len(one)).astype(str))[["patient", "label", "predicted"]]
found = class_scores(count(alone, n_classes=7), draw(len(alone), 200))["Score"]
blind = {"row": "paper CNN", "series": "events of one training", "ours": found[0]}
blind |= dict(zip(("low", "high"), np.percentile(found[1:], [2.5, 97.5]), strict=True))
knows = {**score["paper CNN"][["row", "ours", "low", "high"]], "series": "children, and five trainings"}
print(
    f"Blind: {blind['high'] - blind['low']:.3f} wide. Of children and trainings: {knows['high'] - knows['low']:.3f} wide."
)
trainings = [
    class_scores(count(t[["patient", "label", "predicted"]]), np.ones((1, t["patient"].nunique())))["Score"][0]
    for t in by_seed(answers, "paper CNN")
]
outside = sum(not blind["low"] <= s <= blind["high"] for s in trainings[1:])
print(f"Other trainings outside the blind interval of the first: {outside} of {len(trainings) - 1}.")
intervals([blind, knows], "Score on SPRSound")

# %% [markdown]
# ## 5. A breath with a crackle
#
# The simulator of this book makes breathing sounds whose truth is known. Two breaths, coarse crackles in the second, a simple
# stethoscope. Change the numbers and run the cell again.

# %%
rng, rate, seconds = np.random.default_rng(7), 4000, 6
flow = chest.air_flow(rng, [(0.2, 3.0), (3.0, 5.8)], seconds * rate, rate)
recording = Auscultation(rng, flow, rate, chest.Site(corner_hz=150, breath=1, heart=0), expiration=0.6)
recording.add(chest.crackles(rng, "crackle_coarse", 3.2, 4.2, count=8, sr=rate), over_db=30)
stethoscope = Device(low_hz=35, high_hz=1300, order=2, peak_hz=250, peak_db=2, noise_db=-34)
wave = stethoscope.record(rng, recording.signal, rate)
print(f"{len(recording.boxes)} crackles, the first at {recording.boxes[0].start_s:.2f} s")
Audio(wave, rate=rate)

# %%
spectrogram(wave, rate, "Two breaths; the crackles are the upright strokes in the second.")

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise and run it. The cell below it tests the answer. It stops with an error
# until the answer is right, so *Run All Cells* ends at the first one that is open.
#
# **1.** *A bin of a calibration chart.* A network is well calibrated if of all answers that it is 70 % sure of, 70 % are right.
# Take the events whose largest probability lies from `low` up to, but not including, `high`. Return how sure the network was of
# them on average, and which share of them was right.

# %%
probabilities = [f"p{k}" for k in range(7)]


def my_bin(table, low, high):
    """Mean confidence and share of right answers of the events of `table` whose confidence is at least low and below high."""
    return None  # your answer


# %%
assert my_bin(one, 0.7, 0.8) is not None, "exercise 1 is open: my_bin returns nothing yet"
bins = reliability(one)
known = bins[(bins["confidence"] >= 0.7) & (bins["confidence"] < 0.8)][["confidence", "accuracy"]].to_numpy()[0]
assert np.allclose(my_bin(one, 0.7, 0.8), known), f"the library finds {known.round(4)}"
print("Exercise 1 passed:", known.round(3), "; over all bins the error is", round(calibration_error(one), 3))

# %% [markdown]
# **2.** *An interval of your own.* Draw the children of `table` with replacement, as many as there are, and take along all
# events of each, twice if it was drawn twice. Take `score_of`, repeat, and return the 2.5th and the 97.5th percentile. Hint:
# `table.groupby("patient").indices` holds the rows of each child.


# %%
def score_of(table):
    """The challenge's Score of a table of predictions."""
    right, is_normal = (table["label"] == table["predicted"]).to_numpy(), (table["label"] == 0).to_numpy()
    return biocas_scores(right[~is_normal].mean(), right[is_normal].mean())["Score"]


def my_interval(table, rng, times=300):
    """Ends of the 95 % interval of the Score of `table`, by drawing its children (column patient) anew."""
    return None  # your answer


# %%
assert my_interval(one, np.random.default_rng(0)) is not None, "exercise 2 is open: my_interval returns nothing yet"
mine = np.asarray(my_interval(one, np.random.default_rng(0)))
ours = score_rows("", [one], biocas_scores, 1).set_index("metric").loc["Score", ["low", "high"]].to_numpy(float)
assert np.allclose(mine, ours, atol=0.02), f"the library finds {ours.round(3)}"
print("Exercise 2 passed:", mine.round(3), "; the library finds", ours.round(3))

# %% [markdown]
# **3.** *Specificity, of events or of children?* Sp counts events, so a child with many normal sounds counts often. Return the
# mean over the children of each child's own Sp, of children who have a normal sound. Is the network better or worse for the
# average child than for the average sound?


# %%
def sp_of_children(table):
    """The mean over children of the share of their normal events that were called normal."""
    return None  # your answer


# %%
assert sp_of_children(one) is not None, "exercise 3 is open: sp_of_children returns nothing yet"
tiny = pd.DataFrame({"patient": list("aaab"), "label": [0, 0, 1, 0], "predicted": [0, 1, 1, 0]})
assert sp_of_children(tiny) == 0.75, "child a has one of two, child b one of one"
by_event = class_scores(count(one[["patient", "label", "predicted"]]), np.ones((1, one["patient"].nunique())))["Sp"][0]
print(f"Exercise 3 passed: Sp is {by_event:.3f} of events, {sp_of_children(one):.3f} of children.")

# %% [markdown]
# What you changed is kept in this browser. The whole book, with its data and its trainings, is a `git clone` and `make report`
# away.
