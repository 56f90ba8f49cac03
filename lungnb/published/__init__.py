"""Every number of the four papers as tables, and what of it can be recomputed: does it add up?

`load` and `wide` read one CSV a paper, with columns `paper, artefact, row, metric, value, printed, source, note`. `artefact` is
`table-1`, `table-2`, ... as the paper numbers them, `text` for numbers of its prose, `data` for facts of the data set,
`listening` for LungLDM's listening test, and for what surrounds a paper: `readme`, `code`, `log`, `hits` and `reference`.
`source` says who stands behind a number; only `paper` is published:

    paper     printed in the paper
    derived   follows from what is printed
    code      released code, its logs, files of the data set, other publications
    ours      counted or recommended by us

`audit` recomputes what can be recomputed, `disagreements` shows what does not agree. Each check is of one kind:

    contradiction   the paper against itself, by printed numbers alone
    inconsistent    the paper against its code or its data
    note            nothing that the authors claim: a remark, a question, a count or a derived number of ours

What is checked stands in one sheet a paper, <paper>.yaml. Like the cells of a spreadsheet its entries hold formulas, in Python:
of the paper's tables (`table_1`, `text`, `data`, each as `wide` reads it), of the sheet's `definitions`, and of what
`lungnb.published.formulas` offers. A check has

    claim        what is said, its {formulas} filled in
    published    the printed number; without one there is nothing to compare with
    recomputed   what it should be; or `formula` with the printed numbers `of` which it is to be taken
    within       half a unit of the last printed digit, or what else may lie between the two; without it they have to be equal
    agrees       the verdict, if it is another than this comparison; None for no verdict
    comment      one sentence; `otherwise` is the one for a check that does not agree
    finding      what checks that fail for one reason have in common; the claim itself if none is given
    answer       one sentence: what the authors could answer where the check does not agree
    each         `names in iterable`: one check for each of these; let: more names
    kind         "contradiction" if none is given

and `checks` in place of these is a group of checks, to which `each`, `let`, `finding`, `answer` and `kind` apply alike.

`ledger` is apart from the four papers: four-class scores on ICBHI by many authors, each with what its protocol is known to be.
"""

import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lungnb.core import UserError
from lungnb.published import formulas
from lungnb.published.formulas import near, reachable

PAPERS = ["respirenet", "convlstm", "pediatric", "lungldm"]
KINDS = ["contradiction", "inconsistent", "note"]
FLAGS = ["epoch_on_test", "shared_patients", "random_split", "other_se"]
ANSWER = "what the authors could answer"
_FOLDER = Path(__file__).parent
_COLUMNS = ["paper", "artefact", "row", "metric", "value", "source", "note"]
_TYPES = {
    "claim": "string",
    "published": "Float64",
    "recomputed": "Float64",
    "agrees": "boolean",
    "comment": "string",
    "kind": "string",
    "finding": "string",
    "answer": "string",
}
_INHERITED = ("kind", "finding", "answer")


def ledger() -> pd.DataFrame:
    """Four-class scores on ICBHI 2017 as their authors or later tables print them, one a row, by year; all as text, "" for a gap.

    entry        name of the row; authors, year, venue and method say what it is
    split        `official 60-40`, `80-20`, `patient-wise`, `random by recording`, `random by cycle`, or `not read`
    Se, Sp, Score   percent, with all printed digits; `score_source` says where they are printed
    FLAGS        each `yes`, `no`, `not said` or `not read`; `other split` where patients 156 and 218 have no official sides
    pretrained, seeds, best_seed   on what, averaged over how many, and whether the best one is given
    note         one or two sentences

    epoch_on_test: the epoch was chosen on the part that is tested. shared_patients: 156 and 218 stand on both sides.
    random_split: recordings or cycles of one patient do. other_se: any abnormal class counts as found. What a flag rests on is
    in its column *_source: OWNER/REPOSITORY@COMMIT:FILE, with a line where it was counted, and words found there in quotes.
    """
    return pd.read_csv(_FOLDER / "ledger.csv", dtype="string", keep_default_na=False)


def load(paper: str, artefact: str | None = None) -> pd.DataFrame:
    """The published numbers of `paper`, or of one `artefact` of it, in the order of the paper.

    `value` is for computing, `printed` the same with all the digits of the source; units stand in `note`. A number that the
    source leaves out (a dash in its table) is NA in both.
    Raises UserError for an unknown paper or artefact; the message lists the known ones.
    """
    if paper not in PAPERS:
        raise UserError(f"No published numbers of {paper!r}; known papers are {', '.join(PAPERS)}.")
    table = pd.read_csv(_FOLDER / f"{paper}.csv", dtype=dict.fromkeys(_COLUMNS, "string"))
    table.insert(5, "printed", table["value"])
    table["value"] = pd.to_numeric(table["value"]).astype("Float64")
    if artefact is None:
        return table
    known = table["artefact"].unique()
    if artefact not in known:
        raise UserError(f"{paper} has no {artefact!r}; known artefacts are {', '.join(known)}.")
    return table[table["artefact"] == artefact].reset_index(drop=True)


def wide(paper: str, artefact: str) -> pd.DataFrame:
    """One artefact as it is printed: rows by metrics, in the order of the paper."""
    table = load(paper, artefact)
    printed = table.pivot(index="row", columns="metric", values="value")
    return printed.loc[table["row"].unique(), table["metric"].unique()]


