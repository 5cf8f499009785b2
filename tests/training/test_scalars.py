"""Constants of a graph get the rank of what they are combined with, and nothing else changes."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from training.scalars import give_scalars_their_rank

PIXELS = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4, 1)


def model() -> onnx.ModelProto:
    """Scales and shifts pictures, and scales their means by the same constant."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Sub", ["shift", "scaled"], ["shifted"]),
        helper.make_node("ReduceMean", ["shifted"], ["means"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["means", "scale"], ["scores"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in (("scale", 1 / 255), ("shift", 0.1), ("row", [1.0, 2.0]))
    ]
    graph = helper.make_graph(
        nodes,
        "pictures",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 3, 4, 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def outputs(of: onnx.ModelProto) -> np.ndarray:
    (found,) = onnxruntime.InferenceSession(of.SerializeToString()).run(None, {"image": PIXELS})
    return np.asarray(found)


def test_scalars_get_a_rank_for_each_use_and_the_results_are_the_same():
    before, after = model(), model()
    give_scalars_their_rank(after)
    onnx.checker.check_model(after, full_check=True)
    shapes = {constant.name: list(constant.dims) for constant in after.graph.initializer}
    assert shapes == {"row": [2], "scale/4d": [1, 1, 1, 1], "shift/4d": [1, 1, 1, 1], "scale/1d": [1]}
    assert outputs(after).tobytes() == outputs(before).tobytes()


def test_a_second_time_changes_nothing():
    once, twice = model(), model()
    give_scalars_their_rank(once)
    for _ in range(2):
        give_scalars_their_rank(twice)
    assert once == twice
