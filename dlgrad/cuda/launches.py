"""Launches with their arguments laid out once, to be run many times.

Floor 4.  The driver takes the arguments of a kernel as an array of addresses of values.  A
prepared launch keeps these values and the array; a run only writes what changes: the
addresses of the slots, and the numbers that come with the call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_int64, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from dlgrad.codegen.kernel import Gemm, Kernel
from dlgrad.codegen.tiled_matmul import jobs
from dlgrad.cuda.dialect import BLOCK
from dlgrad.dtype import BOOL, FLOAT, DType
from dlgrad.errors import DeviceError
from dlgrad.runtime.device import Launch

MAX_GRID = 2**31 - 1

_NUMBERS: dict[str, Any] = {
    "bool": ctypes.c_bool,
    "uint8": ctypes.c_uint8,
    "uint16": ctypes.c_uint16,
    "uint32": ctypes.c_uint32,
    "uint64": ctypes.c_uint64,
    "int8": ctypes.c_int8,
    "int16": ctypes.c_int16,
    "int32": ctypes.c_int32,
    "int64": ctypes.c_int64,
    "float32": ctypes.c_float,
    "float64": ctypes.c_double,
}


@dataclass(frozen=True)
class Program:
    """A kernel on the device: its module and function, and what it was made from."""

    kernel: Kernel | Gemm
    module: int
    function: int

    @property
    def places_per_group(self) -> int:
        """How many places of the parallel range one group of threads does."""
        return 1 if isinstance(self.kernel, Kernel) and self.kernel.cooperative else BLOCK


@dataclass(frozen=True)
class ArgumentLayout:
    """The arguments of one launch.

    `values` are the ctypes objects that the array points to, kept alive here.  `scalars` pairs
    a value with its place among the numbers of a run and with its conversion.
    """

    array: Any
    values: tuple[Any, ...]
    addresses: tuple[tuple[Any, int, int], ...]  # (value, slot, byte offset)
    scalars: tuple[tuple[Any, int, Callable[[float], Any]], ...]

    @staticmethod
    def of(launch: Launch, tables: int) -> ArgumentLayout:
        """`tables` is the device address of the sizes of a Gemm, else 0."""
        kernel = launch.program.kernel
        addresses = [(c_uint64(), slot, offset) for slot, offset in launch.buffers]
        values: list[Any] = [value for value, _, _ in addresses]
        if isinstance(kernel, Kernel):
            values += [c_int64(size) for size in launch.sizes]
        moving = []
        for position, dtype in enumerate(kernel.scalars):
            kind, convert = _NUMBERS[dtype.compute.name], _conversion(dtype)
            value = kind(convert(launch.scalars[position]))
            values.append(value)
            source = launch.scalar_slots[position] if launch.scalar_slots else -1
            if source >= 0:
                moving.append((value, source, convert))
        values.append(c_int64(launch.work) if isinstance(kernel, Kernel) else c_uint64(tables))
        array = (c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
        return ArgumentLayout(array, tuple(values), tuple(addresses), tuple(moving))


class PreparedLaunch:
    """One launch: function, number of groups, arguments."""

    def __init__(self, launch: Launch, tables: int) -> None:
        program: Program = launch.program
        self.launch = launch
        self.function = program.function
        self.groups = groups_of(launch)
        self.layout = ArgumentLayout.of(launch, tables)

    def fill(self, slots: Sequence[int], scalars: Sequence[float]) -> None:
        """Writes what changes from run to run into the arguments."""
        for address, slot, offset in self.layout.addresses:
            address.value = slots[slot] + offset
        for value, position, convert in self.layout.scalars:
            value.value = convert(scalars[position])


def groups_of(launch: Launch) -> int:
    """How many thread groups a launch takes; DeviceError where that is more than a grid has."""
    program: Program = launch.program
    if isinstance(program.kernel, Gemm):
        groups = jobs(launch.sizes)
    else:
        groups = -(-launch.work // program.places_per_group)
    if groups > MAX_GRID:
        raise DeviceError(
            f"{program.kernel.name} needs {groups} thread groups, a CUDA grid has at most "
            f"{MAX_GRID}; work on smaller pieces of the tensors"
        )
    return groups


def _conversion(dtype: DType) -> Callable[[float], Any]:
    if dtype.kind == FLOAT:
        return float
    return bool if dtype.kind == BOOL else int
