"""Decides what a model's answer is: which output holds the classes, what its numbers are, and what they still need.

The rules: an output that ends with a softmax or a sigmoid is served as it is. Otherwise its numbers are logits or
something else, which only the user knows. One sigmoid score and two labels are the yes-or-no model of Keras's own
tutorials: p belongs to the second label.
"""

from bundle.manifest import TensorSpec
from training.errors import ChoiceContradicted
from training.foreign.case import Case, text
from training.foreign.contract import Activation, Answer

_ACTIVATIONS: dict[str, Activation] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_TWO = 2


def decide_answer(case: Case) -> Answer | None:
    """The output and its way to the head's scores; the label file must have a line for each class."""
    output = _output(case)
    if output is None:
        return None
    found = _ACTIVATIONS.get(_last_step(case, output))
    activation = _activation(case, output, found)
    scores = _scores(case, output)
    complement = scores == 1 and len(case.wishes.labels) == _TWO and activation == "sigmoid"
    classes = _TWO if complement else scores
    if activation is None:
        classes = len(case.wishes.labels) if scores == 1 else scores  # it may yet become a yes-or-no model
    _check_labels(case, output, classes)
    if activation is None:
        return None
    if complement:
        no, yes = case.wishes.labels
        case.reasons.append(f"its one score p becomes two: 1 - p for {no!r}, p for {yes!r}")
    return Answer(
        output=output.name,
        classes=classes,
        activation="softmax" if complement else activation,  # the two sum to one
        added=activation if found is None and activation != "none" else None,
        flatten=len(output.shape) > _TWO,
        complement=complement,
    )


def _output(case: Case) -> TensorSpec | None:
    outputs = {spec.name: spec for spec in case.original.outputs}
    wish, names = case.wishes.output, ", ".join(outputs)
    if wish is not None and wish not in outputs:
        raise case.refusal(f"it has no output {wish!r}, but {names}", "--output")
    if wish is not None or len(outputs) == 1:
        return outputs[wish or names]
    case.questions.append(f"which of its outputs ({names}) holds the classes: give --output NAME")
    return None


def _last_step(case: Case, output: TensorSpec) -> str:
    return case.original.last_steps.get(output.name, "")


def _scores(case: Case, output: TensorSpec) -> int:
    """How many numbers the output has for a picture; as many as labels where the file leaves it open."""
    sizes = output.shape[1:]
    long = [size for size in sizes if size != 1]
    if not sizes or len(long) > 1:
        raise case.refusal(f"its output {text(output)} is not [n, classes], so it does not classify pictures")
    return (long[0] or len(case.wishes.labels)) if long else 1


def _check_labels(case: Case, output: TensorSpec, classes: int) -> None:
    labels = case.wishes.labels
    if classes != len(labels):
        raise ChoiceContradicted(
            f"{case.wishes.labels_file} has {len(labels)} labels, but output {output.name!r} of {case.original.path} "
            f"has {classes} classes; give one label a line for each class, in their order"
        )


def _activation(case: Case, output: TensorSpec, found: Activation | None) -> Activation | None:
    """What the scores will be; `found` is what the output ends with."""
    wish, last = case.wishes.activation, _last_step(case, output)
    if "softmax" in {wish, found} and _scores(case, output) == 1:
        raise case.refusal(f"output {output.name!r} is one number, of which a softmax is always 1; it needs a sigmoid")
    if found is not None:
        if wish not in {None, found}:
            raise case.refusal(f"output {output.name!r} ends with {last}, which contradicts {wish}", "--activation")
        case.reasons.append(f"output {output.name!r} ends with {last}, so it is served as it is")
        return found
    if wish is None:
        seen = f"it ends with {last}" if last else "its last step can't be seen"
        case.questions.append(
            f"what the numbers of its output {output.name!r} are ({seen}): give --activation softmax (adds one to "
            "logits of which one class is right), sigmoid (adds one to logits of classes that are each right or wrong) "
            "or none (serves them as they are)"
        )
        return None
    done = "is served as it is" if wish == "none" else f"gets a {wish}"
    case.reasons.append(f"output {output.name!r} {done}, as --activation says")
    return wish
