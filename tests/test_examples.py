"""The examples, run as people run them, with the smallest settings that still show something."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import dlgrad

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))

# Runs an example with fewer drawn digits.
SMALL = """
import runpy, sys
from dlgrad.data import mnist
mnist.DRAWN_TRAIN, mnist.DRAWN_TEST = 800, 100
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


ENVIRONMENT = {**os.environ, "DLGRAD_OFFLINE": "1", "PYTHONPATH": str(EXAMPLES.parent)}


def command(name, arguments):
    return [sys.executable, "-c", SMALL, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]


def run(name, *arguments, folder=None):
    return subprocess.run(
        command(name, arguments), capture_output=True, text=True, env=ENVIRONMENT,
        timeout=600, cwd=folder,
    )  # fmt: skip


def output_of(name, *arguments, folder=None):
    done = run(name, *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_help(name):
    assert "usage:" in output_of(name, "--help")


@pytest.mark.parametrize("name", [n for n in NAMES if n[0].isalpha() and n[:4] != "load"])
def test_a_bad_argument_ends_with_a_message(name):
    argument = "--steps" if name in ("char_rnn", "gpt", "micrograd_moons") else "--epochs"
    done = run(name, argument, "0")
    assert done.returncode == 2 and argument in done.stderr and "Traceback" not in done.stderr


def test_the_tour_holds():
    text = output_of("00_tour")
    assert text.endswith("All of it holds.\n") and "void mul_add" in text


def test_moons(tmp_path):
    picture = tmp_path / "moons.png"
    text = output_of("micrograd_moons", "--points", 60, "--steps", 150, "--plot", picture)
    assert float(re.search(r"accuracy: ([\d.]+)%", text)[1]) >= 95
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("mnist_mlp", ["--epochs", 3]),
        ("vit", ["--epochs", 6, "--width", 32, "--layers", 1, "--batch-size", 50]),
    ],
)
def test_digits_are_learnt(name, arguments, tmp_path):
    text = output_of(name, *arguments, "--save", tmp_path / "w.safetensors")
    assert float(re.search(r"\ntest accuracy: ([\d.]+)%", text)[1]) >= 40
    assert len(dlgrad.load(tmp_path / "w.safetensors")) >= 6


@pytest.mark.parametrize(
    "name, words",
    [("mnist_gan", "epoch 1: loss of the judge"), ("vae", r"test loss: \d+\.\d nats")],
)
def test_pictures_are_drawn(name, words, tmp_path):
    picture = tmp_path / "drawn.png"
    text = output_of(name, "--epochs", 1, "--images", picture)
    assert re.search(words, text) and picture.read_bytes().startswith(b"\x89PNG")


def test_residual_networks_in_mixed_precision():
    text = output_of("resnet_cifar", "--count", 100, "--epochs", 1, "--width", 4, "--amp")
    assert re.search(r"\ntest accuracy: [\d.]+%", text)


def test_a_recurrent_network_writes(tmp_path):
    source = tmp_path / "text.txt"
    source.write_text("abcabd" * 200)
    text = output_of(
        "char_rnn", "--data", source, "--steps", 60, "--length", 6, "--width", 16,
        "--lr", 0.02, "--write", 40,
    )  # fmt: skip
    assert float(re.search(r"validation loss: ([\d.]+)", text)[1]) < 0.7


def test_checkpoints_of_pytorch(tmp_path):
    assert "the loaded model gives the same answers" in output_of("load_torch_checkpoint")
    path = tmp_path / "x.pt"
    dlgrad.save({"model": {"a": dlgrad.zeros(2, 3)}}, path)
    assert re.search(r"model\.a +float32 +2 x 3", output_of("load_torch_checkpoint", path))
    path.write_bytes(b"nothing of the kind")
    done = run("load_torch_checkpoint", path)
    assert done.returncode == 1 and "Traceback" not in done.stderr


# The GPT ---------------------------------------------------------------------------------------

TINY = ["--layers", 1, "--heads", 2, "--width", 16, "--context", 8, "--batch-size", 4, "--every", 4]


def tensors_of(value):
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors_of(item)]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors_of(item)]
    return [value.tolist() if isinstance(value, dlgrad.Tensor) else value]


def test_a_stopped_gpt_goes_on_exactly(tmp_path):
    """Ctrl-C and --resume give the numbers of a run that was never stopped."""
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    output_of("gpt", *TINY, "--steps", 16, "--save", whole)
    with subprocess.Popen(
        command("gpt", [*TINY, "--steps", 100_000, "--save", parts]),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    ) as process:  # fmt: skip
        while "step 4:" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in errors
    stopped = int(re.search(r"stopped after step (\d+)", output)[1])
    assert stopped >= 4
    if stopped > 16:  # a fast machine went past the run that it is compared with
        output_of("gpt", *TINY, "--steps", stopped + 4, "--save", whole)
    end = max(16, stopped + 4 if stopped > 16 else 16)
    text = output_of("gpt", *TINY, "--steps", end, "--save", parts, "--resume")
    assert f"going on from step {stopped}" in text
    assert tensors_of(dlgrad.load(parts)) == tensors_of(dlgrad.load(whole))


def test_a_gpt_writes_with_its_memory_what_it_would_without(tmp_path):
    """One character at a time, with the keys and values of those before, as all at once."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        from gpt import GPT
    finally:
        sys.path.remove(str(EXAMPLES))
    dlgrad.manual_seed(0)
    model = GPT(vocab=7, context=5, layers=2, heads=2, width=8).eval()
    tokens = dlgrad.tensor([[1, 4, 2, 6, 0]])
    with dlgrad.no_grad():
        at_once = model(tokens).tolist()[0]
        memory = model.empty_memory()
        for place in range(5):
            scores = model(tokens[:, place : place + 1], memory, dlgrad.tensor([place]))
            assert scores.tolist()[0][0] == pytest.approx(at_once[place], abs=1e-5)


def test_a_gpt_only_writes(tmp_path):
    path = tmp_path / "gpt.safetensors"
    output_of("gpt", *TINY, "--steps", 1, "--save", path)
    text = output_of("gpt", "--save", path, "--write", 20, "--prompt", "The")
    assert text.startswith("The") and len(text) == 24
    done = run("gpt", "--resume", "--save", tmp_path / "none")
    assert done.returncode == 2 and "train first" in done.stderr
