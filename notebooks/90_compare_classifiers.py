# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Every classifier on every data set
#
# **The question.** Each paper compares its model with numbers from other papers: other recordings, other splits, other rules. Which of these models
# is better, and what is each trick worth, when *only the model differs*?
#
# | What you will do | What you will learn | What you need |
# | --- | --- | --- |
# | train nine classifiers on ICBHI and SPRSound, and six on whole patients, in one harness | what has to be held equal before two scores may be compared | notebooks 01 to 03, or at least their claims |
# | draw patients, not sounds, and draw them for two models at once | why a difference can be certain where both scores are not | what a bootstrap is |
# | put a leak back in, take a model abroad | what leakage is worth, and what of a score is the data set's | about two minutes |
#
# **How to read.** There is no paper here, so there is no column *published*. What the models are called: *RespireNet* (notebook 01), *CNN*, *Upsampling CNN*,
# *ConvLstm* and *full* (notebook 02), *MPO* and *MPA* (notebook 03), *SiteCNN*, the network inside these two, once for all positions, and two baselines that anyone would try first:
# *boosting* (trees of scikit-learn on statistics of a log-mel spectrogram) and a *small CNN*.

# %% tags=["parameters"]
profile: str = "smoke"  # smoke (minutes, simulated), laptop (real data, about an hour) or paper (full size, GPU)
data: str = "simulated"  # "simulated", or a folder with icbhi/, sprsound/ and, for cohorts of your own, multisite/
seeds: list[int] = []  # one training for each seed; empty: the profile's own
epochs: int = 0  # epochs of every model; 0: the profile's own
device: str = "auto"  # auto, cpu or cuda
cluster: str = ""  # "": train here; "local" or "slurm": as a job array
out: str = ""  # folder of the reports; "": reports/ of the repository, or of this folder

# %%
import inspect

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Code, Markdown, display
from matplotlib.ticker import LogLocator, NullLocator

from lungnb.book import Report, check_parameters, comparison, recorded, recorded_from
from lungnb.classification import LEAKY_RULE, Classification, networks
from lungnb.classification.comparison import load_comparison
from lungnb.classification.networks import CLASSIFIERS
from lungnb.core import UserError
from lungnb.data import label_maps, make_split, task_of
from lungnb.metrics.classification import METRICS, class_scores, evaluate, paired, table_scores
from lungnb.metrics.intervals import holm
from lungnb.training.experiment import run_all

profile, data, seeds, epochs, device, cluster, out = check_parameters(
    "90", profile=profile, data=data, seeds=seeds, epochs=epochs, device=device, cluster=cluster, out=out
)
TASKS = {name: task_of(name) for name in ("icbhi", "sprsound", "sprsound-common", "sprsound-patients", "cohorts")}

# %%
compared = load_comparison(profile, data, seeds=seeds, epochs=epochs, device=device)
size, seeds, corpora, group = compared.size, compared.seeds, compared.corpora, compared.group
report = Report("90_compare_classifiers", profile=profile, out=out, corpus=corpora["icbhi"])
Markdown(f"**Data of this build:** {compared.data}. **Seeds:** {seeds}.")

# %% [markdown]
# **What we could not have**
#
# * *A paper's score.* None below is one, and none may be held against one.
# * *Recordings.* Real ICBHI recordings of ours are 192 of 920: 644 of the 646 of the AKGC417L and 84 of the 87 of the LittC2SE are missing.
#   SPRSound's release of 2022 is complete. The cohorts of notebook 03 are private and always simulated, unless a clinic has its own.
# * *Weights.* No network starts from ImageNet's or any other weights in `smoke` and `laptop`, nor in what is recorded; the paper of RespireNet does.
# * *Size and epochs.* In these profiles RespireNet is a narrow ResNet-10, the LSTMs have 16 or 32 states, not 512, and all are trained for 20 epochs
#   at most, of 480 or 1,600 sounds each; RespireNet and the paediatric networks were trained for up to 200 epochs. A model that does badly here may
#   only need more of it.
# * *Recipes.* What a paper tunes for its own data (sampling, loss, schedule) is the same for all models here.

