"""`gradcheck`: the derivatives of a function against differences of its values.

Floor 6.  Each float64 input is moved by `eps` up and down, element by element, so a function of
n input elements runs 2 n times; with `fast_mode`, only along one random direction per input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.autograd.calls import grad
from dlgrad.autograd.modes import enable_grad, no_grad
from dlgrad.autograd.walk import as_tuple
from dlgrad.core.base import TensorBase, is_tensor, requires_grad
from dlgrad.core.creation import tensor
from dlgrad.core.host import export_numbers
from dlgrad.dtype import float64
from dlgrad.random import randn

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

Columns = list[list[float]]  # [input element][output element]


class GradcheckError(RuntimeError):
    """The derivatives of a function do not agree with the differences of its values."""


def differentiable(values: Any) -> list[Tensor]:
    """The float tensors among results that ask for gradients."""
    return [value for value in as_tuple(values) if is_tensor(value) and requires_grad(value)]


def perturbed(
    function: Callable[..., Any], inputs: list[Any], which: int, numbers: list[float]
) -> list[list[float]]:
    """The numbers of every result with other numbers in input `which`."""
    given = inputs[which]
    moved = list(inputs)
    moved[which] = tensor(numbers, dtype=given.dtype, device=given.device).reshape(given._shape)
    moved[which].requires_grad_()
    with enable_grad():
        results = differentiable(function(*moved))
    return [export_numbers(result.detach()) for result in results]


def numerical(
    function: Callable[..., Any], inputs: list[Any], which: int, directions: Columns, eps: float
) -> list[Columns]:
    """For every result: its change along each direction of input `which`."""
    start = export_numbers(inputs[which].detach())
    columns: list[Columns] = []
    for direction in directions:
        sides = [
            perturbed(
                function, inputs, which,
                [x + sign * eps * d for x, d in zip(start, direction, strict=True)],
            )
            for sign in (1, -1)
        ]  # fmt: skip
        changes = [
            [(up - down) / (2 * eps) for up, down in zip(high, low, strict=True)]
            for high, low in zip(*sides, strict=True)
        ]
        columns = columns or [[] for _ in changes]
        for column, change in zip(columns, changes, strict=True):
            column.append(change)
    return columns


def analytical(output: Tensor, source: Tensor, weights: Columns) -> Columns:
    """The gradients of `source`, one for each weighting of the elements of `output`."""
    rows: Columns = []
    for weight in weights:
        seed = tensor(weight, dtype=output.dtype, device=output.device).reshape(output._shape)
        found = grad(output, source, seed, retain_graph=True, allow_unused=True)[0]
        rows.append([0.0] * source.numel() if found is None else export_numbers(found.detach()))
    return rows


def identity(count: int) -> Columns:
    """The unit vectors of `count` dimensions."""
    return [[float(i == j) for j in range(count)] for i in range(count)]


def differs(a: float, b: float, atol: float, rtol: float) -> bool:
    """Whether two numbers are further apart than the tolerances; NaN differs from all."""
    return not (a == b or abs(a - b) <= atol + rtol * abs(b))


def mismatch(which: int, place: int, expected: Any, found: Any) -> GradcheckError:
    """The error for a derivative that is wrong."""
    return GradcheckError(
        f"Jacobian mismatch for output {place} with respect to input {which},\n"
        f"numerical:{expected}\nanalytical:{found}\n"
    )


def check_slowly(
    function: Callable[..., Any], inputs: list[Any], which: int, outputs: list[Tensor],
    eps: float, atol: float, rtol: float,
) -> None:  # fmt: skip
    """Compares the whole Jacobian of every result with respect to input `which`."""
    source = inputs[which]
    expected = numerical(function, inputs, which, identity(source.numel()), eps)
    for place, output in enumerate(outputs):
        rows = analytical(output, source, identity(output.numel()))
        turned = [[row[i] for row in rows] for i in range(source.numel())]
        pairs = [
            (a, b)
            for mine, theirs in zip(turned, expected[place] if expected else [], strict=True)
            for a, b in zip(mine, theirs, strict=True)
        ]
        if any(differs(a, b, atol, rtol) for a, b in pairs):
            raise mismatch(which, place, expected[place], turned)


def check_fast(
    function: Callable[..., Any], inputs: list[Any], which: int, outputs: list[Tensor],
    eps: float, atol: float, rtol: float,
) -> None:  # fmt: skip
    """Compares w J v for one random direction v of the input and w of each result."""
    source = inputs[which]
    direction = unit(source.numel())
    expected = numerical(function, inputs, which, [direction], eps)
    for place, output in enumerate(outputs):
        weight = unit(output.numel())
        row = analytical(output, source, [weight])[0]
        mine = math.fsum(a * b for a, b in zip(row, direction, strict=True))
        theirs = math.fsum(a * b for a, b in zip(expected[place][0], weight, strict=True))
        if differs(mine, theirs, atol, rtol):
            raise mismatch(which, place, theirs, mine)


def unit(count: int) -> list[float]:
    """A random direction of length 1."""
    numbers: list[float] = randn(count, dtype=float64).tolist()
    length = math.sqrt(math.fsum(x * x for x in numbers)) or 1.0
    return [x / length for x in numbers]


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_batched_grad: bool = False,
    fast_mode: bool = False,
) -> bool:
    """Whether the derivatives of `func` at `inputs` agree with differences of its values.

    At least one input must be a float64 tensor that requires grad.  GradcheckError (or False,
    with raise_exception=False) where an element differs by more than atol + rtol * |difference
    quotient|, or where a second backward pass differs by more than `nondet_tol`.
    """
    try:
        check(func, list(as_tuple(inputs)), eps, atol, rtol, nondet_tol, fast_mode)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def check(
    function: Callable[..., Any], inputs: list[Any], eps: float, atol: float, rtol: float,
    nondet_tol: float, fast_mode: bool,
) -> None:  # fmt: skip
    """GradcheckError where a derivative is wrong; see `gradcheck`."""
    places = [i for i, x in enumerate(inputs) if isinstance(x, TensorBase) and requires_grad(x)]
    if not places:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the "
            "them have requires_grad=True."
        )
    for place in places:
        if inputs[place].dtype is not float64:
            raise ValueError(
                f"input {place} of gradcheck has {inputs[place].dtype!r}: differences of its "
                "values are too coarse, use float64"
            )
    with enable_grad():
        outputs = differentiable(function(*inputs))
    if not outputs:
        raise GradcheckError("no output of the function requires grad: nothing to check")
    for place in places:
        compare = check_fast if fast_mode else check_slowly
        compare(function, inputs, place, outputs, eps, atol, rtol)
    check_repeats(outputs, [inputs[place] for place in places], nondet_tol)


def check_repeats(outputs: list[Tensor], sources: list[Tensor], tolerance: float) -> None:
    """GradcheckError where two backward passes give different numbers."""
    for output in outputs:
        with no_grad():
            seed = randn(output._shape, dtype=output.dtype, device=output.device)
        passes = [
            grad(output, sources, seed, retain_graph=True, allow_unused=True) for _ in range(2)
        ]
        for first, second in zip(*passes, strict=True):
            if first is None:
                continue
            pairs = zip(export_numbers(first), export_numbers(second), strict=True)
            if any(abs(a - b) > tolerance for a, b in pairs):
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and "
                    "grad_output multiple times gives different values"
                )


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    fast_mode: bool = False,
) -> bool:
    """`gradcheck` of the first derivatives of `func`, weighted by `grad_outputs` (random)."""
    sources = list(as_tuple(inputs))
    with enable_grad():
        outputs = differentiable(func(*sources))
    if grad_outputs is None:
        weights = [randn(o._shape, dtype=o.dtype, device=o.device) for o in outputs]
        weights = [weight.requires_grad_() for weight in weights]
    else:
        weights = list(as_tuple(grad_outputs))
    places = [i for i, x in enumerate(sources) if isinstance(x, TensorBase) and requires_grad(x)]

    def first_derivatives(*args: Any) -> tuple[Tensor, ...]:
        given, seeds = args[: len(sources)], args[len(sources) :]
        results = differentiable(func(*given))
        found = grad(
            results, [given[i] for i in places], seeds, create_graph=True, allow_unused=True
        )
        return tuple(x for x in found if x is not None and requires_grad(x))

    return gradcheck(
        first_derivatives, [*sources, *weights], eps=eps, atol=atol, rtol=rtol,
        raise_exception=raise_exception, nondet_tol=nondet_tol, fast_mode=fast_mode,
    )  # fmt: skip
