"""A model whose manifest says when not to answer: what its callers are told, by every way to ask."""

import numpy as np
import pytest
from bundles import encode, make_bundle
from expected import scores
from servers import Asked, serving

from protos.classifier.v1 import classifier_pb2 as pb

BELOW = 0.8


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path, abstain_below=BELOW)


@pytest.mark.parametrize("top_k", [1, 3])
async def test_answers_with_a_best_score_below_the_threshold_are_marked(bundle, transport, top_k):
    random = np.random.default_rng(5)
    pictures = [encode(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(12)]
    async with serving(bundle.path.parent.parent, transport=transport) as (server, channel):
        results = (await Asked(server, channel).classify(*pictures, top_k=top_k)).results
    marked = [result.classifications[0].abstained for result in results]
    assert marked == (scores(bundle, pictures).max(axis=1) < BELOW).tolist()
    assert set(marked) == {True, False}


async def test_the_threshold_can_be_asked_for(bundle):
    async with serving(bundle.path.parent.parent) as (server, channel):
        model = pb.ModelSpec(name="tiny")
        [head] = (await Asked(server, channel).stub.GetModel(pb.GetModelRequest(model=model))).heads
    assert head.abstain_below == BELOW
    assert not head.HasField("temperature")
