"""`convoy verify`: are the published versions still what was published, and do they still give what Keras gave?

Checks every file's digest and runs the golden samples on every variant that can run here. Exit code 0 when all that was
checked holds, 1 when something does not or nothing could be checked, 2 for a mistake in the call.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bundle.manifest import Variant
    from bundle.store import Bundle
    from service.models.golden import GoldenReport
    from service.runtimes.devices import Device


@dataclass(frozen=True, slots=True)
class Check:
    """What was found about one variant (or, with `variant` empty, about a version as a whole).

    `passed` None says that it was not checked, and `note` why.
    """

    version: str
    variant: str
    passed: bool | None
    note: str = ""
    device: str = ""
    report: "GoldenReport | None" = None


def verify(
    path: Annotated[Path, typer.Argument(help="A version's folder, a model's (all its versions), or a repository.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or tensorrt[:N].")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of one run; 0 means all cores.")] = 0,
) -> None:
    """Check published versions again: the digest of every file, and the golden samples on every format."""
    from bundle.errors import BundleNotFound
    from service.errors import SettingsError
    from service.runtimes.devices import Device

    try:
        folders = find_versions(path)
        place = Device.parse(device)
    except (BundleNotFound, SettingsError) as error:
        typer.echo(f"convoy verify: {error}", err=True)
        raise typer.Exit(2) from error
    checks = list(_checked(folders, place, threads))
    _print(checks)
    if not verdict(checks):
        raise typer.Exit(1)


def _checked(folders: list[Path], device: "Device", threads: int) -> Iterator[Check]:
    """The checks of all versions; a terminal shows meanwhile which one it is."""
    from rich.console import Console

    with Console().status("") as status:
        for number, folder in enumerate(folders, 1):
            status.update(f"checking {folder.parent.name}/{folder.name}, {number} of {len(folders)}")
            yield from check_version(folder, device, threads)


def find_versions(path: Path) -> list[Path]:
    """The folders of the published versions that a path means, all of them. Raises BundleNotFound."""
    from bundle import store
    from bundle.digests import MANIFEST

    if (path / MANIFEST).is_file():
        return [path.absolute()]
    if numbers := store.versions(path):
        return [path.absolute() / str(number) for number in numbers]
    if not (names := store.models(path)):
        store.resolve(path)  # raises, and its sentence says what was looked for
    return [folder for name in names for folder in find_versions(path / name)]


def check_version(folder: Path, device: "Device", threads: int) -> Iterator[Check]:
    """Digests first; only a version that is byte for byte what was published is run."""
    from bundle import store
    from bundle.errors import BundleError

    version = f"{folder.parent.name}/{folder.name}"
    try:
        bundle = store.open_bundle(folder)
        store.verify_files(bundle)
    except BundleError as error:
        yield Check(version, "", passed=False, note=str(error))
        return
    for variant in bundle.manifest.variants:
        yield _check_variant(version, bundle, variant, device, threads)


def _check_variant(version: str, bundle: "Bundle", variant: "Variant", device: "Device", threads: int) -> Check:
    from bundle.chatter import held_back_stderr
    from bundle.preprocessing import Limits
    from service.errors import ServiceError, SettingsError
    from service.models import golden
    from service.runtimes.opening import open_runtime

    try:
        with held_back_stderr() if variant.format == "saved_model" else nullcontext():
            runtime = open_runtime(
                bundle, engine="auto", device=device, threads=threads, variant=variant.name, explain=True
            )
    except SettingsError as error:
        return Check(version, variant.name, passed=None, note=f"not checked: {error}")
    except ServiceError as error:
        return Check(version, variant.name, passed=False, note=str(error))
    try:
        report = golden.check(runtime, bundle, variant, Limits(), explain=True)
    except ServiceError as error:
        return Check(version, variant.name, passed=False, note=str(error))
    finally:
        runtime.close()
    note = "" if report.passed else str(report)
    return Check(version, variant.name, passed=report.passed, note=note, device=runtime.info.device, report=report)


def verdict(checks: list[Check]) -> bool:
    """Whether every version holds: nothing failed, and at least one of its variants was really run."""
    versions = {check.version for check in checks}
    run = {check.version for check in checks if check.passed}
    return versions == run and all(check.passed is not False for check in checks)


def _print(checks: list[Check]) -> None:
    """The table of differences (largest, mean, allowed), then one line for each thing that needs a sentence."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    for header in ("version", "variant", "device", "max", "mean", "limit", "top-1", ""):
        table.add_column(header, overflow="fold")
    for check in checks:
        table.add_row(check.version, check.variant or "files", check.device, *_figures(check.report), _verdict(check))
    console = Console()
    console.print(table)
    for check in filter(lambda check: check.note, checks):
        where = " ".join(filter(None, (check.version, check.variant)))
        console.print(f"{where}: {check.note}", soft_wrap=True, markup=False, highlight=False)


def _figures(report: "GoldenReport | None") -> list[str]:
    if report is None:
        return [""] * 4
    differences = [f"{value:.1e}" for value in (report.max_difference, report.mean_difference, report.tolerance)]
    return [*differences, f"{report.top1_agreement:.1%}"]


def _verdict(check: Check) -> str:
    return {True: "[green]ok", False: "[red]FAILED", None: "[yellow]skipped"}[check.passed]
