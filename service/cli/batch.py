"""`convoy batch`: a folder of pictures in, one Parquet file of labelled classes out.

Every mistake is found before work starts and exits 2 with one sentence; a job that breaks exits 1 and leaves nothing.
One that could classify no picture at all exits 1 too, and leaves its file of errors.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from service.jobs.batch import BatchSummary
    from service.jobs.predictor import Predictor


def batch(
    *,
    model: Annotated[Path, typer.Option(help="A version's folder, a model's (its highest version), or a repository.")],
    source: Annotated[str, typer.Option("--input", help="A folder, with all below it, a quoted glob, or one picture.")],
    output: Annotated[Path, typer.Option(help="The Parquet file to write; an earlier one is replaced at the end.")],
    top_k: Annotated[
        int | None, typer.Option(help="Classes a picture, best first; 5 unless the model has fewer.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or tensorrt[:N].")] = "auto",
    runtime: Annotated[
        Literal["auto", "onnx", "tensorflow"], typer.Option(help="What executes the model; auto prefers ONNX.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(help="Pictures in one run of the model.")] = 32,
    threads: Annotated[int, typer.Option(help="CPU threads of one run; 0 means all cores.")] = 0,
) -> None:
    """Classify a folder of pictures into a Parquet file: one row a picture, a bad one with its error.

    Exit code 0, or 1 where no picture could be classified or the job broke, 2 for a mistake in the options.
    """
    from bundle.errors import BundleError
    from service.errors import ServiceError
    from service.jobs.output import check_writable
    from service.jobs.predictor import Predictor
    from service.jobs.sources import find_pictures
    from service.runtimes.devices import Device

    try:
        pictures = find_pictures(source)
        check_writable(output)
        predictor = Predictor(
            model,
            engine=runtime,
            device=Device.parse(device),
            threads=threads,
            batch_size=batch_size,
            top_k=top_k,
        )
    except (ServiceError, BundleError) as error:
        _fail(error, 2)
    with predictor:
        try:
            with _unwinding_at_sigterm():
                summary = _run(predictor, pictures, output)
        except ServiceError as error:
            _fail(error, 1)
    typer.echo(_sentence(summary))
    if summary.failed == summary.pictures:
        raise typer.Exit(1)


def _run(predictor: "Predictor", pictures: list[Path], output: Path) -> "BatchSummary":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from service.jobs.batch import run_batch

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{predictor.bundle.name} on {predictor.info.device}", total=len(pictures))
        return run_batch(predictor, pictures, output, on_progress=lambda done: progress.update(task, completed=done))


@contextmanager
def _unwinding_at_sigterm() -> Iterator[None]:
    """Turns SIGTERM, which would end the process on the spot, into an exit that clears up what is half-written."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _sentence(summary: "BatchSummary") -> str:
    failed = f", {summary.failed:,} with an error" if summary.failed else ""
    told = (
        f"{summary.output}: {summary.pictures:,} picture{'s' * (summary.pictures != 1)}{failed}, "
        f"{summary.seconds:.1f} s, {summary.images_per_second:,.0f} images/s"
    )
    if summary.first_failed is None:
        return told
    from service.errors import printable

    path, reason = summary.first_failed
    return f"{told}\n{'The first' if summary.failed > 1 else 'The'} one with an error: {printable(str(path))}: {reason}"


def _fail(error: Exception, code: int) -> NoReturn:
    typer.echo(f"convoy batch: {error}", err=True)
    raise typer.Exit(code)
