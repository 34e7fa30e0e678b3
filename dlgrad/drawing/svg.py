"""Drawings as SVG: the same calls as `dlgrad.drawing.canvas`, kept as shapes instead of pixels.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dlgrad.drawing.canvas import Color, Point, text_width
from dlgrad.helpers import write_atomically

FONT = "Helvetica, Arial, sans-serif"
FONT_SIZE = 11.0  # pixels at scale 1
CORNER = 5.0  # radius of the corners of a box
CAPITAL = 0.72  # height of a capital, as a share of the font size


class SvgCanvas:
    """`width` x `height` units, white; (0, 0) is the upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width = width
        self.height = height
        self._parts: list[str] = []

    def fill(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        """Fills a rectangle."""
        self._parts.append(
            f'<rect x="{_n(left)}" y="{_n(top)}" width="{_n(right - left)}" '
            f'height="{_n(bottom - top)}" fill="{_hex(color)}"/>'
        )

    def box(
        self, left: float, top: float, right: float, bottom: float, fill: Color, line: Color,
        title: str = "",
    ) -> None:  # fmt: skip
        """A rectangle with round corners; `title` is shown when the pointer rests on it."""
        tip = f"<title>{escaped(title)}</title>" if title else ""
        self._parts.append(
            f'<rect x="{_n(left)}" y="{_n(top)}" width="{_n(right - left)}" '
            f'height="{_n(bottom - top)}" rx="{_n(CORNER)}" fill="{_hex(fill)}" '
            f'stroke="{_hex(line)}">{tip}</rect>'
        )

    def stroke(
        self, lines: Iterable[Sequence[Point]], color: Color, width: float = 1.0
    ) -> None:
        """Draws polylines with a round pen; a line of one point is a dot."""
        for line in lines:
            if len(line) == 1:
                x, y = line[0]
                self._parts.append(
                    f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(width / 2)}" fill="{_hex(color)}"/>'
                )
            elif line:
                points = " ".join(f"{_n(x)},{_n(y)}" for x, y in line)
                self._parts.append(
                    f'<polyline points="{points}" fill="none" stroke="{_hex(color)}" '
                    f'stroke-width="{_n(width)}" stroke-linecap="round" stroke-linejoin="round"/>'
                )

    def arrow(self, curve: Sequence[Point], color: Color, dashed: bool = False) -> None:
        """A smooth curve through points that lie one below the other, ending in an arrow head."""
        (x, y), *rest = curve
        path = [f"M{_n(x)},{_n(y)}"]
        for end_x, end_y in rest:
            middle = (y + end_y) / 2
            path.append(
                f"C{_n(x)},{_n(middle)} {_n(end_x)},{_n(middle)} {_n(end_x)},{_n(end_y)}"
            )
            x, y = end_x, end_y
        dashes = ' stroke-dasharray="4 3"' if dashed else ""
        self._parts.append(
            f'<path d="{" ".join(path)}" fill="none" stroke="{_hex(color)}"{dashes} '
            f'marker-end="url(#head)"/>'
        )

    def text(
        self, x: float, y: float, text: str, color: Color, scale: float = 1.0, align: str = "left"
    ) -> float:
        """Writes one line; `y` is the top of its capitals.  Returns the x where it begins."""
        anchor = {"left": "start", "right": "end", "center": "middle"}[align]
        size = FONT_SIZE * scale
        self._parts.append(
            f'<text x="{_n(x)}" y="{_n(y + CAPITAL * size)}" font-size="{_n(size)}" '
            f'fill="{_hex(color)}" text-anchor="{anchor}">{escaped(text)}</text>'
        )
        width = text_width(text, scale)
        return x - {"left": 0.0, "right": width, "center": width / 2}[align]

    def source(self) -> str:
        """The drawing as the text of an SVG file."""
        size = f'width="{_n(self.width)}" height="{_n(self.height)}"'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
                f'viewBox="0 0 {_n(self.width)} {_n(self.height)}" font-family="{FONT}">',
                '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
                'markerHeight="7" orient="auto"><path d="M0,0.5 L8,4 L0,7.5 z" fill="#787e88"/>'
                "</marker></defs>",
                f'<rect {size} fill="#ffffff"/>',
                *self._parts,
                "</svg>\n",
            ]
        )

    def save(self, path: str) -> None:
        """Writes the file, atomically."""
        write_atomically(path, self.source().encode(), mode=0o666)


def escaped(text: str) -> str:
    """`text` with the characters that mean something in XML written in another way."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return "".join(c if c >= " " else " " for c in text)


def _n(number: float) -> str:
    """A number with two places at most."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _hex(color: Color) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in color)
