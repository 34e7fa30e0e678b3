"""Pictures without dependencies: images, training curves, decision boundaries, graphs.

Floor 7.  Takes plain Python numbers, bytes or tensors.  Charts are drawn on a canvas, of pixels
(`dlgrad.drawing.canvas`) or of shapes (`dlgrad.drawing.svg`); this file decides what goes where.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dlgrad.core.creation import tensor
from dlgrad.drawing.canvas import Canvas, Color
from dlgrad.drawing.graph_picture import draw_graph, graph_dot, graph_svg
from dlgrad.drawing.png import write_png_bytes
from dlgrad.drawing.svg import SvgCanvas

# Colours of the curves: distinguishable also for most colour-blind readers (Okabe and Ito).
CURVE_COLORS: tuple[Color, ...] = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233),
)  # fmt: skip
INK: Color = (40, 44, 52)
GREY: Color = (120, 126, 136)
GRID: Color = (228, 231, 235)

TICKS = 5  # about as many on each axis
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 76, 24, 52, 56
LINE_WIDTH = 2.0
MOST_MARKED_POINTS = 40  # a curve with no more than these shows each as a dot
CHART_HEIGHT = 340
REGION_CELLS = 120  # the boundary is computed on a grid of so many cells each way

__all__ = [
    "draw_graph", "draw_images", "draw_regions", "graph_dot", "graph_svg", "image_grid",
    "plot_curves", "write_png", "write_png_bytes",
]  # fmt: skip


# PNG ------------------------------------------------------------------------------------------


def write_png(path: str, pixels: Any) -> None:
    """Writes an image: grey (height, width) or RGB (height, width, 3).

    `pixels` is a tensor or nested sequence; uint8 and other integers are taken as 0 to 255,
    floats as 0.0 to 1.0 (values beyond are clipped).  The file is replaced atomically.
    """
    if hasattr(pixels, "tolist"):
        pixels = pixels.tolist()
    rows = [list(row) for row in pixels]
    width = len(rows[0]) if rows else 0
    if not width or any(len(row) != width for row in rows):
        raise ValueError("an image needs at least one pixel and rows of equal length")
    channels = len(rows[0][0]) if isinstance(rows[0][0], Sequence) else 1
    if channels not in (1, 3):
        hint = "; channels come last: x.permute(1, 2, 0)" if len(rows) in (1, 3) else ""
        raise ValueError(
            f"an image has 1 channel (grey) or 3 (red, green, blue), got {channels}{hint}"
        )
    if channels == 3:
        rows = [[value for pixel in row for value in pixel] for row in rows]
        if any(len(row) != 3 * width for row in rows):
            raise ValueError("every pixel of an RGB image needs 3 values")
    data = b"".join(bytes(map(_byte, row)) for row in rows)
    write_png_bytes(path, width, len(rows), channels, data)


def _byte(value: Any) -> int:
    if isinstance(value, float):
        value = 0 if value != value else int(min(max(value, 0.0), 1.0) * 255 + 0.5)
    return min(max(int(value), 0), 255)


def image_grid(images: Any, columns: int = 8, padding: int = 2) -> list[list[Any]]:
    """Grey images (count, height, width) side by side, as rows of pixels for `write_png`."""
    if hasattr(images, "tolist"):
        images = images.tolist()
    if not images:
        raise ValueError("a grid needs at least one image")
    height, width = len(images[0]), len(images[0][0])
    grid = []
    for first in range(0, len(images), columns):
        line = images[first : first + columns]
        line = line + [[[0] * width] * height] * (columns - len(line))
        grid += [[0] * (columns * (width + padding) + padding)] * padding
        for y in range(height):
            row: list[Any] = [0] * padding
            for image in line:
                row += [*image[y], *[0] * padding]
            grid.append(row)
    return grid + [[0] * (columns * (width + padding) + padding)] * padding


# Charts ---------------------------------------------------------------------------------------

Curve = Sequence[float] | Sequence[tuple[float, float]]


def plot_curves(
    path: str,
    charts: Mapping[str, Mapping[str, Curve]],
    x_label: str = "",
    width: int = 800,
) -> None:
    """Writes line charts, one under the other, as a PNG file, or SVG where `path` ends so.

    `charts` maps the title of each chart to its curves, and these map a name for the legend
    to values (drawn at x = 0, 1, 2, ...) or to (x, y) pairs; both may be tensors.  All charts
    share the x axis.  Values that are not finite leave a gap.

        plot_curves("curves.png", {"loss": {"train": losses, "test": [(110, 0.3), (220, 0.2)]}})
    """
    if not charts:
        raise ValueError("plot_curves needs at least one chart")
    if not all(isinstance(curves, Mapping) for curves in charts.values()):
        raise TypeError('charts maps titles to named curves, as in {"loss": {"train": losses}}')
    height = CHART_HEIGHT * len(charts)
    canvas = SvgCanvas(width, height) if _is_svg(path) else Canvas(width, height)
    points = {
        title: {name: _points(curve) for name, curve in curves.items()}
        for title, curves in charts.items()
    }
    # All charts have one x axis, so that what happened at the same time is in one column.
    finite = _finite_points(curve for curves in points.values() for curve in curves.values())
    ends = _range([x for x, _ in finite], tight=True)[:2]
    for position, (title, named) in enumerate(points.items()):
        _draw_chart(canvas, position * CHART_HEIGHT, title, named, ends, x_label)
    canvas.save(path)


def _is_svg(path: str) -> bool:
    return str(path).lower().endswith(".svg")


def _points(curve: Any) -> list[tuple[float, float]]:
    values = curve.tolist() if _has_list(curve) else list(curve)
    pairs = values if values and isinstance(values[0], (tuple, list)) else enumerate(values)
    return [(float(x), float(y)) for x, y in pairs]


def _draw_chart(
    canvas: Canvas | SvgCanvas,
    top: int,
    title: str,
    curves: Mapping[str, list[tuple[float, float]]],
    x_ends: tuple[float, float],
    x_label: str,
) -> None:
    left, right = MARGIN_LEFT, int(canvas.width) - MARGIN_RIGHT
    upper, lower = top + MARGIN_TOP, top + CHART_HEIGHT - MARGIN_BOTTOM
    x_low, x_high = x_ends
    y_low, y_high, _ = _range([y for _, y in _finite_points(curves.values())], tight=False)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low)
        up = (y - y_low) / (y_high - y_low)
        return left + across * (right - left), lower - up * (lower - upper)

    for y in _ticks(y_low, y_high):
        row = round(place(x_low, y)[1])
        canvas.fill(left, row, right, row + 1, GRID)
        canvas.text(left - 10, row - 4, _label(y, y_high - y_low), GREY, align="right")
    for x in _ticks(x_low, x_high):
        column = round(place(x, y_low)[0])
        canvas.fill(column, lower, column + 1, lower + 5, GREY)
        canvas.text(column, lower + 10, _label(x, x_high - x_low), GREY, align="center")
    canvas.fill(left, lower, right, lower + 1, GREY)
    canvas.text(left, top + 18, title, INK, scale=1.4)
    canvas.text((left + right) // 2, lower + 30, x_label, GREY, align="center")
    for color, points in zip(_cycle(CURVE_COLORS), curves.values(), strict=False):
        runs = _finite_runs(points)
        canvas.stroke([[place(*p) for p in run] for run in runs], color, LINE_WIDTH)
        if len(points) <= MOST_MARKED_POINTS:
            dots = [[place(*p)] for run in runs for p in run]
            canvas.stroke(dots, color, 2.8 * LINE_WIDTH)
    _draw_legend(canvas, right, top + 22, list(curves))


def _draw_legend(canvas: Canvas | SvgCanvas, right: float, row: int, names: list[str]) -> None:
    """The names of the curves, from the right, on the line of the title."""
    colors = list(zip(_cycle(CURVE_COLORS), names, strict=False))
    for color, name in reversed(colors):
        if name:
            right = canvas.text(right, row, name, INK, align="right") - 8
            canvas.stroke([[(right - 16, row + 4), (right, row + 4)]], color, LINE_WIDTH + 1)
            right -= 36


def _cycle(colors: Sequence[Color]) -> Iterable[Color]:
    while True:
        yield from colors


def _is_finite(point: tuple[float, float]) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _finite_points(curves: Iterable[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    return [point for points in curves for point in points if _is_finite(point)]


def _finite_runs(points: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The curve in pieces, cut where a value is not finite."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if _is_finite(point):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _range(values: list[float], tight: bool) -> tuple[float, float, float]:
    """The ends of an axis that shows all `values`, and the step between its ticks."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        spread = abs(low) / 100 or 1.0
        low, high = low - spread, high + spread
    step = _nice_step((high - low) / TICKS)
    if not tight:
        low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return low, high, step


