"""Python's side of direct calls: functions of the run time in C that need no `ctypes` at a call.

Floor 4.  `direct_source.py` has the C.  Here Python's functions are looked up for it, the places
of slots are found by trying, and what it needs to know of a captured function is laid out as
numbers.  Where Python is not the usual one (PyPy, a build without the interpreter lock),
`open_direct` gives None, and everything goes on through `ctypes`.
"""

from __future__ import annotations

import ctypes
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from dlgrad.runtime.device import Captured, Condition

# In the order of `struct dg_python`.
_FUNCTIONS = (
    "PyLong_AsLong", "PyLong_FromLong", "PyObject_GetAttr", "PyDict_GetItemWithError",
    "PyObject_RichCompareBool", "PyWeakref_NewRef", "PyTuple_New", "PyTuple_SetItem",
    "PyList_GetItem", "PyList_SetItem", "Py_IncRef", "Py_DecRef", "PyErr_Occurred",
    "PyErr_Clear", "PyErr_BadArgument", "PyEval_SaveThread", "PyEval_RestoreThread",
)  # fmt: skip
_OBJECTS = (None, NotImplemented, ())

_TP_NEW = 65  # the number of the slot with the function that makes objects; CPython's typeslots.h
_MOST_SLOTS = 32  # DG_MOST_SLOTS
# Of small results the storages of some are kept by a captured function, to be used again when
# nobody has them any more: with their nodes and memory they are most of what a result costs.
_SPARES = 2  # DG_SPARES
_MOST_SPARE_BYTES = 1 << 16
_MOST_LENT_BYTES = 1 << 18  # in a call, for what lies between its kernels
_ATTRIBUTE, _ITEM, _SLOT = range(3)  # kinds of a `dg_condition`
_ONE_FOR_ALL, _MEMBER, _REFERENCE, _ADDRESS = range(4)  # kinds of a `dg_field`


def open_direct(library: ctypes.CDLL) -> Direct | None:
    """Direct calls into the loaded run time; None where this Python cannot make them."""
    try:
        known = _has_usual_objects() and [_address(ctypes.pythonapi[name]) for name in _FUNCTIONS]
    except (AttributeError, ValueError):
        return None
    if not known:
        return None
    table = array("Q", [*known, *map(id, _OBJECTS)])
    library["dg_set_python"](ctypes.c_void_p(table.buffer_info()[0]))
    return Direct(library)


def _has_usual_objects() -> bool:
    """Whether an object begins with a count and its type, and `id` is its address.

    A weak reference has the address of what it is for behind them.
    """

    class Marked:
        __slots__ = ("slot", "__weakref__")

    size = ctypes.sizeof(ctypes.c_void_p)
    marked = Marked()
    reference = weakref.ref(marked)
    return (
        size == 8
        and _words(marked, 2)[1] == id(Marked)
        and _words(reference, 3)[1:] == [id(weakref.ref), id(marked)]
    )


