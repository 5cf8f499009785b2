"""The whole way from a configuration to a published version, on one page.

Nothing of a run can be seen in the repository before its last line: everything is written into a staging folder, and a
run that fails or is stopped leaves nothing behind. Called by `training.cli`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from bundle.manifest import SCHEMA_VERSION, Head, Manifest, Preprocessing, Variant
from bundle.store import Bundle, publish, staging
from training import architectures, replay
from training.config import TrainingConfig
from training.datasets import Dataset
from training.evaluate import Evaluation, decoded, evaluate
from training.export import export
from training.golden import write_golden
from training.parity import EXAMPLES, TOLERANCE, prove
from training.provenance import provenance
from training.report.collect import collect
from training.report.make import make_report
from training.report.record import FOLDER as REPORT
from training.report.record import write_record
from training.tasks import FIXED_SEED, HeadSpec, Task
from training.train import Trained, train


def train_and_publish(
    config: TrainingConfig,
    dataset: Dataset,
    repository: Path,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Trains, exports, proves and measures a model and publishes it as the next version of `config.name`.

    `say` is told what comes next, one sentence a step. Raises ConfigInvalid and PublishError (for a repository that
    can't be written) before any training, TrainingDiverged, ExportUnfaithful.
    """
    task = architectures.task_of(config.architecture, dataset)
    with staging(repository, config.name) as folder:
        say(f"training {config.architecture} on {len(dataset.limited(config.limit).train):,} pictures")
        trained = train(config, dataset)
        say("exporting to SavedModel and ONNX")
        signature = export(trained.model, folder, say)
        formats = replay.formats_in(folder)
        say("comparing what was exported with Keras, each format in a process of its own")
        preprocessing = _preprocessing(dataset, task)
        examples = task.examples(dataset.test, FIXED_SEED)[:EXAMPLES]
        parity = prove(trained.model, folder, decoded(examples, dataset.test, preprocessing))
        say(f"classifying {len(dataset.test):,} test pictures from encoded files with the exported model")
        evaluations = evaluate(replay.open_format(formats[0], folder), dataset.test, task, preprocessing)
        golden = write_golden(trained.model, folder, dataset.test, task, preprocessing)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            signature=signature,
            preprocessing=preprocessing,
            heads=write_labels(folder, task.heads),
            variants=_variants(formats, evaluations[task.heads[0].name].accuracy),
            golden=golden,
            provenance=provenance(config, dataset.digest),
            metrics=_metrics(trained, evaluations),
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
        )
        write_record(folder, record, {head.name: head.labels for head in task.heads}, trained.model)
        make_report(Bundle(folder, manifest), folder / REPORT, config.name)
        return publish(folder, manifest, repository, config.name)


def write_labels(folder: Path, heads: Sequence[HeadSpec]) -> tuple[Head, ...]:
    """Writes `labels/` into the version's folder and gives what the manifest says of the heads."""
    (folder / "labels").mkdir()
    for head in heads:
        (folder / _labels_path(head)).write_text("".join(f"{label}\n" for label in head.labels), encoding="utf-8")
    return tuple(
        Head(name=head.name, output=head.output, activation="softmax", labels=_labels_path(head)) for head in heads
    )


def _labels_path(head: HeadSpec) -> str:
    return f"labels/{head.name}.txt"


def _preprocessing(dataset: Dataset, task: Task) -> tuple[Preprocessing, ...]:
    height, width, channels = dataset.image_shape
    return tuple(
        Preprocessing(input=name, height=height, width=width, channels=1 if channels == 1 else 3)
        for name in task.inputs
    )


def _variants(formats: Sequence[str], accuracy: float) -> tuple[Variant, ...]:
    """The first format's accuracy was measured; parity has shown that the others give the same answers."""
    files = {
        "onnx": Variant(name="onnx", format="onnx", path=replay.PATHS["onnx"], tolerance=TOLERANCE),
        "saved_model": Variant(
            name="saved_model", format="saved_model", path=replay.PATHS["saved_model"], tolerance=TOLERANCE
        ),
    }
    measured, *others = (files[name] for name in formats)
    return msgspec.structs.replace(measured, accuracy=accuracy), *others


def _metrics(trained: Trained, evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
    """The main head's accuracy is the model's; the others' have their names."""
    main, *others = evaluations
    return {
        "test_accuracy": evaluations[main].accuracy,
        **{f"{head}_test_accuracy": evaluations[head].accuracy for head in others},
        "validation_accuracy": trained.history["val_accuracy"][trained.best_epoch],
        "validation_loss": trained.history["val_loss"][trained.best_epoch],
        "training_seconds": round(trained.seconds, 1),
    }
