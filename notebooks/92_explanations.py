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
# **The question.** RespireNet's Figure 3 shows one heat map: "The network attention starts focusing on the bottom half of the
# spectrogram, instead of blank spaces, after clipping." The paediatric paper shows two, and twenty passes with dropout. We do
# not test these claims (notebooks 01 and 03 do what can be done there). We ask a finer question, which no paper here
# answers: does such a map point at single sounds? A heat map always looks like *something*. Here most sounds are simulated, so
# we know where each crackle and wheeze was put. Do the maps of our classifiers point at them? Would a network that was never
# trained point there as well? And is a classifier that doubts more often wrong?
#
# | What you will do | What you will learn | What you need |
# | --- | --- | --- |
# | write Grad-CAM, and watch a map change while a network is trained | what a heat map is made of | what a convolution is |
# | hold eight networks against a floor, the loudest pixel and networks that were never trained | why every score of a map needs rivals | Figure 3 of notebook 01 |
# | take away what the maps call important, and leave dropout on | how to test an explanation, and a doubt, without knowing the truth | about two minutes |
#
# **How to read.** There is no paper here, so there is no column *published*. All tables and figures are of
# *recorded* networks, several trainings of each: every sound's scores are kept, and all numbers are computed from
# them when this notebook runs. One network is trained here, in section 1, to show what a map is; nothing is
# concluded from it. *AS* is the mean of sensitivity and specificity, ± the standard deviation over training seeds, and what
# stands in brackets a 95 % interval over seeds and patients (notebook 90 shows how it is made). Where several networks are
# asked the same, p values are corrected for how many they are (*Holm*). An interval is that of one network alone, so it
# may miss zero and the difference not be established.

# %% tags=["parameters"]
profile: str = "smoke"  # smoke (minutes, recorded results), laptop (trained again: hours) or paper (full size, GPU)
data: str = "simulated"  # "simulated", or a folder with icbhi/ and sprsound/, for laptop and paper
seeds: list[int] = []  # one training for each seed; empty: the recorded ones
epochs: int = 0  # most epochs of every model; 0: the recorded ones
device: str = "auto"  # auto, cpu or cuda, of the trainings
cluster: str = ""  # "": train here; "local" or "slurm": as a job array
out: str = ""  # folder of the reports; "": reports/ of the repository, or of this folder

# %%
import inspect
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from scipy.stats import entropy
from torch import nn

from lungnb.book import Report, attributions, check_parameters, comparison, plots
from lungnb.book.attributions import FLOOR, LOUDEST, PLACES, RANDOM, REDRAWN, TRAINED, TRUTH
from lungnb.book.experiments import live, live_attributions
from lungnb.book.recorded import Source, by_seed, configurations, experiment, predictions, training
from lungnb.classification import CLASSIFIERS, Classification
from lungnb.classification.explained import BANDS, STAGES, sounds_of
from lungnb.data import load_corpus
from lungnb.metrics.attribution import attribution_maps, deletion, randomise_weights, stages
from lungnb.metrics.classification import evaluate
from lungnb.metrics.localisation import BANDS_HZ, at_detail, box_mask, energy_inside, grid, level_above_row
from lungnb.metrics.localisation import map_scores, pointing_chance, pointing_game
from lungnb.metrics.sounds import mean_over_sounds
from lungnb.metrics.uncertainty import UNCERTAINTIES, error_detection, mutual_information, risk_coverage, uncertainty

profile, data, seeds, epochs, device, cluster, out = check_parameters(
    "92", profile=profile, data=data, seeds=seeds, epochs=epochs, device=device, cluster=cluster, out=out
)
SIMULATED, SPRSOUND, ICBHI = (f"explanations/{name}" for name in ("simulated", "sprsound", "icbhi"))
CALLED = {SPRSOUND: "SPRSound", ICBHI: "ICBHI"}

# %%
asked = {"seeds": tuple(seeds), "epochs": epochs, "device": device, "cluster": cluster}
table = {name: attributions.attributions(name) for name in (SIMULATED, SPRSOUND, ICBHI)}
ours = {name: live_attributions(name, profile, data, **asked) for name in table}
source = {name: Source(name) for name in table}
report = Report("92_explanations", profile=profile, out=out, corpus=source[SIMULATED])
for name in table:
    display(source[name])

# %% [markdown]
# **What we could not have**
#
# * *Real places.* Nobody has marked where in a real spectrogram a crackle is. To the hertz we know it of simulated
#   recordings alone; of SPRSound we know when an event begins and ends; of ICBHI nothing. Section 8 asks of real
#   recordings what can be asked there.
# * *Size.* RespireNet is a narrow ResNet-10 on 64 rows, not ResNet-34 on 192; the LSTMs have 32 states, not 512. Enlarging a
#   picture adds no detail, but each cell of the last layer then covers less of the sound.
# * *Dropout.* SiteCNN and MPO were trained with a dropout of 0.05, not the paper's 0.2. What section 7 says of these two
#   says nothing of 0.2.
# * *All classifiers.* Boosting has no gradient and no layer: there is nothing to draw. MPA, which hears all sites of
#   a patient, is spoken of at the end of section 7.
# * *All real data.* Of ICBHI we have 192 of 920 recordings. On real recordings three of the eight networks were
#   asked.

# %% [markdown]
# **Whom we ask.** *small CNN* is what anyone would try first, *RespireNet* the network of notebook 01, *CNN*, *Upsampling CNN*,
# *ConvLstm* and *full* those of the Conv-LSTM paper (notebook 02), *SiteCNN* and *MPO* those of the paediatric one (03). A map of
# a network that has not learnt its task explains nothing. So first: does each network know its training side (AS of .9 or more
# in every training), and is it surely above chance on test patients? Those that do not pass both are shown and not counted. A
# sound counts for a network only if that training gives the clip its right label. *Detail* is what the last layer with rows and
# frames has: nothing finer can be pointed at. *Rows* says whether the rows of a network's picture are frequencies; section 1
# says why for some they are not.


# %%
def described(name: str) -> pd.DataFrame:
    """Of each network of an experiment: scores on both sides, sounds it gets right, and the detail of its maps."""
    fitted, said, rows = training(name).groupby("row")["AS"].min(), predictions(name), []
    on_file = set(table[name]["row"])
    for row in [row for row in experiment(name)["rows"] if row in on_file]:
        test = evaluate(by_seed(said, row)).set_index("metric").loc["AS"]
        own = table[name].query("row == @row and control == 'trained' and stage == 'last'")
        own = own[own["method"] == "Grad-CAM++"]
        right = own[own["right"] == True]  # noqa: E712 (the column holds NaN of other controls)
        counts = right.groupby("seed").size()
        rows += [{"network": row, "AS, training side (least)": fitted[row], "AS, test": test["ours"]}]
        rows[-1] |= {"95 %": f"{test['low']:.2f} to {test['high']:.2f}", "above .5": test["low"] > 0.5}
        rows[-1] |= {"sounds": own["event"].nunique(), "right": f"{counts.min()} to {counts.max()}"}
        rows[-1] |= {"patients": right["patient"].nunique()}
        rows[-1] |= {"detail": f"{own['rows'].iloc[0]} x {own['frames'].iloc[0]}"}
        fields = configurations(name)[row]
        rows[-1] |= {"rows": "mixed" if CLASSIFIERS[fields["model"]].front_end == "stacked" else "frequencies"}
        rows[-1] |= {"dropout": fields.get("dropout", Classification.model_fields["dropout"].default)}
        rows[-1] |= {"trainings": len(counts)}
    return pd.DataFrame(rows)


