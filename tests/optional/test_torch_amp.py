"""Autocast beside PyTorch's: the dtypes that functions give, and the numbers of a small model."""

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

import dlgrad  # noqa: E402
from dlgrad import nn  # noqa: E402

# What the two agree on on the CPU.  PyTorch's list for CUDA, which dlgrad follows everywhere,
# has more rows: there exp, softmax, layer_norm and others of half tensors give float32.
CALLS = {
    "matmul": lambda m, F, x, h: x @ x,
    "mm of halves": lambda m, F, x, h: m.mm(h, h),
    "linear": lambda m, F, x, h: F.linear(x, h, x[0]),
    "addmm": lambda m, F, x, h: m.addmm(x, x, h),
    "bmm": lambda m, F, x, h: m.bmm(x[None], h[None]),
    "einsum": lambda m, F, x, h: m.einsum("ij,jk->ik", x, x),
    "conv2d": lambda m, F, x, h: F.conv2d(x[None, None], h[None, None]),
    "relu": lambda m, F, x, h: F.relu(h),
    "gelu": lambda m, F, x, h: F.gelu(h),
    "add": lambda m, F, x, h: x + h,
    "mean": lambda m, F, x, h: h.mean(),
    "max_pool2d": lambda m, F, x, h: F.max_pool2d(h[None, None], 2),
    "mse_loss": lambda m, F, x, h: F.mse_loss(h, h),
    "cross_entropy": lambda m, F, x, h: F.cross_entropy(h, (x[:, 0] * 0).long()),
    "prod": lambda m, F, x, h: h.prod(),
    "cat": lambda m, F, x, h: m.cat([x, h]),
    "attention": lambda m, F, x, h: F.scaled_dot_product_attention(x[None], x[None], x[None]),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_dtypes(name, half):
    numbers = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
    seen = []
    for module, functional in ((dlgrad, nn.functional), (torch, torch.nn.functional)):
        x = module.tensor(numbers)
        h = x.to(getattr(module, half))
        with module.autocast("cpu", dtype=getattr(module, half)):
            result = CALLS[name](module, functional, x, h)
        values = np.array(result.float().tolist())
        seen.append((str(result.dtype).split(".")[-1], values))
    assert seen[0][0] == seen[1][0]
    np.testing.assert_allclose(seen[0][1], seen[1][1], rtol=3e-2, atol=3e-2)


def test_a_scaler_moves_as_pytorchs():
    seen = []
    for library in (dlgrad, torch):
        scaler = library.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        weight = library.ones(2, requires_grad=True)
        optimizer = library.optim.Adam([weight], lr=0.1)
        for gradient in (1.0, 0.5, float("inf"), 1.0, 2.0, float("nan"), 1.0):
            optimizer.zero_grad()
            scaler.scale((weight * gradient).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            seen.append((scaler.get_scale(), *weight.tolist()))
        seen.append(scaler.state_dict())
    assert seen[7] == seen[15]
    for a, b in zip(seen[:7], seen[8:15], strict=True):
        assert a == pytest.approx(b, rel=1e-5)
