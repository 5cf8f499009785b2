"""The server under measurement: planned, started, READY and stopped. Called by the parts.

The plan is measured beforehand and shown, so that no figure is taken while the server tunes itself.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundle.store import Bundle

PROFILE_SECONDS = 10
METHOD = "/convoy.classifier.v1.Classifier/Classify"


@dataclass(frozen=True, slots=True)
class Target:
    """A running server: where it listens, where it tells its metrics (a peer may tell none), its process, its call."""

    address: str
    pid: int
    metrics_url: str | None = None
    path: str = METHOD


@contextmanager
def planned(bundle: Bundle, options: Sequence[str]) -> Iterator[list[str]]:
    """The command line that serves the bundle's repository on free ports of the loopback interface, by a kept plan."""
    convoy = str(Path(sys.executable).with_name("convoy"))
    with tempfile.TemporaryDirectory() as state:
        kept = ("--state", state, "--profile-seconds", str(PROFILE_SECONDS), *options)
        subprocess.run([convoy, "plan", str(bundle.path), *kept], check=True)
        listen = ("--host", "127.0.0.1", "--port", "0", "--metrics-port", "0", "--log-format", "json")
        yield [convoy, "serve", "--repository", str(bundle.path.parent.parent), *listen, *kept]


@contextmanager
def served(bundle: Bundle, options: Sequence[str] = ()) -> Iterator[Target]:
    """The bundle's repository served, its model READY."""
    with planned(bundle, options) as command:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            ports = listening_and_ready(process.stderr or (), bundle.name)
            address = f"127.0.0.1:{ports['grpc_port']}"
            yield Target(address, process.pid, f"http://127.0.0.1:{ports['http_port']}/metrics")
        finally:
            process.terminate()
            process.communicate(timeout=60)


def listening_and_ready(log: Iterable[str], model: str) -> dict[str, int]:
    """Reads the server's log until the model is READY; the event that tells the ports. SystemExit where it is not."""
    ports: dict[str, int] = {}
    line = ""
    for line in log:
        event = json.loads(line) if line.startswith("{") else {}
        ports = event if event.get("event") == "listening" else ports
        match event.get("model"), event.get("state"):
            case (name, "READY") if name == model:
                return ports
            case (name, "UNAVAILABLE") if name == model:
                break
    raise SystemExit(f"make bench: the server does not serve {model!r}, its last words are: {line}")