networks = described(SIMULATED)
report.table(
    "networks",
    networks,
    title="the networks, and the sounds they get right",
    note="AS, test: mean over trainings; .5 is chance",
)


# %%
def say(sentence: str) -> None:
    """Print in lines of readable length."""
    print(textwrap.fill(sentence, 100))


def able(frame: pd.DataFrame) -> list[str]:
    """Networks that fit their training side in every training and are surely above chance on test patients."""
    return frame["network"][(frame["AS, training side (least)"] >= 0.9) & frame["above .5"]].tolist()


FIT = able(networks)
PLACED = [row for row in FIT if networks.set_index("network")["rows"][row] == "frequencies"]
print("asked:", ", ".join(FIT) or "none")
print("shown and not counted:", ", ".join(sorted(set(networks["network"]) - set(FIT))) or "none")
print("asked how high a sound is:", ", ".join(PLACED) or "none")

# %% [markdown]
# ## 1. What a map is
#
# **Grad-CAM** (Selvaraju et al. 2017). A convolutional layer holds $K$ pictures $A^k$. How much does the logit $y^c$ of
# class $c$ rise with the mean of each?
#
# $$\alpha_k^c = \frac{1}{Z}\sum_{i,j} \frac{\partial y^c}{\partial A_{ij}^k}, \qquad M^c = \mathrm{ReLU}\Big(\sum_k \alpha_k^c A^k\Big)$$
#
# That is all of it:


# %%
def grad_cam(network, layer, image, metadata, c):
    """The map (rows, frames) of one image (1, C, H, W) for the class c."""
    seen = []
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logit = network(image, metadata)[0, c]
    handle.remove()
    (a,) = seen
    gradient = torch.autograd.grad(logit, a)[0]
    alpha = gradient.mean(dim=(2, 3), keepdim=True)
    return (alpha * a).sum(dim=1).relu()[0].detach()


# %% [markdown]
# **Grad-CAM++** (Chattopadhyay et al. 2018) weighs each pixel's gradient $g$ before it is averaged, by
# $g^2 / (2 g^2 + g^3 \sum A^k)$, so that several small spots count as much as one large one, and counts only gradients that raise
# $y^c$. From here on we use the library `grad-cam`, which also stretches each map to reach from 0 to 1: the brightness of two
# panels cannot be compared. Our Grad-CAM must agree with it, and does, on a network that we train now: the small CNN, on
# simulated ICBHI.

# %%
corpus = load_corpus("icbhi")
choices = {"split": "patients", "validation": "none", "selection": "last", "augment_features": False}
run = Classification(corpus=corpus.fingerprint, task="icbhi", model="small CNN", **choices)
dataset = run.dataset()
torch.manual_seed(0)
network = run.network(dataset)
items = dataset.samples("train")
network.fit_statistics(dataset.features[dataset.rows[items, 0]].split(128))
chosen, clips = sounds_of(run.view(), dataset, run.preprocessing, "truth", 8, ["crackle", "wheeze"])
given = (clips.features, clips.metadata, clips.label)


