"""A real server and the real command: a label that is set survives the server's end."""

import subprocess

from bundles import make_bundle
from servers import CONVOY, LOCALHOST, arguments, process

import convoy


def test_a_label_that_is_set_outlives_the_server(tmp_path, transport):
    models = tmp_path / "models"
    make_bundle(models, version=1)
    flags = arguments(models, "--transport", transport, "--state", str(tmp_path / "state"), "--allow-admin")
    with process(*flags) as server:
        port = server.logged("listening")["grpc_port"]
        server.logged("model state", state="READY")
        with convoy.Client(f"{LOCALHOST}:{port}") as client:
            assert client.set_version_label("tiny", "stable", 1) is None
        server.signal()
        assert server.ended() == 0
    make_bundle(models, version=2, seed=2)
    with process(*flags) as server:
        port = server.logged("listening")["grpc_port"]
        server.logged("version label", label="stable", version=1)
        command = [CONVOY, "label", "tiny", "stable", "2", "--server", f"{LOCALHOST}:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == "tiny stable is 2; it was 1\n"
        server.logged("model unloaded", version=1)
