"""Reads a checkpoint that PyTorch has saved, shows what is in it, and loads it into a model.

    python examples/load_torch_checkpoint.py
    python examples/load_torch_checkpoint.py model.pt

Files of `torch.save` (.pt, .pth) and safetensors are read; PyTorch is not needed, and nothing
in the file is run.  Without a file it writes one with the weights of a small model, as PyTorch
would, and loads that.
"""

import argparse
import os
import sys
import tempfile

import dlgrad
from dlgrad import nn
from dlgrad.errors import DlgradError


def make_model() -> nn.Module:
    """The model of the example file: the names of its layers are those in the file."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 26 * 26, 10)
    )


def tensors_of(loaded, path: str = "") -> dict[str, dlgrad.Tensor]:
    """All tensors in nested dicts and lists, by a dotted name."""
    if isinstance(loaded, dlgrad.Tensor):
        return {path: loaded}
    if isinstance(loaded, (list, tuple)):
        loaded = dict(enumerate(loaded))
    if not isinstance(loaded, dict):
        return {}
    found = {}
    for name, value in loaded.items():
        found.update(tensors_of(value, f"{path}.{name}" if path else str(name)))
    return found


def show(tensors: dict[str, dlgrad.Tensor]) -> None:
    """A line for every tensor."""
    width = max(map(len, tensors), default=0)
    for name, tensor in tensors.items():
        sizes = " x ".join(map(str, tensor.shape)) or "one number"
        print(f"  {name:<{width}}  {tensor.dtype.name:<9} {sizes}")
    print(f"{len(tensors)} tensors, {sum(t.numel() for t in tensors.values()):,} numbers")


def round_trip() -> None:
    """Writes a model in PyTorch's format and loads it into another one."""
    dlgrad.manual_seed(0)
    saved, model = make_model().eval(), make_model().eval()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.pt")
        dlgrad.save(saved.state_dict(), path)  # torch.load reads it, too
        state = dlgrad.load(path)
        show(state)
        print(model.load_state_dict(state))
    image = dlgrad.rand(1, 1, 28, 28)
    with dlgrad.no_grad():
        assert model(image).tolist() == saved(image).tolist()
    print("the loaded model gives the same answers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="a .pt, .pth or .safetensors file")
    args = parser.parse_args()
    if args.file is None:
        round_trip()
        return
    try:
        show(tensors_of(dlgrad.load(args.file)))
    except (OSError, DlgradError) as error:
        sys.exit(str(error))  # which names the file


if __name__ == "__main__":
    main()
