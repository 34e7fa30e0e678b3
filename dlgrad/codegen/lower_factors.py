"""Kernels of matrix factorizations and triangular solves: one matrix after the other.

Floor 3.  In: a `Group` with one member, a `FactorOps` node.  Out: its launch.  An iteration of
the parallel range does one matrix (a triangular solve: one right side) from beginning to end, so
results do not depend on the number of threads.  All sizes are launch integers: a factorization
is compiled once for each dtype.  `lower_rotations.py` has eigenvalues and singular values.

The algorithms are the classical ones, see Golub and Van Loan, Matrix Computations.
"""

from __future__ import annotations

from math import prod

from dlgrad.codegen.algorithm import Algorithm, Block, Number, choose
from dlgrad.codegen.kernel import Kernel, Literal, LoopKind
from dlgrad.codegen.lower_values import KernelCall, Scratch, memory_of, structure_hash
from dlgrad.dtype import DType, int64
from dlgrad.lazy.factors import parts
from dlgrad.lazy.group import Group
from dlgrad.lazy.ops import ElementwiseOps, FactorOps, ReduceOps

_MAXIMUM, _MINIMUM = ElementwiseOps.MAXIMUM, ElementwiseOps.MINIMUM
LANES, PARALLEL, REDUCE = LoopKind.LANES, LoopKind.PARALLEL, LoopKind.REDUCE


class Factorization(Algorithm):
    """The kernel of one factorization: what its subclasses share."""

    word = "factor"
    flops = 2  # times rows * columns * the smaller of them

    def __init__(self, group: Group) -> None:
        super().__init__()
        node = group.alone
        assert node is not None
        self.group, self.node = group, node
        self.dtype: DType = node.dtype
        self.matrix_shape = node.src[0].shape[-2:]
        self.out = self.parameter("out", memory_of(node), node.dtype, True)
        self.scratch: dict[str, int] = {}

    def lower(self) -> KernelCall:
        """The launch."""
        count = prod(self.node.shape[:-1])
        rows, columns = self.matrix_shape
        self.parts = parts(self.node_op, self.matrix_shape, self.node.arg)
        self.prepare()
        source = self.parameter("x", memory_of(self.node.src[0]), self.dtype, False)
        self.rows, self.columns = self.size("rows", rows), self.size("columns", columns)
        with self.loop("matrix", self.size("matrices", count), PARALLEL) as matrix:
            self.matrix = matrix
            self.size("x_step", rows * columns)
            self.x = self.block(source, matrix, "x_step", 0, "columns", 1)
            self.write()
        work = rows * columns * min(rows, columns)
        return self.finish(count, self.flops * work * count)

    @property
    def node_op(self) -> FactorOps:
        assert isinstance(self.node.op, FactorOps)
        return self.node.op

    def prepare(self) -> None:
        """Adds further outputs, before the inputs."""

    def write(self) -> None:
        """The statements for one matrix."""
        raise NotImplementedError

    def part(self, name: str, *strides: str | int) -> Block:
        """The block of one of the packed results."""
        names = list(self.parts)
        before = names[: names.index(name)]
        self.size("out_step", self.node.shape[-1])
        start: str | int = 0
        if before:
            start = f"at_{name}"
            self.size(start, sum(prod(self.parts[known]) for known in before))
        return self.block(self.out, self.matrix, "out_step", start, *strides)

    def add_scratch(self, name: str, numbers: int) -> None:
        """Memory of so many numbers for each matrix."""
        nbytes = prod(self.node.shape[:-1]) * numbers * self.dtype.itemsize
        self.scratch[name] = self.parameter(name, Scratch(nbytes), self.dtype, True)
        self.size(f"{name}_step", numbers)

    def scratch_block(self, name: str, *strides: str | int) -> Block:
        """The part of a scratch memory that belongs to this matrix."""
        return self.block(self.scratch[name], self.matrix, f"{name}_step", 0, *strides)

    def finish(self, work: int, flops: int) -> KernelCall:
        """The kernel, and the numbers of its launch."""
        names, body = tuple(self.sizes), tuple(self.body)
        parameters = tuple(self.parameters)
        digest = structure_hash(parameters, names, body)
        word = self.node_op.value
        kernel = Kernel(
            f"{word}_{self.dtype.name}_{digest}",
            f"{self.word} of matrices, one after the other",
            parameters, names, (), body,
        )  # fmt: skip
        moved = self.node.nbytes + sum(source.nbytes for source in self.node.src)
        note = f"{word} " + " ".join("x".join(map(str, x.shape)) for x in self.node.src)
        outputs = [m for m, p in zip(self.memory, parameters, strict=True) if p.is_output]
        return KernelCall(
            kernel, list(self.memory), tuple(self.sizes.values()), (), work, flops + moved, note,
            flops, moved, outputs,
        )  # fmt: skip

    # What the algorithms have in common -----------------------------------------------------------

    def constant(self, value: float) -> Number:
        """A number of this kernel's dtype."""
        return Number(Literal(float(value), self.dtype))

    def dot(
        self, name: str, a: tuple[Block, Number], b: tuple[Block, Number], count: Number,
        first: Number | None = None,
    ) -> Number:  # fmt: skip
        """The sum of the products of `count` elements of two rows, from `first` on (0 for None)."""
        (block_a, row_a), (block_b, row_b) = a, b
        total = self.zero(name, self.dtype)
        with self.loop(f"{name}_at", count, REDUCE) as step:
            place = step if first is None else self.let(f"{name}_place", first + step)
            self.gather(total, block_a[row_a, place] * block_b[row_b, place])
        return total

    def largest(self, name: str, block: Block, row: Number, first: Number, count: Number) -> Number:
        """The largest size in a run of one row, as a variable."""
        top = self.zero(name, self.dtype)
        with self.loop(f"{name}_at", count, REDUCE) as step:
            place = self.let(f"{name}_place", first + step)
            self.gather(top, abs(block[row, place]), ReduceOps.MAX)
        return top

    def swap_rows(self, block: Block, a: Number, b: Number, length: Number, name: str) -> None:
        """Exchanges two rows."""
        with self.loop(name, length, LANES) as place:
            first = self.let(f"{name}_first", block[a, place])
            second = self.let(f"{name}_second", block[b, place])
            block[a, place] = second
            block[b, place] = first


