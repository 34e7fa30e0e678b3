"""Digits that dlgrad draws itself: handwriting-like, 28x28, for machines without a network.

Floor 7.  Each class has a few ways of writing it, as strokes of a pen; a picture is one of
them with its points moved, the whole slanted, turned, stretched and bent, and drawn with a pen
of random width.  The geometry is plain Python, the pixels are one kernel: the grey value of a
pixel follows from its distance to the nearest of the line segments.
"""

from __future__ import annotations

import math
import random
from array import array

from dlgrad.core.creation import tensor
from dlgrad.dtype import float32, int64, uint8
from dlgrad.files.mapped import tensor_bytes, tensor_from_bytes
from dlgrad.tensor import Tensor

Point = tuple[float, float]
Stroke = list[Point]

SIDE = 28  # pixels
SEGMENTS = 32  # of every picture, shared among its strokes by length
BATCH = 256  # pictures that one kernel draws
INK_SIZE = 20.0  # pixels of the longer side of the box around a digit, before distortion
EDGE = 1.2  # pixels over which the ink fades
CURVE_STEPS = 6  # straight pieces between two points of a curve

# The strokes of each digit in a unit square, x to the right and y down.  A pen moves through
# the points of a stroke on a smooth curve; a point that is given twice is a corner.
STYLES: list[list[list[Stroke]]] = [
    [  # 0
        [[(.55, .0), (.2, .12), (.05, .5), (.2, .88), (.5, 1.), (.82, .85), (.95, .5), (.8, .12),
          (.5, .0)]],
        [[(.62, .05), (.3, .05), (.08, .35), (.1, .75), (.4, 1.), (.75, .85), (.92, .5),
          (.85, .15), (.55, .02), (.4, .1)]],
        [[(.5, .0), (.25, .2), (.18, .55), (.28, .9), (.5, 1.), (.72, .9), (.82, .5), (.74, .15),
          (.5, .0)]],
    ],
    [  # 1
        [[(.5, .0), (.5, .5), (.5, 1.)]],
        [[(.3, .22), (.52, .0), (.52, .0), (.52, .5), (.52, 1.)]],
        [[(.25, .25), (.5, .0), (.5, .0), (.5, .5), (.5, 1.)], [(.2, 1.), (.8, 1.)]],
        [[(.62, .0), (.5, .5), (.4, 1.)]],
    ],
    [  # 2
        [[(.1, .25), (.25, .05), (.55, .0), (.82, .15), (.8, .4), (.5, .7), (.08, 1.),
          (.08, 1.), (.5, .98), (.95, .97)]],
        [[(.12, .2), (.4, .0), (.75, .1), (.78, .38), (.5, .7), (.2, .95), (.1, .85), (.3, .76),
          (.6, .92), (.98, .95)]],
        [[(.08, .12), (.45, .02), (.8, .12), (.82, .35), (.55, .65), (.12, .98), (.12, .98),
          (.55, .93), (.95, 1.)]],
    ],
    [  # 3
        [[(.15, .12), (.45, .0), (.78, .12), (.75, .35), (.42, .47), (.42, .47), (.8, .55),
          (.88, .78), (.6, .98), (.3, .98), (.08, .85)]],
        [[(.1, .05), (.5, .0), (.82, .15), (.7, .38), (.45, .48), (.78, .58), (.85, .82),
          (.5, 1.), (.1, .9)]],
        [[(.12, .0), (.8, .0), (.8, .0), (.42, .4), (.42, .4), (.75, .46), (.88, .7), (.7, .95),
          (.35, 1.), (.1, .88)]],
    ],
    [  # 4
        [[(.2, .0), (.12, .3), (.1, .55), (.1, .55), (.5, .56), (.92, .5)],
         [(.75, .0), (.7, .5), (.66, 1.)]],
        [[(.62, .0), (.3, .35), (.05, .65), (.05, .65), (.5, .65), (.95, .63)],
         [(.65, .3), (.64, .65), (.62, 1.)]],
        [[(.65, .0), (.35, .3), (.08, .68), (.08, .68), (.95, .66)],
         [(.65, .0), (.65, .5), (.65, 1.)]],
        [[(.15, .05), (.1, .35), (.2, .52), (.5, .52), (.8, .4)],
         [(.85, .0), (.78, .5), (.72, 1.)]],
    ],
    [  # 5
        [[(.85, .0), (.25, .02), (.25, .02), (.15, .42), (.15, .42), (.5, .36), (.82, .5),
          (.85, .78), (.55, .99), (.08, .92)]],
        [[(.28, .0), (.2, .4), (.2, .4), (.5, .35), (.8, .5), (.82, .8), (.5, 1.), (.12, .95)],
         [(.28, .02), (.6, .03), (.92, .0)]],
        [[(.9, .05), (.55, .0), (.3, .1), (.22, .42), (.22, .42), (.6, .45), (.78, .66),
          (.65, .92), (.3, 1.), (.05, .88)]],
    ],
    [  # 6
        [[(.7, .0), (.35, .2), (.12, .6), (.25, .93), (.6, 1.), (.85, .8), (.7, .55), (.4, .55),
          (.18, .75)]],
        [[(.5, .0), (.25, .3), (.15, .7), (.35, .98), (.7, .93), (.8, .7), (.6, .52), (.3, .6),
          (.17, .78)]],
        [[(.85, .05), (.5, .1), (.2, .4), (.12, .75), (.35, 1.), (.7, .95), (.82, .72),
          (.6, .55), (.28, .66), (.15, .8)]],
    ],
    [  # 7
        [[(.05, .05), (.5, .04), (.92, .02), (.92, .02), (.6, .45), (.4, 1.)]],
        [[(.08, .15), (.1, .02), (.1, .02), (.88, .03), (.88, .03), (.65, .5), (.5, 1.)]],
        [[(.05, .05), (.5, .05), (.9, .0), (.9, .0), (.62, .5), (.42, 1.)],
         [(.32, .52), (.58, .5), (.85, .5)]],
        [[(.1, .1), (.4, .02), (.8, .05), (.85, .2), (.68, .6), (.6, 1.)]],
    ],
    [  # 8
        [[(.78, .15), (.5, .0), (.22, .12), (.28, .38), (.72, .6), (.8, .85), (.5, 1.),
          (.2, .85), (.3, .6), (.68, .4), (.78, .15)]],
        [[(.5, .48), (.2, .3), (.3, .05), (.65, .02), (.8, .22), (.5, .48), (.2, .72),
          (.28, .95), (.6, 1.), (.82, .8), (.5, .48)]],
        [[(.85, .08), (.5, .0), (.3, .15), (.4, .4), (.68, .62), (.65, .92), (.4, 1.), (.2, .85),
          (.35, .6), (.7, .35), (.85, .08)]],
    ],
    [  # 9
        [[(.8, .2), (.5, .0), (.2, .15), (.2, .4), (.5, .48), (.8, .2), (.8, .2), (.78, .6),
          (.7, 1.)]],
        [[(.78, .12), (.45, .02), (.15, .25), (.3, .48), (.65, .4), (.8, .15), (.8, .5),
          (.65, .85), (.35, 1.)]],
        [[(.82, .25), (.6, .02), (.25, .1), (.18, .38), (.45, .5), (.78, .35), (.82, .1),
          (.72, .55), (.55, 1.)]],
    ],
]  # fmt: skip