def _words(value: object, count: int) -> list[int]:
    """The first words of an object."""
    return list((ctypes.c_size_t * count).from_address(id(value)))


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class Direct:
    """Makes built-in functions of Python from functions of the run time."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._new_function = ctypes.pythonapi["PyCFunction_NewEx"]
        self._new_function.restype = ctypes.py_object
        self._new_function.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
        self._get_slot = ctypes.pythonapi["PyType_GetSlot"]
        self._get_slot.restype = ctypes.c_void_p
        self._get_slot.argtypes = [ctypes.py_object, ctypes.c_int]

    def _function(self, method: str, address: int, kept: object) -> Callable[..., Any]:
        """A built-in function: a method of the run time on an address; `kept` lives as long."""
        at = ctypes.addressof(ctypes.c_char.in_dll(self._library, method))
        made: Callable[..., Any] = self._new_function(at, address, kept)
        return made

    def function(self, name: str) -> Callable[..., int]:
        """A function of the run time: of one, two or six integers, and with an integer result."""
        return self._function("dg_call_method", _address(self._library[name]), None)

    def replayer(
        self, captured: Captured, conditions: Sequence[Condition], records: tuple[int, int],
        threads: int,
    ) -> Callable[..., Any] | None:  # fmt: skip
        """A function that plays the `records` (address, how many) for other tensors.

        It answers NotImplemented where something is not as it was captured.  None where it
        would be more than C is prepared for, or where what lies between the kernels is so large
        that it is better allocated once.
        """
        if sum(nbytes for nbytes, _ in captured.lent) > _MOST_LENT_BYTES:
            return None
        if max(map(len, (captured.addresses, captured.arguments, captured.results))) > _MOST_SLOTS:
            return None
        kept: list[Any] = [*conditions, captured.sequence]
        tables: list[array[Any]] = []

        def laid_out(numbers: Iterable[int]) -> int:
            tables.append(array("Q", [*numbers, 0]))
            return tables[-1].buffer_info()[0]

        results: list[int] = []
        for tensor, slot in captured.results:
            fields = list(_fields(tensor, kept))
            types = [type(member) for member in _members(tensor)]
            kept += types
            results += (tensor._storage.nbytes, slot, *map(id, types))
            results += (self._get_slot(cls, _TP_NEW) for cls in types)
            results += (laid_out([number for field in fields for number in field]), len(fields))
            results += (_uses(fields, number) for number in range(len(types)))
            is_small = 0 < tensor._storage.nbytes <= _MOST_SPARE_BYTES
            kept.append([None] * _SPARES if is_small else None)
            results += (id(kept[-1]), 0)
        arguments = [_argument(tensor, slot, kept) for tensor, slot in captured.arguments]
        header = [
            laid_out(_layout(captured.results[0][0])),
            laid_out([n for condition in conditions for n in _condition(condition)]),
            laid_out([n for argument in arguments for n in argument]),
            laid_out(results),
            laid_out([number for lent in captured.lent for number in lent]),
            laid_out(captured.addresses),
            records[0],
            len(conditions), len(captured.arguments), len(captured.results), len(captured.lent),
            len(captured.addresses), records[1], threads, int(captured.is_tuple),
        ]  # fmt: skip
        at = laid_out(header)
        return self._function("dg_replay_method", at, (tuple(kept), tuple(tables)))


def _uses(fields: list[tuple[int, int, int, int]], number: int) -> int:
    """How many slots of others hold a member of a result."""
    return sum(kind == _MEMBER and value == number for _, _, kind, value in fields)


# What is where --------------------------------------------------------------------------------


def _members(tensor: Any) -> tuple[Any, ...]:
    """The objects that a tensor over memory of its own consists of, as C numbers them."""
    node = tensor._storage.node
    return node.arg, node, tensor._storage, tensor


def _slots(cls: type) -> dict[str, Any]:
    """The slots of a class and of those below it, apart from Python's own."""
    found = {}
    for base in cls.__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if not name.startswith("__"):
                found[name] = base.__dict__[name]
    return found


_known_offsets: dict[type, dict[str, int]] = {}


def _offsets(cls: Any) -> dict[str, int]:
    """Where in an object of a class its slots are, in bytes: found by writing and looking."""
    if cls in _known_offsets:
        return _known_offsets[cls]
    value = cls.__new__(cls)
    slots = _slots(cls)
    marks = {name: object() for name in slots}
    for name, slot in slots.items():
        slot.__set__(value, marks[name])
    words = _words(value, cls.__basicsize__ // 8)
    for slot in slots.values():
        slot.__set__(value, None)
    found = {name: 8 * words.index(id(mark)) for name, mark in marks.items()}
    _known_offsets[cls] = found
    return found


def _layout(tensor: Any) -> Iterator[int]:
    """The numbers of `struct dg_layout`."""
    memory, node, storage, _ = members = _members(tensor)
    yield from (id(type(member)) for member in reversed(members))
    for member, names in (
        (tensor, ("_storage", "_view", "_shape", "dtype")),
        (storage, ("node", "shape")),
        (node, ("op", "arg", "device")),
        (memory, ("address",)),
    ):
        yield from (_offsets(type(member))[name] for name in names)
    yield id(node.op)
    yield id(weakref.ref)
    yield 2 * 8


def _condition(condition: Condition) -> tuple[int, ...]:
    """The numbers of `struct dg_condition`."""
    owner, name, value = condition
    if name in _slots(type(owner)):
        return _SLOT, id(owner), _offsets(type(owner))[name], id(value)
    return _ITEM if isinstance(owner, dict) else _ATTRIBUTE, id(owner), id(name), id(value)


def _argument(tensor: Any, slot: int, kept: list[Any]) -> tuple[int, ...]:
    """The numbers of `struct dg_argument`; the objects go to `kept`, without the tensor."""
    storage = tensor._storage
    parts = (tensor._shape, tensor.dtype, storage.node.device, tensor._view, storage.shape)
    kept += parts
    return (*map(id, parts), slot)


def _fields(tensor: Any, kept: list[Any]) -> Iterator[tuple[int, int, int, int]]:
    """The numbers of each `struct dg_field`: how to make a tensor as this one over other memory.

    The objects that all will have in common go to `kept`.
    """
    members = _members(tensor)
    numbers = {id(member): number for number, member in enumerate(members)}
    for number, member in enumerate(members):
        for name, offset in _offsets(type(member)).items():
            value = getattr(member, name)
            if id(value) in numbers:
                yield number, offset, _MEMBER, numbers[id(value)]
            elif isinstance(value, weakref.ref):
                yield number, offset, _REFERENCE, numbers[id(value())]
            elif member is members[0] and name == "address":
                yield number, offset, _ADDRESS, 0
            else:
                kept.append(value)
                yield number, offset, _ONE_FOR_ALL, id(value)
