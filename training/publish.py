"""The whole way from a configuration to a published version, on one page.

Nothing of a run can be seen in the repository before its last line: everything is written into a staging folder, and a
run that fails or is stopped leaves nothing behind. Called by `training.cli`.
"""

from collections.abc import Callable
from pathlib import Path

from bundle.manifest import (
    SCHEMA_VERSION,
    Golden,
    Head,
    Manifest,
    Preprocessing,
    Signature,
    Variant,
)
from bundle.store import Bundle, publish, staging
from training.config import TrainingConfig
from training.datasets import Dataset
from training.evaluate import Evaluation, evaluate
from training.export import INPUT, OUTPUT, export
from training.golden import write_golden
from training.parity import TOLERANCE, prove
from training.provenance import provenance
from training.replay import ONNX_FILE
from training.report import write_report
from training.train import Trained, train

HEAD = "class"
LABELS = f"labels/{HEAD}.txt"


def train_and_publish(
    config: TrainingConfig,
    dataset: Dataset,
    repository: Path,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Trains, exports, proves and measures a model and publishes it as the next version of `config.name`.

    `say` is told what comes next, one sentence a step. Raises PublishError (for a repository that can't be written
    before any training), TrainingDiverged, ExportUnfaithful.
    """
    with staging(repository, config.name) as folder:
        say(f"training {config.architecture} on {len(dataset.limited(config.limit).train):,} pictures")
        trained = train(config, dataset)
        say("exporting to SavedModel and ONNX")
        signature = export(trained.model, folder)
        say("comparing both with Keras, each in a process of its own")
        parity = prove(trained.model, folder, dataset.test.images)
        say(f"classifying {len(dataset.test):,} test pictures from PNG bytes with the exported model")
        preprocessing = _preprocessing(dataset)
        evaluation = evaluate(folder, dataset.test, preprocessing, OUTPUT)
        golden = write_golden(trained.model, folder, dataset.test, preprocessing, OUTPUT)
        _write_labels(folder, dataset.class_names)
        write_report(folder, trained, evaluation, parity, dataset.class_names)
        manifest = _manifest(
            config=config,
            dataset=dataset,
            signature=signature,
            preprocessing=preprocessing,
            golden=golden,
            trained=trained,
            evaluation=evaluation,
        )
        return publish(folder, manifest, repository, config.name)


def _preprocessing(dataset: Dataset) -> Preprocessing:
    height, width, channels = dataset.image_shape
    return Preprocessing(input=INPUT, height=height, width=width, channels=1 if channels == 1 else 3)


def _write_labels(folder: Path, class_names: tuple[str, ...]) -> None:
    file = folder / LABELS
    file.parent.mkdir()
    file.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")


def _manifest(
    *,
    config: TrainingConfig,
    dataset: Dataset,
    signature: Signature,
    preprocessing: Preprocessing,
    golden: Golden,
    trained: Trained,
    evaluation: Evaluation,
) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        signature=signature,
        preprocessing=(preprocessing,),
        heads=(Head(name=HEAD, output=OUTPUT, activation="softmax", labels=LABELS),),
        variants=(
            Variant(name="onnx", format="onnx", path=ONNX_FILE, tolerance=TOLERANCE, accuracy=evaluation.accuracy),
            # Its accuracy is not measured on its own: parity has shown that it gives the same answers.
            Variant(name="saved_model", format="saved_model", path=".", tolerance=TOLERANCE),
        ),
        golden=golden,
        provenance=provenance(config, dataset.digest),
        metrics={
            "test_accuracy": evaluation.accuracy,
            "validation_accuracy": trained.history["val_accuracy"][trained.best_epoch],
            "validation_loss": trained.history["val_loss"][trained.best_epoch],
            "training_seconds": round(trained.seconds, 1),
        },
    )
