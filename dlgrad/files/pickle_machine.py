"""Python's pickle format, restricted to data: an interpreter that can call nothing by name.

Floor 6.  A pickle is a program for a small stack machine, and Python's own reader imports and
calls whatever it names.  This one knows the instructions that build numbers, strings and
containers; a name in the pickle is looked up in a table that the caller gives, and everything
else is refused.  `write_pickle` is the way back, for the same values.  The instructions are
those of the module `pickletools` of Python.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dlgrad.errors import FileFormatError
from dlgrad.files.mapped import quote

MAX_DEPTH = 100  # of containers in each other
MAX_INTEGER_BYTES = 64
MAX_KEY_MEMBERS = 16  # of a tuple that is a key


@dataclass(frozen=True)
class Constructor:
    """A name that a pickle may call: `make` receives the arguments from the pickle."""

    name: str
    make: Callable[..., Any]


@dataclass(frozen=True)
class Name:
    """A name that a pickle may mention, and that stands for nothing by itself."""

    module: str
    name: str


_MARK = object()
_PLAIN = (type(None), bool, int, float, str, bytes)
_INTEGERS = {0x4A: "<i", 0x4B: "<B", 0x4D: "<H"}
_TEXTS = {0x58: "<I", 0x8C: "<B", 0x8D: "<Q", 0x55: "<B", 0x54: "<I"}
_BYTES = {0x43: "<B", 0x42: "<I", 0x8E: "<Q"}
_PUTS = {0x71: "<B", 0x72: "<I"}
_GETS = {0x68: "<B", 0x6A: "<I"}


class PickleMachine:
    """Runs one pickle; `run()` gives the value.

    `names` maps (module, name) to a Constructor, a Name or a plain value; `persistent` makes
    the objects that a pickle names by a persistent id.
    """

    def __init__(
        self,
        data: bytes,
        names: Mapping[tuple[str, str], Any],
        persistent: Callable[[Any], Any],
    ) -> None:
        self.data = data
        self.names = names
        self.persistent = persistent
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value; FileFormatError for a pickle that is damaged or wants more than data."""
        try:
            while True:
                code = self.read("<B")
                if code == 0x2E:  # STOP
                    value = self.pop()
                    check_plain(value)
                    return value
                self.step(code)
        except FileFormatError:
            raise
        except (LookupError, TypeError, ValueError, OverflowError, struct.error) as error:
            raise FileFormatError(f"its pickle is damaged ({quote(error)})") from None

    # Reading and the stack ----------------------------------------------------------------------

    def read(self, format: str) -> Any:
        (value,) = struct.unpack_from(format, self.data, self.position)
        self.position += struct.calcsize(format)
        return value

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.position:
            raise FileFormatError("its pickle ends too early")
        self.position += count
        return self.data[self.position - count : self.position]

    def line(self) -> str:
        end = self.data.index(b"\n", self.position)
        text = self.take(end - self.position).decode("utf-8")
        self.position += 1
        return text

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise FileFormatError("its pickle takes a mark for a value")
        return value

    def pop_to_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:  # an IndexError where there is none
            place -= 1
            if place < 0:
                raise FileFormatError("its pickle misses a mark")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if not isinstance(value, kind):
            raise FileFormatError(f"its pickle takes a {type(value).__name__} for a container")
        return value

    # The instructions ---------------------------------------------------------------------------

    def step(self, code: int) -> None:
        """One instruction; the names in the comments are those of `pickletools`."""
        stack = self.stack
        if code in _INTEGERS:
            stack.append(self.read(_INTEGERS[code]))
        elif code in _TEXTS:
            stack.append(self.take(self.read(_TEXTS[code])).decode("utf-8"))
        elif code in _BYTES:
            stack.append(self.take(self.read(_BYTES[code])))
        elif code in _PUTS:
            self.memo[self.read(_PUTS[code])] = stack[-1]
        elif code in _GETS:
            stack.append(self.memo[self.read(_GETS[code])])
        elif code in (0x4E, 0x88, 0x89):  # NONE NEWTRUE NEWFALSE
            stack.append({0x4E: None, 0x88: True, 0x89: False}[code])
        elif code == 0x47:  # BINFLOAT
            stack.append(self.read(">d"))
        elif code in (0x8A, 0x8B):  # LONG1 LONG4
            size = self.read("<B" if code == 0x8A else "<I")
            if size > MAX_INTEGER_BYTES:
                raise FileFormatError(f"its pickle has an integer of {size} bytes")
            stack.append(int.from_bytes(self.take(size), "little", signed=True))
        elif code in (0x5D, 0x29, 0x7D, 0x8F):  # EMPTY_LIST EMPTY_TUPLE EMPTY_DICT EMPTY_SET
            stack.append({0x5D: list, 0x29: tuple, 0x7D: dict, 0x8F: set}[code]())
        elif code == 0x28:  # MARK
            stack.append(_MARK)
        elif code in (0x85, 0x86, 0x87):  # TUPLE1 TUPLE2 TUPLE3
            items = [self.pop() for _ in range(code - 0x84)]
            stack.append(tuple(reversed(items)))
        elif code == 0x74:  # TUPLE
            stack.append(tuple(self.pop_to_mark()))
        elif code in (0x61, 0x65):  # APPEND APPENDS
            items = [self.pop()] if code == 0x61 else self.pop_to_mark()
            self.top(list).extend(items)
        elif code == 0x90:  # ADDITEMS
            items = self.pop_to_mark()
            self.top(set).update(_checked_keys(items))
        elif code in (0x73, 0x75):  # SETITEM SETITEMS
            if code == 0x73:
                value = self.pop()
                items = [self.pop(), value]
            else:
                items = self.pop_to_mark()
            keys = _checked_keys(items[::2])
            self.top(dict).update(zip(keys, items[1::2], strict=True))
        elif code == 0x80:  # PROTO
            if self.read("<B") > 5:
                raise FileFormatError("its pickle has an unknown protocol")
        else:
            self.step_by_name(code)

    def step_by_name(self, code: int) -> None:
        """The instructions that name or make objects, and the seldom ones."""
        stack = self.stack
        if code == 0x63:  # GLOBAL
            stack.append(self.find(self.line(), self.line()))
        elif code == 0x93:  # STACK_GLOBAL
            name = self.pop()
            stack.append(self.find(self.pop(), name))
        elif code in (0x52, 0x81):  # REDUCE NEWOBJ
            arguments, called = self.pop(), self.pop()
            if not isinstance(called, Constructor) or not isinstance(arguments, tuple):
                raise FileFormatError("its pickle calls something that cannot be called")
            stack.append(called.make(*arguments))
        elif code == 0x62:  # BUILD: attributes, which plain data does not need
            self.pop()
            self.top(OrderedDict)
        elif code == 0x51:  # BINPERSID
            stack.append(self.persistent(self.pop()))
        elif code == 0x94:  # MEMOIZE
            self.memo[len(self.memo)] = stack[-1]
        elif code == 0x95:  # FRAME
            self.take(8)
        elif code == 0x30:  # POP
            stack.pop()
        elif code == 0x31:  # POP_MARK
            self.pop_to_mark()
        else:
            raise FileFormatError(f"its pickle has the instruction {code:#x}, which is not read")

    def find(self, module: Any, name: Any) -> Any:
        found = self.names.get((str(module), str(name)), _MARK)
        if found is _MARK:
            raise FileFormatError(
                f"its pickle asks for {quote(f'{module}.{name}')}; only tensors and plain "
                "containers are read and nothing is imported or called. Save a state_dict() "
                "rather than whole objects"
            )
        return found


