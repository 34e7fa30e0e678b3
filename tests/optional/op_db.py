"""Compares dlgrad's operators with PyTorch's on the samples of PyTorch's own database.

    python tests/optional/op_db.py [--ops add,sum] [--families reductions] [--parts float32,grad]
                                   [--dtypes int64,float16] [--limit 8] [--largest 500] [--verbose]

prints a row for each operator: how many samples agree in value, shape and dtype, for

- `float32`: the function on float32 samples,
- `grad`: the gradients of a random weighting of the results,
- `dtypes`: the function on samples of the other dtypes,
- `methods`: the method and the in-place method of the same name, and the aliases,
- `errors`: the bad inputs of the database, which must raise.

A value agrees within PyTorch's tolerances of its dtype with PyTorch's result, or with the same
computed in double precision; or where its largest error against the latter is no larger than
that of PyTorch's own result.

Samples with what dlgrad leaves out are counted by reason.  Every operator runs in a process of
its own, so a crash is one row.  An operator whose counts are complete in every part agrees.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

import op_db_table as table  # noqa: E402
from op_db_compare import (  # noqa: E402
    Converter,
    Mismatch,
    Skip,
    compare,
    describe,
    doubled,
    flat_tensors,
    keywords,
    leaves_of,
    ties_explain,
)

import dlgrad  # noqa: E402

PARTS = ("float32", "grad", "dtypes", "methods", "errors")
SECONDS = 300  # for one operator
RAISED = (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError)


# One sample ---------------------------------------------------------------------------------------


def forward(op: Any, call: Callable[..., Any], sample: Any, device: str | None) -> None:
    if drops_elements(op, sample):
        raise Skip("dropout")
    converter = Converter(device)
    mine_in = converter(sample.input), converter(sample.args), keywords(converter, sample.kwargs)
    theirs = op.op(sample.input, *sample.args, **sample.kwargs)
    if any(isinstance(x, torch.Tensor) and x.is_complex() for x in leaves_of(theirs)):
        raise Skip("complex")
    mine = call(mine_in[0], *mine_in[1], **mine_in[2])

    def exact() -> Any:
        wide = doubled(sample.input), doubled(sample.args), doubled(sample.kwargs)
        return sample.output_process_fn_grad(op.op(wide[0], *wide[1], **wide[2]))

    process = sample.output_process_fn_grad
    try:
        compare(op.name, process(theirs), process(mine), exact)
    except Mismatch:
        if op.name not in table.TIES or not ties_explain(sample.input, theirs, mine):
            raise


def gradient(op: Any, call: Callable[..., Any], sample: Any, device: str | None) -> None:
    if drops_elements(op, sample):
        raise Skip("dropout")
    converter = Converter(device)
    mine_in = converter(sample.input), converter(sample.args), keywords(converter, sample.kwargs)
    leaves = converter.leaves
    process = sample.output_process_fn_grad
    theirs = leaves_of(process(op.op(sample.input, *sample.args, **sample.kwargs)))
    mine = leaves_of(process(call(mine_in[0], *mine_in[1], **mine_in[2])))
    used = [
        i for i, x in enumerate(theirs) if isinstance(x, torch.Tensor) and x.requires_grad
    ]
    for i, (a, b) in enumerate(zip(theirs, mine, strict=True)):
        if isinstance(a, torch.Tensor) and a.requires_grad != b.requires_grad:
            raise Mismatch(f"result {i}: requires_grad {b.requires_grad}, expected the other")
    if not used or not leaves:
        raise Skip("no gradient")
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(theirs[i].shape, generator=generator).to(theirs[i].dtype) for i in used]
    expected = torch.autograd.grad(
        [theirs[i] for i in used], [a for a, _ in leaves], weights, allow_unused=True
    )
    got = dlgrad.autograd.grad(
        [mine[i] for i in used], [b for _, b in leaves], [converter(w) for w in weights],
        allow_unused=True,
    )  # fmt: skip

    def exact() -> Any:
        wide = doubled((sample.input, sample.args, sample.kwargs))
        sources = [x for x in flat_tensors(wide) if x.requires_grad]
        results = leaves_of(process(op.op(wide[0], *wide[1], **wide[2])))
        return torch.autograd.grad(
            [results[i] for i in used], sources, [w.double() for w in weights],
            allow_unused=True,
        )  # fmt: skip

    wrong = table.WRONG_GRADIENTS.get(op.name, set())
    for place, (a, b) in enumerate(zip(expected, got, strict=True)):
        if place in wrong:
            continue
        if a is None or b is None:
            zero = all(x is None or not x.detach().abs().sum().item() for x in (a, b))
            if not zero:
                raise Mismatch(f"source {place}: gradient {b is not None}, expected the other")
            continue
        compare(op.name, a, b, lambda place=place: exact()[place])  # type: ignore[misc]
    if wrong:
        raise Skip("PyTorch's gradient is wrong")


def in_place(op: Any, sample: Any, device: str | None) -> None:
    """The method with an underscore, which writes into its tensor."""
    name = f"{op.name}_"
    converter = Converter(device)
    mine_in = converter(sample.input), converter(sample.args), keywords(converter, sample.kwargs)
    target = sample.input.clone()
    try:
        theirs = op.inplace_variant(target, *sample.args, **sample.kwargs)
    except RuntimeError:
        raise Skip("no such result in place") from None
    mine_target = mine_in[0].clone()
    if "." in name:  # a layer's function takes `inplace` in place of a method
        function = getattr(dlgrad.nn.functional, op.name.rpartition(".")[2])
        mine = function(mine_target, *mine_in[1], **mine_in[2], inplace=True)
    else:
        mine = getattr(mine_target, name)(*mine_in[1], **mine_in[2])
    if mine is not mine_target:
        raise Mismatch("an in-place method returns its tensor")
    compare(op.name, theirs, mine, None)


# One operator -------------------------------------------------------------------------------------


class Tally:
    """Counts for one part of one operator."""

    def __init__(self) -> None:
        self.agree = self.total = 0
        self.skipped: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []

    def check(self, what: str, function: Callable[..., None], *args: Any) -> None:
        try:
            function(*args)
        except Skip as reason:
            self.skipped[str(reason)] += 1
            return
        except Mismatch as mismatch:
            self.problems.append(f"{what}: {mismatch}")
        except Exception as error:  # noqa: BLE001 - any error of either library is a finding
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.problems.append(
                f"{what}: {type(error).__name__}: {str(error)[:200]} "
                f"({Path(where.filename).name}:{where.lineno})"
            )
        else:
            self.agree += 1
        self.total += 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "agree": self.agree, "total": self.total, "skipped": dict(self.skipped),
            "problems": self.problems,
        }  # fmt: skip


def drops_elements(op: Any, sample: Any) -> bool:
    """Whether a sample of attention draws what it drops, so that no number can be compared."""
    if op.name == "nn.functional.multi_head_attention_forward":
        return sample.kwargs["training"] and sample.args[9] > 0
    return sample.kwargs.get("dropout_p", 0) > 0


def samples(
    op: Any, dtype: torch.dtype, requires_grad: bool, limit: int, largest: int = 0
) -> Iterator[Any]:
    """The samples of the database, spread evenly if there are more than `limit` of them.

    With `largest`, those with more elements are left out.
    """
    torch.manual_seed(0)
    found = list(op.sample_inputs("cpu", dtype, requires_grad=requires_grad))
    if largest:
        found = [sample for sample in found if elements_of(sample) <= largest]
    step = max(len(found) / limit, 1.0) if limit else 1.0
    places = sorted({int(i * step) for i in range(int(len(found) / step))})
    return (found[place] for place in places)


def elements_of(sample: Any) -> int:
    """How many numbers a sample holds."""
    tensors = flat_tensors([sample.input, sample.args, sample.kwargs])
    return sum(tensor.numel() for tensor in tensors)


def variants_of(name: str) -> list[Any]:
    return [op for op in op_db if op.name == name]


def run_operator(
    name: str,
    parts: Iterable[str],
    dtypes: list[str],
    limit: int,
    device: str | None,
    largest: int = 0,
) -> dict[str, Any]:
    """All tallies of one operator."""
    tallies = {part: Tally() for part in parts}
    for op in variants_of(name):
        call = table.find(name, op.variant_test_name)
        supported = op.supported_dtypes("cpu")
        label = op.variant_test_name and f"{op.variant_test_name} "
        if call is None:
            for tally in tallies.values():
                tally.total += 1
                tally.problems.append("not there")
            continue
        if torch.float32 in supported and "float32" in tallies:
            for sample in samples(op, torch.float32, False, limit, largest):
                tallies["float32"].check(label + describe(sample), forward, op, call, sample,
                                         device)
        if "grad" in tallies and op.supports_autograd and torch.float32 in supported:
            for sample in samples(op, torch.float32, True, limit, largest):
                tallies["grad"].check(label + describe(sample), gradient, op, call, sample, device)
        if "dtypes" in tallies:
            for dtype in sorted(supported - {torch.float32}, key=str):
                if dtype.is_complex or (dtypes and str(dtype)[6:] not in dtypes):
                    continue
                for sample in samples(op, dtype, False, limit, largest):
                    what = f"{label}{str(dtype)[6:]} {describe(sample)}"
                    tallies["dtypes"].check(what, forward, op, call, sample, device)
        if "methods" in tallies:
            check_methods(tallies["methods"], op, label, limit or 8, device)
        if "errors" in tallies and op.error_inputs_func is not None:
            check_errors(tallies["errors"], op, call, label, device)
    return {part: tally.as_dict() for part, tally in tallies.items()}


def check_methods(tally: Tally, op: Any, label: str, limit: int, device: str | None) -> None:
    for alias in op.aliases:
        try:
            found = table.find(alias.name)
        except ImportError:
            found = None
        if found is None:
            tally.problems.append(f"alias {alias.name} is not there")
            tally.total += 1
    if torch.float32 not in op.supported_dtypes("cpu") or op.name in table.CALLS:
        return
    method = op.method_variant if op.method_variant and hasattr(torch.Tensor, op.name) else None
    for sample in samples(op, torch.float32, False, limit):
        what = label + describe(sample)
        if not isinstance(sample.input, torch.Tensor):
            continue
        if method is not None:
            tally.check(f".{op.name}() {what}", forward, op, table.method(op.name), sample, device)
        if op.inplace_variant is not None and not sample.broadcasts_input:
            tally.check(f".{op.name}_() {what}", in_place, op, sample, device)


def check_errors(tally: Tally, op: Any, call: Any, label: str, device: str | None) -> None:
    for case in op.error_inputs("cpu"):
        sample = case.sample_input
        try:
            converter = Converter(device)
            given = converter(sample.input), converter(sample.args), keywords(
                converter, sample.kwargs
            )
        except Skip as reason:
            tally.skipped[str(reason)] += 1
            continue
        if not raises(op.op, sample):
            tally.skipped["PyTorch takes it"] += 1
            continue
        tally.total += 1
        try:
            result = call(given[0], *given[1], **given[2])
        except RAISED as error:
            if isinstance(error, AssertionError):
                tally.problems.append(f"{label}{describe(sample)}: {error!r}")
            else:
                tally.agree += 1
        except Exception as error:  # noqa: BLE001 - reported as what it is
            tally.problems.append(f"{label}{describe(sample)}: {error!r}")
        else:
            shown = str(getattr(result, "shape", result))[:60]
            tally.problems.append(
                f"{label}{describe(sample)}: gave {shown}, expected {case.error_type.__name__}"
                f" ({str(case.error_regex)[:90]})"
            )


def raises(function: Callable[..., Any], sample: Any) -> bool:
    """Whether PyTorch itself refuses a sample."""
    try:
        function(sample.input, *sample.args, **sample.kwargs)
    except Exception:  # noqa: BLE001 - any of them is a refusal
        return True
    return False


# Processes ----------------------------------------------------------------------------------------


def in_a_child(work: Callable[[], dict[str, Any]]) -> tuple[int, int]:
    """Starts `work` in a forked process; its id, and the pipe on which its answer comes."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    status = 1
    try:
        os.close(reader)
        warnings.simplefilter("ignore")
        answer = json.dumps(work()).encode()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(answer)
        status = 0
    except BaseException:  # noqa: BLE001 - the parent reports it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def run_all(
    names: list[str], jobs: int, work: Callable[[str], dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """(name, tallies or how it died) for each name, as they finish."""
    waiting = list(reversed(names))
    running: dict[int, tuple[int, str, float, list[bytes]]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            name = waiting.pop()
            child, reader = in_a_child(lambda name=name: work(name))  # type: ignore[misc]
            running[reader] = (child, name, time.monotonic() + SECONDS, [])
        ready, _, _ = select.select(list(running), [], [], 1.0)
        for reader, (child, name, deadline, received) in list(running.items()):
            if reader in ready:
                data = os.read(reader, 1 << 16)
                received.append(data)
                if data:
                    continue
            elif time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            else:
                continue
            os.close(reader)
            del running[reader]
            status = os.waitpid(child, 0)[1]
            if status:
                code = os.waitstatus_to_exitcode(status)
                late = time.monotonic() > deadline
                yield name, f"{SECONDS} s are over" if late else f"died with status {code}"
            else:
                yield name, json.loads(b"".join(received))


def main() -> int:
    parser = argparse.ArgumentParser(description="dlgrad beside PyTorch on its database of samples")
    parser.add_argument("--ops", default="", help="names, separated by commas (default: all)")
    parser.add_argument("--families", default="", help="families of names: " + " ".join(
        table.FAMILIES))
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts to compare")
    parser.add_argument("--dtypes", default="", help="which other dtypes (default: all)")
    parser.add_argument("--limit", type=int, default=0, help="samples for each dtype (0: all)")
    parser.add_argument("--largest", type=int, default=0, help="most numbers in a sample (0: all)")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--device", default=None, help="dlgrad's device, such as python")
    parser.add_argument("--problems", type=int, default=3, help="how many problems to show")
    parser.add_argument("--verbose", action="store_true", help="show every problem")
    options = parser.parse_args()
    names = [name for name in options.ops.split(",") if name]
    for family in filter(None, options.families.split(",")):
        names += table.FAMILIES[family].split()
    names = names or table.all_names()
    parts = options.parts.split(",")
    dtypes = [name for name in options.dtypes.split(",") if name]
    torch.set_num_threads(1)

    def work(name: str) -> dict[str, Any]:
        return run_operator(
            name, parts, dtypes, options.limit, options.device, options.largest
        )

    width = max(map(len, names))
    print(f"{'':{width}}  " + "".join(f"{part:>11}" for part in parts))
    complete: collections.Counter[str] = collections.Counter()
    skipped: collections.Counter[str] = collections.Counter()
    for name, tallies in run_all(names, options.jobs, work):
        if isinstance(tallies, str):
            print(f"{name:{width}}  {tallies}", flush=True)
            continue
        row, shown = "", []
        for part in parts:
            tally = tallies[part]
            row += f"{tally['agree']}/{tally['total']}".rjust(11)
            complete[part] += tally["agree"] == tally["total"]
            skipped.update(tally["skipped"])
            count = None if options.verbose else options.problems
            shown += [f"    {part}: {problem}" for problem in tally["problems"][:count]]
        complete["all"] += all(tallies[part]["agree"] == tallies[part]["total"] for part in parts)
        print(f"{name:{width}}  {row}", *shown, sep="\n", flush=True)
    total = len(names)
    print(f"\nof {total} operators, complete in: " + ", ".join(
        f"{part} {complete[part]} ({complete[part] / total:.1%})" for part in (*parts, "all")))
    print("samples left out: " + ", ".join(f"{n} {reason}" for reason, n in skipped.most_common()))
    return 0 if complete["all"] == total else 1


if __name__ == "__main__":
    sys.exit(main())
