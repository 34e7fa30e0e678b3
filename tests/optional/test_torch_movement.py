"""Movement, joining, splitting and padding beside PyTorch: values, gradients, strides, errors."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("numpy")

from beside_torch import FUNCTIONAL, compare, inputs, refuse  # noqa: E402

import dlgrad  # noqa: E402

MATRIX, CUBE = (3, 4), (2, 3, 4)

CASES: dict[str, tuple[Any, ...]] = {
    "reshape": (lambda m, x: [x.reshape(4, -1), m.reshape(x, (2, 6)), x.ravel()], MATRIX),
    "flatten": (lambda m, x: [x.flatten(1), m.flatten(x, 0, 1), x.unflatten(-1, (2, -1))], CUBE),
    "flatten 0-dim": (lambda m, x: [x.flatten(), x.ravel(), x.reshape(-1)], ()),
    "squeeze": (lambda m, x: [x.squeeze(), x.squeeze(0), x.squeeze((0, 2)), x.unsqueeze(-1)],
                (1, 3, 1)),
    "permute": (lambda m, x: [x.permute(2, 0, 1), m.permute(x, (-1, 0, 1)), x.movedim(0, -1),
                              m.moveaxis(x, (0, 1), (-1, 0)), m.swapaxes(x, axis0=0, axis1=1),
                              x.swapdims(dim0=0, dim1=2), x.mT, m.adjoint(x)], CUBE),
    "expand": (lambda m, x: [x.expand(2, -1, 4), x.expand_as(m.zeros(5, 3, 4)),
                             m.broadcast_to(x, (3, 2))], (3, 1)),
    "narrow": (lambda m, x: [x.narrow(1, 1, 2), m.narrow(x, 1, m.tensor(-3), 3),
                             x.select(0, -1)], MATRIX),
    "diagonal": (lambda m, x: [x.diagonal(), m.diagonal(x, 1, 1, 2), x.diagonal(-1, 2, 0),
                               x.diagonal(9)], CUBE),
    "unfold": (lambda m, x: [x.unfold(0, 2, 1), x.unfold(1, 3, 2), x.unfold(-1, 0, 1)], (4, 7)),
    "unfold 0-dim": (lambda m, x: [x.unfold(0, 1, 1)], ()),
    "as_strided": (lambda m, x: [x.as_strided((2, 2), (1, 2)), m.as_strided(x, (3, 3), (2, 1), 1),
                                 x.t().as_strided((4,), (3,), 2)], MATRIX),
    "as_strided of a view": (lambda m, x: [x[1:, 1:].as_strided((2, 3), (4, 1)),
                                           x[1].expand(2, 4).as_strided((2, 2), (0, 2))], MATRIX),
    "scatters": (lambda m, x, y, z: [m.select_scatter(x, y, 0, 1), x.select_scatter(y, -2, -2),
                                     m.slice_scatter(x, z, 1, 0, None, 2),
                                     x.slice_scatter(z, dim=1, start=-2),
                                     m.diagonal_scatter(x, y[:3], 1),
                                     x.diagonal_scatter(y[:3])],
                 MATRIX, (4,), (3, 2)),
    "flip": (lambda m, x: [x.flip(0), m.flip(x, (0, 2)), x.flip([-1]), x.fliplr(), m.flipud(x),
                           m.flip(x, ())], CUBE),
    "roll": (lambda m, x: [x.roll(1), m.roll(x, -1, 1), x.roll((1, 2), (0, -1)),
                           m.roll(x, shifts=5, dims=0)], CUBE),
    "rot90": (lambda m, x: [x.rot90(), m.rot90(x, 2), m.rot90(x, -1, (1, 2)),
                            m.rot90(x, k=3, dims=[2, 0]), x.rot90(4)], CUBE),
    "repeat": (lambda m, x: [x.repeat(2, 1), x.repeat((2, 1, 3)), m.tile(x, (2,)), x.tile(2, 1, 2),
                             x.repeat(0, 1)], MATRIX),
    "cat": (lambda m, x, y: [m.cat([x, y]), m.concat((x, x), dim=1), m.cat((y, m.zeros(0), x), 0),
                             m.concatenate([x, y], dim=-2)], MATRIX, (2, 4)),
    "stack": (lambda m, x, y: [m.stack([x, y]), m.stack((x, y), dim=-1), m.hstack([x, y]),
                               m.vstack((x, y)), m.dstack([x, y]), m.column_stack([x, y]),
                               m.row_stack([x, y])], MATRIX, MATRIX),
    "stack of vectors": (lambda m, x, y: [m.hstack([x, y]), m.vstack([x, x]), m.dstack([x, x]),
                                          m.column_stack([x, x])], (3,), (2,)),
    "stack of numbers": (lambda m, x, y: [m.hstack([x, y]), m.vstack([x, y]), m.dstack([x, y]),
                                          m.column_stack([x, y]), m.stack([x, y])], (), ()),
    "atleast": (lambda m, x, y: [m.atleast_1d(x), m.atleast_2d(x, y), m.atleast_3d([x, y])],
                (), (3,)),
    "block_diag": (lambda m, x, y, z: [m.block_diag(x, y, z), m.block_diag(z)],
                   MATRIX, (2,), ()),
    "meshgrid": (lambda m, x, y, z: [m.meshgrid(x, y, indexing="ij"),
                                     m.meshgrid([x, y, z], indexing="xy"),
                                     m.cartesian_prod(x, y), m.cartesian_prod(x)],
                 (3,), (2,), (1,)),
    "split": (lambda m, x: [x.split(2, 1), m.split(x, [1, 3], dim=1), x.chunk(3, 1),
                            m.chunk(x, 2), m.unbind(x, 1), x.split_with_sizes((1, 2)),
                            m.tensor_split(x, 3, dim=1), m.tensor_split(x, (1, -1, 9), 1),
                            x.tensor_split(m.tensor([2]), 1), x.hsplit(2), m.vsplit(x, [1]),
                            m.unsafe_chunk(x, 2), m.unsafe_split(x, 2)], MATRIX),
    "dsplit": (lambda m, x: [x.dsplit(2), m.dsplit(x, [1, 2]), m.hsplit(x, 3)], CUBE),
    "split of nothing": (lambda m, x: [x.split(0), x.chunk(3), x.tensor_split(2)], (0, 2)),
    "triangles": (lambda m, x: [x.tril(), m.triu(x, 1), x.tril(diagonal=-1)], CUBE),
    "diag": (lambda m, x: [m.diag(x), x.diag(-1), m.diagflat(x, 1), x.diag_embed(),
                           m.trace(m.outer(x, x))], (3,)),
    "diag of a matrix": (lambda m, x: [m.diag(x), x.diag(1), m.diagflat(x), x.trace(),
                                       m.diag_embed(x, offset=1), x.diag_embed(-1, 0, 2)], MATRIX),
    "broadcast_tensors": (lambda m, x, y: m.broadcast_tensors(x, y), (3, 1), (1, 2)),
    "pad": (lambda m, x: [FUNCTIONAL[m].pad(x, (1, 2), "constant", 1.5),
                          FUNCTIONAL[m].pad(x, (1, -1, 0, 2)),
                          FUNCTIONAL[m].pad(x, [-1, -1, -1, 0, 1, 1]),
                          FUNCTIONAL[m].pad(x, pad=(0, 0)),
                          FUNCTIONAL[m].pad(x, (2, 3), mode="reflect"),
                          FUNCTIONAL[m].pad(x, (2, -1, 1, 2), "reflect"),
                          FUNCTIONAL[m].pad(x, (2, 5), "replicate"),
                          FUNCTIONAL[m].pad(x, (0, 1, -1, 2), "replicate"),
                          FUNCTIONAL[m].pad(x, (2, 4), "circular"),
                          FUNCTIONAL[m].pad(x, (2, -1, 1, 1), "circular")], CUBE),
    "pad of volumes": (lambda m, x: [FUNCTIONAL[m].pad(x, (1, 1, 0, 1, 1, 0), mode)
                                     for mode in ("reflect", "replicate", "circular")],
                       (1, 2, 2, 3, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str) -> None:
    call, *shapes = CASES[name]
    compare(call, *shapes)


@pytest.mark.parametrize("name", ["roll", "stack", "diag of a matrix", "triangles", "repeat"])
@pytest.mark.parametrize("kind", ["bool", "int16", "float64"])
def test_other_dtypes(name: str, kind: str) -> None:
    call, *shapes = CASES[name]
    if kind == "bool" and name == "diag of a matrix":
        pytest.skip("PyTorch has no trace of bools")
    compare(call, *shapes, kind=kind)


def test_values_of_as_strided_scatter() -> None:
    """PyTorch's gradient of it is not the slope: it goes to what was overwritten."""
    compare(
        lambda m, x, y: [
            m.as_strided_scatter(x, y, (3, 2), (4, 2), 1),
            x.as_strided_scatter(y.t(), (2, 3), (1, 2)),
        ],
        MATRIX,
        (3, 2),
        gradient=False,
    )


