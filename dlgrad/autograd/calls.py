"""`backward` and `grad`: the two ways to ask for derivatives of what was recorded.

Floor 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.autograd.walk import Target, as_tuple, fitted, no_history, walk
from dlgrad.core.apply import copy, filled
from dlgrad.core.base import (
    TensorBase,
    from_storage,
    grad_mode,
    is_tensor,
    node_of,
    requires_grad,
)
from dlgrad.core.tape import edge_of, write
from dlgrad.errors import AutogradError, DeviceError, DTypeError, ShapeError

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def prepare(outputs: tuple[Tensor, ...], given: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """The targets and first gradients of `outputs`, checked."""
    if len(given) != len(outputs):
        raise AutogradError(
            f"got {len(outputs)} tensors and {len(given)} gradients; give one for each"
        )
    roots: list[Target] = []
    seeds: list[Tensor] = []
    for i, (output, seed) in enumerate(zip(outputs, given, strict=True)):
        if not requires_grad(output):
            raise no_history(i)
        if seed is None:
            if output.numel() != 1:
                raise AutogradError(
                    "grad can be implicitly created only for scalar outputs, this one has shape "
                    f"{list(output._shape)}; give the gradient or reduce it first, as in "
                    "x.sum().backward()"
                )
            seed = filled(1, output.dtype, output._shape, node_of(output).device)
        elif not isinstance(seed, TensorBase):
            raise TypeError(
                "gradients can be either Tensors or None, but got "
                f"{type(seed).__name__}; make a tensor of it with dlgrad.tensor(...)"
            )
        elif seed._shape != output._shape:
            raise ShapeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {list(seed._shape)} and "
                f"output[{i}] has a shape of {list(output._shape)}."
            )
        roots.append(edge_of(output))
        seeds.append(fitted(seed, output))
    return roots, seeds


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Adds to `.grad` of the leaves the derivatives of `tensors`, weighted by `grad_tensors`."""
    outputs = as_tuple(tensors)
    given = (None,) * len(outputs) if grad_tensors is None else as_tuple(grad_tensors)
    if inputs is not None and not as_tuple(inputs):
        raise AutogradError("'inputs' argument to backward() cannot be empty.")
    roots, seeds = prepare(outputs, given)
    retain = create_graph if retain_graph is None else retain_graph
    wanted = None if inputs is None else [edge_of(leaf) for leaf in as_tuple(inputs)]
    tensor_of = {} if wanted is None else dict(zip(map(id, wanted), as_tuple(inputs), strict=True))
    found = walk(roots, seeds, wanted, retain, create_graph)
    taken = {id(seed._storage) for seed in given if seed is not None}
    for target, gradient in found:
        leaf = tensor_of.get(id(target), target)
        accumulate(leaf, gradient, create_graph, taken)
        if isinstance(target, TensorBase) and target._hooks is not None:
            for hook in list(target._hooks.after.values()):
                hook(target)


def accumulate(leaf: Any, gradient: Tensor, create_graph: bool, taken: set[int]) -> None:
    """Adds `gradient` to `leaf.grad`; storages in `taken` belong to somebody else."""
    if leaf._grad is None:
        storage = gradient._storage
        if create_graph:
            leaf._grad = gradient
        elif gradient._view is None and id(storage) not in taken:
            leaf._grad = from_storage(storage, None)
        else:
            leaf._grad = copy(gradient).detach()
        taken.add(id(storage))
    elif create_graph:
        leaf._grad = leaf._grad + gradient
    else:
        before = grad_mode.enabled
        grad_mode.enabled = False
        try:
            write(leaf._grad, leaf._grad + gradient, fresh=True)
        finally:
            grad_mode.enabled = before


def check_gradient(tensor: Tensor, gradient: Any) -> None:
    """Raises where `gradient`, assigned to `tensor.grad`, is neither None nor like `tensor`."""
    if gradient is None:
        return
    if not is_tensor(gradient):
        kind = type(gradient).__name__
        raise TypeError(
            f"assigned grad expected to be a Tensor or None but got grad of type {kind}"
        )
    if gradient is tensor:
        raise AutogradError("can't assign Variable as its own grad")
    if gradient.dtype is not tensor.dtype:
        raise DTypeError(
            f"attempting to assign a gradient of {gradient.dtype!r} to a tensor of "
            f"{tensor.dtype!r}; convert it: gradient.to({tensor.dtype!r})"
        )
    if gradient.device != tensor.device:
        raise DeviceError(
            f"attempting to assign a gradient on '{gradient.device}' to a tensor on "
            f"'{tensor.device}'; move it: gradient.to('{tensor.device}')"
        )
    if gradient._shape != tensor._shape:
        raise ShapeError(
            f"attempting to assign a gradient of size '{list(gradient._shape)}' to a tensor of "
            f"size '{list(tensor._shape)}'. Please ensure that the gradient and the tensor are "
            "the same size"
        )


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor, ...]:
    """The derivatives of `outputs` with respect to `inputs`, weighted by `grad_outputs`.

    `.grad` is not touched.  AutogradError where an input was not used, unless `allow_unused`
    (then None stands there) or `materialize_grads` (then zeros).
    """
    if is_grads_batched:
        raise NotImplementedError(
            "is_grads_batched is not supported; use dlgrad.vmap over a function that calls grad"
        )
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
            "allow_unused=False."
        )
    results, sources = as_tuple(outputs), as_tuple(inputs)
    given = (None,) * len(results) if grad_outputs is None else as_tuple(grad_outputs)
    for source in sources:
        if not requires_grad(source):
            raise AutogradError("One of the differentiated Tensors does not require grad")
    roots, seeds = prepare(results, given)
    retain = create_graph if retain_graph is None else retain_graph
    wanted = [edge_of(source) for source in sources]
    found = {id(t): g for t, g in walk(roots, seeds, wanted, retain, create_graph)}
    answers: list[Any] = []
    for source, target in zip(sources, wanted, strict=True):
        answer = found.get(id(target))
        if answer is None and materialize_grads:
            answer = filled(0, source.dtype, source._shape, node_of(source).device)
        if answer is None and not allow_unused:
            raise AutogradError(
                "One of the differentiated Tensors appears to not have been used in the graph. "
                "Set allow_unused=True if this is the desired behavior."
            )
        answers.append(answer)
    return tuple(answers)
