"""Goes through a Keras model call by call, into the models inside it, with real or with symbolic tensors.

The only place that knows how Keras keeps a graph: everything that draws a model or looks into it goes through `walk`.
A model that is Python code (a subclass with its own `call`) has no graph, and `has_graph` says so.
"""

from collections.abc import Callable
from typing import Any

import keras

# What is called, its path ("encoder/conv2d_1"), its arguments; gives the call's result.
Visit = Callable[[Any, str, tuple[Any, ...], dict[str, Any]], Any]


def has_graph(model: Any) -> bool:
    """Whether it is a Sequential or a functional model, which can be walked."""
    return isinstance(model, keras.Sequential) or hasattr(model, "_run_through_graph")


def walk(model: keras.Model, inputs: list[Any], visit: Visit, *, inside: bool = True, prefix: str = "") -> Any:
    """Calls `visit` for every call in the model, each after those it depends on, and gives the model's outputs.

    `inputs` are in the order of `model.inputs`. Without `inside` a model within the model is one call.
    """

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        path = f"{prefix}{operation.name}"
        if inside and has_graph(operation):
            return walk(operation, keras.tree.flatten(args), visit, inside=True, prefix=f"{path}/")
        return visit(operation, path, args, kwargs)

    if not isinstance(model, keras.Sequential):
        return model._run_through_graph(inputs, call_fn=call)  # noqa: SLF001 - Keras has no public walk
    (value,) = inputs
    for layer in model.layers:
        value = call(layer, value)
    return value


def tensors(*structures: Any) -> list[Any]:
    """The tensors within arguments or results, however they are nested."""
    return [leaf for leaf in keras.tree.flatten(structures) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]