# %% [markdown]
# ## 1. What is asked
#
# A *task* is a data set, what its labels mean, what is scored (a sound or a patient), and who is trained on. The same labels do not mean the same everywhere, so each task writes its
# *label map* down. ICBHI's annotators had four words, SPRSound's seven; `sprsound-common` says SPRSound in ICBHI's words.

# %%
maps = label_maps(list(TASKS)).fillna({"class": "left out"})
wide = maps.pivot(index="label", columns="task", values="class").fillna("").reset_index()
report.table(
    "label-maps",
    wide,
    title="what each label counts as",
    origin="diagram",
    note="empty: the data set has no such label",
)

# %% [markdown]
# A data set that nobody has written a map for is refused, not guessed:

# %% tags=["nbval-check-output"]
try:
    task_of("coughvid")
except UserError as error:
    print(error)

# %% [markdown]
# **Who is trained on.** Five folds by *patient*, labels spread evenly: one is tested, one selects the epoch, three are trained on. All models get the same three parts.

# %%
Code(inspect.getsource(make_split), language="python")

# %%
views = {name: compared.view(name) for name in TASKS}
splits = {name: compared.experiment(name, "boosting").parts(views[name]) for name in TASKS}
rows = []
for name, task in TASKS.items():
    events = views[name].events
    part = splits[name].part
    for which, here in events.groupby(part):
        rows.append({"task": name, "part": which, "patients": here["patient"].nunique(), "sounds": len(here)})
        rows[-1]["abnormal sounds, %"] = 100 * (here["label"] != task.classes[0]).mean()
whole = compared.joined("icbhi", "sprsound", "multisite")
report.table(
    "parts",
    pd.DataFrame(rows),
    title="patients and sounds to train, select and test",
    corpus=whole,
    note="a sound is an event, or a recording where patients are scored",
)

# %% tags=["nbval-check-output"]
for name in TASKS:
    part = splits[name].part
    print(f"{name:18} patients of two parts:", int((part.groupby(views[name].events["patient"]).nunique() > 1).sum()))

# %% [markdown]
# ## 2. Who is asked
#
# Each model keeps its paper's *front end* and *network*. Everything else is the same for all: clips cut by the same plan, classes drawn in proportion to the root of their count, AdamW on a
# cosine, rolled and masked pictures, as many sounds an epoch, the epoch of the best AS on the validation patients (of the same AS: the lower loss), and a sound's probability the mean over its clips. A model has its own learning rate, the best of three on validation patients of simulated sounds, and its own number of epochs. That is not any
# paper's full recipe; it is the price of a comparison. The tricks come one by one in section 6.

# %% tags=["nbval-check-output"]
fronts = {model: CLASSIFIERS[model].front_end for model in size["models"]}
for front in dict.fromkeys(fronts.values()):
    print(f"{front:10}", ", ".join(model for model, own in fronts.items() if own == front))

# %%
Code(inspect.getsource(networks.Classifier.forward), language="python")

# %% [markdown]
# **The scores**, the same for all. *Se* and *Sp* as in the challenges (a crackle called a wheeze is a miss), *AS* and *HS* their arithmetic and harmonic mean, *Score* the mean of these two;
# balanced accuracy and macro F1 give each class the same weight; AUROC asks only whether abnormal sounds are ranked above normal ones. Each is a function of one table of counts a patient, so
# drawing patients anew is a product of matrices:

# %%
Code(inspect.getsource(class_scores), language="python")

# %% [markdown]
# ## 3. The comparison


# %%
def scored(row: str, runs: list[Classification], tested: str = "", rule: str = "validation") -> pd.DataFrame:
    """The scores of one model, with intervals over patients."""
    return evaluate([r.tested(task=tested, rule=rule) for r in runs]).assign(row=row)


nothing = pd.DataFrame({"row": [], "metric": [], "value": []})


# %%
to_sprsound = {"transfer": {"sprsound-common": corpora["sprsound"].fingerprint}}
grid = {
    "icbhi": {m: group("icbhi", m, **to_sprsound) for m in fronts if m != "MPA"},
    "sprsound": {m: group("sprsound", m) for m in fronts if m != "MPA"},
    "sprsound-patients": {m: group("sprsound-patients", m) for m in size["of patients"]},
    "cohorts": {m: group("cohorts", m) for m in size["of patients"]},
}
run_all([r for models in grid.values() for runs in models.values() for r in runs], cluster or None)


