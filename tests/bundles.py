"""Real, tiny bundles for tests, made in milliseconds without TensorFlow or ONNX Runtime.

The model is one dense layer over the flattened pixels: small, yet every pixel's place and every row of a batch matters,
so a swapped axis, a wrong resize or a mixed-up batch changes its answer. The golden outputs are computed by NumPy, not
by the runtime under test. Equal arguments give equal bytes. Used by the tests of the service, the jobs and the client.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

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
from bundle.preprocessing import decode
from bundle.publishing import publish, staging
from bundle.store import Bundle

INPUT = "image"
OUTPUT = "probabilities"
HEAD = "class"
LABELS = ("red", "green", "blue")


def make_bundle(
    repository: Path,
    name: str = "tiny",
    *,
    version: int | None = None,
    labels: tuple[str, ...] = LABELS,
    seed: int = 0,
    golden: int = 4,
    corrupt_golden: bool = False,
    preprocessing: dict[str, Any] | None = None,
    tolerance: float = 1e-4,
    abstain_below: float | None = None,
) -> Bundle:
    """Publishes `<repository>/<name>/<version>` with a model of `len(labels)` classes and returns it.

    `version` None takes the next number. `seed` draws the weights and the golden pictures, so two seeds disagree.
    `golden` counts the golden pictures, at least one: PNGs of the input's size, and a larger JPEG as the last where
    there are two or more. `corrupt_golden` publishes expected outputs that the model does not give. `preprocessing`
    overrides fields of `Preprocessing` (8x8 RGB by default); its height, width and channels also shape the graph.
    """
    spec = Preprocessing(**({"input": INPUT, "height": 8, "width": 8, "channels": 3} | (preprocessing or {})))
    weights, bias = _parameters(spec, len(labels), seed)
    pictures = golden_pictures(spec, golden, seed)
    expected = predict(np.stack([decode(picture, spec) for picture in pictures.values()]), weights, bias)
    if corrupt_golden:
        expected = np.roll(expected, 1, axis=1)
    with staging(repository, name) as staged:
        _write(staged, _graph(spec, weights, bias), labels, pictures, expected)
        manifest = _manifest(spec, labels, tuple(pictures), tolerance=tolerance, seed=seed, abstain_below=abstain_below)
        return publish(staged, manifest, repository, name, version)


def golden_pictures(spec: Preprocessing, count: int, seed: int = 0) -> dict[str, bytes]:
    """Encoded pictures by their path in the bundle; noise, so that no two look alike."""
    random = np.random.default_rng([seed, 1])
    pictures = {}
    for index in range(count):
        is_jpeg = count > 1 and index == count - 1
        scale, kind = (3, "JPEG") if is_jpeg else (1, "PNG")
        shape = (spec.height * scale, spec.width * scale, spec.channels)
        pixels = random.integers(0, 256, shape, dtype=np.uint8)
        pictures[f"golden/{index:02}.{'jpg' if is_jpeg else 'png'}"] = encode(pixels, kind)
    return pictures


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """The bytes of a file of this kind; pixels are uint8 [height, width, 1 or 3]."""
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels).save(stream, kind)
    return stream.getvalue()


def predict(pixels: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """What the graph computes, in float64: uint8 [n, height, width, channels] to float32 [n, classes]."""
    flat = pixels.reshape(len(pixels), -1).astype(np.float64) / 255
    logits = flat @ weights.astype(np.float64) + bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def _parameters(spec: Preprocessing, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([seed, 0])
    pixels = spec.height * spec.width * spec.channels
    # Logits with a standard deviation of about two whatever the size: confident answers, but not all of them one-hot.
    weights = random.normal(0, 4 / np.sqrt(pixels), (pixels, classes))
    weights -= weights.mean(axis=0)  # no class wins on brightness alone
    return weights.astype(np.float32), random.normal(0, 0.1, classes).astype(np.float32)


def _graph(spec: Preprocessing, weights: np.ndarray, bias: np.ndarray) -> bytes:
    nodes = [
        helper.make_node("Cast", [spec.input], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    constants = {"scale": np.float32(1 / 255), "weights": weights, "bias": bias}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(
                spec.input, TensorProto.UINT8, ["batch", spec.height, spec.width, spec.channels]
            )
        ],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", len(bias)])],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _write(
    folder: Path, model: bytes, labels: tuple[str, ...], pictures: dict[str, bytes], expected: np.ndarray
) -> None:
    (folder / "golden").mkdir()
    (folder / "labels").mkdir()
    (folder / "model.onnx").write_bytes(model)
    (folder / "labels" / f"{HEAD}.txt").write_text("".join(f"{label}\n" for label in labels))
    for path, picture in pictures.items():
        (folder / path).write_bytes(picture)
    np.savez(folder / "golden" / "outputs.npz", **{OUTPUT: expected})


def _manifest(
    spec: Preprocessing,
    labels: tuple[str, ...],
    pictures: tuple[str, ...],
    *,
    tolerance: float,
    seed: int,
    abstain_below: float | None,
) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        signature=Signature(
            inputs=(TensorSpec(name=spec.input, dtype="uint8", shape=(None, spec.height, spec.width, spec.channels)),),
            outputs=(TensorSpec(name=OUTPUT, dtype="float32", shape=(None, len(labels))),),
        ),
        preprocessing=(spec,),
        heads=(
            Head(
                name=HEAD,
                output=OUTPUT,
                activation="softmax",
                labels=f"labels/{HEAD}.txt",
                abstain_below=abstain_below,
            ),
        ),
        variants=(Variant(name="fp32", format="onnx", path="model.onnx", tolerance=tolerance, accuracy=1.0),),
        golden=Golden(images={spec.input: pictures}, outputs="golden/outputs.npz"),
        provenance=Provenance(created="2026-01-01T00:00:00+00:00", config={"architecture": "tiny"}, seed=seed),
        metrics={"test_accuracy": 1.0},
    )
