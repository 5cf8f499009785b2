"""grpc.health.v1: overall (""), per model by its name, and `convoy.liveness` for liveness probes.

Overall turns SERVING when every model found at the start is READY, so a rollout with a broken model stops there; after
that it stays SERVING while any model is, so that one bad publish can't take every replica out of rotation. For a worker
that comes back any model is enough from the beginning. Liveness is SERVING unless all that served lost its runtimes for
good (`Registry.lost`), and stays so while the server drains: a drain must not be cut short by a restart.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from service.models.registry import Registry

OVERALL = ""
LIVENESS = "convoy.liveness"
SERVING = pb.HealthCheckResponse.SERVING
NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the package has no types
    """Check, Watch and List over one table of statuses, which belongs to the event loop.

    The package's own servicer says SERVING before anything is known, and its watchers hold up a server's stop.
    """

    def __init__(self) -> None:
        self._statuses: Mapping[str, int] = {OVERALL: NOT_SERVING, LIVENESS: SERVING}
        self._changed = asyncio.Event()
        self._ended = False

    def say(self, statuses: Mapping[str, int]) -> None:
        """From now on answers with these, and tells the watchers what changed."""
        self._statuses = statuses
        self._wake()

    def end(self) -> None:
        """Ends every Watch after its last status: a watcher would otherwise count as a call to wait for."""
        self._ended = True
        self._wake()

    async def Check(self, request: pb.HealthCheckRequest, context: Any) -> pb.HealthCheckResponse:  # noqa: N802 - the wire's name
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.service[:200]!r} is known here")
        return pb.HealthCheckResponse(status=status)

    async def List(self, request: pb.HealthListRequest, context: Any) -> pb.HealthListResponse:  # noqa: ARG002, N802
        statuses = {name: pb.HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        return pb.HealthListResponse(statuses=statuses)

    async def Watch(self, request: pb.HealthCheckRequest, context: Any) -> None:  # noqa: N802 - the wire's name
        told = None
        while True:
            changed, status = self._changed, self._statuses.get(request.service, SERVICE_UNKNOWN)
            if status != told:
                await context.write(pb.HealthCheckResponse(status=status))
                told = status
            elif self._ended:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping; watch another one")
            else:
                await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Health:
    """What the server says of its health, kept in step with the registry by `update`. Belongs to the event loop.

    Where it is not `strict`, any model that is READY is enough from the beginning.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self._enough = all if strict else any
        self.servicer = HealthServicer()
        self._models: set[str] = set()
        self._started = False
        self._draining = False
        self._problem: str | None = "starting"
        self._lost: str | None = None

    def update(self, models: Registry, *, scanned: bool) -> None:
        """Says what is true now; `scanned` once the first look at the repository is complete."""
        ready = {name: models.ready(name) for name in models.models()}
        self._started = self._started or (scanned and bool(ready) and self._enough(ready.values()))
        overall = self._started and any(ready.values()) and not self._draining
        self._problem = None if overall else self._why(models)
        self._models |= ready.keys()  # a model that is gone was served here once: NOT_SERVING, not unknown
        serving = {name: ready.get(name, False) and not self._draining for name in self._models}
        self._lost = (not self._draining and models.lost()) or None
        serving |= {OVERALL: overall, LIVENESS: self._lost is None}
        self.servicer.say({name: SERVING if serves else NOT_SERVING for name, serves in serving.items()})

    def drain(self, models: Registry) -> None:
        """From now on only liveness is SERVING."""
        self._draining = True
        self.update(models, scanned=True)

    def end(self) -> None:
        """Ends the watchers, right before the server stops."""
        self.servicer.end()

    def problem(self) -> str | None:
        """Why the server is not ready, in words, or None. From any thread."""
        return self._problem

    def lost(self) -> str | None:
        """Why only a new process may help, in words, or None. From any thread."""
        return self._lost

    def _why(self, models: Registry) -> str:
        if self._draining:
            return "draining"
        states = [
            f"{version.name} {version.number} {version.state}" + (f": {version.reason}" if version.reason else "")
            for versions in models.models().values()
            for version in versions
        ]
        problems = [f"{name}: {said}" for name in models.models() if (said := models.problem(name))]
        return "; ".join(states + problems) or ("the repository is empty" if self._started else "starting")
