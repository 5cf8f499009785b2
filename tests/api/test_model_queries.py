"""ListModels, GetModel and reflection: what a client can find out about a server."""

import asyncio
import os
import threading

import pytest
from bundles import make_bundle
from google.protobuf.json_format import MessageToDict
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from servers import leased, serving, until

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc
from service.models import golden
from service.models.version import ModelQuery

READY, UNAVAILABLE = pb.VersionStatus.READY, pb.VersionStatus.UNAVAILABLE


def get(stub: classifier_pb2_grpc.ClassifierStub, name: str = "tiny", **choice: object) -> object:
    return stub.GetModel(pb.GetModelRequest(model=pb.ModelSpec(name=name, **choice)))


async def test_every_model_is_listed_with_its_versions(tmp_path):
    make_bundle(tmp_path, "dogs", version=4)
    make_bundle(tmp_path, "cats", corrupt_golden=True)
    async with serving(tmp_path, ready=False) as (server, channel):
        await until(lambda: server.models.ready("dogs"))
        models = (await classifier_pb2_grpc.ClassifierStub(channel).ListModels(pb.ListModelsRequest())).models
    assert [model.name for model in models] == ["cats", "dogs"]
    [cats], [dogs] = (model.versions for model in models)
    assert (dogs.version, dogs.state, dogs.reason) == (4, READY, "")
    assert (cats.version, cats.state) == (1, UNAVAILABLE)
    assert "does not reproduce its 4 golden samples" in cats.reason


async def test_a_model_s_problem_is_told_whatever_bytes_its_path_has(tmp_path, transport):
    repository = tmp_path / os.fsdecode(b"caf\xe9")
    make_bundle(repository)
    (repository / "tiny" / "convoy.toml").write_text("[versions")
    async with serving(repository, ready=False, transport=transport, poll_interval=0.01) as (server, channel):
        await until(lambda: "tiny" in server.models.models())
        [tiny] = (await classifier_pb2_grpc.ClassifierStub(channel).ListModels(pb.ListModelsRequest())).models
        assert "caf\\udce9/tiny/convoy.toml is not TOML" in tiny.problem


async def test_a_model_is_described_in_full(asked):
    model = MessageToDict(await get(asked.stub), preserving_proto_field_name=True)
    assert model.pop("runtime").startswith("onnxruntime")
    assert model.pop("plan") == {
        "settings": {
            "engine": "onnx",
            "variant": "fp32",
            "computed": "exact",
            "threads": 1,
            "instances": 1,
            "max_batch_size": 32,
        },
        "why": "not measured: --profile-seconds is 0",
    }
    assert model == {
        "model": {"name": "tiny", "version": "1"},
        "versions": [{"version": "1", "state": "READY"}],
        "inputs": [{"name": "image", "dtype": "uint8", "shape": ["-1", "8", "8", "3"]}],
        "outputs": [{"name": "probabilities", "dtype": "float32", "shape": ["-1", "3"]}],
        "preprocessing": [
            {
                "input": "image",
                "height": 8,
                "width": 8,
                "channels": 3,
                "resize": "stretch",
                "kernel": "bilinear",
                "crop_fraction": 1.0,
                "exif_orientation": True,
            }
        ],
        "heads": [
            {
                "name": "class",
                "output": "probabilities",
                "activation": "softmax",
                "labels": ["red", "green", "blue"],
            }
        ],
        "training_metrics": {"test_accuracy": 1.0},
    }
    assert await get(asked.stub, version=1) == await get(asked.stub)


async def test_a_model_that_is_not_ready_is_shown_with_its_reason(tmp_path):
    make_bundle(tmp_path, corrupt_golden=True)
    async with serving(tmp_path, ready=False) as (server, channel):
        await until(lambda: any(version.reason for version in server.models.models().get("tiny", ())))
        model = await get(classifier_pb2_grpc.ClassifierStub(channel))
    [version] = model.versions
    assert (model.model.name, model.model.version, version.state) == ("tiny", 0, UNAVAILABLE)
    assert "golden samples" in version.reason
    assert not model.inputs


async def test_a_version_that_can_not_answer_is_a_failed_precondition(tmp_path):
    make_bundle(tmp_path, corrupt_golden=True)
    async with serving(tmp_path, ready=False) as (server, channel):
        await until(lambda: any(version.reason for version in server.models.models().get("tiny", ())))
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        calls = [
            get(stub, version=1),
            stub.Classify(pb.ClassifyRequest(model=pb.ModelSpec(name="tiny"), inputs=[pb.Input(images=[b""])])),
        ]
        failures = await asyncio.gather(*calls, return_exceptions=True)
    assert [failure.code().name for failure in failures] == ["FAILED_PRECONDITION", "FAILED_PRECONDITION"]
    assert all("does not reproduce its 4 golden samples" in failure.details() for failure in failures)


async def test_loading_and_unloading_are_seen_while_they_last(tmp_path, transport, monkeypatch):
    begun, go_on = threading.Semaphore(0), threading.Event()

    def prove(*arguments: object, **others: object) -> None:
        begun.release()
        go_on.wait()

    make_bundle(tmp_path, version=1)
    async with serving(tmp_path, transport=transport, poll_interval=0.01) as (server, channel):
        stub = classifier_pb2_grpc.ClassifierStub(channel)

        async def states() -> dict[int, str]:
            [model] = (await stub.ListModels(pb.ListModelsRequest())).models
            return {each.version: pb.VersionStatus.State.Name(each.state) for each in model.versions}

        def measured(version: int, state: str) -> float | None:
            labels = {"model": "tiny", "version": str(version), "state": state}
            return server.metrics.registry.get_sample_value("convoy_model_state", labels)

        with leased(server.models, ModelQuery("tiny")):
            monkeypatch.setattr(golden, "prove", prove)
            make_bundle(tmp_path, version=2, seed=2)
            try:
                await until(lambda: begun.acquire(blocking=False))
                assert await states() == {1: "READY", 2: "LOADING"}
                assert measured(2, "LOADING") == 1
            finally:
                go_on.set()
            await until(lambda: measured(1, "UNLOADING") == 1)
            assert await states() == {1: "UNLOADING", 2: "READY"}
        await until(lambda: measured(1, "UNLOADING") is None)
        assert await states() == {2: "READY"}


@pytest.mark.parametrize("symbol", ["convoy.classifier.v1.Classifier", "grpc.health.v1.Health"])
async def test_reflection_tells_the_services_and_their_messages(asked, symbol):
    async def questions():
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        yield reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)

    answers = [
        answer
        async for answer in reflection_pb2_grpc.ServerReflectionStub(asked.channel).ServerReflectionInfo(questions())
    ]
    services, described = answers
    assert {service.name for service in services.list_services_response.service} == {
        "convoy.classifier.v1.Classifier",
        "convoy.classifier.v1.ModelAdmin",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert described.file_descriptor_response.file_descriptor_proto
