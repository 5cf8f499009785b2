"""What an unloaded version leaves behind: nothing, and without waiting for the garbage collector."""

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from bundles import make_bundle
from servers import Asked, leased, serving, until

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1.classifier_pb2_grpc import ClassifierStub
from service.models import memory
from service.models.version import ModelQuery
from service.runtimes.onnx import OnnxRuntime


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No cycle is collected while the test runs: what goes, goes with its last reference."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_version_goes_with_its_last_reference(tmp_path, transport, uncollected):
    make_bundle(tmp_path, version=1)
    async with serving(tmp_path, transport=transport, poll_interval=0.01, instances=2) as (server, channel):
        asked = Asked(server, channel)
        pixels = np.zeros((2, 8, 8, 3), np.uint8)
        tensor = pb.Input(tensor=pb.Tensor(dtype="uint8", shape=pixels.shape, data=pixels.tobytes()))
        for _ in range(3):
            assert (await asked.call(tensor)).model.version == 1
        parts = references(server)
        make_bundle(tmp_path, version=2, seed=2)
        await until(lambda: [each.number for each in server.models.models()["tiny"]] == [2])
        await until(lambda: not server.models._unloading)
        assert (await asked.call(tensor)).model.version == 2
        assert [name for name, part in parts.items() if part() is not None] == []


async def test_what_a_stream_has_asked_of_it_keeps_no_version(tmp_path, uncollected):
    make_bundle(tmp_path, version=1)
    async with serving(tmp_path, poll_interval=0.01) as (server, channel):
        pixels = np.zeros((2, 8, 8, 3), np.uint8)
        tensor = pb.Input(tensor=pb.Tensor(dtype="uint8", shape=pixels.shape, data=pixels.tobytes()))
        call = ClassifierStub(channel).ClassifyStream()
        for number in (1, 2, 3):
            await call.write(pb.ClassifyRequest(id=number, model=pb.ModelSpec(name="tiny"), inputs=[tensor]))
            assert (await call.read()).model.version == 1
        parts = references(server)
        make_bundle(tmp_path, version=2, seed=2)
        await until(lambda: [each.number for each in server.models.models()["tiny"]] == [2])
        await until(lambda: not server.models._unloading)
        assert [name for name, part in parts.items() if part() is not None] == []
        await call.done_writing()


def references(server) -> dict[str, weakref.ref]:
    """Weak references to all that a READY version is made of."""
    with leased(server.models, ModelQuery("tiny")) as servable:
        parts = {"servable": servable, "batcher": servable.batcher}
        for number, instance in enumerate(servable.batcher._instances):
            runtime = instance.runtime.unranked
            assert isinstance(runtime, OnnxRuntime)
            parts |= {
                f"instance {number}": instance,
                f"thread {number}": instance._thread,
                f"buffer {number}": instance._buffers["image"],
                f"runtime {number}": runtime,
                f"session {number}": runtime._models._answering.args[0],
            }
        return {name: weakref.ref(part) for name, part in parts.items()}


def test_giving_memory_back_does_no_harm_where_there_is_none():
    memory.give_back()
    memory.give_back()
