"""The manifest: what a published version is, as frozen values, and its JSON.

Owns the schema and its version. An unknown schema version is refused, an unknown field is ignored, a missing or
mistyped one is named with its path. Written by `training.publish`, read by `bundle.store`.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Literal

import msgspec

SCHEMA_VERSION = 1

Side = Annotated[int, msgspec.Meta(ge=1, le=16_384)]
Fraction = Annotated[float, msgspec.Meta(ge=0.01, le=1)]
Level = Annotated[int, msgspec.Meta(ge=0, le=255)]
Tolerance = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Temperature = Annotated[float, msgspec.Meta(gt=0)]


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output of the graph; the first dimension is the batch, `None` means any size."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """The graph's inputs and outputs, the same in every variant.

    `explanations` are what is computed from the same inputs only for callers who ask for it.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    explanations: tuple[TensorSpec, ...] = ()


class Preprocessing(msgspec.Struct, frozen=True, kw_only=True):
    """How encoded bytes become one input's uint8 array of shape [height, width, channels].

    `resize` says how the picture's frame meets the target's: "stretch" ignores the aspect ratio, "crop" keeps it and
    cuts the longer side's ends, "pad" keeps it and fills the rest with `background`. `crop_fraction` takes that central
    part of the picture first (0.875 is the habit of ImageNet models). Transparent pixels are laid over `background`.
    """

    input: str
    height: Side
    width: Side
    channels: Literal[1, 3]
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    kernel: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = "bilinear"
    crop_fraction: Fraction = 1.0
    background: Level = 0
    exif_orientation: bool = True


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """One classification that the graph gives: its output, what the numbers mean, and the file of its labels.

    `activation_map` names the explanation [batch, rows, columns, classes] that says how much each place of the last
    feature map adds to each class's logit; None where the head has none.
    `temperature` is what the graph already divides its logits by; None where it was never fitted. An answer whose best
    score is below `abstain_below` is too unsure to be used; None where every answer may be.
    """

    name: str
    output: str
    activation: Literal["softmax", "sigmoid", "none"]
    labels: str
    activation_map: str | None = None
    temperature: Temperature | None = None
    abstain_below: float | None = None


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One executable form of the model.

    `path` is a file or, for a SavedModel, "." (the version folder itself, as TensorFlow Serving expects it).
    `tolerance` is the largest absolute difference that any golden output may show: for a format of the same precision
    that of rounding, for another precision what it was seen to need; of an explanation, as a share of its largest
    golden value, because it has no scale of its own. `accuracy` was measured on encoded test pictures through
    `bundle.preprocessing`; `agreement` is the share of them with the same best class as in the first variant. `explain`
    is what gives the signature's explanations, if it has any: a second ONNX file, which variants may share, or the name
    of the SavedModel's second signature.
    """

    name: str
    format: Literal["onnx", "saved_model"]
    path: str
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    tolerance: Tolerance = 1e-4
    accuracy: float | None = None
    agreement: Share | None = None
    explain: str | None = None


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """The golden samples: for each input its encoded pictures, in order, and the file with the outputs they must give.

    `outputs` is an .npz with one array [samples, ...] for each output and each explanation of the signature.
    """

    images: dict[str, tuple[str, ...]]
    outputs: str


class InputStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Mean and standard deviation of one input's training pixels, which are 0 to 255, one number a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class HeadStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What one head was trained on and how sure it is, in the order of its labels.

    `prior` is each class's share of the training split. `confidence` counts the test split's answers by their best
    score, in as many equally wide bins from 0 to 1 as it has numbers.
    """

    prior: tuple[Share, ...]
    confidence: tuple[int, ...]


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What is usual, by input and by head, to compare with what a server sees."""

    inputs: dict[str, InputStatistics] = {}
    heads: dict[str, HeadStatistics] = {}


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where the version comes from, for audits and for training it again."""

    created: str
    config: dict[str, str | int | float | bool | None]
    seed: int | None = None
    git_revision: str | None = None
    data_digest: str | None = None
    libraries: dict[str, str] = {}


class FileDigest(msgspec.Struct, frozen=True, kw_only=True):
    """What a file must be, byte for byte."""

    sha256: str
    size: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one model. Its name and number are its folders' names, not fields."""

    schema_version: int
    signature: Signature
    preprocessing: tuple[Preprocessing, ...]
    heads: tuple[Head, ...]
    variants: tuple[Variant, ...]
    golden: Golden
    provenance: Provenance
    statistics: Statistics = Statistics()
    metrics: dict[str, float] = {}
    files: dict[str, FileDigest] = {}


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    schema_version: int


class ManifestInvalid(ValueError):
    """The manifest's JSON does not follow the schema; the message says where."""


