"""Keep the results of a long run on real data, small and with all that is needed to believe them."""

import json
import shutil
from pathlib import Path

import pandas as pd

from lungnb.book.comparison import is_comparison
from lungnb.book.report import default_out
from lungnb.core import UserError, atomic_file, repository

COLUMNS = ["row", "metric", "published", "ours", "sd", "n_seeds", "origin", "low", "high", "subset"]


def record(notebook: str, profile: str, cut: str, out: str = "") -> list[Path]:
    """Copy each comparison of a built report into reports/recorded/<paper>-<artefact>.csv, provenance in a .json beside it.

    Sounds that the notebook wrote into `samples` go with them, into reports/recorded/<paper>-samples/. `cut` says in one
    sentence what of the paper's size was cut. Raises UserError if the report is not there or is not on real data: what is
    simulated is never recorded.
    """
    folder = (Path(out) if out else default_out()) / profile / notebook
    if not (folder / "manifest.json").exists():
        raise UserError(
            f"{folder} holds no report; build it first with `lungnb report {notebook} --profile {profile}`."
        )
    manifest, paper = json.loads((folder / "manifest.json").read_text()), notebook.partition("_")[2]
    written = []
    for name, artefact in manifest["artefacts"].items():
        if artefact["kind"] != "table" or not artefact["origin"].startswith("real"):
            continue
        table = pd.read_csv(folder / "tables" / f"{name}.csv")
        if not is_comparison(table):
            continue
        ours = table[table["ours"].notna()]
        if "subset" not in ours:
            ours = ours.assign(subset="test")
        target = repository(Path.cwd()) / "reports" / "recorded" / f"{paper}-{name}.csv"
        with atomic_file(target) as path:
            ours.reindex(columns=COLUMNS).round(5).to_csv(path, index=False)
        with atomic_file(target.with_suffix(".json")) as path:
            path.write_text(json.dumps(_provenance(manifest, artefact, cut), indent=1, ensure_ascii=False))
        written.append(target)
    if not written:
        raise UserError(f"{folder} holds no comparison on real data; only those are recorded.")
    if (folder / "samples").is_dir():
        target = repository(Path.cwd()) / "reports" / "recorded" / f"{paper}-samples"
        shutil.rmtree(target, ignore_errors=True)
        written.append(Path(shutil.copytree(folder / "samples", target)))
    return written


def _provenance(manifest: dict, artefact: dict, cut: str) -> dict:
    return {
        "origin": artefact["origin"],
        "fingerprint": artefact["corpus"]["fingerprint"],
        "commit": manifest["git"]["commit"],
        "dirty": manifest["git"]["dirty"],
        "device": ", ".join(artefact["devices"]),
        "seeds": artefact["seeds"],
        "profile": manifest["profile"],
        "cut": cut,
        "notes": artefact["notes"],
        "versions": manifest["versions"],
        "configs": {uid: manifest["configs"][uid] for uid in artefact["runs"]},
    }
