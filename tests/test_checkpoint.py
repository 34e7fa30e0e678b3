"""Checkpoints of activations: equal gradients, equal random numbers, and less memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import dlgrad
from dlgrad import nn
from dlgrad.errors import AutogradError
from dlgrad.runtime.device import get_backend
from dlgrad.tensor import Tensor
from dlgrad.utils.checkpoint import checkpoint, checkpoint_sequential


def make_chain(length: int, width: int) -> Any:
    dlgrad.manual_seed(1)
    return nn.Sequential(
        *[nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(0.3)) for _ in range(length)]
    )


def gradients(chain: Any, call: Callable[[Tensor], Tensor], x: Tensor) -> list[Any]:
    """The loss, and the gradients of the input and of all parameters."""
    chain.zero_grad()
    x.grad = None
    dlgrad.manual_seed(7)
    loss = call(x).square().mean()
    loss.backward()
    return [loss, x.grad, *(p.grad for p in chain.parameters())]


def test_gradients_are_the_same() -> None:
    chain = make_chain(3, 8)
    x = dlgrad.randn(4, 8, requires_grad=True)
    plain = gradients(chain, chain, x)
    calls: tuple[Callable[[Tensor], Any], ...] = (
        lambda v: checkpoint(chain, v, use_reentrant=False),
        lambda v: checkpoint_sequential(chain, 3, v),
        lambda v: checkpoint(lambda a, scale: (chain(a) * scale["s"],), v, scale={"s": 1.0})[0],
    )
    for call in calls:
        for mine, expected in zip(gradients(chain, call, x), plain, strict=True):
            assert dlgrad.allclose(mine, expected, atol=1e-7)
    unlike = gradients(chain, lambda v: checkpoint(chain, v, preserve_rng_state=False), x)
    assert not dlgrad.allclose(unlike[1], plain[1], atol=1e-7)


def test_second_derivatives_and_captured_tensors() -> None:
    x = dlgrad.tensor([1.0, 2.0], requires_grad=True)
    weight = dlgrad.tensor([3.0, 4.0], requires_grad=True)
    result = checkpoint(lambda v: v * v * v * weight, x)
    assert repr(result.grad_fn) == "<CheckpointBackward0>"
    (first,) = dlgrad.autograd.grad(result.sum(), x, create_graph=True)
    assert first.tolist() == [9.0, 48.0]
    second = dlgrad.autograd.grad(first.sum(), [x, weight])
    assert [s.tolist() for s in second] == [[18.0, 48.0], [3.0, 12.0]]


def test_what_it_leaves_alone_and_refuses() -> None:
    x = dlgrad.ones(2)
    assert not checkpoint(lambda v: v * 2, x).requires_grad
    with dlgrad.no_grad():
        assert not checkpoint(lambda v: v * 2, x.clone().requires_grad_()).requires_grad
    y = (x.clone().requires_grad_() * 1).clone()
    result = checkpoint(lambda v: v.exp(), y).sum()
    y.add_(1)
    with pytest.raises(AutogradError, match="CheckpointBackward0 reads"):
        result.backward()
    result = checkpoint(lambda v: v.exp(), x.clone().requires_grad_()).sum()
    result.backward()
    with pytest.raises(AutogradError, match="second time"):
        result.backward()
    with pytest.raises(ValueError, match="from 1 to 2"):
        checkpoint_sequential([nn.Identity(), nn.Identity()], 3, x)


def test_captured_steps_draw_the_same_numbers() -> None:
    losses = []
    for wrap in (lambda f: f, dlgrad.jit, dlgrad.jit):  # a second capture begins at its own place
        chain = make_chain(2, 4)
        optimizer = dlgrad.optim.SGD(chain.parameters(), lr=0.1)

        def step(x: Tensor, chain: Any = chain, optimizer: Any = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = checkpoint_sequential(chain, 2, x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        wrapped = wrap(step)
        losses.append([wrapped(dlgrad.full((3, 4), float(i))).item() for i in range(5)])
    assert losses[0] == losses[1] == losses[2]


@contextmanager
def counted_memory() -> Iterator[dict[str, int]]:
    """Counts the bytes that the CPU backend has given out in the block: now, and at most."""
    backend: Any = get_backend("cpu")
    allocate, free = backend.allocate, backend.free
    count = {"now": 0, "most": 0}

    def counted_allocate(nbytes: int) -> int:
        count["now"] += nbytes
        count["most"] = max(count["most"], count["now"])
        return int(allocate(nbytes))

    def counted_free(address: int, nbytes: int) -> None:
        count["now"] -= nbytes
        free(address, nbytes)

    backend.allocate, backend.free = counted_allocate, counted_free
    try:
        yield count
    finally:
        del backend.allocate, backend.free


def test_memory_is_lower() -> None:
    chain = make_chain(8, 16)
    for p in chain.parameters():
        p.realize()
    x = dlgrad.randn(512, 16).realize()
    kept, most = {}, {}
    for name, call in (("plain", chain), ("less", lambda v: checkpoint_sequential(chain, 8, v))):
        chain.zero_grad()
        with counted_memory() as count:
            loss = call(x).square().mean()
            loss.realize()
            kept[name] = count["now"]
            loss.backward()
            dlgrad.Tensor.realize(*[p.grad for p in chain.parameters()])
            most[name] = count["most"]
            del loss
    activation = 512 * 16 * 4
    assert kept["less"] <= kept["plain"] - 7 * activation, kept
    assert most["less"] < 0.7 * most["plain"], most