class LU(Factorization):
    """P A = L U with row exchanges: the largest element of a column becomes its pivot."""

    word = "LU factorization"

    def write(self) -> None:
        a, pivots = self.part("factors", "columns", 1), self.part("pivots", 1)
        least = self.size("least", min(self.matrix_shape))
        with (
            self.loop("row", self.rows) as row,
            self.loop("column", self.columns, LANES) as column,
        ):
            a[row, column] = self.x[row, column]
        with self.loop("k", least) as k:
            below = self.let("below", self.rows - 1 - k)
            right = self.let("right", self.columns - 1 - k)
            place, top = self.variable("place", k), self.variable("top", abs(a[k, k]))
            with self.loop("r", below) as r:
                row = self.let("row", k + 1 + r)
                size = self.let("size", abs(a[row, k]))
                larger = self.let("larger", size > top)
                self.assign(place, choose(larger, row, place))
                self.assign(top, choose(larger, size, top))
            chosen = self.let("chosen", place)
            pivots[k] = chosen.cast(self.dtype)
            self.swap_rows(a, k, chosen, self.columns, "column")
            pivot = self.let("pivot", a[k, k])
            with self.loop("r", below) as r:
                row = self.let("row", k + 1 + r)
                given = self.let("given", a[row, k])
                # Where the pivot is 0, so is all of the column.
                factor = self.let("factor", choose(pivot.equals(0), given, given / pivot))
                a[row, k] = factor
                with self.loop("c", right, LANES) as c:
                    column = self.let("column", k + 1 + c)
                    a[row, column] = a[row, column] - factor * a[k, column]


