"""Tables and figures with their provenance: what a notebook shows is also a file, and says where it comes from.

    report = Report("01_respirenet", profile=profile, out=out, corpus=corpus)
    report.table("table-1", comparison(published, ours), title="scores by split", runs=runs, note="...")
    report.figure("figure-2", fig, title="concatenation of two cycles of a class")

writes `<out>/<profile>/01_respirenet/tables/table-1.csv`, `figures/figure-2.png` and `.svg`, and `manifest.json` beside
them. The manifest holds once what all artefacts of one notebook share (package versions, git commit) and for each one
its kind, title, origin, corpus fingerprint, the ids of the runs behind it, seeds, devices, notes and seconds since the start.
"""

import html
import json
import os
import re
import time
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
from IPython import get_ipython
from IPython.display import Image, display
from matplotlib.figure import Figure

from lungnb.core import UserError, atomic_file, git_state, package_versions, repository

PROFILES = ("smoke", "laptop", "paper")
KEYS = ["row", "metric"]
MEASURED = ["ours", "sd", "n_seeds", "n_patients", "low", "high"]
RECORDED = ["recorded", *(f"recorded {name}" for name in MEASURED[1:])]
_EQUAL = 1e-12  # an sd below this is what rounding leaves of equal numbers
NAME = re.compile(r"(table|figure)-[1-9]\d*|(?!(table|figure)-\d)[a-z][a-z0-9]*(-[a-z0-9]+)*")
CSS = [
    {"selector": "caption", "props": "caption-side: bottom; text-align: left; font-size: 0.9em; padding: 0.5em 0"},
    {"selector": "th", "props": "text-align: left"},
    {"selector": "td", "props": "text-align: left; font-variant-numeric: tabular-nums"},
]


class Report:
    """The artefacts of one notebook, displayed where they are made and written to `<out>/<profile>/<notebook>/`.

    `table` and `figure` take a name (`table-1`, `figure-2`, or lower-case words with hyphens) and, by keyword: title, what
    it shows, as the caption begins; corpus, whose origin the data have (by default the report's), or else origin,
    "published" or "diagram"; runs, the experiments behind it; note, one more sentence of the caption.
    """

    def __init__(self, notebook: str, profile: str, out: str | Path = "", corpus: Any = None):
        if profile not in PROFILES:
            raise UserError(f"There is no profile {profile!r}; choose one of {', '.join(PROFILES)}.")
        self.notebook, self.profile, self.corpus = notebook, profile, corpus
        self.folder = (Path(out) if out else default_out()) / profile / notebook
        self.artefacts: dict[str, dict] = {}
        self._configs: dict[str, dict] = {}
        self._started = time.monotonic()
        self._environment = {"versions": package_versions(), "git": git_state()}
        plt.style.use("lungnb.book.style")  # one look for all figures of the book
        self._write_manifest()  # at once: what an earlier run left is no longer announced

    def table(self, name: str, frame: pd.DataFrame, **provenance: Any) -> None:
        """Show `frame` and write it as CSV. A comparison is written tidy, with its origin, and shown side by side."""
        record, shown = self._record("table", name, **provenance), frame
        if frame.attrs.get("recorded"):
            record["notes"].append(f"column recorded: {frame.attrs['recorded']}")
        if is_comparison(frame):
            shown, frame = pivot(frame), frame.copy()
            origins = frame["ours"].notna().map({True: record["origin"], False: "published"})
            frame.insert(frame.columns.get_loc("n_seeds") + 1, "origin", origins)
            if "recorded" in frame:
                frame["recorded origin"] = frame.attrs.get("recorded") or record["origin"].removesuffix(", recorded")
        indexed = not isinstance(frame.index, pd.RangeIndex)
        self._add(name, record, {f"tables/{name}.csv": frame.to_csv(index=indexed).encode()})
        if get_ipython() is not None:
            text = caption(name, record)
            display({"text/html": as_html(shown, name, text), "text/plain": f"{shown}\n{text}"}, raw=True)

    def figure(self, name: str, figure: Figure, **provenance: Any) -> None:
        """Show `figure`, with its origin in the lower right corner, and write it as PNG and SVG."""
        record = self._record("figure", name, **provenance)
        # Below the lower edge, where no axis can be; the tight box grows to hold it.
        figure.text(1, -0.01, "; ".join(_facts(record)), ha="right", va="top", fontsize=7, color="0.4", wrap=True)
        png, svg, small = BytesIO(), BytesIO(), BytesIO()
        figure.savefig(png, format="png", bbox_inches="tight", metadata={"Software": None})
        with plt.rc_context({"svg.hashsalt": name}):  # else the ids in it differ from run to run
            figure.savefig(svg, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)  # else the notebook shows it a second time
        # In 128 colours spectrograms take a fifth of the bytes, and a stored notebook stays small.
        picture = PIL.Image.open(png).convert("RGB").quantize(128, dither=PIL.Image.Dither.NONE)
        picture.save(small, format="png", optimize=True)
        self._add(name, record, {f"figures/{name}.png": small.getvalue(), f"figures/{name}.svg": svg.getvalue()})
        if get_ipython() is not None:
            display(Image(small.getvalue(), alt=caption(name, record)))

    def _record(self, kind: str, name: str, *, title="", corpus=None, runs=(), note="", origin="") -> dict:
        runs, corpus = list(runs), None if origin else corpus or self.corpus
        if not NAME.fullmatch(name):
            raise UserError(f"{name!r} cannot name a {kind}; write table-1, figure-2 or lower-case words with hyphens.")
        if name in self.artefacts:
            raise UserError(f"{self.notebook} has a {name!r} already; give this {kind} a name of its own.")
        if origin not in ("", "published", "diagram") or not (origin or corpus):
            raise UserError(f"{name} needs the origin of its data: give corpus=, or origin='published' or 'diagram'.")
        self._configs |= {run.uid: run.config for run in runs}
        return {
            "kind": kind,
            "title": title,
            "origin": origin or corpus.origin_text,
            "corpus": None if origin else {"name": corpus.name, "fingerprint": corpus.fingerprint},
            "runs": _unique(run.uid for run in runs),
            "seeds": _unique(run.seed for run in runs),
            "devices": _unique(run.device_name for run in runs),
            "notes": _unique([*([note] if note else []), *(n for run in runs for n in run.notes)]),
            "seconds": round(time.monotonic() - self._started, 1),
        }

    def _add(self, name: str, record: dict, files: dict[str, bytes]) -> None:
        for place, content in files.items():
            with atomic_file(self.folder / place) as path:
                path.write_bytes(content)
        self.artefacts[name] = record | {"files": list(files)}
        self._write_manifest()

    def _write_manifest(self) -> None:
        manifest = {"notebook": self.notebook, "profile": self.profile, **self._environment}
        manifest |= {"artefacts": self.artefacts, "configs": self._configs}
        write_json(self.folder / "manifest.json", manifest)


