"""From data to a published bundle: datasets, architectures, training, export with proof, evaluation, publishing."""

import os

# From 1.29 ONNX Runtime's official builds send usage data unless this stands before it is imported. Here it stands for
# every module of training, and for the processes that they start.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
