"""What the parent tells a worker, over the pipe that is its standard input, and the exit codes that they agree on."""

from dataclasses import dataclass

from service.config import Settings, Shared

# The exit code of a start-up mistake, as of every command.
MISTAKE = 2
# That of a worker that has lost its runtimes.
LOST = 4


@dataclass(frozen=True, slots=True)
class Orders:
    """A worker's number, the settings with the port that was chosen, and what it shares."""

    number: int
    settings: Settings
    shared: Shared
