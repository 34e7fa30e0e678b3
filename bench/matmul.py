"""Matrix products and convolutions in dlgrad, NumPy and PyTorch, side by side.

    python bench/matmul.py [--threads N] [--seconds S] [--only WORD]

Each row is checked first: the contestants must agree.  Then they take turns, for S seconds each;
the result is the median time with the middle half of the spread, the share of what this
machine's vector units can do, and the ratio of dlgrad's time to that of the best other.  NumPy
and PyTorch are each left out where they are not installed.
"""

import argparse
import os
import statistics
import sys
import time

TOLERANCE = 1e-4  # of the largest number of a result
TURNS = 5
REST_SECONDS = 0.25

# Name, shape of a, shape of b, whether a and b are stored transposed.
PRODUCTS = [
    *((f"square {n}", (n, n), (n, n), False, False) for n in (64, 128, 256, 512, 1024, 2048)),
    ("square 1024, a transposed", (1024, 1024), (1024, 1024), True, False),
    ("square 1024, b transposed", (1024, 1024), (1024, 1024), False, True),
    ("512 products of 64", (512, 64, 64), (512, 64, 64), False, False),
    ("linear 64 x 9216 -> 128", (64, 9216), (9216, 128), False, True),
    ("its weight gradient", (128, 64), (64, 9216), True, False),
    ("its input gradient", (64, 128), (128, 9216), False, False),
    ("linear 64 x 128 -> 10", (64, 128), (128, 10), False, True),
    ("vector 1024 times matrix", (1, 1024), (1024, 1024), False, False),
    ("matrix times vector 1024", (1024, 1024), (1024, 1), False, False),
]

# Name, shape of the images, shape of the weights.
CONVOLUTIONS = [
    ("conv 64 x 1 x 28 x 28 -> 32, 3 x 3", (64, 1, 28, 28), (32, 1, 3, 3)),
    ("conv 64 x 32 x 28 x 28 -> 64, 3 x 3", (64, 32, 28, 28), (64, 32, 3, 3)),
    ("conv 64 x 16 x 28 x 28 -> 32, 5 x 5", (64, 16, 28, 28), (32, 16, 5, 5)),
]


def library(name):
    """The module called `name`, or None where it is not installed."""
    try:
        return __import__(name)
    except ImportError:
        return None


def stored(shape, transposed):
    return (*shape[:-2], shape[-1], shape[-2]) if transposed else shape


def product_row(modules, name, a_shape, b_shape, a_transposed, b_transposed):
    """The name, the floating-point operations, and a function for each contestant."""
    dlgrad, numpy, torch = modules
    a = dlgrad.randn(*stored(a_shape, a_transposed)).realize()
    b = dlgrad.randn(*stored(b_shape, b_transposed)).realize()

    def turned(x, transposed, swap):
        return swap(x) if transposed else x

    def ours():
        x = turned(a, a_transposed, lambda t: t.transpose(-1, -2))
        y = turned(b, b_transposed, lambda t: t.transpose(-1, -2))
        return (x @ y).realize()

    runs = {"dlgrad": ours}
    if numpy:
        x = turned(numpy.array(a.tolist(), "f4"), a_transposed, lambda t: t.swapaxes(-1, -2))
        y = turned(numpy.array(b.tolist(), "f4"), b_transposed, lambda t: t.swapaxes(-1, -2))
        runs["NumPy"] = lambda: numpy.matmul(x, y)
    if torch:
        u = turned(torch.tensor(a.tolist()), a_transposed, lambda t: t.transpose(-1, -2))
        v = turned(torch.tensor(b.tolist()), b_transposed, lambda t: t.transpose(-1, -2))
        runs["PyTorch"] = lambda: torch.matmul(u, v)
    flops = 2 * b_shape[-1]
    for size in a_shape:
        flops *= size
    return name, flops, runs


