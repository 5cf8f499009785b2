"""Sizes, colours and orientation: what comes out for pictures that are sound."""

import io
import struct
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from pictures import chunk, encoded, exif, noise, photo, png, spec
from PIL import Image, ImageOps
from PIL.Image import Transpose
from PIL.JpegImagePlugin import JpegImageFile

from bundle import geometry
from bundle.preprocessing import _draft, decode

_INVERSE = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}


@pytest.mark.parametrize(
    ("format", "options"),
    [("PNG", {}), ("PNG", {"interlace": 1}), ("BMP", {}), ("WEBP", {"lossless": True, "exact": True})],
)
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("kernel", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
def test_a_picture_of_the_right_size_comes_out_bit_by_bit(format, options, resize, kernel):  # noqa: A002
    picture = noise(31, 17)
    assert (decode(encoded(picture, format, **options), spec(31, 17, resize=resize, kernel=kernel)) == picture).all()


def test_a_jpeg_of_the_right_size_is_what_the_decoder_gives():
    data = encoded(photo(48, 32), "JPEG", quality=90)
    assert (decode(data, spec(48, 32)) == np.asarray(Image.open(_file(data)))).all()


def test_grey_comes_out_bit_by_bit_with_a_channel_of_its_own():
    picture = noise(28, 28, 1)
    pixels = decode(encoded(picture), spec(28, 28, 1))
    assert pixels.shape == (28, 28, 1)
    assert (pixels.dtype, pixels.flags.c_contiguous) == (np.uint8, True)
    assert (pixels[..., 0] == picture).all()


def test_a_memoryview_is_as_good_as_bytes():
    data = encoded(noise(9, 9))
    padded = memoryview(b"##" + data + b"##")[2:-2]
    assert (decode(padded, spec(5, 5)) == decode(data, spec(5, 5))).all()


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("kernel", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_colour_stays_that_colour_at_every_size(resize, kernel, channels):
    rng = np.random.default_rng(7)
    for _ in range(12):
        width, height, target_width, target_height = rng.integers(1, 90, 4).tolist()
        wanted = spec(target_width, target_height, channels, resize=resize, kernel=kernel, background=200)
        fraction = float(rng.uniform(0.2, 1))
        pixels = decode(
            encoded(np.full((height, width), 200, np.uint8)), msgspec.structs.replace(wanted, crop_fraction=fraction)
        )
        assert pixels.shape == (target_height, target_width, channels)
        assert (pixels == 200).all()


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 16_384), (16_384, 1), (3, 5_000)])
def test_extreme_shapes_are_resized(resize, size):
    data = encoded(np.full(size[::-1], 90, np.uint8))
    assert decode(data, spec(224, 224, resize=resize)).max() == 90


def test_stretch_uses_the_whole_picture():
    pixels = decode(encoded(_bands([50, 150], width=40, height=10)), spec(4, 8, 1, kernel="box"))
    assert pixels[..., 0].tolist() == [[50, 50, 150, 150]] * 8


def test_crop_keeps_the_aspect_ratio_and_cuts_the_ends():
    pixels = decode(
        encoded(_bands([50, 100, 150, 200], width=40, height=20)), spec(4, 4, 1, resize="crop", kernel="box")
    )
    assert pixels[..., 0].tolist() == [[100, 100, 150, 150]] * 4


def test_pad_keeps_the_aspect_ratio_and_fills_with_the_background():
    pixels = decode(encoded(np.full((10, 40), 200, np.uint8)), spec(8, 8, 1, resize="pad", background=7))
    assert pixels[..., 0].tolist() == [[7] * 8] * 3 + [[200] * 8] * 2 + [[7] * 8] * 3


def test_crop_fraction_takes_the_middle_first():
    picture = np.zeros((40, 40), np.uint8)
    picture[10:30, 10:30] = 100
    assert (decode(encoded(picture), spec(6, 6, 1, crop_fraction=0.5, kernel="box")) == 100).all()


def test_crop_fraction_is_the_usual_resize_and_centre_crop():
    picture = Image.fromarray(photo(400, 300))
    usual = picture.resize((341, 256), Image.Resampling.BILINEAR).crop((58, 16, 282, 240))
    pixels = decode(encoded(picture), spec(224, 224, resize="crop", crop_fraction=0.875))
    assert np.abs(pixels.astype(int) - np.asarray(usual)).max() <= 3


