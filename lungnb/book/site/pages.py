"""The pages around the notebooks, written from what is already known: headings, artefacts, exercises, audits, numbers.

Prose stands in `templates/*.md.j2`; what it speaks of is asked for, so a notebook that is not there yet is named as such.
"""

import html
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from lungnb.book.index import EXPECTED, expected
from lungnb.book.leaderboard import SOURCES, gaps, leaderboard, side_by_side
from lungnb.book.report import PROFILES, title
from lungnb.book.site.chapter import Chapter, Section, label
from lungnb.book.watch import clock
from lungnb.published.audit import PAPERS, audit

GUIDES = ("index", "reading", "teaching", "audits", "leaderboard")


def write_pages(folder: Path, chapters: list[Chapter], modules: list[str], reports: Path) -> None:
    """Write all pages but the notebooks' into `folder`, and `leaderboard.csv`."""
    numbers = leaderboard(reports)
    numbers.to_csv(folder / "leaderboard.csv", index=False)
    (folder / "leaderboard.html").write_text(_leaderboard(side_by_side(numbers), chapters))
    checks = pd.concat([audit(paper) for paper in PAPERS], ignore_index=True)
    (folder / "audits.html").write_text(_audits(checks))
    environment = Environment(
        loader=PackageLoader("lungnb.book.site"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"code": lambda name: f"`{name}`"}
    known = {chapter.name: chapter for chapter in chapters}
    facts: dict[str, Any] = {
        "chapters": chapters,
        "link": lambda name: _link(name, known),
        "rows": _rows,
        "missing": lambda chapter: [name for name in expected(chapter.name) if name not in chapter.artefacts],
        "times": _times(reports, chapters),
        "gaps": gaps(reports, list(known)),
        "checks": checks,
        "counts": numbers["source"].value_counts().reindex(SOURCES, fill_value=0),
        "absent": {name: list(made) for name, made in EXPECTED.items() if name not in known},
    }
    for page in GUIDES:
        (folder / f"{page}.md").write_text(environment.get_template(f"{page}.md.j2").render(facts))
    write_api(folder / "api", modules)


def write_api(folder: Path, modules: list[str]) -> None:
    """One page a module, for autodoc to fill, and a list of them with the first sentence of each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for module in modules:
        (folder / f"{module}.rst").write_text(f"{module}\n{'=' * len(module)}\n\n.. automodule:: {module}\n")
        first = (importlib.import_module(module).__doc__ or "").strip().partition("\n")[0]
        lines.append(f"| [{module}]({module}.rst) | {first.replace('|', chr(92) + '|')} |")
    toctree = "\n".join(["```{toctree}", ":hidden:", "", *modules, "```"])
    table = "\n".join(["| module | what it is for |", "| --- | --- |", *lines])
    (folder / "index.md").write_text(
        f"# The library\n\nOne page for each module of `lungnb`.\n\n{table}\n\n{toctree}\n"
    )


def _link(name: str, known: dict[str, Chapter]) -> str:
    """A link to the notebook of that number, or what it is called and that it is not there."""
    here = [other for other in known if other.partition("_")[0] == name.partition("_")[0]]
    return f"[`{here[0]}`]({here[0]}.ipynb)" if here else f"`{name}` (not here yet)"


def _rows(chapter: Chapter, of_paper: bool) -> list[tuple[str, str, str]]:
    """Lines of the reading guide: a section as a link, its cells, its tables and figures as links with their numbers."""
    return [_row(chapter, section) for section in chapter.sections[1:] if section.of_paper == of_paper]


def _row(chapter: Chapter, section: Section) -> tuple[str, str, str]:
    made = [f"{{numref}}`{label(chapter.name, name)}` {_what(chapter.name, name)}" for name in section.artefacts]
    cells = f"{section.first} to {section.last}" if section.last > section.first else f"{section.first}"
    return f"[{section.title}](#{section.label})", cells, "<br>".join(made) or "–"


def _what(notebook: str, name: str) -> str:
    return expected(notebook).get(name) or name.replace("-", " ")


def _times(reports: Path, chapters: list[Chapter]) -> list[tuple[str, str, str]]:
    """Notebook, profile and minutes of every build that lies in `reports`."""
    lines = []
    for chapter in chapters:
        for profile in PROFILES:
            path = reports / profile / chapter.name / "manifest.json"
            build = json.loads(path.read_text()).get("build") if path.is_file() else None
            lines += [(f"[`{chapter.name}`]({chapter.name}.ipynb)", profile, clock(build["seconds"]))] if build else []
    return lines


def _leaderboard(lines: pd.DataFrame, chapters: list[Chapter]) -> str:
    known = {chapter.name.partition("_")[2]: chapter for chapter in chapters}
    rows = []
    for line in lines.to_dict("records"):
        chapter, place = known.get(line["paper"]), html.escape(title(line["artefact"]))
        if chapter and line["artefact"] in chapter.artefacts:
            place = f'<a href="{chapter.name}.html#{label(chapter.name, line["artefact"])}">{place}</a>'
        question = [line["paper"], place, _cell(line["row"], line["subset"]), _cell(line["metric"])]
        ours = [_cell(line[source], line[f"{source} data"]) for source in SOURCES[1:]]
        rows.append([*question, _cell(line[SOURCES[0]]), *ours, "yes" if any(ours) else "no"])
    columns = ["paper", "table or figure", "row", "metric", *SOURCES, "measured again"]
    return _table("leaderboard-table", columns, rows, {"paper": "", "measured again": "yes"})


def _cell(text: str, below: str = "") -> str:
    return html.escape(text) + (f"<small>{html.escape(below)}</small>" if below else "")


def _audits(checks: pd.DataFrame) -> str:
    columns = ["paper", "claim", "published", "recomputed", "comment", "verdict"]
    words = checks["agrees"].map({True: "adds up", False: "does not add up"}).fillna("no verdict")
    checks = checks.assign(verdict=words, **{c: checks[c].map(_digits) for c in ("published", "recomputed")})
    rows = [[_cell(text) for text in line] for line in checks[columns].itertuples(index=False)]
    return _table("audits-table", columns, rows, {"paper": "", "verdict": "does not add up"})


def _digits(value: float) -> str:
    """Four decimals at most: enough to see what differs."""
    return "" if pd.isna(value) else np.format_float_positional(value, precision=4, trim="-")


def _table(name: str, columns: list[str], rows: list[list[str]], choices: dict[str, str]) -> str:
    """A table of cells that are HTML, with what `filter.js` reads: a choice above it for each of `choices`, and which is
    chosen at first. The last column is only chosen by, not shown."""
    first = {column: f' data-choice="{chosen}"' for column, chosen in choices.items()}
    head = "".join(f'<th scope="col"{first.get(c, "")}{_last(c, columns)}>{c}</th>' for c in columns)
    lines = ("".join(f"<td{_last(i, range(len(row)))}>{cell}</td>" for i, cell in enumerate(row)) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table class="filterable" id="{name}"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'


def _last(one: object, among: Sequence) -> str:
    return " hidden" if one == among[-1] else ""
