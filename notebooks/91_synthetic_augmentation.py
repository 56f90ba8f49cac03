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
# # Does generated sound make a better classifier?
#
# A notebook across the papers: the sounds of LungLDM (notebook 04), put to the use they are made for.
#
# **The claim.** Recordings of the ill are few. A model that turns sentences into lung sounds can make as many more as one likes, and a classifier that is trained on them as well
# becomes better. LungLDM's paper hopes for it in its last section and tests it nowhere. Here it is tested: same classifier, same budget, same unseen patients.
#
# | What you will do | What you will learn | What you need |
# | --- | --- | --- |
# | train one small classifier on a dozen mixtures of recorded and generated clips | what generated clips are worth, beside the two cheap ways to make more of few clips | notebook 04, read; Python |
# | train on generated, test on recorded | why sounding right to a judge is not enough | no GPU, no download |
# | look for training clips in what was generated, with a control that must be found | how to ask whether a model copies | about a minute, after notebook 04 |
#
# **How to read.** What a *paper* says stands in quotation blocks. "Recorded" clips are those of the data, which in the smoke profile are *simulated* recordings; "generated" ones were made by the diffusion
# model from sentences. Every table says which data it is of. *Nothing here is a diagnosis.*

# %% tags=["parameters"]
profile: str = "smoke"  # smoke (a minute, simulated), laptop (real clips, 15 minutes) or paper (full size, GPU)
data: str = "simulated"  # "simulated", or a folder with icbhi/, sprsound/, ... or any with a manifest.csv
seeds: list[int] = []  # one training of each mixture for each seed; empty: the profile's own
epochs: int = 0  # of each classifier; 0: the profile's own
device: str = "auto"  # auto, cpu or cuda
cluster: str = ""  # "": train here; "local" or "slurm": as a job array
out: str = ""  # folder of the reports; "": reports/ of the repository, or of this folder

# %%
import inspect

import librosa
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Code, Markdown

from lungnb import published

from lungnb.data.prompts import SOUNDS
from lungnb.metrics.classification import evaluate, paired, per_class_recall
from lungnb.metrics.embedding import HELD_OUT, STANDS_OUT, cell_means, memorisation, memorised, nearest_training
from lungnb.metrics.generation import Estimate, adherence, effect, summary
from lungnb.book import Report, check_parameters, comparison, plots, recorded, recorded_from
from lungnb.training.experiment import run_all
from lungnb.classification.augmentation import ALL, MIXTURES, RECORDED, SHARES, changed
from lungnb.classification.augmentation import classes_of, joined, load_augmentation
from lungnb.papers.lungldm import in_batches, matched_references, predict, predict_names

profile, data, seeds, epochs, device, cluster, out = check_parameters(
    "91", profile=profile, data=data, seeds=seeds, epochs=epochs, device=device, cluster=cluster, out=out
)

# %%
experiment, clips = load_augmentation(profile, data, seeds=seeds, epochs=epochs, device=device)
system = experiment.system
report = Report("91_synthetic_augmentation", profile=profile, out=out, corpus=clips)
seconds = system.judge.seconds
Markdown(f"**Data of this build:** {clips.origin_text}; clips of {seconds:g} s. **Seeds:** {experiment.seeds}.")

# %% [markdown]
# ## 1. What is claimed, and what is printed
#
# > **LungLDM, section 5.** This work contributes toward scalable, privacy-respecting training datasets for AI-based respiratory diagnostics.
#
# That is all. No classifier is trained in the paper, so there is *no published number* of it to stand beside ours, and no memorisation check behind "privacy-respecting" either:

# %% tags=["nbval-check-output"]
printed = published.load("lungldm")
own = printed[printed["artefact"] != "reference"]
print("published numbers of LungLDM:", len(own))
print("of a classifier trained on its sounds:", int(own["metric"].str.contains("AUC|accuracy|F1|recall").sum()))

# %% [markdown]
# Others have tried. LungTTA, an anonymous submission with related ideas, gives the AUC of a classifier of COVID coughs, plain, with classic augmentation, and with synthetic coughs:

# %%
others = printed[printed["row"] == "LungTTA | COVID cough"]
report.table(
    "elsewhere",
    others[["row", "metric", "value"]].reset_index(drop=True),
    title="what others report of classifiers trained on generated coughs",
    origin="published",
)

