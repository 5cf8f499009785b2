"""What a transport tells each caller of a shared batch: the caller's own rows of every head, as arrays to compare."""

from dataclasses import replace

from service.inference.values import Answer, HeadAnswer


def own_heads(answer: Answer) -> list[HeadAnswer]:
    """The heads with only the rows of this answer's pictures that are not in its errors."""
    own = slice(answer.first, answer.first + answer.count - len(answer.errors))
    return [
        replace(
            head,
            indices=head.indices[own],
            scores=head.scores[own],
            maps=None if head.maps is None else head.maps[own],
            abstained=None if head.abstained is None else head.abstained[own],
        )
        for head in answer.best.heads
    ]
