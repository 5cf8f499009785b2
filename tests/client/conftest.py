"""The canned server, and both clients behind one way to call them."""

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from canned import CannedClassifier, Running

import convoy


class Awaited:
    """A client whose methods are all awaited: those of `Client` run in a thread, as they would in a program."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            if inspect.iscoroutinefunction(method):
                return await method(*arguments, **options)
            return await asyncio.to_thread(method, *arguments, **options)

        return call


@pytest.fixture
def canned() -> CannedClassifier:
    return CannedClassifier()


@pytest.fixture
def server(canned: CannedClassifier) -> Iterator[Running]:
    with Running(canned) as running:
        yield running


@pytest.fixture(params=["Client", "AsyncClient"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Awaited]]:
    """Makes a client of the one kind, then of the other; closed at the end."""
    opened = []

    def make(address: str, **terms: Any) -> Awaited:
        opened.append(Awaited(getattr(convoy, request.param)(address, **terms)))
        return opened[-1]

    yield make
    for client in opened:
        await client.close()


@pytest.fixture
async def client(connect: Callable[..., Awaited], server: Running) -> Awaited:
    return connect(server.address)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens: the port is taken, but not listened on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"
