"""The programs in PyTorch's names, which are dlgrad's too.

`program(library, workload)` gives a function of tensors that returns a tuple of tensors.  The
same text runs in both libraries; what they call differently is asked for by `hasattr`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from workloads import Workload

Program = Callable[..., tuple[Any, ...]]


def program(library: ModuleType, workload: Workload) -> Program:
    """The function that a contestant runs and times."""
    forward = FORWARD[workload.program](library, workload.options)
    if workload.options.get("backward"):
        return forward_and_backward(forward, workload)
    return lambda *inputs: (forward(*inputs),)


def forward_and_backward(forward: Callable[..., Any], workload: Workload) -> Program:
    """The result and the gradients of all inputs of a float dtype, from that of the result."""
    followed = [not given.below for given in workload.inputs[:-1]]

    def run(*inputs: Any) -> tuple[Any, ...]:
        leaves = [
            x.detach().requires_grad_() if is_followed else x
            for x, is_followed in zip(inputs[:-1], followed, strict=True)
        ]
        result = forward(*leaves)
        result.backward(inputs[-1])
        gradients = [x.grad for x, is_followed in zip(leaves, followed, strict=True) if is_followed]
        return (result.detach(), *gradients)

    return run


# The programs ---------------------------------------------------------------------------------


def matmul(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    def run(a: Any, b: Any) -> Any:
        if options.get("a_transposed"):
            a = a.transpose(-1, -2)
        if options.get("b_transposed"):
            b = b.transpose(-1, -2)
        return a @ b

    return run


def add(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    return lambda x, y: x + y


def chain(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    return lambda x, y, z: library.relu(x * y + z) * 2 + library.exp(-x)


def gelu(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    function = library.nn.functional.gelu
    return lambda x: function(x, approximate="tanh")


def softmax(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    return lambda x: library.nn.functional.softmax(x, dim=-1)


def log_softmax(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    return lambda x: library.nn.functional.log_softmax(x, dim=-1)


def layer_norm(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    function = library.nn.functional.layer_norm
    return lambda x, weight, bias: function(x, (x.shape[-1],), weight, bias)


def sum_(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    axis = options["axis"]
    if axis is None:
        return lambda x: x.sum()
    return lambda x: x.sum(dim=axis)


def max_(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    return lambda x: x.amax(dim=options["axis"])


def transpose(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    return lambda x: x.transpose(0, 1).contiguous()


def embedding(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    function = library.nn.functional.embedding
    return lambda table, numbers: function(numbers, table)


def conv2d(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    function = library.nn.functional.conv2d
    settings = {name: value for name, value in options.items() if name != "backward"}
    return lambda x, w: function(x, w, **settings)


def max_pool2d(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    return lambda x: library.nn.functional.max_pool2d(x, 2)


def attention(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    function = library.nn.functional.scaled_dot_product_attention
    return lambda q, k, v: function(q, k, v, is_causal=True)


def additions(library: ModuleType, options: dict[str, Any]) -> Callable[..., Any]:
    def run(x: Any, y: Any) -> Any:
        for _ in range(100):
            x = x + y
        return x

    return run


FORWARD: dict[str, Callable[[ModuleType, dict[str, Any]], Callable[..., Any]]] = {
    "add": add,
    "additions": additions,
    "attention": attention,
    "chain": chain,
    "conv2d": conv2d,
    "embedding": embedding,
    "gelu": gelu,
    "layer_norm": layer_norm,
    "log_softmax": log_softmax,
    "matmul": matmul,
    "max": max_,
    "max_pool2d": max_pool2d,
    "softmax": softmax,
    "sum": sum_,
    "transpose": transpose,
}
