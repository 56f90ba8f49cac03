"""Checks of RespireNet (Gairola et al., EMBC 2021), its data set's lists and the training log of its released code."""

import numpy as np
from scipy.signal import butter

from lungnb.published import Checks, exact, mean, near, note, of_kind, printed, wide

CLASSES = ["normal", "crackle", "wheeze", "both"]
DEVICES = ["AKGC417L", "Meditron", "Litt3200", "LittC2SE"]
BASE, CUT, FULL = "CNN", "CNN+CBA+BRC", "CNN+CBA+BRC+FT"
A, B, C = "80-20 4-class", "60-40 4-class", "80-20 2-class"
HALF = 0.05  # the paper prints one decimal of a percentage


def checks() -> Checks:
    tables = {
        name: wide("respirenet", name) for name in ("table-1", "table-2", "table-3", "text", "data", "log", "code")
    }
    for part in (_scores, _gains, _two_class, _band):
        yield from part(tables)
    for part in (_devices, _data, _log, _windows):
        yield from of_kind("inconsistent", part(tables))


def _scores(t) -> Checks:
    for row, sp, se, score in t["table-1"][["Sp", "Se", "Score"]].dropna().itertuples():
        good, bad = (
            "Score is the mean of Sp and Se.",
            "Not the mean of the printed Sp and Se, however they were rounded.",
        )
        yield printed(f"Table I, {row}: Score", score, mean, (sp, se), HALF, good, bad)


def _gains(t) -> Checks:
    """Gains and values that the prose states, against the rows they speak of."""
    score, se, text = t["table-1"]["Score"], t["table-1"]["Se"], t["text"]

    def gain(claim, published, high, low, comment):
        return printed(claim, published, lambda x, y: x - y, (high, low), HALF, comment)

    sota, best_cited = text["difference to SOTA"], "Over the best cited row of this split."
    yield gain(f"Text: over SOTA, {B}", sota[B], score[f"{B} | {FULL}"], score[f"{B} | Ma LungRN+NL"], best_cited)
    yield gain(f"Text: over SOTA, {A}", sota[A], score[f"{A} | {FULL}"], score[f"{A} | Acharya"], best_cited)
    yield gain("Text: CBA+BRC over SOTA", sota["CBA+BRC"], score[f"{A} | {CUT}"], score[f"{A} | Acharya"], best_cited)

    steps = {s: score[f"{s} | {FULL}"] - score[f"{s} | {CUT}"] for s in (A, B, C)}
    comment = f"The step of {A}; it is {steps[B]:.1f} in {B} and {steps[C]:.1f} in {C}."
    stated = text["difference"]
    yield gain("Text: gain of fine-tuning", stated[FULL[4:]], score[f"{A} | {FULL}"], score[f"{A} | {CUT}"], comment)
    rise = round(se[f"{A} | {FULL}"] - se[f"{A} | {CUT}"], 4)
    comment = f"In {A} fine-tuning lowers Se and raises only Sp: the gain lies in the normal class."
    yield note("Text: gain in Se by fine-tuning", None, rise, comment)

    base = score[f"{A} | {BASE}"]
    yield gain(
        "Text: BRC over the base model", stated["BRC"], text["Score"]["BRC"], base, "The score is derived from it."
    )
    comment = "The text and Table I give the same number."
    yield exact("Text: standard augmentation, Score", text["Score"]["standard augmentation"], base, comment)
    yield exact("Text: CBA+BRC, Score", text["Score"]["CBA+BRC"], score[f"{A} | {CUT}"], comment)
    yield exact(f"Text: {C}, Score", text["Score"][C], score[f"{C} | {FULL}"], comment)
    comment = "With CBA and BRC Se rises by less than the text gives CBA alone, so BRC would have to cost Se."
    claim = "Text: gain of CBA in Se, against Table I with CBA and BRC"
    yield from of_kind(
        "note", [gain(claim, text["Se difference"]["CBA"], se[f"{A} | {CUT}"], se[f"{A} | {BASE}"], comment)]
    )
    sp = 2 * (text["Score"]["CBA"] - text["Score"]["standard augmentation"]) - text["Se difference"]["CBA"]
    comment = "Twice the gain in Score less the gain in Se: CBA pays for abnormal cycles with normal ones."
    yield note("Text: gain of CBA in Sp that its Score and Se imply", None, round(sp, 4), comment)

    lengths = t["table-2"]["Score"].astype(float)
    best = lengths.idxmax()
    comment = "The largest Score of Table II."
    yield exact("Text: best cycle length (s)", text["best_s"]["cycle length"], float(best.split()[0]), comment)
    yield exact(f"Table II, {best}: Score", lengths[best], base, "The base CNN of Table I.")


