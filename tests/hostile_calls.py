"""Every public function called with hostile arguments, for `test_hostile.py`, in a child process.

A valid call of a function (from the tables below, or guessed from its signature) has one to three
of its arguments replaced by something that does not belong there.  `run` then evaluates what came
out, and its gradient.  `python tests/hostile_calls.py SEED` prints a line for each call that ended
with an exception of a kind that no user should meet; a crash or a hang ends the process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import inspect
import itertools
import math
import os
import random
import sys
import traceback
import warnings
from typing import Any

from hostile_tables import CALLS, DISTRIBUTIONS, LAYERS, NAMED, SCHEDULERS, SKIPPED

import dlgrad
from dlgrad import distributions, func, linalg, nn, optim, special
from dlgrad.dtype import ALL_DTYPES
from dlgrad.nn import init
from dlgrad.optim import lr_scheduler as rates
from dlgrad.tensor import Tensor

SECONDS = 30  # that one call may take
MEMORY = 6 << 30
# The kinds of exceptions that PyTorch raises for bad arguments.
EXPECTED = (TypeError, ValueError, IndexError, RuntimeError, NotImplementedError, OverflowError,
            MemoryError, KeyError, BufferError, ImportError, dlgrad.DlgradError)  # fmt: skip

# Valid calls ------------------------------------------------------------------------------------


def t(*shape: int) -> Tensor:
    """Small floats."""
    numbers = [((7 * i) % 11) / 4 - 1 for i in range(math.prod(shape))]
    return dlgrad.tensor(numbers, dtype=dlgrad.float32).reshape(shape)


def i(high: int, *shape: int, dtype: str = "int64") -> Tensor:
    """Whole numbers below `high`."""
    numbers = [(5 * k + 1) % high for k in range(math.prod(shape))]
    return dlgrad.tensor(numbers, dtype=getattr(dlgrad, dtype)).reshape(shape)


def m(*shape: int) -> Tensor:
    """A mask."""
    return dlgrad.tensor([bool(k % 2) for k in range(math.prod(shape))]).reshape(shape)


def spd() -> Tensor:
    """A symmetric matrix that is positive definite."""
    return t(3, 3) @ t(3, 3).T + 5 * dlgrad.eye(3)


def optimizer() -> optim.Optimizer:
    return optim.SGD([nn.Parameter(t(3))], lr=0.1)


def square(x: Any, *more: Any) -> Any:
    return (x * x).sum()


Call = tuple[list[Any], dict[str, Any]]


def parsed(text: str) -> Call:
    """The arguments that a text of the tables names."""
    return eval(f"(lambda *a, **k: (list(a), k))({text})", dict(globals()))  # type: ignore


def guessed(function: Any) -> Call:
    """Arguments for the parameters without a default."""
    args, kwargs = [], {}
    for p in parameters(function):
        value = parsed(NAMED.get(p.name, "t(2, 3)"))[0][0]
        if p.kind == p.VAR_POSITIONAL:
            args.append(value)
        elif p.kind == p.KEYWORD_ONLY and p.default is p.empty:
            kwargs[p.name] = value
        elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty:
            args.append(value)
    return args, kwargs


def parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


# Hostile values ---------------------------------------------------------------------------------


class BigIndex:
    def __index__(self) -> int:
        return 1 << 65


class Liar:
    """A sequence that does not have what it promises."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        raise IndexError("nothing here")


SMALL = (0, 1, -1, 2, -2, 3, 5, -7, 64)
HUGE = (1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, -(1 << 63), 1 << 70, -(1 << 70))
FLOATS = (0.5, -0.0, 2.0, math.nan, math.inf, -math.inf, 1e308, 1e-320)
SHAPES = (
    (), (0,), (1,), (3,), (2, 3), (3, 3), (0, 3), (2, 0, 3), (2, 3, 4), (1, 2, 5, 5),
    (1, 2, 3, 4, 3), (1,) * 8,
)  # fmt: skip


def objects() -> tuple[Any, ...]:
    return (
        None, "x", "", "mean", b"abc", [], (), {}, {"a": 1}, object(), 1j, square, True, False, ...,
        slice(None), int, dlgrad.float32, dlgrad.bool, "cpu", "nowhere", range(3), set(),
        [[1, 2], [3]], [1], [1, 2], [-1], [0, 0], [1.5], ["a"], [None], (1 << 63, 1), (-1, -1),
        (3, 2, 1, 0), BigIndex(), Liar(), bytearray(b"abcd"), [math.nan], nn.ReLU(), [t(2)],
        (t(2), None), iter([1]), dlgrad.Generator(), [[]], ((1, 2), (1, 2)), NotImplemented, float,
    )  # fmt: skip


