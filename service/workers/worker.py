"""One worker: a whole server in a process of its own, on a port that it shares with its siblings.

Started by `service.workers.supervisor` as `python -m service.workers.worker`, with its orders on standard input. That
pipe stays open as long as the parent lives: when it ends, the worker drains and ends too, so no orphan keeps the port.
A start-up mistake goes to standard output, for the parent to say once, and ends the process with exit code 2; so does
the reason of one that has lost its runtimes, with a code of its own, for the parent to start it again.
"""

import asyncio
import os
import pickle
import signal
import sys

from service.errors import SettingsError
from service.server import RuntimesLost, Server
from service.telemetry import logs
from service.workers.orders import LOST, MISTAKE, Orders


def main() -> None:
    """Serves until SIGTERM or the parent's end."""
    orders: Orders = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our own parent
    settings = orders.settings
    logs.configure(settings.log_level, settings.log_format, worker=orders.number)
    try:
        asyncio.run(_serve(orders))
    except SettingsError as error:
        print(error)  # noqa: T201 - the parent reads it
        sys.exit(MISTAKE)


async def _serve(orders: Orders) -> None:
    loop = asyncio.get_running_loop()

    def orphaned() -> None:
        loop.remove_reader(sys.stdin.fileno())
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(sys.stdin.fileno(), orphaned)
    try:
        await Server(orders.settings, shared=orders.shared).run()
    except RuntimesLost as error:
        print(error, flush=True)  # noqa: T201 - the parent reads it
        os._exit(LOST)  # everything is drained and closed: a broken engine must not hold up the end


if __name__ == "__main__":
    main()
