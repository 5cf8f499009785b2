"""What the repository's folder holds now, and the loop that keeps the registry in step with it.

Only published versions are seen: a folder without its manifest, half a copy or a staging folder, is invisible.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle import store
from service.errors import SettingsError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """One version on disk; `stamp` changes when its manifest is replaced, so that a mended version is tried again."""

    name: str
    version: int
    path: Path
    stamp: tuple[int, int]


def check(repository: Path) -> None:
    """Raises SettingsError unless the folder is there, can be read and holds at least one published version."""
    if not repository.is_dir():
        raise SettingsError(f"--repository {repository} is not a folder; make it or name another")
    try:
        names = store.models(repository)
    except OSError as error:
        raise SettingsError(f"--repository {repository} can't be read: {error.strerror}") from error
    if not names:
        raise SettingsError(
            f"--repository {repository} holds no published version (MODEL/VERSION/manifest.json); "
            "publish one with `convoy train`, or name the folder above the models"
        )


def scan(repository: Path) -> list[Published]:
    """The highest published version of every model."""
    found = []
    for name in store.models(repository):
        version = store.versions(repository / name)[-1]
        path = repository / name / str(version)
        status = (path / "manifest.json").stat()
        found.append(Published(name, version, path, (status.st_mtime_ns, status.st_size)))
    return found


async def watch(repository: Path, interval: float, reconcile: Callable[[Sequence[Published]], Awaitable[None]]) -> None:
    """Reconciles now, raising what goes wrong, and then every `interval` seconds; 0 means once.

    The interval has jitter, so that replicas do not look in step.
    """
    await reconcile(await asyncio.to_thread(scan, repository))
    while interval:
        await asyncio.sleep(interval * random.uniform(0.9, 1.1))  # noqa: S311 - not a secret
        try:
            await reconcile(await asyncio.to_thread(scan, repository))
        except (OSError, SettingsError) as error:
            log.warning("repository can't be followed, what is loaded goes on", extra={"problem": str(error)})
