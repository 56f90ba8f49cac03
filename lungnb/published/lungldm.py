"""Checks of LungLDM (Mosuily and Chauhan) and of the figures that surround it (docs/papers/lungldm.md, section 3).

The paper prints few numbers, so many checks ask what a printed one can mean. Where the paper has no number of its own,
`published` is None; where nothing is contradicted but should be known, so is `agrees`.
"""

import math

import numpy as np
from scipy.stats import norm

from lungnb.published import Checks, exact, near, of_kind, wide

HALF = 0.005  # Table 1 and the listening test print two decimals
SYSTEMS = ("AudioLDM", "LungLDM")


def checks() -> Checks:
    tables = {name: wide("lungldm", name) for name in ("table-1", "listening", "text", "reference")}
    for part in (_repeats, _gains, _claims, _listening):
        yield from part(tables)
    for part in (_flat, _training, _sizes, _front_end):
        yield from of_kind("inconsistent", part(tables))
    for part in (_penalty, _bias):
        yield from of_kind("note", part(tables))


def _repeats(t) -> Checks:
    """The introduction quotes the results."""
    for system in SYSTEMS:
        said = t["text"].loc[system]
        for metric, table in (("FAD", "table-1"), ("KL", "table-1"), ("REL", "listening")):
            claim = f"Introduction, {system}: {metric}"
            yield exact(claim, said[metric], t[table].loc[system, metric], "Quoted as in the results.")


def _gains(t) -> Checks:
    known = t["reference"].loc["LungLDM over AudioLDM"]
    results = t["table-1"].join(t["listening"])
    for metric, gain in (results.loc["LungLDM"] - results.loc["AudioLDM"]).items():
        yield near(f"{metric}: LungLDM less AudioLDM (derived)", known[metric], gain, HALF, "From the printed results.")
    share = 100 * known["FAD"] / results.loc["AudioLDM", "FAD"]
    yield near("FAD: LungLDM less AudioLDM (%, derived)", known["FAD (%)"], share, 0.05, "Of the FAD of AudioLDM.")


def _claims(t) -> Checks:
    table, text = t["table-1"], t["text"]
    gain = table.loc["LungLDM"] - table.loc["AudioLDM"]
    better = sum(bool(gain[metric] * sign > 0) for metric, sign in (("FAD", -1), ("KL", -1), ("IS", 1)))
    comment = "IS is the same, and no interval is printed that could make the others significant."
    yield exact("Introduction: LungLDM is better, metrics of Table 1", len(gain), better, comment)
    data = text.loc["data"]
    at_least, all_of_them = data["recordings at least"], data["recordings"]
    yield "Text: over 124k recordings", at_least, all_of_them, bool(all_of_them > at_least), "The count is above it."
    for what in ("data sets", "sound types"):
        left = data[what] - data[f"{what} named"]
        comment = f"The paper names {data[f'{what} named']:.0f} of {data[what]:.0f}."
        yield f"Text: {what} that are not named", None, left, None, comment


def _listening(t) -> Checks:
    test, known = t["text"].loc["listening test"], t["reference"].loc["listening test", "ratings"]
    systems = test[["ground truth files", "AudioLDM files", "LungLDM files"]]
    yield exact("Listening test: files", test["files"], systems.sum(), "The three systems sum to it.")
    product = len(systems) * t["text"].loc["data", "sound types"]
    yield exact("Listening test: systems by sound types", test["files"], product, "One file of each type, presumably.")
    n_files = test["LungLDM files"]
    n_ratings = test["participants"] * n_files
    yield exact("Listening test: ratings of a system (derived)", known, n_ratings, "Participants by its files.")
    said = t["reference"].loc["LungTTA", "REL of EzAudio"]
    comment = "An anonymous related work prints the same number for EzAudio, maybe by chance."
    yield (
        *exact("Listening test: REL of AudioLDM, elsewhere", t["listening"].loc["AudioLDM", "REL"], said, comment),
        "note",
    )
    for scale, gain in (t["listening"].loc["LungLDM"] - t["listening"].loc["AudioLDM"]).items():
        for of, n in (("ratings", n_ratings), ("means of files", n_files)):
            sd = _largest_sd(gain, n)
            comment = f"With {n:.0f} independent ones a system, a larger sd hides the gain of {gain:.2f}."
            yield f"{scale}: largest sd of {of} at which the gain is significant", None, round(sd, 4), None, comment


def _largest_sd(gain: float, n: float) -> float:
    """The sd of two samples of n at which the difference of their means is as large as its two-sided 95 % interval."""
    return gain / norm.ppf(0.975) * math.sqrt(n / 2)


