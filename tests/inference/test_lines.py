"""Lines take turns, and what stands before a newcomer is reckoned: compared with trying it out."""

import random
import sys
from collections import deque
from itertools import count

import pytest

from service.inference.decoding import NO_PICTURES
from service.inference.lines import Job, Lines


def job(size: int) -> Job:
    return Job(NO_PICTURES, range(1), size, lambda: None, 0.0, future=None)


def joined(lines: Lines, line: object, *sizes: int) -> list[Job]:
    jobs = [job(size) for size in sizes]
    for each in jobs:
        lines.join(line, each)
    return jobs


def taken(lines: Lines) -> list[int]:
    sizes = []
    while lines:
        sizes.append(lines.take().work)
    return sizes


def tried(lines: Lines, line: object, parts: int) -> int:
    """The work that does come before the last of so many jobs, where those that wait are taken in their turns."""
    queues = {name: deque(each.work * each.waits for each in jobs) for name, jobs in lines._lines.items()}
    queues.setdefault(line, deque()).extend([0] * (parts - 1) + [-1])
    before = 0
    while queues:
        name = next(iter(queues))
        queue = queues.pop(name)
        size = queue.popleft()
        if size < 0:
            break
        before += size
        if queue:
            queues[name] = queue
    return before


def test_lines_take_turns_and_new_ones_come_last():
    lines = Lines()
    joined(lines, "a", 1, 2, 3)
    joined(lines, "b", 10, 20)
    assert lines.take().work == 1
    joined(lines, "c", 100)
    assert taken(lines) == [10, 2, 100, 20, 3]
    assert lines.work_before("a", 5) == 0


def test_calls_of_one_part_are_reckoned_exactly():
    lines = Lines()
    for number in range(100):
        joined(lines, number, number)
    assert lines.work_before("new", 1) == sum(range(100))
    for _ in range(50):
        lines.take()
    assert lines.work_before("new", 1) == sum(range(50, 100))


def test_a_long_line_counts_for_as_many_parts_as_the_newcomer_has():
    lines = Lines()
    joined(lines, "many", *[10] * 40)
    assert [lines.work_before("new", parts) for parts in (1, 3, 40, 50)] == [10, 30, 400, 400]
    assert lines.work_before("many", 1) == 400


def test_who_left_is_not_reckoned_with_and_keeps_his_turn():
    lines = Lines()
    gone, _ = joined(lines, "a", 1, 2)
    joined(lines, "b", 10)
    lines.leave(gone)
    assert lines.work_before("c", 1) == 10
    assert lines.take() is gone
    assert lines.work_before("c", 2) == 12


def test_nobody_waits_after_the_end():
    lines = Lines()
    (left,) = joined(lines, "a", 1)
    lines.clear()
    assert not lines
    assert not left.waits
    assert lines.work_before("a", 1) == 0


@pytest.mark.parametrize("seed", range(10))
def test_whatever_waits_it_is_never_too_little_and_at_most_a_job_a_line_too_much(seed):
    choice, names, lines, waiting = random.Random(seed), count(), Lines(), []  # noqa: S311 - not a secret
    for _ in range(200):
        match choice.choice(("join", "join", "more", "take", "take", "leave")):
            case "join":
                waiting += joined(lines, next(names), *[choice.randint(0, 9) for _ in range(choice.choice((1, 1, 7)))])
            case "more":
                waiting += joined(lines, "batch", choice.randint(0, 9))
            case "take" if lines:
                waiting.remove(lines.take())
            case "leave" if waiting:
                waiting.sort(key=lambda each: each.waits)
                if waiting[-1].waits:
                    lines.leave(waiting[-1])
        for line, parts in (("new", 1), ("new", 4), ("batch", 1)):
            before, reckoned = tried(lines, line, parts), lines.work_before(line, parts)
            assert (
                before <= reckoned <= min(before + 9 * len(lines._lines), sum(job.work for job in waiting if job.waits))
            )


def test_a_thousand_lines_cost_a_newcomer_no_more_than_ten():
    assert lines_executed(lines_of(1000)) == lines_executed(lines_of(10))


def lines_of(number: int) -> Lines:
    lines = Lines()
    for line in range(number):
        joined(lines, line, 1, 1, 1, 1)
    return lines


def lines_executed(lines: Lines) -> int:
    """How many lines of code it takes to reckon: what time would say, without a clock."""
    executed = 0

    def trace(_frame, _event, _argument):
        nonlocal executed
        executed += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        lines.work_before("new", 3)
    finally:
        sys.settrace(before)
    return executed
