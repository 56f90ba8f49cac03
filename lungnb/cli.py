"""The command line. What is heavy is imported by the command that needs it, so that `--help` answers at once."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

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

Names = Annotated[list[str] | None, typer.Argument(help="Notebooks, as 01_respirenet; all if none is named.")]
DataSet = Annotated[
    str, typer.Argument(metavar="NAME", help="The data set; an unknown name lists those that are known.")
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that holds, or will hold, NAME/.")]
Out = Annotated[
    str, typer.Option(metavar="DIR", help="Where reports lie: reports/ of the repository, or of this folder.")
]


@app.command()
def report(
    names: Names = None,
    profile: Annotated[str, typer.Option(help="smoke, laptop or paper.")] = "smoke",
    data: Annotated[str, typer.Option(metavar="DIR", help="Folder of icbhi/ and the like, or simulated.")] = "",
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="A parameter of the notebooks.")
    ] = None,
    out: Out = "",
) -> None:
    """Build notebooks into OUT/PROFILE/: executed, with tables, figures and a manifest; status 1 if any is missing."""
    from lungnb.book.build import build, parse_value

    pairs = [text.partition("=") for text in parameter or []]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise UserError(f"-p takes key=value, not {key!r}.")
    if build(names or [], profile, data, {key: parse_value(value) for key, _, value in pairs}, out):
        raise typer.Exit(1)


@app.command()
def store(names: Names = None) -> None:
    """Execute notebooks on the smoke profile and keep them, with outputs, beside their sources."""
    from lungnb.book.build import store

    store(names or [])


@app.command()
def site(
    profile: Annotated[str, typer.Option(help="Show the notebooks of this build, not the stored ones.")] = "",
) -> None:
    """Build the book as a site into reports/site/: the notebooks, guides, the leaderboard of what was built."""
    from lungnb.book.report import default_out
    from lungnb.book.site import build

    typer.echo(build(books=sorted((default_out() / profile).glob("*/*.ipynb")) if profile else None))


@app.command()
def record(
    name: Annotated[str, typer.Argument(help="The notebook, as 01_respirenet.")],
    profile: Annotated[str, typer.Option(help="The profile it was built on.")] = "paper",
    cut: Annotated[str, typer.Option(help="One sentence: what of the paper's size was cut.")] = "Nothing was cut.",
    out: Out = "",
) -> None:
    """Keep the comparisons of a report on real data in reports/recorded/, with their provenance."""
    from lungnb.book.recorded import record

    typer.echo("\n".join(map(str, record(name, profile, cut, out))))


@app.command()
def verify() -> None:
    """Compute every recorded score anew from the recorded predictions; status 1 and a list if any differs."""
    from lungnb.book.evidence import verify

    if found := verify():
        typer.echo("\n".join(found))
        raise typer.Exit(1)
    typer.echo("Every recorded score follows from the recorded predictions.")


@app.command()
def student(folder: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Write the notebooks into DIR without solutions and outputs."""
    from lungnb.book.notebooks import write_student_copies

    typer.echo("\n".join(map(str, write_student_copies(folder))))


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
def check(name: DataSet, folder: Folder) -> None:
    """Open all that a run would in DIR/NAME, count it against the published counts, list what was passed over; status 1 if
    anything differs or is refused."""
    from lungnb.data import check

    counts = check(name, folder)
    differences = counts[~counts["agrees"].astype(bool)]
    for line in counts.attrs.get("report", []):
        typer.echo(line)
    if differences.empty:
        agree = f"All {len(counts)} counts agree with the published ones."
        typer.echo(agree if len(counts) else "No counts of it are published; nothing here stops a run.")
        return
    typer.echo(f"{len(differences)} of {len(counts)} counts differ:")
    typer.echo(differences[["what", "published", "here"]].to_string(index=False))
    raise typer.Exit(1)


@data_app.command()
def fetch(name: DataSet, folder: Folder) -> None:
    """Download the data set into DIR/NAME; what is there already is kept."""
    from lungnb.data.download import fetch

    fetch(name, folder)
