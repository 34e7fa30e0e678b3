"""What a parameter or a value of a distribution may be.

Floor 7.  A constraint's `check(value)` says for each element (for each vector, with an
`event_dim` of 1) whether it is allowed.
"""

from __future__ import annotations

from typing import Any

from dlgrad.matrix.factorizations import cholesky_ex
from dlgrad.tensor import Tensor


class Constraint:
    """A set of numbers or vectors; `event_dim` dimensions make one member."""

    is_discrete = False
    event_dim = 0

    def check(self, value: Tensor) -> Tensor:
        """A bool tensor: which members of `value` lie in the set."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Real(Constraint):
    """Every number but NaN."""

    def check(self, value: Tensor) -> Tensor:
        return value == value


class GreaterThan(Constraint):
    """Numbers above a bound; `closed` takes the bound in."""

    def __init__(self, lower_bound: Any, closed: bool = False) -> None:
        self.lower_bound = lower_bound
        self.closed = closed

    def check(self, value: Tensor) -> Tensor:
        allowed: Tensor = value > self.lower_bound
        return allowed | (value == self.lower_bound) if self.closed else allowed

    def __repr__(self) -> str:
        name = "GreaterThanEq" if self.closed else "GreaterThan"
        return f"{name}(lower_bound={self.lower_bound})"


class LessThan(Constraint):
    """Numbers below a bound."""

    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound

    def check(self, value: Tensor) -> Tensor:
        below: Tensor = value < self.upper_bound
        return below

    def __repr__(self) -> str:
        return f"LessThan(upper_bound={self.upper_bound})"


class Interval(Constraint):
    """Numbers between two bounds, both included."""

    def __init__(self, lower_bound: Any, upper_bound: Any) -> None:
        self.lower_bound = lower_bound
        self.upper_bound = upper_bound

    def check(self, value: Tensor) -> Tensor:
        above: Tensor = value >= self.lower_bound
        below: Tensor = value <= self.upper_bound
        return above & below

    def __repr__(self) -> str:
        bounds = f"lower_bound={self.lower_bound}, upper_bound={self.upper_bound}"
        return f"{type(self).__name__}({bounds})"


class HalfOpenInterval(Interval):
    """Numbers between two bounds, the lower one included."""

    def check(self, value: Tensor) -> Tensor:
        below: Tensor = value < self.upper_bound
        return super().check(value) & below


class IntegerInterval(Interval):
    """Whole numbers between two bounds, both included."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value % 1 == 0) & super().check(value)


class IntegerGreaterThan(GreaterThan):
    """Whole numbers from a bound on, which is included."""

    is_discrete = True

    def __init__(self, lower_bound: Any) -> None:
        super().__init__(lower_bound, closed=True)

    def check(self, value: Tensor) -> Tensor:
        return (value % 1 == 0) & super().check(value)

    def __repr__(self) -> str:
        return f"IntegerGreaterThan(lower_bound={self.lower_bound})"


class Boolean(Constraint):
    """0 and 1."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value == 0) | (value == 1)


class Simplex(Constraint):
    """Vectors of numbers that are not negative and add up to 1."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-6)


class PositiveDefinite(Constraint):
    """Symmetric matrices whose eigenvalues are positive."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        symmetric = value.isclose(value.mT, atol=1e-6).all(-1).all(-1)
        return symmetric & (cholesky_ex(value).info == 0)


class LowerCholesky(Constraint):
    """Lower triangles with a positive diagonal."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        same: Tensor = value.tril() == value
        triangle = same.all(-1).all(-1)
        return triangle & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class OneHot(Constraint):
    """Vectors with a single 1 among zeros."""

    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


class Multinomial(Constraint):
    """Vectors of counts that add up to at most `upper_bound`."""

    is_discrete = True
    event_dim = 1

    def __init__(self, upper_bound: int) -> None:
        self.upper_bound = upper_bound

    def check(self, value: Tensor) -> Tensor:
        few: Tensor = value.sum(-1) <= self.upper_bound
        return (value >= 0).all(-1) & few

    def __repr__(self) -> str:
        return f"Multinomial(upper_bound={self.upper_bound})"


class Independent(Constraint):
    """Members of another set, `count` more dimensions of them at once."""

    def __init__(self, base: Constraint, count: int) -> None:
        self.base = base
        self.count = count
        self.is_discrete = base.is_discrete
        self.event_dim = base.event_dim + count

    def check(self, value: Tensor) -> Tensor:
        result = self.base.check(value)
        return result.flatten(result.ndim - self.count).all(-1) if self.count else result

    def __repr__(self) -> str:
        return f"Independent({self.base!r}, {self.count})"


real = Real()
one_hot = OneHot()
multinomial = Multinomial
less_than = LessThan
half_open_interval = HalfOpenInterval
real_vector = Independent(real, 1)
positive = GreaterThan(0.0)
nonnegative = GreaterThan(0.0, closed=True)
unit_interval = Interval(0.0, 1.0)
boolean = Boolean()
nonnegative_integer = IntegerGreaterThan(0)
positive_integer = IntegerGreaterThan(1)
simplex = Simplex()
positive_definite = PositiveDefinite()
lower_cholesky = LowerCholesky()
greater_than = GreaterThan
interval = Interval
integer_interval = IntegerInterval
independent = Independent
