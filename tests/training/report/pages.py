"""Pages as tests read them: their elements and texts; and subjects of a report that were never published."""

from html.parser import HTMLParser

import numpy as np
import small_models

from bundle.manifest import (
    SCHEMA_VERSION,
    Golden,
    Head,
    Manifest,
    Preprocessing,
    Provenance,
    Signature,
    TensorSpec,
    Variant,
)
from training.evaluate import Evaluation
from training.report.parts import Subject
from training.report.record import Chosen, Embedding, Record

VOID = {"meta", "img", "br", "link", "input", "hr"}
SECTIONS = [
    "summary",
    "architecture",
    "learning",
    "classes",
    "confidence",
    "mistakes",
    "projection",
    "filters",
    "layers",
    "reasons",
    "proof",
    "speed",
]


class Page(HTMLParser):
    """Elements as (name, attributes), the text of each section, what is missing, and whether tags match."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.is_well_formed, self.texts = [], [], True, {}
        self.section, self.missing = "", set()
        self.feed(html)
        self.is_well_formed = self.is_well_formed and not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self.section = dict(attrs)["id"]
        if "missing" in (dict(attrs).get("class") or ""):
            self.missing.add(self.section)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.is_well_formed = self.is_well_formed and bool(self.open) and self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data):
        self.texts[self.section] = self.texts.get(self.section, "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def subject(model, labels, *, name="pairs", config=None):
    """A run that never was: `labels` by head, for a model that takes 12x12 pictures."""
    inputs = {tensor.name: tensor for tensor in model.inputs} if model is not None else {"image": None}
    channels = {key: 1 if tensor is None else tensor.shape[3] for key, tensor in inputs.items()}
    heads = tuple(
        Head(name=head, output=output, activation="softmax", labels=f"labels/{head}.txt")
        for head, output in zip(labels, outputs(model), strict=True)
    )
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        signature=Signature(
            inputs=tuple(TensorSpec(name=one, dtype="uint8", shape=(None, 12, 12, channels[one])) for one in inputs),
            outputs=tuple(
                TensorSpec(name=head.output, dtype="float32", shape=(None, len(labels[head.name]))) for head in heads
            ),
        ),
        preprocessing=tuple(Preprocessing(input=one, height=12, width=12, channels=channels[one]) for one in inputs),
        heads=heads,
        variants=(Variant(name="onnx", format="onnx", path="model.onnx"),),
        golden=Golden(images=dict.fromkeys(inputs, ()), outputs="golden/outputs.npz"),
        provenance=Provenance(created="2026-01-02T03:04:05+00:00", config=config or {}),
    )
    pictures = {one: small_models.pictures(6, channels[one], seed=seed) for seed, one in enumerate(inputs)}
    record = Record(
        metrics={"speed": {"machine": "a machine", "runs": []}},
        evaluations={head: answers(len(names)) for head, names in labels.items()},
        examples=Chosen(np.arange(6), pictures),
        mistakes={head: Chosen(np.array([1, 3]), pictures) for head in labels},
        embedding=Embedding(
            np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32),
            np.array([0.4, 0.3, 0.2, 0.1], np.float32),
            np.arange(30) % len(next(iter(labels.values()))),
        ),
    )
    return Subject(name, manifest, labels, record, {}, model, "" if model is not None else "There is no model.")


def outputs(model):
    if model is None:
        return ["probabilities"]
    return list(model.output) if isinstance(getattr(model, "output", None), dict) else ["probabilities"]


def answers(classes, count=60):
    """Answers of which about a quarter is wrong, the second and the fourth surely."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % classes
    predicted = np.where(random.uniform(size=count) < 0.75, labels, random.integers(0, classes, count))
    predicted[[1, 3]] = (labels[[1, 3]] + 1) % classes
    return Evaluation(labels, predicted, random.uniform(0.4, 1, count).astype(np.float32), classes)
