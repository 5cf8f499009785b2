"""Refuses TensorFlow graphs that run Python, or that read or write files, before anything of them is run.

A graph is a program of TensorFlow's operators, some of which reach outside of it; loading a SavedModel runs parts of
it. What a picture classifier has no use for is refused by the operator's name. The operators that save and restore
variables are in every SavedModel and are let be where nothing that is loaded runs them. Called by `saved_model` and
`keras_code`.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from training.errors import ModelUnreadable

_OUTSIDE = re.compile(
    r"(Eager)?PyFunc(Stateless)?|(Read|Write)File|MatchingFiles|"
    r"(WholeFile|TextLine|FixedLengthRecord|TFRecord|LMDB)Reader(V2)?|"
    r"(TextLine|FixedLengthRecord|TFRecord|LMDB|CSV|Sql|Save|Load|Cache|Snapshot)Dataset(V\d)?|DatasetToTFRecord|"
    r"CreateSummary(File|Db)Writer|Debug(Identity|NanCount|NumericSummary)(V\d)?|Rpc\w*"
)
_SAVING = re.compile(r"Save(V2|Slices)?|MergeV2Checkpoints")
_RESTORING = re.compile(r"Restore(V2|Slice)?")


def is_refused(operator: str) -> bool:
    """Whether an operator reaches outside of a graph."""
    return any(kind.fullmatch(operator) for kind in (_OUTSIDE, _SAVING, _RESTORING))


def refuse_code(path: Path, saved_model: Any) -> None:
    """Raises ModelUnreadable, which names the operator; `saved_model` is the SavedModel's protocol buffer."""
    for meta in saved_model.meta_graphs:
        graph = meta.graph_def
        functions = {function.signature.name: function.node_def for function in graph.library.function}
        _refuse(path, [*graph.node, *(node for body in functions.values() for node in body)], _OUTSIDE)
        concrete = list(_called((node for name in _callable(meta) for node in functions.get(name, ())), functions))
        of_graph = _called(_needed(graph.node, _asked(meta)), functions)
        _refuse(path, [*concrete, *of_graph], _SAVING)
        _refuse(path, concrete, _RESTORING)  # the graph itself restores the variables where TensorFlow 1 wrote it


def _refuse(path: Path, nodes: Iterable[Any], kind: re.Pattern[str]) -> None:
    for node in nodes:
        if kind.fullmatch(node.op) or (node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:")):
            raise ModelUnreadable(
                f"{path}: its graph has the operator {node.op} (at {node.name}), which runs Python or reaches files "
                "and is never run here; write the model again without it"
            )


def _callable(meta: Any) -> Iterator[str]:
    """The functions that a load makes, of which it runs some."""
    yield from meta.object_graph_def.concrete_functions
    for node in meta.object_graph_def.nodes:
        yield from node.function.concrete_functions
        yield node.bare_concrete_function.concrete_function_name


def _asked(meta: Any) -> Iterator[str]:
    """The names in the graph that a load, or a call of a signature, runs."""
    yield meta.saver_def.restore_op_name
    for signature in meta.signature_def.values():
        yield from (tensor.name for tensor in signature.outputs.values())
    for key in ("saved_model_main_op", "legacy_init_op"):
        yield from meta.collection_def[key].node_list.value if key in meta.collection_def else ()


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
