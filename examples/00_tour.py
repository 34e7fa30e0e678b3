"""A walk through dlgrad, from `a + b` to the C that computes it; every step is asserted.

    python examples/00_tour.py

Read it from top to bottom, with the modules it names open beside it.
"""

import argparse
import math

import dlgrad
from dlgrad import config, nn
from dlgrad.c_src import dialect
from dlgrad.codegen.lower import lower_loops
from dlgrad.codegen.render import render
from dlgrad.core.base import node_of
from dlgrad.lazy.graph import toposort
from dlgrad.lazy.ops import BufferOps, ElementwiseOps
from dlgrad.lazy.schedule import schedule
from dlgrad.lazy.simplify import simplify
from dlgrad.runtime import cache
from dlgrad.runtime.device import get_backend


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6)


def tensors_are_lazy() -> None:
    """1. An operation computes nothing.  It makes a node of a graph (lazy/graph.py)."""
    a = dlgrad.tensor([1.0, 2.0, 3.0])
    b = dlgrad.tensor([10.0, 20.0, 30.0])
    c = a + b
    node = node_of(c)
    assert node.op is ElementwiseOps.ADD and len(node.src) == 2
    assert (node.shape, node.dtype) == ((3,), dlgrad.float32)  # known at once
    assert not node.is_realized
    # Looking at a value evaluates what it needs (runtime/engine.py); then the node is memory.
    assert c.tolist() == [11.0, 22.0, 33.0]
    assert node_of(c).op is BufferOps.BUFFER


def views_share_memory() -> None:
    """2. A view is the same storage with other strides (lazy/shape.py); a write goes through."""
    x = dlgrad.zeros(2, 3)
    column = x[:, 1]
    column += 5
    assert x.tolist() == [[0.0, 5.0, 0.0], [0.0, 5.0, 0.0]]
    assert x.T.stride() == (1, 3)


def operations_fuse() -> None:
    """3. The schedule (lazy/schedule.py, fuse.py) puts a chain of operations into one kernel."""
    x = dlgrad.randn(4, 8).realize()
    y = (x.softmax(dim=1) * 2).sum(dim=1)
    root = node_of(y)
    roots = simplify(toposort([root]), [root])
    groups = schedule(roots, {}).groups
    assert len(groups) == 1, "maximum, exponential, two sums and a product: one kernel"
    assert all(close(value, 2.0) for value in y.tolist())


def kernels_are_text() -> None:
    """4. A group becomes loops (codegen/lower.py, kernel.py), and these become C (render.py)."""
    x = dlgrad.arange(5, dtype=dlgrad.float32).realize()
    y = x * x + 1
    roots = simplify(toposort([node_of(y)]), [node_of(y)])
    plan = schedule(roots, {})
    (call,) = lower_loops(plan.groups[0], plan, get_backend("cpu").caps)
    text = render(call.kernel, dialect.C)
    print(text)
    assert call.kernel.name.startswith("mul_add_float32")
    assert "mul + 1.0f" in text and "#pragma omp simd" in text
    # The engine does the same, calls the compiler, loads the library and runs it.  Text,
    # command and binary stay in a folder: `python -m dlgrad cache` lists it.
    assert y.tolist() == [1.0, 2.0, 5.0, 10.0, 17.0]
    assert any(entry.stem.startswith(call.kernel.name) for entry in cache.entries())


def gradients_are_operations() -> None:
    """5. A derivative is a row in a table (core/gradients.py), written in the same operations."""
    x = dlgrad.tensor([0.5, 2.0], requires_grad=True)
    y = (x**3).sum()
    assert y.grad_fn.name() == "SumBackward0"
    (slope,) = dlgrad.autograd.grad(y, x, create_graph=True)
    assert all(close(s, 3 * v * v) for s, v in zip(slope.tolist(), x.tolist(), strict=True))
    slope.sum().backward()  # so there is a second derivative, and a third
    assert all(close(g, 6 * v) for g, v in zip(x.grad.tolist(), x.tolist(), strict=True))


def a_model_learns() -> None:
    """6. A layer is a module with parameters; an optimizer writes them (nn, optim)."""
    dlgrad.manual_seed(0)
    x = dlgrad.linspace(-1, 1, 32).unsqueeze(1)
    y = 3 * x - 2
    model = nn.Linear(1, 1)
    optimizer = dlgrad.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(60):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert abs(model.weight.item() - 3) < 1e-2 and abs(model.bias.item() + 2) < 1e-2


def a_step_can_be_replayed() -> None:
    """7. `dlgrad.jit` records launches of a function, then only these run (runtime/capture.py)."""
    calls = []

    @dlgrad.jit
    def step(x: dlgrad.Tensor) -> dlgrad.Tensor:
        calls.append("python")
        return (x * x).sum()

    results = [step(dlgrad.full((3,), float(i))).item() for i in range(5)]
    assert results == [0.0, 3.0, 12.0, 27.0, 48.0]
    assert len(calls) == 2, "once to warm up, once to be recorded"


def nothing_is_compiled_twice() -> None:
    """8. A kernel is compiled for a structure: sizes are its arguments (runtime/cache.py)."""

    def work(size: int) -> float:
        return (dlgrad.full((size,), 4.0).realize().sqrt() + 1).tolist()[-1]

    assert close(work(20), 3.0)
    with config.NO_COMPILE(True):  # from here on a compilation would be an error
        assert close(work(1000), 3.0)


STEPS = [
    tensors_are_lazy, views_share_memory, operations_fuse, kernels_are_text,
    gradients_are_operations, a_model_learns, a_step_can_be_replayed, nothing_is_compiled_twice,
]  # fmt: skip


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for step in STEPS:
        print(step.__doc__)
        step()
    print("All of it holds.")


if __name__ == "__main__":
    main()
