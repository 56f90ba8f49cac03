"""A page of the site on which a lesson runs in the reader's browser: JupyterLite with Python, numpy, pandas and a part of lungnb.

    write(Path("reports/site/lite"))    the folder, whole without a network once it is written

Nothing is computed on a server: the browser loads Pyodide (CPython as WebAssembly) from this folder and runs the notebook in it.
What is not to be had for it is left out (torch, scikit-learn), or stood in for by `browser/` and said to be (scipy).
"""

import ast
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import numpy as np

from lungnb import __version__
from lungnb.book.recorded import predictions
from lungnb.book.site.parcels import Missing, fetched, pack, pack_numpy, pack_pandas, write_wheel
from lungnb.book.storage import folder as recorded
from lungnb.metrics import probability_columns

#: The page that opens the lesson; its notebook is a file beside it.
PAGE = "notebooks/index.html?path=lesson.ipynb"
KERNEL = {"name": "python", "display_name": "Python (Pyodide)", "language": "python"}
#: All cells are laid out at once, so that a search finds them and a print has them.
SETTINGS = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}
BROWSER = Path(__file__).with_name("browser")
#: What of lungnb runs in the browser: modules that need numpy and pandas, and of scipy no more than `browser/scipy` has.
PARTS = (
    "__init__.py",
    "core.py",
    "published/*",
    "simulate/__init__.py",
    "simulate/chest.py",
    "simulate/auscultation.py",
)
PARTS += tuple(
    f"metrics/{name}.py" for name in ("__init__", "intervals", "classification", "calibration", "thresholds")
)
PARTS += ("book/sentences.py",)
#: Installed distributions of pure Python: IPython, which runs the cells, and what lungnb and pandas import.
PURE = ("asttokens", "comm", "decorator", "executing", "filelock", "ipython-pygments-lexers", "jedi")
PURE += ("matplotlib-inline", "packaging", "parso", "platformdirs", "prompt-toolkit", "pure-eval", "pygments")
PURE += ("python-dateutil", "pyyaml", "six", "stack-data", "traitlets", "wcwidth")
#: Of these what only completion of other packages' names would use: thousands of files, which the browser would unpack first.
LEFT_OUT = ("jedi/third_party/django-stubs/", "jedi/third_party/typeshed/stubs/")
#: Modules of the standard library that JupyterLite asks for by name, and of which there is no build to be had.
ABSENT = ("ssl", "sqlite3")
#: Recorded experiments and their rows whose predictions the lesson reads; of the parts that are tested.
SHOWN = {
    "convlstm/sprsound-event": (
        "paper CNN",
        "fair CNN",
        "best CNN",
        "best ConvLstm",
        "best Upsampling CNN",
        "best full",
    ),
    "comparison/icbhi": ("CNN", "CNN, leaky selection", "CNN, leaky split", "CNN, both leaks"),
}


def write(target: Path) -> int:
    """Write the page into the folder `target` and return its size in bytes. Raises Missing where something cannot be had."""
    kernel = find_spec("jupyterlite_pyodide_kernel") and find_spec("jupyterlite_core")
    if not kernel:
        raise Missing("jupyterlite-core and jupyterlite-pyodide-kernel are not installed")
    with tempfile.TemporaryDirectory() as space:
        source = Path(space)
        (source / "files").mkdir()
        book = jupytext.read(BROWSER / "lesson.py")
        book.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
        nbformat.write(book, source / "files" / "lesson.ipynb")
        (source / "jupyter-lite.json").write_text(
            json.dumps({"jupyter-lite-schema-version": 0, "jupyter-config-data": {}})
        )
        (source / "overrides.json").write_text(json.dumps(SETTINGS))
        _assemble(source, target)
    for name in ("notebook", "busy-1"):  # the notebook asks for them where JupyterLite does not put them
        (target / "static" / "favicons").mkdir(parents=True, exist_ok=True)
        shutil.copy(target / "notebooks" / "favicon.ico", target / "static" / "favicons" / f"favicon-{name}.ico")
    packages = _write_python(target / "static" / "pyodide", target)
    _configure(target / "jupyter-lite.json", packages)
    return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())


def _assemble(source: Path, target: Path) -> None:
    """JupyterLite's own part: its notebook and kernel, without other applications and the extensions installed here."""
    files = metadata.files("jupyterlite-pyodide-kernel") or []
    kernel = next(f.locate().resolve().parent for f in files if f.match("labextensions/@jupyterlite/*/package.json"))
    command = [sys.executable, "-m", "jupyterlite_core", "build", "--lite-dir", source, "--output-dir", target]
    command += ["--contents", source / "files", "--apps", "notebooks", "--no-sourcemaps", "--no-unused-shared-packages"]
    command += ["--ignore-sys-prefix", "--no-libarchive", f"--LiteBuildConfig.federated_extensions={kernel}"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=source)
    if done.returncode:
        raise Missing(f"JupyterLite could not be assembled ({(done.stderr or done.stdout).strip().splitlines()[-1]})")


