"""`convoy classify --explain`: the drawing lies where the model looked, whatever the way from the picture to its input.

The pictures are decoded by the server's own decoder and explained by NumPy; the drawing is then searched for its red.
"""

import asyncio
import io
import sys

import numpy as np
import pytest
from bundles import encode
from explained import CELLS, SIDE, make_explained, maps
from PIL import Image
from PIL.Image import Transpose
from servers import LOCALHOST, serving

import convoy
from bundle import manifest
from bundle.preprocessing import decode
from service.cli.classify import title
from service.cli.drawing import draw, framed
from service.client.results import Classification, ClassScore, Preprocessing, Timing

GREEN = 1
GAP, STRIP = 8, 36
ORIENTATION = 0x0112
STORED = {1: None, 3: Transpose.ROTATE_180, 6: Transpose.ROTATE_90, 8: Transpose.ROTATE_270, 5: Transpose.TRANSPOSE}


def picture(width, height, at, side, orientation=1):
    """A dark picture with a green square in its middle at `at`, stored as the EXIF orientation says."""
    pixels = np.full((height, width, 3), 20, np.uint8)
    left, top = (round(centre - side / 2) for centre in at)
    pixels[max(top, 0) : top + side, max(left, 0) : left + side, GREEN] = 255
    image = Image.fromarray(pixels)
    if STORED[orientation] is not None:
        image = image.transpose(STORED[orientation])
    exif, file = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = orientation
    image.save(file, "JPEG", quality=95, subsampling=0, exif=exif)
    return file.getvalue()


def drawn(data, **terms):
    """The drawing of the green class's map."""
    fields = {"input": "image", "height": SIDE, "width": SIDE, "channels": 3} | terms
    pixels = decode(data, manifest.Preprocessing(**fields))
    values = maps(pixels[np.newaxis])[0, :, :, GREEN] - maps(np.full((1, SIDE, SIDE, 3), 20, np.uint8))[0, 0, 0, GREEN]
    spec = Preprocessing(**({"resize": "stretch", "kernel": "bilinear"} | fields))
    return draw(data, spec, [tuple(map(tuple, values.tolist()))])


def redness(image):
    """Where the drawing is red: the centre, in shares of its width and height."""
    pixels = np.asarray(image).astype(float)
    red = np.clip(pixels[..., 0] - 60, 0, None) * (pixels[..., 2] < 60)
    rows, columns = np.indices(red.shape) + 0.5
    return (red * columns).sum() / red.sum() / image.width, (red * rows).sum() / red.sum() / image.height


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("size", [(96, 96), (160, 80), (80, 160)], ids=["square", "wide", "high"])
@pytest.mark.parametrize(
    "terms",
    [
        {"resize": "stretch"},
        {"resize": "crop"},
        {"resize": "pad"},
        {"resize": "pad", "background": 20, "crop_fraction": 0.8},
        {"resize": "stretch", "crop_fraction": 0.6},
    ],
    ids=["stretch", "crop", "pad", "pad-part", "part"],
)
def test_the_drawing_is_red_where_the_square_is(terms, size, orientation):
    centre = size[0] * 0.45, size[1] * 0.58
    image = drawn(picture(*size, centre, 20, orientation), **terms)
    assert image.width * size[1] == pytest.approx(image.height * size[0], abs=max(size))
    across, down = redness(image)
    cell = max(size) / CELLS
    assert across * size[0] == pytest.approx(centre[0], abs=cell / 2)
    assert down * size[1] == pytest.approx(centre[1], abs=cell / 2)


def test_a_picture_that_is_not_turned_upright_is_drawn_as_it_is_stored():
    image = drawn(picture(160, 80, (30, 60), 20, orientation=6), exif_orientation=False)
    assert (image.width, image.height) == (256, 512)
    assert redness(image) == pytest.approx((60 / 80, 1 - 30 / 160), abs=0.125)