def test_promotion_where_tensors_are_joined() -> None:
    compare(
        lambda m, x, y: [
            m.cat([x, y.to(m.int32)]),
            m.stack([x.half(), y]),
            m.block_diag(x.abs().to(m.uint8), y.to(m.int8)),
            m.hstack([x.bool(), y.abs().to(m.uint8)]),
        ],
        MATRIX,
        MATRIX,
        gradient=False,
    )


def test_indices_of_triangles() -> None:
    compare(
        lambda m: [
            function(4, 3, offset)
            for function in (m.tril_indices, m.triu_indices)
            for offset in (-5, -1, 0, 2)
        ]
        + [m.tril_indices(row=0, col=3), m.triu_indices(2, 2, dtype=m.int32)]
    )


@pytest.mark.parametrize("kind", ["float32", "int16", "uint8"])
def test_bits_as_another_dtype(kind: str) -> None:
    names = ["uint8", "int16", "int32", "float32", "float64", "int64"]
    compare(
        lambda m, x: [x.view(getattr(m, name)) for name in names],
        (2, 8),
        kind=kind,
        gradient=False,
    )


STRIDED = [
    lambda x: x.permute(2, 0, 1),
    lambda x: x[:, 1:, ::2],
    lambda x: x.diagonal(1, 0, 2),
    lambda x: x.unfold(2, 2, 1),
    lambda x: x[1].as_strided((2, 2), (1, 3)),
    lambda x: x.mT.unflatten(1, (2, 2)),
    lambda x: x.expand(3, 2, 3, 4).squeeze(),
    lambda x: x.tensor_split(2, 2)[1],
    lambda x: x.select(1, 2).unsqueeze(1),
    lambda x: x.swapdims(0, 2).movedim(1, 0),
    lambda x: x[None, ..., None],
]


