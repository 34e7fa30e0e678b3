"""The progress bar: what it writes on a terminal, in a file, and when things go wrong."""

import io
import re

import pytest

from dlgrad.drawing import progress
from dlgrad.drawing.progress import Progress


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


class Clock:
    """Stands for the time module: time moves only when told to."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    return made


def last_line(file):
    return file.getvalue().replace("\n", "").split("\r")[-1].rstrip()


def test_draws_share_rate_and_remaining_time(clock):
    file = Terminal()
    with Progress(total=200, description="epoch 1", unit="images", file=file) as bar:
        clock.now += 10
        bar.update(50, loss=0.123456, accuracy="97.1%")
        line = last_line(file)
        assert line.startswith("epoch 1  ━")
        assert " 25%  50/200  5.0 images/s  0:30 left" in line
        assert line.endswith("loss 0.1235  accuracy 97.1%")


def test_bar_fills_in_proportion(clock):
    file = Terminal()
    with Progress(total=100, file=file) as bar:
        clock.now += 1
        bar.update(50)
        line = last_line(file)
    assert line.count("━") == line.count("─") == progress.MAX_BAR_WIDTH // 2
    assert last_line(file).count("━") == 30 // 2  # the final state stays where it stopped


def test_ends_its_line_with_the_whole_time(clock):
    file = Terminal()
    with Progress(total=4, file=file) as bar:
        for _ in range(4):
            clock.now += 16
            bar.update()
    assert file.getvalue().endswith("\n")
    assert "100%  4/4  0.062 items/s  1:04" in last_line(file)


def test_redraws_only_now_and_then(clock):
    file = Terminal()
    with Progress(total=1000, file=file) as bar:
        before = file.getvalue()
        for _ in range(10):
            bar.update()  # no time passes
        assert file.getvalue() == before
        clock.now += progress.REDRAW_SECONDS
        bar.update()
        assert "11/1,000" in last_line(file)


def test_the_filled_part_is_coloured_where_colours_are_wanted(clock, monkeypatch):
    file = Terminal()
    with Progress(total=2, file=file) as bar:
        clock.now += 1
        bar.update()
        assert "\033" not in file.getvalue()
        monkeypatch.delenv("NO_COLOR")
        clock.now += 1
        bar.update()
    filled = "━" * progress.MAX_BAR_WIDTH
    assert f"\033[34m{filled}\033[0m  100%" in file.getvalue()


def test_reads_figures_only_when_it_draws(clock):
    read = []

    class Figure:
        def __float__(self):
            read.append(1)
            return 2.0

    with Progress(total=10, file=Terminal()) as bar:
        bar.update(loss=Figure())
        assert not read
        clock.now += 1
        bar.update(loss=Figure())
        assert len(read) == 1


def test_never_wider_than_the_terminal(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    file = Terminal()
    with Progress(total=10, description="a long description", file=file) as bar:
        clock.now += 1
        bar.update(loss=1.0, accuracy=2.0)
    assert {len(line) for line in re.split("[\r\n]+", file.getvalue()) if line} == {39}


def test_writes_few_plain_lines_where_there_is_no_terminal(clock):
    file = io.StringIO()
    with Progress(range(100), "epoch 1", file=file) as bar:
        for _ in bar:
            clock.now += 1
    lines = file.getvalue().splitlines()
    assert 3 <= len(lines) <= 5
    assert "\r" not in file.getvalue() and "━" not in file.getvalue()
    assert lines[-1].startswith("epoch 1  100%  100/100")


def test_a_dumb_terminal_is_no_terminal(clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    file = Terminal()
    with Progress(total=1, file=file) as bar:
        bar.update()
    assert "\r" not in file.getvalue()


def test_disabled_writes_nothing(clock):
    for disable, file in ((True, Terminal()), (None, io.StringIO())):
        assert list(Progress([1, 2], file=file, disable=disable)) == [1, 2]
        assert file.getvalue() == ""


def test_iterates_and_counts_without_a_total(clock):
    file = io.StringIO()
    assert list(Progress(iter("abc"), file=file)) == ["a", "b", "c"]
    assert file.getvalue().startswith("3 items")


def test_ascii_where_the_encoding_needs_it(clock):
    file = Terminal()
    file.encoding = "ascii"
    with Progress(total=2, file=file) as bar:
        bar.update()
    assert "###" in file.getvalue() and "━" not in file.getvalue()


def test_an_exception_passes_and_the_line_is_ended(clock):
    file = Terminal()
    with pytest.raises(KeyboardInterrupt), Progress(total=5, file=file):
        raise KeyboardInterrupt
    assert file.getvalue().endswith("\n")


def test_a_closed_pipe_does_not_end_the_work(clock):
    class Broken(Terminal):
        def write(self, text):
            raise BrokenPipeError

    with Progress(total=2, file=Broken()) as bar:
        clock.now += 1
        bar.update()
    assert bar.count == 1


def test_close_twice_writes_once(clock):
    file = io.StringIO()
    bar = Progress(total=1, file=file)
    bar.update()
    bar.close()
    bar.close()
    assert file.getvalue().count("\n") == 1


def test_refuses_a_negative_total_and_missing_iterables():
    with pytest.raises(ValueError, match="-1"):
        Progress(total=-1)
    with pytest.raises(TypeError, match="no iterable"):
        next(iter(Progress(total=1)))
    with pytest.raises(TypeError, match="no total"):
        len(Progress(iter([])))
    assert len(Progress([1, 2, 3])) == 3


@pytest.mark.parametrize(
    "seconds, text", [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3661, "1:01:01"), (-1, "0:00")]
)
def test_clock(seconds, text):
    assert progress._clock(seconds) == text
