"""Datasets, samplers, the DataLoader, and transforms; MNIST, CIFAR and texts, some drawn by us.

Floor 7.
"""

from dlgrad.data import transforms
from dlgrad.data.cifar import CIFAR10, CIFAR100
from dlgrad.data.collate import default_collate, default_convert
from dlgrad.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from dlgrad.data.digits import draw_digits
from dlgrad.data.loader import DataLoader
from dlgrad.data.mnist import MNIST, Digits, FashionMNIST, open_digits
from dlgrad.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from dlgrad.data.text import CharacterCorpus, TokenBlocks, open_text, write_text
from dlgrad.data.worker_info import WorkerInfo, get_worker_info

__all__ = [
    "CIFAR10", "CIFAR100", "MNIST", "BatchSampler", "ChainDataset", "CharacterCorpus",
    "ConcatDataset", "DataLoader", "Dataset", "Digits", "FashionMNIST", "IterableDataset",
    "RandomSampler", "Sampler", "SequentialSampler", "StackDataset", "Subset",
    "SubsetRandomSampler", "TensorDataset", "TokenBlocks", "WeightedRandomSampler", "WorkerInfo",
    "default_collate", "default_convert", "draw_digits", "get_worker_info", "open_digits",
    "open_text", "random_split", "transforms", "write_text",
]  # fmt: skip
