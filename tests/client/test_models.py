"""What the clients tell about models."""

import pytest
from canned import MEBIBYTE, READY, UNAVAILABLE

import convoy
from convoy import Head, ModelInfo, ModelSummary, Preprocessing, TensorSpec, VersionStatus
from protos.classifier.v1 import classifier_pb2 as pb


async def test_every_model_with_its_versions(client, canned):
    broken = pb.VersionStatus(version=4, state=UNAVAILABLE, reason="digest differs")
    ready = pb.VersionStatus(version=3, state=READY, version_labels=["stable"])
    canned.models = [pb.ModelSummary(name="flowers", versions=[ready, broken]), pb.ModelSummary(name="empty")]
    assert await client.list_models() == [
        ModelSummary(
            "flowers",
            (VersionStatus(3, "READY", "", ("stable",)), VersionStatus(4, "UNAVAILABLE", "digest differs", ())),
        ),
        ModelSummary("empty", ()),
    ]


async def test_an_answer_over_grpcs_usual_four_mebibytes_is_taken(client, canned):
    canned.models = [pb.ModelSummary(name=str(n) * MEBIBYTE) for n in range(5)]
    assert [len(model.name) for model in await client.list_models()] == [MEBIBYTE] * 5


async def test_a_state_of_a_newer_server_is_told_by_its_number(client, canned):
    canned.models[0].versions[0].state = 17
    (model,) = await client.list_models()
    assert model.versions[0].state == "17"


async def test_one_model_in_full(client):
    assert await client.get_model("flowers", version=2) == ModelInfo(
        name="flowers",
        version=2,
        versions=(VersionStatus(3, "READY", "", ()),),
        inputs=(TensorSpec("image", "uint8", (-1, 28, 28, 1)),),
        outputs=(TensorSpec("probabilities", "float32", (-1, 2)),),
        preprocessing=(Preprocessing("image", 28, 28, 1, "stretch", "bilinear"),),
        heads=(Head("class", "probabilities", "softmax", ("rose", "tulip")),),
        training_metrics={"accuracy": 0.91},
        runtime="onnxruntime fp32 on cpu, 2 threads",
        plan="onnx fp32 exact, 1 x 2 threads, batches to 8: measured",
    )


async def test_a_model_without_a_ready_version_has_no_version(client, canned):
    canned.models[0].versions[0].state = UNAVAILABLE
    model = await client.get_model("flowers")
    assert (model.version, model.versions[0].state) == (None, "UNAVAILABLE")


async def test_an_unknown_model(client, server):
    with pytest.raises(convoy.ModelNotFound, match=f"'trees' .*convoy models --server {server.address}"):
        await client.get_model("trees")


async def test_what_is_wrong_with_a_model_is_told(client, canned):
    canned.models[0].problem = "its file is wrong"
    assert [model.problem for model in await client.list_models()] == ["its file is wrong"]


async def test_a_label_is_set_moved_and_removed(client, canned):
    assert await client.set_version_label("flowers", "stable", 3) is None
    assert await client.set_version_label("flowers", "stable", 4) == 3
    assert canned.admin.labels == {("flowers", "stable"): 4}
    assert await client.delete_version_label("flowers", "stable") == 4
    with pytest.raises(convoy.ModelNotFound, match="no version label 'stable'"):
        await client.delete_version_label("flowers", "stable")


async def test_a_server_that_does_not_allow_it(client, canned):
    canned.admin.allowed = False
    with pytest.raises(convoy.AccessDenied, match=r"access denied: started without --allow-admin$"):
        await client.set_version_label("flowers", "stable", 3)


async def test_a_closed_client_sets_no_label(client):
    await client.close()
    with pytest.raises(convoy.CallCancelled):
        await client.set_version_label("flowers", "stable", 3)
