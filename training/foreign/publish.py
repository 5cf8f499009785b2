"""The whole way from somebody's model file to a published version, on one page.

Nothing can be seen in the repository before the last line, and nothing is left of a run that fails: what training
publishes of its own models and this have the same contract and the same proof. Called by `training.cli_publish`.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle import digests
from bundle.manifest import (
    SCHEMA_VERSION,
    Golden,
    Head,
    Manifest,
    Provenance,
    Signature,
    TensorSpec,
    Variant,
)
from bundle.preprocessing import decode
from bundle.publishing import publish, staging
from bundle.store import Bundle
from training import replay
from training.errors import ExportUnfaithful
from training.foreign import pictures, reference
from training.foreign.contract import INPUT, Contract
from training.foreign.original import Original
from training.foreign.pictures import Folder
from training.foreign.reporting import Shown, evaluated, write_report
from training.labels import write_labels
from training.parity import BATCH_SIZES, TOLERANCE, Parity, compare
from training.provenance import record

_OUTPUTS = "golden/outputs.npz"


@dataclass(frozen=True, slots=True)
class Published:
    """The version, and what the user should be told about it beside the decisions."""

    bundle: Bundle
    proofs: tuple[Parity, ...]
    notes: tuple[str, ...]
    accuracy: float | None
    pictures: int
    """How many labelled pictures the accuracy was measured on."""


def publish_foreign(
    original: Original,
    contract: Contract,
    repository: Path,
    name: str,
    *,
    golden: Folder | None = None,
    tolerance: float | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Published:
    """Wraps, proves and publishes `original` as the next version of `name`.

    `golden` are pictures of the user's own; without them they are made. `tolerance` is the largest difference that any
    score may show; without it, training's own. Raises ExportUnfaithful, ConfigInvalid, PublishError.
    """
    say("asking the original about the golden pictures")
    samples = _samples(original, contract, golden)
    tolerance = samples.usual_tolerance if tolerance is None else tolerance
    with staging(repository, name) as folder:
        say("exporting")
        written = original.write(contract, folder)
        say(f"comparing {' and '.join(written.formats)} with the original, in processes of their own")
        with _fixed_batches_named(original):
            proofs = _prove(folder, samples, written.formats, tolerance)
        labelled = () if golden is None else golden.labelled
        if labelled:
            say(f"classifying {len(labelled):,} labelled pictures")
        evaluation = evaluated(replay.open_format(written.formats[0], folder), contract, labelled)
        accuracy = None if evaluation is None else evaluation.accuracy
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            signature=_signature(contract),
            preprocessing=(contract.preprocessing,),
            heads=(_head(folder, contract),),
            variants=_variants(written.formats, tolerance, accuracy),
            golden=_write_golden(folder, samples),
            provenance=_provenance(original, contract),
            metrics={} if accuracy is None else {"golden_accuracy": accuracy},
        )
        say("drawing the report")
        shown = Shown(proofs, samples.pixels, labelled, evaluation)
        write_report(Bundle(folder, manifest), name, original, contract, shown)
        bundle = publish(folder, manifest, repository, name)
    notes = (*original.notes, *written.left_out, *_doubts(contract, samples, tolerance))
    return Published(bundle, proofs, notes, accuracy, len(labelled))


@contextmanager
def _fixed_batches_named(original: Original) -> Iterator[None]:
    """Says what is the likely reason for a proof that failed where the file takes one batch size only."""
    try:
        yield
    except ExportUnfaithful as error:
        rows = original.input.shape[0]
        if rows is None:
            raise
        raise ExportUnfaithful(
            f"{original.path} is made for batches of exactly {rows} and can't be made to take any number: {error}; "
            "export it again with a dynamic batch"
        ) from error


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """The golden pictures by their paths in the bundle, their pixels, and what the original answers to them."""

    files: dict[str, bytes]
    pixels: NDArray[np.uint8]
    output: str
    answers: NDArray[np.float32]
    seconds: float
    """What the original took for each."""

    @property
    def usual_tolerance(self) -> float:
        """What training allows, for each unit: scores that are no probabilities may be larger than 1."""
        return TOLERANCE * max(1.0, float(np.abs(self.answers).max()))


def _samples(original: Original, contract: Contract, golden: Folder | None) -> _Samples:
    spec = contract.preprocessing
    if golden is None:
        files = pictures.generated(spec)
        pixels = np.stack([decode(picture, spec) for picture in files.values()])
    else:
        chosen = golden.golden()
        pixels = np.stack([pictures.pixels(file, spec) for file in chosen])
        files = pictures.read(chosen)
    began = time.perf_counter()
    answers = reference.expected(original, contract, pixels)
    seconds = (time.perf_counter() - began) / len(answers)
    wrong = int((~np.isfinite(answers)).any(axis=1).sum())
    if wrong:
        raise ExportUnfaithful(
            f"the original answers {wrong} of {len(answers)} pictures with NaN or infinity, so nothing is published; "
            "correct --preprocess or the model"
        )
    if not np.allclose(answers, reference.expected(original, contract, pixels), rtol=0, atol=TOLERANCE):
        raise ExportUnfaithful(
            f"{original.path} answers the same pictures differently each time, so nothing can be proved; a random "
            "layer is active in it, as Keras's model.export leaves it: write it again without that layer"
        )
    return _Samples(files, pixels, contract.output, answers, seconds)


def _prove(folder: Path, samples: _Samples, formats: Sequence[str], tolerance: float) -> tuple[Parity, ...]:
    """Every format at every batch size, the largest one filled."""
    rows = np.arange(max(BATCH_SIZES)) % len(samples.pixels)
    asked, expected = {INPUT: samples.pixels[rows]}, {samples.output: samples.answers[rows]}
    return compare(folder, asked, expected, formats, tolerance=tolerance, original_seconds=samples.seconds)


def _signature(contract: Contract) -> Signature:
    spec = contract.preprocessing
    pixels = TensorSpec(name=INPUT, dtype="uint8", shape=(None, spec.height, spec.width, spec.channels))
    scores = TensorSpec(name=contract.output, dtype="float32", shape=(None, contract.answer.classes))
    return Signature(inputs=(pixels,), outputs=(scores,))


def _head(folder: Path, contract: Contract) -> Head:
    return Head(
        name=contract.head,
        output=contract.output,
        activation=contract.answer.activation,
        labels=write_labels(folder, contract.head, contract.labels),
    )


def _write_golden(folder: Path, samples: _Samples) -> Golden:
    (folder / "golden").mkdir()
    for path, picture in samples.files.items():
        (folder / path).write_bytes(picture)
    np.savez(folder / _OUTPUTS, allow_pickle=False, **{samples.output: samples.answers})
    return Golden(images={INPUT: tuple(samples.files)}, outputs=_OUTPUTS)


def _variants(formats: Sequence[str], tolerance: float, accuracy: float | None) -> tuple[Variant, ...]:
    """The first format's accuracy was measured; the proof has shown that the other gives the same answers."""
    return tuple(
        Variant(
            name=name,
            format="onnx" if name == "onnx" else "saved_model",
            path=replay.PATHS[name],
            tolerance=tolerance,
            accuracy=accuracy if name == formats[0] else None,
        )
        for name in formats
    )


def _provenance(original: Original, contract: Contract) -> Provenance:
    return record(
        {
            "source": original.path.name,
            "source_kind": original.kind,
            "source_sha256": _digest(original.path),
            "preprocess": str(contract.scaling),
            "layout": contract.layout,
            "output": contract.answer.output,
            "activation_added": contract.answer.added,
        }
    )


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of the digests of a folder's files in the order of their paths."""
    if path.is_file():
        return digests.of_file(path).sha256
    of_files = "".join(digests.of_file(path / name).sha256 for name in digests.names_below(path))
    return hashlib.sha256(of_files.encode()).hexdigest()


def _doubts(contract: Contract, samples: _Samples, tolerance: float) -> list[str]:
    """What holds, and still should be looked at."""
    doubts = []
    if float(np.ptp(samples.answers, axis=0).max()) <= 10 * tolerance:
        doubts.append(
            "every golden picture gets nearly the same answer, so the golden samples prove little; give pictures that "
            "the model knows with --golden"
        )
    if len(set(contract.labels)) < len(contract.labels):
        doubts.append("some labels stand in the file twice; clients can't tell these classes apart")
    return doubts
