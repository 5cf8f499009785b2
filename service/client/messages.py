"""Values to messages and back, shared by both clients so that they can't differ.

Knows the wire's every field that the client uses and does no I/O, except that pictures on disk are read while their
request is built. Called by `service.client.client` and `service.client.aio`.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

import grpc

from protos.classifier.v1 import classifier_pb2 as pb
from service.client.channel import Priority
from service.client.errors import ImageRejected, ServerFailed
from service.client.pictures import Picture
from service.client.results import (
    ActivationMap,
    Classification,
    ClassScore,
    Head,
    ModelInfo,
    ModelSummary,
    Preprocessing,
    TensorSpec,
    Timing,
    VersionStatus,
)

_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
_STATES = {number: name for name, number in pb.VersionStatus.State.items()}


def model_spec(name: str, version: int | None = None, version_label: str | None = None) -> pb.ModelSpec:
    """Which model to ask. Raises ValueError if both ways to choose a version are used."""
    if version is not None and version_label is not None:
        raise ValueError(f"version {version} and version_label {version_label!r} exclude each other; give one of them")
    if version is not None:
        return pb.ModelSpec(name=name, version=version)
    if version_label is not None:
        return pb.ModelSpec(name=name, version_label=version_label)
    return pb.ModelSpec(name=name)


def question(
    name: str,
    version: int | None,
    version_label: str | None,
    top_k: int | None,
    priority: Priority,
    *,
    explain: bool = False,
) -> pb.ClassifyRequest:
    """A request that is complete but for its pictures."""
    # Interactive is what a request without a priority is.
    number = pb.ClassifyRequest.BATCH if priority == "batch" else pb.ClassifyRequest.PRIORITY_UNSPECIFIED
    model = model_spec(name, version, version_label)
    return pb.ClassifyRequest(model=model, top_k=top_k, priority=number, explain=explain)


def with_pictures(question: pb.ClassifyRequest, groups: Mapping[str, Sequence[Picture]]) -> pb.ClassifyRequest:
    """The question about pictures of one kind by input, reading those on disk. Raises OSError if one is gone."""
    request = pb.ClassifyRequest(inputs=[_entry(name, group) for name, group in groups.items()])
    request.MergeFrom(question)
    return request


def _entry(name: str, group: Sequence[Picture]) -> pb.Input:
    contents = [picture.read() for picture in group]
    if (pixels := group[0].pixels) is None:
        return pb.Input(name=name, images=contents)
    dtype, shape = pixels
    tensor = pb.Tensor(dtype=dtype, shape=[len(group), *shape], data=b"".join(contents))
    return pb.Input(name=name, tensor=tensor)


def answers(response: pb.ClassifyResponse, names: Sequence[str], server: str) -> list[Classification | ImageRejected]:
    """One answer for each name of what was asked, in order. Raises ServerFailed unless there are so many."""
    if len(response.results) != len(names):
        raise ServerFailed(server, f"{len(response.results)} results came back for {len(names)} pictures; see its log")
    timing = _timing(response.timing)
    return [
        ImageRejected(name, result.error.message, _CODES.get(result.error.code, str(result.error.code)))
        if result.HasField("error")
        else Classification(
            _heads(result), response.model.name, response.model.version, timing, abstained=_abstained(result)
        )
        for name, result in zip(names, response.results, strict=True)
    ]


def model_summaries(response: pb.ListModelsResponse) -> list[ModelSummary]:
    """Every model, in the server's order."""
    return [ModelSummary(model.name, _versions(model.versions), model.problem) for model in response.models]


def model_info(response: pb.GetModelResponse) -> ModelInfo:
    """One model in full."""
    return ModelInfo(
        name=response.model.name,
        version=response.model.version if response.model.HasField("version") else None,
        versions=_versions(response.versions),
        inputs=_tensor_specs(response.inputs),
        outputs=_tensor_specs(response.outputs),
        preprocessing=tuple(
            Preprocessing(
                input=step.input,
                height=step.height,
                width=step.width,
                channels=step.channels,
                resize=step.resize,
                kernel=step.kernel,
                crop_fraction=step.crop_fraction,
                background=step.background,
                exif_orientation=step.exif_orientation,
            )
            for step in response.preprocessing
        ),
        heads=tuple(map(_head, response.heads)),
        training_metrics=dict(response.training_metrics),
        runtime=response.runtime,
        plan=_plan(response.plan) if response.HasField("plan") else "",
        problem=response.problem,
    )


def label_request(model: str, label: str, version: int) -> pb.SetVersionLabelRequest:
    """Where a label is to point."""
    return pb.SetVersionLabelRequest(model=model, label=label, version=version)


def moved_from(response: pb.SetVersionLabelResponse) -> int | None:
    """Where the label pointed before; None for a new one."""
    return response.previous_version if response.HasField("previous_version") else None


def _plan(plan: pb.Plan) -> str:
    settings = plan.settings
    threads = f"{settings.threads} thread{'s' * (settings.threads != 1)}"
    numbers = f"{settings.instances} x {threads}, batches to {settings.max_batch_size}"
    return f"{settings.engine} {settings.variant} {settings.computed}, {numbers}: {plan.why}"


def _heads(result: pb.Result) -> dict[str, tuple[ClassScore, ...]]:
    return {
        classification.head: tuple(
            ClassScore(c.label, c.index, c.score, _map(map_) if map_ else None)
            for c, map_ in zip_longest(classification.classes, classification.activation_maps)
        )
        for classification in result.classifications
    }


def _map(message: pb.ActivationMap) -> ActivationMap:
    values = struct.unpack(f"<{message.rows * message.columns}f", message.values)
    return tuple(values[at : at + message.columns] for at in range(0, len(values), message.columns))


def _abstained(result: pb.Result) -> tuple[str, ...]:
    return tuple(classification.head for classification in result.classifications if classification.abstained)


def _head(head: pb.Head) -> Head:
    return Head(
        name=head.name,
        output=head.output,
        activation=head.activation,
        labels=tuple(head.labels),
        explains=head.explains,
        temperature=head.temperature if head.HasField("temperature") else None,
        abstain_below=head.abstain_below if head.HasField("abstain_below") else None,
    )


def _timing(timing: pb.Timing) -> Timing:
    return Timing(timing.preprocess_us / 1e6, timing.queue_us / 1e6, timing.compute_us / 1e6)


def _versions(versions: Iterable[pb.VersionStatus]) -> tuple[VersionStatus, ...]:
    """A state that this release does not know, from a newer server, is told by its number."""
    return tuple(
        VersionStatus(v.version, _STATES.get(v.state, str(v.state)), v.reason, tuple(v.version_labels))
        for v in versions
    )


def _tensor_specs(specs: Iterable[pb.TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(spec.name, spec.dtype, tuple(spec.shape)) for spec in specs)
