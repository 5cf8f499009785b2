"""The load generator where h2load is not installed: `in_flight` calls open at any time.

    python -m benchmarks.caller HOST:PORT IN_FLIGHT SECONDS METHOD < request > latencies

Writes the latencies in milliseconds as raw float64. Where a call is not answered OK it says so and exits with 1.
"""

import select
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np

from benchmarks.wire import OK, Call, Connection

CALLS_A_CONNECTION = 8


def latencies(address: str, in_flight: int, seconds: float, method: str, request: bytes) -> list[float]:
    """Calls until the time is over, and waits for the last answers, whose latencies do not count.

    Raises RuntimeError where a call is not answered OK, and what `Connection` raises.
    """
    count = -(-in_flight // CALLS_A_CONNECTION)
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(address, method, request, None)) for _ in range(count)]
        for number in range(in_flight):
            connections[number % count].put(Call(number, time.perf_counter()))
        return list(_latencies(connections, time.perf_counter() + seconds))


def _latencies(connections: Sequence[Connection], end: float) -> Iterator[float]:
    """Makes the next call as soon as one is answered, until the end."""
    while busy := [connection for connection in connections if connection.busy]:
        for connection in busy:
            connection.send()
        readable, _, _ = select.select(busy, [connection for connection in busy if connection.blocked], ())
        for connection in readable:
            for call, code, at in connection.receive():
                if code != OK:
                    raise RuntimeError(f"a call was answered with gRPC code {code}, not OK")
                if at < end:
                    yield (at - call.due) * 1e3
                    connection.put(Call(call.number, at))


if __name__ == "__main__":
    _, where, in_flight, seconds, path = sys.argv
    try:
        found = latencies(where, int(in_flight), float(seconds), path, sys.stdin.buffer.read())
    except (OSError, RuntimeError) as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(np.array(found, np.float64).tobytes())