def _nice_step(rough: float) -> float:
    """The number of the form 1, 2, 2.5 or 5 times a power of ten that is next above `rough`."""
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(n * power for n in (1.0, 2.0, 2.5, 5.0, 10.0) if n * power >= rough * 0.999)


def _ticks(low: float, high: float) -> list[float]:
    step = _nice_step((high - low) / TICKS)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _label(value: float, span: float) -> str:
    """A tick's number with the digits that tell it from its neighbours."""
    step = _nice_step(span / TICKS)
    if abs(value) >= 1e6 or (value and abs(value) < 1e-4):
        return f"{value:.3g}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals and round(step * 10**decimals, 6) % 1:
        decimals += 1  # a step of 0.25 needs two places
    return f"{value:,.{decimals}f}"


# Decision boundaries --------------------------------------------------------------------------


def draw_regions(
    path: str,
    predict: Callable[[Any], Any],
    points: Any,
    classes: Any,
    size: int = 600,
) -> None:
    """Writes which of two classes `predict` sees where, and the points it learnt from.

    `predict` takes places, a float32 tensor (count, 2), and gives the probability of class 1 at
    each.  `points` are (x, y) pairs and `classes` their class, 0 or 1; both may be tensors.  The
    file is PNG, or SVG where `path` ends so.
    """
    pairs = [tuple(map(float, p)) for p in (points.tolist() if _has_list(points) else points)]
    truth = [int(c) for c in (classes.tolist() if _has_list(classes) else classes)]
    if not pairs or len(pairs) != len(truth):
        raise ValueError(f"draw_regions got {len(pairs)} points and {len(truth)} classes")
    (x_low, x_high), (y_low, y_high) = (_widened([p[axis] for p in pairs]) for axis in (0, 1))
    steps = [(i + 0.5) / REGION_CELLS for i in range(REGION_CELLS)]
    places = [
        [x_low + (x_high - x_low) * i, y_high - (y_high - y_low) * j] for j in steps for i in steps
    ]
    found = predict(tensor(places))
    shares = [float(share) for share in (found.tolist() if _has_list(found) else found)]
    if len(shares) != len(places):
        raise ValueError(f"predict gave {len(shares)} numbers for {len(places)} places")
    canvas = SvgCanvas(size, size) if _is_svg(path) else Canvas(size, size)
    edges = [round(size * i / REGION_CELLS) for i in range(REGION_CELLS + 1)]
    for number, share in enumerate(shares):
        row, column = divmod(number, REGION_CELLS)
        canvas.fill(
            edges[column], edges[row], edges[column + 1], edges[row + 1], _region_color(share)
        )
    for kind, color in enumerate(CURVE_COLORS[:2]):
        dots = [
            [((x - x_low) / (x_high - x_low) * size, (y_high - y) / (y_high - y_low) * size)]
            for (x, y), own in zip(pairs, truth, strict=True)
            if own == kind
        ]
        canvas.stroke(dots, (255, 255, 255), 11.0)
        canvas.stroke(dots, color, 8.0)
    canvas.save(path)


