"""What is decided about a foreign model before anything is written: the value that every later step follows.

Made by `deciding`; followed by the wrappings, which build the graph, and by `reference`, which computes in NumPy what
that graph must answer.
"""

from dataclasses import dataclass
from typing import Literal

from bundle.manifest import Preprocessing
from training.foreign.scaling import Scaling
from training.tasks import output_name

Layout = Literal["NHWC", "NCHW", "NHW"]
Activation = Literal["softmax", "sigmoid", "none"]

INPUT = "image"


@dataclass(frozen=True, slots=True)
class Answer:
    """From one output of the original to the head's scores, in this order.

    `flatten` drops dimensions of size 1 behind the batch; `added` is the activation that the graph gets; `complement`
    turns the one score of a yes-or-no model into [1 - p, p]. `activation` is what the scores then are.
    """

    output: str
    classes: int
    activation: Activation
    added: Literal["softmax", "sigmoid"] | None = None
    flatten: bool = False
    complement: bool = False


@dataclass(frozen=True, slots=True)
class Contract:
    """`dtype` and `layout` are those in which the original takes pictures. `reasons` tell a person what was decided."""

    preprocessing: Preprocessing
    dtype: str
    layout: Layout
    scaling: Scaling
    answer: Answer
    head: str
    labels: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def output(self) -> str:
        """The exported output's name."""
        return output_name(self.head)