def write_json(target: Path, content: dict) -> None:
    with atomic_file(target) as path:
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False))


def comparison(
    published: pd.DataFrame | None = None, ours: pd.DataFrame | None = None, recorded: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Published, recorded and live numbers side by side, tidy: joined by `row`, `metric` and, if any of ours has one, `subset`.

    published: row, metric, value, and if known `printed`, the same with all digits of its source. ours, of this build, and
    recorded: row, metric, ours, and as known sd, n_seeds, n_patients, low, high; of what is recorded they become the columns
    `recorded`, `recorded sd` and so on. The published order is kept; what only we have comes after.
    """
    first = recorded if ours is None else ours
    keys = [*KEYS, "subset"] if first is not None and "subset" in first else KEYS
    parts, printed = [], []
    if published is not None:
        printed = ["printed"] if "printed" in published else []
        parts = [published[[*keys, "value", *printed]].rename(columns={"value": "published"})]
    for names, part in ((MEASURED, ours), (RECORDED, recorded)):
        if part is not None:
            of_both = dict(zip(MEASURED, names, strict=True))
            parts.append(part.reindex(columns=[*keys, *MEASURED]).rename(columns=of_both))
    tidy = pd.concat([part[keys] for part in parts]).drop_duplicates()  # an outer join of pandas would sort by the keys
    for part in parts:
        tidy = tidy.merge(part, on=keys, how="left", validate="1:1")
    tidy = tidy.assign(**{name: np.nan for name in ("published", *MEASURED) if name not in tidy})
    columns = [*keys, "published", *printed, *MEASURED]
    if recorded is not None:
        tidy.attrs["recorded"] = recorded.attrs.get("provenance", {}).get("origin", "")
        columns += RECORDED
    return tidy[columns].astype({name: "Int64" for name in columns if name.endswith(("n_seeds", "n_patients"))})


def is_comparison(frame: pd.DataFrame) -> bool:
    return {*KEYS, "published", "ours", "n_seeds"} <= set(frame.columns)


def pivot(tidy: pd.DataFrame) -> pd.DataFrame:
    """A comparison for reading: one line a row, for each metric published beside ours (`54.2 ± 1.10 [50.0, 58.0]`).

    With more than three metrics what is published, ours and recorded stand below each other. Several subsets are told apart
    in front of the row.
    """
    sources = [s for s in ("published", "ours", "recorded") if s in tidy and tidy[s].notna().any()] or ["ours"]
    cells, counts = tidy.copy(), tidy["metric"].isin(_counts(tidy, sources)).tolist()
    for source, names in (("published", ["published"]), ("ours", MEASURED), ("recorded", RECORDED)):
        if source in sources:
            lines = tidy[names].set_axis(["ours", *MEASURED[1 : len(names)]], axis=1).to_dict("records")
            values = [
                int(line["ours"]) if count and pd.notna(line["ours"]) else line["ours"]
                for line, count in zip(lines, counts, strict=True)
            ]
            cells[source] = [measured(value, line) for value, line in zip(values, lines, strict=True)]
    if "printed" in tidy:
        as_printed = pd.to_numeric(tidy["printed"]).eq(tidy["published"]).fillna(False)  # not where a unit was changed
        cells["published"] = cells["published"].mask(as_printed, tidy["printed"])
    lines = ["subset", "row"] if "subset" in tidy and tidy["subset"].nunique() > 1 else ["row"]
    long = cells.melt([*lines, "metric"], sources, "source").assign(value=lambda x: x["value"].astype(object))
    order = {c: list(dict.fromkeys(long[c])) for c in [*lines, "metric", "source"]}
    for c, values in order.items():
        long[c] = pd.Categorical(long[c], values)
    many = len(order["metric"]) > 3
    index, columns = ([*lines, "source"], ["metric"]) if many else (lines, ["metric", "source"])
    wide = long.pivot(index=index, columns=columns, values="value").sort_index().sort_index(axis=1).fillna("")
    if many:
        wide = wide[(wide != "").any(axis=1)]
        wide.columns = wide.columns.astype(str)
    names = [None] * wide.index.nlevels
    return wide.rename_axis(index=names if len(names) > 1 else None, columns=[None] * wide.columns.nlevels)


def _counts(tidy: pd.DataFrame, sources: list[str]) -> list[str]:
    """The metrics that count something: whole in every row and source, and not only 0 and 1."""
    values = {metric: here[sources].astype(float).stack().dropna() for metric, here in tidy.groupby("metric")}
    return [metric for metric, v in values.items() if (v % 1 == 0).all() and v.max() > 1]


def measured(value: object, line: dict) -> str:
    """A value with its spread over seeds (`sd`) and its interval (`low`, `high`), as far as the line knows them."""
    text = number(value)
    if text and pd.notna(line.get("sd")):
        text += f" ± {number(0.0 if line['sd'] < _EQUAL else line['sd'])}"
    if text and pd.notna(line.get("low")) and pd.notna(line.get("high")):
        text += f" [{number(line['low'])}, {number(line['high'])}]"
    return text


def number(value: object) -> str:
    """Three digits or so: 66.2, 5.72, 0.572, 0.0012; whole numbers, words and yes/no as they are; nothing for NA."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    if not pd.api.types.is_float(value):
        return str(value)
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 or value == 0 else 3
    return f"{value:.{digits}f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def label(name: str) -> str:
    """`table-1` -> `Table 1`, `device-gains` -> `Device gains`, `icbhi` -> `ICBHI`."""
    text = name.replace("-", " ").capitalize()
    for own in ("ICBHI", "SPRSound"):
        text = re.sub(rf"\b{own}\b", own, text, flags=re.IGNORECASE)
    return text


def caption(name: str, record: dict) -> str:
    """`Table 1: scores by split. Simulated data. A note.`"""
    sentences = [part.rstrip(".") for part in (record["title"], *_facts(record)) if part]
    return f"{label(name)}: {'. '.join([sentences[0], *(s[:1].upper() + s[1:] for s in sentences[1:])])}."


def _facts(record: dict) -> list[str]:
    """What the data are (`simulated data`, `real data, partial (192 of 920 recordings)`, `diagram`), then the notes."""
    kind = {"simulated": "simulated data", "real": "real data", "published": "published numbers"}
    origin = re.sub(r"^\w+", lambda word: kind.get(word[0], word[0]), record["origin"])
    return [origin, *(note.rstrip(".") for note in record["notes"])]


def _unique(values: Iterable[Any]) -> list:
    return list(dict.fromkeys(values))


def as_html(frame: pd.DataFrame, name: str, caption: str) -> str:
    """`frame` as an HTML table with a caption, its numbers to three digits or so, free to scroll in its own box."""
    style = frame.style.format(number, escape="html").set_uuid(name).set_caption(html.escape(caption))
    style.set_table_styles(CSS)
    if isinstance(frame.index, pd.RangeIndex):
        style.hide(axis="index")
    # A cell's id and classes are for styles that none has; they would be most of the page.
    plain = re.sub(r"<t[hd]\b[^>]*>", lambda tag: re.sub(r' (?:id|class)="[^"]*"| (?=>)', "", tag[0]), style.to_html())
    return f'<div style="overflow-x: auto">{plain}</div>'


def default_out() -> Path:
    """`LUNGNB_REPORTS`, else `reports` of the repository around the working directory, else of the latter."""
    return Path(os.environ.get("LUNGNB_REPORTS") or (repository(Path.cwd()) or Path.cwd()) / "reports")