# %% [markdown]
# By the printed values, 0.030 of the 0.037 is to be had without a generator; no interval is printed. Another study (arXiv 2602.02955) saw no gain from three kinds of generators on coughs, except in an ensemble. So the question is not "does it help?" but
# "does it help *more than what costs nothing*?"
#
# ## 2. Few recorded clips
#
# Augmentation is for those who have little. So the classifier is given only *few* recorded clips of each type, and of the adventitious lung sounds, which are the point of listening, fewer still. Another
# seed draws other clips. Everything else stays: the epoch is selected on recorded clips of validation patients, and the test is on recorded clips of patients of whom nothing was trained on.

# %%
run_all([system.judge], cluster or None)
given = system.judge.mels()
types = [name for name in SOUNDS if name in set(given.events["sound"])]
rare = [name for name in types if name in experiment.clips["rare"]]
few = experiment.group(RECORDED)[0].few(given)
sound = given.events["sound"].to_numpy(object)
parts = {"few recorded": sound[few], **{part: sound[given.rows(part)] for part in ("train", "validation", "test")}}
counted = pd.DataFrame({name: pd.Series(part).value_counts() for name, part in parts.items()})
counted = counted.reindex(types).fillna(0).astype(int).rename_axis("type").rename(columns={"train": "all of training"})
report.table(
    "clips",
    counted.reset_index(),
    title="recorded clips by type and part",
    note="few recorded: what a classifier gets with one seed",
)

# %% [markdown]
# ### Who has heard whom?
#
# Here lies the trap of this whole subject. The *generator* was trained too, on many more clips than the classifier is given. If one of its patients were in the test, a generated clip could carry that patient into the
# classifier's training by the back door. The code refuses that; it is also easy to check:

# %%
run_all([system.autoencoder], cluster or None)
run_all([system.diffusion], cluster or None)
run_all(experiment.rounds, cluster or None)

# %% tags=["nbval-check-output"]
of_whom = pd.Series(given.patient)
generator = set(of_whom.iloc[system.diffusion.training_clips(given).numpy()])
asked_of = set(pd.concat([run.predictions for run in experiment.rounds])["clip"])
training_clips = set(given.events["clip"].iloc[given.rows("train").numpy()])
for part in ("validation", "test"):
    print(f"{part} patients whom the generator has heard:", len(generator & set(of_whom[given.part == part])))
print("every prompt is that of a training clip:", asked_of <= training_clips)

# %% [markdown]
# A subtler leak remains, and it cannot be closed, only named. Generated clips bring the classifier *traces of all the clips* that the generator has heard, also of the many which the classifier was not
# given. Who compares "few" with "few and generated" compares little data with much. So one more mixture is needed: *recorded, all that the generator heard*. It is what those clips would have been worth
# if they had been handed over themselves, instead of a model of them.
#
# ## 3. The generated clips
#
# Prompts are whole sentences of training clips. A round is as many generated clips as a classifier has recorded ones, type by type; there are two rounds.

# %%
made = pd.concat([run.predictions for run in experiment.rounds], ignore_index=True)
log_mels = torch.cat([run.log_mels for run in experiment.rounds]).float()
made[["prompt", "predicted"]].groupby(made["sound"]).first().reindex(types).head(5)


# %%
def picture(axes: plt.Axes, log_mel: torch.Tensor, title: str) -> None:
    """One log-mel (1, frames, 64) over time and frequency."""
    plots.mel(axes, log_mel[0].T.float().clamp(min=-9).numpy(), seconds, title, f_max=8000)
    axes.images[0].set_clim(-9, 1.5)
    bands = librosa.mel_frequencies(66, fmin=0, fmax=8000)[1:-1]
    axes.set_yticks(np.interp((500, 1000, 3000), bands, range(64)), ["500", "1000", "3000"])
    axes.set(xlabel="", ylabel="")
    axes.title.set_fontsize(9), axes.tick_params(labelsize=7)
    axes.label_outer()


