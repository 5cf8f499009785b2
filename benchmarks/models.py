"""The reference models: made once and published into a folder of their own, with the pictures they are asked about.

The small one is not trained, since speed does not depend on what a model knows; answers that were all the same would
hide a mixed-up batch, so its pictures are all different. MobileNetV2 is trained (`mobilenet`), because of its
variants it must be said how often they answer alike. Called by `benchmarks.__main__`; imports TensorFlow only where a
model has to be made.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.photos import clouds
from bundle import publishing, store
from bundle.errors import BundleNotFound
from bundle.manifest import SCHEMA_VERSION, Golden, Head, Manifest, Preprocessing, Provenance, Variant
from bundle.preprocessing import decode
from bundle.store import Bundle

if TYPE_CHECKING:
    import keras

SEED = 7
GOLDEN_PICTURES = 16

_SMALL = Preprocessing(input="image", height=28, width=28, channels=1)


def reference(name: str, folder: Path) -> Bundle:
    """The published reference model of that name, made where it is not there yet; each in a repository of its own."""
    repository = folder / name
    try:
        return store.open_bundle(store.resolve(repository / name))
    except BundleNotFound:
        import keras

        logging.getLogger("tf2onnx").setLevel(logging.ERROR)
        keras.utils.set_random_seed(SEED)
        return _MAKERS[name](repository)


def small() -> keras.Model:
    """28x28 grey, ten classes, 173,482 parameters: two convolutions, two dense layers, no normalisation."""
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input((28, 28, 1), dtype="uint8", name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(96, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def thumbnail(seed: int) -> bytes:
    """A PNG of 28x28 grey pixels, for the small model."""
    file = io.BytesIO()
    Image.fromarray(clouds(seed, 28, 28)[:, :, 0]).save(file, "PNG")
    return file.getvalue()


def photos(folder: Path) -> list[bytes]:
    """The test photos of MobileNetV2, JPEG of 500x375, as they were written into the folder when it was made."""
    files = sorted((folder / "photos").glob("*.jpg"))
    if not files:
        raise SystemExit(f"make bench: {folder} holds no photos of its MobileNetV2; remove it, to make both anew")
    return [path.read_bytes() for path in files]


def _small(repository: Path) -> Bundle:
    from training.export import export

    model = small()
    with publishing.staging(repository, "small") as folder:
        signature = export(model, folder)
        (output,) = signature.outputs
        (folder / "labels").mkdir()
        (folder / "labels/class.txt").write_text("".join(f"class {number}\n" for number in range(10)))
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            signature=signature,
            preprocessing=(_SMALL,),
            heads=(Head(name="class", output=output.name, activation="softmax", labels="labels/class.txt"),),
            variants=(Variant(name="onnx", format="onnx", path="model.onnx"),),
            golden=_golden(model, folder),
            provenance=Provenance(created=datetime.now(UTC).isoformat(timespec="seconds"), config={"model": "small"}),
        )
        return publishing.publish(folder, manifest, repository, "small")
    raise AssertionError("a staging folder swallows nothing")


def _golden(model: keras.Model, folder: Path) -> Golden:
    from training.asking import predict

    files = {f"golden/{number:02}.png": thumbnail(100 + number) for number in range(GOLDEN_PICTURES)}
    pixels = np.stack([decode(picture, _SMALL) for picture in files.values()])
    (folder / "golden").mkdir()
    for path, picture in files.items():
        (folder / path).write_bytes(picture)
    np.savez(folder / "golden/outputs.npz", allow_pickle=False, **predict(model, {_SMALL.input: pixels}))
    return Golden(images={_SMALL.input: tuple(files)}, outputs="golden/outputs.npz")


def _mobilenet(repository: Path) -> Bundle:
    from benchmarks import mobilenet
    from training.datasets import load

    folder = repository.parent
    return mobilenet.make(load("fashion_mnist", say=print), repository, folder / "photos", folder / "training")


_MAKERS: dict[str, Callable[[Path], Bundle]] = {"small": _small, "mobilenet_v2": _mobilenet}