def _flat(t) -> Checks:
    """What IS 1.01 and KL 0.01 mean, and which estimators give numbers of that size (docs/papers/lungldm.md, section
    4)."""
    table, reference = t["table-1"], t["reference"]
    types = t["text"].loc["data", "sound types"]
    for system in SYSTEMS:
        printed = table.loc[system, "IS"]
        comment = f"IS is exp of the information on the clip, at most {types:.0f} for so many types told apart."
        share = 100 * math.log(printed) / math.log(types)
        yield f"Table 1, {system}: information that IS leaves (% of all types)", None, round(share, 4), None, comment
        lowest = reference.loc["LungTTA", "lowest IS"]
        comment = "The lowest PANNs-based one of the related work on such sounds is not flat."
        claim = f"Table 1, {system}: IS as low as with PANNs elsewhere"
        yield claim, printed, lowest, bool(printed >= lowest), comment
        default = reference.loc["Frieren-V2A | default backbone", "IS"]
        comment = "A softmax over hidden activations gives this size; an inference, not a proven error."
        yield near(f"Table 1, {system}: IS, by the tool's default backbone", printed, default, HALF, comment)
        yield from _estimators(system, table.loc[system, "KL"], reference)
    apart = 100 * math.sqrt(table.loc["LungLDM", "KL"] / 2)
    comment = "By Pinsker's inequality, the part of the classifier's probability in which pairs can differ in the mean."
    yield "Table 1, LungLDM: most that KL allows between pairs (%)", None, round(apart, 4), None, comment
    comment = "Well separated types reach a good part of the bound, the number of types."
    separate = reference.loc["softmax over logits", "IS"]
    yield "Simulated types: IS is below its bound", types, separate, bool(1 <= separate <= types), comment


def _estimators(system, printed, reference) -> Checks:
    default = reference.loc["Frieren-V2A | default backbone", "KL"]
    comment = "The same public report; it has the size of one of the two printed KL only."
    yield near(f"Table 1, {system}: KL, by the tool's default backbone", printed, default, HALF, comment)
    low, high = reference.loc["AudioLDM on AudioCaps", ["lowest KL", "highest KL"]]
    comment = f"Between {low} and {high} there, so the two KL entries may come from two estimators."
    claim = f"Table 1, {system}: KL within that of AudioLDM on AudioCaps, middle"
    yield claim, printed, round((low + high) / 2, 4), bool(low <= printed <= high), comment


def _training(t) -> Checks:
    text, reference = t["text"], t["reference"]
    passes = text.loc["training", "steps"] / text.loc["data", "recordings"]
    known = reference.loc["diffusion", ["passes per clip in the batch", "recommended batch"]]
    yield near("Passes over the data, a clip in the batch (derived)", known.iloc[0], passes, 0.05, "Batch not printed.")
    comment = f"With the recommended batch of {known.iloc[1]:.0f}, which the paper does not print."
    yield "Passes over the data", None, round(passes * known.iloc[1], 4), None, comment
    loss = reference.loc["VAE loss"]
    yield exact("AudioLDM: mel cells", loss["mel cells"], loss["mel frames"] * loss["mel bands"], "Frames by bands.")
    weight = loss["KL weight"] / loss["mel cells"]
    comment = "L1 is summed over the mel cells there, and averaged here."
    yield near("AudioLDM: KL weight on mean L1 (derived)", loss["KL weight on mean L1"], weight, 0.5e-4, comment)
    yield near("Recommended KL weight", loss["recommended KL weight"], weight, 0.5e-3, comment)


