"""Kernels of eigenvalues and singular values, by Jacobi's rotations.

Floor 3.  See `lower_factors.py`, which has the frame.  Sweeps over all pairs of rows go on until
nothing has to be turned, which takes six to ten of them; a matrix with NaN ends at once, and
nothing goes on for ever.  The elements are scaled first, so that no square overflows.

The algorithms: Golub and Van Loan, Matrix Computations, section 8.5 (symmetric matrices) and
8.6.3 (one-sided, by Hestenes).
"""

from __future__ import annotations

from dlgrad.codegen.algorithm import Block, Number, choose
from dlgrad.codegen.kernel import LoopKind
from dlgrad.codegen.lower_factors import (
    LU,
    QR,
    Cholesky,
    Factorization,
    Permutation,
    Triangular,
)
from dlgrad.codegen.lower_values import KernelCall
from dlgrad.dtype import float64, int64
from dlgrad.lazy.group import Group
from dlgrad.lazy.ops import FactorOps

LANES, REDUCE = LoopKind.LANES, LoopKind.REDUCE
MOST_SWEEPS = 40


class Rotations(Factorization):
    """What both algorithms share."""

    flops = 60

    @property
    def rounding(self) -> float:
        """Half the distance from 1 to the next number."""
        return 2.0**-53 if self.dtype is float64 else 2.0**-24

    def find_scale(self) -> Number:
        """The largest size in the matrix; 1 for zeros, and where there is none."""
        top = self.zero("top", self.dtype)
        with self.loop("row", self.rows) as row:
            of_row = self.largest("of_row", self.x, row, self.let("none", row - row), self.columns)
            larger = self.let("larger", of_row > top)
            self.assign(top, choose(larger, of_row, top))
        is_usable = self.let("is_usable", (top > 0) & (top < float("inf")))
        return self.let("scale", choose(is_usable, top, 1.0))

    def start_vectors(self, vectors: Block) -> None:
        """The identity."""
        with (
            self.loop("row", self.columns) as row,
            self.loop("column", self.columns, LANES) as column,
        ):
            vectors[row, column] = choose(row.equals(column), self.constant(1), 0)

    def sweep(self) -> None:
        """Turns all pairs of rows until a whole sweep has nothing to do."""
        turned = self.variable("turned", self.constant(1).cast(int64))
        with self.loop("sweep", MOST_SWEEPS):
            pairs = choose(turned.equals(0), turned, self.columns - 1)
            firsts = self.let("firsts", choose(self.columns > 0, pairs, 0))
            self.assign(turned, turned - turned)
            with self.loop("p", firsts) as p:
                seconds = self.let("seconds", self.columns - 1 - p)
                with self.loop("r", seconds) as r:
                    self.turn(p, self.let("q", p + 1 + r), turned)

    def turn(self, p: Number, q: Number, turned: Number) -> None:
        """Makes rows p and q what they should be to each other, and counts it in `turned`."""
        raise NotImplementedError

    def angle(self, ratio: Number) -> tuple[Number, Number, Number]:
        """Tangent, cosine and sine of the smaller angle whose double has this cotangent."""
        one = self.constant(1)
        size = self.let("size", abs(ratio) + (one + ratio * ratio).sqrt())
        tangent = self.let("tangent", choose(ratio < 0, -one, one) / size)
        cosine = self.let("cosine", one / (one + tangent * tangent).sqrt())
        return tangent, cosine, self.let("sine", cosine * tangent)

    def rotate(
        self, name: str, block: Block, rows: tuple[Number, Number], length: Number,
        cosine: Number, sine: Number, across: bool = False,
    ) -> None:  # fmt: skip
        """Turns two rows of a block (or two columns, `across`) by an angle."""
        p, q = rows
        with self.loop(name, length, LANES) as at:
            place_p, place_q = ((at, p), (at, q)) if across else ((p, at), (q, at))
            first = self.let(f"{name}_first", block[place_p])
            second = self.let(f"{name}_second", block[place_q])
            block[place_p] = cosine * first - sine * second
            block[place_q] = sine * first + cosine * second

    def sort(self, values: Block, descending: bool, *rows: tuple[Block, Number]) -> None:
        """Puts the values in order, and the rows that belong to them."""
        with self.loop("k", self.columns) as k:
            best, place = self.variable("best", values[k]), self.variable("place", k)
            behind = self.let("behind", self.columns - 1 - k)
            with self.loop("r", behind) as r:
                at = self.let("at", k + 1 + r)
                value = self.let("value", values[at])
                wins = self.let("wins", value > best if descending else value < best)
                self.assign(place, choose(wins, at, place))
                self.assign(best, choose(wins, value, best))
            chosen, first = self.let("chosen", place), self.let("first", values[k])
            values[k] = best
            values[chosen] = first
            for number, (block, length) in enumerate(rows):
                self.swap_rows(block, k, chosen, length, f"column_{number}")


