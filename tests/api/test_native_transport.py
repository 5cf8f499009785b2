"""What the native transport leaves behind; how it answers is tested with the other one, through `asked`."""

import socket
import tempfile
import weakref

import pytest
from servers import LOCALHOST, leased, refused, serving, settings, until

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc
from service import doors
from service.api import native_transport
from service.errors import SettingsError
from service.models.version import ModelQuery
from service.server import Server


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def test_a_start_up_mistake_leaves_no_folder(repository, temporary):
    with socket.create_server((LOCALHOST, 0)) as taken:
        for name in ("port", "metrics_port"):
            with pytest.raises(SettingsError, match="can't be opened"):
                Server(settings(repository, transport="native", **{name: taken.getsockname()[1]}))
    assert list(temporary.iterdir()) == []


async def test_a_server_that_has_stopped_leaves_no_folder(repository, temporary):
    async with serving(repository, transport="native"):
        pass
    assert list(temporary.iterdir()) == []


async def test_where_there_are_no_abstract_addresses_the_folder_goes_with_the_server(
    repository, temporary, monkeypatch
):
    monkeypatch.setattr(doors, "_has_abstract", lambda: False)
    async with serving(repository, transport="native"):
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []


async def test_an_idle_server_keeps_nothing_of_the_last_burst(repository, monkeypatch):
    """The dispatching thread waits for the next one, maybe for hours, and would hold up to 256 messages."""
    bursts = []

    class Burst(list):
        """A list that can be watched."""

    class Front:
        def __init__(self, *arguments, **options):
            self.behind = native_front(*arguments, **options)

        def __getattr__(self, name):
            return getattr(self.behind, name)

        def recv_batch_details(self, most):
            events = self.behind.recv_batch_details(most)
            if events is None:
                return None
            events = Burst(events)
            bursts.append(weakref.ref(events))
            return events

    native_front = native_transport.NativeGrpcFront
    monkeypatch.setattr(native_transport, "NativeGrpcFront", Front)
    async with serving(repository, transport="native") as (_, channel):
        await refused(classifier_pb2_grpc.ClassifierStub(channel).Classify(pb.ClassifyRequest()))
        await until(lambda: bool(bursts) and all(burst() is None for burst in bursts))


async def test_a_reply_that_ended_while_its_call_began_does_not_hold_it(repository, monkeypatch):
    """Or each would wait for the collector with the other, and the version with them."""
    replies = []

    class Kept(native_transport._Reply):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            replies.append(self)

    monkeypatch.setattr(native_transport, "_Reply", Kept)
    pixels = pb.Tensor(dtype="uint8", shape=[1, 8, 8, 3], data=bytes(192))
    async with serving(repository, transport="native") as (server, channel):
        with leased(server.models, ModelQuery("tiny")) as servable:
            servable.batcher._refuse("it is gone")
        request = pb.ClassifyRequest(model=pb.ModelSpec(name="tiny"), inputs=[pb.Input(tensor=pixels)])
        code, _ = await refused(classifier_pb2_grpc.ClassifierStub(channel).Classify(request))
    assert code == "UNAVAILABLE"
    assert [(reply.done(), reply.call) for reply in replies] == [(True, None)]
