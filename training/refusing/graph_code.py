"""Refuses TensorFlow graphs that may reach outside of themselves, before anything of them is run.

A graph is a program of TensorFlow's operators; loading a SavedModel runs parts of it. Most operators compute and no
more. Of those that TensorFlow marks as stateful only the ones that a classifier of pictures needs are let be; of the
others, families that read, write or run what lies elsewhere are refused by name. What saves and restores variables is
in every SavedModel and is let be where nothing that is loaded runs it. Called by `foreign.saved_model`, `keras_code`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tensorflow.python.framework import op_def_registry  # TensorFlow's public interface does not tell what is stateful

from training.errors import ModelUnreadable

# Names that TensorFlow marks as stateless although they reach files, servers or code, or hold a graph in a constant.
_OUTSIDE = re.compile(
    r"Dataset|Reader|Snapshot|File(?!name|spec)|PyFunc|Rpc|Remote|Debug|Dump|Abort|Queue|Mlir|CustomCall|"
    r"ImmutableConst|VocabRemapping|(En|De)codeProto|^Copy(Host)?$"
)
# Variables, functions and control flow, tables in memory, random numbers. XlaCallModule is how JAX writes a model.
_NEEDED = re.compile(
    r"VarHandleOp|VarIsInitializedOp|Variable(V2|Shape)?|TemporaryVariable|ReadVariableOp|Assign(Add|Sub)?VariableOp|"
    r"Resource(Gather|Scatter|Apply|SparseApply|StridedSliceAssign|CountUpTo)\w*|DestroyResourceOp|DisableCopyOnRead|"
    r"IsResourceHandleRefCounting|GuaranteeConst|Empty|DeviceIndex|"
    r"StatefulPartitionedCall|If|Case|While|Assert|Print|CheckNumerics(V2)?|TensorArray\w*|Stack\w*|XlaCallModule|"
    r"(Anonymous)?(Mutable(Dense)?)?HashTable(OfTensors)?(V2)?|InitializeTableV2|LookupTable\w+|"
    r"Random(Uniform(Int)?|StandardNormal|Shuffle|Crop|Gamma|Poisson(V2)?)|Multinomial|(Parameterized)?TruncatedNormal|"
    r"Stateful(Uniform\w*|StandardNormal\w*|TruncatedNormal|RandomBinomial)|NonDeterministicInts|Rng(ReadAnd)?Skip|"
    r"StatelessRandomGetAlg|SampleDistortedBoundingBox(V2)?|CudnnRNN\w*"
)
_SAVING = re.compile(r"Save(V2|Slices)?|MergeV2Checkpoints")
_RESTORING = re.compile(r"Restore(V2|Slice)?")
_STREAM = re.compile(rb"|stdout|stderr|log\(\w+\)")  # the first is the default


@cache
def is_refused(operator: str) -> bool:
    """Whether an operator may reach outside of a graph. What TensorFlow does not know it will not run either."""
    definition = op_def_registry.get(operator)
    if definition is None:
        return False
    return _OUTSIDE.search(operator) is not None or (definition.is_stateful and not _NEEDED.fullmatch(operator))


def refuse_code(path: Path, saved_model: Any) -> None:
    """Raises ModelUnreadable, which names the operator; `saved_model` is the SavedModel's protocol buffer."""
    for meta in saved_model.meta_graphs:
        graph = meta.graph_def
        functions = {function.signature.name: function.node_def for function in graph.library.function}
        _refuse(path, [*graph.node, *(node for body in functions.values() for node in body)], _reaches)
        concrete = list(_called((node for name in _callable(meta) for node in functions.get(name, ())), functions))
        of_graph = _called(_needed(graph.node, _asked(meta)), functions)
        _refuse(path, [*concrete, *of_graph], lambda node: _SAVING.fullmatch(node.op) is not None)
        # The graph itself restores the variables where TensorFlow 1 wrote it.
        _refuse(path, concrete, lambda node: _RESTORING.fullmatch(node.op) is not None)


def _reaches(node: Any) -> bool:
    if _SAVING.fullmatch(node.op) or _RESTORING.fullmatch(node.op):
        return False  # judged by where they are
    if node.op == "PrintV2":
        return _STREAM.fullmatch(node.attr["output_stream"].s) is None
    return is_refused(node.op)


def _refuse(path: Path, nodes: Iterable[Any], is_bad: Callable[[Any], bool]) -> None:
    for node in nodes:
        if is_bad(node):
            raise ModelUnreadable(
                f"{path}: its graph has the operator {node.op} (at {node.name}), which may reach files, a network or "
                "code outside of the model and is never run here; write the model again without it"
            )


def _callable(meta: Any) -> Iterator[str]:
    """The functions that a load makes, of which it runs some, and those that may take the place of others."""
    library = meta.graph_def.library
    yield from (function.signature.name for function in library.function if "api_implements" in function.attr)
    yield from (gradient.gradient_func for gradient in (*library.gradient, *library.registered_gradients))
    yield from meta.object_graph_def.concrete_functions
    for node in meta.object_graph_def.nodes:
        yield from node.function.concrete_functions
        yield node.bare_concrete_function.concrete_function_name


def _asked(meta: Any) -> Iterator[str]:
    """The names in the graph that a load, or a call of a signature, runs."""
    yield meta.saver_def.restore_op_name
    for signature in meta.signature_def.values():
        for tensor in (*signature.inputs.values(), *signature.outputs.values()):
            yield from _names(tensor)
    for key in ("saved_model_main_op", "legacy_init_op"):
        yield from meta.collection_def[key].node_list.value if key in meta.collection_def else ()


def _names(tensor: Any) -> Iterator[str]:
    """The tensors in the graph of which a signature's one is made: a sparse one has three, others have any."""
    sparse = tensor.coo_sparse
    yield from (tensor.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name)
    for component in tensor.composite_tensor.components:
        yield from _names(component)


def _needed(nodes: Iterable[Any], names: Iterable[str]) -> Iterator[Any]:
    """The nodes of these names and all that they are made of."""
    by_name = {node.name: node for node in nodes}
    waiting = list(names)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name in by_name and name not in seen:
            seen.add(name)
            yield by_name[name]
            waiting += by_name[name].input


def _called(nodes: Iterable[Any], functions: dict[str, Any]) -> Iterator[Any]:
    """The nodes and those of all functions that they call."""
    waiting = list(nodes)
    seen: set[str] = set()
    while waiting:
        node = waiting.pop()
        yield node
        names = [node.op, *(name for value in node.attr.values() for name in (value.func.name, *_listed(value)))]
        for name in set(names) & functions.keys() - seen:
            seen.add(name)
            waiting += functions[name]


def _listed(value: Any) -> list[str]:
    return [function.name for function in value.list.func]
