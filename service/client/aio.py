"""`convoy.AsyncClient`: asks a server from asyncio, with the methods of `convoy.Client`.

Owns one channel, opened with the first call and bound to that call's event loop. Files are opened and read in threads,
so that the loop never waits for a disk. What it shares with `service.client.client` is in `messages` and `pictures`.
"""
# ruff: noqa: ASYNC109 - `timeout` is gRPC's deadline, which the server is told too, not a timer around the await

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar

import grpc

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1.classifier_pb2_grpc import ClassifierStub, ModelAdminStub
from service.client import channel, messages, pictures
from service.client.errors import CLOSED, CallCancelled, ImageRejected, from_rpc
from service.client.pictures import Example, Image, Picture
from service.client.results import Classification, ModelInfo, ModelSummary

if TYPE_CHECKING:
    from protos.classifier.v1.classifier_pb2_grpc import ClassifierAsyncStub, ModelAdminAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")
# The call of one group; None where its picture was refused and nothing is sent.
ClassifyCall: TypeAlias = "grpc.aio.UnaryUnaryCall[pb.ClassifyRequest, pb.ClassifyResponse] | None"


class AsyncClient:
    """Asks one server, or all that its DNS name stands for, in turn. The arguments are those of `Client`.

    It may be made anywhere, but all its calls belong to one event loop.
    """

    def __init__(
        self,
        server: str = channel.DEFAULT_SERVER,
        *,
        timeout: float = channel.DEFAULT_TIMEOUT,
        wait_for_ready: bool = False,
        root_certificates: str | os.PathLike[str] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        max_message_bytes: int = channel.DEFAULT_MESSAGE_BYTES,
        priority: channel.Priority = "interactive",
    ) -> None:
        self._endpoint = channel.endpoint(
            server,
            timeout=timeout,
            wait_for_ready=wait_for_ready,
            root_certificates=root_certificates,
            credentials=credentials,
            max_message_bytes=max_message_bytes,
            priority=priority,
        )
        self._channel: grpc.aio.Channel | None = None
        self._opened_stub: ClassifierAsyncStub | None = None
        self._closed = False

    async def classify(
        self,
        image: Example,
        *,
        model: str,
        version: int | None = None,
        version_label: str | None = None,
        top_k: int | None = None,
        explain: bool = False,
        priority: channel.Priority | None = None,
        timeout: float | None = None,
    ) -> Classification:
        """Classifies one picture: a path, an encoded file's bytes, or pixels [height, width, channels].

        For a model with several inputs it is a dict of pictures by input name, which get one answer together. Without
        `version` or `version_label` the highest READY version answers; without `top_k` it gives up to 5 classes a head.
        With `explain` the best classes bring their activation maps; the model must have some. `priority` is for this
        call and goes before the client's. Raises ImageRejected, CallFailed, OSError for a file, TypeError or ValueError
        for an argument.
        """
        first = self._endpoint.priority_of(priority)
        question = messages.question(model, version, version_label, top_k, first, explain=explain)
        found = pictures.by_input(image, self._endpoint.largest_picture)
        request = await _with_pictures(question, {name: [picture] for name, picture in found.items()})
        response = await self._ask(self._stub().Classify, request, timeout)
        (answer,) = messages.answers(response, [pictures.together(found)], self._endpoint.server)
        if isinstance(answer, ImageRejected):
            raise answer
        return answer

    async def classify_many(
        self,
        images: Iterable[Image],
        *,
        model: str,
        version: int | None = None,
        version_label: str | None = None,
        top_k: int | None = None,
        explain: bool = False,
        priority: channel.Priority | None = None,
        timeout: float | None = None,
        images_per_call: int = pictures.IMAGES_PER_CALL,
        calls_in_flight: int = pictures.CALLS_IN_FLIGHT,
    ) -> list[Classification | ImageRejected]:
        """All answers of `classify_stream` at once: one a picture, in order."""
        stream = self.classify_stream(
            images,
            model=model,
            version=version,
            version_label=version_label,
            top_k=top_k,
            explain=explain,
            priority=priority,
            timeout=timeout,
            images_per_call=images_per_call,
            calls_in_flight=calls_in_flight,
        )
        return [answer async for answer in stream]

    def classify_stream(
        self,
        images: Iterable[Image],
        *,
        model: str,
        version: int | None = None,
        version_label: str | None = None,
        top_k: int | None = None,
        explain: bool = False,
        priority: channel.Priority | None = None,
        timeout: float | None = None,
        images_per_call: int = pictures.IMAGES_PER_CALL,
        calls_in_flight: int = pictures.CALLS_IN_FLIGHT,
    ) -> AsyncIterator[Classification | ImageRejected]:
        """Classifies many pictures and gives their answers in order, as they come; a rejected one is an ImageRejected.

        The pictures are cut into calls of at most `images_per_call` and 4 MiB, `calls_in_flight` are under way at a
        time, and `timeout` is for each. `images` is gone through in a thread, where every file is opened (OSError)
        before anything is sent; it is read when its call is made. A call that fails (CallFailed) ends the stream and
        cancels those after it; the answers before it have been given.
        """
        first = self._endpoint.priority_of(priority)
        question = messages.question(model, version, version_label, top_k, first, explain=explain)
        at_once = pictures.at_least_one("calls_in_flight", calls_in_flight)
        return self._stream(question, images, images_per_call, at_once, self._endpoint.seconds(timeout))

    async def list_models(self, *, timeout: float | None = None) -> list[ModelSummary]:
        """Every model of the server's repository with its versions and their states. Raises CallFailed."""
        response = await self._ask(self._stub().ListModels, pb.ListModelsRequest(), timeout)
        return messages.model_summaries(response)

    async def get_model(
        self,
        name: str,
        *,
        version: int | None = None,
        version_label: str | None = None,
        timeout: float | None = None,
    ) -> ModelInfo:
        """One model: signature, preprocessing, heads, metrics, runtime. Raises CallFailed, such as ModelNotFound."""
        request = pb.GetModelRequest(model=messages.model_spec(name, version, version_label))
        return messages.model_info(await self._ask(self._stub().GetModel, request, timeout))

    async def set_version_label(
        self, model: str, label: str, version: int, *, timeout: float | None = None
    ) -> int | None:
        """Points a label at a READY version; gives where it pointed before, None for a new label.

        The server must allow it (--allow-admin), and only the one that answers is told. Raises CallFailed, such as
        ModelUnusable where the version is not READY.
        """
        request = messages.label_request(model, label, version)
        return messages.moved_from(await self._ask(self._admin().SetVersionLabel, request, timeout))

    async def delete_version_label(self, model: str, label: str, *, timeout: float | None = None) -> int:
        """Removes a label; gives where it pointed. The server must allow it (--allow-admin). Raises CallFailed."""
        request = pb.DeleteVersionLabelRequest(model=model, label=label)
        response = await self._ask(self._admin().DeleteVersionLabel, request, timeout)
        return response.previous_version

    async def close(self) -> None:
        """Ends the connection; calls under way fail with CallCancelled."""
        self._closed = True
        if self._channel:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._endpoint.server!r})"

    def _stub(self) -> "ClassifierAsyncStub":
        if self._closed:
            raise CallCancelled(self._endpoint.server)
        if self._opened_stub is None:
            self._channel = self._endpoint.connect_async()
            self._opened_stub = ClassifierStub(self._channel)
        return self._opened_stub

    def _admin(self) -> "ModelAdminAsyncStub":
        self._stub()
        assert self._channel is not None  # noqa: S101 - opened above
        return ModelAdminStub(self._channel)

    async def _ask(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request, timeout: float | None
    ) -> Response:
        seconds = self._endpoint.seconds(timeout)
        async with _translated(self._endpoint.server, seconds):
            return await method(request, timeout=seconds, wait_for_ready=self._endpoint.wait_for_ready)

    async def _stream(
        self, question: pb.ClassifyRequest, images: Iterable[Image], images_per_call: int, at_once: int, seconds: float
    ) -> AsyncIterator[Classification | ImageRejected]:
        groups = await asyncio.to_thread(pictures.planned, images, self._endpoint.largest_picture, images_per_call)
        calls: deque[tuple[list[Picture], ClassifyCall]] = deque()
        try:
            for group in groups:
                if len(calls) == at_once:
                    for answer in await self._collect(*calls[0], seconds):
                        yield answer
                    calls.popleft()
                calls.append((group, await self._start(question, group, seconds)))
            while calls:
                for answer in await self._collect(*calls[0], seconds):
                    yield answer
                calls.popleft()
        finally:
            for _, call in calls:
                if call:
                    call.cancel()

    async def _start(self, question: pb.ClassifyRequest, group: list[Picture], seconds: float) -> ClassifyCall:
        if group[0].refusal:
            return None
        request = await _with_pictures(question, {"": group})
        classify = self._stub().Classify
        async with _translated(self._endpoint.server, seconds):
            return classify(request, timeout=seconds, wait_for_ready=self._endpoint.wait_for_ready)

    async def _collect(
        self, group: list[Picture], call: ClassifyCall, seconds: float
    ) -> list[Classification | ImageRejected]:
        if call is None:
            return [picture.refusal for picture in group if picture.refusal]
        async with _translated(self._endpoint.server, seconds):
            response = await call
        return messages.answers(response, [picture.name for picture in group], self._endpoint.server)


async def _with_pictures(question: pb.ClassifyRequest, groups: Mapping[str, list[Picture]]) -> pb.ClassifyRequest:
    if any(picture.on_disk for group in groups.values() for picture in group):
        return await asyncio.to_thread(messages.with_pictures, question, groups)
    return messages.with_pictures(question, groups)


@asynccontextmanager
async def _translated(server: str, seconds: float) -> AsyncIterator[None]:
    """As `errors.translated`, in a thread where that may block.

    The cancel that a closed channel deals out is told from a cancel of the caller's own task.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise await asyncio.to_thread(from_rpc, error, server, seconds) from error
    except CLOSED as error:
        raise CallCancelled(server) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise CallCancelled(server) from error
