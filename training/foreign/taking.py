"""Decides what a model takes: the layout of its pictures, their size and colours, and how pixels are scaled.

Each function is one decision about a `Case`: from the file if that says it, else from the user, else a question.
"""

from typing import Literal, cast

from training.foreign import scaling
from training.foreign.case import Case, text
from training.foreign.contract import Layout
from training.foreign.scaling import RAW, Scaling

_INTEGERS = {"uint8", "int32", "int64"}
_FLOATS = {"float16", "float32", "float64"}
_COLOURS = (1, 3)
_GREY_RANK = 3  # [n, height, width]
_RANK = 4


def decide_layout(case: Case) -> Layout | None:
    """Where height, width and channels are: the channels are the dimension that is 1 or 3."""
    spec, wish = case.original.input, case.wishes.layout
    if len(spec.shape) == _GREY_RANK:
        return "NHW"
    if len(spec.shape) != _RANK:
        raise case.refusal(f"its input {text(spec)} is no batch of pictures, as [n, height, width, channels] is")
    _, second, _, last = spec.shape
    fitting = [name for name, channels in (("NHWC", last), ("NCHW", second)) if channels in _COLOURS]
    possible = [name for name, channels in (("NHWC", last), ("NCHW", second)) if channels in {*_COLOURS, None}]
    if not possible:
        raise case.refusal(f"its input {text(spec)} has neither 1 nor 3 channels, as pictures have")
    if wish is not None and wish.upper() not in possible:
        raise case.refusal(f"its input {text(spec)} is not {wish.upper()}", "--layout")
    if wish is not None:
        return cast("Layout", wish.upper())
    if len(fitting) == 1 or len(possible) == 1:
        return cast("Layout", (fitting or possible)[0])
    if not fitting and case.original.kind != "ONNX model":
        return "NHWC"  # Keras's and TensorFlow's own
    case.questions.append(f"where the channels of its input {text(spec)} are: give --layout nhwc or --layout nchw")
    return None


def decide_size(case: Case, layout: Layout | None) -> tuple[int, int] | None:
    """Height and width."""
    wish = case.wishes.size
    if layout is None:
        return wish
    first = 2 if layout == "NCHW" else 1
    height, width = case.original.input.shape[first : first + 2]
    if wish is None and (height is None or width is None):
        case.questions.append("what size its pictures have: give --size HEIGHTxWIDTH, the size that it was trained on")
        return None
    if wish is not None and any(have not in {None, want} for have, want in zip((height, width), wish, strict=True)):
        said = f"{height or 'any'}x{width or 'any'}"
        raise case.refusal(f"it takes pictures of {said}, not {wish[0]}x{wish[1]}", "--size")
    return wish or cast("tuple[int, int]", (height, width))


def decide_channels(case: Case, layout: Layout | None) -> Literal[1, 3] | None:
    """1 or 3."""
    wish, shape = case.wishes.channels, case.original.input.shape
    if layout is None:
        return cast("Literal[1, 3] | None", wish)
    said = 1 if layout == "NHW" else shape[-1] if layout == "NHWC" else shape[1]
    if wish is not None and said not in {None, wish}:
        raise case.refusal(f"it takes pictures of {said} channels, not {wish}", "--channels")
    if wish is None and said is None:
        case.questions.append("whether its pictures are grey or in colour: give --channels 1 or --channels 3")
    return cast("Literal[1, 3] | None", wish or said)


def decide_scaling(case: Case, channels: Literal[1, 3] | None) -> Scaling | None:
    """What is done to pixels before they go in. Figures of the user's own are never overruled."""
    wish, dtype = case.wishes.preprocess, case.original.input.dtype
    if dtype not in _INTEGERS | _FLOATS:
        raise case.refusal(f"its input is {dtype}, but pixels can be given as uint8, int32, int64 or float only")
    if wish is not None and channels is not None and not wish.fits(channels):
        raise case.refusal(f"{wish.name} can't be used on pictures of {channels} channels", "--preprocess")
    if (found := _takes_raw(case)) and not (wish is not None and wish.own):
        if wish not in {None, RAW}:
            raise case.refusal(
                f"{found}, so pixels go in as they are, and {wish.name} would scale them twice",
                "--preprocess",
            )
        case.reasons.append(f"pixels go in as 0..255, because {found}")
        return RAW
    if wish is None:
        opening = case.original.opening
        seen = f"{opening}, which no model is trained on" if opening.steps else "nothing in its graph does it"
        case.questions.append(f"how pixels were scaled in its training ({seen}): give --preprocess {scaling.CHOICES}")
        return None
    case.reasons.append(f"--preprocess {wish.name}: {wish}")
    return wish


def _takes_raw(case: Case) -> str:
    """Why the model takes 0..255 itself; empty where it is not known to."""
    dtype, opening = case.original.input.dtype, case.original.opening
    if dtype in _INTEGERS:
        return f"its input is {dtype}"
    return str(opening) if opening.takes_raw else ""
