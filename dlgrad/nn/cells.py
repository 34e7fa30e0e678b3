"""One step of a recurrent network: the cells, and the steps that they share with the layers.

Floor 7.  A step takes the projected input (input @ weight_ih.T + bias_ih) and the last state.
The gates of an LSTM stand in the order input, forget, cell, output; those of a GRU in the order
reset, update, new.
"""

from __future__ import annotations

import math
from typing import Any

import dlgrad.nn.functional as F
from dlgrad.core.creation import empty
from dlgrad.core.device_type import DeviceLike
from dlgrad.dtype import DType
from dlgrad.errors import ShapeError
from dlgrad.nn import init
from dlgrad.nn.module import Module
from dlgrad.nn.parameter import Parameter
from dlgrad.tensor import Tensor


def tanh_step(projected: Tensor, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """tanh(projected + h @ weight.T + bias)."""
    return (projected + F.linear(h, weight, bias)).tanh()


def relu_step(projected: Tensor, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """relu(projected + h @ weight.T + bias)."""
    return F.relu(projected + F.linear(h, weight, bias))


def lstm_step(
    projected: Tensor, state: tuple[Tensor, Tensor], weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The new output and cell state (Hochreiter and Schmidhuber, 1997)."""
    h, c = state
    gates = projected + F.linear(h, weight, bias)
    let_in, forget, new, out = gates.chunk(4, -1)
    c = forget.sigmoid() * c + let_in.sigmoid() * new.tanh()
    return out.sigmoid() * c.tanh(), c


def gru_step(projected: Tensor, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(1 - z) * n + z * h, with n = tanh(x + r * h') (Cho et al., 2014)."""
    x_reset, x_update, x_new = projected.chunk(3, -1)
    h_reset, h_update, h_new = F.linear(h, weight, bias).chunk(3, -1)
    reset, update = (x_reset + h_reset).sigmoid(), (x_update + h_update).sigmoid()
    new = (x_new + reset * h_new).tanh()
    return (1 - update) * new + update * h


class _Cell(Module):
    """Weights of `chunks` gates; all values begin uniformly in +-1/sqrt(hidden_size)."""

    CHUNKS: int

    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def _set_up(
        self, input_size: int, hidden_size: int, bias: bool, device: DeviceLike,
        dtype: DType | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = self.CHUNKS * hidden_size
        self.weight_ih = Parameter(empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(empty(rows, hidden_size, device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            made = Parameter(empty(rows, device=device, dtype=dtype)) if bias else None
            self.register_parameter(name, made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the first values anew."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _checked(self, input: Tensor, states: Any) -> tuple[Tensor, list[Tensor]]:
        """The input [N, input_size] and the states [N, hidden_size], zeros where not given."""
        name = type(self).__name__
        if input.ndim not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        if input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}: the input has {input.shape[-1]} features, expected {self.input_size}"
            )
        shape = (*input.shape[:-1], self.hidden_size)
        for state in states:
            if tuple(state.shape) != shape:
                raise ShapeError(
                    f"{name}: hidden state of shape {tuple(state.shape)}, expected {shape}"
                )
        listed = list(states) or [input.new_zeros(shape), input.new_zeros(shape)]
        if input.ndim == 1:
            return input.unsqueeze(0), [state.unsqueeze(0) for state in listed]
        return input, listed

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else f"{text}, bias=False"


class RNNCell(_Cell):
    """h' = tanh(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh), or relu of it.

    Input (N, input_size) or (input_size,), state (N, hidden_size) or (hidden_size,).
    """

    CHUNKS = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        self._set_up(input_size, hidden_size, bias, device, dtype)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, states = self._checked(input, () if hx is None else (hx,))
        step = tanh_step if self.nonlinearity == "tanh" else relu_step
        projected = F.linear(x, self.weight_ih, self.bias_ih)
        h = step(projected, states[0], self.weight_hh, self.bias_hh)
        return h if input.ndim == 2 else h.squeeze(0)

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else f"{text}, nonlinearity={self.nonlinearity}"


class LSTMCell(_Cell):
    """One step of an LSTM: input (N, input_size), states (h, c), each (N, hidden_size).

    Returns the new (h, c).  All come without N for a single sample.
    """

    CHUNKS = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        self._set_up(input_size, hidden_size, bias, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        x, states = self._checked(input, () if hx is None else hx)
        projected = F.linear(x, self.weight_ih, self.bias_ih)
        h, c = lstm_step(projected, (states[0], states[1]), self.weight_hh, self.bias_hh)
        return (h, c) if input.ndim == 2 else (h.squeeze(0), c.squeeze(0))


class GRUCell(_Cell):
    """One step of a GRU: input (N, input_size) and state (N, hidden_size), or without N."""

    CHUNKS = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        self._set_up(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, states = self._checked(input, () if hx is None else (hx,))
        projected = F.linear(x, self.weight_ih, self.bias_ih)
        h = gru_step(projected, states[0], self.weight_hh, self.bias_hh)
        return h if input.ndim == 2 else h.squeeze(0)
