"""`convoy.Client`: asks a server from threads.

Owns one channel, which every thread may use at the same time. Each call has a deadline, each failure is one of
`service.client.errors`. Its asyncio twin is `service.client.aio`; what they share is in `messages` and `pictures`.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Self, TypeAlias, TypeVar

import grpc

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1.classifier_pb2_grpc import ClassifierStub, ModelAdminStub
from service.client import channel, messages, pictures
from service.client.errors import ImageRejected
from service.client.pictures import Example, Image, Picture
from service.client.results import Classification, ModelInfo, ModelSummary

Request = TypeVar("Request")
Response = TypeVar("Response")
# The call of one group; None where its picture was refused and nothing is sent.
ClassifyCall: TypeAlias = "grpc.Future[pb.ClassifyResponse] | None"


class Client:
    """Asks one server, or all that its DNS name stands for, in turn.

    `server` is HOST:PORT or another gRPC target such as dns:///convoy.default:8500. `timeout` is the seconds that one
    call may take, retries included. With `wait_for_ready` a call waits for a server that is not up yet instead of
    failing after the retries. For TLS, `root_certificates` is the PEM file of the authorities to check the server's
    certificate against; `certificate_chain` and `private_key` are those of the client's own certificate, where the
    server wants one. `credentials` are gRPC channel credentials for everything else, such as tokens.
    `max_message_bytes` should be the server's limit. With `priority` "batch", for jobs, pictures give way to those of
    interactive callers; a call may have its own. Raises ValueError or OSError for terms that can't be used; nothing is
    connected yet.
    """

    def __init__(
        self,
        server: str = channel.DEFAULT_SERVER,
        *,
        timeout: float = channel.DEFAULT_TIMEOUT,
        wait_for_ready: bool = False,
        root_certificates: str | os.PathLike[str] | None = None,
        certificate_chain: str | os.PathLike[str] | None = None,
        private_key: str | os.PathLike[str] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        max_message_bytes: int = channel.DEFAULT_MESSAGE_BYTES,
        priority: channel.Priority = "interactive",
    ) -> None:
        self._endpoint = channel.endpoint(
            server,
            timeout=timeout,
            wait_for_ready=wait_for_ready,
            root_certificates=root_certificates,
            certificate_chain=certificate_chain,
            private_key=private_key,
            credentials=credentials,
            max_message_bytes=max_message_bytes,
            priority=priority,
        )
        self._channel = self._endpoint.connect()
        self._stub = ClassifierStub(self._channel)
        self._admin = ModelAdminStub(self._channel)

    def classify(
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
        request = messages.with_pictures(question, {name: [picture] for name, picture in found.items()})
        response = self._ask(self._stub.Classify, request, timeout)
        (answer,) = messages.answers(response, [pictures.together(found)], self._endpoint.server)
        if isinstance(answer, ImageRejected):
            raise answer
        return answer

    def classify_many(
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
        """All answers of `classify_each` at once: one a picture, in order."""
        stream = self.classify_each(
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
        return list(stream)

    def classify_each(
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
    ) -> Iterator[Classification | ImageRejected]:
        """Classifies many pictures and gives their answers in order, as they come; a rejected one is an ImageRejected.

        The pictures are cut into calls of at most `images_per_call` and 4 MiB, `calls_in_flight` are under way at a
        time, and `timeout` is for each. Every file is opened here (OSError) before anything is sent, and read when its
        call is made. A call that fails (CallFailed) ends the stream and cancels those after it; the answers before it
        have been given.
        """
        first = self._endpoint.priority_of(priority)
        question = messages.question(model, version, version_label, top_k, first, explain=explain)
        groups = pictures.planned(images, self._endpoint.largest_picture, images_per_call)
        at_once = pictures.at_least_one("calls_in_flight", calls_in_flight)
        return self._stream(question, groups, self._endpoint.seconds(timeout), at_once)

    def list_models(self, *, timeout: float | None = None) -> list[ModelSummary]:
        """Every model of the server's repository with its versions and their states. Raises CallFailed."""
        return messages.model_summaries(self._ask(self._stub.ListModels, pb.ListModelsRequest(), timeout))

    def get_model(
        self,
        name: str,
        *,
        version: int | None = None,
        version_label: str | None = None,
        timeout: float | None = None,
    ) -> ModelInfo:
        """One model: signature, preprocessing, heads, metrics, runtime. Raises CallFailed, such as ModelNotFound."""
        request = pb.GetModelRequest(model=messages.model_spec(name, version, version_label))
        return messages.model_info(self._ask(self._stub.GetModel, request, timeout))

    def set_version_label(self, model: str, label: str, version: int, *, timeout: float | None = None) -> int | None:
        """Points a label at a READY version; gives where it pointed before, None for a new label.

        The server must allow it (--allow-admin), and only the one that answers is told. Raises CallFailed, such as
        ModelUnusable where the version is not READY.
        """
        request = messages.label_request(model, label, version)
        return messages.moved_from(self._ask(self._admin.SetVersionLabel, request, timeout))

    def delete_version_label(self, model: str, label: str, *, timeout: float | None = None) -> int:
        """Removes a label; gives where it pointed. The server must allow it (--allow-admin). Raises CallFailed."""
        request = pb.DeleteVersionLabelRequest(model=model, label=label)
        response = self._ask(self._admin.DeleteVersionLabel, request, timeout)
        return response.previous_version

    def close(self) -> None:
        """Ends the connection; calls under way fail with CallCancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._endpoint.server!r})"

    def _ask(
        self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]", request: Request, timeout: float | None
    ) -> Response:
        seconds = self._endpoint.seconds(timeout)
        with self._endpoint.translated(seconds):
            return method(request, timeout=seconds, wait_for_ready=self._endpoint.wait_for_ready)

    def _stream(
        self, question: pb.ClassifyRequest, groups: Iterable[list[Picture]], seconds: float, at_once: int
    ) -> Iterator[Classification | ImageRejected]:
        calls: deque[tuple[list[Picture], ClassifyCall]] = deque()
        try:
            for group in groups:
                if len(calls) == at_once:
                    yield from self._collect(*calls[0], seconds)
                    calls.popleft()
                calls.append((group, self._start(question, group, seconds)))
            while calls:
                yield from self._collect(*calls[0], seconds)
                calls.popleft()
        finally:
            for _, call in calls:
                if call:
                    call.cancel()

    def _start(self, question: pb.ClassifyRequest, group: list[Picture], seconds: float) -> ClassifyCall:
        if group[0].refusal:
            return None
        request = messages.with_pictures(question, {"": group})
        with self._endpoint.translated(seconds):
            return self._stub.Classify.future(request, timeout=seconds, wait_for_ready=self._endpoint.wait_for_ready)

    def _collect(
        self, group: list[Picture], call: ClassifyCall, seconds: float
    ) -> list[Classification | ImageRejected]:
        if call is None:
            return [picture.refusal for picture in group if picture.refusal]
        with self._endpoint.translated(seconds):
            response = call.result()
        return messages.answers(response, [picture.name for picture in group], self._endpoint.server)