class Eigh(Rotations):
    """V A V^T = diagonal(values), ascending, for a symmetric A."""

    word = "eigenvalues and eigenvectors"

    def prepare(self) -> None:
        self.add_scratch("turning", self.matrix_shape[0] ** 2)

    def write(self) -> None:
        self.a = a = self.scratch_block("turning", "columns", 1)
        self.vectors = self.part("vectors", "columns", 1)
        values = self.part("values", 1)
        scale = self.find_scale()
        with (
            self.loop("row", self.rows) as row,
            self.loop("column", self.columns, LANES) as column,
        ):
            a[row, column] = self.x[row, column] / scale
        self.start_vectors(self.vectors)
        self.sweep()
        with self.loop("row", self.rows) as row:
            values[row] = a[row, row] * scale
        self.sort(values, False, (self.vectors, self.columns))

    def turn(self, p: Number, q: Number, turned: Number) -> None:
        a = self.a
        beside = self.let("beside", a[p, q])
        with self.when(abs(beside) > self.rounding / 16):
            self.assign(turned, turned + 1)
            first, second = self.let("first", a[p, p]), self.let("second", a[q, q])
            ratio = self.let("ratio", (second - first) / (beside * 2))
            tangent, cosine, sine = self.angle(ratio)
            self.rotate("i", a, (p, q), self.columns, cosine, sine)
            self.rotate("j", a, (p, q), self.columns, cosine, sine, across=True)
            self.rotate("v", self.vectors, (p, q), self.columns, cosine, sine)
            # These four are known better than by two turns.
            a[p, p] = first - tangent * beside
            a[q, q] = second + tangent * beside
            a[p, q] = self.constant(0)
            a[q, p] = self.constant(0)


class SVD(Rotations):
    """Turns the columns of A until each is orthogonal to all others; their norms are the values.

    The columns are rows here, the `images` of the right singular vectors.
    """

    word = "singular values and vectors"

    def write(self) -> None:
        self.images, values = self.part("images", "rows", 1), self.part("values", 1)
        self.vectors = self.part("vectors", "columns", 1)
        scale = self.find_scale()
        with (
            self.loop("column", self.columns) as column,
            self.loop("row", self.rows, LANES) as row,
        ):
            self.images[column, row] = self.x[row, column] / scale
        self.start_vectors(self.vectors)
        self.tolerance = self.let("tolerance", self.rows.cast(self.dtype).sqrt() * self.rounding)
        self.sweep()
        with self.loop("column", self.columns) as column:
            square = self.dot("square", (self.images, column), (self.images, column), self.rows)
            values[column] = square.sqrt() * scale
        self.sort(values, True, (self.images, self.rows), (self.vectors, self.columns))

    def turn(self, p: Number, q: Number, turned: Number) -> None:
        images = self.images
        first = self.dot("first", (images, p), (images, p), self.rows)
        second = self.dot("second", (images, q), (images, q), self.rows)
        both = self.dot("both", (images, p), (images, q), self.rows)
        limit = self.let("limit", self.tolerance * first.sqrt() * second.sqrt())
        # Products below the square of the rounding are those of columns that count as zero.
        with self.when((abs(both) > limit) & (abs(both) > self.rounding**2)):
            self.assign(turned, turned + 1)
            ratio = self.let("ratio", (second - first) / (both * 2))
            _, cosine, sine = self.angle(ratio)
            self.rotate("i", images, (p, q), self.rows, cosine, sine)
            self.rotate("v", self.vectors, (p, q), self.columns, cosine, sine)


KINDS: dict[FactorOps, type[Factorization]] = {
    FactorOps.LU: LU,
    FactorOps.CHOLESKY: Cholesky,
    FactorOps.QR: QR,
    FactorOps.TRIANGULAR: Triangular,
    FactorOps.PERMUTATION: Permutation,
    FactorOps.EIGH: Eigh,
    FactorOps.SVD: SVD,
}


def lower_factor(group: Group) -> KernelCall:
    """The launch of a factorization."""
    assert group.alone is not None and isinstance(group.alone.op, FactorOps)
    return KINDS[group.alone.op](group).lower()
