"""A variational autoencoder: squeezes digits into a few numbers, and draws new ones from such.

    python examples/vae.py
    python examples/vae.py --epochs 10 --latent 2 --images vae.png

The picture it writes has two rows of digits with what became of them below each, and then new
digits from random numbers.  It looks for MNIST in the folder given by --data (or in dlgrad's
cache), fetches it where it is missing, and without a network learns from drawn digits.
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

COLUMNS = 10  # of the picture


class VAE(nn.Module):
    """Kingma and Welling, "Auto-encoding variational Bayes" (2014)."""

    def __init__(self, latent: int, hidden: int = 400) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(28 * 28, hidden), nn.ReLU())
        self.mean = nn.Linear(hidden, latent)
        self.log_variance = nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 28 * 28)
        )

    def encode(self, pixels: dlgrad.Tensor) -> tuple[dlgrad.Tensor, dlgrad.Tensor]:
        """Mean and logarithm of the variance of the code, (batch, latent) each."""
        x = self.encoder(pixels)
        return self.mean(x), self.log_variance(x)

    def decode(self, code: dlgrad.Tensor) -> dlgrad.Tensor:
        """Pixels (batch, 784) between 0 and 1."""
        return self.decoder(code).sigmoid()

    def loss(self, pixels: dlgrad.Tensor) -> dlgrad.Tensor:
        """The evidence bound with its sign turned, for each picture, in nats."""
        mean, log_variance = self.encode(pixels)
        code = mean + (log_variance / 2).exp() * dlgrad.randn_like(mean)
        lost = F.binary_cross_entropy_with_logits(self.decoder(code), pixels, reduction="sum")
        spread = (log_variance.exp() + mean * mean - 1 - log_variance).sum() / 2
        return (lost + spread) / len(pixels)


def to_pixels(images: dlgrad.Tensor) -> dlgrad.Tensor:
    """Bytes (batch, 28, 28) as numbers (batch, 784) from 0 to 1."""
    return images.flatten(1).float() / 255


def draw(model: VAE, images: dlgrad.Tensor, path: str) -> None:
    """Writes digits, what the model makes of them, and new ones, as one image."""
    with dlgrad.no_grad():
        pixels = to_pixels(images[: 2 * COLUMNS])
        again = model.decode(model.encode(pixels)[0])
        new = model.decode(dlgrad.randn(4 * COLUMNS, model.mean.out_features))
        rows = [pixels[:COLUMNS], again[:COLUMNS], pixels[COLUMNS:], again[COLUMNS:], new]
    write_png(path, image_grid(dlgrad.cat(rows).reshape(-1, 28, 28), columns=COLUMNS))


def train(model: VAE, digits, args) -> None:
    loader = DataLoader(digits, args.batch_size, shuffle=True, drop_last=True)
    optimizer = Adam(model.parameters(), lr=args.lr)

    @dlgrad.jit
    def step(images: dlgrad.Tensor) -> dlgrad.Tensor:
        loss = model.loss(to_pixels(images))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for epoch in range(1, args.epochs + 1):
        name, total = f"epoch {epoch}/{args.epochs}", len(loader) * args.batch_size
        with Progress(total=total, description=name, unit="images") as bar:
            for images, _ in loader:
                bar.update(args.batch_size, loss=step(images))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR", help="the folder with the MNIST files")
    parser.add_argument("--epochs", type=int, default=10, metavar="N", help="over all digits (10)")
    parser.add_argument("--latent", type=int, default=16, metavar="N", help="size of the code (16)")
    parser.add_argument("--batch-size", type=int, default=100, metavar="N", help="in a step (100)")
    parser.add_argument("--lr", type=float, default=1e-3, metavar="X", help="learning rate (0.001)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (0)")
    parser.add_argument(
        "--images", default="vae.png", metavar="FILE.png", help="where the pictures go (vae.png)"
    )
    args = parser.parse_args()
    for name in ("epochs", "latent", "batch_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    return args


def main() -> None:
    args = parse_arguments()
    dlgrad.manual_seed(args.seed)
    digits, test_set, description = open_digits(args.data)
    print(description, flush=True)
    model = VAE(args.latent)
    train(model, digits, args)
    images = test_set.tensors[0]
    with dlgrad.no_grad():
        lost = sum(model.loss(to_pixels(part)).item() for part in images[:1000].chunk(10)) / 10
    draw(model, images, args.images)
    print(f"pictures in {args.images}")
    print(f"test loss: {lost:.1f} nats per digit")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
