"""Weights that are computed from other parameters, under the names that PyTorch gives them.

Floor 7.  `module.weight` becomes an attribute that is computed at each access; what is trained
and saved is `parametrizations.weight.original`, or `original0`, `original1` ... where a
parametrisation is made of several tensors.
"""

from __future__ import annotations

from typing import Any

from dlgrad.autograd import no_grad
from dlgrad.nn.container import ModuleDict, ModuleList
from dlgrad.nn.module import Module
from dlgrad.nn.parameter import Parameter
from dlgrad.tensor import Tensor


class ParametrizationList(ModuleList):
    """The parametrisations of one tensor, applied in order to the original."""

    def __init__(self, modules: list[Module], original: Tensor) -> None:
        super().__init__(modules)
        made = self._inverse(original)
        self.is_tensor = isinstance(made, Tensor)
        named = {"original": made} if self.is_tensor else {
            f"original{i}": part for i, part in enumerate(made)
        }  # fmt: skip
        self.ntensors = len(named)
        trained = isinstance(original, Parameter)
        for name, tensor in named.items():
            if trained:
                self.register_parameter(name, Parameter(tensor, original.requires_grad))
            else:
                self.register_buffer(name, tensor)

    def _inverse(self, value: Tensor) -> Any:
        """The original of which `value` is the result; the value itself without an inverse."""
        result: Any = value
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    result = module.right_inverse(result)
        return result

    def right_inverse(self, value: Tensor) -> None:
        """Sets the originals so that the parametrised tensor becomes `value`."""
        made = self._inverse(value)
        with no_grad():
            for tensor, new in zip(self.originals(), [made] if self.is_tensor else made,
                                   strict=True):  # fmt: skip
                tensor.copy_(new)

    def originals(self) -> list[Tensor]:
        """The tensors that are trained."""
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def forward(self) -> Tensor:
        modules = list(self)
        result: Tensor = modules[0](*self.originals())
        for module in modules[1:]:
            result = module(result)
        return result


def _parametrized_class(cls: type[Module]) -> type[Module]:
    """The subclass of `cls` whose parametrised attributes are computed."""

    class Parametrized(cls):  # type: ignore[misc, valid-type]
        """A module with attributes that are computed from other parameters."""

        def __getattr__(self, name: str) -> Any:
            if name != "parametrizations" and is_parametrized(self, name):
                return self.parametrizations[name]()
            return super().__getattr__(name)

        def __setattr__(self, name: str, value: Any) -> None:
            if is_parametrized(self, name):
                self.parametrizations[name].right_inverse(value)
            else:
                super().__setattr__(name, value)

        def __getstate__(self) -> Any:
            raise RuntimeError(
                "Serialization of parametrized modules is only supported through state_dict()."
            )

        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            import copy

            twin = type(self).__new__(type(self))
            memo[id(self)] = twin
            for key, value in self.__dict__.items():
                twin.__dict__[key] = copy.deepcopy(value, memo)
            return twin

    Parametrized.__name__ = Parametrized.__qualname__ = f"Parametrized{cls.__name__}"
    return Parametrized


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether `module` has parametrised tensors, or this one."""
    found = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Makes the parameter or buffer `tensor_name` the result of `parametrization(original)`.

    A method `right_inverse` of the parametrisation says which original gives the present value.
    With `unsafe` another shape or dtype is allowed.  Returns the module.
    """
    if is_parametrized(module, tensor_name):
        held = module.parametrizations[tensor_name]
        before = held()
        after = parametrization(before)
        _check_result(tensor_name, before, after, unsafe)
        held.append(parametrization)
        return module
    original = module._parameters.get(tensor_name)
    if original is None:
        original = module._buffers.get(tensor_name)  # type: ignore[assignment]
    if original is None:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element "
            f"with name '{tensor_name}'"
        )
    held = ParametrizationList([parametrization], original)
    with no_grad():
        _check_result(tensor_name, original, held(), unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        module.__class__ = _parametrized_class(type(module))
        module.add_module("parametrizations", ModuleDict())
    module.parametrizations[tensor_name] = held
    return module


def _check_result(name: str, before: Tensor, after: Any, unsafe: bool) -> None:
    if not isinstance(after, Tensor):
        raise ValueError(
            f"A parametrization must return a tensor. Got {type(after).__name__} for {name!r}."
        )
    if not unsafe and (after.shape != before.shape or after.dtype is not before.dtype):
        raise ValueError(
            "Registering a parametrization may not change the shape or dtype of the tensor, "
            f"unless unsafe=True: {name!r} has shape {tuple(before.shape)} and {before.dtype!r}, "
            f"the result has {tuple(after.shape)} and {after.dtype!r}"
        )


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Makes `tensor_name` a plain parameter again: its present value, or else its original."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    held = module.parametrizations[tensor_name]
    if not leave_parametrized and not held.is_tensor:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors."
        )
    trained = isinstance(held.originals()[0], Parameter)
    requires_grad = held.originals()[0].requires_grad
    with no_grad():
        value = (held() if leave_parametrized else held.original).detach().clone()
    del module.parametrizations[tensor_name]
    if not is_parametrized(module):
        del module._modules["parametrizations"]
        module.__class__ = type(module).__bases__[0]
    if trained:
        module.register_parameter(tensor_name, Parameter(value, requires_grad))
    else:
        module.register_buffer(tensor_name, value)
    return module
