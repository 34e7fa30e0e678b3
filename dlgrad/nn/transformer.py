"""The transformer: encoder and decoder layers, stacks of them, and the whole model.

Floor 7.  After Vaswani et al., "Attention is all you need", 2017.  Sequences are (L, N, E), or
(N, L, E) with `batch_first`, or (L, E).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import dlgrad.nn.functional as F
from dlgrad.core.creation import full
from dlgrad.core.device_type import DeviceLike
from dlgrad.dtype import DType
from dlgrad.nn import init
from dlgrad.nn.attention import MultiheadAttention
from dlgrad.nn.container import ModuleList
from dlgrad.nn.dropout import Dropout
from dlgrad.nn.linear import Linear
from dlgrad.nn.module import Module
from dlgrad.nn.norm import LayerNorm
from dlgrad.operators.triangles import triu
from dlgrad.tensor import Tensor

MOST_LAYERS = 1 << 14
Activation = str | Callable[[Tensor], Tensor]
Mask = Tensor | None


def _activation(given: Activation) -> Callable[[Tensor], Tensor]:
    if not isinstance(given, str):
        return given
    known: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}
    if given not in known:
        raise RuntimeError(f"activation should be relu/gelu, not {given}")
    return known[given]


class _Layer(Module):
    """What encoder and decoder layers share: feed-forward layers, norms and dropouts."""

    self_attn: MultiheadAttention
    activation: Callable[[Tensor], Tensor]

    def _add_parts(
        self, count: int, d_model: int, dim_feedforward: int, dropout: float,
        activation: Activation, layer_norm_eps: float, norm_first: bool, bias: bool,
        options: dict[str, Any],
    ) -> None:  # fmt: skip
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **options)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **options)
        self.norm_first = norm_first
        for i in range(1, count + 1):
            norm = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **options)
            self.add_module(f"norm{i}", norm)
        for i in range(1, count + 1):
            self.add_module(f"dropout{i}", Dropout(dropout))
        self.activation = _activation(activation)

    def _feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        return out

    def _attended(
        self, x: Tensor, mask: Mask, padding: Mask, is_causal: bool
    ) -> Tensor:
        out, _ = self.self_attn(
            x, x, x, key_padding_mask=padding, need_weights=False, attn_mask=mask,
            is_causal=is_causal,
        )  # fmt: skip
        result: Tensor = out
        return result


class TransformerEncoderLayer(_Layer):
    """Self-attention and two linear layers, each with a residual, a dropout and a norm.

    `norm_first` normalises before each part instead of after it.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        options = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias=bias, batch_first=batch_first, **options  # type: ignore
        )
        self._add_parts(
            2, d_model, dim_feedforward, dropout, activation, layer_norm_eps, norm_first, bias,
            options,
        )  # fmt: skip

    def forward(
        self,
        src: Tensor,
        src_mask: Mask = None,
        src_key_padding_mask: Mask = None,
        is_causal: bool = False,
    ) -> Tensor:
        def attended(x: Tensor) -> Tensor:
            return self.dropout1(  # type: ignore[no-any-return]
                self._attended(x, src_mask, src_key_padding_mask, is_causal)
            )

        def fed(x: Tensor) -> Tensor:
            return self.dropout2(self._feed_forward(x))  # type: ignore[no-any-return]

        x = src
        if self.norm_first:
            x = x + attended(self.norm1(x))
            return x + fed(self.norm2(x))
        x = self.norm1(x + attended(x))
        out: Tensor = self.norm2(x + fed(x))
        return out


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to `memory`, and two linear layers."""

    multihead_attn: MultiheadAttention

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        options = {"device": device, "dtype": dtype}
        for name in ("self_attn", "multihead_attn"):
            attention = MultiheadAttention(
                d_model, nhead, dropout, bias=bias, batch_first=batch_first,
                **options,  # type: ignore[arg-type]
            )  # fmt: skip
            self.add_module(name, attention)
        self._add_parts(
            3, d_model, dim_feedforward, dropout, activation, layer_norm_eps, norm_first, bias,
            options,
        )  # fmt: skip

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Mask = None,
        memory_mask: Mask = None,
        tgt_key_padding_mask: Mask = None,
        memory_key_padding_mask: Mask = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        def attended(x: Tensor) -> Tensor:
            return self.dropout1(  # type: ignore[no-any-return]
                self._attended(x, tgt_mask, tgt_key_padding_mask, tgt_is_causal)
            )

        def informed(x: Tensor) -> Tensor:
            out, _ = self.multihead_attn(
                x, memory, memory, key_padding_mask=memory_key_padding_mask,
                need_weights=False, attn_mask=memory_mask, is_causal=memory_is_causal,
            )  # fmt: skip
            return self.dropout2(out)  # type: ignore[no-any-return]

        def fed(x: Tensor) -> Tensor:
            return self.dropout3(self._feed_forward(x))  # type: ignore[no-any-return]

        x = tgt
        if self.norm_first:
            x = x + attended(self.norm1(x))
            x = x + informed(self.norm2(x))
            return x + fed(self.norm3(x))
        x = self.norm1(x + attended(x))
        x = self.norm2(x + informed(x))
        out: Tensor = self.norm3(x + fed(x))
        return out


def _copies(layer: Module, count: int) -> ModuleList:
    if count > MOST_LAYERS:
        raise ValueError(f"num_layers must be at most {MOST_LAYERS}, got {count}")
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


class TransformerEncoder(Module):
    """`num_layers` copies of an encoder layer, one after another, and a last `norm`.

    `enable_nested_tensor` and `mask_check` are accepted; there are no nested tensors.
    """

    norm: Module | None

    def __init__(
        self,
        encoder_layer: TransformerEncoderLayer,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Mask = None,
        src_key_padding_mask: Mask = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        x = src
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, bool(is_causal))
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """`num_layers` copies of a decoder layer, one after another, and a last `norm`."""

    norm: Module | None

    def __init__(
        self,
        decoder_layer: TransformerDecoderLayer,
        num_layers: int,
        norm: Module | None = None,
    ) -> None:
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Mask = None,
        memory_mask: Mask = None,
        tgt_key_padding_mask: Mask = None,
        memory_key_padding_mask: Mask = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        x = tgt
        for layer in self.layers:
            x = layer(
                x, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
                bool(tgt_is_causal), memory_is_causal,
            )  # fmt: skip
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder and a decoder; matrices begin with Xavier's uniform values."""

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        arguments = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, device, dtype,
        )  # fmt: skip

        def last_norm() -> LayerNorm:
            return LayerNorm(d_model, eps=layer_norm_eps, bias=bias, device=device, dtype=dtype)

        self.encoder = custom_encoder
        if custom_encoder is None:
            encoder_layer = TransformerEncoderLayer(*arguments)
            self.encoder = TransformerEncoder(encoder_layer, num_encoder_layers, last_norm())
        self.decoder = custom_decoder
        if custom_decoder is None:
            decoder_layer = TransformerDecoderLayer(*arguments)
            self.decoder = TransformerDecoder(decoder_layer, num_decoder_layers, last_norm())
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Mask = None,
        tgt_mask: Mask = None,
        memory_mask: Mask = None,
        src_key_padding_mask: Mask = None,
        tgt_key_padding_mask: Mask = None,
        memory_key_padding_mask: Mask = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        dim = 0 if self.batch_first else 1
        if src.ndim == 3 and src.shape[dim] != tgt.shape[dim]:
            raise RuntimeError(
                "the batch number of src and tgt must be equal, got "
                f"{src.shape[dim]} and {tgt.shape[dim]}"
            )
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError(
                f"the feature number of src and tgt must be equal to d_model {self.d_model}, got "
                f"{src.shape[-1]} and {tgt.shape[-1]}"
            )
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        out: Tensor = self.decoder(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
            tgt_is_causal, memory_is_causal,
        )  # fmt: skip
        return out

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: DeviceLike = None, dtype: DType | None = None
    ) -> Tensor:
        """The (sz, sz) mask of floats that lets place i look at the places 0 to i."""
        return triu(full((sz, sz), -math.inf, device=device, dtype=dtype), 1)
