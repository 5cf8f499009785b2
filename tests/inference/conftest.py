"""A model with two inputs and two heads, which the tiny bundle does not have, on a runtime made for the test."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from servers import settings

from bundle.manifest import (
    SCHEMA_VERSION,
    Golden,
    Head,
    Manifest,
    Preprocessing,
    Provenance,
    Signature,
    TensorSpec,
    Variant,
)
from bundle.preprocessing import Limits
from bundle.store import Bundle
from service.batching.batcher import Batcher
from service.inference.dataplane import DataPlane
from service.models import repository as folder
from service.models.loader import Loader
from service.models.ranked import RankedRuntime
from service.models.registry import Registry
from service.models.version import ModelQuery, ModelVersion, Servable
from service.runtimes.base import Array, Arrays, RuntimeInfo
from service.telemetry.metrics import Metrics

MANIFEST = Manifest(
    schema_version=SCHEMA_VERSION,
    signature=Signature(
        inputs=(
            TensorSpec(name="photo", dtype="uint8", shape=(None, 2, 2, 1)),
            TensorSpec(name="age", dtype="float32", shape=(None, 1)),
        ),
        outputs=(
            TensorSpec(name="colour", dtype="float32", shape=(None, 3)),
            TensorSpec(name="old", dtype="float32", shape=(None, 2)),
        ),
    ),
    preprocessing=(Preprocessing(input="photo", height=2, width=2, channels=1),),
    heads=(
        Head(name="colour", output="colour", activation="softmax", labels="labels/colour.txt"),
        Head(name="old", output="old", activation="none", labels="labels/old.txt"),
    ),
    variants=(Variant(name="fp32", format="onnx", path="model.onnx"),),
    golden=Golden(images={"photo": ("golden/00.png",)}, outputs="golden/outputs.npz"),
    provenance=Provenance(created="2026-01-01T00:00:00+00:00", config={}),
)
LABELS = {"colour": ("dark", "grey", "bright"), "old": ("young", "old")}


class PhotoAndAge:
    """colour: [0, 0.5, mean of the pixels / 255]; old: [0, age]."""

    info = RuntimeInfo("fake", "fp32", "cpu", 1)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        brightness = inputs["photo"].mean(axis=(1, 2, 3), dtype=np.float32) / 255
        colour = np.stack([np.zeros_like(brightness), np.full_like(brightness, 0.5), brightness], axis=1)
        return {"colour": colour, "old": np.hstack([np.zeros_like(inputs["age"]), inputs["age"]])}

    def close(self) -> None:
        pass


class OneModel:
    """Finds the one version, whatever is asked for."""

    def __init__(self, servable: Servable) -> None:
        self._version = ModelVersion("people", 1)
        self._version.servable = servable

    def find(self, _query: ModelQuery) -> ModelVersion:
        return self._version


@pytest.fixture
async def photo_and_age() -> AsyncIterator[Servable]:
    metrics = Metrics().version("people", 1)
    batcher = Batcher(
        [RankedRuntime(PhotoAndAge(), MANIFEST.heads)], MANIFEST.signature, max_batch_size=4, metrics=metrics
    )
    bundle = Bundle(Path("/nowhere/people/1"), MANIFEST)
    yield Servable(bundle, LABELS, batcher, metrics, runs_on="a fake", max_pending=100)
    await batcher.stop()


@pytest.fixture
def one_model(photo_and_age: Servable) -> OneModel:
    return OneModel(photo_and_age)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def plane(repository, metrics):
    registry = Registry(Loader(settings(repository, max_batch_size=4), metrics), metrics, lambda: None)
    await registry.reconcile(folder.scan(repository))
    plane = DataPlane(registry, limits=Limits(max_side=100), max_images_per_call=100)
    yield plane
    plane.close()
    await registry.close()
