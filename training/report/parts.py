"""What a page is made of: sections of charts, cards, tables and sentences, as values without HTML.

Made by `facts`, `answers` and `insides`; turned into HTML by `page`, and into files beside it by `make`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import keras
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bundle.manifest import Manifest
from bundle.preprocessing import decode
from training.report.record import Record
from training.visualize.architecture import Drawing
from training.visualize.cards import Pictures
from training.visualize.sheet import Card

Kind = Literal["number", "text", "share"]
Column = tuple[str, Kind]  # a heading and what stands below it


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What the report is about. `labels` by head; `golden_answers`, float [n, classes], by output.

    `why_no_model` is a sentence where a model should be and can't be had.
    """

    name: str
    manifest: Manifest
    labels: Mapping[str, tuple[str, ...]]
    record: Record
    golden: Mapping[str, Sequence[bytes]]
    model: keras.Model | None
    why_no_model: str = ""
    golden_answers: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether it was trained here, rather than elsewhere and then published."""
        return "decisions" not in self.record.metrics

    @property
    def judged_on(self) -> str:
        """What the accuracy was measured on: whoever publishes another's model gives pictures, not a test split."""
        return "test examples" if self.is_ours else "labelled golden pictures"

    def golden_pixels(self, most: int | None = None) -> Pictures:
        """The first of the golden pictures, or all, as the model gets them: uint8 [n, h, w, c] by input."""
        return {
            spec.input: np.stack([decode(encoded, spec) for encoded in self.golden[spec.input][:most]])
            for spec in self.manifest.preprocessing
        }


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """A figure with a sentence that says how to read it; `file` is its name beside the page, without an ending."""

    kind: ClassVar[str] = "chart"
    file: str
    caption: str
    figure: Figure


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A drawn network."""

    kind: ClassVar[str] = "graph"
    file: str
    caption: str
    drawing: Drawing


@dataclass(frozen=True, slots=True, eq=False)
class Cards:
    """Pictures side by side, at least one; with the scale of heat where they show any."""

    kind: ClassVar[str] = "cards"
    file: str
    caption: str
    cards: Sequence[Card]
    has_scale: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of values under headings; a share is a number from 0 to 1, drawn as a bar, too."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str | int | float | None]]


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with values, each a few words."""

    kind: ClassVar[str] = "facts"
    caption: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Missing:
    """Why something is left out."""

    kind: ClassVar[str] = "missing"
    sentence: str


Part = Chart | Graph | Cards | Table | Facts | Missing


@dataclass(frozen=True, slots=True)
class Section:
    """`anchor` is its name within the page; `lead` says what it shows. Without parts it is left out."""

    anchor: str
    title: str
    lead: str
    parts: Sequence[Part] = field(default_factory=tuple)
