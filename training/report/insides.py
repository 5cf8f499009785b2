"""The sections that look into the network: its graph, filters, feature maps, and what its answers rest on."""

import dataclasses

import numpy as np

from training.report.parts import Cards, Graph, Missing, Part, Section, Subject
from training.visualize.architecture import draw
from training.visualize.cards import (
    Pictures,
    explanation_cards,
    feature_map_cards,
    filter_cards,
    maximised_cards,
    words_for,
)
from training.visualize.maximise import maximise
from training.visualize.sheet import Card
from training.visualize.walk import has_graph

_EXAMPLES = 8
_LOOKED_THROUGH = 2  # pictures that are followed layer by layer


def architecture(subject: Subject) -> Section:
    """The network as a graph."""
    lead = "The network from its input to its answers, as Keras runs it."
    if not _can_be_walked(subject):
        return Section("architecture", "Architecture", lead, _why_not(subject))
    main, *inner = draw(subject.model)
    caption = (
        "Every box is a layer with what finishes its work (normalisation, activation, dropout), with the shape of what "
        "leaves it and the number of its weights; blue is convolution, orange pooling, green dense, pink joins paths."
    )
    parts: list[Part] = [Graph("architecture", caption, main)]
    parts += [Graph(f"architecture.{at}", f"Inside {one.name}, a box above.", one) for at, one in enumerate(inner, 1)]
    return Section("architecture", "Architecture", lead, parts)


def filters(subject: Subject) -> Section:
    """The first layer's kernels, and what the last convolution's filters answer to most."""
    lead = "The patterns that the first layer looks for, and pictures made up to please the last one."
    if not _can_be_walked(subject):
        return Section("filters", "Filters", lead)
    parts: list[Part] = []
    if cards := filter_cards(subject.model):
        caption = (
            "Weights of each kernel: in the colours that it answers to where it sees colours, with grey for 0; else "
            "orange adds, purple takes away, white does nothing."
        )
        parts.append(Cards("filters", caption, cards))
    if (best := maximise(subject.model)) is not None:
        caption = (
            f"What filters of {best.path} answer to most, found by climbing their mean activation from grey noise; the "
            "numbers say how far it rose."
        )
        parts.append(Cards("maximised", caption, maximised_cards(best)))
    parts = parts or [Missing("The model has no two-dimensional convolution, so there are no filters to show.")]
    return Section("filters", "Filters", lead, parts)


def layers(subject: Subject) -> Section:
    """Feature maps of a few pictures."""
    lead = "What each layer keeps of a picture, from edges to parts."
    if not _can_be_walked(subject):
        return Section("layers", "Layer by layer", lead)
    examples = _examples(subject)
    caption = (
        "Each row is a layer, each tile one of its maps, those that vary most; brighter is further from zero, on one "
        "scale for the layer."
    )
    places = range(min(_LOOKED_THROUGH, *map(len, examples.values())))
    one_by_one = ({name: images[[place]] for name, images in examples.items()} for place in places)
    found = [cards for pictures in one_by_one if (cards := feature_map_cards(subject.model, pictures))]
    parts: list[Part] = [
        Cards(f"feature_maps.{number}", caption, cards, has_scale=True) for number, cards in enumerate(found, 1)
    ]
    parts = parts or [Missing("No layer of the model gives feature maps, so there are none to show.")]
    return Section("layers", "Layer by layer", lead, parts)


def reasons(subject: Subject) -> Section:
    """Grad-CAM and saliency of examples, for each head."""
    lead = "Where in the picture the evidence for an answer lies."
    if not _can_be_walked(subject):
        return Section("reasons", "Why this answer", lead)
    caption = (
        "Grad-CAM marks the regions that speak for the answer, as coarse as the last feature maps; saliency marks the "
        "pixels that would change it most. Every picture is on its own scale."
    )
    parts: list[Part] = []
    for place, head in enumerate(subject.manifest.heads):
        labels, words = subject.labels[head.name], words_for(head)
        cards = explanation_cards(subject.model, _examples(subject), head.output, labels, words=words)
        cards = _judged(cards, subject, head.name)
        of_head = f"Head {head.name}: " if len(subject.manifest.heads) > 1 else ""
        file = f"explanations.{head.name}" if place else "explanations"
        parts.append(Cards(file, of_head + caption, cards, has_scale=True))
    return Section("reasons", "Why this answer", lead, parts)


def _judged(cards: list[Card], subject: Subject, head: str) -> list[Card]:
    """The cards, each example's in a row, with the true label where the record knows that the answer was wrong."""
    answers, examples = subject.record.evaluations.get(head), subject.record.examples
    if answers is None or examples is None:
        return cards
    rows = np.repeat(examples.rows, len(cards) // len(examples.rows))
    truths = [subject.labels[head][answers.labels[row]] for row in rows]
    wrong = answers.labels[rows] != answers.predicted[rows]
    return [
        dataclasses.replace(card, note=", ".join(filter(None, (card.note, f"truth: {truth}"))), is_wrong=True)
        if is_wrong
        else card
        for card, truth, is_wrong in zip(cards, truths, wrong, strict=True)
    ]


def _examples(subject: Subject) -> Pictures:
    """The pictures that a record chose; else the first golden ones, as the model gets them."""
    if subject.record.examples is not None:
        return subject.record.examples.pictures
    return subject.golden_pixels(_EXAMPLES)


def _can_be_walked(subject: Subject) -> bool:
    return subject.model is not None and has_graph(subject.model)


def _why_not(subject: Subject) -> list[Missing]:
    """A sentence, said once, where there is a model that can't be looked into; nothing where there is none."""
    if subject.model is not None:
        return [Missing("The model is Python code of its own and has no graph of layers to look into.")]
    return [Missing(subject.why_no_model)] if subject.why_no_model else []
