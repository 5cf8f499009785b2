"""`convoy label`: points a version label of a model at a version, or removes it.

Needs only the base install. Exit code 0 when it is done, 2 for a mistake or a server that refuses or does not answer.
"""

from typing import Annotated

import typer

from service.cli.connection import Connection, TlsCa, TlsCert, TlsKey
from service.client.channel import DEFAULT_SERVER, DEFAULT_TIMEOUT
from service.client.errors import ClientError


def label(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model.")],
    name: Annotated[str, typer.Argument(metavar="LABEL", help="The label, such as stable or canary.")],
    version: Annotated[int | None, typer.Argument(metavar="VERSION", help="A READY version.", min=1)] = None,
    *,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the label.")] = False,
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="The gRPC server.")] = DEFAULT_SERVER,
    timeout: Annotated[float, typer.Option(help="Seconds that the call may take.")] = DEFAULT_TIMEOUT,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Point a label at a version of a model, on a server that was started with --allow-admin."""
    try:
        connection = Connection(server, timeout, tls_ca, tls_cert, tls_key)
        print(change(model, name, version, delete=delete, connection=connection))
    except (ClientError, ValueError) as error:
        typer.echo(f"convoy label: {error}", err=True)
        raise typer.Exit(2) from error


def change(model: str, label: str, version: int | None, *, delete: bool, connection: Connection) -> str:
    """Does it and gives the sentence that says so. Raises ClientError, or ValueError for a mistake."""
    if delete == (version is not None):
        raise ValueError("give either the VERSION that the label is to point to, or --delete")
    with connection.client() as client:
        if version is None:
            return f"{model} {label} is removed; it was {client.delete_version_label(model, label)}"
        before = client.set_version_label(model, label, version)
    return f"{model} {label} is {version}; it was {'not there' if before is None else before}"
