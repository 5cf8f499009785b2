"""What can go wrong while serving. Classes carry facts, never a gRPC code; `service.api.status` has the one table.

ServiceError
  SettingsError           a start-up mistake: the process exits 2 with the sentence
  DeviceUnavailable       the device that was asked for is not there: also a start-up mistake
  RequestInvalid          the request contradicts the model's signature or a limit
  ModelNotFound           no such model, version or label
  ModelNotReady           it exists but can't answer now: loading, unloading, unavailable, or the server drains
  LabelRefused            a label can't point where it was told to, or can't be moved at run time
  NotAllowed              the server was not started so that it may be done
  QueueFull               the model's bounded queue can't take the pictures of this call
  MemoryFull              the bytes that wait for their answers leave no room for those of this call
  CannotMeetDeadline      the queue is so long that the answer would come after the caller's deadline
  DeadlinePassed          the caller's deadline went by before the last of its pictures was begun
  ModelUnusable           a version can't be opened or does not reproduce its golden samples
  FilesIncomplete         a version's files are not what its manifest says, as while it is being copied
  RuntimeFailed           the runtime threw while it ran the call's rows, or did not come back
"""


def printable(text: str) -> str:
    """The text as a message, a header and a log can carry it: a path in it may not be UTF-8."""
    return text.encode(errors="backslashreplace").decode()


class ServiceError(Exception):
    """The base of all that the service raises on purpose."""


class SettingsError(ServiceError):
    """A start-up mistake, said in one sentence."""


class DeviceUnavailable(SettingsError):
    """The device that was asked for is not there."""


class RequestInvalid(ServiceError):
    """The request contradicts the model's signature or a limit."""


class ModelNotFound(ServiceError):
    """No such model, version or label."""


class ModelNotReady(ServiceError):
    """It exists but can't answer now."""


class LabelRefused(ServiceError):
    """A label can't point where it was told to, or can't be moved at run time."""


class NotAllowed(ServiceError):
    """The server was not started so that it may be done."""


class QueueFull(ServiceError):
    """The model's bounded queue can't take the pictures of this call; `retry_after` seconds are an estimate."""

    def __init__(self, model: str, pending: int, asked: int, limit: int, retry_after: float) -> None:
        super().__init__(
            f"model {model!r} has {pending} pictures pending and this call brings {asked}, over the limit of {limit}; "
            "try again shortly, send fewer pictures a call, or raise --max-pending"
        )
        self.model = model
        self.retry_after = retry_after


class MemoryFull(ServiceError):
    """The server can't hold this call's bytes beside those that are pending; `retry_after` seconds are an estimate."""

    def __init__(self, pending: int, asked: int, limit: int, retry_after: float) -> None:
        mebibytes = [f"{size / (1 << 20):.1f}" for size in (pending, asked, limit)]
        super().__init__(
            "the server has {} MiB pending and this call brings {}, over the limit of {}; "
            "try again shortly, send smaller pictures, or raise --max-pending-mb".format(*mebibytes)
        )
        self.retry_after = retry_after


class CannotMeetDeadline(ServiceError):
    """The answer would come after the caller's deadline, so nothing is begun. All in seconds."""

    def __init__(self, left: float, wait: float, run: float, retry_after: float) -> None:
        super().__init__(
            f"the call has {left:.3f} s left, its answer would take about {wait:.3f} s in the queue and {run:.3f} s to "
            "run; allow more time, ask more slowly, or add replicas"
        )
        self.retry_after = retry_after


class DeadlinePassed(ServiceError):
    """The caller's deadline went by before the last of its pictures was begun."""


class ModelUnusable(ServiceError):
    """A version can't be opened or does not reproduce its golden samples."""


class FilesIncomplete(ModelUnusable):
    """A version's files are not, or not yet, what its manifest says."""


class RuntimeFailed(ServiceError):
    """The runtime threw while it ran the call's rows, or did not come back."""