# %%
def show(task: str, note: str) -> None:
    """The table of one task."""
    tidy = pd.concat(scored(model, runs) for model, runs in grid[task].items())
    runs = sum(grid[task].values(), [])
    table = comparison(nothing, tidy, recorded(f"compare_classifiers-{task}"))
    report.table(task, table, title="the classifiers on one task", corpus=views[task], runs=runs, note=note)


show("icbhi", "respiratory cycles of patients of whom none was trained on; 95 % intervals")

# %%
show("sprsound", "events of patients of whom none was trained on; seven classes; 95 % intervals")

# %% [markdown]
# Read the brackets before the numbers. A test part of a few patients gives wide intervals, and fewer than six patients with what is scored give none. That is the size of the evidence, not a defect of the harness. Then compare
# *AUROC* with *macro F1*: to hear *that* something is abnormal is one thing, to call it by its name, above all where a name is rare, is another.
#
# *MPO* deserves a warning. It has a network for each position, and all models get the same number of sounds, so each of its networks sees a fraction of what the others see. Its paper gave it 60 epochs of all it had.
#
# **Patients.** The same networks on five seconds of a whole recording; a patient's probability is the mean over all clips and sites, but for MPA, which hears all sites at once.

# %%
show("sprsound-patients", "adventitious in any recording, against normal")

# %%
show("cohorts", "ill against healthy, both clinics in all parts; simulated unless a clinic has its own")

# %% [markdown]
# ### Two models on the same patients
#
# Two intervals that overlap do not say that two models are alike: what makes a patient hard makes it hard for both. Draw the *same* patients for both and look at the difference. Each model against
# the small CNN:

# %%
rows = []
for task in ("icbhi", "sprsound"):
    base = [r.tested() for r in grid[task]["small CNN"]]
    for model, runs in grid[task].items():
        if model != "small CNN":
            pair = paired([r.tested() for r in runs], base).query("metric in ['AS', 'AUROC']")
            rows.append(pair.assign(row=model, metric=pair["metric"] + f", {task}", n_seeds=len(seeds)))
tidy = comparison(nothing, pd.concat(rows), recorded("compare_classifiers-paired"))
used = [r for task in ("icbhi", "sprsound") for runs in grid[task].values() for r in runs]
note = "difference to the small CNN on the same patients; below 0: the small CNN is better"
report.table(
    "paired",
    tidy,
    title="each against the small CNN, on the same patients",
    corpus=compared.joined("icbhi", "sprsound"),
    runs=used,
    note=note,
)

# %%
base, others = ([r.tested() for r in grid["icbhi"][model]] for model in ("small CNN", "boosting"))
alone = evaluate(others).set_index("metric").loc["AS"]
pair = paired(others, base).set_index("metric").loc["AS"]
print(
    f"width of the interval of the trees' AS: {alone['high'] - alone['low']:.3f}, of its difference: {pair['high'] - pair['low']:.3f}"
)

# %% [markdown]
# ## 4. What it costs

# %%
rows = []
for model, runs in grid["icbhi"].items():
    facts = pd.DataFrame([r.result() for r in runs])
    rows.append(
        {
            "model": model,
            "parameters": facts["parameters"].iloc[0],
            "multiply-adds (million)": facts["multiply_adds"].iloc[0],
        }
    )
    rows[-1] |= {"training (s)": facts["training_seconds"].mean(), "clips a second": facts["samples_per_second"].mean()}
    rows[-1]["AS"] = np.mean([r.result()["scores"]["test"]["AS"] for r in runs])