def audit(paper: str) -> pd.DataFrame:
    """Columns: paper, claim, published, recomputed, agrees, comment, kind, finding, answer. `published` is NA where the claim
    has no number, `agrees` where there is nothing to compare it with; `answer` is empty where the check agrees.

    No number is typed in: all come from the tables. Raises UserError for an unknown paper; the message lists the known.
    """
    if paper not in PAPERS:
        raise UserError(f"No audit of {paper!r}; papers with one are {', '.join(PAPERS)}.")
    sheet = yaml.safe_load((_FOLDER / f"{paper}.yaml").read_text(encoding="utf-8"))
    scope = {name: value for name, value in vars(formulas).items() if not name.startswith("__")}
    scope |= {artefact.replace("-", "_"): wide(paper, artefact) for artefact in load(paper)["artefact"].unique()}
    rows = _checks({"let": sheet["definitions"], "checks": sheet["checks"], "kind": "contradiction"}, scope)
    frame = pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)
    frame.insert(0, "paper", pd.Series(paper, index=frame.index, dtype="string"))
    return frame


def _checks(entry: dict[str, Any], scope: dict[str, Any]) -> Iterator[tuple]:
    """The checks of an entry of a sheet, each as its columns."""
    names, _, iterable = entry.get("each", "_ in [None]").partition(" in ")
    names = names.split(", ")
    for values in _value(iterable, scope):
        inner = scope | dict(zip(names, values if len(names) > 1 else [values], strict=True))
        for name, formula in entry.get("let", {}).items():
            inner[name] = _value(formula, inner)
        for part in entry.get("checks", []):
            yield from _checks({key: entry[key] for key in _INHERITED if key in entry} | part, inner)
        if "claim" in entry:
            yield _check(entry, inner)


def _check(entry: dict[str, Any], scope: dict[str, Any]) -> tuple:
    """One check as its columns; `scope` gets its numbers, which its verdict and its sentences may name."""
    published, formula, of, within = (_value(entry.get(key), scope) for key in ("published", "formula", "of", "within"))
    recomputed = formula(*of) if formula else _value(entry["recomputed"], scope)
    scope |= {"published": published, "recomputed": recomputed}
    if "agrees" in entry:
        agrees = _value(entry["agrees"], scope)
    elif published is None:
        agrees = None
    else:
        agrees = reachable(published, formula, of, within) if formula else near(published, recomputed, within)
    comment = entry["otherwise"] if "otherwise" in entry and not agrees else entry["comment"]
    verdict = None if agrees is None else bool(agrees)
    answer = entry.get("answer", "") if verdict is False else ""
    texts = (entry["claim"], comment, entry["kind"], entry.get("finding", entry["claim"]), answer)
    claim, *rest = (_Sentence().vformat(text, (), scope) for text in texts)
    return claim, published, round(recomputed, 4), verdict, *rest


def _value(formula: Any, scope: dict[str, Any]) -> Any:
    """Of a formula of a sheet; what YAML reads as a number or a list stands for itself."""
    try:
        return eval(formula, scope) if isinstance(formula, str) else formula
    except Exception as error:
        error.add_note(f"in the formula {formula} of a sheet of claims")
        raise


class _Sentence(string.Formatter):
    """A format string with formulas between the braces."""

    def get_field(self, formula: str, args: Any, scope: dict[str, Any]) -> tuple[Any, str]:
        return _value(formula, scope), formula


def disagreements(paper: str, kind: str) -> tuple[pd.DataFrame, str]:
    """What checks of a kind find, each finding once, and one line that counts them.

    As text, with columns finding, claim (empty where it is the finding), published, recomputed, comment and, but for notes,
    what the authors could answer. Each claim has a row; where several fail for one reason, the finding and the answer stand in
    the first of its rows. A note is left out where its numbers agree.
    Raises UserError for an unknown paper or kind; the message lists the known.
    """
    if kind not in KINDS:
        raise UserError(f"There are no checks of the kind {kind!r}; the kinds are {', '.join(KINDS)}.")
    checks = audit(paper)
    checks = checks[checks["kind"] == kind]
    failed = ~checks["agrees"].fillna(kind != "note")
    shown = checks[checks["finding"].isin(checks.loc[failed, "finding"]) if kind == "note" else failed]
    shown = shown.rename(columns={"answer": ANSWER})
    columns = ["finding", "claim", "published", "recomputed", "comment", *([ANSWER] if kind != "note" else [])]
    rows = shown[columns].map(_text)
    rows["claim"] = rows["claim"].mask(rows["claim"] == rows["finding"], "")
    findings = list(rows["finding"].unique())
    rows = rows.sort_values("finding", key=lambda names: names.map(findings.index), kind="stable", ignore_index=True)
    for name in (ANSWER, "comment", "finding"):  # said once
        if name in rows:
            rows[name] = rows[name].mask(rows.duplicated(["finding", name]), "")
    of = "" if kind == "note" else f", in {len(shown)} of {len(checks)} checks"
    return rows, f"{len(findings)} {'note' if kind == 'note' else 'finding'}{'s' * (len(findings) != 1)}{of}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if pd.isna(value) else f"{value:g}"
