"""The values that parameters begin with: PyTorch's `torch.nn.init`.

Floor 7.  Each function fills a tensor in place, without a gradient, and returns it.  Fan-in and
fan-out are the numbers of inputs and outputs that one element of the layer connects: sizes 1
and 0 of the weight, times the window of a convolution.
"""

from __future__ import annotations

import math

from dlgrad.autograd import no_grad
from dlgrad.core.arguments import check_namespace
from dlgrad.dtype import bool_, float64
from dlgrad.errors import ShapeError
from dlgrad.operators.choices import randperm
from dlgrad.operators.ranges import eye
from dlgrad.random import Generator, rand, randn
from dlgrad.tensor import Tensor

CONVOLUTIONS = (
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
)  # fmt: skip
MOST_ITERATIONS = 100  # of which a matrix of a thousand rows needs about forty


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fills with numbers from [a, b)."""
    with no_grad():
        tensor.uniform_(a, b, generator=generator)
    return tensor


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fills with normally distributed numbers."""
    with no_grad():
        tensor.normal_(mean, std, generator=generator)
    return tensor


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fills with normally distributed numbers of which only those in [a, b] are drawn."""

    def below(x: float) -> float:
        """The share of normal numbers below x."""
        return (1.0 + math.erf((x - mean) / (std * math.sqrt(2.0)))) / 2.0

    with no_grad():
        drawn = rand(
            tensor.shape, generator=generator, dtype=tensor.dtype, device=tensor.device
        )
        low, high = below(a), below(b)
        share = drawn * (2.0 * (high - low)) + (2.0 * low - 1.0)
        return tensor.copy_((share.erfinv() * (std * math.sqrt(2.0)) + mean).clamp(a, b))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fills with `val`."""
    with no_grad():
        return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Fills with 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fills with 1."""
    return constant_(tensor, 1.0)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights before `nonlinearity` are widened to keep the variance.

    `param` is the negative slope of "leaky_relu" (default 0.01).
    """
    if nonlinearity in ("linear", "sigmoid") or nonlinearity in CONVOLUTIONS:
        return 1.0
    if nonlinearity == "tanh":
        return 5 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3 / 4
    raise ValueError(
        f"Unsupported nonlinearity {nonlinearity}; known are linear, sigmoid, tanh, relu, "
        f"leaky_relu, selu, {', '.join(CONVOLUTIONS)}"
    )


def fans(tensor: Tensor) -> tuple[int, int]:
    """Fan-in and fan-out of a weight; ShapeError for fewer than two dimensions."""
    shape = tuple(tensor.shape)
    if len(shape) < 2:
        raise ShapeError(f"fan-in and fan-out need at least 2 dimensions, got shape {shape}")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return fans(tensor)[mode == "fan_out"]


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Uniform with variance gain^2 * 2 / (fan-in + fan-out) (Glorot and Bengio, 2010)."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Normal with variance gain^2 * 2 / (fan-in + fan-out) (Glorot and Bengio, 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform with variance gain^2 / fan (He et al., 2015); `a` is the slope of leaky_relu."""
    if 0 in tuple(tensor.shape):
        return tensor
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal with variance gain^2 / fan (He et al., 2015); `a` is the slope of leaky_relu."""
    if 0 in tuple(tensor.shape):
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


# Special matrices -------------------------------------------------------------------------------


def eye_(tensor: Tensor) -> Tensor:
    """Fills a matrix with the identity: ones on the diagonal."""
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    with no_grad():
        tensor.zero_()
        tensor.diagonal().fill_(1)
    return tensor


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fills the weight of a convolution so that it gives its input back, in each group."""
    if tensor.ndim not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    channels = tensor.shape[0]
    if channels % groups:
        raise ValueError("dim 0 must be divisible by groups")
    each = channels // groups
    middle = tuple(size // 2 for size in tensor.shape[2:])
    with no_grad():
        tensor.zero_()
        for group in range(groups):
            for i in range(min(each, tensor.shape[1])):
                place = (group * each + i, i, *middle)
                tensor[place] = 1.0
    return tensor


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Tensor:
    """Fills a matrix with normal numbers, of which the share `sparsity` of each column is 0."""
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    normal_(tensor, 0.0, std, generator)
    with no_grad():
        order = [randperm(rows, generator=generator).tolist() for _ in range(columns)]
        dropped = [[column[row] < zeros for column in order] for row in range(rows)]
        tensor.masked_fill_(tensor.new_tensor(dropped, dtype=bool_), 0.0)
    return tensor


def orthogonal_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fills with a random matrix with orthonormal rows (or columns, if there are more rows).

    Dimensions after the first count as one.  The matrix is the orthogonal factor of the polar
    decomposition of a normal one, uniformly distributed (Saxe et al., 2014, use it so), found
    by Newton and Schulz's iteration X <- X + X (I - X.T X) / 2, in float64.
    """
    if tensor.ndim < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if not tensor.numel():
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    with no_grad():
        x = randn(
            max(rows, columns), min(rows, columns), generator=generator, dtype=float64,
            device=tensor.device,
        )  # fmt: skip
        x = x / x.norm()  # all singular values are now in (0, 1]
        one = eye(min(rows, columns), dtype=float64, device=tensor.device)
        for _ in range(MOST_ITERATIONS):
            rest = one - x.t() @ x
            x = x + x @ rest * 0.5
            if rest.abs().max().item() < 1e-8:  # squared by the step just taken
                break
        flat = x.t() if rows < columns else x
        return tensor.copy_(flat.reshape(tensor.shape) * gain)


check_namespace(globals(), [name for name in tuple(globals()) if name[-1] == "_" != name[0]])
