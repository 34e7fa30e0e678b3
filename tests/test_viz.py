"""Pictures: PNG files are read back by a small decoder; charts and terminal drawings checked."""

import math
import os
import struct
import zlib
from pathlib import Path

import pytest

import dlgrad
from dlgrad import viz
from dlgrad.drawing.canvas import GLYPHS, Canvas, text_width


def read_png(path):
    """Width, height, channels and rows of bytes of a PNG without filters."""
    data = Path(path).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position, chunks = 8, []
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        assert checksum == zlib.crc32(kind + body)
        chunks.append((kind, body))
        position += 12 + length
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, color, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, rest) == (8, [0, 0, 0])
    channels = {0: 1, 2: 3}[color]
    raw = zlib.decompress(chunks[1][1])
    stride = width * channels + 1
    assert len(raw) == stride * height
    rows = [raw[i * stride : (i + 1) * stride] for i in range(height)]
    assert all(row[0] == 0 for row in rows)
    return width, height, channels, [row[1:] for row in rows]


def test_grey_png_round_trip(tmp_path):
    path = tmp_path / "grey.png"
    viz.write_png(str(path), [[0, 128, 255], [1, 2, 3]])
    assert read_png(path) == (3, 2, 1, [bytes([0, 128, 255]), bytes([1, 2, 3])])


def test_rgb_png_round_trip(tmp_path):
    path = tmp_path / "rgb.png"
    viz.write_png(str(path), [[(255, 0, 0), (0, 255, 0)]])
    assert read_png(path) == (2, 1, 3, [bytes([255, 0, 0, 0, 255, 0])])


def test_floats_are_scaled_and_clipped(tmp_path):
    path = tmp_path / "floats.png"
    viz.write_png(str(path), [[0.0, 0.5, 1.0, 2.0, -1.0, math.nan]])
    assert read_png(path)[3] == [bytes([0, 128, 255, 255, 0, 0])]


@pytest.mark.parametrize(
    "pixels", [[], [[]], [[1, 2], [3]], [[(1, 2)]], [[(1, 2, 3), (1, 2)]]]
)
def test_bad_pixels_are_refused_and_leave_no_file(tmp_path, pixels):
    path = tmp_path / "bad.png"
    with pytest.raises(ValueError):
        viz.write_png(str(path), pixels)
    assert os.listdir(tmp_path) == []


def test_channels_in_front_are_explained(tmp_path):
    with pytest.raises(ValueError, match=r"got 8; channels come last: x.permute\(1, 2, 0\)"):
        viz.write_png(str(tmp_path / "bad.png"), dlgrad.zeros(3, 8, 8))


def test_image_grid(tmp_path):
    images = [[[k] * 3] * 2 for k in (10, 20, 30)]
    grid = viz.image_grid(images, columns=2, padding=1)
    assert [len(row) for row in grid] == [9] * 7
    assert grid[1] == [0, 10, 10, 10, 0, 20, 20, 20, 0]
    assert grid[4] == [0, 30, 30, 30, 0, 0, 0, 0, 0]


def test_chart_shows_its_curves(tmp_path):
    path = tmp_path / "chart.png"
    falling = [(x, 10 - x) for x in range(11)]
    viz.plot_curves(str(path), {"loss": {"train": falling, "test": [5.0] * 11}}, x_label="step")
    width, height, channels, rows = read_png(path)
    assert (width, height, channels) == (800, viz.CHART_HEIGHT, 3)
    first, second = viz.CURVE_COLORS[:2]

    def places(color):
        return [
            (x, y) for y, row in enumerate(rows) for x in range(width)
            if tuple(row[3 * x : 3 * x + 3]) == color and y > viz.MARGIN_TOP
        ]  # fmt: skip

    blue = places(first)
    left = min(blue)
    right = max(blue)
    assert left[0] < 100 and right[0] > 700, "the curve spans the chart"
    assert left[1] < 80 and right[1] > 250, "a falling curve ends lower than it begins"
    levels = {y for _, y in places(second)}
    assert max(levels) - min(levels) < 10, "a constant curve is level"


def test_charts_stand_one_under_the_other(tmp_path):
    path = tmp_path / "two.png"
    viz.plot_curves(str(path), {"a": {"": [1, 2]}, "b": {"": [3, 4]}}, width=300)
    assert read_png(path)[:2] == (300, 2 * viz.CHART_HEIGHT)


@pytest.mark.parametrize(
    "values", [[], [1.0], [2.0, 2.0], [math.nan, math.inf], [1.0, math.nan, 3.0], [1e-12, 1e12]]
)
def test_odd_curves_are_drawn_all_the_same(tmp_path, values):
    path = tmp_path / "odd.png"
    viz.plot_curves(str(path), {"": {"": values}}, width=200)
    assert read_png(path)[0] == 200


