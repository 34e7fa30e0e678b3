"""Module: what a model is made of: parameters, buffers, other modules, and a `forward`.

Floor 7.  Attributes that are a `Parameter` or a `Module` register themselves under their name;
the dotted path of names is the key in `state_dict`.  The interface is PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from dlgrad.autograd import no_grad
from dlgrad.core.arguments import refuse_argument
from dlgrad.core.device_type import DeviceLike
from dlgrad.dtype import DType, bfloat16, float16, float32, float64
from dlgrad.errors import DTypeError
from dlgrad.nn.hooks import BackwardHooks, ForwardHook, PreHook, RemovableHandle
from dlgrad.nn.parameter import Buffer, Parameter
from dlgrad.nn.state import IncompatibleKeys, load_state
from dlgrad.nn.summary import Summary, summary
from dlgrad.tensor import Tensor

Self = TypeVar("Self", bound="Module")
T = TypeVar("T")


class Module:
    """The base of layers and models: subclasses call `super().__init__()` and define `forward`."""

    # Names in the state that may be missing in an older one.
    _OPTIONAL_STATE: tuple[str, ...] = ()

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def __init__(self) -> None:
        set_plainly = super().__setattr__
        set_plainly("training", True)
        set_plainly("_parameters", {})
        set_plainly("_buffers", {})
        set_plainly("_modules", {})
        set_plainly("_non_persistent", set())
        set_plainly("_forward_pre_hooks", {})
        set_plainly("_forward_hooks", {})
        set_plainly("_backward_pre_hooks", {})
        set_plainly("_backward_hooks", {})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; call the module itself, so that hooks run too."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (
            self._forward_pre_hooks
            or self._forward_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
        ):
            try:
                return self.forward(*args, **kwargs)
            except AttributeError as error:
                refuse_argument(self.forward, args, kwargs, error)
                raise
        for pre_hook in tuple(self._forward_pre_hooks.values()):
            args, kwargs = pre_hook(self, args, kwargs)
        backward = None
        if self._backward_hooks or self._backward_pre_hooks:
            before = tuple(self._backward_pre_hooks.values())
            backward = BackwardHooks(self, before, tuple(self._backward_hooks.values()))
            args = backward.watch_inputs(args)
        result = self.forward(*args, **kwargs)
        for hook in tuple(self._forward_hooks.values()):
            result = hook(self, args, kwargs, result)
        return result if backward is None else backward.watch_outputs(result)

    # Attributes -------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        for table in ("_parameters", "_buffers", "_modules"):
            members = self.__dict__.get(table)
            if members is not None and name in members:
                return members[name]
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(text, name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        tables = self.__dict__
        if isinstance(value, Buffer) and "_buffers" in tables:
            self._forget(name)
            tables.pop(name, None)
            self.register_buffer(name, value, value.persistent)
            return
        if isinstance(value, (Parameter, Module)) and "_parameters" not in tables:
            raise AttributeError(
                f"call super().__init__() in {type(self).__name__}.__init__() before "
                f"the attribute {name!r} is set"
            )
        if isinstance(value, (Parameter, Module)):
            own = self._modules if isinstance(value, Module) else self._parameters
            if name not in own:  # it keeps its place where it replaces its like
                self._forget(name)
            tables.pop(name, None)
            if isinstance(value, Module):
                self.add_module(name, value)
            else:
                self.register_parameter(name, value)
        elif name in tables.get("_buffers", ()) and (value is None or isinstance(value, Tensor)):
            self._buffers[name] = value
        elif name in tables.get("_parameters", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign a {type(value).__name__} as parameter {name!r}: "
                    "expected an nn.Parameter or None"
                )
            self._parameters[name] = None
        elif name in tables.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign a {type(value).__name__} as child module {name!r}: "
                    "expected an nn.Module or None"
                )
            self._modules[name] = None
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def _forget(self, name: str) -> bool:
        """Removes an attribute of this name wherever it is registered."""
        known = False
        for members in (self._parameters, self._buffers, self._modules):
            known = members.pop(name, self) is not self or known
        self._non_persistent.discard(name)
        return known

    def _check_name(self, name: str, members: Mapping[str, Any]) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"a name must be a string without dots and not empty, got {name!r}")
        if hasattr(self, name) and name not in members:
            raise KeyError(f"{type(self).__name__} already has an attribute {name!r}")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter; None stands for one that this module does without."""
        self._check_name(name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"parameter {name!r} must be an nn.Parameter, got {type(param)}")
        self._parameters[name] = param

    def register_buffer(
        self, name: str, tensor: Tensor | None, persistent: bool = True
    ) -> None:
        """Adds a tensor that belongs to the state but is not trained.

        It moves with `to`; a persistent one is in `state_dict`.
        """
        self._check_name(name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"buffer {name!r} must be a Tensor, got {type(tensor)}")
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent.discard(name)
        else:
            self._non_persistent.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a child module under `name`."""
        self._check_name(name, self._modules)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"child {name!r} must be an nn.Module, got {type(module)}")
        self._modules[name] = module

    register_module = add_module

    # Walking ----------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their dotted names; each once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from child.named_modules(memo, path, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, with their names; each once."""
        seen = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules directly below."""
        return (child for _, child in self.named_children())

    def _named_members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        everything = self.named_modules(None, prefix, remove_duplicate)
        for path, module in everything if recurse else [(prefix, self)]:
            for name, member in getattr(module, table).items():
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield f"{path}.{name}" if path else name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters of this module and those below it, with dotted names; each once."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and those below it; each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers of this module and those below it, with dotted names; each once."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and those below it; each once."""
        return (tensor for _, tensor in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path; AttributeError where there is none."""
        module: Module = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                raise AttributeError(
                    f"there is no module {target!r}: {type(module).__name__} has no child {name!r}"
                )
            module = child
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path; AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        parameter = self.get_submodule(path)._parameters.get(name)
        if parameter is None:
            raise AttributeError(f"there is no parameter {target!r}")
        return parameter

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path; AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        tensor = self.get_submodule(path)._buffers.get(name)
        if tensor is None:
            raise AttributeError(f"there is no buffer {target!r}")
        return tensor

    # Modes and conversions --------------------------------------------------------------------

    def apply(self: Self, fn: Callable[[Module], None]) -> Self:
        """Calls `fn` with every module, children first."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self: Self, mode: bool = True) -> Self:
        """Sets training mode here and below: dropout drops, batch norm uses the batch."""
        if not isinstance(mode, bool):
            raise ValueError(f"the training mode must be True or False, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Sets evaluation mode here and below."""
        return self.train(False)

    def type(self: Self, dst_type: DType) -> Self:
        """Parameters and buffers of all dtypes in the dtype `dst_type`."""
        for module in self.modules():
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer.to(dst_type)
        return self.to(dst_type)

    def to_empty(self: Self, *, device: DeviceLike, recurse: bool = True) -> Self:
        """On `device`; PyTorch leaves the numbers undefined there, here they are kept."""
        if not recurse:
            raise NotImplementedError("to_empty moves a module with all modules inside")
        return self.to(device)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Changes nothing: kernels are compiled when they are first needed."""

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Puts `module` in the place that the dotted path `target` names.

        With `strict` there must be a module already; AttributeError else.
        """
        path, _, last = target.rpartition(".")
        if not last:
            raise ValueError(f"target must name a submodule, got {target!r}")
        owner = self.get_submodule(path)
        if strict and last not in owner._modules:
            raise AttributeError(f"{type(owner).__name__} has no attribute `{last}`")
        setattr(owner, last, module)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Sets for all parameters whether they ask for a gradient."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters, or sets them to zero."""
        zero_gradients(self.parameters(), set_to_none)

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Moves to a device, converts floating-point members to a dtype, or both; in place.

        Takes `to(device)`, `to(dtype)`, `to(device, dtype)` or `to(tensor)`.
        """
        device, dtype = _destination(*args, **kwargs)
        return self._convert(device, dtype)

    def cpu(self: Self) -> Self:
        """Moves to the CPU."""
        return self._convert("cpu", None)

    def cuda(self: Self, device: int | None = None) -> Self:
        """Moves to a CUDA device."""
        return self._convert("cuda" if device is None else f"cuda:{device}", None)

    def float(self: Self) -> Self:
        """Converts floating-point parameters and buffers to float32."""
        return self._convert(None, float32)

    def double(self: Self) -> Self:
        """Converts floating-point parameters and buffers to float64."""
        return self._convert(None, float64)

    def half(self: Self) -> Self:
        """Converts floating-point parameters and buffers to float16."""
        return self._convert(None, float16)

    def bfloat16(self: Self) -> Self:
        """Converts floating-point parameters and buffers to bfloat16."""
        return self._convert(None, bfloat16)

    def _convert(self: Self, device: str | None, dtype: DType | None) -> Self:
        def converted(tensor: Tensor) -> Tensor:
            wanted = dtype if dtype is not None and tensor.dtype.is_floating_point else tensor.dtype
            return tensor.to(device or tensor.device, wanted)

        done: set[int] = set()
        with no_grad():
            for module in self.modules():
                for parameter in module._parameters.values():
                    if parameter is None or id(parameter) in done:
                        continue
                    done.add(id(parameter))
                    gradient = parameter.grad
                    parameter.data = converted(parameter.data)
                    if gradient is not None:
                        parameter.grad = converted(gradient)
                for name, tensor in module._buffers.items():
                    if tensor is not None:
                        module._buffers[name] = converted(tensor)
        return self

    # State ------------------------------------------------------------------------------------

    def state_dict(
        self, destination: dict[str, Tensor] | None = None, prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Tensor]:  # fmt: skip
        """All parameters and persistent buffers by dotted name.

        The tensors share memory with the module: copy them to keep a state.
        """
        result = {} if destination is None else destination
        for name, tensor in [*self._parameters.items(), *self._buffers.items()]:
            if tensor is not None and name not in self._non_persistent:
                result[prefix + name] = tensor if keep_vars else tensor.detach()
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(result, f"{prefix}{name}.", keep_vars)
        return result

    def _take_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Before a state with these shapes is loaded: lazy layers learn from them."""

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copies the tensors of `state_dict` into the parameters and buffers of these names.

        With `strict` the keys must be the same.  With `assign` the tensors are taken over
        instead of copied.  Raises one RuntimeError that lists every missing and unexpected
        key and every shape that differs; then, other than in PyTorch, nothing was loaded.
        """
        return load_state(self, state_dict, strict, assign)

    # Hooks ------------------------------------------------------------------------------------

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args)` before `forward`; what it returns replaces the arguments.

        With `with_kwargs` it is called as `hook(module, args, kwargs)` and returns both.
        """
        return RemovableHandle(self._forward_pre_hooks, PreHook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args, output)` after `forward`; what it returns replaces the output.

        With `with_kwargs` it is called as `hook(module, args, kwargs, output)`.
        """
        return RemovableHandle(self._forward_hooks, ForwardHook(hook, with_kwargs), prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, grad_output)` before the gradient goes through the module.

        `grad_output` is a tuple; another one that it returns takes its place.
        """
        return RemovableHandle(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, grad_input, grad_output)` when the inputs' gradients are known.

        Both are tuples, with None for arguments that have no gradient; another `grad_input`
        that it returns takes its place.
        """
        return RemovableHandle(self._backward_hooks, hook, prepend)

    # Looking ----------------------------------------------------------------------------------

    def summary(self, *inputs: Any, **options: Any) -> Summary:
        """Prints layers, shapes, parameters, FLOPs and memory; see `dlgrad.summary`."""
        return summary(self, *inputs, **options)

    # Printing ---------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of this module's line."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def _child_lines(self) -> list[str]:
        return [f"({name}): {_indented(repr(child))}" for name, child in self._modules.items()]

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        child_lines = self._child_lines()
        if not child_lines and len(extra_lines) <= 1:
            return f"{self._get_name()}({extra})"
        inside = "".join(f"\n  {line}" for line in extra_lines + child_lines)
        return f"{self._get_name()}({inside}\n)"


def zero_gradients(parameters: Any, set_to_none: bool) -> None:
    """Forgets the gradients of `parameters`, or sets them to zero."""
    for parameter in parameters:
        if parameter._grad is None:
            continue
        if set_to_none:
            parameter._grad = None
        else:
            with no_grad():
                parameter._grad = parameter._grad.detach().zero_()


def _indented(text: str) -> str:
    """Every line but the first moved right by two."""
    return text.replace("\n", "\n  ")


def _destination(*args: Any, **kwargs: Any) -> tuple[str | None, DType | None]:
    """The device and dtype that the arguments of `Module.to` name."""
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    kwargs.pop("non_blocking", None)
    if kwargs:
        raise TypeError(f"to() takes device and dtype, not {', '.join(kwargs)}")
    for argument in args:
        if isinstance(argument, DType):
            dtype = argument
        elif isinstance(argument, Tensor):
            device, dtype = argument.device, argument.dtype
        elif argument is not None and not isinstance(argument, bool):
            device = argument
    if dtype is not None and not dtype.is_floating_point:
        raise DTypeError(f"a module can be converted to floating-point dtypes only, got {dtype!r}")
    return None if device is None else str(device), dtype
