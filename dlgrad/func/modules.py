"""Modules as functions of their parameters.

Floor 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dlgrad.core.base import TensorBase, requires_grad
from dlgrad.operators.joining import stack


def check_module(value: Any) -> None:
    """TypeError unless `value` has the parts of a module."""
    if not hasattr(value, "named_modules"):
        raise TypeError(f"expected a dlgrad.nn.Module, got {type(value).__name__}")


def places_of(module: Any) -> dict[str, tuple[dict[str, Any], str]]:
    """For every parameter and buffer, by its dotted name: the table that holds it, and its key."""
    check_module(module)
    found = {}
    for path, part in module.named_modules(remove_duplicate=False):
        for table in (part._parameters, part._buffers):
            for key, tensor in table.items():
                if tensor is not None:
                    found[f"{path}.{key}" if path else key] = table, key
    return found


@contextmanager
def replaced(
    module: Any, tensors: Mapping[str, TensorBase], tie_weights: bool, strict: bool
) -> Iterator[None]:
    """Puts other tensors in the places of parameters and buffers, for the block only."""
    places = places_of(module)
    unknown = [name for name in tensors if name not in places]
    missing = [name for name in places if name not in tensors]
    if strict and (unknown or missing):
        raise RuntimeError(
            f"Error(s) in loading state for {type(module).__name__}: unexpected keys {unknown}, "
            f"missing keys {missing}; give every parameter and buffer, or strict=False"
        )
    if unknown:
        raise KeyError(
            f"{type(module).__name__} has no parameter or buffer {unknown[0]!r}; its names are "
            f"{', '.join(places)}"
        )
    before = {name: table[key] for name, (table, key) in places.items()}
    chosen = dict(tensors)
    if tie_weights:
        for name, tensor in tensors.items():
            for other, known in before.items():
                if known is before[name] and other not in tensors:
                    chosen[other] = tensor
    try:
        for name, tensor in chosen.items():
            table, key = places[name]
            table[key] = tensor
        yield
    finally:
        for name in chosen:
            table, key = places[name]
            table[key] = before[name]


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)` with other tensors in the places of parameters and buffers.

    They are given by dotted name, in one dict or several; what is not named stays.  With
    `tie_weights` a tensor that the module has under several names is replaced under all.
    KeyError for an unknown name; with `strict`, RuntimeError for a missing one too.
    """
    dicts = parameter_and_buffer_dicts
    tensors: dict[str, Any] = {}
    for part in [dicts] if isinstance(dicts, Mapping) else dicts:
        if not isinstance(part, Mapping):
            kind = type(part).__name__
            raise TypeError(f"functional_call: expected a dict of tensors by name, got {kind}")
        for name, tensor in part.items():
            if name in tensors:
                raise ValueError(f"{name!r} appears in more than one of the dicts")
            tensors[name] = tensor
    given = () if args is None else args if isinstance(args, tuple) else (args,)
    with replaced(module, tensors, tie_weights, strict):
        return module(*given, **(kwargs or {}))


def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of models of one kind, each stacked along dimension 0.

    For `vmap` over `functional_call`: one call for an ensemble.
    """
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(type(model) is not type(models[0]) for model in models):
        raise RuntimeError(
            "stack_module_state: Expected all models to be of the same class; got "
            f"{sorted({type(model).__name__ for model in models})}"
        )
    check_module(models[0])
    if len({model.training for model in models}) > 1:
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    parameters = stacked([dict(model.named_parameters()) for model in models])
    return parameters, stacked([dict(model.named_buffers()) for model in models])


def stacked(dicts: list[dict[str, Any]]) -> dict[str, Any]:
    """Tensors of several dicts under each name, as new leaves."""
    found = {}
    for name in dicts[0]:
        tensors = [part[name] for part in dicts]
        whole = stack([tensor.detach() for tensor in tensors])
        wants = {requires_grad(tensor) for tensor in tensors}
        if len(wants) > 1:
            raise RuntimeError(
                f"Expected {name!r} of all models to have the same requires_grad; set it alike"
            )
        found[name] = whole.requires_grad_() if True in wants else whole
    return found
