"""Arguments of a wrong kind, explained: `sum(): argument 'input' must be Tensor, not list`.

Floor 6.  A function that is given a list where it needs a tensor stumbles over the first thing
that a list lacks.  `checked` turns that AttributeError into the TypeError that PyTorch raises,
with the name of the argument.  It wraps what users call, once, where a namespace is filled, so
that no function carries such checks itself, and functions that call each other pay nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from types import FunctionType
from typing import Any, cast

from dlgrad.core.base import TensorBase

_checked: dict[Any, Any] = {}


def checked(function: Callable[..., Any], namespace: str = "") -> Any:
    """The function, which raises TypeError for an argument that is not of the kind it needs.

    `namespace` is the module in which pickle finds the result.  One function has one such form.
    """
    known = _checked.get(function)
    if known is None:
        if not isinstance(function, FunctionType) or hasattr(function, "_explains"):
            return function

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except AttributeError as error:
                refuse_argument(function, args, kwargs, error)
                raise

        known = _checked[function] = cast(Any, update_wrapper(call, function))
        known._explains = True
        known.__module__ = namespace or function.__module__
    return known


def check_namespace(names: dict[str, Any], public: list[str]) -> None:
    """Puts the checked form in place of each of the `public` functions of a module's names."""
    for name in public:
        names[name] = checked(names[name], names["__name__"])


def check_methods(tensor_class: type) -> None:
    """The same for the methods that need a tensor, a dtype or a generator beside their own."""
    for holder in tensor_class.__mro__[:-1]:
        for name, function in tuple(vars(holder).items()):
            found = checked_method(function)
            if found is not function and not name.startswith("_"):
                setattr(holder, name, found)


def checked_method(function: Any) -> Any:
    """The checked form of a method that has something to check, else the method itself."""
    if isinstance(function, FunctionType):
        own = function.__code__.co_varnames[:1]
        others = [kind for name, kind in function.__annotations__.items() if name not in own]
        if any(map(_is_kind, others[:-1])):  # the last is what it returns
            return checked(function)
    return function


def _is_kind(annotation: Any) -> bool:
    """Whether an annotation names a kind of object whose attributes a function uses."""
    return any(kind in str(annotation) for kind in ("Tensor", "DType", "Generator")) and (
        "Number" not in str(annotation)
    )


def refuse_argument(
    function: Callable[..., Any], args: Any, kwargs: Any, error: AttributeError
) -> None:
    """TypeError if it was an argument of a function of dlgrad that lacks an attribute."""
    if error.name is None or not function.__module__.startswith("dlgrad"):
        return  # raised on purpose, or by a program's own module
    from inspect import signature

    wrong, kind = error.obj, type(error.obj).__name__
    try:
        given = signature(function).bind_partial(*args, **kwargs).arguments
    except TypeError:
        return
    for argument, value in given.items():
        wanted = str(signature(function).parameters[argument].annotation)
        if "Tensor" in wanted:
            possible = not isinstance(wrong, TensorBase)
            text = f"must be Tensor, not {kind}; make a tensor of it with dlgrad.tensor(...)"
        elif _is_kind(wanted):
            possible = True
            text = f"must be {wanted.replace(' | ', ' or ')}, not {kind}"
        else:
            possible = not type(wrong).__module__.startswith("dlgrad")
            text = f"cannot be {wrong!r:.80} ({kind})"
        if possible and _holds(value, wrong):
            raise TypeError(f"{function.__name__}(): argument '{argument}' {text}") from None


def _holds(value: Any, wanted: Any) -> bool:
    """Whether an argument is an object or a list, tuple or dict with it inside."""
    if value is wanted:
        return True
    if isinstance(value, dict):
        value = tuple(value.values())
    return isinstance(value, (list, tuple)) and any(_holds(item, wanted) for item in value)