def _two_class(t) -> Checks:
    sp = t["table-1"]["Sp"]
    comment = "Merging the abnormal classes leaves Sp as it is, so the 2-class model is another, trained separately."
    for method in (BASE, CUT, FULL):
        claim = f"Table I, {C} {method}: Sp if it were the 4-class model with classes merged"
        yield note(claim, sp[f"{C} | {method}"], sp[f"{A} | {method}"], comment)


def _devices(t) -> Checks:
    share, gain, data = t["table-3"]["share"], t["table-3"]["gain"], t["data"]
    cycles = data.loc["all cycles", DEVICES]
    yield exact("Table III: shares sum to 100 %", 100, share.sum(), "The four devices are all there are.")
    for device in DEVICES:
        here = 100 * cycles[device] / cycles.sum()
        other = next((d for d in DEVICES if d != device and abs(share[d] - here) <= 0.5), None)
        counted = f"{cycles[device]:.0f} of {cycles.sum():.0f} cycles, {data.loc['all', device]:.0f} recordings"
        agrees = abs(share[device] - here) <= 0.5
        comment = f"{counted}." if agrees else f"{counted}: this share stands in the column of {other}."
        yield near(f"Table III: share of {device} (%)", share[device], here, 0.5, comment)
    overall = t["text"].loc[FULL[4:], "difference"]
    for what, weight in (("its shares", share[DEVICES]), ("the log's test windows", t["log"].loc["test", DEVICES])):
        pooled = float(np.average(gain[DEVICES].astype(float), weights=weight.astype(float)))
        comment = (
            f"{pooled / overall:.1f} times the stated gain; device scores do not pool linearly: a sign and no proof."
        )
        claim = f"Text: overall gain of fine-tuning, from Table III by {what}"
        yield from of_kind("note", [near(claim, overall, pooled, 0.1, comment)])
    few = t["text"].loc["FT, devices with fewer samples", "difference"]
    small = gain[["Litt3200", "LittC2SE"]].mean()
    yield near("Text: gain of devices with fewer samples", few, small, 0.5, "Mean of the two smallest.")
    comment = (
        f"The official test side has no LittC2SE, and the train side has {data.loc['train', 'Litt3200']:.0f} Litt3200."
    )
    tested = int((data.loc["test", DEVICES] > 0).sum())
    yield exact(f"Text: fine-tuned device models that {B} tests", data.loc["all", "devices"], tested, comment)


def _data(t) -> Checks:
    data = t["data"]
    total, train, test = (data.loc[row] for row in ("all", "train", "test"))
    yield exact("Data: cycles by class", total["cycles"], total[CLASSES].sum(), "The classes sum to the total.")
    by_device = data.loc["all cycles", DEVICES].sum()
    yield exact("Data: cycles by device", total["cycles"], by_device, "The devices sum to the total.")
    normal = 100 * total["normal"] / total["cycles"]
    comment = f"{total['normal']:.0f} of {total['cycles']:.0f} cycles."
    yield near("Text: share of normal cycles (%)", t["text"].loc["class share", "normal"], normal, 0.5, comment)
    for side in ("train", "test"):
        row = data.loc[side]
        yield exact(f"Official {side}: cycles", row["cycles"], row[CLASSES].sum(), "The classes sum to the side.")
        yield exact(
            f"Official {side}: recordings", row["recordings"], row[DEVICES].sum(), "The devices sum to the side."
        )
    for what in ("recordings", "cycles", *CLASSES, *DEVICES):
        yield exact(
            f"Official train + test: {what}", total[what], train[what] + test[what], "The sides sum to the total."
        )
    shared = train["patients"] + test["patients"] - total["patients"]
    comment = (
        f"{train['patients']:.0f} + {test['patients']:.0f} patients are more than {total['patients']:.0f}: "
        "the official list splits recordings, not patients."
    )
    disjoint = t["text"].loc["split footnote", "shared patients"]
    yield exact("Footnote 5: patients on both official sides", disjoint, shared, comment)

    folds = data[data.index.str.match(r"fold \d")]
    for fold, row in folds.iterrows():
        yield exact(
            f"Fold list, {fold}: recordings", row["recordings"], row[DEVICES].sum(), "The devices sum to the fold."
        )
    for what in ("recordings", "patients", *DEVICES):
        yield exact(f"Fold list: {what}", total[what], folds[what].sum(), "The folds sum to the total.")
    whole = folds.index[(folds[DEVICES] > 0).all(axis=1)]
    comment = (
        f"Only {', '.join(whole)} has all four, so these five folds come close to leaving one device out at a time."
    )
    yield note("Fold list: folds that hold all four devices", None, len(whole), comment)


