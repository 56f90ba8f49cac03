"""Tables and figures with their provenance: what a notebook shows is also a file, and says where it comes from.

    report = Report("01_respirenet", profile=profile, out=out)
    report.table("table-1", comparison(published, ours), corpus=corpus, runs=runs, note="...")
    report.figure("figure-2", fig, corpus=corpus, runs=runs)

writes `<out>/<profile>/01_respirenet/tables/table-1.csv`, `figures/figure-2.png` and `.svg`, and `manifest.json` beside
them. The manifest holds once what all artefacts of one notebook share (package versions, git commit) and for each one
its kind, origin, corpus fingerprint, the ids of the runs behind it, seeds, devices, notes and seconds since the start.
"""

import html
import json
import os
import re
import time
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import matplotlib.pyplot as plt
import pandas as pd
import PIL.Image
from IPython import get_ipython
from IPython.display import Image, display
from matplotlib.figure import Figure

from lungnb.book.comparison import comparison, is_comparison, number, pivot
from lungnb.core import UserError, atomic_file, git_state, package_versions, repository

if TYPE_CHECKING:
    from lungnb.data.corpus import Corpus

__all__ = ["PROFILES", "Report", "comparison", "pivot", "recorded", "recorded_from"]

PROFILES = ("smoke", "laptop", "paper")
NAME = re.compile(r"(table|figure)-[1-9]\d*|(?!(table|figure)-\d)[a-z][a-z0-9]*(-[a-z0-9]+)*")


class RunLike(Protocol):
    """What a report needs to know of a run."""

    uid: str
    seed: int
    device_name: str
    notes: list[str]
    config: dict[str, Any]


class Report:
    """The artefacts of one notebook, displayed where they are made and written to `<out>/<profile>/<notebook>/`."""

    def __init__(self, notebook: str, profile: str, out: str | Path = "", corpus: "Corpus | None" = None):
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

    def table(
        self,
        name: str,
        frame: pd.DataFrame,
        corpus: "Corpus | None" = None,
        runs: Iterable[RunLike] = (),
        note: str = "",
        origin: Literal["", "published", "diagram"] = "",
    ) -> None:
        """Show `frame` and write it as CSV. A comparison is written tidy, with its origin, and shown side by side."""
        record = self._record("table", name, corpus, runs, note, origin)
        if frame.attrs.get("recorded"):
            record["notes"].append(f"column recorded: {frame.attrs['recorded']}")
        shown = pivot(frame) if is_comparison(frame) else frame
        if is_comparison(frame):
            place = frame.columns.get_loc("n_seeds") + 1
            frame = frame.copy()
            frame.insert(place, "origin", frame["ours"].notna().map({True: record["origin"], False: "published"}))
        indexed = not isinstance(frame.index, pd.RangeIndex)
        self._add(name, record, {f"tables/{name}.csv": frame.to_csv(index=indexed).encode()})
        if get_ipython() is not None:
            caption = ". ".join([f"{title(name)}: {_of_what(record)}", *(n.rstrip(".") for n in record["notes"])]) + "."
            display({"text/html": as_html(shown, name, caption), "text/plain": f"{shown}\n{caption}"}, raw=True)

    def figure(
        self,
        name: str,
        figure: Figure,
        corpus: "Corpus | None" = None,
        runs: Iterable[RunLike] = (),
        note: str = "",
        origin: Literal["", "published", "diagram"] = "",
    ) -> None:
        """Show `figure`, with its origin in the lower right corner, and write it as PNG and SVG."""
        record = self._record("figure", name, corpus, runs, note, origin)
        label = "; ".join([_of_what(record), *(n.rstrip(".") for n in record["notes"])])
        # Below the lower edge, where no axis can be; the tight box grows to hold it.
        figure.text(1, -0.01, label, ha="right", va="top", fontsize=7, color="0.4", wrap=True)
        png, svg = BytesIO(), BytesIO()
        figure.savefig(png, format="png", bbox_inches="tight", metadata={"Software": None})
        with plt.rc_context({"svg.hashsalt": name}):  # else the ids in it differ from run to run
            figure.savefig(svg, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)  # else the notebook shows it a second time
        picture = _palette(png)
        self._add(name, record, {f"figures/{name}.png": picture, f"figures/{name}.svg": svg.getvalue()})
        if get_ipython() is not None:
            display(Image(picture, alt=f"{title(name)}, {label}"))

    def _record(
        self, kind: str, name: str, corpus: "Corpus | None", runs: Iterable[RunLike], note: str, origin: str
    ) -> dict:
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
        manifest = {
            "notebook": self.notebook,
            "profile": self.profile,
            **self._environment,
            "artefacts": self.artefacts,
            "configs": self._configs,
        }
        with atomic_file(self.folder / "manifest.json") as path:
            path.write_text(json.dumps(manifest, indent=1, ensure_ascii=False))


