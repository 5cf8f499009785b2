"""The batches of an epoch, several steps at a time, gathered from the memory-mapped pixels while others are trained on.

What a step sees follows from the seed, the epoch and its number alone, so training can begin at any step. Called by
`training.train`.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from training.config import TrainingConfig
from training.datasets import Split
from training.fitting import augment
from training.tasks import Examples, Task

_STEPS = 20
_BYTES = 64 * 2**20

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """Which part of every batch this process takes: all of it, unless there are several."""

    number: int = 0
    of: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The batches of `steps` consecutive steps; every array in `tensors` is [steps, batch, ...].

    `tensors` holds "pictures" by input, uint8 [steps, batch, height, width, channels]; "targets" by head, int64
    [steps, batch]; "draws" by input and kind; "kept", the shares of mixing, where examples are mixed.
    """

    steps: int
    tensors: dict[str, Any]


def chunks(
    config: TrainingConfig, split: Split, task: Task, epoch: int, first: int, share: Share
) -> Iterator[Chunk]:
    """The chunks of an epoch from step `first` on. Examples that do not fill a batch wait for another epoch."""
    examples = task.examples(split, _seed(config.seed, epoch))
    order = np.random.default_rng([config.seed, epoch]).permutation(len(examples))
    batch_size = batch_size_of(config, len(examples))
    steps = len(examples) // batch_size
    shape = split.images.shape[1:]
    together = steps_together(batch_size, shape, len(task.inputs))
    for start in range(first, steps, together):
        numbers = range(start, min(start + together, steps))
        rows = order[numbers.start * batch_size : numbers.stop * batch_size].reshape(len(numbers), batch_size)
        mine = slice(share.number, None, share.of)
        yield Chunk(len(numbers), _tensors(config, split, examples[rows[:, mine]], task, epoch, numbers, mine, batch_size))


def _tensors(
    config: TrainingConfig,
    split: Split,
    examples: Examples,
    task: Task,
    epoch: int,
    numbers: range,
    mine: slice,
    batch_size: int,
) -> dict[str, Any]:
    shape = split.images.shape[1:]
    pictures = {name: split.images[examples.inputs[name]] for name in task.inputs}
    draws: list[dict[str, augment.Draws]] = []
    kept = []
    for number in numbers:
        random = np.random.default_rng([config.seed, epoch, number, 1])
        draws.append({name: augment.draw(config, batch_size, shape, random) for name in task.inputs})
        kept.append(augment.draw_mixing(config, batch_size, random))
    tensors: dict[str, Any] = {
        "pictures": pictures,
        "targets": examples.targets,
        "draws": {
            name: {kind: np.stack([one[name][kind][mine] for one in draws]) for kind in draws[0][name]}
            for name in task.inputs
        },
    }
    mixed = [one[mine] for one in kept if one is not None]
    return tensors | ({"kept": np.stack(mixed)} if mixed else {})


def batch_size_of(config: TrainingConfig, examples: int) -> int:
    """The configured batch, or all examples where there are fewer."""
    return min(config.batch_size, examples)


def steps_together(batch_size: int, shape: tuple[int, ...], inputs: int) -> int:
    """How many steps make a chunk: enough to spend little time between them, few enough for memory."""
    return max(1, min(_STEPS, _BYTES // (batch_size * int(np.prod(shape)) * inputs)))


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The items, with the next one made in a thread while the last is used."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, iterator, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, iterator, None)
            yield item


def class_weights(targets: NDArray[np.int64], labels: int) -> NDArray[np.float32]:
    """For each label the weight with which all labels count the same and the mean over the examples is 1, float32."""
    counts = np.bincount(targets, minlength=labels)
    there = np.count_nonzero(counts)
    return (np.divide(len(targets), there * counts, out=np.zeros(labels), where=counts > 0)).astype(np.float32)


def _seed(seed: int, epoch: int) -> int:
    """Of an epoch's examples, where they are drawn: other ones every epoch."""
    return int(np.random.default_rng([seed, epoch, 2]).integers(2**31))
