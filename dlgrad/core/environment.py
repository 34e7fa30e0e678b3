"""Small questions and settings with which programs start: threads, determinism, precision.

Floor 6.  Where dlgrad has no such setting, the answer says what it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from dlgrad import config
from dlgrad.core.base import TensorBase
from dlgrad.core.composing import need_tensor
from dlgrad.dtype import BOOL, FLOAT, DType
from dlgrad.runtime.device import get_backend

T = TypeVar("T")
_PRECISIONS = ("highest", "high", "medium")


def set_num_threads(num: int) -> None:
    """Computes with `num` threads from now on, as DLGRAD_NUM_THREADS says at the start."""
    if isinstance(num, bool) or not isinstance(num, int):
        raise TypeError(f"set_num_threads expects an int, but got {type(num).__name__}")
    if num < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {num}")
    config.NUM_THREADS.set(num)


def get_num_threads() -> int:
    """How many threads compute on the device "cpu"."""
    return config.NUM_THREADS.value or get_backend("cpu").caps.workers


def set_num_interop_threads(num: int) -> None:
    """Changes nothing: operations run one after the other, each on all threads."""
    if isinstance(num, bool) or not isinstance(num, int):
        raise TypeError(f"set_num_interop_threads expects an int, but got {type(num).__name__}")
    if num < 1:
        raise RuntimeError(f"set_num_interop_threads expects a positive integer, got {num}")


def get_num_interop_threads() -> int:
    """1: operations run one after the other, each on all threads."""
    return 1


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Changes nothing: the results of dlgrad never depend on the order of threads."""


def are_deterministic_algorithms_enabled() -> bool:
    """True: the results of dlgrad never depend on the order of threads."""
    return True


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """False: there is nothing to warn of."""
    return False


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """Changes nothing: the results of dlgrad never depend on the order of threads."""
    if debug_mode not in (0, 1, 2, "default", "warn", "error"):
        raise RuntimeError(
            "invalid value of debug_mode, expected 0, 1, 2, `default`, `warn` or `error`, but "
            f"got {debug_mode!r}"
        )


def get_deterministic_debug_mode() -> int:
    """2, "error": only deterministic algorithms run."""
    return 2


def set_flush_denormal(mode: bool) -> bool:
    """False: the processor's setting for denormal numbers is left alone."""
    return False


def set_float32_matmul_precision(precision: str) -> None:
    """Changes nothing: products of float32 are computed in float32; checks the word."""
    if precision not in _PRECISIONS:
        raise RuntimeError(f"{precision!r} is not one of {', '.join(_PRECISIONS)}")


def get_float32_matmul_precision() -> str:
    """ "highest": products of float32 are computed in float32."""
    return "highest"


def compile(model: T | None = None, **options: Any) -> T | Callable[[T], T]:
    """The function or module itself; without one, a decorator that gives it back.

    All kernels of dlgrad are compiled when they are first needed, and chains of operations are
    fused without being asked; `dlgrad.jit` captures a whole training step.
    """
    if model is None:
        return lambda function: function
    if not callable(model):
        raise RuntimeError(f"compile expects a callable, got {type(model).__name__}")
    return model


def is_complex(input: TensorBase) -> bool:
    """False: there are no complex tensors."""
    need_tensor("is_complex", input)
    return False


def can_cast(from_: DType, to: DType) -> bool:
    """Whether promotion may lead from one dtype to the other: never down to a lower kind."""
    for dtype in (from_, to):
        if not isinstance(dtype, DType):
            raise TypeError(f"can_cast expects two dtypes, got {dtype!r}")
    if to.kind == BOOL:
        return from_.kind == BOOL
    return to.kind == FLOAT or from_.kind != FLOAT
