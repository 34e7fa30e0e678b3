"""The base of optimizers: parameter groups, state, and one evaluation per step.

Floor 7.  An optimizer writes the update of one parameter in tensor operations; all of them, the
gradients, and whatever else is pending are evaluated together at the end of `step`, where
equal updates share a launch.  Numbers that change from step to step (learning rate, bias
corrections) are read from a small tensor on the device, which is refreshed before each step:
so nothing is compiled again, and a captured step replays with the numbers of its time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from dlgrad.autograd import enable_grad, no_grad
from dlgrad.core.creation import tensor as make_tensor
from dlgrad.core.creation import zeros
from dlgrad.core.storage import Storage, evaluate_pending, realize
from dlgrad.dtype import bool_, float32, float64
from dlgrad.errors import CaptureError, ShapeError
from dlgrad.jit import current_capture
from dlgrad.optim.prepared import PreparedStep, memories, record_step
from dlgrad.optim.updates import Cohort, Group, Numbers, State
from dlgrad.runtime.engine import current_recorder
from dlgrad.tensor import HookHandle, Tensor

# The optimizers of this package write updates whose numbers all come from `numbers`; one that a
# user has written may read others, and is done in the plain way.
OWN = __name__.rpartition(".")[0] + "."


class Optimizer:
    """The base of optimizers: subclasses define `begin`, `numbers` and `update`.

    `params` is an iterable of tensors, of (name, tensor) pairs, or of dictionaries:
    {"params": tensors, "lr": ...}.  `param_groups`, `state`, `state_dict` and the methods are
    PyTorch's.  A class that updates parameters in another way overrides `step` instead.
    """

    # Settings that decide, by being zero or not, what `update` does.
    STRUCTURAL: tuple[str, ...] = ("weight_decay", "maximize")
    # Numbers that the state of each parameter carries on from step to step, beside "step".
    COUNTERS: tuple[str, ...] = ()
    # Whether PyTorch's state of this optimizer has an entry "step".
    SHOWS_STEP = True

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        if isinstance(params, Tensor) or not isinstance(params, Iterable):
            raise TypeError(
                "params must be an iterable of tensors or dicts, such as model.parameters(), not "
                f"one {type(params).__name__}"
            )
        _check_ordered(params)
        self.defaults = defaults
        self.state: defaultdict[Tensor, State] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self._numbers: dict[Any, Numbers] = {}
        self._skips: dict[str, Tensor] = {}  # whether the last step was skipped, by device
        self._before_step: list[tuple[str, State, State]] = []  # to take a skipped step back
        self._prepared: PreparedStep | None = None
        self._last_step: Any = None  # what the last step was done to
        self._step_hooks: tuple[dict[int, Any], dict[int, Any]] = ({}, {})
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list; nn.ModuleList holds layers")
        if not isinstance(groups[0], Mapping):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(dict(group) if isinstance(group, Mapping) else group)

    # What a subclass defines ------------------------------------------------------------------

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        """Puts the first state of a parameter into `state`."""

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        """The numbers that `update` reads in step number `state["step"]`, the first being 1."""
        raise NotImplementedError

    def advance(self, group: Group, state: State) -> None:
        """Moves the counters of a state on, after `numbers` has read them."""

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        """Writes the update of one parameter and of its state, in place."""
        raise NotImplementedError

    def check(self, group: Group) -> None:
        """Raises ValueError where a group's settings make no sense."""
        for name in ("lr", "eps", "weight_decay", "momentum", "lr_decay"):
            value = group.get(name, 0)
            if isinstance(value, (int, float, Tensor)) and not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if "betas" in group:
            betas = group["betas"] = tuple(group["betas"])
            if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
                raise ValueError(f"betas must be two numbers from 0 up to but not 1, got {betas}")
        if group.get("fused") and group.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        if group.get("differentiable"):
            raise NotImplementedError(
                "differentiable=True is not there: a step is never recorded. Write the update "
                "as an expression (w = w - lr * grad) to differentiate through it"
            )

    # Groups -----------------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Adds parameters with settings of their own; what is left out has the defaults."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError('param_group must be a dict with the key "params"')
        params, names = _named(param_group["params"])
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(
                    f"an optimizer takes tensors, got {type(param).__name__}; give those of a "
                    "model as model.parameters()"
                )
            if not param.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor, the result of an operation")
            if not param.dtype.is_floating_point:
                raise TypeError(f"an optimizer takes floating-point tensors, got {param.dtype!r}")
            if id(param) in known:
                raise ValueError("a parameter appears twice in the optimizer's groups")
            known.add(id(param))
        group = {**self.defaults, **param_group, "params": params}
        if names is not None:
            group["param_names"] = names
        if self.param_groups and ("param_names" in group) != (
            "param_names" in self.param_groups[0]
        ):
            raise ValueError("either all groups of parameters have names, or none has")
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
                if param._grad is None:
                    continue
                if set_to_none:
                    param._grad = None
                else:
                    with no_grad():
                        param._grad = param._grad.detach().zero_()

    # The step ---------------------------------------------------------------------------------

    def step(
        self,
        closure: Callable[[], Any] | None = None,
        *,
        found_inf: Mapping[str, Tensor] | None = None,
    ) -> Any:
        """Updates every parameter that has a gradient, and evaluates all pending work.

        `closure`, if given, computes the loss (and the gradients) first; its result is
        returned.  `found_inf` is what a `GradScaler` found, see `step_unless`.
        """
        before, after = self._step_hooks
        for hook in list(before.values()):
            hook(self, (closure,), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self.step_unless(found_inf or {})
        for hook in list(after.values()):
            hook(self, (closure,), {})
        return loss

    def step_unless(self, found_inf: Mapping[str, Tensor]) -> None:
        """The step itself; on a device whose number in `found_inf` is not 0 nothing changes.

        Whether it was so is read when the next step begins, and then the step is not counted:
        so nobody waits for the number.  Until then `state` shows one step more.
        """
        capture = current_capture()
        with no_grad(), capture.outside() if capture is not None else nullcontext():
            self._take_back_skipped()
            self._begin_new(capture is not None)
            cohorts = self._cohorts()
            for cohort in cohorts:
                self._advance(cohort, found_inf)
        with no_grad():
            plain = found_inf or not type(self).__module__.startswith(OWN)
            if plain or current_recorder() is not None:
                self._update_all(cohorts, found_inf)
            else:
                self._repeat(cohorts)
        if capture is not None:
            flags = [self.flags(cohort.group) for cohort in cohorts]
            capture.before_replay(self._take_back_skipped)
            for cohort, shape in zip(cohorts, flags, strict=True):
                capture.before_replay(partial(self._advance_captured, cohort, shape, found_inf))
        evaluate_pending()

    def _update_all(self, cohorts: list[Cohort], found_inf: Mapping[str, Tensor]) -> None:
        """The updates as graph, to be evaluated."""
        skips = {device: self._skip(device, found) for device, found in found_inf.items()}
        for cohort in cohorts:
            assert cohort.numbers is not None
            for param in cohort.parameters:
                skip = skips.get(str(param.device))
                self._update_unless(skip, param, cohort.group, cohort.numbers.views)

    def _repeat(self, cohorts: list[Cohort]) -> None:
        """The updates by the launches of an earlier step, where nothing but numbers differs.

        They are kept when the same step comes the second time.
        """
        evaluate_pending()
        parameters = [param for cohort in cohorts for param in cohort.parameters]
        gradients = [param._grad for param in parameters if param._grad is not None]
        storages = [self._storages(cohort) for cohort in cohorts]
        memory = memories(gradients, [storage for some in storages for storage in some])
        signature = [
            [(gradient.dtype, gradient._storage.device) for gradient in gradients],
            [(cohort.key, self.flags(cohort.group)) for cohort in cohorts],
            storages,
        ]
        prepared, self._prepared = self._prepared, None
        if memory and prepared is not None and prepared.fits(signature):
            prepared.run(memory)
            self._prepared = prepared
        elif memory and self._last_step == signature:
            self._prepared = record_step(signature, memory, partial(self._update_all, cohorts, {}))
        else:
            self._update_all(cohorts, {})
        self._last_step = signature

    def _storages(self, cohort: Cohort) -> list[Storage]:
        """What a step of the cohort reads and writes, apart from gradients and numbers."""
        found = []
        for param in cohort.parameters:
            found.append(param._storage)
            for value in self.state[param].values():
                if isinstance(value, Tensor):
                    found.append(value._storage)
        return found

    def _update_unless(
        self, skip: Tensor | None, param: Tensor, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        """The update of one parameter; where the bool `skip` holds it keeps what it had."""
        state, gradient = self.state[param], param._grad
        assert gradient is not None
        held = [] if skip is None else [param, *_tensors(state)]
        old = [tensor.clone() for tensor in held]
        self.update(param, gradient, state, group, numbers)
        for tensor, value in zip(held, old, strict=True):
            assert skip is not None
            tensor.copy_(value.where(skip, tensor))

    def flags(self, group: Group) -> tuple[bool, ...]:
        """The settings that change what `update` does, other than by its numbers."""
        return tuple(bool(group.get(name)) for name in self.STRUCTURAL)

    def _begin_new(self, captured: bool) -> None:
        """Makes the state of parameters that take their first step."""
        made: list[Tensor] = []
        for group in self.param_groups:
            for param in group["params"]:
                if param._grad is None or "step" in self.state[param]:
                    continue
                if captured:
                    raise CaptureError(
                        f"a parameter takes its first step with this {type(self).__name__} "
                        "while the step is captured, and a replay would begin its state anew "
                        "each time; let every parameter have a gradient in the first call"
                    )
                state = self.state[param]
                state["step"] = 0
                self.begin(param, state, group)
                made += _tensors(state)
        realize([tensor._storage for tensor in made])
        for param in [param for param, state in self.state.items() if not state]:
            del self.state[param]

    def _cohorts(self) -> list[Cohort]:
        """The parameters with a gradient, by group, device, precision and counters."""
        found: dict[Any, Cohort] = {}
        places: dict[Any, int] = {}
        counters = ("step", *self.COUNTERS)
        for position, group in enumerate(self.param_groups):
            for param in group["params"]:
                grad = param._grad
                if grad is None:
                    continue
                if grad._shape != param._shape:  # the parameter has new .data since
                    raise ShapeError(
                        f"a gradient must have the shape of its parameter, {param.shape}, "
                        f"not {grad.shape}"
                    )
                state = self.state[param]
                counts = tuple([state[name] for name in counters])
                precision = float64 if param.dtype is float64 else float32
                place = (position, param._storage.node.device, precision)
                cohort = found.get((place, counts))
                if cohort is None:
                    number = places[place] = places.get(place, 0) + 1
                    cohort = found[place, counts] = Cohort(group, [], (place, number))
                cohort.parameters.append(param)
        return list(found.values())

    def _advance(self, cohort: Cohort, found_inf: Mapping[str, Tensor]) -> None:
        """Counts a step, and gives the numbers of the cohort the values of that step."""
        (_, device, precision), _ = cohort.key
        states = [self.state[param] for param in cohort.parameters]
        for state in states:
            if device in found_inf:
                kept = {name: state[name] for name in ("step", *self.COUNTERS)}
                self._before_step.append((device, state, kept))
            state["step"] += 1
        values = self.numbers(cohort.group, states[0])
        for state in states:
            self.advance(cohort.group, state)
        numbers = self._numbers.get(cohort.key)
        if numbers is None:
            numbers = self._numbers[cohort.key] = Numbers(len(values), precision, device)
        numbers.write(values)
        cohort.numbers = numbers

    def _advance_captured(
        self, cohort: Cohort, flags: tuple[bool, ...], found_inf: Mapping[str, Tensor]
    ) -> None:
        """`_advance` before a replay; CaptureError where the captured step would be another."""
        if self.flags(cohort.group) != flags:
            raise CaptureError(
                f"a setting of this {type(self).__name__} that decides what its step does has "
                "changed since the step was captured (such as a weight_decay or momentum that "
                "was zero); call the function's reset(), or make a new jit function"
            )
        self._advance(cohort, found_inf)

    def _skip(self, device: str, found_inf: Tensor) -> Tensor:
        """Whether the number is not 0, in memory that the next step can still read."""
        if device not in self._skips:
            self._skips[device] = zeros((), dtype=bool_, device=device).realize()
        return self._skips[device].copy_(found_inf != 0)

    def _take_back_skipped(self) -> None:
        """Takes back the count of the last step where it was skipped."""
        skipped = {device: bool(skip.item()) for device, skip in self._skips.items()}
        for device, state, kept in self._before_step if any(skipped.values()) else ():
            if skipped[device]:
                state.update(kept)
        self._before_step.clear()

    # Hooks ------------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Calls `hook(optimizer, args, kwargs)` before each step; the result has `remove()`."""
        return HookHandle(self._step_hooks[0], hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Calls `hook(optimizer, args, kwargs)` after each step; the result has `remove()`."""
        return HookHandle(self._step_hooks[1], hook)

    # State ------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: everything but the memory made for this one's steps."""
        self._take_back_skipped()
        own: dict[str, Any] = {"_numbers": {}, "_skips": {}, "_prepared": None, "_last_step": None}
        return {**self.__dict__, **own}

    def state_dict(self) -> dict[str, Any]:
        """The state in PyTorch's layout: {"state": {index: ...}, "param_groups": [...]}.

        Parameters are numbered in the order of the groups.  The tensors share memory with the
        optimizer.
        """
        self._take_back_skipped()
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for param in group["params"]:
                numbers[id(param)] = len(numbers)
            settings = {name: value for name, value in group.items() if name != "params"}
            groups.append({**settings, "params": [numbers[id(p)] for p in group["params"]]})
        state = {}
        for param, entries in self.state.items():
            if id(param) in numbers and entries.get("step", 1) != 0:
                state[numbers[id(param)]] = self._shown(entries)
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def _shown(self, entries: State) -> State:
        """The state of one parameter with its counters as tensors, as PyTorch has them."""
        shown: State = {}
        for name, value in entries.items():
            if name == "step" and not self.SHOWS_STEP:
                continue
            if name == "step":
                value = make_tensor(float(value), dtype=float32)
            elif name in self.COUNTERS:
                value = make_tensor(value, dtype=float64)
            shown[name] = value
        return shown

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over the settings and copies the state of a `state_dict`.

        Raises ValueError where the groups do not have the same numbers of parameters.
        """
        groups, state = state_dict["param_groups"], state_dict["state"]
        own = [len(group["params"]) for group in self.param_groups]
        given = [len(group["params"]) for group in groups]
        if own != given:
            raise ValueError(
                "loaded state dict has a different number of parameter groups, or one of "
                f"another size: it has groups of {given} parameters, the optimizer groups of {own}"
            )
        self._before_step.clear()
        renewed: list[Group] = []
        loaded: dict[Tensor, State] = {}
        for group, settings in zip(self.param_groups, groups, strict=True):
            merged = {**group, **settings, "params": group["params"]}
            self.check(merged)
            renewed.append(merged)
            for param, number in zip(group["params"], settings["params"], strict=True):
                if number in state:
                    known = self.state.get(param, {})
                    loaded[param] = self._loaded(param, state[number], known, merged)
        for group, merged in zip(self.param_groups, renewed, strict=True):
            group.update(merged)
        self.state.clear()
        self.state.update(loaded)
        # Also weights that were loaded: the first step shall be the same work as all others,
        # in the same kernels, so that a training goes on with exactly the numbers it would have.
        evaluate_pending()

    def _loaded(
        self, param: Tensor, entries: Mapping[str, Any], known: State, group: Group
    ) -> State:
        """A copy of one parameter's state, with the dtype and device of the parameter.

        Tensors of the `known` state are written to, so that captured steps go on with them.
        """
        if not isinstance(entries, Mapping):
            kind = type(entries).__name__
            raise ValueError(f"the state of a parameter must be a dict of its entries, not {kind}")
        result: State = {"step": 1 if entries else 0}
        self.begin(param, result, group)
        for name, value in entries.items():
            if name == "step":
                result[name] = int(_number(value))
            elif name in self.COUNTERS:
                result[name] = _number(value)
            elif isinstance(value, Tensor):
                expected = result.get(name)
                if expected is not None and tuple(value.shape) != tuple(expected.shape):
                    raise ValueError(
                        f"the state {name!r} has shape {tuple(value.shape)}, its parameter "
                        f"needs {tuple(expected.shape)}"
                    )
                result[name] = _taken_in(value, param, known.get(name))
            elif value is not None:
                result[name] = value
        realize([tensor._storage for tensor in _tensors(result)])
        return result

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


# Small things -----------------------------------------------------------------------------------


def _named(params: Any) -> tuple[list[Any], list[str] | None]:
    """The tensors of a group's "params", and their names where it has (name, tensor) pairs."""
    _check_ordered(params)
    members = [params] if isinstance(params, Tensor) else list(params)
    pairs = [isinstance(member, tuple) for member in members]
    if not any(pairs):
        return members, None
    if not all(pairs):
        raise ValueError(
            "all optimizer params should be with/without names. Some param names are missing"
        )
    tensors: list[Any] = [tensor for _, tensor in members]
    return tensors, [str(name) for name, _ in members]


def _check_ordered(params: Any) -> None:
    """A set has another order in another run, and states are kept by order."""
    if isinstance(params, (set, frozenset)):
        raise TypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering "
            "of tensors in sets will change between runs. Please use a list instead."
        )


def _tensors(state: State) -> list[Tensor]:
    return [value for value in state.values() if isinstance(value, Tensor)]


def _number(value: Any) -> float:
    return float(value.item() if isinstance(value, Tensor) else value)


def _taken_in(value: Tensor, param: Tensor, held: Any) -> Tensor:
    """A loaded state tensor, in the memory of the one that was `held` before if it fits."""
    with no_grad():
        fits = (
            isinstance(held, Tensor)
            and held._shape == value._shape
            and held.dtype is param.dtype
            and held.device == param.device
        )
        if fits:
            written: Tensor = held.copy_(value.detach())
            return written
        return value.detach().to(param.device, param.dtype).clone()
