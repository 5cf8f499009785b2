"""Blocks that stand apart, edges that go down and run through no block."""

import random

import pytest

from training.visualize.layout import lay_out

CHAIN = [(0, 1), (1, 2), (2, 3)]
SKIP = [*CHAIN, (0, 3)]
BRANCHES = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4), (0, 4), (4, 5)]


def wild(seed, count=24):
    draw = random.Random(seed)  # noqa: S311 - the same graph every time
    return count, sorted({(draw.randrange(target), target) for target in range(1, count) for _ in range(2)})


GRAPHS = [(1, []), (4, CHAIN), (4, SKIP), (6, BRANCHES), *(wild(seed) for seed in range(6))]


@pytest.mark.parametrize(("count", "edges"), GRAPHS)
def test_blocks_stand_apart_and_within_the_drawing(count, edges):
    layout = lay_out(count, edges)
    for number, (x, y) in enumerate(layout.centres):
        assert 0.5 - 1e-9 <= x <= layout.width - 0.5 + 1e-9
        assert 0 <= y < layout.height
        for other_x, other_y in layout.centres[:number]:
            assert y != other_y or abs(x - other_x) >= 1.1


@pytest.mark.parametrize(("count", "edges"), GRAPHS)
def test_edges_go_down_layer_by_layer_and_through_no_block(count, edges):
    layout = lay_out(count, edges)
    assert set(layout.routes) == set(edges)
    for (source, target), route in layout.routes.items():
        assert (route[0], route[-1]) == (layout.centres[source], layout.centres[target])
        assert [y for _, y in route] == [route[0][1] + step for step in range(len(route))]
        for x, y in route[1:-1]:
            assert all(abs(x - block_x) > 0.5 for block_x, block_y in layout.centres if block_y == y)


def test_a_chain_is_upright():
    assert len({round(x, 6) for x, _ in lay_out(4, CHAIN).centres}) == 1


def test_a_tree_is_drawn_without_crossings():
    """Two branches of two, given in an order that crosses."""
    layout = lay_out(7, [(0, 1), (0, 2), (2, 3), (1, 4), (2, 5), (1, 6)])
    order = sorted((3, 4, 5, 6), key=lambda block: layout.centres[block][0])
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset((3, 5)), frozenset((4, 6))}


def test_an_input_that_is_needed_late_stands_just_above_its_taker():
    layout = lay_out(5, [(0, 2), (2, 3), (1, 4), (3, 4)])
    assert layout.centres[1][1] == layout.centres[4][1] - 1