def _palette(png: BytesIO) -> bytes:
    """The picture in 128 colours: spectrograms take a fifth of the bytes, and a stored notebook stays small."""
    small = BytesIO()
    PIL.Image.open(png).convert("RGB").quantize(128, dither=PIL.Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


def title(name: str) -> str:
    """`table-1` -> `Table 1`, `device-gains` -> `Device gains`, `icbhi` -> `ICBHI`."""
    text = name.replace("-", " ").capitalize()
    for own in ("ICBHI", "SPRSound"):
        text = re.sub(rf"\b{own}\b", own, text, flags=re.IGNORECASE)
    return text


def _of_what(record: dict) -> str:
    """`simulated data`, `real data, partial (192 of 920 recordings)`, `published numbers`, `diagram`."""
    kind = {"simulated": "simulated data", "real": "real data", "published": "published numbers"}
    return re.sub(r"^\w+", lambda word: kind.get(word[0], word[0]), record["origin"])


def _unique(values: Iterable[Any]) -> list:
    return list(dict.fromkeys(values))


def as_html(frame: pd.DataFrame, name: str, caption: str) -> str:
    """`frame` as an HTML table with a caption, its numbers to three digits or so, free to scroll in its own box."""
    style = frame.style.format(number, escape="html").set_uuid(name).set_caption(html.escape(caption))
    style.set_table_styles(
        [
            {
                "selector": "caption",
                "props": "caption-side: bottom; text-align: left; font-size: 0.9em; padding: 0.5em 0",
            },
            {"selector": "th", "props": "text-align: left"},
            {"selector": "td", "props": "text-align: left; font-variant-numeric: tabular-nums"},
        ]
    )
    if isinstance(frame.index, pd.RangeIndex):
        style.hide(axis="index")
    return f'<div style="overflow-x: auto">{style.to_html()}</div>'


def default_out() -> Path:
    """`LUNGNB_REPORTS`, else the `reports` folder of the repository around the working directory, else one in the latter."""
    return (
        Path(os.environ["LUNGNB_REPORTS"])
        if os.environ.get("LUNGNB_REPORTS")
        else (repository(Path.cwd()) or Path.cwd()) / "reports"
    )


def recorded(name: str) -> pd.DataFrame | None:
    """A full run on real data kept in `reports/recorded/<name>.csv`, or None if there is none on file.

    Its provenance, the JSON beside it, is in `.attrs["provenance"]`.
    """
    root = repository(Path.cwd()) or repository(Path(__file__))
    path = root / "reports" / "recorded" / f"{name}.csv" if root else None
    if path is None or not path.is_file():
        return None
    if not path.with_suffix(".json").is_file():
        raise UserError(f"{path.with_suffix('.json')} is missing: a recorded result needs its provenance; restore it.")
    frame = pd.read_csv(path)
    frame.attrs["provenance"] = json.loads(path.with_suffix(".json").read_text())
    return frame


def recorded_from(name: str) -> str:
    """Where the recorded run `name` comes from, as a line of Markdown."""
    frame = recorded(name)
    if frame is None:
        return "*No recorded run is on file.*"
    kept = frame.attrs["provenance"]
    return (
        f"**Recorded:** {kept['origin']}, fingerprint `{kept['fingerprint']}`, commit `{kept['commit'][:10]}`, "
        f"{kept['device']}, seeds {kept['seeds']}. {kept['cut']}"
    )
