"""dlgrad: tensors with automatic differentiation, computed by kernels that it writes itself.

`import dlgrad` gives PyTorch's names: `dlgrad.tensor`, `dlgrad.matmul`, `dlgrad.no_grad`,
`dlgrad.float32`, and the subpackages `dlgrad.nn`, `dlgrad.optim` and `dlgrad.data`, which are
imported when they are first used.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

from dlgrad import autograd as autograd
from dlgrad import config as config
from dlgrad import errors as errors
from dlgrad.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from dlgrad.core.arguments import checked as _checked
from dlgrad.core.creation import tensor as _tensor
from dlgrad.core.device_type import device as _device
from dlgrad.core.device_type import get_default_device, set_default_device
from dlgrad.core.formatting import set_printoptions
from dlgrad.core.later import FUNCTIONS, find
from dlgrad.dtype import (
    DType,
    bfloat16,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from dlgrad.dtype import bool_ as bool
from dlgrad.errors import (
    AutogradError,
    CaptureError,
    CompileError,
    CompilerNotFoundError,
    DeviceError,
    DlgradError,
    DTypeError,
    ShapeError,
)
from dlgrad.functional import *  # noqa: F403
from dlgrad.functional import __all__ as _functions
from dlgrad.jit import jit as _jit
from dlgrad.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from dlgrad.runtime.engine import synchronize
from dlgrad.tensor import Size, Tensor
from dlgrad.version import __version__

if TYPE_CHECKING:
    from dlgrad import cuda, data, metal, nn, optim, profiler, viz

float = float32
double = float64
half = float16
long = int64
int = int32
short = int16

inf, nan, pi, e = math.inf, math.nan, math.pi, math.e
newaxis = None

# These names are modules of the package, too; the things inside them are what users mean.
tensor = _tensor
device = _device
dtype = DType
jit = _jit

# Imported when they are first used, so that `import dlgrad` takes little time.
_LAZY = (
    "accelerator", "amp", "backends", "cuda", "data", "distributed", "distributions", "func",
    "linalg", "metal", "mps", "multiprocessing", "nn", "optim", "profiler", "special", "testing",
    "utils", "viz",
)  # fmt: skip

_COMPLEX = (
    "cdouble", "cfloat", "chalf", "complex", "complex128", "complex32", "complex64", "fft",
    "istft", "polar", "stft", "view_as_complex", "view_as_real",
)  # fmt: skip

# What PyTorch has and dlgrad leaves out, and what to do.
_ABSENT = {
    "ao": "quantization",
    "export": "export of graphs; dlgrad.save writes weights",
    "fx": "symbolic tracing; dlgrad.viz.draw_graph draws what a tensor is made of",
    "hub": "model hub; dlgrad.load reads checkpoints of PyTorch and safetensors",
    "nested": "nested tensors",
    "onnx": "export to ONNX; dlgrad.save writes safetensors",
    "quantization": "quantization",
    "quantize_per_tensor": "quantization",
    "xpu": "device xpu",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"dlgrad.{name}")
    if name in FUNCTIONS:
        found = _checked(find(FUNCTIONS[name], name), __name__)
        globals()[name] = found
        return found
    if name in _COMPLEX or name.startswith("sparse"):
        kind = "complex numbers" if name in _COMPLEX else "sparse tensors"
        raise errors.OutOfScopeError(f"dlgrad has no {kind}, so there is no dlgrad.{name}")
    if name in _ABSENT:
        raise errors.OutOfScopeError(f"dlgrad.{name} is not there: no {_ABSENT[name]}")
    if name == "GradScaler":
        return importlib.import_module("dlgrad.amp").GradScaler
    raise AttributeError(f"module 'dlgrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *FUNCTIONS})


__all__ = [
    "AutogradError", "CaptureError", "CompileError", "CompilerNotFoundError", "DType",
    "DTypeError", "DeviceError", "DlgradError", "Generator", "ShapeError", "Size", "Tensor",
    "__version__", "autograd", "bfloat16", "bool", "config", "cuda", "data", "default_generator",
    "device", "double", "dtype", "e", "enable_grad", "errors", "finfo", "float", "float16",
    "float32", "float64", "get_default_device", "get_default_dtype", "get_rng_state", "half",
    "iinfo", "inf", "inference_mode", "initial_seed", "int", "int16", "int32", "int64", "int8",
    "is_grad_enabled", "is_inference_mode_enabled", "jit", "long", "manual_seed", "metal", "nan",
    "newaxis", "nn", "no_grad", "optim", "pi", "profiler", "promote_types", "seed",
    "set_default_device", "set_default_dtype", "set_grad_enabled", "set_printoptions",
    "set_rng_state", "short", "synchronize", "uint16", "uint32", "uint64", "uint8", "viz",
    *_functions, *FUNCTIONS,
]  # fmt: skip