def test_curves_may_be_tensors(tmp_path):
    for number, curve in enumerate(([1.0, 3.0], dlgrad.tensor([1.0, 3.0]))):
        viz.plot_curves(str(tmp_path / f"{number}.svg"), {"loss": {"": curve}})
    assert (tmp_path / "0.svg").read_bytes() == (tmp_path / "1.svg").read_bytes()


def test_a_gap_where_a_value_is_missing():
    points = [(0, 1.0), (1, math.nan), (2, 3.0), (3, 4.0)]
    assert viz._finite_runs(points) == [[(0, 1.0)], [(2, 3.0), (3, 4.0)]]


def test_no_chart_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one chart"):
        viz.plot_curves(str(tmp_path / "none.png"), {})
    with pytest.raises(TypeError, match="named curves"):
        viz.plot_curves(str(tmp_path / "flat.png"), {"loss": [1.0, 2.0]})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "low, high, ticks",
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 700, ["0", "200", "400", "600"]),
        (97.2, 98.4, ["97.25", "97.50", "97.75", "98.00", "98.25"]),
        (0, 5e7, ["0", "1e+07", "2e+07", "3e+07", "4e+07", "5e+07"]),
    ],
)
def test_ticks_are_round_numbers(low, high, ticks):
    assert [viz._label(tick, high - low) for tick in viz._ticks(low, high)] == ticks


# The canvas ------------------------------------------------------------------------------------


def grey_at(canvas, x, y):
    start = 3 * (y * canvas.width + x)
    return canvas.pixels[start]


def test_fill_keeps_inside_the_canvas():
    canvas = Canvas(4, 3)
    canvas.fill(-5, 1, 2, 99, (0, 0, 0))
    dark = [(x, y) for y in range(3) for x in range(4) if grey_at(canvas, x, y) == 0]
    assert dark == [(0, 1), (1, 1), (0, 2), (1, 2)]


def test_stroke_is_dark_inside_and_fades_at_the_edge():
    canvas = Canvas(20, 20)
    canvas.stroke([[(2, 10), (18, 10)]], (0, 0, 0), 3.0)
    assert grey_at(canvas, 10, 9) == grey_at(canvas, 10, 10) == 0
    assert grey_at(canvas, 10, 5) == 255
    canvas.stroke([[(2.25, 2.25)]], (0, 0, 0), 2.0)
    edge = [grey_at(canvas, x, 2) for x in range(5)]
    assert any(0 < value < 255 for value in edge)


def test_crossing_lines_are_even():
    once, twice = Canvas(9, 9), Canvas(9, 9)
    line = [(1.0, 1.3), (8.0, 6.1)]
    once.stroke([line], (0, 0, 0), 1.0)
    twice.stroke([line, line[::-1]], (0, 0, 0), 1.0)
    assert once.pixels == twice.pixels


def test_text_is_aligned():
    def dark_columns(align):
        canvas = Canvas(200, 20)
        canvas.text(100, 4, "loss", (0, 0, 0), align=align)
        return [x for x in range(200) if any(grey_at(canvas, x, y) < 128 for y in range(20))]

    width = text_width("loss")
    assert 99 <= min(dark_columns("left")) <= 101
    assert 99 <= max(dark_columns("right")) <= 101
    middle = dark_columns("center")
    assert abs(min(middle) - (100 - width / 2)) < 2 and abs(max(middle) - (100 + width / 2)) < 2
    assert text_width("") == 0


def test_every_printable_letter_has_its_own_shape():
    shapes = {}
    for letter in map(chr, range(33, 127)):
        assert letter in GLYPHS
        canvas = Canvas(24, 24)
        canvas.text(6, 6, letter, (0, 0, 0), scale=1.5)
        shapes.setdefault(bytes(canvas.pixels), []).append(letter)
    assert [same for same in shapes.values() if len(same) > 1] == [["I", "l"]]


# The terminal ----------------------------------------------------------------------------------


def test_draw_images():
    image = [[255, 0, 0], [255, 255, 0], [0, 255, 255]]
    assert viz.draw_images([image]) == "█▄\n ▀▀"
    pair = viz.draw_images([image, image, image], ["4, read as 9", "b", "c"], columns=2)
    assert pair.splitlines() == ["4,   b", "█▄   █▄", " ▀▀   ▀▀", "c", "█▄", " ▀▀"]
    assert viz.draw_images([]) == ""


def test_charts_share_the_x_axis(tmp_path, monkeypatch):
    ends = []
    monkeypatch.setattr(viz, "_draw_chart", lambda *arguments: ends.append(arguments[4]))
    charts = {"loss": {"": [2.0, 1.0, 0.5]}, "accuracy": {"": [(4, 97.0)]}}
    viz.plot_curves(str(tmp_path / "curves.png"), charts)
    assert ends == [(0.0, 4.0), (0.0, 4.0)]
