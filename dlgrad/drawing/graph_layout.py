"""Places for the boxes of a directed graph: layers from top to bottom, few crossings.

Floor 7.  The four steps of Sugiyama, Tagawa and Toda, "Methods for visual understanding of
hierarchical system structures" (1981): layers by the longest path, places for long edges to
pass through, an order within each layer by the mean position of the neighbours, coordinates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

GAP_X, GAP_Y = 22.0, 30.0  # between boxes, and between layers
PASSAGE = 8.0  # the width that a long edge takes in a layer that it passes
ORDER_SWEEPS = 12
PLACE_SWEEPS = 13  # odd: the last one goes down
STRAIGHTNESS = 8.0  # how much more passages want to be in line than boxes

Key = Hashable
Edge = tuple[Key, Key]


class Layout:
    """Where boxes and edges go.

    `sizes` maps the key of each box to its width and height; `edges` lead from box to box and
    must not go round in a circle.  Boxes in `late` go right above the first that needs them.
    Then `places` maps keys to (left, top), `routes` edges to the points that they pass, and
    `width` and `height` are those of the whole.
    """

    def __init__(
        self,
        sizes: Mapping[Key, tuple[float, float]],
        edges: Sequence[Edge],
        late: Sequence[Key] = (),
    ) -> None:
        self.sizes = dict(sizes)
        self.edges = list(dict.fromkeys(edge for edge in edges if edge[0] != edge[1]))
        self.ranks = self._ranks(set(late))
        self.above: dict[Key, list[Key]] = defaultdict(list)
        self.below: dict[Key, list[Key]] = defaultdict(list)
        self.layers: list[list[Key]] = [[] for _ in range(1 + max(self.ranks.values(), default=0))]
        self.passages: dict[Edge, list[Key]] = {}
        self._fill_layers()
        self._order()
        centers = self._centers()
        self._finish(centers)

    # Layers -----------------------------------------------------------------------------------

    def _ranks(self, late: set[Key]) -> dict[Key, int]:
        """The layer of each box: one below the lowest of those that it comes from."""
        sources: dict[Key, list[Key]] = {key: [] for key in self.sizes}
        users: dict[Key, list[Key]] = {key: [] for key in self.sizes}
        for start, end in self.edges:
            sources[end].append(start)
            users[start].append(end)
        waiting = {key: len(found) for key, found in sources.items()}
        ready = [key for key, count in waiting.items() if not count]
        ranks: dict[Key, int] = {}
        while ready:
            key = ready.pop()
            ranks[key] = max((ranks[source] + 1 for source in sources[key]), default=0)
            for user in users[key]:
                waiting[user] -= 1
                if not waiting[user]:
                    ready.append(user)
        if len(ranks) != len(self.sizes):
            raise ValueError("the edges of the graph go round in a circle")
        for key in late:
            if not sources[key] and users[key]:
                ranks[key] = max(0, min(ranks[user] for user in users[key]) - 1)
        return ranks

    def _fill_layers(self) -> None:
        """Puts the boxes into their layers, and passages where an edge is longer than one."""
        for key in self.sizes:
            self.layers[self.ranks[key]].append(key)
        for edge in self.edges:
            start, end = edge
            path: list[Key] = [start]
            for rank in range(self.ranks[start] + 1, self.ranks[end]):
                passage = ("passage", edge, rank)
                self.layers[rank].append(passage)
                path.append(passage)
            path.append(end)
            self.passages[edge] = path[1:-1]
            for upper, lower in zip(path, path[1:], strict=False):
                self.below[upper].append(lower)
                self.above[lower].append(upper)

    # Order ------------------------------------------------------------------------------------

    def _order(self) -> None:
        best, fewest = [list(layer) for layer in self.layers], self._crossings()
        for sweep in range(ORDER_SWEEPS):
            downwards = sweep % 2 == 0
            neighbours = self.above if downwards else self.below
            numbers = range(len(self.layers))
            for number in numbers if downwards else reversed(numbers):
                other = number - 1 if downwards else number + 1
                if not 0 <= other < len(self.layers):
                    continue
                position = {key: i for i, key in enumerate(self.layers[other])}
                layer = self.layers[number]
                means = {
                    key: _mean([position[n] for n in neighbours[key]], float(i))
                    for i, key in enumerate(layer)
                }
                layer.sort(key=means.__getitem__)
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(layer) for layer in self.layers], crossings
        self.layers = best

    def _crossings(self) -> int:
        """How many pairs of edges cross between neighbouring layers."""
        count = 0
        for upper, lower in zip(self.layers, self.layers[1:], strict=False):
            position = {key: i for i, key in enumerate(lower)}
            ends = [sorted(position[n] for n in self.below[key]) for key in upper]
            seen: list[int] = []
            for group in ends:
                count += sum(before > end for end in group for before in seen)
                seen += group
        return count

    # Coordinates ------------------------------------------------------------------------------

    def _width(self, key: Key) -> float:
        return self.sizes[key][0] if key in self.sizes else PASSAGE

    def _centers(self) -> dict[Key, float]:
        """The horizontal middle of every box and passage."""
        centers: dict[Key, float] = {}
        for layer in self.layers:
            self._set_apart(layer, [0.0] * len(layer), centers)
        for sweep in range(PLACE_SWEEPS):
            downwards = sweep % 2 == 0
            for layer in self.layers if downwards else reversed(self.layers):
                wanted = []
                for key in layer:
                    first, second = self.above[key], self.below[key]
                    near = (first or second) if downwards else (second or first)
                    wanted.append(_mean([centers[n] for n in near], centers[key]))
                self._set_apart(layer, wanted, centers)
        return centers

    def _set_apart(
        self, layer: Sequence[Key], wanted: Sequence[float], centers: dict[Key, float]
    ) -> None:
        """The places nearest to the wanted ones at which no two boxes of a layer overlap.

        Less the distances that must be, the places have to rise: a regression that joins
        neighbours out of order until none is.
        """
        offsets = [0.0]
        for left, right in zip(layer, layer[1:], strict=False):
            offsets.append(offsets[-1] + (self._width(left) + self._width(right)) / 2 + GAP_X)
        runs: list[tuple[float, float, int]] = []  # weighted sum, weight, members
        for key, place, offset in zip(layer, wanted, offsets, strict=True):
            weight = 1.0 if key in self.sizes else STRAIGHTNESS
            total, mass, count = weight * (place - offset), weight, 1
            while runs and runs[-1][0] / runs[-1][1] > total / mass:
                before = runs.pop()
                total, mass, count = total + before[0], mass + before[1], count + before[2]
            runs.append((total, mass, count))
        levels = [total / mass for total, mass, count in runs for _ in range(count)]
        for key, level, offset in zip(layer, levels, offsets, strict=True):
            centers[key] = level + offset

    def _finish(self, centers: Mapping[Key, float]) -> None:
        """Turns middles and layers into corners, routes and the size of the whole."""
        left = min((centers[key] - self._width(key) / 2 for key in centers), default=0.0)
        tops, heights = [], []
        top = GAP_X
        for layer in self.layers:
            height = max((self.sizes[key][1] for key in layer if key in self.sizes), default=0.0)
            tops.append(top)
            heights.append(height)
            top += height + GAP_Y
        middle = {key: centers[key] - left + GAP_X for key in centers}
        self.places = {}
        for key, (width, height) in self.sizes.items():
            rank = self.ranks[key]
            room = heights[rank] - height
            self.places[key] = (middle[key] - width / 2, tops[rank] + room / 2)
        self.routes = {}
        for (start, end), passages in self.passages.items():
            points = [(middle[start], self.places[start][1] + self.sizes[start][1])]
            for passage in passages:
                rank = self._rank_of_passage(passage)
                points.append((middle[passage], tops[rank]))
                points.append((middle[passage], tops[rank] + heights[rank]))
            points.append((middle[end], self.places[end][1]))
            self.routes[start, end] = points
        ends = [middle[key] + self._width(key) / 2 for key in centers]
        self.width = max(ends, default=0.0) + GAP_X
        self.height = top - GAP_Y + GAP_X

    @staticmethod
    def _rank_of_passage(passage: Key) -> int:
        assert isinstance(passage, tuple)
        rank: int = passage[2]
        return rank


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