def gallery(named: dict[str, torch.Tensor], titles: list[str]) -> plt.Figure:
    """A row of pictures for each name: log-mels (columns, 1, frames, 64)."""
    options = {"sharex": True, "sharey": True, "squeeze": False, "layout": "constrained", "dpi": 70}
    shape = (len(named), len(titles))
    fig, axes = plt.subplots(*shape, figsize=(1.35 * shape[1] + 1, 1.25 * shape[0] + 0.7), **options)
    for row, (name, mels) in enumerate(named.items()):
        for k, mel in enumerate(mels):
            picture(axes[row, k], mel, "" if row else titles[k])
        axes[row, 0].set_ylabel(name, fontsize=9)
    fig.supxlabel("time (s)", fontsize=9), fig.supylabel("frequency (Hz)", fontsize=9)
    return fig


# %% [markdown]
# ### Does a classifier hear what was asked?
#
# The judge, a classifier trained on all *recorded* training clips, listens to exactly the generated clips that are used below. Recorded clips of test patients, of the same types, are the ceiling; shuffled prompts are the floor.

# %%
judge = system.judge.trained()
rows = {clip: k for k, clip in enumerate(given.events["clip"])}
source = torch.tensor([rows[clip] for clip in made["clip"]])
control = matched_references(given, source)  # for each, a recorded clip of its type, of a test patient
answer = predict_names(judge, given.log_mel[control])
told = pd.DataFrame(
    {"patient": of_whom.iloc[control.numpy()].to_numpy(), "label": sound[control.numpy()], "predicted": answer}
)
generated = made.rename(columns={"sound": "label"})[["label", "predicted"]]
lines = []
for name, chosen in {"all types": types, "rare types": rare}.items():
    pair = [frame[frame["label"].isin(chosen)] for frame in (generated, told)]
    found = adherence(*pair).drop(columns="n").rename(columns={"accuracy": "ours"}).reset_index(names="metric")
    lines.append(found.replace({"metric": {"real": "recorded"}}).assign(row=name, n_seeds=1))
nothing = published.load("lungldm").head(0)
report.table(
    "adherence",
    comparison(nothing, pd.concat(lines), recorded("synthetic_augmentation-adherence")),
    title="whether the generated clips are heard as what was asked for",
    runs=[*experiment.rounds, system.judge],
    note="share heard as its type; 95 %: Wilson's, over patients for recorded clips, over orders for shuffled prompts",
)

# %% [markdown]
# Where the generated row is near the recorded one, the generator does what it is told. Keep that in mind when you come to section 5: a judge that nods at most clips is *not* a proof that these
# clips teach what recorded ones teach.
#
# ## 4. Three ways to have more clips
#
# * **Generated**: the first 25, 50, 100 or 200 % of the rounds.
# * **Changed**: copies of the few recorded clips, each with one of RespireNet's classic augmentations (noise, speed, loudness, warped frequencies, pitch) and rolled in time.
# * **Joined**: RespireNet's concatenation (CBA): half of one clip and half of another of the same type.
#
# Each needs nothing but the few clips and minutes, save the first, which needs the generator.

# %%
Code(inspect.getsource(changed) + "\n\n" + inspect.getsource(joined), language="python")

# %%
mixed = {added: experiment.group(f"+ 100% {added}")[0] for added in SHARES}
shown = [name for name in ("cough", "vowel a", "normal lung sound", *rare) if name in types]
firsts = {"recorded": [int(np.flatnonzero(sound[few] == name)[0]) for name in shown]}
named = {"recorded": given.log_mel[few[firsts["recorded"]]]}
for added, run in mixed.items():
    mels, of, n = run.mixture(given)
    named[added] = torch.stack([mels[n:][np.flatnonzero(of[n:] == name)[0]] for name in shown])
report.figure(
    "mixtures",
    gallery(named, shown),
    title="a recorded, a generated, a changed and a joined clip",
    runs=experiment.rounds,
    note="the first clip of a type, and the first that is made",
)

# %% [markdown]
# Where the generated row is brighter than the recorded clip, guidance or the VAE may have overdone it; in notebook 04 the VAE alone brightens the same types.
#
# **The same budget.** Every mixture trains the same network for the same number of steps on batches of the same size, in which all types are equally frequent. A mixture with more clips sees each of them
# less often; it does not train longer. Otherwise "more data" would also mean "more training", and we could not tell which of them helped.

# %%
groups = {name: experiment.group(name) for name in MIXTURES}
run_all([run for runs in groups.values() for run in runs], cluster or None)
facts = {name: runs[0].result() for name, runs in groups.items()}
report.table(
    "budget",
    pd.DataFrame({m: f["n_clips"] | {"drawn in training": f["clips_drawn"]} for m, f in facts.items()})
    .T.rename_axis("mixture")
    .reset_index(),
    title="clips and draws of each mixture",
    runs=sum(groups.values(), []),
)

