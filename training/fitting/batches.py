"""The batches of an epoch, several steps at a time, gathered from the memory-mapped pixels while others are trained on.

What a step sees follows from the seed, the epoch and its number alone, so training can begin at any step. Called by
`training.train`.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from training.config import TrainingConfig
from training.datasets import Split
from training.fitting import augment
from training.fitting.cluster import Share
from training.tasks import Examples, Task

_STEPS = 20
_BYTES = 64 * 2**20

Item = TypeVar("Item")
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The batches of `steps` consecutive steps; every array in `tensors` is [steps, batch, ...].

    `tensors` holds "pictures" by input, uint8 [steps, batch, height, width, channels]; "targets" by head, int64
    [steps, batch]; "draws" by input and kind. Where examples are mixed it also holds "kept", how much of itself each
    keeps, and "partners": with what each is mixed, as "pictures", "targets" and "draws" of its own.
    """

    steps: int
    tensors: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """The training examples of a run, epoch by epoch, each time in another order."""

    config: TrainingConfig
    split: Split
    task: Task
    share: Share = Share()

    @property
    def batch_size(self) -> int:
        """Examples a step: as configured, or all where there are fewer."""
        return min(self.config.batch_size, len(self.split))

    @property
    def steps(self) -> int:
        """Steps of an epoch. Examples that do not fill a batch wait for another epoch."""
        return len(self.split) // self.batch_size

    def chunks(self, epoch: int, first: int) -> Iterator[Chunk]:
        """An epoch from its step `first` on."""
        examples = self.task.examples(self.split, _seed(self.config.seed, epoch))
        order = np.random.default_rng([self.config.seed, epoch]).permutation(len(examples))
        together = steps_together(self.batch_size, self.split.images.shape[1:], self._pictures_an_example)
        for start in range(first, self.steps, together):
            numbers = range(start, min(start + together, self.steps))
            rows = order[numbers.start * self.batch_size : numbers.stop * self.batch_size]
            tensors = self._tensors(examples, rows.reshape(len(numbers), self.batch_size), epoch, numbers)
            yield Chunk(len(numbers), tensors)

    @property
    def _pictures_an_example(self) -> int:
        return len(self.task.inputs) * (2 if self.config.mixup else 1)

    def _tensors(self, examples: Examples, rows: Rows, epoch: int, numbers: range) -> dict[str, Any]:
        """The part of the batches that this process takes; `rows` are whole ones, int64 [steps, batch].

        All is drawn and paired for whole batches, so that it does not depend on who takes which part.
        """
        drawn = self._drawn(epoch, numbers)
        tensors = self._part(examples, rows, drawn["draws"])
        if "kept" in drawn:  # each example is mixed with the one before it
            before = _mapped(lambda array: np.roll(array, 1, axis=1), drawn["draws"])
            tensors["partners"] = self._part(examples, np.roll(rows, 1, axis=1), before)
            tensors["kept"] = self._mine(drawn["kept"])
        return tensors

    def _part(self, examples: Examples, rows: Rows, draws: dict[str, Any]) -> dict[str, Any]:
        some = examples[self._mine(rows)]
        pictures = {name: self.split.images[some.inputs[name]] for name in self.task.inputs}
        return {"pictures": pictures, "targets": some.targets, "draws": _mapped(self._mine, draws)}

    def _mine(self, array: NDArray[Any]) -> NDArray[Any]:
        return array[:, self.share.number :: self.share.of]

    def _drawn(self, epoch: int, numbers: range) -> dict[str, Any]:
        """What is drawn for every example of whole batches, each array [steps, batch, ...]."""
        steps = []
        for number in numbers:
            random = np.random.default_rng([self.config.seed, epoch, number, 1])
            draws = {
                name: augment.draw(self.config, self.batch_size, self.split.images.shape[1:], random)
                for name in self.task.inputs
            }
            steps.append({"draws": draws} | augment.draw_mixing(self.config, self.batch_size, random))
        return _stacked(steps)


def _stacked(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """The same structure with the steps as the first dimension of every array."""
    return {
        name: _stacked([step[name] for step in steps])
        if isinstance(value, dict)
        else np.stack([step[name] for step in steps])
        for name, value in steps[0].items()
    }


def _mapped(change: Callable[[NDArray[Any]], NDArray[Any]], arrays: dict[str, Any]) -> dict[str, Any]:
    """The same structure with every array changed."""
    return {
        name: _mapped(change, value) if isinstance(value, dict) else change(value) for name, value in arrays.items()
    }


def steps_together(batch_size: int, shape: tuple[int, ...], pictures: int) -> int:
    """How many steps make a chunk: enough to spend little time between them, few enough for memory.

    `pictures` are those of an example, of `shape` each.
    """
    return max(1, min(_STEPS, _BYTES // (batch_size * int(np.prod(shape)) * pictures)))


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
    weights = np.divide(len(targets), there * counts, out=np.zeros(labels), where=counts > 0)
    return np.asarray(weights, np.float32)


def _seed(seed: int, epoch: int) -> int:
    """Of an epoch's examples, where they are drawn: other ones every epoch."""
    return int(np.random.default_rng([seed, epoch, 2]).integers(2**31))
