"""A dataset that a tiny network learns within seconds: bars and checks of random brightness in noise."""

import numpy as np

from training.config import TrainingConfig
from training.datasets import Dataset, Split

NAMES = ("rows", "columns", "checks")
SIDE = 12


def dataset(train=600, validation=120, test=120, channels=1, coarse_names=("lines", "lines", "checks")):
    return Dataset(
        name="shapes",
        class_names=NAMES,
        train=split(train, 1, channels),
        validation=split(validation, 2, channels),
        test=split(test, 3, channels),
        digest="sha256:" + "0" * 64,
        coarse_names=coarse_names,
    )


def split(count, seed, channels=1):
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(NAMES)
    rows, columns = np.indices((SIDE, SIDE)) // 2 % 2
    patterns = np.stack([rows, columns, rows ^ columns])[labels]
    phase = random.integers(0, 2, (count, 1, 1))
    brightness = random.uniform(40, 120, (count, 1, 1))
    images = 60 + brightness * (patterns ^ phase) + random.normal(0, 15, patterns.shape)
    pixels = images.clip(0, 255).astype(np.uint8)[..., np.newaxis]
    return Split(np.repeat(pixels, channels, axis=3), labels.astype(np.int64))


def config(**changes):
    values = {
        "dataset": "shapes",
        "architecture": "sequential",
        "name": "shapes",
        "epochs": 3,
        "batch_size": 32,
        "learning_rate": 3e-3,
        "weight_decay": 0.01,
        "warmup": 0.1,
        "dropout": 0.1,
        "flip": True,
    }
    return TrainingConfig(**(values | changes))
