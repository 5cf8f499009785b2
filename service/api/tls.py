"""The port's credentials where it speaks TLS: the server's certificate and whose clients it takes.

The files may be replaced while the server runs, as cert-manager does: every new connection looks whether they are
others and gets what they hold then. What does not go together, or can't be read, is logged once and what was good goes
on. Used by the grpcio transport; gRPC asks for renewals in threads of its own.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from service import pem
from service.config import Settings
from service.errors import SettingsError

log = logging.getLogger(__name__)

_Stamp = tuple[int, int, int] | None


def wanted(settings: Settings) -> bool:
    """Whether any of the TLS settings is there."""
    return bool(settings.tls_cert or settings.tls_key or settings.tls_client_ca)


def credentials(settings: Settings) -> grpc.ServerCredentials:
    """What opens a port with TLS. Raises SettingsError for settings or files that can't be used."""
    if settings.tls_cert is None or settings.tls_key is None:
        raise SettingsError("TLS needs a certificate and its private key; give both --tls-cert and --tls-key")
    files = _Files(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    return grpc.dynamic_ssl_server_credentials(
        files.read(),
        files.renewed,  # type: ignore[arg-type]  # None, for no change, is missing in the stubs
        require_client_authentication=settings.tls_client_ca is not None,
    )


class _Files:
    """The files of one port."""

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._seen = self._stamps()

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What they hold. Raises SettingsError."""
        with _mistakes("--tls-cert and --tls-key"):
            chain, key = pem.pair(self._cert, self._key)
        with _mistakes("--tls-client-ca"):
            authorities = pem.certificates(self._client_ca) if self._client_ca else None
        return grpc.ssl_server_certificate_configuration([(key, chain)], authorities)

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """What they hold if they are others than before and go together; else None, and what was before goes on."""
        stamps = self._stamps()
        if stamps == self._seen:
            return None
        try:
            found = self.read()
        except SettingsError as error:
            self._seen = stamps
            log.warning("certificate not renewed", extra={"reason": str(error)})
            return None
        if stamps != self._stamps():
            return None  # replaced while they were read: the next connection looks again
        self._seen = stamps
        log.info("certificate renewed", extra={"path": str(self._cert)})
        return found

    def _stamps(self) -> list[_Stamp]:
        return [_stamp(path) for path in (self._cert, self._key, self._client_ca) if path]


def _stamp(path: Path) -> _Stamp:
    """What differs when a file was replaced, also behind a link."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def _mistakes(flags: str) -> Iterator[None]:
    """Turns what `service.pem` finds into the sentence for who started the server."""
    try:
        yield
    except OSError as error:
        file = error.filename or "a file"
        raise SettingsError(f"no TLS: {file} can't be read: {error.strerror}; check {flags}") from error
    except ValueError as error:
        raise SettingsError(f"no TLS: {error}; check {flags}") from error
