"""A Keras model as a graph of blocks: what is drawn, and at which points one may look into it.

A block is a layer with those after it that only finish its work: normalisation, activation, dropout. A layer that is
called several times is one block, so that sharing shows; only one that feeds itself is as many blocks as calls. Read by
`architecture`, and by the modules that choose layers to look at.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

import keras

from training.visualize.walk import tensors, walk

Role = Literal["input", "layer", "output"]
Shape = tuple[int | None, ...]

_UNNAMED = "keras_tensor"  # what Keras calls an input that got no name


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Layers that are drawn as one, in their order; none for the model's own inputs and outputs.

    `paths` are the layers' names, with those of the models around them; `shape` is what comes out, without the batch;
    `calls` says how often the block is called.
    """

    role: Role
    name: str
    shape: Shape
    layers: tuple[Any, ...] = ()
    paths: tuple[str, ...] = ()
    calls: int = 1

    @property
    def parameters(self) -> int:
        """All weights of its layers."""
        return sum(layer.count_params() for layer in self.layers if isinstance(layer, keras.Layer))


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Blocks, each after those it depends on, and which of them (by index) feeds which, each pair once."""

    blocks: tuple[Block, ...]
    edges: tuple[tuple[int, int], ...]


def read_graph(model: keras.Model, *, inside: bool = False) -> Graph:
    """The graph of a model that has one; with `inside`, the models within it are laid open."""
    calls = _every_call(model, inside=inside)
    return _folded(_shared(calls))


def _every_call(model: keras.Model, *, inside: bool) -> Graph:
    """One block a call. Shapes are worked out without calling a layer, so the model is not touched."""
    blocks: list[Block] = []
    edges: list[tuple[int, int]] = []
    made_by: dict[int, int] = {}
    kept: list[Any] = []  # a tensor that is freed would leave its identity to another

    def add(block: Block, sources: Sequence[Any], results: Sequence[Any]) -> None:
        edges.extend((made_by[id(source)], len(blocks)) for source in sources if id(source) in made_by)
        made_by.update((id(result), len(blocks)) for result in results)
        kept.extend(results)
        blocks.append(block)

    def visit(layer: Any, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = layer.compute_output_spec(*args, **kwargs)
        made = tensors(result)
        add(Block("layer", layer.name, tuple(made[0].shape[1:]), (layer,), (path,)), tensors(args, kwargs), made)
        return result

    for tensor in model.inputs:
        name = "input" if tensor.name.startswith(_UNNAMED) else tensor.name
        add(Block("input", name, tuple(tensor.shape[1:])), [], [tensor])
    outputs = walk(model, list(model.inputs), visit, inside=inside)
    for name, tensor in _named(outputs):
        add(Block("output", name, tuple(tensor.shape[1:])), [tensor], [])
    return Graph(tuple(blocks), tuple(dict.fromkeys(edges)))


def _named(outputs: Any) -> list[tuple[str, Any]]:
    if isinstance(outputs, dict):
        return list(outputs.items())
    flat = tensors(outputs)
    return [("output" if len(flat) == 1 else f"output {number}", tensor) for number, tensor in enumerate(flat, 1)]


def _shared(graph: Graph) -> Graph:
    """Calls of one layer become one block, unless it feeds itself, which could not be drawn from top to bottom."""
    first: dict[int, int] = {}
    into = [
        first.setdefault(id(block.layers[0]), number) if block.layers else number
        for number, block in enumerate(graph.blocks)
    ]
    feeds_itself = any(into[source] == into[target] for source, target in graph.edges)
    try:
        return graph if feeds_itself else _contracted(graph, into)
    except CycleError:
        return graph


def _folded(graph: Graph) -> Graph:
    """Layers that only finish what the one before began join its block."""
    takers = Counter(source for source, _ in graph.edges)
    givers = Counter(target for _, target in graph.edges)
    into = list(range(len(graph.blocks)))
    for source, target in graph.edges:
        before, block = graph.blocks[source], graph.blocks[target]
        alone = takers[source] == givers[target] == 1 and before.role == "layer" and before.calls == block.calls
        if alone and block.role == "layer" and isinstance(block.layers[0], _finishing()):
            into[target] = into[source]
    return _contracted(graph, into)


def _finishing() -> tuple[type, ...]:
    layers = keras.layers
    normalisation = (layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization)
    activation = (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU, layers.Softmax)
    return *normalisation, *activation, layers.Dropout, layers.SpatialDropout2D


def _contracted(graph: Graph, into: Sequence[int]) -> Graph:
    """Blocks with the same number in `into` become one. Raises CycleError where they could not be put in an order."""
    edges = {(into[source], into[target]) for source, target in graph.edges if into[source] != into[target]}
    order: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(sorted(set(into)), ()))
    for source, target in sorted(edges):
        order.add(target, source)
    place = {number: index for index, number in enumerate(order.static_order())}
    members: dict[int, list[Block]] = {number: [] for number in place}
    for block, number in zip(graph.blocks, into, strict=True):
        members[number].append(block)
    pairs = sorted((place[source], place[target]) for source, target in edges)
    return Graph(tuple(map(_joined, members.values())), tuple(pairs))


def _joined(blocks: Sequence[Block]) -> Block:
    """One block of several: a layer called several times, or layers one after another."""
    paths = {path: layer for block in blocks for path, layer in zip(block.paths, block.layers, strict=True)}
    made = sum(block.calls * len(block.layers) for block in blocks)
    calls = made // len(paths) if paths else 1
    return Block(blocks[0].role, blocks[0].name, blocks[-1].shape, tuple(paths.values()), tuple(paths), calls)
