"""Which of several training processes this one is, as TF_CONFIG says. Imports nothing heavy: the CLI asks it first."""

import json
import os
from dataclasses import dataclass

from training.errors import ConfigInvalid


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of every batch this process takes: all of it, unless there are several. The first one leads."""

    number: int = 0
    of: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process keeps the run folder and publishes."""
        return self.number == 0


def share(distribute: str) -> Share:
    """The share that this process has. Raises ConfigInvalid for a missing or wrong TF_CONFIG."""
    if distribute != "workers":
        return Share()
    try:
        cluster = json.loads(os.environ["TF_CONFIG"])
        found = Share(int(cluster["task"]["index"]), len(cluster["cluster"]["worker"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigInvalid(
            'distribute is workers, which needs TF_CONFIG: {"cluster": {"worker": ["host1:9000", "host2:9000"]}, '
            '"task": {"type": "worker", "index": 0}}, with another index in every process'
        ) from error
    if not 0 <= found.number < found.of:
        raise ConfigInvalid(f"TF_CONFIG's task has the index {found.number}, but it names {found.of} workers")
    return found
