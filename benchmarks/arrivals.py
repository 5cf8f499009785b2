"""An open loop: calls that arrive when they arrive, whether or not the earlier ones were answered.

    python -m benchmarks.arrivals HOST:PORT RATE SECONDS DEADLINE_MS < request > outcomes

The gaps between arrivals are exponential (a Poisson process), as those of many independent users are. Latency counts
from the moment the call was to arrive, so a generator or a server that falls behind can't hide it. A call whose time is
over has expired, as with any gRPC client, and whatever comes of it later does not count. Writes an .npz with a row for
every call, in the order of their arrival, and the seconds that the generator took in all and of a core. It is a process
of its own, so that it does not share its interpreter with what sums it up.
"""

import io
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks import account
from benchmarks.serving import METHOD, Target
from benchmarks.wire import DEADLINE_EXCEEDED, OK, Call, Connection, Ended

CONNECTIONS = 4
SEED = 11
LATE_MS = 5.0

_RESOURCE_EXHAUSTED = 8


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """What came of the calls that arrived at `rate` a second; latencies in milliseconds, of the calls answered OK.

    `goodput` is answers OK a second. `codes` counts the calls by their gRPC code, `calls` are all of them. `late` is
    the share of calls that the generator sent over 5 ms late: above a few per cent the figures show the generator.
    `generator` is the share of one core that it took.
    """

    rate: float
    calls: int
    codes: dict[int, int]
    goodput: float
    p50: float
    p99: float
    late: float
    generator: float
    resident_mb: float

    @property
    def refused(self) -> float:
        """The share of calls that the server refused for its load."""
        return self.codes.get(_RESOURCE_EXHAUSTED, 0) / self.calls

    @property
    def expired(self) -> float:
        """The share of calls that were not answered in time."""
        return self.codes.get(DEADLINE_EXCEEDED, 0) / self.calls


def run(target: Target, request: bytes, rate: float, seconds: float, deadline_ms: float) -> OpenLoop:
    """Sends calls at `rate` a second for `seconds`, each with that deadline."""
    command = [sys.executable, "-m", "benchmarks.arrivals", target.address, str(rate), str(seconds), str(deadline_ms)]
    done = subprocess.run(command, input=request, stdout=subprocess.PIPE, check=True)
    with np.load(io.BytesIO(done.stdout)) as written:
        latencies, codes, lateness = written["outcomes"].T
        elapsed, cpu = written["seconds"].tolist()
    answered = codes == OK
    p50, p99 = np.percentile(latencies[answered], (50, 99)) if answered.any() else (np.nan, np.nan)
    values, counts = np.unique(codes.astype(int), return_counts=True)
    return OpenLoop(
        rate=rate,
        calls=len(codes),
        codes=dict(zip(values.tolist(), counts.tolist(), strict=True)),
        goodput=float(answered.sum() / seconds),
        p50=float(p50),
        p99=float(p99),
        late=float((lateness > LATE_MS).mean()),
        generator=cpu / elapsed,
        resident_mb=account.resident_mebibytes(target.pid),
    )


def poisson(rate: float, seconds: float) -> NDArray[np.float64]:
    """When the calls are due: seconds from the start, the same every time."""
    random = np.random.default_rng(SEED)
    return np.cumsum(random.exponential(1 / rate, round(rate * seconds)))


def arrive(
    address: str, path: str, request: bytes, due: NDArray[np.float64], deadline: float
) -> tuple[NDArray[np.float64], float, float]:
    """Makes a call at each of the `due` seconds, with `deadline` seconds for its answer.

    Gives float64 [calls, 3], for each call its latency in milliseconds, its gRPC code and by how many milliseconds it
    was sent late; then how many seconds that took, and how many of a core. Raises what `Connection` raises.
    """
    outcomes = np.full((len(due), 3), np.nan)
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(address, path, request, deadline)) for _ in range(CONNECTIONS)]
        began, cpu = time.perf_counter(), time.process_time()
        _keep_to((began + due).tolist(), connections, outcomes)
        return outcomes, time.perf_counter() - began, time.process_time() - cpu


def _keep_to(times: list[float], connections: Sequence[Connection], outcomes: NDArray[np.float64]) -> None:
    """Makes the calls at their times and notes their ends, until there are none left."""
    put = 0
    while True:
        while put < len(times) and times[put] <= time.perf_counter():
            connections[put % CONNECTIONS].put(Call(put, times[put]))
            put += 1
        for connection in connections:
            _note(outcomes, connection.expire())
            connection.send()
        if put == len(times) and not any(connection.busy for connection in connections):
            return
        for connection in _readable(connections, times[put] if put < len(times) else float("inf")):
            _note(outcomes, connection.receive())


def _readable(connections: Sequence[Connection], due: float) -> Sequence[Connection]:
    """Waits for an answer, for the next call to be due, for one to expire, or for room to write."""
    until = min(due, *(connection.expires for connection in connections))
    blocked = [connection for connection in connections if connection.blocked]
    readable, _, _ = select.select(connections, blocked, (), max(0.0, until - time.perf_counter()))
    return readable


def _note(outcomes: NDArray[np.float64], ended: Iterable[Ended]) -> None:
    for call, code, at in ended:
        outcomes[call.number] = (at - call.due) * 1e3, code, (call.sent - call.due) * 1e3


if __name__ == "__main__":
    _, where, rate, seconds, milliseconds = sys.argv
    body = sys.stdin.buffer.read()
    found, *took = arrive(where, METHOD, body, poisson(float(rate), float(seconds)), float(milliseconds) / 1e3)
    written = io.BytesIO()
    np.savez(written, outcomes=found, seconds=took)
    sys.stdout.buffer.write(written.getvalue())
