"""The base of optimizers: parameter groups, state, and one evaluation per step.

Floor 7.  An optimizer writes the update of one parameter in tensor operations; all of them, the
gradients, and whatever else is pending are evaluated together at the end of `step`, where
equal updates share a launch.  Numbers that change from step to step (learning rate, bias
corrections) are read from a small tensor on the device, which is refreshed before each step:
so nothing is compiled again, and a captured step replays with the numbers of its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from dlgrad.autograd import enable_grad, no_grad
from dlgrad.base import make_view
from dlgrad.creation import tensor as make_tensor
from dlgrad.creation import zeros_like
from dlgrad.dtype import DType, float32, float64, pack_values
from dlgrad.errors import CaptureError
from dlgrad.jit import current_capture
from dlgrad.shape import View
from dlgrad.storage import evaluate_pending
from dlgrad.tensor import Tensor

Group = dict[str, Any]
State = dict[str, Any]


class Numbers:
    """A handful of numbers in device memory, which kernels read as zero-dimensional tensors."""

    def __init__(self, count: int, dtype: DType, device: str) -> None:
        self._tensor = make_tensor([0.0] * count, dtype=dtype, device=device)
        self._memory = self._tensor._storage.memory()
        self._values: tuple[float, ...] | None = None
        self.dtype = dtype
        self.views = [make_view(self._tensor, View((), (), i)) for i in range(count)]

    def write(self, values: tuple[float, ...]) -> None:
        """Gives the numbers new values, if they differ from the present ones."""
        if values != self._values:
            self._memory.copy_in(memoryview(pack_values(self.dtype, list(values))))
            self._values = values


class Cohort:
    """Parameters of one group that have taken the same number of steps, on one device."""

    def __init__(self, group: Group, parameters: list[Tensor], numbers: Numbers) -> None:
        self.group = group
        self.parameters = parameters
        self.numbers = numbers


class Optimizer:
    """The base of optimizers: subclasses define `numbers`, `flags` and `update`.

    `params` is an iterable of tensors, or of dictionaries: {"params": tensors, "lr": ...}.
    `param_groups`, `state`, `state_dict` and the methods are PyTorch's.
    """

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        if isinstance(params, Tensor):
            raise TypeError("params must be an iterable of tensors or dicts, not one tensor")
        self.defaults = defaults
        self.state: dict[Tensor, State] = {}
        self.param_groups: list[Group] = []
        self._numbers: dict[Any, Numbers] = {}
        groups = list(params)
        if not groups:
            raise ValueError("the optimizer got an empty list of parameters")
        if not isinstance(groups[0], Mapping):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(dict(group))

    # What a subclass defines ------------------------------------------------------------------

    def numbers(self, group: Group, step: int) -> tuple[float, ...]:
        """The numbers that `update` reads in this step, the first step being 1."""
        raise NotImplementedError

    def flags(self, group: Group) -> tuple[bool, ...]:
        """The settings that change what `update` does, other than by its numbers."""
        raise NotImplementedError

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        """Writes the update of one parameter and of its state, in place."""
        raise NotImplementedError

    def check(self, group: Group) -> None:
        """Raises ValueError where a group's settings make no sense."""
        for name in ("lr", "eps", "weight_decay"):
            if name in group and not group[name] >= 0:
                raise ValueError(f"{name} must not be negative, got {group[name]}")

    # Groups -----------------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Adds parameters with settings of their own; what is left out has the defaults."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError('a parameter group is a dict with the key "params"')
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(f"an optimizer takes tensors, got a {type(param).__name__}")
            if not param.is_leaf:
                raise ValueError("an optimizer takes leaf tensors, not results of operations")
            if not param.dtype.is_floating_point:
                raise TypeError(f"an optimizer takes floating-point tensors, got {param.dtype!r}")
            if id(param) in known:
                raise ValueError("a parameter appears twice in the optimizer's groups")
            known.add(id(param))
        group = {**self.defaults, **param_group, "params": params}
        missing = [name for name, value in group.items() if value is REQUIRED]
        if missing:
            raise ValueError(f"a parameter group needs a value for {', '.join(missing)}")
        self.check(group)
        self.param_groups.append(group)
        # First values are computed now: a step must not contain what only the first step does,
        # or its kernels would be compiled for one use.
        evaluate_pending()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters, or sets them to zero."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                if set_to_none:
                    param.grad = None
                else:
                    with no_grad():
                        param.grad = param.grad.detach().zero_()

    # The step ---------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient, and evaluates all pending work.

        `closure`, if given, computes the loss (and the gradients) first; its result is
        returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        capture = current_capture()
        with no_grad(), capture.outside() if capture is not None else nullcontext():
            cohorts = self._cohorts()
            for cohort in cohorts:
                self._advance(cohort)
        known = self._state_size()
        with no_grad():
            for cohort in cohorts:
                for param in cohort.parameters:
                    gradient = param.grad
                    assert gradient is not None
                    self.update(
                        param, gradient, self.state[param], cohort.group, cohort.numbers.views
                    )
        if capture is not None:
            if self._state_size() != known:
                raise CaptureError(
                    f"a parameter takes its first step with this {type(self).__name__} while the "
                    "step is captured, and a replay would begin its state anew each time; let "
                    "every parameter have a gradient in the first call"
                )
            for cohort in cohorts:
                flags = self.flags(cohort.group)
                capture.before_replay(partial(self._advance_captured, cohort, flags))
        evaluate_pending()
        return loss

    def _state_size(self) -> int:
        return sum(len(state) for state in self.state.values())

    def _cohorts(self) -> list[Cohort]:
        """The parameters with a gradient, by group, device, precision and steps taken."""
        members: dict[Any, list[Tensor]] = {}
        for position, group in enumerate(self.param_groups):
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state.setdefault(param, {})
                if "step" not in state:
                    state["step"] = 0
                precision = float64 if param.dtype is float64 else float32
                key = (position, str(param.device), precision, state["step"])
                members.setdefault(key, []).append(param)
        cohorts = []
        counts: dict[Any, int] = {}
        for (position, device, precision, _), params in members.items():
            place = (position, device, precision)
            counts[place] = counts.get(place, 0) + 1
            numbers = self._numbers.get((place, counts[place]))
            group = self.param_groups[position]
            if numbers is None:
                count = len(self.numbers(group, 1))
                numbers = Numbers(count, precision, device)
                self._numbers[place, counts[place]] = numbers
            cohorts.append(Cohort(group, params, numbers))
        return cohorts

    def _advance(self, cohort: Cohort) -> None:
        """Counts a step, and gives the numbers of the cohort the values of that step."""
        step = 0
        for param in cohort.parameters:
            state = self.state[param]
            step = state["step"] = state["step"] + 1
        cohort.numbers.write(self.numbers(cohort.group, step))

    def _advance_captured(self, cohort: Cohort, flags: tuple[bool, ...]) -> None:
        """`_advance` before a replay; CaptureError where the captured step would be another."""
        if self.flags(cohort.group) != flags:
            raise CaptureError(
                f"a setting of this {type(self).__name__} that decides what its step does has "
                "changed since the step was captured (such as a weight_decay or momentum that "
                "was zero); call the function's reset(), or make a new jit function"
            )
        self._advance(cohort)

    # State ------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state in PyTorch's layout: {"state": {index: ...}, "param_groups": [...]}.

        Parameters are numbered in the order of the groups.  The tensors share memory with the
        optimizer.
        """
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for param in group["params"]:
                numbers[id(param)] = len(numbers)
            settings = {name: value for name, value in group.items() if name != "params"}
            groups.append({**settings, "params": [numbers[id(p)] for p in group["params"]]})
        state = {}
        for param, entries in self.state.items():
            if id(param) in numbers:
                state[numbers[id(param)]] = {
                    name: make_tensor(float(value)) if name == "step" else value
                    for name, value in entries.items()
                }
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over the settings and copies the state of a `state_dict`.

        Raises ValueError where the groups do not have the same numbers of parameters.
        """
        groups, state = state_dict["param_groups"], state_dict["state"]
        own = [len(group["params"]) for group in self.param_groups]
        given = [len(group["params"]) for group in groups]
        if own != given:
            raise ValueError(
                f"the state has groups of {given} parameters, the optimizer groups of {own}"
            )
        loaded: dict[Tensor, State] = {}
        for group, settings in zip(self.param_groups, groups, strict=True):
            for param, number in zip(group["params"], settings["params"], strict=True):
                if number in state:
                    known = self.state.get(param, {})
                    loaded[param] = _loaded_state(param, state[number], known)
        for group, settings in zip(self.param_groups, groups, strict=True):
            group.update({name: v for name, v in settings.items() if name != "params"})
            if "betas" in settings:
                group["betas"] = tuple(settings["betas"])
            self.check(group)
        self.state = loaded

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            names = sorted(name for name in group if name != "params")
            lines += [f"    {name}: {group[name]}" for name in names]
        return "\n".join([*lines, ")"])


