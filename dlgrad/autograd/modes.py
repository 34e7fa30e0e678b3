"""The modes that turn recording on and off: `no_grad`, `enable_grad`, `inference_mode`.

Floor 6.  The state itself is `base.grad_mode`, one for each thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from types import CodeType
from typing import Any, TypeVar

from dlgrad.core.base import grad_mode

F = TypeVar("F", bound=Callable[..., Any])
Block = Callable[[], "GradModeBlock"]

_GENERATOR = 0x20  # the flag of a code object that `yield` stands in


class GradModeBlock:
    """A context manager and decorator that sets whether operations are recorded."""

    _enabled = True

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(grad_mode.enabled)
        grad_mode.enabled = self._enabled

    def __exit__(self, *details: object) -> None:
        grad_mode.enabled = self._before.pop()

    def clone(self) -> GradModeBlock:
        """The same mode, for another block."""
        return type(self)()

    def __call__(self, function: F) -> F:
        return decorated(function, self.clone)


def decorated(function: F, block: Block) -> F:
    """`function` inside of `block()`; of a generator, each of its steps."""
    code: CodeType | None = getattr(function, "__code__", None)
    if code is not None and code.co_flags & _GENERATOR:

        @functools.wraps(function)
        def stepped(*args: Any, **kwargs: Any) -> Any:
            return steps(function(*args, **kwargs), block)

        return stepped  # type: ignore[return-value]

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with block():
            return function(*args, **kwargs)

    return wrapped  # type: ignore[return-value]


def steps(generator: Generator[Any, Any, Any], block: Block) -> Generator[Any, Any, Any]:
    """The items of `generator`, whose own code alone runs inside of `block()`."""
    try:
        with block():
            item = next(generator)
        while True:
            try:
                answer = yield item
            except GeneratorExit:
                with block():
                    generator.close()
                raise
            except BaseException as error:
                with block():
                    item = generator.throw(error)
            else:
                with block():
                    item = generator.send(answer)
    except StopIteration as end:
        return end.value


class no_grad(GradModeBlock):
    """Operations in the block (or the decorated function) are not recorded."""

    _enabled = False

    def __new__(cls, function: F | None = None) -> Any:
        block = super().__new__(cls)
        return block if function is None else block(function)

    def __init__(self, function: F | None = None) -> None:
        super().__init__()


class enable_grad(GradModeBlock):
    """Operations in the block (or the decorated function) are recorded again."""

    def __new__(cls, function: F | None = None) -> Any:
        block = super().__new__(cls)
        return block if function is None else block(function)

    def __init__(self, function: F | None = None) -> None:
        super().__init__()


class inference_mode(GradModeBlock):
    """The same as `no_grad` here, and `is_inference_mode_enabled()` says so.

    The tensors made inside are ordinary ones: they can be used in recorded operations later,
    which PyTorch refuses.  `mode=False` records again.
    """

    def __new__(cls, mode: bool | F = True) -> Any:
        block = super().__new__(cls)
        if isinstance(mode, bool):
            return block
        block.__init__(True)  # type: ignore[misc]
        return block(mode)

    def __init__(self, mode: bool | F = True) -> None:
        super().__init__()
        self._mode = bool(mode)
        self._enabled = not self._mode
        self._inference_before: list[bool] = []

    def __enter__(self) -> None:
        super().__enter__()
        self._inference_before.append(grad_mode.inference)
        grad_mode.inference = self._mode

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        grad_mode.inference = self._inference_before.pop()

    def clone(self) -> GradModeBlock:
        block: GradModeBlock = inference_mode(self._mode)
        return block


class set_grad_enabled(GradModeBlock):
    """Turns recording on or off, at once; used with `with`, for the block only."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self._outer = grad_mode.enabled
        self._enabled = grad_mode.enabled = bool(mode)

    def __enter__(self) -> None:
        grad_mode.enabled = self._enabled

    def __exit__(self, *details: object) -> None:
        grad_mode.enabled = self._outer

    def clone(self) -> GradModeBlock:
        return set_grad_enabled(self._enabled)

    def __call__(self, function: F) -> F:
        grad_mode.enabled = self._outer
        return super().__call__(function)


def is_grad_enabled() -> bool:
    """True while operations of this thread are recorded."""
    return grad_mode.enabled


def is_inference_mode_enabled() -> bool:
    """True inside of `inference_mode()`, in this thread."""
    return grad_mode.inference
