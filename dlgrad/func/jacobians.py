"""`jacrev`, `jacfwd` and `hessian`: whole Jacobians, all rows or all columns at once.

Floor 6.  Both are `vmap` over the unit vectors: of the results for `jacrev`, which suits few
results of many arguments, and of the arguments for `jacfwd`, which suits the other way round.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.autograd.modes import enable_grad
from dlgrad.core.base import node_of, requires_grad
from dlgrad.core.trees import flatten, unflatten
from dlgrad.func.derivatives import (
    Argnums,
    Level,
    entered,
    pulled,
    pushed,
    split_aux,
    tensors_of,
    zeros_like,
)
from dlgrad.func.vmapping import vmap
from dlgrad.operators.ranges import eye

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def unit_vectors(like: Tensor) -> Tensor:
    """One tensor shaped as `like` for each of its elements, which is 1 there, stacked."""
    count = like.numel()
    made = eye(count, dtype=like.dtype, device=node_of(like).device)
    return made.reshape((count, *like._shape))


def rows_of(
    output: Tensor, sources: Sequence[Tensor], outer: bool, chunk_size: int | None
) -> list[Tensor]:
    """The Jacobian of one output by each source, by walking backwards for all its elements."""
    if not requires_grad(output) or not output.numel():
        return [x.new_zeros(output._shape + x._shape) for x in sources]

    def walk_back(weight: Tensor) -> list[Tensor]:
        return pulled([output], sources, [weight], outer)

    found = vmap(walk_back, chunk_size=chunk_size)(unit_vectors(output))
    return [
        rows.reshape(output._shape + x._shape) for rows, x in zip(found, sources, strict=True)
    ]


def columns_of(
    outputs: Sequence[Tensor], sources: Sequence[Tensor], place: int, outer: bool,
    chunk_size: int | None,
) -> list[Tensor]:  # fmt: skip
    """The Jacobian of each output by one source, by walking forwards for all its elements."""
    source = sources[place]
    if not source.numel():
        return [source.new_zeros(y._shape + source._shape) for y in outputs]

    def walk_on(direction: Tensor) -> list[Tensor]:
        tangents = [zeros_like(x) for x in sources]
        tangents[place] = direction
        return pushed(outputs, sources, tangents, outer)

    found = vmap(walk_on, out_dims=-1, chunk_size=chunk_size)(unit_vectors(source))
    return [
        columns.reshape(y._shape + source._shape) for columns, y in zip(found, outputs, strict=True)
    ]


def transformed(
    func: Callable[..., Any], argnums: Argnums, has_aux: bool, name: str,
    blocks: Callable[[Sequence[Tensor], Sequence[Tensor], bool], list[list[Tensor]]],
) -> Callable[..., Any]:  # fmt: skip
    """A function that gives the Jacobian of `func`, from its `blocks[output][source]`."""

    @functools.wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        level = Level(name)
        with enable_grad():
            own, chosen = entered(level, args, argnums)
            result, aux = split_aux(level.called(func, own, kwargs), has_aux, name)
            outputs, structure = tensors_of(result, name)
            outer = level.wanted_outside(outputs)
            shape = flatten(chosen, [])
            found = []
            for row in blocks(outputs, level.sources, outer):
                parts = row if outer else [part.detach() for part in row]
                found.append(unflatten(shape, parts))
            answer = unflatten(structure, found)
            return (answer, level.shown(aux, outputs)) if has_aux else answer

    return jacobian


def jacrev(
    func: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:  # fmt: skip
    """A function that gives the Jacobian of `func`, row by row from its results.

    For a result of shape O and an argument of shape I it has shape O + I; nested as the results
    are, and inside as the argument `argnums` is.  With `has_aux`, `func` gives (results,
    anything), and the new function (Jacobian, anything).  `chunk_size`: so many rows at once.
    """

    def blocks(outputs: Sequence[Tensor], sources: Sequence[Tensor], outer: bool) -> Any:
        return [rows_of(output, sources, outer, chunk_size) for output in outputs]

    return transformed(func, argnums, has_aux, "jacrev", blocks)


def jacfwd(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *,
    randomness: str = "error", chunk_size: int | None = None,
) -> Callable[..., Any]:  # fmt: skip
    """A function that gives the Jacobian of `func`, column by column from its arguments.

    See `jacrev` for the shapes.  `func` itself runs once, outside of `vmap`, so `randomness` has
    nothing to say.
    """

    def blocks(outputs: Sequence[Tensor], sources: Sequence[Tensor], outer: bool) -> Any:
        columns = [
            columns_of(outputs, sources, place, outer, chunk_size) for place in range(len(sources))
        ]
        return [list(row) for row in zip(*columns, strict=True)]

    return transformed(func, argnums, has_aux, "jacfwd", blocks)


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that gives the second derivatives of `func`: jacfwd of jacrev."""
    return jacfwd(jacrev(func, argnums), argnums)
