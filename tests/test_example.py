"""The MNIST example, run as people run it, on a few digits that it draws itself."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import dlgrad

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "mnist_cnn.py"

# Runs the example with fewer drawn digits.
SMALL = """
import runpy, sys
from dlgrad.data import mnist
mnist.DRAWN_TRAIN, mnist.DRAWN_TEST = 640, 100
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments, small=True):
    start = ["-c", SMALL, str(EXAMPLE)] if small else [str(EXAMPLE)]
    environment = {**os.environ, "DLGRAD_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        capture_output=True, text=True, env=environment, timeout=600,
    )  # fmt: skip


def test_trains_tests_saves_and_plots(tmp_path):
    weights, picture = tmp_path / "w.safetensors", tmp_path / "curves.png"
    done = run(
        "--data", tmp_path, "--epochs", 2, "--batch-size", 32, "--save", weights,
        "--plot", picture,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "digits that dlgrad draws itself" in lines[0]
    match = re.fullmatch(r"test accuracy: (\d+\.\d)% \((\d+) of 100\)", lines[-1])
    assert match and int(match[2]) >= 80, "it learns"
    assert float(match[1]) == int(match[2])
    assert re.search(r"epoch 2/2 .*100% .*640/640 .* images/s .*loss .*accuracy", done.stderr)
    state = dlgrad.load(weights)
    assert tuple(state["0.weight"].shape) == (16, 1, 5, 5)
    assert state["1.num_batches_tracked"].item() == 40
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_ctrl_c_tests_what_was_learnt(tmp_path):
    arguments = ["--data", str(tmp_path), "--epochs", "10000", "--lr", "0.001"]
    environment = {**os.environ, "DLGRAD_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", SMALL, str(EXAMPLE), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        while "epoch 1:" not in (line := process.stdout.readline()):
            assert line, "it ended early"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "stopped; this is what was learnt so far:" in output
    assert output.splitlines()[-1].startswith("test accuracy: ")


def test_the_same_seed_gives_the_same_result(tmp_path):
    runs = [
        run("--data", tmp_path, "--epochs", 1, "--seed", seed).stdout for seed in (5, 5, 6)
    ]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    "arguments", [["--epochs", "0"], ["--batch-size", "-1"], ["--epochs", "x"]], ids=" ".join
)
def test_bad_arguments_end_with_a_message(arguments):
    done = run(*arguments, small=False)
    assert done.returncode == 2 and arguments[0] in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    done = run("--data", tmp_path / "none", small=False)
    assert done.returncode == 2 and "--data: there is no folder" in done.stderr


def test_help_names_every_argument():
    done = run("--help", small=False)
    assert done.returncode == 0
    for name in ("data", "epochs", "batch-size", "lr", "device", "seed", "save", "plot"):
        assert f"--{name}" in done.stdout