class Cholesky(Factorization):
    """A = L L^T of the lower triangle, row by row."""

    word = "Cholesky factorization"

    def write(self) -> None:
        low, info = self.part("factor", "columns", 1), self.part("info", 1)
        failed = self.zero("failed", int64)
        with self.loop("row", self.rows) as row:
            before = self.let("before", row)
            behind = self.let("behind", self.columns - 1 - row)
            with self.loop("column", before) as column:
                left = self.let("left", column)
                total = self.dot("total", (low, row), (low, column), left)
                low[row, column] = (self.x[row, column] - total) / low[column, column]
            square = self.dot("square", (low, row), (low, row), before)
            rest = self.let("rest", self.x[row, row] - square)
            is_positive = self.let("is_positive", rest > 0)
            is_first = self.let("is_first", failed.equals(0))
            new = choose(is_first, self.let("order", row + 1), failed)
            self.assign(failed, choose(is_positive, failed, new))
            low[row, row] = rest.sqrt()
            with self.loop("c", behind, LANES) as c:
                column = self.let("column", row + 1 + c)
                low[row, column] = self.constant(0)
        with self.loop("one", 1) as one:
            info[one] = failed.cast(self.dtype)


class QR(Factorization):
    """A = Q R by Householder's reflections, as LAPACK chooses their signs.

    The columns of A are rows here, so that every run through memory is dense.  A reflection
    I - scale * v v^T has v below the diagonal of R until Q is made, and 1 in front of it.
    """

    word = "QR factorization"
    flops = 6

    def prepare(self) -> None:
        self.add_scratch("scales", min(self.matrix_shape))

    def write(self) -> None:
        self.a, self.q = self.part("triangle", "rows", 1), self.part("basis", "rows", 1)
        self.scales = self.scratch_block("scales", 1)
        self.least = self.size("least", min(self.matrix_shape))
        a = self.a
        with (
            self.loop("column", self.columns) as column,
            self.loop("row", self.rows, LANES) as row,
        ):
            a[column, row] = self.x[row, column]
        with self.loop("k", self.least) as k:
            self.start_reflection(k)
            right = self.let("right", self.columns - 1 - k)
            with self.loop("c", right) as c:
                self.reflect(k, a, self.let("column", k + 1 + c))
        self.make_basis()
        with self.loop("column", self.columns) as column:
            inside = self.let("inside", column < self.rows)
            below = choose(inside, self.rows - 1 - column, 0)
            with self.loop("r", self.let("below", below), LANES) as r:
                row = self.let("row", column + 1 + r)
                a[column, row] = self.constant(0)

    def start_reflection(self, k: Number) -> None:
        """Finds the reflection that clears column k below the diagonal."""
        a = self.a
        self.first = self.let("first", k + 1)
        self.below = self.let("below", self.rows - 1 - k)
        rest = self.largest("rest", a, k, self.first, self.below)
        head = self.let("head", a[k, k])
        top = self.let("top", rest.apply(_MAXIMUM, abs(head)))
        unit = self.let("unit", choose(top.equals(0), self.constant(1), top))
        ratio = self.let("ratio", head / unit)
        square = self.variable("square", ratio * ratio)
        with self.loop("square_at", self.below, REDUCE) as step:
            place = self.let("square_place", self.first + step)
            self.gather(square, (a[k, place] / unit) * (a[k, place] / unit))
        size = self.let("size", unit * square.sqrt())
        end = self.let("end", choose(head < 0, size, -size))
        # A column that is clear already is not turned, whatever its sign is.
        clear = self.let("clear", rest.equals(0))
        self.scales[k] = choose(clear, self.constant(0), (end - head) / end)
        divisor = self.let("divisor", choose(clear, self.constant(1), head - end))
        a[k, k] = choose(clear, head, end)
        with self.loop("r", self.below, LANES) as r:
            below = self.let("row", k + 1 + r)
            a[k, below] = a[k, below] / divisor

    def reflect(self, k: Number, block: Block, row: Number) -> None:
        """Applies reflection k to one row of `block`."""
        total = self.dot("total", (self.a, k), (block, row), self.below, self.first)
        head = self.let("row_head", block[row, k])
        share = self.let("share", self.scales[k] * (head + total))
        block[row, k] = head - share
        with self.loop("r", self.below, LANES) as r:
            place = self.let("row_place", k + 1 + r)
            block[row, place] = block[row, place] - share * self.a[k, place]

    def make_basis(self) -> None:
        """Q: the reflections in reverse order, on the columns of the identity."""
        wanted = self.size("wanted", self.node.arg)
        with (
            self.loop("vector", wanted) as vector,
            self.loop("row", self.rows, LANES) as row,
        ):
            on = vector.equals(row)
            self.q[vector, row] = choose(on, self.constant(1), 0)
        with self.loop("step", self.least) as step:
            k = self.let("k", self.least - 1 - step)
            self.first = self.let("first", k + 1)
            self.below = self.let("below", self.rows - 1 - k)
            with self.loop("v", self.let("behind", wanted - k)) as v:
                self.reflect(k, self.q, self.let("vector", k + v))


