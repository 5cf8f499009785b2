"""The options of every command that asks a server by TLS, and the client that they make.

The names are those of `convoy serve`: `--tls-cert` and `--tls-key` are each side's own certificate. They are flags
only, so that a server's CONVOY_TLS_CERT in a container is not taken for a client's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.client import tls
from service.client.client import Client

if TYPE_CHECKING:
    import grpc

TlsCa = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="PEM file of authorities to check the server's certificate by; asks with TLS."),
]
TlsCert = Annotated[
    Path | None, typer.Option(metavar="FILE", help="PEM file of our own certificate, for a server that wants one.")
]
TlsKey = Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file of that certificate's private key.")]


@dataclass(frozen=True, slots=True)
class Connection:
    """How a command reaches its server. The methods raise ValueError for terms and files that can't be used."""

    server: str
    timeout: float
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def secure(self) -> bool:
        """Whether it is with TLS."""
        return bool(self.tls_ca or self.tls_cert or self.tls_key)

    def client(self) -> Client:
        """A client, to be closed."""
        return Client(self.server, timeout=self.timeout, credentials=self.credentials())

    def credentials(self) -> "grpc.ChannelCredentials | None":
        """Those of the channel; None without TLS."""
        try:
            return tls.credentials(self.tls_ca, self.tls_cert, self.tls_key)
        except OSError as error:
            raise ValueError(f"{error.filename} can't be read: {error.strerror}") from error
