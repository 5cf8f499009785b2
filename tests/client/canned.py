"""A real gRPC server with the classifier's wire and canned behaviour, and what it was asked."""

import threading
from collections import deque
from concurrent import futures
from typing import Self

import grpc

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc

MEBIBYTE = 1 << 20
READY, UNAVAILABLE = pb.VersionStatus.READY, pb.VersionStatus.UNAVAILABLE


class CannedAdmin(classifier_pb2_grpc.ModelAdminServicer):
    """Keeps labels, if it may."""

    def __init__(self) -> None:
        self.allowed = True
        self.labels: dict[tuple[str, str], int] = {}

    def SetVersionLabel(self, request, context):  # noqa: N802 - the wire's name
        if not self.allowed:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "started without --allow-admin")
        before = self.labels.get((request.model, request.label))
        self.labels[request.model, request.label] = request.version
        return pb.SetVersionLabelResponse(previous_version=before)

    def DeleteVersionLabel(self, request, context):  # noqa: N802 - the wire's name
        before = self.labels.pop((request.model, request.label), None)
        if before is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no version label {request.label!r}")
        return pb.DeleteVersionLabelResponse(previous_version=before)


class CannedClassifier(classifier_pb2_grpc.ClassifierServicer):
    """Labels every picture with its own bytes, so that a swapped answer shows; refuses those that begin with "bad" and
    forgets the first `lost` results of a call. A call whose first picture begins with `fails_on` fails as a whole.

    `failures` are given to the next calls in their place. While `gate` is closed, calls whose first picture begins
    with `held` wait for it: `arrived` is notified with each call, `peak` is the most that were inside at once, and
    `ended` is released once for each held call that is over on the wire.
    """

    def __init__(self) -> None:
        self.requests: list[pb.ClassifyRequest] = []
        self.failures: deque[tuple[grpc.StatusCode, str]] = deque()
        self.models = [pb.ModelSummary(name="flowers", versions=[pb.VersionStatus(version=3, state=READY)])]
        self.heads = ("class",)
        self.lost = 0
        self.fails_on = ""
        self.held = ""
        self.ended = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.admin = CannedAdmin()
        self.arrived = threading.Condition()
        self.inside = self.peak = 0

    def Classify(self, request, context):  # noqa: N802 - the wire's name
        with self.arrived:
            self.requests.append(request)
            self.inside += 1
            self.peak = max(self.peak, self.inside)
            self.arrived.notify_all()
        try:
            if pictures_of(request)[0].startswith(self.held):
                context.add_callback(self.ended.release)
                self.gate.wait()
            self._fail_if_told(context)
            if self.fails_on and pictures_of(request)[0].startswith(self.fails_on):
                context.abort(grpc.StatusCode.INTERNAL, "broken")
            results = [self._result(picture, request.top_k or 5) for picture in pictures_of(request)]
        finally:
            with self.arrived:
                self.inside -= 1
        model = pb.ModelSpec(name=request.model.name, version=request.model.version or 3)
        timing = pb.Timing(preprocess_us=1_500, queue_us=250, compute_us=2_000_000)
        return pb.ClassifyResponse(model=model, results=results[self.lost :], timing=timing)

    def ListModels(self, _request, context):  # noqa: N802 - the wire's name
        self._fail_if_told(context)
        return pb.ListModelsResponse(models=self.models)

    def GetModel(self, request, context):  # noqa: N802 - the wire's name
        known = {model.name: model for model in self.models}
        if request.model.name not in known:
            context.abort(grpc.StatusCode.NOT_FOUND, f"model {request.model.name!r} is not in the repository")
        reply = pb.GetModelResponse(
            model=pb.ModelSpec(name=request.model.name), versions=known[request.model.name].versions
        )
        if all(version.state != READY for version in reply.versions):
            return reply
        reply.model.version = request.model.version or 3
        reply.inputs.add(name="image", dtype="uint8", shape=[-1, 28, 28, 1])
        reply.outputs.add(name="probabilities", dtype="float32", shape=[-1, 2])
        reply.preprocessing.add(input="image", height=28, width=28, channels=1, resize="stretch", kernel="bilinear")
        reply.heads.add(name="class", output="probabilities", activation="softmax", labels=["rose", "tulip"])
        reply.training_metrics["accuracy"] = 0.91
        reply.runtime = "onnxruntime fp32 on cpu, 2 threads"
        reply.plan.why = "measured"
        reply.plan.settings.MergeFrom(
            pb.PlanSettings(engine="onnx", variant="fp32", computed="exact", threads=2, instances=1, max_batch_size=8)
        )
        return reply

    def wait_for_calls(self, count: int) -> None:
        """Returns when `count` calls have come in; a test that waits for nothing fails by its timeout."""
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.requests) >= count)

    def _fail_if_told(self, context) -> None:
        if self.failures:
            context.abort(*self.failures.popleft())

    def _result(self, picture: str, top_k: int) -> pb.Result:
        if picture.startswith("bad"):
            error = pb.Error(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=f"not an image: {picture}")
            return pb.Result(error=error)
        scores = [0.5, 0.25, 0.125][:top_k]
        classes = [
            pb.ClassScore(label=picture if rank == 0 else f"other {rank}", index=rank, score=score)
            for rank, score in enumerate(scores)
        ]
        return pb.Result(classifications=[pb.Classification(head=head, classes=classes) for head in self.heads])


def pictures_of(request: pb.ClassifyRequest) -> list[str]:
    """Each picture of a call's first input as text: its bytes, or the slice of the tensor that is its own."""
    entry = request.inputs[0]
    if not entry.HasField("tensor"):
        return [image[:40].decode() for image in entry.images]
    count, data = entry.tensor.shape[0], entry.tensor.data
    size = len(data) // count
    return [data[start : start + size].hex() for start in range(0, len(data), size)]


class Running:
    """The server on a port of its own; `address` is where."""

    def __init__(self, servicer, *, max_message_bytes: int = 64 * MEBIBYTE, credentials=None, port: int = 0) -> None:
        options = [("grpc.max_receive_message_length", max_message_bytes)]
        self.servicer = servicer
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=options)
        if servicer is not None:
            classifier_pb2_grpc.add_ClassifierServicer_to_server(servicer, self.server)
            classifier_pb2_grpc.add_ModelAdminServicer_to_server(servicer.admin, self.server)
        address = f"localhost:{port}"
        port = (
            self.server.add_secure_port(address, credentials) if credentials else self.server.add_insecure_port(address)
        )
        self.address = f"localhost:{port}"
        self.server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.servicer is not None:
            self.servicer.gate.set()
        self.server.stop(None).wait()
