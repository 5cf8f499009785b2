"""The table of codes is complete, and the guard counts, cuts and closes."""

import asyncio

import grpc
import pytest

from service import errors
from service.api import status
from service.api.status import CODES, Guard
from service.telemetry.metrics import Metrics

SPECIAL = {
    errors.QueueFull: errors.QueueFull("m", 1, 2, 3, 2.5),
    errors.MemoryFull: errors.MemoryFull(1 << 20, 2 << 20, 3 << 20, 2.5),
    errors.CannotMeetDeadline: errors.CannotMeetDeadline(1.0, 2.5, 0.1, 2.5),
}


class Aborted(Exception):
    """How a context ends a call."""


class Context:
    """The one method of a call's context that the guard uses."""

    async def abort(self, code: grpc.StatusCode, sentence: str, metadata: tuple = ()) -> None:
        self.metadata = dict(metadata)
        raise Aborted(code.name, sentence)


async def fails(error: Exception) -> None:
    raise error


def kinds(base: type) -> set[type]:
    return {base} | {kind for below in base.__subclasses__() for kind in kinds(below)}


def test_every_error_that_a_call_can_meet_has_a_code():
    served = {kind for kind in kinds(errors.ServiceError) if kind.__module__ == errors.__name__}
    assert CODES.keys() == served - kinds(errors.SettingsError) - {errors.ServiceError}


@pytest.mark.parametrize("kind", CODES)
async def test_a_known_error_ends_the_call_with_its_code_and_sentence(kind):
    metrics = Metrics()
    error = SPECIAL.get(kind) or kind("what is wrong")
    with pytest.raises(Aborted) as ended:
        await Guard(metrics).answer("Classify", Context(), fails(error))
    assert ended.value.args == (CODES[kind].name, str(error))
    labels = {"method": "Classify", "code": CODES[kind].name}
    assert metrics.registry.get_sample_value("convoy_call_seconds_count", labels) == 1


# google.rpc.Status with the google.rpc.RetryInfo of 2.5 s, byte for byte: what any of Google's libraries reads.
DURATION = b"\x08\x02\x10" + b"\x80\xca\xb5\xee\x01"  # 2 s, 500,000,000 ns
RETRY_INFO = b"\x0a" + bytes([len(DURATION)]) + DURATION
NAME = b"type.googleapis.com/google.rpc.RetryInfo"
ANY = b"\x0a" + bytes([len(NAME)]) + NAME + b"\x12" + bytes([len(RETRY_INFO)]) + RETRY_INFO


@pytest.mark.parametrize("kind", CODES)
async def test_only_who_is_overloaded_tells_when_to_try_again(kind):
    error, context = SPECIAL.get(kind) or kind("what is wrong"), Context()
    with pytest.raises(Aborted):
        await Guard(Metrics()).answer("Classify", context, fails(error))
    sentence = str(error).encode()
    if kind in SPECIAL:
        status = b"\x08\x08\x12" + varint(len(sentence)) + sentence + b"\x1a" + bytes([len(ANY)]) + ANY
        assert context.metadata == {"grpc-status-details-bin": status}
    else:
        assert context.metadata == {}


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])


async def test_a_long_sentence_is_cut_where_a_header_still_takes_it():
    with pytest.raises(Aborted) as ended:
        await Guard(Metrics()).answer("Classify", Context(), fails(errors.RequestInvalid("ü" * 5000)))
    assert ended.value.args[1] == "ü" * 797 + "..."


async def test_close_waits_for_the_calls_that_run_and_refuses_new_ones(monkeypatch):
    monkeypatch.setattr(status, "QUIET_SECONDS", 0)
    guard, over = Guard(Metrics()), asyncio.Event()
    running = asyncio.ensure_future(guard.answer("Classify", Context(), over.wait()))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(guard.close(1000))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not closing.done()
    with pytest.raises(Aborted, match="the server is stopping"):
        await guard.answer("Classify", Context(), over.wait())
    over.set()
    await closing
    assert await running is True


async def test_close_waits_only_as_long_as_it_was_told():
    guard = Guard(Metrics())
    running = asyncio.ensure_future(guard.answer("Classify", Context(), asyncio.Event().wait()))
    await asyncio.sleep(0)
    await guard.close(0.01)
    assert not running.done()
    running.cancel()


async def test_close_is_not_held_up_by_a_client_that_never_stops_asking(monkeypatch):
    monkeypatch.setattr(status, "QUIET_SECONDS", 0)
    guard = Guard(Metrics())

    async def insists() -> None:
        while True:
            with pytest.raises(Aborted):
                await guard.answer("Classify", Context(), fails(ValueError()))
            await asyncio.sleep(0)

    client = asyncio.ensure_future(insists())
    await guard.close(1000)
    client.cancel()


async def test_a_sentence_that_is_not_utf_8_still_ends_the_call():
    """A path's bytes may be anything; a sentence that can't be sent would leave the caller without an answer."""
    with pytest.raises(Aborted) as ended:
        await Guard(Metrics()).answer("Classify", Context(), fails(errors.ModelNotReady("/models/caf\udce9 is broken")))
    assert ended.value.args == ("UNAVAILABLE", "/models/caf\\udce9 is broken")
