"""The cache: who may use the directory, what an entry survives, and how it is looked after."""

import json
import os
import stat
import time
import warnings
from pathlib import Path

import pytest
from processes import USE_EVERYTHING, finish, run, start

from dlgrad import config
from dlgrad.errors import CompileError, NoCompileError
from dlgrad.runtime import cache

SUFFIXES = (".c", ".so")


@pytest.fixture
def folder(tmp_path):
    """A cache directory that does not exist yet."""
    path = tmp_path / "cache"
    with config.CACHE_DIR(str(path)), config.NO_COMPILE(False):
        yield path


class Build:
    """A compiler that writes what it was told, and counts."""

    def __init__(self, binary: bytes = b"binary") -> None:
        self.binary = binary
        self.count = 0

    def __call__(self, source_path: str, binary_path: str) -> dict[str, str]:
        self.count += 1
        Path(binary_path).write_bytes(self.binary + Path(source_path).read_bytes())
        return {"command": "cc it"}


def lookup(build: Build, source: str = "text", **identity: str) -> cache.Entry:
    return cache.lookup_or_build("name", source, SUFFIXES, identity, build, note="a note")


# The directory ------------------------------------------------------------------------------


def usable(path: Path) -> bool:
    """Whether the cache takes this directory; it warns, once, where it does not."""
    with config.CACHE_DIR(str(path)), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen = Path(cache.directory())
        assert Path(cache.directory()) == chosen
        refused = chosen != path
        assert len(caught) == refused
        if refused:
            assert "DLGRAD_CACHE_DIR" in str(caught[0].message)
            assert str(path) in str(caught[0].message)
            assert stat.S_IMODE(chosen.stat().st_mode) == 0o700
        return not refused


