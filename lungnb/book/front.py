"""The front door: what README.md and docs/figures/ show, made from recorded predictions, published numbers and stored notebooks.

    write()          make it anew (`lungnb verify --write`)
    differences()    what of it no longer follows; `lungnb verify` prints it

A generated part of README.md stands between `<!-- NAME -->` and `<!-- end -->`.
"""

import base64
import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
from PIL import Image

from lungnb import published
from lungnb.book import notebooks, plots, recorded
from lungnb.book.notebooks import root
from lungnb.book.ranking import on_file, printed_scores, ranking
from lungnb.book.sentences import difference, value
from lungnb.core import UserError, atomic_file
from lungnb.data import DATASETS
from lungnb.data.prompts import corpora
from lungnb.metrics.classification import average_score, biocas_scores, paired_many, score_rows

_BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.S)
#: The figures of the gallery: notebook and artefact -> what is to be seen there. All are small, and none shows a simulated score.
GALLERY = {
    ("01_respirenet", "tricks"): "what each step is worth (recorded, real in part)",
    ("02_convlstm", "confusion"): "which sounds are taken for which (recorded, real)",
    ("02_convlstm", "calibration"): "how sure a network may be (recorded, real)",
    ("03_pediatric", "mean-spectrum"): "two clinics that sound different (simulated)",
    ("04_lungldm", "film"): "what the network takes for the sound, from noise on (recorded, real in part)",
    ("90_compare_classifiers", "forest"): "which model is better, on the same patients (recorded, real in part)",
}

#: AS on its own training sounds from which on something is concluded of a network, as in notebook 90.
LEARNT = 0.9

#: The networks of the picture at the head of the README, in the paper's order, and how they are called there.
MODELS = {"CNN": "plain CNN", "Upsampling CNN": "+ upsampling", "ConvLstm": "+ LSTM", "full": "+ metadata"}
#: Its settings, likewise.
SERIES = {"published": "published", "paper": "paper: as literally as it can be read"}
SERIES |= {"fair": "fair: its input, trained longer", "best": "best: another input"}


def headlines() -> list[str]:
    """What recorded and published numbers say that a reader may not expect, each with the place to read on."""
    entries, audits = published.ledger(), pd.concat(map(published.audit, published.PAPERS))
    chosen, score = entries["epoch_on_test"].isin(["yes", "no"]), entries["Score"].astype(float)
    clean = entries[["epoch_on_test", "shared_patients", "random_split"]].eq("no").all(axis=1)
    highest = entries.loc[score[clean].idxmax()]
    claims = audits[audits["kind"] != "note"]
    failed = claims[claims["agrees"].eq(False)]["kind"].value_counts()
    footnote = claims[claims["claim"].str.startswith("Footnote 5")].iloc[0]
    said = [
        "**Where it can be read, most ICBHI scores chose their epoch on the test part.** Of "
        f"{len(entries)} published four-class Scores it can be read for {chosen.sum()} how the epoch was chosen, and "
        f"{entries['epoch_on_test'].eq('yes').sum()} report the epoch that is best on the part they test. Scores reach "
        f"{score.max():.1f}; the highest known to choose its epoch elsewhere, with no patient on both sides, is "
        f"{highest['Score']} ({highest['venue']}: {highest['note'][0].lower()}{highest['note'][1:].rstrip('.')}). It stands in "
        "[the ledger](lungnb/published/ledger.csv).",
        f"**Printed numbers can be checked by arithmetic.** Of {len(claims)} checks of the four papers {failed['contradiction']} "
        f"contradict the same paper and {failed['inconsistent']} its code or data. A footnote of RespireNet says that "
        f"{footnote['published']:.0f} patients stand on both sides of the official split; {footnote['recomputed']:.0f} do "
        "([notebook 01, *Splits, and a footnote that does not hold*](notebooks/01_respirenet.ipynb)).",
    ]
    said[1:1] = [_leak()] if "comparison/icbhi" in on_file() else []
    said[1:1] = [_staircase()] if "convlstm/sprsound-event" in on_file() else []
    return said


def _leak() -> str:
    """What it is worth to meet the patients in training, to networks of notebook 90 that have learnt their training sounds."""
    name, end = "comparison/icbhi", ", leaky split"
    tables, fit = recorded.by_row(recorded.predictions(name)), recorded.training(name).groupby("row")["AS"].mean()
    able = [row for row in tables if row + end in tables and fit[[row, row + end]].min() >= LEARNT]
    gains = paired_many({row: (tables[row + end], tables[row]) for row in able}, "AS")
    gains = {row: gain for row, gain in gains.items() if gain["p"] < 0.05}
    points = [round(100 * gain["ours"]) for gain in gains.values()]
    worth = f"{min(points)} to {max(points)} points" if points else "nothing that can be told"
    each = [f"{row} {gain['ours']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]" for row, gain in gains.items()]
    return (
        f"**To meet the patients in training is worth {worth}.** On the recordings of ICBHI that we have, {len(gains)} of "
        f"{len(able)} networks that have learnt their training sounds surely gain AS on the same sounds when cycles, and not "
        f"patients, are dealt into train and test: "
        f"{'; '.join(each)} ([notebook 90, *5. What leakage is worth*](notebooks/90_compare_classifiers.ipynb))."
    )


