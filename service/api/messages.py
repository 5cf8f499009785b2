"""Classifier messages to values and back; nothing here decides anything."""

import math
import time
from collections.abc import Mapping

import numpy as np

from bundle.manifest import TensorSpec
from protos.classifier.v1 import classifier_pb2 as pb
from service.batching.entries import Priority
from service.errors import RequestInvalid
from service.inference.values import Images, Request
from service.models.planning.plan import Choice, Plan
from service.models.version import ModelQuery, ModelVersion
from service.runtimes.base import Array

_SIZED = {"uint": (8, 16, 32, 64), "int": (8, 16, 32, 64), "float": (16, 32, 64)}
DTYPES = {name: np.dtype(name) for name in ["bool", *(f"{kind}{bits}" for kind in _SIZED for bits in _SIZED[kind])]}
MAX_DIMENSIONS = 8
_PRIORITIES: dict[int, Priority] = {
    pb.ClassifyRequest.PRIORITY_UNSPECIFIED: Priority.INTERACTIVE,
    pb.ClassifyRequest.INTERACTIVE: Priority.INTERACTIVE,
    pb.ClassifyRequest.BATCH: Priority.BATCH,
}


def query(spec: pb.ModelSpec) -> ModelQuery:
    """Which version is meant. Raises RequestInvalid without a name."""
    if not spec.name:
        raise RequestInvalid("model.name is empty; ListModels tells the names")
    choice = spec.WhichOneof("choice")
    return ModelQuery(
        spec.name,
        version=spec.version if choice == "version" else None,
        label=spec.version_label if choice == "version_label" else None,
    )


def request(message: pb.ClassifyRequest, seconds_left: float | None) -> Request:
    """A call's values; the deadline is counted on the monotonic clock from now. Raises RequestInvalid."""
    if not message.inputs:
        raise RequestInvalid("the call has no inputs; give one with `images` or a `tensor`")
    inputs = {each.name: _values(each) for each in message.inputs}
    if len(inputs) < len(message.inputs):
        raise RequestInvalid(f"an input is given twice: {[each.name for each in message.inputs]}")
    return Request(
        model=query(message.model),
        inputs=inputs,
        top_k=message.top_k if message.HasField("top_k") else None,
        deadline=math.inf if seconds_left is None else time.monotonic() + seconds_left,
        priority=_priority(message.priority),
        explain=message.explain,
    )


def _priority(number: int) -> Priority:
    priority = _PRIORITIES.get(number)
    if priority is None:
        raise RequestInvalid(f"priority is {number}; known are {', '.join(map(str, _PRIORITIES))}")
    return priority


def _values(message: pb.Input) -> Images | Array:
    if not message.HasField("tensor"):
        return list(message.images)  # the message makes a picture's bytes anew whenever it is asked for them
    if message.images:
        raise RequestInvalid(f"input {message.name!r} has both images and a tensor; give one of them")
    return _array(message.tensor, message.name)


def _array(tensor: pb.Tensor, name: str) -> Array:
    """A view of the message's bytes, shaped. Raises RequestInvalid where dtype, shape and bytes disagree."""
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None:
        raise RequestInvalid(f"input {name!r} has dtype {tensor.dtype!r}; known are {', '.join(sorted(DTYPES))}")
    shape, data = list(tensor.shape), tensor.data
    if not 1 <= len(shape) <= MAX_DIMENSIONS or min(shape) < 1:
        raise RequestInvalid(
            f"input {name!r} has shape {shape}; it must be 1 to {MAX_DIMENSIONS} sizes of 1 or more, the first counts "
            "the pictures"
        )
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != len(data):
        raise RequestInvalid(
            f"input {name!r} has shape {shape} of {tensor.dtype}, so its data must be {wanted} bytes: it is {len(data)}"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def status(version: ModelVersion, labels: Mapping[str, int]) -> pb.VersionStatus:
    """A version's state, why it is in it, and those of the model's labels that point to it."""
    state = pb.VersionStatus.State.Value(version.state.value)
    own = sorted(label for label, number in labels.items() if number == version.number)
    return pb.VersionStatus(version=version.number, state=state, reason=version.reason, version_labels=own)


def tensor_spec(spec: TensorSpec) -> pb.TensorSpec:
    """An input or output of the graph; -1 is any size."""
    shape = [-1 if size is None else size for size in spec.shape]
    return pb.TensorSpec(name=spec.name, dtype=spec.dtype, shape=shape)


def describe(version: ModelVersion, reply: pb.GetModelResponse) -> None:
    """Fills in what one READY version is."""
    servable = version.servable
    assert servable is not None  # noqa: S101 - READY versions have one
    manifest = servable.bundle.manifest
    reply.model.version = servable.bundle.version
    reply.inputs.extend(map(tensor_spec, manifest.signature.inputs))
    reply.outputs.extend(map(tensor_spec, manifest.signature.outputs))
    for each in manifest.preprocessing:
        reply.preprocessing.add(
            input=each.input,
            height=each.height,
            width=each.width,
            channels=each.channels,
            resize=each.resize,
            kernel=each.kernel,
            crop_fraction=each.crop_fraction,
            background=each.background,
            exif_orientation=each.exif_orientation,
        )
    for head in manifest.heads:
        labels = servable.labels[head.name]
        reply.heads.add(
            name=head.name,
            output=head.output,
            activation=head.activation,
            labels=labels,
            explains=servable.explains and head.activation_map is not None,
            temperature=head.temperature,
            abstain_below=head.abstain_below,
        )
    reply.training_metrics.update(manifest.metrics)
    reply.runtime = servable.runs_on
    if servable.choice is not None:
        _describe_plan(servable.choice, reply.plan)


def _describe_plan(choice: Choice, reply: pb.Plan) -> None:
    reply.settings.CopyFrom(_plan_settings(choice.plan))
    reply.why = choice.why
    for row in choice.table:
        reply.candidates.add(
            settings=_plan_settings(row.plan),
            images_per_second=row.images_per_second,
            p99_ms=row.p99 * 1e3,
            refused=row.refused,
        )


def _plan_settings(plan: Plan) -> pb.PlanSettings:
    return pb.PlanSettings(
        engine=plan.engine,
        variant=plan.variant,
        computed=plan.computed,
        threads=plan.threads,
        instances=plan.instances,
        max_batch_size=plan.max_batch_size,
    )
