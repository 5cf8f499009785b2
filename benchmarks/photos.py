"""The photos that the reference MobileNetV2 is trained on and asked about: clothing before clouds, as JPEG.

Fashion-MNIST's pictures are 28x28 and grey; here each lies, enlarged and tinted, on a coloured noise that is as rough
as photos are, so that a file is as large as a photo's and takes as long to decode. A photo follows from its
number alone. Called by `models` and `mobilenet`.
"""

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 375, 500

_BACKGROUNDS = 16  # which differ further by where they begin
_DIMMED = 0.4
_COVERED = 40  # of 255: what is brighter hides the background wholly


@dataclass(frozen=True, slots=True, eq=False)
class Clothing:
    """Grey pictures uint8 [n, 28, 28, 1] with their labels int64 [n]; a photo is one of them."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def photo(self, number: int) -> bytes:
        """The picture of that number as a JPEG of 500x375."""
        random = np.random.default_rng(number)
        background = np.roll(_background(number % _BACKGROUNDS), random.integers(0, HEIGHT, 2), axis=(0, 1))
        item = Image.fromarray(self.images[number, :, :, 0]).resize((HEIGHT, HEIGHT), Image.Resampling.BICUBIC)
        grey = np.asarray(item, np.float32)[:, :, np.newaxis]
        covered = np.minimum(grey / _COVERED, 1)
        scene = background.copy()
        place = scene[:, (WIDTH - HEIGHT) // 2 : (WIDTH + HEIGHT) // 2]
        place[:] = place * (1 - covered) + grey * random.uniform(0.6, 1.0, 3).astype(np.float32) * covered
        return jpeg(scene.astype(np.uint8))


def clouds(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Noise that is rough and smooth at once, its power falling with the frequency as in photos; [height, width, 3]."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))[..., None]
    noise = np.fft.fft2(random.normal(size=(height, width, 3)), axes=(0, 1)) / np.maximum(frequency, 1 / width)
    waves = np.fft.ifft2(noise, axes=(0, 1)).real
    pixels: NDArray[np.uint8] = np.clip(127 + 60 * waves / waves.std(), 0, 255).astype(np.uint8)
    return pixels


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a JPEG file, about as large as a photo of that size."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()


@lru_cache(_BACKGROUNDS)
def _background(seed: int) -> NDArray[np.float32]:
    return clouds(seed, HEIGHT, WIDTH).astype(np.float32) * np.float32(_DIMMED)
