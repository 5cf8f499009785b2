"""Which plans are worth measuring for a bundle on this machine, within what the flags and the model's file pin.

Pure. The invariant: nothing here is less exact than the variant that would be served without a plan, unless precision
"auto" was asked for or the variant is pinned by name. Called by `planner`, and by `modelfile` to check a [plan].
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self

from bundle.manifest import Variant
from service.config import LATENCY_TARGET, LEAST_TARGET, Settings
from service.errors import SettingsError
from service.models.planning.plan import Plan
from service.runtimes.opening import Computed, Engine, choose_variant
from service.runtimes.usable import usable_cores

DEFAULT_BATCH_SIZE: Final = 32
_BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32)
_MOST_INSTANCES: Final = 16  # each holds the model's weights again
_ENGINES: Final = ("onnx", "openvino", "tensorflow")
# What a value of the model's file must be, by the type of what it sets; TOML's true is no number.
_KINDS: Final[dict[type, tuple[Callable[[Any], bool], str]]] = {
    str: (lambda value: isinstance(value, str), "a text"),
    int: (lambda value: type(value) is int and value >= 1, "a whole number of at least 1"),
    float: (lambda value: type(value) in (int, float) and value >= LEAST_TARGET, f"milliseconds from {LEAST_TARGET}"),
}

Precision = Literal["exact", "auto"]


@dataclass(frozen=True, slots=True)
class Pins:
    """What is settled before anything is measured; "auto", "" and 0 leave it open.

    `latency_target` is the p99 to keep to in milliseconds; it is always settled.
    """

    engine: Engine = "auto"
    variant: str = ""
    threads: int = 0
    instances: int = 0
    max_batch_size: int = 0
    latency_target: float = LATENCY_TARGET

    @classmethod
    def of(cls, settings: Settings, table: Mapping[str, Any]) -> Self:
        """What the checked [plan] of the model's file pins and, before it, the flags.

        The latency target of all models is the one flag that a model's file goes before.
        """
        flags = {
            "engine": "" if settings.runtime == "auto" else settings.runtime,
            "threads": settings.threads,
            "instances": settings.instances,
            "max_batch_size": settings.max_batch_size,
        }
        given = {name: value for name, value in flags.items() if value}
        return cls(**{"latency_target": settings.latency_target, **table, **given})


def check(table: Mapping[str, object]) -> None:
    """Raises SettingsError unless it can be the [plan] of a model's file."""
    usual = asdict(Pins())
    for name, value in table.items():
        if name not in usual:
            raise SettingsError(f"[plan] sets {name!r}; it may set {', '.join(usual)}")
        fits, kind = _KINDS[type(usual[name])]
        if not fits(value):
            raise SettingsError(f"[plan] {name} is {value!r}, it must be {kind}")
        if name == "engine" and value not in _ENGINES:
            raise SettingsError(f"[plan] engine is {value!r}; it is one of {', '.join(_ENGINES)}")


@dataclass(frozen=True, slots=True)
class Setup:
    """What is opened once and measured with several numbers of instances and batch sizes."""

    engine: Engine
    variant: str
    computed: Computed
    threads: int
    instances: tuple[int, ...]
    batch_sizes: tuple[int, ...]

    def plan(self, instances: int, max_batch_size: int) -> Plan:
        """One plan of this setup."""
        return Plan(self.engine, self.variant, self.computed, self.threads, instances, max_batch_size)


def default_plan(variants: Sequence[Variant], pins: Pins) -> Plan:
    """What is served where nothing was measured: one instance on all cores. Raises ModelUnusable."""
    variant = choose_variant(variants, pins.engine, pins.variant or None)
    engine: Engine = pins.engine
    if engine == "auto":
        engine = "onnx" if variant.format == "onnx" else "tensorflow"
    return Plan(
        engine,
        variant.name,
        "exact",
        pins.threads or usable_cores(),
        pins.instances or 1,
        pins.max_batch_size or DEFAULT_BATCH_SIZE,
    )


def candidates(
    variants: Sequence[Variant],
    pins: Pins,
    precision: Precision,
    *,
    cores: int,
    on_cpu: bool,
    installed: Sequence[Engine],
) -> list[Setup]:
    """The setups to measure, the most promising first; `installed` engines only. Raises ModelUnusable."""
    usual = default_plan(variants, pins)
    kinds = _kinds(variants, usual, pins, precision, [engine for engine in installed if on_cpu or engine != "openvino"])
    if usual.engine == "tensorflow":  # its threads belong to the process and its runs use them all
        threads: list[int] = [usual.threads]
    else:
        threads = [pins.threads] if pins.threads else _thread_counts(cores) if on_cpu else [1]
    sizes = (pins.max_batch_size,) if pins.max_batch_size else _BATCH_SIZES
    return [
        Setup(engine, variant, computed, count, _instance_counts(pins, cores, count, on_cpu=on_cpu), sizes)
        for count in threads
        for engine, variant, computed in kinds
    ]


def _kinds(
    variants: Sequence[Variant], usual: Plan, pins: Pins, precision: Precision, installed: Sequence[Engine]
) -> list[tuple[Engine, str, Computed]]:
    """Engine, variant and arithmetic of all that may be served: the usual one and its rivals of the same format."""
    first = next(variant for variant in variants if variant.name == usual.variant)
    named = [first] if pins.variant else [variant for variant in variants if variant.format == first.format]
    if precision == "exact":
        named = [variant for variant in named if variant.precision == first.precision]
    engines: list[Engine] = [usual.engine]
    if pins.engine == "auto" and first.format == "onnx":
        engines += [engine for engine in ("openvino",) if engine in installed]
    kinds: list[tuple[Engine, str, Computed]] = [(engine, each.name, "exact") for each in named for engine in engines]
    if precision == "auto" and "openvino" in engines:
        kinds += [("openvino", each.name, "bf16") for each in named if each.precision == "fp32"]
    return kinds


def _thread_counts(cores: int) -> list[int]:
    """One thread, then twice as many each time, up to all cores; without those that would need too many instances."""
    powers = {1 << power for power in range(cores.bit_length())} | {cores}
    return sorted(count for count in powers if cores // count <= _MOST_INSTANCES)


def _instance_counts(pins: Pins, cores: int, threads: int, *, on_cpu: bool) -> tuple[int, ...]:
    if pins.instances:
        return (pins.instances,)
    most = min(max(1, cores // threads), _MOST_INSTANCES) if on_cpu else 2
    return tuple(sorted({1 << power for power in range(most.bit_length())} | {most}, reverse=True))
