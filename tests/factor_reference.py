"""What the factorizations of matrices mean, in plain Python: see `graph_reference.py`.

Written for the eye, over whole matrices, and not as the kernels do it.
"""

from __future__ import annotations

import math
from typing import Any

from dlgrad.codegen import primitives
from dlgrad.lazy.graph import Node
from dlgrad.lazy.ops import FactorOps

Matrix = list[list[float]]
F = FactorOps


def evaluate_factor(node: Node, sources: list[list[Any]]) -> list[Any]:
    """The elements of a FactorOps node; eigenvectors and singular vectors up to their sign."""
    found: list[Any] = []
    if node.op is F.PERMUTATION:
        for pivots in rows_of(sources[0], node.src[0].shape[-1]):
            found += swapped(list(range(node.arg)), pivots)
        return found
    rows, columns = node.src[0].shape[-2:]
    matrices = [
        rows_of(block, columns) for block in rows_of(sources[0], rows * columns)
    ]
    if node.op is F.TRIANGULAR:
        sides = rows_of(sources[1], node.shape[-1])
        share = len(sides) // len(matrices)
        for number, side in enumerate(sides):
            found += substituted(matrices[number // share], side, *node.arg)
    else:
        for a in matrices:
            found += FUNCTIONS[node.op](a, node.arg)
    return [primitives.round_float(value, node.dtype) for value in found]


def rows_of(values: list[Any], length: int) -> list[list[Any]]:
    return [values[i : i + length] for i in range(0, len(values), length)] if length else []


def product(a: Matrix, b: Matrix) -> Matrix:
    return [[math.fsum(x * y for x, y in zip(row, c, strict=True)) for c in turned(b)] for row in a]


def turned(a: Matrix) -> Matrix:
    return [list(column) for column in zip(*a, strict=True)]


def flat(a: Matrix) -> list[float]:
    return [value for row in a for value in row]


def unit(size: int) -> Matrix:
    return [[float(i == j) for j in range(size)] for i in range(size)]


def swapped(items: list[Any], pivots: list[int]) -> list[Any]:
    for i, place in enumerate(pivots):
        items[i], items[int(place)] = items[int(place)], items[i]
    return items


def lu(a: Matrix, arg: Any) -> list[float]:
    a, pivots = [list(row) for row in a], []
    rows, columns = len(a), len(a[0])
    for k in range(min(rows, columns)):
        best = max(range(k, rows), key=lambda i: abs(a[i][k]))
        pivots.append(float(best))
        a[k], a[best] = a[best], a[k]
        for i in range(k + 1, rows):
            share = a[i][k] / a[k][k] if a[k][k] else a[i][k]
            a[i] = a[i][:k] + [share] + [
                x - share * y for x, y in zip(a[i][k + 1 :], a[k][k + 1 :], strict=True)
            ]
    return flat(a) + pivots


def substituted(a: Matrix, b: list[float], upper: bool, unit_diagonal: bool) -> list[float]:
    size = len(b)
    x = [0.0] * size
    for i in reversed(range(size)) if upper else range(size):
        known = range(i + 1, size) if upper else range(i)
        rest = b[i] - math.fsum(a[i][j] * x[j] for j in known)
        x[i] = rest if unit_diagonal else rest / a[i][i]
    return x


def cholesky(a: Matrix, arg: Any) -> list[float]:
    size = len(a)
    low = [[0.0] * size for _ in a]
    for j in range(size):
        square = a[j][j] - math.fsum(x * x for x in low[j][:j])
        if not square > 0:
            return flat(low) + [float(j + 1)]
        low[j][j] = math.sqrt(square)
        for i in range(j + 1, size):
            both = math.fsum(x * y for x, y in zip(low[i][:j], low[j][:j], strict=True))
            low[i][j] = (a[i][j] - both) / low[j][j]
    return flat(low) + [0.0]


def qr(a: Matrix, wanted: int) -> list[float]:
    rows, columns = len(a), len(a[0])
    q, r = unit(rows), a
    for k in range(min(rows, columns)):
        below = [row[k] for row in r[k + 1 :]]
        if not any(below):
            continue
        norm = math.copysign(math.hypot(r[k][k], *below), r[k][k])
        v = [0.0] * k + [r[k][k] + norm, *below]
        scale = 2 / math.fsum(x * x for x in v)
        mirror = [
            [float(i == j) - scale * v[i] * v[j] for j in range(rows)] for i in range(rows)
        ]
        q, r = product(q, mirror), product(mirror, r)
        r = [[0.0 if i > j <= k else x for j, x in enumerate(row)] for i, row in enumerate(r)]
    return flat(turned(q)[:wanted]) + flat(turned(r))


def eigh(a: Matrix, arg: Any) -> list[float]:
    """Rotations that clear the largest element beside the diagonal, one after the other."""
    size = len(a)
    vectors = unit(size)
    for _ in range(30 * size * size):
        beside = [(abs(a[i][j]), i, j) for i in range(size) for j in range(i)]
        largest, i, j = max(beside, default=(0.0, 0, 0))
        if largest < 1e-300:
            break
        angle = math.atan2(2 * a[i][j], a[j][j] - a[i][i]) / 2
        turn = unit(size)
        turn[i][i] = turn[j][j] = math.cos(angle)
        turn[i][j], turn[j][i] = math.sin(angle), -math.sin(angle)
        a = product(turned(turn), product(a, turn))
        a[i][j] = a[j][i] = 0.0
        vectors = product(vectors, turn)
    pairs = sorted(zip((a[i][i] for i in range(size)), turned(vectors), strict=True))
    return [value for value, _ in pairs] + [x for _, vector in pairs for x in vector]


def svd(a: Matrix, arg: Any) -> list[float]:
    """By the eigenvalues of A^T A, so the small values have half of the digits."""
    columns = len(a[0])
    found = eigh(product(turned(a), a), None)
    values = [math.sqrt(max(value, 0.0)) for value in found[:columns]][::-1]
    vectors = rows_of(found[columns:], columns)[::-1]
    scale = max(max(map(abs, flat(a))), 0.0) or 1.0
    images = [[x / scale for x in row] for row in turned(product(a, turned(vectors)))]
    return values + flat(vectors) + flat(images)


FUNCTIONS = {F.LU: lu, F.CHOLESKY: cholesky, F.QR: qr, F.EIGH: eigh, F.SVD: svd}
