"""Files that bring code along, or that name other files, are refused before any loader sees them."""

import json
import re
import sys
import types
import zipfile

import h5py
import keras
import keras_models
import numpy as np
import onnx
import pytest
import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session

from training.errors import ModelUnreadable
from training.foreign import keras_file
from training.foreign.reading import read
from training.refusing import graph_code, keras_code

layers = keras.layers
pytestmark = pytest.mark.usefixtures("no_loader")

RUN = []
"""What a file's code leaves behind where it is run."""


@pytest.fixture
def no_loader(monkeypatch):
    """Any loader that sees a file fails the test: Keras's own, and tf-keras, whose stand-in is installed."""

    def load_model(*_, **__):
        pytest.fail("a loader has seen the file")

    reader = types.ModuleType("tf_keras")
    reader.models = types.SimpleNamespace(load_model=load_model)
    monkeypatch.setitem(sys.modules, "tf_keras", reader)
    monkeypatch.setattr(keras.saving, "load_model", load_model)
    monkeypatch.setattr(tf.saved_model, "load", load_model)


def plain():
    return layers.Lambda(lambda x: RUN.append(1) or x)


def flat():
    return keras.Sequential([keras.Input((8, 8, 3)), plain(), layers.Flatten(), layers.Dense(2)])


def nested():
    inner = keras.Sequential([keras.Input((8, 8, 3)), plain()])
    return keras.Sequential([keras.Input((8, 8, 3)), keras.Sequential([inner]), layers.Flatten(), layers.Dense(2)])


def wrapped():
    return keras.Sequential(
        [keras.Input((8, 8, 3)), layers.TimeDistributed(plain()), layers.Flatten(), layers.Dense(2)]
    )


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("make", [flat, nested, wrapped])
def test_a_lambda_is_refused_wherever_it_is(tmp_path, make, suffix):
    file = keras_models.save(make(), tmp_path / f"m{suffix}")
    RUN.clear()
    for opening in (read, keras_file.load):
        with pytest.raises(
            ModelUnreadable, match=r"has a Lambda layer 'lambda\w*', which is code that came with the file and is never"
        ):
            opening(file)
    assert RUN == []


def of_entry(path, entry):
    """A file with this in the configuration of a layer that wraps another."""
    config = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Bidirectional", "config": entry}]}}
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
    else:
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = json.dumps(config)
    return path


def node(operator):
    return {"class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": operator}}}


