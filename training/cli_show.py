"""`convoy show`: one look into a model, as one PNG file.

The model is a published version, whose own preprocessing reads the pictures, or a Keras file, for which they are
stretched to its input and scaled as the file or `--preprocess` says. Exit code 2 for a mistake or an open question,
with one sentence.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundle.errors import BundleError
from training.errors import NothingToShow, TrainingError
from training.foreign import scaling
from training.foreign.wishes import Wishes, read_labels
from training.startup import start_tensorflow

if TYPE_CHECKING:
    from training.opened import Opened
    from training.visualize.cards import Pictures
    from training.visualize.sheet import Card


class Kind(StrEnum):
    """What can be shown."""

    FEATURE_MAPS = "feature-maps"
    FILTERS = "filters"
    GRAD_CAM = "grad-cam"
    SALIENCY = "saliency"


def show(
    kind: Annotated[Kind, typer.Argument(help="What to look at.")],
    model: Annotated[Path, typer.Argument(help="A published version, a model's folder, or a .keras or .h5 file.")],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE", help="The picture; one for each input, in their order.")
    ] = None,
    *,
    head: Annotated[str | None, typer.Option(help="The head to explain; else the first.")] = None,
    label: Annotated[str | None, typer.Option(help="The answer to explain; else the one that the model gives.")] = None,
    preprocess: Annotated[
        str | None, typer.Option(help=f"Of a file: how pixels were scaled in training: {scaling.CHOICES}.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Of a file: its labels, one a line, in the order of the classes; else numbers.")
    ] = None,
    custom: Annotated[
        list[str] | None, typer.Option(help="module:Name of a Keras class of your own; its module is run.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The PNG file to write; else KIND.png here.")] = None,
) -> None:
    """Draw what a model does with a picture: its feature maps, filters, Grad-CAM or saliency."""
    file = out or Path(f"{kind}.png")
    try:
        wishes = Wishes(
            labels=() if labels is None else read_labels(labels),
            labels_file=labels or Path(),
            preprocess=None if preprocess is None else scaling.parse(preprocess),
        )
        typer.echo("- starting TensorFlow")
        start_tensorflow()

        from training.opened import open_model, read_pictures
        from training.visualize.sheet import sheet
        from training.visualize.style import png

        opened = open_model(model, head, wishes, custom or (), pictures=kind is not Kind.FILTERS)
        pictures = {} if kind is Kind.FILTERS else read_pictures(opened, images or [])
        cards = _cards(kind, opened, pictures, label)
        _write(file, png(sheet(cards, opened.name, has_scale=kind is not Kind.FILTERS)))
    except (BundleError, TrainingError) as error:
        typer.echo(f"convoy show: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"wrote {file}")


def _write(file: Path, picture: bytes) -> None:
    try:
        file.write_bytes(picture)
    except OSError as error:
        raise NothingToShow(f"{file} can't be written: {error.strerror}; give another file by --out") from error


def _cards(kind: Kind, opened: "Opened", pictures: "Pictures", label: str | None) -> "list[Card]":
    from training.visualize import cards

    if kind is Kind.FILTERS:
        found = cards.filter_cards(opened.model)
    elif kind is Kind.FEATURE_MAPS:
        found = cards.feature_map_cards(opened.model, pictures)
    else:
        drawn = cards.GRAD_CAM if kind is Kind.GRAD_CAM else cards.SALIENCY
        found = cards.explanation_cards(
            opened.model,
            pictures,
            opened.output,
            opened.labels,
            kinds=[drawn],
            answer=opened.index_of(label),
            words=cards.percent if opened.gives_shares else cards.plain_number,
        )
        if not any(caption == drawn for card in found for caption, _ in card.pictures):
            found = []
    if not found:
        raise NothingToShow(f"the model has no convolution over pictures, so there is no {kind} to show")
    return found