def _checked_keys(keys: list[Any]) -> list[Any]:
    """Keys of dicts and sets: numbers, strings, and short tuples of these."""
    for key in keys:
        members = key if type(key) is tuple else (key,)
        if len(members) > MAX_KEY_MEMBERS or not all(type(one) in _PLAIN for one in members):
            raise FileFormatError(f"its pickle has a key of the type {type(key).__name__}")
    return keys


def check_plain(value: Any) -> None:
    """FileFormatError where a container holds itself, is too deep, or holds a mere name."""
    finished: set[int] = set()
    open_now: set[int] = set()
    todo: list[tuple[Any, bool]] = [(value, True)]
    while todo:
        item, entering = todo.pop()
        if isinstance(item, (Constructor, Name)):
            raise FileFormatError(f"its pickle holds {quote(item.name)} itself, which is no data")
        if not isinstance(item, (dict, list, tuple, set)) or id(item) in finished:
            continue
        if not entering:
            open_now.discard(id(item))
            finished.add(id(item))
            continue
        if id(item) in open_now:
            raise FileFormatError("its pickle has a container that holds itself")
        if len(open_now) >= MAX_DEPTH:
            raise FileFormatError(f"its pickle is nested deeper than {MAX_DEPTH}")
        open_now.add(id(item))
        todo.append((item, False))
        members = item.values() if isinstance(item, dict) else item
        todo += [(member, True) for member in members]


