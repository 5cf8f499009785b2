"""`convoy plan`: how a version would run on this machine, and the table of what was measured.

Decides as `convoy serve` would with the same flags, measures anew, and keeps the choice where the server finds it. Exit
code 0 with a plan, 1 where the version can't be run here, 2 for a mistake in the call.
"""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from service.config import Settings
    from service.models.planning.plan import Choice, Measured


def plan(
    model: Annotated[
        Path, typer.Argument(help="A version's folder, a model's (its highest version), or a repository.")
    ],
    *,
    latency_target: Annotated[
        float, typer.Option(help="Milliseconds at the 99th percentile, where the model's convoy.toml says none.")
    ] = 50.0,
    profile_seconds: Annotated[float, typer.Option(min=0.1, help="Seconds to measure for.")] = 5.0,
    precision: Annotated[
        Literal["exact", "auto"], typer.Option(help="auto also tries int8 variants and bf16.")
    ] = "exact",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or tensorrt[:N].")] = "auto",
    runtime: Annotated[
        Literal["auto", "onnx", "openvino", "tensorflow"], typer.Option(help="What executes the model.")
    ] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads of one inference; 0: to be measured.")] = 0,
    instances: Annotated[int, typer.Option(help="Copies that run side by side; 0: to be measured.")] = 0,
    max_batch_size: Annotated[int, typer.Option(help="Pictures in one run; 0: to be measured.")] = 0,
    state: Annotated[Path | None, typer.Option(help="The server's --state, where the plan is kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure how a version runs here, within the latency target, and show the plan and the table it comes from."""
    from bundle.errors import BundleError
    from service.config import Settings
    from service.errors import ServiceError, SettingsError

    try:
        settings = Settings(
            repository=model,
            latency_target=latency_target,
            profile_seconds=profile_seconds,
            precision=precision,
            device=device,
            runtime=runtime,
            threads=threads,
            instances=instances,
            max_batch_size=max_batch_size,
            state=state,
        )
        choice = decide(model, settings)
    except (ServiceError, BundleError) as error:
        typer.echo(f"convoy plan: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, SettingsError | BundleError) else 1) from error
    if as_json:
        typer.echo(_json(choice))
    else:
        _print(choice)


def decide(model: Path, settings: "Settings") -> "Choice":
    """The choice for one version, proved. Raises BundleError, ModelUnusable or SettingsError."""
    from bundle import store
    from service.models.loader import Loader
    from service.telemetry.metrics import Metrics

    async def measured() -> "Choice":
        return await Loader(settings, Metrics()).plan(store.resolve(model))

    return asyncio.run(measured())


def _json(choice: "Choice") -> str:
    import msgspec

    rows = [
        {
            "plan": row.plan,
            "images_per_second": round(row.images_per_second, 1),
            "p99_ms": round(row.p99 * 1e3, 3),
            "refused": row.refused,
        }
        for row in choice.table
    ]
    return msgspec.json.encode({"plan": choice.plan, "why": choice.why, "fit": choice.fit, "table": rows}).decode()


def _print(choice: "Choice") -> None:
    from rich.console import Console

    console = Console()
    if choice.table:
        console.print(_table(choice, choice.table))
    for name, text in (("Plan", str(choice.plan)), ("Why", choice.why)):
        console.print(f"{name}: {text}", soft_wrap=True, markup=False, highlight=False)
    for line in _missing(choice.table):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _table(choice: "Choice", rows: "Sequence[Measured]") -> "object":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    # Narrow enough for a terminal of 80 columns: only a variant's name may be long, and it is folded there.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for header in ("engine", "variant", "computed"):
        table.add_column(header, no_wrap=header != "variant", overflow="fold")
    for header in ("threads", "instances", "batch", "images/s", "p99 ms"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        if not row.refused:
            plan = row.plan
            counts = (plan.threads, plan.instances, plan.max_batch_size)
            figures = (f"{row.images_per_second:.0f}", f"{row.p99 * 1e3:.2f}")
            style = "bold green" if plan == choice.plan else None
            table.add_row(plan.engine, plan.variant, plan.computed, *map(str, counts), *figures, style=style)
    return table


def _missing(rows: "Sequence[Measured]") -> "Iterator[str]":
    """A line for each setup that has no rows, and for the batch sizes of one that were not tried or can't be used."""
    sizes: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        if row.refused:
            sizes.setdefault((_kind(row), row.refused), []).append(row.plan.max_batch_size)
    for (kind, reason), missing in sizes.items():
        batches = ", ".join(str(size) for size in sorted(missing) if size)
        yield f"Not in the table: {kind}{f', batches of {batches}' if batches else ''}: {reason}"


def _kind(row: "Measured") -> str:
    plan = row.plan
    instances = f", {plan.instances} instance{'s' * (plan.instances != 1)}" if plan.max_batch_size else ""
    threads = f"{plan.threads} thread{'s' * (plan.threads != 1)}"
    return f"{plan.engine} {plan.variant} {plan.computed}, {threads}{instances}"
