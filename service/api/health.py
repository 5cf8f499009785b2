"""grpc.health.v1: overall (""), per model by its name, and `convoy.liveness` for liveness probes.

Overall turns SERVING when every model found at the start is READY, so a rollout with a broken model stops there; after
that it stays SERVING while any model is, so that one bad publish can't take every replica out of rotation. Liveness
stays SERVING while the server drains: a drain must not be cut short by a restart.
"""

import asyncio
from typing import Any

from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1.health import aio

from service.models.registry import Registry

OVERALL = ""
LIVENESS = "convoy.liveness"
SERVING = pb.HealthCheckResponse.SERVING
NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING


class HealthServicer(aio.HealthServicer):  # type: ignore[misc]  # the package has no types
    """The package's Check and Watch, and List, which its asyncio servicer lacks."""

    async def List(self, request: pb.HealthListRequest, context: Any) -> pb.HealthListResponse:  # noqa: ARG002, N802
        statuses = {name: pb.HealthCheckResponse(status=status) for name, status in self._server_status.items()}
        return pb.HealthListResponse(statuses=statuses)


class Health:
    """What the server says of its health, kept in step with the registry by `update`."""

    def __init__(self) -> None:
        self.servicer = HealthServicer()
        self._said: dict[str, int] = {}
        self._started = False
        self._draining = False
        self._turn = asyncio.Lock()

    async def update(self, models: Registry, *, scanned: bool) -> None:
        """Says what is true now; `scanned` once the first look at the repository is complete."""
        async with self._turn:
            await self._update(models, scanned=scanned)

    async def _update(self, models: Registry, *, scanned: bool) -> None:
        ready = {name: models.ready(name) for name in models.models()}
        self._started = self._started or (scanned and bool(ready) and all(ready.values()))
        overall = self._started and any(ready.values()) and not self._draining
        for name in self._said.keys() - ready.keys() - {OVERALL, LIVENESS}:
            ready[name] = False
        said = {name: of and not self._draining for name, of in ready.items()}
        for name, serving in (said | {OVERALL: overall, LIVENESS: True}).items():
            await self._say(name, SERVING if serving else NOT_SERVING)

    async def drain(self, models: Registry) -> None:
        """From now on only liveness is SERVING."""
        self._draining = True
        await self.update(models, scanned=True)

    def problem(self, models: Registry) -> str | None:
        """Why the server is not ready, in words, or None."""
        if self._said.get(OVERALL) == SERVING:
            return None
        if self._draining:
            return "draining"
        states = [
            f"{version.name} {version.number} {version.state}" + (f": {version.reason}" if version.reason else "")
            for versions in models.models().values()
            for version in versions
        ]
        return "; ".join(states) or "starting"

    async def _say(self, name: str, status: int) -> None:
        if self._said.get(name) != status:
            self._said[name] = status
            await self.servicer.set(name, status)
