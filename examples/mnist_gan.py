"""Two networks against each other: one draws digits, the other tells them from real ones.

    python examples/mnist_gan.py
    python examples/mnist_gan.py --epochs 20 --images drawn.png

It looks for MNIST in the folder given by --data (or in dlgrad's cache), fetches it where it is
missing, and without a network learns from digits that dlgrad draws itself.  After every epoch
it writes what the first network draws, always from the same random numbers.
"""

import argparse
import sys

import dlgrad
from dlgrad import nn
from dlgrad.data import DataLoader, open_digits
from dlgrad.drawing.progress import Progress
from dlgrad.nn import functional as F
from dlgrad.optim import Adam
from dlgrad.viz import image_grid, write_png

NOISE = 64  # random numbers that a picture is made from
SHOWN = 64  # pictures in the grid


def make_generator() -> nn.Module:
    """Noise (batch, 64) to pictures (batch, 784) between -1 and 1."""
    return nn.Sequential(
        nn.Linear(NOISE, 256), nn.BatchNorm1d(256), nn.LeakyReLU(0.2),
        nn.Linear(256, 512), nn.BatchNorm1d(512), nn.LeakyReLU(0.2),
        nn.Linear(512, 28 * 28), nn.Tanh(),
    )  # fmt: skip


def make_judge() -> nn.Module:
    """Pictures (batch, 784) to scores (batch, 1), above zero for a real one."""
    return nn.Sequential(
        nn.Linear(28 * 28, 512), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        nn.Linear(512, 256), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        nn.Linear(256, 1),
    )  # fmt: skip


def draw(generator: nn.Module, noise: dlgrad.Tensor, path: str) -> None:
    """Writes the pictures that the generator makes of the noise as one image."""
    generator.eval()
    with dlgrad.no_grad():
        pictures = (generator(noise).reshape(-1, 28, 28) + 1) / 2
    generator.train()
    write_png(path, image_grid(pictures))


def train(generator: nn.Module, judge: nn.Module, digits, args) -> None:
    loader = DataLoader(digits, args.batch_size, shuffle=True, drop_last=True)
    drawing = Adam(generator.parameters(), lr=args.lr, betas=(0.5, 0.999))
    judging = Adam(judge.parameters(), lr=args.lr, betas=(0.5, 0.999))
    yes, no = dlgrad.full((args.batch_size, 1), 0.9), dlgrad.zeros(args.batch_size, 1)
    shown = dlgrad.randn(SHOWN, NOISE)

    @dlgrad.jit
    def step(images: dlgrad.Tensor):
        real = images.flatten(1).float() / 127.5 - 1
        drawn = generator(dlgrad.randn(args.batch_size, NOISE))
        # The judge learns to tell them apart ...
        found = F.binary_cross_entropy_with_logits(judge(real), yes)
        found = found + F.binary_cross_entropy_with_logits(judge(drawn.detach()), no)
        judging.zero_grad()
        found.backward()
        judging.step()
        # ... and the generator to be taken for real.
        fooled = F.binary_cross_entropy_with_logits(judge(drawn), yes)
        drawing.zero_grad()
        fooled.backward()
        drawing.step()
        return found, fooled

    for epoch in range(1, args.epochs + 1):
        name, total = f"epoch {epoch}/{args.epochs}", len(loader) * args.batch_size
        with Progress(total=total, description=name, unit="images") as bar:
            for images, _ in loader:
                found, fooled = step(images)
                bar.update(args.batch_size, judge=found, generator=fooled)
        draw(generator, shown, args.images)
        print(
            f"epoch {epoch}: loss of the judge {found.item():.3f}, of the generator "
            f"{fooled.item():.3f}; pictures in {args.images}", flush=True,
        )  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR", help="the folder with the MNIST files")
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="over all digits (20)")
    parser.add_argument("--batch-size", type=int, default=100, metavar="N", help="in a step (100)")
    parser.add_argument("--lr", type=float, default=2e-4, metavar="X", help="of both (0.0002)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (0)")
    parser.add_argument(
        "--images", default="gan.png", metavar="FILE.png", help="where the pictures go (gan.png)"
    )
    args = parser.parse_args()
    for name in ("epochs", "batch_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    return args


def main() -> None:
    args = parse_arguments()
    dlgrad.manual_seed(args.seed)
    digits, _, description = open_digits(args.data)
    print(description, flush=True)
    train(make_generator(), make_judge(), digits, args)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
