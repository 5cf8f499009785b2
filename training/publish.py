"""The whole way from a configuration to a published version, on one page.

Nothing of a run can be seen in the repository before its last line: everything is written into a staging folder, and a
run that fails or is stopped leaves nothing behind. Called by `training.cli`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from bundle.manifest import SCHEMA_VERSION, Head, Manifest, Preprocessing, Variant
from bundle.publishing import publish, staging
from bundle.store import Bundle
from training import architectures, explain, replay
from training.confidence import Confidence, settle
from training.config import TrainingConfig
from training.datasets import Dataset
from training.errors import VariantRefused
from training.evaluate import Evaluation, decoded, evaluate
from training.export import export
from training.golden import write_golden
from training.labels import write_labels
from training.parity import EXAMPLES, TOLERANCE, prove
from training.provenance import provenance
from training.report.collect import collect
from training.report.make import make_report
from training.report.record import FOLDER as REPORT
from training.report.record import write_record
from training.statistics import statistics
from training.tasks import FIXED_SEED, HeadSpec, Task
from training.train import Logging, Trained, train
from training.variants import Gate, int8_variant

_FEW = 100  # test pictures, of which chance alone may spoil the accuracy


def train_and_publish(
    config: TrainingConfig,
    dataset: Dataset,
    repository: Path,
    say: Callable[[str], None] = lambda _: None,
    logging: Logging | None = None,
    *,
    notes: Sequence[str] = (),
) -> Bundle:
    """Trains, exports, proves and measures a model and publishes it as the next version of `config.name`.

    `say` is told what comes next, one sentence a step; `logging` is where training leaves traces; `notes`, to which
    `say` may add until the end, are sentences for the report. Raises ConfigInvalid and PublishError (for a repository
    that can't be written) before any training, TrainingDiverged, RunUnusable, ExportUnfaithful.
    """
    dataset = dataset.limited(config.limit)
    task = architectures.task_of(config.architecture, dataset)
    with staging(repository, config.name) as folder:
        say(f"training the network {config.architecture!r} on {len(dataset.train):,} pictures")
        trained = train(config, dataset, logging)
        say(f"comparing scores with how often they are right, on {len(dataset.validation):,} validation pictures")
        confidences = settle(
            trained.model,
            task,
            dataset,
            calibrate=config.calibrate,
            abstain_precision=config.abstain_precision,
            say=say,
        )
        say("exporting the model to SavedModel and ONNX, the formats that are served")
        explaining = explain.explaining(trained.model, task.heads) if config.explain else None
        signature = export(trained.model, folder, say, explaining=explaining)
        formats = replay.formats_in(folder)
        say("proving that the exported files give the answers of Keras, each in a process of its own")
        preprocessing = _preprocessing(dataset, task)
        examples = task.examples(dataset.test, FIXED_SEED)[:EXAMPLES]
        pixels = decoded(examples, dataset.test, preprocessing)
        parity = prove(trained.model, folder, pixels, explaining=explaining)
        say(f"measuring the exported model on {len(dataset.test):,} test pictures, read from files as a server does")
        evaluations = evaluate(replay.open_format(formats[0], folder), dataset.test, task, preprocessing)
        _warn_of_chance(evaluations, task, say)
        golden = write_golden(trained.model, folder, dataset.test, task, preprocessing, explaining=explaining)
        variants = _variants(formats, evaluations[task.heads[0].name].accuracy, explain=config.explain)
        if config.int8 and "onnx" in formats:
            count = min(config.int8_pictures, len(dataset.train))
            say(f"making a smaller variant in int8 arithmetic, scaled by what {count:,} training pictures give")
            variants += _unless_refused(
                partial(
                    int8_variant,
                    folder,
                    dataset=dataset,
                    task=task,
                    preprocessing=preprocessing,
                    golden=golden,
                    exact=evaluations,
                    pictures=config.int8_pictures,
                    gate=Gate(config.int8_max_loss, config.int8_min_agreement),
                    explain=replay.EXPLAIN_FILE if config.explain else None,
                ),
                say,
            )
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            signature=signature,
            preprocessing=preprocessing,
            heads=explain.declared(_trusted(write_heads(folder, task.heads), confidences), signature),
            variants=variants,
            golden=golden,
            provenance=provenance(config, dataset.digest),
            statistics=statistics(dataset.train, task, evaluations),
            metrics=_metrics(trained, evaluations, confidences),
        )
        say("drawing the report")
        record = collect(
            folder,
            manifest,
            trained=trained,
            split=dataset.test,
            task=task,
            evaluations=evaluations,
            parity=parity,
            confidences=confidences,
            notes=notes,
        )
        write_record(folder, record, {head.name: head.labels for head in task.heads}, trained.model)
        make_report(Bundle(folder, manifest), folder / REPORT, config.name)
        return publish(folder, manifest, repository, config.name)


def write_heads(folder: Path, heads: Sequence[HeadSpec]) -> tuple[Head, ...]:
    """Writes `labels/` into the version's folder and gives what the manifest says of the heads."""
    return tuple(
        Head(
            name=head.name,
            output=head.output,
            activation="softmax",
            labels=write_labels(folder, head.name, head.labels),
        )
        for head in heads
    )


def _preprocessing(dataset: Dataset, task: Task) -> tuple[Preprocessing, ...]:
    return tuple(dataset.preprocessing(name) for name in task.inputs)


def _variants(formats: Sequence[str], accuracy: float, *, explain: bool) -> tuple[Variant, ...]:
    """The first format's accuracy was measured; parity has shown that the others give the same answers."""
    files = {
        "onnx": Variant(
            name="onnx",
            format="onnx",
            path=replay.PATHS["onnx"],
            tolerance=TOLERANCE,
            explain=replay.EXPLAIN_FILE if explain else None,
        ),
        "saved_model": Variant(
            name="saved_model",
            format="saved_model",
            path=replay.PATHS["saved_model"],
            tolerance=TOLERANCE,
            explain=replay.EXPLAIN_SIGNATURE if explain else None,
        ),
    }
    measured, *others = (files[name] for name in formats)
    return msgspec.structs.replace(measured, accuracy=accuracy), *others


def _warn_of_chance(evaluations: Mapping[str, Evaluation], task: Task, say: Callable[[str], None]) -> None:
    """Says which heads have learnt nothing: a constant answer would be right as often."""
    for head in task.heads:
        found = evaluations[head.name]
        common = int(np.bincount(found.labels).argmax())
        if found.accuracy <= float((found.labels == common).mean()):
            say(
                f"WARNING: head {head.name!r} is right on {found.accuracy:.1%} of the test pictures, no more often "
                f"than always answering {head.labels[common]!r}; train longer (--epochs), in more steps (--batch-size)"
                f"{', or look again with more test pictures' if len(found.labels) < _FEW else ''}"
            )


def _unless_refused(make: Callable[[], Variant], say: Callable[[str], None]) -> tuple[Variant, ...]:
    """The variant, or none where it is refused: the version is as good without it."""
    try:
        variant = make()
    except VariantRefused as error:
        say(f"no int8 variant is published, only the exact model: {error}")
        return ()
    say(
        f"the {variant.name} variant lies beside the exact model: test accuracy {variant.accuracy:.4f}, the same class "
        f"as the exact one on {variant.agreement:.2%} of the test pictures"
    )
    return (variant,)


def _trusted(heads: tuple[Head, ...], confidences: Mapping[str, Confidence]) -> tuple[Head, ...]:
    """The heads with their temperatures and thresholds."""
    return tuple(
        msgspec.structs.replace(
            head,
            temperature=(known := confidences[head.name]).temperature,
            abstain_below=known.threshold.score if known.threshold else None,
        )
        for head in heads
    )


def _metrics(
    trained: Trained, evaluations: Mapping[str, Evaluation], confidences: Mapping[str, Confidence]
) -> dict[str, float]:
    """The main head's figures are the model's; the others' have their names."""
    main, *others = evaluations
    return {
        "test_accuracy": evaluations[main].accuracy,
        **confidences[main].metrics,
        **{f"{head}_test_accuracy": evaluations[head].accuracy for head in others},
        **{f"{head}_{name}": value for head in others for name, value in confidences[head].metrics.items()},
        "validation_accuracy": trained.history["val_accuracy"][trained.best_epoch],
        "validation_loss": trained.history["val_loss"][trained.best_epoch],
        "training_seconds": round(trained.seconds, 1),
    }
