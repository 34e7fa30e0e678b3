"""`python -m dlgrad`: the report on the machine, and the cache commands."""

import shutil
import subprocess
import sys

import pytest
from processes import TIMEOUT, environment

from dlgrad import config
from dlgrad.__main__ import main
from dlgrad.runtime import cache
from dlgrad.version import __version__

HAS_COMPILER = bool(shutil.which("clang") or shutil.which("gcc"))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "cache"
    with config.CACHE_DIR(str(path)), config.NO_COMPILE(False):
        yield path


def add(name: str, source: str = "int x;\n") -> cache.Entry:
    def build(source_path: str, binary_path: str) -> dict[str, str]:
        with open(binary_path, "wb") as file:
            file.write(b"binary")
        return {"command": f"cc {name}"}

    return cache.lookup_or_build(name, source, (".c", ".so"), {"flags": "-O3"}, build, note="n")


def command_line(tmp_path, *arguments: str, **changes: str):
    return subprocess.run(
        [sys.executable, "-m", "dlgrad", *arguments],
        env=environment(tmp_path, **changes),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@pytest.mark.skipif(not HAS_COMPILER, reason="neither clang nor gcc is installed")
def test_the_report(tmp_path):
    done = command_line(tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"dlgrad {__version__}, Python 3.")
    assert any(line.startswith("  cpu    PASS  ") for line in lines)
    for device in ("cuda", "metal"):
        assert any(line.startswith(f"  {device}".ljust(9)) for line in lines)
    assert str(tmp_path / "cache") in done.stdout
    assert "\033[" not in done.stdout


def test_the_report_where_the_default_device_does_not_work(tmp_path):
    done = command_line(tmp_path, DLGRAD_CC="/no/such/compiler")
    assert done.returncode == 1
    assert "  cpu    no    DLGRAD_CC='/no/such/compiler' is not a working C compiler" in done.stdout
    assert not done.stderr


def test_an_unknown_command_is_wrong_usage(tmp_path):
    done = command_line(tmp_path, "dance")
    assert done.returncode == 2
    assert "dance" in done.stderr


def test_help_and_version(capsys):
    for arguments, word in ((["--help"], "cache"), (["--version"], __version__)):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        assert word in capsys.readouterr().out


def test_list(folder, capsys):
    first, second = add("first"), add("second")
    for arguments in (["cache"], ["cache", "ls"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert f"{first.stem}  n\n" in out
        assert f"{second.stem}  n\n" in out
        assert "2 entries, " in out
        assert str(folder) in out


def test_show(folder, capsys):
    entry = add("first", "int answer;\n")
    add("second")
    for name in (entry.stem, "first", "fir"):
        assert main(["cache", "show", name]) == 0
        out = capsys.readouterr().out
        assert "int answer;" in out
        assert "cc first" in out


@pytest.mark.parametrize(("name", "found"), [("third", "cache ls"), ("", "  second-")])
def test_show_wants_one_entry(folder, capsys, name, found):
    add("first")
    add("second")
    assert main(["cache", "show", name]) == 1
    captured = capsys.readouterr()
    assert found in captured.err
    assert not captured.out


def test_clear(folder, capsys):
    add("first")
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out.startswith("removed 1 entries")
    assert cache.entries() == []


def test_a_reader_that_goes_away(tmp_path):
    with config.CACHE_DIR(str(tmp_path / "cache")):
        for number in range(40):
            add(f"entry{number}")
    child = subprocess.Popen(
        [sys.executable, "-m", "dlgrad", "cache"],
        env=environment(tmp_path, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.wait(timeout=TIMEOUT) == 0
    assert child.stderr.read() == b""
    child.stderr.close()
