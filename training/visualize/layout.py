"""Where the blocks of a graph stand: in layers from top to bottom, as Sugiyama, Tagawa and Toda (1981) draw graphs.

Each block goes one layer below the lowest it depends on; an edge that passes layers gets a place in each, so that it
runs beside the blocks and not through them. Order within a layer: neighbours' means, swept down and up, the sweep with
the fewest crossings kept. Positions: as near to the neighbours' as order and width allow, exactly, by pooling adjacent
violators. Pure numbers; called by `architecture`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]

_SWEEPS = 12
_SETTLING = 400
_PASSING = 0.12  # the width of an edge that passes a layer, in blocks
_STRAIGHT = 8.0  # how much more a link pulls that is the only one at both ends, so that chains stand upright


@dataclass(frozen=True, slots=True)
class Layout:
    """Centres of the blocks, and of every edge the places it passes, from its source to its target.

    x is in widths of a block and starts at 0 at the left edge of the leftmost; y is the number of the layer.
    """

    centres: tuple[Point, ...]
    routes: Mapping[tuple[int, int], tuple[Point, ...]]
    width: float
    height: int


def lay_out(count: int, edges: Sequence[tuple[int, int]], gap: float = 0.14) -> Layout:
    """Places `count` blocks; each edge goes from a lower to a higher index. `gap` is in widths of a block."""
    layer = _layers(count, edges)
    chains = _chains(count, edges, layer)
    places = [*layer, *(at for chain in chains.values() for at in range(layer[chain[0]] + 1, layer[chain[-1]]))]
    links = [pair for chain in chains.values() for pair in pairwise(chain)]
    rows = _ordered(places, links)
    x = _positions(rows, links, count, gap)
    left = min(x[number] - _half(number, count) for number in range(len(places)))
    right = max(x[number] + _half(number, count) for number in range(len(places)))
    points = [(x[number] - left, float(places[number])) for number in range(len(places))]
    routes = {edge: tuple(points[number] for number in chain) for edge, chain in chains.items()}
    return Layout(tuple(points[:count]), routes, right - left, max(places, default=-1) + 1)


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Below all it depends on; a block on which nothing comes before stands just above its first taker."""
    layer = [0] * count
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        layer[target] = max(layer[target], layer[source] + 1)
    fed = {target for _, target in edges}
    for block in set(range(count)) - fed:
        layer[block] = min((layer[target] - 1 for source, target in edges if source == block), default=0)
    return layer


def _chains(count: int, edges: Sequence[tuple[int, int]], layer: Sequence[int]) -> dict[tuple[int, int], list[int]]:
    """Every edge as its source, one new number for each layer that it passes, and its target."""
    chains = {}
    for source, target in edges:
        passed = layer[target] - layer[source] - 1
        chains[source, target] = [source, *range(count, count + passed), target]
        count += passed
    return chains


def _ordered(places: Sequence[int], links: Sequence[tuple[int, int]]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(max(places, default=-1) + 1)]
    for number, place in enumerate(places):
        rows[place].append(number)
    up, down = _neighbours(len(places), links)
    best, fewest = [row[:] for row in rows], _crossings(rows, down)
    for sweep in range(_SWEEPS):
        sweeping, neighbours = (rows[1:], up) if sweep % 2 == 0 else (rows[-2::-1], down)
        for row in sweeping:
            at = {number: index for other in rows for index, number in enumerate(other)}
            row.sort(key=lambda number: _mean((at[other] for other in neighbours[number]), at[number]))
        if (crossings := _crossings(rows, down)) < fewest:
            best, fewest = [row[:] for row in rows], crossings
    return best


def _crossings(rows: Sequence[Sequence[int]], down: Sequence[Sequence[int]]) -> int:
    at = {number: index for row in rows for index, number in enumerate(row)}
    ends = ([(at[a], at[b]) for a in row for b in down[a]] for row in rows)
    return sum((a - c) * (b - d) < 0 for row in ends for i, (a, b) in enumerate(row) for c, d in row[:i])


def _positions(
    rows: Sequence[Sequence[int]], links: Sequence[tuple[int, int]], count: int, gap: float
) -> dict[int, float]:
    """Sweeps that move every row to where its neighbours pull it."""
    up, down = _neighbours(sum(map(len, rows)), links)
    pulls: dict[int, list[tuple[int, float]]] = {number: [] for row in rows for number in row}
    for source, target in links:
        weight = _STRAIGHT if len(down[source]) == len(up[target]) == 1 else 1.0
        pulls[source].append((target, weight))
        pulls[target].append((source, weight))
    x = {number: index - len(row) / 2 for row in rows for index, number in enumerate(row)}
    for sweep in range(_SETTLING):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            weights = [sum(weight for _, weight in pulls[number]) or 1.0 for number in row]
            sums = [sum(x[other] * weight for other, weight in pulls[number]) for number in row]
            wanted = [pulled / w if pulls[n] else x[n] for n, pulled, w in zip(row, sums, weights, strict=True)]
            x.update(zip(row, _apart(row, wanted, weights, count, gap), strict=True))
    return x


def _apart(
    row: Sequence[int], wanted: Sequence[float], weights: Sequence[float], count: int, gap: float
) -> list[float]:
    """The positions nearest to the wanted ones (weighted least squares) that keep order and distance."""
    offsets = [0.0]
    for one, other in pairwise(row):
        offsets.append(offsets[-1] + _half(one, count) + gap + _half(other, count))
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for want, offset, weight in zip(wanted, offsets, weights, strict=True):
        pool = (want - offset, weight, 1)
        while pools and pools[-1][0] >= pool[0]:
            mean, heavy, members = pools.pop()
            together = heavy + pool[1]
            pool = ((mean * heavy + pool[0] * pool[1]) / together, together, members + pool[2])
        pools.append(pool)
    means = [mean for mean, _, members in pools for _ in range(members)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _neighbours(count: int, links: Iterable[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    up: list[list[int]] = [[] for _ in range(count)]
    down: list[list[int]] = [[] for _ in range(count)]
    for source, target in links:
        up[target].append(source)
        down[source].append(target)
    return up, down


def _half(number: int, count: int) -> float:
    return 0.5 if number < count else _PASSING / 2


def _mean(values: Iterable[float], otherwise: float) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else otherwise
