"""`convoy publish`: from a model file that Convoy did not make to a published version.

Exit code 2 for a mistake or an open question, 1 for a model that can't be published, each with one sentence. A run that
is stopped, by Ctrl-C or by SIGTERM, leaves nothing behind.
"""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bundle.errors import BundleError
from bundle.publishing import check_place
from training import telling
from training.cli import cleaned_up_on_sigterm
from training.errors import ExportUnfaithful, TrainingError
from training.foreign import counting, deciding, pictures, reading, scaling
from training.foreign.wishes import Wishes, parse_size, read_labels
from training.startup import start_tensorflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.foreign.contract import Contract
    from training.foreign.original import Original
    from training.foreign.publish import Published
    from training.parity import Parity


def publish(
    model: Annotated[Path, typer.Argument(help="A .keras, .h5 or .onnx file or a SavedModel's folder.")],
    *,
    name: Annotated[str, typer.Option(help="The name under which it is served.")],
    labels: Annotated[Path, typer.Option(help="Text file: one label a line, in the order of the classes.")],
    repository: Annotated[Path, typer.Option(help="Where the version is published.")] = Path("models"),
    preprocess: Annotated[
        str | None, typer.Option(help=f"How pixels were scaled in training: {scaling.CHOICES}.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH, where the file leaves it open.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 or 3, where the file leaves it open.")] = None,
    layout: Annotated[Literal["nhwc", "nchw"] | None, typer.Option(help="Where the file leaves it open.")] = None,
    resize: Annotated[
        Literal["stretch", "crop", "pad"], typer.Option(help="How pictures of another shape are brought to the size.")
    ] = "stretch",
    kernel: Annotated[
        Literal["nearest", "box", "bilinear", "bicubic", "lanczos"], typer.Option(help="The filter of the resize.")
    ] = "bilinear",
    crop_fraction: Annotated[
        float, typer.Option(min=0.01, max=1, help="The central part that is used; 0.875 is ImageNet's habit.")
    ] = 1.0,
    golden: Annotated[
        Path | None,
        typer.Option(help="Pictures to prove it with; folders named by label also measure the accuracy."),
    ] = None,
    activation: Annotated[
        Literal["softmax", "sigmoid", "none"] | None, typer.Option(help="What logits get before they are served.")
    ] = None,
    output: Annotated[str | None, typer.Option(help="The output that holds the classes, of several.")] = None,
    head: Annotated[str, typer.Option(help="The name of the classification.")] = "class",
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="The largest difference to the original; 0.0001 unless given.")
    ] = None,
    custom: Annotated[
        list[str] | None, typer.Option(help="module:Name of a Keras class of your own; its module is run.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Publish a model that was trained elsewhere: read it, prove it, make it a version."""
    try:
        with cleaned_up_on_sigterm():
            wishes = Wishes(
                labels=read_labels(labels),
                labels_file=labels,
                preprocess=None if preprocess is None else scaling.parse(preprocess),
                size=None if size is None else parse_size(size),
                channels=channels,
                layout=layout,
                resize=resize,
                kernel=kernel,
                crop_fraction=crop_fraction,
                activation=activation,
                output=output,
                head=head,
            )
            run = _Run(model, wishes, repository, name, golden, tolerance, tuple(custom or ()))
            run.whole(dry_run=dry_run)
    except (TrainingError, BundleError) as error:
        typer.echo(f"convoy publish: {error}", err=True)
        raise typer.Exit(1 if isinstance(error, ExportUnfaithful) else 2) from error


@dataclass(frozen=True, slots=True)
class _Run:
    model: Path
    wishes: Wishes
    repository: Path
    name: str
    golden: Path | None
    tolerance: float | None
    custom: tuple[str, ...]

    def whole(self, *, dry_run: bool) -> None:
        """The heavy libraries are imported last, so that a mistake in the call is said at once."""
        check_place(self.repository, self.name)
        reading.check_path(self.model)
        counting.check_labels(self.model, self.wishes)
        golden = None if self.golden is None else self._golden(self.golden)
        if reading.needs_tensorflow(self.model):
            _say("starting TensorFlow")
            start_tensorflow()
        original = reading.read(self.model, self.custom)
        contract = deciding.decide(original, self.wishes)
        _tell(original, contract)
        if dry_run:
            typer.echo("nothing is published (--dry-run)")
            return
        from training.foreign.publish import publish_foreign

        published = publish_foreign(
            original, contract, self.repository, self.name, golden=golden, tolerance=self.tolerance, say=_say
        )
        _tell_published(published, self.repository, () if golden is None else golden.files)

    def _golden(self, folder: Path) -> pictures.Folder:
        """The user's pictures that can be used, before the minutes that a model may take to load."""
        return pictures.usable(pictures.find(folder, self.wishes.labels), _say)


def _tell(original: "Original", contract: "Contract") -> None:
    spec = contract.preprocessing
    colours = "grey" if spec.channels == 1 else "RGB"
    cut = f", the central {spec.crop_fraction:g}" if spec.crop_fraction < 1 else ""
    typer.echo(f"{original.kind} {original.path}")
    typer.echo(
        f"  takes   {original.input.dtype} {contract.layout}, served as uint8 {spec.height}x{spec.width} {colours}"
    )
    typer.echo(f"  pictures are decoded by Convoy, resize {spec.resize}, {spec.kernel}{cut}")
    for reason in contract.reasons:
        typer.echo(f"  {reason}")
    typer.echo(f"  head {contract.head!r}: {len(contract.labels)} classes, {contract.answer.activation}")


def _tell_published(published: "Published", repository: Path, asked: "Sequence[Path]") -> None:
    for name, proofs in groupby(published.proofs, key=lambda proof: proof.format):
        typer.echo(f"  {_proved(name, list(proofs))}")
    if published.accuracy is not None:
        asked_about = f"{published.pictures:,} labelled golden pictures"
        typer.echo(f"  accuracy {published.accuracy:.4f} on {asked_about}, from encoded bytes")
    for note in published.notes:
        typer.echo(f"  note: {note}")
    typer.echo(f"published {published.bundle.path}")
    for line in telling.what_next(published.bundle, repository, asked):
        typer.echo(line)


def _proved(name: str, proofs: "list[Parity]") -> str:
    sizes = ", ".join(str(proof.batch_size) for proof in proofs)
    worst, same = max(proof.max_difference for proof in proofs), min(proof.agreement for proof in proofs)
    return (
        f"{name} gives the original's answers at batch {sizes}: largest difference {worst:.1e}, same class {same:.1%}"
    )


def _say(sentence: str) -> None:
    typer.echo(f"- {sentence}")
