"""Automatic differentiation: `backward`, `grad`, the modes, and operations of one's own.

Floor 6.  What is recorded is in `core/tape.py`, the derivatives are in `core/gradients.py`.
`Function`, `gradcheck` and `functional` are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlgrad.autograd.anomaly import (
    detect_anomaly,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    set_detect_anomaly,
)
from dlgrad.autograd.calls import accumulate, backward, grad
from dlgrad.autograd.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)

if TYPE_CHECKING:
    from dlgrad.autograd import function, functional
    from dlgrad.autograd.checks import GradcheckError, gradcheck, gradgradcheck
    from dlgrad.autograd.function import Function, once_differentiable

_FUNCTION = ("Function", "FunctionCtx", "once_differentiable")
_CHECKS = ("GradcheckError", "gradcheck", "gradgradcheck")


def __getattr__(name: str) -> Any:
    module: Any
    if name in _FUNCTION:
        import dlgrad.autograd.function as module
    elif name in _CHECKS:
        import dlgrad.autograd.checks as module
    elif name == "functional":
        import dlgrad.autograd.functional as module

        return module
    elif name == "function":
        import dlgrad.autograd.function as module

        return module
    elif name in ("Variable", "variable"):
        from dlgrad.core.later import find

        return find("core.older_types", "Variable")
    else:
        raise AttributeError(f"module 'dlgrad.autograd' has no attribute {name!r}")
    globals()[name] = found = getattr(module, name)
    return found


__all__ = [
    "Function", "GradcheckError", "accumulate", "backward", "detect_anomaly",
    "enable_grad", "function", "functional", "grad", "gradcheck", "gradgradcheck",
    "inference_mode", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "is_grad_enabled",
    "is_inference_mode_enabled", "no_grad", "once_differentiable", "set_detect_anomaly",
    "set_grad_enabled",
]  # fmt: skip
