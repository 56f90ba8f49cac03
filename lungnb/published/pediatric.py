"""Checks of the paediatric models by position and by patient (Pagnamenta, Chinchaladze and Salimbeni, 2020).

A case is the positive class. Where a claim has no number of its own, `published` is None; where it contradicts nothing but
should be known, so is `agrees`.
"""

import math

from lungnb.published import Checks, exact, mean, near, of_kind, wide
from lungnb.published.pediatric_claims import COUNTS, TABLES, claims, percent_right


def checks() -> Checks:
    names = [*(f"table-{i + 1}" for i in range(len(TABLES))), "text", "data", "code", "reference"]
    tables = {name: wide("pediatric", name) for name in names}
    for part in (_cohort, _lengths, _batches, _matrices, _same_rows, _pneumonia):
        yield from part(tables)
    yield from of_kind("note", _baselines(tables))
    yield from claims(tables)
    for part in (_front_end, _walks):
        yield from of_kind("inconsistent", part(tables))


def _cohort(t) -> Checks:
    data, n = t["data"]["patients"], t["table-1"]["patients"]
    for place in ("GVA", "POA"):
        parts = n[f"{place} cases"] + n[f"{place} controls"]
        yield exact(f"Text: patients of {place}", data[place], parts, "Cases and controls of Table I sum to it.")
    for kind in ("cases", "controls"):
        parts = n[f"GVA {kind}"] + n[f"POA {kind}"]
        yield exact(f"Text: {kind}", t["data"].loc["all", kind], parts, "The two places of Table I sum to it.")
    yield exact("Text: patients", data["all"], n.sum(), "Table I sums to it.")
    diagnosed = data[["bacterial pneumonia", "viral pneumonia", "bronchiolitis", "asthma"]].sum()
    cases = t["data"].loc["all", "cases"]
    comment = f"The four diagnoses leave {cases - diagnosed:.0f} cases without one."
    yield exact("Text: cases by diagnosis", cases, diagnosed, comment)
    split = data[["GVA train", "GVA validation", "GVA test"]].sum()
    yield exact("Text: patients of the GVA split", data["GVA"], split, "Training and validation are all of them.")
    comment = "Its caption speaks of test sets, perhaps the validation patients, whose files the code names test."
    left = data["GVA"] - data["GVA train"] - data["GVA validation"]
    yield "Table IX: GVA patients left for a test", None, left, bool(left > 0), comment


def _lengths(t) -> Checks:
    table = t["table-1"]
    total = table["minutes"].sum()
    comment = f"{total // 60:.0f} h {total % 60:.0f} min of sound in all."
    yield exact("Table I: minutes of all recordings (derived)", t["data"].loc["all", "minutes"], total, comment)
    for row, v in table.iterrows():
        each = v["minutes"] / v["patients"]
        comment = "Minutes over patients."
        yield near(f"Table I, {row}: minutes per patient (derived)", v["minutes per patient"], each, 0.005, comment)
    each = table["minutes"] / table["patients"]
    for place, which in (("GVA", "shorter"), ("POA", "longer")):
        ratio = round(each[f"{place} cases"] / each[f"{place} controls"], 4)
        comment = f"Cases have {which} recordings here, so their length alone could give the label away."
        yield f"Table I, {place}: minutes per patient, cases over controls", None, ratio, None, comment


