"""All parameters as one vector, and back.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Iterable

from dlgrad.errors import ShapeError
from dlgrad.operators.joining import cat
from dlgrad.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters, one after the other."""
    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Gives the parameters the values of `vec`, in the order of `parameters_to_vector`."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected dlgrad.Tensor, but got: {type(vec)}")
    listed = list(parameters)
    count = sum(parameter.numel() for parameter in listed)
    if vec.ndim != 1 or vec.numel() != count:
        raise ShapeError(
            f"the parameters hold {count} elements, but the vector has shape {tuple(vec.shape)}"
        )
    start = 0
    for parameter in listed:
        part = vec.detach().narrow(0, start, parameter.numel())
        parameter.data = part.reshape(parameter.shape)
        start += parameter.numel()
