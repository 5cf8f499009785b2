"""From what a file says and what the user says to a contract; what neither says is asked in one sentence.

The invariant: nothing is guessed. A value comes from the file, from the user, or from a rule that the summary tells.
Two that contradict each other are refused with the file, what it says, what was asked for and the remedy. Called by
`training.cli_publish`.
"""

from bundle.manifest import Preprocessing
from training.errors import ChoiceNeeded
from training.foreign.answering import decide_answer
from training.foreign.case import Case
from training.foreign.contract import INPUT, Contract
from training.foreign.original import Original
from training.foreign.taking import decide_channels, decide_layout, decide_scaling, decide_size
from training.foreign.wishes import Wishes


def decide(original: Original, wishes: Wishes) -> Contract:
    """What will be served. Raises ChoiceNeeded with every question at once, ChoiceContradicted."""
    case = Case(original, wishes)
    layout = decide_layout(case)
    size = decide_size(case, layout)
    channels = decide_channels(case, layout)
    scaling = decide_scaling(case, channels)
    answer = decide_answer(case)
    if layout is None or size is None or channels is None or scaling is None or answer is None:
        raise ChoiceNeeded(f"{original.path} does not say {'; nor '.join(case.questions)}")
    return Contract(
        preprocessing=Preprocessing(
            input=INPUT,
            height=size[0],
            width=size[1],
            channels=channels,
            resize=wishes.resize,
            kernel=wishes.kernel,
            crop_fraction=wishes.crop_fraction,
        ),
        dtype=original.input.dtype,
        layout=layout,
        scaling=scaling,
        answer=answer,
        head=wishes.head,
        labels=wishes.labels,
        reasons=tuple(case.reasons),
    )
