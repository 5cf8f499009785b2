"""The HTTP side over real connections."""

import http.client
import socket
import struct
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from service.errors import SettingsError
from service.telemetry import http as telemetry_http
from service.telemetry.http import HttpServer


class Probed:
    """A server whose probes say what the test wants them to say."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.live: str | None = None
        self.ready: str | None = None
        self.registry = CollectorRegistry()
        self.server = HttpServer(host, port, self.registry, live=lambda: self.live, ready=lambda: self.ready)
        self.server.start()
        self.host = host

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.host, self.server.port)
        connection.request(method, path)
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        return reply.status, text


@pytest.fixture
def probed() -> Iterator[Probed]:
    probed = Probed()
    yield probed
    probed.server.stop()


def test_metrics_are_in_prometheus_s_format(probed):
    Counter("pictures", "Pictures.", ["kind"], registry=probed.registry).labels("cats").inc(3)
    status, text = probed.get("/metrics")
    assert status == 200
    assert 'pictures_total{kind="cats"} 3.0' in text.splitlines()


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_probe_says_ok_or_what_is_wrong(probed, path):
    assert probed.get(path) == (200, "ok\n")
    probed.live, probed.ready = "stuck", "draining"
    assert probed.get(path) == (503, "stuck\n" if path == "/livez" else "draining\n")


def test_a_reason_may_be_in_any_language(probed):
    probed.ready = "modèle 猫 kaputt"
    assert probed.get("/readyz") == (503, "modèle 猫 kaputt\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/readyz/../metrics", "/favicon.ico"])
def test_other_paths_are_told_the_right_ones(probed, path):
    assert probed.get(path) == (404, "paths: /metrics /livez /readyz\n")


def test_a_port_in_use_is_a_start_up_mistake(probed):
    with pytest.raises(SettingsError) as refused:
        Probed(port=probed.server.port)
    assert str(refused.value) == (
        f"--metrics-port {probed.server.port} can't be opened on 127.0.0.1: Address already in use; choose another"
    )


def test_an_ipv6_address_is_listened_on():
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    probed = Probed(host="::1")
    assert probed.get("/livez") == (200, "ok\n")
    probed.server.stop()


def test_clients_that_say_nothing_or_hang_up_leave_the_others_alone_and_the_log_clean(probed, capfd):
    address = ("127.0.0.1", probed.server.port)
    silent = [socket.create_connection(address) for _ in range(20)]
    for noise in (b"\x16\x03\x01", b"GET /metrics HTTP/1.1\r\n", b"\r\n" * 100):
        with socket.create_connection(address) as rude:
            rude.sendall(noise)
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # resets on close
    assert probed.get("/livez") == (200, "ok\n")
    for each in silent:
        each.close()
    probed.server.stop()
    assert "Traceback" not in capfd.readouterr().err


def test_a_client_that_says_nothing_is_let_go(monkeypatch, capfd):
    assert telemetry_http._QuietHandler.timeout == telemetry_http.SILENCE_SECONDS
    monkeypatch.setattr(telemetry_http._QuietHandler, "timeout", 0.05)
    probed = Probed()
    with socket.create_connection(("127.0.0.1", probed.server.port)) as silent:
        assert silent.recv(1) == b""
    probed.server.stop()
    assert "Traceback" not in capfd.readouterr().err


def test_the_server_stops_though_a_client_is_still_connected(probed):
    with socket.create_connection(("127.0.0.1", probed.server.port)):
        probed.server.stop()
