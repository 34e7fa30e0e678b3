"""Finding a C compiler, trying it out, and what happens when there is none or when it fails."""

import os
import shutil
import stat
import sys
import threading
from pathlib import Path

import pytest
from processes import KERNEL, USE_EVERYTHING, run

from dlgrad import config
from dlgrad.c_src import compiler, host, probe
from dlgrad.errors import CompileError, CompilerNotFoundError, DeviceError, NoCompileError

REAL = [name for name in ("clang", "gcc") if shutil.which(name)]
needs_compiler = pytest.mark.skipif(not REAL, reason="neither clang nor gcc is installed")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A machine without compilers: an empty PATH, no ziglang, an empty cache."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "platform", "linux")
    with config.CACHE_DIR(str(tmp_path / "cache")), config.CC(""), config.CPU("native"):
        yield tmp_path


def write_program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def real_compiler() -> str:
    """The path of a compiler; PATH may be changed by then."""
    return next(
        path
        for name in REAL
        for folder in ("/usr/bin", "/usr/local/bin", "/bin")
        if os.access(path := os.path.join(folder, name), os.X_OK)
    )


def compile_text(found: compiler.Compiler, folder: Path, text: str) -> dict:
    (folder / "k.c").write_text(text)
    return found.compile_library(str(folder / "k.c"), str(folder / "k.so"))


# No compiler --------------------------------------------------------------------------------


def test_the_error_says_what_was_looked_for_and_what_helps(place):
    with pytest.raises(CompilerNotFoundError) as caught:
        compiler.find_compiler()
    text = str(caught.value)
    for word in ("DLGRAD_CC", "clang", "gcc", "cc", "ziglang"):
        assert f"  {word}" in text
    for command in ("apt-get install", "dnf install", "xcode-select", "pip install"):
        assert command in text
    with pytest.raises(CompilerNotFoundError):  # the answer is not remembered
        compiler.find_compiler()


def test_without_a_compiler_everything_can_be_imported(tmp_path):
    code = (
        "import sys, dlgrad, dlgrad.c_src.backend\n"
        "from importlib.machinery import PathFinder\n"
        "from dlgrad.c_src import compiler\n"
        "from dlgrad.runtime.device import get_backend\n"
        "compiler.find_spec = lambda name: None\n"
        "try: get_backend('cpu')\n"
        "except RuntimeError as error: print(type(error).__name__)\n"
    )
    assert run(code, tmp_path, PATH=str(tmp_path), CC="") == "CompilerNotFoundError\n"


def test_a_named_compiler_that_is_not_there(place):
    with (
        config.CC("/no/such/compiler"),
        pytest.raises(CompilerNotFoundError, match="(?s)'/no/such/compiler'.*not found"),
    ):
        compiler.find_compiler()


# The order ----------------------------------------------------------------------------------


def test_the_order_of_the_search(place, monkeypatch):
    for name in ("clang", "gcc", "cc", "clang-15", "clang-19", "gcc-12", "mine", "theirs"):
        write_program(place / "bin" / name, "exit 0")
    monkeypatch.setenv("CC", "theirs -m64")
    with config.CC("mine --flag"):
        found = [(name, " ".join(command)) for name, command in compiler.candidates()
                 if isinstance(command, tuple)]  # fmt: skip
    folder = place / "bin"
    assert found == [
        ("DLGRAD_CC", f"{folder}/mine --flag"),
        ("CC", f"{folder}/theirs -m64"),
        ("clang", f"{folder}/clang"),
        ("gcc", f"{folder}/gcc"),
        ("cc", f"{folder}/cc"),
        ("clang-19", f"{folder}/clang-19"),
        ("clang-15", f"{folder}/clang-15"),
        ("gcc-12", f"{folder}/gcc-12"),
    ]


def test_the_clang_of_the_package_ziglang_comes_last(place, monkeypatch):
    package = place / "ziglang"
    package.mkdir()
    write_program(package / "zig", "exit 0")

    class Spec:
        submodule_search_locations = [str(package)]

    monkeypatch.setattr(compiler, "find_spec", lambda name: Spec)
    assert list(compiler.candidates())[-1] == ("ziglang", (f"{package}/zig", "cc"))


@needs_compiler
def test_a_compiler_that_does_not_work_is_passed_over(place, monkeypatch):
    broken = 'test "$1" = --version && echo clang 1 || { echo "error: no headers"; exit 1; }'
    write_program(place / "bin" / "clang", broken)
    (place / "bin" / "gcc").symlink_to(real_compiler())
    monkeypatch.setenv("CC", "nothing")
    monkeypatch.setenv("PATH", f"{place}/bin:/usr/bin:/bin")
    found = compiler.find_compiler()
    assert found.command == (f"{place}/bin/gcc",)
    surveyed = dict(compiler.survey())
    assert surveyed["CC"] == "not found on PATH"
    assert surveyed["clang"] == "error: no headers"


