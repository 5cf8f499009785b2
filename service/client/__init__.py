"""The client: asks a Convoy server from Python, knowing only the wire.

Installed without TensorFlow, ONNX Runtime or NumPy. Reached as `convoy.Client` and `convoy.AsyncClient`; the command
line's `classify` and `models` stand on it.
"""