def test_it_is_created_for_the_user_alone(tmp_path):
    path = tmp_path / "deep" / "cache"
    assert usable(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_symbolic_link_is_refused(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert not usable(tmp_path / "link")
    assert usable(tmp_path / "real")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path, mode):
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(mode)
    assert not usable(path)


def test_a_directory_of_somebody_else_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "theirs"
    path.mkdir(mode=0o700)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    assert "belongs to" in cache._make_private_directory(str(path))


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert not usable(tmp_path / "file")
    assert not usable(tmp_path / "file" / "below")


def test_a_read_only_cache_is_read_and_not_written(folder, monkeypatch):
    first = lookup(Build(), "known")
    before = sorted(folder.iterdir())
    monkeypatch.setattr(cache, "_places", {})
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.warns(RuntimeWarning, match="cannot be written to"):
        again = lookup(Build(), "known")
    assert again.binary == first.binary
    assert not again.is_new
    assert lookup(Build(), "unknown").is_new
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/dlgrad"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/dlgrad"),
        ({"HOME": "/h"}, "/h/.cache/dlgrad"),
    ],
)
def test_the_rules_of_xdg(monkeypatch, variables, expected):
    monkeypatch.setattr(cache.sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with config.CACHE_DIR(""):
        assert cache.wanted_path() == expected


def test_macos_has_a_place_of_its_own(monkeypatch):
    monkeypatch.setattr(cache.sys, "platform", "darwin")
    monkeypatch.setenv("HOME", "/h")
    with config.CACHE_DIR(""):
        assert cache.wanted_path() == "/h/Library/Caches/dlgrad"


def test_no_home_is_no_error(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user without an entry
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache, "_places", {})
    with config.CACHE_DIR(""), pytest.warns(RuntimeWarning, match="no home directory"):
        assert os.path.isdir(cache.directory("downloads"))


# Entries ------------------------------------------------------------------------------------


def test_the_second_time_nothing_is_built(folder):
    build = Build()
    first, second = lookup(build), lookup(build)
    assert (first.is_new, second.is_new) == (True, False)
    assert first.binary == second.binary == b"binarytext"
    assert build.count == 1


def test_an_entry_can_be_read_by_people(folder):
    entry = lookup(Build(), "int x;\n", flags="-O3")
    assert Path(entry.source_path).read_text() == "int x;\n"
    record = json.loads((folder / f"{entry.stem}.json").read_text())
    assert record["command"] == "cc it"
    assert record["flags"] == "-O3"
    assert record["note"] == "a note"
    assert entry.stem.startswith("name-")
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


def test_everything_that_shapes_a_binary_is_in_the_key(folder, monkeypatch):
    build = Build()
    lookup(build, "text", compiler="1", cpu="a")
    lookup(build, "texts", compiler="1", cpu="a")
    lookup(build, "text", compiler="2", cpu="a")
    lookup(build, "text", compiler="1", cpu="b")
    monkeypatch.setattr(cache, "__version__", "other")
    lookup(build, "text", compiler="1", cpu="a")
    assert build.count == 5


@pytest.mark.parametrize("damage", ["truncate", "flip", "no binary", "bad json", "wrong json"])
def test_a_damaged_entry_is_built_again(folder, damage):
    build = Build()
    entry = lookup(build)
    binary, record = folder / f"{entry.stem}.so", folder / f"{entry.stem}.json"
    if damage == "truncate":
        binary.write_bytes(binary.read_bytes()[:3])
    elif damage == "flip":
        binary.write_bytes(b"B" + binary.read_bytes()[1:])
    elif damage == "no binary":
        binary.unlink()
    elif damage == "bad json":
        record.write_text("{")
    else:
        record.write_text("[]")
    assert lookup(build).binary == entry.binary
    assert build.count == 2
    assert not lookup(build).is_new


def test_the_directory_may_vanish_at_any_time(folder):
    build = Build()
    lookup(build)
    cache.temporary.remove_tree(str(folder))
    assert lookup(build).is_new
    assert not lookup(build).is_new

    def build_and_remove(source_path: str, binary_path: str) -> dict[str, str]:
        cache.temporary.remove_tree(str(folder))
        return build(source_path, binary_path)

    entry = cache.lookup_or_build("other", "text", SUFFIXES, {}, build_and_remove)
    assert entry.binary == b"binarytext"
    assert Path(entry.source_path).exists()


def test_a_full_disk_is_no_error(folder, monkeypatch):
    cache.directory()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_atomically", fail)
    assert lookup(Build()).binary == b"binarytext"


def test_no_compile(folder):
    with config.NO_COMPILE(True), pytest.raises(NoCompileError, match="name is not in the cache"):
        lookup(Build())
    lookup(Build())
    with config.NO_COMPILE(True):
        assert not lookup(Build()).is_new


def test_a_failure_leaves_source_and_report(folder):
    def fail(source_path: str, binary_path: str) -> dict[str, str]:
        raise CompileError("it said no")

    with pytest.raises(CompileError, match="it said no\nThe source is kept in ") as caught:
        cache.lookup_or_build("name", "bad text", SUFFIXES, {}, fail)
    path = Path(str(caught.value).rpartition(" ")[2])
    assert path.parent == folder
    assert path.read_text() == "bad text"
    assert "it said no" in path.with_suffix(".log").read_text()


def test_odd_names_make_good_file_names(folder):
    entry = cache.lookup_or_build("../a b/" + "x" * 200, "text", SUFFIXES, {}, Build())
    assert Path(entry.source_path).parent == folder
    assert len(entry.stem) < 120
    assert not set(entry.stem) & set("/ ")


def test_two_processes_at_once(tmp_path):
    children = [start(USE_EVERYTHING + "compute()", tmp_path) for _ in range(2)]
    for child in children:
        finish(child)
    names = [path.name for path in (tmp_path / "cache").iterdir() if path.is_file()]
    assert not [name for name in names if name.endswith(".tmp")]
    assert len([name for name in names if name.endswith(".so")]) == 2
    run(USE_EVERYTHING + "compute()", tmp_path, DLGRAD_NO_COMPILE="1")


def test_a_process_whose_cache_is_deleted_goes_on(tmp_path):
    code = (
        "import shutil, os\n"
        "compute()\n"
        "shutil.rmtree(os.environ['DLGRAD_CACHE_DIR'])\n"
        "compute()\n"
        "compute('another')\n"
    )
    run(USE_EVERYTHING + code, tmp_path)


def test_a_home_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    code = USE_EVERYTHING + "compute()"
    child = start(code, tmp_path, DLGRAD_CACHE_DIR=str(tmp_path / "file"), PYTHONWARNINGS="always")
    _, error = child.communicate(timeout=120)
    assert child.returncode == 0, error
    assert error.count("is not usable") == 1


# Findings -----------------------------------------------------------------------------------


def test_findings_are_kept(folder):
    cache.store_record("kind", {"a": [1, 2]}, {"value": 3})
    assert cache.load_record("kind", {"a": [1, 2]}) == {"value": 3}
    assert cache.load_record("kind", {"a": [1]}) is None
    assert cache.load_record("other", {"a": [1, 2]}) is None


# Looking after it ---------------------------------------------------------------------------


def test_the_least_recently_used_go_first(folder):
    build = Build(bytes(1000))
    entries = [lookup(build, f"text {number}") for number in range(4)]
    for age, entry in enumerate(entries):
        stamp = time.time() - 1000 + age
        for suffix in (".c", ".so", ".json"):
            os.utime(folder / (entry.stem + suffix), (stamp, stamp))
    lookup(build, "text 0")  # used just now
    listed = cache.entries()
    assert [item.stem for item in listed] == [entries[i].stem for i in (1, 2, 3, 0)]
    total = sum(item.nbytes for item in listed)
    assert cache.trim(total - 1) == 1
    assert cache.trim(listed[-1].nbytes) == 2
    assert [item.stem for item in cache.entries()] == [entries[0].stem]
    assert cache.trim(1 << 30) == 0


def test_trimming_happens_once_a_day(folder):
    build = Build()
    with config.CACHE_SIZE(0):
        lookup(build, "first")  # trims, and so removes itself
        assert cache.entries() == []
        lookup(build, "second")
        assert len(cache.entries()) == 1
        yesterday = time.time() - cache.SECONDS_BETWEEN_TRIMS - 1
        os.utime(folder / cache.TRIM_STAMP, (yesterday, yesterday))
        part = folder / ".half.tmp"
        part.write_text("")
        os.utime(part, (yesterday, yesterday))
        lookup(build, "third")
        assert cache.entries() == []
        assert not part.exists()


def test_clearing_keeps_the_downloads(folder):
    lookup(Build())
    cache.store_record("kind", {}, {})
    download = Path(cache.directory("downloads")) / "file"
    download.write_text("")
    assert cache.clear() == 1
    assert [path.name for path in folder.iterdir() if path.name[0] != "."] == ["downloads"]
    assert download.exists()
