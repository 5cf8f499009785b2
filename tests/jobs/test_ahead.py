"""Work ahead of its consumer: in order, bounded, and dropped when nobody wants it."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from threading import Event

import pytest

from service.jobs.ahead import GROUP, map_ahead


@pytest.fixture
def threads():
    with ThreadPoolExecutor(3) as pool:
        yield pool


@pytest.mark.parametrize("length", [0, 1, GROUP - 1, GROUP, GROUP + 1, 103])
@pytest.mark.parametrize("ahead", [0, 1, 10, 1000])
def test_every_item_comes_out_once_and_in_order(threads, length, ahead):
    assert list(map_ahead(threads, lambda item: item * 2, range(length), ahead)) == [2 * item for item in range(length)]


def test_an_endless_source_is_taken_only_a_little_ahead(threads):
    source = count()
    results = map_ahead(threads, lambda item: item, source, ahead=20)
    assert list(islice(results, 5)) == [0, 1, 2, 3, 4]
    assert next(source) <= 5 + 20 + 2 * GROUP


def test_results_wait_for_a_slow_first_item(threads):
    first = Event()

    def slow_first(item):
        if item == 0:
            assert first.wait(30)
        elif item == 2 * GROUP:
            first.set()  # only reached because other groups run meanwhile
        return item

    assert list(map_ahead(threads, slow_first, range(3 * GROUP), ahead=3 * GROUP)) == list(range(3 * GROUP))


def test_an_exception_reaches_the_consumer(threads):
    def fail_late(item):
        if item == 2 * GROUP:
            raise ValueError("item 8")
        return item

    results = map_ahead(threads, fail_late, range(100), ahead=20)
    assert list(islice(results, 2 * GROUP)) == list(range(2 * GROUP))
    with pytest.raises(ValueError, match="item 8"):
        next(results)


def test_what_has_not_begun_is_dropped_when_the_consumer_stops():
    begun, gate = [], Event()

    def wait(item):
        begun.append(item)
        if item >= GROUP:
            assert gate.wait(30)
        return item

    with ThreadPoolExecutor(1) as pool:
        results = map_ahead(pool, wait, range(100), ahead=90)
        assert next(results) == 0
        results.close()
        gate.set()
    assert set(begun) <= set(range(2 * GROUP))
