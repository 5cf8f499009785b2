"""The closed loop as a whole: what it says when a server does not answer as it should."""

import asyncio
import os

import pytest

from benchmarks import load
from benchmarks.serving import Target


@pytest.mark.parametrize("transport", ["grpcio"])
async def test_a_call_that_is_not_answered_ok_is_told_in_a_sentence(asked, monkeypatch):
    monkeypatch.setattr(load, "generator", lambda: "python")
    target = Target(f"127.0.0.1:{asked.server.port}", os.getpid())
    with pytest.raises(RuntimeError) as failure:
        await asyncio.to_thread(load.run, target, b"", 8, 0.1)
    assert str(failure.value) == "a call was answered with gRPC code 3, not OK"