# %%
def train(network, items, label, epochs, seed=0, after=lambda epoch: None):
    """The plain loop; prints the mean loss of an epoch."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        losses = []
        for batch in torch.randperm(len(items), generator=generator).split(32):
            here = items[batch]
            logits = network.train()(dataset.batch(here), dataset.metadata[here])
            loss = nn.functional.cross_entropy(logits, label[here])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.2f}")
        after(epoch + 1)


# %%
film = {}


def look(epoch):
    """Keep the maps of a crackle and of a wheeze, and what the network says of them."""
    maps, _ = attribution_maps(network, *given, "Grad-CAM++")
    with torch.no_grad():
        p = network.eval()(*given[:2]).softmax(1).gather(1, clips.label[:, None])[:, 0].numpy()
    film[epoch] = clips.on_grid(maps), p


look(0)
train(network, items, dataset.label, 8, after=look)

# %%
k, layer = 0, stages(network)[-1]
by_hand = grad_cam(network, layer, clips.features[[k]], clips.metadata[[k]], clips.label[k])
size = clips.features.shape[2:]
enlarged = nn.functional.interpolate(by_hand[None, None], size, mode="bilinear")[0, 0]
enlarged = (enlarged - enlarged.min()) / (enlarged.max() - enlarged.min())
library, detail = attribution_maps(network, *(part[[k]] for part in given), "Grad-CAM")
assert np.allclose(enlarged, library[0], atol=1e-3)
print(f"a map of {detail[0]} x {detail[1]}, enlarged to {size[0]} x {size[1]}, is the library's")


# %%
def panel(ax, picture, boxes, **style):
    """A picture on the common grid (50 to 1600 Hz, 3 s), with white boxes where the sounds truly are."""
    drawn = ax.imshow(picture, origin="lower", aspect="auto", extent=(0, 3, 50, 1600), **style)
    for start, end, low, high in boxes:
        size = max(end - start, 0.02), high - low
        ax.add_patch(plt.Rectangle((start, low), *size, fill=False, edgecolor="white", linewidth=0.9))
    ax.set(yticks=[500, 1000, 1500], ylim=(50, 1600), xlim=(0, 3), xticks=[0, 1, 2, 3])
    ax.grid(False)
    return drawn


def box_rows(boxes: pd.DataFrame) -> np.ndarray:
    return boxes[["start_s", "end_s", "low_hz", "high_hz"]].to_numpy()


# %%
columns, final = [0, 1, 2, 4, 8], pd.Series(film[8][1])
shown = [final[(chosen["label"] == kind).to_numpy()].idxmax() for kind in ("crackle", "wheeze")]
fig, axes = plt.subplots(2, 6, figsize=(10, 3.4), sharex=True, sharey=True, layout="constrained")
sound = clips.on_grid(clips.features[:, 0].float().numpy())
for line, k in zip(axes, shown):
    panel(line[0], sound[k], box_rows(clips.boxes[k]), cmap="magma")
    line[0].set(title=f"a {chosen['label'].iloc[k]}", ylabel="frequency (Hz)")
    for ax, epoch in zip(line[1:], columns):
        maps, p = film[epoch]
        drawn = panel(ax, maps[k], box_rows(clips.boxes[k]), cmap="viridis", vmin=0, vmax=1)
        ax.set_title(f"{epoch} epochs, p = {p[k]:.2f}", fontsize=9)
for ax in axes[1]:
    ax.set_xlabel("time (s)")
fig.colorbar(drawn, ax=axes[:, -1], label="map")
report.figure(
    "film",
    fig,
    title="Grad-CAM++ of one network while it is trained",
    corpus=corpus,
    note="the two test sounds it is surest of in the end; p: of the right label; white: where the sounds truly are",
)

# %%
before, after = (f"{film[e][1].mean():.2f}" for e in (0, 8))
print(f"mean p of the right label of {len(chosen)} test sounds: {before} before the training, {after} after it")

# %% [markdown]
# Look at the map *before* any training: it is no noise either. A network of random weights sees the sound as well, and
# what stands out in the picture stands out in its layers. So a map that looks like the sound shows nothing yet.
#
# **One grid for all.** The front ends of the networks draw different bands. All maps are brought to cells of 25 Hz and
# 50 ms between 50 and 1600 Hz, which all of them hear. The four networks of the Conv-LSTM paper are a case apart: their picture
# has log-mel, MFCC and LFCC as three channels over the *same* rows. We read these rows as mel bands. For the cepstra, whose
# rows are no frequencies, that is wrong, and nobody can take the channels apart afterwards; only the time of such a map can be
# trusted. So the *moment* is scored apart, and how *high* a map points is shown of these four and not counted.
#
# **The true places** are boxes: of a crackle or a wheeze the time it lasts, and the band that holds 5 to 95 % of its energy. The
# overtones of a wheeze may lie outside, so a map on an overtone counts as a miss.
#
# ## 2. A crackle and a wheeze, by every network
#
# Look at the pictures first, as a reader of a paper would. Only networks that give the sound its label are shown.
# Which would you believe?


# %%
kept = {row: attributions.maps(SIMULATED, row) for row in FIT}
first = table[SIMULATED].query("control == 'trained' and method == 'Grad-CAM++' and stage == 'last'")
first = first[first["seed"] == first["seed"].min()].astype({"event": str}).set_index(["row", "event"])


def example(kind: str) -> int:
    """The kept sound of `kind` that most networks get right."""
    events = next(iter(kept.values()))
    here = np.flatnonzero(events["label"] == kind)
    votes = [sum(first["right"][row, events["event"][k]] for row in FIT) for k in here]
    return int(here[np.argmax(votes)])


examples = {kind: example(kind) for kind in ("crackle", "wheeze")}
right = {kind: [row for row in FIT if first["right"][row, kept[row]["event"][k]]] for kind, k in examples.items()}
for kind, rows in right.items():
    print(f"the {kind} is right in {len(rows)} of {len(FIT)} networks, first training: {', '.join(rows)}")

# %%
height = 1 + max(len(rows) for rows in right.values())
fig, axes = plt.subplots(height, 4, figsize=(10, 1.25 * height), sharex=True, sharey=True, layout="constrained")
for left, (kind, k) in zip((0, 2), examples.items()):
    some = kept[right[kind][0]]
    boxes = some["boxes"][some["boxes"][:, 0] == k, 1:]
    for ax, name in zip(axes[0, left : left + 2], ("picture", "loud")):
        panel(ax, some[name][k], boxes, cmap="magma")
        ax.set_title(f"the {kind}" if name == "picture" else "above its row", fontsize=8)
    for line, row in zip(axes[1:], right[kind]):
        p = first["p"][row, kept[row]["event"][k]]
        for ax, method in zip(line[left : left + 2], ("Grad-CAM", "Grad-CAM++")):
            drawn = panel(ax, kept[row][f"trained, {method}"][k] / 255, boxes, cmap="viridis", vmin=0, vmax=1)
            ax.set_title(f"{row}, p = {p:.2f}: {method}" if method == "Grad-CAM" else method, fontsize=8)
    for ax in axes[1 + len(right[kind]) :, left : left + 2].flat:
        ax.axis("off")
    for ax in axes[len(right[kind]), left : left + 2]:  # the last that is drawn
        ax.tick_params(labelbottom=True)
        ax.set_xlabel("time (s)", fontsize=8)
for ax in axes[:, 0]:
    ax.set_ylabel("Hz", fontsize=8)
fig.colorbar(drawn, ax=axes, label="map", shrink=0.4)
report.figure("examples", fig, title="one crackle and one wheeze", note="first training; white: where the sounds are")

# %% [markdown]
# ## 3. Three scores, their floor and their rivals
#
# **Pointing game** (Zhang et al. 2016): does the greatest value of the map lie on a box? We let it miss by 50 Hz and 0.1
# s. **Right moment**: the same, after the map is averaged over frequency. **Energy** (Wang et al. 2020): how much of
# the map lies inside the boxes,
#
# $$E = \sum_{(f,t) \in \text{boxes}} M_{ft} \Big/ \sum_{f,t} M_{ft}.$$

# %%
Markdown(f"```python\n{inspect.getsource(pointing_game)}\n\n{inspect.getsource(energy_inside)}```")

# %% [markdown]
# Check it by hand: a picture of 4 x 5 cells, one box of two cells, three quarters of the map's energy inside it.

# %% tags=["nbval-check-output"]
box, small = np.zeros((1, 4, 5), dtype=bool), np.zeros((1, 4, 5))
box[0, 1, 1:3] = True
small[0, 1, 1], small[0, 3, 4] = 3, 1
print("energy", energy_inside(small, box)[0], "of which by area alone", box.mean())
print("a map that is the same everywhere:", energy_inside(np.ones_like(small), box)[0])

# %% [markdown]
# None of these numbers means anything alone. So four rivals stand beside it, all of the same sounds:
#
# * the **floor**: a map without opinion, the same everywhere. A clip full of crackles is hit by a blindfolded player;
# * the **loudest pixel**: no network at all, but each pixel's level above the mean of its row;
# * **redrawn networks** (Adebayo et al. 2018): the same network with every weight drawn anew, four times. If their maps
#   are as good, a map shows the picture and not what was learnt;
# * the **truth**, seen as coarsely as the layer sees. It is a yardstick, and no strict upper bound.

# %%
rivals = (level_above_row, randomise_weights, at_detail)
Markdown("```python\n" + "\n\n".join(inspect.getsource(rival) for rival in rivals) + "```")

# %%
NAMED = {"floor": FLOOR, "loudest pixel": LOUDEST, "redrawn networks": REDRAWN}
NAMED |= {"Grad-CAM": ("trained", "Grad-CAM", "last"), "Grad-CAM++": TRAINED, "truth": TRUTH}
SCORES = {"pointing": "pointing game", "moment": "right moment", "energy": "energy"}


def compared(frame, rows, metrics, named=NAMED):
    """Rows of a comparison: a network, a contender as its metric, and a score as its subset; None of nothing."""
    if frame is None:
        return None
    lines = [
        {"row": row, "metric": name, "subset": metrics[m]} | attributions.line(frame, row, m, which)
        for m in metrics
        for row in rows
        for name, which in named.items()
    ]
    return pd.DataFrame(lines)


every = networks["network"].tolist()
found = compared(table[SIMULATED], every, SCORES)
found.attrs["provenance"] = {"origin": source[SIMULATED].origin_text.removesuffix(", recorded")}

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 0.75 * len(every) + 1.2), sharey=True, layout="constrained")
for ax, (title, here) in zip(axes, found.groupby("subset", sort=False)):
    plots.dots(ax, here.rename(columns={"metric": "series", "ours": "value"}), every, title)
    ax.set_xlim(-0.03, 1.03)
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=8)
report.figure("looking", fig, title="where maps point", note="last layer; 95 % intervals over seeds and patients")

# %%
main = comparison(
    None, compared(ours[SIMULATED], every, {"pointing": "pointing game"}), found.query("subset == 'pointing game'")
)
report.table("pointing", main, title="pointing game", note="sounds that the network gets right; last layer")

# %%
rest = found.query("subset != 'pointing game' and metric != 'Grad-CAM'")
live_rest = compared(ours[SIMULATED], every, {m: SCORES[m] for m in ("moment", "energy")})
report.table("moment-and-energy", comparison(None, live_rest, rest), title="right moment and energy")

# %% [markdown]
# Against the loudest pixel a network can be tested only where it could win: where the truth, as coarse as its layer, has a
# higher score than the loudest pixel does.

# %%
means = {
    metric: found[found["subset"] == name].pivot(index="row", columns="metric", values="ours")
    for metric, name in SCORES.items()
}
of_pointing = means["pointing"]
FAIR = {
    metric: [row for row in (FIT if metric == "moment" else PLACED) if own["truth"][row] > own["loudest pixel"][row]]
    for metric, own in means.items()
}
for metric, rows in FAIR.items():
    print(f"could win against the loudest pixel, {SCORES[metric]}:", ", ".join(rows) or "none")

# %% [markdown]
# What the intervals allow to be said, p corrected for the number of networks:

# %%
for metric, name in SCORES.items():
    asked_here = FIT if metric == "moment" else PLACED
    for rival, which in (("the floor", FLOOR), ("the loudest pixel", LOUDEST)):
        rows = FAIR[metric] if which == LOUDEST else asked_here
        found_gains = attributions.gains(table[SIMULATED], rows, metric, which)
        say(attributions.verdict(found_gains, f"{name} of Grad-CAM++", rival))

# %%
loud = table[SIMULATED].query("control == 'loudest pixel' and row == @every[0]")["pointing"].mean()
wide = of_pointing.loc[PLACED]
less = sum(int((wide[method] < wide["loudest pixel"]).sum()) for method in ("Grad-CAM", "Grad-CAM++"))
say(
    f"The loudest pixel, which needs no network, points right in {100 * loud:.0f} % of all clips. "
    f"Of {2 * len(wide)} means (networks whose rows are frequencies x methods) {less} are below its own in the same clips."
)

# %%
by_kind = pd.DataFrame(
    {
        (kind, name): {row: attributions.line(table[SIMULATED], row, "moment", which, kind)["ours"] for row in FIT}
        for kind in ("crackle", "wheeze")
        for name, which in (("trained", TRAINED), ("redrawn", REDRAWN), ("floor", FLOOR))
    }
)
for kind, of_kind in by_kind.mean().unstack().iterrows():
    say(f"{kind}s, mean over networks: " + ", ".join(f"{name} {of_kind[name]:.2f}" for name in by_kind[kind]))
by_kind.round(2)

# %% [markdown]
# Three readings. *First*, the *right moment* by kind, in the lines and the table above: a wheeze lasts, so a map finds its moment
# easily, and a map of a redrawn network may do so as well. *Second*, look at the truth's own score: seen through a layer of two rows even the truth
# seldom points right, so a low score there may be the layer's and not the network's. *Third*, the loudest pixel, which has learnt nothing, is a
# strong rival, even where a network could win against it.
#
# ## 4. Is it the network that points?
#
# A control is a *draw*, and one draw is an anecdote. So here is the range over all draws of each network beside the
# trained one; and three correlations of ranks (Spearman's): of a trained map with the map of the redrawn network
# (**likeness**), of trained maps of two seeds with each other (**agreement**), and of two draws.

# %%
rows = []
for row in every:
    own = table[SIMULATED][table[SIMULATED]["row"] == row]
    drawn = sorted(own["control"][own["control"].str.startswith("redrawn ")].unique())
    by_draw = [attributions.line(own, row, "pointing", (k, "Grad-CAM++", "last"))["ours"] for k in drawn]
    rows.append({"network": row, "trained": attributions.line(own, row, "pointing")["ours"]})
    rows[-1] |= {"redrawn, mean": np.mean(by_draw), "least": min(by_draw), "most": max(by_draw)}
    rows[-1] |= {"likeness": attributions.line(own, row, "likeness", REDRAWN)["ours"]}
    for name, which in (("agreement of seeds", TRAINED), ("agreement of draws", REDRAWN)):
        rows[-1] |= {name: attributions.line(own, row, "agreement", which)["ours"]}
draws = pd.DataFrame(rows).set_index("network")
report.table("draws", draws, title="trained networks and redrawn ones", note="pointing game of Grad-CAM++, last layer")

# %%
for metric in SCORES:
    found_gains = attributions.gains(table[SIMULATED], FIT if metric == "moment" else PLACED, metric, REDRAWN)
    say(attributions.verdict(found_gains, f"{SCORES[metric]} of Grad-CAM++", "its redrawn networks"))
wide = (draws["most"] - draws["least"]).loc[FIT]
print(f"One draw of {wide.idxmax()} would have said {draws['least'][wide.idxmax()]:.2f}, another", end=" ")
print(f"{draws['most'][wide.idxmax()]:.2f}.")
for name, which in (("trainings", TRAINED), ("draws", REDRAWN)):
    lines = {row: attributions.line(table[SIMULATED], row, "agreement", which) for row in FIT}
    said = ", ".join(f"{row} {x['ours']:.2f} [{x['low']:.2f}, {x['high']:.2f}]" for row, x in lines.items())
    say(f"Agreement of two {name}: {said}.")

# %% [markdown]
# Networks that were never trained agree with each other, too, probably because they see the same picture through the same
# layers. So agreement of two trainings is no sign that a map is right, and has to be held against the agreement of two
# networks that know nothing.
#
# ## 5. One stage earlier
#
# "The last convolutional layer" is a habit from photographs of 224 pixels. Ours have about sixty rows. What if we look
# at the same trained networks one or two stages earlier, where the detail of some is finer? The same control goes along,
# and the truth, as coarse as each stage sees it.

# %%
lines = {"Grad-CAM": ("trained", "Grad-CAM"), "Grad-CAM++": ("trained", "Grad-CAM++")}
lines |= {"redrawn, Grad-CAM++": ("redrawn", "Grad-CAM++"), "truth": ("truth", "")}
by_stage = pd.DataFrame(
    {"row": row, "line": name, "metric": stage} | attributions.line(table[SIMULATED], row, "pointing", (*which, stage))
    for row in every
    for name, which in lines.items()
    for stage in STAGES
)
details = table[SIMULATED].query("control == 'trained'").groupby(["row", "stage"])[["rows", "frames"]].first()

# %%
fig, axes = plt.subplots(2, -(-len(every) // 2), figsize=(10, 4.8), sharey=True, layout="constrained")
for ax, row in zip(axes.flat, every):
    for colour, (name, part) in zip(
        ("C0", "C1", "0.5", "C2"), by_stage.query("row == @row").groupby("line", sort=False)
    ):
        part, style = part[::-1], "--" if "redrawn" in name else "-"
        ax.plot(range(3), part["ours"], f"o{style}", color=colour, markersize=4, label=name)
        ax.fill_between(range(3), part["low"], part["high"], color=colour, alpha=0.12, linewidth=0)
    ax.axhline(
        attributions.line(table[SIMULATED], row, "pointing", FLOOR)["ours"], color="0.3", linewidth=0.8, label="floor"
    )
    ax.axhline(
        attributions.line(table[SIMULATED], row, "pointing", LOUDEST)["ours"],
        color="C3",
        linewidth=0.8,
        label="loudest pixel",
    )
    names = [" x ".join(map(str, details.loc[(row, stage)].astype(int))) for stage in list(STAGES)[::-1]]
    ax.set(title=row if row in PLACED else f"{row} (not counted)", ylim=(0, 1))
    ax.set_xticks(range(3), names, fontsize=8)
fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=8)
axes[0, 0].set_ylabel("pointing game")
axes[1, 0].set_ylabel("pointing game")
report.figure(
    "detail",
    fig,
    title="pointing game by stage",
    note="from left: two stages earlier, one earlier, the last; below: their detail; bands: 95 %",
)

# %%
for stage in ("one earlier", "two earlier"):
    here = ("Grad-CAM++", stage)
    found_gains = attributions.gains(table[SIMULATED], PLACED, "pointing", TRAINED, ("trained", *here))
    say(attributions.verdict(found_gains, f"Pointing game, {stage}", "the last stage"))
    found_gains = attributions.gains(table[SIMULATED], PLACED, "pointing", ("redrawn", *here), ("trained", *here))
    say(attributions.verdict(found_gains, f"Pointing game, {stage}", "its redrawn networks"))

# %% [markdown]
# The network has not changed, only the layer that we ask. Whoever prints one map chooses a layer, and where a line above
# says *more* or *less* than the last stage, the answer depends on that choice; so the layer belongs in the caption. And compare each line with its dashed
# one before you call a sharp map an explanation.
#
# ## 6. Take it away
#
# A test that needs no truth, and so works on real recordings (Petsiuk et al. 2018, *RISE*): take away the pixels that a
# map calls important, the most important first, and watch the probability of the class. The better the map, the faster
# it falls.
#
# $$\mathrm{AUC} = \int_0^1 p\big(c \mid x \text{ without the share } s \text{ of its most important pixels}\big)\,\mathrm{d}s$$
#
# What stands in a missing pixel's place matters: black would be a sound of its own. We put in the mean of its row over the
# clip, so that the background goes on. Three references: pixels in *random order*; the *true places* first, then all
# others in random order; and the maps of *redrawn networks*. These are the fair rival: a map takes away whole patches, and
# a patch may hurt a network more than scattered pixels do, whatever was there.

# %%
Markdown(f"```python\n{inspect.getsource(deletion)}```")


# %%
ORDERS = {"Grad-CAM": NAMED["Grad-CAM"], "Grad-CAM++": TRAINED, "random order": RANDOM}
ORDERS |= {"redrawn networks": REDRAWN, "true places": PLACES}


def draw_curves(fig, frame, rows, orders):
    """A panel a network: mean p of the label while pixels are taken away."""
    axes = fig.subplots(-(-len(rows) // 4), min(len(rows), 4), sharex=True, sharey=True, squeeze=False)
    left = sorted((c for c in frame if c.startswith("left ")), key=lambda c: int(c[5:]))
    for ax, row in zip(axes.flat, rows):
        for colour, (name, which) in zip(("C0", "C1", "0.5", "C3", "C2"), orders.items()):
            curve = mean_over_sounds(attributions.sounds(frame, row, left, which), left)["ours"]
            ax.plot(np.linspace(0, 1, len(left)), curve, color=colour, label=name)
        ax.set(title=row, ylim=(0, 1))
    for ax in axes.flat[len(rows) :]:
        ax.axis("off")
    fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=8)
    fig.supxlabel("share of pixels taken away", fontsize=9)
    fig.supylabel("p of the label", fontsize=9)


fig = plt.figure(figsize=(10, 4.8), layout="constrained")
draw_curves(fig, table[SIMULATED], every, ORDERS)
report.figure(
    "deletion-curves", fig, title="p of the label while pixels are taken away", note="means over sounds and seeds"
)

# %%
area = {"deletion": "area under the curve"}
kept_areas = compared(table[SIMULATED], every, area, ORDERS)
kept_areas.attrs = found.attrs
tidy = comparison(None, compared(ours[SIMULATED], every, area, ORDERS), kept_areas)
report.table("deletion", tidy, title="what taking away the important pixels does", note="smaller is faster")

# %%
for rival, which in (("random order", RANDOM), ("its redrawn networks", REDRAWN)):
    found_gains = attributions.gains(table[SIMULATED], FIT, "deletion", which)
    say(attributions.verdict(found_gains, "Area under the deletion curve of Grad-CAM++", rival))

# %% [markdown]
# *Less* is faster. Here is the difference between the two questions. Section 3 asked whether a map shows the *sound*; this
# one asks whether it shows what the *network* uses. Compare with the true places only at the left end of a curve: the boxes are a
# small part of the picture, and once they are gone that order is random, while a map goes on taking patches. So no area is compared
# with theirs. Patches alone
# lower a curve. Only a map that beats the same network drawn anew as well says something about what was learnt. (The maps of
# redrawn networks are taken away from what the *trained* one hears.)
#
# ## 7. Does it know when it is wrong?
#
# **Monte Carlo dropout** (Gal and Ghahramani 2016). Leave dropout on and ask $T$ times. Each pass is a slightly different
# network; $\bar p$ is their mean. Two kinds of doubt:
#
# $$\underbrace{H[\bar p]}_{\text{predictive entropy}} = \underbrace{\tfrac{1}{T}\textstyle\sum_t H[p_t]}_{\text{the sound is ambiguous}} + \underbrace{I}_{\text{the passes contradict one another}}, \qquad H[p] = -\sum_c p_c \ln p_c$$
#
# $I$, the *mutual information*, is what only several passes can give. The entropy of one ordinary pass costs nothing, and is
# what dropout has to beat.

# %%
Markdown(f"```python\n{inspect.getsource(mutual_information)}```")

# %% tags=["nbval-check-output"]
torn = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])  # two passes, each sure, of opposite opinion
dull = np.full((2, 1, 2), 0.5)  # two passes that agree on 50:50
for name, p in {"sure, but torn": torn, "dull": dull}.items():
    total, apart = entropy(p.mean(axis=0), axis=-1)[0], mutual_information(p)[0]
    print(f"{name:14} predictive entropy {total:.3f}, mutual information {apart:.3f}")


# %%
def doubts_of(frame) -> dict[str, list[pd.DataFrame]]:
    """Of each network that was asked again with dropout, its uncertainties about test events, a table a seed."""
    rows = [row for row in frame["row"].unique() if f"{row}, dropout left on" in set(frame["row"])]
    return {
        row: [uncertainty(*pair) for pair in zip(by_seed(frame, row), by_seed(frame, f"{row}, dropout left on"))]
        for row in rows
    }


def detection(doubts) -> pd.DataFrame:
    """Rows of a comparison: AUROC of each uncertainty for errors."""
    lines = [{"row": row, "metric": d} | error_detection(t, d) for row, t in doubts.items() for d in UNCERTAINTIES]
    return pd.DataFrame(lines)


doubts = {name: doubts_of(predictions(name)) for name in table}
again = live(SIMULATED, profile, data, **asked)
recorded_doubt = detection(doubts[SIMULATED])
recorded_doubt.attrs = found.attrs
live_doubt = None if again is None else detection(doubts_of(again))
report.table(
    "uncertainty",
    comparison(None, live_doubt, recorded_doubt),
    title="AUROC of doubt for errors",
    note="20 passes; all test events; intervals count patients with at least one error",
)


# %%
def doubt_verdict(doubts, rows) -> str:
    """Whether dropout's own part beats the entropy of one pass, in a sentence."""
    gains = [error_detection(doubts[row], "mutual information", "entropy of one pass") for row in rows]
    frame = pd.DataFrame(gains, index=rows)
    frame["p"] = attributions.holm(frame["p"])
    return attributions.verdict(frame, "AUROC of mutual information", "the entropy of one pass")


