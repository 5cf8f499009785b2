"""The HTTP side: /metrics for Prometheus, /livez and /readyz for whoever can't ask gRPC health.

Runs in threads of its own, so it answers while the event loop is busy; /livez is how one sees that the loop is stuck.
"""

import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from service.doors import is_door
from service.errors import SettingsError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

# A client that connects and then says nothing gives its thread back after this.
SILENCE_SECONDS = 10.0

Probe = Callable[[], str | None]
"""Says what is wrong, or None."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128  # the default of 5 makes the sixth client of a moment wait for a second

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        """Listens on an IPv4 or, where the host is written as one, an IPv6 address, or at a door of ours."""
        host = address[0]
        if is_door(host):
            self.address_family = socket.AF_UNIX
            super().__init__(cast("tuple[str, int]", host), handler)
        else:
            self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            super().__init__(address, handler)

    def server_bind(self) -> None:
        """As in the base, without its look-up of the host's name, which can take seconds where DNS is slow."""
        TCPServer.server_bind(self)
        at: Any = self.server_address
        door = self.address_family == socket.AF_UNIX
        self.server_name, self.server_port = ("unix", 0) if door else (str(at[0]), at[1])
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        """As in the base; a client on a Unix socket has no address, and the handlers want one."""
        connection, client = super().get_request()
        return connection, client or ("unix", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class named them
        """A client that hangs up or sends no HTTP is not worth a traceback on standard error."""
        log.debug("HTTP request failed", extra={"client": str(client_address), "problem": str(sys.exc_info()[1])})


class _QuietHandler(WSGIRequestHandler):
    timeout = SILENCE_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class named it
        """Scrapes are not worth a line each."""


class HttpServer:
    """Serves the three paths from `start` to `stop`; a `host` may be a door (`service.doors`)."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, *, live: Probe, ready: Probe) -> None:
        self._metrics = make_wsgi_app(registry)
        self._probes = {"/livez": live, "/readyz": ready}
        try:
            self._server = make_server(host, port, self._answer, server_class=_Server, handler_class=_QuietHandler)
        except OSError as error:
            raise SettingsError(
                f"--metrics-port {port} can't be opened on {host}: {error.strerror}; choose another"
            ) from error
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="convoy-http", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return cast("Iterable[bytes]", self._metrics(environ, start_response))
        probe = self._probes.get(path)
        if probe is None:
            status, text = "404 Not Found", "paths: /metrics /livez /readyz"
        else:
            problem = probe()
            status, text = ("503 Service Unavailable", problem) if problem else ("200 OK", "ok")
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [text.encode() + b"\n"]
