"""The element-wise functions beyond the basic ones, against plain Python and known numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest

import dlgrad
from dlgrad import special
from dlgrad.core.in_place_methods import InPlaceMethods

INF, NAN = math.inf, math.nan


def numbers(result: Any) -> list[float]:
    return list(result.tolist())


def same(got: list[float], expected: list[float], relative: float) -> bool:
    """Equal up to `relative`, with NaN equal to NaN and the signs of zeros compared."""
    for a, b in zip(got, expected, strict=True):
        if math.isnan(b) or math.isinf(b) or b == 0:
            if not (a == b and math.copysign(1, a) == math.copysign(1, b)) and not (
                math.isnan(a) and math.isnan(b)
            ):
                return False
        elif not abs(a - b) <= relative * abs(b):
            return False
    return True


# name: (function of plain Python, arguments; where Python raises the value is written out).
PLAIN: dict[str, tuple[Any, list[float], dict[float, float]]] = {
    "asinh": (math.asinh, [-1e30, -3.0, -1e-5, -0.0, 0.0, 0.7, 1e5, INF, NAN], {}),
    "acosh": (math.acosh, [1.0, 1.0001, 2.0, 1e6, 1e30, INF, NAN], {0.5: NAN}),
    "atanh": (math.atanh, [-0.999, -0.5, -0.0, 1e-5, 0.75], {1.0: INF, -1.0: -INF, 1.5: NAN}),
    "sinh": (math.sinh, [-80.0, -3.0, -1e-5, -0.0, 0.3, 20.5, INF], {}),
    "cosh": (math.cosh, [-80.0, -3.0, -1e-5, 0.0, 20.5, INF], {}),
    "tan": (math.tan, [-1.5, -0.3, 0.0, 1.2, 10.0], {}),
    "erfc": (math.erfc, [-5.0, -0.4, 0.0, 0.3, 0.6, 2.0, 5.0, 8.5, INF, -INF, NAN], {}),
    "lgamma": (
        math.lgamma,
        [1e-5, 0.3, 1.0, 1.7, 2.0, 2.4, 3.0, 7.9, 8.0, 100.0, 1e6, -0.5, -2.3, INF, NAN],
        {0.0: INF, -1.0: INF, -INF: INF},
    ),
    "deg2rad": (math.radians, [-720.0, 0.0, 45.0], {}),
    "rad2deg": (math.degrees, [-7.0, 0.0, 1.0], {}),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("dtype", [dlgrad.float32, dlgrad.float64], ids=["float32", "float64"])
def test_plain_functions(name: str, dtype: Any) -> None:
    function, arguments, others = PLAIN[name]
    x = dlgrad.tensor([*arguments, *others], dtype=dtype)
    expected = [function(value) for value in x.tolist()[: len(arguments)]] + list(others.values())
    relative = 4e-6 if dtype is dlgrad.float32 else 2e-13
    got = numbers(getattr(dlgrad, name)(x))
    assert same(got, expected, relative), (x.tolist(), got, expected)


EULER = 0.5772156649015329


def test_digamma_and_polygamma_at_known_points() -> None:
    x = dlgrad.tensor([1.0, 0.5, 2.0, -0.5, 20.0], dtype=dlgrad.float64)
    harmonic = sum(1 / k for k in range(1, 20))
    half = -EULER - 2 * math.log(2)
    digamma = [-EULER, half, 1 - EULER, half + 2, harmonic - EULER]
    assert same(numbers(dlgrad.digamma(x)), digamma, 1e-13)
    squares = math.pi**2 / 6
    trigamma = [squares, 3 * squares, squares - 1, 3 * squares + 4]
    assert same(numbers(dlgrad.polygamma(1, x[:4])), trigamma, 1e-13)
    cubes = 1.2020569031595942  # zeta(3)
    second = [-2 * cubes, -14 * cubes, 2 - 2 * cubes, 16 - 14 * cubes]
    assert same(numbers(dlgrad.polygamma(2, x[:4])), second, 1e-12)
    poles = dlgrad.digamma(dlgrad.tensor([0.0, -0.0, -3.0]))
    assert same(numbers(poles), [-INF, INF, NAN], 0)
    with pytest.raises(RuntimeError, match="n=-1"):
        dlgrad.polygamma(-1, x)


def test_zeta_at_known_points() -> None:
    s = dlgrad.tensor([2.0, 4.0, 2.0, 1.0, 0.5, 3.0, 2.5], dtype=dlgrad.float64)
    q = dlgrad.tensor([1.0, 1.0, 3.0, 2.0, 2.0, -2.0, -0.5], dtype=dlgrad.float64)
    basel = math.pi**2 / 6
    expected = [basel, math.pi**4 / 90, basel - 1.25, INF, NAN, INF, NAN]
    assert same(numbers(special.zeta(s, q)), expected, 1e-13)


def _bessel(order: int, x: float) -> float:
    terms = [
        (x / 2) ** (2 * k + order) / (math.factorial(k) * math.factorial(k + order))
        for k in range(80)
    ]
    return math.fsum(terms)


@pytest.mark.parametrize("order", [0, 1])
def test_bessel_functions_are_their_series(order: int) -> None:
    x = dlgrad.tensor([-30.0, -19.0, -0.5, 0.0, 3.0, 9.5, 21.0], dtype=dlgrad.float64)
    plain = special.i1 if order else special.i0
    scaled = special.i1e if order else special.i0e
    expected = [_bessel(order, value) for value in x.tolist()]
    assert same(numbers(plain(x)), expected, 1e-13)
    smaller = [y * math.exp(-abs(value)) for y, value in zip(expected, x.tolist(), strict=True)]
    assert same(numbers(scaled(x)), smaller, 1e-13)
    got = numbers(plain(x.float()))
    assert same(got, expected, 2e-6)


def test_inverse_error_function_undoes_it() -> None:
    y = dlgrad.tensor([-5.0, -2.0, -0.7, -1e-3, 0.0, 0.3, 1.0, 3.5], dtype=dlgrad.float64)
    back = dlgrad.erfinv(dlgrad.erf(y[1:-1]))
    assert same(numbers(back), numbers(y[1:-1]), 1e-12)
    p = special.ndtr(y * 4)
    assert same(numbers(special.ndtri(p[:-1])), numbers(y[:-1] * 4), 1e-9)
    edges = dlgrad.erfinv(dlgrad.tensor([1.0, -1.0, 1.5, NAN]))
    assert same(numbers(edges), [INF, -INF, NAN, NAN], 0)


def test_normal_tails_do_not_vanish() -> None:
    x = dlgrad.tensor([-200.0, -10.0, 0.0, 10.0], dtype=dlgrad.float64)
    got = numbers(special.log_ndtr(x))
    # Far out the share below x is the density by |x| (1 - 1 / x^2 ...), Abramowitz-Stegun 26.2.12.
    series = 1 - 1 / 4e4 + 3 / 1.6e9
    far = -2e4 - math.log(200 * math.sqrt(2 * math.pi)) + math.log(series)
    near = [math.log(0.5 * math.erfc(-value / math.sqrt(2))) for value in x.tolist()[1:3]]
    top = math.log1p(-0.5 * math.erfc(10 / math.sqrt(2)))
    assert same(got, [far, *near, top], 1e-12)


def test_small_functions() -> None:
    x = dlgrad.tensor([-1.5, -0.0, 0.0, 2.0, NAN, INF])
    assert numbers(dlgrad.signbit(x))[:4] == [True, True, False, False]
    one = dlgrad.tensor(7.0)
    assert same(numbers(dlgrad.copysign(one, x[:4])), [-7.0, -7.0, 7.0, 7.0], 0)
    assert same(numbers(dlgrad.heaviside(x, one)), [0.0, 7.0, 7.0, 1.0, NAN, 1.0], 0)
    assert same(numbers(dlgrad.nan_to_num(x, 3.0, 4.0)), [-1.5, -0.0, 0.0, 2.0, 3.0, 4.0], 0)
    other = dlgrad.tensor([NAN, 1.0, NAN, 1.0, 2.0, NAN])
    assert numbers(dlgrad.fmax(x, other)) == [-1.5, 1.0, 0.0, 2.0, 2.0, INF]
    assert numbers(dlgrad.fmin(x, other)) == [-1.5, 0.0, 0.0, 1.0, 2.0, INF]
    assert same(numbers(special.entr(x[:4])), [-INF, 0.0, 0.0, -2 * math.log(2)], 1e-6)
    assert same(numbers(dlgrad.angle(x[:5])), [math.pi, 0.0, 0.0, 0.0, NAN], 1e-6)
    assert numbers(dlgrad.hypot(dlgrad.tensor([3e30, 0.0, INF]), dlgrad.tensor([4e30, 0.0, NAN]))
                   ) == pytest.approx([5e30, 0.0, INF])


def test_atan2_in_every_corner() -> None:
    values = [-INF, -2.0, -0.0, 0.0, 1.0, INF]
    pairs = [(y, x) for y in values for x in values]
    y, x = (dlgrad.tensor([pair[i] for pair in pairs], dtype=dlgrad.float64) for i in (0, 1))
    assert same(numbers(dlgrad.atan2(y, x)), [math.atan2(*pair) for pair in pairs], 1e-14)


@pytest.mark.parametrize("dtype", [dlgrad.float32, dlgrad.float64, dlgrad.float16])
def test_frexp_and_ldexp_are_inverse(dtype: Any) -> None:
    smallest = {dlgrad.float16: 6e-8, dlgrad.float32: 1e-44, dlgrad.float64: 5e-324}[dtype]
    x = dlgrad.tensor([-3.0, 0.0, 1.0, 1000.5, smallest, INF], dtype=dtype)
    mantissa, exponent = dlgrad.frexp(x)
    expected = [math.frexp(value) for value in x.tolist()]
    assert mantissa.dtype is dtype and exponent.dtype is dlgrad.int32
    assert numbers(mantissa) == [pair[0] for pair in expected]
    assert numbers(exponent) == [pair[1] for pair in expected]
    back = dlgrad.ldexp(mantissa[:4].double(), exponent[:4])
    assert numbers(back) == numbers(x[:4].double())


@pytest.mark.parametrize("dtype", [dlgrad.int8, dlgrad.int64, dlgrad.uint8])
def test_common_divisors(dtype: Any) -> None:
    pairs = [(0, 0), (0, 6), (12, 18), (55, 89), (127, 1), (100, 75)]
    if dtype is not dlgrad.uint8:
        pairs += [(-12, 18), (-7, -21)]
    if dtype is dlgrad.int64:
        pairs += [(1134903170, 1836311903), (7540113804746346429, 4660046610375530309)]
    a, b = (dlgrad.tensor([pair[i] for pair in pairs], dtype=dtype) for i in (0, 1))
    assert numbers(dlgrad.gcd(a, b)) == [math.gcd(*pair) for pair in pairs]
    small = [pair for pair in pairs if math.lcm(*pair) <= dtype.max]
    a, b = (dlgrad.tensor([pair[i] for pair in small], dtype=dtype) for i in (0, 1))
    assert numbers(dlgrad.lcm(a, b)) == [math.lcm(*pair) for pair in small]


def test_half_types_round_once() -> None:
    """What is composed of many steps is computed in float32 from end to end."""
    x = dlgrad.tensor([0.1, 0.7, 2.3, 5.0], dtype=dlgrad.bfloat16)
    for name in ("asinh", "erfc", "lgamma", "sinh", "tan"):
        function = getattr(dlgrad, name)
        assert numbers(function(x)) == numbers(function(x.float()).bfloat16())


# Errors, dtypes, in place -------------------------------------------------------------------------


def test_bad_operands_are_refused() -> None:
    floats, integers = dlgrad.ones(2), dlgrad.ones(2, dtype=dlgrad.int64)
    for name in ("maximum", "eq", "atan2", "logical_and", "fmax", "rsub", "fmod"):
        with pytest.raises(TypeError, match="must be Tensor, not int"):
            getattr(dlgrad, name)(2, floats)
    with pytest.raises(TypeError, match="two numbers"):
        dlgrad.add(2, 3)
    for divide in (dlgrad.floor_divide, dlgrad.remainder, dlgrad.fmod):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            divide(integers, 0)
    with pytest.raises(RuntimeError, match="must not be a floating point"):
        dlgrad.add(integers, integers, alpha=1.5)
    with pytest.raises(RuntimeError, match="Boolean alpha"):
        dlgrad.add(floats, floats, alpha=True)
    with pytest.raises(TypeError, match="takes integers"):
        dlgrad.gcd(floats, floats)
    with pytest.raises(RuntimeError, match="rtol must be"):
        dlgrad.isclose(floats, floats, rtol=-1.0)
    with pytest.raises(RuntimeError, match="no longer supported"):
        dlgrad.addcdiv(floats, integers, integers)
    with pytest.raises(TypeError, match="for `end`"):
        dlgrad.lerp(floats, floats.double(), 0.5)
    with pytest.raises(RuntimeError, match="can't be cast"):
        integers.exp_()


def test_every_in_place_method_is_the_function() -> None:
    """The method with an underscore writes what the method without one gives."""
    source = [0.25, 0.5, 0.75]
    names = [name[:-1] for name in vars(InPlaceMethods) if not name.startswith("_")]
    assert len(names) > 50
    taken = {"clamp_max": (0.4,), "clamp_min": (0.4,), "mvlgamma": (1,), "polygamma": (1,)}
    for name in names:
        arguments: Any = taken.get(name, ())
        x, other = dlgrad.tensor(source), dlgrad.tensor([0.5, 0.5, 0.25])
        if name.startswith("bitwise") or name in ("gcd", "lcm"):
            x, other = (x * 8).int(), (other * 8).int()
        method = getattr(x, name)
        try:
            expected = method(*arguments)
        except TypeError:
            arguments = (other,)
            expected = method(other)
        if expected.dtype is not x.dtype:
            expected = expected.to(x.dtype)
        view = x[1:]
        assert getattr(x, f"{name}_")(*arguments) is x
        assert same(numbers(view), numbers(expected[1:]), 1e-6), name


def test_second_derivative_of_a_product_with_zeros() -> None:
    """d2/da_i da_j of a product is the product of the others, zeros or not."""
    for values in ([0.0, 0.0, 2.0, 3.0, 4.0], [1.0, 0.0, 2.0], [2.0, 3.0]):
        x = dlgrad.tensor(values, requires_grad=True)
        weights = dlgrad.tensor([float(i + 1) for i in range(len(values))])
        (first,) = dlgrad.autograd.grad(x.prod(), x, create_graph=True)
        (second,) = dlgrad.autograd.grad((first * weights).sum(), x)
        expected = [
            sum(
                (i + 1) * math.prod(v for k, v in enumerate(values) if k not in (i, j))
                for i in range(len(values)) if i != j
            )
            for j in range(len(values))
        ]  # fmt: skip
        assert numbers(second) == expected


def test_matrix_norms() -> None:
    x = dlgrad.tensor([[1.0, -2.0], [3.0, 4.0], [0.0, -5.0]])
    norm = dlgrad.linalg.norm
    assert norm(x).item() == pytest.approx(math.sqrt(55))
    assert [norm(x, order).item() for order in (1, -1, INF, -INF)] == [11, 4, 7, 3]
    assert norm(x[:, 1], 3).item() == pytest.approx((8 + 64 + 125) ** (1 / 3))
    assert dlgrad.dist(x, x - 2, 1).item() == 12
    with pytest.raises(RuntimeError, match="1D or 2D"):
        norm(dlgrad.ones(1, 2, 3), 1)
    scaled = dlgrad.renorm(x, 2, 1, 1.0)
    assert numbers((scaled * scaled).sum(0)) == pytest.approx([1, 1], abs=1e-5)


def test_covariances() -> None:
    x = dlgrad.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    assert dlgrad.cov(x).tolist() == [[1, -1], [-1, 1]]
    assert dlgrad.corrcoef(x).tolist() == [[1, -1], [-1, 1]]
    often = dlgrad.tensor([1, 0, 1])
    assert dlgrad.cov(x, fweights=often).tolist() == [[2, -2], [-2, 2]]
    with pytest.raises(RuntimeError, match="cannot be negative"):
        dlgrad.cov(x, fweights=-often)


def test_numbers_that_an_integer_type_cannot_hold():
    """Arithmetic wraps round, comparisons are exact, and what writes the number refuses it."""
    x = dlgrad.tensor([100, -100], dtype=dlgrad.int8)
    large = dlgrad.tensor([2**64 - 1, 5], dtype=dlgrad.uint64)
    assert (x + 300).tolist() == [-112, -56]
    assert (x >= 300).tolist() == [False, False] and (x != 44 + 256).tolist() == [True, True]
    assert (x > -200).tolist() == [True, True] and (large >= -1).tolist() == [True, True]
    refused = [
        lambda: x.fill_(300), lambda: x.clamp(max=300), lambda: dlgrad.where(x > 0, x, 300),
        lambda: x.masked_fill(x > 0, -300), lambda: x.__setitem__(0, 300),
        lambda: dlgrad.full((2,), math.nan, dtype=dlgrad.int8),
    ]  # fmt: skip
    for call in refused:
        with pytest.raises(RuntimeError, match="without overflow"):
            call()
    with pytest.raises(OverflowError, match="too big"):
        x.long() + 2**70
    with pytest.raises(OverflowError, match="too big"):
        dlgrad.ge(x.long(), 2**70)
    assert x.tolist() == [100, -100]
