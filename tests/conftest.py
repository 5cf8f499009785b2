"""What every test may ask for: a repository with one tiny, real model, and a server that serves it.

And a failure is told when it happens, since what pytest tells at the end is lost where the process crashes. Imports
what a fixture needs when it is asked for, so that tests which need none of it start at once.
"""

import os
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for tests that import ONNX Runtime before we do

if TYPE_CHECKING:
    from servers import Asked

    from bundle.store import Bundle


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Prints the text of a failure at once."""
    report = yield
    terminal = item.config.pluginmanager.get_plugin("terminalreporter")
    if report.failed and terminal is not None:
        terminal.ensure_newline()
        terminal.write_line(f"FAILED {item.nodeid} ({report.when})")
        terminal.write_line(report.longreprtext)
        terminal.flush()
    return report


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> "Bundle":
    """Version 1 of model "tiny". Tests that change a repository make their own."""
    from bundles import make_bundle

    return make_bundle(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def repository(tiny: "Bundle") -> Path:
    """The repository that holds `tiny` and nothing else."""
    return tiny.path.parent.parent


@pytest.fixture
def options() -> dict[str, Any]:
    """The settings of `asked`'s server that differ from the usual ones, for tests to parametrize."""
    return {}


@pytest.fixture(params=["grpcio", "native"])
def transport(request: pytest.FixtureRequest) -> str:
    """What speaks gRPC: a test that has this runs once on each."""
    return str(request.param)


@pytest.fixture
async def asked(repository: Path, options: dict[str, Any], transport: str) -> "AsyncIterator[Asked]":
    """A server in the test's own event loop, READY with `tiny`, and the means to ask it."""
    from servers import Asked, serving

    async with serving(repository, **({"transport": transport} | options)) as (server, channel):
        yield Asked(server, channel)
