"""L-BFGS: a quasi-Newton method for problems whose whole loss can be computed at will.

Floor 7.  Nocedal and Wright, "Numerical optimization", 2nd edition: algorithms 7.4 (the
direction) and 3.5 with 3.6 (the line search by the strong Wolfe conditions).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from dlgrad.autograd import enable_grad, no_grad
from dlgrad.core.storage import evaluate_pending
from dlgrad.errors import CaptureError
from dlgrad.jit import current_capture
from dlgrad.operators.joining import cat
from dlgrad.optim.optimizer import Optimizer
from dlgrad.tensor import Tensor

LEAST_CURVATURE = 1e-10  # a step with less is not remembered
SUFFICIENT_DECREASE, CURVATURE = 1e-4, 0.9  # the two constants of the Wolfe conditions
LONGEST_SEARCH = 25


class LBFGS(Optimizer):
    """Takes up to `max_iter` quasi-Newton steps for each call of `step(closure)`.

    The closure clears the gradients, computes the loss, calls `backward`, and returns the loss;
    it is called up to `max_eval` times (by default 5 / 4 of `max_iter`).  All parameters are in
    one group.  It ends where no element of the gradient is above `tolerance_grad`, or steps or
    losses change by less than `tolerance_change`.  `line_search_fn` is None (a step of `lr`) or
    "strong_wolfe".  `history_size` steps are remembered, each twice the size of the parameters.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if line_search_fn not in (None, "strong_wolfe"):
            raise RuntimeError(f"only 'strong_wolfe' is supported, got {line_search_fn!r}")
        defaults = {
            "lr": lr, "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError(
                "LBFGS doesn't support per-parameter options (parameter groups); give it one "
                "list of parameters"
            )

    def step(  # type: ignore[override]
        self, closure: Callable[[], Any] | None = None
    ) -> Any:
        """Takes steps until one of the limits is met; returns the loss before the first."""
        if closure is None:
            raise TypeError("LBFGS.step needs a closure that computes the loss and its gradients")
        if current_capture() is not None:
            raise CaptureError("LBFGS decides by the values of the loss, so it cannot be captured")
        before, after = self._step_hooks
        for hook in list(before.values()):
            hook(self, (closure,), {})
        result = self._search(closure)
        for hook in list(after.values()):
            hook(self, (closure,), {})
        return result

    def _search(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        state = self.state[group["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        result, loss, gradient = self._evaluate(closure)
        evaluations = 1
        state["func_evals"] += 1
        if _largest(gradient) <= group["tolerance_grad"]:
            return result
        with no_grad():
            for iteration in range(1, group["max_iter"] + 1):
                state["n_iter"] += 1
                direction = self._direction(state, gradient)
                first = state["n_iter"] == 1
                t = float(group["lr"]) * (min(1.0, 1 / _total(gradient)) if first else 1.0)
                slope = _dot(gradient, direction)
                state["d"], state["t"] = direction, t
                state["prev_flat_grad"], state["prev_loss"] = gradient, loss
                if slope > -group["tolerance_change"]:
                    break
                before = loss
                calls = 0
                if group["line_search_fn"] is not None:
                    origin = self._gathered()
                    search = WolfeSearch(
                        partial(self._evaluate_at, closure, origin, direction),
                        Point(0.0, loss, gradient, slope),
                        direction,
                        group["tolerance_change"],
                        min(LONGEST_SEARCH, group["max_eval"] - evaluations),
                    )
                    found = search.run(t)
                    loss, gradient, t, calls = found.loss, found.gradient, found.t, search.calls
                    state["t"] = t
                    self._place(origin, t, direction)
                else:
                    self._place(self._gathered(), t, direction)
                    if iteration != group["max_iter"]:
                        _, loss, gradient = self._evaluate(closure)
                        calls = 1
                evaluations += calls
                state["func_evals"] += calls
                if (
                    evaluations >= group["max_eval"]
                    or _largest(gradient) <= group["tolerance_grad"]
                    or abs(t) * _largest(direction) <= group["tolerance_change"]
                    or abs(loss - before) < group["tolerance_change"]
                ):
                    break
        return result

    def _direction(self, state: dict[str, Any], gradient: Tensor) -> Tensor:
        """Downhill, by what earlier steps told about the curvature."""
        if state["n_iter"] == 1:
            state["old_dirs"], state["old_stps"], state["ro"] = [], [], []
            state["H_diag"] = 1.0
            return (-gradient).realize()
        changes, steps, inverses = state["old_dirs"], state["old_stps"], state["ro"]
        change = (gradient - state["prev_flat_grad"]).realize()
        step = (state["d"] * state["t"]).realize()
        curvature = _dot(change, step)
        if curvature > LEAST_CURVATURE:
            if len(changes) == self.param_groups[0]["history_size"]:
                for memory in (changes, steps, inverses):
                    memory.pop(0)
            changes.append(change)
            steps.append(step)
            inverses.append(1 / curvature)
            state["H_diag"] = curvature / _dot(change, change)
        weights = [0.0] * len(changes)
        direction: Tensor = -gradient
        for i in range(len(changes) - 1, -1, -1):
            weights[i] = _dot(steps[i], direction) * inverses[i]
            direction = direction - weights[i] * changes[i]
        direction = direction * state["H_diag"]
        for i, weight in enumerate(weights):
            back = _dot(changes[i], direction) * inverses[i]
            direction = direction + (weight - back) * steps[i]
        return direction.realize()

    # All parameters as one vector -------------------------------------------------------------

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[Any, float, Tensor]:
        """What the closure returns, the loss as a number, and the gradient as a vector."""
        with enable_grad():
            result = closure()
        with no_grad():
            parts = [
                (param * 0 if param.grad is None else param.grad).detach().reshape(-1)
                for param in self.param_groups[0]["params"]
            ]
            gradient = cat(parts).realize()
        return result, float(result), gradient

    def _evaluate_at(
        self, closure: Callable[[], Any], origin: Tensor, direction: Tensor, t: float
    ) -> tuple[float, Tensor]:
        self._place(origin, t, direction)
        _, loss, gradient = self._evaluate(closure)
        return loss, gradient

    def _gathered(self) -> Tensor:
        """A copy of all parameters as one vector."""
        parts = [param.detach().reshape(-1) for param in self.param_groups[0]["params"]]
        return cat(parts).clone().realize()

    def _place(self, origin: Tensor, t: float, direction: Tensor) -> None:
        """Writes origin + t * direction into the parameters."""
        start = 0
        for param in self.param_groups[0]["params"]:
            end = start + param.numel()
            moved = origin[start:end] + t * direction[start:end]
            param.copy_(moved.reshape(param.shape))
            start = end
        evaluate_pending()

    # State ------------------------------------------------------------------------------------

    def _shown(self, entries: dict[str, Any]) -> dict[str, Any]:
        return dict(entries)

    def _loaded(
        self, param: Tensor, entries: Mapping[str, Any], known: dict[str, Any], group: Any
    ) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, value in entries.items():
            if name in ("ro", "old_dirs", "old_stps"):
                kept[name] = [_plain(item, param) for item in value]
            elif name in ("func_evals", "n_iter"):
                kept[name] = int(value)
            elif name != "al" and value is not None:
                kept[name] = _plain(value, param)
        return kept


def _plain(value: Any, param: Tensor) -> Any:
    """A copy of a state tensor for `param`; a number where it has one element and no shape."""
    if not isinstance(value, Tensor):
        return value
    if not value.shape:
        return value.item()
    return value.detach().to(param.device, param.dtype).clone().realize()


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum().item())


def _largest(vector: Tensor) -> float:
    return float(vector.abs().max().item())


def _total(vector: Tensor) -> float:
    return float(vector.abs().sum().item())


# The line search --------------------------------------------------------------------------------


@dataclass
class Point:
    """A place on the line: how far, the loss and its gradient there, and the slope of the line."""

    t: float
    loss: float
    gradient: Tensor
    slope: float


class WolfeSearch:
    """Looks along a line for a point that is low and flat enough (the strong Wolfe conditions).

    `evaluate(t)` gives loss and gradient; at most `most_calls` + 1 of them are asked for, or
    until the interval is less than `tolerance` long in every coordinate.
    """

    def __init__(
        self,
        evaluate: Callable[[float], tuple[float, Tensor]],
        start: Point,
        direction: Tensor,
        tolerance: float,
        most_calls: int,
    ) -> None:
        self.evaluate = evaluate
        self.start = start
        self.direction = direction
        self.tolerance = tolerance
        self.most_calls = most_calls
        self.calls = 0

    def run(self, t: float) -> Point:
        """The best point found, beginning with `t`."""
        before, now = self.start, self.look(t)
        while self.calls <= self.most_calls:
            if not self.is_low(now) or (self.calls > 2 and now.loss >= before.loss):
                return self.narrow(before, now)
            if self.is_flat(now):
                return now
            if now.slope >= 0:
                return self.narrow(before, now)
            ends = now.t + 0.01 * (now.t - before.t), 10 * now.t
            before, now = now, self.look(lowest_of_cubic(before, now, ends))
        return min(self.start, now, key=lambda point: point.loss)

    def look(self, t: float) -> Point:
        self.calls += 1
        loss, gradient = self.evaluate(t)
        return Point(t, loss, gradient, _dot(gradient, self.direction))

    def is_low(self, point: Point) -> bool:
        allowed = self.start.loss + SUFFICIENT_DECREASE * point.t * self.start.slope
        return point.loss <= allowed

    def is_flat(self, point: Point) -> bool:
        return abs(point.slope) <= -CURVATURE * self.start.slope

    def narrow(self, a: Point, b: Point) -> Point:
        """Shrinks an interval that holds a point of the wanted kind until it finds one."""
        reach = _largest(self.direction)
        low, high = (a, b) if a.loss <= b.loss else (b, a)
        stalled = False
        while self.calls <= self.most_calls and abs(high.t - low.t) * reach >= self.tolerance:
            left, right = min(low.t, high.t), max(low.t, high.t)
            t = lowest_of_cubic(low, high, (left, right))
            margin = 0.1 * (right - left)
            if min(right - t, t - left) < margin:  # near an end: once is let pass
                if stalled or t >= right or t <= left:
                    t = right - margin if right - t < t - left else left + margin
                    stalled = False
                else:
                    stalled = True
            else:
                stalled = False
            now = self.look(t)
            if not self.is_low(now) or now.loss >= low.loss:
                high = now
            else:
                if self.is_flat(now):
                    return now
                if now.slope * (high.t - low.t) >= 0:
                    high = low
                low = now
        return low


def lowest_of_cubic(a: Point, b: Point, ends: tuple[float, float]) -> float:
    """Where the cubic through two points with their slopes is lowest, between `ends`."""
    first, last = (a, b) if a.t <= b.t else (b, a)
    if first.t == last.t:
        return (ends[0] + ends[1]) / 2
    bend = first.slope + last.slope - 3 * (first.loss - last.loss) / (first.t - last.t)
    inside = bend * bend - first.slope * last.slope
    if not inside >= 0:
        return (ends[0] + ends[1]) / 2
    root = math.sqrt(inside)
    below = last.slope - first.slope + 2 * root
    if below == 0:
        return (ends[0] + ends[1]) / 2
    place = last.t - (last.t - first.t) * (last.slope + root - bend) / below
    return min(max(place, ends[0]), ends[1])