asked_again = [row for row in doubts[SIMULATED] if row in FIT]
mean = recorded_doubt[recorded_doubt["row"].isin(asked_again)].groupby("metric", sort=False)["ours"].mean()
print("Mean AUROC:", ", ".join(f"{name} {value:.2f}" for name, value in mean.items()))
say(doubt_verdict(doubts[SIMULATED], asked_again))

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
for ax, which in zip(axes, UNCERTAINTIES):
    for colour, (row, tables) in enumerate(doubts[SIMULATED].items()):
        curves = [risk_coverage(each["wrong"], each[which]) for each in tables]
        risk = np.mean([curve for _, curve in curves], axis=0)
        ax.plot(curves[0][0][19:], risk[19:], color=f"C{colour}", linewidth=1.4, label=row)
    ax.set(title=which, xlabel="share that is answered, surest first", ylim=(0, None))
axes[0].set_ylabel("errors among them")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
report.figure(
    "risk-coverage",
    fig,
    title="errors among the surest",
    note="means over trainings; a useful doubt gives a curve that rises to the right",
)

# %%
half = {
    row: np.mean([risk_coverage(t["wrong"], t["entropy of one pass"])[1][len(t) // 2] for t in tables])
    for row, tables in doubts[SIMULATED].items()
}
whole = {row: np.mean([t["wrong"].mean() for t in tables]) for row, tables in doubts[SIMULATED].items()}
said = [f"{row} {100 * whole[row]:.0f} % to {100 * half[row]:.0f} %" for row in asked_again]
say(f"If only the surer half is answered, by the entropy of one pass, errors go from {', '.join(said)}.")

# %% [markdown]
# In most of these networks dropout stands only before the last layers, so all passes hear the same features and can
# contradict one another only about what they mean. In SiteCNN and MPO it stands after each convolution, at a rate of 0.05.
# ConvLstm, Upsampling CNN and full were not asked again. And all passes come
# from one training on the same patients: they can all be wrong together, and sure.
#
# **All sites at once.** MPA, the paediatric paper's other network, is given a patient's sites as channels of one picture.
# Its map is one for all of them, so it cannot say *on which site* it heard something. Laid over one another, the true
# places of eight sites cover most of the clip, and whatever points is right: there is nothing to be learnt from such a
# score, and we give none.
#
# ## 8. Real recordings
#
# On real recordings nobody knows the places to the hertz. Four questions remain. Do maps of trained networks differ from
# those of redrawn ones? Do they take the probability away faster? Do two trainings agree? And of SPRSound, where
# physicians marked when each event begins and ends: shown three seconds of the recording with the event somewhere in
# them, does the map find the *moment*?
#
# Mind that the networks learnt from events alone, cut out and repeated; what is around an event is new to them. And a
# sound counts only if the network gives it its label *in* its surroundings.

# %%
real = {SPRSOUND: described(SPRSOUND), ICBHI: described(ICBHI)}
joined = pd.concat([frame.assign(**{"data set": CALLED[name]}) for name, frame in real.items()])
report.table(
    "real-networks",
    joined[["data set", *joined.columns[:-1]]].reset_index(drop=True),
    title="networks on real recordings, and the sounds they get right",
    corpus=source[SPRSOUND],
    note="ICBHI: real, 192 of 920 recordings",
)
REAL = {name: able(frame) for name, frame in real.items()}
for name, frame in real.items():
    others = sorted(set(frame["network"]) - set(REAL[name]))
    print(
        f"{CALLED[name]}: asked: {', '.join(REAL[name]) or 'none'}; shown and not counted: {', '.join(others) or 'none'}"
    )

# %%
MOMENT = {name: which for name, which in NAMED.items() if name != "truth"}
rows = real[SPRSOUND]["network"].tolist()
found_real = compared(table[SPRSOUND], rows, {"moment": "right moment", "energy": "energy in time"}, MOMENT)
fig, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True, layout="constrained")
for ax, (title, here) in zip(axes, found_real.groupby("subset", sort=False)):
    plots.dots(ax, here.rename(columns={"metric": "series", "ours": "value"}), rows, title)
    ax.set_xlim(-0.03, 1.03)
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=8)
report.figure(
    "real-moment", fig, title="does a map find the event in time", corpus=source[SPRSOUND], note="95 % intervals"
)

# %%
found_real.attrs["provenance"] = {"origin": source[SPRSOUND].origin_text.removesuffix(", recorded")}
live_real = compared(ours[SPRSOUND], rows, {"moment": "right moment", "energy": "energy in time"}, MOMENT)
report.table(
    "real-moments", comparison(None, live_real, found_real), title="right moment on SPRSound", corpus=source[SPRSOUND]
)

# %%
for rival, which in (("the floor", FLOOR), ("the loudest pixel", LOUDEST), ("its redrawn networks", REDRAWN)):
    found_gains = attributions.gains(table[SPRSOUND], REAL[SPRSOUND], "moment", which)
    say(attributions.verdict(found_gains, "Right moment of Grad-CAM++ on SPRSound", rival))

# %%
of_maps = {"likeness": REDRAWN, "agreement of seeds": TRAINED, "agreement of draws": REDRAWN}
orders = {name: which for name, which in ORDERS.items() if name != "true places"}
parts = []
for name in real:
    for row in real[name]["network"]:
        line = {"data set": CALLED[name], "network": row}
        for metric, which in of_maps.items():
            line[metric] = attributions.line(table[name], row, metric.partition(" ")[0], which)["ours"]
        for order, which in orders.items():
            line[f"deletion: {order}"] = attributions.line(table[name], row, "deletion", which)["ours"]
        parts.append(line)
report.table(
    "real-maps",
    pd.DataFrame(parts),
    title="maps of real recordings",
    corpus=source[SPRSOUND],
    note="last layer; ICBHI: 192 of 920 recordings",
)

# %%
for name in (name for name in real if REAL[name]):
    for rival, which in (("random order", RANDOM), ("its redrawn networks", REDRAWN)):
        found_gains = attributions.gains(table[name], REAL[name], "deletion", which)
        say(attributions.verdict(found_gains, f"{CALLED[name]}: area of Grad-CAM++", rival))

# %%
WIDTHS = [(high - low) / (BANDS_HZ[-1][1] - BANDS_HZ[0][0]) for low, high in BANDS_HZ]
fig, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
for ax, name in zip(axes, real):
    for colour, row in enumerate(real[name].query("rows == 'frequencies'")["network"]):
        for style, which in (("o-", TRAINED), ("x--", REDRAWN)):
            share = mean_over_sounds(attributions.sounds(table[name], row, BANDS, which), BANDS)["ours"]
            ax.plot(
                share,
                style,
                color=f"C{colour}",
                label=f"{row}{', redrawn' if 'x' in style else ''}",
                alpha=1 if row in REAL[name] else 0.35,
            )
    ax.plot(WIDTHS, ":", color="0.3", label="width of the band")
    ax.set(title=CALLED[name], xlabel="band", ylabel="share of the map")
    ax.set_xticks(range(len(BANDS)), BANDS, fontsize=8)
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7)
report.figure(
    "real-bands",
    fig,
    title="Grad-CAM++ by band",
    corpus=source[SPRSOUND],
    note="networks whose rows are frequencies; pale: not counted; ICBHI: 192 of 920 recordings",
)

