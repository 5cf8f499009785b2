"""What can be seen in a network, as cards: the same pictures for the report and for `convoy show`.

Every function takes a Keras model that has a graph (`walk.has_graph`) and pictures as it gets them.
"""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Head
from training.asking import predict
from training.visualize.attribution import Heat, grad_cam, saliency
from training.visualize.feature_maps import feature_maps, map_tiles
from training.visualize.filters import filter_tiles, first_filters
from training.visualize.maximise import Maximised
from training.visualize.sheet import Card
from training.visualize.tiles import Pixels, grid, overlay, picture, shrunk, spotted
from training.visualize.trace import by_own_names
from training.visualize.words import shape_words, title_of

Pictures = Mapping[str, NDArray[np.uint8]]  # uint8 [n, height, width, channels] by input

GRAD_CAM, SALIENCY = "Grad-CAM", "saliency"

_COLUMNS = 8
_FILTERS = 64
_SIDE = 160  # pixels of a picture that is shown


def plain(pictures: Pictures, place: int) -> tuple[tuple[str, Pixels], ...]:
    """One example's pictures for a card, named by their inputs where there are several."""
    names = {name: name if len(pictures) > 1 else "" for name in pictures}
    return tuple((names[name], shrunk(picture(images[place]), _SIDE)) for name, images in pictures.items())


def filter_cards(model: keras.Model) -> list[Card]:
    """The first layer's filters in one card; none where there is no two-dimensional convolution."""
    first = first_filters(model)
    if first is None:
        return []
    tiles = filter_tiles(first)[:_FILTERS]
    columns = _COLUMNS if len(tiles) <= _FILTERS // 2 else 2 * _COLUMNS  # as wide as a row of the page
    shown = f", {_FILTERS} shown" if len(first.kernels) > _FILTERS else ""
    return [Card(first.path, (("", grid(tiles, columns)),), f"{len(first.kernels)} filters{shown}")]


def maximised_cards(found: Maximised) -> list[Card]:
    """A card for each filter, with its mean activation before and after."""
    each = zip(found.filters, found.pictures, found.before, found.after, strict=True)
    return [
        Card(f"filter {number}", (("", shrunk(picture(pixels), _SIDE)),), f"{before:.2f} to {after:.2f}")
        for number, pixels, before, after in each
    ]


def feature_map_cards(model: keras.Model, pictures: Pictures) -> list[Card]:
    """The first example, then a card for each layer that is shown; none where no layer gives feature maps."""
    cards = []
    for layer in feature_maps(model, pictures):
        tiles = map_tiles(layer)
        note = f"{shape_words(layer.block.shape)}, {len(tiles)} maps shown"
        cards.append(Card(title_of(layer.block), (("", grid(tiles, _COLUMNS)),), note))
    return [Card("picture", plain(pictures, 0)), *cards] if cards else []


def explanation_cards(
    model: keras.Model,
    pictures: Pictures,
    output: str,
    labels: Sequence[str],
    *,
    kinds: Sequence[str] = (GRAD_CAM, SALIENCY),
    answer: int | None = None,
    words: Callable[[float], str] | None = None,
) -> list[Card]:
    """A card for each example and input: the picture, and what speaks for `answer`, else for the best class.

    `words` tell a score, as a percentage unless given. A kind is left out where the model has nothing for it: Grad-CAM
    needs feature maps.
    """
    pictures = by_own_names(model, pictures)
    scores = _by_label(predict(model, pictures)[output], len(labels))
    classes = scores.argmax(axis=1) if answer is None else np.full(len(scores), answer)
    cam = grad_cam(model, pictures, output, classes) if GRAD_CAM in kinds else {}
    points = saliency(model, pictures, output, classes) if SALIENCY in kinds else {}
    cards = []
    for place, number in enumerate(classes):
        title = f"{labels[number]} {(words or percent)(scores[place, number])}"
        for name in pictures:
            note = name if len(pictures) > 1 else ""
            cards.append(Card(title, _explained(pictures[name][place], name, place, cam, points), note))
    return cards


def _by_label(probabilities: NDArray[np.float32], labels: int) -> NDArray[np.float32]:
    """A column for each label: a single sigmoid says only how probable the second of two is."""
    return probabilities if probabilities.shape[1] == labels else np.hstack([1 - probabilities, probabilities])


def _explained(image: Pixels, name: str, place: int, cam: Heat, points: Heat) -> tuple[tuple[str, Pixels], ...]:
    shown = [("picture", shrunk(picture(image), _SIDE))]
    if name in cam:
        shown.append((GRAD_CAM, shrunk(overlay(image, cam[name][place]), _SIDE)))
    if name in points:
        shown.append((SALIENCY, shrunk(spotted(points[name][place]), _SIDE)))
    return tuple(shown)


def percent(probability: float) -> str:
    """A probability in words that never make certainty of what is not."""
    return ">99.9%" if probability > 0.999 else f"{probability:.1%}"  # noqa: PLR2004


def plain_number(score: float) -> str:
    """A score that is no probability."""
    return f"{score:.3g}"


def words_for(head: Head) -> Callable[[float], str]:
    """How a head's scores are told: as percentages where they are probabilities."""
    return plain_number if head.activation == "none" else percent
