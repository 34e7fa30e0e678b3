"""The class that all distributions have in common.

Floor 7.  A distribution stands for a batch of independent ones: `batch_shape` is the shape of
the parameters, `event_shape` that of one draw.  A sample has the shape sample_shape +
batch_shape + event_shape, and `log_prob` of it the shape sample_shape + batch_shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from dlgrad.autograd import no_grad
from dlgrad.core.host import known_numbers
from dlgrad.distributions.constraints import Constraint
from dlgrad.tensor import Size, Tensor


class Distribution:
    """A batch of probability distributions.

    `validate_args` True checks parameters and values, and evaluates them for that; None checks
    those that are in memory already; False checks nothing.  ValueError for what is wrong.
    """

    has_rsample = False
    has_enumerate_support = False
    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    _validate_args: bool | None = None

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """What `validate_args=None` means from now on: False checks nothing."""
        if value not in (True, False):
            raise ValueError(f"set_default_validate_args takes True or False, got {value!r}")
        Distribution._validate_args = None if value else False

    def __init__(
        self,
        batch_shape: Sequence[int] = (),
        event_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        self._batch_shape = Size(batch_shape)
        self._event_shape = Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args is False:
            return
        for name, constraint in self.arg_constraints.items():
            if name in self.__dict__:  # not one that follows from the others
                self._check(
                    constraint, self.__dict__[name],
                    f"Expected parameter {name} {{value}} of distribution {self!r} to satisfy "
                    f"the constraint {constraint!r}, but found invalid values",
                )  # fmt: skip

    def _check(self, constraint: Constraint, value: Tensor, message: str) -> None:
        """ValueError where `value` is known and outside of the constraint."""
        if self._validate_args is None and value.numel() and not known_numbers(value):
            return
        with no_grad():
            if not bool(constraint.check(value.detach()).all()):
                what = f"({type(value).__name__} of shape {tuple(value.shape)})"
                raise ValueError(f"{message.format(value=what)}:\n{value.detach()}")

    # What it is ---------------------------------------------------------------------------------

    @property
    def batch_shape(self) -> Size:
        """The shape of the parameters."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one draw."""
        return self._event_shape

    @property
    def support(self) -> Constraint:
        """The values that can be drawn."""
        raise NotImplementedError(f"{type(self).__name__} has no support")

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        raise NotImplementedError(f"{type(self).__name__} has no mean")

    @property
    def mode(self) -> Tensor:
        """The most probable value."""
        raise NotImplementedError(f"{type(self).__name__} has no mode")

    @property
    def variance(self) -> Tensor:
        """The expected square of the distance from the mean."""
        raise NotImplementedError(f"{type(self).__name__} has no variance")

    @property
    def stddev(self) -> Tensor:
        """The square root of the variance."""
        return self.variance.sqrt()

    # What it does -------------------------------------------------------------------------------

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws that autograd does not follow."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws through which gradients reach the parameters."""
        raise NotImplementedError(
            f"{type(self).__name__} has no rsample; sample() draws without gradients"
        )

    def sample_n(self, n: int) -> Tensor:
        """n samples."""
        return self.sample((n,))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability, or of its density, at `value`."""
        raise NotImplementedError(f"{type(self).__name__} has no log_prob")

    def cdf(self, value: Tensor) -> Tensor:
        """The probability to draw `value` or less."""
        raise NotImplementedError(f"{type(self).__name__} has no cdf")

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of `cdf`."""
        raise NotImplementedError(f"{type(self).__name__} has no icdf")

    def entropy(self) -> Tensor:
        """The expected value of -log_prob, in nats."""
        raise NotImplementedError(f"{type(self).__name__} has no entropy")

    def perplexity(self) -> Tensor:
        """e to the power of the entropy."""
        return self.entropy().exp()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of a discrete distribution, along a new first dimension."""
        raise NotImplementedError(f"{type(self).__name__} cannot list its values")

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        """The same distribution, its parameters expanded to `batch_shape`."""
        names = list(self.arg_constraints)
        if not names or any(name not in self.__dict__ for name in names):
            raise NotImplementedError(f"{type(self).__name__} has no expand")
        expanded: Distribution = self._expanded(batch_shape, *names)
        return expanded

    # Helpers of the subclasses ------------------------------------------------------------------

    def _extended_shape(self, sample_shape: Sequence[int]) -> Size:
        if isinstance(sample_shape, int):
            raise TypeError(
                f"sample_shape is a sequence of ints, got {sample_shape}; give ({sample_shape},)"
            )
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _expanded(self, batch_shape: Sequence[int], *names: str) -> Any:
        """A distribution of the same class, with the parameters that are given expanded."""
        given = {name: self.__dict__[name].expand(tuple(batch_shape)) for name in names}
        return type(self)(**given, validate_args=False)

    def _checked(self, value: Any) -> Tensor:
        """`value` as a tensor that fits the shapes and lies in the support."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        if self._validate_args is False:
            return value
        shape = self._extended_shape(())
        for mine, given in zip(reversed(shape), reversed(value.shape), strict=False):
            if mine != given and 1 not in (mine, given):
                raise ValueError(
                    f"Value is not broadcastable with batch_shape+event_shape: "
                    f"{tuple(value.shape)} vs {tuple(shape)}."
                )
        self._check(
            self.support, value,
            f"Expected value argument {{value}} to be within the support ({self.support!r}) of "
            f"the distribution {self!r}, but found invalid values",
        )  # fmt: skip
        return value

    def __repr__(self) -> str:
        given = [name for name in self.arg_constraints if name in self.__dict__]
        shown = ", ".join(f"{name}: {_shown(self.__dict__[name])}" for name in given)
        return f"{type(self).__name__}({shown})"


def _shown(value: Tensor) -> Any:
    return value.item() if value.numel() == 1 else value.shape
