"""`import dlgrad as torch`: the names that programs touch as they start."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from pathlib import Path

import pytest

import dlgrad
import dlgrad as torch
from dlgrad import catalogue, nn

ROOT = Path(__file__).resolve().parent.parent

PROGRAM = """
import dlgrad as torch
import dlgrad.nn as nn
import dlgrad.nn.functional as F
import dlgrad.backends.cudnn as cudnn
import dlgrad.multiprocessing as mp
from dlgrad import Tensor, optim
from dlgrad.utils.data import DataLoader, Dataset, TensorDataset

cudnn.benchmark = True
torch.backends.cudnn.deterministic = True
torch.backends.cuda.matmul.allow_tf32 = True
torch.set_float32_matmul_precision("high")
torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)
torch.manual_seed(0)
torch.cuda.manual_seed_all(0)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if not torch.distributed.is_available():
    device = torch.device("cpu")
model = torch.compile(nn.Linear(3, 2).to(device))
data = TensorDataset(torch.randn(8, 3), torch.arange(8, dtype=torch.long) % 2)
optimizer = optim.SGD(model.parameters(), lr=0.1)
for x, y in torch.utils.data.DataLoader(data, batch_size=4, shuffle=True):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x.to(device)), y)
    loss.backward()
    optimizer.step()
