"""The tape: accumulation, modes, retained graphs, higher derivatives, and what is refused."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import dlgrad
from dlgrad.core import gradients, tape
from dlgrad.lazy.ops import OPS, BufferOps
from dlgrad.tensor import Tensor


def leaf(*values: float) -> Tensor:
    return dlgrad.tensor(list(values), requires_grad=True)


def numbers(tensor: Tensor | None) -> Any:
    assert tensor is not None
    return tensor.tolist()


def test_a_row_for_every_differentiable_primitive() -> None:
    differentiable = {op for op, info in OPS.items() if info.differentiable}
    missing = differentiable - set(tape.ROWS)
    assert not missing, f"core/gradients.py has no row for {missing}"
    for op, row in tape.ROWS.items():
        info = OPS.get(op)  # type: ignore[arg-type]
        if info is not None:
            assert len(row.derivatives) == info.arity, op
    assert gradients.ROWS is tape.ROWS


def test_gradients_add_up() -> None:
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    (x * 3).sum().backward()
    assert numbers(x.grad) == [5.0, 7.0]
    grad = x.grad
    x.sum().backward()
    assert x.grad is grad, "the tensor that holds the gradient stays the same"


def test_a_tensor_used_twice() -> None:
    x = leaf(3.0)
    y = x * x
    (y * y + y).sum().backward()
    assert numbers(x.grad) == [4 * 27.0 + 6.0]


def test_gradients_do_not_share_memory() -> None:
    x, y = leaf(1.0), leaf(1.0)
    (x + y).sum().backward()
    assert x.grad is not None
    x.grad.add_(5)
    assert numbers(y.grad) == [1.0]
    given = dlgrad.tensor([2.0])
    z = leaf(1.0)
    z.backward(given)
    given.add_(1)
    assert numbers(z.grad) == [2.0]


def test_modes() -> None:
    x = leaf(1.0)
    with dlgrad.no_grad():
        assert not (x * 2).requires_grad
        with dlgrad.enable_grad():
            assert (x * 2).requires_grad
        assert not dlgrad.is_grad_enabled()
    assert (x * 2).requires_grad

    @dlgrad.no_grad()
    def first() -> Tensor:
        return x * 2

    @dlgrad.no_grad
    def second() -> Tensor:
        return x * 2

    assert not first().requires_grad
    assert not second().requires_grad
    with dlgrad.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    dlgrad.set_grad_enabled(False)
    assert not (x * 2).requires_grad
    dlgrad.set_grad_enabled(True)
    assert (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), dlgrad.no_grad():
        raise ZeroDivisionError
    assert dlgrad.is_grad_enabled()


def test_detach_and_leaves() -> None:
    x = leaf(2.0)
    y = x * 3
    assert x.is_leaf
    assert not y.is_leaf
    assert y.grad_fn is not None
    assert y.grad_fn.name() == "MulBackward0"
    assert y.detach().is_leaf
    (y.detach() * x).sum().backward()
    assert numbers(x.grad) == [6.0]
    assert not dlgrad.tensor([1]).requires_grad
    with pytest.raises(RuntimeError, match="floating point"):
        dlgrad.tensor([1]).requires_grad_()
    with pytest.raises(RuntimeError, match="leaf"):
        y.requires_grad_(False)


def test_what_backward_refuses() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="does not require grad"):
        dlgrad.tensor([1.0]).backward()
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (x * 2).backward(dlgrad.ones(3))
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()
    z = (x + 1).sum()  # saved nothing, so nothing is gone
    z.backward()
    z.backward()


def test_retain_graph() -> None:
    x = leaf(3.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert numbers(x.grad) == [12.0]


def test_higher_derivatives() -> None:
    x = leaf(2.0)
    y = (x**4).sum()
    expected = [32.0, 48.0, 48.0, 24.0]
    for value in expected:
        (grad,) = dlgrad.autograd.grad(y, x, create_graph=True)
        assert numbers(grad) == [pytest.approx(value)]
        y = grad.sum()
    x.grad = None
    y = (x * x * x).sum()
    y.backward(create_graph=True)
    assert x.grad is not None
    assert x.grad.requires_grad
    (second,) = dlgrad.autograd.grad(x.grad.sum(), x)
    assert numbers(second) == [12.0]


def test_autograd_grad() -> None:
    x, y, unused = leaf(2.0), leaf(3.0), leaf(1.0)
    z = (x * y).sum()
    gx, gy = dlgrad.autograd.grad(z, (x, y), retain_graph=True)
    assert (numbers(gx), numbers(gy)) == ([3.0], [2.0])
    assert x.grad is None
    with pytest.raises(RuntimeError, match="allow_unused"):
        dlgrad.autograd.grad(z, (x, unused), retain_graph=True)
    assert dlgrad.autograd.grad(z, unused, allow_unused=True, retain_graph=True) == (None,)
    (zeros,) = dlgrad.autograd.grad(z, unused, materialize_grads=True, retain_graph=True)
    assert numbers(zeros) == [0.0]
    with pytest.raises(RuntimeError, match="does not require grad"):
        dlgrad.autograd.grad(z, dlgrad.tensor([1.0]))
    middle = x * 2
    (gm,) = dlgrad.autograd.grad((middle * middle).sum(), middle)
    assert numbers(gm) == [8.0]


def test_backward_to_some_inputs() -> None:
    x, y = leaf(2.0), leaf(3.0)
    (x * y).sum().backward(inputs=[x])
    assert numbers(x.grad) == [3.0]
    assert y.grad is None


def test_grad_of_several_outputs() -> None:
    x = leaf(1.0, 2.0)
    weights = [dlgrad.tensor([1.0, 0.0]), None]
    (grad,) = dlgrad.autograd.grad([x * x, (x * 3).sum()], x, weights)
    assert numbers(grad) == [5.0, 3.0]


def test_mixed_dtypes() -> None:
    x = dlgrad.tensor([1.0, 2.0], dtype=dlgrad.float64, requires_grad=True)
    y = dlgrad.tensor([[3.0], [4.0]], requires_grad=True)
    (x * y).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert x.grad.dtype is dlgrad.float64
    assert y.grad.dtype is dlgrad.float32
    assert (numbers(x.grad), numbers(y.grad)) == ([7.0, 7.0], [[3.0], [3.0]])
    half = dlgrad.tensor([1.5], dtype=dlgrad.float16, requires_grad=True)
    (half.float() ** 2).sum().backward()
    assert half.grad is not None
    assert half.grad.dtype is dlgrad.float16


def test_saved_tensors_must_not_change() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation.*version 1"):
        z.sum().backward()
    result = x.exp()
    result.mul_(2)
    with pytest.raises(RuntimeError, match="ExpBackward0"):
        result.sum().backward()
    fine = x + 1
    fine.mul_(3)
    fine.sum().backward()
    assert numbers(x.grad) == [3.0, 3.0]


def test_optimizer_style_updates() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[0].add_(1)
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[0] = 1.0
    for _ in range(3):
        x.grad = None
        (x * x).sum().backward()
        assert x.grad is not None
        with dlgrad.no_grad():
            x.sub_(x.grad, alpha=0.25)
    assert numbers(x) == [0.125, 0.25]
    assert x.is_leaf


def test_a_refused_write_leaves_the_leaf_as_it_was() -> None:
    """It is computed once, along with what reads it, by whichever way the write was asked for."""
    for write in (lambda x: x.exp_(), lambda x: dlgrad.nn.functional.elu(x, inplace=True)):
        x = (dlgrad.ones(3) + 1).requires_grad_()
        with pytest.raises(RuntimeError, match="leaf Variable"):
            write(x)
        (x.detach() * 2).softmax(0).realize()
        assert x._storage.node.op is BufferOps.BUFFER


def test_in_place_chains() -> None:
    x = leaf(1.0, 2.0)
    y = x * 1
    y.mul_(3).add_(1)
    y *= y
    y.sum().backward()
    assert numbers(x.grad) == [2 * 3 * 4.0, 2 * 3 * 7.0]
    z = leaf(4.0)
    w = z * 1
    w.sqrt_()
    w.sum().backward()
    assert numbers(z.grad) == [0.25]


def test_overwritten_gradients_are_zero() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    y.zero_()
    assert y.requires_grad
    y.sum().backward()
    assert numbers(x.grad) == [0.0, 0.0]


def test_writes_through_views_are_differentiated() -> None:
    x, v = leaf(1.0, 2.0, 3.0), leaf(10.0)
    y = x * 2
    before, other = y[0:2], y[2]
    y[1] = v[0] * 5
    assert before.requires_grad
    assert numbers(before) == [2.0, 50.0]
    (before * dlgrad.tensor([1.0, 2.0])).sum().backward(retain_graph=True)
    assert numbers(x.grad) == [2.0, 0.0, 0.0]
    assert numbers(v.grad) == [10.0]
    other.backward()
    assert numbers(x.grad) == [2.0, 0.0, 2.0]


def test_a_write_gives_a_plain_tensor_history() -> None:
    x = leaf(3.0)
    table = dlgrad.zeros(2, 2)
    row = table[0]
    row[1] = x[0] * 2
    assert table.requires_grad
    assert row.requires_grad
    (table * table).sum().backward()
    assert numbers(x.grad) == [24.0]


def test_views_made_without_recording() -> None:
    x = leaf(1.0, 2.0)
    y = x * 1
    with dlgrad.no_grad():
        view = y[0]
    assert not view.requires_grad
    with pytest.raises(RuntimeError, match="no_grad"):
        view.add_(1)
    with dlgrad.no_grad():
        view.add_(1)
    assert numbers(y) == [2.0, 2.0]


def test_hooks_and_retained_gradients() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    seen = []
    handle = y.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: g * 10)
    (y * y).sum().backward(retain_graph=True)
    assert seen == [[4.0, 8.0]]
    assert numbers(y.grad) == [4.0, 8.0]
    assert numbers(x.grad) == [80.0, 160.0]
    handle.remove()
    (y * 1).sum().backward()
    assert len(seen) == 1


def test_a_chain_of_ten_thousand() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(10_000):
        y = y + 1
    y.sum().backward()
    assert numbers(y) == [10_001.0]
    assert numbers(x.grad) == [1.0]
    del y


def test_a_chain_of_thousands_that_saves() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(5000):
        y = y * 1.0001
    y.sum().backward()
    assert numbers(x.grad) == [pytest.approx(1.0001**5000, rel=1e-3)]


def test_memory_goes_without_the_collector() -> None:
    """No reference cycles: what a step made goes as soon as it is dropped."""
    x = leaf(1.0, 2.0)
    gc.collect()
    gc.disable()
    try:
        y = ((x * x).exp().sigmoid() + x[0]).sum()
        entry = weakref.ref(y.grad_fn)
        y.backward()
        storage = weakref.ref(y._storage)
        del y
        assert storage() is None
        assert entry() is None
    finally:
        gc.enable()


def test_backward_computes_nothing() -> None:
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward()
    assert x.grad is not None
    assert y._storage.node.op is not BufferOps.BUFFER
    assert x.grad._storage.node.op is not BufferOps.BUFFER


def test_integer_results_carry_no_gradient() -> None:
    x = leaf(1.0, 3.0)
    assert not x.argmax().requires_grad
    assert not (x > 1).requires_grad
    assert not x.long().requires_grad
    values, indices = x.max(0)
    assert values.requires_grad
    assert not indices.requires_grad
