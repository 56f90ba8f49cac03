"""What the abstract, the discussion and the conclusion of the paediatric paper claim, against its tables."""

import math

import numpy as np

from lungnb.published import Checks, exact, near, note, of_kind

TABLES = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"]
COUNTS = ["TP", "TN", "FP", "FN"]
MEANS = ["loss mean", "accuracy mean", "F1 mean"]
GAIN = np.array([-1, 1, 1])  # a smaller loss is better


def claims(t) -> Checks:
    for part in (_headlines, _comparisons, _transfer, _inputs, _positions, _weights, _crops):
        yield from part(t)


def percent_right(row) -> float:
    """Accuracy in percent, from the counts of a row."""
    return float(100 * (row["TP"] + row["TN"]) / row[COUNTS].sum())


def _headlines(t) -> Checks:
    """Accuracies of the abstract and the conclusion, in percent without decimals."""
    text, mpo, mpa = t["text"]["accuracy"], t["table-4"], t["table-5"]
    for group in ("GVA", "POA1"):
        row = mpo.loc[f"{group} | inverse loss"]
        comment = f"{row['TP'] + row['TN']:.0f} of the {row[COUNTS].sum():.0f} patients that Table IV counts."
        yield near(f"Abstract: MPO, {group} (%)", text["abstract | MPO"], percent_right(row), 0.5, comment)
    for row, v in mpa.iterrows():
        seen = "trained on" if row.endswith("GVA") else "unseen"
        comment = f"Its patients were {seen}, and the MPA takes a simple mean, not a weighted one."
        check = near(f"Abstract: MPA, {row} (%)", text["abstract | MPA"], percent_right(v), 0.5, comment)
        yield from of_kind("note", [check])
    for row, good in (("POA1", "alone"), ("GVA -> POA1", "after GVA")):
        comment = f"The model trained on POA {good}."
        said = text["conclusion | POA unseen"]
        yield near(f"Conclusion: unseen patients, {row} (%)", said, percent_right(mpa.loc[row]), 0.5, comment)
    unseen = t["data"].loc[["POA batch 2", "POA batch 3"], "patients"].sum()
    said = t["text"].loc["conclusion | POA unseen", "patients"]
    yield exact("Conclusion: unseen patients of POA", said, unseen, "Batches 2 and 3.")
    for model, v in t["table-6"].iterrows():
        comment = "The conclusion says it of the MPA, and it is the number of the MPO."
        said = text["conclusion | pneumonia against bronchiolitis"]
        yield near(f"Conclusion: pneumonia, {model} (%)", said, percent_right(v), 0.5, comment)
    rows = [mpo.loc[f"{g} | inverse loss"] for g in ("GVA", "POA1")] + [mpa.loc[g] for g in ("GVA", "POA1")]
    lowest, bound = round(min(percent_right(v) for v in rows), 4), t["text"].loc["conclusion", "accuracy above"]
    comment = "The MPA trained on POA1 alone stays below, and only its transfer from GVA passes."
    yield "Conclusion: both models are above it, lowest (%)", bound, lowest, bool(lowest > bound), comment


def _comparisons(t) -> Checks:
    """Which model the discussion calls better; the difference in percentage points."""
    mpo, mpa, pneumonia = t["table-4"], t["table-5"], t["table-6"]
    pairs = (
        ("MPA beats MPO on GVA", mpa.loc["GVA"], mpo.loc["GVA | inverse loss"]),
        ("MPO beats MPA on POA", mpo.loc["POA1 | inverse loss"], mpa.loc["POA1"]),
        ("MPO beats MPA on POA after transfer", mpo.loc["POA1 | inverse loss"], mpa.loc["GVA -> POA1"]),
        ("MPO beats MPA on pneumonia", pneumonia.loc["MPO"], pneumonia.loc["MPA"]),
    )
    for claim, better, worse in pairs:
        points = round(percent_right(better) - percent_right(worse), 4)
        more = int(better[["TP", "TN"]].sum() - worse[["TP", "TN"]].sum())
        comment = f"{more} more of {better[COUNTS].sum():.0f} patients right."
        yield f"Text: {claim} (points)", None, points, bool(points > 0), comment


