"""Loading a state into a module: every missing, unexpected and misfit key in one error.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from dlgrad.autograd import no_grad
from dlgrad.nn.parameter import Parameter
from dlgrad.tensor import Tensor

if TYPE_CHECKING:
    from dlgrad.nn.module import Module


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` found to differ; it prints as a success where nothing did."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"_IncompatibleKeys(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )

    def __str__(self) -> str:
        return repr(self)


def load_state(
    module: Module, state_dict: Mapping[str, Any], strict: bool, assign: bool
) -> IncompatibleKeys:
    """Copies the tensors of `state_dict` into `module`; nothing where an error is raised."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"Expected state_dict to be dict-like, got {type(state_dict)}; a state_dict maps names "
            "to tensors"
        )
    for path, part in module.named_modules():
        start = f"{path}." if path else ""
        part._take_shapes(
            {
                name: tuple(state_dict[start + name].shape)
                for name in (*part._parameters, *part._buffers)
                if isinstance(state_dict.get(start + name), Tensor)
            }
        )
    own = module.state_dict(keep_vars=True)
    optional = {
        f"{path}.{name}" if path else name
        for path, part in module.named_modules()
        for name in part._OPTIONAL_STATE
    }
    missing = [name for name in own if name not in state_dict and name not in optional]
    unexpected = [name for name in state_dict if name not in own]
    problems = []
    if strict and missing:
        problems.append(f"Missing key(s) in state_dict: {_quoted(missing)}. ")
    if strict and unexpected:
        problems.append(f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
    found = {name: state_dict[name] for name in own if name in state_dict}
    for name, value in found.items():
        if not isinstance(value, Tensor):
            problems.append(
                f'While copying the parameter named "{name}", expected dlgrad.Tensor from '
                f"checkpoint but received {type(value)}"
            )
        elif value.shape != own[name].shape:
            problems.append(
                f"size mismatch for {name}: copying a param with shape {value.shape} from "
                f"checkpoint, the shape in current model is {own[name].shape}."
            )
    if problems:
        lines = "\n\t".join(problems)
        raise RuntimeError(
            f"Error(s) in loading state_dict for {type(module).__name__}:\n\t{lines}"
        )
    with no_grad():
        for name, value in found.items():
            if assign:
                _assign(module, name, value)
            else:
                own[name].copy_(value)
    return IncompatibleKeys(missing, unexpected)


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _assign(module: Module, name: str, tensor: Tensor) -> None:
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    old = owner._parameters.get(last)
    if old is None:
        owner._buffers[last] = tensor
    else:
        owner._parameters[last] = Parameter(tensor.detach(), old.requires_grad)
