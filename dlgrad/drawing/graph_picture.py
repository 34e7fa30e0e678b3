"""The graph of a model or of a loss as a picture: SVG, PNG, or DOT for other programs.

Floor 7.  A model is called once and not evaluated; each of its layers is a box with the shape
that comes out of it, and what happens between layers is a smaller one.  A tensor is drawn by
what the tape knows: every recorded operation, down to the leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlgrad.autograd import enable_grad
from dlgrad.core.base import TensorBase
from dlgrad.core.creation import zeros
from dlgrad.core.tape import Entry, edge_of, next_sequence
from dlgrad.drawing.canvas import Canvas, Color, text_width
from dlgrad.drawing.graph_layout import Layout
from dlgrad.drawing.svg import SvgCanvas
from dlgrad.helpers import write_atomically
from dlgrad.tensor import Tensor

PADDING, LINE = 9.0, 15.0
COLORS: dict[str, tuple[Color, Color]] = {  # inside and outline of a box
    "layer": ((222, 235, 247), (0, 114, 178)),
    "operation": ((246, 247, 249), (150, 156, 166)),
    "weight": ((253, 239, 219), (230, 159, 0)),
    "input": ((224, 243, 235), (0, 158, 115)),
    "output": ((224, 243, 235), (0, 158, 115)),
}
INK: Color = (40, 44, 52)
GREY: Color = (120, 126, 136)


@dataclass
class Box:
    """One box: its kind (a key of COLORS), its lines of text, and what a pointer shows."""

    kind: str
    lines: tuple[str, ...]
    detail: str = ""


@dataclass
class Picture:
    """Boxes by key, and the edges between them."""

    boxes: dict[Any, Box]
    edges: list[tuple[Any, Any]]


def draw_graph(path: str, what: Any, *inputs: Any, names: Mapping[str, Any] | None = None) -> None:
    """Draws a model, called with `inputs`, or a tensor with its history.

    The end of `path` says how: .svg, .png or .dot.  An input is a tensor, or a tuple of sizes
    for zeros of that shape.  `names` says what leaves of a tensor's history are called, for
    example `dict(model.named_parameters())`.
    """
    kind = str(path).lower().rpartition(".")[2]
    if kind not in ("svg", "png", "dot"):
        raise ValueError(f"a graph is drawn as .svg, .png or .dot, not as {path!r}")
    picture = picture_of(what, inputs, names or {})
    if kind == "dot":
        write_atomically(path, dot_source(picture).encode(), mode=0o666)
    elif kind == "svg":
        drawn = draw(picture, SvgCanvas)
        assert isinstance(drawn, SvgCanvas)
        drawn.save(path)
    else:
        drawn = draw(picture, Canvas)
        assert isinstance(drawn, Canvas)
        drawn.save(path)


def graph_svg(what: Any, *inputs: Any, names: Mapping[str, Any] | None = None) -> str:
    """What `draw_graph` would write as SVG, as text; a notebook can show it."""
    drawn = draw(picture_of(what, inputs, names or {}), SvgCanvas)
    assert isinstance(drawn, SvgCanvas)
    return drawn.source()


def graph_dot(what: Any, *inputs: Any, names: Mapping[str, Any] | None = None) -> str:
    """What `draw_graph` would write as DOT, as text."""
    return dot_source(picture_of(what, inputs, names or {}))


# From a model or a tensor to boxes --------------------------------------------------------------


def picture_of(what: Any, inputs: tuple[Any, ...], names: Mapping[str, Any]) -> Picture:
    """The boxes and edges of a model or of a tensor's history."""
    if isinstance(what, Tensor):
        if inputs:
            raise TypeError("a tensor has its history already; inputs are for a model")
        return _walk([what], {}, {id(leaf): name for name, leaf in names.items()})
    if not callable(what) or not hasattr(what, "named_modules"):
        raise TypeError(
            f"a graph is drawn of an nn.Module or a Tensor, not a {type(what).__name__}"
        )
    if not inputs:
        raise TypeError("the graph of a model needs its inputs: tensors, or tuples of sizes")
    return _walk_model(what, [_input(value) for value in inputs])


def _input(value: Any) -> Tensor:
    """An example input whose way through the model is recorded."""
    found = value if isinstance(value, Tensor) else zeros(*value)
    return found.detach().requires_grad_() if found.dtype.is_floating_point else found