def _sizes(t) -> Checks:
    """Parameters: what rounds to the printed 96M, and what the parts sum to."""
    reference, million = t["reference"], 1e6
    printed = t["text"].loc["model", "parameters"] / million
    nets = reference.filter(like="U-Net | ", axis=0)
    comment = "Counted without VAE, text encoder and vocoder, which the paper does not say."
    for row, gates in (
        ("paper preset", "SE gates"),
        ("AudioLDM-S", "no gates"),
        ("AudioLDM Flan-T5 as released", "no gates"),
    ):
        count = nets.loc[f"U-Net | {row}", gates] / million
        yield near(f"U-Net, {row}: parameters (M)", printed, count, 0.5, comment)
    counts = nets[["no gates", "SE gates"]].stack().dropna() / million
    alike = (counts - printed).abs() <= 0.5
    comment = f"Of {len(alike)} counted ones, so the size alone does not tell which it is."
    yield "U-Net: counts that round to the printed size", None, alike.sum(), None, comment
    base = nets.loc["U-Net | paper preset", "no gates"]
    width = reference.loc["text encoder | flan-t5-base", "width"]
    for size in ("small", "large"):
        encoder = reference.loc[f"text encoder | flan-t5-{size}", "width"]
        more = nets.loc[f"U-Net | paper preset, flan-t5-{size}", "no gates"] - base
        comment = f"A linear map from {encoder:.0f} to {width:.0f} with its bias."
        yield exact(f"Projection of flan-t5-{size}: parameters", more, (encoder + 1) * width, comment)
    gates = nets["SE gates"] - nets["no gates"]
    same = gates[gates.index.str.startswith("U-Net | paper preset")]
    comment = f"{same.iloc[0]:.0f} parameters of gates, whatever the text encoder."
    yield exact("Paper preset: nets with the same gates", len(same), (same == same.iloc[0]).sum(), comment)
    smoke = reference.loc["smoke preset", ["VAE", "U-Net", "text encoder", "vocoder"]]
    known = reference.loc["smoke preset", "all"]
    yield exact("Smoke preset: parameters", known, smoke.sum(), "Its four parts sum to it.")
    parts = {
        "U-Net": nets.loc["U-Net | paper preset", "SE gates"],
        "VAE": reference.loc["VAE | widths 128, 256, 512", "SE"],
        "text encoder": reference.loc["text encoder | flan-t5-base", "parameters"],
        "vocoder": reference.loc["vocoder", "parameters"],
    }
    comment = "All that the final model runs on, with the base text encoder; 96M can be one part only."
    yield near("Final model: parameters of all parts (M)", printed, sum(parts.values()) / million, 0.5, comment)


def _front_end(t) -> Checks:
    front, latent, vocoder = (t["reference"].loc[row] for row in ("front end", "latent", "vocoder"))
    rate = t["text"].loc["data", "sample_rate_hz"]
    yield exact("Text: sample rate (Hz)", rate, front["sample_rate_hz"], "AudioLDM's as well.")
    seconds = front["frames"] * front["hop"] / rate
    yield near("Clip (s, derived)", front["clip_s"], seconds, HALF, "Frames by hop over the sample rate.")
    ups = vocoder.filter(like="upsampling").prod()
    yield exact("Vocoder: samples of a frame", front["hop"], ups, "Its upsampling factors give the hop.")
    lowest = math.log(front["log floor"])
    yield near("Lowest log-mel (derived)", front["lowest log"], lowest, HALF, "Natural log of the floor.")
    for name, mel, cells in (("frames", "frames", "frames"), ("rows", "mel bands", "rows")):
        comment = "The VAE halves both axes twice."
        yield exact(f"Latent: {name}", latent[cells], front[mel] / 4, comment)


def _penalty(t) -> Checks:
    """Where exp of the L1 norm overflows."""
    v, front = t["reference"].loc["exponential penalty"], t["reference"].loc["front end"]
    yield exact("Penalty: mel cells", v["mel cells"], front["frames"] * front["mel bands"], "Frames by bands.")
    top = math.exp(v["largest difference"])
    yield near(
        "Penalty: exp of the largest difference (derived)",
        v["exp of the largest difference"],
        top,
        0.5,
        "In log-mels as they are.",
    )
    for kind, digits in ((np.float32, 0), (np.float16, 2)):
        limit = math.log(float(np.finfo(kind).max))
        name, cut = np.dtype(kind).name, math.floor(limit * 10**digits) / 10**digits
        comment = f"The log of its largest number is {limit:.4f}."
        agrees = bool(cut <= v[f"{name} limit"] <= round(limit, digits))
        yield f"Penalty: exp overflows {name} above", v[f"{name} limit"], round(limit, 4), agrees, comment
    mean = v["float32 limit"] / v["mel cells"]
    comment = "If the norm is a sum over the mel cells, as the formula reads literally."
    yield "Penalty: mean difference at which the sum overflows (nats)", None, round(mean, 4), None, comment


def _bias(t) -> Checks:
    """How much of the printed gap could be small samples alone: the paper does not say how many clips stand behind a FAD."""
    reference = t["reference"]
    rows = reference.filter(regex=r"^same Gaussian \| ", axis=0)
    gap = -reference.loc["LungLDM over AudioLDM", "FAD"]
    for column in ("FAD against 20,000", "FAD of equal sizes"):
        size = rows.loc[rows[column] > gap, "N"].max()
        comment = f"Up to this N, two samples of one simulated Gaussian are further apart than the gap of {gap:.2f}."
        yield f"{column}: largest N whose bias exceeds the gap of Table 1", None, size, None, comment
    least = reference.loc["same Gaussian", "dimensions"] * reference.loc["FAD-infinity", "least N over dimensions"]
    off = rows.loc[(rows["N"] < least) & rows["FAD-infinity"].notna(), "FAD-infinity"]
    comment = f"Every one below {least:.0f} clips overshoots zero, the true distance."
    yield exact("FAD-infinity: too few clips, below zero", len(off), (off < 0).sum(), comment)
