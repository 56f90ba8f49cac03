"""The command line. What is heavy is imported by the command that needs it, so that `--help` answers at once."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from lungnb import __version__
from lungnb.core import UserError


class _OneSentence(TyperGroup):
    """A UserError is printed as it is, without a traceback, and ends with status 2."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from None


plain = {"no_args_is_help": True, "rich_markup_mode": None}
app = typer.Typer(cls=_OneSentence, add_completion=False, pretty_exceptions_enable=False, **plain)
data_app = typer.Typer(**plain)
app.add_typer(data_app, name="data", help="Write, count or download a data set.")

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Notebooks, as 01_respirenet, 01, respirenet, or their paths; all if none is named."),
]
DataSet = Annotated[
    str, typer.Argument(metavar="NAME", help="The data set; an unknown name lists those that are known.")
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that holds, or will hold, NAME/.")]
Out = Annotated[
    str, typer.Option(metavar="DIR", help="Where reports lie: reports/ of the repository, or of this folder.")
]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"lungnb {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Four papers on lung sounds, each as a notebook."""


@app.command(name="list")
def list_notebooks(names: Names = None) -> None:
    """Say what each notebook is about, how long it takes, and which parameters it has; their meaning if it is named."""
    from lungnb.book.notebooks import describe, find

    typer.echo("\n\n".join(describe(source, in_full=bool(names)) for source in find(names or [])))


@app.command()
def doctor(
    data: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A folder in which to look for data sets.")
    ] = None,
) -> None:
    """Show versions, GPU, cache, disk and what data sets are in DIR; status 1 if anything must be mended."""
    from lungnb.book.doctor import examine

    mends = []
    for finding in examine(data):
        typer.echo(f"{'!' if finding.mend else ' '} {finding.what + ':':13}{finding.says}")
        mends += [f"{finding.what}: {finding.mend}"] if finding.mend else []
    if mends:
        typer.echo("\n".join(["", "To mend:", *mends]))
        raise typer.Exit(1)


@app.command()
def report(
    names: Names = None,
    profile: Annotated[str, typer.Option(help="smoke, laptop or paper.")] = "smoke",
    data: Annotated[str, typer.Option(metavar="DIR", help="Folder of icbhi/ and the like, or simulated.")] = "",
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="A parameter of the notebooks.")
    ] = None,
    out: Out = "",
    force: Annotated[bool, typer.Option("--force", help="Also those of which nothing changed since.")] = False,
) -> None:
    """Build notebooks into OUT/PROFILE/: executed, with tables, figures and a manifest; status 1 if any is missing."""
    from lungnb.book.build import build

    pairs = [text.partition("=") for text in parameter or []]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise UserError(f"-p takes key=value, not {key!r}.")
    if build(names or [], profile, data, {key: value for key, _, value in pairs}, out, force):
        raise typer.Exit(1)


@app.command()
def store(names: Names = None) -> None:
    """Execute notebooks on the smoke profile and keep them, with outputs, beside their sources."""
    from lungnb.book.build import store

    store(names or [])


@app.command()
def site(
    profile: Annotated[str, typer.Option(help="Show the notebooks of this build, not the stored ones.")] = "",
    public: Annotated[bool, typer.Option("--public", help="For readers: without notes on this build.")] = False,
    student: Annotated[bool, typer.Option("--student", help="Without solutions, into reports/site-student/.")] = False,
) -> None:
    """Build the book as a site into reports/site/: the notebooks, guides, ranking and ledger, sounds."""
    from lungnb.book.report import default_out
    from lungnb.book.site import build

    books = sorted((default_out() / profile).glob("*/*.ipynb")) if profile else None
    typer.echo(build(books=books, public=public, student=student, browser=True))


