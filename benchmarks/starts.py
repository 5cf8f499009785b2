"""Cold starts: from the start of the server's process to its first right answer, and the memory it then has.

The plan is known from an earlier start, as it is to all starts but the first on a machine.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from benchmarks import account
from benchmarks.serving import METHOD, planned
from bundle.store import Bundle

_TIMEOUT_SECONDS = 60
_PAUSE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the process's start to the first answer, and the resident memory after it."""

    seconds: float
    resident_mb: float


def starts(bundle: Bundle, request: bytes, count: int, options: Sequence[str] = ()) -> list[Start]:
    """Starts the server `count` times, one after the other."""
    with planned(bundle, options) as command:
        return [_start(command, request) for _ in range(count)]


def _start(command: Sequence[str], request: bytes) -> Start:
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{_port(process)}") as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            while time.perf_counter() - began < _TIMEOUT_SECONDS:
                with contextlib.suppress(grpc.RpcError):
                    call(request, timeout=_TIMEOUT_SECONDS, wait_for_ready=True)
                    return Start(time.perf_counter() - began, account.resident_mebibytes(process.pid))
                time.sleep(_PAUSE_SECONDS)  # it listens before the model is READY
        raise SystemExit(f"make bench: the server gave no answer within {_TIMEOUT_SECONDS} s")
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _port(process: "subprocess.Popen[str]") -> int:
    for line in process.stderr or ():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "listening":
            return int(event["grpc_port"])
    raise SystemExit("make bench: the server ended before it listened")