@pytest.mark.parametrize("call", STRIDED)
def test_views_lie_as_in_torch(call: Any) -> None:
    import torch

    (array,) = inputs((2, 3, 4))
    mine, theirs = dlgrad.tensor(array), torch.tensor(array)
    a, b = call(mine), call(theirs)
    assert (tuple(a.shape), tuple(a.stride()), a.storage_offset()) == (
        tuple(b.shape), tuple(b.stride()), b.storage_offset(),
    )  # fmt: skip
    mine.mul_(2)
    theirs.mul_(2)
    assert a.tolist() == b.tolist()


ERRORS: dict[str, tuple[Any, ...]] = {
    "reshape": (lambda m, x: x.reshape(5, -1), MATRIX),
    "two unknown": (lambda m, x: x.reshape(-1, -1), MATRIX),
    "view": (lambda m, x: x.t().view(12), MATRIX),
    "permute": (lambda m, x: x.permute(0, 0), MATRIX),
    "permute of few": (lambda m, x: x.permute(0), MATRIX),
    "transpose": (lambda m, x: x.transpose(0, 2), MATRIX),
    "expand": (lambda m, x: x.expand(2, 4), MATRIX),
    "narrow": (lambda m, x: x.narrow(0, 2, 2), MATRIX),
    "narrow backwards": (lambda m, x: x.narrow(0, 0, -1), MATRIX),
    "narrow 0-dim": (lambda m, x: x.narrow(0, 0, 0), ()),
    "select": (lambda m, x: x.select(0, 3), MATRIX),
    "diagonal": (lambda m, x: x.diagonal(0, 1, -1), MATRIX),
    "unfold too far": (lambda m, x: x.unfold(0, 4, 1), MATRIX),
    "unfold no step": (lambda m, x: x.unfold(0, 2, 0), MATRIX),
    "as_strided outside": (lambda m, x: x.as_strided((4, 4), (4, 1)), MATRIX),
    "as_strided mismatch": (lambda m, x: x.as_strided((4,), (4, 1)), MATRIX),
    "as_strided negative": (lambda m, x: x.as_strided((4,), (-1,), 5), MATRIX),
    "select_scatter": (lambda m, x: m.select_scatter(x, m.zeros(3), 0, 0), MATRIX),
    "slice_scatter": (lambda m, x: m.slice_scatter(x, m.zeros(3), 0, 0, 1), MATRIX),
    "flip twice": (lambda m, x: x.flip(0, 0), MATRIX),
    "fliplr": (lambda m, x: x.fliplr(), (3,)),
    "roll": (lambda m, x: x.roll((1, 2), (0,)), MATRIX),
    "rot90 of one": (lambda m, x: x.rot90(1, (0, 0)), MATRIX),
    "rot90 outside": (lambda m, x: x.rot90(1, (0, 3)), MATRIX),
    "repeat": (lambda m, x: x.repeat(2), MATRIX),
    "repeat negative": (lambda m, x: x.repeat(-1, 1), MATRIX),
    "cat": (lambda m, x: m.cat([x, m.zeros(3, 3)]), MATRIX),
    "cat ranks": (lambda m, x: m.cat([x, m.zeros(4)]), MATRIX),
    "cat of nothing": (lambda m: m.cat([]),),
    "cat of numbers": (lambda m, x: m.cat([x, x]), ()),
    "cat of a tensor": (lambda m, x: m.cat(x), MATRIX),
    "stack": (lambda m, x: m.stack([x, x.t()]), MATRIX),
    "stack of nothing": (lambda m: m.stack([]),),
    "block_diag": (lambda m, x: m.block_diag(x), CUBE),
    "meshgrid": (lambda m, x: m.meshgrid(x, x[0], indexing="ij"), MATRIX),
    "meshgrid order": (lambda m, x: m.meshgrid(x, indexing="yx"), (3,)),
    "split": (lambda m, x: x.split(-1), MATRIX),
    "split by zero": (lambda m, x: x.split(0), MATRIX),
    "split sizes": (lambda m, x: x.split([1, 1]), MATRIX),
    "split 0-dim": (lambda m, x: x.split(1), ()),
    "chunk": (lambda m, x: x.chunk(0), MATRIX),
    "tensor_split": (lambda m, x: x.tensor_split(0), MATRIX),
    "hsplit": (lambda m, x: x.hsplit(3), MATRIX),
    "vsplit": (lambda m, x: x.vsplit(2), (4,)),
    "unbind": (lambda m, x: x.unbind(), ()),
    "tril": (lambda m, x: x.tril(), (3,)),
    "diag": (lambda m, x: m.diag(x), CUBE),
    "diag_embed": (lambda m, x: m.diag_embed(x, 0, 1, 1), MATRIX),
    "trace": (lambda m, x: m.trace(x), CUBE),
    "tril_indices": (lambda m: m.tril_indices(-1, 2),),
    "broadcast": (lambda m, x: m.broadcast_tensors(x, m.zeros(3)), MATRIX),
    "pad odd": (lambda m, x: FUNCTIONAL[m].pad(x, (1,)), MATRIX),
    "pad more": (lambda m, x: FUNCTIONAL[m].pad(x, (1,) * 6), MATRIX),
    "pad to less": (lambda m, x: FUNCTIONAL[m].pad(x, (-3, -3)), MATRIX),
    "reflect": (lambda m, x: FUNCTIONAL[m].pad(x, (4, 0), "reflect"), CUBE),
    "circular": (lambda m, x: FUNCTIONAL[m].pad(x, (5, 0), "circular"), CUBE),
    "mode": (lambda m, x: FUNCTIONAL[m].pad(x, (1, 1), "mirror"), CUBE),
    "rank": (lambda m, x: FUNCTIONAL[m].pad(x, (1, 1), "reflect"), (4,)),
    "bits": (lambda m, x: x.view(m.float64), (2, 3)),
    "bits of a turned one": (lambda m, x: x.t().view(m.int16), MATRIX),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, *shapes = ERRORS[name]
    refuse(call, *shapes)
