import gzip
import hashlib
import struct

import numpy as np
import pytest

from training.datasets import idx
from training.errors import DatasetCorrupt

FILE = bytes.fromhex("00000802 00000002 00000003 010203040506")


@pytest.mark.parametrize(("name", "content"), [("plain", FILE), ("packed.gz", gzip.compress(FILE))])
def test_a_file_is_read_packed_or_not(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    array = idx.read(tmp_path / name)
    assert array.dtype == np.uint8
    assert array.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_the_digest_is_that_of_the_unpacked_file():
    array = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    assert idx.encode(array) == FILE
    assert idx.digest(array) == hashlib.sha256(FILE).hexdigest()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("empty", b"", "too short"),
        ("short", FILE[:6], "too short"),
        ("cut", FILE[:-1], "declares 6 values and holds 5"),
        ("long", FILE + b"x", "declares 6 values and holds 7"),
        ("floats", b"\0\0\x0d" + FILE[3:], "not an IDX file"),
        ("picture", b"\x89PNG\r\n\x1a\n" + FILE, "not an IDX file"),
        ("huge", struct.pack(">HBB4I", 0, 8, 4, *[2**32 - 1] * 4), "holds 0"),
        ("cut.gz", gzip.compress(FILE)[:-9], "damaged"),
        ("plain.gz", FILE, "damaged"),
        ("bits.gz", gzip.compress(FILE)[:12] + b"\xff" * 20, "damaged"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetCorrupt, match=problem) as caught:
        idx.read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