# %% [markdown]
# ## 5. What the classifier gains
#
# All scores are of recorded clips of test patients. Intervals are of 95 % and know patients, who are drawn anew, and seeds; ± is the spread over seeds.

# %%
index = {name: int(classes_of([name])[0]) for name in types}
together = {"rare types": [index[t] for t in rare], "other types": [index[t] for t in types if t not in rare]}
tested = {name: [run.predictions for run in runs] for name, runs in groups.items()}
lines = []
for name, tables in tested.items():
    scores = evaluate(tables).query("metric in ['balanced accuracy', 'macro F1']")
    lines += [scores.assign(row=name)]
    lines += [
        per_class_recall(tables, {k: v for k, v in together.items() if v})
        .rename(columns={"row": "metric"})
        .assign(row=name)
    ]
scored = pd.concat(lines).replace({"metric": {k: f"recall, {k}" for k in together}})
every = sum(groups.values(), [])
report.table(
    "augmentation",
    comparison(nothing, scored, recorded("synthetic_augmentation-augmentation")),
    title="scores of each mixture on recorded clips",
    runs=every,
    note=f"recorded test clips; few recorded clips ({facts[RECORDED]['n_clips']['recorded']}) and what is added; 95 % intervals",
)

# %%
Markdown(recorded_from("synthetic_augmentation-augmentation"))

# %% [markdown]
# Rows are hard to compare by their intervals, since what makes a patient hard makes it hard for every row. So take the *difference* to "recorded", on the same patients, with the same seeds:

# %%
lines = []
for name, tables in tested.items():
    if name != RECORDED:
        gain = paired(tables, tested[RECORDED]).query("metric in ['balanced accuracy', 'macro F1']")
        by_group = per_class_recall(tables, {k: v for k, v in together.items() if v}, tested[RECORDED])
        lines += [gain.assign(row=name), by_group.rename(columns={"row": "metric"}).assign(row=name)]
gains = (
    pd.concat(lines).replace({"metric": {k: f"recall, {k}" for k in together}}).assign(n_seeds=len(experiment.seeds))
)
report.table(
    "gain",
    comparison(nothing, gains, recorded("synthetic_augmentation-gain")),
    title="difference to few recorded clips, on the same patients",
    runs=every,
    note="difference to 'recorded' on the same patients; an interval with 0 in it is no evidence either way",
)

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharex=True, layout="constrained")
for ax, metric in zip(axes, ("balanced accuracy", "recall, rare types")):
    here = gains[gains["metric"] == metric].set_index("row")
    for k, (added, shares) in enumerate(SHARES.items()):
        part = here.reindex([f"+ {share:.0%} {added}" for share in shares])
        at = 100 * np.array([0, *shares]) + 2 * (k - 1)
        low, value, high = (np.array([0, *part[c]]) for c in ("low", "ours", "high"))
        ax.errorbar(
            at, value, [value - low, high - value], fmt="o-", markersize=4, capsize=2, label=added, color=f"C{k}"
        )
    if ALL in here.index:
        ax.axhline(here.loc[ALL, "ours"], linestyle="--", color="0.4", label=ALL)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(title=metric, xlabel="clips added (% of the recorded)", ylabel="gain")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
report.figure(
    "gain-by-share",
    fig,
    title="gain against the share of what is added",
    runs=every,
    note="95 % intervals; the same budget everywhere",
)

# %% [markdown]
# Read the figure in three steps. First the line of the generated clips: does it leave zero by more than its bars, and does it go on rising? Then the other two lines, which cost nothing: who is ahead, and by more
# than the bars? Last the dashed line: what the generator's own training clips would have given. The distance from the generated line up to the dashed one is what was lost by passing a
# model on instead of its data.
#
# ### Type by type

# %%
base = per_class_recall(tested[RECORDED], {name: [k] for name, k in index.items()}).assign(metric="recorded")
lines = [base]
for added in SHARES:
    per_type = per_class_recall(tested[f"+ 200% {added}"], {name: [k] for name, k in index.items()}, tested[RECORDED])
    lines.append(per_type.assign(metric=f"gain, + 200% {added}", n_seeds=len(experiment.seeds)))