def decode(text: bytes) -> Manifest:
    """Reads a manifest from its JSON. Raises ManifestInvalid, whose message names the field."""
    try:
        version = msgspec.json.decode(text, type=_Header).schema_version
        if version != SCHEMA_VERSION:
            raise ManifestInvalid(
                f"schema_version {version} is not known to this release, which reads {SCHEMA_VERSION}; "
                "use the release that wrote it or publish the model again"
            )
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestInvalid(str(error)) from error
    for problem in _contradictions(manifest):
        raise ManifestInvalid(problem)
    return manifest


def encode(manifest: Manifest) -> bytes:
    """Writes a manifest as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def named_files(manifest: Manifest) -> tuple[str, ...]:
    """The paths of the files without which the version can't be used, relative to its folder."""
    labels = [head.labels for head in manifest.heads]
    models = ["saved_model.pb" if variant.path == "." else variant.path for variant in manifest.variants]
    explain = [variant.explain for variant in manifest.variants if variant.explain and variant.format == "onnx"]
    golden = [image for images in manifest.golden.images.values() for image in images]
    return *labels, *models, *explain, *golden, manifest.golden.outputs


def _contradictions(manifest: Manifest) -> Iterator[str]:
    """What one part of the manifest says against another."""
    if not manifest.variants:
        yield "no variant is declared, so there is nothing to run"
    yield from _repeated_names(manifest)
    yield from _unknown_names(manifest)
    yield from _wrong_shapes(manifest)
    yield from _strange_paths(manifest)


def _repeated_names(manifest: Manifest) -> Iterator[str]:
    names = {
        "input": [spec.name for spec in manifest.signature.inputs],
        "output": [spec.name for spec in (*manifest.signature.outputs, *manifest.signature.explanations)],
        "preprocessing of input": [preprocessing.input for preprocessing in manifest.preprocessing],
        "head": [head.name for head in manifest.heads],
        "variant": [variant.name for variant in manifest.variants],
    }
    for kind, used in names.items():
        for name, count in Counter(used).items():
            if count > 1:
                yield f"{kind} {name!r} is declared {count} times"


def _unknown_names(manifest: Manifest) -> Iterator[str]:
    inputs = [spec.name for spec in manifest.signature.inputs]
    outputs = [spec.name for spec in manifest.signature.outputs]
    explanations = [spec.name for spec in manifest.signature.explanations]
    for preprocessing in manifest.preprocessing:
        if preprocessing.input not in inputs:
            yield f"preprocessing names input {preprocessing.input!r}, but the signature has {inputs}"
    for head in manifest.heads:
        if head.output not in outputs:
            yield f"head {head.name!r} names output {head.output!r}, but the signature has {outputs}"
        if head.activation_map not in {None, *explanations}:
            yield f"head {head.name!r} names activation map {head.activation_map!r}, the signature has {explanations}"
    for variant in manifest.variants:
        if bool(variant.explain) is not bool(explanations):
            yield f"variant {variant.name!r} explains by {variant.explain!r}, the signature has {explanations}"
    for name in manifest.golden.images:
        if name not in inputs:
            yield f"golden.images names input {name!r}, but the signature has {inputs}"


def _wrong_shapes(manifest: Manifest) -> Iterator[str]:
    """Preprocessing must make what its input takes, and a head's output must be [batch, classes]."""
    inputs = {spec.name: spec for spec in manifest.signature.inputs}
    outputs = {spec.name: spec for spec in (*manifest.signature.outputs, *manifest.signature.explanations)}
    for preprocessing in manifest.preprocessing:
        made = (None, preprocessing.height, preprocessing.width, preprocessing.channels)
        taken = inputs[preprocessing.input]
        fits = len(taken.shape) == len(made) and all(
            want in {None, have} for want, have in zip(taken.shape[1:], made[1:], strict=True)
        )
        if taken.dtype != "uint8" or not fits:
            yield (
                f"preprocessing makes uint8 {list(made)} for input {taken.name!r}, "
                f"but the signature has {taken.dtype} {list(taken.shape)}"
            )
    for head in manifest.heads:
        shape = outputs[head.output].shape
        if len(shape) != len(("batch", "classes")):
            yield f"output {head.output!r} of head {head.name!r} must be [batch, classes], but it is {list(shape)}"
        if head.activation_map is None:
            continue
        of_places = outputs[head.activation_map].shape
        if len(of_places) != len(("batch", "rows", "columns", "classes")) or of_places[-1] != shape[-1]:
            yield (
                f"activation map {head.activation_map!r} of head {head.name!r} must be "
                f"[batch, rows, columns, {shape[-1]}], but it is {list(of_places)}"
            )


def _strange_paths(manifest: Manifest) -> Iterator[str]:
    for path in [*named_files(manifest), *manifest.files]:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            yield f"path {path!r} leaves the version's folder"
        if not path.isprintable() or "\\" in path:
            yield f"path {path!r} holds characters that a file's name here can't have"