# Writing --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A call in a pickle that is written: the name, then the arguments."""

    module: str
    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class PersistentId:
    """A persistent id in a pickle that is written."""

    value: tuple[Any, ...]


def write_pickle(value: Any) -> bytes:
    """A pickle of protocol 2 of plain values, containers, Names, Calls and PersistentIds."""
    out = bytearray(b"\x80\x02")
    _write(value, out, 0)
    return bytes(out + b".")


def _write(value: Any, out: bytearray, depth: int) -> None:
    if depth > 4 * MAX_DEPTH:
        raise ValueError(f"a state nested deeper than {MAX_DEPTH} cannot be saved")
    depth += 1
    if value is None or value is True or value is False:
        out += {None: b"N", True: b"\x88", False: b"\x89"}[value]
    elif type(value) is int:
        _write_integer(value, out)
    elif type(value) is float:
        out += b"G" + struct.pack(">d", value)
    elif type(value) is str:
        text = value.encode("utf-8")
        out += b"X" + struct.pack("<I", len(text)) + text
    elif isinstance(value, Name):
        out += f"c{value.module}\n{value.name}\n".encode()
    elif isinstance(value, Call):
        _write(Name(value.module, value.name), out, depth)
        _write(value.arguments, out, depth)
        out += b"R"
    elif isinstance(value, PersistentId):
        _write(value.value, out, depth)
        out += b"Q"
    elif isinstance(value, tuple):
        out += b"("
        for member in value:
            _write(member, out, depth)
        out += b"t"
    elif isinstance(value, list):
        out += b"](" + b"".join(_written(member, depth) for member in value) + b"e"
    elif isinstance(value, Mapping):
        out += b"ccollections\nOrderedDict\n)R(" if isinstance(value, OrderedDict) else b"}("
        for key, member in value.items():
            _write(key, out, depth)
            _write(member, out, depth)
        out += b"u"
    else:
        raise TypeError(not_to_be_saved(value))


def not_to_be_saved(value: Any, path: str = "") -> str:
    """What the error says about a value that no format takes; `path` is its place in the state."""
    place = f" (at {path!r})" if path else ""
    message = (
        f"cannot save {type(value).__name__}{place}: expected tensors, bools, numbers, strings, "
        "None, and dicts, lists and tuples of them"
    )
    if hasattr(value, "state_dict"):
        return f"{message}; save its state_dict()"
    if hasattr(value, "__array_interface__"):
        return f"{message}; make a tensor of it with dlgrad.as_tensor()"
    return message


def _written(value: Any, depth: int) -> bytes:
    out = bytearray()
    _write(value, out, depth)
    return bytes(out)


def _write_integer(value: int, out: bytearray) -> None:
    if 0 <= value < 256:
        out += b"K" + struct.pack("<B", value)
    elif -(1 << 31) <= value < 1 << 31:
        out += b"J" + struct.pack("<i", value)
    else:
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        if len(data) > MAX_INTEGER_BYTES:
            raise ValueError(f"an integer of {len(data)} bytes cannot be saved")
        out += b"\x8a" + struct.pack("<B", len(data)) + data
