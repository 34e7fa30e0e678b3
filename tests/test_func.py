"""Functions of functions: their results by formula, how they nest, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

import dlgrad
from dlgrad import nn
from dlgrad.core.batching import RULES
from dlgrad.errors import AutogradError, DTypeError, ShapeError, VmapError
from dlgrad.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    stack_module_state,
    value_and_grad,
    vjp,
    vmap,
)
from dlgrad.lazy.ops import OPS
from dlgrad.tensor import Tensor

ROWS = dlgrad.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def cubes(x: Tensor) -> Tensor:
    return (x * x * x).sum()


def test_a_rule_for_every_primitive() -> None:
    missing = {op for op, info in OPS.items() if info.arity} - set(RULES)
    assert not missing, f"core/batching.py has no rule for {missing}"


# Derivatives ------------------------------------------------------------------------------------


def test_grad() -> None:
    x = dlgrad.tensor([1.0, 2.0])
    assert grad(cubes)(x).tolist() == [3.0, 12.0]
    assert grad(lambda a, b: (a * b).sum(), argnums=(1, 0))(x, x + 1)[0].tolist() == [1.0, 2.0]
    tree = {"w": x, "deep": [x * 2]}
    slopes = grad(lambda p: (p["w"] * p["deep"][0]).sum())(tree)
    assert slopes["w"].tolist() == [2.0, 4.0] and slopes["deep"][0].tolist() == [1.0, 2.0]
    slopes, extra = grad(lambda a: (cubes(a), "extra"), has_aux=True)(x)
    assert slopes.tolist() == [3.0, 12.0] and extra == "extra"
    value, slopes = value_and_grad(cubes)(x)
    assert value.item() == 9.0 and not value.requires_grad and not slopes.requires_grad
    assert grad_and_value(cubes)(x)[1].item() == 9.0


def test_grad_nests_and_mixes_with_backward() -> None:
    x = dlgrad.tensor(2.0)
    assert grad(grad(grad(lambda v: v**4)))(x).item() == 48.0
    weight = dlgrad.tensor(3.0, requires_grad=True)
    slope = grad(lambda v: weight * v * v)(x)  # 2 * weight * x
    slope.backward()
    assert slope.item() == 12.0 and weight.grad.item() == 4.0
    outer = dlgrad.tensor(2.0, requires_grad=True)
    grad(lambda v: v**3)(outer).backward()  # d(3 v**2)/dv
    assert outer.grad.item() == 12.0
    with dlgrad.no_grad():
        assert not grad(lambda v: weight * v * v)(x).requires_grad


def test_products_with_the_jacobian() -> None:
    x, y = dlgrad.tensor([1.0, 2.0]), dlgrad.tensor([3.0, 4.0])
    (product, total), pull = vjp(lambda a, b: (a * b, a + b), x, y)
    assert product.tolist() == [3.0, 8.0] and total.tolist() == [4.0, 6.0]
    parts = pull((dlgrad.ones(2), dlgrad.ones(2) * 10))
    assert [part.tolist() for part in parts] == [[13.0, 14.0], [11.0, 12.0]]
    value, change = jvp(lambda a, b: a * b, (x, y), (dlgrad.ones(2), dlgrad.zeros(2)))
    assert value.tolist() == [3.0, 8.0] and change.tolist() == [3.0, 4.0]
    value, change, extra = jvp(lambda a: (a * a, 7), (x,), (x,), has_aux=True)
    assert change.tolist() == [2.0, 8.0] and extra == 7
    with pytest.raises(RuntimeError, match="structure of cotangents"):
        pull(dlgrad.ones(2))
    with pytest.raises(ShapeError, match="tangents and primals"):
        jvp(cubes, (x,), (dlgrad.ones(3),))


@pytest.mark.parametrize("jacobian", [jacrev, jacfwd])
def test_jacobians(jacobian: Any) -> None:
    x = dlgrad.tensor([1.0, 2.0, 3.0])
    rows = jacobian(lambda v: v[:2] * v.sum())(x)
    assert rows.tolist() == [[7.0, 1.0, 1.0], [2.0, 8.0, 2.0]]
    parts = jacobian(lambda a, b: {"p": a * b}, argnums=(0, 1))(x, dlgrad.tensor(2.0))
    assert parts["p"][0].tolist() == [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]]
    assert parts["p"][1].tolist() == [1.0, 2.0, 3.0]
    in_parts = jacobian(lambda v: v[:2] * v.sum(), chunk_size=2)(x)
    assert in_parts.tolist() == rows.tolist()


def test_hessians() -> None:
    x = dlgrad.tensor([1.0, 2.0])
    def function(v: Tensor) -> Tensor:
        return v[0] ** 2 * v[1] ** 2

    expected = [[2 * 4.0, 4 * 2.0], [4 * 2.0, 2 * 1.0]]
    for transform in (hessian, lambda f: jacrev(jacrev(f)), lambda f: jacrev(jacfwd(f))):
        assert transform(function)(x).tolist() == expected
    rows = vmap(hessian(function))(dlgrad.stack([x, x * 2]))
    assert rows[0].tolist() == expected and rows[1].tolist() == [[32.0, 32.0], [32.0, 8.0]]


def test_what_derivatives_refuse() -> None:
    x = dlgrad.ones(2)
    with pytest.raises(ShapeError, match="scalar tensor, got tensor with 1 dims"):
        grad(lambda v: v)(x)
    with pytest.raises(DTypeError, match="floating-point"):
        grad(cubes)(dlgrad.tensor([1, 2]))
    with pytest.raises(RuntimeError, match="only 1 positional"):
        grad(cubes, argnums=1)(x)
    with pytest.raises(RuntimeError, match="output, aux"):
        grad(cubes, has_aux=True)(x)
    with pytest.raises(RuntimeError, match="only tensors"):
        grad(lambda v: 1.0)(x)


# One row to all rows ----------------------------------------------------------------------------


def test_vmap_is_a_loop_over_rows() -> None:
    matrix = dlgrad.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    calls = []

    def one(row: Tensor) -> Any:
        calls.append(row.shape)
        order = row.argsort(descending=True)
        return {
            "product": matrix @ row,
            "sorted": row[order],
            "sums": row.cumsum(0),
            "outer": row[:, None] * row,
            "largest": row.max(),
            "cut": dlgrad.cat([row[1:], row[:1]]),
            "soft": row.softmax(0),
            "constant": dlgrad.ones(2),
        }

    found = vmap(one)(ROWS)
    assert calls == [(3,)], "the function is called once"
    for i in range(2):
        for name, value in one(ROWS[i]).items():
            assert dlgrad.allclose(found[name][i], value), name


def test_dimensions_in_and_out() -> None:
    x, y = dlgrad.arange(6.0).reshape(2, 3), dlgrad.arange(3.0)
    assert vmap(lambda a, b: a * b, in_dims=(1, 0), out_dims=1)(x, y).tolist() == (x * y).tolist()
    assert vmap(lambda a, b: (a * b).sum(), in_dims=(0, None))(x, y).tolist() == [5.0, 14.0]
    nested = vmap(lambda p: p["a"] + p["b"], in_dims=({"a": 0, "b": None},))
    assert nested({"a": y, "b": dlgrad.ones(())}).tolist() == [1.0, 2.0, 3.0]
    assert vmap(lambda a: a, in_dims=-1)(x).tolist() == x.T.tolist()
    assert vmap(lambda a, scale: a * scale)(y, scale=2.0).tolist() == [0.0, 2.0, 4.0]
    assert vmap(lambda a: a.sum(), chunk_size=1)(x).tolist() == [3.0, 12.0]
    table = vmap(lambda a: vmap(lambda b: a * b)(y))(y)
    assert table.tolist() == (y[:, None] * y).tolist()
    assert vmap(lambda a: dlgrad.ones(2), out_dims=None)(y).tolist() == [1.0, 1.0]


def test_gradients_of_each_sample() -> None:
    dlgrad.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    labels = dlgrad.tensor([1, 0])

    def loss(p: Any, x: Tensor, y: Tensor) -> Tensor:
        scores = functional_call(model, p, (x.unsqueeze(0),))
        return nn.functional.cross_entropy(scores, y.unsqueeze(0))

    found = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, ROWS, labels)
    for i in range(2):
        model.zero_grad()
        nn.functional.cross_entropy(model(ROWS[i : i + 1]), labels[i : i + 1]).backward()
        for name, p in model.named_parameters():
            assert dlgrad.allclose(found[name][i], p.grad, atol=1e-6), name


def test_derivatives_through_vmap() -> None:
    x = ROWS.clone().requires_grad_()
    weight = dlgrad.tensor([1.0, 2.0, 3.0], requires_grad=True)
    result = vmap(lambda row: (row * weight).relu().sum() ** 2)(x)
    assert repr(result.grad_fn) == "<VmapBackward0>"
    result.sum().backward()
    sums = [14.0, 32.0]
    assert x.grad.tolist() == [[2 * s * w for w in (1.0, 2.0, 3.0)] for s in sums]
    expected = [2 * (sums[0] * a + sums[1] * b) for a, b in zip(*ROWS.tolist(), strict=True)]
    assert weight.grad.tolist() == expected
    (first,) = dlgrad.autograd.grad(vmap(cubes)(x).sum(), x, create_graph=True)
    (second,) = dlgrad.autograd.grad(first.sum(), x)
    assert second.tolist() == (6 * ROWS).tolist()
    assert grad(lambda v: vmap(cubes)(v).sum())(ROWS).tolist() == (3 * ROWS * ROWS).tolist()


def test_what_vmap_saved_is_guarded() -> None:
    x = ROWS.clone().requires_grad_()
    result = vmap(lambda row: row.exp() * row)(x).sum()
    with dlgrad.no_grad():
        x.add_(1)
    with pytest.raises(AutogradError, match="VmapBackward0 reads"):
        result.backward()
    result = vmap(lambda row: row.exp())(x).sum()
    result.backward(retain_graph=True)
    result.backward()
    with pytest.raises(AutogradError, match="second time"):
        result.backward()


def test_random_numbers_of_rows() -> None:
    def noisy(row: Tensor) -> Tensor:
        return row * 0 + dlgrad.rand(3)

    with pytest.raises(VmapError, match="randomness error mode"):
        vmap(noisy)(ROWS)
    same = vmap(noisy, randomness="same")(ROWS)
    assert same[0].tolist() == same[1].tolist()
    dlgrad.manual_seed(5)
    different = vmap(noisy, randomness="different")(ROWS)
    dlgrad.manual_seed(5)
    assert different.tolist() == dlgrad.rand(2, 3).tolist()


def test_what_vmap_refuses() -> None:
    target = dlgrad.zeros(3)
    with pytest.raises(VmapError, match="has no value"):
        vmap(lambda row: row if row.sum() > 0 else -row)(ROWS)
    with pytest.raises(VmapError, match="from outside"):
        vmap(lambda row: target.add_(row))(ROWS)
    assert target.tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(VmapError, match="into its argument"):
        vmap(lambda row: row.mul_(2))(ROWS)
    with pytest.raises(ValueError, match="got no inputs"):
        vmap(lambda: 1)()
    with pytest.raises(ValueError, match="same size in the mapped dimension"):
        vmap(lambda a, b: a)(ROWS, dlgrad.ones(3))
    with pytest.raises(ValueError, match="cannot vmap over non-Tensor"):
        vmap(lambda a, b: a)(ROWS, 2.0)
    with pytest.raises(ValueError, match="expected in_dim to satisfy -2 <= in_dim < 2"):
        vmap(lambda a: a, in_dims=2)(ROWS)
    with pytest.raises(ValueError, match="must only return Tensors"):
        vmap(lambda a: 1.0)(ROWS)
    with pytest.raises(ValueError, match="not compatible with the structure"):
        vmap(lambda a: a, in_dims=(0, 0))(ROWS)
    kept = []
    vmap(lambda row: kept.append(row) or row)(ROWS)
    with pytest.raises(VmapError, match="another call of vmap"):
        vmap(lambda row: row + kept[0])(ROWS)
    with pytest.raises(VmapError, match="has no value"):
        kept[0].tolist()


def test_writes_inside_of_the_function() -> None:
    def shifted(row: Tensor) -> Tensor:
        out = dlgrad.zeros(3)
        out[1:] = row[:2]
        out[0] += 7
        return out

    assert vmap(shifted)(ROWS).tolist() == [[7.0, 1.0, 2.0], [7.0, 4.0, 5.0]]
    shown = []
    vmap(lambda row: shown.append(repr(row)) or row)(ROWS)
    assert shown == ["tensor(..., size=(3,), dtype=dlgrad.float32)"]


def test_vmap_is_captured() -> None:
    step = dlgrad.jit(lambda a, b: vmap(lambda u, v: (u * v).sum())(a, b))
    results = [step(ROWS * i, ROWS).tolist() for i in range(4)]
    assert results == [[14.0 * i, 77.0 * i] for i in range(4)]


# Modules ----------------------------------------------------------------------------------------


def test_modules_as_functions() -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight
    made = functional_call(
        layer, {"weight": dlgrad.ones(2, 3), "bias": dlgrad.zeros(2)}, (ROWS,)
    )
    assert made.tolist() == [[6.0, 6.0], [15.0, 15.0]] and layer.weight is before
    with pytest.raises(KeyError, match="weight, bias"):
        functional_call(layer, {"wait": dlgrad.ones(1)}, (ROWS,))
    with pytest.raises(RuntimeError, match="missing keys"):
        functional_call(layer, {"bias": dlgrad.zeros(2)}, (ROWS,), strict=True)
    tied = nn.Sequential(layer, nn.Identity(), layer)
    with pytest.raises(ShapeError):
        functional_call(tied, {"0.weight": dlgrad.ones(5, 3), "0.bias": dlgrad.ones(5)}, (ROWS,))
    assert layer.weight is before


def test_ensembles() -> None:
    models = [nn.Linear(3, 2) for _ in range(3)]
    parameters, buffers = stack_module_state(models)
    call = vmap(lambda p, b, x: functional_call(models[0], (p, b), (x,)), in_dims=(0, 0, None))
    found = call(parameters, buffers, ROWS)
    for i, model in enumerate(models):
        assert dlgrad.allclose(found[i], model(ROWS), atol=1e-6)
    found.sum().backward()
    assert parameters["weight"].grad.shape == (3, 2, 3)