def hostile_tensor(choose: random.Random, like: Any) -> Tensor:
    """A tensor of another shape, dtype, layout or device, with other numbers."""
    shape = choose.choice(SHAPES)
    dtype = choose.choice(ALL_DTYPES)
    if isinstance(like, Tensor):
        shape = tuple(like.shape) if choose.random() < 0.5 else shape
        dtype = like.dtype if choose.random() < 0.4 else dtype
    if dtype.is_floating_point:
        numbers: Any = choose.choice(((0.5, -1, 2), (math.nan, math.inf, -math.inf, 0), (1e4, 0)))
    else:
        numbers = choose.choice(((0, 1), (dtype.min, dtype.max)))
    device = "cpu" if choose.random() < 0.03 else None
    values = [choose.choice(numbers) for _ in range(math.prod(shape))]
    x = dlgrad.tensor(values, dtype=dtype, device=device).reshape(shape)
    layout = choose.randrange(8)
    if layout == 1 and x.ndim > 1:
        x = x.transpose(0, -1)
    elif layout == 2 and x.ndim:
        x = x.flip(0)[::2]
    elif layout == 3 and x.ndim < 6:
        x = x.expand(2, *x.shape)
    elif layout == 4 and x.numel() > 3:
        x = x.as_strided((2, 3), (1, 1))
    if dtype.is_floating_point and choose.random() < 0.4:
        x = x.detach().requires_grad_()
    return x


def hostile(choose: random.Random, like: Any) -> Any:
    """Something else in the place of `like`, often of a kind that is nearly right."""
    dice = choose.random()
    if isinstance(like, Tensor) and dice < 0.7:
        return hostile_tensor(choose, like)
    if isinstance(like, (list, tuple)) and like and dice < 0.5:
        items = list(like)
        place = choose.randrange(len(items))
        items[place : place + choose.randrange(2)] = [hostile(choose, items[place])]
        return type(like)(items) if type(like) in (list, tuple) else items
    if isinstance(like, (int, float)) and dice < 0.7:
        return choose.choice(choose.choice((SMALL, HUGE, FLOATS)))
    if dice < 0.8:
        return choose.choice(choose.choice((SMALL, HUGE, FLOATS)))
    return hostile_tensor(choose, like) if dice < 0.85 else choose.choice(objects())


