"""The tables of the site that can be sorted and searched: ranking, all numbers, audits, ledger; their cells are HTML."""

import html
import re

import itables
import pandas as pd
from itables.javascript import generate_init_offline_itables_html
from itables.options import dt_bundle

from lungnb.book.leaderboard import SOURCES
from lungnb.book.report import label as title
from lungnb.book.report import number
from lungnb.book.site.chapter import Chapter, label
from lungnb.published import ANSWER, FLAGS

_SOURCE = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40}):([^\s;:]+)(?::(\d+))?")  # as `ledger` names a line of code


def ranking(lines: pd.DataFrame) -> pd.DataFrame:
    """One line a model and task, each task from its best; a protocol says which flags are up, or that they are not known."""
    count = lines[["n_seeds", "n_patients"]].map(lambda n: "" if pd.isna(n) else f"{n:.0f}")
    limits = lines[["low", "high"]].map(lambda x: "" if pd.isna(x) else f"{x:.3f}")
    flags = lines[FLAGS].fillna("not read")
    up = flags.eq("yes").apply(lambda line: ", ".join(flag.replace("_", " ") for flag in FLAGS if line[flag]), axis=1)
    clean = flags.isin(["no", "other split"]).all(axis=1).map({True: "no flag", False: "not all known"})
    shown = {
        "task": lines["task"],
        "rank": (lines.groupby("task", sort=False).cumcount() + 1).astype(str),
        "model": lines["model"],
        "score": lines["score"].map("{:.3f}".format),
        "95 % interval": limits["low"].where(limits["low"] == "", limits["low"] + " to " + limits["high"]),
        "seeds": count["n_seeds"],
        "patients": count["n_patients"],
        "protocol": up.where(up != "", clean),
        "source": lines["source"],
        "verdict": lines["verdict"],
    }
    return pd.DataFrame(shown).map(html.escape)


def numbers(lines: pd.DataFrame, chapters: list[Chapter]) -> pd.DataFrame:
    """What was measured again stands first."""
    known = {chapter.name.partition("_")[2]: chapter for chapter in chapters}
    rows = []
    for line in lines.to_dict("records"):
        chapter, place = known.get(line["paper"]), html.escape(title(line["artefact"]))
        if chapter and line["artefact"] in chapter.captions:
            place = f'<a href="{chapter.name}.html#{label(chapter.name, line["artefact"])}">{place}</a>'
        question = {"row": _cell(line["row"], line["subset"]), "metric": html.escape(line["metric"])}
        line["published data"] = line["published data"].removeprefix("published")  # only what is derived says so
        values = {source: _cell(line[source], line[f"{source} data"]) for source in SOURCES}
        rows.append({"paper": line["paper"], "table or figure": place, **question, **values})
    frame = pd.DataFrame(rows)
    return frame.iloc[(frame[list(SOURCES[1:])] == "").all(axis=1).argsort(kind="stable")]


def _cell(text: str, below: str = "") -> str:
    return html.escape(text) + (f"<br><small>{html.escape(below)}</small>" if below else "")


def audits(checks: pd.DataFrame) -> pd.DataFrame:
    """What does not add up stands first; notes of ours are no verdict on the authors."""
    words = checks["agrees"].map({True: "adds up", False: "does not add up"})
    words = words.mask(checks["kind"] == "note", "a note of ours")
    against = checks["kind"].map({"contradiction": "itself", "inconsistent": "its code or data"}).fillna("")
    shown = checks[["paper", "claim", "published", "recomputed", "comment", "answer"]]
    shown = shown.assign(verdict=words).rename(columns={"answer": ANSWER})
    shown.insert(1, "held against", against)
    return shown.map(lambda value: html.escape(number(value))).iloc[(words != "does not add up").argsort(kind="stable")]


def entries(lines: pd.DataFrame) -> pd.DataFrame:
    """The highest Score first; what a number or a flag rests on is folded under it."""
    paper = [_cell(f"{who} {year}", venue) for who, year, venue in lines[["authors", "year", "venue"]].to_numpy()]
    shown = lines[["method", "split", "Se", "Sp"]].map(html.escape)
    shown.insert(0, "paper", paper)
    for column in ("Score", *FLAGS, "pretrained", "seeds"):
        source = lines["seeds_source" if column == "seeds" else f"{column.lower()}_source"]
        shown[column.replace("_", " ")] = [_folded(*both) for both in zip(lines[column], source, strict=True)]
    shown["best seed"], shown["note"] = lines["best_seed"], lines["note"].map(_sources)
    return shown.iloc[pd.to_numeric(lines["Score"]).argsort(kind="stable")[::-1]]


def _folded(text: str, source: str) -> str:
    return (
        f"<details><summary>{html.escape(text)}</summary>{_sources(source)}</details>" if source else html.escape(text)
    )


def _sources(text: str) -> str:
    """Text of the ledger as HTML, its addresses and lines of code as links."""

    def code(found: re.Match) -> str:
        line = f"#L{found[4]}" if found[4] else ""
        said = f"{found[1]}, {found[3]}{line.replace('#L', ', line ')} at {found[2][:7]}"
        return f'<a href="https://github.com/{found[1]}/blob/{found[2]}/{found[3]}{line}">{said}</a>'

    return _SOURCE.sub(code, re.sub(r"https://[^\s;]+", r'<a href="\g<0>">\g<0></a>', html.escape(text)))


def interactive(frame: pd.DataFrame, name: str) -> str:
    """A table, its cells HTML, that can be sorted, searched and leafed through, with its script in it."""
    options = {
        "showIndex": False,
        "classes": "display",
        "maxBytes": 0,
        "allow_html": True,
        "lengthMenu": [25, 100, -1],
        "connected": False,
    }
    table = itables.to_html_datatable(frame.reset_index(drop=True), table_id=f"{name}-table", **options)
    return generate_init_offline_itables_html(dt_bundle) + table