@app.command()
def record(
    name: Annotated[str, typer.Argument(help="An experiment, as convlstm/sprsound-event.")],
    data: Annotated[str, typer.Option(help="The folder that holds its data sets.")] = "simulated",
    row: Annotated[list[str] | None, typer.Option(help="Only this row (may be repeated).")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Only this seed (may be repeated).")] = None,
    cluster: Annotated[str, typer.Option(help="local or slurm, to train as jobs.")] = "",
) -> None:
    """Train an experiment and keep its predictions in reports/recorded/."""
    from lungnb.book import experiments

    typer.echo(experiments.record(name, data, tuple(row or ()), tuple(seed or ()), cluster))


@app.command()
def verify(
    write: Annotated[bool, typer.Option("--write", help="First write the README's tables and pictures anew.")] = False,
) -> None:
    """Compute every recorded score anew from the predictions, and the README from these; status 1 and a list if any differs."""
    from lungnb.book import attributions, clips, front, recorded

    if write:
        front.write()
    if found := recorded.verify() + attributions.verify() + clips.verify() + front.differences():
        typer.echo("\n".join(found))
        raise typer.Exit(1)
    typer.echo(
        "Every recorded score follows from the recorded predictions, and so do the README's tables, findings and pictures."
    )


@app.command()
def publish(
    experiment: Annotated[str, typer.Argument(help="As convlstm/sprsound-event.")],
    row: Annotated[str, typer.Argument(help="A row of it whose weights are on file, as 'best CNN'.")],
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    seed: Annotated[int, typer.Option(help="The training whose weights are taken.")] = 0,
    repository: Annotated[str, typer.Option(help="A Hugging Face model to upload it to, as NAME/MODEL.")] = "",
) -> None:
    """Lay a recorded network out as a Hugging Face model folder with a card, and upload it if asked to."""
    from lungnb.book.publish import publish

    typer.echo(publish(experiment, row, folder, seed, repository))


@app.command()
def hear(
    source: Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER", help="A recording, or a folder of them.")],
    marks: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where marks of events lie, if not beside the recordings.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each event's class rests on.")] = False,
    out: Annotated[str, typer.Option(metavar="DIR", help="Where the page goes, else reports/hear.")] = "",
) -> None:
    """Hear recordings of your own with the packaged SPRSound classifier: a page with pictures and players, and a table.

    It was trained on children and one stethoscope, and its answers are no diagnosis."""
    from lungnb.book.hear import hear
    from lungnb.book.report import default_out

    typer.echo(hear(source, Path(out) if out else default_out() / "hear", marks, explain, typer.echo))


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="As 'A person is coughing, male, 40s, smoker'.")],
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The sound to write: .wav, .flac or .ogg.")],
    seed: Annotated[int, typer.Option(help="Another number makes another sound.")] = 0,
    guidance: Annotated[
        float, typer.Option(help="How much the prompt is exaggerated; 0 for that of the recorded experiment.")
    ] = 0.0,
) -> None:
    """Make the sound of a prompt with the recorded LungLDM: a few seconds, no training.

    It was trained on lung sounds and coughs alone, and what it makes is no recording of anybody."""
    from lungnb.book.generate import generate

    typer.echo(generate(prompt, path, seed, guidance))


@app.command()
def student(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    names: Names = None,
    solutions: Annotated[
        bool, typer.Option("--solutions", help="Also write the solutions, into DIR/solutions/.")
    ] = False,
    nbgrader: Annotated[bool, typer.Option("--nbgrader", help="Mark answers and tests for nbgrader.")] = False,
) -> None:
    """Write notebooks into DIR with cells to answer in, without solutions and outputs; copies that are there keep answers."""
    from lungnb.book.student import write_student_copies

    typer.echo("\n".join(map(str, write_student_copies(folder, names or [], solutions, nbgrader))))


@data_app.command()
def simulate(
    name: DataSet,
    folder: Folder,
    patients: Annotated[int, typer.Option(help="How many patients.")] = 40,
    seed: Annotated[int, typer.Option(help="The same seed writes the same recordings.")] = 0,
) -> None:
    """Write a simulated data set into DIR/NAME, in the official layout."""
    from lungnb.data import simulator

    simulator(name)(folder / name, n_patients=patients, seed=seed)
    typer.echo(folder / name)


@data_app.command()
def check(
    name: DataSet,
    folder: Folder,
    html: Annotated[
        Path | None, typer.Option(metavar="PAGE", help="Also as a page, with pictures of the worst recordings.")
    ] = None,
) -> None:
    """Open all that a run would in DIR/NAME, and say what is read, passed over, lost, refused and odd, and which counts differ
    from the published ones, as those of own data do; status 1 if anything stops a run."""
    from lungnb.data import check

    counts = check(name, folder)
    stops = counts.attrs["stops"]
    counted = counts[: len(counts) - stops]
    differences = counted[~counted["agrees"].astype(bool)]
    for finding in counts.attrs["report"]:
        typer.echo(str(finding))
    if len(differences):
        typer.echo(
            f"{len(differences)} of {len(counted)} counts differ from the published ones, as those of own data and of parts do:"
        )
        typer.echo(differences[["what", "published", "here"]].to_string(index=False))
    elif len(counted):
        typer.echo(f"All {len(counted)} counts agree with the published ones.")
    typer.echo(
        "Nothing here stops a run."
        if not stops
        else "One thing stops a run."
        if stops == 1
        else f"{stops} things stop a run."
    )
    if html:
        from lungnb.book.inspection_page import write_page

        typer.echo(write_page(name, counts, html))
    if stops:
        raise typer.Exit(1)


@data_app.command()
def fetch(
    name: DataSet,
    folder: Folder,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what, from where, how large.")] = False,
) -> None:
    """Download the data set into DIR/NAME, from mirrors first, and verify it; what is there already is kept."""
    from lungnb.data.download import fetch

    fetch(name, folder, dry_run=dry_run)
