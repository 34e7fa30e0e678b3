"""Matrix products, creation, random numbers and distributions beside PyTorch."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numpy")

from beside_torch import agree, compare, refuse  # noqa: E402

import dlgrad  # noqa: E402

PRODUCTS: dict[str, tuple[Any, ...]] = {
    "two vectors": (lambda m, x, y: [m.dot(x, y), m.vdot(x, y), m.inner(x, y), m.outer(x, y),
                                     m.ger(x, y), x.kron(y)], (3,), (3,)),
    "vectors of three": (lambda m, x, y: [m.linalg.cross(x, y), m.cross(x, y, dim=1),
                                          m.linalg.vecdot(x, y, dim=0)], (2, 3), (2, 3)),
    "inner": (lambda m, x, y: [m.inner(x, y)], (2, 3), (4, 2, 3)),
    "kron": (lambda m, x, y: [m.kron(x, y)], (2, 3), (2, 1, 2)),
    "chain": (lambda m, x, y, z: [m.chain_matmul(x, y, z), m.linalg.multi_dot([x[0], y, z]),
                                  m.linalg.multi_dot((x, y, z[:, 0]))], (2, 3), (3, 4), (4, 2)),
    "sums": (lambda m, x, y, z, v: [m.addmm(x, y, z, beta=0.5, alpha=2.0), x.addmm(y, z, beta=0),
                                    m.addmv(x[0], z.t(), v, alpha=3), m.addr(x, y[:, 0], x[0])],
             (2, 4), (2, 3), (3, 4), (3,)),
    "batches": (lambda m, x, y, z: [m.baddbmm(x, y, z, beta=2, alpha=0.5), m.bmm(y, z),
                                    m.addbmm(x[0], y, z), m.addbmm(x[0, 0], y, z, beta=0.5)],
                (2, 3, 5), (2, 3, 4), (2, 4, 5)),
    "powers": (lambda m, x: [m.matrix_power(x, 3), m.linalg.matrix_power(x, 1), x.matrix_power(0)],
               (3, 3)),
    "powers of elements": (lambda m, x: [m.linalg.vander(x.detach(), N=4),
                                         m.vander(x[0].detach(), 2, increasing=True)], (3, 3)),
    "tensordot": (lambda m, x, y: [m.tensordot(x, y, 1), m.tensordot(x, y, ([0, 2], [2, 0])),
                                   m.tensordot(x, y, dims=0)], (2, 3, 4), (4, 3, 2)),
    "einsum of one": (lambda m, x: [m.einsum("ij->ji", x), m.einsum("ij->", x),
                                    m.einsum("...j", x), m.einsum("ba", x)], (2, 3)),
    "einsum of diagonals": (lambda m, x: [m.einsum("ii->i", x), m.einsum("ii", x),
                                          m.einsum("ij,ij->i", x, x)], (3, 3)),
    "einsum of two": (lambda m, x, y: [m.einsum("bij,bjk->bik", x, y),
                                       m.einsum("...ij, ...jk -> ...ik", x, y),
                                       m.einsum("bij,bjk", [x, y]), m.einsum("bij,bjk->k", x, y),
                                       m.einsum("bij,cjk->bc", x, y),
                                       m.einsum(x, [0, 1, 2], y, [0, 2, 3], [3, 1]),
                                       m.einsum(x, [..., 1, 2], y, [..., 2, 3])],
                      (2, 3, 4), (2, 4, 5)),
    "einsum with sizes of 1": (lambda m, x, y: [m.einsum("bij,bjk->bik", x, y),
                                                m.einsum("...ij,...jk", x, y)],
                               (1, 3, 4), (2, 4, 2)),
    "einsum of four": (lambda m, x, y, z, v: [m.einsum("ij,jk,kl,l->i", x, y, z, v),
                                              m.einsum("ij,jk,kl,l->ijkl", x, y, z, v)],
                       (2, 3), (3, 4), (4, 2), (2,)),
}  # fmt: skip


# PyTorch warns once in a process that chain_matmul will go.
@pytest.mark.filterwarnings("ignore:torch.chain_matmul is deprecated")
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    call, *shapes = PRODUCTS[name]
    compare(call, *shapes, tolerance=5e-5)


@pytest.mark.filterwarnings("ignore:torch.chain_matmul is deprecated")
@pytest.mark.parametrize("name", ["two vectors", "chain", "einsum of two", "powers"])
def test_products_of_integers(name: str) -> None:
    call, *shapes = PRODUCTS[name]
    compare(call, *shapes, kind="int32" if name == "two vectors" else "int64")


ERRORS: dict[str, tuple[Any, ...]] = {
    "matmul": (lambda m, x: x @ x, (2, 3)),
    "matmul of numbers": (lambda m, x: m.matmul(x, x), ()),
    "mm of a vector": (lambda m, x: m.mm(x, x[0]), (3, 3)),
    "bmm": (lambda m, x: m.bmm(x, x[:1]), (2, 3, 3)),
    "mv": (lambda m, x: m.mv(x, x[:, 0]), (3, 2)),
    "dot": (lambda m, x: m.dot(x, x[:1]), (3,)),
    "dot of dtypes": (lambda m, x: m.dot(x, x.double()), (3,)),
    "inner": (lambda m, x: m.inner(x, x[:, 0]), (3, 2)),
    "outer": (lambda m, x: m.outer(x, x), (2, 2)),
    "addmm": (lambda m, x: m.addmm(m.zeros(3), x, x.t()), (2, 3)),
    "addmm of dtypes": (lambda m, x: m.addmm(x.double(), x, x), (2, 2)),
    "addr": (lambda m, x: m.addr(x, x, x), (2, 2)),
    "cross": (lambda m, x: m.linalg.cross(x, x), (3, 2)),
    "multi_dot": (lambda m, x: m.linalg.multi_dot([x]), (2, 2)),
    "matrix_power": (lambda m, x: m.matrix_power(x, 2), (2, 3)),
    "tensordot": (lambda m, x: m.tensordot(x, x, ([0], [1])), (2, 3)),
    "einsum count": (lambda m, x: m.einsum("ij,jk", x), (2, 2)),
    "einsum rank": (lambda m, x: m.einsum("ijk", x), (2, 2)),
    "einsum sizes": (lambda m, x: m.einsum("ij,ij", x, x.t()), (2, 3)),
    "einsum repeated": (lambda m, x: m.einsum("ii", x), (2, 3)),
    "einsum output": (lambda m, x: m.einsum("ij->ik", x), (2, 3)),
    "einsum output twice": (lambda m, x: m.einsum("ij->ii", x), (2, 3)),
    "einsum character": (lambda m, x: m.einsum("i1", x), (2, 3)),
    "einsum of nothing": (lambda m: m.einsum("ij"),),
    "arange": (lambda m: m.arange(3, 0),),
    "arange step": (lambda m: m.arange(0, 3, 0),),
    "arange bool": (lambda m: m.arange(3, dtype=m.bool),),
    "linspace": (lambda m: m.linspace(0, 1, -1),),
    "eye": (lambda m: m.eye(-1),),
    "zeros": (lambda m: m.zeros(-1),),
    "zeros of what": (lambda m: m.zeros(),),
    "zeros of a float": (lambda m: m.zeros(2.5),),
    "full": (lambda m: m.full((2,), 300, dtype=m.uint8),),
    "integers with gradients": (lambda m: m.ones(2, dtype=m.int32, requires_grad=True),),
    "rows of other lengths": (lambda m: m.tensor([[1], [1, 2]]),),
    "text": (lambda m: m.tensor("a"),),
    "alias of a list": (lambda m: m.asarray([1], copy=False),),
    "randint": (lambda m: m.randint(5, 1, (2,)),),
    "randint outside": (lambda m: m.randint(0, 300, (2,), dtype=m.uint8),),
    "rand of integers": (lambda m: m.rand(2, dtype=m.int32),),
    "normal": (lambda m: m.normal(m.zeros(2), -1.0),),
    "normal without size": (lambda m: m.normal(0, 1),),
    "bernoulli": (lambda m: m.bernoulli(m.tensor([2.0])),),
    "bernoulli of integers": (lambda m: m.bernoulli(m.ones(2, dtype=m.int64)),),
    "multinomial negative": (lambda m: m.multinomial(m.tensor([-1.0, 1.0]), 1),),
    "multinomial zero": (lambda m: m.multinomial(m.tensor([0.0, 0.0]), 1),),
    "multinomial more": (lambda m: m.multinomial(m.tensor([1.0, 1.0]), 3),),
    "multinomial none": (lambda m: m.multinomial(m.tensor([1.0, 1.0]), 0),),
    "uniform_": (lambda m: m.zeros(2).uniform_(3, 1),),
    "uniform_ of integers": (lambda m: m.zeros(2, dtype=m.int32).uniform_(),),
    "exponential_": (lambda m: m.zeros(2).exponential_(-1.0),),
    "geometric_": (lambda m: m.zeros(2).geometric_(2.0),),
    "cauchy_": (lambda m: m.zeros(2).cauchy_(0.0, -1.0),),
    "log_normal_": (lambda m: m.zeros(2).log_normal_(0.0, -1.0),),
    "random_": (lambda m: m.zeros(2).random_(5, 1),),
    "random_ outside": (lambda m: m.zeros(2, dtype=m.uint8).random_(0, 1000),),
    "repeat_interleave": (lambda m, x: x.repeat_interleave(m.tensor([1, -1])), (2,)),
    "repeat_interleave count": (lambda m, x: x.repeat_interleave(m.tensor([1, 2])), (3,)),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, *shapes = ERRORS[name]
    refuse(call, *shapes)


def test_creation() -> None:
    def make(m: Any) -> list[Any]:
        x = m.tensor([[1.5, 2], [3, 4]], dtype=m.float64)
        return [
            m.arange(5), m.arange(1, 9, 2), m.arange(0, 1, 0.3), m.arange(5, 0, -2.0),
            m.arange(0.5, 3, dtype=m.int64), m.arange(0, 3.5, 1, dtype=m.int32),
            m.arange(m.tensor(3)), m.arange(5, dtype=m.float16), m.arange(0, 2, 0.1),
            m.linspace(0, 1, 7), m.linspace(3, -2, 4, dtype=m.float64), m.linspace(0, 10, 1),
            m.linspace(0, 10, 5, dtype=m.int32), m.linspace(-3, 7, 6, dtype=m.int64),
            m.logspace(0, 3, 4), m.logspace(-1, 1, 5, base=2.0),
            m.eye(2), m.eye(2, 3, dtype=m.bool), m.eye(0),
            m.zeros(2, 3), m.ones((2,)), m.zeros(size=(1, 2)), m.full((2,), 3), m.full((), True),
            m.full((2,), 1.5), m.full((2,), 1.5, dtype=m.int32), m.full((1,), m.tensor(2.0)),
            m.zeros_like(x), m.ones_like(x, dtype=m.int8), m.full_like(x, 7),
            x.new_zeros(3), x.new_ones((1, 2)), x.new_full((2,), 3), x.new_tensor([1, 2]),
            m.scalar_tensor(3), m.as_tensor([1, 2], dtype=m.float32), m.asarray([1.0, 2.0]),
            m.tensor([1, 2.5, True]), m.tensor([True, 2]), m.tensor([]), m.tensor([1.7]).long(),
            m.tensor([[True], [False]]), m.tensor(-1).to(m.uint8),
            m.empty_strided((2, 2), (1, 2)).zero_(),
        ]  # fmt: skip

    agree(make(dlgrad), make(torch), 1e-6)


@pytest.mark.parametrize("name", ["float64", "float16"])
def test_creation_with_another_default(name: str) -> None:
    def make(m: Any) -> list[Any]:
        m.set_default_dtype(getattr(m, name))
        try:
            return [
                m.zeros(1), m.tensor([1.5]), m.tensor([1]), m.arange(1.0), m.linspace(0, 1, 2),
                m.eye(1), m.full((1,), 1.0), m.scalar_tensor(1), m.tensor([1]) / 1,
                m.rand(0), m.randn(0),
            ]  # fmt: skip
        finally:
            m.set_default_dtype(m.float32)

    agree(make(dlgrad), make(torch))


def test_repeats_and_combinations() -> None:
    compare(
        lambda m, x: [
            x.repeat_interleave(2), m.repeat_interleave(x, 3, dim=1),
            m.repeat_interleave(x, m.tensor([2, 0, 1]), dim=0),
            x.repeat_interleave(m.tensor([2]), 1), m.combinations(x[0]),
            m.combinations(x[0], r=3), m.combinations(x[:, 0], 2, with_replacement=True),
        ],
        (3, 4),
    )  # fmt: skip
    compare(lambda m, x: [m.repeat_interleave(x)], (5,), kind="int64")


def test_shapes_changed_in_place() -> None:
    def change(m: Any) -> list[Any]:
        x = m.arange(6.0).reshape(2, 1, 3).clone()
        view = x[1]
        x.squeeze_(1).t_().unsqueeze_(0).transpose_(0, 2)
        view.mul_(10)
        y = m.arange(6.0).reshape(2, 3).clone()
        return [x, y.resize_(3, 2), y.resize_(2), m.zeros(2).resize_as_(y)]

    agree(change(dlgrad), change(torch))


# Distributions ----------------------------------------------------------------------------------

PARAMETERS: dict[str, tuple[Any, ...]] = {
    "Normal": ((2, 3), (3,)),
    "LogNormal": ((2, 3), (3,)),
    "Laplace": ((2, 3), (3,)),
    "Uniform": ((3,), (2, 3)),
    "Exponential": ((2, 3),),
}


def distribution(m: Any, name: str, *parameters: Any) -> Any:
    made = list(parameters)
    if name == "Exponential":
        made = [made[0].exp()]
    elif name == "Uniform":
        made[1] = made[0] + made[1].exp()
    else:
        made[1] = made[1].exp()
    return getattr(m.distributions, name)(*made)


@pytest.mark.parametrize("name", PARAMETERS)
def test_continuous_distributions(name: str) -> None:
    def ask(m: Any, *parameters: Any) -> list[Any]:
        d = distribution(m, name, *parameters)
        share = m.linspace(0.1, 0.9, 6).reshape(2, 3)
        inside = d.icdf(share)
        return [
            inside, d.log_prob(inside), d.cdf(inside), d.entropy(), d.mean, d.mode, d.variance,
            d.stddev, d.perplexity(), d.expand((4, 2, 3)).mean,
            m.distributions.Independent(d, 1).log_prob(inside),
        ]  # fmt: skip

    compare(ask, *PARAMETERS[name], tolerance=2e-4)


def ask_discrete(m: Any, d: Any, value: Any) -> list[Any]:
    return [
        d.log_prob(value), d.entropy(), d.mean, d.variance, d.enumerate_support(),
        d.enumerate_support(expand=False), d.expand((4, *d.batch_shape)).log_prob(value),
        d.probs, d.logits,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["probs", "logits"])
def test_discrete_distributions(name: str) -> None:
    def ask(m: Any, x: Any) -> list[Any]:
        given = x.exp() if name == "probs" else x
        categorical = m.distributions.Categorical(**{name: given})
        share = x.sigmoid() if name == "probs" else x
        bernoulli = m.distributions.Bernoulli(**{name: share})
        return [
            *ask_discrete(m, categorical, m.tensor([1, 0])),
            *ask_discrete(m, bernoulli, m.tensor([[1.0, 0, 1]])),
            categorical.mode, bernoulli.mode,
        ]  # fmt: skip

    compare(ask, (2, 3), tolerance=1e-4)


def test_divergences() -> None:
    def ask(m: Any, x: Any, y: Any) -> list[Any]:
        pairs = [
            (distribution(m, name, x, y), distribution(m, name, y, x))
            for name in PARAMETERS
        ]
        d, k = m.distributions, m.distributions.kl_divergence
        pairs.append((pairs[3][0], pairs[0][0]))
        pairs.append((d.Bernoulli(logits=x), d.Bernoulli(y.sigmoid())))
        pairs.append((d.Categorical(logits=x), d.Categorical(y.exp())))
        pairs.append((d.Independent(pairs[0][0], 1), d.Independent(pairs[0][1], 1)))
        return [k(p, q) for p, q in pairs]

    compare(ask, (2, 3), (2, 3), tolerance=2e-4)


def test_distributions_refuse_and_describe_alike() -> None:
    for m in (torch, dlgrad):
        d = m.distributions
        for call in (
            lambda d=d: d.Normal(0.0, -1.0),
            lambda d=d, m=m: d.Normal(m.zeros(2), m.tensor([1.0, float("nan")])),
            lambda d=d, m=m: d.Uniform(1.0, 0.0).log_prob(m.tensor(0.5)),
            lambda d=d: d.Bernoulli(1.5),
            lambda d=d: d.Bernoulli(),
            lambda d=d, m=m: d.Categorical(m.tensor([-1.0, 2.0])),
            lambda d=d, m=m: d.Categorical(m.tensor(1.0)),
            lambda d=d, m=m: d.Bernoulli(0.5).log_prob(m.tensor(0.5)),
            lambda d=d, m=m: d.Exponential(1.0).log_prob(m.tensor(-1.0)),
            lambda d=d, m=m: d.Normal(m.zeros(3), 1.0).log_prob(m.zeros(2)),
        ):
            with pytest.raises(ValueError):
                call()
        with pytest.raises(NotImplementedError):
            d.kl_divergence(d.Normal(0.0, 1.0), d.Bernoulli(0.5))
    described = [
        [
            repr(m.distributions.Normal(0.0, 1.0)),
            repr(m.distributions.Normal(m.zeros(3), 1.0)),
            repr(m.distributions.Categorical(m.ones(2, 3))),
            repr(m.distributions.Independent(m.distributions.Normal(m.zeros(3), 1.0), 1)),
        ]
        for m in (torch, dlgrad)
    ]
    assert [text.replace("torch.", "dlgrad.") for text in described[0]] == described[1]
