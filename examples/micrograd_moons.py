"""Trains a small network to tell two moons apart, and draws the boundary that it learnt.

    python examples/micrograd_moons.py
    python examples/micrograd_moons.py --points 400 --steps 500 --plot moons.png

The data are two half circles of points that reach into each other.
"""

import argparse
import math
import sys

import dlgrad
from dlgrad import nn
from dlgrad.drawing.progress import Progress
from dlgrad.nn import functional as F
from dlgrad.optim import SGD
from dlgrad.optim.lr_scheduler import LinearLR
from dlgrad.viz import draw_regions


def make_moons(count: int, noise: float) -> tuple[dlgrad.Tensor, dlgrad.Tensor]:
    """Points (count, 2) and the number of their moon, int64 (count,)."""
    half = count // 2
    angle = dlgrad.linspace(0, math.pi, half)
    upper = dlgrad.stack([angle.cos(), angle.sin()], dim=1)
    lower = dlgrad.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    points = dlgrad.cat([upper, lower]) + noise * dlgrad.randn(2 * half, 2)
    return points, (dlgrad.arange(2 * half) >= half).long()


def make_model(hidden: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
    )


def train(model: nn.Module, points: dlgrad.Tensor, moon: dlgrad.Tensor, args) -> float:
    """Trains on all points at once; returns the share that ends on the right side."""
    optimizer = SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4)
    schedule = LinearLR(optimizer, 1.0, 0.01, total_iters=args.steps)

    @dlgrad.jit
    def step(points: dlgrad.Tensor, moon: dlgrad.Tensor):
        score = model(points).flatten()
        loss = F.binary_cross_entropy_with_logits(score, moon.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, ((score > 0) == (moon == 1)).float().mean()

    with Progress(total=args.steps, description="training", unit="steps") as bar:
        for _ in range(args.steps):
            loss, accuracy = step(points, moon)
            schedule.step()
            bar.update(loss=loss, accuracy=accuracy)
    return accuracy.item()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=200, metavar="N", help="in both moons (200)")
    parser.add_argument("--noise", type=float, default=0.1, metavar="X", help="of a point (0.1)")
    parser.add_argument("--hidden", type=int, default=16, metavar="N", help="layer width (16)")
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="of training (300)")
    parser.add_argument("--lr", type=float, default=0.1, metavar="X", help="first rate (0.1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (0)")
    parser.add_argument("--plot", metavar="FILE.png", help="write the boundary as a picture")
    args = parser.parse_args()
    for name in ("points", "hidden", "steps"):
        if getattr(args, name) < 2:
            parser.error(f"--{name} must be 2 or more")
    return args


def main() -> None:
    args = parse_arguments()
    dlgrad.manual_seed(args.seed)
    points, moon = make_moons(args.points, args.noise)
    model = make_model(args.hidden)
    print(f"{len(points)} points, {sum(p.numel() for p in model.parameters())} parameters")
    accuracy = train(model, points, moon, args)
    if args.plot:
        with dlgrad.no_grad():
            draw_regions(args.plot, lambda at: model(at).flatten().sigmoid(), points, moon)
        print(f"boundary drawn in {args.plot}")
    print(f"accuracy: {accuracy:.1%}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
