"""How a model wants its pixels: the arithmetic between 0..255 and the numbers it was trained on.

Owns the names that `--preprocess` knows. A scaling is (x - mean) / std on float32 pixels of 0..255, channel by channel,
after an optional turn from RGB to BGR. Used by `deciding`, by both wrappings and, independently of them, by
`reference`.
"""

import math
import re
from dataclasses import dataclass

from training.errors import ConfigInvalid

# x / 255, then mean and standard deviation of ImageNet's pictures, as torchvision's and timm's models are trained.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# Blue, green, red; of the Caffe models of 2014, still what keras.applications' VGG and ResNet (version 1) take.
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_COLOURS = 3
_FIGURES = re.compile(r"mean=(?P<mean>[^=]+),std=(?P<std>[^=]+?)(?P<bgr>,bgr)?")


@dataclass(frozen=True, slots=True)
class Scaling:
    """(x - mean) / std; `mean` and `std` hold one figure for all channels, or one each, in the order the model sees.

    `own` says that the user gave the figures, so nothing that the file seems to say overrules them.
    """

    name: str
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False
    own: bool = False

    @property
    def changes_nothing(self) -> bool:
        """Whether pixels go in as they are."""
        return not self.bgr and set(self.mean) == {0.0} and set(self.std) == {1.0}

    def fits(self, channels: int) -> bool:
        """Whether it can be used on pictures of so many channels."""
        return max(len(self.mean), len(self.std)) in {1, channels} and not (self.bgr and channels != _COLOURS)

    def __str__(self) -> str:
        if self.changes_nothing:
            return "pixels go in as 0..255"
        turned = "RGB turned to BGR, then " if self.bgr else ""
        return f"{turned}(x - {_text(self.mean)}) / {_text(self.std)}"


RAW = Scaling("raw")
NAMED = {
    "raw": RAW,
    "unit": Scaling("unit", std=(255.0,)),
    "symmetric": Scaling("symmetric", mean=(127.5,), std=(127.5,)),
    "imagenet-torch": Scaling(
        "imagenet-torch",
        mean=tuple(255 * value for value in _IMAGENET_MEAN),
        std=tuple(255 * value for value in _IMAGENET_STD),
    ),
    "imagenet-caffe": Scaling("imagenet-caffe", mean=_CAFFE_MEAN, bgr=True),
}
CHOICES = (
    "raw (0..255), unit (x/255), symmetric (x/127.5 - 1), imagenet-torch (x/255, ImageNet's mean and std), "
    "imagenet-caffe (BGR, mean subtracted) or mean=...,std=... in units of 0..255"
)


def parse(text: str) -> Scaling:
    """The scaling that `--preprocess` means. Raises ConfigInvalid, which lists the choices."""
    if text in NAMED:
        return NAMED[text]
    figures = _FIGURES.fullmatch(text.replace(" ", ""))
    if figures is None:
        raise ConfigInvalid(f"--preprocess {text} is not known; choose {CHOICES}")
    mean, std = _figures(text, figures["mean"]), _figures(text, figures["std"])
    if len({len(mean), len(std)} - {1}) > 1 or {len(mean), len(std)} - {1, _COLOURS}:
        raise ConfigInvalid(f"--preprocess {text}: give one figure for all channels or one for each of three")
    if min(std) <= 0:
        raise ConfigInvalid(f"--preprocess {text}: std must be above 0")
    if max(*mean, *std) <= 1:
        meant = f"mean={_times_255(mean)},std={_times_255(std)}"
        raise ConfigInvalid(
            f"--preprocess {text}: the figures look like those for pixels of 0..1, but pixels are 0..255 here; "
            f"give {meant}"
        )
    return Scaling(text, mean, std, bgr=figures["bgr"] is not None, own=True)


def _figures(text: str, listed: str) -> tuple[float, ...]:
    try:
        figures = tuple(float(figure) for figure in listed.split(","))
    except ValueError:
        raise ConfigInvalid(f"--preprocess {text}: {listed!r} is not a list of numbers; choose {CHOICES}") from None
    if not all(map(math.isfinite, figures)):
        raise ConfigInvalid(f"--preprocess {text}: every figure must be finite")
    return figures


def _times_255(figures: tuple[float, ...]) -> str:
    return ",".join(f"{255 * figure:g}" for figure in figures)


def _text(figures: tuple[float, ...]) -> str:
    shown = ", ".join(f"{figure:g}" for figure in figures)
    return shown if len(figures) == 1 else f"[{shown}]"
