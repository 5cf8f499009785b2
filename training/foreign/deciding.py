"""From what a file says and what the user says to a contract; what neither says is asked in one sentence.

The invariant: nothing is guessed. A value comes from the file, from the user, or from a rule that the summary tells. Two
that contradict each other are refused with the file, what it says, what was asked for and the remedy. Called by
`publish`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast

from bundle.manifest import Preprocessing, TensorSpec
from training.errors import ChoiceContradicted, ChoiceNeeded, ConfigInvalid
from training.foreign import scaling
from training.foreign.contract import CLASS_HEAD, INPUT, Activation, Answer, Contract, Layout
from training.foreign.original import Original
from training.foreign.scaling import RAW, Scaling

T = TypeVar("T")

_ACTIVATIONS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_INTEGERS = {"uint8", "int32", "int64"}
_FLOATS = {"float16", "float32", "float64"}
_COLOURS = (1, 3)
_SIZE = re.compile(r"(\d+)x(\d+)")
_HEAD = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user says; None where nothing is said. `labels` are the label file's lines, `labels_file` its path."""

    labels: tuple[str, ...]
    labels_file: Path
    preprocess: Scaling | None = None
    size: tuple[int, int] | None = None
    channels: int | None = None
    layout: Literal["nhwc", "nchw"] | None = None
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    kernel: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = "bilinear"
    crop_fraction: float = 1.0
    activation: Activation | None = None
    output: str | None = None
    head: str = CLASS_HEAD

    def __post_init__(self) -> None:
        if not _HEAD.fullmatch(self.head):
            raise ConfigInvalid(f"--head {self.head} is not possible; use small letters, digits and underscores")


def read_labels(file: Path) -> tuple[str, ...]:
    """The labels, one a line, in the order of the classes. Raises ConfigInvalid."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"--labels {file} can't be read: {error}") from error
    labels = tuple(line.strip() for line in lines)
    if not labels:
        raise ConfigInvalid(f"--labels {file} is empty; write one label a line, in the order of the classes")
    if "" in labels:
        raise ConfigInvalid(f"--labels {file}: line {labels.index('') + 1} is empty; every line is one class's label")
    return labels


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from HxW. Raises ConfigInvalid."""
    match = _SIZE.fullmatch(text)
    if match is None or "0" in match.groups():
        raise ConfigInvalid(f"--size {text} is not a size; give HEIGHTxWIDTH, such as 224x224")
    return int(match[1]), int(match[2])


def decide(original: Original, wishes: Wishes) -> Contract:
    """Raises ChoiceNeeded, ChoiceContradicted."""
    decisions = _Decisions(original, wishes)
    layout = decisions.ask(decisions.layout)
    size = decisions.ask(decisions.size, layout)
    channels = decisions.ask(decisions.channels, layout)
    taken = decisions.ask(decisions.scaling, channels)
    answer = decisions.ask(decisions.answer)
    if decisions.questions:
        raise ChoiceNeeded(f"{original.path} does not say {'; nor '.join(decisions.questions)}")
    height, width = _known(size)
    return Contract(
        preprocessing=Preprocessing(
            input=INPUT,
            height=height,
            width=width,
            channels=cast("Literal[1, 3]", channels),
            resize=wishes.resize,
            kernel=wishes.kernel,
            crop_fraction=wishes.crop_fraction,
        ),
        dtype=original.input.dtype,
        layout=_known(layout),
        scaling=_known(taken),
        answer=_known(answer),
        head=wishes.head,
        labels=wishes.labels,
        reasons=tuple(decisions.reasons),
    )


def _known(value: T | None) -> T:
    assert value is not None  # noqa: S101 - what is not known has become a question
    return value