def _transfer(t) -> Checks:
    """Transfer is said to raise accuracy on POA and not on GVA; Table VII counts patients, Table VIII crops."""
    for number, column, unit in ((7, "accuracy", "patients"), (8, "accuracy mean", "validation crops")):
        values = t[f"table-{number}"][column]
        for row in values.index[values.index.str.contains(" -> ")]:
            target = row.split(" -> ")[1]
            gain = round(100 * (values[row] - values[target]), 4)
            comment = f"In accuracy of {unit} it {'gains' if gain > 0 else 'loses'}."
            if number == 8 and target != "GVA":
                comment = "In the table to which the conclusion points, transfer loses on POA as well."
            helps = "helps" if target != "GVA" else "does not help"
            claim = f"Text: transfer {helps}, {row} by Table {TABLES[number - 1]} (points)"
            yield claim, None, gain, bool((gain > 0) == (target != "GVA")), comment
    first = [" -> " not in row for row in t["table-8"].index[:2]]
    comment = "The second row is a transfer, and the plain models stand in rows 1, 4 and 6."
    said = t["text"].loc["table 8 caption", "rows of plain training"]
    yield exact("Table VIII, caption: plain models in the first rows", said, sum(first), comment)


def _inputs(t) -> Checks:
    """Table II; a row is better in a mean when its loss is smaller, its accuracy or F1 larger."""
    table = t["table-2"][MEANS].astype(float)

    def wins(row, other):
        return int((GAIN * (table.loc[row] - table.loc[other]) > 0).sum())

    for norm in ("sample-wise", "feature-wise"):
        comment = "Loss, accuracy and F1 all get worse."
        yield exact(f"Text: {norm} normalisation is worse", len(MEANS), wins("STFT", f"STFT, {norm}"), comment)
    best = sum((GAIN * table.loc["MEL"] >= GAIN * table).all())
    yield exact("Table II: means in which MEL is best", len(MEANS), best, "Loss, accuracy and F1.")
    won, asked = wins("STFT", "MEL") + wins("STFT", "MFCC"), 2 * len(MEANS)
    comment = "It wins all against MFCC and none against MEL, so the choice of STFT rests on what is not published."
    claim = f"Text: STFT is better in most cases, means of Table II of {asked}"
    yield claim, None, won, bool(won > asked / 2), comment
    for name in MEANS:
        comment = "Perhaps two sets of ten runs, the difference being about a standard error."
        again = t["table-8"].loc["GVA", name]
        yield note(f"Table II, STFT: {name}, against Table VIII, GVA", table.loc["STFT", name], again, comment)


def _by_position(t, where):
    rows = t["table-3"] if where == "III" else t["table-9"].filter(like=where.split()[1], axis=0)
    return rows["loss mean"].astype(float).to_numpy()


def _positions(t) -> Checks:
    said = set(t["text"].loc["MPO positions by loss", ["first", "second"]])
    for where in ("III", "IX GVA", "IX POA"):
        best = {int(i) + 1 for i in np.argsort(_by_position(t, where))[:2]}
        comment = f"The two lowest losses are at positions {' and '.join(map(str, sorted(best)))}."
        check = exact(f"Text: positions of lowest loss, Table {where}", len(said), len(said & best), comment)
        yield from of_kind("contradiction" if where == "III" else "note", [check])  # the sentence speaks of Table III


def _weights(t) -> Checks:
    """Aggregation weighs each position by its inverse loss."""

    def shares(losses):
        return (1 / losses) / (1 / losses).sum()

    losses = _by_position(t, "III")
    weights = shares(losses)
    comment = "All losses doubled give the same weights."
    largest = round(float(weights.max()), 4)
    yield (
        "Inverse loss, Table III: largest weight",
        None,
        largest,
        bool(np.allclose(weights, shares(2 * losses))),
        comment,
    )
    comment = f"A simple mean gives each {1 / len(losses)}, so the weighting hardly changes it."
    yield "Inverse loss, Table III: smallest weight", None, round(float(weights.min()), 4), None, comment
    last = shares(_by_position(t, "IX POA"))[-1]
    coin, loss = round(math.log(2), 4), _by_position(t, "IX POA")[-1]
    comment = f"Worse than a constant half, and the inverse loss still gives it {last:.3f} of the weight."
    yield "Table IX, POA position 8: loss of a coin", loss, coin, None, comment


def _crops(t) -> Checks:
    table = t["table-9"]
    own = table[["accuracy mean", "accuracy sd"]].to_numpy() != table[["F1 mean", "F1 sd"]].to_numpy()
    own = int(own.any(axis=1).sum())
    comment = "In the others F1 repeats accuracy, mean and sd, as it does when pooled over both of two one-hot outputs."
    yield exact("Table IX: rows whose F1 is not the accuracy again", len(table), own, comment)
    pooled = percent_right(t["table-4"].loc["POA1 | mean"]) / 100
    comment = (
        "One position alone is never wrong where all together miss patients, so the test sets can hardly be the same."
    )
    claim = "Table IX, POA position 3: accuracy, beside the MPO's on patients"
    yield claim, table.loc["POA | position 3", "accuracy mean"], round(pooled, 4), None, comment
