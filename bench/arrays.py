"""The programs for NumPy, JAX, MLX and tinygrad.

Each library is an `Arrays`: the few names in which they differ.  A program that one of them
has no words for raises Unsupported, and the row goes without it.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import Any

from workloads import Workload


class Unsupported(Exception):
    """The library has no such function, or the row was not written for it."""


class Arrays:
    """What the programs below ask of a library of arrays."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def array(self, numbers: array[Any], shape: tuple[int, ...], dtype: str) -> Any:
        raise NotImplementedError

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as its library runs it fastest; the result is computed on return."""
        return function

    def gradients(self, forward: Callable[..., Any], followed: tuple[int, ...]) -> Any:
        """From inputs and the result's gradient to the result and the gradients of `followed`."""
        raise Unsupported("it has no gradients")

    def numbers(self, value: Any) -> Any:
        """The value as an array of NumPy."""
        import numpy

        return numpy.asarray(value)

    def exp(self, x: Any) -> Any:
        return self.module.exp(x)

    def log(self, x: Any) -> Any:
        return self.module.log(x)

    def tanh(self, x: Any) -> Any:
        return self.module.tanh(x)

    def rsqrt(self, x: Any) -> Any:
        return 1 / self.module.sqrt(x)

    def relu(self, x: Any) -> Any:
        return self.module.maximum(x, 0)

    def sum(self, x: Any, axis: Any = None, keep: bool = False) -> Any:
        return self.module.sum(x, axis=axis, keepdims=keep)

    def max(self, x: Any, axis: Any = None, keep: bool = False) -> Any:
        return self.module.max(x, axis=axis, keepdims=keep)

    def swapped(self, x: Any) -> Any:
        return self.module.swapaxes(x, -1, -2)

    def copied(self, x: Any) -> Any:
        return x

    def take(self, table: Any, numbers: Any) -> Any:
        return table[numbers]

    def conv2d(self, x: Any, w: Any, stride: int, padding: int, groups: int) -> Any:
        raise Unsupported("it has no convolution")

    def max_pool2d(self, x: Any) -> Any:
        batch, channels, height, width = x.shape
        return self.max(x.reshape(batch, channels, height // 2, 2, width // 2, 2), (3, 5))

    def attention(self, q: Any, k: Any, v: Any) -> Any:
        raise Unsupported("it has no attention")


class NumPy(Arrays):
    def array(self, numbers: array[Any], shape: tuple[int, ...], dtype: str) -> Any:
        if dtype == "bfloat16":
            raise Unsupported("it has no bfloat16")
        kind = {"f": "f4", "q": "i8"}[numbers.typecode]
        values = self.module.frombuffer(numbers, kind).reshape(shape)
        return values.astype(values.dtype if numbers.typecode == "q" else dtype)

    def copied(self, x: Any) -> Any:
        return self.module.ascontiguousarray(x)


class Jax(Arrays):
    def __init__(self, jax: Any) -> None:
        super().__init__(jax.numpy)
        self.jax = jax

    def array(self, numbers: array[Any], shape: tuple[int, ...], dtype: str) -> Any:
        import numpy

        if dtype == "float64":
            self.jax.config.update("jax_enable_x64", True)
        kind = {"f": "f4", "q": "i8"}[numbers.typecode]
        values = numpy.frombuffer(numbers, kind).reshape(shape)
        if numbers.typecode == "q":
            return self.module.asarray(values.astype("i4"))
        return self.module.asarray(values).astype(dtype)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        ready = self.jax.jit(function)
        return lambda *inputs: self.jax.block_until_ready(ready(*inputs))

    def gradients(self, forward: Callable[..., Any], followed: tuple[int, ...]) -> Any:
        def run(*inputs: Any) -> Any:
            *given, gradient = inputs

            def of_followed(*leaves: Any) -> Any:
                full = list(given)
                for place, leaf in zip(followed, leaves, strict=True):
                    full[place] = leaf
                return forward(*full)

            result, pull = self.jax.vjp(of_followed, *(given[place] for place in followed))
            return (result, *pull(gradient))

        return run

    def numbers(self, value: Any) -> Any:
        import numpy

        return numpy.asarray(value.astype("float32") if value.dtype.itemsize == 2 else value)

    def conv2d(self, x: Any, w: Any, stride: int, padding: int, groups: int) -> Any:
        return self.jax.lax.conv_general_dilated(
            x, w, (stride, stride), [(padding, padding)] * 2, feature_group_count=groups
        )

    def attention(self, q: Any, k: Any, v: Any) -> Any:
        scores = self.module.einsum("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5
        seen = self.module.tril(self.module.ones(scores.shape[-2:], bool))
        weights = self.jax.nn.softmax(self.module.where(seen, scores, -math.inf), axis=-1)
        return self.module.einsum("bhqk,bhkd->bhqd", weights, v)


class Mlx(Arrays):
    def array(self, numbers: array[Any], shape: tuple[int, ...], dtype: str) -> Any:
        import numpy

        if dtype == "float64":
            raise Unsupported("its matmul has no float64")
        kind = {"f": "f4", "q": "i8"}[numbers.typecode]
        values = self.module.array(numpy.frombuffer(numbers, kind).reshape(shape))
        return values if numbers.typecode == "q" else values.astype(getattr(self.module, dtype))

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        ready = self.module.compile(function)

        def run(*inputs: Any) -> Any:
            results = ready(*inputs)
            self.module.eval(results)
            return results

        return run

    def gradients(self, forward: Callable[..., Any], followed: tuple[int, ...]) -> Any:
        def run(*inputs: Any) -> Any:
            *given, gradient = inputs

            def of_followed(*leaves: Any) -> Any:
                full = list(given)
                for place, leaf in zip(followed, leaves, strict=True):
                    full[place] = leaf
                return [forward(*full)]

            leaves = [given[place] for place in followed]
            results, pulled = self.module.vjp(of_followed, leaves, [gradient])
            return (*results, *pulled)

        return run

    def numbers(self, value: Any) -> Any:
        import numpy

        return numpy.array(value.astype(self.module.float32))

    def rsqrt(self, x: Any) -> Any:
        return self.module.rsqrt(x)

    def copied(self, x: Any) -> Any:
        return self.module.contiguous(x)

    def conv2d(self, x: Any, w: Any, stride: int, padding: int, groups: int) -> Any:
        # Its convolutions have the channels last.
        y = self.module.conv2d(
            x.transpose(0, 2, 3, 1), w.transpose(0, 2, 3, 1), stride, padding, groups=groups
        )
        return y.transpose(0, 3, 1, 2)

    def attention(self, q: Any, k: Any, v: Any) -> Any:
        return self.module.fast.scaled_dot_product_attention(
            q, k, v, scale=q.shape[-1] ** -0.5, mask="causal"
        )


class Tinygrad(Arrays):
    """`module` is tinygrad's package; its functions are methods of Tensor."""

    def array(self, numbers: array[Any], shape: tuple[int, ...], dtype: str) -> Any:
        import numpy

        kind = {"f": "f4", "q": "i8"}[numbers.typecode]
        value = self.module.Tensor(numpy.frombuffer(numbers, kind).reshape(shape))
        if numbers.typecode == "f":
            value = value.cast(dtype)
        return value.realize()

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def realized(*inputs: Any) -> Any:
            results = [result.contiguous() for result in function(*inputs)]
            results[0].realize(*results[1:])
            return tuple(results)

        ready = self.module.TinyJit(realized)
        device = self.module.Device[self.module.Device.DEFAULT]

        def run(*inputs: Any) -> Any:
            results = ready(*inputs)
            device.synchronize()
            return results

        return run

    def gradients(self, forward: Callable[..., Any], followed: tuple[int, ...]) -> Any:
        def run(*inputs: Any) -> Any:
            *given, gradient = inputs
            result = forward(*given)
            pulled = result.gradient(*(given[place] for place in followed), gradient=gradient)
            return (result, *pulled)

        return run

    def numbers(self, value: Any) -> Any:
        return value.cast("float32").numpy()

    def exp(self, x: Any) -> Any:
        return x.exp()

    def log(self, x: Any) -> Any:
        return x.log()

    def tanh(self, x: Any) -> Any:
        return x.tanh()

    def rsqrt(self, x: Any) -> Any:
        return x.rsqrt()

    def relu(self, x: Any) -> Any:
        return x.relu()

    def sum(self, x: Any, axis: Any = None, keep: bool = False) -> Any:
        return x.sum(axis=axis, keepdim=keep)

    def max(self, x: Any, axis: Any = None, keep: bool = False) -> Any:
        return x.max(axis=axis, keepdim=keep)

    def swapped(self, x: Any) -> Any:
        return x.transpose(-1, -2)

    def conv2d(self, x: Any, w: Any, stride: int, padding: int, groups: int) -> Any:
        return x.conv2d(w, stride=stride, padding=padding, groups=groups)

    def attention(self, q: Any, k: Any, v: Any) -> Any:
        return q.scaled_dot_product_attention(k, v, is_causal=True)


def program(arrays: Arrays, workload: Workload) -> Callable[..., Any]:
    """The function of arrays that returns a tuple of computed arrays."""
    if workload.program not in FORWARD:
        raise Unsupported("the row is not written for it")
    options = workload.options

    def forward(*inputs: Any) -> Any:
        return FORWARD[workload.program](arrays, options, *inputs)

    if options.get("backward"):
        followed = tuple(i for i, given in enumerate(workload.inputs[:-1]) if not given.below)
        return arrays.compiled(arrays.gradients(forward, followed))
    return arrays.compiled(lambda *inputs: (forward(*inputs),))


# The programs ---------------------------------------------------------------------------------


def matmul(xp: Arrays, options: dict[str, Any], a: Any, b: Any) -> Any:
    if options.get("a_transposed"):
        a = xp.swapped(a)
    if options.get("b_transposed"):
        b = xp.swapped(b)
    return a @ b


def gelu(xp: Arrays, options: dict[str, Any], x: Any) -> Any:
    return 0.5 * x * (1 + xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def softmax(xp: Arrays, options: dict[str, Any], x: Any) -> Any:
    exponentials = xp.exp(x - xp.max(x, -1, True))
    return exponentials / xp.sum(exponentials, -1, True)


def log_softmax(xp: Arrays, options: dict[str, Any], x: Any) -> Any:
    shifted = x - xp.max(x, -1, True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), -1, True))


def layer_norm(xp: Arrays, options: dict[str, Any], x: Any, weight: Any, bias: Any) -> Any:
    centred = x - xp.sum(x, -1, True) / x.shape[-1]
    variance = xp.sum(centred * centred, -1, True) / x.shape[-1]
    return centred * xp.rsqrt(variance + 1e-5) * weight + bias


def conv2d(xp: Arrays, options: dict[str, Any], x: Any, w: Any) -> Any:
    settings = [options.get(name, default) for name, default in
                (("stride", 1), ("padding", 0), ("groups", 1))]  # fmt: skip
    return xp.conv2d(x, w, *settings)


def additions(xp: Arrays, options: dict[str, Any], x: Any, y: Any) -> Any:
    for _ in range(100):
        x = x + y
    return x


FORWARD: dict[str, Callable[..., Any]] = {
    "add": lambda xp, options, x, y: x + y,
    "additions": additions,
    "attention": lambda xp, options, q, k, v: xp.attention(q, k, v),
    "chain": lambda xp, options, x, y, z: xp.relu(x * y + z) * 2 + xp.exp(-x),
    "conv2d": conv2d,
    "embedding": lambda xp, options, table, numbers: xp.take(table, numbers),
    "gelu": gelu,
    "layer_norm": layer_norm,
    "log_softmax": log_softmax,
    "matmul": matmul,
    "max": lambda xp, options, x: xp.max(x, options["axis"]),
    "max_pool2d": lambda xp, options, x: xp.max_pool2d(x),
    "softmax": softmax,
    "sum": lambda xp, options, x: xp.sum(x, options["axis"]),
    "transpose": lambda xp, options, x: xp.copied(xp.swapped(x)),
}
