"""The flags: what a text means, how a flag changes for a while, and that they are documented."""

import pytest
from processes import run

from dlgrad import config, helpers
from dlgrad.config import Flag


def flag_from(monkeypatch: pytest.MonkeyPatch, text: str) -> "Flag[int]":
    """A flag like those of dlgrad, with `text` in its variable."""
    monkeypatch.setenv("DLGRAD_TEST", text)
    return Flag("TEST", 7, config._whole_number(0, 100), "for tests")


def test_the_environment_is_read(monkeypatch):
    assert flag_from(monkeypatch, "42").value == 42
    assert flag_from(monkeypatch, " 42 ").value == 42
    assert flag_from(monkeypatch, "").value == 7
    monkeypatch.delenv("DLGRAD_TEST")
    assert Flag("TEST", "x", str, "for tests").value == "x"


@pytest.mark.parametrize("text", ["many", "-1", "101", "1.5"])
def test_a_wrong_text_is_reported_when_it_is_used(monkeypatch, text):
    flag = flag_from(monkeypatch, text)
    with pytest.raises(ValueError, match=f"DLGRAD_TEST='{text}'.*whole number from 0 to 100"):
        _ = flag.value


def test_a_wrong_text_does_not_break_the_import(tmp_path):
    code = "import dlgrad.config as c\ntry: c.DEBUG.value\nexcept ValueError as e: print(e)"
    assert "DLGRAD_DEBUG='loud'" in run(code, tmp_path, DLGRAD_DEBUG="loud")


@pytest.mark.parametrize("text", ["0", "false", "No", "off"])
def test_zero_means_off(monkeypatch, text):
    """A variable that is merely present does not switch anything on."""
    monkeypatch.setenv("DLGRAD_TEST", text)
    assert Flag("TEST", True, config._switch, "for tests").value is False


def test_a_flag_changes_until_the_block_ends():
    before = config.NUM_THREADS.value
    with config.NUM_THREADS(3) as flag:
        assert flag.value == config.NUM_THREADS.value == 3
        with config.NUM_THREADS(5):
            assert config.NUM_THREADS.value == 5
        assert config.NUM_THREADS.value == 3
    assert config.NUM_THREADS.value == before


def test_a_flag_changes_back_after_an_error():
    before = config.VERIFY.value
    with pytest.raises(RuntimeError), config.VERIFY(not before):
        raise RuntimeError
    assert config.VERIFY.value is before


def test_one_override_may_be_used_again():
    override = config.OPT(0)
    before = config.OPT.value
    for _ in range(2):
        with override:
            assert config.OPT.value == 0
        assert config.OPT.value == before


def test_an_override_is_checked():
    with pytest.raises(ValueError, match="DLGRAD_DEBUG='7'"):
        config.DEBUG(7)


def test_the_table_lists_every_flag():
    rows = config.table().splitlines()
    flags = [value for value in vars(config).values() if isinstance(value, Flag)]
    assert len(rows) == 2 + len(flags)
    for flag in flags:
        assert any(row.startswith(f"| `{flag.variable}` |") for row in rows)
        assert flag.description
    assert "| `DLGRAD_CACHE_SIZE` | 512 |" in config.table()


# helpers.py ---------------------------------------------------------------------------------


def test_sizes_and_times_for_people():
    sizes = {0: "0 B", 1023: "1023 B", 1536: "1.5 KB", 20 << 20: "20 MB", 5 << 50: "5120 TB"}
    assert {n: helpers.human_size(n) for n in sizes} == sizes
    times = {5e-9: "5 ns", 1.234e-4: "123 us", 0.0125: "12.5 ms", 2.5: "2.5 s"}
    assert {n: helpers.human_time(n) for n in times} == times


class Stream:
    """Something like a terminal, or not."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("variables", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"PYTHON_COLORS": "1", "NO_COLOR": "1"}, False, True),
        ({"PYTHON_COLORS": "0", "FORCE_COLOR": "1"}, True, False),
    ],
)
def test_colours(monkeypatch, variables, terminal, expected):
    for name in ("PYTHON_COLORS", "NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert helpers.use_color(Stream(terminal)) is expected
    assert ("\033[" in helpers.colored("text", "red", Stream(terminal))) is expected


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    helpers.write_atomically(str(path), b"old")
    assert path.stat().st_mode & 0o777 == 0o600

    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(helpers.os, "replace", fail)
    with pytest.raises(OSError, match="no"):
        helpers.write_atomically(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