# %%
real_doubt = pd.concat([detection(doubts[name]).assign(subset=CALLED[name]) for name in real], ignore_index=True)
real_doubt.attrs["provenance"] = {"origin": source[SPRSOUND].origin_text.removesuffix(", recorded")}
report.table(
    "real-uncertainty",
    comparison(None, None, real_doubt),
    title="AUROC of doubt for errors on real recordings",
    corpus=source[SPRSOUND],
    note="ICBHI: 192 of 920 recordings",
)
for name in (name for name in real if REAL[name]):
    say(f"{CALLED[name]}: {doubt_verdict(doubts[name], REAL[name])}")

# %%
rows = REAL[SPRSOUND] or real[SPRSOUND]["network"].tolist()
of_real = {row: attributions.maps(SPRSOUND, row) for row in rows}
said = table[SPRSOUND].query("control == 'trained' and method == 'Grad-CAM++' and stage == 'last'")
said = said[said["seed"] == said["seed"].min()].astype({"event": str, "right": bool})
said = said.set_index(["row", "event"])["right"]
events, marked = of_real[rows[0]]["event"], of_real[rows[0]]["label"]
votes = np.array([sum(said[row, event] for row in rows) for event in events])
picked = [max(np.flatnonzero(marked == kind), key=lambda k: votes[k]) for kind in ("crackle", "wheeze")]
fig, axes = plt.subplots(2, 1 + len(rows), figsize=(9, 3.6), sharex=True, sharey=True, layout="constrained")
for line, k in zip(axes, picked):
    boxes = of_real[rows[0]]["boxes"]
    boxes = boxes[boxes[:, 0] == k, 1:] + [0, 0, 10, -10]
    panel(line[0], of_real[rows[0]]["picture"][k], boxes, cmap="magma")
    line[0].set(title=f"a {marked[k]}", ylabel="frequency (Hz)")
    for ax, row in zip(line[1:], rows):
        if said[row, events[k]]:
            drawn = panel(ax, of_real[row]["trained, Grad-CAM++"][k] / 255, boxes, cmap="viridis", vmin=0, vmax=1)
            ax.set_title(row, fontsize=9)
        else:
            ax.axis("off")