# Trying it out ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clang", "gcc"])
def test_a_real_compiler_is_tried_once(tmp_path, monkeypatch, name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    with config.CACHE_DIR(str(tmp_path / "cache")):
        first = probe.examine((path,))
        assert not first.problem
        assert "-ffast-math" not in first.flags
        assert "-Werror" not in first.flags
        assert set(probe.WANTED_FLAGS) <= set(first.flags)
        assert first.vector_bytes in (16, 32, 64)

        def fail(command: object) -> None:
            raise AssertionError("a process was started")

        monkeypatch.setattr(probe, "run", fail)
        assert probe.examine((path,)) == first


@needs_compiler
def test_another_processor_is_another_finding(tmp_path, monkeypatch):
    command = (real_compiler(),)
    with config.CACHE_DIR(str(tmp_path / "cache")):
        native = compiler.Compiler(command, probe.examine(command)).identity()
        monkeypatch.setattr(host, "cpu_identity", lambda: "another")
        assert compiler.Compiler(command, probe.examine(command)).identity() != native
        assert "native" not in str(native["cpu"])
        assert len(list((tmp_path / "cache" / "machine").iterdir())) == 2


@needs_compiler
@pytest.mark.skipif(host.architecture() != "x86_64", reason="names a processor of this kind")
def test_a_baseline_can_be_asked_for(tmp_path):
    command = (real_compiler(),)
    with config.CACHE_DIR(str(tmp_path / "cache")), config.CPU("x86-64"):
        finding = probe.examine(command)
        assert "-march=x86-64" in finding.flags
        assert (finding.vector_bytes, finding.registers) == (16, 16)
        assert compiler.Compiler(command, finding).identity()["cpu"] == "x86-64"


@needs_compiler
def test_a_processor_that_does_not_exist(tmp_path):
    with (
        config.CACHE_DIR(str(tmp_path / "cache")),
        config.CPU("pocket-calculator"),
        pytest.raises(DeviceError, match="DLGRAD_CPU='pocket-calculator' does not work"),
    ):
        probe.examine((real_compiler(),))


@needs_compiler
def test_code_that_this_processor_cannot_run_is_not_used(place, monkeypatch):
    """A compiler whose best code dies: the child ends by a signal, and this process does not."""
    marked = '{ for a in "$@"; do case "$a" in -m*=native) set -- "$@" -DBAD;; esac; done; }'
    monkeypatch.setenv("PATH", f"{place}/bin:/usr/bin:/bin")
    monkeypatch.setattr(
        probe, "PROBE_SOURCE",
        probe.PROBE_SOURCE + "#ifdef BAD\n__attribute__((constructor)) void bad(void)"
        "{ __builtin_trap(); }\n#endif\n",
    )  # fmt: skip
    command = (write_program(place / "bin" / "cc", f'{marked}\nexec {real_compiler()} "$@"'),)
    finding = probe.examine(command)
    assert not finding.problem
    assert not [flag for flag in finding.flags if flag.startswith("-m")]
    assert "signal" in finding.remark


@needs_compiler
def test_flags_that_are_not_understood_are_left_out(place, monkeypatch):
    monkeypatch.setenv("PATH", f"{place}/bin:/usr/bin:/bin")
    refuse = 'for a in "$@"; do test "$a" = -ffp-contract=fast && exit 1; done'
    command = (write_program(place / "bin" / "cc", f'{refuse}\nexec {real_compiler()} "$@"'),)
    finding = probe.examine(command)
    assert "-ffp-contract=fast" not in finding.flags
    assert "-fopenmp-simd" in finding.flags


def test_nothing_is_tried_when_nothing_may_be_compiled(place):
    command = (write_program(place / "bin" / "cc", "exit 0"),)
    with config.NO_COMPILE(True), pytest.raises(NoCompileError, match="has not been tried"):
        probe.examine(command)


# Compiling ----------------------------------------------------------------------------------


@needs_compiler
def test_an_error_shows_command_message_and_source(tmp_path):
    code = USE_EVERYTHING + (
        "from dlgrad.errors import CompileError\n"
        "try: get_backend('cpu').compile_source('void f( {', 'broken')\n"
        "except CompileError as error: print(error)\n"
    )
    text = run(code, tmp_path)
    assert "The command: " in text
    assert "-O3" in text
    assert "error:" in text
    path = Path(text.strip().rpartition("The source is kept in ")[2])
    assert path.read_text() == "void f( {"
    assert path.parent == tmp_path / "cache"


def crashing(place: Path, monkeypatch: pytest.MonkeyPatch, condition: str) -> compiler.Compiler:
    """A compiler that breaks down where the shell finds `condition` true."""
    monkeypatch.setenv("PATH", f"{place}/bin:/usr/bin:/bin")
    text = (
        f'case "$*" in *-c-crash*) ;; esac\nif {condition}; then\n'
        '  echo "cc: internal compiler error: Segmentation fault" >&2; exit 1\nfi\n'
        f'exec {real_compiler()} "$@"'
    )
    command = (write_program(place / "bin" / "mycc", text),)
    flags = ("-O3", "-fPIC", "-shared", "-march=native")
    return compiler.Compiler(command, probe.Finding("mycc 1", flags, 16, 16))


@needs_compiler
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('echo "$*" | grep -q -e -O3', "-O1"),
        ('echo "$*" | grep -q -e -march', "mycc -O1 -fPIC -shared k.c"),
        ("true", "clang"),
    ],
)
def test_a_compiler_that_breaks_down_gets_more_chances(place, monkeypatch, condition, expected):
    found = crashing(place, monkeypatch, condition)
    if expected == "clang" and not shutil.which("clang"):
        expected = "gcc"
    with pytest.warns(RuntimeWarning, match="broke down"):
        record = compile_text(found, place, KERNEL)
    assert expected in record["command"]
    assert (place / "k.so").exists()