def test_downscaling_is_antialiased():
    checkers = np.indices((512, 512)).sum(axis=0) % 2 * 255
    pixels = decode(encoded(checkers.astype(np.uint8)), spec(16, 16, 1))
    assert np.abs(pixels.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(2048, 1536), (1023, 2049), (5000, 700), (640, 480)])
def test_decoding_a_jpeg_smaller_changes_next_to_nothing(resize, size):
    data = encoded(photo(*size), "JPEG", quality=90)
    in_full = encoded(Image.open(_file(data)), "BMP")
    difference = np.abs(
        decode(data, spec(224, 160, resize=resize)).astype(int) - decode(in_full, spec(224, 160, resize=resize))
    )
    assert difference.max() <= 4
    assert difference.mean() < 0.5


def test_a_jpeg_is_decoded_smaller_but_never_below_twice_what_is_needed():
    rng = np.random.default_rng(5)
    scales = set()
    for _ in range(200):
        picture, target = tuple(rng.integers(8, 6000, 2).tolist()), tuple(rng.integers(1, 400, 2).tolist())
        resize = ["stretch", "crop", "pad"][rng.integers(3)]
        box, size = geometry.frame(picture, target, resize, float(rng.uniform(0.3, 1)))
        scale = _draft(_undecoded_jpeg(*picture), box, size)
        scales.add(scale)
        if scale > 1:
            assert (box[2] - box[0]) / scale >= 2 * size[0] - 1e-6
            assert (box[3] - box[1]) / scale >= 2 * size[1] - 1e-6
    assert scales == {1, 2, 4, 8}


def test_nearest_takes_its_pixels_from_the_jpeg_in_full():
    data = encoded(photo(1600, 1600), "JPEG")
    in_full = np.asarray(Image.open(_file(data)))
    assert (decode(data, spec(4, 4, kernel="nearest")) == in_full[200::400, 200::400]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_every_orientation_is_turned_upright(orientation, format, resize):  # noqa: A002
    upright = Image.fromarray(photo(640, 480))
    options = {"lossless": True} if format == "WEBP" else {"quality": 95} if format == "JPEG" else {}
    turned = encoded(_stored(upright, orientation), format, exif=exif(orientation), **options)
    wanted = spec(48, 80, resize=resize, crop_fraction=0.8, background=9)
    difference = np.abs(decode(turned, wanted).astype(int) - decode(encoded(upright), wanted))
    assert difference.max() <= (1 if format != "JPEG" else 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_oriented_picture_of_the_right_size_is_turned_bit_by_bit(orientation):
    upright = noise(31, 17)
    data = encoded(_stored(Image.fromarray(upright), orientation), exif=exif(orientation))
    assert (decode(data, spec(31, 17)) == upright).all()


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_exif_is_read_in_both_byte_orders(order, prefix):
    def number(value, size):
        return value.to_bytes(size, order)

    other = number(0x010F, 2) + number(2, 2) + number(4, 4) + b"abc\0"
    orientation = number(0x0112, 2) + number(3, 2) + number(1, 4) + number(3, 2) + b"\0\0"
    head = (b"II" if order == "little" else b"MM") + number(42, 2) + number(8, 4)
    content = prefix + head + number(2, 2) + other + orientation + number(0, 4)
    picture = noise(6, 4)
    plain = encoded(picture)
    data = plain[:33] + chunk(b"eXIf", content) + plain[33:]
    assert (decode(data, spec(6, 4)) == picture[::-1, ::-1]).all()


def test_the_first_of_several_exifs_counts():
    upright = photo(64, 48)
    data = encoded(Image.fromarray(upright), "JPEG", exif=exif(6))
    segment = data.index(b"\xff\xe1")
    end = segment + 2 + int.from_bytes(data[segment + 2 : segment + 4], "big")
    second = encoded(Image.fromarray(upright), "JPEG", exif=exif(1))[segment:end]
    both = data[:end] + second + data[end:]
    assert Image.open(_file(both)).getexif()[0x0112] == 6
    assert (decode(both, spec(48, 64)) == decode(data, spec(48, 64))).all()
    assert (decode(both, spec(48, 64)) != decode(encoded(upright, "JPEG"), spec(48, 64))).any()


def test_orientation_can_be_left_alone():
    picture = noise(20, 10)
    assert (decode(encoded(picture, exif=exif(6)), spec(20, 10, exif_orientation=False)) == picture).all()


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"II",
        b"XX*\0\x08\0\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff" + bytes(30),
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x01\0\x06\0\0",
        b"MM\0*\0\0\0\x08\0\x02\x01\x1a\0\x05\0\0\0\x01\xff\xff\xff\xff",
    ],
)
@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
def test_malformed_exif_does_not_spoil_a_picture(damaged, format):  # noqa: A002
    picture = Image.fromarray(photo(12, 8))
    data, plain = (encoded(picture, format, **options) for options in ({"exif": b"Exif\0\0" + damaged}, {}))
    assert (decode(data, spec(12, 8)) == decode(plain, spec(12, 8))).all()


