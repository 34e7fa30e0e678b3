"""A small drawing surface: rectangles, smooth lines and text in an array of RGB bytes.

Floor 7.  Text is drawn with a pen too: every letter is a few strokes, so one font serves all
sizes.  `viz` stands above and decides what is drawn where.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

from dlgrad.drawing.png import write_png_bytes

Color = tuple[int, int, int]
Point = tuple[float, float]

# The letters as strokes on a grid: capitals reach from y = 0 to the baseline at y = 6, small
# letters begin at y = 2, descenders end at y = 8.  A stroke is a row of digit pairs, x then y;
# "(" marks a curve that its points pull towards them, "o" a closed curve, one pair a dot.
GLYPHS = {
    "0": "o00404606", "1": "112026", "2": "(0100404306 0646", "3": "(0100404313 (1343460605",
    "4": "36300444", "5": "400003 (032242460605", "6": "o02424606 (300004", "7": "004016",
    "8": "o00404303 o03434606", "9": "o00404404 (424616",
    "A": "062046 1434", "B": "0006 (00404303 (03434606", "C": "(414000064645",
    "D": "0006 (00404606", "E": "40000646 0333", "F": "400006 0333", "G": "(414000064643 4323",
    "H": "0006 4046 0343", "I": "0006", "J": "(30360604", "K": "0006 4004 1346", "L": "000646",
    "M": "0600234046", "N": "06004640", "O": "o00505606", "P": "0006 (00404303",
    "Q": "o00404606 2446", "R": "0006 (00404303 2346", "S": "(4140000343460605",
    "T": "0040 2026", "U": "(000406464440", "V": "002640", "W": "0016213640", "X": "0046 4006",
    "Y": "002340 2326", "Z": "00400646",
    "a": "o02323606 3236", "b": "0006 o02323606", "c": "(333202063635", "d": "o02323606 3036",
    "e": "0434 (343202063635", "f": "(30101316 0222", "g": "o02323606 (3236380807",
    "h": "0006 (0402323436", "i": "0206 00", "j": "(12171808 10", "k": "0006 3205 1436",
    "l": "0006", "m": "0206 (0402222426 (2422424446", "n": "0206 (0402323436",
    "o": "o02323606", "p": "0208 o02323606", "q": "o02323606 3238", "r": "0206 (040232",
    "s": "(3332020434360605", "t": "(10151636 0232", "u": "(020406363432 3236", "v": "022642",
    "w": "0216233642", "x": "0236 3206", "y": "0226 4218", "z": "02320636",
    " ": "", ".": "06", ",": "0607", ":": "03 06", ";": "03 0607", "-": "0434", "+": "0444 2226",
    "=": "0333 0535", "*": "2125 0344 0442", "/": "0740", "\\": "0047", "|": "0008", "_": "0747",
    "(": "(20020628", ")": "(00222608", "[": "20000828", "]": "00202808",
    "<": "320436", ">": "023406", "^": "022042", "'": "0001", '"': "0001 2021",
    "!": "0004 06", "?": "(0100404324 26", "%": "o00202202 o24444626 4006",
    "{": "(20101203 (03141626", "}": "(00101223 (23141606", "~": "(0402244442", "`": "0011",
    "$": "(4140000343460605 2026",
    "#": "1006 3026 0242 0444", "&": "(46120020220406162643", "@": "o12323414 (3234443000064606",
}  # fmt: skip
UNKNOWN = "0040460600"  # a box
GLYPH_GAP = 2.0  # between letters, in grid steps
SPACE_WIDTH = 1.5
LETTER_SIZE = 1.45  # pixels of a grid step at scale 1
CURVE_PIECES = 16  # straight pieces of the curve of an arrow
LONGEST_PIECE = 12.0  # pixels; a longer line is drawn in pieces, each with a small box


class Canvas:
    """`width` x `height` pixels, white at first; (0, 0) is the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.pixels = bytearray(b"\xff" * (3 * width * height))

    def fill(self, left: int, top: int, right: int, bottom: int, color: Color) -> None:
        """Fills a rectangle; `right` and `bottom` are outside it."""
        left, right = max(left, 0), min(right, self.width)
        if left < right:
            row = bytes(color) * (right - left)
            for y in range(max(top, 0), min(bottom, self.height)):
                start = 3 * (y * self.width + left)
                self.pixels[start : start + len(row)] = row

    def stroke(
        self, lines: Iterable[Sequence[Point]], color: Color, width: float = 1.0
    ) -> None:
        """Draws polylines with a round pen; where they cross or meet the colour is even."""
        coverage: dict[int, float] = {}
        for line in lines:
            if len(line) == 1:
                self._cover(coverage, line[0], line[0], width / 2)
            for start, end in zip(line, line[1:], strict=False):
                pieces = max(1, math.ceil(math.dist(start, end) / LONGEST_PIECE))
                places = [_between(start, end, i / pieces) for i in range(pieces + 1)]
                for a, b in zip(places, places[1:], strict=False):
                    self._cover(coverage, a, b, width / 2)
        pixels = self.pixels
        for place, share in coverage.items():
            for channel in range(3):
                old = pixels[3 * place + channel]
                pixels[3 * place + channel] = round(old + share * (color[channel] - old))

    def save(self, path: str) -> None:
        """Writes the pixels as a PNG file, atomically."""
        write_png_bytes(path, self.width, self.height, 3, bytes(self.pixels))

    def _cover(self, coverage: dict[int, float], a: Point, b: Point, radius: float) -> None:
        """Notes how much of each pixel near the segment from `a` to `b` the pen covers."""
        (ax, ay), (bx, by) = a, b
        dx, dy = bx - ax, by - ay
        squared = dx * dx + dy * dy or 1.0
        reach = radius + 1
        columns = range(*_pixels_between(min(ax, bx) - reach, max(ax, bx) + reach, self.width))
        for y in range(*_pixels_between(min(ay, by) - reach, max(ay, by) + reach, self.height)):
            for x in columns:
                px, py = x + 0.5 - ax, y + 0.5 - ay
                t = min(max((px * dx + py * dy) / squared, 0.0), 1.0)
                share = radius + 0.5 - math.hypot(px - t * dx, py - t * dy)
                if share > 0:
                    place = y * self.width + x
                    coverage[place] = max(coverage.get(place, 0.0), min(share, 1.0))

    def box(
        self, left: float, top: float, right: float, bottom: float, fill: Color, line: Color,
        title: str = "",
    ) -> None:  # fmt: skip
        """A rectangle with an outline; a picture of pixels has no place for its `title`."""
        self.fill(round(left), round(top), round(right), round(bottom), fill)
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        self.stroke([corners], line)

    def arrow(self, curve: Sequence[Point], color: Color, dashed: bool = False) -> None:
        """A smooth curve through points that lie one below the other, ending in an arrow head."""
        places = [curve[0]]
        for (x, y), (end_x, end_y) in zip(curve, curve[1:], strict=False):
            for i in range(1, CURVE_PIECES + 1):
                t = i / CURVE_PIECES
                share = t * t * (3 - 2 * t)
                middle = (y + end_y) / 2
                height = (1 - t) ** 3 * y + 3 * t * (1 - t) * middle + t**3 * end_y
                places.append((x + share * (end_x - x), height))
        pieces = list(zip(places, places[1:], strict=False))
        self.stroke(pieces[::2] if dashed else pieces, color)
        x, y = places[-1]
        self.stroke([[(x - 3, y - 6), (x, y - 1), (x + 3, y - 6)]], color, 1.6)

    def text(
        self, x: float, y: float, text: str, color: Color, scale: float = 1.0, align: str = "left"
    ) -> float:
        """Writes one line; `y` is the top of its capitals.  Returns the x where it begins.

        `align` says whether `x` is the left end, the right end, or the middle ("center").
        """
        step = LETTER_SIZE * scale
        width = text_width(text, scale)
        x -= {"left": 0.0, "right": width, "center": width / 2}[align]
        lines = []
        place = x
        for letter in text:
            strokes, advance = _glyph(letter)
            for stroke in strokes:
                lines.append([(place + px * step, y + py * step) for px, py in stroke])
            place += (advance + GLYPH_GAP) * step
        self.stroke(lines, color, max(1.0, 0.8 * step))
        return x