@needs_compiler
def test_a_fault_in_the_source_is_not_a_breakdown(place, monkeypatch):
    found = crashing(place, monkeypatch, "false")
    with pytest.raises(CompileError, match="k.c was not compiled"):
        compile_text(found, place, "int f( {")


@needs_compiler
def test_assembly(place, monkeypatch):
    text = crashing(place, monkeypatch, "false").assembly("int answer(void) { return 42; }")
    assert "answer:" in text
    assert "42" in text


# Side by side -------------------------------------------------------------------------------


def test_tasks_run_side_by_side_and_keep_their_order(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    together = threading.Barrier(4, timeout=20)  # passes only if four tasks run at once

    def task(number: int) -> int:
        together.wait()
        return number * number

    tasks = [lambda n=n: task(n) for n in range(8)]
    assert compiler.in_parallel(tasks) == [n * n for n in range(8)]


def test_the_first_error_is_raised_and_ends_the_rest(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    done = []

    def task(number: int) -> None:
        if number == 2:
            raise CompileError("number 2")
        done.append(number)

    with pytest.raises(CompileError, match="number 2"):
        compiler.in_parallel([lambda n=n: task(n) for n in range(5)])
    assert done == [0, 1]


# The machine --------------------------------------------------------------------------------


def cgroup(root: Path, lines: str, files: dict[str, str]) -> str:
    for name, text in {"proc/self/cgroup": lines, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "200000 100000\n",
                       "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 2.0),
        ("4:cpu,cpuacct:/x\n", {"sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "50000\n",
                                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n"}, 0.5),
        ("4:cpu:/\n", {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                       "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("4:cpuset:/\n", {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                          "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, None),
    ],
)  # fmt: skip
def test_the_quota_of_a_container(tmp_path, lines, files, expected):
    assert host.cgroup_quota(cgroup(tmp_path, lines, files)) == expected


def test_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(host, "usable_cores", lambda: 6)
    for text, expected in (("", 6), ("3", 3), ("4,2", 4), ("zero", 6), ("0", 6)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        with config.NUM_THREADS(0):
            assert host.thread_count() == expected
        with config.NUM_THREADS(5):
            assert host.thread_count() == 5


def test_a_quota_below_one_processor_still_gives_a_thread(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(host, "physical_cores", lambda processors: 8)
    for quota, expected in ((None, 8), (0.5, 1), (2.5, 3), (20.0, 8)):
        monkeypatch.setattr(host, "cgroup_quota", lambda quota=quota: quota)
        assert host.usable_cores.__wrapped__() == expected


def test_facts_about_this_machine():
    level1, level2 = host.cache_sizes()
    assert 4096 <= level1 <= level2
    assert host.cpu_identity().startswith(host.architecture())
    assert "native" not in host.cpu_identity()
    assert host._bytes_of("48K\n") == 49152
    assert host._bytes_of("") == 0