for ax in axes[1]:
    ax.set_xlabel("time (s)")
fig.colorbar(drawn, ax=axes[:, -1], label="map")
report.figure(
    "real-examples",
    fig,
    title="real events in their surroundings",
    corpus=source[SPRSOUND],
    note="Grad-CAM++ of networks that give the label; white: when the event is",
)

# %% [markdown]
# ## What we found
#
# The lines above say it network by network. In short, of Grad-CAM++ at the last layer, in the networks that fit their training
# side and are above chance:


# %%
def sure(name, rows, metric, rival, sign=1):
    """The rows in which Grad-CAM++ has surely more (or, with sign -1, less) than a rival; Holm."""
    gains = attributions.gains(table[name], rows, metric, rival)
    return gains.index[(gains["p"] < 0.05) & (sign * gains["ours"] > 0)].tolist()


def of(rows, every):
    return f"{len(rows)} of {len(every)} ({', '.join(rows) or 'none'})"


bullets = [
    f"**A map that looks convincing need not point.** Above the floor: {of(sure(SIMULATED, PLACED, 'pointing', FLOOR), PLACED)}"
    f" of those whose rows are frequencies; in the right moment {of(sure(SIMULATED, FIT, 'moment', FLOOR), FIT)} of all.",
    f"**The loudest pixel is a rival.** Above it: {of(sure(SIMULATED, FAIR['pointing'], 'pointing', LOUDEST), FAIR['pointing'])} of those that could be.",
    f"**So is the same network untrained.** Above it: in pointing {of(sure(SIMULATED, PLACED, 'pointing', REDRAWN), PLACED)}, in "
    f"energy {of(sure(SIMULATED, PLACED, 'energy', REDRAWN), PLACED)}, in moment {of(sure(SIMULATED, FIT, 'moment', REDRAWN), FIT)}.",
    f"**Faithful is not the same as pointing.** A map takes the probability away faster than random order does in "
    f"{of(sure(SIMULATED, FIT, 'deletion', RANDOM, -1), FIT)}, and faster than redrawn networks in "
    f"{of(sure(SIMULATED, FIT, 'deletion', REDRAWN, -1), FIT)}. On SPRSound these are "
    f"{of(sure(SPRSOUND, REAL[SPRSOUND], 'deletion', RANDOM, -1), REAL[SPRSOUND])} and "
    f"{of(sure(SPRSOUND, REAL[SPRSOUND], 'deletion', REDRAWN, -1), REAL[SPRSOUND])}.",
    f"**On real recordings** maps find the moment of an event better than the floor in "
    f"{of(sure(SPRSOUND, REAL[SPRSOUND], 'moment', FLOOR), REAL[SPRSOUND])} on SPRSound, better than the loudest pixel in "
    f"{of(sure(SPRSOUND, REAL[SPRSOUND], 'moment', LOUDEST), REAL[SPRSOUND])}.",
    f"**Doubt has to beat what is free.** {doubt_verdict(doubts[SIMULATED], asked_again)}",
]
Markdown("\n".join(f"* {bullet}" for bullet in bullets))

