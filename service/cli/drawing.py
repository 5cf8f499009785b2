"""Draws on a picture where a model looked, and says what the colours mean: `convoy classify --explain`.

Owns the way back from the model's input to the picture's own pixels, through `bundle.geometry`, by which the server
decoded it. Needs Pillow, which the base install does not have, so `service.cli.classify` imports it only when asked.
"""

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.Image import Resampling

from bundle import geometry
from bundle.geometry import Box, Size
from service.client.results import ActivationMap, Preprocessing

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

FORMATS: Final = (".png", ".jpg", ".jpeg", ".webp")

# A drawing's longer side: a thumbnail's map could not be seen, and a camera's picture needs no more.
_LEAST_SIDE: Final = 512
_MOST_SIDE: Final = 1024
_GAP: Final = 8
_LEVELS: Final = 256
# The strongest place is nearly covered; what speaks against the class, or not at all, stays as it is.
_OPACITY: Final = 0.7
_UNSEEN: Final = 0.4
# The frame: strips of white above and below, as wide as a short title needs, and the scale within the lower one.
_STRIP: Final = 36
_LEAST_WIDTH: Final = 480
_SCALE: Final = (120, 14)
_INK: Final = (28, 33, 39)
_LETTERS: Final = 18
_FONTS: Final = ("DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf")


def check_path(path: Path) -> None:
    """Raises ValueError for a file that can't be drawn to."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"--explain {path} must end in one of {', '.join(FORMATS)}")


def draw(picture: bytes, spec: Preprocessing, maps: Sequence[ActivationMap]) -> Image.Image:
    """The encoded picture, upright as the model saw it, once for each map, side by side.

    From yellow to red is what speaks for the class, relative to the map's strongest place. Grey is what the model did
    not see.
    """
    image, target = _upright(picture, spec), (spec.width, spec.height)
    box, size = geometry.frame(image.size, target, spec.resize, spec.crop_fraction)
    left, top = geometry.centred(size, target)
    inner = left / target[0], top / target[1], (left + size[0]) / target[0], (top + size[1]) / target[1]
    drawn = image.resize(_drawn_size(image.size))
    box = _scaled(box, drawn.width / image.width, drawn.height / image.height)
    panels = [_panel(drawn, box, each, inner) for each in maps]
    sheet = Image.new("RGB", (len(panels) * (drawn.width + _GAP) - _GAP, drawn.height), "white")
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number * (drawn.width + _GAP), 0))
    return sheet


def framed(drawing: Image.Image, titles: Sequence[str], source: str) -> Image.Image:
    """The drawing with a title above each of its panels, and below them the scale of its colours and what answered."""
    width = max(drawing.width, _LEAST_WIDTH)
    sheet = Image.new("RGB", (width + 2 * _GAP, drawing.height + 2 * _STRIP), "white")
    sheet.paste(drawing, (_GAP, _STRIP))
    pen, font = ImageDraw.Draw(sheet), _font()
    step = (drawing.width + _GAP) // len(titles)
    for number, title in enumerate(titles, 1):
        room = step - _GAP if number < len(titles) else width - (number - 1) * step
        pen.text(((number - 1) * step + _GAP, _STRIP / 2), _cut(title, room, font), _INK, font, anchor="lm")
    middle, scale = sheet.height - _STRIP / 2, _GAP + round(font.getlength("low ")) + _GAP
    pen.text((_GAP, middle), "low", _INK, font, anchor="lm")
    sheet.paste(_scale(), (scale, round(middle - _SCALE[1] / 2)))
    pen.text((scale + _SCALE[0] + _GAP, middle), "high", _INK, font, anchor="lm")
    room = width - scale - _SCALE[0] - round(font.getlength("high")) - 2 * _GAP
    pen.text((sheet.width - _GAP, middle), _cut(source, room, font), _INK, font, anchor="rm")
    return sheet


def _font() -> Font:
    """One that knows most scripts where the system has it; Pillow's own knows English."""
    for name in _FONTS:
        with suppress(OSError):
            return ImageFont.truetype(name, _LETTERS)
    return ImageFont.load_default(_LETTERS)


def _scale() -> Image.Image:
    """What the colours look like over grey, the strongest at the right."""
    heat = Image.linear_gradient("L").rotate(90).resize(_SCALE)
    scale = Image.new("RGB", _SCALE, (160,) * 3)
    scale.paste(_coloured(heat), mask=heat.point(lambda level: level * _OPACITY))
    return scale


def _cut(text: str, room: int, font: Font) -> str:
    """The text, or as much of its beginning as there is room for."""
    text = " ".join(text.split())
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text}…"


def _upright(picture: bytes, spec: Preprocessing) -> Image.Image:
    """The picture as RGB, laid over the background where it is transparent."""
    image: Image.Image = Image.open(io.BytesIO(picture))
    image.load()
    if spec.exif_orientation:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey
        image = image.convert("I").point(lambda level: level * (1 / 257)).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    behind = Image.new("RGBA", image.size, (spec.background,) * 3)
    return Image.alpha_composite(behind, image.convert("RGBA")).convert("RGB")


def _drawn_size(size: Size) -> Size:
    longest = max(size)
    scale = min(max(longest, _LEAST_SIDE), _MOST_SIDE) / longest
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _scaled(box: Box, across: float, down: float) -> Box:
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _panel(image: Image.Image, box: Box, values: ActivationMap, inner: Box) -> Image.Image:
    """One drawing: the seen part in colour with the map over it, the rest grey and dark.

    `inner` is the part of the model's input, in shares of it, that is picture and not padding.
    """
    left, top, right, bottom = (round(edge) for edge in box)
    size = max(1, right - left), max(1, bottom - top)
    heat = _heat(values)
    on_picture = _scaled(inner, heat.width, heat.height)
    heat = heat.resize(size, Resampling.BICUBIC, box=on_picture)
    seen = image.crop((left, top, left + size[0], top + size[1]))
    seen.paste(_coloured(heat), mask=heat.point(lambda level: level * _OPACITY))
    panel = image.convert("L").point(lambda level: level * _UNSEEN).convert("RGB")
    panel.paste(seen, (left, top))
    return panel


def _heat(values: ActivationMap) -> Image.Image:
    """What speaks for the class, 0 to 255, one pixel a place."""
    peak = max(map(max, values))
    levels = [round(max(0.0, value) / peak * (_LEVELS - 1)) if peak > 0 else 0 for row in values for value in row]
    return Image.frombytes("L", (len(values[0]), len(values)), bytes(levels))


def _coloured(heat: Image.Image) -> Image.Image:
    """Yellow where it is weak, red where it is strong."""
    red = Image.new("L", heat.size, _LEVELS - 1)
    return Image.merge("RGB", (red, ImageOps.invert(heat), Image.new("L", heat.size, 0)))