assert isinstance(loss, Tensor) and torch.is_tensor(loss) and loss.dtype == torch.float
print(torch.get_num_threads(), mp.cpu_count() > 0, torch.isfinite(loss).item())
"""


def test_a_script_with_pytorchs_imports_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "True", "True"]


def test_what_is_not_there_says_so() -> None:
    for name in ("cudnn", "mkl", "mkldnn", "openmp"):
        assert importlib.import_module(f"dlgrad.backends.{name}").is_available() is False
    assert torch.backends.mps.is_available() is torch.metal.is_available()
    assert torch.distributed.is_initialized() is False
    with pytest.raises(AttributeError, match="one process"):
        torch.distributed.init_process_group("gloo")
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_num_interop_threads() == 1
    assert torch.are_deterministic_algorithms_enabled() is True
    assert torch.cuda.device_count() == 0 or torch.cuda.is_available()


def test_complex_and_sparse_are_refused() -> None:
    for name in ("complex64", "fft", "sparse_coo_tensor", "view_as_complex"):
        assert not hasattr(torch, name)
        with pytest.raises(NotImplementedError, match="dlgrad has no"):
            getattr(torch, name)
    x = torch.ones(2)
    with pytest.raises(NotImplementedError, match="sparse"):
        x.to_sparse()
    with pytest.raises(NotImplementedError, match="complex"):
        torch.tensor(1j)
    assert not x.is_sparse and x.layout is torch.strided and x.real is x and x.conj() is x
    assert torch.is_complex(x) is False and x.is_cpu


def test_casting_rules() -> None:
    assert torch.can_cast(torch.int64, torch.float16)
    assert torch.can_cast(torch.int64, torch.uint8)
    assert torch.can_cast(torch.bool, torch.int8)
    assert not torch.can_cast(torch.float32, torch.int64)
    assert not torch.can_cast(torch.uint8, torch.bool)
    assert torch.result_type(torch.ones(2, dtype=torch.int32), 1.5) is torch.float32
    assert torch.promote_types(torch.int8, torch.uint8) is torch.int16
    with pytest.raises(TypeError, match="two dtypes"):
        torch.can_cast("float32", torch.int64)  # type: ignore[arg-type]


def test_number_of_threads() -> None:
    with dlgrad.config.NUM_THREADS(dlgrad.config.NUM_THREADS.value):
        before = torch.get_num_threads()
        torch.set_num_threads(before + 1)
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    for wrong, error in ((0, RuntimeError), (True, TypeError), (1.5, TypeError)):
        with pytest.raises(error, match="set_num_threads expects"):
            torch.set_num_threads(wrong)  # type: ignore[arg-type]


def test_compile_gives_the_function_back() -> None:
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    assert torch.compile(double, mode="max-autotune") is double
    assert torch.compile(dynamic=True)(double) is double  # type: ignore[operator]
    with pytest.raises(RuntimeError, match="callable"):
        torch.compile(3)


def test_the_page_of_operators_is_up_to_date() -> None:
    written = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    assert written == catalogue.page(), "write it: python -m dlgrad.catalogue > docs/operators.md"
    assert "| `add` | yes | yes |" in written


def test_small_questions_and_older_names() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    assert [place.tolist() for place in torch.where(x > 3)] == [[1, 1], [1, 2]]
    with pytest.raises(TypeError, match="condition, input and other"):
        torch.where(x > 3, x)
    assert x.H.tolist() == x.T.tolist()
    with pytest.raises(RuntimeError, match="mH"):
        torch.ones(1, 2, 3).H  # noqa: B018
    assert x.pin_memory() is x and not x.is_pinned() and not x.is_shared()
    with pytest.raises(NotImplementedError, match="another process"):
        x.share_memory_()
    assert x.get_device() == -1 and x.ndimension() == 2 and x.is_same_size(x + 1)
    assert torch.LongTensor([1, 2]).dtype is torch.int64
    assert torch.FloatTensor(2, 3).shape == (2, 3)
    assert isinstance(x, torch.FloatTensor) and not isinstance(x, torch.LongTensor)
    variable = torch.autograd.Variable(x, requires_grad=True)
    assert variable.requires_grad and isinstance(x, torch.autograd.Variable)
    assert variable.data_ptr() == x.data_ptr()
    torch.set_default_tensor_type("torch.DoubleTensor")
    assert torch.zeros(1).dtype is torch.float64
    torch.set_default_tensor_type(torch.FloatTensor)
    assert torch.zeros(1).dtype is torch.float32
    with pytest.raises(TypeError, match="floating-point"):
        torch.set_default_tensor_type("torch.LongTensor")
    assert torch.version.cuda is None and torch.version.__version__ == torch.__version__
    assert torch.float32.is_complex is False and torch.set_flush_denormal(True) is False
    y = torch.tensor([-1.0, 2.0])
    assert torch.relu_(y) is y and y.tolist() == [0, 2]
    assert torch.arctan2(y, y + 1).tolist() == torch.atan2(y, y + 1).tolist()
    assert torch.detach(variable).requires_grad is False and torch.real(x) is x
    assert torch.typename(x) == "dlgrad.float32" and torch.fill(y, 3).tolist() == [3, 3]
    assert y.hardshrink(3).tolist() == [0, 0] and (-y).prelu(torch.tensor(0.5)).tolist() == [0, -1]


def test_functions_of_python_for_each_element() -> None:
    x, y = torch.tensor([[1, 2], [3, 4]]), torch.tensor([10, 20])
    assert x.apply_(lambda a: a * a) is x and x.tolist() == [[1, 4], [9, 16]]
    assert x.map_(y, lambda a, b: a + b).tolist() == [[11, 24], [19, 36]]
    assert x.map2_(y, y, lambda a, b, c: a - b - c).tolist() == [[-9, -16], [-1, -4]]
    with pytest.raises(RuntimeError, match="detach"):
        torch.ones(2, requires_grad=True).apply_(abs)
    with pytest.raises(TypeError, match="must be Tensor"):
        x.map_([1, 2], max)  # type: ignore[arg-type]


def test_diagonals_are_filled() -> None:
    assert torch.zeros(3, 2).fill_diagonal_(7).tolist() == [[7, 0], [0, 7], [0, 0]]
    tall = torch.zeros(5, 2).fill_diagonal_(1, wrap=True)
    assert tall.tolist() == [[1, 0], [0, 1], [0, 0], [1, 0], [0, 1]]
    assert torch.zeros(2, 2, 2).fill_diagonal_(5).sum().item() == 10
    for shape in ((3,), (2, 3, 2)):
        with pytest.raises(RuntimeError, match="dimensions"):
            torch.zeros(shape).fill_diagonal_(1)


def test_windows() -> None:
    half = 0.5**0.5
    assert torch.hann_window(4).tolist() == pytest.approx([0, 0.5, 1, 0.5], abs=1e-6)
    assert torch.hann_window(3, periodic=False).tolist() == pytest.approx([0, 1, 0], abs=1e-6)
    assert torch.hamming_window(2).tolist() == pytest.approx([0.08, 1])
    expected = [0, 0.42 - 0.5 * half, 0.34, 0.42 + 0.5 * half]
    assert torch.blackman_window(8)[:4].tolist() == pytest.approx(expected, abs=1e-6)
    assert torch.bartlett_window(5, False).tolist() == pytest.approx([0, 0.5, 1, 0.5, 0])
    flat = torch.kaiser_window(3, False, 0.0, dtype=torch.float64)
    assert flat.tolist() == [1, 1, 1] and flat.dtype is torch.float64
    assert torch.hann_window(0).shape == (0,) and torch.hann_window(1).tolist() == [1]
    with pytest.raises(RuntimeError, match="non-negative"):
        torch.hann_window(-1)
    with pytest.raises(RuntimeError, match="floating point"):
        torch.hann_window(3, dtype=torch.int64)


def test_the_stream_can_be_forked() -> None:
    torch.manual_seed(3)
    with torch.random.fork_rng():
        inside = torch.rand(3).tolist()
    assert torch.rand(3).tolist() == inside
    other = torch.default_generator.clone_state()
    assert other.get_offset() == torch.default_generator.get_offset() > 0
    assert torch.rand(3, generator=other).tolist() == torch.rand(3).tolist()
    other.set_offset(0)
    assert torch.rand(3, generator=other).tolist() == inside


def test_what_torchscript_is_asked_for() -> None:
    assert torch.jit.is_scripting() is False and torch.jit.ignore(len) is len
    for name in ("script", "trace"):
        with pytest.raises(NotImplementedError, match=f"{name}.*dlgrad.jit captures"):
            getattr(torch.jit, name)(len)
    for name in ("onnx", "hub", "quantization"):
        assert not hasattr(torch, name)
        with pytest.raises(NotImplementedError, match=f"dlgrad.{name} is not there"):
            getattr(torch, name)


def test_cuda_answers_without_a_gpu() -> None:
    torch.cuda.reset_peak_memory_stats("cuda:7")
    for ask in ("memory_allocated", "max_memory_allocated", "memory_reserved"):
        assert getattr(torch.cuda, ask)("cuda:7") == 0
    scaler = torch.cuda.amp.GradScaler(8.0, enabled=True)
    assert isinstance(scaler, torch.GradScaler) and scaler.get_scale() == 8
    with torch.cuda.amp.autocast():
        assert torch.is_autocast_enabled("cuda")
    event = torch.cuda.Event(enable_timing=True)
    with pytest.raises(ValueError, match="recorded"):
        event.elapsed_time(event)
    assert torch.mps.is_available() is torch.metal.is_available()
    assert torch.amp.is_autocast_available("cpu")


def test_numbers_are_close() -> None:
    close = torch.testing.assert_close
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    close(x, x + 1e-6)
    close({"a": [x, 1.5]}, {"a": [x, 1.5]})
    close(x * math.nan, x * math.nan, equal_nan=True)
    with pytest.raises(AssertionError) as caught:
        close([x, x], [x, x + torch.tensor([[0.0, 0.0], [1.0, 0.0]])])
    assert str(caught.value) == (
        "Tensor-likes are not close!\n\nMismatched elements: 1 / 4 (25.0%)\n"
        "Greatest absolute difference: 1.0 at index (1, 0) (up to 1e-05 allowed)\n"
        "Greatest relative difference: 0.25 at index (1, 0) (up to 1.3e-06 allowed)\n\n"
        "The failure occurred for item [1]"
    )
    for a, b, text in (
        (x, x[0], "attribute 'shape'"), (x, x.double(), "attribute 'dtype'"),
        (x.long(), x.long() + 1, "not equal"), (1, 2, "Expected 2 but got 1"),
        ([1], [1, 2], "length"), ({"a": 1}, {}, "Additional keys"), (x[0, 0], x[0, 1], "Scalars"),
    ):  # fmt: skip
        with pytest.raises(AssertionError, match=text):
            close(a, b)
    close(x, x.double(), check_dtype=False)
    with pytest.raises(AssertionError, match="^mine$"):
        close(1, 2, msg="mine")
    with pytest.raises(ValueError, match="got no atol"):
        close(x, x, rtol=0)
    with pytest.raises(TypeError, match="No comparison pair"):
        close(x, [1.0])


def test_lazy_layers_become_plain_ones() -> None:
    def build() -> torch.nn.Module:
        return nn.Sequential(
            nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2)
        )

    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with pytest.raises(RuntimeError, match="call the model once"):
        model.state_dict()
    y = model(torch.randn(3, 2, 4, 4))
    assert [type(layer) for layer in model] == [
        nn.Conv2d, nn.BatchNorm2d, nn.Flatten, nn.Linear
    ]  # fmt: skip
    assert model[0].weight.shape == (4, 2, 3, 3) and model[3].in_features == 16
    before = model[3].weight.tolist()
    y.sum().backward()
    optimizer.step()
    assert model[3].weight.tolist() != before
    other = build()
    other.load_state_dict(model.state_dict())
    x = torch.randn(2, 2, 4, 4)
    assert torch.equal(other.eval()(x), model.eval()(x))
    with pytest.raises(RuntimeError, match="give a batch"):
        nn.LazyConv1d(2, 1)(torch.ones(3))


def test_names_of_modules() -> None:
    assert importlib.import_module("dlgrad.nn.modules").Linear is nn.modules.Linear is nn.Linear
    layer = nn.Linear(2, 3)
    assert nn.DataParallel(layer)(torch.ones(1, 2)).shape == (1, 3)
    assert list(nn.DataParallel(layer).state_dict()) == ["module.weight", "module.bias"]
    with pytest.raises(NotImplementedError, match="one device"):
        nn.DataParallel(layer, device_ids=[0, 1])

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = nn.Buffer(torch.zeros(1))
            self.scratch = nn.Buffer(torch.zeros(1), persistent=False)

    module = Counting()
    assert list(module.state_dict()) == ["count"]
    assert [name for name, _ in module.named_buffers()] == ["count", "scratch"]
    module.type(torch.float64)
    assert module.count.dtype is torch.float64
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))
    model.set_submodule("1.0", nn.Tanh())
    assert type(model[1][0]) is nn.Tanh
    with pytest.raises(AttributeError, match="has no attribute"):
        model.set_submodule("1.7", nn.Tanh(), strict=True)
