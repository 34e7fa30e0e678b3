"""A small GPT that learns to write, character by character.

    python examples/gpt.py
    python examples/gpt.py --data shakespeare.txt --steps 2000
    python examples/gpt.py --resume --steps 4000     (goes on where the file of --save stopped)
    python examples/gpt.py --write 500 --prompt "ROMEO:"     (no training, only text)

Without --data it fetches tinyshakespeare, and without a network learns from sentences that
dlgrad writes itself.  Ctrl-C saves and ends; with --resume the curve goes on as if nothing had
happened.
"""

import argparse
import math
import os
import signal
import sys

import dlgrad
from dlgrad import nn
from dlgrad.data import CharacterCorpus, open_text
from dlgrad.drawing.progress import Progress
from dlgrad.nn import functional as F
from dlgrad.optim import AdamW
from dlgrad.viz import plot_curves

VALIDATION_BATCHES = 8


class Attention(nn.Module):
    """Every place looks at itself and at the places before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x, memory=None, place=None):
        """x (batch, length, width); with a `memory` one place, and those before are in it."""
        batch, length, width = x.shape
        q, k, v = (
            part.reshape(batch, length, self.heads, -1).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        if memory is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            keys, values = memory
            keys.index_copy_(2, place, k)
            values.index_copy_(2, place, v)
            seen = dlgrad.arange(keys.shape[2]) <= place
            y = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen.reshape(1, -1))
        return self.out(y.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x, memory=None, place=None):
        x = x + self.attention(self.norm1(x), memory, place)
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, vocab: int, context: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.sizes = {
            "vocab": vocab, "context": context, "layers": layers, "heads": heads, "width": width
        }  # fmt: skip
        self.token = nn.Embedding(vocab, width)
        self.place = nn.Embedding(context, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                last = name.endswith(("out.weight", "mlp.2.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if last else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens, memory=None, place=None):
        """Scores (batch, length, vocab) of the character after each one of tokens."""
        if place is None:
            place = dlgrad.arange(tokens.shape[1])
        x = self.token(tokens) + self.place(place)
        for number, block in enumerate(self.blocks):
            x = block(x, None if memory is None else memory[number], place)
        return self.head(self.norm(x))

    def loss(self, tokens, following):
        return F.cross_entropy(self(tokens).flatten(0, 1), following.flatten())

    def empty_memory(self) -> list:
        """Keys and values of every layer for the places of one text."""
        heads, width = self.sizes["heads"], self.sizes["width"]
        shape = (1, heads, self.sizes["context"], width // heads)
        return [(dlgrad.zeros(shape), dlgrad.zeros(shape)) for _ in self.blocks]


def batch(corpus: CharacterCorpus, args, part: str, number: int):
    """Batch number so-and-so: the same each time, whatever was drawn before."""
    source = dlgrad.Generator().manual_seed(args.seed * 1_000_003 + number)
    return corpus.random_batch(args.batch_size, args.context, part, source)


def learning_rate(step: int, args) -> float:
    """Up in 20 steps, and down with a cosine until 5000."""
    if step < 20:
        return args.lr * (step + 1) / 20
    return args.lr * (0.1 + 0.45 * (1 + math.cos(math.pi * min(step / 5000, 1))))


class Stopper:
    """Ctrl-C asks to stop after the step that is running; a second one stops at once."""

    asked = False

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, self.ask)

    def ask(self, number, frame) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


def train(model: GPT, corpus: CharacterCorpus, args) -> None:
    optimizer = AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.1)
    first, curves = 0, {"train": [], "validation": []}
    if args.resume:
        state = dlgrad.load(args.save)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, curves = state["step"], state["curves"]
        print(f"going on from step {first} of {args.save}")

    @dlgrad.jit
    def step(tokens, following):
        loss = model.loss(tokens, following)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    @dlgrad.jit
    def measure(tokens, following):
        with dlgrad.no_grad():
            return model.loss(tokens, following)

    def note(done: int) -> None:
        """Measures, prints and saves."""
        losses = [
            measure(*batch(corpus, args, "validation", -1 - i)).item()
            for i in range(VALIDATION_BATCHES)
        ]
        found = sum(losses) / len(losses)
        curves["validation"].append((done, found))
        print(f"step {done}: validation loss {found:.4f}", flush=True)
        save(done)

    def save(done: int) -> None:
        state = {
            "model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": done,
            "curves": curves, "sizes": model.sizes, "vocabulary": corpus.vocabulary,
        }  # fmt: skip
        dlgrad.save(state, args.save)

    if first == 0:
        note(0)
    stopper = Stopper()
    done = first
    with Progress(total=max(args.steps - first, 0), description="training", unit="steps") as bar:
        while done < args.steps and not stopper.asked:
            optimizer.param_groups[0]["lr"] = learning_rate(done, args)
            loss = step(*batch(corpus, args, "train", done)).item()
            curves["train"].append((done, loss))
            done += 1
            bar.update(loss=loss)
            if done % args.every == 0 or done == args.steps:
                note(done)
    if stopper.asked:
        save(done)
        print(f"stopped after step {done}; --resume goes on from there", flush=True)
        sys.exit(130)
    if args.plot:
        plot_curves(args.plot, {"loss": curves}, x_label="training step")
        print(f"curves written to {args.plot}")


def write(model: GPT, vocabulary: str, args) -> None:
    """Prints text from the model, one character after the other."""
    model.eval()
    context = model.sizes["context"]
    memory = model.empty_memory()

    @dlgrad.jit
    def follow(token, place):
        """The next token, drawn by its probability, after `token` at `place`."""
        with dlgrad.no_grad():
            scores = model(token, memory, place)[:, -1] / args.temperature
            return dlgrad.multinomial(scores.softmax(dim=-1), 1)

    known = [vocabulary.index(c) for c in args.prompt if c in vocabulary] or [0]
    text = [vocabulary[token] for token in known]
    place = 0
    queue = list(known)  # tokens that the memory has not seen yet
    while len(text) < len(known) + args.write:
        if place == context:  # full: it goes on with the second half
            place, queue = 0, [vocabulary.index(c) for c in text[-(context // 2) :]]
        token = queue.pop(0)
        found = follow(dlgrad.tensor([[token]]), dlgrad.tensor([place]))
        place += 1
        if not queue:
            queue.append(found.item())
            text.append(vocabulary[queue[0]])
    print("".join(text))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="FILE", help="the text to learn from")
    parser.add_argument("--steps", type=int, default=1000, metavar="N", help="of training (1000)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="in a step (32)")
    parser.add_argument("--context", type=int, default=64, metavar="N", help="characters (64)")
    parser.add_argument("--layers", type=int, default=4, metavar="N", help="blocks (4)")
    parser.add_argument("--heads", type=int, default=4, metavar="N", help="of each layer (4)")
    parser.add_argument("--width", type=int, default=128, metavar="N", help="of a layer (128)")
    parser.add_argument("--lr", type=float, default=3e-3, metavar="X", help="highest rate (0.003)")
    parser.add_argument("--every", type=int, default=100, metavar="N", help="until a measure (100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (0)")
    parser.add_argument(
        "--save", default="gpt.safetensors", metavar="FILE",
        help="model and optimizer (gpt.safetensors)",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on from the file of --save")
    parser.add_argument("--write", type=int, metavar="N", help="do not train, write N characters")
    parser.add_argument("--prompt", default="\n", metavar="TEXT", help="what the text begins with")
    parser.add_argument(
        "--temperature", type=float, default=0.8, metavar="X",
        help="of the choices: below 1 the likely letters are likelier (0.8)",
    )  # fmt: skip
    parser.add_argument("--plot", metavar="FILE.png", help="write the curves as a picture")
    args = parser.parse_args()
    for name in ("steps", "batch_size", "context", "layers", "heads", "width", "every"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    if args.width % args.heads:
        parser.error(f"--width must be a multiple of --heads, got {args.width} and {args.heads}")
    if (args.resume or args.write is not None) and not os.path.exists(args.save):
        parser.error(f"there is no file {args.save} to go on from; train first")
    return args


def main() -> None:
    args = parse_arguments()
    dlgrad.manual_seed(args.seed)
    if args.write is None:
        corpus = open_text(args.data)
        print(corpus.description)
        sizes = (args.context, args.layers, args.heads, args.width)
        model = GPT(corpus.vocab_size, *sizes)
        print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
        train(model, corpus, args)
        vocabulary, args.write = corpus.vocabulary, 300
    else:
        state = dlgrad.load(args.save)
        model, vocabulary = GPT(**state["sizes"]), state["vocabulary"]
        model.load_state_dict(state["model"])
    write(model, vocabulary, args)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
