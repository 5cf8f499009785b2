"""The learning rate of every step: a straight warm-up, then a cosine, a constant or steps down. Pure NumPy.

Fine-tuning is a second phase with a schedule of its own, in the same form and lower.
"""

import numpy as np
from numpy.typing import NDArray

from training.config import TrainingConfig

_FIRST = 0.05  # of the peak, where the warm-up begins
_LAST = 0.01  # of the peak, where the cosine ends
_STEPS_DOWN = (0.5, 0.75)  # of the whole run; each divides by ten


def learning_rates(config: TrainingConfig, steps: int, first: int = 0) -> NDArray[np.float32]:
    """One rate a step, float32 [steps]; the first phase has `first` of them.

    The cosine is that of Loshchilov and Hutter, "SGDR", 2017, with a restart only between phases.
    """
    if first == 0:
        return _phase(config, steps, config.learning_rate)
    tuning = _phase(config, steps - first, config.learning_rate * config.fine_tune_rate)
    return np.concatenate([_phase(config, first, config.learning_rate), tuning])


def _phase(config: TrainingConfig, steps: int, peak: float) -> NDArray[np.float32]:
    step = np.arange(steps)
    warmup = int(steps * config.warmup)
    done = (step - warmup) / max(steps - warmup, 1)
    share: NDArray[np.float64] = np.ones(steps)
    if config.schedule == "cosine":
        share = _LAST + (1 - _LAST) * (1 + np.cos(np.pi * done)) / 2
    elif config.schedule == "step":
        share = np.power(0.1, np.searchsorted(_STEPS_DOWN, step / steps, side="right"))
    rising = _FIRST + (1 - _FIRST) * step / max(warmup, 1)
    return np.asarray(peak * np.where(step < warmup, rising, share), np.float32)
