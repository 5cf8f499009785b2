"""Publishes models that Convoy did not train: reads what a file says, decides what it leaves open, wraps, proves.

Read in this order: `publish` is the whole way on one page; `original` is a model as its owner gave it, opened by
`reading`; `deciding` turns it and the user's wishes into a `contract`; `keras_wrapping` and `onnx_wrapping` build the
graph that takes uint8 pixels; `reference` computes in NumPy what that graph must answer.
"""
