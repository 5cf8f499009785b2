"""Picture files as people have them: JPEG and PNG of odd sizes, turned by EXIF, in CMYK, and one that is damaged."""

import io

import numpy as np
import shapes
from PIL import Image

SIDE = 16
BAD = "rows/000.jpg"


def make(folder, each=30, bad=True):
    """Class folders of `each` pictures of the shapes, all good but the one that is named BAD."""
    for label, name in enumerate(shapes.NAMES):
        some = shapes.split(each * len(shapes.NAMES), seed=label)
        (folder / name).mkdir(parents=True)
        for number, pixels in enumerate(some.images[some.labels == label]):
            kind, content = encoded(pixels[..., 0], number)
            (folder / name / f"{number:03}.{kind}").write_bytes(content)
    if bad:
        (folder / BAD).write_bytes((folder / BAD).read_bytes()[:200])
    return folder


def encoded(grey, number):
    """The same picture whatever the number; sizes, colours, format and orientation go round with it."""
    size = 20 + 3 * (number % 5), 22 + 2 * (number % 7)
    image = Image.fromarray(grey).resize(size, Image.Resampling.NEAREST)
    file = io.BytesIO()
    match number % 4:
        case 0:
            image.convert("RGB").save(file, "JPEG", quality=90)
        case 1:
            image.convert("RGB").convert("CMYK").save(file, "JPEG", quality=95)
        case 2:
            exif = Image.Exif()
            exif[0x0112] = 6  # stored lying on its side
            image.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=90, exif=exif)
        case _:
            image.save(file, "PNG")
            return "png", file.getvalue()
    return "jpg", file.getvalue()


def noise(path, seed):
    """A small picture that no other is equal to."""
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
