"""The page `docs/operators.md`, made from the public functions themselves.

Floor 8.  `python -m dlgrad.catalogue > docs/operators.md` writes it, and a test compares.  A
function stands under the first line of its module's docstring, with the first line of its own;
what begins "Differs from PyTorch:" in its docstring is its last column.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import dlgrad
from dlgrad.nn import functional

HEAD = """# Operators

All functions under PyTorch's names, by family. Written by `python -m dlgrad.catalogue` from the
functions' own descriptions: do not edit. "method" says that a tensor has it, "in place" that it
has it with an underscore, too. What no column names is as in PyTorch: arguments, defaults, shapes,
dtypes, promotion, gradients and the kinds of errors; complex numbers, sparse tensors, `out=`, and
memory formats other than row-major are left out everywhere.
"""

SPACES = ("", "linalg", "special", "nn.functional")


def public_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """(dotted name below dlgrad, function) for every public function that computes tensors."""
    for space in SPACES:
        holder: Any = dlgrad
        for part in filter(None, space.split(".")):
            holder = getattr(holder, part)
        names = getattr(holder, "__all__", None) or [n for n in vars(holder) if n[0] != "_"]
        for name in sorted(names):
            value = inspect.unwrap(getattr(holder, name))
            if is_listed(name, value):
                yield (f"{space}.{name}" if space else name), value
    for name in sorted(dir(dlgrad.Tensor)):
        value = inspect.unwrap(getattr(dlgrad.Tensor, name))
        if is_listed(name, value) and value.__module__ != dlgrad.Tensor.__module__:
            yield f"Tensor.{name}", value


def is_listed(name: str, value: Any) -> bool:
    """True for functions of dlgrad; those in place are marked in the row of the others."""
    return (
        inspect.isfunction(value)
        and value.__module__.startswith("dlgrad.")
        and not name.startswith("_")
        and not name.endswith("_")
    )


def families() -> dict[str, dict[Callable[..., Any], list[str]]]:
    """Family -> function -> the names it has, the families in order of their titles."""
    found: dict[str, dict[Callable[..., Any], list[str]]] = {}
    for name, function in public_functions():
        module = inspect.getmodule(function)
        title = (inspect.getdoc(module) or "").split("\n")[0].rstrip(".")
        found.setdefault(title, {}).setdefault(function, []).append(name)
    return dict(sorted(found.items(), key=lambda item: item[0].strip("`").lower()))


def row(function: Callable[..., Any], names: list[str]) -> str:
    """One line of a table."""
    own = function.__name__.rstrip("_")
    names = sorted(names, key=lambda name: (name.count("."), name.split(".")[-1] != own, name))
    short = {name.split(".")[-1] for name in names}
    if any(not name.startswith("Tensor.") for name in names):
        names = [name for name in names if not name.startswith("Tensor.")]
    method = any(hasattr(dlgrad.Tensor, name) for name in short)
    in_place = any(
        hasattr(holder, f"{name}_") for name in short for holder in (dlgrad.Tensor, functional)
    )
    text = inspect.getdoc(function) or ""
    summary = text.split("\n\n")[0].replace("\n", " ").rstrip(".")
    match = re.search(r"Differs from PyTorch: (.*?)(?:\n\n|\Z)", text, re.DOTALL)
    note = " ".join(match[1].split()).rstrip(".") if match else ""
    shown = ", ".join(f"`{name}`" for name in names)
    marks = ["yes" if mark else "" for mark in (method, in_place)]
    cells = [shown, *marks, summary, note]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page() -> str:
    """The whole page as Markdown."""
    parts = [HEAD]
    for title, functions in families().items():
        parts.append(f"\n## {title}\n\n| name | method | in place | what it gives | differs |")
        parts.append("|---|---|---|---|---|")
        parts += sorted((row(*one) for one in functions.items()), key=str.lower)
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
