"""A tiny model whose activation maps can be said without running it, published with them.

The last feature map is the mean colour of each cell of 4x4 pixels, and a class weighs the three colours: so the map of
"red" lights up exactly where a picture is red, and NumPy says how much. Used by the tests of service and client.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from bundles import HEAD, INPUT, OUTPUT, encode, golden_pictures
from onnx import TensorProto, helper, numpy_helper

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

MAP = f"{HEAD}_activation_map"
SIDE, CELL = 16, 4
CELLS = SIDE // CELL
LABELS = ("red", "green", "blue", "dark", "bright", "cold", "warm")
# [colours, classes]; wide apart, so that a picture of one colour has a sure answer.
WEIGHTS = np.array(
    [[9, -4, -4, -3, 3, -5, 5], [-4, 9, -4, -3, 3, 1, 1], [-4, -4, 9, -3, 3, 5, -5]],
    np.float32,
)
BIAS = np.array([0.1, 0.2, 0.3, 0, -1, 0, 0], np.float32)


def make_explained(
    repository: Path,
    name: str = "tiny",
    *,
    preprocessing: dict[str, Any] | None = None,
    wrong_maps: float = 0.0,
    tolerance: float = 1e-4,
) -> Bundle:
    """Publishes version 1 of the model. `wrong_maps` is added to the maps that are expected of it."""
    spec = Preprocessing(**({"input": INPUT, "height": SIDE, "width": SIDE, "channels": 3} | (preprocessing or {})))
    pictures = golden_pictures(spec, 4)
    pixels = np.stack([decode(picture, spec) for picture in pictures.values()])
    with staging(repository, name) as folder:
        (folder / "golden").mkdir()
        (folder / "labels").mkdir()
        (folder / "model.onnx").write_bytes(_model(explain=False))
        (folder / "explain.onnx").write_bytes(_model(explain=True))
        (folder / "labels" / f"{HEAD}.txt").write_text("".join(f"{label}\n" for label in LABELS))
        for path, picture in pictures.items():
            (folder / path).write_bytes(picture)
        np.savez(folder / "golden/outputs.npz", **{OUTPUT: scores(pixels), MAP: maps(pixels) + wrong_maps})
        return publish(folder, _manifest(spec, tuple(pictures), tolerance), repository, name)


def maps(pixels: np.ndarray) -> np.ndarray:
    """What the model must explain: uint8 [n, 16, 16, 3] to float32 [n, rows, columns, classes]."""
    cells = pixels.reshape(-1, CELLS, CELL, CELLS, CELL, 3).astype(np.float64).mean(axis=(2, 4)) / 255
    return (cells @ WEIGHTS).astype(np.float32)


def scores(pixels: np.ndarray) -> np.ndarray:
    """What the model must answer, float32 [n, classes]: from the maps, as their definition says."""
    powers = np.exp(maps(pixels).mean(axis=(1, 2), dtype=np.float64) + BIAS)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def square(row: int, column: int, colour: int = 0) -> np.ndarray:
    """Black pixels with one bright cell of a colour."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL, colour] = 255
    return pixels


def square_picture(row: int, column: int, colour: int = 0) -> bytes:
    """The same as a PNG."""
    return encode(square(row, column, colour))


def _model(*, explain: bool) -> bytes:
    nodes = [
        helper.make_node("Cast", [INPUT], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
    ]
    constants = {"scale": np.float32(1 / 255)}
    if explain:
        nodes += [
            helper.make_node("Conv", ["cells", "kernel"], ["places"]),
            helper.make_node("Transpose", ["places"], [MAP], perm=[0, 2, 3, 1]),
        ]
        constants["kernel"] = np.ascontiguousarray(WEIGHTS.T[:, :, np.newaxis, np.newaxis])
    else:
        nodes += [
            helper.make_node("GlobalAveragePool", ["cells"], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
        ]
        constants |= {"weights": WEIGHTS, "bias": BIAS}
    shapes = {OUTPUT: ["batch", len(LABELS)], MAP: ["batch", CELLS, CELLS, len(LABELS)]}
    output = MAP if explain else OUTPUT
    graph = helper.make_graph(
        nodes,
        "explained",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shapes[output])],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _manifest(spec: Preprocessing, pictures: tuple[str, ...], tolerance: float) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        signature=Signature(
            inputs=(TensorSpec(name=INPUT, dtype="uint8", shape=(None, SIDE, SIDE, 3)),),
            outputs=(TensorSpec(name=OUTPUT, dtype="float32", shape=(None, len(LABELS))),),
            explanations=(TensorSpec(name=MAP, dtype="float32", shape=(None, CELLS, CELLS, len(LABELS))),),
        ),
        preprocessing=(spec,),
        heads=(Head(name=HEAD, output=OUTPUT, activation="softmax", labels=f"labels/{HEAD}.txt", activation_map=MAP),),
        variants=(Variant(name="fp32", format="onnx", path="model.onnx", tolerance=tolerance, explain="explain.onnx"),),
        golden=Golden(images={INPUT: pictures}, outputs="golden/outputs.npz"),
        provenance=Provenance(created="2026-01-01T00:00:00+00:00", config={"architecture": "explained"}),
    )
