"""Helpers around models: gradients in bounds, parameters as a vector, parametrised weights.

Floor 7.
"""

from dlgrad.nn.utils import parametrizations as parametrizations
from dlgrad.nn.utils import parametrize as parametrize
from dlgrad.nn.utils import rnn as rnn
from dlgrad.nn.utils.clip_grad import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from dlgrad.nn.utils.convert_parameters import parameters_to_vector, vector_to_parameters

__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm",
    "parameters_to_vector", "parametrizations", "parametrize", "rnn", "vector_to_parameters",
]  # fmt: skip
