"""Decoding threads whose timing belongs to the test, behind which is the real decoder."""

import threading
from typing import Any

import numpy as np
import pytest
from bundles import encode

from bundle.preprocessing import Limits
from service.inference import decoders
from service.inference.decoding import Part, work_of


class HeldDecoder:
    """Every part that a thread decodes waits until `open`; `pictures` counts those that came so far."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pictures = 0
        self._behind = decoders.decode_part
        self._count = threading.Lock()
        self._open = threading.Event()
        monkeypatch.setattr(decoders, "decode_part", self)

    def __call__(self, pictures: Any, numbers: range, *others: Any) -> Part:
        with self._count:
            self.pictures += len(numbers)
        self._open.wait()
        return self._behind(pictures, numbers, *others)

    def open(self) -> None:
        """Lets everything through from now on."""
        self._open.set()


def photo(number: int) -> bytes:
    """A PNG that a thread takes alone, because it is work that is worth one; others differ."""
    encoded = encode(np.random.default_rng(number).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    assert work_of(encoded, Limits()) > decoders.WORTH
    return encoded
