"""What a look at the first bytes says of a picture's size, without reading the picture."""

import struct

import numpy as np
import pytest
from pictures import FORMATS, bombs, encoded, exif, photo

from bundle.headers import declared_pixels, read


@pytest.mark.parametrize("format", FORMATS)
def test_it_is_what_the_reader_finds(format):  # noqa: A002
    data = encoded(photo(50, 37), format)
    header = read(data)
    assert declared_pixels(data) == header.width * header.height == 50 * 37


@pytest.mark.parametrize(
    "data",
    [
        encoded(photo(50, 37), "JPEG", progressive=True, exif=exif(6), comment=b"a comment", icc_profile=bytes(30_000)),
        encoded(photo(50, 37), "WEBP", exif=exif(6)),
        encoded(photo(50, 37), "WEBP", lossless=True),
        encoded(photo(50, 37), "GIF", comment=b"a comment"),
        encoded(photo(50, 37).mean(axis=2).astype(np.uint8), "PNG"),
    ],
)
def test_metadata_is_passed_over(data):
    assert declared_pixels(data) == 50 * 37


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_weighed_as_what_it_declares(name):
    assert declared_pixels(bombs()[name]) in {20_000**2, 40_000**2}


@pytest.mark.parametrize("format", FORMATS)
def test_wherever_a_file_ends_it_is_no_error(format):  # noqa: A002
    data = encoded(photo(50, 37), format)
    assert {declared_pixels(data[:end]) for end in range(200)} <= {None, 0, 50 * 37}


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"RIFF\0\0\0\0WAVEfmt ", b"BM" + bytes(12) + struct.pack("<Iiii", 40, -5, 5, 0) + bytes(8)]
)
def test_what_the_reader_refuses_has_no_pixels(data):
    assert declared_pixels(data) == 0


def test_a_size_behind_a_thousand_comments_is_not_looked_for():
    jpeg, gif = encoded(photo(50, 37), "JPEG"), encoded(photo(50, 37), "GIF")
    screen = 13 + 3 * 2 ** (gif[10] % 8 + 1)
    assert declared_pixels(jpeg[:2] + b"\xff\xfe\x00\x02" * 1000 + jpeg[2:]) is None
    assert declared_pixels(jpeg[:2] + bytes(10_000) + jpeg[2:]) is None
    assert declared_pixels(gif[:screen] + b"!\xfe\x01a\0" * 1000 + gif[screen:]) is None
