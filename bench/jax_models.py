"""The models and training steps of `models.py` in JAX: the same weights, the same arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy
from models import CONTEXT, LAYERS, RATE, VOCABULARY
from workloads import Workload, normal

Weights = dict[str, Any]
Shapes = list[tuple[str, tuple[int, ...]]]


def make_step(workload: Workload) -> Callable[..., Any]:
    """A function of the inputs that does one step and returns the loss in a tuple."""
    if workload.program == "resnet18":
        shapes = resnet18_shapes()
        weights = first_weights(shapes)
        forward = jax.jit(resnet18)
        return lambda images: (jax.block_until_ready(forward(weights, images)),)
    shapes, forward = MODELS[workload.program](workload.options)
    weights = first_weights(shapes)
    decay = 0.01 if workload.program == "train_gpt" else 0.0
    state = {"weights": weights, "count": jnp.zeros((), jnp.int32)}
    state["first"] = jax.tree.map(jnp.zeros_like, weights)
    state["second"] = jax.tree.map(jnp.zeros_like, weights)

    def loss_of(weights: Weights, x: Any, labels: Any) -> Any:
        scores = forward(weights, x)
        logs = jax.nn.log_softmax(scores.reshape(-1, scores.shape[-1]))
        chosen = jnp.take_along_axis(logs, labels.reshape(-1, 1), axis=1)
        return -chosen.mean()

    def step(state: dict[str, Any], x: Any, labels: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(state["weights"], x, labels)
        return adam(state, gradients, decay), loss

    ready = jax.jit(step, donate_argnums=0)
    held = {"state": state}

    def run(x: Any, labels: Any) -> Any:
        held["state"], loss = ready(held["state"], x, labels)
        return (jax.block_until_ready(loss),)

    return run


def adam(state: dict[str, Any], gradients: Weights, decay: float) -> dict[str, Any]:
    count = state["count"] + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state["first"], gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, state["second"], gradients)
    rate = RATE / (1 - 0.9**count)
    spread = 1 / jnp.sqrt(1 - 0.999**count)

    def updated(weight: Any, m: Any, v: Any) -> Any:
        return weight * (1 - RATE * decay) - rate * m / (jnp.sqrt(v) * spread + 1e-8)

    weights = jax.tree.map(updated, state["weights"], first, second)
    return {"weights": weights, "count": count, "first": first, "second": second}


def first_weights(shapes: Shapes) -> Weights:
    """As `models.set_weights`, which counts all parameters in the same order."""
    weights = {}
    for seed, (name, shape) in enumerate(shapes):
        if len(shape) == 1:
            weights[name] = jnp.full(shape, 0.0 if name.endswith("bias") else 1.0)
            continue
        values = normal(math.prod(shape), seed, math.prod(shape[1:]) ** -0.5)
        weights[name] = jnp.asarray(numpy.frombuffer(values, "f4").reshape(shape))
    return weights


# The models -----------------------------------------------------------------------------------


def linear(weights: Weights, name: str, x: Any) -> Any:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def linear_shapes(name: str, inputs: int, outputs: int) -> Shapes:
    return [(f"{name}.weight", (outputs, inputs)), (f"{name}.bias", (outputs,))]


def mlp(options: dict[str, Any]) -> tuple[Shapes, Callable[..., Any]]:
    shapes = [*linear_shapes("0", 784, 128), *linear_shapes("2", 128, 10)]
    return shapes, lambda w, x: linear(w, "2", jax.nn.relu(linear(w, "0", x)))


def conv(x: Any, w: Any, stride: int, padding: int) -> Any:
    return jax.lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2)


def pool(x: Any, size: int, stride: int, padding: int) -> Any:
    edge = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    window, steps = (1, 1, size, size), (1, 1, stride, stride)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, steps, edge)


def cnn(options: dict[str, Any]) -> tuple[Shapes, Callable[..., Any]]:
    shapes: Shapes = []
    for conv_name, norm_name, inputs, outputs in (("0", "1", 1, 32), ("4", "5", 32, 64)):
        shapes += [(f"{conv_name}.weight", (outputs, inputs, 3, 3))]
        shapes += [(f"{conv_name}.bias", (outputs,))]
        shapes += [(f"{norm_name}.weight", (outputs,)), (f"{norm_name}.bias", (outputs,))]
    shapes += linear_shapes("9", 64 * 7 * 7, 10)

    def forward(w: Weights, x: Any) -> Any:
        for conv_name, norm_name in (("0", "1"), ("4", "5")):
            x = conv(x, w[f"{conv_name}.weight"], 1, 1)
            x = x + w[f"{conv_name}.bias"][:, None, None]
            mean = x.mean((0, 2, 3), keepdims=True)
            variance = ((x - mean) ** 2).mean((0, 2, 3), keepdims=True)
            scale = w[f"{norm_name}.weight"][:, None, None] * jax.lax.rsqrt(variance + 1e-5)
            x = (x - mean) * scale + w[f"{norm_name}.bias"][:, None, None]
            x = pool(jax.nn.relu(x), 2, 2, 0)
        return linear(w, "9", x.reshape(x.shape[0], -1))

    return shapes, forward


def gpt(options: dict[str, Any]) -> tuple[Shapes, Callable[..., Any]]:
    width, heads = options["width"], options["heads"]
    shapes: Shapes = [("token.weight", (VOCABULARY, width)), ("position.weight", (CONTEXT, width))]
    for layer in range(LAYERS):
        name = f"blocks.{layer}"
        shapes += [(f"{name}.norm1.weight", (width,)), (f"{name}.norm1.bias", (width,))]
        shapes += linear_shapes(f"{name}.qkv", width, 3 * width)
        shapes += linear_shapes(f"{name}.projection", width, width)
        shapes += [(f"{name}.norm2.weight", (width,)), (f"{name}.norm2.bias", (width,))]
        shapes += linear_shapes(f"{name}.widen", width, 4 * width)
        shapes += linear_shapes(f"{name}.narrow", 4 * width, width)
    shapes += [("norm.weight", (width,)), ("norm.bias", (width,))]
    shapes += linear_shapes("head", width, VOCABULARY)

    def norm(w: Weights, name: str, x: Any) -> Any:
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        scaled = (x - mean) * jax.lax.rsqrt(variance + 1e-5)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attention(x: Any) -> Any:
        batch, length, _ = x.shape
        q, k, v = x.reshape(batch, length, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
        scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) * (width // heads) ** -0.5
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
        y = jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores, axis=-1), v)
        return y.transpose(0, 2, 1, 3).reshape(batch, length, width)

    def forward(w: Weights, tokens: Any) -> Any:
        x = w["token.weight"][tokens] + w["position.weight"]
        for layer in range(LAYERS):
            name = f"blocks.{layer}"
            qkv = linear(w, f"{name}.qkv", norm(w, f"{name}.norm1", x))
            x = x + linear(w, f"{name}.projection", attention(qkv))
            wide = linear(w, f"{name}.widen", norm(w, f"{name}.norm2", x))
            x = x + linear(w, f"{name}.narrow", jax.nn.gelu(wide, approximate=True))
        return linear(w, "head", norm(w, "norm", x))

    return shapes, forward


RESNET_STAGES = ((64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1),
                 (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1))  # fmt: skip


def resnet18_shapes() -> Shapes:
    def norm(name: str, channels: int) -> Shapes:
        return [(f"{name}.weight", (channels,)), (f"{name}.bias", (channels,))]

    shapes: Shapes = [("layers.0.weight", (64, 3, 7, 7)), *norm("layers.1", 64)]
    for number, (channels, wider, stride) in enumerate(RESNET_STAGES):
        name = f"layers.{number + 4}"
        shapes += [(f"{name}.conv1.weight", (wider, channels, 3, 3))]
        shapes += norm(f"{name}.norm1", wider)
        shapes += [(f"{name}.conv2.weight", (wider, wider, 3, 3))]
        shapes += norm(f"{name}.norm2", wider)
        if stride != 1:
            shapes += [(f"{name}.shortcut.0.weight", (wider, channels, 1, 1))]
            shapes += norm(f"{name}.shortcut.1", wider)
    return [*shapes, *linear_shapes("head", 512, 1000)]


def resnet18(w: Weights, x: Any) -> Any:
    """In evaluation: the running mean is 0 and the running variance 1."""

    def norm(name: str, x: Any) -> Any:
        scale = w[f"{name}.weight"] * (1 + 1e-5) ** -0.5
        return x * scale[:, None, None] + w[f"{name}.bias"][:, None, None]

    x = jax.nn.relu(norm("layers.1", conv(x, w["layers.0.weight"], 2, 3)))
    x = pool(x, 3, 2, 1)
    for number, (_, _, stride) in enumerate(RESNET_STAGES):
        name = f"layers.{number + 4}"
        y = conv(x, w[f"{name}.conv1.weight"], stride, 1)
        y = conv(jax.nn.relu(norm(f"{name}.norm1", y)), w[f"{name}.conv2.weight"], 1, 1)
        if stride != 1:
            shortcut = conv(x, w[f"{name}.shortcut.0.weight"], stride, 0)
            x = norm(f"{name}.shortcut.1", shortcut)
        x = jax.nn.relu(norm(f"{name}.norm2", y) + x)
    return linear(w, "head", x.mean((2, 3)))


MODELS: dict[str, Callable[[dict[str, Any]], tuple[Shapes, Callable[..., Any]]]] = {
    "train_cnn": cnn,
    "train_gpt": gpt,
    "train_mlp": mlp,
}
