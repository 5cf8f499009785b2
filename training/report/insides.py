"""The sections that look into the network: its graph, filters, feature maps, and what its answers rest on."""

from collections.abc import Sequence

import numpy as np

from bundle.preprocessing import decode
from training.asking import predict
from training.report.answers import shown
from training.report.parts import Cards, Graph, Missing, Part, Section, Subject
from training.report.record import Pictures
from training.visualize.architecture import draw
from training.visualize.attribution import grad_cam, saliency
from training.visualize.feature_maps import FeatureMaps, feature_maps, map_tiles
from training.visualize.filters import filter_tiles, first_filters
from training.visualize.maximise import maximise
from training.visualize.sheet import Card
from training.visualize.tiles import grid, overlay, picture, shrunk, spotted
from training.visualize.walk import has_graph
from training.visualize.words import shape_words, title_of

_EXAMPLES = 8
_LOOKED_THROUGH = 2  # pictures that are followed layer by layer
_SIDE = 160
_COLUMNS = 8


def architecture(subject: Subject) -> Section:
    """The network as a graph."""
    lead = "The network from its input to its answers, as Keras runs it."
    if (missing := _not_walked(subject)) is not None:
        return Section("architecture", "Architecture", lead, [missing])
    main, *inner = draw(subject.model)
    caption = (
        "Every box is a layer with what finishes its work (normalisation, activation, dropout); on the right the shape "
        "of what leaves it and the number of its weights."
    )
    parts: list[Part] = [Graph("architecture", caption, main)]
    parts += [Graph(f"architecture.{one.name}", f"Inside {one.name}, one box of the graph above.", one) for one in inner]
    return Section("architecture", "Architecture", lead, parts)


def filters(subject: Subject) -> Section:
    """The first layer's kernels, and what the last convolution's filters answer to most."""
    lead = "The patterns that the first layer looks for, and pictures made up to please the last one."
    if (missing := _not_walked(subject)) is not None:
        return Section("filters", "Filters", lead, [missing])
    parts: list[Part] = []
    if (first := first_filters(subject.model)) is not None:
        tiles = filter_tiles(first)[: _COLUMNS**2]
        card = Card(first.path, (("", grid(tiles, 2 * _COLUMNS)),), f"{len(first.kernels)} filters")
        caption = (
            "Kernels in the colours of the pictures that they answer to."
            if first.kernels.shape[3] == 3  # noqa: PLR2004 - red, green and blue
            else "Weights of each kernel: orange adds, purple takes away, white does nothing."
        )
        parts.append(Cards("filters", caption, [card]))
    if (best := maximise(subject.model)) is not None:
        cards = [
            Card(f"filter {number}", (("", shrunk(picture(pixels), _SIDE)),), f"{before:.2f} to {after:.2f}")
            for number, pixels, before, after in zip(best.filters, best.pictures, best.before, best.after, strict=True)
        ]
        caption = (
            f"What filters of {best.path} answer to most, found by climbing their mean activation from grey noise; the "
            "numbers say how far it rose."
        )
        parts.append(Cards("maximised", caption, cards))
    parts = parts or [Missing("The model has no two-dimensional convolution, so there are no filters to show.")]
    return Section("filters", "Filters", lead, parts)


def layers(subject: Subject) -> Section:
    """Feature maps of a few pictures."""
    lead = "What each layer keeps of a picture, from edges to parts."
    if (missing := _not_walked(subject)) is not None:
        return Section("layers", "Layer by layer", lead, [missing])
    examples = examples_of(subject)
    parts: list[Part] = []
    for place in range(min(_LOOKED_THROUGH, _count(examples))):
        one = {name: images[[place]] for name, images in examples.items()}
        found = feature_maps(subject.model, one)
        if found:
            caption = (
                "Each row is a layer, each tile one of its maps, those that vary most; brighter is stronger, on one "
                "scale for the layer."
            )
            parts.append(Cards(f"feature_maps.{place + 1}", caption, map_cards(one, found)))
    parts = parts or [Missing("No layer of the model gives feature maps, so there are none to show.")]
    return Section("layers", "Layer by layer", lead, parts)


def map_cards(pixels: Pictures, found: Sequence[FeatureMaps]) -> list[Card]:
    """The picture, then a card for each layer."""
    cards = [Card("picture", shown(pixels, 0))]
    for layer in found:
        block, tiles = layer.block, map_tiles(layer)
        note = f"{shape_words(block.shape)}, {len(tiles)} maps shown"
        cards.append(Card(title_of(block), (("", grid(tiles, _COLUMNS)),), note))
    return cards


def reasons(subject: Subject) -> Section:
    """Grad-CAM and saliency of examples."""
    lead = "Where in the picture the evidence for an answer lies."
    if (missing := _not_walked(subject)) is not None:
        return Section("reasons", "Why this answer", lead, [missing])
    cards = explained(subject, examples_of(subject))
    caption = (
        "Grad-CAM marks the regions that speak for the answer, as coarse as the last feature maps; saliency marks the "
        "pixels that would change it most."
    )
    return Section("reasons", "Why this answer", lead, [Cards("explanations", caption, cards)])


def explained(subject: Subject, examples: Pictures) -> list[Card]:
    """A card for each example and input of the main head: the picture, Grad-CAM over it, saliency."""
    head = subject.manifest.heads[0]
    labels = subject.labels[head.name]
    answers = predict(subject.model, examples)[head.output]
    best = answers.argmax(axis=1)
    heat = grad_cam(subject.model, examples, head.output, best)
    points = saliency(subject.model, examples, head.output, best)
    cards = []
    for place, number in enumerate(best):
        for name, images in examples.items():
            pictures = [("picture", shrunk(picture(images[place]), _SIDE))]
            if name in heat:
                pictures.append(("Grad-CAM", shrunk(overlay(images[place], heat[name][place]), _SIDE)))
            pictures.append(("saliency", shrunk(spotted(points[name][place]), _SIDE)))
            note = name if len(examples) > 1 else ""
            cards.append(Card(f"{labels[number]} {answers[place, number]:.0%}", tuple(pictures), note))
    return cards


def examples_of(subject: Subject) -> Pictures:
    """The pictures that a record chose; else the first golden ones, as the model gets them."""
    if subject.record.examples is not None:
        return subject.record.examples.pictures
    return {
        spec.input: np.stack([decode(encoded, spec) for encoded in subject.golden[spec.input][:_EXAMPLES]])
        for spec in subject.manifest.preprocessing
    }


def _count(examples: Pictures) -> int:
    return len(next(iter(examples.values())))


def _not_walked(subject: Subject) -> Missing | None:
    if subject.model is None:
        return Missing(subject.why_no_model)
    if not has_graph(subject.model):
        return Missing("The model is Python code of its own and has no graph of layers to look into.")
    return None
