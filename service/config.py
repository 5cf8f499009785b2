"""The server's settings: every knob declared once with its default, its limits and its doc.

`service.cli` turns the declarations into flags, `CONVOY_*` variables and keys of a TOML file (in this order of
precedence); nothing else reads the environment, but for where caches lie. Values here are checked, frozen and final.
"""

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from service.errors import SettingsError

MEBIBYTE = 1 << 20
LATENCY_TARGET, LEAST_TARGET = 50.0, 0.1  # milliseconds
_WEEK = 7 * 86_400  # seconds


def _knob(
    default: Any = dataclasses.MISSING, *, doc: str, least: float | None = None, most: float | None = None
) -> Any:
    return field(default=default, metadata={"doc": doc, "least": least, "most": most})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `convoy serve` runs with. Raises SettingsError for a value outside its limits."""

    repository: Path = _knob(doc="Folder of models: MODEL/VERSION/manifest.json.")
    host: str = _knob("0.0.0.0", doc="Address to listen on.")  # noqa: S104 - a server in a container listens on all
    port: int = _knob(8500, doc="gRPC port; 0 takes a free one.", least=0, most=65535)
    metrics_port: int = _knob(
        8002, doc="HTTP port of /metrics, /livez and /readyz; 0 takes a free one.", least=0, most=65535
    )
    transport: Literal["auto", "grpcio", "native"] = _knob(
        "auto",
        doc="What speaks gRPC: native costs less CPU, grpcio can do TLS and more; auto takes native if it can.",
    )
    tls_cert: Path | None = _knob(
        None, doc="PEM file of the server's certificate and those between it and its authority; gRPC is then TLS only."
    )
    tls_key: Path | None = _knob(None, doc="PEM file of the certificate's private key, without a passphrase.")
    tls_client_ca: Path | None = _knob(
        None, doc="PEM file of the authorities that sign clients' certificates; clients without one are refused."
    )
    workers: int = _knob(
        1, doc="Processes that share the port, each with its own copy of the models, queues and limits.", least=1
    )
    device: str = _knob(
        "auto", doc="auto, cpu, cuda[:N] or tensorrt[:N]; one that is asked for and absent is an error."
    )
    runtime: Literal["auto", "onnx", "openvino", "tensorflow"] = _knob(
        "auto", doc="What executes the models; auto prefers ONNX and takes the engine that measures best."
    )
    latency_target: float = _knob(
        LATENCY_TARGET,
        doc="Milliseconds that queue and run may take at the 99th percentile; plans are chosen by it.",
        least=LEAST_TARGET,
    )
    profile_seconds: float = _knob(
        5.0,
        doc="Seconds to measure plans for each version that is new to this machine; 0, or --workers: none.",
        least=0,
    )
    precision: Literal["exact", "auto"] = _knob(
        "exact", doc="exact keeps the first variant's arithmetic; auto also tries int8 variants and bf16."
    )
    threads: int = _knob(
        0,
        doc="CPU threads of one inference; 0: as planned, else all cores or a worker's share. With --instances or "
        "--workers set too, threads times instances decode, else all cores do.",
        least=0,
    )
    instances: int = _knob(0, doc="Copies of each model that run side by side; 0: as planned, else 1.", least=0)
    max_batch_size: int = _knob(0, doc="Pictures in one run of a model, at most; 0: as planned, else 32.", least=0)
    batch_timeout: float = _knob(
        30.0, doc="Seconds of one run after which the runtime is taken to hang and is replaced.", least=0.01
    )
    load_timeout: float = _knob(
        300.0,
        doc="Seconds of one step of a load (verify, open, prove) after which the version is UNAVAILABLE.",
        least=0.01,
    )
    max_pending: int = _knob(4096, doc="Pictures accepted and not yet answered, for each model.", least=1)
    max_pending_mb: int = _knob(
        0, doc="MiB of requests accepted and not yet answered, of all models; 0: an eighth of the memory.", least=0
    )
    max_images_per_call: int = _knob(1024, doc="Pictures in one call.", least=1)
    max_message_mb: int = _knob(64, doc="Size of one request in MiB.", least=1, most=2047)
    max_image_mb: int = _knob(20, doc="Size of one encoded picture in MiB.", least=1)
    max_image_pixels: int = _knob(50_000_000, doc="Width times height of one picture.", least=1)
    max_image_side: int = _knob(16_384, doc="Width or height of one picture.", least=1)
    poll_interval: float = _knob(
        2.0, doc="Seconds between two looks at the repository; 0 looks once.", least=0, most=_WEEK
    )
    version_policy: str = _knob(
        "latest:1",
        doc="Versions of a model to load: latest:N, all or specific:N,N; its convoy.toml may say otherwise.",
    )
    state: Path | None = _knob(
        None,
        doc="Folder of what outlives the process. None keeps labels in memory, and plans in the user's cache folder.",
    )
    allow_admin: bool = _knob(
        False, doc="Lets whoever reaches the gRPC port set and delete version labels (ModelAdmin)."
    )
    max_connection_age: float = _knob(
        0.0,
        doc="Seconds after which a connection is asked to reconnect, to find new replicas (grpcio); 0: never.",
        least=0,
        most=_WEEK,
    )
    drain_delay: float = _knob(
        0.0,
        doc="Seconds after SIGTERM during which health says NOT_SERVING and calls are still taken.",
        least=0,
        most=_WEEK,
    )
    drain_timeout: float = _knob(30.0, doc="Seconds that accepted calls may take after that.", least=0, most=_WEEK)
    log_level: Literal["debug", "info", "warning", "error"] = _knob("info", doc="Least severe events to log.")
    log_format: Literal["auto", "json", "text"] = _knob("auto", doc="json or text; auto means text on a terminal.")

    @property
    def decoding_threads(self) -> int:
        """As many as run a model, where the settings say how many those are; else 0: one for each usable core.

        `threads` alone leaves the instances to the plan, which may take all cores.
        """
        if self.instances or self.workers > 1:
            return self.threads * max(1, self.instances)
        return 0

    def __post_init__(self) -> None:
        """Holds every number to the limits of its declaration."""
        for knob in dataclasses.fields(self):
            value, least, most = getattr(self, knob.name), knob.metadata["least"], knob.metadata["most"]
            # Written so that NaN, which compares with nothing, is refused too.
            if (least is not None and not value >= least) or (most is not None and not value <= most):
                wanted = f"at least {least}" if most is None else f"between {least} and {most}"
                raise SettingsError(f"{flag(knob.name)} is {value}, it must be {wanted}")
        if self.allow_admin and self.workers > 1:
            raise SettingsError(
                "--allow-admin sets labels in one process, so it can't go with --workers; declare them in convoy.toml"
            )


@dataclass(frozen=True, slots=True)
class Shared:
    """What makes a server one of several on its port: it answers HTTP to its parent alone, at a door (`service.doors`).

    One that comes back `awaits` the models that others serve meanwhile: it begins to listen for calls when it has them
    too. None is for the first start, when all listen at once. Where one of the others did not say what it serves
    (`unsure`), it also waits until it has tried to load everything once.
    """

    http: str
    awaits: frozenset[str] | None = None
    unsure: bool = False


def state_folder(settings: Settings) -> Path:
    """Where the server keeps what it may lose: the setting, or "convoy" in the user's cache folder (XDG)."""
    if settings.state is not None:
        return settings.state
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(cache)) / "convoy"  # noqa: PTH111 - Path's own raises where there is no home


def flag(name: str) -> str:
    """The command line's spelling of a setting."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """The environment's spelling of a setting."""
    return f"CONVOY_{name.upper()}"