class _Decisions:
    """One method a decision: gives it and its reason, or None and its question. Questions are collected."""

    def __init__(self, original: Original, wishes: Wishes) -> None:
        self._original = original
        self._wishes = wishes
        self._input = original.input
        self.questions: list[str] = []
        self.reasons: list[str] = []

    def ask(self, decision: Callable[..., T | None], *known: object) -> T | None:
        """The decision, unless one that it follows from is open itself."""
        return None if None in known else decision(*known)

    def layout(self) -> Layout | None:
        shape, wish = self._input.shape, self._wishes.layout
        if len(shape) == 3:  # noqa: PLR2004 - batch, height, width
            return "NHW"
        if len(shape) != 4:  # noqa: PLR2004
            raise self._refused(f"its input {self._text(self._input)} is no batch of pictures [n, height, width, channels]")
        fitting = [name for name, place in {"NHWC": 3, "NCHW": 1}.items() if shape[place] in _COLOURS]
        if wish is not None:
            if fitting and wish.upper() not in fitting:
                raise self._refused(f"its input is {self._text(self._input)}, which is not {wish.upper()}", "--layout")
            return cast("Layout", wish.upper())
        if len(fitting) == 1:
            return cast("Layout", fitting[0])
        if not fitting and None not in {shape[1], shape[3]}:
            raise self._refused(f"its input {self._text(self._input)} has neither 1 nor 3 channels, which pictures have")
        if not fitting and self._original.kind != "ONNX model":
            return "NHWC"  # Keras's and TensorFlow's own
        self.questions.append(
            f"where the channels of its input {self._text(self._input)} are: give --layout nhwc or --layout nchw"
        )
        return None

    def size(self, layout: Layout) -> tuple[int, int] | None:
        first = 2 if layout == "NCHW" else 1
        said, wish = self._input.shape[first : first + 2], self._wishes.size
        if wish is None and None not in said:
            return cast("tuple[int, int]", said)
        if wish is None:
            self.questions.append("what size its pictures have: give --size HEIGHTxWIDTH, the size it was trained on")
            return None
        if any(have not in {None, want} for have, want in zip(said, wish, strict=True)):
            raise self._refused(f"it takes pictures of {said[0]}x{said[1]}, not {wish[0]}x{wish[1]}", "--size")
        return wish

    def channels(self, layout: Layout) -> int | None:
        said = {"NHWC": self._input.shape[-1], "NCHW": self._input.shape[1], "NHW": 1}[layout]
        wish = self._wishes.channels
        if wish is None and said is None:
            self.questions.append("whether its pictures are grey or in colour: give --channels 1 or --channels 3")
        if said is not None and said not in _COLOURS:
            raise self._refused(f"it takes pictures of {said} channels, but pictures have 1 or 3")
        if None not in {wish, said} and wish != said:
            raise self._refused(f"it takes pictures of {said} channels, not {wish}", "--channels")
        return said or wish

    def scaling(self, channels: int) -> Scaling | None:
        wish, opening, dtype = self._wishes.preprocess, self._original.opening, self._input.dtype
        if dtype not in _INTEGERS | _FLOATS:
            raise self._refused(f"its input is {dtype}, but pixels can be given as uint8, int32, int64 or float")
        if wish is not None and not wish.fits(channels):
            raise self._refused(f"it takes pictures of {channels} channels, which {wish.name} can't be used on", "--preprocess")
        if wish is not None and wish.own:
            self.reasons.append(f"pixels: {wish}, as --preprocess says")
            return wish
        found = f"its input is {dtype}" if dtype in _INTEGERS else str(opening) if opening.takes_raw else ""
        if found:
            if wish not in {None, RAW}:
                raise self._refused(
                    f"{found}, so it takes them as they are, and {_known(wish).name} would scale twice", "--preprocess"
                )
            self.reasons.append(f"pixels go in as 0..255: {found}")
            return RAW
        if wish is None:
            seen = f" ({opening})" if opening.steps else " (nothing in its graph does it)"
            self.questions.append(f"how pixels were scaled in its training{seen}: give --preprocess {scaling.CHOICES}")
            return None
        self.reasons.append(f"pixels: {wish}, as --preprocess says")
        return wish

    def answer(self) -> Answer | None:
        output = self._output()
        if output is None:
            return None
        scores = self._scores(output)
        complement = scores == 1 and len(self._wishes.labels) == 2  # noqa: PLR2004 - yes or no
        classes = 2 if complement else scores
        if classes != len(self._wishes.labels):
            raise ChoiceContradicted(
                f"{self._wishes.labels_file} has {len(self._wishes.labels)} labels, but output {output.name!r} of "
                f"{self._original.path} has {classes} classes; give one label a line for each class, in their order"
            )
        activation = self._activation(output, single=scores == 1)
        if activation is None:
            return None
        if complement:
            self.reasons.append(f"answers: one score p becomes [1 - p, p] for {' and '.join(self._wishes.labels)}")
        added = None if self._found(output) else activation
        return Answer(
            output=output.name,
            classes=classes,
            activation="softmax" if complement and activation != "none" else activation,
            added=None if added == "none" else added,
            flatten=len(output.shape) > 2,  # noqa: PLR2004
            complement=complement,
        )

    def _output(self) -> TensorSpec | None:
        outputs = {spec.name: spec for spec in self._original.outputs}
        wish, names = self._wishes.output, ", ".join(outputs)
        if wish is not None:
            if wish not in outputs:
                raise self._refused(f"it has no output {wish!r}, but {names}", "--output")
            return outputs[wish]
        if len(outputs) == 1:
            return next(iter(outputs.values()))
        self.questions.append(f"which of its outputs ({names}) holds the classes: give --output NAME")
        return None

    def _scores(self, output: TensorSpec) -> int:
        """How many numbers the output has for a picture."""
        sizes = output.shape[1:]
        long = [size for size in sizes if size != 1]
        if not sizes or len(long) > 1:
            raise self._refused(f"its output {self._text(output)} is not [n, classes]: it is no classifier of pictures")
        return (long[0] if long else 1) or len(self._wishes.labels)

    def _activation(self, output: TensorSpec, *, single: bool) -> Activation | None:
        found, wish = self._found(output), self._wishes.activation
        last = self._original.last_steps.get(output.name, "")
        if found is not None:
            if wish not in {None, found}:
                raise self._refused(f"its output {output.name!r} ends with {last}, not {wish}", "--activation")
            self.reasons.append(f"answers: output {output.name!r} ends with {last}, nothing is added")
            return found
        if wish == "softmax" and single:
            raise self._refused("its output is one number, of which a softmax is always 1; give --activation sigmoid")
        if wish is None:
            seen = f"it ends with {last}" if last else "its last step can't be seen"
            self.questions.append(
                f"what the numbers of output {output.name!r} are ({seen}): give --activation softmax (adds it to "
                "logits of which one class is right), sigmoid (adds it to logits of classes that are each right or "
                "not) or none (serves them as they are)"
            )
            return None
        done = "is served as it is" if wish == "none" else f"gets a {wish}"
        self.reasons.append(f"answers: output {output.name!r} {done}, as --activation says")
        return wish

    def _found(self, output: TensorSpec) -> Activation | None:
        last = self._original.last_steps.get(output.name, "")
        return cast("Activation | None", _ACTIVATIONS.get(last))

    def _refused(self, problem: str, option: str = "") -> ChoiceContradicted:
        remedy = f"; leave {option} away or correct it" if option else ""
        return ChoiceContradicted(f"{self._original.path}: {problem}{remedy}")

    @staticmethod
    def _text(spec: TensorSpec) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in spec.shape)
        return f"{spec.name} {spec.dtype} [{sizes}]"
