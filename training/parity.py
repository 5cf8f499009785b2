"""Proves that the exported files give the answers of Keras's own `predict`.

A converter may exit without an error and still write a file that is wrong, or wrong at another batch size than the one
it was traced with. So each format runs in a fresh process on real pictures at several batch sizes, and every output is
compared. A file over the tolerance is never published. Called by `training.publish`.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training import replay
from training.errors import ExportUnfaithful

if TYPE_CHECKING:
    import keras

TOLERANCE = 1e-4
BATCH_SIZES = (1, 3, 64)
EXAMPLES = 192  # so that a batch of each size is full, several times
# A format may take this many times what the original took for the same pictures: it runs them at three batch sizes, one
# by one too, beside the other format and on the same cores. And so long at least, most of which is imports.
_TIMES_ORIGINAL = 60
_LEAST_SECONDS = 300
_LAST_LINES = 3
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Parity:
    """How one output of one format at one batch size differs from Keras: over all numbers, and in the class that wins.

    The differences are absolute, those of an explanation shares of its largest value, because it has no scale of its
    own. `agreement` is the share of examples, of an explanation the share of places, with the same best class; of an
    output of one score that of the examples where it is on the same side of one half.
    """

    format: str
    output: str
    batch_size: int
    examples: int
    max_difference: float
    mean_difference: float
    agreement: float

    def __str__(self) -> str:
        return (
            f"{self.format} at batch {self.batch_size}, {self.output}: max difference {self.max_difference:.2g}, "
            f"mean {self.mean_difference:.2g}, same class {self.agreement:.2%}"
        )


def prove(
    model: "keras.Model",
    folder: Path,
    inputs: Mapping[str, NDArray[np.uint8]],
    formats: Sequence[str] | None = None,
    *,
    explaining: "keras.Model | None" = None,
) -> tuple[Parity, ...]:
    """Compares the exported formats in `folder`, all that are there unless told, with `model` and `explaining`.

    `inputs` are arrays [n, height, width, channels] by input name; their rows repeat where they don't fill the largest
    batch. Raises ExportUnfaithful, with the figures, where a file does not run or differs by more than TOLERANCE.
    """
    rows = np.arange(EXAMPLES) % len(next(iter(inputs.values())))
    asked = {name: np.asarray(pixels[rows]) for name, pixels in inputs.items()}
    from training.asking import predict  # Keras, without which the proof of a foreign ONNX file starts at once

    began = time.perf_counter()
    explanations = {} if explaining is None else predict(explaining, asked)
    expected = predict(model, asked)
    seconds = (time.perf_counter() - began) / EXAMPLES
    return compare(folder, asked, expected, formats, explanations=explanations, original_seconds=seconds)


def compare(
    folder: Path,
    inputs: Mapping[str, NDArray[np.uint8]],
    expected: Mapping[str, NDArray[np.float32]],
    formats: Sequence[str] | None = None,
    *,
    tolerance: float = TOLERANCE,
    explanations: Mapping[str, NDArray[np.float32]] = MappingProxyType({}),
    original_seconds: float = 0.0,
) -> tuple[Parity, ...]:
    """The same for answers that are known: `expected` and `explanations` hold an array [n, ...] by output name.

    `original_seconds` is what the original took for each of the pictures: a large model gets the time that it needs.
    """
    formats = replay.formats_in(folder) if formats is None else formats
    with tempfile.TemporaryDirectory() as work:
        limit = max(_LEAST_SECONDS, _TIMES_ORIGINAL * original_seconds * len(next(iter(inputs.values()))))
        replies = _replay(folder, inputs, formats, Path(work), limit, explain=bool(explanations))
        results = tuple(
            _compare(name, output, size, replies[name], answers, relative=output in explanations)
            for name in formats
            for output, answers in {**expected, **explanations}.items()
            for size in BATCH_SIZES
        )
    _refuse_differences(results, tolerance)
    return results


def _replay(
    folder: Path,
    inputs: Mapping[str, NDArray[np.uint8]],
    formats: Sequence[str],
    work: Path,
    limit: float,
    *,
    explain: bool,
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """What each format answers within `limit` seconds, from processes that run side by side."""
    request = work / "request.npz"
    named = {replay.input_key(name): pixels for name, pixels in inputs.items()}
    replay.write_arrays(
        request, {**named, replay.BATCH_SIZES: np.array(BATCH_SIZES), replay.EXPLAIN: np.array(explain)}
    )
    processes = {name: _start(name, folder, request, work / f"{name}.npz") for name in formats}
    try:
        return {name: _finish(name, process, work / f"{name}.npz", limit) for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def _start(name: str, folder: Path, request: Path, reply: Path) -> "subprocess.Popen[str]":
    # -P: the script's own folder is not searched for modules.
    command = [sys.executable, "-P", replay.__file__, name, str(folder), str(request), str(reply)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _finish(name: str, process: "subprocess.Popen[str]", reply: Path, limit: float) -> dict[str, NDArray[np.float32]]:
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise ExportUnfaithful(f"the exported {name} did not answer within {limit:,.0f} s") from error
    if process.returncode:
        reason = " / ".join(output.strip().splitlines()[-_LAST_LINES:])
        raise ExportUnfaithful(f"the exported {name} does not run in a process of its own: {reason}")
    with np.load(reply) as arrays:
        return dict(arrays)


def _compare(
    name: str,
    output: str,
    batch_size: int,
    reply: dict[str, NDArray[np.float32]],
    expected: NDArray[np.float32],
    *,
    relative: bool,
) -> Parity:
    found = reply[replay.reply_key(output, batch_size)]
    if found.shape != expected.shape:
        raise ExportUnfaithful(
            f"the exported {name} gives {output} with the shape {found.shape} at batch {batch_size}, "
            f"the original gives {expected.shape}"
        )
    scale = (float(np.abs(expected).max()) or 1.0) if relative else 1.0
    difference = np.abs(found.astype(np.float64) - expected) / scale
    return Parity(
        format=name,
        output=output,
        batch_size=batch_size,
        examples=len(expected),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        agreement=float((_classes(found) == _classes(expected)).mean()),
    )


def _classes(scores: NDArray[np.float32]) -> NDArray[Any]:
    """The best class of each row of scores; of a single score, whether it speaks for its class."""
    return scores[..., 0] >= _HALF if scores.shape[-1] == 1 else scores.argmax(axis=-1)


def _refuse_differences(results: tuple[Parity, ...], tolerance: float) -> None:
    # Written so that NaN, which is not below anything, is refused too.
    failed = [str(result) for result in results if not result.max_difference <= tolerance]
    if failed:
        raise ExportUnfaithful(
            f"nothing is published, because the exported model differs from the original by more than {tolerance:g}: "
            f"{'; '.join(failed)}"
        )