by_type = pd.concat(lines).assign(row=lambda x: x["row"] + np.where(x["row"].isin(rare), " (rare)", ""))
report.table(
    "per-class",
    comparison(nothing, by_type, recorded("synthetic_augmentation-per-class")),
    title="gain in recall, type by type",
    runs=every,
    note="recall on recorded test clips, and its gain; 95 % intervals",
)

# %%
fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
order = [*[t for t in types if t not in rare], *rare]
for k, added in enumerate(SHARES):
    here = by_type[by_type["metric"] == f"gain, + 200% {added}"].set_axis(types, axis=0).loc[order]
    error = [here["ours"] - here["low"], here["high"] - here["ours"]]
    ax.errorbar(
        np.arange(len(order)) + 0.2 * (k - 1), here["ours"], error, fmt="o", markersize=4, capsize=2, label=added
    )
ax.axhline(0, color="0.6", linewidth=0.8)
ax.axvspan(len(order) - len(rare) - 0.5, len(order) - 0.5, color="0.93", zorder=0)
ax.set_xticks(range(len(order)), order, rotation=35, ha="right", fontsize=8)
ax.set_ylabel("gain in recall"), ax.legend(fontsize=8)
report.figure("gain-by-type", fig, title="the same as a picture", runs=every, note="200 % added; rare types are shaded")

# %% [markdown]
# One type is some twenty test clips of a dozen patients: most of these bars are wide, and of so many intervals about two would be expected to miss zero by luck alone. The mean over the rare types, in the table above, is the number
# to quote.
#
# ### Train on generated, test on recorded
#
# The hardest test of a generator leaves the recorded clips out altogether. The rows *generated alone* have as many clips as *recorded*, or twice as many. Compare with the judge's nods in section 3.

# %%
alone = gains[gains["metric"] == "balanced accuracy"].set_index("row").filter(like="alone", axis=0)
accuracy = scored[scored["metric"] == "balanced accuracy"].set_index("row")["ours"]
heard_right = float((made["predicted"] == made["sound"]).mean())
print(f"generated clips that the judge, trained on recorded ones, hears as asked: {heard_right:.2f}")
for name, row in alone.iterrows():
    print(
        f"recorded clips that a classifier of {name} hears right: {accuracy[name]:.2f} ({row['ours']:+.2f} to recorded)"
    )

# %% [markdown]
# The two numbers ask opposite questions. The first: do generated clips lie where the recorded ones of their type lie? The second: do they *cover* it? A generator that makes the same typical cough again and
# again would do well by the first and badly by the second. So would one whose clips differ from recorded ones in some other way, such as blur. Guidance may add to this (notebook 04, "Guidance and steps"), but here only one strength was tried.
#
# ## 6. Does it copy?
#
# > **LungLDM, section 5.** [...] privacy-respecting training datasets [...]
#
# For each generated clip the nearest of *all* clips that the generator was trained on. Near compared with what? With a **held-out control**: recorded clips of the same types, of patients whom nobody
# has heard. A generator that copies should come nearer than they do, unless blur hides it. And a test that finds nothing proves nothing unless it *would* have found something, so there are two **positive controls**, copies
# that must be found: training clips sent through the VAE, and training clips with a little noise in every cell.
#
# One thing is easily overlooked. Whatever the generator makes comes out of the *VAE's decoder*, which blurs. If a blurred clip is compared with sharp ones, the blur alone may be a longer way than the one from a stranger to the
# next training clip, and a perfect copy passes for something new. Two remedies. Send training and control clips *through the VAE* too, before anything is compared. And ask not only how near the nearest clip is, but how
# much nearer than the *next* nearest: blur moves a clip away from all others alike, but a copy still has one clip in training from which it is, and may *stand out* by that.

# %%
vae = system.autoencoder.trained()


def blurred(log_mel: torch.Tensor) -> torch.Tensor:
    """Log-mels as they come out of the decoder."""
    with torch.inference_mode():
        return in_batches(vae.reconstruct, log_mel)


