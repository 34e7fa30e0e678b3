"""Attention: averages of values, weighted by how well their keys meet a query.

Floor 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlgrad.core.apply import copy, counting, where
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import node_of
from dlgrad.core.composing import widened
from dlgrad.dtype import BOOL, FLOAT, bool_, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.matrix.linear import matmul
from dlgrad.neural.activations import softmax
from dlgrad.neural.affine import linear
from dlgrad.neural.dropping import dropout
from dlgrad.operators.comparison import eq, le
from dlgrad.operators.elementwise import mul
from dlgrad.operators.joining import cat
from dlgrad.operators.reductions import all as all_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> None:
    if not query.dtype is key.dtype is value.dtype:
        raise DTypeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{query.dtype!r} key.dtype: {key.dtype!r} and value.dtype: {value.dtype!r} instead."
        )
    if query.dtype.kind != FLOAT:
        raise DTypeError(f"attention takes floating-point tensors, got {query.dtype!r}")
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ShapeError(
            "Expected query, key, and value to all be at least 2 dimensional, but got query.dim: "
            f"{query.ndim}, key.dim: {key.ndim} and value.dim: {value.ndim} instead."
        )
    if mask is not None and mask.dtype is not bool_ and mask.dtype.kind != FLOAT:
        raise DTypeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got "
            f"attn_mask.dtype: {mask.dtype!r} and query.dtype: {query.dtype!r} instead."
        )


def _repeated_heads(x: Tensor, heads: int, name: str) -> Tensor:
    """[..., heads, length, size], each head of `x` repeated for its group of queries."""
    own = x._shape[-3]
    if own == heads:
        return x
    if own == 0 or heads % own:
        raise ShapeError(
            f"enable_gqa: the {heads} heads of the query must be a multiple of the {own} of the "
            f"{name}"
        )
    repeated: Tensor = x.repeat_interleave(heads // own, -3)
    return repeated


@autocasts
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value (Vaswani et al., 2017).

    query [..., L, E], key [..., S, E], value [..., S, Ev]; result [..., L, Ev].  `attn_mask`,
    broadcast to [..., L, S], is added if it holds floats, and says who may look where if it
    holds bools; a query that may look nowhere gets zeros.  `is_causal` lets query i look at the
    keys 0 to i.  `scale` is 1 / sqrt(E) unless given; `dropout_p` drops weights.  With
    `enable_gqa` a head of key and value serves a group of heads of the query.
    """
    _check(query, key, value, attn_mask)
    if is_causal and attn_mask is not None:
        raise RuntimeError("Explicit attn_mask should not be set when is_causal=True")
    if enable_gqa:
        if min(query.ndim, key.ndim, value.ndim) < 3:
            raise ShapeError("enable_gqa needs a dimension of heads: [..., heads, length, size]")
        key = _repeated_heads(key, query._shape[-3], "key")
        value = _repeated_heads(value, query._shape[-3], "value")
    scores = _scores(query, key, scale)
    if is_causal:
        rows, columns = scores._shape[-2:]
        device = node_of(scores).device
        row, column = (counting(dim, int64, (rows, columns), device) for dim in (0, 1))
        allowed = copy(le(column, row))  # in memory once, not once for each head
        weights = softmax(where(allowed, scores, -math.inf), -1)
    elif attn_mask is None:
        weights = softmax(scores, -1)
    else:
        weights = _masked_weights(scores, attn_mask)
    return matmul(dropout(weights, dropout_p, True), value.to(weights.dtype)).to(value.dtype)


def _scores(query: Tensor, key: Tensor, scale: float | None) -> Tensor:
    """query @ key.T * scale; halves as float32, because exp makes much of a rounding."""
    wide = query.dtype.compute
    if scale is None:
        scale = 1.0 / math.sqrt(query._shape[-1]) if query._shape[-1] else 1.0
    return mul(matmul(query.to(wide), key.to(wide).transpose(-2, -1)), scale)


