"""A graph that does not fit its manifest is refused in one sentence that names both."""

import pytest

from bundle.manifest import Signature, TensorSpec
from service.errors import ModelUnusable
from service.runtimes.signature import check_signature


def spec(name, dtype, *shape):
    return TensorSpec(name=name, dtype=dtype, shape=shape)


IMAGE = spec("image", "uint8", None, 8, 8, 3)
SCORES = spec("scores", "float32", None, 3)
DECLARED = Signature(inputs=(IMAGE,), outputs=(SCORES,))


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([IMAGE], [SCORES]),
        ([spec("image", "uint8", None, None, None, 3)], [SCORES]),  # the graph takes any size, the manifest names one
        ([IMAGE], [spec("scores", "float32")]),  # an output of unknown shape
        ([IMAGE], [spec("features", "float32", None, 64), SCORES]),  # more outputs than are asked for
    ],
)
def test_a_graph_that_fits_is_accepted(inputs, outputs):
    check_signature(DECLARED, inputs, outputs)


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ([spec("picture", "uint8", None, 8, 8, 3)], [SCORES], "'picture'"),
        ([IMAGE, spec("mask", "float32", None)], [SCORES], "wants input 'mask'"),
        ([], [SCORES], "input 'image', the graph has none"),
        ([spec("image", "float32", None, 8, 8, 3)], [SCORES], "uint8 .any, 8, 8, 3., the graph has float32"),
        ([spec("image", "uint8", None, 3, 8, 8)], [SCORES], r"the graph has uint8 \[any, 3, 8, 8\]"),
        ([spec("image", "uint8", None, 8, 8)], [SCORES], "input 'image'"),
        ([spec("image", "uint8", 1, 8, 8, 3)], [SCORES], r"the graph has uint8 \[1, 8, 8, 3\]"),  # a fixed batch
        ([spec("image", "uint8")], [SCORES], "input 'image'"),
        ([IMAGE], [spec("scores", "float32", None, 4)], "output 'scores'"),
        ([IMAGE], [spec("scores", "float16", None, 3)], "output 'scores'"),
        (
            [IMAGE],
            [spec("a", "float32", None, 3), spec("b", "float32", None, 3)],
            "output 'scores', the graph has 'a', 'b'",
        ),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(inputs, outputs, said):
    with pytest.raises(ModelUnusable, match=said):
        check_signature(DECLARED, inputs, outputs)
