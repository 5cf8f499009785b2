"""How the parent asks its workers: HTTP over each one's Unix socket, at the moment it is asked itself.

Nothing is kept in between, so there is nothing to be stale. Metrics are told per worker, under a label `worker`, and
not summed: a worker that starts again would make the sums fall, which Prometheus takes for a counter's reset.
"""

import socket
from collections.abc import Iterable, Mapping
from http.client import HTTPConnection, HTTPException

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

PATIENCE_SECONDS = 2.0


class _Connection(HTTPConnection):
    def __init__(self, door: str) -> None:
        super().__init__("localhost", timeout=PATIENCE_SECONDS)
        self._door = door

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._door)


def get(door: str, path: str) -> tuple[int, str]:
    """The status and the text that a worker answers. Raises OSError where it does not answer."""
    connection = _Connection(door)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    except HTTPException as error:
        raise ConnectionError(f"no HTTP: {error!r}") from error
    finally:
        connection.close()


def ready_models(texts: Mapping[int, str]) -> frozenset[str]:
    """The models of which any worker says in its metrics that it has a READY version."""
    families = (family for text in texts.values() for family in text_string_to_metric_families(text))
    states = (sample for family in families if family.name == "convoy_model_state" for sample in family.samples)
    return frozenset(each.labels["model"] for each in states if each.labels["state"] == "READY" and each.value)


def gathered(texts: Mapping[int, str]) -> Iterable[Metric]:
    """The metrics of workers, by their numbers, as one exposition's families with a label `worker`."""
    families: dict[str, Metric] = {}
    for number, text in texts.items():
        for family in text_string_to_metric_families(text):
            known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                known.add_sample(sample.name, {**sample.labels, "worker": str(number)}, sample.value)
    return families.values()