ENTRIES = {
    "a Lambda layer, which is code": {"layer": {"class_name": "mine>Lambda", "config": {}}},
    "a lambda, which is code": {"activation": {"class_name": "__lambda__", "config": {"code": "4wEA"}}},
    "a TorchModuleWrapper layer 't', which is": {"class_name": "TorchModuleWrapper", "config": {"name": "t"}},
    "a TFOpLambda layer 'w', which calls TensorFlow's io.write_file": {
        "class_name": "TFOpLambda",
        "config": {"name": "w", "function": "io.write_file"},
    },
    "which calls TensorFlow's compat.v1.py_func": {
        "class_name": "SlicingOpLambda",
        "config": {"function": "compat.v1.py_func"},
    },
    "which calls TensorFlow's keras.Model": {"class_name": "ClassMethod", "config": {"cls_symbol": "keras.Model"}},
    "an? InstanceMethod layer, which calls numpy": {"class_name": "InstanceMethod", "config": {"attr_name": "numpy"}},
    "which calls TensorFlow's random.fixed_unigram_candidate_sampler": {
        "class_name": "TFOpLambda",
        "config": {"function": "random.fixed_unigram_candidate_sampler"},
    },
    "a TensorFlowOpLayer layer, which runs WriteFile": node("WriteFile"),
    "a TensorFlowOpLayer layer, which runs EagerPyFunc": node("EagerPyFunc"),
    "a TensorFlowOpLayer layer, which runs a graph": {"class_name": "TensorFlowOpLayer", "config": {"node_def": "b"}},
    "whose vocabulary is a file on this machine, /etc/passwd": {
        "class_name": "StringLookup",
        "config": {"name": "s", "vocabulary": "/etc/passwd"},
    },
    "'system' is not a layer of Keras; give --custom os:system": {
        "activation": {"class_name": "function", "config": "system", "module": "os", "registered_name": "system"}
    },
    "'Net', registered as 'mine>Net', is not a layer of Keras; give --custom my.nets:Net": {
        "class_name": "Net",
        "config": {},
        "module": "my.nets",
        "registered_name": "mine>Net",
    },
    "'os.system' is not a layer of Keras": {
        "initializer": {"class_name": "function", "config": "os.system", "module": "keras.src.utils.io_utils"}
    },
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("said", ENTRIES)
def test_what_could_run_is_named(tmp_path, said, suffix):
    with pytest.raises(ModelUnreadable, match=rf"m\{suffix}: .*{said}"):
        read(of_entry(tmp_path / f"m{suffix}", ENTRIES[said]))


@pytest.mark.parametrize(
    "entry",
    [
        {"class_name": "TFOpLambda", "config": {"function": "math.truediv"}},
        {"class_name": "SlicingOpLambda", "config": {"function": "__operators__.getitem"}},
        {"class_name": "TFOpLambda", "config": {"function": "compat.v1.nn.bias_add"}},
        {"class_name": "TFOpLambda", "config": {"function": "einsum"}},
        {"class_name": "TFOpLambda", "config": {"function": "roll"}},
        {"class_name": "TFOpLambda", "config": {"function": "random.normal"}},
        node("AddV2"),
        {"class_name": "function", "config": "relu", "module": "builtins", "registered_name": "function"},
        {"class_name": "StringLookup", "config": {"vocabulary": ["a", "b"]}},
    ],
)
def test_arithmetic_and_functions_of_keras_are_let_through(tmp_path, entry):
    with pytest.raises(pytest.fail.Exception, match="a loader has seen the file"):
        read(of_entry(tmp_path / "m.h5", entry))


def test_a_vocabulary_is_a_file_only_to_layers_that_are_not_the_users(tmp_path):
    file = of_entry(tmp_path / "m.keras", {"class_name": "Words", "config": {"vocabulary": "english"}})
    keras_code.refuse_code(file, {"Words": keras.layers.Layer})
    with pytest.raises(ModelUnreadable, match="whose vocabulary is a file on this machine, english"):
        keras_code.refuse_code(file, {})


@pytest.mark.parametrize(
    "entry",
    [
        {"class_name": "function", "module": "builtins"},
        node(["AddV2"]),
    ],
)
def test_a_damaged_configuration_is_one_sentence(tmp_path, entry):
    with pytest.raises(ModelUnreadable, match=r"m\.keras: Keras can't read it: (Key|Type)Error: "):
        keras_code.refuse_code(of_entry(tmp_path / "m.keras", entry), {})


def test_what_is_wrong_with_the_graph_of_a_keras_2_model_is_said_as_it_is(tmp_path, monkeypatch):
    """That tf-keras could read the file does not make it Keras's fault."""

    def refuse(*_, **__):
        raise ModelUnreadable("its graph has the operator WriteFile")

    model = types.SimpleNamespace(export=lambda _: None)
    monkeypatch.setattr(sys.modules["tf_keras"].models, "load_model", lambda *_, **__: model)
    monkeypatch.setattr(keras_file, "_load", lambda *_: 1 / 0)
    monkeypatch.setattr(keras_file.saved_model, "read_for", refuse)
    with pytest.raises(ModelUnreadable, match=r"^its graph has the operator WriteFile$"):
        read(of_entry(tmp_path / "m.h5", {}))


def linked(file, secret):
    file["weights"] = h5py.ExternalLink(str(secret), "/kernel")


def external(file, secret):
    file.create_group("layer").create_dataset("kernel", (2,), "f4", external=[(str(secret), 0, 8)])


def virtual(file, secret):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "kernel", (2,))
    file.create_virtual_dataset("kernel", layout)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("make", [linked, external, virtual])
def test_weights_that_lie_in_another_file_are_refused(tmp_path, make, suffix):
    weights = tmp_path / "model.weights.h5"
    with h5py.File(weights, "w") as file:
        file.attrs["model_config"] = "{}"
        file["cycle"] = file["/"]
        make(file, tmp_path / "secret")
    if suffix == ".keras":
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
            archive.write(weights, weights.name)
            archive.writestr("config.json", "{}")
    with pytest.raises(ModelUnreadable, match="lies in another file; save the model again"):
        read(tmp_path / "m.keras" if suffix == ".keras" else weights)


@pytest.mark.parametrize("name", ["../evil.py", "assets/../../evil.py", "/evil.py"])
def test_an_archive_that_reaches_outside_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr(name, "x")
        archive.writestr("config.json", "{}")
    with pytest.raises(ModelUnreadable, match=f"it holds '{name}', a path outside of it"):
        read(tmp_path / "m.keras")


def python(pixels):
    tf.numpy_function(lambda x: x, [pixels], tf.float32)


def write(pixels):
    tf.cond(tf.reduce_sum(pixels) > 0, lambda: tf.io.write_file("out", "x"), tf.no_op)


def printed(_):
    tf.print("x", output_stream="file://out")


def save(_):
    tf.raw_ops.SaveV2(prefix="out", tensor_names=["x"], shape_and_slices=[""], tensors=[tf.constant(1.0)])


def written_by_a_dataset(_):
    tf.raw_ops.DatasetCardinality(input_dataset=tf.raw_ops.DatasetFromGraph(graph_def="a graph that writes"))


def read_into_a_table(_):
    table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
    tf.raw_ops.InitializeTableFromTextFileV2(table_handle=table, filename="/etc/passwd", key_index=-2, value_index=-1)


def saved_in_a_branch(pixels):
    tf.cond(tf.reduce_sum(pixels) > 0, lambda: save(pixels), lambda: None)


