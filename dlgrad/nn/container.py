"""Modules that hold modules: a chain, a list, a dictionary.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from dlgrad.nn.module import Module


class _Numbered(Module):
    """Children named "0", "1", ... that can be taken by position."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Any: ...
    def __getitem__(self, index: int | slice) -> Any:
        members = list(self._modules.items())
        return self._of(members[index]) if isinstance(index, slice) else members[index][1]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, list(self._modules)[index], module)

    def __delitem__(self, index: int | slice) -> None:
        members = list(self._modules.values())
        del members[index]
        self._renumber(members)

    def _renumber(self, members: Iterable[Any]) -> None:
        """Takes these members instead of the old ones, numbered anew."""
        listed = list(members)
        self._modules.clear()
        for i, member in enumerate(listed):
            self.add_module(str(i), member)

    def __dir__(self) -> list[str]:
        return [key for key in super().__dir__() if not key.isdigit()]

    def pop(self, index: int | slice) -> Any:
        """Removes a module and returns it."""
        module = self[index]
        del self[index]
        return module

    def append(self, module: Module) -> Any:
        """Adds a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Adds modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def __iadd__(self, modules: Iterable[Module]) -> Any:
        return self.extend(modules)

    def insert(self, index: int, module: Module) -> Any:
        """Puts a module before position `index`."""
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}, got {type(module)}")
        members = list(self._modules.values())
        members.insert(index, module)
        self._renumber(members)
        return self

    def _of(self, members: list[tuple[str, Any]]) -> Any:
        """A container of the same kind with some of the members."""
        raise NotImplementedError


class Sequential(_Numbered):
    """Calls its modules one after another, each with the result of the one before.

    Takes the modules, or one dictionary of names and modules.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            self.extend(args)

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input

    def __add__(self, other: Any) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"a Sequential is added to another one, not to a {type(other)}")
        return Sequential(*self, *other)

    def _of(self, members: list[tuple[str, Any]]) -> Sequential:
        return Sequential(dict(members))


class ModuleList(_Numbered):
    """A list of modules whose parameters are found."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("a ModuleList is not called itself; call its modules")

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def _of(self, members: list[tuple[str, Any]]) -> ModuleList:
        return ModuleList(module for _, module in members)

    def _child_lines(self) -> list[str]:
        """Equal neighbours share a line: "(0-2): 3 x Linear(...)"."""
        groups: list[list[Any]] = []
        for i, child in enumerate(self):
            text = repr(child)
            if groups and groups[-1][2] == text:
                groups[-1][1] = i
            else:
                groups.append([i, i, text])
        lines = []
        for first, last, text in groups:
            inner = text.replace("\n", "\n  ")
            if first == last:
                lines.append(f"({first}): {inner}")
            else:
                lines.append(f"({first}-{last}): {last - first + 1} x {inner}")
        return lines


class ModuleDict(Module):
    """A dictionary of modules whose parameters are found; it keeps the order of insertion."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """The modules."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and modules."""
        return self._modules.items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Adds or replaces modules."""
        pairs = modules.items() if isinstance(modules, Mapping) else modules
        for key, module in pairs:
            self[key] = module

    def pop(self, key: str) -> Any:
        """Removes a module and returns it."""
        return self._modules.pop(key)

    def clear(self) -> None:
        """Removes all modules."""
        self._modules.clear()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("a ModuleDict is not called itself; call its modules")
