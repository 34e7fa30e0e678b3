"""Derivatives of functions at a point: Jacobians, Hessians, and their products with vectors.

Floor 6.  `vjp` and `jvp` multiply with the Jacobian from the left and the right, `vhp` and `hvp`
with the Hessian.  Derivatives forwards are made of two backwards: the first is linear in its
weights, so its derivative with respect to them is the product wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlgrad.autograd.calls import grad
from dlgrad.autograd.modes import enable_grad
from dlgrad.core.apply import filled
from dlgrad.core.base import TensorBase, node_of, requires_grad
from dlgrad.errors import AutogradError, ShapeError
from dlgrad.operators.joining import stack
from dlgrad.operators.movement import view

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

Tensors = tuple["Tensor", ...]


def as_tensors(value: Any, name: str, function: str) -> tuple[Tensors, bool]:
    """A tensor or a tuple of tensors as a tuple, and whether it was one."""
    several = isinstance(value, (tuple, list))
    values = tuple(value) if several else (value,)
    for i, item in enumerate(values):
        if not isinstance(item, TensorBase):
            raise TypeError(
                f"The {name} given to {function} must be either a Tensor or a tuple of Tensors "
                f"but the value at index {i} has type {type(item)}."
            )
    return values, several


def fresh(inputs: Tensors, create_graph: bool) -> Tensors:
    """The inputs as tensors that ask for gradients, connected with the given ones or not."""
    found = []
    for x in inputs:
        if create_graph and requires_grad(x):
            found.append(view(x, x._shape))
        else:
            found.append(x.detach().requires_grad_())
    return tuple(found)


def plain(value: Any, create_graph: bool) -> Any:
    """Results without history, unless it was asked for."""
    if isinstance(value, tuple):
        return tuple(plain(item, create_graph) for item in value)
    return value if create_graph else value.detach()


def one_or_all(values: Any, several: bool) -> Any:
    """What the user gets: a tuple where a tuple came in."""
    return tuple(values) if several else values[0]


def zeros_like(x: Tensor) -> Tensor:
    """Zeros in the shape, dtype and device of `x`."""
    return filled(0, x.dtype, x._shape, node_of(x).device)


def checked_vectors(v: Any, like: Tensors, function: str, what: str) -> Tensors:
    """`v` as one vector for each of `like`; without `v`, 1 for a single element."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise AutogradError(
                f"The vector v can only be None if the {what} is a single Tensor with a single "
                f"element; give v to {function}"
            )
        return (filled(1, like[0].dtype, like[0]._shape, node_of(like[0]).device),)
    vectors, _ = as_tensors(v, "v", function)
    if len(vectors) != len(like):
        raise AutogradError(f"{function} got {len(vectors)} vectors for {len(like)} tensors")
    for i, (vector, x) in enumerate(zip(vectors, like, strict=True)):
        if vector._shape != x._shape:
            raise ShapeError(
                f"Entry {i} of v has shape {list(vector._shape)}, it should be {list(x._shape)}"
            )
    return vectors


