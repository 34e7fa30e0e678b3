"""Computed places: indexing with tensors and masks, gathers, scatters, scans and sorts.

The witnesses are plain Python over nested lists, the graph reference, and finite differences.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import graph_reference
import pytest
from launches import recorded

import dlgrad
from dlgrad.tensor import Tensor

NAN = float("nan")


def numbered(*shape: int, device: str = "cpu") -> Tensor:
    return dlgrad.arange(float(math.prod(shape)), device=device).reshape(shape)


def at(nested: Any, index: tuple[int, ...]) -> Any:
    for i in index:
        nested = nested[i]
    return nested


# Indexing -------------------------------------------------------------------------------------

INDICES: list[tuple[Any, ...]] = [
    ([0, 2],),
    ([-1, 0, 0],),
    (slice(None), [1, 3, 0]),
    ([0, 1], [1, 2]),
    ([[0], [1]], [1, 2, 3]),
    ([0, 1], slice(None), [1, 2]),
    (0, slice(None), [0, 1]),
    (slice(0, 2), [1], slice(1, 4)),
    (Ellipsis, [0, 4, -1]),
    (None, [0, 1]),
    ([0, 1], None, slice(None), [0, 1]),
    ([True, False, True],),
    (slice(None), [[True, False, False, True, False]] * 3 + [[False] * 5]),
    (True,),
    ([],),
]


def expected_places(shape: tuple[int, ...], items: tuple[Any, ...]) -> tuple[Any, Any]:
    """The result shape and, for each of its elements in order, where it comes from.

    By the rules as they are written down: masks become positions, index lists are broadcast,
    and their dimensions go where the first one is, or to the front if a slice lies between.
    """
    walked: list[Any] = []  # ("new",), ("pick", dim, place), ("range", dim, places), ("list", ..)
    dim = 0
    explicit = sum(_rank(item) for item in items if item is not None and item is not Ellipsis)
    for item in items:
        if item is None:
            walked.append(("range", None, [0]))
        elif item is Ellipsis:
            for _ in range(len(shape) - explicit):
                walked.append(("range", dim, list(range(shape[dim]))))
                dim += 1
        elif isinstance(item, slice):
            walked.append(("range", dim, list(range(shape[dim]))[item]))
            dim += 1
        elif item is True:
            walked.append(("list", None, [0], (1,)))
        elif isinstance(item, int):
            walked.append(("pick", dim, item % shape[dim]))
            dim += 1
        elif _is_mask(item):
            rank = _rank(item)
            sizes = shape[dim : dim + rank]
            hits = [p for p in itertools.product(*map(range, sizes)) if at(item, p)]
            for i in range(rank):
                walked.append(("list", dim + i, [hit[i] for hit in hits], (len(hits),)))
            dim += rank
        else:
            sizes = _sizes(item)
            flat = [at(item, p) % shape[dim] for p in itertools.product(*map(range, sizes))]
            walked.append(("list", dim, flat, sizes))
            dim += 1
    for rest in range(dim, len(shape)):
        walked.append(("range", rest, list(range(shape[rest]))))
    shown = [entry for entry in walked if entry[0] != "pick"]
    lists = [i for i, entry in enumerate(shown) if entry[0] == "list"]
    common = dlgrad.broadcast_shapes(*(shown[i][3] for i in lists))
    neighbours = lists[-1] - lists[0] + 1 == len(lists)
    before = [e for e in shown[: lists[0]] if e[0] == "range"] if neighbours else []
    after = [e for e in shown if e[0] == "range"][len(before) :]
    lengths = [len(e[2]) for e in before], [len(e[2]) for e in after]
    picked = {entry[1]: entry[2] for entry in walked if entry[0] == "pick"}
    sources = []
    for lead in itertools.product(*map(range, lengths[0])):
        for place in itertools.product(*map(range, common)):
            for tail in itertools.product(*map(range, lengths[1])):
                source = dict(picked)
                for entry, i in zip(before, lead, strict=True):
                    source[entry[1]] = entry[2][i]
                for entry, i in zip(after, tail, strict=True):
                    source[entry[1]] = entry[2][i]
                for i in lists:
                    _, where, flat, sizes = shown[i]
                    source[where] = flat[_number(place[len(common) - len(sizes) :], sizes)]
                source.pop(None, None)
                sources.append(tuple(source[d] for d in range(len(shape))))
    return (*lengths[0], *common, *lengths[1]), sources


def _number(place: tuple[int, ...], sizes: tuple[int, ...]) -> int:
    number = 0
    for i, size in zip(place, sizes, strict=True):
        number = number * size + (i if size > 1 else 0)
    return number


def _is_mask(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and (
        isinstance(item[0], bool) or _is_mask(item[0])
    )


def _sizes(item: Any) -> tuple[int, ...]:
    return (len(item), *_sizes(item[0])) if isinstance(item, list) and item else (
        (0,) if isinstance(item, list) else ()
    )


def _rank(item: Any) -> int:
    if item is True:
        return 0
    return len(_sizes(item)) if _is_mask(item) else 1


@pytest.mark.parametrize("items", INDICES, ids=str)
@pytest.mark.parametrize("contiguous", [True, False])
def test_indexing_reads_writes_and_differentiates(
    items: tuple[Any, ...], contiguous: bool
) -> None:
    items = tuple(i if not _is_mask(i) else i for i in items)
    shape = (3, 4, 5)

    def fresh() -> Tensor:
        x = numbered(*shape)
        return x if contiguous else numbered(5, 4, 3).permute(2, 1, 0)

    x = fresh().detach().requires_grad_()
    before = x.tolist()
    result_shape, sources = expected_places(shape, items)
    y = x[items]
    assert y.shape == result_shape
    assert y.reshape(-1).tolist() == [at(before, source) for source in sources]
    if not sources:
        return
    weights = dlgrad.arange(1.0, len(sources) + 1).reshape(result_shape)
    (y * weights).sum().backward()
    gradient = dict.fromkeys(itertools.product(*map(range, shape)), 0.0)
    for weight, source in enumerate(sources, 1):
        gradient[source] += weight
    assert x.grad is not None
    assert x.grad.reshape(-1).tolist() == list(gradient.values())

    written = fresh()
    written[items] = -weights
    values = {p: at(before, p) for p in gradient}
    for weight, source in enumerate(sources, 1):
        values[source] = -float(weight)
    assert written.reshape(-1).tolist() == list(values.values()), "the last one stays"

    filled = fresh()
    filled[items] = 7
    assert filled.reshape(-1).tolist() == [
        7.0 if p in set(sources) else at(before, p) for p in gradient
    ]


def test_gradients_through_written_elements() -> None:
    x = numbered(3, 2).requires_grad_()
    v = dlgrad.tensor([[10.0, 20.0], [30.0, 40.0]], requires_grad=True)
    y = x * 2
    y[[0, 2]] = v
    (y * numbered(3, 2)).sum().backward()
    assert x.grad is not None and v.grad is not None
    assert x.grad.tolist() == [[0, 0], [4, 6], [0, 0]]
    assert v.grad.tolist() == [[0, 1], [4, 5]]


def test_a_mask_selects_and_is_added_to() -> None:
    x = dlgrad.tensor([1.0, -2.0, 3.0, -4.0])
    assert x[x < 0].tolist() == [-2, -4]
    x[x < 0] += 10
    assert x.tolist() == [1, 8, 3, 6]
    x[x > 5] = dlgrad.tensor(0.0)
    assert x.tolist() == [1, 0, 3, 0]
    assert x[x > 100].shape == (0,)


def test_repeated_places_add_up_in_order() -> None:
    x = dlgrad.zeros(3)
    place = dlgrad.tensor([0, 0, 2])
    assert x.index_put((place,), dlgrad.tensor([1.0, 2, 3]), accumulate=True).tolist() == [3, 0, 3]
    assert x.index_put((place,), dlgrad.tensor([1.0, 2, 3])).tolist() == [2, 0, 3]


def test_indexed_writes_go_into_the_memory_that_is_there() -> None:
    x = dlgrad.zeros(1000)
    x.realize()
    with recorded() as seen:
        x[[3, 5]] = 1
        x.realize()
    assert [note.split()[0] for note in seen.notes] == ["scatter"], seen.notes
    assert x.sum().item() == 2


WRONG: list[tuple[Callable[[Tensor], Any], type[Exception], str]] = [
    (lambda x: x[[5]], IndexError, "index 5 is out of bounds for dimension 0 with size 3"),
    (lambda x: x[:, [-5]], IndexError, "index -5 is out of bounds for dimension 1 with size 4"),
    (lambda x: x[dlgrad.tensor([3]) + 0], IndexError, "index 3 is out of bounds"),
    (lambda x: x[[0, 1], [0, 1, 2]], IndexError, "could not be broadcast together"),
    (lambda x: x[dlgrad.tensor([True, False])], IndexError, "shape of the mask"),
    (lambda x: x[dlgrad.tensor([0.5])], IndexError, "must be long, int, byte or bool"),
    (lambda x: x[[0], [0], [0]], IndexError, "too many indices"),
    (lambda x: x.__setitem__([0, 1], dlgrad.zeros(3)), RuntimeError, "cannot be broadcast"),
    (lambda x: x.gather(0, dlgrad.tensor([[3]])), RuntimeError, "index 3 is out of bounds"),
    (lambda x: x.gather(0, dlgrad.tensor([[-1]])), RuntimeError, "index -1 is out of bounds"),
    (lambda x: x.gather(0, dlgrad.tensor([0])), RuntimeError, "same number of dimensions"),
    (lambda x: x.gather(0, dlgrad.tensor([[0.0]])), TypeError, "int64"),
    (lambda x: x.gather(2, dlgrad.tensor([[0]])), IndexError, "Dimension out of range"),
    (lambda x: x.gather(0, dlgrad.zeros(1, 5).long()), RuntimeError, "Size does not match"),
    (lambda x: x.index_select(0, dlgrad.tensor([3])), IndexError, "out of bounds"),
    (lambda x: x.index_select(0, dlgrad.tensor([[0]])), IndexError, "vector"),
    (lambda x: x.take(dlgrad.tensor([12])), IndexError, "out of bounds"),
    (lambda x: x.scatter(0, dlgrad.tensor([[0]]), dlgrad.tensor([[1]])), TypeError, "dtype"),
    (lambda x: x.scatter(0, dlgrad.tensor([[0]])), TypeError, "either src"),
    (lambda x: x.scatter_reduce(0, dlgrad.tensor([[0]]), x, "max"), RuntimeError, "sum, prod"),
    (lambda x: x.masked_select(x), TypeError, "BoolTensor"),
    (lambda x: x.masked_scatter(x > 0, dlgrad.zeros(1)), RuntimeError, "at least"),
    (lambda x: x.topk(5), RuntimeError, "out of range"),
    (lambda x: x.kthvalue(0), RuntimeError, "out of range"),
    (lambda x: dlgrad.bincount(dlgrad.tensor([-1])), RuntimeError, "non-negative"),
    (lambda x: x.quantile(2.0), RuntimeError, r"\[0, 1\]"),
    (lambda x: dlgrad.searchsorted(x, dlgrad.zeros(2)), RuntimeError, "first N-1 dimensions"),
]


@pytest.mark.parametrize("call, error, words", WRONG, ids=[words for _, _, words in WRONG])
def test_wrong_places_are_refused_at_the_call(
    call: Callable[[Tensor], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(numbered(3, 4))


def test_a_captured_step_reads_nan_outside() -> None:
    @dlgrad.jit
    def step(x: Tensor, i: Tensor) -> Tensor:
        return x.index_select(0, i) * 1.0

    x = dlgrad.tensor([1.0, 2.0, 3.0])
    for _ in range(3):
        assert step(x, dlgrad.tensor([2, 0])).tolist() == [3, 1]
    first, second = step(x, dlgrad.tensor([1, 9])).tolist()
    assert first == 2 and math.isnan(second)


def test_a_mask_is_refused_while_a_step_is_captured() -> None:
    @dlgrad.jit
    def step(x: Tensor) -> Tensor:
        return x[x > 0]

    x = dlgrad.tensor([1.0, -1.0])
    with pytest.raises(RuntimeError, match="where"):
        for _ in range(3):
            step(x)


# Against the reference ------------------------------------------------------------------------


def same(actual: list[Any], expected: list[Any]) -> bool:
    return len(actual) == len(expected) and all(
        a == e or (a != a and e != e) or math.isclose(a, e, rel_tol=1e-5, abs_tol=1e-5)
        for a, e in zip(actual, expected, strict=True)
    )


def random_program(generator: random.Random, device: str) -> Tensor:
    """A gather, a scatter, a scan or a sort of a tensor with repeated numbers and NaN."""
    shape = tuple(generator.randint(1, 5) for _ in range(generator.randint(1, 3)))
    if generator.random() < 0.2:
        shape = (*shape[:-1], generator.randint(60, 130))
    count = math.prod(shape)
    values = [float(generator.randint(-3, 3)) for _ in range(count)]
    if generator.random() < 0.3:
        values[generator.randrange(count)] = NAN
    x = dlgrad.tensor(values, device=device).reshape(shape)
    if generator.random() < 0.5:
        order = generator.sample(range(len(shape)), len(shape))
        x = x.permute(order)
    dim = generator.randrange(x.ndim)
    sizes = [generator.randint(1, s) if i != dim else generator.randint(1, 6)
             for i, s in enumerate(x.shape)]  # fmt: skip
    index = dlgrad.tensor(
        [generator.randrange(x.shape[dim]) for _ in range(math.prod(sizes))], device=device
    ).reshape(sizes)
    kind = generator.randrange(6)
    if kind == 0:
        return x.gather(dim, index) * 2 + 1
    if kind == 1:
        source = dlgrad.arange(1.0, math.prod(sizes) + 1, device=device).reshape(sizes)
        how = generator.choice(["sum", "prod", "amax", "amin"])
        return x.scatter_reduce(dim, index, source, how)
    if kind == 2:
        return x.scatter(dim, index, -5.0).sum(0)
    if kind == 3:
        return getattr(x + 0.5, generator.choice(["cumsum", "cumprod", "logcumsumexp"]))(dim)
    if kind == 4:
        return x.argsort(dim, generator.random() < 0.5)
    return generator.choice([x.cummax, x.cummin])(dim)[generator.randrange(2)]


@pytest.mark.parametrize("seed", range(60))
def test_random_places_agree_with_the_reference(seed: int) -> None:
    device = "python" if seed % 4 == 3 else "cpu"
    result = random_program(random.Random(seed), device)
    expected = graph_reference.evaluate_flat(result)
    assert same(result.reshape(-1).tolist(), expected), f"seed {seed}"


@pytest.mark.parametrize("length", [1, 2, 3, 64, 65, 1000])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bfloat16"])
def test_sorts_are_stable(length: int, dtype: str) -> None:
    generator = random.Random(length)
    values = [generator.randint(0, 20) for _ in range(length)]
    x = dlgrad.tensor(values).to(getattr(dlgrad, dtype))
    ascending = sorted(range(length), key=lambda i: values[i])
    descending = sorted(range(length), key=lambda i: -values[i])
    assert x.sort().indices.tolist() == ascending
    assert x.sort(descending=True).indices.tolist() == descending
    assert x.sort().values.tolist() == sorted(values)


def test_nan_counts_as_the_largest() -> None:
    x = dlgrad.tensor([2.0, NAN, 1.0, float("inf")])
    assert x.argsort().tolist() == [2, 0, 3, 1]
    assert x.argsort(descending=True).tolist() == [1, 3, 0, 2]
    assert math.isnan(x.median().item()) and x.nanmedian().item() == 2


def test_one_thread_scans_and_scatters_as_many_do() -> None:
    x = numbered(70, 90).cos()
    index = (dlgrad.arange(70 * 90).reshape(70, 90) * 7919) % 70
    results = []
    for threads in (1, dlgrad.get_num_threads()):
        before = dlgrad.get_num_threads()
        dlgrad.set_num_threads(threads)
        try:
            results.append([x.cumsum(0).tolist(), x.cumsum(1).tolist(),
                            x.scatter_add(0, index, x).tolist()])  # fmt: skip
        finally:
            dlgrad.set_num_threads(before)
    assert results[0] == results[1]


# Gradients ------------------------------------------------------------------------------------

DIFFERENTIABLE: dict[str, Callable[[Tensor], Tensor]] = {
    "gather": lambda x: x.gather(1, dlgrad.tensor([[0, 0, 2], [1, 3, 3]])),
    "scatter": lambda x: (x * 2).scatter(1, dlgrad.tensor([[0], [3]]), x[:, :1] * 3),
    "scatter_add": lambda x: x.scatter_add(0, dlgrad.tensor([[1, 1, 0, 0]]), x[:1] * x[:1]),
    "prod": lambda x: x.scatter_reduce(1, dlgrad.tensor([[0, 0], [2, 1]]), x[:, 1:3], "prod"),
    "amax": lambda x: x.scatter_reduce(1, dlgrad.tensor([[0, 0], [2, 1]]), x[:, 1:3], "amax"),
    "mean": lambda x: x.scatter_reduce(1, dlgrad.tensor([[0, 0], [2, 1]]), x[:, 1:3], "mean"),
    "cumsum": lambda x: x.cumsum(0),
    "cumprod": lambda x: x.cumprod(1),
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "cummax": lambda x: x.cummax(1).values,
    "sort": lambda x: x.sort(1).values,
    "masked_select": lambda x: x[x > 0],
    "index": lambda x: x[[0, 1, 1], [3, 2, 2]],
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_and_second_gradients(name: str) -> None:
    function = DIFFERENTIABLE[name]
    start = [[0.7, -1.3, 2.1, 0.4], [-0.6, 1.9, -2.2, 1.1]]

    def value(numbers: list[float]) -> Tensor:
        x = dlgrad.tensor(numbers, dtype=dlgrad.float64).reshape(2, 4)
        y = function(x)
        weights = dlgrad.arange(1, y.numel() + 1, dtype=dlgrad.float64).reshape(y.shape)
        return (y * y * y * weights).sum()

    def gradient(numbers: list[float]) -> list[float]:
        x = dlgrad.tensor(numbers, dtype=dlgrad.float64, requires_grad=True)
        y = function(x.reshape(2, 4))
        weights = dlgrad.arange(1, y.numel() + 1, dtype=dlgrad.float64).reshape(y.shape)
        (found,) = dlgrad.autograd.grad((y * y * y * weights).sum(), x, create_graph=True)
        (second,) = dlgrad.autograd.grad((found * found).sum(), x)
        seconds.append(second.tolist())
        return found.tolist()  # type: ignore[no-any-return]

    seconds: list[list[float]] = []
    flat = [number for row in start for number in row]
    found = gradient(flat)
    second = seconds[0]
    step = 1e-5
    for i in range(len(flat)):
        up, down = list(flat), list(flat)
        up[i] += step
        down[i] -= step
        slope = (value(up).item() - value(down).item()) / (2 * step)
        assert math.isclose(found[i], slope, rel_tol=1e-6, abs_tol=1e-6), (i, found[i], slope)
        ends = [sum(g * g for g in gradient(numbers)) for numbers in (up, down)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert math.isclose(second[i], slope, rel_tol=1e-4, abs_tol=1e-4), (i, second[i], slope)


def test_the_product_so_far_of_zeros_has_a_gradient() -> None:
    x = dlgrad.tensor([2.0, 0.0, 3.0, 0.0, 5.0], requires_grad=True)
    x.cumprod(0).sum().backward()
    assert x.grad is not None
    # 2, 2 a, 6 a, 6 a b, 30 a b with a = b = 0
    assert x.grad.tolist() == [1.0, 8.0, 0.0, 0.0, 0.0]


# Sets, ranks and counts -----------------------------------------------------------------------


def test_unique_values_their_inverse_and_counts() -> None:
    x = dlgrad.tensor([[3, 1, 3], [1, 1, 2]])
    values, inverse, counts = x.unique(return_inverse=True, return_counts=True)
    assert values.tolist() == [1, 2, 3] and counts.tolist() == [3, 1, 2]
    assert inverse.tolist() == [[2, 0, 2], [0, 0, 1]]
    rows = dlgrad.tensor([[1, 2], [0, 5], [1, 2]])
    values, inverse = rows.unique(return_inverse=True, dim=0)
    assert values.tolist() == [[0, 5], [1, 2]] and inverse.tolist() == [1, 0, 1]
    line = dlgrad.tensor([1, 1, 2, 2, 2, 1])
    values, counts = line.unique_consecutive(return_counts=True)
    assert values.tolist() == [1, 2, 1] and counts.tolist() == [2, 3, 1]


def test_searching_in_what_is_sorted() -> None:
    edges = [1.0, 2.0, 2.0, 5.0]
    wanted = [0.0, 1.0, 2.0, 3.0, 5.0, 9.0]
    x = dlgrad.tensor(edges)
    assert dlgrad.searchsorted(x, dlgrad.tensor(wanted)).tolist() == [
        sum(edge < value for edge in edges) for value in wanted
    ]
    assert dlgrad.bucketize(dlgrad.tensor(wanted), x, right=True).tolist() == [
        sum(edge <= value for edge in edges) for value in wanted
    ]
    assert dlgrad.isin(dlgrad.tensor(wanted), x).tolist() == [v in edges for v in wanted]


def test_ranks() -> None:
    x = dlgrad.tensor([[5.0, 1.0, 4.0, 2.0], [0.0, 8.0, 8.0, 3.0]])
    assert x.median(1).values.tolist() == [2, 3] and x.median().item() == 3
    assert x.kthvalue(2, 1).values.tolist() == [2, 3]
    assert x.topk(2, 1).values.tolist() == [[5, 4], [8, 8]]
    assert x.mode(1).values.tolist() == [1, 8]
    assert x.quantile(dlgrad.tensor([0.0, 0.5, 1.0]), 1).tolist() == [[1, 0], [3, 5.5], [5, 8]]


def test_counts() -> None:
    assert dlgrad.bincount(dlgrad.tensor([0, 3, 3]), minlength=5).tolist() == [1, 0, 0, 2, 0]
    x = dlgrad.tensor([0.0, 0.1, 0.5, 0.9, 1.0, 2.0])
    assert x.histc(2, 0, 1).tolist() == [2, 3]
    assert x.count_nonzero().item() == 5
    assert dlgrad.nonzero(dlgrad.tensor([[0, 1], [2, 0]])).tolist() == [[0, 1], [1, 0]]
    first, second = dlgrad.tensor([[0, 1], [2, 0]]).nonzero(as_tuple=True)
    assert first.tolist() == [0, 1] and second.tolist() == [1, 0]


def test_as_many_places_as_were_asked_for() -> None:
    x = dlgrad.tensor([[0.0, 1.0], [2.0, 3.0]])
    assert x.nonzero_static(size=2).tolist() == [[0, 1], [1, 0]]
    filled = dlgrad.nonzero_static(x, size=4, fill_value=9)
    assert filled.tolist() == [[0, 1], [1, 0], [1, 1], [9, 9]]
    assert dlgrad.nonzero_static(x > 5, size=1).tolist() == [[-1, -1]]
    assert x.nonzero_static(size=0).shape == (0, 2)
    assert dlgrad.tensor(3).nonzero_static(size=2).shape == (2, 0)
    # The size is known, so a captured step may use it.
    captured = dlgrad.jit(lambda y: y.nonzero_static(size=3))
    for row in ([0, 1, 1, 1, 1], [1, 0, 0, 0, 1], [0, 0, 0, 1, 0]):
        places = [place for place, number in enumerate(row) if number]
        expected = (places + [-1] * 3)[:3]
        assert captured(dlgrad.tensor(row)).reshape(-1).tolist() == expected
    with pytest.raises(RuntimeError, match="non-negative"):
        x.nonzero_static(size=-1)


def test_put_leaves_its_tensor_alone() -> None:
    x = numbered(2, 3)
    changed = x.put(dlgrad.tensor([1, -1]), dlgrad.tensor([50, 60], dtype=x.dtype))
    assert changed.reshape(-1).tolist() == [0, 50, 2, 3, 4, 60]
    assert x.reshape(-1).tolist() == [0, 1, 2, 3, 4, 5]


def test_positions_of_elements_are_int64() -> None:
    place = dlgrad.tensor([5, 0], dtype=dlgrad.int8)
    first, second = dlgrad.unravel_index(place, (2, 1 << 30))
    assert first.dtype is dlgrad.int64
    assert (first.tolist(), second.tolist()) == ([0, 0], [5, 0])
    assert [x.tolist() for x in dlgrad.unravel_index(place, (2, 3))] == [[1, 0], [2, 0]]
    for shape, error in (((2, 0), RuntimeError), ((-2, 3), ValueError), ((2.0, 3), TypeError)):
        with pytest.raises(error):
            dlgrad.unravel_index(place, shape)
    with pytest.raises(TypeError, match="integer dtype"):
        dlgrad.unravel_index(place > 1, (2, 3))


def test_sorts_among_many_dimensions() -> None:
    """More loops around the sort than the first letters for their names."""
    x = (numbered(2, 3, 2, 3, 4) * 7919 % 101).permute(3, 0, 4, 2, 1)[:, :, ::2]
    expected = graph_reference.evaluate_flat(x.argsort(3))
    assert x.argsort(3).reshape(-1).tolist() == expected
    assert x.argsort(2).reshape(-1).tolist() == graph_reference.evaluate_flat(x.argsort(2))
