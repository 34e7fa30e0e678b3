"""A residual network for small colour images, in mixed precision if wanted.

    python examples/resnet_cifar.py
    python examples/resnet_cifar.py --data DIR --download --epochs 20 --amp

With --data it learns from CIFAR-10 in that folder.  Without, it needs no network: it learns to
read digits that dlgrad draws, light on dark, in random colours.
"""

import argparse
import sys

import dlgrad
from dlgrad import nn
from dlgrad.data import CIFAR10, DataLoader, TensorDataset, draw_digits
from dlgrad.drawing.progress import Progress
from dlgrad.nn import functional as F
from dlgrad.optim import SGD
from dlgrad.optim.lr_scheduler import OneCycleLR

DRAWN_TEST = 1_000


class Residual(nn.Module):
    """Two convolutions beside a short way (He and others, 2016)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.short = nn.Identity()
        if stride != 1 or inside != outside:
            self.short = nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: dlgrad.Tensor) -> dlgrad.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.short(x))


def make_model(width: int, blocks: int) -> nn.Module:
    """Images (batch, 3, 32, 32) to scores (batch, 10)."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    ]  # fmt: skip
    inside = width
    for stage in range(3):
        for block in range(blocks):
            outside, stride = width << stage, 2 if stage and not block else 1
            layers.append(Residual(inside, outside, stride))
            inside = outside
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, 10))


def coloured_digits(count: int, seed: int) -> tuple[TensorDataset, TensorDataset]:
    """Drawn digits as uint8 (count, 3, 32, 32) with int64 labels: a training and a test set."""
    images, labels = draw_digits(count + DRAWN_TEST, seed)
    shares = F.pad(images.float() / 255, (2, 2, 2, 2)).unsqueeze(1)
    ink, ground = (dlgrad.rand(len(labels), 3, 1, 1) for _ in range(2))
    ink, ground = 0.5 + ink / 2, ground / 2  # light on dark, each in a colour of its own
    mixed = (255 * (ground + (ink - ground) * shares)).to(dlgrad.uint8).realize()
    return (
        TensorDataset(mixed[:count], labels[:count]), TensorDataset(mixed[count:], labels[count:])
    )


def open_images(args) -> tuple[TensorDataset, TensorDataset]:
    if args.data is None:
        print(f"{args.count:,} coloured digits to train, {DRAWN_TEST:,} to test")
        return coloured_digits(args.count, args.seed)
    sets = [CIFAR10(args.data, train, download=args.download) for train in (True, False)]
    print(f"CIFAR-10 in {args.data}: {len(sets[0]):,} images to train, {len(sets[1]):,} to test")
    first, second = (
        TensorDataset(dlgrad.as_tensor(s.data).permute(0, 3, 1, 2).contiguous().realize(),
                      dlgrad.as_tensor(s.targets))
        for s in sets
    )  # fmt: skip
    return first, second


def to_input(images: dlgrad.Tensor) -> dlgrad.Tensor:
    return images.float() / 128 - 1


def measure(model: nn.Module, images: TensorDataset) -> float:
    """The share of the images that the model names right."""
    model.eval()
    right = 0
    with dlgrad.no_grad():
        for batch, labels in DataLoader(images, batch_size=250):
            right += (model(to_input(batch)).argmax(dim=1) == labels).sum().item()
    return right / len(images)


def train(model: nn.Module, train_set: TensorDataset, test_set: TensorDataset, args) -> None:
    loader = DataLoader(train_set, args.batch_size, shuffle=True, drop_last=True)
    optimizer = SGD(model.parameters(), args.lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = OneCycleLR(optimizer, args.lr, total_steps=args.epochs * len(loader))

    @dlgrad.jit
    def step(images: dlgrad.Tensor, labels: dlgrad.Tensor) -> dlgrad.Tensor:
        with dlgrad.autocast("cpu", enabled=args.amp):
            loss = F.cross_entropy(model(to_input(images)), labels, label_smoothing=0.1)
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
    parser.add_argument("--data", metavar="DIR", help="the folder of CIFAR-10")
    parser.add_argument("--download", action="store_true", help="fetch CIFAR-10 into --data")
    parser.add_argument("--count", type=int, default=4000, metavar="N", help="digits drawn (4000)")
    parser.add_argument("--epochs", type=int, default=4, metavar="N", help="over all images (4)")
    parser.add_argument("--width", type=int, default=16, metavar="N", help="channels at first (16)")
    parser.add_argument("--blocks", type=int, default=1, metavar="N", help="in each stage (1)")
    parser.add_argument("--batch-size", type=int, default=50, metavar="N", help="in a step (50)")
    parser.add_argument("--lr", type=float, default=0.05, metavar="X", help="highest rate (0.05)")
    parser.add_argument("--amp", action="store_true", help="matrix products in bfloat16")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (0)")
    parser.add_argument("--save", metavar="FILE", help="write the weights as safetensors")
    args = parser.parse_args()
    for name in ("count", "epochs", "width", "blocks", "batch_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    if args.download and args.data is None:
        parser.error("--download needs --data, the folder for CIFAR-10")
    return args


def main() -> None:
    args = parse_arguments()
    dlgrad.manual_seed(args.seed)
    train_set, test_set = open_images(args)
    model = make_model(args.width, args.blocks)
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
