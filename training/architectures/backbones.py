"""What is known of transfer's backbones without Keras, so that a wrong name or file is told before it is loaded.

The names are those of `keras.applications`; a test holds them to the installed Keras. Called by
`training.architectures` and by `transfer`.
"""

from pathlib import Path

from training.errors import ConfigInvalid, WeightsUnavailable

DEFAULT = "MobileNetV2"
NO_WEIGHTS, IMAGENET = "none", "imagenet"

NAMES = (
    *("ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtSmall", "ConvNeXtTiny", "ConvNeXtXLarge"),
    *("DenseNet121", "DenseNet169", "DenseNet201"),
    *("EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3", "EfficientNetB4"),
    *("EfficientNetB5", "EfficientNetB6", "EfficientNetB7"),
    *("EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3", "EfficientNetV2L"),
    *("EfficientNetV2M", "EfficientNetV2S"),
    *("InceptionResNetV2", "InceptionV3"),
    *("MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"),
    *("NASNetLarge", "NASNetMobile"),
    *("ResNet101", "ResNet101V2", "ResNet152", "ResNet152V2", "ResNet50", "ResNet50V2"),
    *("VGG16", "VGG19", "Xception"),
)


def check(backbone: str | None, weights: str | None) -> None:
    """Raises ConfigInvalid for a backbone that is not there, WeightsUnavailable for weights that are no file."""
    if backbone is not None and backbone not in NAMES:
        raise ConfigInvalid(f"there is no backbone {backbone!r}; choose from {', '.join(NAMES)}")
    if weights not in {None, NO_WEIGHTS, IMAGENET} and not Path(weights or "").is_file():
        raise WeightsUnavailable(f"there is no file {weights} of weights; give a file, {IMAGENET} or {NO_WEIGHTS}")
