"""A server with TLS: that everything is answered, whom it takes, and files that are replaced while it runs."""

import shutil
from pathlib import Path

import grpc
import numpy as np
import pytest
from authorities import FOLDER, asking, ca, served
from bundles import encode
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from servers import LOCALHOST, serving, settings

import convoy
from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc
from service.client import tls
from service.errors import SettingsError
from service.server import Server

PICTURE = encode(np.zeros((8, 8, 3), np.uint8))
REQUEST = pb.ClassifyRequest(model=pb.ModelSpec(name="tiny"), inputs=[pb.Input(images=[PICTURE])])
TRUSTED = {"root_certificates": ca("first")}


def credentials(authority: str = "first") -> grpc.ChannelCredentials | None:
    return tls.credentials(ca(authority), None, None)


async def ask(port: int, host: str = LOCALHOST, **terms: object) -> str:
    """The label that a new client gets; it has a connection of its own."""
    async with convoy.AsyncClient(f"{host}:{port}", **terms) as client:
        return (await client.classify(PICTURE, model="tiny")).best.label


async def test_every_kind_of_call_is_answered(repository):
    async with serving(repository, credentials=credentials(), **served("first")) as (_, channel):
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        alone = await stub.Classify(REQUEST)
        streamed = [answer async for answer in stub.ClassifyStream(iter([REQUEST, REQUEST]))]
        assert [answer.results for answer in streamed] == [alone.results] * 2
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        [told] = [answer async for answer in reflection.ServerReflectionInfo(iter([question]))]
        assert "convoy.classifier.v1.Classifier" in [each.name for each in told.list_services_response.service]


async def test_who_does_not_speak_tls_or_trusts_another_authority_is_told(repository):
    async with serving(repository, credentials=credentials(), **served("first")) as (server, _):
        for terms, problem in (
            ({}, "it ends connections, as a server of TLS alone does"),
            (
                {"root_certificates": ca("second")},
                "its certificate is not trusted here (unable to get local issuer certificate); check root_certificates",
            ),
        ):
            with pytest.raises(convoy.ServerUnavailable) as failed:
                await ask(server.port, **terms)
            assert problem in str(failed.value)


async def test_a_certificate_for_another_name_is_told(repository):
    async with serving(repository, credentials=credentials(), host="0.0.0.0", **served("first")) as (server, _):
        with pytest.raises(convoy.ServerUnavailable, match="its certificate is for other names than this address"):
            await ask(server.port, "127.0.0.2", **TRUSTED)


async def test_a_server_without_tls_is_told(repository):
    async with serving(repository, transport="grpcio") as (server, _):
        with pytest.raises(convoy.ServerUnavailable, match="can't be asked by TLS: it speaks no TLS"):
            await ask(server.port, **TRUSTED)


async def test_clients_need_a_certificate_of_the_authority_that_is_asked_for(repository):
    secure = tls.credentials(ca("first"), *asking("second").values())
    async with serving(repository, credentials=secure, **served("first", clients_of="second")) as (server, _):
        assert await ask(server.port, **TRUSTED, **asking("second")) in {"red", "green", "blue"}
        for unknown in ({}, asking("first")):
            with pytest.raises(convoy.ServerUnavailable, match="where it wants a client's certificate, give one"):
                await ask(server.port, **TRUSTED, **unknown)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the server reads, of the first authority."""
    for file in served("first").values():
        shutil.copy(file, tmp_path)
    return tmp_path


def replace(folder: Path, kind: str, authority: str) -> None:
    """Puts another authority's file in the place of the first one's, in one step."""
    shutil.copy(FOLDER / f"{authority}-server.{kind}", folder / "new")
    (folder / "new").replace(folder / f"first-server.{kind}")


async def test_files_that_were_replaced_serve_the_next_connection(repository, folder, caplog):
    caplog.set_level("INFO", "service.api.tls")
    async with serving(repository, credentials=credentials(), **served("first", folder=folder)) as (server, channel):
        replace(folder, "pem", "second")
        assert await ask(server.port, **TRUSTED), "the key is still the old one: what was good goes on"
        assert [record.message for record in caplog.records] == ["certificate not renewed"]
        assert await ask(server.port, **TRUSTED)
        assert len(caplog.records) == 1, "told once, not at every connection"

        replace(folder, "key", "second")
        assert await ask(server.port, root_certificates=ca("second"))
        with pytest.raises(convoy.ServerUnavailable, match="its certificate is not trusted here"):
            await ask(server.port, **TRUSTED)
        assert caplog.records[1].message == "certificate renewed"
        assert await classifier_pb2_grpc.ClassifierStub(channel).Classify(REQUEST), "a connection outlives its files"

        (folder / "first-server.key").unlink()
        assert await ask(server.port, root_certificates=ca("second"))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"tls_cert": "first-server.pem"}, "TLS needs a certificate and its private key; give both"),
        ({"tls_client_ca": "first-ca.pem"}, "TLS needs a certificate and its private key; give both"),
        (
            {"tls_cert": "first-server.pem", "tls_key": "second-server.key"},
            r"second-server\.key is not the private key of .*first-server\.pem .* \(key values mismatch\); check",
        ),
        (
            {"tls_cert": "first-server.pem", "tls_key": "first-server-encrypted.key"},
            r"first-server-encrypted\.key is not the private key of .* in PEM form without a passphrase; check --tls-c",
        ),
        (
            {"tls_cert": "first-server.key", "tls_key": "first-server.key"},
            r"first-server\.key is not a file of certificates in PEM form; check --tls-cert and --tls-key",
        ),
        (
            {"tls_cert": "first-server.pem", "tls_key": "nowhere.key"},
            r"nowhere\.key can't be read: No such file or directory; check --tls-cert and --tls-key",
        ),
        (
            {"tls_cert": "first-server.pem", "tls_key": "first-server.key", "tls_client_ca": "make.sh"},
            r"make\.sh is not a file of certificates in PEM form; check --tls-client-ca",
        ),
    ],
)
async def test_files_that_can_not_be_used_are_a_start_up_mistake(repository, given, sentence):
    files = {name: FOLDER / file for name, file in given.items()}
    with pytest.raises(SettingsError, match=sentence):
        Server(settings(repository, **files))


@pytest.mark.parametrize("files", [served("first"), {"tls_client_ca": FOLDER / "first-ca.pem"}])
async def test_the_native_transport_has_no_tls(repository, files):
    with pytest.raises(SettingsError, match="--transport native has no TLS; drop the --tls flags or use grpcio"):
        Server(settings(repository, transport="native", **files))
