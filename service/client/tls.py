"""TLS as a client has it: the credentials that files make, and what it means where the handshake fails.

gRPC tells a failed handshake in OpenSSL's words, which name neither the file nor the remedy, and takes files that hold
nothing without a word. Used by `channel`, for the commands too, and by `errors`.
"""

import os
import re
from pathlib import Path
from typing import TypeAlias

import grpc

from service import pem

File: TypeAlias = "str | os.PathLike[str] | None"

# Pieces of gRPC's sentence and what each means with TLS; the last one stands in it where the server just hangs up.
_MEANING = {
    "certificate_verify_failed": "its certificate is not trusted here{why}; check root_certificates (--tls-ca)",
    "hostname verification check failed": "its certificate is for other names than this address; use one of those",
    "wrong_version_number": "it speaks no TLS; leave the certificates out",
    "socket closed": "it ended the TLS handshake; where it wants a client's certificate, give one that it trusts as "
    "certificate_chain and private_key (--tls-cert and --tls-key)",
}
NO_TLS = f"can't be asked by TLS: {_MEANING['wrong_version_number']}"
_WITHOUT = "it ends connections, as a server of TLS alone does; check the address, or give root_certificates (--tls-ca)"
_CONNECTING = ("failed to connect", "connections to all backends failing")
_VERIFY = re.compile(r"certificate_verify_failed: ([\w ]+)")


def credentials(root_certificates: File, certificate_chain: File, private_key: File) -> grpc.ChannelCredentials | None:
    """The credentials that the files make; None without any. Raises OSError, or ValueError for one that can't be used.

    Without `root_certificates` the server's certificate is checked against gRPC's own list of public authorities.
    """
    if (certificate_chain is None) != (private_key is None):
        raise ValueError(
            "a client's certificate needs its private key; give both certificate_chain and private_key "
            "(--tls-cert and --tls-key)"
        )
    roots = pem.certificates(Path(root_certificates)) if root_certificates is not None else None
    if certificate_chain is None or private_key is None:
        return None if roots is None else grpc.ssl_channel_credentials(roots)
    chain, key = pem.pair(Path(certificate_chain), Path(private_key))
    return grpc.ssl_channel_credentials(roots, key, chain)


def failure(details: str, *, secure: bool) -> str:
    """Why no connection came about, where TLS is the reason or its absence (not `secure`), with the remedy; else ""."""
    words = details.lower()
    if not any(piece in words for piece in _CONNECTING):
        return ""
    if not secure:
        return f"can't be reached: {_WITHOUT}" if "socket closed" in words else ""
    verify = _VERIFY.search(words)
    why = f" ({verify[1]})" if verify else ""
    found = (meaning for piece, meaning in _MEANING.items() if piece in words)
    return next((f"can't be asked by TLS: {meaning.format(why=why)}" for meaning in found), "")
