"""Texts to learn from, character by character: a vocabulary, and blocks of both parts.

Floor 7.  `open_text` finds the best text that a machine has: the file that the user names,
tinyshakespeare from the cache or the network, or one that dlgrad writes itself.
"""

from __future__ import annotations

import os
import random
import re
from array import array
from collections.abc import Iterable, Sequence

from dlgrad import config
from dlgrad.core.base import is_tensor
from dlgrad.data.dataset import Dataset, check_indices
from dlgrad.data.download import download
from dlgrad.data.streams import stream
from dlgrad.dtype import int64
from dlgrad.errors import FileFormatError
from dlgrad.files.mapped import tensor_from_bytes
from dlgrad.random import Generator
from dlgrad.runtime import cache
from dlgrad.tensor import Tensor

SHAKESPEARE_URLS = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
)
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
WRITTEN_CHARACTERS = 200_000  # of the text that dlgrad writes where there is no other


class TokenBlocks(Dataset):
    """Sample i: `block_size` tokens from place i, and the tokens that follow each of them.

    Both are int64 (block_size,).  A batch is gathered at once.
    """

    def __init__(self, tokens: array[int], block_size: int) -> None:
        if block_size < 1 or len(tokens) <= block_size:
            raise ValueError(
                f"blocks of {block_size} need more than {max(block_size, 1)} tokens, and there "
                f"are {len(tokens)}"
            )
        self.tokens = tokens
        self.block_size = block_size

    def __len__(self) -> int:
        return len(self.tokens) - self.block_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        before, after = self.gather([index])
        return before[0], after[0]

    def gather(self, indices: Sequence[int]) -> list[Tensor]:
        """The samples `indices` as two tensors int64 (len(indices), block_size)."""
        check_indices(indices, len(self))
        shape = (len(indices), self.block_size)
        batch = []
        for shift in (0, 1):
            rows = array("q")
            for i in indices:
                rows += self.tokens[i + shift : i + shift + self.block_size]
            batch.append(tensor_from_bytes(rows.tobytes(), int64, shape))
        return batch


