"""The bytes that we write are the message that protobuf reads."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from own_rows import own_heads

from protos.classifier.v1 import classifier_pb2 as pb
from service.api import encoding
from service.inference.values import Answer, Best, HeadAnswer

RANDOM = np.random.default_rng(7)


class Version(SimpleNamespace):
    """As much of a servable as encoding looks at."""

    __hash__ = object.__hash__


def answer(
    heads: dict[str, int], count: int, k: int, bad: dict[int, str], seconds: tuple[float, float, float]
) -> Answer:
    labels = {name: tuple(f"{name} \u00fc {number}" for number in range(classes)) for name, classes in heads.items()}
    servable = Version(bundle=SimpleNamespace(name="flowers", version=2**40, path=Path()), labels=labels)
    good = count - len(bad)
    answers = (
        []
        if not good
        else [
            HeadAnswer(
                name,
                labels[name],
                np.array([RANDOM.permutation(classes)[:k] for _ in range(good)], np.int64).reshape(good, -1),
                RANDOM.random((good, min(k, classes)), np.float32),
            )
            for name, classes in heads.items()
        ]
    )
    return Answer(servable, count, Best(answers), 0, bad, *seconds)  # type: ignore[arg-type]


def with_maps(given: Answer, rows: int, columns: int) -> Answer:
    """The same answer with maps of its first classes."""
    for head in given.best.heads:
        pictures, classes = head.indices.shape
        head.maps = RANDOM.normal(size=(pictures, min(classes, 5), rows, columns)).astype(np.float32)
    return given


def expected(given: Answer) -> pb.ClassifyResponse:
    """The same answer, put together from the generated classes."""
    model = pb.ModelSpec(name="flowers", version=2**40)
    durations = (given.preprocess_seconds, given.queue_seconds, given.compute_seconds)
    timing = pb.Timing(
        **dict(zip(("preprocess_us", "queue_us", "compute_us"), (round(d * 1e6) for d in durations), strict=True))
    )
    response, row = pb.ClassifyResponse(model=model, timing=timing), 0
    for number in range(given.count):
        result = response.results.add()
        if number in given.errors:
            result.error.code, result.error.message = 3, given.errors[number]
            continue
        for head in given.best.heads:
            classification = result.classifications.add(head=head.name)
            classification.abstained = head.abstained is not None and bool(head.abstained[row])
            for index, score in zip(head.indices[row].tolist(), head.scores[row].tolist(), strict=True):
                classification.classes.add(label=head.labels[index], index=index, score=score)
            for values in () if head.maps is None else head.maps[row]:
                rows, columns = values.shape
                classification.activation_maps.add(rows=rows, columns=columns, values=values.tobytes())
        row += 1
    return response


@pytest.mark.parametrize("heads", [{"class": 1}, {"class": 10}, {"colour": 3, "a much longer name of a head": 1000}])
@pytest.mark.parametrize(("count", "bad"), [(1, {}), (1, {0: "broken"}), (3, {1: "br\u00f6ken " * 99}), (40, {})])
@pytest.mark.parametrize("k", [1, 5, 200])
def test_protobuf_reads_what_was_meant(heads, count, bad, k):
    given = answer(heads, count, k, bad, (0.0, 0.000127, 99999.9))
    assert pb.ClassifyResponse.FromString(encoding.response(given)) == expected(given)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (14, 14)])
@pytest.mark.parametrize("heads", [{"class": 1}, {"colour": 3, "kind": 200}])
def test_protobuf_reads_the_maps(heads, size):
    given = with_maps(answer(heads, 4, 7, {2: "broken"}, (0, 0, 0)), *size)
    assert pb.ClassifyResponse.FromString(encoding.response(given, 9)) == pb.ClassifyResponse(
        **{field.name: value for field, value in expected(given).ListFields()}, id=9
    )


def test_maps_that_are_not_contiguous_are_read_in_their_order():
    given = with_maps(answer({"class": 10}, 3, 5, {}, (0, 0, 0)), 3, 4)
    head = given.best.heads[0]
    head.indices, head.scores, head.maps = head.indices[:, :2], head.scores[:, :2], head.maps[:, :2]
    assert pb.ClassifyResponse.FromString(encoding.response(given)) == expected(given)


@pytest.mark.parametrize("k", [1, 5])
def test_what_one_of_two_heads_is_unsure_of_is_marked(k):
    given = answer({"colour": 3, "size": 1000}, 5, k, {1: "broken"}, (0, 0, 0))
    given.best.heads[1].abstained = np.array([True, False, False, True])
    results = pb.ClassifyResponse.FromString(encoding.response(given)).results
    assert pb.ClassifyResponse.FromString(encoding.response(given)) == expected(given)
    assert [[each.abstained for each in result.classifications] for result in results] == [
        [False, True],
        [],
        [False, False],
        [False, False],
        [False, True],
    ]


def test_scores_that_are_not_contiguous_are_read_row_by_row():
    given = answer({"class": 10}, 4, 5, {}, (0, 0, 0))
    head = given.best.heads[0]
    head.indices, head.scores = head.indices[:, :2], head.scores[:, :2]
    assert pb.ClassifyResponse.FromString(encoding.response(given)) == expected(given)


@pytest.mark.parametrize("score", [0.0, 1.0, float("inf"), 1e-45])
def test_odd_scores_survive(score):
    given = answer({"class": 1}, 1, 1, {}, (0, 0, 0))
    given.best.heads[0].scores = np.array([[score]], np.float32)
    [result] = pb.ClassifyResponse.FromString(encoding.response(given)).results
    assert result.classifications[0].classes[0].score == np.float32(score)


def test_answers_that_share_a_batch_get_their_own_rows():
    batch = answer({"colour": 3, "size": 10}, 6, 3, {}, (0, 0, 0))
    shared = [
        replace(batch, count=count, first=first, errors=errors)
        for first, count, errors in [(0, 1, {}), (1, 4, {0: "broken", 2: "broken"}), (3, 3, {}), (2, 2, {})]
    ]
    for given in shared:
        own = replace(given, best=Best(own_heads(given)), first=0)
        assert pb.ClassifyResponse.FromString(encoding.response(given)) == expected(own)
