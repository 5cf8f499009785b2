"""The certificates of the tests, as the server and the client take them; `certificates/make.sh` made them."""

from pathlib import Path

FOLDER = Path(__file__).with_name("certificates")


def ca(authority: str) -> Path:
    """The authority's own certificate: "first" or "second"."""
    return FOLDER / f"{authority}-ca.pem"


def served(authority: str, *, clients_of: str | None = None, folder: Path = FOLDER) -> dict[str, Path]:
    """Settings of a server with a certificate for this machine, which takes clients of an authority, or all."""
    files = {"tls_cert": folder / f"{authority}-server.pem", "tls_key": folder / f"{authority}-server.key"}
    return files | ({"tls_client_ca": ca(clients_of)} if clients_of else {})


def asking(authority: str) -> dict[str, Path]:
    """Terms of a client that has a certificate of its own."""
    return {"certificate_chain": FOLDER / f"{authority}-client.pem", "private_key": FOLDER / f"{authority}-client.key"}