costs = pd.DataFrame(rows)
costs["multiply-adds (million)"] = costs["multiply-adds (million)"].astype(float) / 1e6
costs["parameters"] = costs["parameters"].astype("Int64")
report.table(
    "costs",
    costs,
    title="parameters, multiply-adds, seconds",
    runs=sum(grid["icbhi"].values(), []),
    note="seconds of one thread beside another; clips without their front end, which is computed once",
)

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for ax, column in zip(axes, ("training (s)", "multiply-adds (million)")):
    ax.scatter(costs[column], costs["AS"], color="C0")
    for row in costs.dropna(subset=[column]).to_dict("records"):
        ax.annotate(row["model"], (row[column], row["AS"]), xytext=(4, 4), textcoords="offset points", fontsize=7)
    ax.set(xlabel=column, xscale="log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.margins(x=0.15)
axes[0].set_ylabel("AS, ICBHI")
report.figure(
    "score-and-cost",
    fig,
    title="what a score costs",
    runs=sum(grid["icbhi"].values(), []),
    note="trees have no multiply-adds",
)

# %% [markdown]
# The right question to a large model is not whether it wins, but whether the interval of its *difference* to the small one lies above 0.
#
# ## 5. What leakage is worth
#
# Two ways to cheat without meaning to. *Leaky selection*: the epoch is picked on the test part. *Leaky split*: events are dealt one by one, so that a patient stands in train and in test.

# %%
dealt = {m: group("icbhi", m, split="events (leaky)") for m in size["leaky"]}
run_all(sum(dealt.values(), []), cluster or None)
ways = {
    "honest": (grid["icbhi"], "validation"),
    "leaky selection": (grid["icbhi"], LEAKY_RULE),
    "leaky split": (dealt, "validation"),
    "both": (dealt, LEAKY_RULE),
}
rows = []
for model in dealt:
    for way, (models, rule) in ways.items():
        rows.append(scored(model, models[model], rule=rule).query("metric == 'AS'").assign(metric=way))

# %%
tidy = comparison(nothing, pd.concat(rows), recorded("compare_classifiers-leakage"))
used = sum(dealt.values(), []) + [r for m in dealt for r in grid["icbhi"][m]]
report.table(
    "leakage",
    tidy,
    title="what leaky selection and a leaky split are worth",
    corpus=views["icbhi"],
    runs=used,
    note="AS; all columns but the first are leaky",
)
each = pd.concat(rows).groupby("metric")["ours"].mean()
print("mean over models:", {way: round(float(each[way]), 3) for way in ways})

# %% [markdown]
# Leaky selection can only help, by construction: it is the best of several looks at the answer. What the leaky split adds depends on how much of a patient there is to recognise: the same stethoscope,
# the same heart, the same body. Simulated patients have an identity, too, and it is drawn so that mixing them pays simple models about what it pays on real ICBHI. For one model it may still be negative here: the two splits test different sounds, some harder than others, and only many folds would cancel that. A leak is a
# reason to disbelieve a number, not a promise that it is too high. Then look at the line *recorded*, which is of real
# recordings: there the leak alone lifts most models from chance towards what papers print of ICBHI.
#
# ## 6. What a trick is worth on other data
#
# RespireNet's three tricks on SPRSound, the Conv-LSTM's metadata on ICBHI, the paediatric fusion of sites on SPRSound: each is switched on alone, and compared with the same model without
# it on the same patients.

# %%
tricks = {
    "smart padding": ("RespireNet", {}, "RespireNet", {"padding": "smart"}),
    "concatenation (CBA)": ("RespireNet", {}, "RespireNet", {"cba": True}),
    "blank region clipping (BRC)": ("RespireNet", {}, "RespireNet", {"clipping": "paper"}),
    "metadata": ("full", {"metadata": "zeroed"}, "full", {}),
    "a network a position": ("SiteCNN", {}, "MPO", {}),
    "all sites at once": ("SiteCNN", {}, "MPA", {}),
}
sounds, patients = ["icbhi", "sprsound"], ["sprsound-patients", "cohorts"]
if corpora["multisite"].origin_text == "simulated" != corpora["sprsound"].origin_text:
    patients.remove("cohorts")  # what is simulated does not stand in a table with what is real
asked = {
    trick: patients if "MPA" in pair else [*sounds, *patients] if "MPO" in pair else sounds
    for trick, pair in tricks.items()
}


def of(task: str, model: str, choices: dict) -> list[Classification]:
    """The runs of the grid where it has them."""
    return grid[task][model] if not choices else group(task, model, **choices)


pairs = {
    (t, task): (of(task, *tricks[t][:2]), of(task, *tricks[t][2:])) for t, tasks in asked.items() for task in tasks
}
run_all([r for pair in pairs.values() for runs in pair for r in runs], cluster or None)

# %%
rows = []
for (trick, task), (without, with_it) in pairs.items():
    pair = paired([r.tested() for r in with_it], [r.tested() for r in without]).query("metric == 'AS'")
    rows.append(pair.assign(row=trick, metric=task, n_seeds=len(seeds)))
gains = pd.concat(rows)
used = [r for pair in pairs.values() for runs in pair for r in runs]
tidy = comparison(nothing, gains, recorded("compare_classifiers-tricks"))
both = compared.joined(*dict.fromkeys(TASKS[task].corpus for _, task in pairs))
note = "gain in AS on the same patients, 95 % intervals, none below six patients; empty: cannot be asked there"
report.table("tricks", tidy, title="each paper's trick on the others' data", corpus=both, runs=used, note=note)

# %%
fig, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
for k, (task, here) in enumerate(gains.groupby("metric", sort=False)):
    y = here["row"].map({t: n for n, t in enumerate(tricks)}) + 0.18 * (k - 1.5)
    error = np.abs(here[["low", "high"]].sub(here["ours"], axis=0).T.to_numpy())
    ax.errorbar(here["ours"], y, xerr=error, fmt="o", markersize=4, capsize=2, label=task, color=f"C{k}")
ax.axvline(0, color="0.4", linewidth=0.8)
ax.set(yticks=range(len(tricks)), yticklabels=list(tricks), xlabel="gain in AS")
ax.invert_yaxis()
ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
report.figure("gains", fig, title="the same, drawn", corpus=both, runs=used, note="95 % intervals")

# %% [markdown]
# An interval that reaches over 0 is no evidence either way, and a difference without an interval is none at all. Count how many stay clear of 0, and on which side. Of twenty such intervals about one misses 0 by luck alone.
#
# ## 7. Abroad
#
# Trained on ICBHI, tested on SPRSound, in ICBHI's four words, and the other way round. Stethoscopes, ages, and what annotators called a wheeze: all differ.

# %%
to_icbhi = {"transfer": {"icbhi": corpora["icbhi"].fingerprint}}
common = {m: group("sprsound-common", m, **to_icbhi) for m in size["cross-dataset"]}
run_all(sum(common.values(), []), cluster or None)
rows = []
for model, runs in common.items():
    trained = {"icbhi": grid["icbhi"][model], "sprsound-common": runs}
    for home, group_of in trained.items():
        for tested in trained:
            frame = scored(model, group_of, tested).query("metric in ['AS', 'AUROC']")
            rows.append(frame.assign(row=f"{model} | {home} -> {tested}"))

# %%
tidy = comparison(nothing, pd.concat(rows), recorded("compare_classifiers-abroad"))
used = sum(common.values(), []) + [r for m in common for r in grid["icbhi"][m]]
report.table(
    "abroad",
    tidy,
    title="trained on one data set, tested on another",
    corpus=compared.joined("icbhi", "sprsound"),
    runs=used,
    note="a -> b: trained on a, tested on b's test patients",
)

# %%
found = pd.concat(rows).query("metric == 'AUROC'").set_index("row")["ours"]
at_home = [v for row, v in found.items() if row.split(" | ")[1].split(" -> ")[0] == row.split(" -> ")[1]]
away = [v for row, v in found.items() if row.split(" | ")[1].split(" -> ")[0] != row.split(" -> ")[1]]
print(f"AUROC at home {np.mean(at_home):.2f}, abroad {np.mean(away):.2f}")

# %% [markdown]
# What is lost on the way need not be the model's alone. Part of what AS loses may be the label map; AUROC asks only for abnormal against normal, and the names do not touch it. A child's rhonchus in an adult's "wheeze" is a decision that somebody made in a table; section 1 says who.
#
# ## What to take home
#
# Which model is best is a question about pairs. Of each task: the model with the highest AS, and those from which these test patients cannot tell it (p of the paired difference above .05 after Holm's correction, or no p, where fewer than six patients have what is scored). Of models
# that tie, the first is named. It was chosen on these very patients, so it is flattered, and nothing here says that it would lead again.

# %%
for task, models in grid.items():
    tested = {m: [r.tested() for r in runs] for m, runs in models.items()}
    best = max(models, key=lambda m: evaluate(tested[m], 2)["ours"][METRICS.index("AS")])
    gaps = {m: paired(tested[best], tested[m]).set_index("metric").loc["AS"] for m in models if m != best}
    p = dict(zip(gaps, holm([gap["p"] for gap in gaps.values()])))
    level = [m for m in gaps if not p[m] < 0.05]
    print(f"{task}: {best}; not told apart: {', '.join(level) or 'none'}")

# %% [markdown]
# The same of the recorded runs on real recordings, as far as scores alone can say it:

# %%
display(Markdown(recorded_from("compare_classifiers-icbhi") + "\n\n" + recorded_from("compare_classifiers-sprsound")))
for task in grid:
    kept = recorded(f"compare_classifiers-{task}")
    if kept is not None:
        scores = kept[kept["metric"] == "AS"].sort_values("ours", ascending=False)
        first = scores.iloc[0]
        within = scores.loc[scores["high"] >= first["low"], "row"].tolist()[1:]
        print(f"{task}: {first['row']} {first['ours']:.3f} [{first['low']:.3f}, {first['high']:.3f}];", end=" ")
        print("intervals that overlap:", ", ".join(within) or "none")

# %% [markdown]
# ## Exercises
#
# Each solution is a cell tagged `solution`; `lungnb student` writes a copy of this notebook without them.
#
# **1.** *(easy, 5 minutes)* A model calls every sound normal. What are its Se, Sp, AS, HS and balanced accuracy with four classes? Which of the scores would you print if you wanted to hide it?

# %% tags=["solution", "nbval-check-output"]
label = np.repeat([0, 1, 2, 3], 5)
lazy = pd.DataFrame({"patient": "a", "label": label, "predicted": 0, "p0": 1.0, "p1": 0.0, "p2": 0.0, "p3": 0.0})
print({name: round(float(v), 3) for name, v in table_scores(lazy).items()})

# %% [markdown]
# **2.** *(medium, 10 minutes)* Ten patients give a hundred sounds each, and a model is right on all sounds of nine patients and wrong on all of the tenth. How wide is the 95 % interval of its AS if you draw patients, and how wide if you (wrongly) draw sounds?

# %% tags=["solution", "nbval-check-output"]
label = np.tile([0, 1], 500)
patient = np.repeat([f"p{k}" for k in range(10)], 100)
guess = np.where(patient == "p9", 1 - label, label)
toy = pd.DataFrame({"patient": patient, "label": label, "predicted": guess, "p0": 1.0 - guess, "p1": 1.0 * guess})
for name, frame in {"patients": toy, "sounds": toy.assign(patient=[str(k) for k in range(1000)])}.items():
    row = evaluate([frame], 400).set_index("metric").loc["AS"]
    print(f"drawing {name}: {row['low']:.2f} to {row['high']:.2f}")

# %% [markdown]
# **3.** *(medium, 10 minutes)* In the leaky split nearly all patients stand in train and in test (the caption of the table counts them). Which of the models do you expect to gain most from it, and why? Look at the column *leaky split* for the one that does.

# %% tags=["solution"]
wide = pd.concat([scored(m, dealt[m]).query("metric == 'AS'") for m in dealt]).set_index("row")["ours"]
honest = pd.Series({m: np.mean([r.result()["scores"]["test"]["AS"] for r in grid["icbhi"][m]]) for m in dealt})
print((wide - honest).sort_values(ascending=False).round(3).to_dict())

# %% [markdown]
# **4.** *(medium, 15 minutes)* SPRSound's stridor has no counterpart in ICBHI. Write a label map in which it counts as a wheeze. How many sounds does that move, and of how many patients?

# %% tags=["solution"]
from dataclasses import replace

other = replace(TASKS["sprsound-common"], labels=TASKS["sprsound-common"].labels | {"stridor": "wheeze"})
more, before = other.view(corpora["sprsound"]).events, views["sprsound-common"].events
stridor = corpora["sprsound"].events.query("label == 'stridor'")
print(len(more) - len(before), "sounds of", stridor["patient"].nunique(), "patients")
