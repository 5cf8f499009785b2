"""Files of TLS in PEM form, read and checked before gRPC has them: it takes anything and fails at the first connection.

Both ends use it, `service.api.tls` for the server and `service.client.channel` for its clients. Every function raises
OSError for a file that can't be read, and ValueError, with a sentence that names the file, for one that can't be used.
"""

import ssl
from pathlib import Path

# What OpenSSL says of a file in which it finds nothing of the kind; its other reasons are worth telling.
_NOTHING = ("NO_START_LINE", "NOT_ENOUGH_DATA")


def certificates(path: Path) -> bytes:
    """The file's bytes, with one certificate at least: authorities to trust, or a chain that begins with one's own."""
    content = path.read_bytes()
    try:
        # Between the certificates there may be any text, of which ssl takes ASCII only.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"{path} is not a file of certificates in PEM form{_reason(error)}") from error
    return content


def pair(chain: Path, key: Path) -> tuple[bytes, bytes]:
    """The bytes of a certificate's chain and of its private key, which belong together."""
    content = certificates(chain), key.read_bytes()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(
            f"{key} is not the private key of {chain} in PEM form without a passphrase{_reason(error)}"
        ) from error
    return content


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return f" ({reason.replace('_', ' ').lower()})" if reason and reason not in _NOTHING else ""
