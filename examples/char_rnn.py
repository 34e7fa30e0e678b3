"""An LSTM that learns to write, character by character, as Karpathy's char-rnn did.

    python examples/char_rnn.py
    python examples/char_rnn.py --data shakespeare.txt --steps 2000 --save rnn.safetensors

Without --data it fetches tinyshakespeare, and without a network learns from sentences that
dlgrad writes itself.
"""

import argparse
import sys

import dlgrad
from dlgrad import nn
from dlgrad.data import open_text
from dlgrad.drawing.progress import Progress
from dlgrad.nn import functional as F
from dlgrad.optim import Adam

VALIDATION_BATCHES = 8


class CharRNN(nn.Module):
    def __init__(self, vocab: int, width: int, layers: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, vocab)

    def forward(self, tokens, state=None):
        """Scores (batch, length, vocab) of the next character, and the state for more of it."""
        out, state = self.lstm(self.token(tokens), state)
        return self.head(out), state

    def loss(self, tokens, following):
        return F.cross_entropy(self(tokens)[0].flatten(0, 1), following.flatten())


def train(model: CharRNN, corpus, args) -> None:
    optimizer = Adam(model.parameters(), lr=args.lr)

    @dlgrad.jit
    def step(tokens, following):
        loss = model.loss(tokens, following)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    with Progress(total=args.steps, description="training", unit="steps") as bar:
        for _ in range(args.steps):
            loss = step(*corpus.random_batch(args.batch_size, args.length))
            bar.update(loss=loss)


def measure(model: CharRNN, corpus, args) -> float:
    """The mean loss on text that it did not learn from, in nats per character."""
    losses = []
    with dlgrad.no_grad():
        for _ in range(VALIDATION_BATCHES):
            batch = corpus.random_batch(args.batch_size, args.length, "validation")
            losses.append(model.loss(*batch).item())
    return sum(losses) / len(losses)


def write(model: CharRNN, corpus, count: int) -> str:
    """Text from the model; its state takes the place of the text so far."""

    @dlgrad.jit
    def follow(token, hidden, cell):
        with dlgrad.no_grad():
            scores, (hidden, cell) = model(token, (hidden, cell))
            return dlgrad.multinomial((scores[:, -1] / 0.8).softmax(dim=-1), 1), hidden, cell

    shape = (model.lstm.num_layers, 1, model.lstm.hidden_size)
    token, hidden, cell = dlgrad.zeros(1, 1).long(), dlgrad.zeros(shape), dlgrad.zeros(shape)
    tokens = []
    for _ in range(count):
        token, hidden, cell = follow(token, hidden, cell)
        tokens.append(token.item())
    return corpus.decode(tokens)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="FILE", help="the text to learn from")
    parser.add_argument("--steps", type=int, default=500, metavar="N", help="of training (500)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="in a step (32)")
    parser.add_argument("--length", type=int, default=32, metavar="N", help="of a sequence (32)")
    parser.add_argument("--width", type=int, default=128, metavar="N", help="of the state (128)")
    parser.add_argument("--layers", type=int, default=1, metavar="N", help="of LSTM (1)")
    parser.add_argument("--lr", type=float, default=5e-3, metavar="X", help="learning rate (0.005)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (0)")
    parser.add_argument("--write", type=int, default=300, metavar="N", help="characters (300)")
    parser.add_argument("--save", metavar="FILE", help="write the weights as safetensors")
    args = parser.parse_args()
    for name in ("steps", "batch_size", "length", "width", "layers"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    return args


def main() -> None:
    args = parse_arguments()
    dlgrad.manual_seed(args.seed)
    corpus = open_text(args.data)
    print(corpus.description, flush=True)
    model = CharRNN(corpus.vocab_size, args.width, args.layers)
    train(model, corpus, args)
    print(write(model, corpus, args.write))
    if args.save:
        dlgrad.save(model.state_dict(), args.save)
        print(f"weights written to {args.save}")
    print(f"validation loss: {measure(model, corpus, args):.4f}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
