"""What the repository's folder holds now, and the loop that keeps the registry in step with it.

Only published versions are seen: a folder without its manifest or a staging folder is invisible. Which of them are
loaded is the registry's business. A repository that can't be read for a while changes nothing: what is loaded goes on.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bundle import store
from bundle.errors import BundleNotFound
from service.errors import SettingsError, printable
from service.models import modelfile
from service.models.modelfile import ModelFile

log = logging.getLogger(__name__)


Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """One model on disk: its folder, its published versions ascending, and its own file or what is wrong with that."""

    name: str
    path: Path
    versions: tuple[int, ...]
    file: ModelFile | None
    problem: str = ""


def check(repository: Path) -> None:
    """Raises SettingsError unless the folder is there, can be read and holds at least one published version."""
    try:
        if not repository.is_dir():
            raise SettingsError(f"--repository {repository} is not a folder; make it or name another")
        names = store.models(repository)
    except (OSError, BundleNotFound) as error:
        raise SettingsError(f"--repository {repository} can't be read: {error}") from error
    if not names:
        raise SettingsError(
            f"--repository {repository} holds no published version (MODEL/VERSION/manifest.json); "
            "publish one with `convoy train`, or name the folder above the models"
        )


def scan(repository: Path) -> list[PublishedModel]:
    """Every model with its published versions and its file. Raises BundleNotFound or OSError."""
    found = [(name, store.versions(repository / name)) for name in store.models(repository)]
    # None where the model was removed since the models were listed.
    return [_with_file(name, repository / name, versions) for name, versions in found if versions]


def _with_file(name: str, path: Path, versions: tuple[int, ...]) -> PublishedModel:
    try:
        return PublishedModel(name, path, versions, modelfile.read(path))
    except SettingsError as error:
        return PublishedModel(name, path, versions, None, printable(str(error)))


def stamp(version: Path) -> Stamp:
    """What changes with any file of a version, so that one which failed is tried again when it has been mended.

    A copy that brings the manifest before other files shows this way too: it is tried again as it grows.
    """
    found = []
    for path in version.rglob("*"):
        with suppress(OSError):
            status = path.stat()
            found.append((path.name, status.st_mtime_ns, status.st_size))
    return tuple(sorted(found))


async def watch(
    look: Callable[[], Awaitable[Sequence[PublishedModel]]],
    interval: float,
    reconcile: Callable[[Sequence[PublishedModel]], Awaitable[None]],
) -> None:
    """Reconciles now, raising what goes wrong, and then every `interval` seconds; 0 means once.

    `look` is `scan`, run where it may hang.
    The interval has jitter, so that replicas do not look in step.
    """
    await reconcile(await look())
    while interval:
        await asyncio.sleep(interval * random.uniform(0.9, 1.1))  # noqa: S311 - not a secret
        try:
            await reconcile(await look())
        except (OSError, BundleNotFound, SettingsError) as error:
            log.warning("repository can't be followed, what is loaded goes on", extra={"problem": str(error)})
        except Exception:
            log.exception("repository can't be followed, what is loaded goes on")
