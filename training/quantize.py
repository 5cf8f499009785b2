"""Writes the int8 variant: `model.int8.onnx`, beside the `model.onnx` that it is made from.

Static quantisation by ONNX Runtime: uint8 activations whose ranges are measured on calibration pictures, int8 weights
with a scale a channel, as QuantizeLinear and DequantizeLinear nodes that every engine reads. Whether the file is good
enough to be published is `training.variants`' business, which calls it.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from training.errors import VariantRefused
from training.replay import PATHS, Arrays

INT8_FILE = "model.int8.onnx"

# What has int8 kernels or only moves values. Not Add and Mul: normalisation that could not be folded into a convolution
# loses more by them than they gain, and a residual's sum is as fast in float.
_QUANTISED = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("Flatten", "Pad", "Reshape", "Squeeze", "Transpose"),
)
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_BATCH_SIZE = 32


def quantize(folder: Path, calibration: Arrays) -> Path:
    """Writes `model.int8.onnx` from the `model.onnx` in `folder`, and gives its path.

    `calibration` holds for each input of the graph its rows, uint8 [n, height, width, channels], as they come out of
    preprocessing; some hundred that are like those to come. Raises VariantRefused where the graph can't be quantised.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    written = folder / INT8_FILE
    try:
        with tempfile.TemporaryDirectory() as work:
            prepared = Path(work) / "prepared.onnx"
            _prepare(folder / PATHS["onnx"], prepared)
            quantize_static(
                prepared,
                written,
                _Batches(calibration),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                calibrate_method=CalibrationMethod.MinMax,
                op_types_to_quantize=list(_QUANTISED),
                nodes_to_exclude=_last_layers(onnx.load(prepared).graph),
            )
    except Exception as error:  # the quantiser raises whatever it likes
        written.unlink(missing_ok=True)
        raise VariantRefused(f"the graph can't be quantised to int8: {error}") from error
    return written


def _prepare(source: Path, target: Path) -> None:
    """Folds constants and normalisation into the convolutions, by the optimiser that a server would use later.

    Not by the quantiser's own preparation: that can't leave out Pad_Fusion, which up to ONNX Runtime 1.31 gives wrong
    numbers for a zero pad before a max pool (microsoft/onnxruntime#24737), here for good.
    """
    import onnxruntime
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(
        source, options, providers=["CPUExecutionProvider"], disabled_optimizers=["Pad_Fusion"]
    )
    model = onnx.load(target)
    used = {node.domain for node in model.graph.node}
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]  # it names every domain that ONNX Runtime knows
    model.opset_import.extend(opsets)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"  # nodes are excluded by name, and other exporters give none
    add_pre_process_metadata(model)  # or the quantiser warns that nothing was prepared
    onnx.save(model, target)


def _last_layers(graph: onnx.GraphProto) -> list[str]:
    """The names of the nodes from every output back to its last weighted layer, which stay in float.

    They cost next to nothing, and in eight bits many a close race between two classes would end in a tie.
    """
    producers = {output: node for node in graph.node for output in node.output}
    names = []
    for output in graph.output:
        node = producers.get(output.name)
        while node is not None:
            names.append(node.name)
            node = None if node.op_type in _WEIGHTED else producers.get(next(iter(node.input), ""))
    return names


class _Batches:
    """The calibration rows as the quantiser wants to read them: batch after batch, then None."""

    def __init__(self, rows: Arrays) -> None:
        self._batches = _in_batches(rows)

    def get_next(self) -> Any:
        return next(self._batches, None)


def _in_batches(rows: Arrays) -> Iterator[Arrays]:
    count = len(next(iter(rows.values())))
    for start in range(0, count, _BATCH_SIZE):
        yield {name: array[start : start + _BATCH_SIZE] for name, array in rows.items()}
