"""TLS through the front door: `convoy serve` with workers, and every command that asks."""

import subprocess
import urllib.error
import urllib.request
from contextlib import suppress
from time import sleep

import numpy as np
import pytest
from authorities import asking, ca, served
from bundles import encode
from servers import CONVOY, LOCALHOST, arguments, process

import convoy

FLAGS = {"tls_ca": "--tls-ca", "certificate_chain": "--tls-cert", "private_key": "--tls-key"}


def flags(values: dict[str, object]) -> list[str]:
    names = FLAGS | {"tls_cert": "--tls-cert", "tls_key": "--tls-key", "tls_client_ca": "--tls-client-ca"}
    return [word for name, value in values.items() for word in (names[name], str(value))]


def until_ready(address: str) -> None:
    while True:
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(address).close()  # noqa: S310 - our own server
            return
        sleep(0.02)


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        convoy.main([str(word) for word in words])
    return ended.value.code


def test_workers_and_commands(repository, tmp_path, capsys):
    picture = tmp_path / "black.png"
    picture.write_bytes(encode(np.zeros((8, 8, 3), np.uint8)))
    ours = flags({"tls_ca": ca("first")} | asking("first"))
    secured = flags(served("first", clients_of="first"))
    with process(*arguments(repository, "--workers", "2", *secured)) as server:
        ports = server.logged("supervising")
        address = f"{LOCALHOST}:{ports['grpc_port']}"
        until_ready(f"http://{LOCALHOST}:{ports['http_port']}/readyz")
        for words in (["health"], ["models"], ["classify", picture]):
            assert run(*words, "--server", address, *ours) == 0, capsys.readouterr()
        assert run("label", "tiny", "stable", "1", "--server", address, *ours) == 2
        assert "--allow-admin" in capsys.readouterr().err, "it was asked, and refused"
        assert run("health", "--server", address, *flags({"tls_ca": ca("first")})) == 1
        assert "give one that it trusts" in capsys.readouterr().err
        asked = [CONVOY, "models", "--server", address, "--tls-ca", ca("second")]
        said = subprocess.run(asked, capture_output=True, text=True, check=False).stderr
        assert said.startswith(
            f"convoy models: server {address}: can't be asked by TLS: its certificate is not trusted here"
        )
        assert said.count("\n") == 1, "gRPC says nothing of its own"
        assert run("models", "--server", address, "--tls-ca", tmp_path / "no") == 2
        assert capsys.readouterr().err == f"convoy models: {tmp_path / 'no'} can't be read: No such file or directory\n"
        server.signal()
        assert server.ended() == 0
    assert all(line.startswith("{") for line in server.lines)


def test_a_mistake_is_said_once_for_all_workers(repository):
    files = served("first") | {"tls_key": served("second")["tls_key"]}
    with process(*arguments(repository, "--workers", "2", *flags(files))) as server:
        assert server.ended() == 2
    assert [line for line in server.lines if line.startswith("convoy")] == server.lines[-1:]
    assert "is not the private key of" in server.lines[-1]