class _Calls:
    """Which layer recorded which entries: those between two numbers of the tape."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int, str, Any]] = []
        self._open: list[int] = []

    def before(self, module: Any, args: Any) -> None:
        self._open.append(next_sequence())

    def after(self, name: str) -> Any:
        def hook(module: Any, args: Any, result: Any) -> None:
            self.spans.append((self._open.pop(), next_sequence(), name, module))

        return hook

    def of(self, entry: Entry) -> int | None:
        """The number of the call that recorded an entry, if a layer did."""
        for number, (first, last, _, _) in enumerate(self.spans):
            if first < entry.sequence < last:
                return number
        return None


def _walk_model(model: Any, inputs: list[Tensor]) -> Picture:
    calls = _Calls()
    handles = []
    for name, module in model.named_modules():
        if not module._modules:
            handles.append(module.register_forward_pre_hook(calls.before))
            handles.append(module.register_forward_hook(calls.after(name)))
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with enable_grad():
            result = model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    outputs: list[Tensor] = []
    _collect(result, outputs)
    if not outputs:
        raise TypeError(f"the model returned no tensor but a {type(result).__name__}")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    names.update({id(tensor): "input" for tensor in inputs})
    picture = _walk(outputs, {}, names, calls)
    for tensor in inputs:
        box = picture.boxes.get(("leaf", id(tensor)))
        if box is not None:
            box.kind = "input"
    _add_unseen_inputs(picture, inputs)
    return picture


def _add_unseen_inputs(picture: Picture, inputs: list[Tensor]) -> None:
    """Integer inputs leave no trace on the tape: they lead to the boxes without a source."""
    unseen = [t for t in inputs if not t.dtype.is_floating_point]
    targets = {end for _, end in picture.edges}
    starts = [
        key for key, box in picture.boxes.items() if box.kind == "layer" and key not in targets
    ]
    for tensor in unseen:
        key = ("leaf", id(tensor))
        picture.boxes[key] = Box("input", ("input", _shape(tensor)))
        picture.edges += [(key, start) for start in starts]


def _collect(value: Any, found: list[Tensor]) -> None:
    if isinstance(value, Tensor):
        found.append(value)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect(item, found)
    elif isinstance(value, dict):
        _collect(list(value.values()), found)


def _walk(
    outputs: list[Tensor], boxes: dict[Any, Box], names: dict[int, str], calls: _Calls | None = None
) -> Picture:
    """Everything on the tape behind `outputs`; the entries of one layer make one box."""
    picture = Picture(boxes, [])
    seen: set[int] = set()
    pending: list[Entry | TensorBase] = []
    for number, output in enumerate(outputs):
        key = ("output", number)
        boxes[key] = Box("output", ("output", _shape(output)))
        if output.requires_grad:
            start = edge_of(output)
            picture.edges.append((_key(start, calls), key))
            pending.append(start)
    while pending:
        place = pending.pop()
        if id(place) in seen:
            continue
        seen.add(id(place))
        key = _key(place, calls)
        if not isinstance(place, Entry):
            boxes.setdefault(key, _leaf_box(place, names))
            continue
        boxes.setdefault(key, _entry_box(place, key, calls))
        for edge in place.edges:
            if edge is None:
                continue
            source = _key(edge, calls)
            if calls is not None and key[0] == "layer" and _is_weight(edge, names):
                continue  # a layer's own weights are part of its box
            if source != key:
                picture.edges.append((source, key))
            pending.append(edge)
    picture.edges = list(dict.fromkeys(picture.edges))
    return picture


def _is_weight(edge: Entry | TensorBase, names: dict[int, str]) -> bool:
    return not isinstance(edge, Entry) and names.get(id(edge), "input") != "input"


def _key(place: Entry | TensorBase, calls: _Calls | None) -> tuple[str, int]:
    if not isinstance(place, Entry):
        return ("leaf", id(place))
    call = None if calls is None else calls.of(place)
    return ("operation", id(place)) if call is None else ("layer", call)


def _leaf_box(leaf: TensorBase, names: dict[int, str]) -> Box:
    return Box("weight", (names.get(id(leaf), "leaf"), _shape(leaf)))


def _entry_box(entry: Entry, key: tuple[str, int], calls: _Calls | None) -> Box:
    shape = " x ".join(map(str, entry._shape)) or "one number"
    if calls is None or key[0] != "layer":
        return Box("operation", (entry.row.name, shape), f"{entry.name()} {entry.dtype!r}")
    _, _, name, module = calls.spans[key[1]]
    count = sum(parameter.numel() for parameter in module.parameters())
    lines = [f"{name}: {type(module).__name__}" if name else type(module).__name__, shape]
    return Box("layer", tuple(lines), f"{module!r}, {count:,} parameters")


def _shape(tensor: TensorBase) -> str:
    return " x ".join(map(str, tensor._shape)) or "one number"


# From boxes to a drawing ------------------------------------------------------------------------


def draw(
    picture: Picture, make: type[SvgCanvas] | type[Canvas]
) -> SvgCanvas | Canvas:
    """The picture on a canvas of the class `make`."""
    sizes = {key: _size(box) for key, box in picture.boxes.items()}
    late = [key for key, box in picture.boxes.items() if box.kind == "weight"]
    layout = Layout(sizes, picture.edges, late)
    canvas = make(round(layout.width), round(layout.height))
    for (start, _), points in layout.routes.items():
        canvas.arrow(points, GREY, dashed=picture.boxes[start].kind == "weight")
    for key, box in picture.boxes.items():
        (left, top), (width, height) = layout.places[key], sizes[key]
        inside, outline = COLORS[box.kind]
        canvas.box(left, top, left + width, top + height, inside, outline, title=box.detail)
        for number, line in enumerate(box.lines):
            color = INK if number == 0 else GREY
            canvas.text(
                left + width / 2, top + PADDING + number * LINE, line, color, align="center"
            )
    return canvas


def _size(box: Box) -> tuple[float, float]:
    width = max(text_width(line) for line in box.lines)
    return max(width, 30.0) + 2 * PADDING, len(box.lines) * LINE + 2 * PADDING - 5


def dot_source(picture: Picture) -> str:
    """The picture in the language of Graphviz."""
    numbers = {key: f"n{i}" for i, key in enumerate(picture.boxes)}
    lines = ["digraph {", "  node [shape=box, style=\"rounded,filled\", fontname=Helvetica];"]
    for key, box in picture.boxes.items():
        red, green, blue = COLORS[box.kind][0]
        label = "\\n".join(_quoted(line) for line in box.lines)
        lines.append(
            f'  {numbers[key]} [label="{label}", fillcolor="#{red:02x}{green:02x}{blue:02x}"];'
        )
    lines += [f"  {numbers[start]} -> {numbers[end]};" for start, end in picture.edges]
    return "\n".join([*lines, "}\n"])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