def _staircase() -> str:
    """The finding of notebook 02, from the predictions of its experiment."""
    frame, printed = recorded.predictions("convlstm/sprsound-event"), published.load("convlstm", "table-3")
    printed = printed.query("metric == 'Score'").set_index("row")["printed"]  # derived, all four
    tables = recorded.by_row(frame)
    fit = recorded.training("convlstm/sprsound-event").groupby("row")["AS"].mean()
    short = "; neither fits its own training events yet" if fit[["paper CNN", "paper full"]].max() < LEARNT else ""
    plain, literal, whole = (value(_score(tables[row])) for row in ("best CNN", "paper CNN", "paper full"))
    rows = {f"best {model}": "best CNN" for model in printed.index[1:]} | {"best full, no metadata": "best full"}
    gains = paired_many({row: (tables.get(row, []), tables[other]) for row, other in rows.items()}, "Score")
    apart = [difference(row, rows[row], gain) for row, gain in gains.items() if gain["p"] < 0.05]
    said = "; ".join(apart) or (
        f"none of the {len(gains) - 1} others can be told from it, nor the full one from itself without its metadata"
    )
    return (
        f"**Four networks, {'another' if apart else 'no'} staircase.** On SPRSound the Conv-LSTM paper climbs from a Score of "
        f"{printed['CNN']} (plain CNN) to {printed['full']} (upsampling, LSTM, metadata), by its printed Se and Sp. Trained as "
        "well as we can, on events stretched to the picture (found with test scores in sight), the plain CNN has "
        f"{plain}; {said}. "
        f"In the paper's own setting, read as literally as its text allows, the plain CNN has {literal}, the full one {whole}"
        f"{short} ([notebook 02, *What the same networks can do*](notebooks/02_convlstm.ipynb))."
    )


def _score(tables: list[pd.DataFrame]) -> pd.Series:
    return score_rows("", tables, biocas_scores, 1).set_index("metric").loc["Score"]


def results() -> str:
    """Recorded experiments in Markdown: a table of what the paper prints and what was recorded, then what can be told apart."""
    rows = ranking().query("source == 'recorded'")
    printed = pd.concat({name: printed_scores(name) for name in rows["experiment"].unique()})
    names = [(name, row) for name, row in rows[["experiment", "model"]].to_numpy()]
    known = printed["text"].to_dict()
    known = [known.get(key, known.get((key[0], key[1].partition(" ")[2]), "")) for key in names]
    rows = rows.assign(printed=known)
    honest = rows[rows["epoch_on_test"] != "yes"]
    best = honest.index[~honest.duplicated("task")]
    rows = rows[rows.index.isin(best) | (rows["printed"] != "")]
    lines = ["| task | setting | published | ours | 95 % interval | seeds | patients | data |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for line in rows.to_dict("records"):
        ends = "too few" if pd.isna(line["low"]) else f"{line['low']:.3f} to {line['high']:.3f}"
        patients = f"{line['n_patients']:.0f} of {line['n_all']:.0f}"
        cells = [line["task"], line["model"].replace(" | ", ", "), line["printed"], f"{line['score']:.3f}", ends]
        lines.append(
            f"| {' | '.join([*cells, str(int(line['n_seeds'])), patients, line['data'].partition(' (')[0]])} |"
        )
    compared = rows[rows["verdict"] != ""]
    compared = compared["task"].str.partition(",")[0] + ": " + compared["verdict"]
    partial = rows.loc[rows["task"].str.startswith("ICBHI in part"), "data"].unique()
    said = [
        f"ICBHI in part: {data}. *Normal* to every cycle has a Score of {average_score(0, 1):.3f}." for data in partial
    ]
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in [*compared, *said])])


def data() -> str:
    """The data sets that are read here, as a table in Markdown."""
    known = corpora()
    rows = known.loc[[name for name in known.index if name in DATASETS]]
    lines = ["| data set | access | licence | size | where from |", "| --- | --- | --- | --- | --- |"]
    columns = ["name", "access", "licence", "holds", "where"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows[columns].to_numpy())])


def gallery() -> str:
    """The figures of `GALLERY` as a table in Markdown, two a row: three are too small to read."""
    cells = [
        f"[![{said}](docs/figures/{book[:2]}-{name}.png)](notebooks/{book}.ipynb)<br>{book[:2]}: {said}"
        for (book, name), said in GALLERY.items()
    ]
    rows = [f"| {' | '.join(cells[k : k + 2])} |" for k in range(0, len(cells), 2)]
    return "\n".join([rows[0], "| --- | --- |", *rows[1:]])


BLOCKS = {
    "findings": lambda: "\n".join(
        textwrap.fill(f"{k}. {text}", 130, subsequent_indent="   ", break_long_words=False, break_on_hyphens=False)
        for k, text in enumerate(headlines(), start=1)
    ),
    "results": results,
    "gallery": gallery,
    "data": data,
}


