"""Bytes that are no sound picture: one clear error each, found early, and never another exception or a warning."""

import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
from pictures import FORMATS, bombs, chunk, encoded, exif, noise, photo, png, spec
from PIL import Image

from bundle.errors import ImageError, ImageTooLarge, ImageUndecodable
from bundle.preprocessing import Limits, decode

SMALL = spec(16, 16)


def test_no_bytes():
    with pytest.raises(ImageUndecodable, match="the picture is empty: it has 0 bytes"):
        decode(b"", SMALL)


@pytest.mark.parametrize("data", [b"\0", b"hello, this is no picture", bytes(1000), b"%PDF-1.7", b"\xff\xd8"])
def test_garbage_is_told_what_is_read(data):
    with pytest.raises(ImageUndecodable, match="send JPEG, PNG, WebP, BMP or GIF"):
        decode(data, SMALL)


@pytest.mark.parametrize("format", ["TIFF", "ICO", "PPM", "AVIF", "TGA", "PCX"])
def test_formats_off_the_list_are_refused_though_pillow_reads_them(format):  # noqa: A002
    with pytest.raises(ImageUndecodable, match="send JPEG, PNG, WebP, BMP or GIF"):
        decode(encoded(noise(16, 16), format), SMALL)


@pytest.mark.parametrize("format", FORMATS)
def test_a_truncated_file_is_an_error_wherever_it_ends(format):  # noqa: A002
    data = encoded(noise(40, 40), format)
    for end in [*range(1, 80), *np.linspace(80, 0.9 * len(data), 40).astype(int).tolist()]:
        with pytest.raises(ImageUndecodable):
            decode(data[:end], SMALL)


@pytest.mark.parametrize("format", FORMATS)
def test_a_truncated_file_is_named(format):  # noqa: A002
    with pytest.raises(ImageUndecodable, match=f"(?i)the {format} picture is truncated or damaged: "):
        decode(encoded(noise(40, 40), format)[:-400], SMALL)


@pytest.mark.parametrize("name", bombs())
def test_the_size_is_checked_before_anything_is_decoded(name):
    """The files hold no pixels: had a decoder been asked, the error would be another."""
    with pytest.raises(ImageTooLarge, match=r"20,000 x 20,000|40,000 x 40,000"):
        decode(bombs()[name], SMALL)


