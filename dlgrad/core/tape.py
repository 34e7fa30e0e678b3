"""The tape: what was done to which tensors, and writes into memory that tensors share.

Floor 6.  `record` adds an `Entry` for one operation; a `Row` says which of the sources (and
whether the result) its derivatives will read.  `gradients.py` fills the table of rows, and
`dlgrad.autograd` walks the entries backwards.  `write` is the only door by which the contents of
a storage change after it was made.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.base import (
    TensorBase,
    from_storage,
    grad_mode,
    node_of,
    requires_grad,
    view_of,
)
from dlgrad.core.storage import Storage, evaluate_pending, pending_depth, realize
from dlgrad.core.tracing import TRACED, check_write
from dlgrad.dtype import FLOAT, float32
from dlgrad.errors import AutogradError, ShapeError
from dlgrad.helpers import callers_frame
from dlgrad.lazy import graph
from dlgrad.lazy.ops import BufferOps, MovementOps, Op
from dlgrad.lazy.shape import Layouts, View

if TYPE_CHECKING:
    from dlgrad.dtype import DType
    from dlgrad.lazy.shape import Shape
    from dlgrad.tensor import Tensor

_SOURCE_NAMES = "abc"


class Derivative:
    """How a gradient flows to one source: `rule(gradient, entry)`, which reads `needs`.

    `needs` names what the rule reads: "a", "b", "c" for the sources in order, "o" for the
    result.
    """

    __slots__ = ("needs", "rule")

    def __init__(self, needs: str, rule: Callable[[Tensor, Entry], Tensor]) -> None:
        self.needs = needs
        self.rule = rule


class Row:
    """One row of the table of derivatives: a name, and a `Derivative` for each source or None.

    An operation with any number of sources has `each`, called with the source's position, or
    `joint`, which gives the gradients of all sources at once.
    """

    __slots__ = ("name", "derivatives", "each", "joint", "suffix", "_plans")

    def __init__(
        self,
        name: str,
        *derivatives: Derivative | None,
        each: Callable[[Tensor, Entry, int], Tensor] | None = None,
        joint: Callable[[Any, Entry], Sequence[Tensor | None]] | None = None,
        suffix: str = "Backward0",
    ) -> None:
        self.name = name
        self.derivatives = derivatives
        self.each = each
        self.joint = joint
        self.suffix = suffix
        self._plans: dict[int, tuple[tuple[int, ...], bool]] = {}

    def plan(self, mask: int) -> tuple[tuple[int, ...], bool]:
        """What to keep when the sources in the bit `mask` want gradients.

        The positions of the sources to keep, and whether to keep the result.
        """
        found = self._plans.get(mask)
        if found is None:
            needs = "".join(
                row.needs for i, row in enumerate(self.derivatives) if mask >> i & 1 and row
            )
            kept = tuple(i for i, name in enumerate(_SOURCE_NAMES) if name in needs)
            found = self._plans[mask] = (kept, "o" in needs)
        return found

    def gradient(self, index: int, gradient: Tensor, entry: Entry) -> Tensor | None:
        """The gradient for source `index`, from the `gradient` of the result."""
        if self.each is not None:
            return self.each(gradient, entry, index)
        derivative = self.derivatives[index]
        return None if derivative is None else derivative.rule(gradient, entry)


# Filled by gradients.py: one row per primitive, and one per composed operation whose composed
# derivative would be slow or lose accuracy.
ROWS: dict[Op | str, Row] = {}

_sequence = itertools.count()


def next_sequence() -> int:
    """A number that is smaller than those of all entries to come."""
    return next(_sequence)


class Anomaly:
    """Whether entries remember who made them, and gradients are checked for NaN."""

    enabled = False
    check_nan = True


anomaly = Anomaly()


class Bundle:
    """The gradients of an operation with several results, on their way to its entry."""

    __slots__ = ("parts",)
    _shape = ()
    dtype = float32

    def __init__(self, parts: dict[int, Tensor]) -> None:
        self.parts = parts

    def __add__(self, other: Bundle) -> Bundle:
        parts = dict(self.parts)
        for index, part in other.parts.items():
            parts[index] = parts[index] + part if index in parts else part
        return Bundle(parts)


class AccumulateGrad:
    """Where the tape ends: the leaf `variable`, to whose `.grad` gradients are added."""

    __slots__ = ("variable",)
    next_functions = ()

    def __init__(self, variable: TensorBase) -> None:
        self.variable = variable

    def name(self) -> str:
        """The name in messages."""
        return "AccumulateGrad"

    def __repr__(self) -> str:
        return "<AccumulateGrad>"


class Entry:
    """One recorded operation, as `Tensor.grad_fn` shows it.

    `edges` lead to the entries (or leaf tensors) of the sources that want a gradient, None for
    the others.  `saved` are the sources that the derivatives read, with their versions; the
    result is kept as its storage and view, because the tensor itself refers to the entry.
    `_shape`, `dtype` and `device` are those of the result.
    """

    __slots__ = (
        "row", "arg", "edges", "saved", "versions", "out_storage", "out_view", "out_version",
        "sequence", "_shape", "dtype", "device", "hooks", "origin", "__weakref__",
    )  # fmt: skip

    row: Row
    arg: Any
    edges: tuple[Entry | TensorBase | None, ...]
    saved: tuple[Tensor | None, ...] | None
    versions: tuple[int, ...]
    out_storage: Storage | None
    out_view: View | None
    out_version: int
    sequence: int
    _shape: Shape
    dtype: DType
    device: str
    hooks: dict[int, Any] | None
    origin: tuple[str, int, str]  # only where anomaly detection was on

    def name(self) -> str:
        """The name of the operation, for example "MulBackward0"."""
        return self.row.name + self.row.suffix

    def __repr__(self) -> str:
        return f"<{self.name()}>"

    @property
    def next_functions(self) -> tuple[tuple[Entry | AccumulateGrad | None, int], ...]:
        """The entries of the sources, as in PyTorch; None where no gradient is wanted."""
        return tuple(
            (e if isinstance(e, Entry) or e is None else AccumulateGrad(e), 0) for e in self.edges
        )

    @property
    def a(self) -> Tensor:
        """The first source."""
        return self._source(0)

    @property
    def b(self) -> Tensor:
        """The second source."""
        return self._source(1)

    @property
    def c(self) -> Tensor:
        """The third source."""
        return self._source(2)

    @property
    def out(self) -> Tensor:
        """The result, with its history."""
        assert self.out_storage is not None
        out = from_storage(self.out_storage, self.out_view)
        out._entry, out._requires = self, True
        return out

    def _source(self, index: int) -> Tensor:
        assert self.saved is not None
        source = self.saved[index]
        assert source is not None
        return source

    def source_shape(self, index: int) -> Shape:
        """The shape of a source that wants a gradient."""
        edge = self.edges[index]
        assert edge is not None
        return edge._shape

    def source_device(self, index: int) -> str:
        """The device of a source that wants a gradient."""
        edge = self.edges[index]
        assert edge is not None
        return edge.device if isinstance(edge, Entry) else edge._storage.node.device

    def check(self) -> None:
        """Raises AutogradError if what was saved is gone or has been overwritten."""
        if self.saved is None:
            raise AutogradError(
                "Trying to backward through the graph a second time (or directly access saved "
                "tensors after they have already been freed). Saved intermediate values of the "
                "graph are freed when you call .backward() or autograd.grad(). Specify "
                "retain_graph=True if you need to backward through the graph a second time or "
                "if you need to access saved tensors after calling backward."
            )
        for tensor, version in zip(self.saved, self.versions, strict=True):
            if tensor is not None and tensor._storage.version != version:
                raise stale(self.name(), tensor._shape, tensor._storage, version)
        storage = self.out_storage
        if storage is not None and storage.version != self.out_version:
            raise stale(self.name(), self._shape, storage, self.out_version)

    def standing_for(self, places: Sequence[int], others: Sequence[Tensor]) -> Entry:
        """This entry with other tensors as what it saved: the sources at `places`, the result."""
        entry = Entry()
        entry.row, entry.arg, entry.edges = self.row, self.arg, self.edges
        saved: list[Tensor | None] = [None] * len(self.edges)
        for place, tensor in zip(places, others, strict=False):
            saved[place] = tensor
        entry.saved, entry.versions = tuple(saved), self.versions
        entry.out_storage = None
        if len(others) > len(places):
            entry.out_storage, entry.out_view = others[-1]._storage, None
        entry.sequence, entry.hooks = self.sequence, None
        entry._shape, entry.dtype, entry.device = self._shape, self.dtype, self.device
        return entry

    def free(self) -> None:
        """Lets go of what was saved; entries that saved nothing stay usable."""
        if self.saved or self.out_storage is not None:
            self.saved = None
            self.out_storage = None


def stale(name: str, shape: Shape, storage: Storage, expected: int) -> AutogradError:
    """The error for a saved value that was overwritten before the entry `name` read it."""
    return AutogradError(
        "one of the variables needed for gradient computation has been modified by an "
        f"inplace operation: [{storage.dtype!r} {list(shape)}], which {name} reads, "
        f"is at version {storage.version}; expected version {expected} instead. Hint: use "
        "the operation that makes a new tensor there (x = x + 1 for x += 1), or clone() "
        "the tensor before it is written."
    )


def edge_of(tensor: TensorBase) -> Entry | TensorBase:
    """Where the gradient of a tensor that requires one goes: its entry, or the leaf itself."""
    base = tensor._base
    if base is not None and tensor._tracked and base._entry is not tensor._base_entry:
        # The base was written to since this view was made: the view is a view of the result.
        tensor._base_entry = base._entry
        tensor._requires = base._requires
        row, arg = ROWS[MovementOps.VIEW], view_of(tensor)
        if base._view is None:
            tensor._entry = new_entry(row, arg, tensor, (base,))
        else:  # a detached view of other memory
            layouts = Layouts(base._storage.shape, base._view, arg)
            tensor._entry = new_entry(ROWS["as_strided"], layouts, tensor, (base,))
    entry = tensor._entry
    return entry if entry is not None else tensor


def new_entry(
    row: Row, arg: Any, out: TensorBase, sources: Sequence[TensorBase]
) -> Entry:
    """An entry for `out = row(sources)`; at least one of them requires a gradient."""
    edges: list[Entry | TensorBase | None] = []
    mask = 0
    for i, source in enumerate(sources):
        if source._requires or (source._base is not None and requires_grad(source)):
            edges.append(source._entry or source if source._base is None else edge_of(source))
            mask |= 1 << i
        else:
            edges.append(None)
    entry = Entry()
    entry.row = row
    entry.arg = arg
    entry.edges = tuple(edges)
    kept, keeps_out = row.plan(mask) if row.each is None else ((), False)
    if kept:
        saved: list[Any] = [None] * len(sources)
        versions = [0] * len(sources)
        for i in kept:
            saved[i] = sources[i]
            versions[i] = sources[i]._storage.version
        entry.saved, entry.versions = tuple(saved), tuple(versions)
    else:
        entry.saved, entry.versions = (), ()
    if keeps_out:
        entry.out_storage, entry.out_view = out._storage, out._view
        entry.out_version = out._storage.version
    else:
        entry.out_storage = None
    entry.sequence = next(_sequence)
    entry._shape, entry.dtype, entry.device = out._shape, out.dtype, out._storage.node.device
    entry.hooks = None
    if anomaly.enabled:
        entry.origin = callers_line()
    return entry


def start_entry(entry: Entry, row: Row, edges: Sequence[Entry | TensorBase | None]) -> None:
    """Sets up an entry that the tape keeps no tensors for; its result is described later."""
    entry.row, entry.arg, entry.edges = row, None, tuple(edges)
    entry.saved, entry.versions, entry.out_storage = (), (), None
    entry.sequence, entry.hooks = next(_sequence), None
    if anomaly.enabled:
        entry.origin = callers_line()


def callers_line() -> tuple[str, int, str]:
    """File, line and function of the innermost call that is not dlgrad's own."""
    frame, _ = callers_frame()
    return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name


