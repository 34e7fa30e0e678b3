"""Random numbers for loading data: Python's generator, seeded from dlgrad's.

Floor 7.  Samplers, workers and transforms draw a few numbers at a time on the host, for which
a kernel would be too much.  Each call of `stream` seeds a generator from the place where
dlgrad's stream is now and moves that on, so that one `manual_seed` decides them all.
"""

from __future__ import annotations

import random

from dlgrad.data.worker_info import get_worker_info
from dlgrad.random import Generator, default_generator


def stream(generator: Generator | None = None) -> random.Random:
    """A generator of Python that follows from `generator` and its place.

    Without one it follows from the stream of the worker whose thread or process this is, and
    elsewhere from `dlgrad.manual_seed`.
    """
    if generator is None:
        info = get_worker_info()
        generator = default_generator if info is None else info.generator
    made = random.Random((generator.initial_seed() << 64) + generator.offset)
    generator.advance(1)
    return made
