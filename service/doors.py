"""Unix sockets by which processes of one server reach each other: the supervisor its workers, a front what is behind.

On Linux a door is an abstract address, which the kernel forgets with its last user: there what is killed leaves nothing
behind. Elsewhere it is a file in a temporary folder, which a killed process leaves. An abstract address has no
permissions: whoever shares the machine's network may knock, as at the port itself.
"""

import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

_ABSTRACT: Final = "\0"


class Doors:
    """The doors of one process."""

    def __init__(self) -> None:
        self._folder = None if _has_abstract() else Path(tempfile.mkdtemp(prefix="convoy-"))
        self._name = f"convoy-{secrets.token_hex(8)}"

    def address(self, name: str) -> str:
        """The door of that name, as Python's sockets and pygrpc-native take it: it begins with a NUL, or is a path."""
        return f"{_ABSTRACT}{self._name}-{name}" if self._folder is None else str(self._folder / name)

    def close(self) -> None:
        """Removes what there is of it in the file system."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _has_abstract() -> bool:
    return sys.platform == "linux"


def is_door(address: str) -> bool:
    """Whether it is a Unix socket's address and not a host."""
    return address.startswith((_ABSTRACT, "/"))


def grpc_target(address: str) -> str:
    """The door as grpcio takes it."""
    return f"unix-abstract:{address[1:]}" if address.startswith(_ABSTRACT) else f"unix:{address}"
