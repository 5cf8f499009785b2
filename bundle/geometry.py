"""Which part of a picture a model sees, and where it lies in the model's input.

Plain numbers, no library: `bundle.preprocessing` decodes by it, and what draws on a picture where a model looked finds
the way back by it, so the two can't differ. Sizes are (width, height), boxes are (left, top, right, bottom).
"""

Size = tuple[int, int]
Box = tuple[float, float, float, float]


def frame(picture: Size, target: Size, resize: str, crop_fraction: float) -> tuple[Box, Size]:
    """The part of the picture that is used, in its own pixels, and the size that it is resized to.

    `resize` and `crop_fraction` are those of `bundle.manifest.Preprocessing`. The size is the target but for "pad",
    where it may be smaller and lies `centred` in the target.
    """
    width, height = picture[0] * crop_fraction, picture[1] * crop_fraction
    if resize == "crop":
        scale = min(width / target[0], height / target[1])
        width, height = min(target[0] * scale, width), min(target[1] * scale, height)
    elif resize == "pad":
        scale = max(width / target[0], height / target[1])
        target = max(1, round(width / scale)), max(1, round(height / scale))
    left, top = (picture[0] - width) / 2, (picture[1] - height) / 2
    return (left, top, picture[0] - left, picture[1] - top), target


def centred(size: Size, target: Size) -> tuple[int, int]:
    """Where (left, top) something of this size begins in the middle of the target."""
    return (target[0] - size[0]) // 2, (target[1] - size[1]) // 2
