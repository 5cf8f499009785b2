"""A closed loop of calls against a server: requests/s, latency, and what the server's process paid for it.

The load comes from h2load (Debian's nghttp2-client), which costs about ten microseconds a request; where it is not
installed, from a Python process, which takes more of the shared cores and so shows less of the server: the table says
which. h2load does not see gRPC codes, so the server's own count of OK answers must match.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import account

METHOD = "/convoy.classifier.v1.Classifier/Classify"
STREAMS = 8


@dataclass(frozen=True, slots=True)
class Target:
    """A running server: where it listens, where it tells its metrics, and its process."""

    address: str
    metrics_url: str
    pid: int


@dataclass(frozen=True, slots=True)
class Load:
    """What one run showed; latencies in milliseconds, CPU in microseconds a request, others' cores beside it."""

    requests_per_second: float
    p50: float
    p99: float
    server_cpu_us: float
    resident_mb: float


def generator() -> str:
    """The load generator that this machine has."""
    return "h2load" if shutil.which("h2load") else "python"


def run(target: Target, request: bytes, in_flight: int, seconds: float) -> Load:
    """Keeps `in_flight` calls open for `seconds`. Raises RuntimeError if any call was not answered OK."""
    warm = max(0.5, seconds / 4)
    drive = _h2load if generator() == "h2load" else _python
    drive(target.address, request, in_flight, warm)
    answered, cpu = _answered(target), account.cpu_seconds(target.pid)
    rate, latencies = drive(target.address, request, in_flight, seconds)
    cpu, answered = account.cpu_seconds(target.pid) - cpu, _answered(target) - answered
    if answered < len(latencies):
        raise RuntimeError(f"the server answered {answered} of {len(latencies)} calls with OK")
    p50, p99 = np.percentile(latencies, (50, 99))
    return Load(rate, float(p50), float(p99), cpu / answered * 1e6, account.resident_mebibytes(target.pid))


def _h2load(address: str, request: bytes, in_flight: int, seconds: float) -> tuple[float, list[float]]:
    connections = max(1, in_flight // STREAMS)
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
        command = [
            "h2load",
            f"--duration={round(seconds * 1e3)}ms",
            "-c",
            str(connections),
            "-m",
            str(in_flight // connections),
        ]
        command += ["-t", "1", "-H", "content-type: application/grpc", "-H", "te: trailers", "-d", str(body)]
        command += [f"--log-file={log}", f"http://{address}{METHOD}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows = [line.split("\t") for line in log.read_text().splitlines()]
    found = re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", done.stdout)
    if not found:
        raise RuntimeError(f"h2load said nothing of its rate:\n{done.stdout}{done.stderr}")
    return float(found[1]), [int(row[2]) / 1e3 for row in rows]


def _python(address: str, request: bytes, in_flight: int, seconds: float) -> tuple[float, list[float]]:
    command = [sys.executable, "-m", "benchmarks.caller", address, str(in_flight), str(seconds)]
    done = subprocess.run(command, input=request, capture_output=True, check=True)
    latencies = np.frombuffer(done.stdout, np.float64).tolist()
    return len(latencies) / seconds, latencies


def _answered(target: Target) -> int:
    with urllib.request.urlopen(target.metrics_url, timeout=5) as page:  # noqa: S310 - our own loopback server
        text = page.read().decode()
    found = re.search(r'^convoy_call_seconds_count\{code="OK",method="Classify"\} ([\d.e+]+)$', text, re.MULTILINE)
    return int(float(found[1])) if found else 0