def derivatives(
    outputs: Tensors, inputs: Tensors, weights: Any, create_graph: bool, strict: bool
) -> Tensors:
    """`grad` that gives zeros where an input was not used (with `strict`: raises)."""
    sources = [i for i, output in enumerate(outputs) if requires_grad(output)]
    if strict and len(sources) != len(outputs):
        place = next(i for i in range(len(outputs)) if i not in sources)
        raise AutogradError(
            f"Output {place} of the user-provided function does not require gradients. The "
            "outputs must be computed in a differentiable manner from the input when running "
            "in strict mode."
        )
    if not sources:
        return tuple(zeros_like(x) for x in inputs)
    given = None if weights is None else [weights[i] for i in sources]
    found = grad(
        [outputs[i] for i in sources], inputs, given,
        create_graph=create_graph, retain_graph=True, allow_unused=True,
    )  # fmt: skip
    for i, part in enumerate(found):
        if part is None and strict:
            raise AutogradError(
                f"The output of the user-provided function is independent of input {i}. This is "
                "not allowed in strict mode."
            )
    return tuple(
        zeros_like(x) if part is None else part for x, part in zip(inputs, found, strict=True)
    )


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """`func(inputs)`, and the product of `v` (shaped as the results) with the Jacobian."""
    given, several = as_tensors(inputs, "inputs", "vjp")
    with enable_grad():
        sources = fresh(given, create_graph)
        results = func(*sources)
        outputs, many = as_tensors(results, "outputs of func", "vjp")
        weights = checked_vectors(v, outputs, "vjp", "output of func")
        found = derivatives(outputs, sources, weights, create_graph, strict)
    return plain(one_or_all(outputs, many), create_graph), plain(
        one_or_all(found, several), create_graph
    )


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """`func(inputs)`, and the product of the Jacobian with `v` (shaped as the inputs)."""
    given, _ = as_tensors(inputs, "inputs", "jvp")
    vectors = checked_vectors(v, given, "jvp", "input to func")
    with enable_grad():
        sources = fresh(given, create_graph)
        outputs, many = as_tensors(func(*sources), "outputs of func", "jvp")
        weights = tuple(zeros_like(output).requires_grad_() for output in outputs)
        backwards = derivatives(outputs, sources, weights, True, strict)
        found = derivatives(backwards, weights, vectors, create_graph, False)
    return plain(one_or_all(outputs, many), create_graph), plain(
        one_or_all(found, many), create_graph
    )


def scalar(outputs: Tensors, function: str) -> Tensor:
    """The one element that a function must give whose Hessian is asked for."""
    if len(outputs) != 1 or outputs[0].numel() != 1:
        raise AutogradError(
            f"The function given to {function} should return a single Tensor with a single "
            f"element, got shapes {[list(x._shape) for x in outputs]}"
        )
    return outputs[0]


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """`func(inputs)` (one element), and the product of `v` with its Hessian."""
    given, several = as_tensors(inputs, "inputs", "vhp")
    vectors = checked_vectors(v, given, "vhp", "input to func")
    with enable_grad():
        sources = fresh(given, create_graph)
        value = scalar(as_tensors(func(*sources), "outputs of func", "vhp")[0], "vhp")
        slopes = derivatives((value,), sources, None, True, strict)
        found = derivatives(slopes, sources, vectors, create_graph, False)
    return plain(value, create_graph), plain(one_or_all(found, several), create_graph)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """`func(inputs)` (one element), and the product of its Hessian with `v`.

    The Hessian is symmetric where the second derivatives are continuous, and then it is `vhp`.
    """
    return vhp(func, inputs, v, create_graph, strict)


def jacobian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False,
    vectorize: bool = False, strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The Jacobian of `func`: for an output of shape O and an input of shape I, of shape O + I.

    Nested in tuples, outputs outside, where there are several.  `vectorize` and `strategy` are
    accepted; the rows are built one by one and evaluated together (`dlgrad.func.jacrev` and
    `jacfwd` build them at once).
    """
    given, several = as_tensors(inputs, "inputs", "jacobian")
    with enable_grad():
        sources = fresh(given, create_graph)
        outputs, many = as_tensors(func(*sources), "outputs of func", "jacobian")
        rows = []
        for output in outputs:
            parts: list[list[Tensor]] = [[] for _ in sources]
            for i in range(output.numel()):
                element = output.reshape(-1)[i]
                found = derivatives((element,), sources, None, create_graph, strict)
                for part, slope in zip(parts, found, strict=True):
                    part.append(slope)
            shaped = [
                stack(part).reshape(output._shape + x._shape) if part
                else x.new_zeros(output._shape + x._shape)
                for part, x in zip(parts, sources, strict=True)
            ]  # fmt: skip
            rows.append(plain(tuple(shaped), create_graph))
    return one_or_all([one_or_all(row, several) for row in rows], many)


def hessian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False,
    vectorize: bool = False, outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The second derivatives of `func` (one element): of shape I + J for inputs I and J."""
    given, several = as_tensors(inputs, "inputs", "hessian")

    def slopes(*sources: Tensor) -> Any:
        value = scalar(as_tensors(func(*sources), "outputs of func", "hessian")[0], "hessian")
        return derivatives((value,), sources, None, True, strict)

    found = jacobian(slopes, given, create_graph, strict)
    return found if several else found[0][0]