def _batches(t) -> Checks:
    """The make-up of the batches follows from the test sets: batches 2 and 3, or 1 and 3, of which 3 has cases only."""
    data, n = t["data"], t["table-1"]["patients"]
    third = data.loc["POA batch 3"]
    yield exact("Text: cases of POA batch 3", third["patients"], third["cases"], "It has only cases.")
    for batch, model in ((1, "POA2"), (2, "POA1")):
        tested, row = _tested(t)[model], data.loc[f"POA batch {batch}"]
        cases, controls = tested["cases"] - third["cases"], tested["controls"] - third["controls"]
        comment = f"{cases:.0f} cases and {controls:.0f} controls, the test set of {model} less batch 3."
        yield exact(f"Text: patients of POA batch {batch}", row["patients"], cases + controls, comment)
        yield exact(f"POA batch {batch}: cases (derived)", row["cases"], cases, comment)
        yield exact(f"POA batch {batch}: controls (derived)", row["controls"], controls, comment)
        share = round(100 * cases / (cases + controls), 4)
        comment = "Only roughly, and the two lean to opposite sides."
        claim = f"Text: POA batch {batch} is balanced, share of cases (%)"
        yield claim, None, share, None, comment, "note"
    batches = data.loc[[f"POA batch {i}" for i in (1, 2, 3)]]
    held = data.loc["POA validation"]
    folders = t["code"].loc["POA folders", "batches of cases"]
    comment = "The code has a batch of cases more, and batch 3 is about as large as two others."
    yield *exact("Text: batches of POA cases, by the code", len(batches), folders, comment), "inconsistent"
    comment = "The three batches are all of POA, so nobody is left for the validation set."
    yield exact("Text: patients of POA, batches alone", data.loc["POA", "patients"], batches["patients"].sum(), comment)
    total = batches["patients"].sum() + held["patients"]
    comment = f"With the validation set there are {total - data.loc['POA', 'patients']:.0f} patients too many."
    yield exact("Text: patients of POA, batches and validation", data.loc["POA", "patients"], total, comment)
    for kind in ("cases", "controls"):
        alone = batches[kind].sum()
        other = "more" if alone > n[f"POA {kind}"] else "fewer"
        comment = f"{abs(alone - n[f'POA {kind}']):.0f} {other} than Table I, so the batches cannot be all of POA."
        yield exact(f"Table I: POA {kind}, batches alone", n[f"POA {kind}"], alone, comment)
        both = alone + held[kind]
        comment = "Those of the batches and of the validation set, if half of it is cases."
        yield exact(f"Table I: POA {kind}, batches and validation", n[f"POA {kind}"], both, comment)


def _tested(t) -> dict:
    """Cases and controls of the patients that a model of each training set is tested on."""
    n, pneumonia = t["table-1"]["patients"], t["data"].loc["pneumonia against bronchiolitis"]
    return {
        "GVA": {"cases": n["GVA cases"], "controls": n["GVA controls"]},
        "POA1": t["data"].loc["test of POA1"],
        "POA2": t["data"].loc["test of POA2"],
        "pneumonia": {"cases": pneumonia["pneumonia"], "controls": pneumonia["bronchiolitis"]},
    }


def _matrices(t) -> Checks:
    """Each confusion matrix: its patients, its cases, its controls, its accuracy, its balanced accuracy."""
    for number, half in ((4, 0.005), (5, 0.005), (6, 0.005), (7, 0.5e-4)):
        for row, v in t[f"table-{number}"].iterrows():
            group = "pneumonia" if number == 6 else row.split(" | ")[0].split(" -> ")[-1]
            yield from _matrix(f"Table {TABLES[number - 1]}, {row}", v, _tested(t)[group], half)


def _matrix(name, v, tested, half) -> Checks:
    sums = {"cases": v["TP"] + v["FN"], "controls": v["TN"] + v["FP"]}
    parts = {"patients": (tested["cases"] + tested["controls"], v[COUNTS].sum())}
    parts |= {kind: (tested[kind], sums[kind]) for kind in sums}
    for kind, (known, summed) in parts.items():
        off = summed - known
        comment = f"{abs(off):.0f} too {'many' if off > 0 else 'few'}." if off else "The counts sum to the tested set."
        yield exact(f"{name}: {kind}", known, summed, comment)
    accuracy, right = percent_right(v) / 100, f"{v['TP'] + v['TN']:.0f} of {v[COUNTS].sum():.0f}"
    comment = f"{right}."
    if abs(v["accuracy"] - accuracy) > half and math.floor(100 * accuracy) == round(100 * v["accuracy"]):
        comment = f"{right}, cut off after two digits where the other tables round."
    yield near(f"{name}: accuracy", v["accuracy"], accuracy, half, comment)
    rates = v["TP"] / sums["cases"], v["TN"] / sums["controls"]
    comment = f"Mean of sensitivity {rates[0]:.3f} and specificity {rates[1]:.3f}."
    yield near(f"{name}: balanced accuracy (derived)", v["balanced accuracy"], mean(*rates), 0.5e-4, comment)


def _same_rows(t) -> Checks:
    for row, v in t["table-5"].iterrows():
        same = (v[COUNTS] == t["table-7"].loc[row, COUNTS]).sum()
        yield exact(f"Table V, {row}: counts that Table VII repeats", len(COUNTS), same, "Both print the same model.")


