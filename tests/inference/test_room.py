"""Room for what is decoded at once: never more than there is, nobody overtaken, nobody stuck."""

import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bundle.preprocessing import PEAK_BYTES_A_PIXEL
from service.inference.room import Room
from service.runtimes.usable import usable_memory

MEGA = 1 << 20


class Decoding(threading.Thread):
    """Takes room, tells it, and gives it back when it may."""

    def __init__(self, room: Room, work: int) -> None:
        super().__init__(daemon=True)
        self.has_room, self.may_end = threading.Event(), threading.Event()
        self._room, self._work = room, work
        self.start()

    def run(self) -> None:
        taken = self._room.take(self._work)
        self.has_room.set()
        self.may_end.wait()
        self._room.give_back(taken)


def waits(room: Room) -> bool:
    """Whether somebody stands first in the line for room."""
    return room._next.locked()


def until(condition) -> None:
    while not condition():
        threading.Event().wait(0.001)


def test_a_large_picture_waits_for_the_others_and_is_not_overtaken():
    room = Room(10 * MEGA)
    first = Decoding(room, 6 * MEGA)
    first.has_room.wait()
    large = Decoding(room, 8 * MEGA)
    until(lambda: waits(room))
    later = Decoding(room, 3 * MEGA)
    assert not large.has_room.is_set()
    assert not later.has_room.is_set()
    first.may_end.set()
    large.has_room.wait()
    assert not later.has_room.is_set()
    large.may_end.set()
    later.has_room.wait()
    later.may_end.set()


def test_one_that_is_larger_than_the_room_has_it_for_itself():
    room = Room(10 * MEGA)
    giant = Decoding(room, 1000 * MEGA)
    giant.has_room.wait()
    other = Decoding(room, MEGA)
    until(lambda: waits(room))
    assert not other.has_room.is_set()
    giant.may_end.set()
    other.has_room.wait()
    other.may_end.set()


def test_small_pictures_need_no_room():
    room = Room(10 * MEGA)
    assert room.take(10 * MEGA) == 10 * MEGA
    assert room.take(1000) == 0


def test_however_many_threads_come_it_never_holds_more_and_all_get_through():
    room, lock, state = Room(10 * MEGA), threading.Lock(), {"now": 0, "most": 0}

    def decode(work: int) -> None:
        taken = room.take(work)
        with lock:
            state["now"] += taken
            state["most"] = max(state["most"], state["now"])
        time.sleep(0.0002)  # others come meanwhile
        with lock:
            state["now"] -= taken
        room.give_back(taken)

    choice = random.Random(0)  # noqa: S311 - not a secret
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [choice.randint(1, 20) * MEGA for _ in range(300)]))
    assert 0 < state["most"] <= 10 * MEGA
    assert room.take(10 * MEGA) == 10 * MEGA


@pytest.mark.parametrize("processes", [1, 4])
def test_by_default_it_holds_what_half_of_the_memory_can(processes):
    most = Room(processes=processes).take(1 << 60)
    assert most == usable_memory() // (2 * PEAK_BYTES_A_PIXEL * processes)


def test_threads_that_decode_one_after_the_other_take_no_more_memory_than_one():
    """The C library keeps what a thread has freed for that thread: room that was given back must be room."""
    code = """if True:
        import io
        from concurrent.futures import ThreadPoolExecutor
        from PIL import Image
        from bundle.manifest import Preprocessing
        from bundle.preprocessing import decode
        from service.inference.room import Room

        def status(name):
            return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

        Room()
        file = io.BytesIO()
        Image.new("RGBA", (3000, 3000), (1, 2, 3, 100)).save(file, "WEBP", lossless=True, method=0)
        spec = Preprocessing(input="image", width=8, height=8, channels=3)
        for thread in [ThreadPoolExecutor(1) for _ in range(4)]:
            thread.submit(decode, file.getvalue(), spec).result()
            print(status("VmRSS"))
    """
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    first, *_, last = map(int, told)
    assert last - first < 20_000  # KiB; a picture of 9 megapixels takes up to 140,000