class CharacterCorpus:
    """A text, its characters as numbers, and a part of it to validate on.

    `vocabulary` is the string of all characters that occur, in order; a character's token is
    its place there.  The first `train_fraction` of the text is for training, the rest is for
    validation.  `description` says in words where the text comes from.
    """

    def __init__(
        self, text: str, train_fraction: float = 0.9, description: str = "a text"
    ) -> None:
        if not text:
            raise ValueError("a corpus needs a text that is not empty")
        if not 0 < train_fraction <= 1:
            raise ValueError(f"train_fraction must be above 0 and at most 1, got {train_fraction}")
        self.text = text
        self.description = description
        self.vocabulary = "".join(sorted(set(text)))
        self._token_of = {character: i for i, character in enumerate(self.vocabulary)}
        tokens = array("q", [self._token_of[character] for character in text])
        end = int(len(tokens) * train_fraction)
        self._parts = {"train": tokens[:end], "validation": tokens[end:]}

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], train_fraction: float = 0.9, encoding: str = "utf-8"
    ) -> CharacterCorpus:
        """The corpus of a text file; OSError or FileFormatError where it cannot be read."""
        try:
            with open(path, encoding=encoding) as file:
                text = file.read()
        except UnicodeDecodeError as error:
            raise FileFormatError(f"{os.fspath(path)} is not {encoding} text ({error})") from None
        if not text:
            raise FileFormatError(f"{os.fspath(path)} is empty")
        return cls(text, train_fraction, f"{os.fspath(path)}: {len(text):,} characters")

    def __len__(self) -> int:
        """The number of characters."""
        return len(self.text)

    def __repr__(self) -> str:
        return f"CharacterCorpus({len(self):,} characters, {self.vocab_size} different)"

    @property
    def vocab_size(self) -> int:
        """How many different characters there are."""
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """The token of each character; ValueError for one that is not in the vocabulary."""
        try:
            return [self._token_of[character] for character in text]
        except KeyError as error:
            raise ValueError(
                f"the character {error.args[0]!r} is not in the vocabulary of "
                f"{self.vocab_size} characters"
            ) from None

    def decode(self, tokens: Tensor | Iterable[int]) -> str:
        """The text of tokens, given as a one-dimensional tensor or as ints."""
        numbers = tokens.tolist() if is_tensor(tokens) else tokens
        return "".join([self.vocabulary[token] for token in numbers])

    def tokens(self, part: str = "train") -> Tensor:
        """All tokens of "train" or "validation", int64."""
        found = self._part(part)
        return tensor_from_bytes(found.tobytes(), int64, (len(found),))

    def blocks(self, block_size: int, part: str = "train") -> TokenBlocks:
        """The blocks of a part as a dataset for a `DataLoader`."""
        return TokenBlocks(self._part(part), block_size)

    def random_batch(
        self, batch_size: int, block_size: int, part: str = "train",
        generator: Generator | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Blocks from random places: tokens, and the next ones, int64 (batch_size, block_size)."""
        blocks = self.blocks(block_size, part)
        draw = stream(generator).randrange
        before, after = blocks.gather([draw(len(blocks)) for _ in range(batch_size)])
        return before, after

    def _part(self, part: str) -> array[int]:
        if part not in self._parts:
            raise ValueError(f"the parts are 'train' and 'validation', got {part!r}")
        return self._parts[part]


def open_text(
    path: str | os.PathLike[str] | None = None, train_fraction: float = 0.9
) -> CharacterCorpus:
    """The corpus of the file `path`, or where that is None the best that can be had.

    That is tinyshakespeare (1.1 million characters of plays) from the cache or the network,
    its checksum compared, and where both fail a text that dlgrad writes.  `description` says
    which it was.  A `path` that does not exist is a FileNotFoundError.
    """
    if path is not None:
        return CharacterCorpus.from_file(path, train_fraction)
    file = os.path.join(cache.directory("downloads"), "tinyshakespeare.txt")
    try:
        download(SHAKESPEARE_URLS, file, SHAKESPEARE_SHA256)
    except OSError:  # DownloadError is one
        reason = "DLGRAD_OFFLINE is set" if config.OFFLINE.value else "could not be fetched"
        words = (
            f"tinyshakespeare is not in the cache and {reason}: "
            f"{WRITTEN_CHARACTERS:,} characters that dlgrad writes itself"
        )
        return CharacterCorpus(write_text(WRITTEN_CHARACTERS), train_fraction, words)
    return CharacterCorpus.from_file(file, train_fraction)


# A text of our own ------------------------------------------------------------------------------

_GRAMMAR: dict[str, Sequence[str]] = {
    "SENTENCE": (
        "WHO DID THING PLACE.", "PLACE WHO DID THING.", "WHO DID THING, and WHO DID THING.",
        "\"SPEECH,\" said WHO.", "When WHO DID THING, WHO DID THING.", "WHO and WHO went PLACE.",
        "\"SPEECH,\" said WHO, and DID THING.", "It was HOW PLACE.",
    ),
    "WHO": ("the KIND", "the HOW KIND", "NAME", "NAME", "the KIND of NAME", "a KIND"),
    "NAME": ("Anna", "Bruno", "Clara", "David", "Edith", "Felix", "Greta", "Hugo", "Irma"),
    "KIND": (
        "baker", "farmer", "fisher", "miller", "sailor", "teacher", "tailor", "dog", "cat",
        "horse", "neighbour", "sister", "brother", "king", "queen",
    ),
    "HOW": ("old", "young", "tall", "small", "quiet", "merry", "tired", "kind", "cold", "warm"),
    "DID": (
        "carried", "found", "lost", "bought", "sold", "painted", "counted", "wanted", "hid",
        "looked for", "forgot",
    ),
    "THING": (
        "the OBJECT", "a HOW OBJECT", "two OBJECTs", "NUMBER OBJECTs", "her OBJECT", "his OBJECT",
    ),
    "OBJECT": (
        "apple", "basket", "book", "boat", "candle", "coat", "door", "key", "lamp", "letter",
        "stone", "table", "wheel",
    ),
    "NUMBER": ("three", "four", "five", "seven", "ten", "a hundred"),
    "PLACE": (
        "in the garden", "by the river", "at the market", "on the hill", "under the bridge",
        "behind the mill", "in the morning", "at night", "before the rain", "after the feast",
    ),
    "SPEECH": (
        "I have DID THING", "Have you seen THING", "We shall go PLACE", "Give me THING",
        "There is nobody PLACE", "NAME DID THING",
    ),
}  # fmt: skip


def write_text(length: int, seed: int = 0) -> str:
    """`length` characters of simple sentences, the same for the same `seed`."""
    rng = random.Random(f"dlgrad text {seed}")
    pieces: list[str] = []
    count = 0
    while count < length:
        sentence = _expand("SENTENCE", rng)
        end = "\n" if rng.random() < 0.25 else " "
        pieces.append(sentence[0].upper() + sentence[1:] + end)
        count += len(pieces[-1])
    return "".join(pieces)[:length]


def _expand(symbol: str, rng: random.Random) -> str:
    """One of the phrases of a symbol, with the symbols in it replaced in turn."""
    phrase = rng.choice(_GRAMMAR[symbol])
    return re.sub("[A-Z]{3,}", lambda match: _expand(match[0], rng), phrase)
