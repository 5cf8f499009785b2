"""`convoy models`: what a server has, and one model in full.

Needs only the base install. Exit code 0 with an answer, 2 for a mistake or a server that gives none.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.connection import Connection, TlsCa, TlsCert, TlsKey
from service.client.channel import DEFAULT_SERVER, DEFAULT_TIMEOUT
from service.client.errors import ClientError
from service.client.results import Head, ModelInfo, ModelSummary, VersionStatus

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

STYLES = {"READY": "green", "UNAVAILABLE": "red"}
LABELS_SHOWN = 10


def models(
    name: Annotated[str | None, typer.Argument(metavar="MODEL", help="A model, to see it in full.")] = None,
    *,
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="The gRPC server.")] = DEFAULT_SERVER,
    version: Annotated[int | None, typer.Option(help="Version of the named model; else its highest READY one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, one a model.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that the call may take.")] = DEFAULT_TIMEOUT,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Show the models of a server with their versions and states, or one model in full."""
    try:
        found = ask(name, version, Connection(server, timeout, tls_ca, tls_cert, tls_key))
    except (ClientError, ValueError) as error:
        typer.echo(f"convoy models: {error}", err=True)
        raise typer.Exit(2) from error
    if as_json:
        for model in [found] if isinstance(found, ModelInfo) else found:
            typer.echo(json.dumps(dataclasses.asdict(model)))
    else:
        show(found)


def ask(name: str | None, version: int | None, connection: Connection) -> ModelInfo | list[ModelSummary]:
    """One model in full, or all in short. Raises ClientError, or ValueError for a mistake."""
    if name is None and version is not None:
        raise ValueError("--version needs the name of a model")
    with connection.client() as client:
        return client.list_models() if name is None else client.get_model(name, version=version)


def show(found: ModelInfo | Sequence[ModelSummary]) -> None:
    """The answer for a person."""
    from rich.console import Console

    console = Console()
    if isinstance(found, ModelInfo):
        console.print(_facts(found))
        _tell([ModelSummary(found.name, found.versions, found.problem)], console)
    elif found:
        _tell(found, console)
    else:
        console.print("The server has no model yet.")


def _tell(models: Sequence[ModelSummary], console: "Console") -> None:
    """The versions, and below them what is wrong with a model as a whole."""
    from rich.text import Text

    console.print(_versions(models))
    for model in models:
        if model.problem:
            console.print(Text(f"{model.name}: {model.problem}", "yellow"))


def _versions(models: Sequence[ModelSummary]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("Model", "Version", "State", "Labels", "Reason")
    for model in models:
        for status in model.versions or (VersionStatus(0, "no version", "", ()),):
            table.add_row(
                Text(model.name),
                str(status.version or ""),
                Text(status.state, STYLES.get(status.state, "yellow")),
                Text(", ".join(status.labels)),
                Text(status.reason),
            )
    return table


def _facts(model: ModelInfo) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    for name, value in _fact_lines(model):
        table.add_row(Text(name, "bold"), Text(value))
    return table


def _fact_lines(model: ModelInfo) -> Iterator[tuple[str, str]]:
    if model.version is None:
        yield "Model", f"{model.name}, of which no version is READY"
        return
    yield "Model", f"{model.name} version {model.version}"
    yield "Runtime", model.runtime
    if model.plan:
        yield "Plan", model.plan
    for direction, tensors in (("Input", model.inputs), ("Output", model.outputs)):
        for tensor in tensors:
            shape = ", ".join("any" if size < 0 else str(size) for size in tensor.shape)
            yield direction, f"{tensor.name}: {tensor.dtype} [{shape}]"
    for step in model.preprocessing:
        size = f"{step.height} x {step.width} pixels, {step.channels} channel{'s' * (step.channels != 1)}"
        yield "Pictures", f"{step.input}: {size}, resize {step.resize}, {step.kernel}"
    for head in model.heads:
        yield "Head", _head(head)
    if model.training_metrics:
        yield "Metrics", ", ".join(f"{name} {value:.4g}" for name, value in sorted(model.training_metrics.items()))


def _head(head: Head) -> str:
    more = ", ..." if len(head.labels) > LABELS_SHOWN else ""
    labels = ", ".join(head.labels[:LABELS_SHOWN]) + more
    unsure = "" if head.abstain_below is None else f", unsure below {head.abstain_below:.3f}"
    explains = "; explains itself by activation maps" if head.explains else ""
    return f"{head.name}: {head.activation} of {head.output}{unsure}, {len(head.labels)} classes: {labels}{explains}"
