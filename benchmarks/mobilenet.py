"""The reference MobileNetV2: trained, so that it can be said of a faster variant how often it answers alike.

It learns the `photos` of clothing in two stages: all of it on small photos, where most of the learning costs little,
then at full size. Each stage's weights, and within a stage each epoch's, are kept in a work folder, so a training that
is ended goes on where it was. Called by `models`, in the one run that finds no published model.
"""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from benchmarks.photos import Clothing
from bundle import publishing
from bundle.manifest import SCHEMA_VERSION, Manifest, Preprocessing, Variant
from bundle.preprocessing import decode
from bundle.store import Bundle
from training.datasets import Dataset, Split
from training.errors import VariantRefused
from training.evaluate import evaluate
from training.export import export
from training.golden import write_golden
from training.presets import preset
from training.provenance import provenance
from training.publish import write_heads
from training.replay import PATHS, open_onnx
from training.tasks import CLASS_HEAD
from training.tasks.classification import INPUT, task
from training.train import untrained
from training.variants import Gate, int8_variant

NAME = "mobilenet_v2"
SIDE = 224
TEST_PHOTOS = 500
CALIBRATION_PHOTOS = 256

_BATCH_SIZE = 32
_WARM_UP = 0.125  # share of a stage's steps
# Of normalisation's running statistics; that of keras.applications, 0.999, takes more steps than there are.
_MOMENTUM = 0.9
_WEIGHT_DECAY = 0.02


@dataclass(frozen=True, slots=True)
class Stage:
    """So many epochs on the first `photos` photos at `side` x `side`, with the learning rate's peak."""

    side: int
    photos: int
    epochs: int
    rate: float


# Of which the network's part is used.
CONFIG = replace(preset("files"), architecture="transfer", backbone="MobileNetV2", weights="none", dropout=0.1)
STAGES = (Stage(96, 2000, 6, 3e-3), Stage(SIDE, 2000, 2, 1e-3))


def make(clothing: Dataset, repository: Path, photos: Path, work: Path) -> Bundle:
    """Trains it on photos of the clothing and publishes it, its test photos in `photos`; `work` is gone afterwards."""
    work.mkdir(parents=True, exist_ok=True)
    print(f"training the reference MobileNetV2, once; what is done of it is kept in {work}")
    network = train(clothing, work)
    bundle = publish(network, in_files(clothing, photos), repository)
    shutil.rmtree(work)
    return bundle


def train(clothing: Dataset, work: Path) -> keras.Model:
    """The trained network, in float32; what `work` keeps of it is not trained again."""
    weights = None
    for number, stage in enumerate(STAGES):
        file = work / f"stage-{number}.weights.h5"
        if not file.exists():
            network = _network(stage.side, clothing, "mixed_bfloat16", weights)
            _fit(network, stage, clothing.train, work / f"stage-{number}")
            network.save_weights(file)
        weights = file
    return _network(SIDE, clothing, "float32", weights)


def in_photos(split: Split, preprocessing: Preprocessing, count: int, folder: Path | None = None) -> Split:
    """The first pictures of a split as photos, decoded; the files are written into `folder` if there is one."""
    clothing = Clothing(split.images, split.labels)
    files = [folder / f"{number:04}.jpg" for number in range(count)] if folder else None

    def pixels(number: int) -> NDArray[np.uint8]:
        photo = clothing.photo(number)
        if files:
            files[number].write_bytes(photo)
        return decode(photo, preprocessing)

    with ThreadPoolExecutor() as threads:  # which encode and decode without Python's lock
        return Split(np.stack(list(threads.map(pixels, range(count)))), split.labels[:count], files)


def preprocessing(side: int) -> Preprocessing:
    """What a server must do with a photo."""
    return Preprocessing(input=INPUT, height=side, width=side, channels=3)


def in_files(clothing: Dataset, folder: Path) -> Dataset:
    """The photos that the exported model is measured on, as files in `folder`, and those that int8 is calibrated on."""
    folder.mkdir(parents=True, exist_ok=True)
    train = in_photos(clothing.train, preprocessing(SIDE), CALIBRATION_PHOTOS)
    test = in_photos(clothing.test, preprocessing(SIDE), TEST_PHOTOS, folder)
    return replace(clothing, train=train, validation=train, test=test)


def publish(network: keras.Model, photos: Dataset, repository: Path) -> Bundle:
    """Exports it, measures it on the test photos, and publishes it with an int8 variant if that is as good."""
    asked, spec = task(photos), photos.preprocessing(INPUT)
    with publishing.staging(repository, NAME) as folder:
        signature = export(network, folder)
        found = evaluate(open_onnx(folder / PATHS["onnx"]), photos.test, asked, (spec,))
        accuracy = found[CLASS_HEAD].accuracy
        print(f"fp32 is right on {accuracy:.1%} of {len(photos.test)} test photos")
        golden = write_golden(network, folder, photos.test, asked, (spec,))
        exact = Variant(name="onnx", format="onnx", path=PATHS["onnx"], accuracy=accuracy)
        int8 = partial(
            int8_variant,
            folder,
            dataset=photos,
            task=asked,
            preprocessing=(spec,),
            golden=golden,
            exact=found,
            pictures=CALIBRATION_PHOTOS,
            gate=Gate(),
        )
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            signature=signature,
            preprocessing=(spec,),
            heads=write_heads(folder, asked.heads),
            variants=(exact, *_unless_refused(int8)),
            golden=golden,
            provenance=provenance(CONFIG, photos.digest),
            metrics={"test_accuracy": accuracy},
        )
        return publishing.publish(folder, manifest, repository, NAME)
    raise AssertionError("a staging folder swallows nothing")


def _unless_refused(make: Callable[[], Variant]) -> tuple[Variant, ...]:
    try:
        variant = make()
    except VariantRefused as error:
        print(f"there will be no int8 variant: {error}")
        return ()
    print(f"int8 is right on {variant.accuracy:.1%} of them, and answers like fp32 on {variant.agreement:.1%}")
    return (variant,)


def _network(side: int, clothing: Dataset, precision: str, weights: Path | None) -> keras.Model:
    blank = Split(np.zeros((1, side, side, 3), np.uint8), clothing.test.labels[:1])
    network = untrained(CONFIG, replace(clothing, train=blank), task(clothing), precision)
    for layer in (layer for part in network.layers for layer in getattr(part, "layers", ())):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _MOMENTUM
    if weights:
        network.load_weights(weights)
    return network


def _fit(network: keras.Model, stage: Stage, split: Split, backup: Path) -> None:
    photos = in_photos(split, preprocessing(stage.side), stage.photos)
    steps = stage.epochs * -(-stage.photos // _BATCH_SIZE)
    warm_up = round(_WARM_UP * steps)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps - warm_up, warmup_target=stage.rate, warmup_steps=warm_up)
    network.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=_WEIGHT_DECAY),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # on a CPU XLA compiles for minutes
    )
    network.fit(
        {INPUT: photos.images},
        photos.labels,
        batch_size=_BATCH_SIZE,
        epochs=stage.epochs,
        verbose=2,
        callbacks=[keras.callbacks.BackupAndRestore(backup)],
    )
