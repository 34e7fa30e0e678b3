"""One epoch of the MNIST example in dlgrad and in PyTorch eager, side by side.

    python bench/mnist_epoch.py [--data DIR] [--epochs N] [--batch-size N] [--threads N]

Both train the model of examples/mnist_cnn.py with the same first weights on the same batches.
The losses of the first steps (without dropout, which draws other numbers in each) must agree
before anything is timed.  Then the contestants take turns, an epoch each; the result is the
median time of an epoch and the ratio.  Needs PyTorch.
"""

import argparse
import os
import statistics
import sys
import time

import dlgrad
from dlgrad import nn
from dlgrad.data import DataLoader, open_digits
from dlgrad.nn import functional as F

MEAN, STD = 0.1307, 0.3081
CHECKED_STEPS = 20
TOLERANCE = 1e-3  # relative, of each loss


def make_model(layers, dropout: float):
    """The model in the layers of either library."""
    return layers.Sequential(
        layers.Conv2d(1, 16, 5), layers.BatchNorm2d(16), layers.ReLU(), layers.MaxPool2d(2),
        layers.Conv2d(16, 32, 5), layers.BatchNorm2d(32), layers.ReLU(), layers.MaxPool2d(2),
        layers.Flatten(), layers.Dropout(dropout), layers.Linear(512, 10),
    )  # fmt: skip


class Dlgrad:
    """The contestant."""

    name = "dlgrad"

    def __init__(self, weights, dropout, lr):
        self.model = make_model(nn, dropout)
        self.model.load_state_dict({k: dlgrad.tensor(v) for k, v in weights.items()})
        self.optimizer = dlgrad.optim.Adam(self.model.parameters(), lr=lr)
        self.step = dlgrad.jit(self.train_step)

    def train_step(self, images, labels):
        scores = self.model((images.unsqueeze(1).float() / 255 - MEAN) / STD)
        loss = F.cross_entropy(scores, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def epoch(self, batches):
        """The loss of each batch."""
        return [self.step(images, labels).item() for images, labels in batches]


class Torch:
    """PyTorch eager."""

    name = "PyTorch"

    def __init__(self, torch, weights, dropout, lr):
        self.torch = torch
        self.model = make_model(torch.nn, dropout)
        self.model.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)

    def epoch(self, batches):
        losses = []
        for images, labels in batches:
            scores = self.model((images.unsqueeze(1).float() / 255 - MEAN) / STD)
            loss = self.torch.nn.functional.cross_entropy(scores, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses


def first_weights():
    """Names and nested lists of the weights that both begin with."""
    dlgrad.manual_seed(0)
    return {name: value.tolist() for name, value in make_model(nn, 0.0).state_dict().items()}


def check(dlgrad_losses, torch_losses):
    """Ends the program where the losses differ."""
    worst = max(abs(a - b) / b for a, b in zip(dlgrad_losses, torch_losses, strict=True))
    print(f"losses of {len(torch_losses)} steps: largest relative difference {worst:.1e}")
    if not worst <= TOLERANCE:
        sys.exit(f"the losses disagree: {dlgrad_losses} and {torch_losses}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR", help="the folder with the MNIST files")
    parser.add_argument("--epochs", type=int, default=5, help="timed, of each")
    parser.add_argument("--batch-size", type=int, default=64, help="images in a step")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    args = parser.parse_args()
    try:
        import torch
    except ImportError:
        sys.exit("this benchmark compares with PyTorch: pip install torch")
    threads = args.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    train_set, _, description = open_digits(args.data)
    print(description)
    loader = DataLoader(train_set, args.batch_size, shuffle=True, drop_last=True)
    weights = first_weights()

    def batches_of_an_epoch():
        ours = list(loader)
        theirs = [tuple(torch.tensor(part.tolist()) for part in batch) for batch in ours]
        return ours, [(images.to(torch.uint8), labels) for images, labels in theirs]

    ours, theirs = batches_of_an_epoch()
    check(
        Dlgrad(weights, 0.0, 0.001).epoch(ours[:CHECKED_STEPS]),
        Torch(torch, weights, 0.0, 0.001).epoch(theirs[:CHECKED_STEPS]),
    )
    contestants = [(Dlgrad(weights, 0.25, 0.001), ours)]
    contestants.append((Torch(torch, weights, 0.25, 0.001), theirs))
    times = {contestant.name: [] for contestant, _ in contestants}
    for number in range(args.epochs + 1):  # the first, a warm-up, is not counted
        for contestant, batches in contestants:
            start = time.perf_counter()
            contestant.epoch(batches)
            if number:
                times[contestant.name].append(time.perf_counter() - start)
    count = len(ours) * args.batch_size
    print(f"{count} images an epoch, batches of {args.batch_size}, {threads} threads")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(
            f"{name:8} {middle:.3f} s  (from {min(seconds):.3f} to {max(seconds):.3f} s, "
            f"{count / middle:,.0f} images/s)"
        )
    ours_median, theirs_median = (statistics.median(seconds) for seconds in times.values())
    print(f"ratio dlgrad / PyTorch: {ours_median / theirs_median:.2f}")


if __name__ == "__main__":
    main()