def _has_list(value: Any) -> bool:
    return hasattr(value, "tolist")


def _widened(values: list[float]) -> tuple[float, float]:
    """The range of values with some room on both sides."""
    room = 0.12 * ((max(values) - min(values)) or 1.0)
    return min(values) - room, max(values) + room


def _region_color(share: float) -> Color:
    """From the colour of class 0 over white, where both are as likely, to that of class 1."""
    color = CURVE_COLORS[1] if share > 0.5 else CURVE_COLORS[0]
    strength = 0.1 + 0.4 * min(abs(share - 0.5) * 2, 1.0) if share == share else 0.0
    red, green, blue = (round(255 + strength * (channel - 255)) for channel in color)
    return red, green, blue


# Terminal -------------------------------------------------------------------------------------


def draw_images(images: Any, captions: Sequence[str] = (), columns: int = 3) -> str:
    """Grey images (count, height, width) of 0 to 255 as text, `columns` side by side.

    Two pixels, one above the other, make one character: a half block, or a full one; dark
    pixels stay blank, so it is readable without any colour.
    """
    if hasattr(images, "tolist"):
        images = images.tolist()
    lines = []
    for first in range(0, len(images), columns):
        pictures = [_picture_lines(image) for image in images[first : first + columns]]
        names = captions[first : first + columns]
        widths = [max(len(picture[0]), 1) for picture in pictures]
        if names:
            padded = (name[:w].ljust(w) for name, w in zip(names, widths, strict=False))
            lines.append("  ".join(padded).rstrip())
        lines += ["  ".join(parts).rstrip() for parts in zip(*pictures, strict=True)]
    return "\n".join(lines)


def _picture_lines(image: Sequence[Sequence[float]]) -> list[str]:
    blank = [0.0] * len(image[0])
    lines = []
    for y in range(0, len(image), 2):
        lower = image[y + 1] if y + 1 < len(image) else blank
        cells = zip(image[y], lower, strict=True)
        lines.append("".join(" ▄▀█"[2 * (a > 96) + (b > 96)] for a, b in cells))
    return lines
