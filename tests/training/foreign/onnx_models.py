"""ONNX models as other people's exporters write them, tiny: a convolution, a dense layer, and what is around them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH = 8, 10
CLASSES = 3
FILTERS = 4


def save(path, **options):
    onnx.save(make(**options), path)
    return path


def make(
    *,
    layout="nchw",
    channels=3,
    batch="N",
    ending=None,
    scaled=False,
    classes=CLASSES,
    opset=17,
    names=("input", "output"),
    reshape=None,
    dtype=TensorProto.FLOAT,
    inner="hidden",
    open_size=False,
):
    """Logits of a model as torch writes it (`layout` "nchw"), as tf2onnx does ("nhwc"), or of grey pictures ("nhw").

    `batch` is a name or a number, `ending` an operator, `reshape` a constant shape in the place of Flatten, `inner` the
    name of a value inside, `scaled` divides by 255 first.
    """
    random = np.random.default_rng(0)
    features = FILTERS * (HEIGHT - 2) * (WIDTH - 2)
    weights = {
        "kernel": random.normal(0, 0.5, (FILTERS, channels, 3, 3)),
        "dense": random.normal(0, 0.3, (features, classes)),
        "bias": random.normal(0, 0.1, classes),
        "of_255": np.array(255.0),
    }
    constants = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    nodes, value = [], names[0]

    def add(operator, *others, name=None, **attributes):
        nonlocal value
        result = name or f"v{len(nodes)}"
        nodes.append(helper.make_node(operator, [value, *others], [result], **attributes))
        value = result

    if dtype == TensorProto.UINT8:
        add("Cast", to=TensorProto.FLOAT)
    if scaled:
        add("Div", "of_255")
    if layout == "nhwc":
        add("Transpose", perm=[0, 3, 1, 2])
    if layout == "nhw":
        constants.append(numpy_helper.from_array(np.array([-1, 1, HEIGHT, WIDTH], np.int64), "with_channel"))
        add("Reshape", "with_channel")
    add("Conv", "kernel", name=inner)
    add("Relu")
    if reshape is None:
        add("Flatten", axis=1)
    else:
        constants.append(numpy_helper.from_array(np.array(reshape, np.int64), "flat"))
        add("Reshape", "flat")
    add("Gemm", "dense", "bias", name=None if ending else names[1])
    if ending:
        add(ending, name=names[1], **({"axis": 1} if ending == "Softmax" else {}))
    rows, columns = ("h", "w") if open_size else (HEIGHT, WIDTH)
    shape = {"nchw": [channels, rows, columns], "nhwc": [rows, columns, channels], "nhw": [rows, columns]}[layout]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info(names[0], dtype, [batch, *shape])],
        [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, [batch, classes])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(path, pictures):
    """The file's own answers, picture by picture, in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [name] = [value.name for value in session.get_inputs()]
    return np.concatenate([session.run(None, {name: picture[np.newaxis]})[0] for picture in pictures])
