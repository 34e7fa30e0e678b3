"""The matmul template of the GPUs: its text, and how many groups a launch takes.

`pytest tests/test_tiled_matmul.py --update-golden` writes the golden files anew.  What the
kernels compute is in `gpu_cases.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gpu_kernels import matmul, matmul_sizes

from dlgrad.codegen.kernel import Gemm, Load, Local, Parameter, Store
from dlgrad.codegen.tiled_matmul import jobs
from dlgrad.cuda.kernels import source_of as cuda_source
from dlgrad.dtype import float16, float32, int32
from dlgrad.metal.kernels import source_of as metal_source

GOLDEN = Path(__file__).parent / "golden_matmul"
LANGUAGES = {".cu": cuda_source, ".metal": metal_source}
KERNELS = {
    "float32": matmul(),
    "int32": matmul(int32, int32),
    "float16": matmul(float32, float16),
}


@pytest.mark.parametrize("extension", LANGUAGES)
@pytest.mark.parametrize("name", KERNELS)
def test_golden(name: str, extension: str, update_golden: bool) -> None:
    text = LANGUAGES[extension](KERNELS[name])
    path = GOLDEN / f"{name}{extension}"
    if update_golden:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.is_file(), f"no golden file {path.name}; see --update-golden"
    assert text == path.read_text()


def test_one_access_for_both_operands() -> None:
    """Two operands that are read alike share a table, and nothing is declared twice."""
    parameters = (Parameter("out", float32, True), Parameter("a", float32, False))
    same = Load(1, None, float32, 0)
    store = Store(0, None, Local("accumulator", float32), 1)
    text = cuda_source(
        Gemm("square", "sum of squares", parameters, (), float32, same, same, (store,), 2)
    )
    declared = re.findall(r"const long long (\w+) =", text.partition("k_start")[0])
    assert len(declared) == len(set(declared))
    assert {"a_start0", "b_start0"} <= set(declared)


@pytest.mark.parametrize(
    ("batch", "m", "n", "expected"),
    [
        (1, (1, 1), 1, 1),
        (1, (4, 4), 16, 1),
        (1, (1, 17), 16, 2),
        (3, (5, 7), 33, 3 * 3 * 3),
        (2, (0, 7), 5, 0),
    ],
)
def test_jobs(batch: int, m: tuple[int, int], n: int, expected: int) -> None:
    assert jobs(matmul_sizes(batch, m, n, 9, False)) == expected
