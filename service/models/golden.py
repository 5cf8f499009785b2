"""The golden gate: a variant gives what Keras gave, on this machine, through the real decoder and runtime.

Owns the comparison and its report. The invariant: every golden sample runs alone, among strangers and in one large
batch, so an answer that depends on its neighbours is found before the version is READY. Called while a version loads,
when a batch job opens its predictor, and by `convoy verify`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
import numpy as np

from bundle.errors import BundleError, ImageError
from bundle.manifest import Head, Variant
from bundle.preprocessing import Limits, decode
from bundle.store import Bundle
from service.errors import ModelUnusable
from service.runtimes.base import Array, Arrays, Runtime
from service.runtimes.sizes import sizes_up_to

# How far an output may be off where arithmetic was reduced on purpose; beside it every best class must be the same.
REDUCED_TOLERANCE: Final = 0.05
_SHUFFLE_SEED: Final = 2
_LARGEST_BATCH: Final = 64  # where nobody says how many at once; a thousand large pictures are gigabytes


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """How far a variant's outputs are from the golden ones.

    Differences are absolute, over all outputs and batch sizes, those of an explanation as shares of its largest golden
    value; NaN where an output was NaN, which never passes.
    `worst_sample` counts the golden samples from 0. `top1_agreement` is the share of rows, over all heads and batch
    sizes, whose best class is the golden one.
    """

    variant: str
    samples: int
    max_difference: float
    mean_difference: float
    worst_sample: int
    tolerance: float
    passed: bool
    top1_agreement: float

    def __str__(self) -> str:
        verdict = "reproduces" if self.passed else "does not reproduce"
        relation = "within" if self.passed else "over"
        return (
            f"variant {self.variant!r} {verdict} its {self.samples} golden samples: the largest difference is "
            f"{self.max_difference:.2g} at sample {self.worst_sample}, {relation} the tolerance of {self.tolerance:g}"
        )


def check(
    runtime: Runtime,
    bundle: Bundle,
    variant: Variant,
    limits: Limits,
    *,
    batch_sizes: Sequence[int] | None = None,
    explain: bool = False,
) -> GoldenReport:
    """Runs every golden sample at each batch size (unless told 1, 3 and all at once, 64 at most) and compares.

    With `explain`, for a runtime that was opened so, the variant's explanations are compared too, if it has any.
    Batches are full: rows are shuffled and repeat where the samples don't fill the last one, so a size above the
    number of samples is really run. Raises ModelUnusable where the samples can't be read or don't fit the signature,
    RuntimeFailed where the runtime throws.
    """
    inputs, expected = samples(bundle, limits)
    explanations = [spec.name for spec in bundle.manifest.signature.explanations]
    run: Callable[[Arrays], Arrays] = runtime.run
    if explain and explanations:
        run = partial(runtime.run, explain=True)
    else:
        expected = {name: golden for name, golden in expected.items() if name not in explanations}
    count = len(next(iter(expected.values())))
    tally = _Tally(expected, bundle.manifest.heads, count, relative=explanations)
    for size in sorted(set(batch_sizes or (1, 3, min(count, _LARGEST_BATCH)))):
        for rows in _batches(count, size):
            tally.add(rows, run({name: pixels[rows] for name, pixels in inputs.items()}))
    return tally.report(variant)


def prove(
    runtime: Runtime, bundle: Bundle, max_batch_size: int, *, reduced: bool = False, explain: bool = False
) -> None:
    """Raises ModelUnusable unless the runtime gives the golden outputs alone, among others and in its largest batch.

    One that pads is asked for batches of every size.

    `reduced` is for arithmetic that is coarser than the variant's own: then every best class must be the golden one and
    no output further off than `REDUCED_TOLERANCE`, or the variant's tolerance where that is wider.

    The limits are the usual ones, whatever strangers may send: golden pictures are as large as their publisher wants.
    """
    variant = bundle.variant(runtime.info.variant)
    if reduced:
        variant = msgspec.structs.replace(variant, tolerance=max(variant.tolerance, REDUCED_TOLERANCE))
    sizes = (*sizes_up_to(max_batch_size), max_batch_size) if runtime.info.padded else (1, 3, max_batch_size)
    report = check(runtime, bundle, variant, Limits(), batch_sizes=sizes, explain=explain)
    if not report.passed:
        raise ModelUnusable(str(report))
    if reduced and report.top1_agreement < 1:
        raise ModelUnusable(
            f"variant {variant.name!r} on {runtime.info.engine} gives {report.top1_agreement:.1%} of the golden "
            "samples their best class; reduced precision must give all"
        )


def _batches(samples: int, size: int) -> Iterator[Array]:
    """Row numbers that cover every sample in shuffled order, `size` at a time, going round to fill the last batch."""
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(samples)
    for start in range(0, samples, size):
        yield order[np.arange(start, start + size) % samples]


class _Tally:
    """Adds up the differences between what ran and what was expected, sample by sample."""

    def __init__(self, expected: Arrays, heads: Sequence[Head], samples: int, *, relative: Sequence[str]) -> None:
        self._expected = expected
        self._scales = {name: float(np.abs(expected[name]).max()) or 1.0 for name in relative if name in expected}
        self._heads = heads
        self._worst = np.zeros(samples)
        self._sum = 0.0
        self._count = 0
        self._agreed = self._compared = 0

    def add(self, rows: Array, actual: Arrays) -> None:
        for name, golden in self._expected.items():
            wanted, found = golden[rows], actual[name]
            if found.shape != wanted.shape:
                raise ModelUnusable(
                    f"output {name!r} has shape {list(found.shape)} for a batch of {len(rows)}, "
                    f"the golden outputs have {list(wanted.shape)}"
                )
            with np.errstate(invalid="ignore"):  # NaN goes through to the report, where it fails the gate
                difference = np.abs(found.astype(np.float64) - wanted).reshape(len(rows), -1)
                difference /= self._scales.get(name, 1.0)
                np.maximum.at(self._worst, rows, difference.max(axis=1))
            self._sum += float(difference.sum())
            self._count += difference.size
        for head in self._heads:
            same = actual[head.output].argmax(axis=-1) == self._expected[head.output][rows].argmax(axis=-1)
            self._agreed += int(same.sum())
            self._compared += same.size

    def report(self, variant: Variant) -> GoldenReport:
        worst = int(self._worst.argmax())
        largest = float(self._worst[worst])
        return GoldenReport(
            variant=variant.name,
            samples=len(self._worst),
            max_difference=largest,
            mean_difference=self._sum / self._count,
            worst_sample=worst,
            tolerance=variant.tolerance,
            passed=largest <= variant.tolerance,
            top1_agreement=self._agreed / self._compared if self._compared else 1.0,
        )


def samples(bundle: Bundle, limits: Limits) -> tuple[dict[str, Array], dict[str, Array]]:
    """The golden samples as inputs and expected outputs, each [samples, ...]; the bundle checks that they match.

    Raises ModelUnusable where they can't be read.
    """
    try:
        inputs = {spec.name: _pixels(bundle, spec.name, limits) for spec in bundle.manifest.signature.inputs}
        expected = bundle.golden_outputs()
    except BundleError as error:
        raise ModelUnusable(str(error)) from error
    if not inputs or not expected:
        raise ModelUnusable("the signature declares no input or no output, so nothing can be proved")
    return inputs, expected


def _pixels(bundle: Bundle, name: str, limits: Limits) -> Array:
    """The golden pictures of one input as its array [samples, height, width, channels]."""
    spec = next((spec for spec in bundle.manifest.preprocessing if spec.input == name), None)
    if spec is None:
        raise ModelUnusable(f"input {name!r} has no preprocessing, so golden pictures can't be given to it")
    try:
        pixels = [decode(data, spec, limits) for data in bundle.golden_images(name)]
    except ImageError as error:
        raise ModelUnusable(f"a golden picture of input {name!r} can't be read: {error}") from error
    if not pixels:
        raise ModelUnusable(f"there are no golden pictures for input {name!r}, so nothing can be proved")
    return np.stack(pixels)
