"""convoy.classifier.v1.ModelAdmin: sets and deletes version labels, where the server was started so that it may.

Whoever reaches the port could move all traffic to another version, so nothing is allowed unless the operator said so.
"""

from typing import Any

import grpc.aio

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc
from service.api.status import Guard
from service.errors import NotAllowed, RequestInvalid
from service.models.registry import Registry

Context = grpc.aio.ServicerContext[Any, Any]


class AdminServicer(classifier_pb2_grpc.ModelAdminServicer):
    """The servicer of the admin API, the same on every transport."""

    def __init__(self, models: Registry, guard: Guard, *, allowed: bool) -> None:
        self._models = models
        self._guard = guard
        self._allowed = allowed

    async def SetVersionLabel(  # noqa: N802 - the wire's name
        self, request: pb.SetVersionLabelRequest, context: Context
    ) -> pb.SetVersionLabelResponse:
        return await self._guard.answer("SetVersionLabel", context, self._set(request))

    async def DeleteVersionLabel(  # noqa: N802 - the wire's name
        self, request: pb.DeleteVersionLabelRequest, context: Context
    ) -> pb.DeleteVersionLabelResponse:
        return await self._guard.answer("DeleteVersionLabel", context, self._delete(request))

    async def _set(self, request: pb.SetVersionLabelRequest) -> pb.SetVersionLabelResponse:
        self._check(request.model)
        before = await self._models.set_label(request.model, request.label, request.version)
        return pb.SetVersionLabelResponse(previous_version=before)

    async def _delete(self, request: pb.DeleteVersionLabelRequest) -> pb.DeleteVersionLabelResponse:
        self._check(request.model)
        return pb.DeleteVersionLabelResponse(
            previous_version=await self._models.delete_label(request.model, request.label)
        )

    def _check(self, model: str) -> None:
        if not self._allowed:
            raise NotAllowed("labels can't be changed here: the server was started without --allow-admin")
        if not model:
            raise RequestInvalid("model is empty; ListModels tells the names")


SERVICE: str = pb.DESCRIPTOR.services_by_name["ModelAdmin"].full_name