def _write_python(folder: Path, kernel: Path) -> list[str]:
    """Pyodide and all wheels into `folder`, with the lock file that lists them. Returns the packages to load, in order."""
    with tarfile.open(fetched("pyodide")) as archive:
        for name in ("pyodide.js", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json"):
            member = archive.getmember(f"package/{name}")
            member.name = name
            archive.extract(member, folder, filter="data")
    for name in ("ipython", "micropip"):
        shutil.copy(fetched(name), folder)
    pack_numpy(folder)
    pack_pandas(folder)
    for name in PURE:
        pack(folder, name, LEFT_OUT)
    for name in ABSENT:
        write_wheel(folder, name, "0", {})
    for name in ("ipykernel", "piplite", "pyodide_kernel"):
        (wheel,) = kernel.rglob(f"static/pypi/{name}-*.whl")
        shutil.copy(wheel, folder)
    write_wheel(folder, "lungnb", __version__, contents())
    lock = json.loads((folder / "pyodide-lock.json").read_text())
    lock["packages"] = {entry["name"]: entry for entry in map(_entry, sorted(folder.glob("*.whl")))}
    (folder / "pyodide-lock.json").write_text(json.dumps(lock))
    # JupyterLite looks for its own package under the name with an underscore, and would fetch what it does not find.
    return [name.replace("pyodide-kernel", "pyodide_kernel") for name in lock["packages"]]


def _entry(wheel: Path) -> dict[str, Any]:
    """What Pyodide's lock file says of a wheel; what depends on what need not be said where all are loaded."""
    name, version, *_ = wheel.stem.split("-")
    entry = {"name": name.lower().replace("_", "-"), "version": version}
    entry |= {"file_name": wheel.name, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(), "install_dir": "site"}
    return entry | {"package_type": "package", "imports": [], "depends": [], "unvendored_tests": False}


def contents() -> dict[str, bytes]:
    """The files of lungnb in the browser: its modules that run there, what stands in for others, and predictions."""
    package = Path(__file__).parents[2]
    found = sorted(path for part in PARTS for path in package.glob(part) if path.is_file())
    files = {f"lungnb/{path.relative_to(package).as_posix()}": path.read_bytes() for path in found}
    files |= {
        path.relative_to(BROWSER).as_posix(): path.read_bytes()
        for path in sorted(BROWSER.rglob("*.py"))
        if path.name != "lesson.py"
    }
    files["lungnb/data/corpus.py"] = _constants(package / "data" / "corpus.py", "SIMULATED_MARKER")
    for name in SHOWN:
        place = f"recorded/{name}"
        files[f"{place}/predictions.npz"] = _predictions(name)
        files[f"{place}/scores.csv"] = (recorded() / name / "scores.csv").read_bytes()
    return files


def _constants(module: Path, *names: str) -> bytes:
    """Of a module that cannot be imported in the browser no more than these assignments, which others import."""
    tree = ast.parse(module.read_text())
    wanted = (node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in names)
    return "\n".join(map(ast.unparse, wanted)).encode()


def _predictions(name: str) -> bytes:
    """The tested predictions of SHOWN as numpy reads them, columns side by side; probabilities as recorded, in 16 bits."""
    frame = predictions(name)
    frame = frame[frame["row"].isin(SHOWN[name]) & (frame["split"] != "train")]
    columns = {c: frame[c].to_numpy() for c in ("row", "seed", "event", "patient", "split", "label")}
    columns |= {c: frame[c].to_numpy(np.float16) for c in probability_columns(frame)}
    columns = {c: v.astype(str) if v.dtype == object else v for c, v in columns.items()}
    file = io.BytesIO()
    np.savez_compressed(file, **columns)
    return file.getvalue()


def _configure(file: Path, packages: list[str]) -> None:
    """Tell JupyterLite to load Python and every package from this folder, and to ask nobody else."""
    config = json.loads(file.read_text())
    settings = {"pyodideUrl": "./static/pyodide/pyodide.js", "disablePyPIFallback": True}
    settings["loadPyodideOptions"] = {"packages": packages}
    plugins = config["jupyter-config-data"].setdefault("litePluginSettings", {})
    plugins.setdefault("@jupyterlite/pyodide-kernel-extension:kernel", {}).update(settings)
    file.write_text(json.dumps(config, indent=2))
