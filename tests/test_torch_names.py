"""`import dlgrad as torch`: the names that programs touch as they start."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import dlgrad
import dlgrad as torch
from dlgrad import catalogue

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
