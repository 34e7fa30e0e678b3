"""The results as a picture: for each row, the time of every contestant over that of dlgrad.

`draw_chart(result)` takes what `run.py` writes to results.json and returns SVG text; run as a
program, it reads such a file and prints the picture.
"""

from __future__ import annotations

import json
import math
import sys
from html import escape
from typing import Any

# Distinguishable also for most colour-blind readers (Okabe and Ito).
COLORS = {
    "torch": "#d55e00",
    "torch-compile": "#e69f00",
    "jax": "#0072b2",
    "numpy": "#56b4e9",
    "mlx": "#009e73",
    "tinygrad": "#cc79a7",
}
OURS = ("dlgrad", "dlgrad-jit")
INK, PALE = "#24292f", "#d0d7de"
ROW_HEIGHT, LEFT, WIDTH, TOP, BOTTOM = 18, 270, 860, 64, 34
LEAST, MOST = 0.25, 16.0  # of the scale; what lies beyond is drawn at its end
TICKS = (0.25, 0.5, 1, 2, 4, 8, 16)


def place(ratio: float) -> float:
    """The x of a ratio, on a logarithmic scale."""
    part = math.log(min(max(ratio, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return LEFT + part * (WIDTH - LEFT - 24)


def draw_chart(result: dict[str, Any]) -> str:
    """SVG with a line for each row and a mark for each peer; right of 1 dlgrad is faster."""
    rows = []
    for row in result["rows"]:
        mine = [row["seconds"][name] for name in OURS if row["seconds"].get(name)]
        others = {name: row["seconds"][name] for name in COLORS if row["seconds"].get(name)}
        if mine and others:
            rows.append((row["name"], {n: t / min(mine) for n, t in others.items()}))
    height = TOP + ROW_HEIGHT * len(rows) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="20" font-size="14" fill="{INK}">Time of each library, '
        "divided by the time of dlgrad</text>",
    ]
    x = 12.0
    for name, color in COLORS.items():
        if any(name in ratios for _, ratios in rows):
            parts.append(f'<circle cx="{x + 5}" cy="38" r="4.5" fill="{color}"/>')
            parts.append(f'<text x="{x + 14}" y="42" fill="{INK}">{name}</text>')
            x += 32 + 6.4 * len(name)
    bottom = height - BOTTOM
    for tick in TICKS:
        at = place(tick)
        color, width = (INK, 1.5) if tick == 1 else (PALE, 1)
        parts.append(
            f'<line x1="{at:.1f}" y1="{TOP - 8}" x2="{at:.1f}" y2="{bottom}" '
            f'stroke="{color}" stroke-width="{width}"/>'
        )
        parts.append(
            f'<text x="{at:.1f}" y="{bottom + 14}" text-anchor="middle" fill="{INK}">'
            f"{tick:g}</text>"
        )
    parts.append(
        f'<text x="{place(1) + 6:.1f}" y="{bottom + 28}" fill="{INK}">dlgrad is faster</text>'
        f'<text x="{place(1) - 6:.1f}" y="{bottom + 28}" text-anchor="end" fill="{INK}">'
        "dlgrad is slower</text>"
    )
    for number, (name, ratios) in enumerate(rows):
        y = TOP + ROW_HEIGHT * number + ROW_HEIGHT / 2
        parts.append(
            f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end" fill="{INK}">'
            f"{escape(name)}</text>"
        )
        low, high = place(min(ratios.values())), place(max(ratios.values()))
        parts.append(
            f'<line x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}" stroke="{PALE}"/>'
        )
        for peer, ratio in ratios.items():
            parts.append(
                f'<circle cx="{place(ratio):.1f}" cy="{y:.1f}" r="4.5" fill="{COLORS[peer]}" '
                f'fill-opacity="0.85"><title>{peer}: {ratio:.2f}</title></circle>'
            )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as results:
        print(draw_chart(json.load(results)), end="")
