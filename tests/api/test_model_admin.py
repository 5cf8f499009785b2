"""ModelAdmin over the wire: off unless allowed, labels that call and list, and how it is refused."""

import grpc.aio
import numpy as np
import pytest
from bundles import LABELS, encode, make_bundle
from expected import scores
from servers import Asked, refused, serving, until

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1.classifier_pb2_grpc import ModelAdminStub
from service.models.version import State

NOT_ALLOWED = "labels can't be changed here: the server was started without --allow-admin"


def put(channel: grpc.aio.Channel, label: str, version: int, model: str = "tiny") -> object:
    return ModelAdminStub(channel).SetVersionLabel(pb.SetVersionLabelRequest(model=model, label=label, version=version))


def delete(channel: grpc.aio.Channel, label: str, model: str = "tiny") -> object:
    return ModelAdminStub(channel).DeleteVersionLabel(pb.DeleteVersionLabelRequest(model=model, label=label))


async def test_nobody_may_unless_the_operator_said_so(asked):
    assert await refused(put(asked.channel, "stable", 1)) == ("PERMISSION_DENIED", NOT_ALLOWED)
    assert await refused(delete(asked.channel, "stable")) == ("PERMISSION_DENIED", NOT_ALLOWED)
    assert asked.server.models.labels("tiny") == {}
    assert asked.calls("PERMISSION_DENIED", "SetVersionLabel") == 1


@pytest.mark.parametrize("options", [{"allow_admin": True}])
async def test_a_label_is_set_listed_asked_moved_and_removed(asked):
    picture = encode(np.zeros((8, 8, 3), np.uint8))
    assert not (await put(asked.channel, "stable", 1)).HasField("previous_version")
    assert (await put(asked.channel, "stable", 1)).previous_version == 1
    await put(asked.channel, "canary", 1)
    spec = pb.ModelSpec(name="tiny", version_label="stable")
    assert (await asked.classify(picture, model=spec)).model.version == 1
    [model] = (await asked.stub.ListModels(pb.ListModelsRequest())).models
    assert list(model.versions[0].version_labels) == ["canary", "stable"]
    described = await asked.stub.GetModel(pb.GetModelRequest(model=spec))
    assert (described.model.version, list(described.versions[0].version_labels)) == (1, ["canary", "stable"])
    assert (await delete(asked.channel, "canary")).previous_version == 1
    assert await refused(asked.classify(picture, model=pb.ModelSpec(name="tiny", version_label="canary"))) == (
        "NOT_FOUND",
        "model 'tiny' has no version label 'canary'; it has: stable -> 1",
    )


@pytest.mark.parametrize("options", [{"allow_admin": True}])
@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (
            lambda channel: put(channel, "stable", 9),
            (
                "FAILED_PRECONDITION",
                "label 'stable' of model 'tiny' can only point at a READY version, and 9 is not; it has: 1 READY",
            ),
        ),
        (
            lambda channel: put(channel, "stable", 1, model="tin"),
            ("NOT_FOUND", "model 'tin' is not in the repository; it holds: tiny"),
        ),
        (
            lambda channel: delete(channel, "stable"),
            ("NOT_FOUND", "model 'tiny' has no version label 'stable'; it has: none"),
        ),
        (
            lambda channel: put(channel, "stable", 1, model=""),
            ("INVALID_ARGUMENT", "model is empty; ListModels tells the names"),
        ),
        (
            lambda channel: put(channel, "7", 1),
            (
                "INVALID_ARGUMENT",
                "'7' can't be a version label: it must be 1 to 128 of A-Z, a-z, 0-9, _, . and -, and no number",
            ),
        ),
    ],
)
async def test_what_is_wrong_is_refused_with_the_reason(asked, call, answer):
    assert await refused(call(asked.channel)) == answer


async def test_callers_by_label_stay_on_their_version_while_others_move_on(tmp_path, transport):
    """Stable answers as version 1 does, before and after version 2 is published; then it is moved, and 1 goes."""
    pictures = [encode(np.full((8, 8, 3), 90, np.uint8))]
    bundles = {1: make_bundle(tmp_path, version=1, seed=1)}
    stable = pb.ModelSpec(name="tiny", version_label="stable")
    async with serving(tmp_path, transport=transport, poll_interval=0.01, allow_admin=True) as (server, channel):
        asked = Asked(server, channel)

        async def best(spec: pb.ModelSpec) -> int:
            response = await asked.classify(*pictures, model=spec, top_k=len(LABELS))
            version = response.model.version
            [told] = [result.classifications[0].classes[0].score for result in response.results]
            assert told == pytest.approx(scores(bundles[version], pictures).max(), abs=1e-5)
            return version

        await put(channel, "stable", 1)
        bundles[2] = make_bundle(tmp_path, version=2, seed=2)
        await until(lambda: [each.state for each in server.models.models()["tiny"]] == [State.READY] * 2)
        assert (await best(stable), await best(pb.ModelSpec(name="tiny"))) == (1, 2)
        await put(channel, "stable", 2)
        assert await best(stable) == 2
        await until(lambda: [each.number for each in server.models.models()["tiny"]] == [2])


async def test_what_is_wrong_with_a_model_s_file_is_told_and_keeps_the_server_from_ready(tmp_path, transport):
    make_bundle(tmp_path)
    (tmp_path / "tiny" / "convoy.toml").write_text("[versions")
    async with serving(tmp_path, ready=False, transport=transport) as (server, channel):
        asked = Asked(server, channel)
        await until(lambda: bool(server.models.problem("tiny")))
        [model] = (await asked.stub.ListModels(pb.ListModelsRequest())).models
        described = await asked.stub.GetModel(pb.GetModelRequest(model=pb.ModelSpec(name="tiny")))
        assert (model.name, len(model.versions)) == ("tiny", 0)
        assert "convoy.toml is not TOML: " in model.problem
        assert described.problem == model.problem
        assert "convoy.toml is not TOML: " in (server.health.problem() or "")
        code, sentence = await refused(asked.classify(b"", model=pb.ModelSpec(name="tiny")))
        assert (code, "convoy.toml is not TOML: " in sentence) == ("UNAVAILABLE", True)
