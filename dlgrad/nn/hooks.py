"""Functions that run before or after a module's `forward`.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

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
