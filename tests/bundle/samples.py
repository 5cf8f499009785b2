"""A manifest and the files that it names, as small as they can be: nothing here is ever run."""

import io
from pathlib import Path

import msgspec
import numpy as np
from pictures import encoded, noise

from bundle.manifest import (
    SCHEMA_VERSION,
    Golden,
    Head,
    Manifest,
    Preprocessing,
    Provenance,
    Signature,
    TensorSpec,
    Variant,
)
from bundle.publishing import publish, staging


def manifest(**changes) -> Manifest:
    sound = Manifest(
        schema_version=SCHEMA_VERSION,
        signature=Signature(
            inputs=(TensorSpec(name="image", dtype="uint8", shape=(None, 4, 4, 3)),),
            outputs=(TensorSpec(name="probabilities", dtype="float32", shape=(None, 3)),),
        ),
        preprocessing=(Preprocessing(input="image", height=4, width=4, channels=3),),
        heads=(Head(name="class", output="probabilities", activation="softmax", labels="labels/class.txt"),),
        variants=(
            Variant(name="fp32", format="onnx", path="model.onnx"),
            Variant(name="saved_model", format="saved_model", path="."),
        ),
        golden=Golden(images={"image": ("golden/0.png", "golden/1.png")}, outputs="golden/outputs.npz"),
        provenance=Provenance(created="2026-11-22T12:00:00Z", config={"epochs": 5, "name": "tiny", "augment": None}),
        metrics={"test_accuracy": 0.9},
    )
    return msgspec.structs.replace(sound, **changes)


def outputs(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def stage(folder: Path) -> None:
    """Writes every file that `manifest()` names."""
    files = {
        "model.onnx": b"a model",
        "saved_model.pb": b"another",
        "variables/variables.index": b"weights",
        "labels/class.txt": "Äpfel\npears\nplums\n".encode(),
        "golden/0.png": encoded(noise(4, 4, seed=0)),
        "golden/1.png": encoded(noise(4, 4, seed=1)),
        "golden/outputs.npz": outputs(probabilities=np.full((2, 3), 1 / 3, np.float32)),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def published(repository: Path, name: str = "fruit", version: int | None = None):
    with staging(repository, name) as folder:
        stage(folder)
        return publish(folder, manifest(), repository, name, version)
