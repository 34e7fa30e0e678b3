"""Autocast: matrix products in half precision, sensitive functions in float32, by one table.

Floor 6.  Inside `with autocast("cpu", dtype=bfloat16)` a function of the table casts its tensor
arguments before it runs: those of HALF to the dtype of the block, those of SINGLE to float32,
those of WIDEST to the widest dtype among them.  Everything else takes what it is given.  The
functions themselves carry the decorator `autocasts`, which costs one look at a flag where no
block is open.  The lists are PyTorch's of its CUDA devices, and are the same on every device.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from dlgrad.core.apply import cast
from dlgrad.core.arguments import refuse_argument
from dlgrad.core.base import TensorBase, grad_mode
from dlgrad.dtype import DType, bfloat16, float16, float32, float64, promote_types
from dlgrad.helpers import warn
from dlgrad.runtime.device import BACKENDS, Blocks, Condition

P = ParamSpec("P")
R = TypeVar("R")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


HALF = _names(
    "addbmm addmm addmv addr baddbmm bmm chain_matmul conv1d conv2d conv3d conv_transpose1d "
    "conv_transpose2d conv_transpose3d einsum linear matmul mm multi_dot mv prelu "
    "scaled_dot_product_attention"
)
SINGLE = _names(
    "acos asin binary_cross_entropy binary_cross_entropy_with_logits cdist cosh "
    "cosine_embedding_loss cosine_similarity cross_entropy cumprod cumsum dist erfinv exp expm1 "
    "gaussian_nll_loss group_norm hinge_embedding_loss huber_loss kl_div l1_loss layer_norm log "
    "log10 log1p log2 log_softmax logsumexp margin_ranking_loss mse_loss multi_margin_loss "
    "multilabel_margin_loss multilabel_soft_margin_loss nll_loss norm normalize pdist "
    "poisson_nll_loss pow prod reciprocal renorm rsqrt sinh smooth_l1_loss soft_margin_loss "
    "softmax softmin softplus sum tan triplet_margin_loss"
)
WIDEST = _names(
    "addcdiv addcmul atan2 bilinear cross dot grid_sample index_put scatter_add tensordot vdot"
)


class State(threading.local):
    """What this thread's blocks say: a half dtype for each kind of device that casts."""

    def __init__(self) -> None:
        self.dtypes: dict[str, DType] = {}  # never changed, only replaced
        self.cached = True
        self.depth = 0
        # Of each leaf that wants a gradient: the leaf, its version, and it in half precision.
        self.casts: dict[tuple[int, DType], tuple[TensorBase, int, TensorBase]] = {}


_state = State()
_blocks = Blocks()


def autocast_dtypes() -> dict[str, DType]:
    """The half dtype for each kind of device, as this thread's blocks say; not to be changed."""
    return _state.dtypes


def without_blocks() -> Condition:
    """What must stay as it is for no block to be open anywhere."""
    return _blocks.none_open()


@contextlib.contextmanager
def fresh_casts() -> Iterator[None]:
    """In the block, weights that were cast before it are cast anew."""
    before = _state.casts
    _state.casts = {}
    try:
        yield
    finally:
        _state.casts = before


# Functions that cast ----------------------------------------------------------------------------