@pytest.mark.parametrize(
    ("effect", "operator"),
    [
        (python, r"(Eager)?PyFunc"),
        (write, "WriteFile"),
        (printed, "PrintV2"),
        (save, "SaveV2"),
        (saved_in_a_branch, "SaveV2"),
        (written_by_a_dataset, "Dataset(FromGraph|Cardinality)"),
        (read_into_a_table, "InitializeTableFromTextFileV2"),
    ],
)
def test_a_graph_that_reaches_outside_is_refused(tmp_path, effect, operator):
    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, name="pixels")])
    def classes(pixels):
        effect(pixels)
        return {"classes": tf.reshape(pixels, (-1, 192))}

    module = tf.Module()
    module.weight = tf.Variable(1.0)  # which the file's own functions save and restore
    module.classes = classes
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": classes})
    with pytest.raises(ModelUnreadable, match=rf"its graph has the operator {operator} \(at .*write the model again"):
        read(tmp_path)


def saved_by_tensorflow_1(folder, *, writes, sparse=False):
    """A model that may write before it gives its classes, or before a sparse output beside them."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        pixels = v1.placeholder(tf.float32, (None, 8, 8, 3))
        weights = v1.get_variable("w", (192, 2), initializer=v1.zeros_initializer())
        saves = (
            [tf.raw_ops.SaveV2(prefix="o", tensor_names=["x"], shape_and_slices=[""], tensors=[tf.constant(1.0)])]
            if writes
            else []
        )
        with tf.control_dependencies(() if sparse else saves):
            outputs = {"classes": tf.nn.softmax(tf.reshape(pixels, (-1, 192)) @ weights)}
        with tf.control_dependencies(saves):
            parts = map(tf.identity, (tf.constant([[0]], tf.int64), tf.constant([1.0]), tf.constant([1], tf.int64)))
            outputs |= {"also": tf.SparseTensor(*parts)} if sparse else {}
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def({"pixels": pixels}, outputs)
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return folder


@pytest.mark.parametrize("sparse", [False, True])
def test_graphs_of_tensorflow_1_may_only_write_where_they_save(tmp_path, sparse):
    with pytest.raises(ModelUnreadable, match="its graph has the operator SaveV2"):
        read(saved_by_tensorflow_1(tmp_path / "m", writes=True, sparse=sparse))
    with pytest.raises(pytest.fail.Exception, match="a loader has seen the file"):
        read(saved_by_tensorflow_1(tmp_path / "harmless", writes=False, sparse=sparse))


def test_a_function_that_may_stand_in_for_another_does_not_save(tmp_path):
    """TensorFlow's optimiser swaps functions that say that they implement the same, whether they are called or not."""

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, name="pixels")])
    def classes(pixels):
        return {"classes": tf.reshape(pixels, (-1, 192))}

    tf.saved_model.save(tf.Module(), str(tmp_path), signatures={"serving_default": classes})
    file = tmp_path / "saved_model.pb"
    model = tf.__internal__.saved_model.parse_saved_model(str(tmp_path))
    function = model.meta_graphs[0].graph_def.library.function.add()
    function.signature.name = "other"
    function.node_def.add(name="save", op="SaveV2")
    graph_code.refuse_code(file, model)
    function.attr["api_implements"].s = b"the same"
    with pytest.raises(ModelUnreadable, match="SaveV2"):
        graph_code.refuse_code(file, model)


OUTER = re.compile(
    r"file|(^|_)(path|prefix|prefixes|dir|directory|address|region|urls?|uri|protocol|server|descriptor|graph|graph_def|"
    r"module|program)(_|$)"
)
"""How TensorFlow names arguments and attributes that tell a place outside of the graph, or hold another graph."""


def test_no_operator_of_tensorflow_that_takes_a_place_or_a_graph_is_let_through():
    operators = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    outer = {each.name for each in operators.op if any(OUTER.search(a.name) for a in (*each.input_arg, *each.attr))}
    assert {"SaveV2", "ReadFile", "DatasetFromGraph", "ImmutableConst", "DecodeProtoV2", "DumpTensor"} <= outer
    let = {name for name in outer if not graph_code.is_refused(name)}
    assert let == {"XlaCallModule"}  # arithmetic as JAX writes it, for XLA


@pytest.mark.parametrize("place", ["../secret", "{}/secret", "link"])
def test_onnx_weights_lie_beside_the_file(tmp_path, place):
    """ONNX's own reader sees to it; a release of it that no longer did would fail here."""
    np.zeros(12, np.float32).tofile(tmp_path / "secret")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "link").symlink_to(tmp_path / "secret")
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[3, 4], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": place.format(tmp_path), "offset": "0", "length": "48"}.items():
        tensor.external_data.add(key=key, value=value)
    values = [onnx.helper.make_tensor_value_info(name, 1, [None, size]) for name, size in (("x", 3), ("y", 4))]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [tensor]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    (tmp_path / "m" / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelUnreadable, match=r"m\.onnx: it can't be read as ONNX: "):
        read(tmp_path / "m" / "m.onnx")
