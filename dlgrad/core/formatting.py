"""How a tensor is printed: PyTorch's layout, with `set_printoptions`.

Floor 6.  Printing evaluates.  Only what is shown leaves the device: the middle of a large
tensor is cut out first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlgrad.core.base import grad_mode, node_of, requires_grad
from dlgrad.core.host import export_numbers, nested
from dlgrad.core.storage import pending_depth
from dlgrad.core.tape import Entry, edge_of
from dlgrad.core.tracing import TRACED
from dlgrad.dtype import FLOAT, bool_, get_default_dtype, int64
from dlgrad.operators.joining import cat
from dlgrad.operators.movement import narrow

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


class PrintOptions:
    """The options of `set_printoptions`."""

    precision = 4
    threshold: float = 1000
    edgeitems = 3
    linewidth: float = 80
    sci_mode: bool | None = None


options = PrintOptions()

_PROFILES: dict[str, tuple[int, float, int]] = {
    "default": (4, 1000, 3),
    "short": (2, 1000, 2),
    "full": (4, math.inf, 3),
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors are printed.

    precision: digits after the point; threshold: more elements than this are summarised, with
    `edgeitems` at each end; linewidth: columns; profile: "default", "short" or "full";
    sci_mode: always or never in scientific notation (None: where it fits better).  ValueError
    for another profile.
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"profile is one of {', '.join(_PROFILES)}, got {profile!r}")
        options.precision, options.threshold, options.edgeitems = _PROFILES[profile]
        options.linewidth = 80
    if precision is not None:
        options.precision = precision
    if threshold is not None:
        options.threshold = threshold
    if edgeitems is not None:
        options.edgeitems = edgeitems
    if linewidth is not None:
        options.linewidth = linewidth
    options.sci_mode = sci_mode


class NumberStyle:
    """One way to write all numbers of a tensor, in columns of equal width."""

    def __init__(self, values: list[Any], floats: bool) -> None:
        self.floats = floats
        self.whole = True
        self.scientific = False
        self.width = 1
        if not floats:
            self.width = max((len(str(value)) for value in values), default=1)
            return
        shown = [value for value in values if math.isfinite(value) and value != 0]
        if not shown:
            self.scientific = bool(options.sci_mode)
            return
        sizes = [abs(value) for value in shown]
        largest, smallest = max(sizes), min(sizes)
        self.whole = all(value == math.ceil(value) for value in shown)
        spread = largest / smallest > 1000.0 or largest > 1e8
        self.scientific = spread or (not self.whole and smallest < 1e-4)
        if options.sci_mode is not None:
            self.scientific = options.sci_mode
        digits = options.precision
        if self.scientific:
            self.width = max(len(f"{value:.{digits}e}") for value in shown)
        elif self.whole:
            self.width = max(len(f"{value:.0f}") + 1 for value in shown)
        else:
            self.width = max(len(f"{value:.{digits}f}") for value in shown)

    def write(self, value: Any) -> str:
        if not self.floats:
            text = str(value)
        elif self.scientific:
            text = f"{value:.{options.precision}e}"
        elif self.whole:
            text = f"{value:.0f}" + ("." if math.isfinite(value) else "")
        else:
            text = f"{value:.{options.precision}f}"
        return text.rjust(self.width)


def summarized(x: Tensor) -> Tensor:
    """`x` without the middle of its long dimensions."""
    edge = options.edgeitems
    for dim, size in enumerate(x._shape):
        if size > 2 * edge:
            x = cat([narrow(x, dim, 0, edge), narrow(x, dim, size - edge, edge)], dim)
    return x


def layout(values: Any, style: NumberStyle, indent: int, depth: int, cuts: list[bool]) -> str:
    """Nested lists in brackets; `cuts` says in which dimensions the middle was taken out."""
    edge = options.edgeitems
    if depth == 0:
        return style.write(values)
    if depth == 1:
        items = [style.write(value) for value in values]
        if cuts[0]:
            items.insert(edge, " ...")
        per_line = max(1, int((options.linewidth - indent) // (style.width + 2)))
        lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    parts = [layout(value, style, indent + 1, depth - 1, cuts[1:]) for value in values]
    if cuts[0]:
        parts.insert(edge, "...")
    return "[" + ("," + "\n" * (depth - 1) + " " * (indent + 1)).join(parts) + "]"


def contents(x: Tensor, indent: int) -> str:
    """The numbers of `x` in brackets."""
    cuts = [False] * x.ndim
    if x.numel() > options.threshold:
        cuts = [size > 2 * options.edgeitems for size in x._shape]
        x = summarized(x)
    values = export_numbers(x)
    style = NumberStyle(values, x.dtype.kind == FLOAT)
    return layout(nested(values, x._shape), style, indent, x.ndim, cuts)


def describe(x: Tensor, prefix: str = "tensor(") -> str:
    """The text of `repr(x)`; inside of `vmap`, where there are no numbers, "..." for them."""
    suffixes = []
    device = node_of(x).device
    if device != "cpu":
        suffixes.append(f"device='{device}'")
    usual = (get_default_dtype(), int64, bool_)
    before, grad_mode.enabled = grad_mode.enabled, False
    try:
        if pending_depth(x._storage) >= TRACED:
            text = "..."
            suffixes += [f"size={tuple(x._shape)}", f"dtype={x.dtype!r}"]
        elif x.numel() == 0:
            text = "[]"
            if x.ndim != 1:
                suffixes.append(f"size={tuple(x._shape)}")
            if x.dtype is not get_default_dtype():
                suffixes.append(f"dtype={x.dtype!r}")
        else:
            text = contents(x.detach(), len(prefix))
            if x.dtype not in usual:
                suffixes.append(f"dtype={x.dtype!r}")
    finally:
        grad_mode.enabled = before
    if requires_grad(x):
        entry = edge_of(x)
        suffixes.append(
            f"grad_fn=<{entry.name()}>" if isinstance(entry, Entry) else "requires_grad=True"
        )
    return with_suffixes(prefix + text, suffixes, len(prefix))


def with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Appends the suffixes, on a new line where the last one is full."""
    column = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if column + len(suffix) + 2 > options.linewidth:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text + ")"


def format_number(x: Tensor, spec: str, plain: bool) -> str:
    """`format(x, spec)`: of the number of a tensor without dimensions, else the printed tensor.

    TypeError for a `spec` where there are dimensions, as for any object that has no formats; so
    too for a subclass (not `plain`).
    """
    if x._shape or not plain:
        if spec:
            raise TypeError(f"unsupported format string passed to {type(x).__name__}.__format__")
        return repr(x)
    value = export_numbers(x)[0]
    return format(value, spec)
