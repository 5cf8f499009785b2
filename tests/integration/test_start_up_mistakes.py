"""A start-up mistake ends the process with exit code 2 and one sentence: no traceback, nothing that hangs."""

import socket
from collections.abc import Iterator

import pytest
from bundles import make_bundle
from servers import LOCALHOST, arguments, process


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that someone else listens on."""
    with socket.create_server((LOCALHOST, 0)) as server:
        yield str(server.getsockname()[1])


def mistake(*flags: str) -> str:
    """What `convoy serve` says last, when it ends with exit code 2."""
    with process(*flags) as started:
        code = started.ended()
    assert code == 2, started.lines
    assert not any("Traceback" in line for line in started.lines)
    said = [line for line in started.lines if line.startswith("convoy")]
    assert said == started.lines[-1:]
    return said[0]


def test_a_missing_repository(tmp_path):
    missing = tmp_path / "nowhere"
    assert (
        mistake(*arguments(missing))
        == f"convoy serve: --repository {missing} is not a folder; make it or name another\n"
    )


def test_an_empty_repository(tmp_path):
    (tmp_path / "half-written" / "1").mkdir(parents=True)
    assert mistake(*arguments(tmp_path)) == (
        f"convoy serve: --repository {tmp_path} holds no published version (MODEL/VERSION/manifest.json); "
        "publish one with `convoy train`, or name the folder above the models\n"
    )


@pytest.mark.parametrize("others", ["--transport native", "--transport grpcio", "--workers 2"])
def test_a_port_in_use_is_one_sentence_without_a_word_of_grpc_s(repository, taken, others):
    with process(*arguments(repository, "--port", taken, *others.split())) as started:
        assert started.ended() == 2
    assert "".join(started.lines) == (
        f"convoy serve: --port {taken} can't be opened on --host {LOCALHOST}; "
        "is the port in use, or the address not one of this machine?\n"
    )


def test_an_address_of_another_machine(repository):
    sentence = mistake(*arguments(repository, "--port", "8500", "--host", "192.0.2.1"))
    assert sentence.startswith("convoy serve: --port 8500 can't be opened on --host 192.0.2.1; ")


def test_a_metrics_port_in_use(repository, taken):
    sentence = (
        f"convoy serve: --metrics-port {taken} can't be opened on {LOCALHOST}: Address already in use; choose another\n"
    )
    assert mistake(*arguments(repository, "--metrics-port", taken)) == sentence


def test_a_device_that_does_not_exist(repository):
    assert mistake(*arguments(repository, "--device", "gpu")).startswith(
        "convoy serve: device 'gpu' is not known; it is one of auto, cpu, cuda, cuda:N, tensorrt or tensorrt:N"
    )


def test_a_device_that_is_absent(tmp_path):
    """Also for a machine that has an accelerator: none has a hundred."""
    make_bundle(tmp_path)
    sentence = mistake(*arguments(tmp_path, "--device", "cuda:99", "--drain-delay", "1000"))
    assert sentence.startswith("convoy serve: device cuda:99 ")


def test_a_number_outside_its_limits(repository):
    sentence = "convoy serve: --max-pending is 0, it must be at least 1\n"
    assert mistake(*arguments(repository, "--max-pending", "0")) == sentence


def test_a_file_with_an_unknown_key(repository, tmp_path):
    (tmp_path / "convoy.toml").write_text("prot = 8500\n")
    sentence = mistake(*arguments(repository, "--config", str(tmp_path / "convoy.toml")))
    assert sentence.startswith(
        f"convoy serve: --config {tmp_path / 'convoy.toml'} sets ['prot']; the settings are ['allow_admin',"
    )


def test_a_version_policy_that_is_not_known(repository):
    assert mistake(*arguments(repository, "--version-policy", "newest")) == (
        "convoy serve: version policy 'newest' is not known; it is one of latest:N, all, or specific:N,N,... "
        'as in "latest:2" or "specific:1,3"\n'
    )


def test_a_state_that_can_not_be_used(repository, tmp_path):
    (tmp_path / "labels.json").write_text("{")
    assert mistake(*arguments(repository, "--state", str(tmp_path))).startswith(
        f"convoy serve: {tmp_path / 'labels.json'} is damaged ("
    )
