"""On what a run is trained: one device, all GPUs of this machine, or the processes of a cluster.

`workers` are the processes that TF_CONFIG names, as TensorFlow's MultiWorkerMirroredStrategy takes it. Each process
gathers its own share of every batch; the first of them keeps the run folder and publishes. Called by `training.train`.
"""

from dataclasses import dataclass

import keras
import tensorflow as tf

from bundle.chatter import held_back_stderr
from training.errors import ConfigInvalid, RunUnusable
from training.fitting.cluster import Share, share


@dataclass(frozen=True, slots=True, eq=False)
class Devices:
    """Where steps run, and which share of a batch this process has."""

    strategy: tf.distribute.Strategy
    share: Share

    @property
    def replicas(self) -> int:
        """The copies of the model in all processes."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def here(self) -> int:
        """The copies of the model in this process."""
        return self.replicas // self.share.of


def devices(distribute: str, batch_size: int) -> Devices:
    """What the configuration asks for. Raises ConfigInvalid where it is not there, or can't share a batch equally."""
    if distribute == "mirrored":
        found = Devices(tf.distribute.MirroredStrategy(_local()), Share())
    elif distribute == "workers":
        mine = share(distribute)
        with held_back_stderr():
            found = Devices(tf.distribute.MultiWorkerMirroredStrategy(), mine)
    else:
        found = Devices(tf.distribute.get_strategy(), Share())
    if batch_size % found.replicas:
        raise ConfigInvalid(f"batch_size is {batch_size}, but {found.replicas} devices can only share a multiple of it")
    return found


def _local() -> list[str]:
    """All GPUs; where there is none all CPU devices, of which a test makes several."""
    there = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in there]


def agree(machine: Devices, steps: int) -> None:
    """Makes sure that all processes go on from the same step. Raises RunUnusable in each of them where they do not."""
    if machine.share.of == 1:
        return

    def summed() -> tf.Tensor:
        everywhere = machine.strategy.run(lambda: tf.constant([steps, steps**2], tf.float64))
        return machine.strategy.reduce("SUM", everywhere, axis=None)

    total, squares = tf.function(summed)().numpy()
    if total * total != machine.replicas * squares:
        raise RunUnusable(
            f"the processes do not all begin at step {steps:,} as this one does; give them one shared folder by --run"
        )


def synchronise(model: keras.Model) -> None:
    """Lets batch normalisation take its statistics over the whole batch, whatever number of devices shares it."""
    for layer in model._flatten_layers():  # noqa: SLF001 - the only way to nested layers
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
