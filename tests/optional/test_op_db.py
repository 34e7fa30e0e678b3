"""Some operators on samples of PyTorch's own database, on the interpreter: no compiler is needed.

`python tests/optional/op_db.py` compares all operators of the table on all samples, dtypes and
bad inputs; that takes an hour, so here every fourth of some families stands for them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("numpy")
sys.path.insert(0, str(Path(__file__).resolve().parent))
op_db = pytest.importorskip("op_db", reason="PyTorch's own test modules cannot be imported")
import op_db_table as table  # noqa: E402

FAMILIES = ("arithmetic", "comparison", "bits", "functions", "rounding")
NAMES = [name for family in FAMILIES for name in table.FAMILIES[family].split()][::4]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_operator(name: str) -> None:
    tallies = op_db.run_operator(
        name, ["float32", "grad", "dtypes", "errors"], ["int64"], 1, "python", largest=400
    )
    problems = [problem for tally in tallies.values() for problem in tally["problems"]]
    assert not problems, "\n".join(problems)
    assert any(tally["total"] for tally in tallies.values())
