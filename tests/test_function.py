"""Operations with a derivative of their own, derivatives checked by differences, anomalies."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import dlgrad
from dlgrad.autograd import Function, gradcheck, gradgradcheck, once_differentiable
from dlgrad.autograd import functional as derivatives_of
from dlgrad.errors import AutogradError, ShapeError
from dlgrad.tensor import Tensor


def leaf(*values: float) -> Tensor:
    return dlgrad.tensor(list(values), dtype=dlgrad.float64, requires_grad=True)


class Exp(Function):
    """Saves its result."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result = x.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        return gradient * result


class ProductAndSum(Function):
    """Two results, a plain argument, and a context of its own."""

    @staticmethod
    def forward(x: Tensor, y: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        return x * y, x + scale * y

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, y, ctx.scale = inputs
        ctx.save_for_backward(x, y)

    @staticmethod
    def backward(ctx: Any, product: Tensor, total: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y = ctx.saved_tensors
        return product * y + total, product * x + ctx.scale * total, None


def test_one_result_to_the_second_order() -> None:
    x = leaf(0.5, -1.0)
    result = Exp.apply(x)
    assert repr(result.grad_fn) == "<ExpBackward>"
    assert result.grad_fn.saved_tensors[0].tolist() == result.tolist()
    assert gradcheck(Exp.apply, (x,))
    assert gradgradcheck(Exp.apply, (x,))


def test_several_results() -> None:
    x, y = leaf(0.5, -1.0), leaf(2.0, 3.0)

    def call(a: Tensor, b: Tensor) -> Any:
        return ProductAndSum.apply(a, b, 3.0)

    assert gradcheck(call, (x, y))
    assert gradgradcheck(call, (x, y))
    product, total = call(x, y)
    total.sum().backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([1.0, 1.0], [3.0, 3.0])
    product, total = call(x, y)
    (product.sum() + total.sum()).backward()
    assert x.grad.tolist() == [1.0 + 2.0 + 1.0, 1.0 + 3.0 + 1.0]


def test_gradients_that_nobody_asked_for() -> None:
    seen: list[Any] = []

    class Split(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, y: Tensor) -> Any:
            ctx.set_materialize_grads(False)
            seen.append(ctx.needs_input_grad)
            return x * 2, y * 3

        @staticmethod
        def backward(ctx: Any, first: Any, second: Any) -> Any:
            seen.append((first is None, second is None))
            return first * 2, None

    x = leaf(1.0)
    Split.apply(x, dlgrad.ones(1))[0].sum().backward()
    assert seen == [(True, False), (False, True)]
    assert x.grad.tolist() == [2.0]


def test_results_without_a_derivative() -> None:
    class Largest(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Any:
            value, place = x.max(), x.argmax()
            rounded = x.round()
            ctx.mark_non_differentiable(rounded)
            return value, place, rounded, "text"

        @staticmethod
        def backward(ctx: Any, value: Tensor, *others: Any) -> Tensor:
            return value * dlgrad.ones(2, dtype=dlgrad.float64)

    value, place, rounded, text = Largest.apply(leaf(1.25, 2.5))
    assert value.requires_grad and not place.requires_grad and not rounded.requires_grad
    assert (place.item(), rounded.tolist(), text) == (1, [1.0, 2.0], "text")


def test_arguments_that_come_back() -> None:
    class Same(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient * 10

    x = leaf(1.0)
    result = Same.apply(x)
    assert result is not x and x.is_leaf
    result.sum().backward()
    assert x.grad.tolist() == [10.0]


def test_changes_in_place() -> None:
    class Double(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient * 2

    x = leaf(3.0)
    middle = x * 1
    assert Double.apply(middle) is middle
    (middle * middle).sum().backward()
    assert x.grad.tolist() == [2 * 6.0 * 2]
    with pytest.raises(AutogradError, match="leaf Variable that requires grad"):
        Double.apply(leaf(1.0))


def test_what_a_function_may_not_do() -> None:
    def function(forward: Any, backward: Any) -> Any:
        members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        return type("Wrong", (Function,), members)

    x = leaf(1.0, 2.0)
    few = function(lambda ctx, a, b: a * b, lambda ctx, g: g)
    with pytest.raises(AutogradError, match=r"WrongBackward .* \(expected 2, got 1\)"):
        few.apply(x, x).sum().backward()
    wide = function(lambda ctx, a: a * 2, lambda ctx, g: dlgrad.ones(3))
    with pytest.raises(ShapeError, match=r"index 0 - got \[3\] but expected"):
        wide.apply(x).sum().backward()
    number = function(lambda ctx, a: a * 2, lambda ctx, g: 1.0)
    with pytest.raises(TypeError, match="float as gradient 0"):
        number.apply(x).sum().backward()
    with pytest.raises(TypeError, match="argument 0 is of type int"):
        function(lambda ctx, a: ctx.save_for_backward(1), None).apply(x)
    lost = function(lambda ctx, a: ctx.mark_dirty(a) or a * 2, None)
    with pytest.raises(AutogradError, match="marked as dirty"):
        lost.apply(x * 1)
    with pytest.raises(NotImplementedError, match="either the backward or vjp"):
        type("None", (Function,), {"forward": staticmethod(lambda ctx, a: a * 2)}).apply(
            x
        ).sum().backward()
    with pytest.raises(RuntimeError, match="use Exp.apply"):
        Exp()


def test_saved_tensors_are_guarded_and_freed() -> None:
    x = leaf(1.0)
    middle = x * 1
    product, _ = ProductAndSum.apply(middle, middle, 1.0)
    middle.add_(1)
    with pytest.raises(AutogradError, match="modified by an inplace operation"):
        product.sum().backward()
    result = Exp.apply(x)
    result.sum().backward()
    with pytest.raises(AutogradError, match="second time"):
        result.sum().backward()
    result = Exp.apply(x)
    gone = weakref.ref(result.grad_fn)
    gc.disable()
    try:
        del result
        assert gone() is None, "a result that is saved must not close a circle"
    finally:
        gc.enable()


def test_once_differentiable() -> None:
    class Square(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient * 2 * ctx.saved_tensors[0]

    x = leaf(3.0)
    (first,) = dlgrad.autograd.grad(Square.apply(x).sum(), x, create_graph=True)
    assert first.tolist() == [6.0]
    with pytest.raises(AutogradError, match="once_differentiable"):
        first.sum().backward()


def test_gradcheck_finds_what_is_wrong() -> None:
    class Wrong(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * x

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient * 3

    x = leaf(1.0, 2.0)
    with pytest.raises(dlgrad.autograd.GradcheckError, match="Jacobian mismatch for output 0"):
        gradcheck(Wrong.apply, (x,))
    assert not gradcheck(Wrong.apply, (x,), raise_exception=False)
    assert not gradcheck(Wrong.apply, (x,), raise_exception=False, fast_mode=True)
    assert gradcheck(lambda a: a.sin(), (x,), fast_mode=True)
    with pytest.raises(ValueError, match="none of the them have requires_grad=True"):
        gradcheck(lambda a: a, (x.detach(),))
    with pytest.raises(ValueError, match="use float64"):
        gradcheck(lambda a: a, (x.detach().float().requires_grad_(),))


def test_anomalies_name_the_operation_and_the_line() -> None:
    x = dlgrad.tensor([0.0, 1.0], requires_grad=True)
    with dlgrad.autograd.detect_anomaly():
        assert dlgrad.autograd.is_anomaly_enabled()
        result = (x.sqrt() * 0).sum()  # the line to be named
        with pytest.raises(AutogradError) as caught:
            result.backward()
    assert not dlgrad.autograd.is_anomaly_enabled()
    text = str(caught.value)
    assert "'SqrtBackward0' returned nan values in its 0th output" in text
    assert __file__ in text and "# the line to be named" in text
    (x.sqrt() * 0).sum().backward()  # off again: nothing is checked
    assert x.grad[0].isnan().item()
    with dlgrad.autograd.set_detect_anomaly(True, check_nan=False):
        (x.sqrt() * 0).sum().backward()


def test_modes_of_generators_and_nested_modes() -> None:
    @dlgrad.no_grad()
    def counting() -> Any:
        got = yield dlgrad.is_grad_enabled()
        yield got, dlgrad.is_grad_enabled()

    steps = counting()
    assert next(steps) is False and dlgrad.is_grad_enabled()
    assert steps.send("word") == ("word", False)

    @dlgrad.inference_mode()
    def inside() -> tuple[bool, bool]:
        return dlgrad.is_grad_enabled(), dlgrad.is_inference_mode_enabled()

    assert inside() == (False, True)
    with dlgrad.inference_mode(), dlgrad.inference_mode(False):
        assert dlgrad.is_grad_enabled() and not dlgrad.is_inference_mode_enabled()


def test_hooks() -> None:
    x = leaf(1.0, 2.0)
    seen: list[Any] = []
    handle = x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.tolist()))
    middle = x * 2
    middle.retain_grad()
    assert middle.retains_grad and not x.retains_grad
    middle.register_hook(lambda g: g * 10)
    middle.sum().backward()
    assert seen == [[20.0, 20.0]] and middle.grad.tolist() == [10.0, 10.0]
    handle.remove()
    (x * 1).sum().backward()
    assert len(seen) == 1
    with x.register_hook(lambda g: seen.append("hook")):
        x.sum().backward()
    x.sum().backward()
    assert seen[1:] == ["hook"]
    with pytest.raises(AutogradError, match="non-leaf"):
        middle.register_post_accumulate_grad_hook(print)
    with pytest.raises(AutogradError, match="requires_grad=False"):
        dlgrad.ones(1).retain_grad()
    x.register_hook(lambda g: g[:1])
    with pytest.raises(ShapeError, match="has changed the size"):
        x.sum().backward()


def test_the_tape_leads_to_the_leaves() -> None:
    x = leaf(1.0)
    (entry, _), (constant, _) = (x * 2).grad_fn.next_functions
    assert entry.variable is x and entry.name() == "AccumulateGrad" and constant is None


def test_derivatives_at_a_point() -> None:
    a, b = dlgrad.tensor([1.0, 2.0]), dlgrad.tensor([3.0, 4.0])

    def scaled(x: Tensor, y: Tensor) -> Tensor:
        return x * x * y

    rows = derivatives_of.jacobian(scaled, (a, b))
    assert [row.tolist() for row in rows] == [[[6.0, 0.0], [0.0, 16.0]], [[1.0, 0.0], [0.0, 4.0]]]
    second = derivatives_of.hessian(lambda x, y: scaled(x, y).sum(), (a, b))
    assert second[0][0].tolist() == [[6.0, 0.0], [0.0, 8.0]]
    assert second[0][1].tolist() == [[2.0, 0.0], [0.0, 4.0]]
    value, product = derivatives_of.jvp(scaled, (a, b), (dlgrad.ones(2), dlgrad.zeros(2)))
    assert (value.tolist(), product.tolist()) == ([3.0, 16.0], [6.0, 16.0])
    _, parts = derivatives_of.vjp(scaled, (a, b), dlgrad.ones(2))
    assert [part.tolist() for part in parts] == [[6.0, 16.0], [1.0, 4.0]]
    _, product = derivatives_of.hvp(lambda x: (x * x * x).sum(), a, dlgrad.ones(2))
    assert product.tolist() == [6.0, 12.0]
    with pytest.raises(AutogradError, match="independent of input 1"):
        derivatives_of.jacobian(lambda x, y: x * 2, (a, b), strict=True)
