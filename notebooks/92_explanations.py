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
# # Where does it look, and does it know when it is wrong?
#
# **The question.** RespireNet shows one heat map and concludes that the network "starts focusing on" the right place; the paediatric paper shows two, and twenty passes with dropout. A heat
# map always looks like *something*. Here the sounds are simulated, so we know to the millisecond and the hertz where each crackle and wheeze is. Do the maps of our classifiers point at them?
# Would a network that was never trained point there as well? And is a classifier that doubts more often wrong?
#
# | What you will do | What you will learn | What you need |
# | --- | --- | --- |
# | draw Grad-CAM and Grad-CAM++ of eight classifiers, and score them against the truth | why every score of a map needs a floor and a control | notebooks 01 to 03, or at least Figure 3 of 01 |
# | take away what the maps call important, pixel by pixel | how to test an explanation without knowing the truth | what a convolution is |
# | leave dropout on, and see whether doubt finds the errors | the difference between an ambiguous sound and an ignorant network | half a minute |
#
# **How to read.** There is no paper here, so there is no column *published*. The classifiers are those of notebook 90, and so are the trainings: if you have built that one, none is repeated here.

# %% tags=["parameters"]
profile: str = "smoke"  # smoke (minutes, simulated), laptop (longer trainings) or paper (full size, GPU)
data: str = "simulated"  # "simulated", or a folder with icbhi/ and sprsound/, for the examples of section 9
seeds: list[int] = []  # the first one is trained with; empty: the profile's own
epochs: int = 0  # epochs of every model; 0: the profile's own
device: str = "auto"  # auto, cpu or cuda, of the trainings
cluster: str = ""  # "": train here; "local" or "slurm": as a job array
out: str = ""  # folder of the reports; "": reports/ of the repository, or of this folder

# %%
import inspect
import itertools
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Code, Markdown, display
from scipy.stats import entropy
from lungnb.book import check_parameters

profile, data, seeds, epochs, device, cluster, out = check_parameters(
    "92", profile=profile, data=data, seeds=seeds, epochs=epochs, device=device, cluster=cluster, out=out
)

# %%
from lungnb import configs
from lungnb.data import load_audio, read_truth, task_of
from lungnb.metrics.attribution import (
    METHODS,
    UNCERTAINTIES,
    area_under,
    attribution_maps,
    class_maps,
    deletion,
    error_detection,
    mc_dropout,
    mutual_information,
    randomise_weights,
    risk_coverage,
    uncertainty,
)

# %%
from lungnb.metrics.classification import mean_over_patients
from lungnb.metrics.localisation import (
    BAND_HZ,
    Examples,
    box_mask,
    choose_events,
    clip_boxes,
    energy_inside,
    feature_axes,
    grid,
    over_time,
    pointing_chance,
    pointing_game,
    rank_correlation,
)
from lungnb.core import UserError
from lungnb.classification.comparison import load_comparison
from lungnb.classification.dataset import AUDIO, Clips, features_of, front_end, metadata_of, plan
from lungnb.classification.networks import CLASSIFIERS
from lungnb.book import Report, comparison, recorded, recorded_from
from lungnb.training.experiment import run_all

# %%
size = configs.load("explanations", profile)
compared = load_comparison(profile, seeds=seeds, epochs=epochs, device=device)
corpus = compared.view("icbhi")
truth = read_truth(corpus.audio_root)
report = Report("92_explanations", profile=profile, out=out, corpus=corpus)
Markdown(f"**Data of sections 1 to 8:** {compared.data}, whatever `data` is. **Seed:** {compared.seeds[0]}.")


# %%
def runs_of(compared) -> dict:
    """One run a model on ICBHI, in the words of notebook 90."""
    both = {"transfer": {"sprsound-common": compared.corpora["sprsound"].fingerprint}}
    return {model: compared.experiment("icbhi", model, **both) for model in size["models"]}


def examples_of(run, sounds, truth) -> Examples:
    """The first clip of each of `sounds` (rows of events) as `run` is given it, with its true places."""
    name, task, corpus = CLASSIFIERS[run.model].front_end, task_of(run.task), run.view()
    rate, *filters, _ = AUDIO[name]
    audio = load_audio(corpus, rate, *filters)
    planned = plan(audio, sounds, Clips(run.clip_s), task.classes, training=False)
    choices = (run.size, tuple(run.pooling))
    features = features_of(corpus, audio, planned, name, front_end(name, rate, *choices), choices)
    first = np.unique(planned.event, return_index=True)[1]
    begin, boxes = audio.locate(sounds)[0], []
    for i, k in enumerate(first if truth is not None else ()):
        segments = [((start - begin[i]) / rate, n / rate) for start, n, _ in planned.segments[k]]
        boxes.append(clip_boxes(sounds.iloc[i], segments, truth))
    label = torch.tensor(sounds["label"].map(task.classes.index).to_numpy(int))
    axes = feature_axes(name, *features.shape[2:], run.pooling)
    metadata = metadata_of(sounds, run.positions(corpus), task.age_step)
    return Examples(features[first], metadata, label, *axes, run.clip_s, boxes)


