"""A vision transformer that reads handwritten digits: patches of an image as the words of a text.

    python examples/vit.py
    python examples/vit.py --epochs 10 --width 128 --save vit.safetensors

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
from dlgrad.optim.lr_scheduler import OneCycleLR


class ViT(nn.Module):
    """Dosovitskiy and others, "An image is worth 16x16 words" (2021), with patches of 7 x 7."""

    def __init__(self, width: int, layers: int, heads: int, patch: int = 7) -> None:
        super().__init__()
        count = (28 // patch) ** 2
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.place = nn.Parameter(0.02 * dlgrad.randn(1, count + 1, width))
        self.summary_token = nn.Parameter(dlgrad.zeros(1, 1, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, images: dlgrad.Tensor) -> dlgrad.Tensor:
        """Scores (batch, 10) of bytes (batch, 28, 28)."""
        x = images.unsqueeze(1).float() / 255 - 0.5
        x = self.patches(x).flatten(2).transpose(1, 2)  # (batch, patches, width)
        first = self.summary_token.expand(len(images), -1, -1)
        x = dlgrad.cat([first, x], dim=1) + self.place
        return self.head(self.norm(self.layers(x)[:, 0]))


def measure(model: nn.Module, digits: TensorDataset) -> float:
    """The share of the digits that the model reads right."""
    model.eval()
    right = 0
    with dlgrad.no_grad():
        for images, labels in DataLoader(digits, batch_size=500):
            right += (model(images).argmax(dim=1) == labels).sum().item()
    return right / len(digits)


def train(model: nn.Module, train_set: TensorDataset, test_set: TensorDataset, args) -> None:
    loader = DataLoader(train_set, args.batch_size, shuffle=True, drop_last=True)
    optimizer = AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
    schedule = OneCycleLR(optimizer, args.lr, total_steps=args.epochs * len(loader))

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
    parser.add_argument("--width", type=int, default=64, metavar="N", help="of a layer (64)")
    parser.add_argument("--layers", type=int, default=4, metavar="N", help="blocks (4)")
    parser.add_argument("--heads", type=int, default=4, metavar="N", help="of each layer (4)")
    parser.add_argument("--batch-size", type=int, default=100, metavar="N", help="in a step (100)")
    parser.add_argument("--lr", type=float, default=3e-3, metavar="X", help="highest rate (0.003)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (0)")
    parser.add_argument("--save", metavar="FILE", help="write the weights as safetensors")
    args = parser.parse_args()
    for name in ("epochs", "width", "layers", "heads", "batch_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    if args.width % args.heads:
        parser.error(f"--width must be a multiple of --heads, got {args.width} and {args.heads}")
    return args


def main() -> None:
    args = parse_arguments()
    dlgrad.manual_seed(args.seed)
    train_set, test_set, description = open_digits(args.data)
    print(description, flush=True)
    model = ViT(args.width, args.layers, args.heads)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
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
