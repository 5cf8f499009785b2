"""The load generator of last resort: `in_flight` coroutines that call one after the other.

    python -m benchmarks.caller HOST:PORT IN_FLIGHT SECONDS METHOD < request > latencies

Writes the latencies in milliseconds as raw float64.
"""

import asyncio
import sys
import time

import grpc
import grpc.aio
import numpy as np


async def main(address: str, in_flight: int, seconds: float, method: str, request: bytes) -> list[float]:
    """Calls until the time is over."""
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        end = time.perf_counter() + seconds

        async def caller() -> None:
            while (began := time.perf_counter()) < end:
                await call(request)
                latencies.append((time.perf_counter() - began) * 1e3)

        await asyncio.gather(*(caller() for _ in range(in_flight)))
    return latencies


if __name__ == "__main__":
    _, address, in_flight, seconds, method = sys.argv
    found = asyncio.run(main(address, int(in_flight), float(seconds), method, sys.stdin.buffer.read()))
    sys.stdout.buffer.write(np.array(found, np.float64).tobytes())
