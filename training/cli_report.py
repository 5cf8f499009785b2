"""`convoy report`: makes the report of a published version again, beside it and never in it.

A version is byte for byte what was published, so its own report stays as it is. Exit code 2 for a mistake, with one
sentence.
"""

from pathlib import Path
from typing import Annotated

import typer

from bundle import store
from bundle.errors import BundleError
from training.startup import start_tensorflow


def report(
    path: Annotated[
        Path, typer.Argument(help="A version's folder, a model's (its highest version), or a repository of one model.")
    ],
    *,
    out: Annotated[Path | None, typer.Option(help="Folder of the page; else MODEL-VERSION-report here.")] = None,
) -> None:
    """Make the report of a published version again: index.html and its pictures."""
    try:
        bundle = store.open_bundle(store.resolve(path))
        folder = out or Path(f"{bundle.name}-{bundle.version}-report")
        _refuse_inside(folder, bundle)
        typer.echo("- starting TensorFlow")
        start_tensorflow()
        page = _make(bundle, folder)
    except BundleError as error:
        typer.echo(f"convoy report: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"wrote {page}")


def _make(bundle: store.Bundle, folder: Path) -> Path:
    from training.report.make import make_report

    try:
        return make_report(bundle, folder, bundle.name)
    except OSError as error:
        raise BundleError(f"{folder} can't be written: {error.strerror}") from error


def _refuse_inside(folder: Path, bundle: store.Bundle) -> None:
    if folder.resolve().is_relative_to(bundle.path.resolve()):
        raise BundleError(f"{folder} lies in a published version, whose files must stay as they are; choose another")