# %% [markdown]
# A few trainings and a few dozen patients cannot settle everything: *not told apart* is not *the same*. What to take
# away is the method: a map needs a floor, a rival without a network, several rivals without training, and the layer's
# name in its caption.
#
# ## Exercises
#
# Each solution is in cells tagged `solution`; `lungnb student` writes a copy of this notebook without them. Where a
# test is given, run it after your answer: it says `passed`, or which line is not yet true.
#
# **1.** *(easy, 10 minutes)* A clip of 3 s, a grid of 62 x 60 cells, holds one crackle from 310 to 610 Hz and of 15 ms, which
# falls into one frame. What does a blindfolded player score in the pointing game, with our tolerance? And in energy?

# %% tags=["solution", "nbval-check-output"]
crackle = pd.DataFrame({"start_s": [1.51], "end_s": [1.525], "low_hz": [310.0], "high_hz": [610.0]})
one = box_mask(crackle, *grid(3))[None]
print(f"pointing {pointing_chance(one)[0]:.4f}, energy {one.mean():.4f}")

# %% [markdown] tags=["solution"]
# Two in a hundred in the pointing game, and a sixth of that in energy. The tolerance of 50 Hz and 0.1 s on each side
# makes a target of one frame five frames wide. So the two scores have floors of their own, and a score without its
# floor cannot be compared with another score.

# %% [markdown]
# **2.** *(medium, 20 minutes)* Adebayo et al. have a second control: train the network on labels that were dealt anew among the
# training clips. Write `network_of_noise()`, which returns such a network; `train()` is there. Do its maps still point?
#
# ```python
# def network_of_noise(seed=0):
#     """A small CNN trained for 30 epochs on labels that were dealt anew among the training clips, and these labels."""
# ```

# %%
# your answer


# %% tags=["solution"]
def network_of_noise(seed=0):
    """A small CNN trained for 30 epochs on labels dealt anew among the training clips, and these labels."""
    torch.manual_seed(seed)
    other, label = run.network(dataset), dataset.label.clone()
    other.fit_statistics(dataset.features[dataset.rows[items, 0]].split(128))
    label[items] = label[items][torch.randperm(len(items))]
    train(other, items, label, 30, seed)
    return other.eval(), label