class _Required:
    def __repr__(self) -> str:
        return "<required>"


REQUIRED = _Required()  # the default of a setting that must be given


def moment(state: State, name: str, param: Tensor) -> Tensor:
    """The state tensor `name` of a parameter: zeros of its shape where it is new."""
    found = state.get(name)
    if found is None:
        found = state[name] = zeros_like(param.detach()).realize()
    result: Tensor = found
    return result


def _loaded_state(param: Tensor, entries: Mapping[str, Any], known: State) -> State:
    """A copy of one parameter's state, with the dtype and device of the parameter.

    Tensors of the `known` state are written to, so that captured steps go on with them.
    """
    result: State = {}
    for name, value in entries.items():
        if name == "step":
            result[name] = int(value.item() if isinstance(value, Tensor) else value)
        elif isinstance(value, Tensor):
            if tuple(value.shape) != tuple(param.shape):
                raise ValueError(
                    f"the state {name!r} has shape {tuple(value.shape)}, its parameter "
                    f"{tuple(param.shape)}"
                )
            with no_grad():
                held = known.get(name)
                if held is None or held.dtype is not param.dtype or held.device != param.device:
                    result[name] = value.detach().to(param.device, param.dtype).clone()
                else:
                    result[name] = held.copy_(value.detach())
        elif value is not None:
            result[name] = value
    return result
