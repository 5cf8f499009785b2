"""An open loop: calls that arrive when they arrive, whether or not the earlier ones were answered.

    python -m benchmarks.arrivals HOST:PORT RATE SECONDS DEADLINE_MS < request > outcomes

The gaps between arrivals are exponential (a Poisson process), as those of many independent users are. Latency counts
from the moment the call was to arrive, so a generator or a server that falls behind can't hide it. Writes three raw
float64 for every call: its latency in milliseconds, its gRPC code, and by how many milliseconds it was sent late. It is
a process of its own, so that it does not share its interpreter with what sums it up.
"""

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass

import grpc
import grpc.aio
import numpy as np

from benchmarks import account
from benchmarks.serving import METHOD, Target

CONNECTIONS = 4
SEED = 11


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """What came of the calls that arrived at `rate` a second; latencies in milliseconds, of the calls answered OK.

    `goodput` is answers OK a second. `late` is the share of calls that the generator sent over 5 ms late: above a few
    per cent the figures show the generator.
    """

    rate: float
    goodput: float
    refused: float
    expired: float
    p50: float
    p99: float
    late: float
    resident_mb: float


def run(target: Target, request: bytes, rate: float, seconds: float, deadline_ms: float) -> OpenLoop:
    """Sends calls at `rate` a second for `seconds`, each with that deadline."""
    command = [sys.executable, "-m", "benchmarks.arrivals", target.address, str(rate), str(seconds), str(deadline_ms)]
    done = subprocess.run(command, input=request, stdout=subprocess.PIPE, check=True)
    latencies, codes, lateness = np.frombuffer(done.stdout, np.float64).reshape(-1, 3).T
    answered = codes == grpc.StatusCode.OK.value[0]
    p50, p99 = np.percentile(latencies[answered], (50, 99)) if answered.any() else (np.nan, np.nan)
    return OpenLoop(
        rate=rate,
        goodput=float(answered.sum() / seconds),
        refused=float((codes == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]).mean()),
        expired=float((codes == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]).mean()),
        p50=float(p50),
        p99=float(p99),
        late=float((lateness > 5).mean()),  # noqa: PLR2004 - as the docstring says
        resident_mb=account.resident_mebibytes(target.pid),
    )


async def arrive(address: str, rate: float, seconds: float, deadline: float, request: bytes) -> list[tuple[float, ...]]:
    """Makes the calls; gives latency and lateness in milliseconds and the code of each."""
    random = np.random.default_rng(SEED)
    due = np.cumsum(random.exponential(1 / rate, round(rate * seconds)))
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CONNECTIONS)]
    outcomes: list[tuple[float, ...]] = []

    async def call(method: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]", at: float) -> None:
        late = time.perf_counter() - at
        try:
            await method(request, timeout=max(deadline - late, 1e-4))
            code = grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            code = error.code()
        outcomes.append(((time.perf_counter() - at) * 1e3, float(code.value[0]), late * 1e3))

    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    methods: list[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]]
    methods = [channel.unary_unary(METHOD) for channel in channels]
    began = time.perf_counter()
    calls = set()
    for number, offset in enumerate(due):
        await asyncio.sleep(max(0.0, began + offset - time.perf_counter()))
        task = asyncio.create_task(call(methods[number % CONNECTIONS], began + offset))
        calls.add(task)
        task.add_done_callback(calls.discard)
    await asyncio.gather(*calls)
    for channel in channels:
        await channel.close()
    return outcomes


if __name__ == "__main__":
    _, address, rate, seconds, deadline = sys.argv
    body = sys.stdin.buffer.read()
    found = asyncio.run(arrive(address, float(rate), float(seconds), float(deadline) / 1e3, body))
    sys.stdout.buffer.write(np.array(found, np.float64).tobytes())
