"""convoy.classifier.v1.Classifier: each method converts, asks, converts back."""

from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import grpc.aio

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc
from service.api import encoding, messages
from service.api.status import Guard
from service.api.stream import Stream
from service.inference.dataplane import DataPlane
from service.models.registry import Registry
from service.models.version import ModelVersion

Context = grpc.aio.ServicerContext[Any, Any]


class ClassifierServicer(classifier_pb2_grpc.ClassifierServicer):
    """The servicer of our own API, the same on every transport."""

    def __init__(self, data_plane: DataPlane, models: Registry, guard: Guard) -> None:
        self._data_plane = data_plane
        self._models = models
        self._guard = guard

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> bytes:  # type: ignore[override]  # noqa: N802
        """Gives the response as it goes over the wire: `register` leaves it as it is."""
        return await self._guard.answer("Classify", context, self._classify(request, context.time_remaining()))

    async def ClassifyStream(self, _requests: object, context: Context) -> None:  # type: ignore[override]  # noqa: N802
        """Reads and writes by the context; requests and responses are bytes: `register` leaves them as they are."""
        await Stream(self._data_plane, self._guard, context).serve()

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802 - the wire's name
        return await self._guard.answer("ListModels", context, self._list(request))

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:  # noqa: N802 - the wire's name
        return await self._guard.answer("GetModel", context, self._get(request))

    async def _classify(self, request: pb.ClassifyRequest, seconds_left: float | None) -> bytes:
        answer = await self._data_plane.classify(messages.request(request, seconds_left))
        return encoding.response(answer, request.id)

    async def _list(self, _request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        summaries = [
            pb.ModelSummary(name=name, versions=self._statuses(name, versions), problem=self._models.problem(name))
            for name, versions in self._models.models().items()
        ]
        return pb.ListModelsResponse(models=summaries)

    async def _get(self, request: pb.GetModelRequest) -> pb.GetModelResponse:
        """A model without a READY version is still shown, with its versions' states and reasons."""
        query = messages.query(request.model)
        problem = self._models.problem(query.name)
        reply = pb.GetModelResponse(model=pb.ModelSpec(name=query.name), problem=problem)
        versions = self._models.models().get(query.name, ())
        reply.versions.extend(self._statuses(query.name, versions))
        if (
            not (versions or problem)
            or query.version is not None
            or query.label is not None
            or self._models.ready(query.name)
        ):
            messages.describe(self._models.find(query), reply)
        return reply

    def _statuses(self, name: str, versions: Sequence[ModelVersion]) -> Iterable[pb.VersionStatus]:
        labels = self._models.labels(name)
        return (messages.status(version, labels) for version in versions)


def register(servicer: ClassifierServicer, server: grpc.aio.Server) -> None:
    """Adds the servicer to a server: as the generated function does, but answers are bytes already."""
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Classify": grpc.unary_unary_rpc_method_handler(servicer.Classify, pb.ClassifyRequest.FromString),
        "ClassifyStream": grpc.stream_stream_rpc_method_handler(servicer.ClassifyStream),
        "ListModels": grpc.unary_unary_rpc_method_handler(
            servicer.ListModels, pb.ListModelsRequest.FromString, pb.ListModelsResponse.SerializeToString
        ),
        "GetModel": grpc.unary_unary_rpc_method_handler(
            servicer.GetModel, pb.GetModelRequest.FromString, pb.GetModelResponse.SerializeToString
        ),
    }
    server.add_registered_method_handlers(SERVICE, methods)


SERVICE: str = pb.DESCRIPTOR.services_by_name["Classifier"].full_name