def test_what_the_model_did_not_see_is_grey():
    image = np.asarray(drawn(picture(160, 80, (80, 40), 20), resize="crop")).astype(int)
    colourful = (np.ptp(image, axis=2) > 8).any(axis=0)
    assert not colourful[: 512 // 4 - 2].any()
    assert not colourful[512 * 3 // 4 + 2 :].any()


def test_a_class_that_no_place_speaks_for_leaves_the_picture_as_it_is():
    data = encode(np.full((SIDE, SIDE, 3), 90, np.uint8))
    spec = Preprocessing("image", SIDE, SIDE, 3, "stretch", "bilinear")
    assert np.ptp(np.asarray(draw(data, spec, [((-1.0, -2.0), (0.0, -3.0))]))) == 0


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1"])
def test_every_kind_of_picture_is_drawn(mode):
    file = io.BytesIO()
    Image.new("L", (20, 10), 255).convert("I" if mode == "I;16" else mode).convert(mode).save(file, "PNG")
    spec = Preprocessing("image", SIDE, SIDE, 3, "pad", "bilinear")
    image = draw(file.getvalue(), spec, [((0.0, 1.0), (0.0, 0.0)), ((1.0, 0.0), (0.0, 0.0))])
    assert (image.mode, image.size) == ("RGB", (2 * 512 + 8, 256))


@pytest.mark.parametrize("source", ["file", "standard input"])
async def test_the_command_draws_what_the_server_explains_and_says_where(tmp_path, monkeypatch, capsys, source):
    make_explained(tmp_path / "models", preprocessing={"resize": "pad"})
    path, out = tmp_path / "square.jpg", tmp_path / "out.png"
    path.write_bytes(picture(160, 80, (40, 60), 24, orientation=6))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))

    def classify(address):
        with pytest.raises(SystemExit) as ended:
            convoy.main(
                ["classify", str(path) if source == "file" else "-", "--server", address, "--explain", str(out)]
            )
        return ended.value.code

    async with serving(tmp_path / "models") as (server, _):
        assert await asyncio.to_thread(classify, f"{LOCALHOST}:{server.port}") == 0
    assert capsys.readouterr().err == f"{out}: where tiny version 1 looked\n"
    sheet = Image.open(out)
    assert sheet.size == (512 + 2 * GAP, 256 + 2 * STRIP)
    panel = sheet.crop((GAP, STRIP, GAP + 512, STRIP + 256))
    assert redness(panel) == pytest.approx((40 / 160, 60 / 80), abs=0.15)


def strips(sheet):
    """What is above and below the panels, and in how many columns there are letters or colours."""
    above, below = sheet.crop((0, 0, sheet.width, STRIP)), sheet.crop((0, sheet.height - STRIP, *sheet.size))
    return [np.flatnonzero((np.asarray(strip) < 200).any(axis=(0, 2))) for strip in (above, below)]


@pytest.mark.parametrize("size", [(40, 512), (512, 40), (512, 512)])
@pytest.mark.parametrize("count", [1, 2])
def test_titles_and_scale_stand_around_the_panels_and_not_on_them(size, count):
    panels = Image.new("RGB", (count * (size[0] + GAP) - GAP, size[1]), (0, 0, 255))
    sheet = framed(panels, ["class: Ankle boot 0.999"] * count, "fashion_mnist version 12")
    assert sheet.crop((GAP, STRIP, GAP + panels.width, STRIP + panels.height)).tobytes() == panels.tobytes()
    title, foot = strips(sheet)
    assert title.min() >= GAP
    assert foot.max() > sheet.width / 2
    assert max(title.max(), foot.max()) < sheet.width
    scale = np.asarray(sheet.crop((0, sheet.height - STRIP, *sheet.size)))[STRIP // 2].astype(int)
    coloured = np.flatnonzero(np.ptp(scale, axis=1) > 100)
    assert np.ptp(scale[coloured[-1]]) > np.ptp(scale[coloured[0]])


def test_a_title_of_any_length_and_script_is_cut_to_its_panel():
    panels = Image.new("RGB", (512 + GAP + 512, 300), "white")
    long, _ = strips(framed(panels, ["x" * 500, ""], "y" * 500))
    assert 400 < long.max() < 512 + GAP
    for text in ("猫 0.9", "two\nlines", "", "é"):
        framed(panels, [text, text], text)


def test_the_title_is_the_class_with_its_score():
    best = ClassScore("boot", 3, 0.9876)
    one = Classification({"class": (best,)}, "m", 7, Timing(0, 0, 0))
    several = Classification({"class": (best,), "coarse": (best,)}, "m", 7, Timing(0, 0, 0), abstained=("coarse",))
    assert (title(one, "class"), title(several, "coarse")) == ("boot 0.988", "coarse: boot (unsure) 0.988")