def draw_digits(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`count` drawn digits: images uint8 (count, 28, 28) and labels int64 (count,).

    White on black like MNIST, the classes equally often and in random order.  The same seed
    gives the same digits; different seeds give different ones.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    rng = random.Random(f"dlgrad digits {seed}")
    labels = array("q", [i % len(STYLES) for i in range(count)])
    rng.shuffle(labels)
    pictures = bytearray()
    for start in range(0, count, BATCH):
        segments, radii = array("f"), array("f")
        for digit in labels[start : start + BATCH]:
            lines, radius = segments_of(rng, digit)
            segments.extend(lines)
            radii.append(radius)
        pictures += tensor_bytes(_pixels(segments, radii))
    images = tensor_from_bytes(pictures, uint8, (count, SIDE, SIDE))
    return images, tensor_from_bytes(labels.tobytes(), int64, (count,))


def _pixels(segments: array[float], radii: array[float]) -> Tensor:
    """Pictures uint8 (n, 784) of n pens of `radii`, each moved along SEGMENTS segments."""
    count = len(radii)
    ends = tensor_from_bytes(segments.tobytes(), float32, (count, 1, SEGMENTS, 4))
    radius = tensor_from_bytes(radii.tobytes(), float32, (count, 1))
    x0, y0, x1, y1 = (ends.select(3, i) for i in range(4))  # (n, 1, SEGMENTS)
    place = range(SIDE * SIDE)
    column = tensor([[float(i % SIDE)] for i in place])  # (784, 1)
    row = tensor([[float(i // SIDE)] for i in place])
    dx, dy = x1 - x0, y1 - y0
    along = ((column - x0) * dx + (row - y0) * dy) / (dx * dx + dy * dy + 1e-9)
    along = along.clamp(0.0, 1.0)  # of the nearest point, as a share of the segment
    across_x, across_y = column - x0 - along * dx, row - y0 - along * dy
    distance = (across_x * across_x + across_y * across_y).amin(dim=2).sqrt()
    ink = ((radius - distance) / EDGE + 0.5).clamp(0.0, 1.0)
    ink = ink * ink * (3.0 - 2.0 * ink)  # a smooth step
    pictures: Tensor = (ink * 255.0 + 0.5).to(uint8)
    return pictures


def segments_of(rng: random.Random, digit: int) -> tuple[list[float], float]:
    """One way of writing `digit`: x0 y0 x1 y1 of each segment in pixels, and the pen's radius."""
    strokes = [_curve(_shaken(rng, stroke)) for stroke in rng.choice(STYLES[digit])]
    strokes = _fitted(rng, _distorted(rng, strokes))
    segments: list[float] = []
    for stroke, pieces in zip(strokes, _pieces_of_strokes(strokes), strict=True):
        points = _evenly_spaced(stroke, pieces + 1)
        for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
            segments += (x0, y0, x1, y1)
    return segments, rng.uniform(0.7, 1.75)


def _shaken(rng: random.Random, stroke: Stroke) -> Stroke:
    """The points of a stroke, each moved a little; a doubled point stays doubled."""
    moved = {point: (rng.gauss(0, 0.035), rng.gauss(0, 0.035)) for point in stroke}
    return [(x + moved[x, y][0], y + moved[x, y][1]) for x, y in stroke]


def _curve(stroke: Stroke) -> Stroke:
    """A Catmull-Rom curve through the points of `stroke`, as short straight pieces."""
    result = [stroke[0]]
    last = len(stroke) - 1
    for i in range(last):
        start, end = stroke[i], stroke[i + 1]
        if start == end:
            continue
        before = stroke[max(i - 1, 0)]
        after = stroke[min(i + 2, last)]
        for step in range(1, CURVE_STEPS + 1):
            t = step / CURVE_STEPS
            a = t * (t * (2 - t) - 1) / 2
            b = (t * t * (3 * t - 5) + 2) / 2
            c = t * (t * (4 - 3 * t) + 1) / 2
            d = t * t * (t - 1) / 2
            x = a * before[0] + b * start[0] + c * end[0] + d * after[0]
            y = a * before[1] + b * start[1] + c * end[1] + d * after[1]
            result.append((x, y))
    return result


def _distorted(rng: random.Random, strokes: list[Stroke]) -> list[Stroke]:
    """Stretched, slanted, turned, and bent by two slow waves."""
    width = rng.uniform(0.6, 0.95)
    slant = rng.gauss(0.12, 0.16)
    angle = rng.gauss(0, 0.09)
    cos, sin = math.cos(angle), math.sin(angle)
    wave_x, phase_x = rng.gauss(0, 0.025), rng.uniform(0, 6.3)
    wave_y, phase_y = rng.gauss(0, 0.025), rng.uniform(0, 6.3)
    result = []
    for stroke in strokes:
        moved = []
        for x, y in stroke:
            x, y = (
                (x - 0.5) * width + wave_x * math.sin(5 * y + phase_x),
                y - 0.5 + wave_y * math.sin(5 * x + phase_y),
            )
            x -= slant * y
            moved.append((x * cos - y * sin, x * sin + y * cos))
        result.append(moved)
    return result


def _fitted(rng: random.Random, strokes: list[Stroke]) -> list[Stroke]:
    """Scaled into the box of MNIST's digits, and put in the middle with a little play."""
    xs = [x for stroke in strokes for x, _ in stroke]
    ys = [y for stroke in strokes for _, y in stroke]
    longer = max(max(xs) - min(xs), max(ys) - min(ys))
    scale = (INK_SIZE - 2) * rng.uniform(0.88, 1.04) / longer
    middle = (SIDE - 1) / 2
    shift_x = middle + rng.gauss(0, 0.6) - scale * (max(xs) + min(xs)) / 2
    shift_y = middle + rng.gauss(0, 0.6) - scale * (max(ys) + min(ys)) / 2
    return [[(x * scale + shift_x, y * scale + shift_y) for x, y in stroke] for stroke in strokes]


def _length(stroke: Stroke) -> float:
    return sum(math.dist(a, b) for a, b in zip(stroke, stroke[1:], strict=False))


def _pieces_of_strokes(strokes: list[Stroke]) -> list[int]:
    """SEGMENTS shared out among the strokes by length, at least one each."""
    lengths = [_length(stroke) for stroke in strokes]
    whole = sum(lengths)
    pieces = [max(1, int(SEGMENTS * length / whole)) for length in lengths]
    pieces[lengths.index(max(lengths))] += SEGMENTS - sum(pieces)
    return pieces


def _evenly_spaced(stroke: Stroke, count: int) -> Stroke:
    """`count` points along the stroke, at equal distances from its first to its last."""
    step = _length(stroke) / (count - 1)
    result = [stroke[0]]
    travelled = 0.0
    for (x0, y0), (x1, y1) in zip(stroke, stroke[1:], strict=False):
        piece = math.dist((x0, y0), (x1, y1))
        while len(result) < count - 1 and travelled + piece >= step * len(result):
            t = (step * len(result) - travelled) / piece
            result.append((x0 + t * (x1 - x0), y0 + t * (y1 - y0)))
        travelled += piece
    return [*result, stroke[-1]]
