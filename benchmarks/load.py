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
from benchmarks.serving import Target

STREAMS = 8


@dataclass(frozen=True, slots=True)
class Load:
    """What one run showed; latencies in milliseconds, CPU in microseconds a request."""

    requests_per_second: float
    p50: float
    p99: float
    server_cpu_us: float
    resident_mb: float


def generator() -> str:
    """The load generator that this machine has."""
    return "h2load" if shutil.which("h2load") else "python"


def run(target: Target, request: bytes, in_flight: int, seconds: float) -> Load:
    """Keeps `in_flight` calls open for `seconds`. Raises RuntimeError if any call was not answered OK.

    Of a peer without metrics of ours only the generator's own count is known, so ask it once beforehand.
    """
    warm = max(0.5, seconds / 4)
    drive = _h2load if generator() == "h2load" else _python
    drive(target, request, in_flight, warm)
    before, cpu = _answered(target), account.cpu_seconds(target.pid)
    rate, latencies = drive(target, request, in_flight, seconds)
    cpu, answered = account.cpu_seconds(target.pid) - cpu, len(latencies)
    if before is not None:
        answered = (_answered(target) or 0) - before
        if answered < len(latencies):
            raise RuntimeError(f"the server answered {answered} of {len(latencies)} calls with OK")
    p50, p99 = np.percentile(latencies, (50, 99))
    return Load(rate, float(p50), float(p99), cpu / answered * 1e6, account.resident_mebibytes(target.pid))


def _h2load(target: Target, request: bytes, in_flight: int, seconds: float) -> tuple[float, list[float]]:
    connections = max(1, in_flight // STREAMS)
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
        command = ["h2load", f"--duration={round(seconds * 1e3)}ms", f"--log-file={log}", "-d", str(body), "-t", "1"]
        command += ["-c", str(connections), "-m", str(in_flight // connections)]
        command += ["-w", "24", "-W", "26"]  # windows that a picture of a megabyte does not fill
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        command += [f"http://{target.address}{target.path}"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        rows = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
    found = re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", done.stdout)
    if done.returncode or not found or not rows:
        raise RuntimeError(f"h2load did not finish:\n{done.stdout}{done.stderr}")
    return float(found[1]), [int(row[2]) / 1e3 for row in rows]


def _python(target: Target, request: bytes, in_flight: int, seconds: float) -> tuple[float, list[float]]:
    command = [sys.executable, "-m", "benchmarks.caller", target.address, str(in_flight), str(seconds), target.path]
    done = subprocess.run(command, input=request, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip())
    latencies = np.frombuffer(done.stdout, np.float64).tolist()
    return len(latencies) / seconds, latencies


def _answered(target: Target) -> int | None:
    if target.metrics_url is None:
        return None
    with urllib.request.urlopen(target.metrics_url, timeout=5) as page:  # noqa: S310 - our own loopback server
        text = page.read().decode()
    found = re.search(r'^convoy_call_seconds_count\{code="OK",method="Classify"\} ([\d.e+]+)$', text, re.MULTILINE)
    return int(float(found[1])) if found else 0