def readme(text: str) -> str:
    """`text` of the README with its generated parts as they are now. Raises UserError for a part that nothing makes."""

    def made(found: re.Match) -> str:
        if found[2] not in BLOCKS:
            raise UserError(f"README.md: nothing makes the part {found[2]!r}; known are {', '.join(BLOCKS)}.")
        return f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}"

    return _BLOCK.sub(made, text)


def pictures() -> dict[str, bytes]:
    """The figures of the gallery, file name -> PNG, as the stored notebooks show them."""
    found = {}
    for book in dict.fromkeys(book for book, _ in GALLERY):
        for cell in nbformat.read(notebooks.folder() / f"{book}.ipynb", as_version=4).cells:
            for output in cell.get("outputs", []):
                if (book, name := notebooks.artefact(output)) in GALLERY:
                    found[f"{book[:2]}-{name}.png"] = base64.b64decode(output["data"]["image/png"])
    return found


def front() -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the picture at the head of the README is drawn from: the Conv-LSTM task, and the ledger with what is known of
    each protocol (`kind`)."""
    table, ledger = ranking(), published.ledger()
    kind = ledger["epoch_on_test"].map({"yes": "epoch chosen on the test part", "no": "epoch chosen elsewhere"})
    kind = kind.mask(ledger["random_split"] == "yes", "and patients on both sides at random").fillna("not known")
    clean = ledger[["shared_patients", "random_split"]].eq("no").all(axis=1)
    kind = kind.mask((kind == "epoch chosen elsewhere") & ~clean, "elsewhere, patients on both sides")
    own = table[table.get("experiment", "") == "convlstm/sprsound-event"]
    names = own["model"].where(own["source"] == "recorded", "published " + own["model"]).str.partition(" ")
    own = own.assign(series=names[0], row=names[2], value=own["score"])
    own = own[own["row"].isin(MODELS)].sort_values(
        ["series", "row"], key=lambda names: names.map([*SERIES, *MODELS].index)
    )
    return own[["row", "series", "value", "low", "high"]], ledger[["year", "Score"]].astype(float).assign(kind=kind)


def draw(target: Path) -> None:
    """Draw `front` into the PNG `target`, which carries the numbers that it shows."""
    own, ledger = front()
    colours = {
        "epoch chosen on the test part": "C3",
        "and patients on both sides at random": "black",
        "not known": "0.75",
    }
    colours |= {"epoch chosen elsewhere": "C5", "elsewhere, patients on both sides": "C4"}
    with plt.style.context("lungnb.book.style"):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6))
        plots.dots(
            left, own.assign(series=own["series"].map(SERIES)), MODELS, "Score; lines: 95 % over seeds and children"
        )
        left.set_yticks(range(len(MODELS)), MODELS.values())
        left.set(title="Four networks on SPRSound")
        left.legend(loc="lower center", bbox_to_anchor=(0.4, 1.08), ncols=2, fontsize=7.5)
        for kind, colour in colours.items():
            part = ledger[ledger["kind"] == kind]
            right.plot(part["year"], part["Score"], "o", color=colour, label=kind, markersize=6)
        right.set(title=f"{len(ledger)} published Scores on ICBHI, four classes", ylabel="Score (%)")
        right.xaxis.get_major_locator().set_params(integer=True)
        right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.08), ncols=2, fontsize=7.5)
        with atomic_file(target) as path:
            figure.savefig(path, format="png", dpi=100, metadata={"Description": _numbers()})
        plt.close(figure)


def _numbers() -> str:
    return "\n".join(table.round(4).to_csv(index=False) for table in front())


def write() -> None:
    """Write the generated parts of README.md and the pictures of docs/figures/ anew."""
    folder = root() / "docs" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, png in pictures().items():
        (folder / name).write_bytes(png)
    draw(folder / "front.png")
    text = (root() / "README.md").read_text(encoding="utf-8")
    with atomic_file(root() / "README.md") as path:
        path.write_text(readme(text), encoding="utf-8")


def differences() -> list[str]:
    """Which generated parts of README.md and which pictures are not what today's numbers and notebooks make of them, a
    sentence each."""
    text, folder = (root() / "README.md").read_text(encoding="utf-8"), root() / "docs" / "figures"
    there, made = ({m[2]: m[0] for m in _BLOCK.finditer(t)} for t in (text, readme(text)))
    stale = [f"README.md: the part {name!r}" for name in BLOCKS if name not in there or there[name] != made[name]]
    for name, png in pictures().items():
        if not (folder / name).is_file() or (folder / name).read_bytes() != png:
            stale.append(f"docs/figures/{name}")
    picture = folder / "front.png"
    if not picture.is_file() or Image.open(picture).text.get("Description") != _numbers():
        stale.append("docs/figures/front.png")
    return [f"{what} is not what the numbers on file make; write it with `lungnb verify --write`." for what in stale]