def test_transparency_is_laid_over_the_background():
    picture = noise(16, 16, 4)
    alpha = picture[..., 3:] / 255
    laid = picture[..., :3] * alpha + 100 * (1 - alpha)
    for data in (encoded(picture), encoded(picture, "WEBP", lossless=True, exact=True)):
        assert np.abs(decode(data, spec(16, 16, background=100)) - laid).max() <= 1


def test_opaque_pixels_of_a_transparent_picture_come_out_bit_by_bit():
    picture = noise(16, 16, 4)
    picture[..., 3] = 255
    assert (decode(encoded(picture), spec(16, 16)) == picture[..., :3]).all()


def test_colours_under_full_transparency_do_not_bleed_into_the_edge():
    picture = np.full((64, 64, 4), (255, 0, 0, 0), np.uint8)
    picture[:, :33] = (0, 0, 0, 255)
    assert decode(encoded(picture), spec(8, 8, kernel="lanczos"))[..., 0].max() == 0


@pytest.mark.parametrize("background", [0, 255])
def test_every_kind_of_transparency_counts(background):
    grey_with_alpha = Image.merge("LA", [Image.new("L", (2, 1), 90), Image.fromarray(np.array([[255, 0]], np.uint8))])
    palette = Image.new("P", (2, 1))
    palette.putpalette([90, 90, 90, 10, 20, 30])
    palette.putpixel((1, 0), 1)
    sixteen = chunk(b"tRNS", (1000).to_bytes(2, "big"))
    files = {
        "LA": encoded(grey_with_alpha),
        "palette, one index": encoded(palette, transparency=1),
        "palette, an alpha for each": encoded(palette, transparency=b"\xff\x00"),
        "GIF": encoded(palette, "GIF", transparency=1),
        "grey, one level": png(2, 1, 8, 0, [b"\x5a\x07"], chunk(b"tRNS", b"\x00\x07")),
        "RGB, one colour": png(2, 1, 8, 2, [b"\x5a\x5a\x5a\x01\x02\x03"], chunk(b"tRNS", b"\0\x01\0\x02\0\x03")),
        "16-bit grey, one level": png(2, 1, 16, 0, [(90 * 257).to_bytes(2, "big") + b"\x03\xe8"], sixteen),
    }
    for name, data in files.items():
        for channels in (1, 3):
            pixels = decode(data, spec(2, 1, channels, background=background))
            assert pixels.tolist() == [[[90] * channels, [background] * channels]], name


def test_sixteen_bit_grey_is_scaled_not_clipped():
    levels = np.array([[0, 128, 129, 257, 32_768, 65_278, 65_279, 65_535]], np.uint16)
    assert decode(encoded(levels), spec(8, 1, 1)).ravel().tolist() == [0, 0, 1, 1, 128, 254, 254, 255]
    every = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    assert (decode(encoded(every), spec(256, 256, 1)).ravel() == np.round(np.arange(65_536) / 257)).all()


def test_sixteen_bit_colour_is_read():
    row = b"".join(level.to_bytes(2, "big") for level in (0xFF00, 0x8000, 0x0100))
    assert decode(png(1, 1, 16, 2, [row]), spec(1, 1)).tolist() == [[[0xFF, 0x80, 0x01]]]


def test_one_bit_is_black_and_white():
    picture = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1", dither=Image.Dither.NONE)
    for format_ in ("PNG", "BMP", "GIF"):
        assert decode(encoded(picture, format_), spec(2, 2, 1)).ravel().tolist() == [0, 255, 255, 0]


def test_colour_becomes_grey_by_its_luma():
    pixels = decode(encoded(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)), spec(3, 1, 1))
    assert pixels.ravel().tolist() == [76, 150, 29]  # 0.299, 0.587 and 0.114 of 255


