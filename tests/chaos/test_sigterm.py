"""SIGTERM in the middle of the load: every call is answered, or refused in a way that clients repeat elsewhere."""

import threading

import grpc
import numpy as np
from bundles import encode
from expected import scores
from servers import LOCALHOST, arguments, process

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc

CLIENTS = 8
PICTURES = [encode(each) for each in np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)]
REQUEST = pb.ClassifyRequest(model=pb.ModelSpec(name="tiny"), inputs=[pb.Input(images=PICTURES)])


class Caller(threading.Thread):
    """Asks in a closed loop on a connection of its own until a call fails; then `failure` says how."""

    def __init__(self, port: int, wanted: np.ndarray, answered: threading.Semaphore) -> None:
        super().__init__()
        self.failure: tuple[str, str] | None = None
        self.wrong = 0
        self._port = port
        self._wanted = wanted
        self._answered = answered

    def run(self) -> None:
        with grpc.insecure_channel(f"{LOCALHOST}:{self._port}") as channel:
            stub = classifier_pb2_grpc.ClassifierStub(channel)
            while self.failure is None:
                try:
                    self._check(stub.Classify(REQUEST))
                except grpc.RpcError as error:
                    self.failure = (error.code().name, error.details())

    def _check(self, response: pb.ClassifyResponse) -> None:
        best = [result.classifications[0].classes[0].score for result in response.results]
        self.wrong += not np.allclose(best, self._wanted, atol=1e-6)
        self._answered.release()


def test_sigterm_under_load_loses_no_accepted_call(repository, tiny):
    answered = threading.Semaphore(0)
    with process(*arguments(repository)) as started:
        port = started.logged("listening")["grpc_port"]
        started.logged("model state", state="READY")
        callers = [Caller(port, scores(tiny, PICTURES).max(axis=1), answered) for _ in range(CLIENTS)]
        for caller in callers:
            caller.start()
        for _ in range(10 * CLIENTS):
            answered.acquire()
        started.signal()
        for caller in callers:
            caller.join()
        assert started.ended() == 0
    assert [caller.failure[0] for caller in callers] == ["UNAVAILABLE"] * CLIENTS, [
        caller.failure for caller in callers
    ]
    assert sum(caller.wrong for caller in callers) == 0
    assert '"event": "stopped"' in started.lines[-1]
    assert not any("Traceback" in line for line in started.lines)