trained_on = system.diffusion.training_clips(given)
training, strangers, originals = (given.log_mel[rows].float() for rows in (trained_on, control, source))
noise = 0.5 * torch.randn(originals.shape, generator=torch.Generator().manual_seed(0))
copies = {"copies through the VAE": blurred(originals), "copies with noise": originals + noise}
ways = {"as recorded": lambda x: x, "through the VAE": blurred}
embeddings = {"log-mel": cell_means, "judge": lambda x: predict(judge, x).embedding}
near = {}
for way, send in ways.items():
    sets = {"generated": log_mels} | {name: send(x) for name, x in copies.items()}
    recordings = [send(training), send(strangers)]
    for name, embedding in embeddings.items():
        ends = [embedding(x) for x in recordings]
        near[f"{name}, {way}"] = nearest_training(*ends, {k: embedding(x) for k, x in sets.items()})

# %%
found = pd.concat(memorisation(n).assign(row=lambda x, name=name: f"{name} | " + x["row"]) for name, n in near.items())
report.table(
    "memorisation",
    comparison(nothing, found.assign(n_seeds=1), recorded("synthetic_augmentation-memorisation")),
    title="how near generated clips come to training clips, with controls",
    runs=[*experiment.rounds, system.judge],
    note=f"distance to the nearest of {len(training):,} training clips: of log-mels over 4 x 4 cells, and in the judge's embedding",
)

# %%
shares = found.pivot(index="row", columns="metric", values="ours")
tests = {"nearness": "nearer than 5 % of held-out", "standing out": STANDS_OUT}
caught = shares.filter(like="copies", axis=0)[[*tests.values()]].set_axis([*tests], axis=1)
print("share of the copies that is found, where 5 % of strangers are:")
print(caught.map("{:.0%}".format).rename_axis(index=None, columns=None).to_string())

# %% tags=["nbval-check-output"]
best = caught.filter(like="log-mel, through the VAE", axis=0)["standing out"]
print("log-mels through the VAE: five times as many copies as strangers stand out:", bool((best >= 0.25).all()))

# %%
fig, axes = plt.subplots(2, 2, figsize=(10, 5), layout="constrained")
for ax, (name, n) in zip(axes.T.flat, near.items()):
    bins = np.linspace(0, n["distance"].quantile(0.98), 40)
    for k, (of, group) in enumerate(n.groupby("clips", sort=False)):
        line = (
            {"histtype": "step", "linewidth": 2, "color": "0.2"} if of == HELD_OUT else {"alpha": 0.5, "color": f"C{k}"}
        )
        ax.hist(group["distance"], bins, label=of, **line)
    ax.set(title=name, xlabel="distance to the nearest training clip", ylabel="clips")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
report.figure("distances", fig, title="distances to the nearest training clip", runs=experiment.rounds)

# %% [markdown]
# Look at the copies first: where they are not found, nothing that is said of the generated clips counts. Beware of the judge's embedding, too: it was *trained* on these clips to see nothing but their type, so it tells
# clips of a type apart badly, on purpose. The row to trust most is the one that finds most of both kinds of copies; what it misses of them, it may miss of generated clips. And look at the suspects yourself:

# %%
suspects = near["log-mel, through the VAE"].query("clips == 'generated'").nsmallest(min(6, len(made)), "ratio")
pairs = {
    "generated": log_mels[suspects["place"].to_numpy().copy()],
    "nearest in training": blurred(training[suspects["nearest"].to_numpy().copy()]),
}
report.figure(
    "nearest",
    gallery(pairs, [made["sound"][k] for k in suspects["place"]]),
    title="the nearest pairs",
    runs=experiment.rounds,
    note="the six generated clips that stand out most; the training clip is shown through the VAE",
)

# %% [markdown]
# Copies would have onsets and clicks at the same places. What pairs like these share, as a rule, is their type and its place in the clip. That is weak evidence, and it is about a small model trained
# briefly; a model of 96 million weights has room to remember.
#
# ## 7. The finding
#
# In three sentences, put together from the intervals above by the cell below: build it on other data, and it says what they say.

# %%
at = gains.set_index(["row", "metric"])[["ours", "low", "high"]]


def interval(row: str, metric: str = "balanced accuracy") -> Estimate:
    return Estimate(*at.loc[(row, metric)])


called = {
    "generated": "twice as many generated clips",
    "changed": "classic augmentation",
    "joined": "concatenation (CBA)",
}
most = {added: f"+ 200% {added}" for added in SHARES}


def between(one: str, other: str) -> Estimate:
    """The difference in balanced accuracy of two mixtures, on the same patients."""
    return Estimate(
        *paired(tested[one], tested[other]).set_index("metric").loc["balanced accuracy", ["ours", "low", "high"]]
    )


