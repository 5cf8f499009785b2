"""The manifest: what a published version is, as frozen values, and its JSON.

Owns the schema and its version. An unknown schema version is refused, an unknown field is ignored, a missing or
mistyped one is named with its path. Written by `training.publish`, read by `bundle.store`.
"""

from pathlib import PurePosixPath
from typing import Literal

import msgspec

SCHEMA_VERSION = 1


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """The base of the manifest's values: immutable, compared by content, built by keyword."""


class TensorSpec(Value):
    """One input or output of the graph; the first dimension is the batch, `None` means any size."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Signature(Value):
    """The graph's inputs and outputs, the same in every variant."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Preprocessing(Value):
    """How encoded bytes become one input's uint8 array of shape [height, width, channels].

    `resize` says how the picture's frame meets the target's: "stretch" ignores the aspect ratio, "crop" keeps it and
    cuts the longer side's ends, "pad" keeps it and fills the rest with `background`. `crop_fraction` takes that central
    part of the picture first (0.875 is the habit of ImageNet models). Transparent pixels are laid over `background`.
    """

    input: str
    height: int
    width: int
    channels: Literal[1, 3]
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    kernel: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = "bilinear"
    crop_fraction: float = 1.0
    background: int = 0
    exif_orientation: bool = True


class Head(Value):
    """One classification that the graph gives: its output, what the numbers mean, and the file of its labels."""

    name: str
    output: str
    activation: Literal["softmax", "sigmoid", "none"]
    labels: str


class Variant(Value):
    """One executable form of the model.

    `path` is a file or, for a SavedModel, "." (the version folder itself, as TensorFlow Serving expects it).
    `tolerance` is the largest absolute difference that any golden output may show. `accuracy` was measured on encoded
    test pictures through `bundle.preprocessing`.
    """

    name: str
    format: Literal["onnx", "saved_model"]
    path: str
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    tolerance: float = 1e-4
    accuracy: float | None = None


class Golden(Value):
    """The golden samples: for each input its encoded pictures, in order, and the file with the outputs they must give.

    `outputs` is an .npz with one array [samples, ...] for each output of the signature.
    """

    images: dict[str, tuple[str, ...]]
    outputs: str


class Provenance(Value):
    """Where the version comes from, for audits and for training it again."""

    created: str
    config: dict[str, str | int | float | bool | None]
    seed: int | None = None
    git_revision: str | None = None
    data_digest: str | None = None
    libraries: dict[str, str] = {}


class FileDigest(Value):
    """What a file must be, byte for byte."""

    sha256: str
    size: int


class Manifest(Value):
    """One version of one model. Its name and number are its folders' names, not fields."""

    schema_version: int
    signature: Signature
    preprocessing: tuple[Preprocessing, ...]
    heads: tuple[Head, ...]
    variants: tuple[Variant, ...]
    golden: Golden
    provenance: Provenance
    metrics: dict[str, float] = {}
    files: dict[str, FileDigest] = {}


class _Header(Value):
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
    except msgspec.DecodeError as error:
        raise ManifestInvalid(str(error)) from error
    _check_references(manifest)
    return manifest


def encode(manifest: Manifest) -> bytes:
    """Writes a manifest as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _check_references(manifest: Manifest) -> None:
    """Every name that one part of the manifest uses must be declared by another, every path must stay inside."""
    inputs = {spec.name for spec in manifest.signature.inputs}
    outputs = {spec.name for spec in manifest.signature.outputs}
    for preprocessing in manifest.preprocessing:
        if preprocessing.input not in inputs:
            raise ManifestInvalid(f"preprocessing names input {preprocessing.input!r}, the signature has {inputs}")
    for head in manifest.heads:
        if head.output not in outputs:
            raise ManifestInvalid(f"head {head.name!r} names output {head.output!r}, the signature has {outputs}")
    if not manifest.variants:
        raise ManifestInvalid("no variant is declared, so there is nothing to run")
    paths = [head.labels for head in manifest.heads] + [variant.path for variant in manifest.variants]
    paths += [manifest.golden.outputs, *manifest.files]
    paths += [image for images in manifest.golden.images.values() for image in images]
    for path in map(PurePosixPath, paths):
        if path.is_absolute() or ".." in path.parts:
            raise ManifestInvalid(f"path {str(path)!r} leaves the version's folder")
