"""Checks of the upsampling Conv-LSTM paper (Chen and Zhang, 2023) and of the SPRSound counts it rests on."""

import numpy as np

from lungnb.metrics.classification import challenge_score, total_score
from lungnb.published import Checks, exact, fits, harmonic, mean, near, note, of_kind, printed, reachable, wide

EVENTS = ["N", "R", "W", "S", "CC", "FC", "WC"]
HALF = 0.5e-4  # Tables 2 and 3 print four decimals


FORMULAS = {"Eq. (1)": total_score, "(AS+HS)/2": challenge_score}
#: The paper states Eq. (1); the other is the challenge's, which it does not claim to follow.
KIND = {"Eq. (1)": "contradiction", "(AS+HS)/2": "note"}


def checks() -> Checks:
    tables = {name: wide("convlstm", name) for name in ("table-1", "table-2", "table-3", "text", "data", "hits")}
    for part in (_rows, _gains):
        yield from part(tables)
    yield from of_kind("inconsistent", _test_fractions(tables))
    yield from of_kind("note", _validation_fractions(tables))
    yield from of_kind("inconsistent", _counts(tables))


def _rows(t) -> Checks:
    for table in ("table-2", "table-3"):
        for row, v in t[table].iterrows():
            name, rates = f"Table {table[-1]}, {row}", (v["Se"], v["Sp"])
            yield printed(f"{name}: AS", v["AS"], mean, rates, HALF, "Mean of Se and Sp.")
            good, bad = (
                "Harmonic mean of Se and Sp.",
                "Not the harmonic mean of the printed Se and Sp, however they were rounded.",
            )
            yield printed(f"{name}: HS", v["HS"], harmonic, rates, HALF, good, bad)
            yield from _ts(name, v, rates)


def _ts(name, v, rates) -> Checks:
    """TS by both formulas. A misprinted AS or HS goes into TS as printed, so that is tried as well."""
    direct = {f: reachable(v["TS"], FORMULAS[f], rates, HALF) for f in FORMULAS}
    again = {
        "Eq. (1)": reachable(v["TS"], lambda *x: sum(x) / 4, v[["Se", "Sp", "AS", "HS"]], HALF),
        "(AS+HS)/2": reachable(v["TS"], mean, v[["AS", "HS"]], HALF),
    }
    follows = [f for f in FORMULAS if direct[f] or again[f]]
    comment = f"The printed TS follows {' and '.join(follows) or 'neither formula'}"
    if follows and not any(direct.values()):
        comment += ", but only with the misprinted HS"
    for f, formula in FORMULAS.items():
        yield f"{name}: TS by {f}", v["TS"], round(formula(*rates), 4), f in follows, comment + ".", KIND[f]


def _gains(t) -> Checks:
    test = t["table-3"]
    said = test.loc["full", "TS"] - test.loc["ConvLstm", "TS"]
    for f, formula in FORMULAS.items():
        ts = {
            table: np.array([formula(*x) for x in t[table][["Se", "Sp"]].to_numpy()])
            for table in ("table-2", "table-3")
        }
        comment = f"One formula for both rows, {f}; the printed gain takes a different one for each."
        gain, claim = ts["table-3"][-1] - ts["table-3"][-2], f"Table 3: gain of the full model, by {f}"
        yield from of_kind(KIND[f], [near(claim, said, gain, 2 * HALF, comment)])
        for table, values in ts.items():
            rises = np.diff(values) > 0
            falls = [t[table].index[i + 1] for i in np.flatnonzero(~rises)]
            comment = f"TS falls with {', '.join(falls)}." if falls else "It does."
            claim = f"Text: TS rises with every part, Table {table[-1]} by {f}"
            yield from of_kind(KIND[f], [exact(claim, len(rises), rises.sum(), comment)])


def _test_fractions(t) -> Checks:
    test, data = t["table-3"], t["data"]
    for rate, part, column in (("Se", "abnormal", "abnormal"), ("Sp", "normal", "N")):
        total = int(data.loc["test", column])
        for row, value in test[rate].items():
            hits = round(value * total)
            good = fits([value], total, HALF) and hits == t["hits"].loc[row, part]
            comment = f"{hits}/{total} = {hits / total:.4f}: the test set is inter and intra combined."
            yield f"Table 3, {row}: {rate} as a fraction of {total}", t["hits"].loc[row, part], hits, good, comment
    possible = [n for n in range(50, int(data.loc["train", "abnormal"])) if fits(test["Se"], n, HALF)]
    comment = f"From 50 to the size of the training set only {' and '.join(map(str, possible))} fit."
    claim = "Table 3: smallest number of abnormal events that all four Se fit"
    yield exact(claim, data.loc["test", "abnormal"], possible[0], comment)


def _validation_fractions(t) -> Checks:
    """Looks for the validation set: numbers of abnormal and normal events that the four rows could share."""
    table, train = t["table-2"], t["data"].loc["train"]
    abnormal = int(train["abnormal"])
    possible = [n for n in range(50, abnormal + 1) if fits(table["Se"], n, HALF)]
    comment = f"No number up to all {abnormal} does, so the rows do not share one validation set, or hold misprints."
    yield "Table 2: numbers of abnormal events that all four Se fit", None, len(possible), bool(possible), comment
    share = t["text"].loc["split", "validation"] / 100
    low = int(share * train["events"])
    pairs = [
        (n, total - n)
        for total in (low, low + 1)
        for n in range(1, total)
        if fits(table["Se"], n, HALF) and fits(table["Sp"], total - n, HALF)
    ]
    claim = f"Table 2: (abnormal, normal) pairs of {low} or {low + 1} events that all rows fit"
    comment = f"No division of the stated {share:.0%} of the training events gives the four rows."
    yield claim, None, len(pairs), bool(pairs), comment


def _counts(t) -> Checks:
    data = t["data"]
    for event in EVENTS:
        stated, counted = t["table-1"].loc[event, "events"], data.loc["train", event]
        yield exact(f"Table 1: {event}", stated, counted, "Recounted from the annotation files of the training set.")
    for part in ("train", "inter", "intra", "test"):
        row = data.loc[part]
        yield exact(f"Data, {part}: events", row["events"], row[EVENTS].sum(), "The classes sum to the part.")
        yield exact(f"Data, {part}: abnormal", row["abnormal"], row[EVENTS[1:]].sum(), "All classes but N.")
    for what in ("recordings", "patients", "events", "abnormal", *EVENTS):
        summed = data.loc[["inter", "intra"], what].sum()
        yield exact(f"Data, inter + intra: {what}", data.loc["test", what], summed, "They sum to the test set.")
    for what, other in (("recordings", "test"), ("events", "test"), ("patients", "inter")):
        summed = data.loc[["train", other], what].sum()
        yield exact(f"Data, train + {other}: {what}", data.loc["all", what], summed, "They sum to the whole.")
    for row in ("train records", "test records", "train positions", "train sex"):
        part, kind = row.split()
        comment = f"By {kind.rstrip('s')} they sum to the part."
        yield exact(f"Data, {part}: recordings by {kind}", data.loc[part, "recordings"], data.loc[row].sum(), comment)
    intra, share = data.loc["intra"], 100 * data.loc["intra", "events"] / data.loc["test", "events"]
    comment = f"All of the intra part, {share:.0f} % of the test events: report inter and intra apart."
    yield note("Data: test patients who are also in train", None, intra["patients shared with train"], comment)
