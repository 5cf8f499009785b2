"""What a tiny bundle must answer, computed by NumPy: neither a runtime nor the server has a part in it."""

from collections.abc import Sequence

import numpy as np
from bundles import HEAD, _parameters, predict

from bundle.preprocessing import decode
from bundle.store import Bundle


def scores(bundle: Bundle, pictures: Sequence[bytes]) -> np.ndarray:
    """The scores of encoded pictures, float32 [n, classes]."""
    [spec] = bundle.manifest.preprocessing
    return scores_of_pixels(bundle, np.stack([decode(picture, spec) for picture in pictures]))


def scores_of_pixels(bundle: Bundle, pixels: np.ndarray) -> np.ndarray:
    """The scores of pixels, uint8 [n, height, width, channels], as float32 [n, classes]."""
    [spec] = bundle.manifest.preprocessing
    return predict(pixels, *_parameters(spec, len(bundle.labels(HEAD)), bundle.manifest.provenance.seed))
