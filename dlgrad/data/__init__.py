"""Datasets, samplers and the DataLoader; MNIST, and digits for machines without a network.

Floor 7.
"""

from dlgrad.data.dataset import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from dlgrad.data.digits import draw_digits
from dlgrad.data.loader import DataLoader, default_collate
from dlgrad.data.mnist import MNIST, Digits, open_digits
from dlgrad.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler

__all__ = [
    "MNIST", "BatchSampler", "ConcatDataset", "DataLoader", "Dataset", "Digits", "RandomSampler",
    "Sampler", "SequentialSampler", "Subset", "TensorDataset", "default_collate", "draw_digits",
    "open_digits", "random_split",
]  # fmt: skip
