"""Sequences of different lengths as one tensor.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Sequence

from dlgrad.errors import ShapeError
from dlgrad.operators.joining import stack
from dlgrad.operators.padding import pad_constant
from dlgrad.tensor import Tensor


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Tensors (L_i, ...) filled up to the longest: (L, N, ...), or (N, L, ...)."""
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    listed = list(sequences)
    if not listed:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side must be 'left' or 'right', got {padding_side!r}")
    rest = listed[0].shape[1:]
    for i, sequence in enumerate(listed):
        if sequence.ndim == 0 or sequence.shape[1:] != rest:
            raise ShapeError(
                "pad_sequence: all sizes but the first must be equal, but sequence 0 has shape "
                f"{tuple(listed[0].shape)} and sequence {i} {tuple(sequence.shape)}"
            )
    longest = max(sequence.shape[0] for sequence in listed)
    filled = []
    for sequence in listed:
        missing = longest - sequence.shape[0]
        sides = (0, missing) if padding_side == "right" else (missing, 0)
        filled.append(pad_constant(sequence, [sides] + [(0, 0)] * len(rest), padding_value))
    return stack(filled, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The sequences that `pad_sequence` filled up at their ends."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [rows[i, : int(length)] for i, length in enumerate(lengths.tolist())]
