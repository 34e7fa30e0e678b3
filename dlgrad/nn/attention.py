"""Multi-head attention as a layer.

Floor 7.
"""

from __future__ import annotations

import dlgrad.nn.functional as F
from dlgrad.core.creation import empty
from dlgrad.core.device_type import DeviceLike
from dlgrad.dtype import DType
from dlgrad.nn import init
from dlgrad.nn.linear import Linear
from dlgrad.nn.module import Module
from dlgrad.nn.parameter import Parameter
from dlgrad.tensor import Tensor


class NonDynamicallyQuantizableLinear(Linear):
    """A `Linear` under the name that PyTorch's attention gives its output layer."""


class MultiheadAttention(Module):
    """Attention in `num_heads` parts of the embedding (Vaswani et al., 2017).

    query (L, N, embed_dim), key (S, N, kdim), value (S, N, vdim); (N, L, ...) with
    `batch_first`, and without N for a single sample.  The parameters are in_proj_weight
    (3 * embed_dim, embed_dim), or q_proj_weight, k_proj_weight and v_proj_weight where kdim or
    vdim differ, in_proj_bias, bias_k and bias_v, and the layer out_proj.
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                "embed_dim and num_heads must be greater than 0, got "
                f"embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads, got "
                                 f"{embed_dim} and {num_heads}")  # fmt: skip
        shapes = {
            "q_proj_weight": (embed_dim, embed_dim),
            "k_proj_weight": (embed_dim, self.kdim),
            "v_proj_weight": (embed_dim, self.vdim),
            "in_proj_weight": (3 * embed_dim, embed_dim),
        }
        same = self._qkv_same_embed_dim
        for name, shape in shapes.items():
            wanted = same == (name == "in_proj_weight")
            made = Parameter(empty(shape, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, made)
        made = Parameter(empty(3 * embed_dim, device=device, dtype=dtype)) if bias else None
        self.register_parameter("in_proj_bias", made)
        self.out_proj = NonDynamicallyQuantizableLinear(
            embed_dim, embed_dim, bias=bias, device=device, dtype=dtype
        )
        for name in ("bias_k", "bias_v"):
            row = empty(1, 1, embed_dim, device=device, dtype=dtype) if add_bias_kv else None
            self.register_parameter(name, None if row is None else Parameter(row))
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            weight = self._parameters[name]
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None and self.out_proj.bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for row in (self.bias_k, self.bias_v):
            if row is not None:
                init.xavier_normal_(row)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The result, and with `need_weights` the weights (N, L, S), averaged over the heads.

        Masks of bools are True where nobody may look: `key_padding_mask` (N, S), `attn_mask`
        (L, S) or (N * num_heads, L, S); masks of floats are added to the scores.
        """
        swap = self.batch_first and query.ndim == 3
        if swap:
            if query is key is value:
                query = key = value = query.transpose(0, 1)
            else:
                query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        out, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight,
            self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn, self.dropout,
            self.out_proj.weight, self.out_proj.bias, self.training, key_padding_mask,
            need_weights, attn_mask, not self._qkv_same_embed_dim, self.q_proj_weight,
            self.k_proj_weight, self.v_proj_weight, average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )  # fmt: skip
        return out.transpose(0, 1) if swap else out, weights