def _masked_weights(scores: Tensor, mask: Tensor) -> Tensor:
    """The softmax of scores under a mask; rows without any place are zero."""
    if mask.dtype is bool_:
        scores = where(mask, scores, -math.inf)
    else:
        scores = scores + mask
    nothing = all_of(eq(scores, -math.inf), -1, keepdim=True)
    return where(nothing, 0.0, softmax(where(nothing, 0.0, scores), -1))


# The layer with its projections -----------------------------------------------------------------


def _float_mask(mask: Tensor | None, name: str, like: Tensor) -> Tensor | None:
    """A mask of bools that are True where nobody may look, as the floats that are added."""
    if mask is None:
        return None
    if mask.dtype.kind not in (BOOL, FLOAT):
        raise DTypeError(
            f"only bool and floating types of {name} are supported, got {mask.dtype!r}"
        )
    if mask.dtype.kind == FLOAT:
        return mask
    return where(mask, -math.inf, 0.0).to(like.dtype)


def _wide_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`linear`; of halves in float32, because the softmax makes much of a rounding."""
    return linear(widened(x), widened(weight), None if bias is None else widened(bias))


def _in_projection(
    query: Tensor, key: Tensor, value: Tensor, embed_dim: int, weight: Tensor | None,
    bias: Tensor | None, separate: tuple[Tensor | None, Tensor | None, Tensor | None],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Query, key and value times their weights: rows of one weight, or three weights.

    Those of halves are float32.
    """
    if weight is not None:
        if query is key is value:  # one product for all three
            together = _wide_linear(query, weight, bias)
            first, second, third = together.split(embed_dim, -1)
            return first, second, third
        weights = list(weight.split(embed_dim, 0))
    else:
        weights = [part for part in separate if part is not None]
    biases = [None, None, None] if bias is None else list(bias.split(embed_dim, 0))
    first, second, third = (
        _wide_linear(x, part, shift)
        for x, part, shift in zip((query, key, value), weights, biases, strict=True)
    )
    return first, second, third


