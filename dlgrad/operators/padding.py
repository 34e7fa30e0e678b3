"""Padding and cropping: numbers around a tensor, or its own elements mirrored or repeated.

Floor 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dlgrad.core.apply import copy, finish, fit_number
from dlgrad.core.base import Number, node_of
from dlgrad.core.dims import as_sizes
from dlgrad.errors import ShapeError
from dlgrad.lazy import graph
from dlgrad.lazy.shape import Shape, View
from dlgrad.operators.joining import cat
from dlgrad.operators.movement import expand, narrow
from dlgrad.operators.repeating import flip

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Elements before and after those of the last dimensions; negative counts crop.

    `pad` gives (before, after) for the last dimension, then for the one before it, and so on.
    `mode` says what is put there: "constant" (`value`, 0), "reflect" (mirrored at the edge,
    which is not repeated), "replicate" (the edge), "circular" (the other end).  All but the
    first want the padded dimensions to be all but the first one or two.
    """
    pads = as_sizes((pad,))
    if len(pads) % 2:
        raise RuntimeError(f"Length of pad must be even but instead it equals {len(pads)}")
    if len(pads) > 2 * input.ndim:
        raise RuntimeError(
            "Length of pad should be no more than twice the number of dimensions of the input. "
            f"Pad length is {len(pads)} while the input has {input.ndim} dimensions."
        )
    if mode == "constant":
        sides = [(0, 0)] * (input.ndim - len(pads) // 2)
        sides += [(pads[i], pads[i + 1]) for i in range(len(pads) - 2, -1, -2)]
        return pad_constant(input, sides, value or 0)
    if value is not None and value != 0:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    extend = _EXTENSIONS.get(mode)
    if extend is None:
        raise NotImplementedError(
            f"Unrecognised padding mode {mode}; the modes are constant, "
            f"{', '.join(_EXTENSIONS)}"
        )
    rank = len(pads) // 2
    if rank not in (1, 2, 3) or input.ndim not in (rank + 1, rank + 2):
        raise NotImplementedError(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now: "
            f"mode {mode!r} pads the last {rank} of {rank + 1} or {rank + 2} dimensions, but the "
            f"input has {input.ndim}"
        )
    if 0 in input._shape[1 if input.ndim == rank + 2 else 0 :]:
        raise ShapeError(
            f"Expected a tensor with non-zero sizes (the first may be 0 with a batch dimension) "
            f"for mode {mode!r}, but got shape {list(input._shape)}"
        )
    out = input
    for i in range(rank):
        dim = input.ndim - 1 - i
        before, after = pads[2 * i], pads[2 * i + 1]
        size = input._shape[dim]
        if size + before + after <= 0:
            raise ShapeError(
                f"padding {(before, after)} leaves nothing of dimension {dim} of shape "
                f"{list(input._shape)}"
            )
        out = extend(out, dim, before, after)
    return out if out is not input else copy(input)


def constant_pad_nd(input: Tensor, pad: Sequence[int], value: float = 0) -> Tensor:
    """`pad` in the mode "constant"."""
    return _pad(input, pad, value=value)


def pad_constant(input: Tensor, pads: Sequence[tuple[int, int]], value: Number) -> Tensor:
    """`value` around `input`: `pads` gives (before, after) for each dimension; negative crops."""
    cropped = input
    shape = []
    for dim, (size, (before, after)) in enumerate(zip(input._shape, pads, strict=True)):
        length = size + min(before, 0) + min(after, 0)
        if length < 0 or size + before + after < 0:
            raise ShapeError(
                f"The input size {size}, plus negative padding {before} and {after} resulted in "
                f"a negative output size, which is invalid. Check dimension {dim} of your input."
            )
        if length != size:
            cropped = narrow(cropped, dim, max(-before, 0), length)
        shape.append(size + before + after)
    inside = View.contiguous(tuple(shape))
    for dim, (before, _) in enumerate(pads):
        inside = inside.slice(dim, max(before, 0), cropped._shape[dim])
    return embed_value(cropped, tuple(shape), inside, value)


def embed_value(input: Tensor, shape: Shape, inside: View, value: Number) -> Tensor:
    """A tensor of `shape` full of `value`, with `input` at the places of the view `inside`."""
    if input._shape == shape:
        return copy(input)
    number = fit_number(value, input.dtype)
    base = graph.const(number, input.dtype, shape, node_of(input).device)
    node = graph.update(base, node_of(input), inside) if input.numel() else base
    return finish("embed", inside, node, (input,))


def _crop(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """`x` without what negative counts take away."""
    start = max(-before, 0)
    length = x._shape[dim] - start - max(-after, 0)
    return x if length == x._shape[dim] else narrow(x, dim, start, length)


def _between(front: list[Tensor], x: Tensor, back: list[Tensor], dim: int) -> Tensor:
    return cat([*front, x, *back], dim) if front or back else x


def _reflect(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    size = x._shape[dim]
    if before >= size or after >= size:
        raise ShapeError(
            "Argument #4: Padding size should be less than the corresponding input dimension, "
            f"but got: padding ({before}, {after}) at dimension {dim} of input {list(x._shape)}"
        )
    front = [flip(narrow(x, dim, 1, before), dim)] if before > 0 else []
    back = [flip(narrow(x, dim, size - 1 - after, after), dim)] if after > 0 else []
    return _crop(_between(front, x, back, dim), dim, before, after)


def _replicate(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    def edge(place: int, count: int) -> list[Tensor]:
        shape = x._shape[:dim] + (count,) + x._shape[dim + 1 :]
        return [expand(narrow(x, dim, place, 1), shape)] if count > 0 else []

    size = x._shape[dim]
    wide = _between(edge(0, before), x, edge(size - 1, after), dim)
    return _crop(wide, dim, before, after)


def _circulate(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    x = _crop(x, dim, before, after)  # what is cropped does not come round
    size = x._shape[dim]
    if before > size or after > size:
        raise ShapeError(
            f"Padding value causes wrapping around more than once: padding ({before}, {after}) "
            f"at dimension {dim} of size {size}"
        )
    front = [narrow(x, dim, size - before, before)] if before > 0 else []
    back = [narrow(x, dim, 0, after)] if after > 0 else []
    return _between(front, x, back, dim)


_pad = pad

_EXTENSIONS: dict[str, Callable[[Tensor, int, int, int], Tensor]] = {
    "reflect": _reflect,
    "replicate": _replicate,
    "circular": _circulate,
}
