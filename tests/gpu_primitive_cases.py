"""Every primitive of every dtype, and the example kernels, on a GPU against the interpreter.

Run by `test_cuda.py` and `test_metal.py` in child processes, like `gpu_cases.py`.
"""

from __future__ import annotations

import random

import pytest
from c_kernels import random_buffer
from gpu_cases import DEVICE, run
from kernel_examples import EXAMPLES, at, cast, given, load, loop, out
from test_interp import CASES, INEXACT, differences

from dlgrad.codegen.kernel import Alu, Expr, Kernel, Store
from dlgrad.dtype import DType, bool_, dtype_from_name, float64
from dlgrad.errors import DTypeError
from dlgrad.lazy.ops import ElementwiseOps
from dlgrad.runtime.device import Buffer, get_backend
from dlgrad.runtime.interp import run_kernel

COUNT = 300
TOGETHER = 18  # results of one kernel; a Metal kernel takes 29 buffers
CLOSE = 2e-6  # the documented errors of the GPUs' functions, with room for contraction
CLOSE_DOUBLE = 4e-15

DTYPES = sorted({dtype.name for _, dtype, _ in CASES})


def chunks(dtype: DType) -> list[list[tuple[ElementwiseOps, DType, DType]]]:
    """The primitives on `dtype` that the device has, a kernel's worth at a time."""
    caps = get_backend(f"{DEVICE}:0").caps
    cases = [case for case in CASES if case[1] is dtype and set(case[1:]) <= set(caps.dtypes)]
    return [cases[i : i + TOGETHER] for i in range(0, len(cases), TOGETHER)]


def kernel_of(number: int, cases: list[tuple[ElementwiseOps, DType, DType]]) -> Kernel:
    """One kernel that does several primitives on the same operands."""
    place, dtype = at("i"), cases[0][1]
    outputs = [out(f"out{i}", target) for i, (_, _, target) in enumerate(cases)]
    inputs = [given("condition", bool_), *(given(f"x{i}", dtype) for i in range(3))]

    def operand(position: int, kind: DType) -> Expr:
        value = load(len(outputs) + position, place, kind.compute)
        return cast(value, kind) if kind.is_half else value

    stores = []
    for i, (op, _, target) in enumerate(cases):
        if op is ElementwiseOps.WHERE:
            operands = (operand(0, bool_), operand(1, dtype), operand(2, dtype))
        elif op in (ElementwiseOps.CAST, ElementwiseOps.BITCAST):
            operands = (operand(1, dtype),)
        else:
            operands = (operand(1, dtype), operand(2, dtype))[: arity(op)]
        stores.append(Store(i, place, Alu(op, operands, target)))
    name = f"primitives_{dtype.name}_{number}"
    body = (loop("i", "n", "parallel", *stores),)
    return Kernel(name, "primitives", (*outputs, *inputs), ("n",), (), body)


def arity(op: ElementwiseOps) -> int:
    from dlgrad.lazy.ops import OPS

    return OPS[op].arity


def results(kernel: Kernel, data: list[bytearray], sizes, scalars, work) -> list[bytes]:
    """What the device makes of the data."""
    backend = get_backend(f"{DEVICE}:0")
    buffers = []
    for content in data:
        buffers.append(Buffer(backend, len(content)))
        buffers[-1].copy_in(memoryview(content))
    run(backend, kernel, buffers, sizes, scalars, work)
    for buffer, content in zip(buffers, data, strict=True):
        buffer.copy_out(memoryview(content))
    return [bytes(content) for content in data]


def compare(kernel: Kernel, data: list[bytearray], sizes, scalars, work, close) -> None:
    expected = [bytearray(content) for content in data]
    run_kernel(kernel, [memoryview(content) for content in expected], sizes, scalars)
    got = results(kernel, data, sizes, scalars, work)
    for i, parameter in enumerate(kernel.parameters):
        if parameter.is_output:
            problems = differences(parameter.dtype, bytes(expected[i]), got[i], close(i))
            assert not problems, f"{parameter.name}: {problems[:3]}"


@pytest.mark.parametrize("name", DTYPES)
def test_primitives(name: str) -> None:
    dtype = dtype_from_name(name)
    source = random.Random(name)
    for number, cases in enumerate(chunks(dtype)):
        kernel = kernel_of(number, cases)
        data = [random_buffer(p.dtype, COUNT, source) for p in kernel.parameters]

        def close(i: int, cases=cases) -> float:
            op, _, target = cases[i]
            if op not in INEXACT or not target.is_floating_point:
                return 0.0
            return CLOSE_DOUBLE if target is float64 else CLOSE

        compare(kernel, data, (COUNT,), (), COUNT, close)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str) -> None:
    example = EXAMPLES[name]()
    kernel = example.kernel
    if any(p.dtype not in get_backend(f"{DEVICE}:0").caps.dtypes for p in kernel.parameters):
        with pytest.raises(DTypeError, match="float64"):
            get_backend(f"{DEVICE}:0").compile([kernel])
        return
    source = random.Random(name)
    data = [
        random_buffer(parameter.dtype, count, source)
        for parameter, count in zip(kernel.parameters, example.counts, strict=True)
    ]
    compare(kernel, data, example.sizes, example.scalars, example.work, lambda i: 1e-5)
