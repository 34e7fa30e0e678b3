"""Linear and bilinear maps whose weights are arguments.

Floor 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlgrad.core.apply import contract, expand_node, finish, same_device
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import node_of
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.errors import ShapeError
from dlgrad.lazy import graph
from dlgrad.lazy.graph import Contraction
from dlgrad.lazy.ops import ElementwiseOps
from dlgrad.lazy.shape import View
from dlgrad.matrix.contractions import einsum
from dlgrad.matrix.linear import matmul
from dlgrad.operators.elementwise import add
from dlgrad.operators.movement import permute

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


@autocasts
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias, for weight [out, in]."""
    if weight.ndim not in (1, 2):
        raise ShapeError(f"linear: weight must be 1D or 2D, but it has shape {weight._shape}")
    if not input._shape or input._shape[-1] != weight._shape[-1]:
        rows = math.prod(input._shape[:-1])
        raise ShapeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{(input._shape or (0,))[-1]} and "
            f"{weight._shape[-1]}x{weight._shape[0]}); input {input._shape} needs a last "
            f"dimension of {weight._shape[-1]} for this layer"
        )
    dtype = input.dtype
    if weight.ndim == 1 or dtype is not weight.dtype or bias is not None and (
        bias.dtype is not dtype or bias._shape != weight._shape[:1]
    ):
        out = matmul(input, weight.t())  # says what does not fit, or broadcasts an odd bias
        return out if bias is None else add(out, bias)
    sources = (input, weight) if bias is None else (input, weight, bias)
    same_device(sources)
    turned = graph.view(node_of(weight), View.contiguous(weight._shape).permute((1, 0)))
    node = graph.matmul(node_of(input), turned, Contraction(0, input.ndim - 1, 1, 1))
    if bias is not None:
        expanded = expand_node(node_of(bias), node.shape)
        node = graph.elementwise(ElementwiseOps.ADD, node, expanded)
    return finish("linear", None, node, sources)


def _input_gradient(g: Tensor, e: Entry) -> Tensor:
    """d(x w^T)/dx = g w, for w [out, in]."""
    return contract(g, e.b, Contraction(0, g.ndim - 1, 1, 1))


def _weight_gradient(g: Tensor, e: Entry) -> Tensor:
    """d(x w^T)/dw = g^T x, summed over all rows."""
    last = g.ndim - 1
    turned = permute(g, (last, *range(last)))
    return contract(turned, e.a, Contraction(0, 1, 1, last))


ROWS["linear"] = Row(
    "Addmm",
    Derivative("b", _input_gradient),
    Derivative("a", _weight_gradient),
    Derivative("", lambda g, e: g),
)


@autocasts
def bilinear(
    input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """input1 @ weight[o] @ input2 for each output o, plus bias.

    Inputs [..., in1] and [..., in2], weight [out, in1, in2], bias [out]; result [..., out].
    """
    if weight.ndim != 3:
        raise ShapeError(f"bilinear(): weight must be 3D, but it has shape {list(weight._shape)}")
    if input1.ndim != input2.ndim or input1._shape[:-1] != input2._shape[:-1]:
        raise ShapeError(
            "bilinear(): input batch dimensions do not match, got "
            f"{list(input1._shape)} and {list(input2._shape)}"
        )
    for i, x in enumerate((input1, input2), start=1):
        if not x._shape or x._shape[-1] != weight._shape[i]:
            raise ShapeError(
                f"bilinear(): input{i} size does not match weight size: got shape "
                f"{list(x._shape)} but expected a last size of {weight._shape[i]}"
            )
    if bias is not None and bias._shape != weight._shape[:1]:
        raise ShapeError(
            f"bilinear(): bias size does not match weight size: got {list(bias._shape)} but "
            f"expected {list(weight._shape[:1])}"
        )
    first = input1.reshape((math.prod(input1._shape[:-1]), weight._shape[1]))
    second = input2.reshape((first._shape[0], weight._shape[2]))
    # [rows, out, in2], then the second factor
    half = einsum("bi,oij->boj", first, weight)
    out = matmul(half, second.unsqueeze(-1)).squeeze(-1)
    out = out.reshape((*input1._shape[:-1], weight._shape[0]))
    return out if bias is None else add(out, bias)