# %%
def test_events(run) -> pd.DataFrame:
    """The events of the run's test patients."""
    corpus = run.view()
    return corpus.events[run.parts(corpus).part == "test"]


def look(run, truth, sounds=None) -> SimpleNamespace:
    """A finished run with its data, its network, and its clips of the sounds that are looked at."""
    dataset = run.dataset()
    if sounds is None:
        sounds = choose_events(test_events(run), truth, size["sounds"], ["crackle", "wheeze"])
    clips = examples_of(run, sounds, truth)
    return SimpleNamespace(run=run, dataset=dataset, network=run.trained(dataset), sounds=sounds, clips=clips)


def maps_for(e, method, stage=-1, network=None) -> tuple[np.ndarray, tuple[int, int]]:
    """Attribution maps of a network (the model's own if not said) for the clips of `e`, and their detail."""
    clips = e.clips
    return attribution_maps(network or e.network, clips.features, clips.metadata, clips.label, method, stage)


runs, sites = runs_of(compared), compared.experiment("cohorts", "MPA")
run_all([*runs.values(), sites], cluster or None)
heard = {model: look(run, truth) for model, run in runs.items()}

# %% [markdown]
# ## 1. What a map is
#
# **Grad-CAM** (Selvaraju et al. 2017). A convolutional layer holds $K$ pictures $A^k$. How much does the logit $y^c$ of class $c$ rise with the mean of each?
#
# $$\alpha_k^c = \frac{1}{Z}\sum_{i,j} \frac{\partial y^c}{\partial A_{ij}^k}, \qquad M^c = \mathrm{ReLU}\Big(\sum_k \alpha_k^c A^k\Big)$$
#
# **Grad-CAM++** (Chattopadhyay et al. 2018) weighs each pixel's gradient before it is averaged, by what its square and cube say of several separate places that speak for the class, and counts only gradients
# that raise $y^c$. Both are of the library `grad-cam`; this is all that is ours:

# %%
Code(inspect.getsource(class_maps), language="python")

# %% [markdown]
# **Who is asked.** Each model is shown its own picture of the sound, and looked at in its last layer that still has rows and frames, as is usual. The last column is what one pixel of that layer covers: nothing finer can be pointed at.

# %%
rows = []
for model, ear in heard.items():
    (maps, detail), picture = maps_for(ear, "Grad-CAM"), ear.clips.features.shape
    covers = f"{np.ptp(ear.clips.hertz) / detail[0]:.0f} Hz x {ear.clips.clip_s / detail[1]:.2f} s"
    rows.append({"model": model, "front end": CLASSIFIERS[model].front_end, "picture": f"{picture[2]} x {picture[3]}"})
    rows[-1] |= {"last layer": f"{detail[0]} x {detail[1]}", "a pixel covers about": covers}
report.table(
    "pictures",
    pd.DataFrame(rows),
    title="what each model is shown, and the detail it can point at",
    runs=runs.values(),
    note="rows x frames of a clip",
)

# %% [markdown]
# Mind RespireNet: thirty-two pixels of its picture, in both directions, become one. In the paper the picture is three times as large in each direction, but that is the same sound blown up.
#
# Two of the ten classifiers are missing. **Boosting** has no gradient and no layer, and its trees are not kept: there is nothing to draw. **MPA** hears all sites of a *patient*, and has section 8 for itself. In **MPO**
# each sound is looked at in the network of its position.
#
# **One grid for all.** The front ends draw different bands. We bring all maps to cells of 25 Hz and 50 ms between 50 and 1600 Hz, which all of them hear. One case is not clean: the Conv-LSTM's picture has log-mel, MFCC and LFCC as three
# channels over the *same* rows. We read its rows as mel bands. For the cepstra, whose rows are no frequencies, that is wrong, and nobody can take the channels apart afterwards; only the time of such a map can be trusted. That is why we
# score the *moment* apart.

# %%
Code(inspect.getsource(feature_axes), language="python")

# %% [markdown]
# **Which sounds.** Crackles and wheezes of test patients, in turn. A short sound is repeated until the clip is full; then its true boxes are repeated with it.

# %%
ear = next(iter(heard.values()))
rows = []
for kind, here in ear.sounds.groupby("label", sort=False):
    at = (ear.sounds["label"] == kind).to_numpy()
    boxes = [len(b) for b, there in zip(ear.clips.boxes, at) if there]
    rows.append({"kind": kind, "sounds": len(here), "patients": here["patient"].nunique()})
    rows[-1] |= {"boxes a clip": np.mean(boxes), "cells in a box, %": 100 * ear.clips.masks[at].mean()}
report.table("sounds", pd.DataFrame(rows), title="the sounds that are looked at", note="the same sounds for all models")

# %% [markdown]
# ## 2. One crackle, one wheeze
#
# Look at the pictures first, as a reader of a paper would. White boxes: where the sounds truly are (a box holds all but the lowest and the highest twentieth of a sound's
# energy, so a wheeze with overtones has its fundamental on the lower edge). Which models would you believe?

