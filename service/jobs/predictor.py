"""Encoded pictures in, labelled classes out: the part of a batch job that any engine can call.

`Predictor` reads no data and writes none; its arguments can be pickled, so a loop calls one and a distributed engine
opens one in each worker. The invariant: one answer a picture, in order, made as the server would make it; a picture
that can't be used is a `Failure` in its place. It proves the golden samples before it answers anything.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Self, TypeAlias

import numpy as np

from bundle import store
from bundle.errors import ImageError
from bundle.manifest import Head, Preprocessing
from bundle.postprocessing import abstained, top_k
from bundle.preprocessing import Limits, decode
from bundle.store import Bundle
from service.errors import ModelUnusable, SettingsError
from service.inference.decoding import work_of
from service.inference.room import Room
from service.jobs.ahead import GROUP, map_ahead
from service.models import golden
from service.runtimes.base import Array, Runtime, RuntimeInfo
from service.runtimes.devices import Device
from service.runtimes.opening import Engine, open_runtime
from service.runtimes.usable import usable_cores

DEFAULT_TOP_K: Final = 5
_BATCHES_AHEAD: Final = 2

Encoded: TypeAlias = bytes | bytearray | memoryview
"""A picture's file, as sources and engines hand it over."""


@dataclass(frozen=True, slots=True)
class HeadPrediction:
    """The best classes of one head, best first; the three tuples are equally long.

    `abstained` says that the model is too unsure for its answer to be used.
    """

    labels: tuple[str, ...]
    indices: tuple[int, ...]
    scores: tuple[float, ...]
    abstained: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one picture shows, by head, in the manifest's order."""

    heads: dict[str, HeadPrediction]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one picture has no prediction, in one sentence."""

    reason: str


class Predictor:
    """One version of a model, opened for batch work. Called from one thread at a time."""

    def __init__(
        self,
        model: Path,
        *,
        engine: Engine = "auto",
        device: Device = Device("auto"),  # noqa: B008 - frozen
        threads: int = 0,
        batch_size: int = 32,
        top_k: int | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        """Opens a version's, a model's or a single-model repository's folder and proves its golden samples.

        `threads` are those of one run, 0 for all usable cores. `top_k` None means 5, or all where a head has fewer.
        Raises BundleError, ModelUnusable or SettingsError.
        """
        if batch_size < 1:
            raise SettingsError(f"batch size is {batch_size}, it must be at least 1")
        self.bundle = store.open_bundle(store.resolve(model))
        self._input = _only_input(self.bundle)
        self._labels = {head.name: self.bundle.labels(head.name) for head in self.bundle.manifest.heads}
        self._top_k = _checked_top_k(top_k, self._labels)
        self._limits = limits
        self._room = Room()
        self._batch_size = batch_size
        self._runtime = _proved_runtime(self.bundle, engine, device, threads, batch_size)
        cores = usable_cores()
        self._decoders = ThreadPoolExecutor(cores, thread_name_prefix="decode")
        self._ahead = _BATCHES_AHEAD * batch_size + GROUP * cores  # every core has a group, and a batch is ready

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads that every prediction has."""
        return tuple(self._labels)

    @property
    def limits(self) -> Limits:
        """What one picture may cost."""
        return self._limits

    @property
    def info(self) -> RuntimeInfo:
        """What runs the model."""
        return self._runtime.info

    def __call__(self, images: Sequence[Encoded]) -> list[Prediction | Failure]:
        """One answer for each picture, in order. Raises RuntimeFailed."""
        return list(self.stream(images))

    def stream(self, images: Iterable[Encoded | Failure]) -> Iterator[Prediction | Failure]:
        """The same without end: pictures are decoded ahead while a batch runs, in bounded memory.

        A `Failure` among the images, such as a file that could not be read, comes out in its place.
        """
        decoded = map_ahead(self._decoders, self._decode, images, self._ahead)
        while batch := list(islice(decoded, self._batch_size)):
            yield from self._predict(batch)

    def close(self) -> None:
        """Gives the model's memory and the threads back."""
        self._decoders.shutdown(cancel_futures=True)
        self._runtime.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decode(self, image: Encoded | Failure) -> Array | Failure:
        if isinstance(image, Failure):
            return image
        data = image if isinstance(image, bytes) else memoryview(image).tobytes()
        taken = self._room.take(work_of(data, self._limits))
        try:
            return decode(data, self._input, self._limits)
        except ImageError as error:
            return Failure(str(error))
        finally:
            self._room.give_back(taken)

    def _predict(self, batch: list[Array | Failure]) -> Iterator[Prediction | Failure]:
        pixels = [each for each in batch if not isinstance(each, Failure)]
        answers = iter(self._run(np.stack(pixels)) if pixels else ())
        return (each if isinstance(each, Failure) else next(answers) for each in batch)

    def _run(self, pixels: Array) -> list[Prediction]:
        """One run of the model on uint8 [n, height, width, channels]."""
        outputs = self._runtime.run({self._input.input: pixels})
        heads = {head.name: self._best(head, outputs[head.output]) for head in self.bundle.manifest.heads}
        return [Prediction({name: rows[row] for name, rows in heads.items()}) for row in range(len(pixels))]

    def _best(self, head: Head, scores: Array) -> list[HeadPrediction]:
        labels = self._labels[head.name]
        indices, values = top_k(scores, min(self._top_k, len(labels)))
        never = np.zeros(len(values), bool)
        unsure = never if head.abstain_below is None else abstained(values[:, 0], head.abstain_below)
        return [
            HeadPrediction(tuple(labels[index] for index in best), tuple(best), tuple(found), is_unsure)
            for best, found, is_unsure in zip(indices.tolist(), values.tolist(), unsure.tolist(), strict=True)
        ]


def _only_input(bundle: Bundle) -> Preprocessing:
    names = [spec.name for spec in bundle.manifest.signature.inputs]
    if len(names) != 1 or [spec.input for spec in bundle.manifest.preprocessing] != names:
        raise ModelUnusable(f"{bundle.path} takes the inputs {names}; a batch job needs a model with one picture input")
    return bundle.manifest.preprocessing[0]


def _checked_top_k(asked: int | None, labels: dict[str, tuple[str, ...]]) -> int:
    if asked is None:
        return DEFAULT_TOP_K
    most = max(map(len, labels.values()), default=0)
    if not 1 <= asked <= most:
        raise SettingsError(f"top_k is {asked}, it must be between 1 and the model's {most} classes")
    return asked


def _proved_runtime(bundle: Bundle, engine: Engine, device: Device, threads: int, batch_size: int) -> Runtime:
    """A runtime that gives the golden outputs alone, among others and in batches as large as the job's."""
    store.verify_files(bundle)
    runtime = open_runtime(bundle, engine=engine, device=device, threads=threads)
    try:
        golden.prove(runtime, bundle, batch_size)
    except BaseException:
        runtime.close()
        raise
    return runtime
