"""The reference models: published once into a folder of their own, with the weights they are drawn with.

Nothing here is trained, since speed does not depend on what a model knows. Two things would falsify it: batch
normalisation that was never run makes denormal numbers, which slow every runtime, so its statistics come from data;
and answers that are all the same would hide a mixed-up batch, which the golden samples then could not notice. Called by
`benchmarks.__main__`; imports TensorFlow only where a model has to be made.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bundle import publishing, store
from bundle.errors import BundleNotFound
from bundle.manifest import SCHEMA_VERSION, Golden, Head, Manifest, Preprocessing, Provenance, Variant
from bundle.preprocessing import decode
from bundle.store import Bundle

if TYPE_CHECKING:
    import keras

SEED = 7
GOLDEN_PICTURES = 16


class Reference(NamedTuple):
    """A model to measure: how it is made, what its pictures are made into, and a picture as a user would send it."""

    build: Callable[[], keras.Model]
    preprocessing: Preprocessing
    picture: Callable[[int], bytes]


def reference(name: str, folder: Path) -> Bundle:
    """The published reference model of that name, made where it is not there yet; each in a repository of its own."""
    repository = folder / name
    try:
        return store.open_bundle(store.resolve(repository / name))
    except BundleNotFound:
        return _publish(name, REFERENCES[name], repository)


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


def mobilenet() -> keras.Model:
    """MobileNetV2 (Sandler et al., 2018) for 224x224 colour and 1,000 classes, its statistics taken from pictures."""
    from keras import Input, Sequential, applications, layers

    backbone = applications.MobileNetV2(weights=None)
    model = Sequential([Input((224, 224, 3), dtype="uint8", name="image"), layers.Rescaling(1 / 127.5, -1), backbone])
    pictures = np.stack([decode(photo(seed), REFERENCES["mobilenet"].preprocessing) for seed in range(16)])
    normalisations = [layer for layer in backbone.layers if isinstance(layer, layers.BatchNormalization)]
    for layer in normalisations:
        layer.momentum = 0.0  # one batch replaces the statistics
    model(pictures, training=True)
    return model


def thumbnail(seed: int) -> bytes:
    """A PNG of 28x28 grey pixels."""
    return _encoded(_clouds(seed, 28, 28)[:, :, 0], "PNG")


def photo(seed: int) -> bytes:
    """A JPEG of 500x375 pixels, about as large as a photo of that size is."""
    return _encoded(_clouds(seed, 375, 500), "JPEG")


def _clouds(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Noise that is rough and smooth at once, its power falling with the frequency as in photos; [height, width, 3]."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))[..., None]
    noise = np.fft.fft2(random.normal(size=(height, width, 3)), axes=(0, 1)) / np.maximum(frequency, 1 / width)
    waves = np.fft.ifft2(noise, axes=(0, 1)).real
    pixels: NDArray[np.uint8] = np.clip(127 + 60 * waves / waves.std(), 0, 255).astype(np.uint8)
    return pixels


def _encoded(pixels: NDArray[np.uint8], kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, quality=85)
    return file.getvalue()


REFERENCES = {
    "small": Reference(small, Preprocessing(input="image", height=28, width=28, channels=1), thumbnail),
    "mobilenet": Reference(mobilenet, Preprocessing(input="image", height=224, width=224, channels=3), photo),
}


def _publish(name: str, chosen: Reference, repository: Path) -> Bundle:
    import keras

    from training.export import export
    from training.replay import PATHS

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    keras.utils.set_random_seed(SEED)
    model = chosen.build()
    with publishing.staging(repository, name) as folder:
        signature = export(model, folder)
        golden = _write_golden(model, folder, chosen)
        (folder / "labels").mkdir()
        (output,) = signature.outputs
        classes = output.shape[1] or 0
        (folder / "labels/class.txt").write_text("".join(f"class {index}\n" for index in range(classes)))
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            signature=signature,
            preprocessing=(chosen.preprocessing,),
            heads=(Head(name="class", output=output.name, activation="softmax", labels="labels/class.txt"),),
            variants=(Variant(name="onnx", format="onnx", path=PATHS["onnx"]),),
            golden=Golden(images={chosen.preprocessing.input: golden}, outputs="golden/outputs.npz"),
            provenance=Provenance(created=datetime.now(UTC).isoformat(timespec="seconds"), config={"model": name}),
        )
        return publishing.publish(folder, manifest, repository, name)
    raise AssertionError("a staging folder swallows nothing")


def _write_golden(model: keras.Model, folder: Path, chosen: Reference) -> tuple[str, ...]:
    from training.asking import predict

    suffix = {b"\x89": "png", b"\xff": "jpg"}[chosen.picture(0)[:1]]
    files = {f"golden/{number:02}.{suffix}": chosen.picture(100 + number) for number in range(GOLDEN_PICTURES)}
    pixels = np.stack([decode(picture, chosen.preprocessing) for picture in files.values()])
    (folder / "golden").mkdir()
    for path, picture in files.items():
        (folder / path).write_bytes(picture)
    answers = predict(model, {chosen.preprocessing.input: pixels})
    np.savez(folder / "golden/outputs.npz", allow_pickle=False, **answers)
    return tuple(files)
