"""What one training run is told: a frozen value whose every field is declared once, with its limits and its doc.

A configuration is checked when it is made, so a run never fails an hour later for a wrong number. It is written into
the manifest, and with the dataset's digest it says how to train the version again. `training.options` makes flags of
the fields, `training.configfile` reads them from files, `training.presets` has the recipes; every step of training
reads them.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from training.errors import ConfigInvalid

DATA, RECIPE, AUGMENTATION, PUBLISHING, MACHINE = "Data", "Recipe", "Augmentation", "Publishing", "Machine"


def _knob(
    default: Any = dataclasses.MISSING,
    *,
    doc: str,
    group: str = RECIPE,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Any:
    limits = {"at least": least, "above": above, "at most": most, "below": below}
    return field(default=default, metadata={"doc": doc, "group": group, "limits": limits})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """One run. Raises ConfigInvalid for a value of another type or out of its range.

    Every value is a string, a number, a boolean or None, so that the manifest and a TOML file can hold it as it is.
    """

    dataset: str = _knob(doc="fashion_mnist, files, keras:NAME or tfds:NAME.", group=DATA)
    data: str | None = _knob(
        None,
        doc="A folder of class-named folders of pictures, or a .csv or .parquet table with the columns path, label and "
        "perhaps split; for fashion_mnist the folder of its four files.",
        group=DATA,
    )
    name: str = _knob(doc="The published model's name; else the data's.", group=DATA)
    height: int = _knob(64, doc="Height to which picture files are brought.", group=DATA, least=8, most=2048)
    width: int = _knob(64, doc="Width to which picture files are brought.", group=DATA, least=8, most=2048)
    channels: Literal[1, 3] = _knob(3, doc="1 reads picture files as grey, 3 in colour.", group=DATA)
    resize: Literal["stretch", "crop", "pad"] = _knob(
        "crop", doc="How another aspect ratio is met: stretch, crop the ends, or pad.", group=DATA
    )
    kernel: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = _knob(
        "bilinear", doc="The kernel of the resize.", group=DATA
    )
    bad_pictures: Literal["skip", "fail"] = _knob(
        "skip",
        doc="Pass over damaged files and class folders without a picture, naming each, or stop at the first.",
        group=DATA,
    )
    validation_share: float = _knob(
        0.1, doc="Share of the files for validation where the data does not say.", group=DATA, above=0, most=0.5
    )
    test_share: float = _knob(
        0.1, doc="Share of the files for the test where the data does not say.", group=DATA, above=0, most=0.4
    )
    limit: int | None = _knob(None, doc="Train on the first pictures only, to try things out.", group=DATA, least=1)
    architecture: str = _knob(
        doc="The network: sequential, accurate, wide, residual, separable, multi_output, siamese or transfer."
    )
    backbone: str | None = _knob(None, doc="Of the architecture transfer: which of keras.applications.")
    weights: str | None = _knob(None, doc="Of transfer: what the backbone begins with, a file, imagenet or none.")
    fine_tune: int = _knob(
        0, doc="Of transfer: how many of the backbone's last layers are trained too, in a second phase.", least=0
    )
    head_epochs: int | None = _knob(
        None, doc="Of fine_tune: the epochs of the first phase, which trains the head alone; else a third.", least=0
    )
    fine_tune_rate: float = _knob(
        0.1, doc="Of fine_tune: the second phase's learning rate, as a share of the first's.", above=0, most=1
    )
    epochs: int = _knob(doc="Times through the training pictures.", least=1)
    least_steps: int = _knob(
        0,
        doc="Where the epochs give fewer steps than this, train more of them; 0, and where epochs is given: don't.",
        least=0,
    )
    batch_size: int = _knob(doc="Pictures a step, over all devices.", least=1)
    least_batch: int = _knob(
        0,
        doc="Where the pictures are few, halve the batch, not below this; 0, and where batch_size is given: don't.",
        least=0,
    )
    learning_rate: float = _knob(doc="The schedule's peak.", above=0, most=1e38)
    schedule: Literal["cosine", "constant", "step"] = _knob(
        "cosine", doc="How the learning rate goes on after the warm-up; step divides it by 10 at 50% and at 75%."
    )
    warmup: float = _knob(doc="Share of the steps in which the learning rate rises to its peak.", least=0, below=1)
    weight_decay: float = _knob(doc="AdamW's.", least=0)
    label_smoothing: float = _knob(0.0, doc="Share of the right label's weight given to all.", least=0, below=1)
    dropout: float = _knob(doc="Share of the features left out before the head.", least=0, below=1)
    class_weights: Literal["none", "balanced"] = _knob(
        "none", doc="balanced lets every class weigh the same, however many pictures it has."
    )
    patience: int = _knob(0, doc="Stop after so many epochs without a better validation loss; 0: never.", least=0)
    average: float = _knob(
        0.0,
        doc="Keep the weights' moving average, with this share of the past a step; 0: don't.",
        least=0,
        below=1,
    )
    seed: int = _knob(0, doc="The same seed gives the same weights on the same machine.", least=0, below=2**32)
    flip: bool = _knob(False, doc="Mirror half of the pictures left to right.", group=AUGMENTATION)
    shift: int = _knob(0, doc="Move pictures by at most this many pixels.", group=AUGMENTATION, least=0)
    rotate: float = _knob(0.0, doc="Turn pictures by at most so many degrees.", group=AUGMENTATION, least=0, most=180)
    zoom: float = _knob(0.0, doc="Scale pictures by at most this share.", group=AUGMENTATION, least=0, below=1)
    brightness: float = _knob(0.0, doc="Change brightness by at most this share.", group=AUGMENTATION, least=0, most=1)
    contrast: float = _knob(0.0, doc="Change contrast by at most this share.", group=AUGMENTATION, least=0, most=1)
    saturation: float = _knob(0.0, doc="Change colours by at most this share.", group=AUGMENTATION, least=0, most=1)
    cutout: int = _knob(0, doc="Grey out a square of this many pixels a side.", group=AUGMENTATION, least=0)
    mixup: float = _knob(
        0.0, doc="Mix each picture with another, by shares from Beta(a, a) of this a.", group=AUGMENTATION, least=0
    )
    explain: bool = _knob(False, doc="Publish class-activation maps, for Classify with explain.", group=PUBLISHING)
    calibrate: bool = _knob(True, doc="Fit each head's temperature on the validation split.", group=PUBLISHING)
    abstain_precision: float | None = _knob(
        None,
        doc="Share of answers that shall be right, such as 0.99; those less sure are marked as unsure.",
        group=PUBLISHING,
        above=0,
        most=1,
    )
    int8: bool = _knob(True, doc="Add an int8 variant if it is as good.", group=PUBLISHING)
    int8_pictures: int = _knob(256, doc="Training pictures that int8 is calibrated on.", group=PUBLISHING, least=1)
    int8_max_loss: float = _knob(
        0.005, doc="Share of accuracy that int8 may lose on the test pictures.", group=PUBLISHING, least=0, most=1
    )
    int8_min_agreement: float = _knob(
        0.99, doc="Share of test pictures that int8 must answer alike.", group=PUBLISHING, least=0, most=1
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = _knob(
        "float32", doc="What the network computes in while it is trained; the published one is float32.", group=MACHINE
    )
    distribute: Literal["none", "mirrored", "workers"] = _knob(
        "none", doc="mirrored: all GPUs of this machine; workers: the processes that TF_CONFIG names.", group=MACHINE
    )
    deterministic: bool = _knob(
        True, doc="Repeat a run bit by bit; off, some operations of a GPU are faster.", group=MACHINE
    )

    @property
    def first_epochs(self) -> int:
        """The epochs in which only the head of a backbone that is to be fine-tuned is trained."""
        if not self.fine_tune:
            return 0
        return self.epochs // 3 if self.head_epochs is None else min(self.head_epochs, self.epochs)

    def __post_init__(self) -> None:
        """Holds every value to its declaration."""
        hints = get_type_hints(TrainingConfig)
        for knob in dataclasses.fields(self):
            value = getattr(self, knob.name)
            _check_type(knob.name, value, hints[knob.name])
            if isinstance(value, int | float) and not isinstance(value, bool):
                _check_limits(knob.name, value, knob.metadata["limits"])


def check_values(values: Mapping[str, Any], source: str) -> None:
    """Raises ConfigInvalid for a value that is of no field or of another type than its field."""
    hints = get_type_hints(TrainingConfig)
    for name, value in values.items():
        if name not in hints:
            raise ConfigInvalid(f"{source} sets {name!r}, which is no setting; the settings are {', '.join(hints)}")
        _check_type(name, value, hints[name])


def _check_type(name: str, value: object, hint: Any) -> None:
    kinds = get_args(hint) if get_origin(hint) in {UnionType, Union} else (hint,)
    if get_origin(hint) is Literal:
        if value not in get_args(hint) or isinstance(value, bool):
            raise ConfigInvalid(f"{name} is {value!r}; choose from {', '.join(map(str, get_args(hint)))}")
        return
    # A whole number is a float too; True is an int to Python, but not to whoever wrote it.
    fits = type(value) in kinds or (type(value) is int and float in kinds)
    if not fits:
        wanted = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ConfigInvalid(f"{name} is {value!r}, but it must be of type {wanted}")


def _check_limits(name: str, value: float, limits: dict[str, float | None]) -> None:
    # Written so that NaN, which compares with nothing, is refused too.
    holds = {
        "at least": lambda limit: value >= limit,
        "above": lambda limit: value > limit,
        "at most": lambda limit: value <= limit,
        "below": lambda limit: value < limit,
    }
    given = {word: limit for word, limit in limits.items() if limit is not None}
    if not all(holds[word](limit) for word, limit in given.items()):
        wanted = " and ".join(f"{word} {limit}" for word, limit in given.items())
        raise ConfigInvalid(f"{name} is {value}, but it must be {wanted}")
