"""Who goes first, and that what waits is counted to the row whatever callers do."""

import math
import random

import numpy as np
import pytest

from service.batching.entries import Entry, Priority, Ran
from service.batching.waiting import PATIENCE, Waiting
from service.errors import DeadlinePassed

PEOPLE, JOBS = Priority.INTERACTIVE, Priority.BATCH
PAST = 0.0


class Someone:
    """Waits for an entry, until it has an end or leaves."""

    def __init__(self) -> None:
        self.end: Ran | Exception | None = None
        self.left = False

    def done(self) -> bool:
        return self.left or self.end is not None

    def set_result(self, ran: Ran) -> None:
        self.end = ran

    def set_exception(self, error: Exception) -> None:
        self.end = error


def entry(*numbers: int, priority: Priority = PEOPLE, deadline: float = math.inf, width: int = 1) -> Entry:
    values = np.repeat(np.array(numbers).reshape(-1, 1), width, axis=1)
    return Entry({"x": values}, len(numbers), deadline, 0.0, Someone(), priority)


def waiting(*entries: Entry, size: int = 4, mixed: bool = False) -> Waiting:
    made = Waiting(size, mixed=mixed)
    for each in entries:
        made.push(each)
    return made


def numbers(made: Waiting) -> list[int]:
    """The rows of the next batch."""
    return [int(row[0]) for part in made.form(made.rows) for row in part.rows("x")]


def test_jobs_take_what_people_leave():
    made = waiting(entry(10, 11, 12, 13, 14, 15, priority=JOBS), entry(1), entry(2, 3))
    assert [numbers(made), numbers(made), numbers(made)] == [[1, 2, 3, 10], [11, 12, 13, 14], [15]]


@pytest.mark.parametrize(("size", "share"), [(1, 1), (3, 1), (4, 1), (8, 2), (32, 8)])
def test_jobs_get_a_share_of_the_batch_after_so_many_that_had_no_place_for_them(size, share):
    made = waiting(entry(*range(1000, 1100), priority=JOBS), size=size)
    made.push(entry(*range(1000)))
    batches = [numbers(made) for _ in range(3 * (PATIENCE + 1))]
    turns = [sum(number >= 1000 for number in batch) for batch in batches]
    assert turns == ([0] * PATIENCE + [share]) * 3
    assert all(len(batch) == size for batch in batches)


def test_patience_begins_when_a_job_waits_and_ends_with_what_it_gets():
    made = waiting(entry(*range(1000)))
    for _ in range(2 * PATIENCE):
        numbers(made)
    made.push(entry(1000, 1001, priority=JOBS))
    assert [max(numbers(made)) >= 1000 for _ in range(PATIENCE + 2)] == [False] * PATIENCE + [True, False]


def test_a_job_whose_caller_left_takes_no_one_s_turn():
    gone, here = entry(1000, priority=JOBS), entry(1001, priority=JOBS)
    made = waiting(gone, here, entry(*range(1000)))
    gone.waiter.left = True
    made.leave(gone)
    for _ in range(PATIENCE):
        numbers(made)
    assert 1001 in numbers(made)


def test_rows_of_another_shape_wait_for_a_batch_of_their_own_in_either_class():
    made = waiting(entry(1), entry(2, width=2), entry(3), entry(10, priority=JOBS), mixed=True)
    assert [numbers(made) for _ in range(3)] == [[1, 10], [2], [3]]


def test_who_is_too_late_is_told_and_makes_room():
    late = entry(1, 2, 3, deadline=PAST)
    made = waiting(late, entry(4), entry(10, deadline=PAST, priority=JOBS), entry(11, priority=JOBS))
    assert numbers(made) == [4, 11]
    assert isinstance(late.waiter.end, DeadlinePassed)
    assert made.ahead(JOBS) == 0


def test_what_left_does_not_pile_up():
    made = waiting(entry(0))
    for number in range(1000):
        gone = entry(number)
        made.push(gone)
        gone.waiter.left = True
        made.leave(gone)
    assert made.ahead(PEOPLE) == 1
    assert len(made._interactive.entries) <= 3


@pytest.mark.parametrize("seed", range(30))
def test_the_count_is_exact_and_no_row_is_lost_or_doubled_whatever_happens(seed):
    choice = random.Random(seed)  # noqa: S311 - not a secret
    made, all_entries, taken = waiting(size=choice.randint(1, 9)), [], []
    for _ in range(400):
        match choice.choice(["push", "push", "leave", "late", "form"]):
            case "push":
                size = choice.choice([1, 1, 2, 7, 20])
                start = 1000 * len(all_entries)
                all_entries.append(entry(*range(start, start + size), priority=choice.choice([PEOPLE, JOBS])))
                made.push(all_entries[-1])
            case "leave" if all_entries:
                gone = choice.choice(all_entries)
                gone.waiter.left = True
                made.leave(gone)
            case "late" if all_entries:
                choice.choice(all_entries).deadline = PAST
            case "form":
                taken += numbers(made)
        here = [each for each in all_entries if not each.gone]
        for priority, classes in ((PEOPLE, (PEOPLE,)), (JOBS, (PEOPLE, JOBS))):
            assert made.ahead(priority) == sum(each.count - each.taken for each in here if each.priority in classes)
    while batch := numbers(made):
        taken += batch
    assert made.ahead(JOBS) == 0
    assert len(set(taken)) == len(taken)
    wanted = {int(row[0]) for each in all_entries if not each.waiter.done() for row in each.rows["x"]}
    assert wanted <= set(taken)
    assert [each.gone for each in made.clear()] == []
