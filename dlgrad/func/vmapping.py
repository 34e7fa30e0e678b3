"""`vmap`: a function of one row becomes a function of all rows.

Floor 6.  The function is called once, on placeholders for one row (`core/tracing.py`); the graph
that it leaves is turned into one for all rows (`core/batching.py`), so a loop over rows never
exists.

The tape that the call leaves is for one row, too.  Where a derivative goes through the results,
it walks that tape with placeholders for the gradients, and turns the graph of the gradients of
one row into that for all rows in the same way.  So the derivatives are those of the functions
that were called, to every order, and a value that both directions need is computed once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.autograd.walk import reachable, walk
from dlgrad.core.base import TensorBase, from_storage, grad_mode, make, node_of, requires_grad
from dlgrad.core.batching import Batcher
from dlgrad.core.joint import attach, outside_of, start_call
from dlgrad.core.storage import Storage, pending_depth, pending_storages
from dlgrad.core.tape import Entry, Row, edge_of, next_sequence, stale
from dlgrad.core.tracing import TRACED, placeholder, stack
from dlgrad.core.trees import Leaf, flatten, is_branch, unflatten
from dlgrad.errors import AutogradError, VmapError
from dlgrad.operators.joining import cat
from dlgrad.operators.movement import movedim, narrow

if TYPE_CHECKING:
    from dlgrad.lazy.shape import Shape
    from dlgrad.random import Generator
    from dlgrad.tensor import Tensor

_RANDOMNESS = ("error", "different", "same")


class Trace:
    """One call of a function on placeholders, and the nodes for all rows made of it so far."""

    def __init__(self, size: int, randomness: str) -> None:
        self.size = size
        self.randomness = randomness
        self.start = next_sequence()
        self.batcher = Batcher(self.start, size)
        self.pending = {id(storage): storage for storage in pending_storages()}
        self.kept: list[Storage] = []

    def __enter__(self) -> Trace:
        stack.traces.append(self)
        return self

    def __exit__(self, *details: object) -> None:
        stack.traces.pop()
        self.pending = {}

    def existed(self, storage: Storage) -> bool:
        """Whether memory was there before the function was called."""
        return id(storage) in self.pending or storage.node.is_realized

    def row_of(self, whole: Tensor) -> Tensor:
        """A placeholder for the rows of `whole`, which run along its dimension 0."""
        node = node_of(whole)
        row = placeholder(self.start, node.dtype, node.shape[1:], node.device)
        self.batcher.bind(row, node)
        return make(row, TRACED)

    def depth_of(self, row: Tensor, sources: Sequence[TensorBase]) -> int:
        """The depth of the storage for all rows of `row`."""
        depth = 1 + max((pending_depth(x._storage) for x in sources), default=0)
        if self.batcher.within:
            depth = max(depth, TRACED)
        return depth + max(pending_depth(row._storage) - TRACED, 0)

    def counters(
        self, generator: Generator, shape: Shape, place: str, per_element: int
    ) -> Tensor | None:
        """The random numbers of one row; None where they are those of every row."""
        if self.randomness == "same":
            return None
        if self.randomness == "error":
            raise VmapError(
                "vmap: called random operation while in randomness error mode. Please either use "
                "the 'same' or 'different' randomness flags on vmap or perform the randomness "
                "operation out of vmap"
            )
        stack.traces.remove(self)
        try:
            drawn = generator.counters((self.size * math.prod(shape),), place, per_element)
        finally:
            stack.traces.append(self)
        return self.row_of(drawn.reshape(self.size, math.prod(shape)))


# Results ----------------------------------------------------------------------------------------


class VmapEntry(Entry):
    """The entry of a call of `vmap`: `rows` are its results for one row, with their own tape."""

    trace: Trace | None

    def __init__(
        self, trace: Trace, rows: Sequence[Tensor], inputs: Sequence[tuple[Tensor, Tensor]]
    ) -> None:
        self.trace = trace
        self.rows = rows
        self.inputs = inputs
        self.results = [row for row in rows if requires_grad(row)]
        self.outside = outside_of(self.results, trace.start, {id(row) for row, _ in inputs})
        self.wanted = [(row, whole) for row, whole in inputs if requires_grad(row)]
        self.guards: list[tuple[Storage, int]] = []
        edges = [edge_of(whole) for _, whole in self.wanted] + self.outside
        start_call(self, Row("Vmap", joint=_batched_gradients), edges)
        self.keep_saved(trace)

    def keep_saved(self, trace: Trace) -> None:
        """Holds on to the values for all rows of what the tape of one row reads later."""
        for entry in reachable([edge_of(row) for row in self.results], trace.start):
            read = [source for source in entry.saved or () if source is not None]
            if entry.out_storage is not None:
                read.append(from_storage(entry.out_storage, None))
            for source in read:
                node = trace.batcher.known(source._storage.node)
                if node is None:
                    continue
                if node.is_held:
                    self.guards.append((node.holder, node.holder.version))
                elif not node.is_realized:
                    trace.kept.append(Storage(node, trace.depth_of(source, ())))

    def check(self) -> None:
        if self.trace is None:
            raise AutogradError(
                "Trying to backward through the graph a second time: what vmap saved is freed. "
                "Specify retain_graph=True for the first pass."
            )
        for storage, version in self.guards:
            if storage.version != version:
                raise stale(self.name(), storage.shape, storage, version)

    def free(self) -> None:
        self.trace = None
        self.rows = self.results = self.inputs = self.wanted = ()  # type: ignore[assignment]


def all_rows(
    trace: Trace, rows: Sequence[Tensor], inputs: Sequence[tuple[Tensor, Tensor]]
) -> list[tuple[Tensor, bool]]:
    """The results for all rows, each with whether it differs from row to row, recorded.

    `inputs` are the placeholders, each with the whole tensor that it stands for.
    """
    found: list[tuple[Tensor, bool]] = []
    sources = [whole for _, whole in inputs]
    operands = [trace.batcher.operand(node_of(row)) for row in rows]
    for row, operand in zip(rows, operands, strict=True):
        if operand.batched:
            found.append((make(operand.node, trace.depth_of(row, sources)), True))
        else:
            found.append((row, False))
    recorded = [i for i, row in enumerate(rows) if requires_grad(row) and found[i][1]]
    if grad_mode.enabled and recorded:
        call = VmapEntry(trace, [rows[i] for i in recorded], inputs)
        if any(edge is not None for edge in call.edges):
            for place, i in enumerate(recorded):
                attach(call, place, found[i][0])
    return found


def _batched_gradients(gradient: Any, call: Entry) -> Sequence[Tensor | None]:
    """The gradients of the whole inputs, and of what the function read from outside."""
    assert isinstance(call, VmapEntry) and call.trace is not None
    trace = call.trace
    given = [gradient.parts[place] for place in gradient.parts]
    with trace:
        seeds = [trace.row_of(part) for part in given]
        for seed, part in zip(seeds, given, strict=True):
            seed._requires = requires_grad(part) and grad_mode.enabled
        roots = [edge_of(call.rows[place]) for place in gradient.parts]
        targets = [row for row, _ in call.wanted] + call.outside
        pairs = walk(roots, seeds, targets, True, grad_mode.enabled, trace.start)
    gradients = {id(target): part for target, part in pairs}
    rows = [gradients.get(id(target)) for target in targets]
    inputs = [*call.inputs, *zip(seeds, given, strict=True)]
    wholes = iter(all_rows(trace, [row for row in rows if row is not None], inputs))
    results: list[Tensor | None] = []
    for place, row in enumerate(rows):
        if row is None:
            results.append(None)
            continue
        whole, batched = next(wholes)
        if place < len(call.wanted):
            shape = (trace.size, *row._shape)
            results.append(whole if batched else whole.expand(shape))
        else:
            results.append(whole.sum(0) if batched else whole * trace.size)
    return results


# Arguments --------------------------------------------------------------------------------------


def spread(dims: Any, structure: Any, name: str) -> list[Any]:
    """One entry of `dims` for each tensor of a structure; `dims` may stop above the tensors."""
    single = dims is None or (isinstance(dims, int) and not isinstance(dims, bool))
    if structure is Leaf:
        if not single:
            raise ValueError(
                f"Got {name}={dims!r} for some input, but {name} must be either an integer "
                "dimension or None."
            )
        return [dims]
    if not is_branch(structure):
        if dims is not None:
            raise ValueError(
                f"Got {name}={dims!r} for an input but the input is of type {type(structure)}. We "
                f"cannot vmap over non-Tensor arguments, please use None as the respective {name}"
            )
        return []
    kind, items = structure
    parts = [item for _, item in items] if kind is dict else items
    if single:
        own = [dims] * len(parts)
    elif kind is dict:
        if not isinstance(dims, dict) or set(dims) != {key for key, _ in items}:
            raise mismatched(name, dims)
        own = [dims[key] for key, _ in items]
    else:
        if not isinstance(dims, (list, tuple)) or len(dims) != len(parts):
            raise mismatched(name, dims)
        own = list(dims)
    return [leaf for dim, part in zip(own, parts, strict=True) for leaf in spread(dim, part, name)]


def mismatched(name: str, dims: Any) -> ValueError:
    """The error for dims that do not fit the arguments."""
    return ValueError(
        f"{name} is not compatible with the structure of the values: {dims!r} must be an int, "
        "None, or nested as they are"
    )


def wrapped_dim(dim: int, ndim: int, name: str) -> int:
    """`dim` as a number from 0 on; ValueError outside."""
    if not -ndim <= dim < ndim:
        raise ValueError(
            f"Got {name}={dim} for some input, but that input is a Tensor of dimensionality "
            f"{ndim} so expected {name} to satisfy -{ndim} <= {name} < {ndim}."
        )
    return dim % ndim


def common_size(tensors: list[Tensor], dims: list[int | None]) -> int:
    """The number of rows; ValueError where the tensors disagree or nothing is mapped."""
    sizes = [x._shape[d] for x, d in zip(tensors, dims, strict=True) if d is not None]
    if not sizes:
        raise ValueError(
            "vmap: at least one input must have an in_dim that is not None: there is nothing to "
            "map over"
        )
    if len(set(sizes)) > 1:
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return sizes[0]


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that does for every row of its arguments what `func` does for one.

    in_dims: the dimension of each argument that is taken apart, None for one that every call
    gets whole; an int for all, or nested as the arguments are.  Keyword arguments are given to
    every call whole.  out_dims: where the rows go in each result.  randomness: whether random
    numbers in `func` are an error, "different" for each row, or the "same".  chunk_size: so many
    rows at once, to save memory.

    `func` is called once, with tensors that have a shape but no values: it cannot look at
    numbers (VmapError), and writes in place only into tensors that it made.  ValueError for dims
    that do not fit.
    """
    if randomness not in _RANDOMNESS:
        raise RuntimeError(
            f"Only allowed values for randomness are {', '.join(_RANDOMNESS)}, got {randomness}"
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        tensors: list[Any] = []
        structure = flatten(args, tensors)
        if not tensors:
            raise ValueError(
                "vmap: got no inputs. Maybe you forgot to add inputs, or you are trying to vmap "
                "over a function with no inputs."
            )
        dims = spread(in_dims, structure, "in_dim")
        places = [
            None if dim is None else wrapped_dim(dim, x.ndim, "in_dim")
            for x, dim in zip(tensors, dims, strict=True)
        ]
        size = common_size(tensors, places)
        function = functools.partial(func, **kwargs) if kwargs else func
        step = size if chunk_size is None else chunk_size
        if step >= size:
            return call(function, structure, tensors, places, size, out_dims, randomness)
        pieces = []
        for start in range(0, size, step):
            count = min(step, size - start)
            parts = [
                x if dim is None else narrow(x, dim, start, count)
                for x, dim in zip(tensors, places, strict=True)
            ]
            pieces.append(call(function, structure, parts, places, count, out_dims, randomness))
        return joined(pieces, out_dims)

    return mapped


def call(
    func: Callable[..., Any], structure: Any, tensors: list[Tensor], places: list[int | None],
    size: int, out_dims: Any, randomness: str,
) -> Any:  # fmt: skip
    """The results of `func` for all rows of the tensors."""
    with Trace(size, randomness) as trace:
        arguments: list[Tensor] = []
        inputs: list[tuple[Tensor, Tensor]] = []
        for x, dim in zip(tensors, places, strict=True):
            if dim is None:
                arguments.append(x)
                continue
            whole = movedim(x, dim, 0) if dim else x
            row = trace.row_of(whole)
            row._requires = grad_mode.enabled and requires_grad(x)
            arguments.append(row)
            inputs.append((row, whole))
        results = func(*unflatten(structure, arguments))
    for row, _ in inputs:
        if row._storage.version:
            raise VmapError(
                "vmap: the function writes in place into its argument, which is one row of a "
                "larger tensor; clone() the argument first, or write into the whole tensor"
            )
    rows: list[Any] = []
    shape = flatten(results, rows)
    refuse_other_results(shape)
    dims = spread(out_dims, shape, "out_dim")
    wholes = all_rows(trace, rows, inputs)
    if trace.batcher.within and not stack.traces:
        raise VmapError(
            "vmap: one row of another call of vmap was used, which the function there has kept; "
            "return it from there instead"
        )
    placed = []
    for (whole, batched), dim in zip(wholes, dims, strict=True):
        if dim is None:
            if batched:
                raise ValueError(
                    "vmap: `f` can not return a tensor that differs from row to row with "
                    "out_dim=None; give it a dimension"
                )
            placed.append(whole)
            continue
        if not batched:
            whole = whole.expand((size, *whole._shape))
        place = wrapped_dim(dim, whole.ndim, "out_dim")
        placed.append(movedim(whole, 0, place) if place else whole)
    return unflatten(shape, placed)


def refuse_other_results(structure: Any) -> None:
    """ValueError where a function returns something that is no tensor."""
    if structure is Leaf:
        return
    if not is_branch(structure):
        raise ValueError(
            f"vmap: `f` must only return Tensors, got type {type(structure)} as a return."
        )
    for item in structure[1]:
        refuse_other_results(item[1] if structure[0] is dict else item)


def joined(pieces: list[Any], out_dims: Any) -> Any:
    """The results of several chunks as those of one call."""
    flat: list[list[Any]] = []
    shape: Any = None
    for piece in pieces:
        tensors: list[Any] = []
        shape = flatten(piece, tensors)
        flat.append(tensors)
    dims = spread(out_dims, shape, "out_dim")
    return unflatten(
        shape,
        [
            parts[0] if dim is None else cat(list(parts), dim)
            for parts, dim in zip(zip(*flat, strict=True), dims, strict=True)
        ],
    )
