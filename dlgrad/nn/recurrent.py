"""Recurrent layers: RNN, LSTM and GRU over whole sequences.

Floor 7.  The inputs of all steps are projected in one matrix product; the steps themselves
follow one another.
"""

from __future__ import annotations

import math
from typing import Any

import dlgrad.nn.functional as F
from dlgrad.core.creation import empty
from dlgrad.core.device_type import DeviceLike
from dlgrad.dtype import DType
from dlgrad.errors import ShapeError
from dlgrad.helpers import warn
from dlgrad.nn import init
from dlgrad.nn.cells import gru_step, lstm_step, relu_step, tanh_step
from dlgrad.nn.module import Module
from dlgrad.nn.parameter import Parameter
from dlgrad.operators.joining import cat, stack
from dlgrad.tensor import Tensor

CHUNKS = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}
MOST_LAYERS = 1 << 14
STEPS = {"RNN_TANH": tanh_step, "RNN_RELU": relu_step, "GRU": gru_step}


class RNNBase(Module):
    """What the recurrent layers have in common.

    The parameters of layer k are weight_ih_l{k}, weight_hh_l{k}, bias_ih_l{k} and bias_hh_l{k}
    (and weight_hr_l{k} with `proj_size`); "_reverse" is added for the direction from the end.
    All begin uniformly in +-1/sqrt(hidden_size).
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        if mode not in CHUNKS:
            raise ValueError(f"Unrecognized RNN mode: {mode}; use one of {list(CHUNKS)}")
        if hidden_size <= 0 or num_layers <= 0:
            raise ValueError(
                "hidden_size and num_layers must be greater than zero, got "
                f"{hidden_size} and {num_layers}"
            )
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an "
                f"element being zeroed, got {dropout}"
            )
        if dropout > 0 and num_layers == 1:
            warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero "
                f"dropout expects num_layers greater than 1, but got dropout={dropout} and "
                f"num_layers={num_layers}",
            )
        if not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"proj_size must be from 0 to hidden_size - 1, got {proj_size} for {hidden_size}"
            )
        if num_layers > MOST_LAYERS:
            raise ValueError(f"num_layers must be at most {MOST_LAYERS}, got {num_layers}")
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        directions = 2 if bidirectional else 1
        out_size, rows = proj_size or hidden_size, CHUNKS[mode] * hidden_size
        for layer in range(num_layers):
            columns = input_size if layer == 0 else out_size * directions
            for suffix in self._suffixes(layer):
                shapes: list[tuple[str, tuple[int, ...]]] = [
                    ("weight_ih", (rows, columns)), ("weight_hh", (rows, out_size))
                ]  # fmt: skip
                if bias:
                    shapes += [("bias_ih", (rows,)), ("bias_hh", (rows,))]
                if proj_size:
                    shapes.append(("weight_hr", (proj_size, hidden_size)))
                for name, shape in shapes:
                    made = Parameter(empty(shape, device=device, dtype=dtype))
                    self.register_parameter(name + suffix, made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the first values anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Does nothing: parameters are read where they are."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        found = []
        for layer in range(self.num_layers):
            for suffix in self._suffixes(layer):
                own = [self._parameters.get(name + suffix) for name in names]
                found.append([parameter for parameter in own if parameter is not None])
        return found

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"] if self.bidirectional else [f"_l{layer}"]

    # The walk over layers and steps -----------------------------------------------------------

    def _check_input(self, input: Tensor) -> None:
        if input.ndim not in (2, 3):
            raise ValueError(
                f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.ndim}D instead"
            )
        if input.shape[-1] != self.input_size:
            raise ShapeError(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {input.shape[-1]}"
            )

    def _check_state(
        self, name: str, state: Tensor, batch: int, size: int, batched: bool
    ) -> Tensor:
        """A first state as (layers * directions, N, size)."""
        if state.ndim != (3 if batched else 2):
            raise RuntimeError(
                f"For {'batched 3-D' if batched else 'unbatched 2-D'} input, {name} should also be "
                f"{3 if batched else 2}-D but got {state.ndim}-D tensor"
            )
        state = state if batched else state.unsqueeze(1)
        expected = (self.num_layers * (2 if self.bidirectional else 1), batch, size)
        if tuple(state.shape) != expected:
            raise RuntimeError(f"Expected {name} size {expected}, got {list(state.shape)}")
        return state

    def _run(self, input: Tensor, given: tuple[Tensor, ...] | None) -> tuple[Tensor, list[Tensor]]:
        """The outputs of the last layer, and the last states, each like the first ones."""
        self._check_input(input)
        batched = input.ndim == 3
        x = input if batched else input.unsqueeze(1)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        batch = x.shape[1]
        sizes = [self.proj_size or self.hidden_size]
        sizes += [self.hidden_size] if self.mode == "LSTM" else []
        lines = self.num_layers * (2 if self.bidirectional else 1)
        if given is None:
            states = [x.new_zeros((lines, batch, size)) for size in sizes]
        else:
            states = [
                self._check_state(name, state, batch, size, batched)
                for name, state, size in zip(("hidden", "cell"), given, sizes, strict=False)
            ]
        last: list[list[Tensor]] = [[] for _ in sizes]
        for layer in range(self.num_layers):
            outputs = []
            for suffix in self._suffixes(layer):
                line = len(last[0])
                first = [state[line] for state in states]
                out, ends = self._direction(x, first, suffix)
                outputs.append(out)
                for collected, end in zip(last, ends, strict=True):
                    collected.append(end)
            x = outputs[0] if len(outputs) == 1 else cat(outputs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        ends = [stack(collected) for collected in last]
        if not batched:
            return x.squeeze(1), [end.squeeze(1) for end in ends]
        return x.transpose(0, 1) if self.batch_first else x, ends

    def _direction(
        self, x: Tensor, first: list[Tensor], suffix: str
    ) -> tuple[Tensor, list[Tensor]]:
        """One layer in one direction over x (L, N, features): outputs, and the last states."""
        own = self._parameters
        weight, bias = own["weight_hh" + suffix], own.get("bias_hh" + suffix)
        weight_ih, shrink = own["weight_ih" + suffix], own.get("weight_hr" + suffix)
        assert weight is not None and weight_ih is not None
        projected = F.linear(x, weight_ih, own.get("bias_ih" + suffix))
        backwards = suffix.endswith("_reverse")
        states, outputs = first, []
        steps = projected.unbind(0)
        for step in reversed(steps) if backwards else steps:
            if self.mode == "LSTM":
                h, c = lstm_step(step, (states[0], states[1]), weight, bias)
                states = [h if shrink is None else F.linear(h, shrink), c]
            else:
                states = [STEPS[self.mode](step, states[0], weight, bias)]
            outputs.append(states[0])
        if not outputs:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        return stack(outputs[::-1] if backwards else outputs), states

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if not self.bias:
            text += f", bias={self.bias}"
        if self.batch_first:
            text += f", batch_first={self.batch_first}"
        if self.dropout:
            text += f", dropout={self.dropout}"
        if self.bidirectional:
            text += f", bidirectional={self.bidirectional}"
        return text


class RNN(RNNBase):
    """A layer of h' = tanh(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh), or of relu.

    Input (L, N, input_size), (N, L, input_size) with `batch_first`, or (L, input_size); state
    (layers * directions, N, hidden_size).  Returns the outputs of the last layer, in the shape
    of the input but with directions * hidden_size features, and the last states.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(
            f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first,
            dropout, bidirectional, 0, device, dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out, ends = self._run(input, None if hx is None else (hx,))
        return out, ends[0]


class LSTM(RNNBase):
    """Long short-term memory; the states are (h, c), the shapes those of `RNN`.

    With `proj_size` the output h is projected to that size.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, proj_size, device, dtype,
        )  # fmt: skip

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if hx is not None and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise TypeError("LSTM: the state must be a pair (h, c) of tensors")
        out, ends = self._run(input, None if hx is None else tuple(hx))
        return out, (ends[0], ends[1])


class GRU(RNNBase):
    """Gated recurrent units; the shapes are those of `RNN`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, 0, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        out, ends = self._run(input, None if hx is None else (hx,))
        return out, ends[0]