def _band(t) -> Checks:
    band = t["text"].loc["band-pass"]
    try:
        butter(int(band["order"]), [band["low_hz"], band["high_hz"]], btype="bandpass", fs=band["resample_hz"])
        possible = True
    except ValueError:
        possible = False
    comment = "At this rate the upper edge is the Nyquist frequency itself, and scipy refuses to design the filter."
    yield (
        "Text: band-pass upper edge lies below Nyquist (Hz)",
        band["high_hz"],
        band["resample_hz"] / 2,
        possible,
        comment,
    )


def _rates(hits, totals) -> dict[str, float]:
    """In percent, from right and all windows by class, normal first."""
    sp, se = 100 * hits[0] / totals[0], 100 * hits[1:].sum() / totals[1:].sum()
    return {"Sp": sp, "Se": se, "Score": mean(sp, se), "accuracy": 100 * hits.sum() / totals.sum()}


def _log(t) -> Checks:
    log = t["log"]
    matrix = log.loc[[f"matrix {c}" for c in CLASSES], CLASSES].to_numpy(dtype=float)
    totals = matrix.sum(axis=1)
    best = _rates(np.diag(matrix), totals)
    for name, value in best.items():
        yield near(f"Log, best epoch: {name} (%)", log.loc["best", name], value, 0.005, "From the confusion matrix.")
    row = t["table-1"].loc[f"{A} | {BASE}"]
    for name in ("Sp", "Se", "Score"):
        comment = (
            "The log's run is one without concatenation (its training windows are the cycles'), chosen by accuracy."
        )
        yield note(f"Table I, {A} {BASE}: {name}, against the log", row[name], round(best[name], 4), comment)
    epochs = log[log.index.str.match(r"epoch \d")][CLASSES].to_numpy(dtype=float)
    late = np.array([_rates(hits, totals)["Score"] for hits in epochs])
    said = log.loc["last 20"]
    comment = f"Standard deviation {late.std(ddof=1):.2f}."
    yield near(f"Log: mean Score of the last {len(late)} epochs (%)", said["Score mean"], late.mean(), 0.005, comment)
    yield near(
        "Log: Score of the last epoch (%)",
        log.loc["last", "Score"],
        late[-1],
        0.005,
        "The score when no epoch is chosen.",
    )
    worth, gained = log.loc["best minus last 20", "Score"], best["Score"] - late.mean()
    comment = (
        "Percentage points of Score won by choosing the epoch on the test fold: more than CBA, BRC and FT together."
    )
    yield from of_kind("note", [near("Log: best epoch over the mean of the last", worth, gained, HALF, comment)])


def _windows(t) -> Checks:
    """A cycle of d seconds gives one window of L seconds and one more for each k >= 0 with d > L + k L / 2."""
    log, lengths = t["log"], t["data"].loc["cycle length"]
    for side in ("train", "test"):
        for kind, columns in (("classes", CLASSES), ("devices", DEVICES)):
            comment = f"The {kind} sum to the side."
            yield exact(
                f"Log, {side}: windows by {kind}", log.loc[side, "windows"], log.loc[side, columns].sum(), comment
            )
    windows = log.loc[["train", "test"], "windows"].sum()
    clips = {
        "released code": t["code"].loc["settings", "clip length_s"],
        "paper": t["text"].loc["cycle length", "best_s"],
    }
    for who, length in clips.items():
        edges = np.arange(length, lengths["max_s"], length / 2)
        extra = sum(int(lengths[f"longer than {edge:g} s"]) for edge in edges)
        comment = (
            f"{length:g} s (the {who}) adds {extra} windows to the cycles; the log has {windows - _cycles(t):.0f} more."
        )
        yield exact(f"Log: windows, if clips last {length:g} s", windows, _cycles(t) + extra, comment)


def _cycles(t):
    return t["data"].loc["all", "cycles"]