def record(op: Op | str, arg: Any, out: Tensor, sources: Sequence[TensorBase]) -> None:
    """Puts `out = op(sources)` on the tape, if recording is on and a source wants gradients."""
    if grad_mode.enabled and any(map(requires_grad, sources)):
        enter(op, arg, out, sources)


def enter(op: Op | str, arg: Any, out: Tensor, sources: Sequence[TensorBase]) -> None:
    """Puts `out = op(sources)`, of which a source wants gradients, on the tape if it can."""
    row = ROWS.get(op)
    if row is not None and out.dtype.kind == FLOAT:
        out._entry = new_entry(row, arg, out, sources)
        out._requires = True


# Writes ---------------------------------------------------------------------------------------


def check_writable(target: TensorBase, will_require: bool) -> None:
    """Raises where a write into `target` cannot be done, or could not be differentiated."""
    view = target._view
    if view is not None and view.overlaps_itself:
        raise ShapeError(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation."
        )
    if not grad_mode.enabled:
        return
    base = target._base
    root = base if base is not None else target
    if root._requires and root._entry is None:
        what = "a leaf Variable" if base is None else "a view of a leaf Variable"
        raise AutogradError(
            f"{what} that requires grad is being used in an in-place operation. Do it inside "
            "`with dlgrad.no_grad():` if it is an update of a parameter."
        )
    if not target._tracked and (root._requires or will_require):
        raise AutogradError(
            "A view was created in no_grad mode and is being modified inplace with grad mode "
            "enabled. Make the view outside of no_grad, or do the write inside of it."
        )
    if base is not None and base._view is not None and (root._requires or will_require):
        raise AutogradError(
            "a write through a view of a detached, strided tensor cannot be differentiated; "
            "clone() the detached tensor first"
        )