# %%
maps = {m: {k: maps_for(e, k)[0] for k in METHODS} for m, e in heard.items()}
on_grid = {m: {k: heard[m].clips.on_grid(x) for k, x in each.items()} for m, each in maps.items()}
masks = {m: e.clips.masks for m, e in heard.items()}
label, patient = ear.sounds["label"].to_numpy(object), ear.sounds["patient"].to_numpy(str)


def panel(ax, picture, clips, k, **style) -> None:
    """A picture on the common grid, with the true boxes of clip `k`."""
    ax.imshow(picture, origin="lower", aspect="auto", extent=(0, clips.clip_s, *BAND_HZ), **style)
    for box in clips.boxes[k].itertuples() if clips.boxes else ():
        size = max(box.end_s - box.start_s, 0.02), box.high_hz - box.low_hz
        ax.add_patch(plt.Rectangle((box.start_s, box.low_hz), *size, fill=False, edgecolor="white", linewidth=0.7))
    ax.set(yticks=[500, 1000, 1500], ylim=BAND_HZ, xlim=(0, clips.clip_s))
    ax.grid(False)


def shown(kind: str) -> int:
    """A sound of `kind` whose boxes cover neither next to nothing nor everything."""
    here = np.flatnonzero(label == kind)
    return int(here[np.argsort(ear.clips.masks[here].mean((1, 2)))[len(here) // 2]])


# %%
shape, close = (
    (1 + len(heard), 4),
    {"hspace": 0.12, "wspace": 0.06, "left": 0.08, "right": 1, "top": 0.97, "bottom": 0.05},
)
fig, axes = plt.subplots(
    *shape, figsize=(10, 1.05 * shape[0]), sharex=True, sharey=True, layout="none", gridspec_kw=close
)
dark = {"facecolor": "0.1", "alpha": 0.6, "linewidth": 0, "pad": 1.5}
for first, kind in ((0, "crackle"), (2, "wheeze")):
    k = shown(kind)
    for column, method in zip(axes.T[first:], METHODS):
        panel(column[0], ear.clips.on_grid(ear.clips.features[[k], 0].float().numpy())[0], ear.clips, k)
        column[0].set_title(f"{kind}: {method}", fontsize=9)
        for ax, (model, e) in zip(column[1:], heard.items()):
            p = e.network(e.clips.features[[k]], e.clips.metadata[[k]]).softmax(1)[0, e.clips.label[k]].item()
            panel(ax, on_grid[model][method][k], e.clips, k, cmap="viridis", vmin=0, vmax=1)
            ax.text(0.02, 0.8, f"p({kind}) = {p:.2f}", transform=ax.transAxes, color="white", fontsize=7, bbox=dark)
for ax, name in zip(axes[:, 0], ["sound (Hz)", *heard]):
    ax.set_ylabel(name.replace(" ", "\n", 1), fontsize=8)
for ax in axes[-1]:
    ax.set_xlabel("time (s)")
report.figure(
    "examples",
    fig,
    title="a crackle and a wheeze, by every model",
    runs=runs.values(),
    note="yellow speaks for the sound; white: its true places",
)

# %% [markdown]
# ## 3. Three scores, and their floor
#
# **Pointing game** (Zhang et al. 2016): does the greatest value of the map lie on a box? We let it miss by 50 Hz and 0.1 s. **Right moment**: the same, after the map is averaged over frequency. **Energy** (Wang et al. 2020): how much of the map lies inside the boxes,
#
# $$E = \sum_{(f,t) \in \text{boxes}} M_{ft} \Big/ \sum_{f,t} M_{ft}.$$
#
# None of them means anything alone. A clip full of crackles is hit by a blindfolded player. So each has a *floor*: the share of cells that count as a hit, and the share that the boxes cover.

# %%
Code(inspect.getsource(pointing_game) + "\n\n" + inspect.getsource(energy_inside), language="python")

# %% [markdown]
# Check it by hand: a picture of 4 x 5 cells, one box of two cells, three quarters of the map's energy inside it.

# %% tags=["nbval-check-output"]
box, small = np.zeros((1, 4, 5), dtype=bool), np.zeros((1, 4, 5))
box[0, 1, 1:3] = True
small[0, 1, 1], small[0, 3, 4] = 3, 1
print("energy", energy_inside(small, box)[0], "of which by area alone", box.mean())
print("a map that is the same everywhere:", energy_inside(np.ones_like(small), box)[0])


# %%
def scores_of(map_, mask) -> dict[str, np.ndarray]:
    """The three scores of each map (N, 62, frames)."""
    moment = pointing_game(over_time(map_), over_time(mask))
    return {
        "pointing": pointing_game(map_, mask),
        "right moment": moment,
        "energy": energy_inside(map_, mask),
    }


def floor_of(mask) -> dict[str, np.ndarray]:
    """What a map without any opinion scores."""
    return {
        "pointing": pointing_chance(mask),
        "right moment": pointing_chance(over_time(mask)),
        "energy": mask.mean((1, 2)),
    }


def rows_of(row: str, values: dict[str, np.ndarray], patient=patient, **more) -> pd.DataFrame:
    """Means over sounds, with intervals over patients."""
    found = [{"row": row, "metric": m, "n_seeds": 1} | mean_over_patients(v, patient) for m, v in values.items()]
    return pd.DataFrame(found).assign(**more)


nothing = pd.DataFrame({"row": [], "metric": [], "value": []})
scored = {(m, k): scores_of(x, masks[m]) for m, each in on_grid.items() for k, x in each.items()}
floor = {m: floor_of(mask) for m, mask in masks.items()}

# %%
rows = [rows_of("floor: a map without opinion", floor[next(iter(heard))])]
rows += [rows_of(f"{model}, {method}", values) for (model, method), values in scored.items()]
report.table(
    "looking",
    comparison(nothing, pd.concat(rows)),
    title="pointing game, right moment, energy inside the boxes",
    runs=runs.values(),
    note="means over sounds, 95 % intervals over patients",
)

# %%
gains = [
    rows_of(model, {m: (v - floor[model][m])[label == kind] for m, v in values.items()}, patient[label == kind]).assign(
        method=method, kind=kind
    )
    for (model, method), values in scored.items()
    for kind in ("crackle", "wheeze")
]
gains = pd.concat(gains)
fig, axes = plt.subplots(2, 3, figsize=(10, 5.6), sharey=True, sharex="col", layout="constrained")
for ax, ((kind, metric), here) in zip(axes.flat, gains.groupby(["kind", "metric"], sort=False)):
    for k, (method, part) in enumerate(here.groupby("method", sort=False)):
        error = np.abs(part[["low", "high"]].sub(part["ours"], axis=0).T.to_numpy())
        y = np.arange(len(part)) + 0.3 * (k - 0.5)
        ax.errorbar(part["ours"], y, xerr=error, fmt="o", markersize=4, capsize=2, color=f"C{k}", label=method)
    ax.axvline(0, color="0.4", linewidth=0.8)
    ax.set(title=f"{kind}: {metric}", yticks=range(len(heard)), yticklabels=list(heard))
axes[0, 0].invert_yaxis()
axes[0, 0].legend(fontsize=7)
for ax in axes[1]:
    ax.set_xlabel("above the floor")
report.figure(
    "gains",
    fig,
    title="the same above the floor, by kind of sound",
    runs=runs.values(),
    note="0: no better than a map without opinion; 95 % intervals over patients",
)

# %%
for metric, here in gains.groupby("metric", sort=False):
    for method, part in here.groupby("method", sort=False):
        n, above = len(part), part[part["low"] > 0]
        print(f"{metric:12} {method:10} above the floor for sure in {len(above):2} of {n}:", end=" ")
        print(", ".join(f"{m} ({k})" for m, k in zip(above["row"], above["kind"])) or "none")

# %% [markdown]
# Three readings. *First*, compare *right moment* with *pointing*: does a map know better **when** than **how high**? *Second*, the coarsest maps (compare the table of pictures) can hardly win the pointing game; but fine detail alone does not
# help either. *Third*, look back at the examples: at least one map that you would have believed is not above the floor, and the network may still be right about the sound. And mind how little is above the floor *for sure*: a
# kind of sound has few test patients here, and below six there is no interval at all.
#
# ## 4. Is it the network that points?
#
# Two controls that every paper with a heat map should show. **Weights drawn anew** (Adebayo et al. 2018): the same network, untrained. If its maps are as good, the map shows the picture and not what was learnt. **Loud pixels**: no network at
# all, but each pixel's level above the mean of its row. A crackle is loud; that alone may be enough.

# %%
rows, bare = [], {}
for model, e in heard.items():
    loud = e.clips.features[:, 0].float()
    loud = e.clips.on_grid((loud - loud.mean(2, keepdim=True)).clamp(min=0).numpy())
    other = maps_for(e, "Grad-CAM++", network=randomise_weights(e.network))[0]
    bare[model] = e.clips.on_grid(other)
    values = {name: energy_inside(x, masks[model]) for name, x in (("drawn anew", bare[model]), ("loud pixels", loud))}
    own = scored[model, "Grad-CAM++"]["energy"]
    values = {"trained": own} | values | {"trained - drawn anew": own - values["drawn anew"]}
    rows.append(rows_of(model, values | {"likeness": rank_correlation(on_grid[model]["Grad-CAM++"], bare[model])}))
controls = pd.concat(rows)
report.table(
    "controls",
    comparison(nothing, controls),
    title="against a network that was never trained, and against loud pixels",
    runs=runs.values(),
    note="energy of Grad-CAM++; likeness: rank correlation of the map before and after the weights are drawn anew",
)

# %%
gap = controls[controls["metric"] == "trained - drawn anew"].set_index("row")
print("better than the same network untrained, for sure:", ", ".join(gap.index[gap["low"] > 0]) or "none")
both = controls.pivot(index="row", columns="metric", values="ours")
print("better than loud pixels:", ", ".join(both.index[both["trained"] > both["loud pixels"]]) or "none")

# %% [markdown]
# Mind the column *loud pixels*, which needs no network. What a network can add to it is the decision *which* loud thing is a crackle: heart beats, knocks, cloth and voices are as loud here, and in most clips the loudest pixel is
# no part of the sound that is asked for.
#
# ## 5. One stage earlier
#
# "The last convolutional layer" is a habit from photographs of 224 pixels. Ours have about sixty rows. What if we look at the same trained networks one or two stages earlier, where the detail of most of
# them is finer? The same control goes along: if a network that was never trained points as well from there, an early map is an edge detector and no explanation.

# %%
earlier = {"last": -1, "one earlier": -2, "two earlier": -3}
rows = []
for model, e in heard.items():
    lines = [(method, e.network, method) for method in METHODS]
    lines.append(("drawn anew", randomise_weights(e.network), "Grad-CAM++"))
    for (name, stage), (line, network, method) in itertools.product(earlier.items(), lines):
        found, detail = maps_for(e, method, stage, network)
        points = pointing_game(e.clips.on_grid(found), masks[model])
        rows.append(rows_of(model, {name: points}, line=line, detail=f"{detail[0]}x{detail[1]}"))
stages = pd.concat(rows)
report.table(
    "stages",
    comparison(nothing, stages[stages["line"] == "Grad-CAM++"]),
    title="the same networks, looked at earlier",
    runs=runs.values(),
    note="pointing game of Grad-CAM++ at three layers of the same trained network",
)

# %%
fig, axes = plt.subplots(2, -(-len(heard) // 2), figsize=(10, 4.6), sharey=True, layout="constrained")
for ax, (model, here) in zip(axes.flat, stages.groupby("row", sort=False)):
    for colour, (line, part) in zip(("C0", "C1", "0.5"), here.groupby("line", sort=False)):
        style = "--" if line == "drawn anew" else "-"
        ax.plot(
            range(3), part["ours"][::-1], f"o{style}", color=colour, label=line.replace("drawn", "Grad-CAM++, drawn")
        )
    ax.axhline(floor[model]["pointing"].mean(), color="0.4", linewidth=0.8, label="floor")
    ax.set(title=model, xticks=range(3), xticklabels=part["detail"][::-1], ylim=(0, 1))
fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
for ax in axes[:, 0]:
    ax.set_ylabel("pointing game")
for ax in axes[-1]:
    ax.set_xlabel("detail of the layer")
report.figure(
    "detail",
    fig,
    title="pointing game by stage and detail",
    runs=runs.values(),
    note="from two stages before the last (left) to the last (right)",
)

# %%
wide = stages[stages["line"] == "Grad-CAM++"].pivot(index="row", columns="metric", values="ours")
best = wide[list(earlier)].idxmax(axis=1)
print("the stage that points best:", ", ".join(f"{model}: {stage}" for model, stage in best.items()))

# %% [markdown]
# The network has not changed, only the layer that we ask. Whoever prints one map chooses a layer, and with it the answer; so the layer belongs into the caption. And compare each line with its dashed one before you call a
# sharp map an explanation.
#
# ## 6. Take it away
#
# A test that needs no truth, and so works on real recordings (Petsiuk et al. 2018, *RISE*): take away the pixels that a map calls important, the most important first, and watch the probability of the class. The better the map, the faster it falls.
#
# $$\mathrm{AUC} = \int_0^1 p\big(c \mid x \text{ without the share } s \text{ of its most important pixels}\big)\,\mathrm{d}s$$
#
# What stands in a missing pixel's place matters: black would be a sound of its own. We put in the mean of its row over the clip, so that the background goes on. Three references: pixels in *random order*; the *true
# places* first, then all others in random order; and the map of the same network with its weights *drawn anew*. The last one is the fair rival: a map takes away whole patches, and a patch may hurt a network more than scattered pixels do,
# whatever was there.

# %%
Code(inspect.getsource(deletion), language="python")


# %%
def deletion_of(e, order) -> np.ndarray:
    """Deletion curves of the clips of `e` by an order of their pixels."""
    clips = e.clips
    return deletion(e.network, clips.features, clips.metadata, clips.label, order, size["steps"])


def curves_of(e, maps) -> dict[str, np.ndarray]:
    """Deletion curves by what says which pixels are important."""
    flat = np.zeros_like(maps["Grad-CAM"])
    bare = maps_for(e, "Grad-CAM++", network=randomise_weights(e.network))[0]
    orders = maps | {"random order": flat, "drawn anew": bare}
    orders |= {"true places": e.clips.own_masks.astype(float)} if e.clips.boxes else {}
    return {name: deletion_of(e, order) for name, order in orders.items()}


def deletion_rows(curves, patient) -> pd.DataFrame:
    """AUC of each order, one row a model."""
    return pd.concat(rows_of(m, {n: area_under(c) for n, c in each.items()}, patient) for m, each in curves.items())


curves = {model: curves_of(e, maps[model]) for model, e in heard.items()}
tidy = comparison(nothing, deletion_rows(curves, patient), recorded("explanations-real-deletion"))
report.table(
    "deletion",
    tidy,
    title="what taking away the important pixels does",
    runs=runs.values(),
    note="area under p(sound) while pixels are taken away; smaller is better",
)

# %%
fig, axes = plt.subplots(2, -(-len(heard) // 2), figsize=(10, 4.6), sharex=True, sharey=True, layout="constrained")
for ax, (model, each) in zip(axes.flat, curves.items()):
    for colour, (name, c) in zip(("C0", "C1", "0.5", "C6", "C2"), each.items()):
        ax.plot(np.linspace(0, 1, c.shape[1]), c.mean(0), color=colour, label=name)
    ax.set(title=model, ylim=(0, 1))
fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=8)
for ax in axes[:, 0]:
    ax.set_ylabel("p(sound)")
for ax in axes[-1]:
    ax.set_xlabel("share of pixels taken away")
report.figure(
    "deletion-curves",
    fig,
    title="p of the sound while pixels are taken away",
    runs=runs.values(),
    note="means over sounds",
)

# %%
areas = {m: {name: area_under(c) for name, c in each.items()} for m, each in curves.items()}
for method, rival in itertools.product(METHODS, ("random order", "drawn anew")):
    gain = {m: mean_over_patients(a[rival] - a[method], patient) for m, a in areas.items()}
    sure = [m for m, g in gain.items() if g["low"] > 0]
    print(f"{method:10} faster than {rival}, for sure, in {len(sure)} of {len(gain)}: {', '.join(sure) or 'none'}")

# %% [markdown]
# Here is the difference between the two questions. Section 3 asked whether a map shows the *sound*; this one asks whether it shows what the *network* uses. Compare the map's curve with that of the true places: where the map's is lower, the network may live on
# more than the boxes, for example on the absence of sound around them. But patches alone lower a curve. Only a map that beats the same network drawn anew as well says something about what was learnt.
#
# ## 7. Does it know when it is wrong?
#
# **Monte Carlo dropout** (Gal and Ghahramani 2016). Leave dropout on and ask $T$ times. Each pass is a slightly different network; $\bar p$ is their mean. Two kinds of doubt:
#
# $$\underbrace{H[\bar p]}_{\text{predictive entropy}} = \underbrace{\tfrac{1}{T}\textstyle\sum_t H[p_t]}_{\text{the sound is ambiguous}} + \underbrace{I}_{\text{the passes contradict one another}}, \qquad H[p] = -\sum_c p_c \ln p_c$$
#
# $I$, the *mutual information*, is what only several passes can give. The entropy of one ordinary pass costs nothing, and is what dropout has to beat.

# %%
Code(inspect.getsource(mutual_information), language="python")

# %% tags=["nbval-check-output"]
torn = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])  # two passes, each sure, of opposite opinion
dull = np.full((2, 1, 2), 0.5)  # two passes that agree on 50:50
for name, p in {"sure, but torn": torn, "dull": dull}.items():
    print(
        f"{name:14} predictive entropy {entropy(p.mean(0), axis=-1)[0]:.3f}, mutual information {mutual_information(p)[0]:.3f}"
    )


# %%
def passes_of(e, n, seed=0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The test units of a model's run, and their probabilities without and with dropout."""
    samples = e.dataset.samples("test")
    unit = e.dataset.unit[samples.numpy()]
    p = mc_dropout(e.network, e.dataset.batch(samples), e.dataset.metadata[samples], unit, n, seed)
    return e.dataset.units.loc[np.unique(unit)], *p


def uncertainty_of(e) -> pd.DataFrame:
    """Uncertainties of all test sounds of a model's run."""
    return uncertainty(*passes_of(e, size["passes"], e.run.seed))


def uncertainty_rows(doubts) -> pd.DataFrame:
    """AUROC of each uncertainty for errors, and errors among all and among the surest half; one row a model."""
    rows = []
    for model, frame in doubts.items():
        rows += [{"row": model, "metric": f"AUROC, {d}"} | error_detection(frame, d) for d in UNCERTAINTIES]
        sure = frame["mutual information"] <= frame["mutual information"].median()
        for name, part in (("errors", frame), ("errors, surest half", frame[sure])):
            value = mean_over_patients(part["wrong"].to_numpy(float), part["patient"])
            rows.append({"row": model, "metric": name} | value)
    return pd.DataFrame(rows).assign(n_seeds=1)


# %%
doubts = {model: uncertainty_of(e) for model, e in heard.items()}
found = uncertainty_rows(doubts)
tidy = comparison(nothing, found, recorded("explanations-real-uncertainty"))
n = len(doubts[next(iter(doubts))])
report.table(
    "uncertainty",
    tidy,
    title="whether uncertainty finds the errors",
    runs=runs.values(),
    note=f"{n} test sounds, {size['passes']} passes; surest by mutual information",
)

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
for ax, which in zip(axes, UNCERTAINTIES):
    for colour, (model, frame) in enumerate(doubts.items()):
        coverage, risk = risk_coverage(frame["wrong"], frame[which])
        ax.plot(coverage[9:], risk[9:], color=f"C{colour}", linewidth=1.2, label=model)
    ax.set(title=which, xlabel="share that is answered, surest first", ylim=(0, None))
axes[0].set_ylabel("errors among them")
fig.legend(*ax.get_legend_handles_labels(), loc="outside right center", fontsize=7)
report.figure(
    "risk-coverage",
    fig,
    title="errors among the surest",
    runs=runs.values(),
    note="a doubt that is worth something rises to the right",
)

# %%
each = found.pivot(index="row", columns="metric", values="ours")
low = found.pivot(index="row", columns="metric", values="low")
for which in UNCERTAINTIES:
    better = low.index[low[f"AUROC, {which}"] > 0.5]
    print(
        f"{which:20} mean AUROC {each[f'AUROC, {which}'].mean():.2f}; above chance for sure: {', '.join(better) or 'none'}"
    )
gain = each["AUROC, mutual information"] - each["AUROC, entropy of one pass"]
print(f"dropout's own part beats the free one in {int((gain > 0).sum())} of {len(gain)}")

# %% [markdown]
# In most of these networks dropout stands only before the last layers, so all passes hear the same features and can contradict one another only about what they mean. In SiteCNN and MPO it stands after each convolution. And all
# passes come from one training on the same patients: they can all be wrong together, and sure.
#
# ## 8. All sites at once: MPA
#
# MPA is given a patient's eight sites as eight channels of one picture. Its map is one for all of them: it cannot say *on which site* it heard something. We score it against the true places of all sites laid over one another, for ill patients recorded at every site;
# its floor is high accordingly. Its doubts are about patients.

# %%
where = read_truth(compared.corpora["multisite"].audio_root)
everyone = choose_events(test_events(sites), None, 10**6, ["abnormal"]).sort_values(["patient", "position"])
n_sites = len(sites.positions(sites.view()))
whole = everyone[everyone.groupby("patient")["position"].transform("nunique") == n_sites]
mpa = look(sites, where, whole.drop_duplicates(["patient", "position"]))
mpa.clips, people = mpa.clips.stacked(n_sites), mpa.sounds["patient"].to_numpy(str)[::n_sites]

# %%
found = {k: maps_for(mpa, k)[0] for k in METHODS}
rows = [rows_of("floor: a map without opinion", floor_of(mpa.clips.masks), people)]
for method, each in found.items():
    auc = area_under(deletion_of(mpa, each))
    values = scores_of(mpa.clips.on_grid(each), mpa.clips.masks) | {"deletion": auc}
    rows.append(rows_of(f"MPA, {method}", values, people))
flat = deletion_of(mpa, np.zeros_like(each))
rows[0] = pd.concat([rows[0], rows_of("floor: a map without opinion", {"deletion": area_under(flat)}, people)])
report.table(
    "all-sites",
    comparison(nothing, pd.concat(rows)),
    title="MPA, one map for eight sites",
    corpus=sites.view(),
    runs=[sites],
    note=f"{len(people)} ill test patients with all {n_sites} sites; floor of deletion: random order",
)

# %%
frame = uncertainty_of(mpa)
print(f"{int(frame['wrong'].sum())} of {len(frame)} test patients wrong;", end=" ")
print({d: round(error_detection(frame, d)["ours"], 2) for d in UNCERTAINTIES}, "AUROC of doubt for error")

# %% [markdown]
# ## 9. Real examples
#
# On real recordings nobody knows the true boxes. What remains is to look, with the label beside it; to take pixels away; and to ask whether doubt finds errors.

# %%
if data == "simulated":
    display(
        Markdown(
            "*Nothing in this section is real: this build has simulated recordings only. Give `data` a folder with `icbhi/` and `sprsound/`.*"
        )
    )
else:
    clinic = load_comparison(profile, data, seeds=seeds, epochs=epochs, device=device, names=("icbhi", "sprsound"))
    real_runs = runs_of(clinic)
    run_all(real_runs.values(), cluster or None)
    real = {model: look(run, None) for model, run in real_runs.items()}
    here = {"corpus": clinic.view("icbhi"), "runs": real_runs.values()}
    seen = {m: {k: maps_for(e, k)[0] for k in METHODS} for m, e in real.items()}
    who = next(iter(real.values())).sounds["patient"].to_numpy(str)
    tidy = deletion_rows({m: curves_of(e, seen[m]) for m, e in real.items()}, who)
    report.table(
        "real-deletion",
        comparison(nothing, tidy),
        title="deletion on real recordings",
        **here,
        note="area under p(sound); smaller is better",
    )
    tidy = uncertainty_rows({m: uncertainty_of(e) for m, e in real.items()})
    report.table(
        "real-uncertainty",
        comparison(nothing, tidy),
        title="uncertainty on real recordings",
        **here,
        note="surest by mutual information",
    )

# %%
if data != "simulated":
    names = next(iter(real.values())).sounds["label"].to_numpy(object)
    fig, axes = plt.subplots(1 + len(real), 2, figsize=(8, 1.05 * (1 + len(real))), sharex=True, sharey=True)
    for column, kind in zip(axes.T, ("crackle", "wheeze")):
        k = int(np.flatnonzero(names == kind)[0])
        panel(
            column[0],
            ear.clips.on_grid(real["small CNN"].clips.features[[k], 0].float().numpy())[0],
            real["small CNN"].clips,
            k,
        )
        column[0].set_title(f"labelled {kind}", fontsize=9)
        for ax, (model, e) in zip(column[1:], real.items()):
            panel(ax, e.clips.on_grid(seen[model]["Grad-CAM++"])[k], e.clips, k, cmap="viridis", vmin=0, vmax=1)
    for ax, name in zip(axes[:, 0], ["sound (Hz)", *real]):
        ax.set_ylabel(name.replace(" ", "\n", 1), fontsize=8)
    report.figure(
        "real-examples",
        fig,
        title="examples of real recordings",
        **here,
        note="Grad-CAM++; where the sounds truly are is not known",
    )

# %%
Markdown(recorded_from("explanations-real-deletion"))

# %% [markdown]
# ## What we found
#
# Each model was trained once, on simulated recordings, and few patients are tested. So this build shows how such claims are put to the test; it settles none of them. What the printed lines above say, and what to take along:
#
# * **A map that looks convincing need not point.** Few maps of the last layer, the usual one, are above the floor that the area of the boxes sets. And the rivals are strong: the same network with its weights drawn anew, and the loud pixels
#   of the picture, which need no network at all.
# * **The layer decides.** One or two stages earlier the same networks point elsewhere, and networks that were never trained can point there as well: what stands out in the picture stands out in the map.
# * **A map can be faithful and point nowhere.** Whether a map shows the sound and whether it shows what the network uses are two questions, with two tests (sections 3 and 6).
# * **Doubt has to beat what is free.** Many passes with dropout cost many times the entropy of one pass, and have to find more of the errors than that does.
#
# ## Exercises
#
# Each solution is a cell tagged `solution`; `lungnb student` writes a copy of this notebook without them.
#
# **1.** *(medium, 10 minutes)* A clip of 3 s holds one crackle of 15 ms and 300 Hz of height, which falls into one frame of the grid. What does a blindfolded player score in the pointing game, with our tolerance? And in energy?

# %% tags=["solution", "nbval-check-output"]
boxes = pd.DataFrame({"start_s": [1.51], "end_s": [1.525], "low_hz": [310.0], "high_hz": [610.0]})
one = box_mask(boxes, *grid(3))[None]
print(f"pointing {pointing_chance(one)[0]:.4f}, energy {one.mean():.4f}")

# %% [markdown]
# **2.** *(hard, 20 minutes)* Ask the networks what speaks for the *other* sound: crackle maps of wheezes, and wheeze maps of crackles. If the pointing game hardly changes, a map shows where there is something, and not where there is that sound. What do you find for the small CNN?

# %% tags=["solution"]
e = heard["small CNN"]
swap = torch.where(e.clips.label == e.clips.label.min(), e.clips.label.max(), e.clips.label.min())
for name, clips in {"own class": e.clips, "other class": replace(e.clips, label=swap)}.items():
    shown = SimpleNamespace(network=e.network, clips=clips)
    other = clips.on_grid(maps_for(shown, "Grad-CAM")[0])
    print(f"{name}: pointing {pointing_game(other, masks['small CNN']).mean():.2f}")

# %% [markdown]
# **3.** *(medium, 10 minutes)* A cheat knows the floor and returns a map with a single pixel, at the loudest place of the picture. In which of the three scores can it be good, and what would expose it?

# %% tags=["solution"]
loud = e.clips.features[:, 0].float()
loud = e.clips.on_grid((loud - loud.mean(2, keepdim=True)).numpy())
single = (loud == loud.max(axis=(1, 2), keepdims=True)).astype(float)
print({k: round(float(v.mean()), 2) for k, v in scores_of(single, masks["small CNN"]).items()})
print("One pixel taken away changes next to nothing: the deletion curve exposes it.")

# %% [markdown]
# **4.** *(medium, 15 minutes)* How many passes does dropout need? Compare the mutual information of 2, 5 and all passes for RespireNet: does more of them find more errors?

# %% tags=["solution"]
units, plain, samples = passes_of(heard["RespireNet"], size["passes"])
for n in (2, 5, size["passes"]):
    print(n, round(error_detection(uncertainty(units, plain, samples[:n]), "mutual information")["ours"], 2))

# %% [markdown]
# **5.** *(easy, 5 minutes)* A network without dropout is asked a hundred times. What is its mutual information, and why is that not a sign of quality? And what does the book say if you ask only once?

# %% tags=["solution", "nbval-check-output"]
same = np.repeat([[[0.7, 0.3]]], 100, axis=0)
print(f"without dropout: {abs(mutual_information(same)[0]):.6f}")
try:
    passes_of(heard["RespireNet"], 1)
except UserError as error:
    print(error)
