"""Trains a small convolutional network to read handwritten digits.

    python examples/mnist_cnn.py
    python examples/mnist_cnn.py --epochs 5 --save digits.safetensors --plot curves.png

It looks for MNIST in the folder given by --data (or in dlgrad's cache), fetches it where it is
missing, and without a network trains on digits that dlgrad draws itself.
"""

import argparse
import os
import sys

import dlgrad
from dlgrad import nn
from dlgrad.data import DataLoader, TensorDataset, open_digits
from dlgrad.drawing.progress import Progress
from dlgrad.nn import functional as F
from dlgrad.optim import Adam
from dlgrad.optim.lr_scheduler import OneCycleLR
from dlgrad.viz import draw_images, plot_curves

MEAN, STD = 0.1307, 0.3081  # of MNIST's pixels on a scale from 0 to 1


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 5),  # (batch, 1, 28, 28) -> (batch, 16, 24, 24)
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),  # -> (batch, 16, 12, 12)
        nn.Conv2d(16, 32, 5),  # -> (batch, 32, 8, 8)
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),  # -> (batch, 32, 4, 4)
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(512, 10),
    )


def to_input(images: dlgrad.Tensor) -> dlgrad.Tensor:
    """Bytes (batch, 28, 28) as normalised numbers (batch, 1, 28, 28)."""
    return (images.unsqueeze(1).float() / 255 - MEAN) / STD


def predict(model: nn.Module, digits: TensorDataset, device: str) -> list[int]:
    """The digit that the model sees in each picture."""
    model.eval()
    answers: list[int] = []
    with dlgrad.no_grad():
        for images, _ in DataLoader(digits, batch_size=500):
            answers += model(to_input(images.to(device))).argmax(dim=1).tolist()
    return answers


def count_right(answers: list[int], digits: TensorDataset) -> int:
    return sum(a == b for a, b in zip(answers, digits.tensors[1].tolist(), strict=True))


def train(model: nn.Module, train_set: TensorDataset, test_set: TensorDataset, args) -> dict:
    """Trains for `args.epochs`; returns the curves to plot.  Ctrl-C ends it early."""
    loader = DataLoader(train_set, args.batch_size, shuffle=True, drop_last=True)
    optimizer = Adam(model.parameters(), lr=args.lr)
    schedule = OneCycleLR(optimizer, args.lr, total_steps=args.epochs * len(loader))

    @dlgrad.jit
    def step(images: dlgrad.Tensor, labels: dlgrad.Tensor):
        scores = model(to_input(images))
        loss = F.cross_entropy(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, (scores.argmax(dim=1) == labels).sum()

    losses: list[float] = []
    accuracies: list[tuple[int, float]] = []
    try:
        for epoch in range(1, args.epochs + 1):
            model.train()
            seen = right = 0
            name = f"epoch {epoch}/{args.epochs}"
            total = len(loader) * args.batch_size
            with Progress(total=total, description=name, unit="images") as bar:
                for images, labels in loader:
                    loss, correct = step(images.to(args.device), labels.to(args.device))
                    schedule.step()
                    losses.append(loss.item())
                    seen += len(labels)
                    right += correct.item()
                    bar.update(len(labels), loss=losses[-1], accuracy=f"{right / seen:.1%}")
            share = count_right(predict(model, test_set, args.device), test_set) / len(test_set)
            accuracies.append((len(losses), 100 * share))
            print(f"epoch {epoch}: test accuracy {share:.1%}", flush=True)
    except KeyboardInterrupt:
        print("stopped; this is what was learnt so far:", flush=True)
    return {"loss": {"each batch": losses}, "test accuracy in %": {"": accuracies}}


def draw_mistakes(answers: list[int], digits: TensorDataset) -> None:
    """A few of the digits that were read wrong, as text."""
    images, labels = digits.tensors
    truth = labels.tolist()
    wrong = [i for i, answer in enumerate(answers) if answer != truth[i]][:3]
    if wrong:
        pictures = [images[i].tolist() for i in wrong]
        print(draw_images(pictures, [f"{truth[i]}, read as {answers[i]}" for i in wrong]))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR", help="the folder with the MNIST files")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="over all digits (5)")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="in a step (64)")
    parser.add_argument("--lr", type=float, default=0.01, metavar="X", help="highest rate (0.01)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or metal")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (0)")
    parser.add_argument("--save", metavar="FILE", help="write the weights as safetensors")
    parser.add_argument("--plot", metavar="FILE.png", help="write the curves as a picture")
    args = parser.parse_args()
    for name in ("epochs", "batch_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    if args.data is not None and not os.path.isdir(args.data):
        parser.error(f"--data: there is no folder {args.data}")
    for name in ("save", "plot"):
        folder = os.path.dirname(getattr(args, name) or "")
        if folder and not os.path.isdir(folder):
            parser.error(f"--{name}: there is no folder {folder}")
    return args


def main() -> None:
    args = parse_arguments()
    dlgrad.manual_seed(args.seed)
    train_set, test_set, description = open_digits(args.data)
    print(description, flush=True)
    model = make_model().to(args.device)
    curves = train(model, train_set, test_set, args)
    answers = predict(model, test_set, args.device)
    draw_mistakes(answers, test_set)
    if args.save:
        dlgrad.save(model.state_dict(), args.save)
        print(f"weights written to {args.save}")
    if args.plot:
        plot_curves(args.plot, curves, x_label="training step")
        print(f"curves written to {args.plot}")
    right = count_right(answers, test_set)
    print(f"test accuracy: {right / len(test_set):.1%} ({right} of {len(test_set)})")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