# %%
most_of_rare = interval(most["generated"], "recall, rare types" if rare else "balanced accuracy")
more = {"recall of rare types": most_of_rare, "alone": interval("generated alone, 100%")}
more |= {"everything": interval(ALL), "left": between(ALL, most["generated"])}
words = summary(
    clips.origin,
    {called[added]: interval(row) for added, row in most.items()},
    {called[added]: between(most["generated"], row) for added, row in most.items() if added != "generated"},
    more,
)
copies = memorised(found, "log-mel, through the VAE | generated")
Markdown(
    f"**Finding.** {words} A judge hears {heard_right:.0%} of the generated clips as what was asked, and {copies}."
)

# %% [markdown]
# **How firm is it?** Not very, and you should know how we know. The mixtures, the scores, the patients and the equal budget were fixed before anything was seen. Then, while this notebook was written, the headline was moved to the largest share
# (200 %), because 100 % had shown next to nothing, and section 6 was changed, because its first form did not find the copies that it must find. In an earlier build (commit `64e7356`), with a generator trained for longer, 200 % seemed to help,
# by an interval that knew patients but not seeds; for this build look at the line above. And with another schedule of the same classifier it was 100 % that seemed to help. An effect that comes and goes with such choices is a hint for another
# seed and another data set, not a result; exercise 2 counts the looks.
#
# What the finding does *not* say: anything about 96 million weights, about real patients where the data are simulated, or about a generator trained on nothing but the few clips. That last one is the experiment which would
# separate "the generator knows how sounds vary" from "the generator has heard more sounds"; it needs a generator for every seed (exercise 5).
#
# ## Exercises
#
# Each solution is a cell tagged `solution`; `lungnb student` writes a copy of this notebook without them.
#
# **1.** *(easy, 5 minutes)* A mixture of 100 recorded clips and 200 generated ones, 3,200 draws in training. How often is a recorded clip drawn on average, and how often without the generated ones?

# %% tags=["solution", "nbval-check-output"]
for n_generated in (200, 0):
    print(f"{n_generated} generated: each recorded clip is drawn {3200 / (100 + n_generated):.1f} times")

# %% [markdown]
# **2.** *(easy, 5 minutes)* How many of the intervals in *gain* exclude 0, and how many would by luck alone if nothing had any effect?

# %% tags=["solution"]
outside = ((gains["low"] > 0) | (gains["high"] < 0)).sum()
print(f"{outside} of {len(gains)}; by luck about {0.05 * len(gains):.0f}, if they were independent, which they are not")

# %% [markdown]
# **3.** *(medium, 10 minutes)* Of 200 generated clips 16 lie nearer to training than the 5th percentile of the control. Is that suspicious?

# %% tags=["solution", "nbval-check-output"]
from scipy.stats import binomtest

test = binomtest(16, 200, 0.05)
low, high = test.proportion_ci(method="wilson")
print(f"{16 / 200:.2f} [{low:.3f}, {high:.3f}] where 0.05 is expected; p = {test.pvalue:.2f}")

# %% [markdown]
# **4.** *(hard, 15 minutes)* Does a type gain more if its generated clips are heard as asked? Correlate the adherence of each type with its gain at 200 %. How many types would you need to believe it?

# %% tags=["solution"]
per_type = (made["predicted"] == made["sound"]).groupby(made["sound"]).mean().reindex(types)
gained = by_type[by_type["metric"] == "gain, + 200% generated"].set_axis(types, axis=0)["ours"]
r = np.corrcoef(per_type, gained)[0, 1] if per_type.std() and gained.std() else float("nan")
print(
    f"correlation {r:+.2f} over {len(types)} types: with so few, anything within about ±{2 / np.sqrt(len(types)):.1f} is noise"
)

# %% [markdown]
# **5.** *(medium, 15 minutes)* Write down, in words, a fair test for somebody who has *only* the few clips. What has to be trained anew, on what, and what would the dashed line of the figure then be?
#
# **6.** *(easy, 5 minutes)* `effect` reads an interval. Which three things can it say, and which of them is not the same as "has no effect"?

# %% tags=["solution", "nbval-check-output"]
for low, high in ((0.01, 0.05), (-0.02, 0.03), (-0.05, -0.01)):
    print((low, high), effect(Estimate((low + high) / 2, low, high)))
