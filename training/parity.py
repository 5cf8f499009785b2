"""Proves that the exported files give the answers of Keras's own `predict`.

A converter may exit without an error and still write a file that is wrong, or wrong at another batch size than the one
it was traced with. So each format runs in a fresh process on real pictures at several batch sizes, and every output is
compared. A file over the tolerance is never published. Called by `training.publish`.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from training import replay
from training.asking import predict
from training.errors import ExportUnfaithful

TOLERANCE = 1e-4
BATCH_SIZES = (1, 3, 64)
EXAMPLES = 192  # so that a batch of each size is full, several times
_TIMEOUT_SECONDS = 300
_LAST_LINES = 3


@dataclass(frozen=True, slots=True)
class Parity:
    """How one output of one format at one batch size differs from Keras: over all numbers, and in the class that wins.

    The differences are absolute; `agreement` is the share of examples with the same best class.
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
    model: keras.Model, folder: Path, inputs: Mapping[str, NDArray[np.uint8]], formats: Sequence[str] | None = None
) -> tuple[Parity, ...]:
    """Compares the exported formats in `folder`, all that are there unless told, with `model`.

    `inputs` are arrays [n, height, width, channels] by input name; their rows repeat where they don't fill the largest
    batch. Raises ExportUnfaithful, with the figures, where a file does not run or differs by more than TOLERANCE.
    """
    rows = np.arange(EXAMPLES) % len(next(iter(inputs.values())))
    asked = {name: np.asarray(pixels[rows]) for name, pixels in inputs.items()}
    expected = predict(model, asked)
    formats = replay.formats_in(folder) if formats is None else formats
    with tempfile.TemporaryDirectory() as work:
        replies = _replay(folder, asked, formats, Path(work))
        results = tuple(
            _compare(name, output, size, replies[name], answers)
            for name in formats
            for output, answers in expected.items()
            for size in BATCH_SIZES
        )
    _refuse_differences(results)
    return results


def _replay(
    folder: Path, inputs: dict[str, NDArray[np.uint8]], formats: Sequence[str], work: Path
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """What each format answers, from processes that run side by side: most of their time is imports."""
    request = work / "request.npz"
    replay.write_arrays(request, {**inputs, replay.BATCH_SIZES: np.array(BATCH_SIZES)})
    processes = {name: _start(name, folder, request, work / f"{name}.npz") for name in formats}
    try:
        return {name: _finish(name, process, work / f"{name}.npz") for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def _start(name: str, folder: Path, request: Path, reply: Path) -> "subprocess.Popen[str]":
    # -P: the script's own folder is not searched for modules.
    command = [sys.executable, "-P", replay.__file__, name, str(folder), str(request), str(reply)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _finish(name: str, process: "subprocess.Popen[str]", reply: Path) -> dict[str, NDArray[np.float32]]:
    try:
        output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ExportUnfaithful(f"the exported {name} did not answer within {_TIMEOUT_SECONDS} s") from error
    if process.returncode:
        reason = " / ".join(output.strip().splitlines()[-_LAST_LINES:])
        raise ExportUnfaithful(f"the exported {name} does not run in a process of its own: {reason}")
    with np.load(reply) as arrays:
        return dict(arrays)


def _compare(
    name: str, output: str, batch_size: int, reply: dict[str, NDArray[np.float32]], expected: NDArray[np.float32]
) -> Parity:
    found = reply[replay.reply_key(output, batch_size)]
    if found.shape != expected.shape:
        raise ExportUnfaithful(
            f"the exported {name} gives {output} with the shape {found.shape} at batch {batch_size}, "
            f"Keras gives {expected.shape}"
        )
    difference = np.abs(found.astype(np.float64) - expected)
    return Parity(
        format=name,
        output=output,
        batch_size=batch_size,
        examples=len(expected),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        agreement=float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()),
    )


def _refuse_differences(results: tuple[Parity, ...]) -> None:
    # Written so that NaN, which is not below anything, is refused too.
    failed = [str(result) for result in results if not result.max_difference <= TOLERANCE]
    if failed:
        raise ExportUnfaithful(
            f"nothing is published, because the exported model differs from Keras by more than {TOLERANCE:g}: "
            f"{'; '.join(failed)}"
        )