def convolution_rows(modules, name, images, weights):
    """Forward, and backward to the images and to the weights."""
    dlgrad, _, torch = modules
    x, w = dlgrad.randn(*images).realize(), dlgrad.randn(*weights).realize()
    out_shape = (images[0], weights[0], images[2] - weights[2] + 1, images[3] - weights[3] + 1)
    g = dlgrad.randn(*out_shape).realize()
    conv = dlgrad.nn.functional.conv2d

    def gradient(of):
        def run():
            leaf = (x, w)[of].detach().requires_grad_()
            arguments = (leaf, w) if of == 0 else (x, leaf)
            conv(*arguments).backward(g)
            return leaf.grad.realize()

        return run

    forward = {"dlgrad": lambda: conv(x, w).realize()}
    to_images, to_weights = {"dlgrad": gradient(0)}, {"dlgrad": gradient(1)}
    if torch:
        p, q, r = (torch.tensor(t.tolist()) for t in (x, w, g))
        backward = torch.ops.aten.convolution_backward

        def theirs(of):
            mask = [of == 0, of == 1, False]
            settings = (None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, mask)
            return lambda: backward(r, p, q, *settings)[of]

        forward["PyTorch"] = lambda: torch.nn.functional.conv2d(p, q)
        to_images["PyTorch"], to_weights["PyTorch"] = theirs(0), theirs(1)
    flops = 2 * weights[1] * weights[2] * weights[3]
    for size in out_shape:
        flops *= size
    yield name, flops, forward
    yield "  gradient of the weights", flops, to_weights
    if weights[1] > 1:  # nobody wants the gradient of the first images
        yield "  gradient of the images", flops, to_images


def check(name, runs):
    """Ends the program where a result is not that of the first contestant."""
    results = {who: flat(run().tolist()) for who, run in runs.items()}
    first = results.pop("dlgrad")
    scale = max(map(abs, first))
    for who, other in results.items():
        worst = max(abs(a - b) for a, b in zip(first, other, strict=True)) / scale
        if not worst <= TOLERANCE:
            sys.exit(f"{name}: dlgrad and {who} differ by {worst:.1e} of the largest number")


def flat(values):
    if not isinstance(values, list):
        return [values]
    return [x for value in values for x in flat(value)] if isinstance(values[0], list) else values


def measure(runs, seconds):
    """The times of every contestant.

    They take turns of many calls, and between turns the machine rests: the threads of some
    libraries keep their processors busy for a while after a call, which would slow the next.
    """
    times = {who: [] for who in runs}
    for _ in range(TURNS):
        for who, run in runs.items():
            time.sleep(REST_SECONDS)
            for _ in range(2):
                run()
            start = time.perf_counter()
            while True:
                before = time.perf_counter()
                run()
                after = time.perf_counter()
                times[who].append(after - before)
                if after - start > seconds / TURNS:
                    break
    return times


def report(name, flops, times, roof):
    print(name)
    medians = {who: statistics.median(values) for who, values in times.items()}
    for who, middle in medians.items():
        quarters = statistics.quantiles(times[who], n=4)
        spread = (quarters[2] - quarters[0]) / middle
        rate = flops / middle
        print(
            f"    {who:8} {middle * 1e6:10,.1f} us  +-{spread / 2:3.0%}"
            f"  {rate / 1e9:7.1f} GFLOP/s  {rate / roof:4.0%} of the roof"
        )
    best = min((value for who, value in medians.items() if who != "dlgrad"), default=None)
    if best:
        print(f"    ratio    {medians['dlgrad'] / best:10.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row")
    parser.add_argument("--only", default="", help="rows whose name has this word")
    args = parser.parse_args()
    threads = args.threads or len(os.sched_getaffinity(0))
    for variable in ("DLGRAD_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    import dlgrad
    from dlgrad.device import get_backend

    numpy, torch = library("numpy"), library("torch")
    if torch:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
    modules = dlgrad, numpy, torch
    backend = get_backend("cpu")
    roof = backend.roofs().arithmetic
    print(f"{backend.describe()}; {roof / 1e9:.0f} GFLOP/s at most")
    dlgrad.manual_seed(0)
    for product in PRODUCTS:
        if args.only in product[0]:
            name, flops, runs = product_row(modules, *product)
            check(name, runs)
            report(name, flops, measure(runs, args.seconds), roof)
    for convolution in CONVOLUTIONS:
        if args.only in convolution[0]:
            for name, flops, runs in convolution_rows(modules, *convolution):
                check(name, runs)
                report(name, flops, measure(runs, args.seconds), roof)


if __name__ == "__main__":
    main()
