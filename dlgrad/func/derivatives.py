"""`grad`, `value_and_grad`, `vjp` and `jvp`: functions of functions.

Floor 6.  Each call of a transformed function has arguments of its own: where nobody outside asks
for their gradients, they are new leaves over the same memory, else a view that leads on to what
was given.  So transforms nest, and mix with `backward`.  A result carries history only where
something outside of the call asks for gradients.

`jvp` is made of two passes backwards: the first is linear in its weights, so its derivative with
respect to them is the product wanted.  Nothing that only the first pass would need is computed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.autograd.modes import enable_grad
from dlgrad.autograd.walk import fitted, reachable, walk
from dlgrad.core.apply import cast, filled, move
from dlgrad.core.base import (
    TensorBase,
    grad_mode,
    node_of,
    requires_grad,
    transforms,
    view_of,
)
from dlgrad.core.tape import edge_of
from dlgrad.core.trees import flatten, map_tensors, unflatten
from dlgrad.errors import DTypeError, ShapeError

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

Argnums = int | tuple[int, ...]


class Level:
    """The arguments of one call, as tensors of its own that ask for gradients."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.recording = grad_mode.enabled  # whether anybody outside may ask
        self.sources: list[Tensor] = []
        self.leaves: set[int] = set()

    def enter(self, x: Tensor) -> Tensor:
        """`x` as a tensor of this call."""
        if not x.dtype.is_floating_point:
            raise DTypeError(
                f"{self.name}: derivatives are with respect to floating-point tensors, this one "
                f"has {x.dtype!r}; choose others with argnums, or convert it with .float()"
            )
        if requires_grad(x) and self.recording:
            own = move("reshape", None, x, view_of(x))
        else:
            own = x.detach().requires_grad_()
            self.leaves.add(id(own))
        self.sources.append(own)
        return own

    def called(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """The result of the function to differentiate."""
        before = grad_mode.differentiated
        grad_mode.differentiated = True
        transforms.change(1)
        try:
            return func(*args, **kwargs)
        finally:
            grad_mode.differentiated = before
            transforms.change(-1)

    def wanted_outside(self, tensors: Sequence[Tensor]) -> bool:
        """Whether what the tensors are made of leads to leaves that are not of this call."""
        if not self.recording:
            return False
        roots = [edge_of(x) for x in tensors if requires_grad(x)]
        edges = [*roots, *(edge for entry in reachable(roots) for edge in entry.edges)]
        return any(
            isinstance(edge, TensorBase) and id(edge) not in self.leaves for edge in edges
        )

    def shown(self, value: Any, outputs: Sequence[Tensor]) -> Any:
        """Results as they leave the call: without history where nobody outside asks for it."""
        if self.wanted_outside(outputs):
            return value
        return map_tensors(lambda x: x.detach() if requires_grad(x) else x, value)


def pulled(
    outputs: Sequence[Tensor], sources: Sequence[Tensor], weights: Sequence[Tensor],
    create_graph: bool,
) -> list[Tensor]:  # fmt: skip
    """The gradients of the sources for weighted outputs; zeros where one was not used."""
    used = [i for i, output in enumerate(outputs) if requires_grad(output)]
    targets = [edge_of(source) for source in sources]
    roots = [edge_of(outputs[i]) for i in used]
    seeds = [fitted(weights[i], outputs[i]) for i in used]
    found = {id(t): part for t, part in walk(roots, seeds, targets, True, create_graph)}
    return [
        found[id(target)] if id(target) in found else zeros_like(source)
        for source, target in zip(sources, targets, strict=True)
    ]


def zeros_like(x: Tensor) -> Tensor:
    """Zeros in the shape, dtype and device of `x`."""
    return filled(0, x.dtype, x._shape, node_of(x).device)


def wrapped_argnums(argnums: Argnums, count: int) -> list[int]:
    """The places of the arguments to differentiate; RuntimeError outside."""
    places = [argnums] if isinstance(argnums, int) else list(argnums)
    if not places:
        raise RuntimeError("argnums must name at least one argument")
    for place in places:
        if not isinstance(place, int):
            raise RuntimeError(f"argnums must be an int or a tuple of ints, got {argnums!r}")
        if not -count <= place < count:
            raise RuntimeError(f"Got argnum={place}, but only {count} positional inputs")
    wrapped = [place % count for place in places]
    if len(set(wrapped)) < len(wrapped):
        raise RuntimeError(f"argnums elements must be unique, got {argnums!r}")
    return wrapped


def entered(level: Level, args: tuple[Any, ...], argnums: Argnums) -> tuple[list[Any], Any]:
    """The arguments with those of `argnums` as tensors of the call, and these alone."""
    places = wrapped_argnums(argnums, len(args))
    own = list(args)
    for place in places:
        own[place] = map_tensors(level.enter, args[place])
    chosen = [own[place] for place in places]
    if not level.sources:
        raise RuntimeError(f"{level.name}: the arguments chosen by argnums hold no tensors")
    return own, chosen[0] if isinstance(argnums, int) else tuple(chosen)


def split_aux(result: Any, has_aux: bool, name: str) -> tuple[Any, Any]:
    """The result of a function, and what it gives besides."""
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(
            f"{name}: output of function f should be a tuple: (output, aux) if has_aux is True"
        )
    return result[0], result[1]


def value_and_grad(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives (value of `func`, its gradients).

    `func` gives one element, and the gradients have the structure of the argument `argnums`, or
    are a tuple where it is one.  With `has_aux`, `func` gives (value, anything) and the result
    is ((value, anything), gradients).  The order is that of JAX; `grad_and_value` has the other.
    """

    @functools.wraps(func)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        level = Level("grad")
        with enable_grad():
            own, chosen = entered(level, args, argnums)
            value, aux = split_aux(level.called(func, own, kwargs), has_aux, "grad")
            check_scalar(value)
            outer = level.wanted_outside([value])
            seed = filled(1, value.dtype, value._shape, node_of(value).device)
            found = pulled([value], level.sources, [seed], outer)
            tensors: list[Any] = []
            structure = flatten(chosen, tensors)
            gradients = unflatten(structure, found)
            shown = level.shown(value, [value])
            if has_aux:
                shown = (shown, level.shown(aux, [value]))
        return shown, gradients if outer else map_tensors(lambda x: x.detach(), gradients)

    return transformed


def check_scalar(value: Any) -> None:
    """Raises where a function to differentiate does not give one element."""
    if not isinstance(value, TensorBase):
        raise RuntimeError(
            "Expected f(*args) to return only tensors, got unsupported type "
            f"{type(value).__name__}; with has_aux=True it may return (tensor, anything)"
        )
    if value._shape:
        raise ShapeError(
            "Expected f(*args) to return a scalar tensor, got tensor with "
            f"{len(value._shape)} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
        )


def grad_and_value(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives (gradients of `func`, its value); see `value_and_grad`."""
    both = value_and_grad(func, argnums, has_aux)

    @functools.wraps(func)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        value, gradients = both(*args, **kwargs)
        return gradients, value

    return transformed


def grad(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives the gradients of `func`, which gives one element.

    With respect to the argument number `argnums`, a tensor or tensors nested in tuples, lists
    and dicts; for a tuple of numbers, a tuple of gradients.  With `has_aux`, `func` gives
    (value, anything), and the result is (gradients, anything).
    """
    both = value_and_grad(func, argnums, has_aux)

    @functools.wraps(func)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        value, gradients = both(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return transformed


def tensors_of(value: Any, name: str) -> tuple[list[Any], Any]:
    """The tensors of nested results, and their structure; RuntimeError without any."""
    tensors: list[Any] = []
    structure = flatten(value, tensors)
    if not tensors:
        raise RuntimeError(
            f"{name}: expected f to return tensors, got {type(value).__name__}"
        )
    return tensors, structure


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(func(*primals), vjp_fn): `vjp_fn(weights)` is the product of weights with the Jacobian.

    The weights are nested as the results are; `vjp_fn` gives a gradient for the one primal, or
    a tuple of them.  With `has_aux`, (results, vjp_fn, anything).
    """
    if not primals:
        raise RuntimeError("vjp: expected at least one primal, got none")
    level = Level("vjp")
    with enable_grad():
        own, chosen = entered(level, primals, tuple(range(len(primals))))
        result, aux = split_aux(level.called(func, own, {}), has_aux, "vjp")
        outputs, structure = tensors_of(result, "vjp")
        outer = level.wanted_outside(outputs)

    def vjp_fn(
        weights: Any, retain_graph: bool = True, create_graph: bool | None = None
    ) -> Any:
        given: list[Any] = []
        if flatten(weights, given) != structure:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of "
                f"outputs to the function: got {len(given)} tensors for {len(outputs)}"
            )
        check_like(given, outputs, "cotangents", "outputs")
        again = outer or any(requires_grad(weight) for weight in given)
        create = (grad_mode.enabled and again) if create_graph is None else create_graph
        found = pulled(outputs, level.sources, given, create)
        if not create:
            found = [x.detach() for x in found]
        primal: list[Any] = []
        gradients = unflatten(flatten(chosen, primal), found)
        return gradients[0] if len(primals) == 1 else gradients

    shown = level.shown(result, outputs)
    return (shown, vjp_fn, level.shown(aux, outputs)) if has_aux else (shown, vjp_fn)


def check_like(given: Sequence[Any], like: Sequence[Tensor], what: str, other: str) -> None:
    """ShapeError where two lists of tensors do not fit each other."""
    if len(given) != len(like):
        raise RuntimeError(f"got {len(given)} {what} for {len(like)} {other}; give one for each")
    for i, (a, b) in enumerate(zip(given, like, strict=True)):
        if a._shape != b._shape:
            raise ShapeError(
                f"{what} and {other} must have the same shapes; number {i} has "
                f"{list(a._shape)} and {list(b._shape)}"
            )


def pushed(
    outputs: Sequence[Tensor], sources: Sequence[Tensor], tangents: Sequence[Tensor], outer: bool
) -> list[Tensor]:
    """The product of the Jacobian of outputs by sources with the tangents."""
    weights = [zeros_like(output).requires_grad_() for output in outputs]
    backwards = pulled(outputs, sources, weights, True)
    return pulled(backwards, weights, tangents, outer)


def jvp(
    func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False,
    has_aux: bool = False,
) -> Any:  # fmt: skip
    """(func(*primals), the product of the Jacobian with `tangents`).

    `primals` and `tangents` are tuples of equal structure.  With `has_aux`, (results, products,
    anything).  `strict` is accepted; a result that does not depend on the primals has zeros.
    """
    if not isinstance(primals, tuple) or not primals:
        raise RuntimeError("jvp: expected primals to be a tuple, and not an empty one")
    level = Level("jvp")
    with enable_grad():
        own, _ = entered(level, primals, tuple(range(len(primals))))
        given: list[Any] = []
        flatten(tangents, given)
        check_like(given, level.sources, "tangents", "primals")
        given = [cast(t, x.dtype) for t, x in zip(given, level.sources, strict=True)]
        result, aux = split_aux(level.called(func, own, {}), has_aux, "jvp")
        outputs, structure = tensors_of(result, "jvp")
        again = any(requires_grad(t) for t in given) and level.recording
        outer = level.wanted_outside(outputs) or again
        found = pushed(outputs, level.sources, given, outer)
        if not outer:
            found = [x.detach() for x in found]
        products = unflatten(structure, found)
        shown = level.shown(result, outputs)
        if has_aux:
            return shown, products, level.shown(aux, outputs)
    return shown, products