def autocasts(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which casts its arguments in an autocast block as the table says."""
    name = function.__name__
    if name not in HALF | SINGLE | WIDEST:
        raise LookupError(f"autocast has no row for {name}")

    @functools.wraps(function)
    def casting(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            if not _state.dtypes:
                return function(*args, **kwargs)
            return _call(function, name, args, kwargs)
        except AttributeError as error:
            refuse_argument(function, args, kwargs, error)
            raise

    casting._explains = True  # type: ignore[attr-defined]
    return casting


def _call(
    function: Callable[..., R], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> R:
    """`function` with cast arguments, and without autocast inside."""
    tensors: list[TensorBase] = []
    _collect((args, kwargs), tensors)
    dtypes = _state.dtypes
    here = None
    for tensor in tensors:
        here = here or dtypes.get(tensor._storage.node.device.partition(":")[0])
    if here is None:
        return function(*args, **kwargs)
    floats = [t.dtype for t in tensors if t.dtype.is_floating_point and t.dtype is not float64]
    wanted = here if name in HALF else float32
    if name in WIDEST and floats:
        wanted = functools.reduce(promote_types, floats)
    args, kwargs = _converted((args, kwargs), wanted)
    _state.dtypes = {}
    try:
        return function(*args, **kwargs)
    finally:
        _state.dtypes = dtypes


def _collect(value: Any, tensors: list[TensorBase]) -> None:
    """Adds the tensors in nested lists, tuples and dicts to a list."""
    if isinstance(value, TensorBase):
        tensors.append(value)
    elif isinstance(value, (tuple, list)):
        for item in value:
            _collect(item, tensors)
    elif isinstance(value, dict):
        _collect(list(value.values()), tensors)


def _converted(value: Any, dtype: DType) -> Any:
    """`value` with every tensor of floats, apart from float64, as `dtype`."""
    if isinstance(value, TensorBase):
        own = value.dtype
        if own is dtype or own is float64 or not own.is_floating_point:
            return value
        return _cast(value, dtype)
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return type(value)(_converted(item, dtype) for item in value)
    if isinstance(value, dict):
        return {key: _converted(item, dtype) for key, item in value.items()}
    return value


def _cast(tensor: TensorBase, dtype: DType) -> TensorBase:
    """A cast; that of a weight is kept until the outermost block ends."""
    is_weight = tensor._requires and tensor._entry is None and tensor._base is None
    if not (is_weight and _state.cached and grad_mode.enabled and dtype.itemsize == 2):
        return cast(tensor, dtype)
    known = _state.casts.get((id(tensor), dtype))
    if known is not None and known[0] is tensor and known[1] == tensor._storage.version:
        return known[2]
    made = cast(tensor, dtype)
    _state.casts[id(tensor), dtype] = (tensor, tensor._storage.version, made)
    return made


# What users write -------------------------------------------------------------------------------


class autocast:
    """`with autocast(device_type, dtype):` or `@autocast(...)`: mixed precision for a forward pass.

    `device_type` is "cpu", "cuda", "metal" or "python"; `dtype` is bfloat16 or float16 (by
    default bfloat16 on the CPU and float16 elsewhere).  With `enabled=False` nothing is cast in
    the block, also inside another one.  With `cache_enabled` a weight that is used several
    times is cast once.  Call `backward` outside: it uses the dtypes of the forward pass.
    """

    def __init__(
        self,
        device_type: str,
        dtype: DType | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(
                f"Expected `device_type` of type `str`, got: `{type(device_type).__name__}`"
            )
        if device_type not in BACKENDS:
            raise RuntimeError(
                f"User specified an unsupported autocast device_type '{device_type}'; it is one "
                f"of {', '.join(map(repr, BACKENDS))}"
            )
        self.device = device_type
        self.fast_dtype = dtype or (bfloat16 if device_type == "cpu" else float16)
        if enabled and self.fast_dtype not in (bfloat16, float16):
            warn(
                f"In {device_type} autocast, but the target dtype {self.fast_dtype!r} is not "
                "supported. Disabling autocast; it takes bfloat16 and float16",
            )
            enabled = False
        self.enabled = enabled
        self.cache_enabled = True if cache_enabled is None else cache_enabled
        self._before: list[tuple[dict[str, DType], bool]] = []

    def __enter__(self) -> autocast:
        self._before.append((_state.dtypes, _state.cached))
        dtypes = {kind: dtype for kind, dtype in _state.dtypes.items() if kind != self.device}
        if self.enabled:
            dtypes[self.device] = self.fast_dtype
        _state.dtypes, _state.cached = dtypes, self.cache_enabled
        _state.depth += 1
        _blocks.change(1)
        return self

    def __exit__(self, *error: object) -> None:
        _state.dtypes, _state.cached = self._before.pop()
        _state.depth -= 1
        _blocks.change(-1)
        if _state.depth == 0:
            _state.casts.clear()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def inside(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return inside


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Whether a block is open that casts, on one kind of device or on any."""
    return bool(_state.dtypes) if device_type is None else device_type in _state.dtypes


def get_autocast_dtype(device_type: str) -> DType:
    """The half dtype of the open block, or the one that a block has by default."""
    default = bfloat16 if device_type == "cpu" else float16
    return _state.dtypes.get(device_type, default)