def test_a_decompression_bomb_takes_no_memory():
    """144 million pixels in a few kilobytes, which Pillow alone would decode after a warning."""
    data = encoded(Image.new("L", (12_000, 12_000)), "PNG", compress_level=9)
    assert len(data) < 200_000
    code = (
        "import resource, sys; from bundle.preprocessing import decode; from bundle.manifest import Preprocessing\n"
        "data = sys.stdin.buffer.read(); spec = Preprocessing(input='image', width=8, height=8, channels=3)\n"
        "peak = lambda: int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])\n"
        "before = peak()\n"
        "try: decode(data, spec)\n"
        "except Exception as error: print(type(error).__name__, peak() - before)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], input=data, capture_output=True, check=True)
    name, kilobytes = done.stdout.split()
    assert name == b"ImageTooLarge"
    assert int(kilobytes) < 10_000


def test_each_limit_is_named_and_is_the_last_that_passes():
    data = encoded(noise(30, 20))
    for limits, message in (
        (Limits(max_bytes=len(data) - 1), f"{len(data):,} bytes, over the limit of {len(data) - 1:,}; send a smaller"),
        (Limits(max_side=29), "30 x 20 pixels, over the limit of 29 a side; scale it down"),
        (Limits(max_pixels=599), "30 x 20 pixels, over the limit of 599 in all; scale it down"),
    ):
        with pytest.raises(ImageTooLarge, match=message):
            decode(data, SMALL, limits)
    assert decode(data, SMALL, Limits(max_bytes=len(data), max_side=30, max_pixels=600)).shape == (16, 16, 3)


def test_bytes_are_counted_before_they_are_looked_at():
    with pytest.raises(ImageTooLarge, match="21,000,000 bytes"):
        decode(bytes(21_000_000), SMALL)


def test_a_picture_without_pixels():
    with pytest.raises(ImageUndecodable, match="the PNG picture has no pixels: it is 0 x 5"):
        decode(png(0, 5, 8, 0, []), SMALL)


def test_a_file_that_declares_two_sizes_is_refused():
    """The limit was checked on the first; a decoder that believes the second must not be asked."""
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    with pytest.raises(ImageUndecodable, match="declares two sizes"):
        decode(png(4, 4, 8, 0, [bytes(4)] * 4, second), SMALL)


def test_a_run_length_encoded_bmp_is_refused_with_the_remedy():
    data = bytearray(encoded(noise(16, 16, 1), "BMP"))
    data[30] = 1
    with pytest.raises(ImageUndecodable, match="run-length encoded, which is not read; save it uncompressed"):
        decode(bytes(data), SMALL)


def with_needless_parts(count):
    """Sound pictures with `count` parts before their pixels that nobody needs."""
    picture = photo(16, 16)
    jpeg, plain, gif = (encoded(picture, format_) for format_ in ("JPEG", "PNG", "GIF"))
    webp = encoded(picture, "WEBP", exif=exif(1))
    screen = 13 + 3 * 2 ** (gif[10] % 8 + 1)
    animated_webp = webp[:30] + b"none\0\0\0\0" * count + webp[30:]
    return {
        "JPEG, comments": jpeg[:2] + b"\xff\xfe\x00\x02" * count + jpeg[2:],
        "JPEG, fill bytes": jpeg[:2] + b"\xff" * count + jpeg[2:],
        "PNG, texts": plain[:33] + chunk(b"tEXt", b"a\0b") * count + plain[33:],
        "WebP, unknown chunks": b"RIFF" + struct.pack("<I", len(animated_webp) - 8) + animated_webp[8:],
        "GIF, comments": gif[:screen] + b"!\xfe\x01a\0" * count + gif[screen:],
        "GIF, one long comment": gif[:screen] + b"!\xfe" + b"\x01a" * count + b"\0" + gif[screen:],
    }


@pytest.mark.parametrize("name", with_needless_parts(0))
def test_needless_parts_are_passed_over_but_not_without_end(name):
    """Each costs interpreter time under the lock, so the number of them is bounded as pixels are."""
    plain, some, many = (with_needless_parts(count)[name] for count in (0, 500, 70_000))
    assert (decode(some, SMALL) == decode(plain, SMALL)).all()
    with pytest.raises(ImageUndecodable, match="65,536"):
        decode(many, SMALL)


def test_a_jpeg_whose_scans_repeat_is_refused():
    """A few bytes a scan, and for each the decoder passes over every block of the picture."""
    data = encoded(photo(64, 64), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    assert decode(data[:-2] + scan * 10 + data[-2:], SMALL).shape == (16, 16, 3)
    with pytest.raises(ImageUndecodable, match=r"has 1,0\d\d scans, over the limit of 64; save it again"):
        decode(data[:-2] + scan * 1000 + data[-2:], SMALL)


def test_a_large_jpeg_has_fewer_scans_and_an_ordinary_progressive_one_passes_at_the_limit():
    """The decoder passes over the whole picture for each: what it costs is pixels times scans."""
    data = encoded(photo(640, 480), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scans = data.count(b"\xff\xda")
    limits = Limits(max_pixels=640 * 480)
    assert decode(data[:-2] + data[last:-2] * (13 - scans) + data[-2:], SMALL, limits).shape == (16, 16, 3)
    more = data[:-2] + data[last:-2] * (14 - scans) + data[-2:]
    said = (
        "the picture is 640 x 480 pixels in 14 scans, over the limit of 3,993,600 pixels in all scans; save it as a bas"
    )
    with pytest.raises(ImageTooLarge, match=said):
        decode(more, SMALL, limits)
    assert decode(more, SMALL).shape == (16, 16, 3)


def test_a_segment_shorter_than_its_own_length_field_is_no_endless_loop():
    with pytest.raises(ImageUndecodable):
        decode(b"\xff\xd8\xff" + b"\xff\xfe\x00\x00" * 1000, SMALL)


def test_broken_metadata_of_a_good_picture_makes_no_warning_and_no_error():
    picture = Image.fromarray(photo(16, 16))
    corrupt = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x1a\x01\x05\0\xff\0\0\0\xff\xff\0\0"
    animation = chunk(b"acTL", struct.pack(">II", 0, 0))
    plain = encoded(picture)
    files = {
        "JPEG with corrupt EXIF": encoded(picture, "JPEG", exif=corrupt),
        "PNG with corrupt EXIF": encoded(picture, exif=corrupt),
        "WebP with corrupt EXIF": encoded(picture, "WEBP", exif=corrupt),
        "PNG with an impossible animation": plain[:33] + animation + plain[33:],
        "PNG with a text that says it is transparent": plain[:33] + chunk(b"tEXt", b"transparency\0x") + plain[33:],
        "PNG with a corrupt profile": plain[:33] + chunk(b"iCCP", b"x\0\1oops") + plain[33:],
    }
    for name, data in files.items():
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            pixels = decode(data, SMALL)
        assert not seen, name
        assert np.abs(pixels.astype(int) - photo(16, 16)).max() < 60, name


@pytest.mark.parametrize("format", FORMATS)
def test_damage_anywhere_gives_a_picture_or_an_image_error(format):  # noqa: A002
    rng = np.random.default_rng(11)
    options = {"exif": exif(6)} if format in {"JPEG", "PNG", "WEBP"} else {}
    palette = Image.fromarray(noise(24, 24)).convert("P", palette=Image.Palette.ADAPTIVE)
    originals = [encoded(photo(24, 24), format, **options)]
    originals += [encoded(palette, format, transparency=3)] if format in {"PNG", "GIF"} else []
    outcomes = set()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for number in range(400):
            damaged = bytearray(originals[number % len(originals)])
            for _ in range(rng.integers(1, 6)):
                reach = len(damaged) if rng.random() < 0.5 else min(64, len(damaged))
                damaged[rng.integers(reach)] = rng.integers(256)
            try:
                outcomes.add(decode(bytes(damaged), SMALL, Limits(max_pixels=10**6)).shape)
            except ImageError as error:
                outcomes.add(type(error))
    assert not seen
    assert {(16, 16, 3), ImageUndecodable} <= outcomes <= {(16, 16, 3), ImageUndecodable, ImageTooLarge}
