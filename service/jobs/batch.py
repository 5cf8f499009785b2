"""A batch job: pictures through a predictor into one Parquet file, in this process.

The invariant: one row a picture, in the order given; a picture that can't be read or decoded is a row with its error,
never a dead job. Called by `convoy batch`.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bundle.preprocessing import Limits
from service.jobs import output as outputs
from service.jobs.ahead import map_ahead
from service.jobs.predictor import Failure, Predictor

_READERS: Final = 4  # a reader waits for a disk or a network, not for a core
_READ_AHEAD: Final = 32
_PROGRESS_EVERY: Final = 64


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What a job did: pictures in all, those without a prediction, and the seconds from first read to finished file.

    `first_failed` is the first of those without a prediction, and why it has none.
    """

    pictures: int
    failed: int
    seconds: float
    output: Path
    first_failed: tuple[Path, str] | None = None

    @property
    def images_per_second(self) -> float:
        return self.pictures / self.seconds


def run_batch(
    predictor: Predictor,
    pictures: Sequence[Path],
    output: Path,
    *,
    on_progress: Callable[[int], None] = lambda done: None,  # noqa: ARG005
) -> BatchSummary:
    """Classifies the pictures and writes `output`, which appears when it is complete.

    `on_progress` is told the number of pictures done, now and then and at the end. Raises OutputFailed, RuntimeFailed.
    """
    begun, failed, first_failed = time.monotonic(), 0, None
    columns = outputs.schema(predictor.heads, _facts(predictor))
    with (
        outputs.whole_file(output) as path,
        outputs.Rows(path, columns) as rows,
        ThreadPoolExecutor(_READERS, thread_name_prefix="read") as readers,
    ):
        images = map_ahead(readers, partial(_read, limits=predictor.limits), pictures, _READ_AHEAD)
        for done, (picture, answer) in enumerate(zip(pictures, predictor.stream(images), strict=True), start=1):
            rows.add(picture, answer)
            if isinstance(answer, Failure):
                failed += 1
                first_failed = first_failed or (picture, answer.reason)
            if done % _PROGRESS_EVERY == 0 or done == len(pictures):
                on_progress(done)
    return BatchSummary(len(pictures), failed, time.monotonic() - begun, output, first_failed)


def _read(path: Path, limits: Limits) -> bytes | Failure:
    """A file's bytes; one over the limit is not read, so that it can't fill the memory."""
    try:
        with path.open("rb") as file:
            content = file.read(limits.max_bytes + 1)
            size = path.stat().st_size
    except OSError as error:
        return Failure(f"the file can't be read: {error.strerror}")
    if len(content) > limits.max_bytes:
        return Failure(f"the file has {size:,} bytes, over the limit of {limits.max_bytes:,}; make it smaller")
    return content


def _facts(predictor: Predictor) -> dict[str, str]:
    """Where the rows come from, kept in the file's metadata."""
    bundle = predictor.bundle
    return {"convoy.model": bundle.name, "convoy.version": str(bundle.version), "convoy.runtime": str(predictor.info)}