def _pneumonia(t) -> Checks:
    said = t["data"].loc["pneumonia against bronchiolitis"]
    both = said["train"] + said["test"]
    comment = "Training and test are all of them."
    yield exact("Text: patients of pneumonia against bronchiolitis", said["patients"], both, comment)
    code = t["code"].loc["pneumonia against bronchiolitis"]
    for part in ("train", "test"):
        both = code[f"{part} pneumonia"] + code[f"{part} bronchiolitis"]
        yield exact(f"Text: {part} patients of pneumonia, by the code", said[part], both, "Half of each.")
    right = t["table-6"].loc["MPA", ["TP", "TN"]].sum()
    comment = f"All {right:.0f} that are right could be among the {said['train']:.0f} patients trained on."
    least = max(0, right - said["train"])
    yield "Table VI, MPA: fewest test patients that must be right", None, least, None, comment


def _baselines(t) -> Checks:
    """Calling everyone a case."""
    for group in ("GVA", "POA1", "POA2"):
        tested = _tested(t)[group]
        share = tested["cases"] / (tested["cases"] + tested["controls"])
        printed = t["reference"].loc[f"always case | {group}", "accuracy"]
        comment = f"{tested['cases']:.0f} of the {tested['cases'] + tested['controls']:.0f} tested patients are cases."
        yield near(f"Always case, {group}: accuracy (derived)", printed, share, 0.5e-4, comment)
        over = percent_right(t["table-7"].loc[group]) - 100 * share
        comment = "Few controls are tested, so quote the balanced accuracy beside it."
        yield f"Table VII, {group}: accuracy over always case (points)", None, round(over, 4), None, comment


def _front_end(t) -> Checks:
    """Shapes of the inputs; a centred transform of n samples has 1 + n // hop frames."""
    code, sound = t["code"].loc["settings"], t["text"]
    rate = code["sample_rate_hz"]
    yield exact("Text: sample rate (Hz)", sound.loc["recording", "sample_rate_hz"], rate, "The code's as well.")
    yield exact("Text: crop (s)", sound.loc["crops", "length_s"], code["crop_s"], "The code's as well.")
    overlap = 100 * (1 - code["step_s"] / code["crop_s"])
    yield exact("Text: overlap of crops (%)", sound.loc["crops", "overlap"], overlap, "From the code's step.")
    frames = 1 + code["crop_s"] * rate // code["hop"]
    for kind in ("STFT", "mel", "MFCC"):
        shape = t["code"].loc[f"input | {kind}"]
        comment = f"{code['crop_s'] * rate:.0f} samples in hops of {code['hop']:.0f}."
        yield exact(f"Code, {kind}: rows (derived)", shape["rows"], code[f"{kind} rows kept"], "Those that are kept.")
        yield exact(f"Code, {kind}: columns (derived)", shape["columns"], frames, comment)
    width = rate / code["window"]
    printed = t["code"]["highest_hz"]
    comment = f"Rows are {width:.2f} Hz apart."
    last = width * (code["STFT rows kept"] - 1)
    yield near("Code, STFT: last row kept (Hz, derived)", printed["input | STFT"], last, 0.5, comment)
    edge = _mel_to_hz((code["mel rows kept"] + 1) / (code["mel bands"] + 1) * _hz_to_mel(rate / 2))
    comment = "The bands are equally wide on the mel scale up to half the sample rate."
    yield near("Code, mel: edge of the last band kept (Hz, derived)", printed["input | mel"], edge, 0.5, comment)


def _hz_to_mel(hz: float) -> float:
    """Slaney's scale, the library's default, above 1000 Hz."""
    return 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def _mel_to_hz(mel: float) -> float:
    return 1000 * 6.4 ** ((mel - 15) / 27)


def _walks(t) -> Checks:
    """Crops are cut forward from the start and backward from one sample before the end; short ones are dropped."""
    code = t["code"].loc["settings"]
    size, step = (int(code[name] * code["sample_rate_hz"]) for name in ("crop_s", "step_s"))
    for name, v in t["code"].filter(like="crops of", axis=0).iterrows():
        samples = int(v["duration_s"] * code["sample_rate_hz"])
        forward, backward = (len(range(size, length + 1, step)) for length in (samples, samples - 1))
        comment = f"{forward} forward and {backward} backward, each of these one sample off a forward one."
        yield exact(f"Code: {name} (derived)", v["crops"], forward + backward, comment)