def text_width(text: str, scale: float = 1.0) -> float:
    """The width of `text` in pixels."""
    if not text:
        return 0.0
    advance = sum(_glyph(letter)[1] + GLYPH_GAP for letter in text) - GLYPH_GAP
    return advance * LETTER_SIZE * scale


def _pixels_between(low: float, high: float, size: int) -> tuple[int, int]:
    return max(int(low), 0), min(int(high) + 1, size)


def _between(a: Point, b: Point, t: float) -> Point:
    return a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])


@lru_cache(maxsize=256)
def _glyph(letter: str) -> tuple[list[list[Point]], float]:
    """The strokes of a letter on the grid, and its width."""
    if letter == " ":
        return [], SPACE_WIDTH
    strokes = []
    for text in GLYPHS.get(letter, UNKNOWN).split():
        kind = text[0] if text[0] in "(o" else ""
        digits = text[len(kind) :]
        points = [(float(digits[i]), float(digits[i + 1])) for i in range(0, len(digits), 2)]
        strokes.append(_rounded(points, closed=kind == "o") if kind else points)
    return strokes, max(x for stroke in strokes for x, _ in stroke)


def _rounded(points: list[Point], closed: bool) -> list[Point]:
    """A curve pulled by `points`: their corners cut, and the new corners cut again."""
    for _ in range(3):
        ring = [*points, points[0]] if closed else points
        cut = []
        for a, b in zip(ring, ring[1:], strict=False):
            cut += [_between(a, b, 0.25), _between(a, b, 0.75)]
        points = cut if closed else [points[0], *cut[1:-1], points[-1]]
    return [*points, points[0]] if closed else points