def _check_multi_head(
    query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None,
    attn_mask: Tensor | None, num_heads: int,
) -> bool:  # fmt: skip
    """True where there is a batch; AssertionError, as in PyTorch, where ranks do not fit."""
    rank = query.ndim
    if rank not in (2, 3):
        raise AssertionError(
            "query should be unbatched 2D or batched 3D tensor but received "
            f"{rank}-D query tensor"
        )
    if key.ndim != rank or value.ndim != rank:
        raise AssertionError(
            f"For {'batched' if rank == 3 else 'unbatched'} ({rank}-D) `query`, expected `key` "
            f"and `value` to be {rank}-D but found {key.ndim}-D and {value.ndim}-D tensors "
            "respectively"
        )
    if key_padding_mask is not None and key_padding_mask.ndim != rank - 1:
        raise AssertionError(
            f"expected `key_padding_mask` to be `None` or {rank - 1}-D but found "
            f"{key_padding_mask.ndim}-D tensor instead"
        )
    if attn_mask is not None and attn_mask.ndim not in (2, 3):
        raise AssertionError(
            "expected `attn_mask` to be `None`, 2-D or 3-D but found "
            f"{attn_mask.ndim}-D tensor instead"
        )
    if rank == 2 and attn_mask is not None and attn_mask.ndim == 3:
        expected = (num_heads, query._shape[0], key._shape[0])
        if attn_mask._shape != expected:
            raise AssertionError(
                f"Expected `attn_mask` shape to be {expected} but got {tuple(attn_mask._shape)}"
            )
    return rank == 3


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention in `num_heads` parts of the embedding, between two linear maps.

    query [L, N, E], key and value [S, N, ...], all without N for a single sample.  Masks of
    bools are True where nobody may look: `key_padding_mask` [N, S], `attn_mask` [L, S] or
    [N * heads, L, S]; masks of floats are added.  Returns the result in the shape of the query
    and, with `need_weights`, the weights [N, L, S], averaged over the heads or one per head.
    """
    batched = _check_multi_head(query, key, value, key_padding_mask, attn_mask, num_heads)
    if static_k is not None or static_v is not None:
        raise NotImplementedError("static_k and static_v are not supported")
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    if not batched:
        alone = query is key is value
        query = query.unsqueeze(1)
        key, value = (query, query) if alone else (key.unsqueeze(1), value.unsqueeze(1))
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    length, batch, embed_dim = query._shape
    if embed_dim != embed_dim_to_check:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim_to_check}, but got {embed_dim}"
        )
    head_dim = embed_dim // num_heads
    if head_dim * num_heads != embed_dim:
        raise AssertionError(f"embed_dim {embed_dim} not divisible by num_heads {num_heads}")
    if key._shape[:2] != value._shape[:2]:
        raise AssertionError(
            f"key's sequence and batch dims {key._shape[:2]} do not match value's "
            f"{value._shape[:2]}"
        )
    separate = (q_proj_weight, k_proj_weight, v_proj_weight)
    q, k, v = _in_projection(
        query, key, value, embed_dim, None if use_separate_proj_weight else in_proj_weight,
        in_proj_bias, separate,
    )  # fmt: skip
    extra = 0
    if bias_k is not None and bias_v is not None:
        k, v = cat([k, bias_k.repeat(1, batch, 1)]), cat([v, bias_v.repeat(1, batch, 1)])
        extra += 1
    if add_zero_attn:
        zero = k.new_zeros((1, batch, embed_dim))
        k, v = cat([k, zero]), cat([v, zero])
        extra += 1
    mask = _merged_mask(attn_mask, key_padding_mask, q, batch, num_heads, k._shape[0], extra)

    def heads(x: Tensor) -> Tensor:
        """[N, heads, length, head_dim]."""
        return x.reshape((x._shape[0], batch, num_heads, head_dim)).permute(1, 2, 0, 3)

    rate = dropout_p if training else 0.0
    if need_weights:
        scores = _scores(heads(q), heads(k), None)
        weights = softmax(scores if mask is None else scores + mask, -1)
        weights = dropout(weights, rate, True)
        mixed = matmul(weights, heads(v).to(weights.dtype))
    else:
        mixed = scaled_dot_product_attention(heads(q), heads(k), heads(v), mask, rate)
    mixed = mixed.permute(2, 0, 1, 3).reshape((length, batch, embed_dim))
    dtype = query.dtype if query.dtype.is_half else v.dtype
    out = _wide_linear(mixed, out_proj_weight, out_proj_bias).to(dtype)
    out = out if batched else out.squeeze(1)
    if not need_weights:
        return out, None
    weights = (weights.mean(1) if average_attn_weights else weights).to(dtype)
    return out, weights if batched else weights.squeeze(0)


def _merged_mask(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, like: Tensor, batch: int,
    num_heads: int, length: int, extra: int,
) -> Tensor | None:  # fmt: skip
    """Both masks as floats that are added to [N, heads, L, S], or None.

    The `extra` last places were added to the keys here: everybody may look there.
    """
    own = length - extra
    total = _float_mask(attn_mask, "attn_mask", like)
    if total is not None and total.ndim == 3:
        if total._shape[0] != batch * num_heads or total._shape[2] != own:
            raise RuntimeError(
                f"The shape of the 3D attn_mask is {tuple(total._shape)}, but should be "
                f"{(batch * num_heads, like._shape[0], own)}."
            )
        total = total.reshape((batch, num_heads, total._shape[1], own))
    elif total is not None and total._shape != (like._shape[0], own):
        raise RuntimeError(
            f"The shape of the 2D attn_mask is {tuple(total._shape)}, but should be "
            f"{(like._shape[0], own)}."
        )
    padding = _float_mask(key_padding_mask, "key_padding_mask", like)
    if padding is not None:
        if padding._shape != (batch, own):
            raise AssertionError(
                f"expecting key_padding_mask shape of {(batch, own)}, but got "
                f"{tuple(padding._shape)}"
            )
        padding = padding.reshape((batch, 1, 1, own))
        total = padding if total is None else total + padding
    if total is None or not extra:
        return total
    return cat([total, total.new_zeros((*total._shape[:-1], extra))], -1)
