"""A table of a model: its layers, the shapes between them, parameters, work and memory.

Floor 7.  The model is called once on inputs of the wanted shapes, and nothing is evaluated: the
operations that each layer left in the graph are counted where they wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from dlgrad.autograd import no_grad
from dlgrad.core.base import node_of
from dlgrad.core.creation import zeros
from dlgrad.dtype import DType, float32
from dlgrad.helpers import human_size
from dlgrad.lazy import graph
from dlgrad.lazy.graph import Node
from dlgrad.lazy.ops import MatrixOps, ReduceOps, is_elementwise
from dlgrad.tensor import Tensor

if TYPE_CHECKING:
    from dlgrad.nn.module import Module


@dataclass
class Row:
    """One call of a module: `flops` and `output_bytes` are those of all that is in it."""

    name: str
    kind: str
    depth: int
    shape: tuple[int, ...] | None = None
    parameters: int = 0
    flops: int = 0
    output_bytes: int = 0
    is_leaf: bool = True


@dataclass
class Summary:
    """What `summary` found; `str` gives the table.

    `flops` are those of one forward pass, an addition and a multiplication counting as two.
    `activation_bytes` is what the layers without layers put out, which a backward pass needs.
    """

    rows: list[Row] = field(default_factory=list)
    total_params: int = 0
    trainable_params: int = 0
    parameter_bytes: int = 0
    buffer_bytes: int = 0
    input_bytes: int = 0
    activation_bytes: int = 0
    flops: int = 0

    def __str__(self) -> str:
        head = ("layer", "output shape", "parameters", "FLOPs", "memory")
        cells = [head, *map(_cells, self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
        lines = [_line(row, widths) for row in cells]
        rule = "-" * max(map(len, lines))
        frozen = self.total_params - self.trainable_params
        training = self.parameter_bytes + self.buffer_bytes + self.activation_bytes
        foot = [
            f"parameters   {self.total_params:,} ({self.trainable_params:,} trainable"
            + (f", {frozen:,} frozen)" if frozen else ")"),
            f"FLOPs        {_short(self.flops)} for a forward pass",
            f"memory       {human_size(self.input_bytes)} input, "
            f"{human_size(self.activation_bytes)} between layers, "
            f"{human_size(self.parameter_bytes)} parameters, "
            f"{human_size(training + self.input_bytes)} in all",
        ]
        return "\n".join([lines[0], rule, *lines[1:], rule, *foot])

    def __repr__(self) -> str:
        return f"<Summary: {self.total_params:,} parameters, {_short(self.flops)} FLOPs>"


def summary(
    model: Module,
    *inputs: Any,
    dtypes: Sequence[DType] | None = None,
    verbose: bool = True,
) -> Summary:
    """Prints the table of a model, and returns it as a `Summary`.

    An input is a tensor, or a tuple of sizes with that of the batch: `summary(model, (32, 1, 28,
    28))`.  `dtypes` are those of the inputs given by size (float32; int64 for tokens).  With
    `verbose=False` nothing is printed.  The model is called in evaluation mode.
    """
    if not inputs:
        raise TypeError("summary needs an input: a tensor, or a tuple of sizes such as (1, 28, 28)")
    if not hasattr(model, "parameters"):
        raise TypeError(f"summary needs a module, not {type(model).__name__}")
    kinds = list(dtypes or ()) + [float32] * len(inputs)
    first = next(model.parameters(), None)
    device = "cpu" if first is None else first.device
    given = [
        value if isinstance(value, Tensor) else zeros(*value, dtype=kind, device=device)
        for value, kind in zip(inputs, kinds, strict=False)
    ]
    result = Summary(input_bytes=sum(tensor.nbytes for tensor in given))
    known = [*given, *model.parameters(), *model.buffers()]
    _call(model, given, _Counter(result, known))
    for parameter in model.parameters():
        result.total_params += parameter.numel()
        result.parameter_bytes += parameter.nbytes
        if parameter.requires_grad:
            result.trainable_params += parameter.numel()
    result.buffer_bytes = sum(buffer.nbytes for buffer in model.buffers())
    result.activation_bytes = sum(row.output_bytes for row in result.rows if row.is_leaf)
    result.flops = sum(row.flops for row in result.rows if row.depth == 0)
    if verbose:
        print(result)
    return result


def _call(model: Module, inputs: Sequence[Tensor], counter: _Counter) -> None:
    """Calls the model in evaluation mode, with the counter around every module."""
    modes = [(module, module.training) for module in model.modules()]
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(counter.enter(name)))
        handles.append(module.register_forward_hook(counter.leave))
    model.eval()
    try:
        with no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode


class _Counter:
    """Sees modules begin and end, and counts what the ones in between added to the graph."""

    def __init__(self, result: Summary, known: Sequence[Tensor]) -> None:
        self.result = result
        self.counted: dict[int, Node] = {}  # nodes by id; keeping them keeps the ids theirs
        self.open: list[Row] = []
        self.owned: set[int] = set()
        self.count([node_of(tensor) for tensor in known])

    def enter(self, name: str) -> Any:
        def hook(module: Module, args: Any) -> None:
            for tensor in _tensors(args):  # what was done since the last module
                self.add(self.count([node_of(tensor)]))
            short = name.rpartition(".")[2]
            row = Row(short, type(module).__name__, len(self.open))
            if self.open:
                self.open[-1].is_leaf = False
            row.parameters = self.own_parameters(module)
            self.result.rows.append(row)
            self.open.append(row)

        return hook

    def own_parameters(self, module: Module) -> int:
        """The number of the parameters that are this module's; a shared one counts once."""
        fresh = [
            parameter
            for parameter in module._parameters.values()
            if parameter is not None and id(parameter) not in self.owned
        ]
        self.owned.update(map(id, fresh))
        return sum(parameter.numel() for parameter in fresh)

    def leave(self, module: Module, args: Any, output: Any) -> None:
        row = self.open[-1]
        tensors = _tensors(output)
        self.add(self.count([node_of(tensor) for tensor in tensors]))
        if tensors:
            row.shape = tuple(tensors[0].shape)
            row.output_bytes = sum(tensor.nbytes for tensor in tensors)
        self.open.pop()

    def add(self, flops: int) -> None:
        """Adds work to all modules that are open."""
        for row in self.open:
            row.flops += flops

    def count(self, nodes: list[Node]) -> int:
        """The work of all nodes behind `nodes` that were not counted before."""
        total = 0
        pending = [node for node in nodes if id(node) not in self.counted]
        while pending:
            node = pending.pop()
            if id(node) in self.counted:
                continue
            self.counted[id(node)] = node
            total += _flops(node)
            pending += [source for source in node.src if id(source) not in self.counted]
        return total


def _flops(node: graph.Node) -> int:
    """Floating-point operations of one node."""
    if not node.dtype.is_floating_point:
        return 0
    if node.op is MatrixOps.MATMUL:
        dims = node.arg
        summed = node.src[0].shape[dims.batch + dims.m :]
        return 2 * node.numel * prod(summed)
    if isinstance(node.op, ReduceOps):
        return node.src[0].numel
    return node.numel if is_elementwise(node.op) else 0


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _cells(row: Row) -> tuple[str, ...]:
    title = f"{row.name}: {row.kind}" if row.name else row.kind
    shape = "" if row.shape is None else " x ".join(map(str, row.shape)) or "one number"
    return (
        "  " * row.depth + title,
        shape,
        f"{row.parameters:,}" if row.parameters else "",
        _short(row.flops) if row.flops else "",
        human_size(row.output_bytes) if row.output_bytes and row.is_leaf else "",
    )


def _line(cells: tuple[str, ...], widths: Sequence[int]) -> str:
    """Text to the left, numbers to the right."""
    left = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
    return "  ".join(left + right).rstrip()


def _short(count: int) -> str:
    """A count in three digits: 950, 1.23 k, 45.6 M, 7.89 G."""
    for scale, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return str(count)
