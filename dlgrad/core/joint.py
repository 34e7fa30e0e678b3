"""Entries of the tape for calls with several results, and what such a call read from outside.

Floor 6.  The call itself has one entry with a `joint` rule.  Each of its results has a small one,
which hands its gradient on in a `Bundle`, so the rule runs once, with all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.autograd.walk import Target, reachable
from dlgrad.core.base import TensorBase
from dlgrad.core.tape import Bundle, Derivative, Entry, Row, edge_of, start_entry
from dlgrad.dtype import float32

if TYPE_CHECKING:
    from dlgrad.dtype import DType
    from dlgrad.lazy.shape import Shape

_TO_CALL = Derivative("", lambda g, e: Bundle({e.arg: g}))  # type: ignore[arg-type,return-value]


def start_call(call: Entry, row: Row, edges: Sequence[Target | None]) -> None:
    """Sets up the entry of a call, to which bundles come."""
    start_entry(call, row, edges)
    call._shape, call.dtype, call.device = (), float32, "cpu"


def result_entry(call: Entry, place: int, shape: Shape, dtype: DType, device: str) -> Entry:
    """The entry of result number `place` of a call."""
    entry = Entry()
    start_entry(entry, Row(call.row.name, _TO_CALL, suffix=call.row.suffix), [call])
    entry._shape, entry.dtype, entry.device, entry.arg = shape, dtype, device, place
    return entry


def attach(call: Entry, place: int, result: TensorBase) -> None:
    """Puts result number `place` of a call on the tape."""
    result._entry = result_entry(
        call, place, result._shape, result.dtype, result._storage.node.device
    )
    result._requires = True


def outside_of(results: Sequence[TensorBase], since: int, own: set[int]) -> list[Any]:
    """Where the tape of a call leads out: entries older than `since`, and leaves not in `own`.

    `own` are the ids of the leaves that stand for the arguments.
    """
    roots = [edge_of(result) for result in results]
    inside = reachable(roots, since)
    found: dict[int, Target] = {}
    for edge in [*roots, *(edge for entry in inside for edge in entry.edges)]:
        if isinstance(edge, Entry):
            if edge.sequence < since:
                found[id(edge)] = edge
        elif edge is not None and id(edge) not in own:
            found[id(edge)] = edge
    return list(found.values())
