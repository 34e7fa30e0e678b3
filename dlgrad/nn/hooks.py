"""Functions that run before or after a module's `forward`, and on the way back through it.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from dlgrad.autograd import Function
from dlgrad.tensor import Tensor

_numbers = count()


class RemovableHandle:
    """Stands for a registered hook: `remove()` takes it away again; also a context manager."""

    def __init__(self, hooks: dict[int, Any], hook: Any, prepend: bool = False) -> None:
        self._hooks = hooks
        self.id = next(_numbers)
        hooks[self.id] = hook
        if prepend:
            others = [number for number in hooks if number != self.id]
            for number in others:  # moved behind the new one, in their order
                hooks[number] = hooks.pop(number)

    def remove(self) -> None:
        """Takes the hook away; doing it again does nothing."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class PreHook:
    """A hook that sees the arguments, and may return others."""

    def __init__(self, hook: Callable[..., Any], with_kwargs: bool) -> None:
        self.hook = hook
        self.with_kwargs = with_kwargs

    def __call__(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.with_kwargs:
            both = self.hook(module, args, kwargs)
            if both is None:
                return args, kwargs
            if not isinstance(both, tuple) or len(both) != 2:
                raise TypeError(
                    "a forward pre-hook with kwargs must return None or (args, kwargs), "
                    f"got {type(both).__name__}"
                )
            return both
        changed = self.hook(module, args)
        if changed is None:
            return args, kwargs
        return (changed if isinstance(changed, tuple) else (changed,)), kwargs


class ForwardHook:
    """A hook that sees arguments and result, and may return another result."""

    def __init__(self, hook: Callable[..., Any], with_kwargs: bool) -> None:
        self.hook = hook
        self.with_kwargs = with_kwargs

    def __call__(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Any:
        given = (args, kwargs, result) if self.with_kwargs else (args, result)
        changed = self.hook(module, *given)
        return result if changed is None else changed


# Backward ---------------------------------------------------------------------------------------


class _Watched(Function):
    """The same tensors; their gradients pass through `watch` on the way back."""

    @staticmethod
    def forward(ctx: Any, watch: Callable[..., Any], *tensors: Tensor) -> Any:
        ctx.watch = watch
        return tuple(tensor.detach() for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return (None, *ctx.watch(gradients))


def _watch(values: tuple[Any, ...], watch: Callable[..., Any]) -> tuple[Any, ...]:
    """`values` with the tensors among them that require a gradient watched."""
    places = [i for i, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad]
    if not places:
        return values

    def spread(gradients: tuple[Any, ...]) -> list[Any]:
        full: list[Any] = [None] * len(values)
        for place, gradient in zip(places, gradients, strict=True):
            full[place] = gradient
        changed = watch(tuple(full))
        return [changed[place] for place in places]

    watched = list(values)
    for place, tensor in zip(
        places, _Watched.apply(spread, *(values[i] for i in places)), strict=True
    ):
        watched[place] = tensor
    return tuple(watched)


def _replaced(old: tuple[Any, ...], new: Any, what: str) -> tuple[Any, ...]:
    """What a hook gave in place of the gradients `old`, None for no change."""
    if new is None:
        return old
    given: tuple[Any, ...] = new if isinstance(new, tuple) else (new,)
    if len(given) != len(old):
        raise RuntimeError(
            f"a backward hook returned {len(given)} gradients of the {what}, expected {len(old)}"
        )
    return given


class BackwardHooks:
    """One call of a module whose backward hooks shall see the gradients of its ends."""

    def __init__(self, module: Any, pre_hooks: tuple[Any, ...], hooks: tuple[Any, ...]) -> None:
        self.module = module
        self.pre_hooks = pre_hooks
        self.hooks = hooks
        self.output_gradients: tuple[Any, ...] = ()
        self.inputs_are_watched = False
        self.count = 0

    def watch_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, watched."""
        self.count = len(args)
        watched = _watch(args, self._after)
        self.inputs_are_watched = watched is not args
        return watched

    def watch_outputs(self, result: Any) -> Any:
        """The result, watched: a tensor, or a tuple of them."""
        if isinstance(result, tuple):
            return _watch(result, self._before)
        return _watch((result,), self._before)[0]

    def _before(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.pre_hooks:
            gradients = _replaced(gradients, hook(self.module, gradients), "outputs")
        self.output_gradients = gradients
        if not self.inputs_are_watched:  # nothing will come to the inputs
            self._after((None,) * self.count)
        return gradients

    def _after(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.hooks:
            changed = hook(self.module, gradients, self.output_gradients)
            gradients = _replaced(gradients, changed, "inputs")
        return gradients
