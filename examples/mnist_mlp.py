"""Trains a network of three linear layers to read handwritten digits.

    python examples/mnist_mlp.py
    python examples/mnist_mlp.py --epochs 10 --hidden 512 --save digits.safetensors

It looks for MNIST in the folder given by --data (or in dlgrad's cache), fetches it where it is
missing, and without a network trains on digits that dlgrad draws itself.
"""

import argparse
import sys

import dlgrad
from dlgrad import nn
from dlgrad.data import DataLoader, TensorDataset, open_digits
from dlgrad.drawing.progress import Progress
from dlgrad.nn import functional as F
from dlgrad.optim import AdamW
from dlgrad.optim.lr_scheduler import CosineAnnealingLR


class MLP(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(28 * 28, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 10)

    def forward(self, images: dlgrad.Tensor) -> dlgrad.Tensor:
        """Scores (batch, 10) of bytes (batch, 28, 28)."""
        x = images.flatten(1).float() / 255
        x = F.relu(self.first(x))
        x = F.relu(self.second(x))
        return self.last(x)


def measure(model: nn.Module, digits: TensorDataset) -> float:
    """The share of the digits that the model reads right."""
    model.eval()
    right = 0
    with dlgrad.no_grad():
        for images, labels in DataLoader(digits, batch_size=1000):
            right += (model(images).argmax(dim=1) == labels).sum().item()
    return right / len(digits)


def train(model: nn.Module, train_set: TensorDataset, test_set: TensorDataset, args) -> None:
    loader = DataLoader(train_set, args.batch_size, shuffle=True, drop_last=True)
    optimizer = AdamW(model.parameters(), lr=args.lr)
    schedule = CosineAnnealingLR(optimizer, args.epochs * len(loader))

    @dlgrad.jit
    def step(images: dlgrad.Tensor, labels: dlgrad.Tensor) -> dlgrad.Tensor:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for epoch in range(1, args.epochs + 1):
        model.train()
        name, total = f"epoch {epoch}/{args.epochs}", len(loader) * args.batch_size
        with Progress(total=total, description=name, unit="images") as bar:
            for images, labels in loader:
                loss = step(images, labels)
                schedule.step()
                bar.update(len(labels), loss=loss)
        print(f"epoch {epoch}: test accuracy {measure(model, test_set):.1%}", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR", help="the folder with the MNIST files")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="over all digits (5)")
    parser.add_argument("--hidden", type=int, default=256, metavar="N", help="layer width (256)")
    parser.add_argument("--batch-size", type=int, default=100, metavar="N", help="in a step (100)")
    parser.add_argument("--lr", type=float, default=2e-3, metavar="X", help="first rate (0.002)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (0)")
    parser.add_argument("--save", metavar="FILE", help="write the weights as safetensors")
    args = parser.parse_args()
    for name in ("epochs", "hidden", "batch_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    return args


def main() -> None:
    args = parse_arguments()
    dlgrad.manual_seed(args.seed)
    train_set, test_set, description = open_digits(args.data)
    print(description, flush=True)
    model = MLP(args.hidden)
    train(model, train_set, test_set, args)
    if args.save:
        dlgrad.save(model.state_dict(), args.save)
        print(f"weights written to {args.save}")
    print(f"test accuracy: {measure(model, test_set):.1%}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