def test_grey_becomes_three_equal_channels():
    pixels = decode(encoded(noise(5, 5, 1)), spec(5, 5, 3))
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_cmyk_is_converted(channels):
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red
    pixels = decode(encoded(ink, "JPEG", quality=100), spec(16, 16, channels)).astype(int)
    assert np.abs(pixels - ([76] if channels == 1 else [255, 0, 0])).max() <= 3


def test_a_jpeg_that_says_it_holds_rgb_is_believed():
    """It says so in a segment of metadata, the one that must not be cut off."""
    data = encoded(photo(32, 32), "JPEG")
    size = int.from_bytes(data[4:6], "big")
    adobe = data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes(5) + data[4 + size :]
    pixels = decode(adobe, spec(32, 32))
    assert (pixels == np.asarray(Image.open(_file(adobe)))).all()
    assert (pixels != decode(data, spec(32, 32))).any()


def test_a_bmp_from_top_to_bottom_and_one_of_the_first_kind_are_read():
    red, blue = b"\0\0\xff\0", b"\xff\0\0\0"  # a row each: blue, green, red, filled up to four bytes
    header = struct.pack("<IiiHHIIiiII", 40, 1, -2, 1, 24, 0, 8, 0, 0, 0, 0)
    top_down = b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + header + red + blue
    header = struct.pack("<IHHHH", 12, 1, 2, 1, 24)
    first_kind = b"BM" + struct.pack("<IHHI", 0, 0, 0, 26) + header + blue + red
    for data in (top_down, first_kind):
        assert decode(data, spec(1, 2)).tolist() == [[[255, 0, 0]], [[0, 0, 255]]]


def test_a_progressive_jpeg_is_the_same_picture():
    picture = photo(300, 200)
    plain, progressive = encoded(picture, "JPEG"), encoded(picture, "JPEG", progressive=True)
    assert (decode(plain, spec(64, 64)) == decode(progressive, spec(64, 64))).all()


def test_what_a_phone_appends_to_a_jpeg_is_no_part_of_it():
    """The video of a motion photo: megabytes in which the marker of a scan turns up by chance, again and again."""
    photograph = encoded(photo(64, 48), "JPEG", progressive=True)
    video = np.random.default_rng(0).bytes(8_000_000)
    assert video.count(b"\xff\xda") > 64
    for appended in (video, photograph, b"\xff\xda" * 1000):
        assert (decode(photograph + appended, spec(20, 20)) == decode(photograph, spec(20, 20))).all()


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "lime", "blue")]
    for format_, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        data = encoded(frames[0], format_, save_all=True, append_images=frames[1:], **options)
        assert (decode(data, spec(6, 6)) == [255, 0, 0]).all()


def test_metadata_changes_no_pixel():
    picture = photo(64, 48)
    for format_ in ("JPEG", "PNG", "WEBP"):
        options = {"icc_profile": bytes(5000), "exif": exif(1), "comment": "a comment", "dpi": (72, 72)}
        plain = decode(encoded(picture, format_), spec(20, 20))
        assert (decode(encoded(picture, format_, **options), spec(20, 20)) == plain).all()


def test_threads_do_not_disturb_each_other():
    files = [encoded(photo(100 + number, 80), "JPEG") for number in range(12)]
    alone = [decode(data, spec(32, 32)) for data in files]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda data: decode(data, spec(32, 32)), files * 8)
        for number, pixels in enumerate(together):
            assert (pixels == alone[number % len(files)]).all()


def _file(data):
    return io.BytesIO(data)


def _bands(levels, *, width, height):
    return np.repeat(np.array([levels], np.uint8), width // len(levels), axis=1).repeat(height, axis=0)


def _stored(upright, orientation):
    """The picture as a camera stores it; Pillow itself confirms that turned by its orientation it is upright again."""
    inverse = _INVERSE.get(orientation)
    stored = upright if inverse is None else upright.transpose(inverse)
    oriented = stored.copy()
    oriented.getexif()[0x0112] = orientation
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(oriented)), np.asarray(upright))
    return stored


def _undecoded_jpeg(width, height):
    """A JPEG of any size, opened but without pixels."""
    data = encoded(np.zeros((8, 8, 3), np.uint8), "JPEG")
    size = data.index(b"\xff\xc0") + 5
    sides = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return JpegImageFile(_file(data[:size] + sides + data[size + 4 :]))