def spoiled(choose: random.Random, function: Any, call: Call) -> Call:
    """The call with one to three arguments replaced or added."""
    args, kwargs = call
    named = [p for p in parameters(function) if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    free = named[len(args) :]
    for _ in range(choose.randint(1, 3)):
        if free and (not args or choose.random() < 0.35):
            p = choose.choice(free)
            kwargs[p.name] = hostile(choose, kwargs.get(p.name, p.default))
        elif args:
            place = choose.randrange(len(args))
            args[place] = hostile(choose, args[place])
    return args, kwargs


# Calls ------------------------------------------------------------------------------------------


def targets() -> list[tuple[str, str]]:
    """(space, name) of everything that is called."""
    found = []
    for space in ("dlgrad", "linalg", "special", "nn.functional", "nn.init"):
        holder = space_of(space)
        for name in getattr(holder, "__all__", dir(holder)):
            listed = space != "nn.init" or (name[-1] == "_" and name[0] != "_")
            if listed and callable(getattr(holder, name)) and not isinstance(
                getattr(holder, name), type
            ):  # fmt: skip
                found.append((space, name))
    for name in dir(Tensor):
        if callable(getattr(Tensor, name)) and name[0] != "_":
            found.append(("Tensor", name))
    for space, holder in (("nn", nn), ("optim", optim)):
        found += [(space, n) for n in holder.__all__ if isinstance(getattr(holder, n), type)]
    found += [("rates", name) for name in SCHEDULERS]
    found += [("distributions", name) for name in DISTRIBUTIONS]
    found += [(kind, str(k)) for kind in ("index", "write", "transform") for k in range(12)]
    return [(space, name) for space, name in found if name not in SKIPPED]


def space_of(name: str) -> Any:
    known = {"dlgrad": dlgrad, "linalg": linalg, "special": special, "nn.init": init, "nn": nn,
             "nn.functional": nn.functional, "Tensor": Tensor, "optim": optim, "rates": rates,
             "distributions": distributions}  # fmt: skip
    return known[name]


def run(space: str, name: str, seed: int) -> None:
    """One hostile call; `run(space, name, seed)` repeats it."""
    choose = random.Random(f"{space}.{name} {seed}")
    if space in ("index", "write"):
        x = t(3, 4).requires_grad_() if choose.random() < 0.5 else hostile_tensor(choose, t(3, 4))
        index = hostile_index(choose)
        if space == "index":
            return check(x[index], [x])
        (x := x * 1)[index] = hostile(choose, 1.0)
        return check(x, [])
    if space == "transform":
        transform = choose.choice((func.grad, func.jacrev, func.hessian, func.vmap, func.jacfwd))
        inner = choose.choice((square, lambda x: None, lambda x: x * 2, lambda x: x.item(), str))
        x = hostile(choose, t(3))
        return check(transform(inner)(x), [x])
    function = getattr(space_of(space), name)
    if space == "nn":
        made, inputs = LAYERS.get(name, ("", "t(2, 3)"))
        which = choose.random()
        call = parsed(made)
        layer = function(*call[0], **call[1]) if which < 0.5 else None
        if layer is None:
            args, kwargs = spoiled(choose, function, call)
            layer = function(*args, **kwargs)
        if not inputs:
            return None
        call = parsed(inputs)
        args, kwargs = spoiled(choose, layer.forward, call) if which < 0.7 else call
        return check(layer(*args, **kwargs), args)
    text = {"rates": SCHEDULERS, "distributions": DISTRIBUTIONS, "optim": {}}.get(space, CALLS)
    plain = name if space != "Tensor" or name in text else name.rstrip("_")
    call = parsed(text[plain]) if plain in text and space != "nn.init" else guessed(function)
    if space == "Tensor":
        x, *rest = call[0] or [t(2, 3)]
        x = x if isinstance(x, Tensor) and choose.random() < 0.5 else hostile_tensor(choose, x)
        bound = getattr(x, name)
        args, kwargs = spoiled(choose, bound, (rest, call[1]))
        return check(bound(*args, **kwargs), [x, *args])
    args, kwargs = spoiled(choose, function, call)
    out = function(*args, **kwargs)
    if space == "rates":
        for _ in range(3):
            out.step(*((1.0,) if name == "ReduceLROnPlateau" else ()))
    elif space == "optim":
        for param in out.param_groups[0]["params"]:
            param.grad = t(*param.shape)
        out.step(*((lambda: square(args[0][0]),) if name == "LBFGS" else ()))
        out.load_state_dict(out.state_dict())
    elif space == "distributions":
        return check(out.log_prob(hostile(choose, t(3))), [])
    return check(out, args)


def hostile_index(choose: random.Random) -> Any:
    parts = (
        0, -1, 5, 1 << 63, None, ..., slice(None), slice(None, None, -1), slice(0, 1 << 70, 2),
        slice(None, None, 0), slice(1.5), True, 1.0, "x", [], [0, 1], [-9], [True, False, True],
        [None], object(), i(3, 2), i(9, 2), -i(9, 2), i(3, 0), m(3), m(3, 4), m(4), t(2),
        i(3, 2, dtype="uint8"), i(3, 2, dtype="uint64"), dlgrad.tensor(1), dlgrad.tensor([1 << 62]),
        BigIndex(), Liar(), [[0, 1], [2]],
    )  # fmt: skip
    if choose.random() < 0.4:
        return choose.choice(parts)
    return tuple(choose.choice(parts) for _ in range(choose.randint(0, 4)))


def check(out: Any, args: list[Any]) -> None:
    """Evaluates what a call gave, and the gradients of its tensors."""
    found = [x for x in _tensors(out) if x.numel() < 100_000]
    for x in found:
        repr(x)
        x.tolist()
    for x in [x for x in found if x.requires_grad and x.dtype.is_floating_point][:1]:
        x.sum().backward()
    for x in _tensors([x for x in args if isinstance(x, Tensor) and x.is_leaf]):
        if x.grad is not None:
            x.grad.tolist()


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, (list, tuple)):
        return list(itertools.chain.from_iterable(map(_tensors, value[:8])))
    return [value] if isinstance(value, Tensor) else []


def complaint(error: BaseException) -> str:
    """What is wrong with an exception, "" if nothing."""
    raised = (traceback.extract_tb(error.__traceback__)[-1].line or "").startswith("raise")
    asserted = type(error) is AssertionError and raised  # as PyTorch does for attention
    named = isinstance(error, AttributeError) and raised  # a complex or sparse name
    if asserted or named or (
        isinstance(error, EXPECTED) and not isinstance(error, dlgrad.errors.VerifyError)
    ):
        return ""
    return "".join(traceback.format_exception(error)[-4:])


def main(seed: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    told = os.dup(1)  # also where a call changes sys.stdout
    count = 0
    for space, name in targets():
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        # What stands here last is the call that did not return.
        os.write(2, f"run({space!r}, {name!r}, {seed})\n".encode())
        try:
            run(space, name, seed)
        except BaseException as error:
            wrong = complaint(error)
            if wrong:
                os.write(told, f"run({space!r}, {name!r}, {seed}):\n{wrong}\n".encode())
        faulthandler.cancel_dump_traceback_later()
        count += 1
    os.write(told, f"{count} calls\n".encode())


if __name__ == "__main__":
    faulthandler.enable()
    main(int(sys.argv[1]))