def old_value(target: Tensor) -> Tensor:
    """`target` as it is now, for an operation whose result will be written into it.

    Where the operation is recorded, the present contents move to a storage of their own, so
    that the tape keeps them; `write` follows at once.
    """
    if not (grad_mode.enabled and target.dtype.is_floating_point):
        return target
    view = target._view
    if view is None:
        old = from_storage(target._storage.hand_over(), None)
    else:
        node = graph.view(target._storage.node, view)
        old = from_storage(Storage(node, target._storage.depth), None)
    if requires_grad(target):
        edge = edge_of(target)
        old._requires = True
        old._entry = edge if isinstance(edge, Entry) else None
    return old


def write(target: Tensor, value: Tensor, fresh: bool) -> None:
    """Writes `value` (same shape, dtype and device) into the memory that `target` shows.

    `fresh` says that nobody else holds the storage of `value`, as for the result of the
    operation that an in-place method has just computed.
    """
    storage = target._storage
    view = target._view
    carries = grad_mode.enabled and requires_grad(value)
    had_history = grad_mode.enabled and requires_grad(target)
    new_history: Entry | None = None
    if carries or had_history:
        new_history = _history(target, value)
    node = node_of(value)
    if view is not None:
        node = graph.update(storage.node, node, view)
    if node.shape != storage.shape:
        node = graph.reshape(node, storage.shape)
    if not fresh and node.owner is not None:
        holder = node.owner()
        if holder is not None and holder.node is node:
            node = graph.copy(node)
    before = pending_depth(storage)
    depth = 1 + max(before if view is not None else 0, value._storage.depth)
    if before < TRACED <= depth:
        check_write(storage)
    shared = storage.buffer is not None and storage.buffer.shared
    if shared:
        evaluate_pending()  # what still has to read the memory, which shall be kept
        if node.is_realized:
            node = graph.copy(node)
    storage.replace(node, depth)
    if shared:
        realize((storage,))  # whoever else looks at the memory sees the write at once
    if new_history is not None:
        root = target._base if target._base is not None else target
        root._entry, root._requires = new_history, True
        if root is target and fresh and new_history.out_storage is value._storage:
            # What the entry saved as its result lives in the target from now on.
            new_history.out_storage, new_history.out_view = storage, view
            new_history.out_version = storage.version


def _history(target: Tensor, value: Tensor) -> Entry:
    """The entry that the root of `target` has after the write."""
    base = target._base
    if base is not None:
        return new_entry(ROWS[BufferOps.UPDATE], target._view, base, (base, value))
    if not requires_grad(value):
        return new_entry(ROWS["overwrite"], None, target, (target,))
    edge = edge_of(value)
    if isinstance(edge, Entry) and value._shape == target._shape and value.dtype is target.dtype:
        return edge
    return new_entry(ROWS[BufferOps.COPY], None, target, (value,))