# %% [markdown]
# The test of 2:

# %%
noisy, dealt = network_of_noise()
assert torch.equal(dealt[items].bincount(), dataset.label[items].bincount()), "as many of each class as before"
assert (dealt[items] != dataset.label[items]).any(), "dealt anew"
others = np.setdiff1d(np.arange(len(dataset.label)), items)
assert torch.equal(dealt[others], dataset.label[others]), "the test side keeps its labels"
for name, one in {"trained": network, "trained on noise": noisy, "never trained": randomise_weights(network)}.items():
    maps = clips.on_grid(attribution_maps(one, *given, "Grad-CAM++")[0])
    print(
        f"{name:16} pointing {pointing_game(maps, clips.masks).mean():.2f}, floor {pointing_chance(clips.masks).mean():.2f}"
    )
print("passed")

# %% [markdown] tags=["solution"]
# One training and a handful of sounds: the three lines are an exhibit and no evidence. Adebayo et al. train until the random
# labels are learnt by heart; look at the last losses to see how near ours has come. Such a network *cannot* know a crackle from
# a wheeze. If it points better than the floor, pointing shows that the picture has something in it, and not that its kind was
# learnt; if it does not, this test is passed.

# %% [markdown]
# **3.** *(hard, 30 minutes)* **HiResCAM** (Draelos and Carin 2020) multiplies each pixel of a layer with its *own* gradient,
# and not with the mean over the layer. Write it. Asked at a layer that only the mean over the map and one linear layer follow,
# the two are the same. Where a ReLU, a pooling or a maximum follows, as in our small CNN, they are not.
#
# ```python
# def hires_cam(network, layer, image, metadata, c):
#     """The map (rows, frames) of one image (1, C, H, W) for the class c: ReLU of the sum of gradient times activation."""
# ```

# %%
# your answer


# %% tags=["solution"]
def hires_cam(network, layer, image, metadata, c):
    """The map (rows, frames) of one image for the class c: ReLU of the sum of gradient times activation."""
    seen = []
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logit = network(image, metadata)[0, c]
    handle.remove()
    gradient = torch.autograd.grad(logit, seen[0])[0]
    return (gradient * seen[0]).sum(dim=1).relu()[0].detach()


# %% [markdown]
# The test of 3:

# %%
torch.manual_seed(0)


class MeanOnly(nn.Module):
    """A network that ends in ReLU, the mean over the map and one linear layer."""

    def __init__(self):
        super().__init__()
        self.layer, self.relu, self.linear = nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Linear(6, 2)

    def forward(self, image, metadata):
        return self.linear(self.relu(self.layer(image)).mean(dim=(2, 3)))


plain, image = MeanOnly(), torch.randn(1, 1, 12, 15)
a, b = (cam(plain, plain.layer, image, None, 1) for cam in (grad_cam, hires_cam))
assert a.shape == b.shape == (10, 13), "a map of the size of the layer"
assert b.min() >= 0, "what speaks against the class is left out"
after_relu = [cam(plain, plain.relu, image, None, 1) for cam in (grad_cam, hires_cam)]
assert torch.allclose(*after_relu, atol=1e-6), "followed by a mean and a linear layer alone, both are the same"
ours_hires = hires_cam(network, layer, clips.features[[0]], clips.metadata[[0]], clips.label[0])
theirs = grad_cam(network, layer, clips.features[[0]], clips.metadata[[0]], clips.label[0])
assert not torch.allclose(ours_hires, theirs), "of our network they differ"
inside = plain.layer(image) > 0
gradient = plain.linear.weight[1][:, None, None] / inside[0, 0].numel()
expected = (gradient * plain.layer(image)[0].relu()).sum(0).relu()
assert torch.allclose(b, expected, atol=1e-6), "each pixel times its own gradient"
print("passed")

# %% [markdown] tags=["solution"]
# Where each pixel of a layer has the same gradient, its own is the mean, and the two maps are one: in the test network after its
# ReLU. Before it the gradient is 0 where the ReLU cuts, and only HiResCAM leaves these pixels out. In the small CNN max pooling
# follows, which passes on one pixel of four, and at the end a maximum of each channel beside the mean: the gradient is large
# at few pixels and 0 at many, and its mean spreads it over the map. Draelos and Carin show that HiResCAM marks only what the
# network used, if nothing but one linear layer, or a mean and one, follows the layer. That does not make it point at the sound.

# %% [markdown]
# **4.** *(medium, 15 minutes)* Ask the network of section 1 what speaks for the *other* sound: crackle maps of wheezes, and wheeze
# maps of crackles (Grad-CAM++, beside the floor). If the pointing game hardly changes, a map shows where there is something, and
# not where there is that sound.

# %% tags=["solution"]
crackle_or_wheeze = clips.label.unique()
swapped = crackle_or_wheeze.sum() - clips.label
for name, label in {"own class": clips.label, "other class": swapped}.items():
    maps = clips.on_grid(attribution_maps(network, clips.features, clips.metadata, label, "Grad-CAM++")[0])
    print(f"{name}: pointing {pointing_game(maps, clips.masks).mean():.2f}", end="; ")
print(f"floor {pointing_chance(clips.masks).mean():.2f}; {len(label)} sounds")

# %% [markdown] tags=["solution"]
# If the second number is near the first, the map shows whatever stands out. If it falls towards the floor, the map depends on the
# class that is asked for, as it should. One training and so few sounds decide nothing. But a map "for crackle" on a wheeze may
# be as convincing to the eye, and a paper that shows maps of the predicted class alone cannot see that.

# %% [markdown]
# **5.** *(medium, 15 minutes)* A cheat returns a map with a single pixel, at the loudest place of the picture. In which of the
# scores of this notebook can it be good, and which exposes it?

# %% tags=["solution"]
loud = level_above_row(clips.features)
single = (loud == loud.max(axis=(1, 2), keepdims=True)).astype(float)
reached = map_scores(clips.on_grid(single), clips.masks)
print({name: round(float(values.mean()), 2) for name, values in reached.items()})
curves = {
    name: deletion(network, *given, order, 10).mean(axis=0)
    for name, order in {"cheat": single, "random": 0 * single}.items()
}
print({name: round(float(np.trapezoid(curve, dx=0.1)), 3) for name, curve in curves.items()}, "area under deletion")

# %% [markdown] tags=["solution"]
# In the pointing game it *is* the loudest pixel. Its moment is at least as good, since only the time has to be right, and its
# energy is lower, for energy has no tolerance: its one pixel lies inside a box or not. Taking one pixel away changes next to
# nothing, and after it the order is random: the deletion curve is that of random order. So a map has to pass both kinds of tests.

# %% [markdown]
# **6.** *(easy, 5 minutes)* A network without dropout is asked a hundred times. What is its mutual information, and why is that
# not a sign of quality?

# %% tags=["solution", "nbval-check-output"]
same = np.repeat([[[0.7, 0.3]]], 100, axis=0)
print(f"without dropout: {abs(mutual_information(same)[0]):.6f}")

# %% [markdown] tags=["solution"]
# It is 0: all passes are the same, and nothing contradicts itself. A clock that stands still is never in doubt either.
# Mutual information tells how much the dropout of *this* network moves its answer, and a network with little dropout, or
# with dropout where it does no harm, looks sure.
