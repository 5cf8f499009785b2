"""What a served model says to pictures that are asked over the wire: to compare a variant's answers with another's."""

from collections.abc import Sequence

import grpc

from benchmarks.serving import METHOD, Target
from protos.classifier.v1 import classifier_pb2 as pb

_A_CALL = 16
_TIMEOUT_SECONDS = 60


def best_classes(target: Target, model: str, pictures: Sequence[bytes]) -> list[str]:
    """The label of the best class of each picture. Raises RuntimeError where one could not be answered."""
    labels = []
    with grpc.insecure_channel(target.address) as channel:
        call: grpc.UnaryUnaryMultiCallable[pb.ClassifyRequest, pb.ClassifyResponse] = channel.unary_unary(
            METHOD, pb.ClassifyRequest.SerializeToString, pb.ClassifyResponse.FromString
        )
        for start in range(0, len(pictures), _A_CALL):
            images = pb.Input(images=pictures[start : start + _A_CALL])
            asked = pb.ClassifyRequest(model=pb.ModelSpec(name=model), inputs=[images])
            labels += [_best(result) for result in call(asked, timeout=_TIMEOUT_SECONDS).results]
    return labels


def agreement(first: Sequence[str], second: Sequence[str]) -> float:
    """The share of pictures with the same label in both."""
    return sum(one == other for one, other in zip(first, second, strict=True)) / len(first)


def _best(result: pb.Result) -> str:
    if result.HasField("error"):
        raise RuntimeError(f"a picture was not answered: {result.error.message}")
    return result.classifications[0].classes[0].label