class Triangular(Factorization):
    """Solves A x = b for a triangular A and every right side b, a row of the second source."""

    word = "triangular solve"

    def lower(self) -> KernelCall:
        upper, unit = self.node.arg
        sides, rows = self.node.shape[-2:]
        count = prod(self.node.shape[:-2])
        sources = [
            self.parameter(name, memory_of(source), self.dtype, False)
            for name, source in zip("xy", self.node.src, strict=True)
        ]
        length = self.size("rows", rows)
        # From the first row down, or from the last row up.
        begin = self.size("first_row", rows - 1 if upper else 0)
        direction = self.size("direction", -1 if upper else 1)
        is_upper, is_unit = self.size("is_upper", int(upper)), self.size("is_unit", int(unit))
        self.size("x_step", rows * rows)
        self.size("out_step", sides * rows)
        with (
            self.loop("matrix", self.size("matrices", count), PARALLEL) as matrix,
            self.loop("side", self.size("sides", sides), PARALLEL) as side,
        ):
            a = self.block(sources[0], matrix, "x_step", 0, "rows", 1)
            b = self.block(sources[1], matrix, "out_step", 0, "rows", 1)
            out = self.block(self.out, matrix, "out_step", 0, "rows", 1)
            with self.loop("step", length) as step:
                row = self.let("row", begin + step * direction)
                # What is known: the rows before, or the rows behind.
                start = self.let("start", is_upper * (row + 1))
                known = self.let("known", step)
                total = self.zero("total", self.dtype)
                with self.loop("total_at", known, REDUCE) as at:
                    column = self.let("column", start + at)
                    self.gather(total, a[row, column] * out[side, column])
                rest = self.let("rest", b[side, row] - total)
                pivot = self.let("pivot", a[row, row])
                out[side, row] = choose(is_unit.equals(1), rest, rest / pivot)
        return self.finish(count * sides, 2 * count * sides * rows * rows)


class Permutation(Factorization):
    """Where each row is after the exchanges that the pivots name, one after the other."""

    word = "order of rows"

    def lower(self) -> KernelCall:
        count, length = prod(self.node.shape[:-1]), self.node.src[0].shape[-1]
        source = self.parameter("x", memory_of(self.node.src[0]), self.dtype, False)
        rows = self.size("rows", self.node.arg)
        self.size("x_step", length)
        with self.loop("matrix", self.size("matrices", count), PARALLEL) as matrix:
            pivots = self.block(source, matrix, "x_step", 0, 1)
            order = self.block(self.out, matrix, "rows", 0, 1)
            with self.loop("row", rows, LANES) as row:
                order[row] = row
            with self.loop("k", self.size("pivots", length)) as k:
                last = self.let("last", rows - 1)
                given = self.let("given", pivots[k])
                other = self.let("other", given.apply(_MAXIMUM, 0).apply(_MINIMUM, last))
                first, second = self.let("a", order[k]), self.let("b", order[other])
                order[k] = second
                order[other] = first
        return self.finish(count, count * length)
